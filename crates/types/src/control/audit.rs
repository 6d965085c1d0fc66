//! The audit chain's records.

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::{RegionId, UnixMillis};

/// One link of the audit chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place in the chain, from 1, without gaps.
    pub index: u64,
    /// When it was proposed, by the proposer's wall clock.
    pub at: UnixMillis,
    /// Who did it.
    pub actor: String,
    /// What was done; the command's name.
    pub action: String,
    /// To what.
    pub subject: String,
    /// The reason given, and the outcome.
    pub detail: String,
    /// The hash of the entry before; all zeros for the first.
    pub previous: Digest,
    /// The BLAKE3 hash of everything above.
    pub hash: Digest,
}

/// A region's word that the chain had a hash at an index (rule 18).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditHead {
    /// The entry.
    pub index: u64,
    /// Its hash.
    pub hash: Digest,
    /// Who says so.
    pub region: RegionId,
    /// HMAC-SHA256 of the above, with the cluster's audit key.
    pub signature: Digest,
}
