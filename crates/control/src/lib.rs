//! Consensus groups.
//!
//! A [`Group`] is one Raft group seen from one node: openraft 0.9 over a durable log of our own,
//! speaking through the `PeerCall` port, hosting a `Replicated` machine, and behind the `Control`
//! port. A node runs two of them, one for administration and one for strong namespaces, so that a
//! storm of locks cannot delay a lease.
//!
//! Invariants:
//! 1. Nothing is acknowledged, to a peer or to a client, before it is fsynced here.
//! 2. A log is trusted whole or not at all. Only an append that never finished is cut off; any
//!    other flaw is refused, and the node must return under a new id (rule 15).
//! 3. After a failed write or fsync the group stops for good and says why.
//! 4. `NoLeader` means that nothing was agreed and nothing will be; whatever else could not be
//!    confirmed is `Unknown`.
//! 5. Messages carry the group's lineage. A group that was recovered by force has a new one, so
//!    that a survivor of the old group cannot overwrite it.
//!
//! Deliberately absent: pre-vote and leadership transfer, which openraft 0.9 does not have. A
//! node that was cut off therefore deposes the leader when it returns, which costs one election;
//! openraft's leader lease keeps a node that merely missed heartbeats from doing so.

mod config;
mod disk;
mod group;
mod log;
mod machine;
mod network;
mod offline;
mod raft;
mod snapshot;
mod wire;

pub use config::{ConfigError, GroupConfig, Limits, Rate, Timing, VOTERS_MAX};
pub use disk::{Disk, FileDisk, OpenError};
#[cfg(any(test, feature = "sim"))]
pub use disk::{Faults, SimDisk};
pub use group::{Group, Groups, StartError};
pub use log::OpenLogError;
pub use offline::{Offline, OfflineStatus, Part, RECOVERY_LEAP, RecoverError, Recovered};
