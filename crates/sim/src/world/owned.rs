//! Owned rows as the checker sees them: leases before every event, commits, and answers.

use std::sync::Arc;

use rhumb_node::Event;
use rhumb_ports::store::{Batch, Durability, Range, ReadStore, Store, Write};
use rhumb_types::{Epoch, RegionId, record::OwnedRow};

use super::World;
use crate::{check::Tenures, workload::owned::TABLE};

impl World {
    /// Takes the owned rows of a round off every disk. Nobody will ask for them again, all hosts
    /// hold the same, and no machine removes finished rows yet: those of a week would fill the
    /// memory.
    pub(super) fn drop_owned(&mut self) {
        for process in self.hosts.iter().filter_map(|machine| machine.process.as_ref()) {
            let range = Range { after: None, limit: usize::MAX };
            let rows = process.store.owned_rows(TABLE, range).unwrap_or_default();
            let writes = rows.into_iter().map(|row| Write::OwnedDrop(row.id)).collect();
            let dropped = process.store.commit(&Batch { writes }, Durability::Synced);
            assert!(dropped.is_ok(), "every disk is mended at the end of a round");
        }
    }

    /// Hands the leases to a node before its next event, as the engine's loop does.
    pub(super) fn show_leases(&mut self, host: usize) {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let clock = machine.clock(now);
        let Some(process) = &mut machine.process else { return };
        if !Arc::ptr_eq(&process.shown, &process.leases) {
            process.shown = process.leases.clone();
            let event = Event::Leases(process.leases.clone());
            process.node.on_event(clock, event, &mut process.effects);
        }
        for (home, tenure) in process.leases.iter() {
            if let Some(epoch) = tenure.at(clock.mono) {
                self.checker.acts(host, now, home, epoch);
            }
        }
    }

    /// A node has a batch committed: rules 4 and 5 for what it has accepted.
    pub(super) fn check_accepted(&mut self, host: usize, batch: &Batch) {
        let Some(machine) = self.hosts.get(host) else { return };
        let (Some(process), true) = (&machine.process, machine.oversight.is_some()) else { return };
        let store = &process.store;
        self.checker.begins(host, self.now, batch, |id| store.owned(id).ok().flatten());
    }

    /// A node says yes to owned writes: rule 4, by its own clock and by what is agreed.
    pub(super) fn check_yes(&mut self, host: usize, rows: &[OwnedRow]) {
        let Some(machine) = self.hosts.get(host) else { return };
        let Some(process) = &machine.process else { return };
        let clock = machine.clock(self.now).mono;
        let own = |home: &RegionId| process.shown.get(home)?.at(clock);
        let leases = &self.group.leases;
        let agreed = |home: &RegionId| -> Option<Epoch> {
            let lease = leases.get(home)?;
            let mine = lease.holder.as_ref().is_some_and(|it| it.node == machine.config.node);
            mine.then_some(lease.epoch)
        };
        self.checker.says_yes(host, rows, &Tenures { own: &own, agreed: &agreed });
    }
}
