//! Where rows of the index of objects lie.

use bytes::Bytes;

use super::{BlobHash, BucketName, CodecError, Term, VersionId};
use crate::{Epoch, Hlc, RegionId};

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
    /// What somebody knew who began to decide: a [`FenceRecord`](super::FenceRecord).
    Fence {
        /// The home that it acts for.
        home: RegionId,
        /// Under what.
        term: Term,
    },
}

const CURRENT: u8 = b'c';
const VERSION: u8 = b'v';
const HOLDER: u8 = b'h';
const UPLOAD: u8 = b'u';
const PART: u8 = b'p';
const FENCE: u8 = b'f';
const END: u8 = 0;

impl IndexKey {
    /// What the keys of all unfinished uploads start with, of all buckets.
    pub const ALL_UPLOADS: &'static [u8] = &[UPLOAD];
    /// What the keys of all parts of unfinished uploads start with.
    pub const ALL_PARTS: &'static [u8] = &[PART];
    /// What the keys of all fences start with.
    pub const ALL_FENCES: &'static [u8] = &[FENCE];

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
            Self::Fence { home, term } => {
                let (homes, epoch) = (term.homes.to_be_bytes(), term.epoch.0.to_be_bytes());
                [&[FENCE][..], home.as_str().as_bytes(), &[END], &homes, &epoch].concat().into()
            }
        }
    }

    /// Whether somebody decides about the row in a linearizable bucket: those of versions.
    #[must_use]
    pub fn is_decided(row: &[u8]) -> bool {
        matches!(row.first(), Some(&(CURRENT | VERSION)))
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
            FENCE => {
                let end = rest.len().checked_sub(17)?;
                let (home, ended) = rest.split_at_checked(end)?;
                let (end, numbers) = ended.split_first()?;
                (*end == END).then_some(())?;
                let (homes, epoch) = numbers.split_at_checked(8)?;
                let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
                let term = Term { homes: number(homes)?, epoch: Epoch(number(epoch)?) };
                let home = RegionId::new(std::str::from_utf8(home).ok()?).ok()?;
                Self::Fence { home, term }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OriginId, UnixMillis};

    fn id(millis: u64, entropy: u64) -> VersionId {
        VersionId { hlc: Hlc::from_millis(UnixMillis(millis)), entropy }
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
            IndexKey::Fence {
                home: RegionId::new("us-east-1").unwrap(),
                term: Term { homes: 3, epoch: Epoch(0x0102) },
            },
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
}
