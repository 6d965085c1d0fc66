//! What a log must know beside its entries; a small file, replaced whole.

use bytes::Bytes;
use rhumb_types::NodeId;
use serde::{Deserialize, Serialize};

use super::seal::{Flaw, seal, unseal};
use crate::raft::{Entry, LogId, Vote};

/// The file.
pub(super) const STATE_NAME: &str = "state";
/// The hint of what was agreed.
pub(super) const COMMITTED_NAME: &str = "committed";
const STATE_MAGIC: [u8; 4] = *b"RLST";
const COMMITTED_MAGIC: [u8; 4] = *b"RLCM";
const FORMAT: u16 = 1;

/// The content of the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The group's name.
    pub(super) group: String,
    /// Whose log this is.
    pub(super) node: NodeId,
    /// Which forming or forced recovery of the group this log follows; none before the node has
    /// met the group.
    pub(super) lineage: Option<u64>,
    /// Starts the checksums of frames.
    pub(super) salt: u64,
    /// The last vote.
    pub(super) vote: Option<Vote>,
    /// The last entry that a snapshot replaced.
    pub(super) purged: Option<LogId>,
    /// The newest segment that must exist; 0 before the first.
    pub(super) segment_newest: u64,
}

impl State {
    /// The file's content.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub(super) fn encode(&self) -> Result<Bytes, String> {
        let body = postcard::to_stdvec(self).map_err(|fault| fault.to_string())?;
        Ok(seal(STATE_MAGIC, FORMAT, &body))
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// When it is damaged or of a later release.
    pub(super) fn decode(file: &[u8]) -> Result<Self, Flaw> {
        let body = unseal(STATE_MAGIC, FORMAT, file)?;
        postcard::from_bytes(body).map_err(|fault| Flaw::Damaged(fault.to_string()))
    }
}

/// Whether an entry belongs to the log that continues a purged prefix. One of an earlier leader
/// does not, even with a higher index: the snapshot that was installed there replaced it.
pub(super) fn is_after(entry: &Entry, purged: &LogId) -> bool {
    entry.log_id.index > purged.index && entry.log_id.leader_id >= purged.leader_id
}

/// The content of the hint. The salt keeps the hint of another log from passing for this one's.
///
/// # Errors
/// When it cannot be encoded.
pub(super) fn encode_committed(salt: u64, committed: &LogId) -> Result<Bytes, String> {
    let body = postcard::to_stdvec(&(salt, committed)).map_err(|fault| fault.to_string())?;
    Ok(seal(COMMITTED_MAGIC, FORMAT, &body))
}

/// Reads the hint; a flawed one is none.
pub(super) fn decode_committed(salt: u64, file: &[u8]) -> Option<LogId> {
    let body = unseal(COMMITTED_MAGIC, FORMAT, file).ok()?;
    let (found, committed) = postcard::from_bytes::<(u64, LogId)>(body).ok()?;
    (found == salt).then_some(committed)
}
