//! An object as it lies in the index, and the settings of its bucket.
//!
//! What a request does to these is the business of `rhumb-objects`. The order of the variants of an
//! enum and of a struct's fields is frozen (rule 16).

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{CodecError, Record};
use crate::{AckLevel, ByteSize, Hlc, RegionId, UnixMillis, text_id};

/// Shortest and longest bucket name, in bytes; the bounds of S3.
pub const BUCKET_NAME_BYTES: (usize, usize) = (3, 63);
/// Longest key of an object, in bytes; the bound of S3.
pub const OBJECT_KEY_BYTES_MAX: usize = 1_024;
/// Most parts of an object; the bound of S3.
pub const OBJECT_PARTS_MAX: usize = 10_000;

/// The name of a bucket: 3 to 63 lower-case letters, digits, `-` and `.`, that begins and ends with a
/// letter or a digit and has no `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(Arc<str>);

/// Why a text is not a bucket's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a bucket name: use 3 to 63 of a-z, 0-9, `-` and `.`, beginning and ending with a \
     letter or digit, without `..`"
)]
pub struct BucketNameError(String);

impl BucketName {
    /// Checks a name.
    ///
    /// # Errors
    /// When the text breaks a rule of the type.
    pub fn new(name: &str) -> Result<Self, BucketNameError> {
        let (least, most) = BUCKET_NAME_BYTES;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let well_formed = (least..=most).contains(&name.len())
            && name.bytes().all(|byte| plain(byte) || byte == b'-' || byte == b'.')
            && name.bytes().next().is_some_and(plain)
            && name.bytes().last().is_some_and(plain)
            && !name.contains("..");
        if well_formed { Ok(Self(name.into())) } else { Err(BucketNameError(name.to_owned())) }
    }
}

text_id!(BucketName, BucketNameError);

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

/// In which regions the bytes of a bucket's objects are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    /// Where they were put, and in as many others as `copies` says; others read through.
    Regional,
    /// In every region that may have them; an upload does not wait for that.
    #[default]
    Async,
    /// In every region that may have them; an upload waits for `copies` of them.
    ActiveActive,
}

/// What a bucket promises about changes of one key that meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketConsistency {
    /// Every region takes changes; of concurrent ones the later wins, and conditions hold within a
    /// region.
    #[default]
    Eventual,
    /// Every change goes to the key's home and is acknowledged at `quorum` (rule 10).
    Linearizable,
}

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Versioning {
    /// It never did.
    #[default]
    Off,
    /// Every change is a version.
    Enabled,
    /// It keeps those that it has; new ones are `null`.
    Suspended,
}

/// What a region says about a key that it does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    /// It asks the others first (rule 11).
    #[default]
    Ask,
    /// That it does not exist.
    Local,
}

/// A rule of a bucket's lifecycle.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// Whether it is off.
    pub disabled: bool,
    /// Keys that it is about start with this.
    pub prefix: String,
    /// Objects that it is about have all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Objects that it is about are larger than this, in bytes.
    pub larger_than: Option<u64>,
    /// Objects that it is about are smaller than this, in bytes.
    pub smaller_than: Option<u64>,
    /// An object that is so old expires.
    pub expire_after: Option<Duration>,
    /// An object expires at this time.
    pub expire_at: Option<UnixMillis>,
    /// A delete marker without other versions goes.
    pub expire_markers: bool,
    /// A version that was replaced so long ago goes.
    pub noncurrent_after: Option<Duration>,
    /// How many replaced versions stay although they are old enough.
    pub noncurrent_kept: u32,
    /// An upload that was begun so long ago is given up.
    pub abort_uploads_after: Option<Duration>,
}

