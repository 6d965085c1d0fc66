//! What is where: each object that was acknowledged, and which regions have its row and its bytes.
//!
//! A region counts as having an object once its own index shows it, and as having its bytes once they are
//! durable there. Both are looked up in the simulated regions, once a second and whenever a fault begins:
//! nothing is worked out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use rhumb_sim::random::Random;
use rhumb_types::{
    RegionId,
    record::{BlobHash, BlobRef, BucketName},
};

use super::stage::Stage;
use crate::{
    objects::{FRESH_FOR, Objects},
    outcome::{AtRisk, LinkOutcome, ObjectCounts, ObjectTimes, ObjectsOutcome},
    prices::Prices,
    time::{Micros, SECOND, micros, place},
};

/// A deletion that takes longer until no region shows the object any more is a late one.
pub const LATE: Duration = Duration::from_secs(5);
/// How far back it is looked how many bytes were to be copied before a fault, in seconds.
const BEFORE: usize = 60;
/// So many objects that are still to be copied are no trace of a fault.
const FEW: u64 = 10;
/// An acknowledged object that no region shows after so long is lost.
const SURELY: Micros = 10 * SECOND;
/// How many objects are tried to find one that is not deleted.
const TRIES: usize = 8;
/// A link counts as full when it is as busy as this.
const FULL: f64 = 0.99;
/// Over how many seconds the load of a link is taken together.
const LOADS: usize = 10;

/// An upload that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) job: u64,
    pub(super) bytes: u64,
    pub(super) parts: usize,
    /// How many regions had it then.
    pub(super) copies: usize,
    /// Whether it went on there after another region had failed.
    pub(super) moved: bool,
    pub(super) begun: Micros,
    pub(super) now: Micros,
}

/// Hosts, a bit for each.
type Hosts = u64;

/// An object.
#[derive(Clone, Copy, Debug)]
struct Kept {
    job: u64,
    bytes: u64,
    parts: usize,
    at: Micros,
    /// Whose index shows it,
    rows: Hosts,
    /// and who has all its bytes.
    blobs: Hosts,
    /// Whether somebody deletes it, or has deleted it.
    claimed: bool,
    deleted: Option<Micros>,
}

/// One direction of a link.
#[derive(Clone, Debug)]
struct Way {
    bytes_per_second: u64,
    sent: u64,
    object_bytes: u64,
    /// Bytes of objects before the rehearsal.
    before: u64,
    waiting: f64,
    loads: Vec<f64>,
    outcome: LinkOutcome,
}

/// All objects of a run.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) counts: ObjectCounts,
    times: ObjectTimes,
    inline_max: u64,
    wanted: usize,
    awaited: usize,
    few: u64,
    data: Hosts,
    hosts: Vec<usize>,
    objects: Vec<Kept>,
    /// What each host is still looked at for.
    pending: BTreeMap<usize, BTreeSet<u64>>,
    /// What was deleted, and who shows it still.
    fading: BTreeMap<u64, Hosts>,
    /// Bytes that are still to be copied,
    missing: u64,
    /// and how many there were in each second.
    backlog: Vec<u64>,
    ways: BTreeMap<(usize, usize), Way>,
}

const fn bit(host: usize) -> Hosts {
    1 << (host % 64)
}

fn key(job: u64) -> Bytes {
    Bytes::from(format!("object-{job:08}"))
}

impl Shelf {
    pub(super) fn new(objects: &Objects, stage: &Stage) -> Self {
        let regions = stage.data.len();
        let mut ways = BTreeMap::new();
        for from in 0..stage.regions.len() {
            for to in (0..stage.regions.len()).filter(|to| *to != from) {
                let ends = stage.regions.get(from).cloned().zip(stage.regions.get(to).cloned());
                let width = ends.and_then(|ends| objects.links.get(&ends).copied()).unwrap_or(0);
                ways.insert((from, to), Way::new(width));
            }
        }
        Self {
            counts: ObjectCounts::default(),
            times: ObjectTimes::default(),
            inline_max: objects.bucket.inline_bytes_max(),
            wanted: objects.copies_wanted(regions),
            awaited: objects.copies_awaited(regions),
            few: FEW * objects.sizes.mean(),
            data: stage.data.iter().fold(0, |hosts, host| hosts | bit(*host)),
            hosts: stage.data.clone(),
            objects: Vec::new(),
            pending: BTreeMap::new(),
            fading: BTreeMap::new(),
            missing: 0,
            backlog: Vec::new(),
            ways,
        }
    }

    // --- What clients send and want ---

    pub(super) fn key(&self, job: u64) -> Bytes {
        key(job)
    }

