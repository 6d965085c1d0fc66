//! Loading a snapshot when a log is no longer kept far enough back, and serving one.
//!
//! A snapshot comes key range by key range. Each range is merged with what this node has of it:
//! an entry that only one side has stays unless the other side's vector covers it. While it loads,
//! a node takes no writes and applies no log: its rows change only here, so the store's rows are
//! the truth and the table stays empty.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rhumb_ports::{
    peer::{OriginInfo, PeerMessage, SnapshotChunk, SnapshotKey},
    store::{StoreError, Write},
};
use rhumb_state::{KeyRows, Side, merge_key, owned, visible};
use rhumb_types::{
    OriginId, RegionId, UnixMillis,
    planted::{self, Planted},
    record::{Cell, Head, OwnedRow, Space, VersionVector},
};

use crate::{
    event::{Alarm, Effect, Effects, SnapshotPart},
    limits::SNAPSHOT_TRANSFERS_MAX,
    node::Node,
    status::Phase,
};

/// How far a transfer in has come.
#[derive(Debug)]
enum Step {
    /// Until what is in flight is committed.
    Settling,
    /// Until the next part comes.
    Pulling,
    /// Until our rows of its range are read.
    Reading(SnapshotChunk),
    /// Until the merged rows are committed; then the next part after this key.
    Merging((Space, Bytes)),
    /// Until the last merged rows are committed.
    Ending,
    /// Until the merged rows are committed; their source is gone, and the rest does not come.
    Leaving,
}

/// A snapshot on its way in.
#[derive(Debug)]
struct Loading {
    from: RegionId,
    transfer: u64,
    step: Step,
}

/// Transfers in and out.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    loading: Option<Loading>,
    serving: BTreeMap<RegionId, u64>,
    transfers: u64,
    /// What the snapshots covered of which rows were merged here, whether or not they ended.
    merged: VersionVector,
}

impl Bootstrap {
    pub(crate) const fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    pub(crate) const fn merged(&self) -> &VersionVector {
        &self.merged
    }

    /// The disk failed: nothing more is loaded, and the end of a transfer does not make the node
    /// take writes again.
    pub(crate) fn give_up(&mut self) {
        self.loading = None;
    }
}

impl Node {
    /// A peer no longer keeps the log that we need: load its snapshot.
    pub(crate) fn start_bootstrap(&mut self, from: &RegionId, out: &mut Effects) {
        if self.bootstrap.is_loading() || self.phase != Phase::Running {
            return;
        }
        self.bootstrap.transfers += 1;
        let transfer = self.bootstrap.transfers;
        self.bootstrap.loading =
            Some(Loading { from: from.clone(), transfer, step: Step::Settling });
        self.phase = Phase::Loading;
        out.push(Effect::Alarm(Alarm::Bootstrapping { from: from.clone() }));
        self.bootstrap_step(out);
    }

    /// Goes on where a transfer waits for this node's own commits. Called when one has ended and
    /// with every tick.
    pub(crate) fn bootstrap_step(&mut self, out: &mut Effects) {
        if !self.is_settled() {
            return;
        }
        let Some(loading) = &mut self.bootstrap.loading else { return };
        let after = match &loading.step {
            Step::Settling => None,
            Step::Merging(after) => Some(after.clone()),
            Step::Ending | Step::Leaving => return self.end_bootstrap(out),
            Step::Pulling | Step::Reading(_) => return,
        };
        self.table.clear(self.writing.last_commit());
        let Loading { from, transfer, .. } = loading;
        let message = PeerMessage::SnapshotPull { transfer: *transfer, after };
        out.push(Effect::Send { to: from.clone(), message });
        loading.step = Step::Pulling;
    }

    fn end_bootstrap(&mut self, out: &mut Effects) {
        self.bootstrap.loading = None;
        self.phase = Phase::Running;
        self.table.clear(self.writing.last_commit());
        self.received.forget_applied(&self.applied);
        self.assign(out);
    }

    /// Ends the transfers with a peer that is gone. What was merged stays, and is merged again by
    /// the next one. Until it is on the disk a read would find the rows as they were before.
    pub(crate) fn bootstrap_peer_gone(&mut self, region: &RegionId) {
        self.bootstrap.serving.remove(region);
        let loading = self.bootstrap.loading.as_mut();
        let Some(loading) = loading.filter(|loading| loading.from == *region) else { return };
        match loading.step {
            Step::Merging(_) | Step::Ending if planted::is(Planted::LeaveMerging) => {
                self.bootstrap.loading = None;
                self.phase = Phase::Running;
            }
            Step::Merging(_) => loading.step = Step::Leaving,
            Step::Ending | Step::Leaving => {}
            Step::Settling | Step::Pulling | Step::Reading(_) => {
                self.bootstrap.loading = None;
                self.phase = Phase::Running;
            }
        }
    }

