//! Failures of a whole region, one at a time, on real processes in network namespaces, and what
//! clients and the other regions see of each.
//!
//! Three regions run the binary that ships, each in a namespace of its own. What passes between the
//! namespaces goes through [`wan`], which gives it the round trips of the built-in table. Clients
//! stand beside each region in namespaces of their own, and write without a pause. A trial puts
//! one [`Kind`] of failure into one region, mends it, waits until everything is as before, and checks
//! that nothing acknowledged is lost.
//!
//! Deliberately absent: jitter and queues of the links between regions, and disks that cost anything by
//! themselves. Each region's disk is a file system in memory, so that only the failure makes it slow.

mod client;
mod disk;
mod fault;
mod loss;
mod machine;
mod measure;
mod place;
mod predict;
mod report;
mod trial;
mod wan;
mod watch;

pub use client::Level;
pub use fault::Kind;
pub use machine::Machine;
pub use measure::{Clients, Outcome};
pub use place::{Refusal, isolate};
pub use predict::Prediction;
pub use report::Report;
pub use trial::{Plan, predict_again, run};