    pub(super) fn key_of(&self, object: u64) -> Bytes {
        self.objects.get(place(object)).map_or_else(Bytes::new, |kept| key(kept.job))
    }

    /// Whether an object of this length lies in the index itself.
    pub(super) const fn is_inline(&self, bytes: u64) -> bool {
        bytes <= self.inline_max
    }

    /// A part of an object; each has bytes of its own.
    pub(super) fn blob(&self, job: u64, part: usize, bytes: u64) -> BlobRef {
        let mut random = Random::new(job << 20 ^ part as u64 ^ 0x7265_6865_6172_7365);
        let mut hash = [0; 32];
        for chunk in hash.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.bits().to_be_bytes());
        }
        BlobRef { hash: BlobHash(hash), bytes }
    }

    pub(super) const fn offered(&mut self, bytes: u64) {
        self.counts.uploads += 1;
        self.counts.bytes += bytes;
    }

    pub(super) const fn refused(&mut self) {
        self.counts.failed += 1;
    }

    /// An upload is answered.
    pub(super) fn acknowledged(&mut self, upload: Acknowledged) {
        let Acknowledged { job, bytes, parts, copies, moved, begun, now } = upload;
        self.counts.acknowledged += 1;
        self.counts.degraded += u64::from(copies < self.awaited);
        self.counts.moved += u64::from(moved);
        self.times.uploads.add(Duration::from_micros(now - begun));
        let kept =
            Kept { job, bytes, parts, at: now, rows: 0, blobs: 0, claimed: false, deleted: None };
        let object = self.objects.len() as u64;
        self.missing += self.missing_of(&kept);
        self.objects.push(kept);
        for host in &self.hosts {
            self.pending.entry(*host).or_default().insert(object);
        }
    }

    /// An object by chance; a fresh one, if that is wanted and there is one.
    pub(super) fn any(&self, random: &mut Random, now: Micros, fresh: bool) -> Option<u64> {
        let since = now.saturating_sub(micros(FRESH_FOR));
        let from = if fresh { self.objects.partition_point(|kept| kept.at < since) } else { 0 };
        let count = self.objects.len().checked_sub(from).filter(|count| *count > 0)?;
        let draw = |_| (from + random.index(count)) as u64;
        (0..TRIES)
            .map(draw)
            .find(|object| self.objects.get(place(*object)).is_some_and(|kept| !kept.claimed))
    }

    /// Somebody goes to delete an object; says whether nobody else does.
    pub(super) fn claim(&mut self, object: u64) -> bool {
        let kept = self.objects.get_mut(place(object));
        kept.is_some_and(|kept| !std::mem::replace(&mut kept.claimed, true))
    }

    /// An object could not be deleted, as far as its client knows.
    pub(super) const fn kept(&mut self, _: u64) {
        self.counts.deletes_failed += 1;
    }

    pub(super) fn is_deleted(&self, object: u64) -> bool {
        self.objects.get(place(object)).is_some_and(|kept| kept.deleted.is_some())
    }

    /// An object was read, or was not `there`; `gone` says whether it had been deleted before.
    pub(super) fn read(
        &mut self,
        object: u64,
        (there, gone): (bool, bool),
        through: bool,
        took: Micros,
    ) {
        let claimed = self.objects.get(place(object)).is_some_and(|kept| kept.claimed);
        if there {
            self.counts.read += 1;
            self.counts.ghosts += u64::from(gone);
            self.times.reads.add(Duration::from_micros(took));
        } else if claimed {
            self.counts.read += 1;
        } else {
            self.counts.missed += 1;
        }
        if through {
            self.counts.through += 1;
            self.times.through.add(Duration::from_micros(took));
        }
    }

    /// A deletion was acknowledged.
    pub(super) fn deleted(&mut self, object: u64, now: Micros) {
        let data = self.data;
        let Some(kept) = self.objects.get_mut(place(object)) else { return };
        kept.deleted = Some(now);
        let kept = *kept;
        self.counts.deletes += 1;
        self.missing -= self.missing_of(&kept);
        for pending in self.pending.values_mut() {
            pending.remove(&object);
        }
        self.fading.insert(object, data);
    }

    // --- What is looked at ---

    /// The bytes of an object that are still to be copied.
    const fn missing_of(&self, kept: &Kept) -> u64 {
        let held = kept.blobs.count_ones() as usize;
        self.wanted.saturating_sub(held) as u64 * kept.bytes
    }

    fn is_settled(&self, kept: &Kept) -> bool {
        kept.rows & self.data == self.data && kept.blobs.count_ones() as usize >= self.wanted
    }

    /// Looks what has come where.
    pub(super) fn look(&mut self, stage: &mut Stage, bucket: &BucketName, now: Micros) {
        self.look_at_regions(stage, bucket, now);
        self.backlog.push(self.missing);
        for ((from, to), way) in &mut self.ways {
            let direction = stage.world.network.direction(*from, *to);
            way.look(direction.log_bytes + direction.other_bytes, direction.object_bytes);
        }
    }

    fn look_at_regions(&mut self, stage: &Stage, bucket: &BucketName, now: Micros) {
        let runs = |host: &usize| stage.process(*host).is_some();
        let running: Vec<usize> = self.hosts.iter().copied().filter(runs).collect();
        for host in running.iter().copied() {
            let pending = self.pending.remove(&host).unwrap_or_default();
            let left =
                pending.into_iter().filter(|object| !self.has_come(stage, (host, *object), bucket));
            let left = left.collect();
            self.pending.insert(host, left);
        }
        for host in running {
            for (object, shows) in &mut self.fading {
                let Some(kept) = self.objects.get(place(*object)) else { continue };
                let gone = *shows & bit(host) != 0
                    && stage.world.shows(host, bucket, &key(kept.job)).is_none();
                *shows &= if gone { !bit(host) } else { Hosts::MAX };
            }
        }
        let gone = self.fading.extract_if(.., |_, shows| *shows == 0);
        for (object, _) in gone {
            let deleted = self.objects.get(place(object)).and_then(|kept| kept.deleted);
            let took = Duration::from_micros(now.saturating_sub(deleted.unwrap_or(now)));
            self.times.deletes.add(took);
            self.counts.deletes_late += u64::from(took > LATE);
        }
    }

    /// Looks whether an object is at a host; says whether nothing more is to come there.
    fn has_come(
        &mut self,
        stage: &Stage,
        (host, object): (usize, u64),
        bucket: &BucketName,
    ) -> bool {
        let Some(mut kept) = self.objects.get(place(object)).copied() else { return true };
        let before = self.missing_of(&kept);
        if kept.rows & bit(host) == 0 && stage.world.shows(host, bucket, &key(kept.job)).is_some() {
            kept.rows |= bit(host);
        }
        if kept.blobs & bit(host) == 0 && self.has_bytes(stage, host, &kept) {
            kept.blobs |= bit(host);
        }
        self.missing = self.missing + self.missing_of(&kept) - before;
        let both = kept.rows & kept.blobs & bit(host) != 0;
        let over = both || (kept.rows & bit(host) != 0 && self.is_settled(&kept));
        if let Some(known) = self.objects.get_mut(place(object)) {
            *known = kept;
        }
        over
    }

    fn has_bytes(&self, stage: &Stage, host: usize, kept: &Kept) -> bool {
        if kept.parts == 1 && self.is_inline(kept.bytes) {
            return kept.rows & bit(host) != 0;
        }
        let Some(machine) = stage.world.hosts.get(host) else { return false };
        (0..kept.parts).all(|part| machine.blobs.is_durable(&self.blob(kept.job, part, 0).hash))
    }

    /// What is lost with a host if its disk never comes back.
    pub(super) fn at_risk(&mut self, stage: &Stage, bucket: &BucketName, host: usize) -> AtRisk {
        let now = stage.now();
        self.look_at_regions(stage, bucket, now);
        let mut risk = AtRisk::default();
        let others = |hosts: Hosts| hosts & !bit(host) != 0;
        let only =
            |kept: &&Kept| kept.deleted.is_none() && !(others(kept.rows) && others(kept.blobs));
        // What is nowhere yet is where it was taken in, and so is what is nowhere else.
        let here = |kept: &&Kept| (kept.rows | kept.blobs) & bit(host) != 0;
        for kept in self.objects.iter().filter(only).filter(here) {
            risk.objects += 1;
            risk.bytes += kept.bytes;
            risk.oldest = risk.oldest.max(Duration::from_micros(now.saturating_sub(kept.at)));
        }
        risk
    }

    /// How many bytes are still to be copied, and how busy each link is.
    pub(super) fn seen(&self) -> (u64, impl Iterator<Item = ((usize, usize), f64)> + '_) {
        let links = self.ways.iter().filter(|(_, way)| way.bytes_per_second > 0);
        (self.missing, links.map(|(ends, way)| (*ends, way.loads.last().copied().unwrap_or(0.0))))
    }

    /// From the end of a fault until no more is to be copied than before it; `None` when there still is
    /// as the next fault comes, or the end.
    fn converged(&self, (at, until, horizon): (Micros, Micros, Micros)) -> Option<Duration> {
        let second = |time: Micros| place(time / SECOND).min(self.backlog.len());
        let (begin, end) = (second(at), second(horizon));
        let within = |from: usize, to: usize| self.backlog.get(from..to).unwrap_or_default();
        let usual = within(begin.saturating_sub(BEFORE), begin).iter().max();
        let usual = usual.copied().unwrap_or(0) + self.few;
        let mended = second(until).min(end.saturating_sub(1));
        let after = within(mended, end);
        match after.iter().rposition(|missing| *missing > usual) {
            None => Some(Duration::ZERO),
            Some(last) if last + 1 >= after.len() => None,
            Some(last) => Some(Duration::from_secs(last as u64 + 1)),
        }
    }

    /// Acknowledged objects that no region shows. `now` and `gone` say since when that counts, and whether
    /// a region is away that may know them.
    fn lost(&self, now: Micros, gone: bool) -> u64 {
        let lost = |kept: &&Kept| {
            let known = kept.rows != 0 && kept.blobs != 0;
            !gone && !known && kept.deleted.is_none() && kept.at + SURELY < now
        };
        self.objects.iter().filter(lost).count() as u64
    }

    /// What has become of all of them. Each span is of a fault: when it began, was mended, and to its
    /// horizon.
    pub(super) fn outcome(
        &self,
        stage: &Stage,
        prices: &Prices,
        spans: &[(Micros, Micros, Micros)],
    ) -> ObjectsOutcome {
        let gone = stage.data.iter().any(|host| !stage.is_there(*host));
        let mut counts = self.counts;
        counts.left = counts.uploads - counts.acknowledged - counts.failed;
        counts.fading = self.fading.len() as u64;
        counts.lost = self.lost(stage.now(), gone);
        let region = |host: usize| stage.regions.get(host);
        let link = |((from, to), way): (&(usize, usize), &Way)| {
            let (from, to): (&RegionId, &RegionId) = region(*from).zip(region(*to))?;
            let bytes = way.object_bytes.saturating_sub(way.before);
            let cost = prices.traffic(from, to, bytes).unwrap_or_default();
            Some((format!("{from}>{to}"), LinkOutcome { bytes, cost, ..way.outcome }))
        };
        ObjectsOutcome {
            counts,
            times: self.times.clone(),
            backlog_max: self.backlog.iter().copied().max().unwrap_or(0),
            backlog_end: self.missing,
            converged: spans.iter().map(|span| self.converged(*span)).collect(),
            at_risk: Vec::new(),
            links: self.ways.iter().filter_map(link).collect(),
        }
    }

    /// The rehearsal begins: what was sent before is nobody's.
    pub(super) fn begin(&mut self, stage: &mut Stage) {
        for ((from, to), way) in &mut self.ways {
            let direction = stage.world.network.direction(*from, *to);
            way.sent = direction.log_bytes + direction.other_bytes;
            (way.before, way.object_bytes) = (direction.object_bytes, direction.object_bytes);
        }
    }
}

