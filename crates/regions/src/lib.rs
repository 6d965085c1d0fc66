//! Which region serves a key, and what happens when a region cannot.
//!
//! Two halves. *Routing* is a pure function: [`registry`] says what regions there are,
//! [`snapshot`] freezes what is known of them into an immutable value, and [`select`] turns a key
//! and a client into an ordered plan with its reasons. Queues, objects, DNS, the edge and the
//! simulator share that one function. *Duty* is a set of machines that produce what the snapshot
//! says: health, failover, leases and the administrative machine.
//!
//! Deliberately absent: IO, clocks, randomness. Time, counters and secrets come in as parameters.

pub mod admin;
pub mod affinity;
pub mod audit;
mod facts;
pub mod failover;
mod hash;
pub mod health;
pub mod homes;
pub mod lease;
pub mod load;
pub mod locations;
mod locations_table;
pub mod plan;
pub mod policy;
pub mod pool;
pub mod registry;
pub mod residency;
pub mod select;
pub mod set;
pub mod snapshot;
pub mod spillover;
pub mod status;
pub mod sticky;
pub mod verdict;

pub use admin::AdminMachine;
pub use affinity::Key;
pub use failover::{Failover, FailoverConfig};
pub use health::{HealthBoard, HealthConfig};
pub use lease::{DriftBound, LeaseHolder, LeaseWatch};
pub use locations::Location;
pub use plan::{Plan, PlanRecord, Reason};
pub use policy::{Levels, Policy, Strategy};
pub use pool::RouteError;
pub use registry::{Capability, Region, Registry, RegistryError, ResidencyTag};
pub use select::{Client, Request, select};
pub use set::{RegionIndex, RegionSet};
pub use snapshot::{Facts, Link, RegionFacts, RoutingSnapshot, SnapshotError};
pub use status::Health;
pub use sticky::{Sticky, StickyError, StickyKeys};
