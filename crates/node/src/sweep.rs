//! Housekeeping: keys whose time is over, removals that are not yet carried out on the rows, and
//! counter deltas that can be forgotten.
//!
//! A key that has expired is already invisible; removing it is a write, and only one region makes
//! it: the key's place among the regions in reach, by rendezvous hashing, decides. Two that
//! disagree for a moment both remove it, which is the same as one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rhumb_ports::store::StoreError;
use rhumb_regions::affinity::rendezvous;
use rhumb_state::{
    Draft, RowId,
    sweep::{SweepChunk, SweepProgress},
    visible,
};
use rhumb_types::{
    MonoTime, RegionId, Timestamp, UnixMillis,
    record::{Cell, Head, Space},
};

use crate::{
    event::{Alarm, Effect, Effects, Rows, Ticket},
    limits,
    node::Node,
    status::Phase,
    write::Lane,
};

/// What the sweep is busy with.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    looked: MonoTime,
    looking: bool,
    /// Keys whose heads are being fetched.
    fetching: BTreeMap<Ticket, Vec<(Space, Bytes)>>,
    /// Rows with dead deltas that are being fetched.
    garbage: Option<Ticket>,
    keys: BTreeSet<(Space, Bytes)>,
    prefixes: BTreeSet<(Space, Bytes)>,
}

impl Node {
    /// Looks for work at intervals.
    pub(crate) fn sweep_tick(&mut self, now: Timestamp, out: &mut Effects) {
        let due = now.mono.saturating_since(self.sweeps.looked) >= limits::SWEEP_INTERVAL;
        if !due || self.phase != Phase::Running {
            return;
        }
        self.sweeps.looked = now.mono;
        if !self.sweeps.looking {
            self.sweeps.looking = true;
            out.push(Effect::ReadDue { until: now.wall, limit: limits::SWEEP_KEYS_MAX });
        }
        self.sweep_prefixes(out);
        self.visit_garbage(out);
    }

    fn sweep_prefixes(&mut self, out: &mut Effects) {
        for space in Space::ALL {
            let removals = self.table.cleared(space).map(|list| list.removals.clone());
            for removal in removals.unwrap_or_default() {
                let id = (space, removal.prefix.clone());
                if !self.sweeps.prefixes.contains(&id)
                    && self.table.begin_prefix_sweep(space, &removal.prefix)
                {
                    self.sweeps.prefixes.insert(id);
                    self.read_keys(space, removal.prefix, None, out);
                }
            }
        }
    }

    fn visit_garbage(&mut self, out: &mut Effects) {
        if self.sweeps.garbage.is_some() {
            return;
        }
        let rows = self.table.garbage_to_read(limits::SWEEP_KEYS_MAX);
        if rows.is_empty() {
            self.table.collect_garbage(limits::SWEEP_KEYS_MAX);
            return;
        }
        let ticket = self.ticket();
        self.sweeps.garbage = Some(ticket);
        out.push(Effect::Fetch { ticket, rows });
    }

    /// The index of expiry has been read: the heads of these keys are needed.
    pub(crate) fn due_read(
        &mut self,
        due: Result<Vec<(UnixMillis, Space, Bytes)>, StoreError>,
        out: &mut Effects,
    ) {
        self.sweeps.looking = false;
        let due = match due {
            Ok(due) => due,
            Err(error) => return out.push(Effect::Alarm(Alarm::Disk(error))),
        };
        let keys: Vec<_> = due
            .into_iter()
            .filter(|(at, space, key)| at.0 == 0 || self.is_sweeper(*space, key))
            .map(|(_, space, key)| (space, key))
            .filter(|id| !self.sweeps.keys.contains(id))
            .collect();
        if keys.is_empty() {
            return;
        }
        let ticket = self.ticket();
        let rows = keys.iter().map(|(space, key)| RowId::Head(*space, key.clone())).collect();
        self.sweeps.fetching.insert(ticket, keys);
        out.push(Effect::Fetch { ticket, rows });
    }

    /// Whether this region is the one that removes an expired key.
    fn is_sweeper(&self, _space: Space, key: &[u8]) -> bool {
        let own = &self.config.region;
        let reachable = self.peers.data().filter(|(_, peer)| peer.up && peer.said_hello);
        let regions: Vec<&RegionId> = reachable.map(|(region, _)| region).chain([own]).collect();
        rendezvous(key, regions.into_iter()) == Some(own)
    }

