//! Bytes and back: a version byte, then the record in postcard.
//!
//! Stored and sent records share this form, so that a transaction is encoded once. A version that
//! this binary does not know is told apart from damage (rule 16).

use bytes::Bytes;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Cell, Frontier, Head, Job, OwnedRow, Transaction, VersionVector};

/// What most rows need at most; longer records take a second attempt.
const ROW_BYTES_USUAL: usize = 256;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// There is nothing to read.
    #[error("the record is empty")]
    Empty,
    /// A newer node wrote it.
    #[error("the record has version {found}, and this node reads up to {known}: upgrade this node")]
    Newer {
        /// What it says.
        found: u8,
        /// The highest version that this binary reads.
        known: u8,
    },
    /// The bytes are damaged.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

/// Bytes that grow, and take what is long in one piece.
struct Whole(Vec<u8>);

impl Flavor for Whole {
    type Output = Vec<u8>;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self::Output> {
        Ok(self.0)
    }
}

/// A type with a versioned encoding.
pub trait Record: Serialize + DeserializeOwned {
    /// The version that this binary writes, and the highest that it reads.
    const VERSION: u8;

    /// The record as bytes.
    ///
    /// # Panics
    /// Never for the types of this crate: postcard fails only for types without a known length.
    #[must_use]
    fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads a record of this or an earlier version.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are empty, newer or damaged, or when some are left over.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        read(Self::VERSION, bytes)
    }
}

/// A record as bytes, of the version that this binary writes.
pub(super) fn encode<R: Record>(record: &R) -> Bytes {
    // Rows are small and many, and wait in memory for their files: they take just their length.
    let mut small = [R::VERSION; ROW_BYTES_USUAL];
    if let Some((_, body)) = small.split_first_mut()
        && let Ok(body) = postcard::to_slice(record, body)
    {
        let length = 1 + body.len();
        return Bytes::copy_from_slice(small.get(..length).unwrap_or_default());
    }
    let mut out = Vec::with_capacity(4 * ROW_BYTES_USUAL);
    out.push(R::VERSION);
    match postcard::serialize_with_flavor(record, Whole(out)) {
        // Without what was reserved beyond the length: a boxed slice.
        Ok(bytes) => Bytes::from(bytes.into_boxed_slice()),
        Err(error) => unreachable!("records have known lengths: {error}"),
    }
}

/// Reads what [`Record::encode`] wrote under this version or an earlier one, as a type that may borrow
/// from the bytes.
///
/// # Errors
/// [`CodecError`] when the bytes are empty, newer or damaged, or when some are left over.
pub fn read<'a, T: Deserialize<'a>>(known: u8, bytes: &'a [u8]) -> Result<T, CodecError> {
    let (version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version != known {
        return Err(CodecError::Newer { found: *version, known });
    }
    let (record, rest) =
        postcard::take_from_bytes(body).map_err(|error| CodecError::Damaged(error.to_string()))?;
    if rest.is_empty() {
        Ok(record)
    } else {
        Err(CodecError::Damaged(format!("{} bytes left over", rest.len())))
    }
}

impl Record for Cell {
    const VERSION: u8 = 1;
}
impl Record for Head {
    const VERSION: u8 = 1;
}
impl Record for Transaction {
    const VERSION: u8 = 1;
}
impl Record for VersionVector {
    const VERSION: u8 = 1;
}
impl Record for OwnedRow {
    const VERSION: u8 = 1;
}
impl Record for Job {
    const VERSION: u8 = 1;
}
impl Record for Frontier {
    const VERSION: u8 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OriginId;

    #[test]
    fn records_of_any_length_come_back() {
        let vector = |origins: u64| -> VersionVector {
            (0..origins).map(|nth| (OriginId(u64::MAX - nth), u64::MAX)).collect()
        };
        let mut lengths = Vec::new();
        for origins in 0..40 {
            let bytes = vector(origins).encode();
            assert_eq!(VersionVector::decode(&bytes).unwrap(), vector(origins));
            lengths.push(bytes.len());
        }
        assert!(lengths.contains(&242) && lengths.contains(&262), "both sides of the usual");
    }

    #[test]
    fn tells_a_newer_record_from_a_damaged_one() {
        let vector: VersionVector = [(OriginId(3), 9)].into_iter().collect();
        let mut bytes = vector.encode().to_vec();
        assert_eq!(VersionVector::decode(&bytes).unwrap(), vector);
        bytes.push(0);
        assert!(matches!(VersionVector::decode(&bytes), Err(CodecError::Damaged(_))));
        bytes[0] = 9;
        assert_eq!(VersionVector::decode(&bytes), Err(CodecError::Newer { found: 9, known: 1 }));
        assert_eq!(VersionVector::decode(&[]), Err(CodecError::Empty));
    }
}
