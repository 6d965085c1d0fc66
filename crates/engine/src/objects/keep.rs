//! What this region keeps, and when it lets go: the holder's side of rule 12, on the store of blobs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rhumb_objects::{
    Change,
    grant::{
        Ask, Grant, Holder, HolderConfig, HolderEffect, HolderEvent, Outcome, Pinning, Refusal,
        Told, limits::LIKED_MAX,
    },
    rows::Rows as _,
};
use rhumb_ports::{blobs::BlobError, clock::Clock};
use rhumb_types::{
    AckLevel, MonoTime, RegionId,
    record::{BlobHash, Dot, IndexKey, VersionVector},
};
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use super::ObjectClient;
use crate::limits::{LEAVING_WAIT, LIKED_FOR};

/// The holder, for everybody who pins. A lock and not a task, because it is held for a look-up only.
#[derive(Clone)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    holder: Mutex<Holder>,
    clock: Arc<dyn Clock>,
    /// Copies that are kept because they are read here, and when each was read last. As many as the
    /// holder likes; a lock of its own, which reads take only while there are any.
    liked: Mutex<BTreeMap<BlobHash, MonoTime>>,
    likes: AtomicUsize,
    /// Removals that have ended.
    removed: Notify,
}

impl Keeper {
    pub(super) fn new(clock: Arc<dyn Clock>, silence: Duration, applied: &VersionVector) -> Self {
        let now = clock.now();
        let config = HolderConfig { silence, ..HolderConfig::default() };
        // No earlier process has given tickets of such high numbers: they count milliseconds.
        let first_ticket = now.wall.0 << 16;
        let holder = Holder::new(config, now.mono, applied, first_ticket);
        let shared = Shared {
            holder: Mutex::new(holder),
            clock,
            liked: Mutex::default(),
            likes: AtomicUsize::new(0),
            removed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    fn holder(&self) -> MutexGuard<'_, Holder> {
        self.shared.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_event(&self, event: HolderEvent<'_>) -> Vec<HolderEffect> {
        let mut effects = Vec::new();
        self.holder().on_event(self.shared.clock.now().mono, event, &mut effects);
        effects
    }

    /// Something was committed here.
    pub(super) fn committed(&self, event: HolderEvent<'_>) {
        self.on_event(event);
    }

    /// More is committed than was told one by one.
    pub(super) fn covered(&self, vector: &VersionVector) {
        self.on_event(HolderEvent::Covered(vector));
    }

    pub(super) fn tick(&self) {
        self.on_event(HolderEvent::Tick);
        self.forget_unread();
    }

    fn liked(&self) -> MutexGuard<'_, BTreeMap<BlobHash, MonoTime>> {
        self.shared.liked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy came because it is read here, and stays while it is: no home counts it as one too many.
    pub(super) fn like(&self, hash: BlobHash) {
        let mut liked = self.liked();
        if liked.len() >= LIKED_MAX {
            return;
        }
        liked.insert(hash, self.shared.clock.now().mono);
        self.shared.likes.store(liked.len(), Ordering::Relaxed);
        self.holder().like(hash, true);
    }

    /// A copy need not stay any more, read or not.
    pub(super) fn unlike(&self, hash: BlobHash) {
        let mut liked = self.liked();
        if liked.remove(&hash).is_some() {
            self.shared.likes.store(liked.len(), Ordering::Relaxed);
            self.holder().like(hash, false);
        }
    }

    /// A blob was read here.
    pub(super) fn read(&self, hash: &BlobHash) {
        if self.shared.likes.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(read) = self.liked().get_mut(hash) {
            *read = self.shared.clock.now().mono;
        }
    }

    fn forget_unread(&self) {
        if self.shared.likes.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = self.shared.clock.now().mono;
        let mut liked = self.liked();
        let mut holder = self.holder();
        liked.retain(|hash, read| {
            let stays = now.saturating_since(*read) < LIKED_FOR;
            if !stays {
                holder.like(*hash, false);
            }
            stays
        });
        self.shared.likes.store(liked.len(), Ordering::Relaxed);
    }

    /// Keeps a blob for as long as what is given lives. One that is being removed at this moment is
    /// waited for; it is gone then.
    ///
    /// # Errors
    /// When that takes too long, or there are too many pins.
    pub(super) async fn pin(&self, hash: BlobHash) -> Result<Pin, BlobError> {
        let busy = |reason: &str| BlobError::Unavailable {
            place: "the store of blobs".to_owned(),
            reason: reason.to_owned(),
        };
        loop {
            let removed = self.shared.removed.notified();
            let pinning = self.holder().pin(hash);
            match pinning {
                Pinning::Pinned => return Ok(Pin { keeper: self.clone(), hash, dot: None }),
                Pinning::Full => return Err(busy("too much is under way")),
                Pinning::Leaving => timeout(LEAVING_WAIT, removed)
                    .await
                    .map_err(|_| busy("the blob is being removed at this moment; try again"))?,
            }
        }
    }
}

/// Keeps a blob.
pub(super) struct Pin {
    keeper: Keeper,
    hash: BlobHash,
    dot: Option<Dot>,
}

impl Pin {
    /// Goes only when a transaction of another region is applied here.
    pub(super) fn until(mut self, dot: Dot) {
        self.dot = Some(dot);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        match self.dot {
            None => self.keeper.holder().unpin(&self.hash),
            Some(dot) => {
                self.keeper.on_event(HolderEvent::UnpinAfter(self.hash, dot));
            }
        }
    }
}

impl ObjectClient {
    /// Answers a home that asks whether a blob is held.
    pub(super) async fn asked(&self, from: RegionId, ask: Ask) -> Option<Told> {
        let keeper = &self.running().keeper;
        let surplus = ask.surplus;
        let mut effects = keeper.on_event(HolderEvent::Asked { from, ask });
        if let Some(HolderEffect::Look { hash, look }) = effects.first() {
            let held = self.running().blobs.stat(*hash).await.ok().map(|held| held.is_some());
            // The row of what nobody refers to goes by the same grant, where the bytes went before it.
            let held = held.map(|held| held || (!surplus && self.says_held(hash)));
            effects = keeper.on_event(HolderEvent::Looked { hash: *hash, look: *look, held });
        }
        effects.into_iter().find_map(|effect| match effect {
            HolderEffect::Tell(_, told) => Some(told),
            _ => None,
        })
    }

    fn says_held(&self, hash: &BlobHash) -> bool {
        let row = IndexKey::Holder { hash: *hash, region: self.region().clone() }.encode();
        self.engine().index().row(&row).is_ok_and(|row| row.is_some())
    }

    /// Removes a blob that a home has granted, unless something speaks against it.
    pub(super) async fn granted(&self, from: RegionId, grant: Grant) -> Outcome {
        let keeper = &self.running().keeper;
        let (round, hash) = (grant.round, grant.hash);
        let mut effects = keeper.on_event(HolderEvent::Granted { from, grant });
        if let Some(HolderEffect::Remove(hash)) = effects.first().cloned() {
            // Once begun it goes on to its end, whether the home still waits or not.
            let (done, ended) = oneshot::channel();
            let client = self.clone();
            self.engine().tasks().spawn_until_drained(async move {
                let gone = client.remove(hash).await;
                let keeper = &client.running().keeper;
                let effects = keeper.on_event(HolderEvent::Removed { hash, gone });
                keeper.shared.removed.notify_waiters();
                let _nobody = done.send(effects);
            });
            effects = ended.await.unwrap_or_default();
        }
        let ended = effects.into_iter().find_map(|effect| match effect {
            HolderEffect::End(_, outcome) => Some(outcome),
            _ => None,
        });
        // A grant that came twice is being carried out by the first.
        ended.unwrap_or(Outcome { round, hash, result: Err(Refusal::Busy) })
    }

    /// The row that says that it is held goes first: who reads it finds the bytes.
    async fn remove(&self, hash: BlobHash) -> bool {
        let row = IndexKey::Holder { hash, region: self.region().clone() }.encode();
        let change = Change { expect: Vec::new(), write: vec![(row, None)] };
        match self.engine().compare_and_set(AckLevel::Local, change).await {
            Ok(Some(_)) => {}
            outcome => {
                tracing::warn!(?outcome, %hash, "a blob stays, for its row does");
                return false;
            }
        }
        let removed = self.running().blobs.remove(hash).await;
        removed.inspect_err(|error| tracing::warn!(%error, %hash, "a blob was not removed")).is_ok()
    }
}