    /// Rows for the sweep have come; says whether the ticket was one of its own.
    pub(crate) fn sweep_fetched(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        out: &mut Effects,
    ) -> bool {
        if self.sweeps.garbage == Some(ticket) {
            self.sweeps.garbage = None;
            self.table.collect_garbage(limits::SWEEP_KEYS_MAX);
            return true;
        }
        let Some(keys) = self.sweeps.fetching.remove(&ticket) else { return false };
        if self.phase == Phase::Running {
            for (space, key) in keys {
                self.sweep_key(now, space, key, out);
            }
        }
        true
    }

    fn sweep_key(&mut self, now: Timestamp, space: Space, key: Bytes, out: &mut Effects) {
        let Ok(head) = self.table.head(space, &key) else { return };
        let is_expired = visible::expired(head, now.wall);
        let waits = !head.cleared.is_empty();
        if is_expired {
            self.edit_own(now, &key, |table, draft| {
                let removed = draft.remove_key(table, space, key.clone());
                assert!(removed.is_ok(), "the head of the key is in the table");
            });
        }
        if waits && self.table.begin_sweep(space, &key) == Ok(true) {
            self.sweeps.keys.insert((space, key.clone()));
            self.read_members(space, key, None, out);
        }
    }

    /// Writes something of the node's own, in the lane of a key.
    fn edit_own(
        &mut self,
        now: Timestamp,
        key: &[u8],
        edit: impl FnOnce(&mut rhumb_state::Table, &mut Draft),
    ) {
        let lane = Lane::of(self.config.namespaces.policy(key));
        let mut draft = self.take_draft(now, lane);
        edit(&mut self.table, &mut draft);
        self.put_draft(lane, draft);
    }

    fn read_members(&self, space: Space, key: Bytes, after: Option<Bytes>, out: &mut Effects) {
        out.push(Effect::ReadMembers { space, key, after, limit: limits::SWEEP_ROWS_MAX });
    }

    fn read_keys(&self, space: Space, prefix: Bytes, after: Option<Bytes>, out: &mut Effects) {
        out.push(Effect::ReadKeys { space, prefix, after, limit: limits::SWEEP_ROWS_MAX });
    }

    /// A part of a key's members has been read.
    pub(crate) fn members_read(
        &mut self,
        space: Space,
        key: Bytes,
        rows: Result<Rows<Cell>, StoreError>,
        out: &mut Effects,
    ) {
        let id = (space, key.clone());
        let chunk = match rows {
            Ok(rows) => SweepChunk { commit: rows.commit, rows: rows.rows, last: rows.last },
            Err(error) => {
                self.sweeps.keys.remove(&id);
                return out.push(Effect::Alarm(Alarm::Disk(error)));
            }
        };
        let progress = self.table.sweep(space, &key, &chunk);
        match progress {
            Ok(SweepProgress::Continue) => {
                let after = chunk.rows.last().map(|(member, _)| member.clone());
                self.read_members(space, key, after, out);
            }
            // Its row at time 0 of the expiry index brings it back.
            Ok(SweepProgress::Stale | SweepProgress::Restart | SweepProgress::Done) | Err(_) => {
                self.sweeps.keys.remove(&id);
            }
        }
    }

    /// A part of the keys of a removed range has been read.
    pub(crate) fn keys_read(
        &mut self,
        space: Space,
        prefix: Bytes,
        rows: Result<Rows<Head>, StoreError>,
        out: &mut Effects,
    ) {
        let id = (space, prefix.clone());
        let chunk = match rows {
            Ok(rows) => SweepChunk { commit: rows.commit, rows: rows.rows, last: rows.last },
            Err(error) => {
                self.sweeps.prefixes.remove(&id);
                return out.push(Effect::Alarm(Alarm::Disk(error)));
            }
        };
        match self.table.sweep_prefix(space, &prefix, &chunk) {
            SweepProgress::Continue => {
                let after = chunk.rows.last().map(|(key, _)| key.clone());
                self.read_keys(space, prefix, after, out);
            }
            // The list of removals brings it back.
            SweepProgress::Stale | SweepProgress::Restart | SweepProgress::Done => {
                self.sweeps.prefixes.remove(&id);
            }
        }
    }
}
