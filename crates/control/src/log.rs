//! The durable log of a group.
//!
//! Three kinds of files in the group's directory:
//! - `state`: whom this node voted for, what was purged, whose log this is; replaced whole.
//! - `segment-*`: frames, appended and fsynced. A frame holds the entries of one append, or a
//!   truncation; the frames of all segments are numbered without a gap.
//! - `committed`: how far the log was known to be agreed; a hint that may be lost.
//!
//! There is at most one unsynced frame at any time, because the next is written only after the
//! fsync of the one before. So a flawed frame is either the last, unfinished one, or damage.
//!
//! All entries that are not purged are also held in memory; snapshots bound how many (see
//! `Limits`).

mod frame;
mod memory;
mod open;
mod seal;
mod segment;
mod state;
mod store;

pub use open::OpenLogError;
pub(crate) use store::LogStore;

pub(crate) use open::Identity;
pub(crate) use seal::{Flaw, seal, unseal};

#[cfg(test)]
mod tests;
