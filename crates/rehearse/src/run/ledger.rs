//! What becomes of each job, from its producer's wish to its end.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::{RegionId, record::JobId};

use crate::{
    outcome::{JobCounts, JobsOutcome, RegionJobs},
    time::{Micros, SECOND, place},
};

/// How far back it is looked how many jobs waited before a fault, in seconds.
const BEFORE: usize = 60;
/// So many more that wait are no trace of a fault.
const FEW: u64 = 10;

/// One job that a producer had.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    pub(super) taken: bool,
    pub(super) done: bool,
    runs: u32,
}

/// All jobs of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    jobs: Vec<Life>,
    /// The jobs that were taken in, by every id under which they were.
    ids: BTreeMap<JobId, u64>,
    pub(super) counts: JobCounts,
    regions: BTreeMap<usize, RegionJobs>,
    /// How many waited in each second.
    depths: Vec<u64>,
    oldest_max: Duration,
}

impl Ledger {
    /// A producer has a job; gives its number.
    pub(super) fn offered(&mut self) -> u64 {
        self.counts.offered += 1;
        self.jobs.push(Life::default());
        self.jobs.len() as u64 - 1
    }

    fn life(&mut self, job: u64) -> Option<&mut Life> {
        self.jobs.get_mut(place(job))
    }

    /// Queues say that they have taken a job in; its producer may not hear of it.
    pub(super) fn entered(&mut self, job: u64, id: JobId, pinned: bool) {
        self.ids.insert(id, job);
        self.counts.pinned += u64::from(pinned);
    }

    /// Its producer hears of that.
    pub(super) fn taken(&mut self, job: u64) {
        if let Some(life) = self.life(job)
            && !std::mem::replace(&mut life.taken, true)
        {
            self.counts.taken += 1;
        }
    }

    pub(super) fn spilled(&mut self, to: usize) {
        self.counts.spilled += 1;
        self.regions.entry(to).or_default().spilled_here += 1;
    }

    /// A worker near a host begins with a job.
    pub(super) fn begun(&mut self, job: u64, host: usize) {
        self.regions.entry(host).or_default().ran += 1;
        let Some(life) = self.life(job) else { return };
        life.runs += 1;
        let again = life.runs > 1;
        self.counts.repeated += u64::from(again);
    }

    /// A job is done; several executions of one count once.
    pub(super) fn done(&mut self, job: u64) {
        if let Some(life) = self.life(job)
            && !std::mem::replace(&mut life.done, true)
        {
            self.counts.done += 1;
        }
    }

    /// How many wait in each region, and how long the oldest of all has, in one more second.
    pub(super) fn seen(&mut self, depths: &[(usize, u64)], oldest: Duration) {
        for (host, depth) in depths {
            let region = self.regions.entry(*host).or_default();
            region.depth_max = region.depth_max.max(*depth);
        }
        self.depths.push(depths.iter().map(|(_, depth)| depth).sum());
        self.oldest_max = self.oldest_max.max(oldest);
    }

    pub(super) fn busy(&mut self, host: usize, busy: u64) {
        let region = self.regions.entry(host).or_default();
        region.busy_max = region.busy_max.max(busy);
    }

    /// Until no more wait than before a time and a few, from then to a horizon.
    fn drained(&self, at: Micros, horizon: Micros) -> Option<Duration> {
        let (begin, end) = (place(at / SECOND), place(horizon / SECOND).min(self.depths.len()));
        let within = |from: usize, to: usize| self.depths.get(from..to).unwrap_or_default();
        let usual = within(begin.saturating_sub(BEFORE), begin.min(end)).iter().max();
        let usual = usual.copied().unwrap_or(0) + FEW;
        let after = within(begin, end);
        let last = after.iter().rposition(|depth| *depth > usual);
        match last {
            None => Some(Duration::ZERO),
            Some(last) if last + 1 >= after.len() => None,
            Some(last) => Some(Duration::from_secs(last as u64 + 1)),
        }
    }

    /// What has become of all of them. `known` says whether a region that runs knows a job by one of its
    /// ids, `gone` whether a region is gone; each span is of a fault, to its horizon.
    pub(super) fn outcome(
        &self,
        regions: &[(usize, RegionId, u64)],
        spans: &[(Micros, Micros)],
        known: impl Fn(JobId) -> bool,
        gone: bool,
    ) -> JobsOutcome {
        let mut counts = self.counts;
        let mut waiting: Vec<bool> = vec![false; self.jobs.len()];
        for (id, job) in &self.ids {
            let done = self.jobs.get(place(*job)).is_none_or(|life| life.done);
            if let Some(waits) = waiting.get_mut(place(*job)).filter(|_| !done) {
                *waits |= known(*id);
            }
        }
        for (life, waits) in self.jobs.iter().zip(waiting) {
            match (life.taken && !life.done, waits, life.runs > 0 && !gone) {
                (false, ..) => {}
                (_, true, _) => counts.left += 1,
                // It ran, and is in no queue any more: the answer to its end was lost.
                (_, _, true) => counts.done += 1,
                _ if gone => counts.away += 1,
                _ => counts.lost += 1,
            }
        }
        let of = |(host, region, workers): &(usize, RegionId, u64)| {
            let known = self.regions.get(host).copied().unwrap_or_default();
            (region.clone(), RegionJobs { workers: *workers, ..known })
        };
        JobsOutcome {
            counts,
            depth_max: self.depths.iter().copied().max().unwrap_or(0),
            oldest_max: self.oldest_max,
            drained: spans.iter().map(|(at, horizon)| self.drained(*at, *horizon)).collect(),
            regions: regions.iter().map(of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(depths: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        for depth in depths {
            ledger.seen(&[(0, *depth)], Duration::ZERO);
        }
        ledger
    }

    #[test]
    fn a_queue_is_drained_when_no_more_wait_than_before() {
        let after = |depths: &[u64]| ledger(depths).drained(3 * SECOND, 9 * SECOND);
        assert_eq!(after(&[5, 20, 5, 6, 7, 30, 30, 8, 8]), Some(Duration::ZERO));
        assert_eq!(after(&[5, 5, 5, 6, 70, 30, 16, 15, 8]), Some(Duration::from_secs(4)));
        assert_eq!(after(&[5, 5, 5, 6, 70, 70, 70, 70, 70]), None);
        assert_eq!(after(&[5, 5, 5, 6, 70, 70, 70, 70, 70, 0, 0]), None, "the next fault came");
    }

    #[test]
    fn every_job_has_one_end() {
        let mut ledger = Ledger::default();
        let id = |nth: u8| JobId([nth; 16]);
        for nth in 0..5 {
            assert_eq!(ledger.offered(), u64::from(nth));
            ledger.entered(u64::from(nth), id(nth), nth == 4);
            if nth > 0 {
                ledger.taken(u64::from(nth));
                ledger.taken(u64::from(nth));
            }
        }
        // 1 is done after two executions, 2 waits, 3 ran and its end was not heard of, 4 is nowhere.
        for job in [1, 1, 3] {
            ledger.begun(job, 0);
        }
        ledger.done(1);
        ledger.done(1);
        let counts = |gone| ledger.outcome(&[], &[], |known| known == id(2), gone).counts;
        let here = counts(false);
        assert_eq!((here.offered, here.taken, here.done, here.repeated), (5, 4, 2, 1));
        assert_eq!((here.left, here.away, here.lost, here.pinned), (1, 0, 1, 1));
        let gone = counts(true);
        assert_eq!((gone.done, gone.left, gone.away, gone.lost), (1, 1, 2, 0));
    }
}
