//! A bucket: its name and its settings.
//!
//! The order of the variants of an enum and of a struct's fields is frozen (rule 16).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::Record;
use crate::{AckLevel, ByteSize, RegionId, UnixMillis, text_id};

/// Shortest and longest bucket name, in bytes; the bounds of S3.
pub const BUCKET_NAME_BYTES: (usize, usize) = (3, 63);
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
    /// Settings that came later than the fields above, by their names: a node that does not know one of
    /// them leaves it as it is.
    pub later: BTreeMap<String, String>,
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
            later: BTreeMap::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_those_of_s3() {
        for bad in ["", "ab", "Abc", "a_b", "a..b", "-abc", "abc-", ".abc", &"x".repeat(64)] {
            assert!(BucketName::new(bad).is_err(), "{bad}");
        }
        for good in ["abc", "my.bucket-1", "0ab", &"x".repeat(63)] {
            assert!(BucketName::new(good).is_ok(), "{good}");
        }
    }

    /// A bucket that reads differently in another release is a lost bucket (rule 16).
    #[test]
    fn the_encoding_is_frozen() {
        let hex = |entry: &BucketEntry| -> String {
            entry.encode().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let mut entry = BucketEntry { created_at: UnixMillis(5), ..BucketEntry::default() };
        assert_eq!(hex(&entry), "0101020000000001008040030000000000050000");
        entry.definition.later.insert("strategy".to_owned(), "cost".to_owned());
        assert_eq!(
            hex(&entry),
            "010102000000000100804003000000000108737472617465677904636f7374050000"
        );
        assert_eq!(BucketEntry::decode(&entry.encode()).unwrap(), entry);
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
    fn an_upload_waits_for_a_majority_of_copies_only_where_the_bucket_says_so() {
        for (replication, copies, needed) in [
            (Replication::Regional, 3, 1),
            (Replication::Async, 2, 1),
            (Replication::Async, 5, 1),
            (Replication::ActiveActive, 1, 1),
            (Replication::ActiveActive, 2, 2),
            (Replication::ActiveActive, 3, 2),
            (Replication::ActiveActive, 5, 3),
        ] {
            let mut definition =
                BucketDefinition { replication, copies, ..BucketDefinition::default() };
            assert_eq!(definition.copies_needed(), needed, "{replication:?}, {copies}");
            definition.min_copies = Some(copies);
            assert_eq!(definition.copies_needed(), copies);
        }
    }
}
