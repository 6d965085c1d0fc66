//! Rows of the index: how a rule reads them, and the change that it asks for.

use bytes::Bytes;
use rhumb_types::{
    ErrorCode,
    record::{CodecError, IndexKey, Record},
};

/// The index as it was at some moment: rows under the bytes of their [`IndexKey`]s, in order.
///
/// All reads of one rule may see different moments: what the rule's [`Change`] rests on is checked
/// again when it is carried out.
pub trait Rows {
    /// Why rows cannot be read.
    type Error: std::error::Error;

    /// A row.
    ///
    /// # Errors
    /// When it cannot be read.
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, Self::Error>;

    /// At most `limit` rows whose keys start with a prefix and are greater than `after`, in order.
    /// Fewer than `limit` are the last.
    ///
    /// # Errors
    /// When they cannot be read.
    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Self::Error>;
}

impl<R: Rows + ?Sized> Rows for &R {
    type Error = R::Error;

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, Self::Error> {
        (**self).row(key)
    }

    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Self::Error> {
        (**self).rows(prefix, after, limit)
    }
}

/// A compare-and-set of rows: all of it is done, or nothing, because a row was not as expected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// What rows must hold; `None`: the row is not there.
    pub expect: Vec<(Bytes, Option<Bytes>)>,
    /// What rows hold afterwards; `None`: the row is taken away.
    pub write: Vec<(Bytes, Option<Bytes>)>,
}

impl Change {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.write.is_empty()
    }

    pub(crate) fn expect<T>(&mut self, row: &Row<T>) {
        self.expect.push((row.key.clone(), row.bytes.clone()));
    }

    pub(crate) fn set(&mut self, key: Bytes, bytes: Bytes) {
        self.write.push((key, Some(bytes)));
    }

    pub(crate) fn take(&mut self, key: Bytes) {
        self.write.push((key, None));
    }
}

/// Why a rule gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed<R, E> {
    /// The request is refused; nothing is to be changed.
    #[error(transparent)]
    Refused(R),
    /// A row of the index cannot be understood.
    #[error("the row {row:?} of the index cannot be understood: {source}")]
    Damaged {
        /// Which.
        row: Bytes,
        /// Why.
        source: CodecError,
    },
    /// Rows could not be read.
    #[error("the index could not be read: {0}")]
    Rows(E),
}

/// Why a request was refused, in the words that servers share.
pub trait Refusal: std::error::Error {
    /// What kind of refusal it is.
    fn code(&self) -> ErrorCode;
}

impl<R: Refusal, E> Failed<R, E> {
    /// What kind of failure it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refused) => refused.code(),
            Self::Damaged { .. } | Self::Rows(_) => ErrorCode::Internal,
        }
    }
}

impl<R, E> Failed<R, E> {
    /// The same failure of another operation.
    pub fn map_refused<S>(self, refused: impl FnOnce(R) -> S) -> Failed<S, E> {
        match self {
            Self::Refused(why) => Failed::Refused(refused(why)),
            Self::Damaged { row, source } => Failed::Damaged { row, source },
            Self::Rows(error) => Failed::Rows(error),
        }
    }
}

/// Nothing is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Never {}

impl Refusal for Never {
    fn code(&self) -> ErrorCode {
        match *self {}
    }
}

/// A row as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Row<T> {
    pub(crate) key: Bytes,
    pub(crate) bytes: Option<Bytes>,
    pub(crate) record: Option<T>,
}

impl<T: Record> Row<T> {
    pub(crate) fn read<S: Rows, R>(
        source: &S,
        key: &IndexKey,
    ) -> Result<Self, Failed<R, S::Error>> {
        let key = key.encode();
        let bytes = source.row(&key).map_err(Failed::Rows)?;
        let record = bytes.as_ref().map(|bytes| decoded(&key, bytes)).transpose()?;
        Ok(Self { key, bytes, record })
    }
}

/// The record in a row.
pub(crate) fn decoded<T: Record, R, E>(key: &Bytes, bytes: &Bytes) -> Result<T, Failed<R, E>> {
    T::decode(bytes).map_err(|source| Failed::Damaged { row: key.clone(), source })
}
