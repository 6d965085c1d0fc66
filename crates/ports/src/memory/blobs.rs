//! Blobs without a disk, with the faults of one.
//!
//! Deliberately absent: time. The clock of the store is what [`MemoryBlobs::set_now`] says.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use rhumb_types::{
    UnixMillis,
    record::{BlobHash, BlobRef},
};

use crate::{
    BoxFuture,
    blobs::{BLOB_BYTES_MAX, BlobError, BlobWriter, Blobs, HeldBlob, bounded},
};

/// The place that errors name.
const PLACE: &str = "memory";

/// What goes wrong with a store of blobs from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlobFaults {
    /// Nothing more can be written.
    pub full: bool,
    /// Nothing answers.
    pub unavailable: bool,
}

#[derive(Debug, Clone)]
struct Kept {
    content: Bytes,
    since: UnixMillis,
    sound: bool,
}

#[derive(Debug, Default)]
struct Shelf {
    kept: BTreeMap<BlobHash, Kept>,
    faults: BlobFaults,
    now: UnixMillis,
    damaged: u64,
}

impl Shelf {
    fn answers(&self) -> Result<(), BlobError> {
        let place = || PLACE.to_owned();
        let reason = || "it was made unreachable".to_owned();
        if self.faults.unavailable {
            return Err(BlobError::Unavailable { place: place(), reason: reason() });
        }
        Ok(())
    }

    fn has_room(&self) -> Result<(), BlobError> {
        self.answers()?;
        if self.faults.full { Err(BlobError::Full { place: PLACE.to_owned() }) } else { Ok(()) }
    }

    fn sound(&mut self, hash: BlobHash) -> Result<Bytes, BlobError> {
        self.answers()?;
        let kept = self.kept.get(&hash).ok_or(BlobError::Missing(hash))?;
        if kept.sound {
            return Ok(kept.content.clone());
        }
        self.kept.remove(&hash);
        self.damaged += 1;
        Err(BlobError::Damaged { hash, reason: "a test damaged it".to_owned() })
    }
}

fn held(hash: BlobHash, kept: &Kept) -> HeldBlob {
    HeldBlob { blob: BlobRef { hash, bytes: kept.content.len() as u64 }, since: kept.since }
}

/// Blobs in memory. Clones share what is held, as processes share a disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlobs {
    shelf: Arc<Mutex<Shelf>>,
}

impl MemoryBlobs {
    /// Holds nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: BlobFaults) {
        self.shelf().faults = faults;
    }

    /// The time at which later blobs are held.
    pub fn set_now(&self, now: UnixMillis) {
        self.shelf().now = now;
    }

    /// Damages a blob; whether it was there. Who reads it next finds out.
    pub fn damage(&self, hash: BlobHash) -> bool {
        self.shelf().kept.get_mut(&hash).map(|kept| kept.sound = false).is_some()
    }

    /// How many blobs were found damaged.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.shelf().damaged
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for MemoryBlobs {
    fn create(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, BlobError>> {
        Box::pin(async move {
            self.shelf().has_room()?;
            let shelf = Arc::clone(&self.shelf);
            let draft = Draft { shelf, content: BytesMut::new(), too_long: false };
            Ok(Box::new(draft) as Box<dyn BlobWriter>)
        })
    }

    fn read(&self, hash: BlobHash, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        Box::pin(async move {
            let content = self.shelf().sound(hash)?;
            let part = bounded(&range, content.len() as u64)?;
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            Ok(content.slice(place(part.start)..place(part.end)))
        })
    }

    fn stat(&self, hash: BlobHash) -> BoxFuture<'_, Result<Option<HeldBlob>, BlobError>> {
        Box::pin(async move {
            let shelf = self.shelf();
            shelf.answers()?;
            Ok(shelf.kept.get(&hash).map(|kept| held(hash, kept)))
        })
    }

    fn remove(&self, hash: BlobHash) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move {
            let mut shelf = self.shelf();
            shelf.answers()?;
            shelf.kept.remove(&hash);
            Ok(())
        })
    }

    fn list(
        &self,
        after: Option<BlobHash>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<HeldBlob>, BlobError>> {
        Box::pin(async move {
            let shelf = self.shelf();
            shelf.answers()?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let rows = shelf.kept.range((from, Bound::Unbounded)).take(max);
            Ok(rows.map(|(hash, kept)| held(*hash, kept)).collect())
        })
    }

    fn verify(&self, hash: BlobHash) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move { self.shelf().sound(hash).map(|_| ()) })
    }
}

/// A blob under way.
struct Draft {
    shelf: Arc<Mutex<Shelf>>,
    content: BytesMut,
    too_long: bool,
}

impl BlobWriter for Draft {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move {
            self.shelf.lock().unwrap_or_else(PoisonError::into_inner).has_room()?;
            if (self.content.len() + bytes.len()) as u64 > BLOB_BYTES_MAX {
                self.too_long = true;
                return Err(BlobError::too_long());
            }
            self.content.extend_from_slice(&bytes);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<BlobRef, BlobError>> {
        Box::pin(async move {
            let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
            shelf.has_room()?;
            if self.too_long {
                return Err(BlobError::too_long());
            }
            let content = self.content.freeze();
            let bytes = content.len() as u64;
            let hash = BlobHash(blake3::hash(&content).into());
            let kept = Kept { content, since: shelf.now, sound: true };
            shelf.kept.entry(hash).or_insert(kept);
            Ok(BlobRef { hash, bytes })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::contract::blobs::{BlobsFactory, cases};

    /// Nothing here ever waits.
    fn ready<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[derive(Default)]
    struct Shared(MemoryBlobs);

    impl BlobsFactory for Shared {
        type Blobs = MemoryBlobs;
        async fn open(&mut self) -> MemoryBlobs {
            self.0.clone()
        }
        async fn damage(&mut self, blobs: &MemoryBlobs, hash: BlobHash) {
            assert!(blobs.damage(hash), "{hash} is not there");
        }
    }

    macro_rules! contract {
        ($([$($case:ident)*])*) => { $($(
            #[test]
            fn $case() {
                ready(cases::$case(&mut Shared::default()));
            }
        )*)* };
    }

    crate::blobs_cases!(contract {});

    #[test]
    fn a_full_store_takes_nothing_and_keeps_what_it_has() {
        let blobs = MemoryBlobs::new();
        let mut writer = ready(blobs.create()).unwrap();
        ready(writer.write(Bytes::from_static(b"a"))).unwrap();
        blobs.set_faults(BlobFaults { full: true, ..BlobFaults::default() });
        assert!(matches!(ready(writer.finish()), Err(BlobError::Full { .. })));
        assert_eq!(ready(blobs.list(None, 10)), Ok(Vec::new()));
        blobs.set_faults(BlobFaults { unavailable: true, ..BlobFaults::default() });
        assert!(matches!(ready(blobs.list(None, 10)), Err(BlobError::Unavailable { .. })));
    }
}
