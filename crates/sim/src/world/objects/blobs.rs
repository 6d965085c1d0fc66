//! The blobs of a machine: by their hash, in memory. A crash takes what was not synced.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use rhumb_types::{
    UnixMillis,
    record::{BlobHash, BlobRef},
};

/// A blob on the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// Its length, in bytes.
    pub bytes: u64,
    /// Since when.
    pub since: UnixMillis,
    /// Whether its bytes are what its name says.
    pub sound: bool,
}

/// What comes of reading a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Sound,
    Damaged,
    Missing,
}

#[derive(Debug, Default, Clone)]
struct Blobs {
    durable: BTreeMap<BlobHash, Held>,
    /// What a crash takes.
    unsynced: BTreeMap<BlobHash, Held>,
}

/// The blobs of one machine; clones share them.
#[derive(Debug, Clone, Default)]
pub struct BlobDisk(Rc<RefCell<Blobs>>);

impl BlobDisk {
    /// Stores a blob, at once and for good.
    pub(crate) fn put(&self, blob: BlobRef, since: UnixMillis) {
        let held = Held { bytes: blob.bytes, since, sound: true };
        let mut blobs = self.0.borrow_mut();
        blobs.unsynced.remove(&blob.hash);
        blobs.durable.insert(blob.hash, held);
    }

    /// Stores a blob that a crash may still take.
    pub(crate) fn put_unsynced(&self, blob: BlobRef, since: UnixMillis) {
        let held = Held { bytes: blob.bytes, since, sound: true };
        self.0.borrow_mut().unsynced.insert(blob.hash, held);
    }

    /// A blob, if it is there.
    pub(crate) fn get(&self, hash: &BlobHash) -> Option<Held> {
        let blobs = self.0.borrow();
        blobs.durable.get(hash).or_else(|| blobs.unsynced.get(hash)).copied()
    }

    /// Whether a blob is there and sound.
    pub(crate) fn is_sound(&self, hash: &BlobHash) -> bool {
        self.get(hash).is_some_and(|held| held.sound)
    }

    /// Reads a blob: whether it is there and sound. What is found damaged is set aside.
    pub(crate) fn read(&self, hash: &BlobHash) -> Read {
        match self.get(hash) {
            None => Read::Missing,
            Some(held) if held.sound => Read::Sound,
            Some(_) => {
                self.remove(hash);
                Read::Damaged
            }
        }
    }

    /// Whether a blob is there and sound, and a crash leaves it.
    #[must_use]
    pub fn is_durable(&self, hash: &BlobHash) -> bool {
        self.0.borrow().durable.get(hash).is_some_and(|held| held.sound)
    }

    /// Removes a blob.
    pub(crate) fn remove(&self, hash: &BlobHash) {
        let mut blobs = self.0.borrow_mut();
        blobs.durable.remove(hash);
        blobs.unsynced.remove(hash);
    }

    /// All that is there, in order.
    pub(crate) fn all(&self) -> Vec<(BlobHash, Held)> {
        let blobs = self.0.borrow();
        let mut all: BTreeMap<BlobHash, Held> = blobs.unsynced.clone();
        all.extend(blobs.durable.iter().map(|(hash, held)| (*hash, *held)));
        all.into_iter().collect()
    }

    /// The machine goes down.
    pub(crate) fn crash(&self) {
        self.0.borrow_mut().unsynced.clear();
    }

    /// Damages a blob.
    pub(crate) fn damage(&self, hash: &BlobHash) {
        if let Some(held) = self.0.borrow_mut().durable.get_mut(hash) {
            held.sound = false;
        }
    }

    /// What is there now, apart from this disk.
    pub(crate) fn image(&self) -> Self {
        Self(Rc::new(RefCell::new(Blobs {
            durable: self.0.borrow().durable.clone(),
            unsynced: BTreeMap::new(),
        })))
    }

    /// Is again as it was.
    pub(crate) fn rewind(&self, image: &Self) {
        *self.0.borrow_mut() = image.0.borrow().clone();
    }
}
