//! The words of Rhumb.
//!
//! Identities, clocks, units, and the records that nodes store and send. Nothing here decides
//! anything: merge laws live in `rhumb-state`, routing in `rhumb-regions`.
//!
//! Deliberately absent: IO, a clock, randomness, and any conversion to a protocol's own words.

pub mod ack;
pub mod control;
pub mod error;
pub mod id;
pub mod planted;
pub mod record;
pub mod spelling;
pub mod time;
pub mod units;

pub use ack::{AckLevel, Consistency};
pub use error::ErrorCode;
pub use id::{ClusterId, DomainId, Epoch, NodeId, OriginId, RegionId};
pub use time::{Hlc, MonoTime, Timestamp, UnixMillis};
pub use units::{ByteSize, Ratio};
