//! Owned rows at the end: the same everywhere, and none behind what was acknowledged.

use std::collections::BTreeMap;

use rhumb_ports::store::{Range, ReadStore};
use rhumb_state::owned;
use rhumb_types::record::{OwnedId, OwnedRow, job::JOBS, queue::FRONTIERS};

use super::Run;
use crate::workload::owned::{Kept, TABLE};

type Rows = BTreeMap<OwnedId, OwnedRow>;

impl Run {
    /// The owned rows that all hosts hold.
    pub(super) fn same_rows(&self) -> Result<Rows, String> {
        let mut all = (0..self.world.hosts.len()).map(|host| self.rows(host));
        let first = all.next().unwrap_or_else(|| Ok(Rows::new()))?;
        for (nth, other) in (1..).zip(all) {
            let other = other?;
            let ids = first.keys().chain(other.keys());
            // Each host forgets by its own clock what is over.
            let forgotten = |id: &OwnedId| self.world.forgotten.iter().any(|(_, it)| it == id);
            let differs = |id: &&OwnedId| first.get(*id) != other.get(*id) && !forgotten(id);
            if let Some(id) = { ids }.find(differs) {
                let (ours, theirs) = (first.get(id), other.get(id));
                return Err(format!("hosts 0 and {nth} differ: {ours:?} and {theirs:?}"));
            }
        }
        Ok(first)
    }

    fn rows(&self, host: usize) -> Result<Rows, String> {
        let process = self.world.hosts.get(host).and_then(|machine| machine.process.as_ref());
        let process = process.ok_or_else(|| format!("host {host} is down"))?;
        let mut all = Rows::new();
        for table in [TABLE, JOBS, FRONTIERS] {
            let range = Range { after: None, limit: usize::MAX };
            let rows = process.store.owned_rows(table, range).map_err(|error| error.to_string())?;
            all.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
        }
        Ok(all)
    }

    /// What stays of a row is not behind any version that was acknowledged at `local` or more.
    pub(super) fn no_row_lost(&self, rows: &Rows) -> Result<(), String> {
        let sound = |kept: &&Kept| !self.lied.contains(&kept.host);
        for Kept { row, host } in self.work.owned.kept.iter().filter(sound) {
            let stays = rows.get(&row.id);
            if stays.is_none_or(|stays| owned::compare(stays, row).is_lt()) {
                return Err(format!("{row:?}, acknowledged by host {host}, is lost to {stays:?}"));
            }
        }
        Ok(())
    }
}
