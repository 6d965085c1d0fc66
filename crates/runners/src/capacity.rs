//! As many runners as there are jobs that wait for one: the machine of one region.
//!
//! GitHub chooses which runner takes which job, so a runner that was started for a job need not be the
//! one that gets it. The machine therefore follows levels, never pairs: for every pool (an account, a
//! label set) it counts the jobs of this region that wait and the runners that could take one, and
//! starts what is missing. Events may be lost, doubled, late and out of order: they only move the counts,
//! and what GitHub lists and answers when it is asked sets them right again.
//!
//! What its driver must keep to:
//! - the number of an [`Effect::Start`] is written down before anything is done about it, and
//!   [`Event::Wanted`] brings all numbers that were written, so that no name is started twice;
//! - every `Start`, `Stop` and `Survey` is answered, with how it ended;
//! - a [`Survey`] is complete, and says when it was asked for.
//!
//! Deliberately absent: IO, clocks, GitHub's API, queues, and which job should run where.

mod settle;
mod survey;
#[cfg(test)]
mod tests;
mod words;
#[cfg(test)]
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_types::MonoTime;

pub use self::words::{
    Config, Effect, Effects, End, Event, Failure, PoolCounts, PoolId, Scope, SeenRunner, SetLimits,
    Survey, Task,
};
use crate::{
    job::{JobRef, RunnerName},
    limits::{ASK_MAX, BACK_OFF_MAX, BACK_OFF_MIN, JOBS_MAX, STOP_AGAIN},
};

/// The machine.
#[derive(Debug)]
pub struct Capacity {
    config: Config,
    jobs: BTreeMap<JobRef, Job>,
    runners: BTreeMap<RunnerName, Runner>,
    scopes: BTreeMap<Scope, ScopeState>,
    pools: BTreeMap<PoolId, Pool>,
    /// Numbers jobs in the order in which they came.
    arrivals: u64,
}

#[derive(Clone, Debug)]
struct Job {
    pool: PoolId,
    /// Whether a runner has it, as far as is known.
    running: bool,
    arrival: u64,
    /// The number of the next runner that is started for it.
    next_ordinal: u32,
    ask_at: MonoTime,
    ask_wait: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Its start was written down by an earlier process; whether it exists is not known.
    Claimed,
    /// It is being started, or was and did not report yet.
    Starting,
    /// It waits for a job.
    Idle,
    /// It has a job.
    Busy,
    /// It is being removed.
    Stopping,
}

impl State {
    /// Whether it could take a job, now or soon.
    const fn is_free(self) -> bool {
        matches!(self, Self::Claimed | Self::Starting | Self::Idle)
    }
}

#[derive(Clone, Debug)]
struct Runner {
    pool: PoolId,
    state: State,
    /// Since when.
    since: MonoTime,
    /// For which job it was started, if that is known.
    started_for: Option<JobRef>,
    /// Whether the start has an answer, so that GitHub must list it.
    answered: bool,
    /// Whether it was ever seen at GitHub.
    came: bool,
    /// When a stop that did not work is tried again.
    again_at: Option<MonoTime>,
}

#[derive(Clone, Debug, Default)]
struct ScopeState {
    /// Whether GitHub's list was seen since the machine began. Nothing is started before that.
    surveyed: bool,
    asking: bool,
    survey_at: MonoTime,
    /// When a job or a runner of it last came or went. Lists are read until one that was asked for
    /// later shows nothing of this region, so that nothing stays registered.
    stirred: MonoTime,
    still: bool,
}

impl ScopeState {
    const fn stir(&mut self, now: MonoTime) {
        self.stirred = now;
        self.still = false;
    }
}

#[derive(Clone, Debug, Default)]
struct Pool {
    surplus_since: Option<MonoTime>,
    /// Starts that failed in a row.
    failures: u32,
    /// Nothing is started before.
    not_before: MonoTime,
}

impl Capacity {
    /// A machine that knows nothing yet.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            jobs: BTreeMap::new(),
            runners: BTreeMap::new(),
            scopes: BTreeMap::new(),
            pools: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Takes something that happened, and says what is to be done.
    pub fn on_event(&mut self, now: MonoTime, event: Event, out: &mut Effects) {
        match event {
            Event::Tick => {}
            Event::Known(scope) => {
                self.scopes.entry(scope).or_default();
            }
            Event::Wanted { job, pool, claimed } => self.wanted(now, job, pool, &claimed),
            Event::Running { job, runner } => self.running(now, job, runner.as_ref()),
            Event::Ended { job } | Event::Released { job } => {
                self.jobs.remove(&job);
            }
            Event::Started { name } => {
                if let Some(runner) = self.runners.get_mut(&name) {
                    runner.answered = true;
                    // A list that was asked for before this need not show it.
                    runner.since = now;
                }
            }
            Event::NotStarted { name, failure } => self.not_started(now, &name, failure),
            Event::Exited { name } => self.gone(now, &name, out),
            Event::Stopped { name } => {
                if let Some(Runner { pool, .. }) = self.runners.remove(&name) {
                    out.push(Effect::Ended { name, pool, how: End::Stopped });
                }
            }
            Event::NotStopped { name, busy } => self.not_stopped(now, &name, busy),
            Event::Surveyed(survey) => self.surveyed(now, &survey, out),
            Event::NotSurveyed { scope, wait } => {
                let state = self.scopes.entry(scope).or_default();
                state.asking = false;
                state.survey_at = now + wait.max(BACK_OFF_MIN);
            }
        }
        self.settle(now, out);
    }

    /// How many jobs more may be taken on for a set: those for which there is room for a runner.
    #[must_use]
    pub fn room(&self, set: &str) -> usize {
        let runners_max = self.config.set(set).runners_max;
        let jobs = self.jobs.values().filter(|job| job.pool.set == set).count();
        runners_max.saturating_sub(jobs).min(JOBS_MAX.saturating_sub(self.jobs.len()))
    }

