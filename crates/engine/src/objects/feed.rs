//! What is committed of the index, told to who fetches bytes.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use rhumb_ports::store::{Batch, Write};
use rhumb_state::visible;
use rhumb_types::record::Space;
use tokio::sync::mpsc;

/// Rows of the index: their keys, and what they hold.
pub(super) type Rows = Vec<(Bytes, Bytes)>;

/// Where committed rows go, once there are objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed {
    rows: Arc<OnceLock<mpsc::Sender<Rows>>>,
    missed: Arc<AtomicBool>,
}

impl Feed {
    /// Commits that end from now on are told. Only the first inbox is taken.
    pub(crate) fn attach(&self, rows: mpsc::Sender<Rows>) {
        let _known = self.rows.set(rows);
    }

    /// A batch was committed. Nobody waits: what is left out is found by a walk.
    pub(crate) fn committed(&self, batch: &Batch) {
        let Some(inbox) = self.rows.get() else { return };
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