    /// A peer asks for a part of a snapshot.
    pub(crate) fn snapshot_pull(
        &mut self,
        from: &RegionId,
        transfer: u64,
        after: Option<(Space, Bytes)>,
        out: &mut Effects,
    ) {
        let serving = &mut self.bootstrap.serving;
        if !serving.contains_key(from) && serving.len() >= SNAPSHOT_TRANSFERS_MAX {
            let what = "too many members load a snapshot from this node";
            return out.push(Effect::Alarm(Alarm::Limit(what)));
        }
        let last = serving.insert(from.clone(), transfer);
        if let Some(ended) = last.filter(|last| *last != transfer) {
            out.push(Effect::EndSnapshot { to: from.clone(), transfer: ended });
        }
        out.push(Effect::ReadSnapshot { to: from.clone(), transfer, after });
    }

    /// The store has read a part of a snapshot for a peer.
    pub(crate) fn snapshot_read(
        &mut self,
        to: &RegionId,
        part: Result<SnapshotPart, StoreError>,
        out: &mut Effects,
    ) {
        let part = match part {
            Ok(part) => part,
            Err(error) => return out.push(Effect::Alarm(Alarm::Disk(error))),
        };
        if part.through.is_none() {
            self.bootstrap.serving.remove(to);
            out.push(Effect::EndSnapshot { to: to.clone(), transfer: part.transfer });
        }
        // The other side may carry fewer domains than we do: it learns only of its own (rule 3).
        let receiver = self.peers.get(to);
        let carries = |origin: OriginId| receiver.is_some_and(|peer| peer.carries(origin.domain()));
        let keys = part.keys.into_iter().map(|key| only(key, carries));
        let chunk = SnapshotChunk {
            transfer: part.transfer,
            vector: part.vector.iter().filter(|(origin, _)| carries(*origin)).collect(),
            origins: self.origins.iter().cloned().collect(),
            after: part.after,
            through: part.through,
            keys: keys.filter(|key| !key.head.is_vacant() || !key.members.is_empty()).collect(),
            owned: part.owned,
        };
        out.push(Effect::Send { to: to.clone(), message: PeerMessage::Snapshot(chunk) });
    }

    /// A part of a snapshot has come: read what this node has of its range.
    pub(crate) fn snapshot_chunk(
        &mut self,
        from: &RegionId,
        chunk: SnapshotChunk,
        out: &mut Effects,
    ) {
        let Some(loading) = &mut self.bootstrap.loading else { return };
        let expected = loading.from == *from && loading.transfer == chunk.transfer;
        if !expected || !matches!(loading.step, Step::Pulling) {
            return;
        }
        out.push(Effect::ReadRange {
            transfer: chunk.transfer,
            after: chunk.after.clone(),
            through: chunk.through.clone(),
        });
        loading.step = Step::Reading(chunk);
    }

    /// Our rows of a part's range: merge, and commit.
    pub(crate) fn range_read(
        &mut self,
        transfer: u64,
        part: Result<SnapshotPart, StoreError>,
        out: &mut Effects,
    ) {
        let Some(loading) = &mut self.bootstrap.loading else { return };
        if loading.transfer != transfer {
            return;
        }
        let Step::Reading(chunk) = std::mem::replace(&mut loading.step, Step::Settling) else {
            return;
        };
        let mut local = match part {
            Ok(part) => part,
            Err(error) => {
                self.bootstrap.loading = None;
                self.phase = Phase::Running;
                return out.push(Effect::Alarm(Alarm::Disk(error)));
            }
        };
        self.merge_owned(std::mem::take(&mut local.owned), &chunk.owned);
        self.merge_range(local, &chunk);
        let step = match chunk.through {
            Some(through) => Step::Merging(through),
            None => {
                self.adopt(&chunk.vector, &chunk.origins);
                Step::Ending
            }
        };
        if let Some(loading) = &mut self.bootstrap.loading {
            loading.step = step;
        }
    }

    /// The higher version of every owned row stays (rule 4).
    fn merge_owned(&mut self, local: Vec<OwnedRow>, theirs: &[OwnedRow]) {
        let mut ours: BTreeMap<_, _> = local.into_iter().map(|row| (row.id.clone(), row)).collect();
        for row in theirs {
            let own = ours.remove(&row.id);
            if owned::supersedes(own.as_ref(), row) {
                self.writing.extra(Write::Owned(row.clone()));
            }
        }
    }

