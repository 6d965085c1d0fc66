//! What must hold, as clients and workers see it.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_queue::Receipt;
use rhumb_types::{UnixMillis, record::JobId};

/// The place in the order, and the time, that a job got as it was taken in.
pub(crate) type Acceptance = (u64, UnixMillis);

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
}

/// Everything that was promised, and the first promise that was broken.
#[derive(Debug, Default)]
pub(crate) struct Check {
    leases: BTreeMap<JobId, Vec<Lease>>,
    accepted: BTreeSet<JobId>,
    completed: BTreeSet<JobId>,
    keys: BTreeMap<String, JobId>,
    /// The accepted jobs of a group, in the order in which they were accepted.
    groups: BTreeMap<String, Vec<JobId>>,
    group_of: BTreeMap<JobId, String>,
    pub(crate) violation: Option<String>,
    /// The job that it is about, where it is not where it ought to be.
    pub(crate) lost: Option<JobId>,
    pub(crate) leased: u64,
    pub(crate) repeated: u64,
}

impl Check {
    fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(crate) fn accepted(&mut self, id: JobId, key: Option<&str>, group: Option<&str>) {
        if let Some(key) = key {
            let known = *self.keys.entry(key.to_owned()).or_insert(id);
            if known != id {
                self.violated(format!("key {key} names two rows: {known} and {id}"));
            }
        }
        if let (true, Some(group)) = (self.accepted.insert(id), group) {
            self.groups.entry(group.to_owned()).or_default().push(id);
            self.group_of.insert(id, group.to_owned());
        }
    }

    /// A worker got a job.
    pub(crate) fn granted(
        &mut self,
        now: u64,
        until: u64,
        receipt: Receipt,
        acceptance: Acceptance,
    ) {
        let id = receipt.key.id;
        self.leased += 1;
        self.repeated += u64::from(self.leases.contains_key(&id));
        let live = |lease: &&Lease| lease.until > now && lease.acceptance == acceptance;
        if let Some(other) = self.leases.get(&id).and_then(|all| all.iter().find(live)) {
            let text = format!("two live leases of {id} at {now}: {receipt}, and {other:?}");
            self.violated(text);
        }
        if self.completed.contains(&id) {
            self.violated(format!("{id} was completed, and is leased again as {receipt} at {now}"));
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
        });
    }

    fn look_at_group(&mut self, now: u64, group: &str, id: JobId) {
        let jobs = self.groups.get(group).cloned().unwrap_or_default();
        for earlier in jobs.iter().take_while(|job| **job != id) {
            let live = |lease: &Lease| lease.until > now;
            if self.leases.get(earlier).is_some_and(|all| all.iter().any(live)) {
                self.violated(format!("group {group}: {id} is leased while {earlier} is"));
            }
            if !self.leases.contains_key(earlier) {
                self.violated(format!("group {group}: {id} is leased before {earlier}"));
            }
        }
    }

    /// A worker heard that its lease ends at another time.
    pub(crate) fn extended(&mut self, receipt: &Receipt, until: u64) {
        let all = self.leases.entry(receipt.key.id).or_default();
        let mut open = all.iter_mut().filter(|lease| !lease.over);
        if let Some(lease) = open.find(|lease| lease.receipt == *receipt) {
            lease.until = until;
        }
    }

    /// A worker lets a job go, whatever the answer will be.
    pub(crate) fn let_go(&mut self, now: u64, receipt: &Receipt) {
        self.shortened(now, receipt);
        let all = self.leases.entry(receipt.key.id).or_default();
        all.iter_mut().filter(|lease| lease.receipt == *receipt).for_each(|it| it.over = true);
    }

    /// A worker counts on a job no longer than that.
    pub(crate) fn shortened(&mut self, until: u64, receipt: &Receipt) {
        let all = self.leases.entry(receipt.key.id).or_default();
        if let Some(lease) = all.iter_mut().find(|lease| lease.receipt == *receipt) {
            lease.until = lease.until.min(until);
        }
    }

    /// A worker heard that its job is completed.
    pub(crate) fn completed(&mut self, receipt: &Receipt) {
        let id = receipt.key.id;
        self.completed.insert(id);
        let latest = self.leases.get(&id).and_then(|all| all.iter().max_by_key(|it| it.from));
        if latest.is_none_or(|latest| latest.receipt != *receipt) {
            self.violated(format!("receipt {receipt} counted, and the last lease is {latest:?}"));
        }
    }

    /// The end: everything ran. `ended` are the jobs that ended, in every region.
    pub(crate) fn at_the_end(&mut self, ended: &[BTreeSet<JobId>]) {
        for id in self.accepted.clone() {
            if self.violation.is_none() {
                self.lost = Some(id);
            }
            if !self.leases.contains_key(&id) {
                self.violated(format!("{id} was accepted, and never leased"));
            }
            if ended.iter().any(|region| !region.contains(&id)) {
                self.violated(format!("{id} was accepted, and has not ended everywhere"));
            }
        }
        for id in self.completed.clone() {
            if ended.iter().any(|region| !region.contains(&id)) {
                self.violated(format!("{id} was completed, and has not ended everywhere"));
            }
        }
    }
}
