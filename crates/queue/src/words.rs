//! What the queues are told, what they ask for, and what they answer.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rhumb_regions::lease::Leases;
use rhumb_types::{
    AckLevel, Epoch, ErrorCode, MonoTime, RegionId,
    record::{
        Job, JobAttribute, JobId, JobKey, OwnedId, OwnedOp, OwnedRow, Progress, QueueDefinition,
        QueueName,
    },
};

use crate::{index::Place, job::NewJob, spill::Advert};

/// Names a request of a caller, so that its answer finds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// Names a write or a read that the queues asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// All queues, by name.
pub type Definitions = BTreeMap<QueueName, QueueDefinition>;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// Time has passed; at least every 100 ms.
    Tick,
    /// All queues there are, as agreed; at the start and after every change.
    Definitions(Arc<Definitions>),
    /// The leases under which this node may act. They come after the rows that the opening of a
    /// lease waited for, and before whatever is asked under them.
    Leases(Arc<Leases>),
    /// Rows of the tables of jobs and of frontiers that were applied, this node's own among them, in
    /// the order in which they were committed.
    Rows(Vec<OwnedRow>),
    /// The rows that an [`Effect::Scan`] asked for; `end` when the table has no more.
    Scanned {
        /// The rows.
        rows: Vec<OwnedRow>,
        /// Whether these were the last.
        end: bool,
    },
    /// The rows that an [`Effect::Fetch`] asked for, in its order.
    Fetched {
        /// Which.
        token: Token,
        /// What is in the store.
        rows: Vec<Option<OwnedRow>>,
    },
    /// How an [`Effect::Own`] ended.
    Owned {
        /// Which.
        token: Token,
        /// The version that each op made.
        result: Result<Vec<OwnedRow>, WriteError>,
    },
    /// A caller asks for something. Every request is answered, once.
    Request {
        /// Which.
        request: RequestId,
        /// What.
        ask: Ask,
    },
    /// A caller that waits for jobs is gone.
    Gone(RequestId),
    /// Another region says how many jobs more it can take.
    Advertised(Advert),
    /// How many workers a region has.
    Executors {
        /// Which region.
        home: RegionId,
        /// All of them, busy or not.
        executors: u64,
    },
}

/// Why an [`Effect::Own`] was not answered with a yes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing was written, and nothing will be.
    #[error("{why}")]
    Refused {
        /// What kind of failure.
        code: ErrorCode,
        /// In words.
        why: Arc<str>,
    },
    /// It may have been written; then it stays and replicates.
    #[error("the outcome is not known: {0}")]
    Unknown(Arc<str>),
}

/// What becomes of a job that a worker could not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Retry {
    /// It is tried again after the queue's own back-off.
    #[default]
    Backoff,
    /// It is tried again after a time; at most 12 h.
    After(Duration),
    /// It can never succeed: it is dead at once.
    Never,
    /// Its worker hands it back at once, for whoever comes next. That uses an attempt up, or a job that
    /// nobody can do would come for ever; it says nothing about how well the region or the tenant does.
    HandedBack,
}

/// What a caller asks for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Takes jobs in.
    Enqueue(Enqueue),
    /// Leases jobs to a worker.
    Receive(Receive),
    /// The worker is through with jobs.
    Complete {
        /// Which.
        receipts: Vec<Receipt>,
    },
    /// The worker failed.
    Fail {
        /// Which job.
        receipt: Receipt,
        /// What went wrong.
        why: String,
        /// What becomes of it.
        retry: Retry,
    },
    /// The worker needs the job for so long from now on.
    Extend {
        /// Which job.
        receipt: Receipt,
        /// How long; zero gives it back.
        visibility: Duration,
    },
    /// The worker gives the job back, untried.
    Release {
        /// Which job.
        receipt: Receipt,
    },
    /// Empties a queue of what is in it now.
    Purge {
        /// Which.
        queue: QueueName,
    },
    /// Takes dead jobs back.
    Redrive {
        /// Where they are.
        queue: QueueName,
        /// Where they go; without it, where they came from, or for jobs that died in their own queue
        /// that queue.
        to: Option<QueueName>,
        /// How many.
        jobs_max: u64,
    },
    /// The duties of a home are to move: for a while no more of its jobs are leased.
    Hush {
        /// Whose.
        home: RegionId,
    },
}

