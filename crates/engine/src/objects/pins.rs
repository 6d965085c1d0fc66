//! Blobs that must stay, although nothing in the index may refer to them yet.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rhumb_types::record::BlobHash;

/// Which blobs are pinned, and how often. A lock and not a task, because it is held for a look-up
/// only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins(Arc<Mutex<BTreeMap<BlobHash, u32>>>);

impl Pins {
    /// Pins a blob for as long as what is given lives.
    pub(super) fn pin(&self, hash: BlobHash) -> Pin {
        *self.locked().entry(hash).or_default() += 1;
        Pin { pins: self.clone(), hash }
    }

    /// Whether a blob is pinned.
    #[cfg(test)]
    pub(super) fn holds(&self, hash: &BlobHash) -> bool {
        self.locked().contains_key(hash)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<BlobHash, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a blob.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Pins,
    hash: BlobHash,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.locked();
        if let Some(count) = pins.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_pinned_until_nobody_wants_it() {
        let pins = Pins::default();
        let hash = BlobHash([1; 32]);
        let (first, second) = (pins.pin(hash), pins.pin(hash));
        drop(first);
        assert!(pins.holds(&hash));
        drop(second);
        assert!(!pins.holds(&hash));
    }
}
