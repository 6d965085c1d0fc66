//! An object as it lies in the index.
//!
//! What a request does to these is the business of `rhumb-objects`. The order of the variants of an
//! enum and of a struct's fields is frozen (rule 16).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Record, VersionVector};
use crate::{Hlc, RegionId, UnixMillis};

/// Longest key of an object, in bytes; the bound of S3.
pub const OBJECT_KEY_BYTES_MAX: usize = 1_024;
/// Most parts of an object; the bound of S3.
pub const OBJECT_PARTS_MAX: usize = 10_000;

/// The BLAKE3 hash of a blob; what it is stored under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobHash(pub [u8; 32]);

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl BlobHash {
    /// The hash that [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(pairs) {
            let lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
            let text = pair.iter().all(lower).then(|| std::str::from_utf8(pair).ok()).flatten()?;
            *byte = u8::from_str_radix(text, 16).ok()?;
        }
        Some(Self(hash))
    }
}

/// A blob that an object is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlobRef {
    /// What it is stored under.
    pub hash: BlobHash,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// Where an object's bytes are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// In the index itself, for small ones: as durable and as near as the index is.
    Inline(Bytes),
    /// In blobs, one after the other.
    Blobs(Vec<BlobRef>),
}

/// Names a version of an object. Later ones are greater; clients see [`Display`](fmt::Display).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionId {
    /// When it was written, by the hybrid clock of its node.
    pub hlc: Hlc,
    /// Drawn at random, so that no two versions share an id.
    pub entropy: u64,
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.hlc.0, self.entropy)
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl VersionId {
    /// The id that [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let (hlc, entropy) = text.split_at_checked(16)?;
        if entropy.len() != 16 || !text.bytes().all(lower) {
            return None;
        }
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self { hlc: Hlc(number(hlc)?), entropy: number(entropy)? })
    }
}

/// Checksums that a client gave or asked for, over the whole object or over its parts, base64 as S3
/// writes them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Checksums {
    /// CRC-32.
    pub crc32: Option<String>,
    /// CRC-32C.
    pub crc32c: Option<String>,
    /// CRC-64/NVME.
    pub crc64nvme: Option<String>,
    /// SHA-1.
    pub sha1: Option<String>,
    /// SHA-256.
    pub sha256: Option<String>,
    /// Whether they are checksums of the parts' checksums (S3: `COMPOSITE`).
    pub composite: bool,
}

/// One version of an object, or the mark that it was deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Which version.
    pub version: VersionId,
    /// Whether clients see that id; a version of a bucket without versioning is `null` to them.
    pub versioned: bool,
    /// When it was written, by the clock of its node.
    pub modified: UnixMillis,
    /// The region that took it in.
    pub region: RegionId,
    /// What it holds; `None` for a delete marker.
    pub content: Option<Content>,
}

/// What an object holds, and what is told of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Content {
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Where its bytes are.
    pub body: Body,
    /// The lengths of its parts in bytes, for one that came in parts.
    pub parts: Vec<u64>,
    /// Checksums.
    pub checksums: Checksums,
    /// HTTP headers to give back, by their lower-case names: `content-type`, `cache-control`, ...
    pub headers: BTreeMap<String, String>,
    /// The user's own metadata, without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl Record for ObjectRecord {
    const VERSION: u8 = 1;
}

/// That a region holds a blob.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HolderRecord {
    /// The blob's length, in bytes.
    pub bytes: u64,
    /// Since when.
    pub since: UnixMillis,
    /// Whether it is a copy that the bucket's policy does not ask for, and may go first.
    pub cached: bool,
}

impl Record for HolderRecord {
    const VERSION: u8 = 1;
}

/// What somebody knew who began to decide for keys of linearizable buckets (rule 10, ADR 0013).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FenceRecord {
    /// When it began.
    pub began: UnixMillis,
    /// The regions that homes of keys were drawn among.
    pub homes: BTreeSet<RegionId>,
    /// What was applied: of what was decided before, the rest may not be so.
    pub applied: VersionVector,
}

impl Record for FenceRecord {
    const VERSION: u8 = 1;
}

/// An upload in parts that was begun and is not finished.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UploadRecord {
    /// When it was begun.
    pub begun: UnixMillis,
    /// Who began it.
    pub owner: String,
    /// Headers of the object to come.
    pub headers: BTreeMap<String, String>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Which checksum its parts carry, in S3's words; none when the client named none.
    pub checksum: Option<String>,
    /// `COMPOSITE` or `FULL_OBJECT`.
    pub checksum_type: Option<String>,
}

impl Record for UploadRecord {
    const VERSION: u8 = 1;
}

/// A part of an unfinished upload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartRecord {
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its entity tag: the MD5 in hex.
    pub etag: String,
    /// Its bytes.
    pub body: Body,
    /// Its checksums.
    pub checksums: Checksums,
    /// When it came.
    pub modified: UnixMillis,
}

impl Record for PartRecord {
    const VERSION: u8 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(millis: u64, entropy: u64) -> VersionId {
        VersionId { hlc: Hlc::from_millis(UnixMillis(millis)), entropy }
    }

    #[test]
    fn ids_come_back_as_they_were_written() {
        let version = id(1_700_000_000_123, 0xdead_beef);
        assert_eq!(VersionId::parse(&version.to_string()), Some(version));
        assert_eq!(VersionId::parse("null"), None);
        assert_eq!(VersionId::parse(&version.to_string().to_uppercase()), None);
        let hash = BlobHash([0xa5; 32]);
        assert_eq!(BlobHash::parse(&hash.to_string()), Some(hash));
        assert_eq!(BlobHash::parse("a5"), None);
        assert_eq!(BlobHash::parse(&"é".repeat(32)), None);
    }
}