impl Way {
    fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            sent: 0,
            object_bytes: 0,
            before: 0,
            waiting: 0.0,
            loads: Vec::new(),
            outcome: LinkOutcome::default(),
        }
    }

    /// So much was sent over it until now; a second has passed. What is sent in one second and does not
    /// fit leaves in the next ones.
    fn look(&mut self, sent: u64, object_bytes: u64) {
        let new = sent.saturating_sub(self.sent);
        (self.sent, self.object_bytes) = (sent, object_bytes);
        if self.bytes_per_second == 0 {
            return;
        }
        let width = self.bytes_per_second as f64;
        self.waiting += new as f64;
        let load = (self.waiting / width).min(1.0);
        self.waiting = (self.waiting - width).max(0.0);
        if load >= FULL {
            self.outcome.full += Duration::from_secs(1);
        }
        if self.loads.len() == LOADS {
            self.loads.remove(0);
        }
        self.loads.push(load);
        if self.loads.len() == LOADS {
            let mean = self.loads.iter().sum::<f64>() / LOADS as f64;
            self.outcome.busy_max = self.outcome.busy_max.max(mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_a_second_leaves_in_the_next() {
        let mut way = Way::new(1_000);
        way.look(2_500, 2_500);
        way.look(2_500, 2_500);
        way.look(2_500, 2_500);
        way.look(2_500, 2_500);
        assert_eq!(way.loads, [1.0, 1.0, 0.5, 0.0]);
        assert_eq!(way.outcome.full, Duration::from_secs(2));
        for nth in 0..LOADS as u64 {
            way.look(3_000 + nth * 900, 0);
        }
        assert!(way.outcome.busy_max < 0.95, "{:?}", way.outcome);
    }
}
