//! The jobs that this region holds: their leases, and what their records say.

use std::ops::Bound;

use rhumb_queue::{Leased, Receipt};
use rhumb_types::MonoTime;

use super::{Dispatcher, Input, is_lost};
use crate::{
    capacity::{Event, PoolId},
    github::JobAnswer,
    job::{JobRef, RunnerName, WorkflowJob},
    limits::{LEASE, LOST_AFTER, RECORDS_PER_TICK},
    place::wish,
    record::Record,
};

/// A job in the hands of this region.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) job: WorkflowJob,
    pub(super) receipt: Receipt,
    until: MonoTime,
    renewing: bool,
}

impl Dispatcher {
    /// Takes on a job that was leased.
    pub(super) fn hold(&mut self, set: &str, leased: Leased) {
        let Leased { receipt, job, ends, .. } = leased;
        let counts = &self.shared.counts;
        let Ok(job) = serde_json::from_slice::<WorkflowJob>(&job.body) else {
            // Another program put it there: nobody can ever serve it.
            counts.add("job_not_understood");
            tracing::error!(%receipt, "a job in a queue of runners is none, and is removed");
            return self.settle(receipt);
        };
        let reference = job.job;
        let record = match self.shared.records.read(&reference) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(%error, job = %reference, "the record of a job is not read");
                return;
            }
        };
        if record.ended.is_some() {
            counts.add("ended_before_start");
            return self.settle(receipt);
        }
        let Some(parts) = self.shared.sets.get(set) else { return };
        let scope = Self::scope(parts.level, &job);
        if job.installation.is_some() || !self.installations.contains_key(&scope) {
            self.installations.insert(scope.clone(), job.installation);
        }
        let region = wish(&job).filter(|region| *region != self.shared.region);
        let pool = PoolId { scope, set: set.to_owned(), region };
        let claimed = record.runners.keys().copied().collect();
        self.held.insert(reference, Held { job, receipt, until: ends, renewing: false });
        self.tell(Event::Wanted { job: reference, pool, claimed });
        self.apply(reference, &record);
    }

    /// Looks into the records of some of the jobs, in turn.
    pub(super) fn read_records(&mut self) {
        let after = self.read.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.held.range((after, Bound::Unbounded)).map(|(job, _)| *job);
        let jobs: Vec<JobRef> = next.take(RECORDS_PER_TICK).collect();
        self.read = jobs.last().copied().filter(|_| jobs.len() == RECORDS_PER_TICK);
        for job in jobs {
            match self.shared.records.read(&job) {
                Ok(record) => self.apply(job, &record),
                Err(error) => tracing::warn!(%error, %job, "the record of a job is not read"),
            }
        }
    }

    fn apply(&mut self, job: JobRef, record: &Record) {
        if record.ended.is_some() {
            return self.end(job);
        }
        let Some(running) = &record.running else { return };
        let known = self.machine.jobs().any(|(its, _, runs)| its == job && runs);
        if !known {
            let runner = running.runner.as_deref().and_then(RunnerName::ours);
            self.tell(Event::Running { job, runner });
        }
    }

    /// A job has ended: its place in the queue is given up.
    fn end(&mut self, job: JobRef) {
        self.tell(Event::Ended { job });
        if let Some(held) = self.held.remove(&job) {
            self.shared.counts.add("ended");
            self.settle(held.receipt);
        }
    }

    /// What GitHub said of a job when it was asked. It is written down, for whoever comes after.
    pub(super) fn told(&mut self, job: JobRef, answer: JobAnswer) {
        let Some(held) = self.held.get(&job) else { return };
        let now = (self.shared.outside.now)().wall;
        let ended = match &answer {
            JobAnswer::Ended => true,
            JobAnswer::Unknown => is_lost(&held.job, now, LOST_AFTER),
            JobAnswer::Waits | JobAnswer::Runs(_) => false,
        };
        let shared = self.shared.clone();
        if ended {
            self.shared.counts.add("ended_unheard");
            self.shared.engine.tasks().spawn_until_stopped(async move {
                if let Err(error) = shared.records.ended(&job, None).await {
                    tracing::warn!(%error, %job, "the end of a job is not written");
                }
            });
            return self.end(job);
        }
        if let JobAnswer::Runs(runner) = answer {
            let name = runner.as_ref().map(ToString::to_string);
            self.shared.engine.tasks().spawn_until_stopped(async move {
                if let Err(error) = shared.records.running(&job, name).await {
                    tracing::warn!(%error, %job, "the runner of a job is not written");
                }
            });
            self.tell(Event::Running { job, runner });
        }
    }

    /// Renews the leases of which half is over.
    pub(super) fn renew(&mut self) {
        let due = self.now() + LEASE / 2;
        let mut renewals = Vec::new();
        for (job, held) in &mut self.held {
            if held.until <= due && !held.renewing {
                held.renewing = true;
                renewals.push((*job, held.receipt.clone()));
            }
        }
        for (job, receipt) in renewals {
            self.beside(move |shared| async move {
                let asked = (shared.outside.now)().mono;
                let renewed = shared.queues.extend(receipt, LEASE).await;
                if let Err(error) = &renewed {
                    tracing::warn!(%error, %job, "the lease of a job is not renewed");
                }
                Input::Renewed { job, until: renewed.is_ok().then(|| asked + LEASE) }
            });
        }
    }

    pub(super) fn renewed(&mut self, job: JobRef, until: Option<MonoTime>) {
        let now = self.now();
        let Some(held) = self.held.get_mut(&job) else { return };
        held.renewing = false;
        match until {
            Some(until) => held.until = held.until.max(until),
            // It is tried again until it ran out; then another holds the job, or will.
            None if held.until > now => {}
            None => {
                self.held.remove(&job);
                self.shared.counts.add("lease_lost");
                self.tell(Event::Released { job });
            }
        }
    }

    /// A job needs its place in the queue no more.
    fn settle(&self, receipt: Receipt) {
        let shared = self.shared.clone();
        self.shared.engine.tasks().spawn_until_stopped(async move {
            let results = shared.queues.complete(vec![receipt]).await;
            // A job that is not settled comes again, and ends again by its record.
            if let Some(Err(error)) = results.into_iter().next() {
                tracing::debug!(%error, "a job that ended comes again");
            }
        });
    }
}
