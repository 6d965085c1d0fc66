//! Clusters of real processes on this machine, for tests and benchmarks.
//!
//! A [`Cluster`] is made of `rhumb serve` processes with identities, configuration and data in a
//! folder of its own. They can be killed, ended, started again, and cut off from each other by
//! [`relay`]s that their messages pass through. Deliberately absent: anything that stands in for a
//! part of Rhumb; what is tested is the binary that ships.

#[cfg(target_os = "linux")]
pub mod chaos;
mod cluster;
mod http;
mod layout;
mod line;
mod load;
mod ports;
mod process;
pub mod programs;
mod relay;

pub use cluster::{Cluster, READY_WAIT_MAX, eventually};
pub use http::Http;
pub use layout::Layout;
pub use line::Line;
pub use load::{Load, Written};
pub use process::Launch;
pub use relay::{Direction, Relay};