/// Jobs for a queue.
#[derive(Clone, Debug)]
pub struct Enqueue {
    /// The queue.
    pub queue: QueueName,
    /// The home of the jobs, by the shared selection.
    pub home: RegionId,
    /// Where they may go if the home is overloaded, best first; obeys residency. Empty: nowhere.
    pub allowed: Vec<RegionId>,
    /// The jobs.
    pub jobs: Vec<NewJob>,
}

/// A worker's wish for jobs.
#[derive(Clone, Debug)]
pub struct Receive {
    /// Of which queue.
    pub queue: QueueName,
    /// How many at most.
    pub jobs_max: usize,
    /// How long the lease lasts; the queue's own time without.
    pub visibility: Option<Duration>,
    /// How long to wait for a job.
    pub until: MonoTime,
    /// Who asks, for those who look.
    pub worker: Arc<str>,
}

/// What a worker shows to settle a job that it leased.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Receipt {
    /// Which job.
    pub key: JobKey,
    /// The epoch of the home's lease under which it was given.
    pub epoch: Epoch,
    /// Which lease of the job.
    pub number: u64,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, epoch, number } = self;
        write!(f, "{}/{}/{:x}/{number:x}", key.queue, key.id, epoch.0)
    }
}

impl Receipt {
    /// The receipt that [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let queue = QueueName::new(parts.next()?).ok()?;
        let id = JobId::parse(parts.next()?)?;
        let epoch = Epoch(u64::from_str_radix(parts.next()?, 16).ok()?);
        let number = u64::from_str_radix(parts.next()?, 16).ok()?;
        parts.next().is_none().then_some(Self { key: JobKey { queue, id }, epoch, number })
    }
}

/// A job in a worker's hands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leased {
    /// What settles it.
    pub receipt: Receipt,
    /// Everything about it.
    pub job: Job,
    /// How often it was leased before and failed, or ran out.
    pub attempts: u32,
    /// When the lease ends, on this node's clock.
    pub ends: MonoTime,
}

/// What became of a job that was to be taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Enqueued {
    /// It is taken in.
    Created {
        /// Its id.
        id: JobId,
        /// Its place in the order of its home.
        order: u64,
        /// Whether only this region runs it, because it was taken in without a lease (rule 5).
        pinned: bool,
    },
    /// It was there already.
    Duplicate {
        /// Its id.
        id: JobId,
        /// Its place in the order of its home.
        order: u64,
        /// How far it has come.
        progress: Progress,
    },
    /// Another region is to take it in: send it there with that region as its home, with this id,
    /// and as [`NewJob::spilled`].
    Forward {
        /// The region.
        to: RegionId,
        /// Its id.
        id: JobId,
        /// The decision in words.
        why: String,
    },
}

/// The answer to an [`Ask`] that was carried out.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// A result per job.
    Enqueued(Vec<Result<Enqueued, Refused>>),
    /// Jobs; none when there were none in time.
    Received(Vec<Leased>),
    /// A result per receipt.
    Completed(Vec<Result<(), Refused>>),
    /// A failure, an extension or a release is done.
    Settled,
    /// A purge or a redrive is done, for so many jobs.
    Moved(u64),
    /// So many jobs of a home are still leased, or about to be written as such; the home may move when
    /// there are none.
    Leased(u64),
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such queue.
    #[error("there is no queue `{0}`: make it first")]
    NoQueue(QueueName),
    /// The request is against a limit.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// The key names a job with other parameters.
    #[error("the key names a job with other parameters")]
    ChangedParameters {
        /// That job.
        id: JobId,
    },
    /// The receipt does not count any more: the lease ran out, was given back or is settled, or the
    /// region has another owner.
    #[error("the receipt does not count any more")]
    Stale,
    /// There is no such job, or it has ended.
    #[error("there is no such job, or it has ended")]
    Gone,
    /// Too much at once.
    #[error("too much is under way: try again later")]
    Overloaded,
    /// It cannot be done here and now; nothing was done.
    #[error("it cannot be done now: {0}")]
    Unavailable(Arc<str>),
    /// It may have been done.
    #[error("it may have been done: {0}")]
    Unconfirmed(Arc<str>),
    /// The node refused the write; nothing was done.
    #[error("{why}")]
    Write {
        /// What kind of failure.
        code: ErrorCode,
        /// In words.
        why: Arc<str>,
    },
}

