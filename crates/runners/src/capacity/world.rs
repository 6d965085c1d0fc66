//! A model of everything around the machine: GitHub, a queue, executors, and what goes wrong between
//! them. Tests drive it with random faults, then let it rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_types::MonoTime;

use super::{
    Capacity, Config, Effect, Effects, Event, Failure, PoolId, Scope, SeenRunner, SetLimits,
    Survey, Task,
};
use crate::job::{JobRef, RunnerName};

/// Most runners of the set.
pub(super) const RUNNERS_MAX: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Served {
    Queued,
    Running,
    Done,
}

/// A runner as it is.
#[derive(Clone, Debug)]
struct Alive {
    pool: PoolId,
    online: bool,
    job: Option<JobRef>,
    /// Whether its process runs; a dead one stays on GitHub's list, offline.
    process: bool,
    listed: bool,
}

/// How an effect is to go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Luck {
    Good,
    /// GitHub does not answer.
    Refused,
    /// The runner is registered, and its process never begins.
    StillBorn,
    /// The runner runs, and the answer is lost with the machine.
    CrashAfter,
    /// The number is written down and nothing else.
    CrashBefore,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: MonoTime,
    machine: Capacity,
    /// What is durable: the jobs that the queue still holds, and the numbers that were written down.
    held: BTreeMap<JobRef, PoolId>,
    written: BTreeMap<JobRef, Vec<u32>>,
    /// GitHub.
    jobs: BTreeMap<JobRef, (PoolId, Served)>,
    runners: BTreeMap<RunnerName, Alive>,
    /// Events on their way, that may be lost, doubled and reordered.
    pub(super) mail: Vec<Event>,
    /// Surveys whose answers are on their way.
    lists: Vec<Survey>,
    pub(super) started: u64,
    pub(super) crashes: u64,
}

pub(super) fn pool(at: u8) -> PoolId {
    let scope = Scope::Organisation(format!("org{}", at % 2));
    PoolId { scope, set: "linux".to_owned(), region: None }
}