    fn merge_range(&mut self, local: SnapshotPart, chunk: &SnapshotChunk) {
        let mut sides: BTreeMap<(Space, Bytes), (SnapshotKey, SnapshotKey)> = BTreeMap::new();
        for (side, keys) in [(false, local.keys), (true, chunk.keys.clone())] {
            for key in keys {
                let place = (key.space, key.key.clone());
                let pair = sides.entry(place).or_insert_with(|| {
                    (vacant(key.space, key.key.clone()), vacant(key.space, key.key.clone()))
                });
                *if side { &mut pair.1 } else { &mut pair.0 } = key;
            }
        }
        self.bootstrap.merged.merge(&chunk.vector);
        let mut covered = chunk.vector.clone();
        if planted::is(Planted::AbsenceEverywhere) {
            covered.merge(&self.applied);
        }
        for ((space, _), (ours, theirs)) in sides {
            let settled = self.table.cleared(space).map_or(0, |list| list.last);
            let merged = merge_key(
                Side { rows: &key_rows(&ours), vector: &self.applied },
                Side { rows: &key_rows(&theirs), vector: &covered },
            );
            for write in replace(&ours, &merged, settled) {
                self.writing.extra(write);
            }
        }
        self.writing.require_sync();
    }

    /// Adopts what the snapshot contains, in the commit of its last rows.
    fn adopt(&mut self, vector: &VersionVector, origins: &[OriginInfo]) {
        for info in origins {
            self.learn_origin(info);
        }
        for (origin, version) in vector.iter() {
            if version > self.applied.get(origin) {
                // Our log of it has a gap now: what lies before is served by others.
                self.writing.extra(Write::LogTrim { origin, through: version });
                self.writing.adopted(origin, version);
            }
        }
        self.applied.merge(vector);
        self.table.reflects(vector);
    }
}

fn vacant(space: Space, key: Bytes) -> SnapshotKey {
    SnapshotKey { space, key, head: Head::default(), members: Vec::new() }
}

fn key_rows(key: &SnapshotKey) -> KeyRows {
    KeyRows::new(key.head.clone(), key.members.iter().cloned())
}

/// What a peer may see of a key: what was written in the domains that it carries.
fn only(mut key: SnapshotKey, carries: impl Fn(OriginId) -> bool) -> SnapshotKey {
    let filter = |cell: &mut Cell| {
        cell.entries.retain(|entry| carries(entry.dot.origin));
        cell.deltas.retain(|delta| carries(delta.origin));
    };
    let rows = key_rows(&key);
    key.head = rows.head_row(0);
    filter(&mut key.head.cell);
    key.members = rows.members.into_iter().collect();
    key.members.iter_mut().for_each(|(_, cell)| filter(cell));
    key.members.retain(|(_, cell)| !cell.is_vacant());
    key
}

/// The writes that turn a key as it is stored into what a merge has made of it, with the rows of
/// the indexes that follow.
fn replace(stored: &SnapshotKey, merged: &KeyRows, settled: u64) -> Vec<Write> {
    let (space, key) = (stored.space, &stored.key);
    let mut writes = Vec::new();
    let head = merged.head_row(settled);
    let expiry = |at, present| Write::Expiry { at, space, key: key.clone(), present };
    let (before, after) = (visible::expiry(&stored.head.cell), visible::expiry(&head.cell));
    if before != after {
        writes.extend(before.map(|at| expiry(at, false)));
        writes.extend(after.map(|at| expiry(at, true)));
    }
    if !stored.head.cleared.is_empty() {
        writes.push(expiry(UnixMillis(0), false));
    }
    let head = (!head.is_vacant()).then_some(head);
    writes.push(Write::Head { space, key: key.clone(), head });
    let old: BTreeMap<&Bytes, &Cell> = stored.members.iter().map(|(m, c)| (m, c)).collect();
    let names: BTreeSet<&Bytes> = old.keys().copied().chain(merged.members.keys()).collect();
    for member in names {
        let (before, after) = (old.get(member).copied(), merged.members.get(member));
        if before == after {
            continue;
        }
        let score = |score, present| Write::Score {
            space,
            key: key.clone(),
            score,
            member: member.clone(),
            present,
        };
        let scores = (before.and_then(visible::score), after.and_then(visible::score));
        if scores.0.map(f64::to_bits) != scores.1.map(f64::to_bits) {
            writes.extend(scores.0.map(|old| score(old, false)));
            writes.extend(scores.1.map(|new| score(new, true)));
        }
        let (key, member) = (key.clone(), member.clone());
        writes.push(Write::Member { space, key, member, cell: after.cloned() });
    }
    writes
}
