//! What nodes ask of each other about objects, as bytes. The order of variants and fields is frozen
//! (rule 16).

use bytes::Bytes;
use rhumb_objects::{
    ask::{Answer, Ask},
    grant,
    index::Which,
    want::cache::ReadId,
};
use rhumb_types::{
    UnixMillis,
    record::{self, BlobHash, BucketName, CodecError, ObjectRecord, Record, VersionVector},
};
use serde::{Deserialize, Serialize};

use super::{
    pass::{Block, Passed, PassedOn},
    peers::Keep,
    refusal::Refusal,
};

/// A question of one node to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Call {
    /// A part of a blob.
    Read { hash: BlobHash, from: u64, to: u64 },
    /// To fetch blobs from the asker, and to keep them.
    Keep(Keep),
    /// A version of an object, as the asked node knows it, of what the asker has not applied.
    Find { bucket: BucketName, key: Bytes, which: Which, seen: VersionVector },
    /// A change of the index, at the home of its key.
    Change(Box<Ask>),
    /// Whether a blob is held (rule 12).
    Ask(grant::Ask),
    /// To remove one.
    Grant(grant::Grant),
    /// As `Find`, by who goes on to read: the first bytes come along, which saves a round trip.
    FindToRead { bucket: BucketName, key: Bytes, which: Which, seen: VersionVector },
    /// What the asked region has applied, of what is everywhere.
    Applied,
    /// To carry a request out whose bytes the asker may not hold.
    Pass(Box<Passed>),
    /// A block of the body of such a request.
    Pull { id: u64, nth: u64 },
    /// When objects of caches were last read there.
    LastRead(Vec<ReadId>),
}

impl Record for Call {
    const VERSION: u8 = 1;
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Bytes(Bytes),
    Kept,
    Found(Option<Box<ObjectRecord>>),
    /// Changed, and by which transaction.
    Changed(Box<Answer>, VersionVector),
    /// Nothing was done.
    Refused(Refusal),
    /// There is no such blob.
    NoBlob,
    Holding(grant::Told),
    Outcome(grant::Outcome),
    /// A version, and the first bytes of its first blob.
    FoundWith(Box<ObjectRecord>, Bytes),
    Applied(VersionVector),
    /// The request was carried out.
    Passed(Box<PassedOn>),
    /// A block of a body.
    Block(Block),
    /// In the order of the question, as far as it is known.
    LastRead(Vec<Option<UnixMillis>>),
}

impl Record for Told {
    const VERSION: u8 = 1;
}

impl Told {
    /// What an answer says. Bytes of a blob, which are most of what is told, stay where they came.
    pub(super) fn of(answer: &Bytes) -> Result<Self, CodecError> {
        match record::read(Self::VERSION, answer) {
            Ok(BytesOnly::Bytes(bytes)) => Ok(Self::Bytes(answer.slice_ref(bytes))),
            Err(_another) => Self::decode(answer),
        }
    }
}

/// [`Told::Bytes`], and none of the others.
#[derive(Deserialize)]
enum BytesOnly<'a> {
    Bytes(&'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_told_are_not_copied() {
        let told = Told::Bytes(Bytes::from(vec![7; 5_000])).encode();
        let Ok(Told::Bytes(bytes)) = Told::of(&told) else { unreachable!("bytes were told") };
        assert_eq!(bytes, vec![7; 5_000]);
        assert_eq!(bytes.as_ptr_range().end, told.as_ptr_range().end);
    }

    #[test]
    fn all_else_is_read_as_ever() {
        assert!(matches!(Told::of(&Told::Kept.encode()), Ok(Told::Kept)));
        let mut long = Told::Bytes(Bytes::from_static(b"ab")).encode().to_vec();
        long.push(0);
        for wrong in [Vec::new(), vec![9, 0, 0], vec![1, 99], vec![1, 0, 5, 1], long] {
            let wrong = Bytes::from(wrong);
            assert_eq!(Told::of(&wrong).err(), Told::decode(&wrong).err(), "{wrong:?}");
            assert!(Told::of(&wrong).is_err(), "{wrong:?}");
        }
    }
}
