//! What a bucket says, in the words of the port.

use std::error::Error;

use object_store::client::HttpError;
use rhumb_ports::blobs::BlobError;

use super::Bucket;
use crate::{counters::add, format::Flaw};

/// Why a read gave nothing.
pub(super) enum Refused {
    Flaw(Flaw),
    Said(BlobError),
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

impl From<BlobError> for Refused {
    fn from(error: BlobError) -> Self {
        Self::Said(error)
    }
}

impl Bucket {
    /// An error of the bucket. What the transport could not bring over, in all its tries, may come
    /// over later; what the bucket answered stays so.
    pub(super) fn error(&self, error: &object_store::Error) -> BlobError {
        add(&self.counters.failed, 1);
        let place = self.place.clone();
        match lost(error) {
            Some(lost) => BlobError::Unavailable { place, reason: why(lost) },
            None => BlobError::Failed { place, reason: error.to_string() },
        }
    }

    pub(super) fn failed(&self, reason: impl ToString) -> BlobError {
        BlobError::Failed { place: self.place.clone(), reason: reason.to_string() }
    }
}

/// What the transport failed with, among the causes of an error.
fn lost(error: &object_store::Error) -> Option<&HttpError> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(lost) = error.downcast_ref() {
            return Some(lost);
        }
        cause = error.source();
    }
    None
}

/// Why the transport failed, down to the first cause.
fn why(lost: &HttpError) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut cause = lost.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if said.last().is_none_or(|last| !last.ends_with(&text)) {
            said.push(text);
        }
        cause = error.source();
    }
    said.join(": ")
}