/// The settings of a bucket, the same in every region; agreed in the strong group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BucketDefinition {
    /// In which regions bytes are.
    pub replication: Replication,
    /// In how many regions bytes are kept at least, once all is well: 2.
    pub copies: u8,
    /// In how many they must be before an upload is answered; fewer than `copies` and at least this
    /// is a degraded success. Without a number: a majority of `copies` for `active_active`, else 1.
    pub min_copies: Option<u8>,
    /// Regions to prefer, best first.
    pub regions: Vec<RegionId>,
    /// Bytes lie only in regions that have all of these tags.
    pub residency: Vec<String>,
    /// What is promised of changes that meet.
    pub consistency: BucketConsistency,
    /// What must be durable of the index before an upload is answered.
    pub ack: AckLevel,
    /// Whether versions are kept.
    pub versioning: Versioning,
    /// Objects up to this long lie in the index itself: 8 KiB. Not where `residency` is set.
    pub inline_max: ByteSize,
    /// A region that was asked so often within an hour for bytes of another keeps a copy; 0: never.
    pub promote_after: u32,
    /// What a region says about a key that it does not know.
    pub miss: Miss,
    /// What is done with objects in time.
    pub lifecycle: Vec<LifecycleRule>,
    /// Who else may do what: a policy in the words of S3, as JSON.
    pub policy: Option<String>,
    /// The most bytes that a region keeps of it: what was not read for longest goes first. For caches.
    pub cache_bytes_max: Option<ByteSize>,
    /// What only one protocol asks for, by its own names.
    pub protocol: BTreeMap<String, String>,
}

impl Default for BucketDefinition {
    fn default() -> Self {
        Self {
            replication: Replication::default(),
            copies: 2,
            min_copies: None,
            regions: Vec::new(),
            residency: Vec::new(),
            consistency: BucketConsistency::default(),
            ack: AckLevel::Local,
            versioning: Versioning::default(),
            inline_max: ByteSize(8 << 10),
            promote_after: 3,
            miss: Miss::default(),
            lifecycle: Vec::new(),
            policy: None,
            cache_bytes_max: None,
            protocol: BTreeMap::new(),
        }
    }
}

/// A bucket as it is agreed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BucketEntry {
    /// Its settings.
    pub definition: BucketDefinition,
    /// When it was made, by the clock of who made it.
    pub created_at: UnixMillis,
    /// Who made it: the name of a token.
    pub owner: String,
    /// Named values that its users gave it; nothing here reads them.
    pub tags: BTreeMap<String, String>,
}

impl Record for BucketEntry {
    const VERSION: u8 = 1;
}

/// Which setting of a bucket is against its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bucket's {setting} must be {rule}")]
pub struct BucketDefinitionError {
    /// Which.
    pub setting: &'static str,
    /// Within what.
    pub rule: &'static str,
}

/// Most copies of a blob.
pub const COPIES_MAX: u8 = 20;
/// Most bytes of an object that lies in the index.
pub const INLINE_BYTES_MAX: u64 = 64 << 10;
/// Most rules of a lifecycle; the bound of S3.
pub const LIFECYCLE_RULES_MAX: usize = 1_000;
/// Longest policy, in bytes; the bound of S3.
pub const BUCKET_POLICY_BYTES_MAX: usize = 20 << 10;

impl BucketDefinition {
    /// In how many regions an upload must be before it is answered.
    #[must_use]
    pub fn copies_needed(&self) -> u8 {
        match (self.min_copies, self.replication) {
            (Some(copies), _) => copies,
            (None, Replication::ActiveActive) => self.copies / 2 + 1,
            (None, _) => 1,
        }
    }

    /// How long an object may be that lies in the index.
    #[must_use]
    pub fn inline_bytes_max(&self) -> u64 {
        if self.residency.is_empty() { self.inline_max.0 } else { 0 }
    }

