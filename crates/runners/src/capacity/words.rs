//! What the machine is told, and what it asks for.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use rhumb_types::{MonoTime, RegionId};
use serde::{Deserialize, Serialize};

use crate::job::{JobRef, RunnerName};

/// Where runners are registered: GitHub gives them jobs of that account alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// An organisation.
    Organisation(String),
    /// A repository, as `owner/name`.
    Repository(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organisation(name) | Self::Repository(name) => f.write_str(name),
        }
    }
}

/// Runners that are alike: any of them may take any of the pool's jobs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PoolId {
    /// Where they are registered.
    pub scope: Scope,
    /// Their label set.
    pub set: String,
    /// The region that their jobs name by a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
}

/// What a region may do for a label set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetLimits {
    /// Most runners at a time.
    pub runners_max: usize,
    /// Most runners that are being started at a time.
    pub starting_max: usize,
}

/// The times of the machine, and the bounds of its sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The sets by name; one that is not named may have no runner.
    pub sets: BTreeMap<String, SetLimits>,
    /// How long a runner may take from its start until GitHub sees it.
    pub start_timeout: Duration,
    /// How long there must be too many runners before one is stopped.
    pub surplus_grace: Duration,
    /// How long a runner that GitHub does not list any more may go on.
    pub linger: Duration,
    /// How often GitHub's list is read.
    pub survey_interval: Duration,
    /// After how long GitHub is first asked about a job that waits.
    pub ask_after: Duration,
    /// After how long it is asked about a job that runs.
    pub ask_running: Duration,
    /// After how long it is asked about the job of a runner that ended.
    pub ask_exited: Duration,
}

impl Config {
    /// The usual times, for some sets.
    #[must_use]
    pub const fn new(sets: BTreeMap<String, SetLimits>) -> Self {
        Self {
            sets,
            start_timeout: Duration::from_secs(300),
            surplus_grace: Duration::from_secs(60),
            linger: Duration::from_secs(120),
            survey_interval: Duration::from_secs(60),
            ask_after: Duration::from_secs(120),
            ask_running: Duration::from_secs(600),
            ask_exited: Duration::from_secs(15),
        }
    }

    pub(super) fn set(&self, set: &str) -> SetLimits {
        self.sets.get(set).copied().unwrap_or_default()
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Time has passed; at least every second.
    Tick,
    /// There may be runners of this scope.
    Known(Scope),
    /// A job is this region's to see served.
    Wanted {
        /// Which.
        job: JobRef,
        /// Whose runners can take it.
        pool: PoolId,
        /// The numbers of runners that were started for it, in whichever region and process.
        claimed: Vec<u32>,
    },
    /// A runner has the job.
    Running {
        /// Which job.
        job: JobRef,
        /// Which runner, if it is one of Rhumb's.
        runner: Option<RunnerName>,
    },
    /// The job ended, or was cancelled.
    Ended {
        /// Which.
        job: JobRef,
    },
    /// The job is not this region's any more.
    Released {
        /// Which.
        job: JobRef,
    },
    /// An [`Effect::Start`] worked: the runner is registered, and its executor has it.
    Started {
        /// Which.
        name: RunnerName,
    },
    /// It did not.
    NotStarted {
        /// Which.
        name: RunnerName,
        /// Why.
        failure: Failure,
    },
    /// What ran a runner has ended.
    Exited {
        /// Which.
        name: RunnerName,
    },
    /// An [`Effect::Stop`] worked: the runner is neither registered nor does it run.
    Stopped {
        /// Which.
        name: RunnerName,
    },
    /// It did not.
    NotStopped {
        /// Which.
        name: RunnerName,
        /// Whether because it has a job.
        busy: bool,
    },
    /// The answer to an [`Effect::Survey`].
    Surveyed(Survey),
    /// There is none.
    NotSurveyed {
        /// Of what.
        scope: Scope,
        /// When to try again.
        wait: Duration,
    },
}

/// Why a runner was not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// There is a runner of that name.
    Exists,
    /// GitHub or the executor wants to be left alone for so long.
    Later(Duration),
    /// Anything else.
    Failed,
}

/// All runners of a scope at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survey {
    /// Of what.
    pub scope: Scope,
    /// When GitHub was asked; what happened since is not in it.
    pub asked: MonoTime,
    /// Runners of Rhumb that GitHub lists.
    pub runners: Vec<SeenRunner>,
    /// What this region's executors run, if they can tell.
    pub tasks: Option<Vec<Task>>,
}

/// A runner as GitHub lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenRunner {
    /// Its name.
    pub name: RunnerName,
    /// The pool that its labels speak of.
    pub pool: PoolId,
    /// Whether its labels name this region.
    pub here: bool,
    /// Whether it is connected.
    pub online: bool,
    /// Whether it has a job.
    pub busy: bool,
}

/// What an executor runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// The runner.
    pub name: RunnerName,
    /// Its pool.
    pub pool: PoolId,
}

/// Something to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Write the number down, register a runner, and have it run.
    Start {
        /// The pool.
        pool: PoolId,
        /// For which job, as far as anybody can say.
        job: JobRef,
        /// The runner's number among those of the job.
        ordinal: u32,
        /// Its name.
        name: RunnerName,
    },
    /// Take a runner off GitHub's list unless it has a job, then end what runs it.
    Stop {
        /// Which.
        name: RunnerName,
        /// Its pool.
        pool: PoolId,
    },
    /// Ask GitHub how a job is doing.
    Ask {
        /// Which.
        job: JobRef,
    },
    /// Tell that a runner is no more. Nothing answers this.
    Ended {
        /// Which.
        name: RunnerName,
        /// Its pool.
        pool: PoolId,
        /// How.
        how: End,
    },
    /// Read GitHub's list.
    Survey {
        /// Of what.
        scope: Scope,
    },
}

/// How a runner ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself, or something ended it that nobody told of.
    Exited,
    /// It was stopped.
    Stopped,
}

impl End {
    /// A name for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Stopped => "stopped",
        }
    }
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

    pub(super) fn push(&mut self, effect: Effect) {
        self.0.push_back(effect);
    }

    /// Takes the next.
    pub fn pop(&mut self) -> Option<Effect> {
        self.0.pop_front()
    }
}

/// What there is of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolCounts {
    /// Jobs that wait for a runner.
    pub waiting: usize,
    /// Jobs that a runner has.
    pub running: usize,
    /// Runners that were started and not seen yet.
    pub starting: usize,
    /// Runners that wait for a job.
    pub idle: usize,
    /// Runners that have one.
    pub busy: usize,
    /// Runners that are being removed.
    pub stopping: usize,
}

impl PoolCounts {
    /// Adds what there is of another pool.
    pub const fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.running += other.running;
        self.starting += other.starting;
        self.idle += other.idle;
        self.busy += other.busy;
        self.stopping += other.stopping;
    }
}