fn config() -> Config {
    let limits = SetLimits { runners_max: RUNNERS_MAX, starting_max: 4 };
    Config::new(BTreeMap::from([("linux".to_owned(), limits)]))
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: MonoTime(1_000_000),
            machine: Capacity::new(config()),
            held: BTreeMap::new(),
            written: BTreeMap::new(),
            jobs: BTreeMap::new(),
            runners: BTreeMap::new(),
            mail: Vec::new(),
            lists: Vec::new(),
            started: 0,
            crashes: 0,
        }
    }

    /// A job is queued at GitHub and in the region's queue.
    pub(super) fn queue(&mut self, at: u8) {
        let id = self.jobs.len() as u64 + 1;
        let job = JobRef { repository: 1, job: id, attempt: 1 };
        self.jobs.insert(job, (pool(at), Served::Queued));
        self.held.insert(job, pool(at));
        self.take_on();
    }

    /// Hands the machine what the queue holds, as far as it has room.
    fn take_on(&mut self) {
        let held: Vec<(JobRef, PoolId)> = self.held.clone().into_iter().collect();
        for (job, pool) in held {
            if !self.machine.follows(&job) && self.machine.room(&pool.set) > 0 {
                let claimed = self.written.get(&job).cloned().unwrap_or_default();
                self.tell(Event::Wanted { job, pool, claimed }, Luck::Good);
            }
        }
    }

    pub(super) fn tell(&mut self, event: Event, luck: Luck) {
        let mut out = Effects::new();
        self.machine.on_event(self.now, event, &mut out);
        let mut crashed = false;
        while let Some(effect) = out.pop() {
            crashed |= !crashed && self.carry_out(effect, luck);
        }
        if crashed {
            self.crash();
        }
    }

    /// Carries out an effect; says whether the process dies with it.
    fn carry_out(&mut self, effect: Effect, luck: Luck) -> bool {
        match effect {
            Effect::Start { pool, job, ordinal, name } => {
                let written = self.written.entry(job).or_default();
                assert!(!written.contains(&ordinal), "{name} is started a second time");
                written.push(ordinal);
                if luck == Luck::CrashBefore {
                    return true;
                }
                if luck == Luck::Refused {
                    let failure = Failure::Failed;
                    self.mail.push(Event::NotStarted { name, failure });
                    return false;
                }
                let process = luck != Luck::StillBorn;
                let alive = Alive { pool, online: false, job: None, process, listed: true };
                let twin = self.runners.insert(name.clone(), alive);
                assert!(twin.is_none(), "{name} is there twice");
                self.started += 1;
                if luck == Luck::CrashAfter {
                    return true;
                }
                self.mail.push(Event::Started { name });
            }
            Effect::Stop { name, .. } => {
                if luck == Luck::Refused {
                    self.mail.push(Event::NotStopped { name, busy: false });
                    return false;
                }
                if self.runners.get(&name).is_some_and(|alive| alive.job.is_some() && alive.process)
                {
                    self.mail.push(Event::NotStopped { name, busy: true });
                    return false;
                }
                self.runners.remove(&name);
                self.mail.push(Event::Stopped { name });
            }
            Effect::Ended { .. } => {}
            Effect::Ask { job } => {
                if luck == Luck::Good {
                    self.answer(job);
                }
            }
            Effect::Survey { scope } => {
                if luck == Luck::Refused {
                    self.mail.push(Event::NotSurveyed { scope, wait: Duration::from_secs(5) });
                    return false;
                }
                let list = self.list(scope);
                self.lists.push(list);
            }
        }
        false
    }

    fn answer(&mut self, job: JobRef) {
        match self.jobs.get(&job).map(|(_, served)| *served) {
            Some(Served::Running) => {
                let runner = self.runner_of(job);
                self.mail.push(Event::Running { job, runner });
            }
            Some(Served::Done) | None => {
                self.held.remove(&job);
                self.mail.push(Event::Ended { job });
            }
            Some(Served::Queued) => {}
        }
    }

    fn runner_of(&self, job: JobRef) -> Option<RunnerName> {
        let mut having = self.runners.iter().filter(|(_, alive)| alive.job == Some(job));
        having.next().map(|(name, _)| name.clone())
    }

    fn list(&self, scope: Scope) -> Survey {
        let here = self.runners.iter().filter(|(_, alive)| alive.pool.scope == scope);
        let seen = |(name, alive): (&RunnerName, &Alive)| SeenRunner {
            name: name.clone(),
            pool: alive.pool.clone(),
            here: true,
            online: alive.online && alive.process,
            busy: alive.job.is_some() && alive.process,
        };
        let runners = here.clone().filter(|(_, alive)| alive.listed).map(seen).collect();
        let task = |(name, alive): (&RunnerName, &Alive)| Task {
            name: name.clone(),
            pool: alive.pool.clone(),
        };
        let tasks = here.filter(|(_, alive)| alive.process).map(task).collect();
        Survey { scope, asked: self.now, runners, tasks: Some(tasks) }
    }

    /// The process of the machine dies; what is durable stays, and so do the runners.
    pub(super) fn crash(&mut self) {
        self.crashes += 1;
        self.machine = Capacity::new(config());
        // Answers to what it asked for die with it.
        self.mail.retain(|event| matches!(event, Event::Running { .. } | Event::Ended { .. }));
        self.lists.clear();
        for at in 0..2 {
            self.tell(Event::Known(pool(at).scope), Luck::Good);
        }
        self.take_on();
    }

    /// GitHub gives one of its jobs to one of the runners that wait, whichever.
    pub(super) fn assign(&mut self, at: usize) {
        for alive in self.runners.values_mut() {
            alive.online |= alive.process;
        }
        let idle = self.runners.iter().filter(|(_, alive)| alive.online && alive.job.is_none());
        let idle: Vec<RunnerName> = idle.map(|(name, _)| name.clone()).collect();
        if idle.is_empty() {
            return;
        }
        let name = &idle[at % idle.len()];
        let Some(alive) = self.runners.get_mut(name) else { return };
        let fits = |(_, (pool, served)): &(&JobRef, &(PoolId, Served))| {
            *pool == alive.pool && *served == Served::Queued
        };
        let fitting: Vec<JobRef> = self.jobs.iter().filter(fits).map(|(job, _)| *job).collect();
        if fitting.is_empty() {
            return;
        }
        let job = fitting[at / 7 % fitting.len()];
        alive.job = Some(job);
        if let Some((_, served)) = self.jobs.get_mut(&job) {
            *served = Served::Running;
        }
        self.mail.push(Event::Running { job, runner: Some(name.clone()) });
    }

    /// A job ends, and its runner with it.
    pub(super) fn finish(&mut self, at: usize) {
        let busy = self.runners.iter().filter_map(|(name, alive)| Some((name.clone(), alive.job?)));
        let busy: Vec<(RunnerName, JobRef)> = busy.collect();
        if busy.is_empty() {
            return;
        }
        let (name, job) = busy[at % busy.len()].clone();
        self.runners.remove(&name);
        if let Some((_, served)) = self.jobs.get_mut(&job) {
            *served = Served::Done;
        }
        self.held.remove(&job);
        self.mail.push(Event::Ended { job });
        self.mail.push(Event::Exited { name });
    }

    /// A job is cancelled at GitHub before it began.
    pub(super) fn cancel(&mut self, at: usize) {
        let queued = self.jobs.iter_mut().filter(|(_, (_, served))| *served == Served::Queued);
        let mut queued: Vec<_> = queued.collect();
        if queued.is_empty() {
            return;
        }
        let at = at % queued.len();
        let (job, (_, served)) = queued.swap_remove(at);
        *served = Served::Done;
        self.mail.push(Event::Ended { job: *job });
    }

    /// A runner's process dies.
    pub(super) fn kill(&mut self, at: usize, heard: bool) {
        let names: Vec<RunnerName> = self.runners.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = names[at % names.len()].clone();
        let Some(alive) = self.runners.get_mut(&name) else { return };
        alive.process = false;
        alive.online = false;
        // GitHub gives the job up; it is never run again.
        if let Some((_, served)) = alive.job.take().and_then(|job| self.jobs.get_mut(&job)) {
            *served = Served::Done;
        }
        if heard {
            self.mail.push(Event::Exited { name });
        }
    }

    /// Delivers some of what is on its way.
    pub(super) fn deliver(&mut self, at: usize, luck: Luck) {
        if !self.lists.is_empty() && at.is_multiple_of(3) {
            let list = self.lists.swap_remove(at % self.lists.len());
            self.tell(Event::Surveyed(list), luck);
        } else if !self.mail.is_empty() {
            let event = self.mail.swap_remove(at % self.mail.len());
            self.tell(event, luck);
        }
    }

    /// An event of GitHub is lost. Answers to the machine's own effects are not: they come from its
    /// own process.
    pub(super) fn lose(&mut self, at: usize) {
        let lossy = |event: &Event| {
            matches!(event, Event::Running { .. } | Event::Ended { .. } | Event::Exited { .. })
        };
        let lossy: Vec<usize> = (0..self.mail.len()).filter(|at| lossy(&self.mail[*at])).collect();
        if !lossy.is_empty() {
            self.mail.swap_remove(lossy[at % lossy.len()]);
        }
    }

    pub(super) fn double(&mut self, at: usize) {
        if !self.mail.is_empty() {
            let event = self.mail[at % self.mail.len()].clone();
            self.mail.push(event);
        }
    }

    pub(super) fn pass(&mut self, time: Duration, luck: Luck) {
        self.now = self.now + time;
        self.tell(Event::Tick, luck);
    }

    /// Nothing goes wrong any more, and all events arrive.
    pub(super) fn rest(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            // Time passes before answers arrive, as it does.
            self.pass(Duration::from_secs(5), Luck::Good);
            for alive in self.runners.values_mut() {
                alive.online |= alive.process;
            }
            while let Some(list) = self.lists.pop() {
                self.tell(Event::Surveyed(list), Luck::Good);
            }
            while let Some(event) = self.mail.pop() {
                self.tell(event, Luck::Good);
            }
            self.take_on();
        }
    }

    /// After a rest: as many runners wait as jobs do, or as many as are allowed.
    pub(super) fn check_levels(&self) {
        for at in 0..2 {
            let pool = pool(at);
            let waiting = self
                .jobs
                .values()
                .filter(|(its, served)| *its == pool && *served == Served::Queued);
            let of_pool = || self.runners.values().filter(|alive| alive.pool == pool);
            let idle = of_pool().filter(|alive| alive.online && alive.job.is_none()).count();
            let full = self.runners.len() >= RUNNERS_MAX;
            let followed = |(job, its, running): &(JobRef, &PoolId, bool)| {
                **its == pool && !running && self.jobs.contains_key(job)
            };
            let waiting_here = self.machine.jobs().filter(followed).count();
            assert!(
                idle >= waiting.count().min(waiting_here) || full,
                "{idle} runners of {pool:?} wait for {waiting_here} jobs: {self:#?}"
            );
        }
    }

    /// Everything is served, and after a rest nothing is left.
    pub(super) fn serve_all(&mut self) {
        for round in 0..400 {
            for at in 0..RUNNERS_MAX {
                self.assign(at + round);
            }
            self.rest(Duration::from_secs(20));
            for at in 0..RUNNERS_MAX {
                self.finish(at);
            }
            self.rest(Duration::from_secs(20));
            if self.jobs.values().all(|(_, served)| *served == Served::Done) {
                break;
            }
        }
        let left = self.jobs.values().filter(|(_, served)| *served != Served::Done).count();
        assert_eq!(left, 0, "jobs that nobody served: {self:#?}");
        self.rest(Duration::from_secs(3 * 3_600));
        let left: BTreeSet<&RunnerName> = self.runners.keys().collect();
        assert!(left.is_empty(), "runners are leaked: {self:#?}");
        assert_eq!(self.machine.counts(), BTreeMap::new(), "{self:#?}");
    }
}
