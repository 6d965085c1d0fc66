//! What queues promise, held against what callers and workers saw.
//!
//! For whoever runs queues among faults and knows the true time: the tests of this crate, and the
//! simulator. Nothing of it runs beside real queues.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use rhumb_types::{UnixMillis, record::JobId};

use crate::Receipt;

/// The place in the order, and the time, that a job got as it was taken in.
pub type Acceptance = (u64, UnixMillis);

/// One of the promises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    /// Of a job at most one lease is live.
    OneLease,
    /// Only the receipt of the last lease counts.
    Receipts,
    /// The jobs of a group run one after the other, in their order.
    Groups,
    /// A key names one row.
    Keys,
    /// What was completed does not run again, and has ended everywhere.
    Completed,
    /// What was taken in runs, and ends everywhere.
    Kept,
}

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// In words.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// A lease in a worker's hands, in true time.
#[derive(Clone, Debug)]
struct Lease {
    receipt: Receipt,
    /// Which acceptance of the job this is of: a key may be taken in again by a successor that cannot
    /// know of the first time (ADR 0008).
    acceptance: Acceptance,
    from: u64,
    until: u64,
    /// Whether the worker is through with it; what it hears later changes nothing.
    over: bool,
    /// Whether a disk that forgets may have been needed to know of it.
    doubtful: bool,
}

/// Everything that was promised, and the first promise that was broken.
#[derive(Debug, Default)]
pub struct Promises {
    leases: BTreeMap<JobId, Vec<Lease>>,
    accepted: BTreeSet<JobId>,
    completed: BTreeSet<JobId>,
    /// Jobs that need not run: they went on as others.
    left_out: BTreeSet<JobId>,
    keys: BTreeMap<String, JobId>,
    /// Keys that were taken in while in doubt.
    doubtful_keys: BTreeSet<String>,
    /// Jobs that were taken in while in doubt: a successor may learn of them late.
    late: BTreeSet<JobId>,
    /// Whether what is confirmed now may rest on a disk that forgets.
    doubtful: bool,
    /// The accepted jobs of a group, in the order in which they were accepted.
    groups: BTreeMap<String, Vec<JobId>>,
    group_of: BTreeMap<JobId, String>,
    /// The first that was broken.
    pub broken: Option<Broken>,
    /// The job that it is about, where it is not where it ought to be.
    pub lost: Option<JobId>,
    /// Leases so far,
    pub leased: u64,
    /// and those of jobs that were leased before.
    pub repeated: u64,
}

impl Promises {
    fn broke(&mut self, promise: Promise, what: String) {
        self.broken.get_or_insert(Broken { promise, what });
    }

    /// From now on a disk is among those that confirm, and forgets; or there is none any more.
    ///
    /// Who takes a home over need not know then what was confirmed meanwhile: a job may run again that is
    /// leased or completed, another of its group may run before it, and its key may name another row. It
    /// is not lost, and is once more what it was when all have met.
    pub const fn doubt(&mut self, doubtful: bool) {
        self.doubtful = doubtful;
    }

    /// A caller heard that a job is taken in.
    pub fn accepted(&mut self, id: JobId, key: Option<&str>, group: Option<&str>) {
        if let Some(key) = key.filter(|_| self.doubtful) {
            self.doubtful_keys.insert(key.to_owned());
        }
        if self.doubtful {
            self.late.insert(id);
        }
        if let Some(key) = key.filter(|key| !self.doubtful_keys.contains(*key)) {
            let known = *self.keys.entry(key.to_owned()).or_insert(id);
            if known != id {
                self.broke(Promise::Keys, format!("key {key} names two rows: {known} and {id}"));
            }
        }
        if let (true, Some(group)) = (self.accepted.insert(id), group) {
            self.groups.entry(group.to_owned()).or_default().push(id);
            self.group_of.insert(id, group.to_owned());
        }
    }

    /// A worker got a job.
    pub fn granted(&mut self, now: u64, until: u64, receipt: Receipt, acceptance: Acceptance) {
        let id = receipt.key.id;
        self.leased += 1;
        self.repeated += u64::from(self.leases.contains_key(&id));
        let live =
            |lease: &&Lease| lease.until > now && lease.acceptance == acceptance && !lease.doubtful;
        if let Some(other) = self.leases.get(&id).and_then(|all| all.iter().find(live)) {
            let text = format!("two live leases of {id} at {now}: {receipt}, and {other:?}");
            self.broke(Promise::OneLease, text);
        }
        if self.completed.contains(&id) {
            self.broke(
                Promise::Completed,
                format!("{id} was completed, and is leased again as {receipt} at {now}"),
            );
        }
        if let Some(group) = self.group_of.get(&id).cloned() {
            self.look_at_group(now, &group, id);
        }
        self.leases.entry(id).or_default().push(Lease {
            receipt,
            acceptance,
            from: now,
            until,
            over: false,
            doubtful: self.doubtful,
        });
    }

    fn look_at_group(&mut self, now: u64, group: &str, id: JobId) {
        let jobs = self.groups.get(group).cloned().unwrap_or_default();
        for earlier in jobs.iter().take_while(|job| **job != id) {
            let live = |lease: &Lease| lease.until > now && !lease.doubtful;
            if self.leases.get(earlier).is_some_and(|all| all.iter().any(live)) {
                self.broke(
                    Promise::Groups,
                    format!("group {group}: {id} is leased while {earlier} is"),
                );
            }
            if !self.leases.contains_key(earlier) && !self.late.contains(earlier) {
                self.broke(
                    Promise::Groups,
                    format!("group {group}: {id} is leased before {earlier}"),
                );
            }
        }
    }

