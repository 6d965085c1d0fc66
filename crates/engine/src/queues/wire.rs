//! What nodes ask of each other's queues, as bytes. The order of variants and fields is frozen (rule 16).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_queue::{
    Advert, Answer, Ask, Enqueue, Enqueued, Leased, NewJob, Receipt, Receive, Refused, Retry,
};
use rhumb_regions::spillover::blame::Results;
use rhumb_types::{
    Epoch, ErrorCode, MonoTime, RegionId,
    record::{Job, JobAttribute, JobId, JobKey, Progress, QueueName, Record},
};
use serde::{Deserialize, Serialize};

use super::registry::WorkerInfo;

/// A question of one node to another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Call {
    Enqueue { queue: QueueName, home: RegionId, allowed: Vec<RegionId>, jobs: Vec<SentJob> },
    Receive { queue: QueueName, jobs_max: u32, visibility: Option<Duration>, worker: String },
    Complete { receipts: Vec<SentReceipt> },
    Fail { receipt: SentReceipt, why: String, retry: SentRetry },
    Extend { receipt: SentReceipt, visibility: Duration },
    Release { receipt: SentReceipt },
    Purge { queue: QueueName },
    Redrive { queue: QueueName, to: Option<QueueName>, jobs_max: u64 },
    Advert { home: RegionId, jobs: u32, tenants: BTreeMap<String, (u64, u64)> },
    Workers,
    Hush { home: RegionId },
}

impl Call {
    /// The lowest agreed protocol version under which another node is asked this (rule 16).
    pub(super) const fn since(&self) -> u16 {
        match self {
            Self::Hush { .. } => 2,
            Self::Enqueue { .. }
            | Self::Receive { .. }
            | Self::Complete { .. }
            | Self::Fail { .. }
            | Self::Extend { .. }
            | Self::Release { .. }
            | Self::Purge { .. }
            | Self::Redrive { .. }
            | Self::Advert { .. }
            | Self::Workers => 1,
        }
    }
}

impl Record for Call {
    const VERSION: u8 = 1;
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Enqueued(Vec<Result<SentEnqueued, SentRefusal>>),
    Received(Vec<SentLease>),
    Completed(Vec<Result<(), SentRefusal>>),
    Settled,
    Moved(u64),
    Refused(SentRefusal),
    Noted,
    Workers(Vec<WorkerInfo>),
    Leased(u64),
}

impl Record for Told {
    const VERSION: u8 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SentRetry {
    Backoff,
    After(Duration),
    Never,
    HandedBack,
}

impl From<Retry> for SentRetry {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Backoff => Self::Backoff,
            Retry::After(wait) => Self::After(wait),
            Retry::Never => Self::Never,
            Retry::HandedBack => Self::HandedBack,
        }
    }
}

