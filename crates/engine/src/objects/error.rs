//! Why a request about objects was not carried out.

use rhumb_objects::{
    index::{CopyRefused, ReadRefused, Refused},
    lifecycle::RulesRefused,
    multipart::{BeginRefused, CompleteRefused, NoUpload, PartRefused},
    rows::{Failed, Refusal as _},
};
use rhumb_ports::{blobs::BlobError, store::StoreError};
use rhumb_types::{
    ErrorCode,
    record::{BucketName, bucket::BucketDefinitionError},
};

use crate::{StrongError, WriteError};

/// Why a request about objects was not carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ObjectError {
    /// There is no such bucket.
    #[error("there is no bucket `{0}`")]
    NoBucket(BucketName),
    /// There is one already.
    #[error("there is a bucket `{0}` already")]
    BucketExists(BucketName),
    /// It still holds something.
    #[error("the bucket `{0}` is not empty")]
    NotEmpty(BucketName),
    /// Its settings were changed meanwhile.
    #[error("the bucket `{0}` was changed meanwhile")]
    BucketChanged(BucketName),
    /// A setting is against its bounds.
    #[error(transparent)]
    Setting(#[from] BucketDefinitionError),
    /// Its rules are no lifecycle.
    #[error(transparent)]
    Lifecycle(#[from] RulesRefused),
    /// There is nothing to read.
    #[error(transparent)]
    Read(#[from] ReadRefused),
    /// The change is refused.
    #[error(transparent)]
    Change(#[from] Refused),
    /// The copy is refused.
    #[error(transparent)]
    Copy(#[from] CopyRefused),
    /// The upload is not begun.
    #[error(transparent)]
    Begin(#[from] BeginRefused),
    /// The part is refused.
    #[error(transparent)]
    Part(#[from] PartRefused),
    /// The upload is not completed.
    #[error(transparent)]
    Complete(#[from] CompleteRefused),
    /// There is no such upload.
    #[error(transparent)]
    NoUpload(#[from] NoUpload),
    /// The bytes are not what was said of them.
    #[error("the {0} of the body is not the one given")]
    Digest(&'static str),
    /// The body has another length than was said.
    #[error("the body has {found} bytes, and {said} were announced")]
    Length {
        /// How many came.
        found: u64,
        /// How many were to come.
        said: u64,
    },
    /// The client's stream broke.
    #[error("the body broke off: {0}")]
    Body(String),
    /// It is against a limit.
    #[error("{0}")]
    Invalid(String),
    /// Bytes could not be stored or read here.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Too few regions took the bytes.
    #[error("{had} of {needed} regions took the bytes: {why}")]
    Copies {
        /// How many did.
        had: usize,
        /// How many were needed.
        needed: usize,
        /// Why others did not.
        why: String,
    },
    /// The index could not be changed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The index could not be read.
    #[error("the index could not be read: {0}")]
    Store(#[from] StoreError),
    /// A row of the index is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The strong group did not agree.
    #[error(transparent)]
    Agreement(#[from] StrongError),
    /// What is needed cannot be reached now. Nothing was done.
    #[error("{0}")]
    Unavailable(String),
    /// It may have been done.
    #[error("{0}")]
    Unconfirmed(String),
    /// Another region refused it, in its own words.
    #[error("{why}")]
    Elsewhere {
        /// The kind of refusal.
        code: ErrorCode,
        /// What it said.
        why: String,
    },
}

impl ObjectError {
    /// What a caller sees.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoBucket(_) => ErrorCode::NotFound,
            Self::BucketExists(_) | Self::NotEmpty(_) | Self::BucketChanged(_) => {
                ErrorCode::Conflict
            }
            Self::Setting(_)
            | Self::Lifecycle(_)
            | Self::Digest(_)
            | Self::Length { .. }
            | Self::Body(_)
            | Self::Invalid(_) => ErrorCode::Invalid,
            Self::Read(refused) => refused.code(),
            Self::Change(refused) => refused.code(),
            Self::Copy(refused) => refused.code(),
            Self::Begin(refused) => refused.code(),
            Self::Part(refused) => refused.code(),
            Self::Complete(refused) => refused.code(),
            Self::NoUpload(refused) => refused.code(),
            Self::Blob(error) => error.code(),
            Self::Write(error) => error.code(),
            Self::Store(_) | Self::Damaged(_) => ErrorCode::Internal,
            Self::Agreement(error) => error.code(),
            Self::Copies { .. } | Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Unconfirmed(_) => ErrorCode::Unconfirmed,
            Self::Elsewhere { code, .. } => *code,
        }
    }
}

impl<R: Into<Self>> From<Failed<R, StoreError>> for ObjectError {
    fn from(failed: Failed<R, StoreError>) -> Self {
        match failed {
            Failed::Refused(refused) => refused.into(),
            Failed::Damaged { row, source } => Self::Damaged(format!(
                "a row of the index cannot be understood: {}: {source}",
                row.escape_ascii()
            )),
            Failed::Rows(error) => error.into(),
        }
    }
}

impl From<rhumb_objects::rows::Never> for ObjectError {
    fn from(never: rhumb_objects::rows::Never) -> Self {
        match never {}
    }
}
