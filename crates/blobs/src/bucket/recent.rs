//! The trees of blobs that were read lately.

use std::{
    collections::VecDeque,
    sync::{Arc, MutexGuard, PoisonError},
};

use rhumb_types::record::BlobHash;

use super::Bucket;
use crate::format::Index;

/// Most trees that are kept: of the longest blobs they have 12 KiB each.
const RECENT_MAX: usize = 128;

/// Trees, the latest used first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    kept: VecDeque<(BlobHash, Arc<Index>)>,
}

impl Recent {
    pub(super) fn find(&mut self, hash: BlobHash) -> Option<Arc<Index>> {
        let place = self.kept.iter().position(|(kept, _)| *kept == hash)?;
        let found = self.kept.remove(place)?;
        let index = Arc::clone(&found.1);
        self.kept.push_front(found);
        Some(index)
    }

    pub(super) fn keep(&mut self, hash: BlobHash, index: &Arc<Index>) {
        self.forget(hash);
        self.kept.push_front((hash, Arc::clone(index)));
        self.kept.truncate(RECENT_MAX);
    }

    pub(super) fn forget(&mut self, hash: BlobHash) {
        self.kept.retain(|(kept, _)| *kept != hash);
    }
}

impl Bucket {
    pub(super) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
