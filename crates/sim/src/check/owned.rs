//! Rules 4 and 5: who writes an owned row, under what, and what is answered with a yes.

use std::collections::BTreeMap;

use rhumb_ports::store::{Batch, Write};
use rhumb_state::owned;
use rhumb_types::{
    Epoch, RegionId,
    record::{Change, OwnedId, OwnedRow, Record, Transaction, VersionVector},
};

use super::{Check, Checker};

/// What the checker knows of owned rows.
#[derive(Debug, Default)]
pub(crate) struct Fencing {
    /// When a host last acted under a home's lease in an epoch, by its own clock.
    acted: BTreeMap<(usize, Epoch), BTreeMap<RegionId, u64>>,
    /// When a host last began to commit: what the next commit holds was accepted since.
    began: BTreeMap<usize, u64>,
    /// The newest transaction of an origin that a disk has been asked to hold; the first to ask is
    /// the writer.
    begun: VersionVector,
    /// Under which epoch of a home the last yes for a row was.
    answered: BTreeMap<(OwnedId, RegionId), Epoch>,
    /// The same of the round before.
    answered_before: BTreeMap<(OwnedId, RegionId), Epoch>,
}

impl Fencing {
    /// Forgets what no later commit or answer is compared with.
    pub(super) fn settle(&mut self) {
        let began = &self.began;
        self.acted.retain(|(host, _), homes| {
            homes.retain(|_, at| began.get(host).is_none_or(|began| *at >= *began));
            !homes.is_empty()
        });
        self.answered_before = std::mem::take(&mut self.answered);
    }
}

/// The leases as they count for one host.
pub(crate) struct Tenures<'a> {
    /// The epoch under which the host may act for a region, by its own clock.
    pub(crate) own: &'a dyn Fn(&RegionId) -> Option<Epoch>,
    /// The epoch of the lease that is agreed to be the host's at this instant.
    pub(crate) agreed: &'a dyn Fn(&RegionId) -> Option<Epoch>,
}

impl Checker {
    /// A host may act under a lease now.
    pub(crate) fn acts(&mut self, host: usize, now: u64, home: &RegionId, epoch: Epoch) {
        let homes = self.fencing.acted.entry((host, epoch)).or_default();
        match homes.get_mut(home) {
            Some(at) => *at = now,
            None => drop(homes.insert(home.clone(), now)),
        }
    }

    /// A host begins to commit; `stored` is what its disk holds before.
    pub(crate) fn begins(
        &mut self,
        host: usize,
        now: u64,
        batch: &Batch,
        stored: impl Fn(&OwnedId) -> Option<OwnedRow>,
    ) {
        let since = self.fencing.began.insert(host, now).unwrap_or(0);
        let mut newer: BTreeMap<OwnedId, OwnedRow> = BTreeMap::new();
        for write in &batch.writes {
            let Write::Log { transaction, .. } = write else { continue };
            // What cannot be read is found when the batch is on the disk.
            let Ok(transaction) = Transaction::decode(transaction) else { continue };
            let mut rows = transaction.changes.into_iter().filter_map(|change| match change {
                Change::Own(row) => Some(row),
                _ => None,
            });
            let Some(first) = rows.next() else { continue };
            let fresh = transaction.version > self.fencing.begun.get(transaction.origin);
            self.fencing.begun.raise(transaction.origin, transaction.version);
            for row in std::iter::once(first).chain(rows) {
                let before = newer.remove(&row.id).or_else(|| stored(&row.id));
                if fresh {
                    self.accepted(host, since, before.as_ref(), &row);
                }
                newer.insert(row.id.clone(), owned::adopt(before, row));
            }
        }
    }

    /// A host has accepted a version of a row, some time after it began its last commit.
    fn accepted(&mut self, host: usize, since: u64, before: Option<&OwnedRow>, row: &OwnedRow) {
        let region = self.carried.region(host).cloned();
        let (id, home, epoch) = (&row.id.key, &row.home, row.epoch);
        let foreign = |row: &&OwnedRow| row.pinned && Some(&row.home) != region.as_ref();
        if let Some(pinned) = before.into_iter().chain([row]).find(foreign) {
            let what = format!("host {host} changes {id:?}, which is pinned to {}", pinned.home);
            self.violated(Check::Pinned, what);
        }
        let homes = self.fencing.acted.get(&(host, epoch));
        let acted = homes.and_then(|homes| homes.get(home));
        if !row.pinned && acted.is_none_or(|at| *at < since) {
            let what = format!("host {host} accepts {id:?} without the lease of {home} in {epoch}");
            self.violated(Check::Fenced, what);
        }
    }

    /// A host answers with a yes.
    pub(crate) fn says_yes(&mut self, host: usize, rows: &[OwnedRow], tenures: &Tenures<'_>) {
        for row in rows.iter().filter(|row| !row.pinned) {
            let (id, home, epoch) = (&row.id.key, &row.home, row.epoch);
            if (tenures.own)(home) != Some(epoch) {
                let what =
                    format!("host {host} says yes to {id:?} after its {epoch} of {home} was over");
                self.violated(Check::Fenced, what);
            }
            if (tenures.agreed)(home) != Some(epoch) {
                let what = format!(
                    "host {host} says yes to {id:?} in {epoch} of {home}, and the lease agreed on \
                     is another"
                );
                self.violated(Check::Fenced, what);
            }
            let of = (row.id.clone(), home.clone());
            let before = self.fencing.answered_before.remove(&of);
            let last = self.fencing.answered.insert(of, epoch).or(before);
            if last.is_some_and(|last| last > epoch) {
                let what = format!("host {host} says yes to {id:?} in {epoch}, after {last:?}");
                self.violated(Check::Fenced, what);
            }
        }
    }
}