    /// Checks the settings against their bounds and against each other.
    ///
    /// # Errors
    /// [`BucketDefinitionError`] for the first that is not as it must be.
    pub fn check(&self) -> Result<(), BucketDefinitionError> {
        let rules = [
            ("copies", "1 to 20", (1..=COPIES_MAX).contains(&self.copies)),
            (
                "min_copies",
                "1 to copies",
                self.min_copies.is_none_or(|least| (1..=self.copies).contains(&least)),
            ),
            ("inline_max", "at most 64 KiB", self.inline_max.0 <= INLINE_BYTES_MAX),
            ("lifecycle", "at most 1000 rules", self.lifecycle.len() <= LIFECYCLE_RULES_MAX),
            (
                "policy",
                "at most 20 KiB",
                self.policy.as_ref().is_none_or(|text| text.len() <= BUCKET_POLICY_BYTES_MAX),
            ),
            (
                "consistency",
                "eventual for a cache, which forgets",
                self.cache_bytes_max.is_none() || self.consistency == BucketConsistency::Eventual,
            ),
            (
                "versioning",
                "off for a cache, which forgets",
                self.cache_bytes_max.is_none() || self.versioning == Versioning::Off,
            ),
        ];
        let broken = rules.into_iter().find(|(_, _, kept)| !kept);
        broken.map_or(Ok(()), |(setting, rule, _)| Err(BucketDefinitionError { setting, rule }))
    }
}

/// Where rows of the index lie: all in [`Space::OBJECTS`](super::Space::OBJECTS), as strings.
///
/// The first byte says what a row is, and a zero byte ends each part of a key that has no fixed
/// length; neither names of buckets nor keys of objects hold one. Rows of one kind and bucket are a
/// range, in the order of their keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IndexKey {
    /// The newest version of an object: an [`ObjectRecord`].
    Current {
        /// Its bucket.
        bucket: BucketName,
        /// Its key.
        key: Bytes,
    },
    /// Any version of an object in a bucket that keeps versions, the newest among them: an
    /// [`ObjectRecord`]. The newest comes first.
    Version {
        /// Its bucket.
        bucket: BucketName,
        /// Its key.
        key: Bytes,
        /// Which.
        version: VersionId,
    },
    /// That a region holds a blob: a [`HolderRecord`].
    Holder {
        /// The blob.
        hash: BlobHash,
        /// Who.
        region: RegionId,
    },
    /// An unfinished upload: an [`UploadRecord`].
    Upload {
        /// Its bucket.
        bucket: BucketName,
        /// The key to be.
        key: Bytes,
        /// The upload's id; in time's order.
        upload: VersionId,
    },
    /// A part of one: a [`PartRecord`].
    Part {
        /// The upload.
        upload: VersionId,
        /// Its number, from 1.
        number: u16,
    },
}

const CURRENT: u8 = b'c';
const VERSION: u8 = b'v';
const HOLDER: u8 = b'h';
const UPLOAD: u8 = b'u';
const PART: u8 = b'p';
const END: u8 = 0;

impl IndexKey {
    /// What the keys of all unfinished uploads start with, of all buckets.
    pub const ALL_UPLOADS: &'static [u8] = &[UPLOAD];
    /// What the keys of all parts of unfinished uploads start with.
    pub const ALL_PARTS: &'static [u8] = &[PART];