    /// What there is of each pool.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<PoolId, PoolCounts> {
        let mut counts: BTreeMap<PoolId, PoolCounts> = BTreeMap::new();
        for job in self.jobs.values() {
            let counts = counts.entry(job.pool.clone()).or_default();
            *(if job.running { &mut counts.running } else { &mut counts.waiting }) += 1;
        }
        for runner in self.runners.values() {
            let counts = counts.entry(runner.pool.clone()).or_default();
            *(match runner.state {
                State::Claimed | State::Starting => &mut counts.starting,
                State::Idle => &mut counts.idle,
                State::Busy => &mut counts.busy,
                State::Stopping => &mut counts.stopping,
            }) += 1;
        }
        counts
    }

    /// Whether a job is followed.
    #[must_use]
    pub fn follows(&self, job: &JobRef) -> bool {
        self.jobs.contains_key(job)
    }

    /// The jobs that are followed, with whether each runs.
    pub fn jobs(&self) -> impl Iterator<Item = (JobRef, &PoolId, bool)> {
        self.jobs.iter().map(|(job, state)| (*job, &state.pool, state.running))
    }

    fn wanted(&mut self, now: MonoTime, job: JobRef, pool: PoolId, claimed: &[u32]) {
        if self.jobs.contains_key(&job) || self.jobs.len() >= JOBS_MAX {
            return;
        }
        let scope = self.scopes.entry(pool.scope.clone()).or_default();
        scope.stir(now);
        for ordinal in claimed {
            let claimed = || Runner::new(pool.clone(), State::Claimed, now, Some(job));
            self.runners.entry(job.runner(*ordinal)).or_insert_with(claimed);
            scope.survey_at = now;
        }
        let next_ordinal = claimed.iter().max().map_or(0, |last| last.saturating_add(1));
        self.arrivals += 1;
        let ask_wait = self.config.ask_after;
        let arrival = self.arrivals;
        let ask_at = now + ask_wait;
        let fresh = Job { pool, running: false, arrival, next_ordinal, ask_at, ask_wait };
        self.jobs.insert(job, fresh);
    }

    fn running(&mut self, now: MonoTime, job: JobRef, runner: Option<&RunnerName>) {
        if let Some(job) = self.jobs.get_mut(&job)
            && !job.running
        {
            job.running = true;
            job.ask_wait = self.config.ask_running;
            job.ask_at = now + job.ask_wait;
        }
        let Some(known) = runner.and_then(|name| self.runners.get_mut(name)) else { return };
        known.came = true;
        if known.state.is_free() {
            known.become_(State::Busy, now);
        }
        let pool = known.pool.clone();
        self.pools.entry(pool).or_default().failures = 0;
    }

    fn not_started(&mut self, now: MonoTime, name: &RunnerName, failure: Failure) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let pool = self.pools.entry(runner.pool.clone()).or_default();
        match failure {
            // It exists: an earlier process or another region started it. The list will show how it is.
            Failure::Exists => {
                runner.answered = true;
                runner.become_(State::Claimed, now);
                self.scopes.entry(runner.pool.scope.clone()).or_default().survey_at = now;
                return;
            }
            Failure::Later(wait) => {
                pool.not_before = pool.not_before.max(now + wait.min(BACK_OFF_MAX * 12));
            }
            Failure::Failed => pool.back_off(now),
        }
        self.scopes.entry(runner.pool.scope.clone()).or_default().stir(now);
        self.runners.remove(name);
    }

    /// A runner is no more.
    fn gone(&mut self, now: MonoTime, name: &RunnerName, out: &mut Effects) {
        let Some(runner) = self.runners.remove(name) else { return };
        let how = if runner.state == State::Stopping { End::Stopped } else { End::Exited };
        out.push(Effect::Ended { name: name.clone(), pool: runner.pool.clone(), how });
        self.scopes.entry(runner.pool.scope.clone()).or_default().stir(now);
        let soon = now + self.config.ask_exited;
        if runner.state.is_free() {
            self.pools.entry(runner.pool.clone()).or_default().back_off(now);
        }
        // It may have had a job that nobody told of: the one it was started for, or another.
        for (job, state) in &mut self.jobs {
            let its = runner.started_for == Some(*job);
            if its || (state.running && state.pool == runner.pool) {
                state.ask_at = state.ask_at.min(soon);
            }
        }
    }

    fn not_stopped(&mut self, now: MonoTime, name: &RunnerName, busy: bool) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        if busy {
            runner.become_(State::Busy, now);
        } else {
            runner.again_at = Some(now + STOP_AGAIN);
        }
    }
}

impl Runner {
    const fn new(pool: PoolId, state: State, since: MonoTime, started_for: Option<JobRef>) -> Self {
        let (answered, came, again_at) = (false, false, None);
        Self { pool, state, since, started_for, answered, came, again_at }
    }

    const fn become_(&mut self, state: State, now: MonoTime) {
        self.state = state;
        self.since = now;
        self.again_at = None;
    }
}

impl Pool {
    fn back_off(&mut self, now: MonoTime) {
        let doubled = BACK_OFF_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.not_before = self.not_before.max(now + doubled.min(BACK_OFF_MAX));
    }
}

impl Job {
    /// The next question is due after twice the time.
    fn asked(&mut self, now: MonoTime) {
        self.ask_at = now + self.ask_wait;
        self.ask_wait = (self.ask_wait * 2).min(ASK_MAX);
    }
}

/// The names in a set of tasks.
fn names(tasks: &[Task]) -> BTreeSet<&RunnerName> {
    tasks.iter().map(|task| &task.name).collect()
}
