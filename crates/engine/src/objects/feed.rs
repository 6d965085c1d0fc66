//! What is committed of the index, told to who fetches and who keeps bytes.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use rhumb_objects::refer::Committed;
use rhumb_ports::store::{Batch, MetaName, Write};
use rhumb_state::visible;
use rhumb_types::{
    DomainId, RegionId,
    record::{Dot, Record as _, Space, VersionVector},
};
use tokio::sync::mpsc;

use super::{cache::Books, keep::Keeper};

/// Rows of the index: their keys, and what they hold.
pub(super) type Rows = Vec<(Bytes, Bytes)>;

/// Where committed rows go, once there are objects.
#[derive(Clone, Default)]
pub(crate) struct Feed {
    told: Arc<OnceLock<(mpsc::Sender<Rows>, Keeper, RegionId)>>,
    missed: Arc<AtomicBool>,
    books: Arc<Books>,
}

impl Feed {
    /// Commits that end from now on are told. Only the first to ask is taken.
    pub(crate) fn attach(&self, rows: mpsc::Sender<Rows>, keeper: Keeper, here: RegionId) {
        let _known = self.told.set((rows, keeper, here));
    }

    /// A batch was committed. Nobody waits: the keeper only notes what is referred to, and rows that are
    /// left out are found by a walk.
    pub(crate) fn committed(&self, batch: &Batch) {
        let Some((inbox, keeper, here)) = self.told.get() else { return };
        tell_references(batch, keeper, here);
        batch.writes.iter().for_each(|write| note(write, &self.books));
        let rows: Rows = batch.writes.iter().filter_map(row).collect();
        if !rows.is_empty() && inbox.try_send(rows).is_err() {
            self.missed.store(true, Ordering::Relaxed);
        }
    }

    /// What is noted of caches.
    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Whether rows were left out since this was last asked.
    pub(crate) fn has_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }
}

fn note(write: &Write, books: &Books) {
    let Write::Head { space: Space::OBJECTS, key, head: Some(head) } = write else { return };
    if let Some(row) = visible::whole(&head.cell).filter(|_| books.looks_at(key)) {
        books.committed(key, row);
    }
}

fn row(write: &Write) -> Option<(Bytes, Bytes)> {
    let Write::Head { space: Space::OBJECTS, key, head: Some(head) } = write else { return None };
    // Of holders only their going matters, and a walk sees that.
    matches!(key.first(), Some(b'c' | b'v' | b'p')).then_some(())?;
    Some((key.clone(), visible::whole(&head.cell)?.clone()))
}

/// Tells which transactions were committed, and to which blobs their rows refer.
fn tell_references(batch: &Batch, keeper: &Keeper, here: &RegionId) {
    let (mut committed, mut applied) = (Committed::new(here), None);
    for write in &batch.writes {
        match write {
            Write::Log { origin, version, .. } if origin.domain() == DomainId::EVERYWHERE => {
                committed.on_transaction(Dot { origin: *origin, version: *version });
            }
            Write::Meta { name: MetaName::Applied, value: Some(bytes) } => applied = Some(bytes),
            _ => {}
        }
    }
    for write in &batch.writes {
        if let Write::Head { space: Space::OBJECTS, key, head: Some(head) } = write {
            committed.on_cell(key, &head.cell);
        }
    }
    let applied = applied.and_then(|bytes| VersionVector::decode(bytes).ok());
    committed.tell(applied.as_ref(), |event| keeper.committed(event));
}
