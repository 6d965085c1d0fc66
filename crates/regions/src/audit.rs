//! The audit chain: every entry names the hash of the one before.
//!
//! A chain alone shows an edit, a deletion and a reorder. That its end was cut off, or that it was
//! rewritten from some point on, shows only against heads that other regions signed and kept
//! (rule 18). Heads are signed with HMAC-SHA256 and the cluster's audit key, which every member
//! holds and which is not in the chain's store: whoever can rewrite a stored chain cannot sign
//! heads for it.

use std::collections::{BTreeMap, VecDeque};

use hmac::{Hmac, KeyInit, Mac};
use rhumb_types::{
    RegionId, UnixMillis,
    control::{
        AuditEntry, AuditHead, Digest,
        limits::{AUDIT_ENTRIES_MAX, AUDIT_PAGE_MAX},
    },
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

#[cfg(test)]
mod tests;
mod verify;

pub use verify::{Finding, Verified, verify};

/// Separates these hashes from all other uses of BLAKE3.
const ENTRY_CONTEXT: &str = "rhumb 2026 audit entry v1";
/// Separates these signatures from all other uses of the key.
const HEAD_CONTEXT: &[u8] = b"rhumb audit head v1";

/// What an entry says, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Why, and how it ended.
    pub detail: String,
}

/// The entry before the first one that is present.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Anchor {
    /// Its index; 0 before the first.
    pub index: u64,
    /// Its hash; zeros before the first.
    pub hash: Digest,
}

/// The hash that an entry should have.
#[must_use]
pub fn entry_hash(entry: &AuditEntry) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(ENTRY_CONTEXT);
    hasher.update(&entry.index.to_le_bytes());
    hasher.update(&entry.at.0.to_le_bytes());
    // Each text carries its length, so that no two entries share their bytes.
    for text in [&entry.actor, &entry.action, &entry.subject, &entry.detail] {
        hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&entry.previous.0);
    Digest(hasher.finalize().into())
}

/// The end of the chain that the agreed state keeps; what is older lives on the nodes' disks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuditChain {
    anchor: Anchor,
    entries: VecDeque<AuditEntry>,
}

impl AuditChain {
    /// Adds an entry, and forgets the oldest past [`AUDIT_ENTRIES_MAX`].
    pub fn append(&mut self, deed: Deed) {
        let head = self.head();
        let Deed { at, actor, action, subject, detail } = deed;
        let mut entry = AuditEntry {
            index: head.index + 1,
            at,
            actor,
            action,
            subject,
            detail,
            previous: head.hash,
            hash: Digest::default(),
        };
        entry.hash = entry_hash(&entry);
        self.entries.push_back(entry);
        if self.entries.len() > AUDIT_ENTRIES_MAX
            && let Some(oldest) = self.entries.pop_front()
        {
            self.anchor = Anchor { index: oldest.index, hash: oldest.hash };
        }
    }

    /// The last entry's place and hash.
    #[must_use]
    pub fn head(&self) -> Anchor {
        let last = self.entries.back();
        last.map_or(self.anchor, |entry| Anchor { index: entry.index, hash: entry.hash })
    }

    /// The entry before the first one kept.
    #[must_use]
    pub const fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The entries after an index, at most `limit` and at most [`AUDIT_PAGE_MAX`].
    pub fn after(&self, index: u64, limit: usize) -> impl Iterator<Item = &AuditEntry> {
        let skipped = index.saturating_sub(self.anchor.index);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped).take(limit.min(AUDIT_PAGE_MAX))
    }
}

/// The cluster's secret for signing heads.
#[derive(Clone)]
pub struct AuditKey([u8; 32]);

impl std::fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditKey(..)")
    }
}

impl AuditKey {
    /// A key from 32 random bytes.
    #[must_use]
    pub const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// A region's signed word that the chain had this head.
    #[must_use]
    pub fn sign(&self, head: Anchor, region: RegionId) -> AuditHead {
        let signature = Digest(self.mac(head, &region).finalize().into_bytes().into());
        AuditHead { index: head.index, hash: head.hash, region, signature }
    }

    /// Whether a head was signed with this key; compared in constant time.
    #[must_use]
    pub fn has_signed(&self, head: &AuditHead) -> bool {
        let anchor = Anchor { index: head.index, hash: head.hash };
        self.mac(anchor, &head.region).verify_slice(&head.signature.0).is_ok()
    }

    fn mac(&self, head: Anchor, region: &RegionId) -> Hmac<Sha256> {
        // Every field but the last has a fixed length.
        #[expect(
            clippy::expect_used,
            reason = "HMAC takes keys of any length (RFC 2104 section 3)"
        )]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of 32 bytes");
        mac.update(HEAD_CONTEXT);
        mac.update(&head.index.to_le_bytes());
        mac.update(&head.hash.0);
        mac.update(region.as_str().as_bytes());
        mac
    }
}

/// Entries as newline-delimited JSON, one object per line, in the order given.
///
/// # Errors
/// Never for entries of this machine; serde's signature allows it.
pub fn export_ndjson<'a>(
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<String, serde_json::Error> {
    let mut out = String::new();
    for entry in entries {
        out.push_str(&serde_json::to_string(entry)?);
        out.push('\n');
    }
    Ok(out)
}

/// Why an exported line cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is no audit entry")]
pub struct ImportError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub source: serde_json::Error,
}

/// Reads what [`export_ndjson`] wrote; blank lines are skipped.
///
/// # Errors
/// The first line that is no entry.
pub fn import_ndjson(text: &str) -> Result<Vec<AuditEntry>, ImportError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|source| ImportError { line: at + 1, source })
        })
        .collect()
}

/// Heads kept per region and index, as one region stores those of the others.
pub type Heads = BTreeMap<RegionId, VecDeque<AuditHead>>;