impl Refused {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoQueue(_) | Self::Gone => ErrorCode::NotFound,
            Self::Invalid(_) => ErrorCode::Invalid,
            Self::ChangedParameters { .. } | Self::Stale => ErrorCode::Conflict,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Unconfirmed(_) => ErrorCode::Unconfirmed,
            Self::Write { code, .. } => *code,
        }
    }
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused { code, why } => Self::Write { code, why },
            WriteError::Unknown(why) => Self::Unconfirmed(why),
        }
    }
}

/// Something to be done.
#[derive(Debug)]
pub enum Effect {
    /// Write owned rows, all or none, then [`Event::Owned`].
    Own {
        /// Names the write.
        token: Token,
        /// The home of new rows.
        home: RegionId,
        /// What to write.
        ops: Vec<OwnedOp>,
        /// What must be durable before the answer.
        ack: AckLevel,
        /// Whether the ids of all of the rows were drawn a moment ago: no row has them, and none needs to
        /// be looked for.
        drawn: bool,
    },
    /// Read rows, then [`Event::Fetched`].
    Fetch {
        /// Names the read.
        token: Token,
        /// Which rows.
        rows: Vec<OwnedId>,
    },
    /// Read a part of a table, then [`Event::Scanned`]. At most one at a time.
    Scan {
        /// Which table.
        table: u8,
        /// After which key.
        after: Option<Bytes>,
        /// How many rows.
        rows_max: usize,
    },
    /// Drop rows from this node's store; they are not replicated, and every region drops its own.
    Drop(Vec<OwnedId>),
    /// Answer a request.
    Answer {
        /// Which.
        request: RequestId,
        /// With what.
        result: Result<Answer, Refused>,
    },
    /// A job ended, for those who follow.
    Publish(Finished),
    /// Tell the other regions how many jobs more a region can take.
    Advertise(Advert),
    /// Tell the operator.
    Alarm(String),
}

/// A job that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Which.
    pub key: JobKey,
    /// Whether it was completed; else it is dead.
    pub completed: bool,
    /// Whose it was.
    pub tenant: Option<String>,
    /// What went wrong.
    pub why: String,
}

/// What one event wants done, in order.
#[derive(Debug, Default)]
pub struct Effects(VecDeque<Effect>);

impl Effects {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.0.push_back(effect);
    }

    pub(crate) fn answer(&mut self, request: RequestId, result: Result<Answer, Refused>) {
        self.push(Effect::Answer { request, result });
    }

    /// Takes the next.
    pub fn pop(&mut self) -> Option<Effect> {
        self.0.pop_front()
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How full a queue is, in one region or in all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Jobs that can be leased.
    pub ready: u64,
    /// Jobs whose time has not come.
    pub delayed: u64,
    /// Jobs behind another of their group.
    pub behind: u64,
    /// Jobs that workers have.
    pub leased: u64,
    /// Jobs that a worker of an earlier owner may have.
    pub held: u64,
    /// Jobs that failed too often.
    pub dead: u64,
    /// Requests that wait for a job here.
    pub waiters: u64,
    /// How long the oldest ready job has waited.
    pub oldest_age: Duration,
}

/// Where a job is, as this node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whereabouts {
    /// The region that runs it.
    pub home: RegionId,
    /// Whether only that region may.
    pub pinned: bool,
    /// Where in its queue.
    pub place: Place,
    /// Who has it, if it was leased here, and until when.
    pub worker: Option<(Arc<str>, MonoTime)>,
    /// Its failures so far.
    pub attempts: u32,
}

/// The attributes of a job that its caller gave.
pub type Attributes = Vec<JobAttribute>;
