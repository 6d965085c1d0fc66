//! What is committed of the queues' tables, told to the queues in the order of commits.

use std::sync::{Arc, OnceLock};

use rhumb_ports::store::{Batch, Write};
use rhumb_types::record::{OwnedRow, job::JOBS, queue::FRONTIERS};
use tokio::sync::mpsc;

use super::driver::Input;

/// Where committed rows go, once the queues run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed(Arc<OnceLock<mpsc::Sender<Input>>>);

impl Feed {
    /// Commits that end from now on are told. Only the first inbox is taken.
    pub(crate) fn attach(&self, inbox: mpsc::Sender<Input>) {
        let _known = self.0.set(inbox);
    }

    /// A batch was committed. The node has one commit out at a time, and hears of its end only after
    /// this, so the inbox has the rows in the order of commits, and before what is answered about them.
    /// Waits while the queues are behind: rows are never left out.
    pub(crate) fn committed(&self, batch: &Batch) {
        let Some(inbox) = self.0.get() else { return };
        let rows: Vec<OwnedRow> = batch.writes.iter().filter_map(row).cloned().collect();
        if !rows.is_empty() {
            // Queues that have stopped need no rows.
            let _stopped = inbox.blocking_send(Input::Rows(rows));
        }
    }
}

fn row(write: &Write) -> Option<&OwnedRow> {
    match write {
        Write::Owned(row) if matches!(row.id.table, JOBS | FRONTIERS) => Some(row),
        _ => None,
    }
}