    /// The row's key.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let id = |version: VersionId| -> [u8; 16] {
            let bits = (u128::from(version.hlc.0) << 64) | u128::from(version.entropy);
            bits.to_be_bytes()
        };
        let newest_first = |version| id(version).map(|byte| !byte);
        match self {
            Self::Current { bucket, key } => Self::prefix(CURRENT, bucket, key),
            Self::Version { bucket, key, version } => {
                [Self::versions_of(bucket, key).as_ref(), &newest_first(*version)].concat().into()
            }
            Self::Holder { hash, region } => {
                [Self::holders_of(hash).as_ref(), region.as_str().as_bytes()].concat().into()
            }
            Self::Upload { bucket, key, upload } => {
                [Self::prefix(UPLOAD, bucket, key).as_ref(), &[END], &id(*upload)].concat().into()
            }
            Self::Part { upload, number } => {
                [Self::parts_of(*upload).as_ref(), &number.to_be_bytes()].concat().into()
            }
        }
    }

    /// What the keys of all versions of an object start with.
    #[must_use]
    pub fn versions_of(bucket: &BucketName, key: &[u8]) -> Bytes {
        [Self::prefix(VERSION, bucket, key).as_ref(), &[END]].concat().into()
    }

    /// What the keys of all holders of a blob start with.
    #[must_use]
    pub fn holders_of(hash: &BlobHash) -> Bytes {
        [&[HOLDER][..], &hash.0].concat().into()
    }

    /// A key after those of all holders of a blob, and before those of the next.
    #[must_use]
    pub fn after_holders_of(hash: &BlobHash) -> Bytes {
        // Names of regions have no such byte.
        [&[HOLDER][..], &hash.0, &[u8::MAX]].concat().into()
    }

    /// What the keys of all parts of an upload start with.
    #[must_use]
    pub fn parts_of(upload: VersionId) -> Bytes {
        let bits = (u128::from(upload.hlc.0) << 64) | u128::from(upload.entropy);
        [&[PART][..], &bits.to_be_bytes()].concat().into()
    }

    /// What the keys of the newest versions start with, of objects whose keys start with a prefix.
    #[must_use]
    pub fn currents(bucket: &BucketName, prefix: &[u8]) -> Bytes {
        Self::prefix(CURRENT, bucket, prefix)
    }

    /// As [`currents`](Self::currents), of all versions.
    #[must_use]
    pub fn versions(bucket: &BucketName, prefix: &[u8]) -> Bytes {
        Self::prefix(VERSION, bucket, prefix)
    }

    /// As [`currents`](Self::currents), of unfinished uploads.
    #[must_use]
    pub fn uploads(bucket: &BucketName, prefix: &[u8]) -> Bytes {
        Self::prefix(UPLOAD, bucket, prefix)
    }

    fn prefix(kind: u8, bucket: &BucketName, key: &[u8]) -> Bytes {
        [&[kind][..], bucket.as_str().as_bytes(), &[END], key].concat().into()
    }

    /// The row of a key.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when it is none of the index.
    pub fn decode(row: &[u8]) -> Result<Self, CodecError> {
        Self::read(row)
            .ok_or_else(|| CodecError::Damaged("the key is none of the index".to_owned()))
    }

    fn read(row: &[u8]) -> Option<Self> {
        let (kind, rest) = row.split_first()?;
        let id = |bytes: &[u8], flip: bool| -> Option<VersionId> {
            let bytes: [u8; 16] = bytes.try_into().ok()?;
            let bits = u128::from_be_bytes(bytes);
            let bits = if flip { !bits } else { bits };
            let halves = bits.to_be_bytes();
            let (hlc, entropy) = halves.split_at(8);
            let half = |half: &[u8]| half.try_into().ok().map(u64::from_be_bytes);
            Some(VersionId { hlc: Hlc(half(hlc)?), entropy: half(entropy)? })
        };
        let named = |rest: &[u8]| -> Option<(BucketName, Bytes)> {
            let end = rest.iter().position(|byte| *byte == END)?;
            let bucket = BucketName::new(std::str::from_utf8(rest.get(..end)?).ok()?).ok()?;
            Some((bucket, Bytes::copy_from_slice(rest.get(end + 1..)?)))
        };
        // A key, its end, and an id of sixteen bytes.
        let with_id = |rest: &[u8], flip: bool| -> Option<(BucketName, Bytes, VersionId)> {
            let (bucket, tail) = named(rest)?;
            let end = tail.len().checked_sub(17)?;
            let (key, ended) = tail.split_at_checked(end)?;
            let (end, bytes) = ended.split_first()?;
            (*end == END).then_some(())?;
            Some((bucket, Bytes::copy_from_slice(key), id(bytes, flip)?))
        };
        Some(match *kind {
            CURRENT => {
                let (bucket, key) = named(rest)?;
                Self::Current { bucket, key }
            }
            VERSION => {
                let (bucket, key, version) = with_id(rest, true)?;
                Self::Version { bucket, key, version }
            }
            HOLDER => {
                let (hash, region) = rest.split_at_checked(32)?;
                let region = RegionId::new(std::str::from_utf8(region).ok()?).ok()?;
                Self::Holder { hash: BlobHash(hash.try_into().ok()?), region }
            }
            UPLOAD => {
                let (bucket, key, upload) = with_id(rest, false)?;
                Self::Upload { bucket, key, upload }
            }
            PART => {
                let (upload, number) = rest.split_at_checked(16)?;
                let number = u16::from_be_bytes(number.try_into().ok()?);
                Self::Part { upload: id(upload, false)?, number }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OriginId;

    fn id(millis: u64, entropy: u64) -> VersionId {
        VersionId { hlc: Hlc::from_millis(UnixMillis(millis)), entropy }
    }

    #[test]
    fn bucket_names_are_those_of_s3() {
        for bad in ["", "ab", "Abc", "a_b", "a..b", "-abc", "abc-", ".abc", &"x".repeat(64)] {
            assert!(BucketName::new(bad).is_err(), "{bad}");
        }
        for good in ["abc", "my.bucket-1", "0ab", &"x".repeat(63)] {
            assert!(BucketName::new(good).is_ok(), "{good}");
        }
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

    #[test]
    fn rows_come_back_and_lie_in_order() {
        let bucket = BucketName::new("photos").unwrap();
        let key = Bytes::from_static("ärger/1.jpg".as_bytes());
        let version = |millis| IndexKey::Version {
            bucket: bucket.clone(),
            key: key.clone(),
            version: id(millis, OriginId(7).0),
        };
        let rows = [
            IndexKey::Current { bucket: bucket.clone(), key: key.clone() },
            IndexKey::Holder {
                hash: BlobHash([3; 32]),
                region: RegionId::new("us-east-1").unwrap(),
            },
            IndexKey::Part { upload: id(5, 6), number: 10_000 },
            IndexKey::Upload { bucket: bucket.clone(), key: key.clone(), upload: id(0, 0) },
            version(9),
        ];
        for row in rows {
            assert_eq!(IndexKey::decode(&row.encode()), Ok(row));
        }
        assert!(version(9).encode() < version(8).encode(), "the newest comes first");
        let of = |key: &'static str| IndexKey::Version {
            bucket: bucket.clone(),
            key: Bytes::from_static(key.as_bytes()),
            version: id(1, 1),
        };
        assert!(of("a").encode() < of("a!").encode(), "versions lie in the order of keys");
        let upload = |key| IndexKey::Upload { bucket: bucket.clone(), key, upload: id(1, 1) };
        assert!(upload(key.clone()).encode().starts_with(IndexKey::ALL_UPLOADS));
        let part = IndexKey::Part { upload: id(1, 1), number: 1 };
        assert!(part.encode().starts_with(IndexKey::ALL_PARTS));
        assert!(IndexKey::decode(b"x").is_err());
        assert!(IndexKey::decode(b"vphotos").is_err());
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let of = |change: fn(&mut BucketDefinition)| {
            let mut definition = BucketDefinition::default();
            change(&mut definition);
            definition.check()
        };
        assert_eq!(of(|_| ()), Ok(()));
        assert!(of(|it| it.copies = 0).is_err());
        assert!(of(|it| it.min_copies = Some(3)).is_err());
        assert!(of(|it| it.inline_max = ByteSize(1 << 20)).is_err());
        let cache = |it: &mut BucketDefinition| it.cache_bytes_max = Some(ByteSize(1));
        assert!(of(cache).is_ok());
        assert!(
            of(|it| {
                it.cache_bytes_max = Some(ByteSize(1));
                it.versioning = Versioning::Enabled;
            })
            .is_err()
        );
    }

    #[test]
    fn an_upload_waits_for_a_majority_of_copies_only_where_the_policy_says_so() {
        let mut definition = BucketDefinition { copies: 3, ..BucketDefinition::default() };
        assert_eq!(definition.copies_needed(), 1);
        definition.replication = Replication::ActiveActive;
        assert_eq!(definition.copies_needed(), 2);
        definition.min_copies = Some(3);
        assert_eq!(definition.copies_needed(), 3);
    }
}