    /// A worker heard that its lease ends at another time.
    pub fn extended(&mut self, receipt: &Receipt, until: u64) {
        let all = self.leases.entry(receipt.key.id).or_default();
        let mut open = all.iter_mut().filter(|lease| !lease.over);
        if let Some(lease) = open.find(|lease| lease.receipt == *receipt) {
            lease.until = until;
            lease.doubtful |= self.doubtful;
        }
    }

    /// A worker lets a job go, whatever the answer will be.
    pub fn let_go(&mut self, now: u64, receipt: &Receipt) {
        self.shortened(now, receipt);
        let all = self.leases.entry(receipt.key.id).or_default();
        all.iter_mut().filter(|lease| lease.receipt == *receipt).for_each(|it| it.over = true);
    }

    /// A worker counts on a job no longer than that.
    pub fn shortened(&mut self, until: u64, receipt: &Receipt) {
        let all = self.leases.entry(receipt.key.id).or_default();
        if let Some(lease) = all.iter_mut().find(|lease| lease.receipt == *receipt) {
            lease.until = lease.until.min(until);
        }
    }

    /// A worker heard that its job is completed. `for_good` when a takeover cannot undo it: at the level
    /// `quorum`.
    pub fn completed(&mut self, receipt: &Receipt, for_good: bool) {
        let id = receipt.key.id;
        if for_good && !self.doubtful {
            self.completed.insert(id);
        }
        let latest = self.leases.get(&id).and_then(|all| all.iter().max_by_key(|it| it.from));
        if latest.is_none_or(|latest| latest.receipt != *receipt && !latest.doubtful) {
            self.broke(
                Promise::Receipts,
                format!("receipt {receipt} counted, and the last lease is {latest:?}"),
            );
        }
    }

    /// A job need not run here: it goes on as another.
    pub fn left_out(&mut self, id: JobId) {
        self.left_out.insert(id);
    }

    /// How many jobs were taken in, and how many groups there were.
    #[must_use]
    pub fn seen(&self) -> (usize, usize) {
        (self.accepted.len(), self.groups.len())
    }

    /// Whether every job that was taken in has been leased, and has ended in every region.
    #[must_use]
    pub fn are_over(&self, ended: &[BTreeSet<JobId>]) -> bool {
        let over = |id: &JobId| ended.iter().all(|region| region.contains(id));
        self.accepted.iter().all(over)
    }

    /// All agree: what was promised so far is judged, and forgotten.
    pub fn settle(&mut self) {
        let Self { leased, repeated, doubtful, .. } = *self;
        *self = Self { leased, repeated, doubtful, ..Self::default() };
    }

    /// The end: everything ran. `ended` are the jobs that ended, in every region.
    pub fn at_the_end(&mut self, ended: &[BTreeSet<JobId>]) {
        for id in self.accepted.clone() {
            if self.broken.is_none() {
                self.lost = Some(id);
            }
            if !self.leases.contains_key(&id) && !self.left_out.contains(&id) {
                self.broke(Promise::Kept, format!("{id} was accepted, and never leased"));
            }
            if ended.iter().any(|region| !region.contains(&id)) {
                self.broke(
                    Promise::Kept,
                    format!("{id} was accepted, and has not ended everywhere"),
                );
            }
        }
        for id in self.completed.clone() {
            if ended.iter().any(|region| !region.contains(&id)) {
                self.broke(
                    Promise::Completed,
                    format!("{id} was completed, and has not ended everywhere"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rhumb_types::record::{JobKey, QueueName};

    use super::*;

    fn receipt(id: JobId, number: u64) -> Receipt {
        let key = JobKey { queue: QueueName::new("jobs").unwrap(), id };
        Receipt { key, epoch: rhumb_types::Epoch(1), number }
    }

    /// What the first and the second of two takers-in see of a group of two jobs, where what is confirmed
    /// between is in doubt or not.
    fn seen_twice(doubtful: bool) -> Option<Promise> {
        let [first, second] = [1, 2].map(|n| JobId([n; 16]));
        let accepted = |nth| (nth, UnixMillis(0));
        let mut promises = Promises::default();
        promises.accepted(second, None, None);
        promises.doubt(doubtful);
        promises.accepted(first, Some("key"), None);
        promises.granted(0, 10, receipt(first, 1), accepted(1));
        promises.completed(&receipt(first, 1), true);
        promises.doubt(false);
        promises.granted(5, 15, receipt(first, 2), accepted(1));
        promises.accepted(second, Some("key"), None);
        let ended = [BTreeSet::from([first, second])];
        promises.granted(6, 16, receipt(second, 1), accepted(2));
        promises.at_the_end(&ended);
        promises.broken.map(|it| it.promise)
    }

    #[test]
    fn what_a_disk_that_forgets_confirmed_is_promised_no_longer_and_no_job_is_lost() {
        assert_eq!(seen_twice(false), Some(Promise::OneLease));
        assert_eq!(seen_twice(true), None);
        let mut promises = Promises::default();
        promises.doubt(true);
        promises.accepted(JobId([3; 16]), None, None);
        promises.at_the_end(&[BTreeSet::new()]);
        assert_eq!(promises.broken.map(|it| it.promise), Some(Promise::Kept));
    }
}
