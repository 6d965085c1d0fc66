//! What is committed of the index, told to who fetches and who keeps bytes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use rhumb_ports::store::{Batch, MetaName, Write};
use rhumb_state::visible;
use rhumb_types::{
    DomainId,
    record::{BlobHash, Dot, Record as _, Space, Value, VersionVector},
};
use tokio::sync::mpsc;

use super::{keep::Keeper, refer::referred};

/// Rows of the index: their keys, and what they hold.
pub(super) type Rows = Vec<(Bytes, Bytes)>;

/// Where committed rows go, once there are objects.
#[derive(Clone, Default)]
pub(crate) struct Feed {
    told: Arc<OnceLock<(mpsc::Sender<Rows>, Keeper)>>,
    missed: Arc<AtomicBool>,
}

impl Feed {
    /// Commits that end from now on are told. Only the first to ask is taken.
    pub(crate) fn attach(&self, rows: mpsc::Sender<Rows>, keeper: Keeper) {
        let _known = self.told.set((rows, keeper));
    }

    /// A batch was committed. Nobody waits: the keeper only notes what is referred to, and rows that are
    /// left out are found by a walk.
    pub(crate) fn committed(&self, batch: &Batch) {
        let Some((inbox, keeper)) = self.told.get() else { return };
        tell_references(batch, keeper);
        let rows: Rows = batch.writes.iter().filter_map(row).collect();
        if !rows.is_empty() && inbox.try_send(rows).is_err() {
            self.missed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether rows were left out since this was last asked.
    pub(crate) fn has_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }
}

fn row(write: &Write) -> Option<(Bytes, Bytes)> {
    let Write::Head { space: Space::OBJECTS, key, head: Some(head) } = write else { return None };
    // Of holders only their going matters, and a walk sees that.
    matches!(key.first(), Some(b'c' | b'v' | b'p')).then_some(())?;
    Some((key.clone(), visible::whole(&head.cell)?.clone()))
}

/// Tells which transactions were committed, and to which blobs their rows refer.
fn tell_references(batch: &Batch, keeper: &Keeper) {
    let mut dots: BTreeMap<Dot, Vec<BlobHash>> = BTreeMap::new();
    let mut applied = None;
    for write in &batch.writes {
        match write {
            Write::Log { origin, version, .. } if origin.domain() == DomainId::EVERYWHERE => {
                dots.insert(Dot { origin: *origin, version: *version }, Vec::new());
            }
            Write::Meta { name: MetaName::Applied, value: Some(bytes) } => applied = Some(bytes),
            _ => {}
        }
    }
    for write in &batch.writes {
        let Write::Head { space: Space::OBJECTS, key, head: Some(head) } = write else { continue };
        for entry in &head.cell.entries {
            if let (Some(hashes), Value::Bytes(bytes)) = (dots.get_mut(&entry.dot), &entry.value) {
                hashes.extend(references(key, bytes));
            }
        }
    }
    let is_snapshot = dots.is_empty();
    for (dot, hashes) in dots {
        keeper.applied(dot, &hashes);
    }
    if is_snapshot && let Some(vector) = applied.and_then(|it| VersionVector::decode(it).ok()) {
        keeper.covered(&vector);
    }
}

fn references(key: &[u8], row: &[u8]) -> Vec<BlobHash> {
    let blobs = referred(key, row).ok().flatten().map(|it| it.blobs).unwrap_or_default();
    blobs.into_iter().map(|blob| blob.hash).collect()
}
