//! Machines start and end, and their disks take their time.

use std::{hash::Hash as _, time::Duration};

use rhumb_ports::store::{Batch, Durability, Store, StoreError};

use super::{Planned, What, World};
use crate::{branch::Branch, host::Host};

/// The time of a commit without fsync, in microseconds.
const BUFFERED_MICROS: u64 = 20;
/// The least time of an fsync, in microseconds.
pub(super) const SYNC_MICROS: u64 = 400;

/// A clock that is off by so much is found out however long messages take.
const CLOCK_FAR: Duration = Duration::from_secs(10);
/// One that is off by no more than this is held for right.
const CLOCK_RIGHT: Duration = Duration::from_millis(300);

impl World {
    /// A hash over everything that happened, to tell two runs apart: every event with its time, its host and
    /// its kind, what nodes wanted done, how large messages and batches were, and in the end what each host
    /// has applied and fsynced, and how much randomness was drawn.
    #[must_use]
    pub fn trace(&self) -> u64 {
        let mut trace = self.trace;
        for host in 0..self.hosts.len() {
            for (origin, version) in self.checker.holds(host).iter() {
                origin.hash(&mut trace);
                trace.mix(version);
            }
        }
        trace.mix(self.events);
        trace.mix(self.random.clone().bits());
        trace.value()
    }

    /// Whether a host's clock is far off and it can find that out: all run at their usual speed, its
    /// links stand and are good, and the clocks at their other ends are right.
    #[must_use]
    pub fn can_know_its_clock(&self, host: usize) -> bool {
        let runs = |machine: &Host| {
            machine.process.is_some() && !machine.is_held(self.now) && machine.handling_micros == 0
        };
        let clock = |machine: &Host, own: bool| {
            let off = Duration::from_millis(machine.wall_offset.unsigned_abs());
            if own { off >= CLOCK_FAR } else { off <= CLOCK_RIGHT }
        };
        // Of two clocks neither is the odd one.
        let data = self.hosts.iter().filter(|machine| !machine.config.witness).count();
        data > 2
            && self.hosts.iter().enumerate().all(|(nth, machine)| {
                let linked = nth == host || self.network.is_clear(nth, host);
                runs(machine) && linked && clock(machine, nth == host)
            })
    }

    /// Starts a machine that is down.
    pub fn start(&mut self, host: usize) {
        let entropy = self.random.bits();
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.process.is_some() {
            return;
        }
        // Connections of an earlier life are reset by the first packet.
        self.drop_links(host);
        let Some(machine) = self.hosts.get_mut(host) else { return };
        machine.start(now, entropy);
        self.checker.started(host, machine);
        self.plan(0, host, What::Tick);
        self.start_overseer(host);
        self.start_queues(host);
        self.start_objects(host);
    }

    /// Kills a machine; a power failure loses what was not synced, but for `kept` batches.
    pub fn crash(&mut self, host: usize, kept: usize) {
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.process.is_none() {
            return;
        }
        machine.crash(kept);
        self.leader_gone(host);
        self.drop_links(host);
    }

    /// Takes a machine away without a word: its disk keeps everything, and nobody's connection is
    /// reset. Whoever calls it cuts the links, too.
    pub fn vanish(&mut self, host: usize) {
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.process.is_some() {
            machine.crash(usize::MAX);
            self.leader_gone(host);
        }
    }

    fn drop_links(&mut self, host: usize) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.drop_link(host, other);
        }
    }

    /// The power fails while a batch is being written: it is whole on the disk, and nobody has heard
    /// of it, or its torn end is cut off at the next start. Earlier batches that were not synced
    /// survive or not with it, as they are before it in the journal.
    pub(crate) fn tear(&mut self, host: usize, whole: bool) {
        let of_host = |planned: &&Planned| planned.host == host;
        let incarnation = self.hosts.get(host).map_or(0, |machine| machine.incarnation);
        let planned = self.queue.iter().filter(of_host);
        let current = planned.filter(|planned| planned.incarnation == incarnation);
        let writes = current.filter_map(|planned| match &planned.what {
            What::Commit { writes, .. } => Some((planned.order, writes)),
            _ => None,
        });
        let writing = writes.min_by_key(|(order, _)| *order).map(|(_, writes)| writes.clone());
        let Some(writing) = writing.filter(|_| whole) else { return self.crash(host, 0) };
        if self.is_up(host) && self.commit(host, &writing, Durability::Buffered).is_ok() {
            self.branches.note(Branch::WrittenUnanswered);
        }
        self.crash(host, usize::MAX);
    }

    pub(super) fn disk_time(&mut self, host: usize, durability: Durability) -> u64 {
        let slow = self.hosts.get(host).map_or(0, |host| host.disk_delay_micros);
        match durability {
            Durability::Buffered => BUFFERED_MICROS,
            Durability::Synced => SYNC_MICROS + self.random.below(SYNC_MICROS) + slow,
        }
    }

    pub(super) fn commit(
        &mut self,
        host: usize,
        writes: &Batch,
        durability: Durability,
    ) -> Result<u64, StoreError> {
        let Some(machine) = self.hosts.get_mut(host) else { unreachable!("hosts are numbered") };
        let Some(process) = &machine.process else { unreachable!("a commit needs a process") };
        let result = process.store.commit(writes, durability);
        if result.is_ok() {
            self.checker.committed(host, writes, durability);
        }
        result
    }

    pub(super) fn sync(&mut self, host: usize) -> Result<(), StoreError> {
        let result = match self.process(host) {
            Some(process) => process.store.sync(),
            None => return Ok(()),
        };
        if result.is_ok() {
            self.checker.synced(host);
        }
        result
    }
}