impl From<SentRetry> for Retry {
    fn from(retry: SentRetry) -> Self {
        match retry {
            SentRetry::Backoff => Self::Backoff,
            SentRetry::After(wait) => Self::After(wait),
            SentRetry::Never => Self::Never,
            SentRetry::HandedBack => Self::HandedBack,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentJob {
    id: JobId,
    body: Bytes,
    attributes: Vec<JobAttribute>,
    priority: u8,
    group: Option<String>,
    tenant: Option<String>,
    workflow: Option<String>,
    key: Option<String>,
    delay: Option<Duration>,
    key_alone: bool,
    spilled: Option<(RegionId, String)>,
}

impl From<NewJob> for SentJob {
    fn from(job: NewJob) -> Self {
        let NewJob { id, body, attributes, priority, group, tenant, workflow, .. } = job;
        let NewJob { key, delay, key_alone, spilled, .. } = job;
        Self {
            id,
            body,
            attributes,
            priority,
            group,
            tenant,
            workflow,
            key,
            delay,
            key_alone,
            spilled,
        }
    }
}

impl From<SentJob> for NewJob {
    fn from(job: SentJob) -> Self {
        let SentJob { priority, group, tenant, workflow, key, delay, key_alone, spilled, .. } = job;
        let plain = Self::new(job.id, job.body, job.attributes);
        Self { priority, group, tenant, workflow, key, delay, key_alone, spilled, ..plain }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentReceipt {
    key: JobKey,
    epoch: Epoch,
    number: u64,
}

impl From<Receipt> for SentReceipt {
    fn from(Receipt { key, epoch, number }: Receipt) -> Self {
        Self { key, epoch, number }
    }
}

impl From<SentReceipt> for Receipt {
    fn from(SentReceipt { key, epoch, number }: SentReceipt) -> Self {
        Self { key, epoch, number }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SentEnqueued {
    Created { id: JobId, order: u64, pinned: bool },
    Duplicate { id: JobId, order: u64, progress: Progress },
    Forward { to: RegionId, id: JobId, why: String },
}

impl From<Enqueued> for SentEnqueued {
    fn from(enqueued: Enqueued) -> Self {
        match enqueued {
            Enqueued::Created { id, order, pinned } => Self::Created { id, order, pinned },
            Enqueued::Duplicate { id, order, progress } => Self::Duplicate { id, order, progress },
            Enqueued::Forward { to, id, why } => Self::Forward { to, id, why },
        }
    }
}

impl From<SentEnqueued> for Enqueued {
    fn from(enqueued: SentEnqueued) -> Self {
        match enqueued {
            SentEnqueued::Created { id, order, pinned } => Self::Created { id, order, pinned },
            SentEnqueued::Duplicate { id, order, progress } => {
                Self::Duplicate { id, order, progress }
            }
            SentEnqueued::Forward { to, id, why } => Self::Forward { to, id, why },
        }
    }
}

/// A job in a worker's hands; clocks differ, so its end is told as what is left of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentLease {
    receipt: SentReceipt,
    job: Job,
    attempts: u32,
    left: Duration,
}

impl SentLease {
    fn of(leased: Leased, now: MonoTime) -> Self {
        let Leased { receipt, job, attempts, ends } = leased;
        Self { receipt: receipt.into(), job, attempts, left: ends.saturating_since(now) }
    }

    /// The lease on this node's clock, counted from before it was asked for.
    pub(super) fn since(self, asked: MonoTime) -> Leased {
        let Self { receipt, job, attempts, left } = self;
        Leased { receipt: receipt.into(), job, attempts, ends: asked + left }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SentRefusal {
    NoQueue(QueueName),
    Invalid(String),
    ChangedParameters { id: JobId },
    Stale,
    Gone,
    Overloaded,
    Unavailable(String),
    Unconfirmed(String),
    Write { code: ErrorCode, why: String },
}

impl From<Refused> for SentRefusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoQueue(name) => Self::NoQueue(name),
            Refused::Invalid(why) => Self::Invalid(why.to_string()),
            Refused::ChangedParameters { id } => Self::ChangedParameters { id },
            Refused::Stale => Self::Stale,
            Refused::Gone => Self::Gone,
            Refused::Overloaded => Self::Overloaded,
            Refused::Unavailable(why) => Self::Unavailable(why.to_string()),
            Refused::Unconfirmed(why) => Self::Unconfirmed(why.to_string()),
            Refused::Write { code, why } => Self::Write { code, why: why.to_string() },
        }
    }
}

impl From<SentRefusal> for Refused {
    fn from(refusal: SentRefusal) -> Self {
        match refusal {
            SentRefusal::NoQueue(name) => Self::NoQueue(name),
            SentRefusal::Invalid(why) => Self::Invalid(why.into()),
            SentRefusal::ChangedParameters { id } => Self::ChangedParameters { id },
            SentRefusal::Stale => Self::Stale,
            SentRefusal::Gone => Self::Gone,
            SentRefusal::Overloaded => Self::Overloaded,
            SentRefusal::Unavailable(why) => Self::Unavailable(why.into()),
            SentRefusal::Unconfirmed(why) => Self::Unconfirmed(why.into()),
            SentRefusal::Write { code, why } => Self::Write { code, why: why.into() },
        }
    }
}

impl Call {
    /// What another node does for this one.
    pub(super) fn of(ask: Ask) -> Self {
        match ask {
            Ask::Enqueue(Enqueue { queue, home, allowed, jobs }) => {
                let jobs = jobs.into_iter().map(SentJob::from).collect();
                Self::Enqueue { queue, home, allowed, jobs }
            }
            Ask::Receive(Receive { queue, jobs_max, visibility, worker, .. }) => {
                let jobs_max = u32::try_from(jobs_max).unwrap_or(u32::MAX);
                Self::Receive { queue, jobs_max, visibility, worker: worker.to_string() }
            }
            Ask::Complete { receipts } => {
                Self::Complete { receipts: receipts.into_iter().map(SentReceipt::from).collect() }
            }
            Ask::Fail { receipt, why, retry } => {
                Self::Fail { receipt: receipt.into(), why, retry: retry.into() }
            }
            Ask::Extend { receipt, visibility } => {
                Self::Extend { receipt: receipt.into(), visibility }
            }
            Ask::Release { receipt } => Self::Release { receipt: receipt.into() },
            Ask::Purge { queue } => Self::Purge { queue },
            Ask::Redrive { queue, to, jobs_max } => Self::Redrive { queue, to, jobs_max },
            Ask::Hush { home } => Self::Hush { home },
        }
    }

    /// An advertisement.
    pub(super) fn advert(advert: Advert) -> Self {
        let Advert { home, jobs, tenants } = advert;
        let pair = |(tenant, it): (String, Results)| (tenant, (it.results, it.errors));
        Self::Advert { home, jobs, tenants: tenants.into_iter().map(pair).collect() }
    }

    /// What this node is asked to do, at a time; jobs are not waited for.
    pub(super) fn ask(self, now: MonoTime) -> Asked {
        Asked::Ask(match self {
            Self::Enqueue { queue, home, allowed, jobs } => {
                let jobs = jobs.into_iter().map(NewJob::from).collect();
                Ask::Enqueue(Enqueue { queue, home, allowed, jobs })
            }
            Self::Receive { queue, jobs_max, visibility, worker } => {
                let jobs_max = usize::try_from(jobs_max).unwrap_or(usize::MAX);
                let worker: Arc<str> = worker.into();
                Ask::Receive(Receive { queue, jobs_max, visibility, until: now, worker })
            }
            Self::Complete { receipts } => {
                Ask::Complete { receipts: receipts.into_iter().map(Receipt::from).collect() }
            }
            Self::Fail { receipt, why, retry } => {
                Ask::Fail { receipt: receipt.into(), why, retry: retry.into() }
            }
            Self::Extend { receipt, visibility } => {
                Ask::Extend { receipt: receipt.into(), visibility }
            }
            Self::Release { receipt } => Ask::Release { receipt: receipt.into() },
            Self::Purge { queue } => Ask::Purge { queue },
            Self::Redrive { queue, to, jobs_max } => Ask::Redrive { queue, to, jobs_max },
            Self::Advert { home, jobs, tenants } => {
                let results = |(results, errors)| Results { results, errors };
                let tenants = tenants.into_iter().map(|(name, it)| (name, results(it))).collect();
                return Asked::Advert(Advert { home, jobs, tenants });
            }
            Self::Workers => return Asked::Workers,
            Self::Hush { home } => Ask::Hush { home },
        })
    }
}

/// What another node wants.
#[derive(Debug)]
pub(super) enum Asked {
    Ask(Ask),
    Advert(Advert),
    Workers,
}

impl Told {
    /// What this node's machine said.
    pub(super) fn of(result: Result<Answer, Refused>, now: MonoTime) -> Self {
        match result {
            Ok(Answer::Enqueued(results)) => {
                let sent = |it: Result<Enqueued, Refused>| {
                    it.map(SentEnqueued::from).map_err(SentRefusal::from)
                };
                Self::Enqueued(results.into_iter().map(sent).collect())
            }
            Ok(Answer::Received(jobs)) => {
                Self::Received(jobs.into_iter().map(|it| SentLease::of(it, now)).collect())
            }
            Ok(Answer::Completed(results)) => {
                let sent = |it: Result<(), Refused>| it.map_err(SentRefusal::from);
                Self::Completed(results.into_iter().map(sent).collect())
            }
            Ok(Answer::Settled) => Self::Settled,
            Ok(Answer::Moved(jobs)) => Self::Moved(jobs),
            Ok(Answer::Leased(jobs)) => Self::Leased(jobs),
            Err(refused) => Self::Refused(refused.into()),
        }
    }

    /// What the other node's machine said; `asked` is when it was asked.
    pub(super) fn answer(self, asked: MonoTime) -> Result<Answer, Refused> {
        Ok(match self {
            Self::Enqueued(results) => {
                let got = |it: Result<SentEnqueued, SentRefusal>| {
                    it.map(Enqueued::from).map_err(Refused::from)
                };
                Answer::Enqueued(results.into_iter().map(got).collect())
            }
            Self::Received(jobs) => {
                Answer::Received(jobs.into_iter().map(|it| it.since(asked)).collect())
            }
            Self::Completed(results) => {
                let got = |it: Result<(), SentRefusal>| it.map_err(Refused::from);
                Answer::Completed(results.into_iter().map(got).collect())
            }
            Self::Settled | Self::Noted => Answer::Settled,
            Self::Moved(jobs) => Answer::Moved(jobs),
            Self::Leased(jobs) => Answer::Leased(jobs),
            Self::Refused(refusal) => return Err(refusal.into()),
            Self::Workers(_) => {
                return Err(Refused::Unconfirmed("the answer is to another question".into()));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> NewJob {
        let attribute = JobAttribute {
            name: "n".into(),
            kind: "String".into(),
            value: Bytes::from_static(b"v"),
        };
        let region = RegionId::new("eu").unwrap();
        NewJob {
            priority: 3,
            group: Some("g".into()),
            tenant: Some("t".into()),
            workflow: Some("w".into()),
            key: Some("k".into()),
            delay: Some(Duration::from_secs(9)),
            key_alone: true,
            spilled: Some((region, "too much".into())),
            ..NewJob::new(JobId([7; 16]), Bytes::from_static(b"body"), vec![attribute])
        }
    }

    #[test]
    fn what_an_older_node_cannot_read_waits_for_its_version() {
        let home = RegionId::new("us").unwrap();
        let queue = QueueName::new("q").unwrap();
        assert_eq!(Call::of(Ask::Hush { home }).since(), 2);
        assert_eq!(Call::of(Ask::Purge { queue }).since(), 1);
    }

    #[test]
    fn a_job_is_the_same_after_its_way() {
        let home = RegionId::new("us").unwrap();
        let queue = QueueName::new("q").unwrap();
        let enqueue =
            Enqueue { queue, home: home.clone(), allowed: vec![home], jobs: vec![job(), job()] };
        let sent = Call::of(Ask::Enqueue(enqueue.clone())).encode();
        let Asked::Ask(Ask::Enqueue(got)) = Call::decode(&sent).unwrap().ask(MonoTime(0)) else {
            panic!("it is another question");
        };
        assert_eq!(
            (got.home, got.allowed, got.jobs),
            (enqueue.home, enqueue.allowed, enqueue.jobs)
        );
    }

    #[test]
    fn a_lease_ends_no_later_here_than_there() {
        let receipt = Receipt {
            key: JobKey { queue: QueueName::new("q").unwrap(), id: JobId([1; 16]) },
            epoch: Epoch(3),
            number: 9,
        };
        let ends = MonoTime(50_000_000);
        let leased = Leased { receipt: receipt.clone(), job: Job::default(), attempts: 2, ends };
        let sent = Told::of(Ok(Answer::Received(vec![leased])), MonoTime(20_000_000)).encode();
        let answer = Told::decode(&sent).unwrap().answer(MonoTime(1_000_000)).unwrap();
        let Answer::Received(jobs) = answer else { panic!("{answer:?}") };
        assert_eq!((&jobs[0].receipt, jobs[0].ends), (&receipt, MonoTime(31_000_000)));
    }

    #[test]
    fn every_refusal_keeps_its_code() {
        let queue = QueueName::new("q").unwrap();
        let all = [
            Refused::NoQueue(queue),
            Refused::Invalid("i".into()),
            Refused::ChangedParameters { id: JobId([1; 16]) },
            Refused::Stale,
            Refused::Gone,
            Refused::Overloaded,
            Refused::Unavailable("u".into()),
            Refused::Unconfirmed("c".into()),
            Refused::Write { code: ErrorCode::Internal, why: "w".into() },
        ];
        for refused in all {
            assert_eq!(Refused::from(SentRefusal::from(refused.clone())), refused);
        }
    }
}
