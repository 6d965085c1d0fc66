//! Callers and workers of queues, and what they were promised.
//!
//! Callers send jobs to the region that acts for their home, now and then to another one, and go on to
//! where they are told that a job is to go. Workers lease, renew, complete, fail, give back, come too
//! late, and die. What they see is held against [`rhumb_queue::promises`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use rhumb_queue::{
    Answer, Ask, Enqueue, Enqueued, Event, Leased, NewJob, Receipt, Receive, Refused, RequestId,
    Retry, promises::Promises,
};
use rhumb_types::{
    MonoTime, RegionId,
    record::{JobId, JobKey},
};

use super::load::Load;
use crate::{
    branch::Branch,
    check::Check,
    run::Options,
    time::{Micros, SECOND},
    world::World,
};

mod queues;

use queues::Queue;
pub(crate) use queues::definitions;

/// Jobs per second, all callers together, unless the run says otherwise.
const JOBS_PER_SECOND: f64 = 9.0;
/// Workers of a region: the first takes jobs of groups, the last those that may be lost with their region.
const WORKERS: usize = 4;
/// How often a worker that waits for nothing asks again.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long a worker waits for jobs.
const POLL: Duration = Duration::from_secs(1);
/// A worker takes at most this long for a job that it completes at once, in microseconds.
const WORK_MICROS_MAX: u64 = SECOND;
/// How many jobs the workers of a region say that they run at a time. As many are in their hands when
/// half of all jobs are for it, and not otherwise.
const EXECUTORS: u64 = 12;
/// How many of a thousand jobs are for one home, and for how long it is the same: so that one region
/// after the other has too much, also of what others sent on to it.
const LEAN_PER_MILLE: u64 = 500;
const LEANS_FOR: Micros = 5 * SECOND;
/// Groups of a home, and workflows.
const GROUPS: u64 = 3;
/// How many of a thousand callers ask where their job belongs; the others ask the home's own region.
const RIGHT_PER_MILLE: u64 = 850;
/// Wakes from here on are of callers and workers.
pub(crate) const WAKES: u64 = 1 << 40;

/// What somebody does when its time comes.
#[derive(Debug)]
enum Deed {
    /// A caller enqueues.
    Enqueue,
    /// A worker asks for jobs.
    Work { host: usize, worker: usize },
    /// A worker is through with a job.
    Settle { host: usize, receipt: Receipt, action: Action },
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Complete,
    Fail,
    Release,
    Extend(u64),
}

/// What was asked.
#[derive(Debug)]
enum Asked {
    Enqueue { queue: Queue, home: RegionId, jobs: Vec<NewJob> },
    Receive { host: usize, worker: usize },
    Complete(Receipt),
    Extend(Receipt, MonoTime),
    Other,
}

/// How the requests of a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JobCounts {
    /// Jobs taken in.
    pub accepted: u64,
    /// Leases.
    pub leased: u64,
    /// Jobs completed.
    pub completed: u64,
}

impl JobCounts {
    /// Counts another run's in.
    pub const fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.leased += other.leased;
        self.completed += other.completed;
    }
}

/// Callers and workers, and their books.
#[derive(Debug)]
pub(crate) struct Jobs {
    load: Load,
    /// Whether nothing new comes, and workers do their best.
    calm: bool,
    agenda: BTreeMap<u64, Deed>,
    wakes: u64,
    asked: BTreeMap<RequestId, Asked>,
    /// What each worker waits for, and at which life of its host.
    polls: BTreeMap<(usize, usize), (RequestId, u64)>,
    requests: u64,
    jobs: u64,
    /// How many of them are of rounds that are over; keys are a round's own.
    jobs_before: u64,
    pub(crate) promises: Promises,
    pub(crate) counts: JobCounts,
}

impl Jobs {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            load: Load::with(options, JOBS_PER_SECOND),
            calm: false,
            agenda: BTreeMap::new(),
            wakes: WAKES,
            asked: BTreeMap::new(),
            polls: BTreeMap::new(),
            requests: 0,
            jobs: 0,
            jobs_before: 0,
            promises: Promises::default(),
            counts: JobCounts::default(),
        }
    }

    /// A round begins.
    pub(crate) fn begin(&mut self, world: &mut World) {
        self.calm = false;
        self.agenda.clear();
        self.after(world, Duration::from_millis(500), Deed::Enqueue);
        let regions: Vec<RegionId> =
            world.hosts.iter().map(|host| host.config.region.clone()).collect();
        for host in 0..regions.len() {
            for worker in 0..WORKERS {
                self.after(world, ASK_EVERY, Deed::Work { host, worker });
            }
        }
    }

    /// Nothing new comes, and workers do their best.
    pub(crate) const fn calm(&mut self) {
        self.calm = true;
    }

    /// All agree: what was promised so far is judged, and forgotten.
    pub(crate) fn settle(&mut self) {
        // Nobody waits any more for what was asked in this round.
        self.asked.clear();
        self.polls.clear();
        self.jobs_before = self.jobs;
        self.promises.settle();
    }

    fn after(&mut self, world: &mut World, wait: Duration, deed: Deed) {
        self.wakes += 1;
        self.agenda.insert(self.wakes, deed);
        world.wake(wait, self.wakes);
    }

    /// The time of a deed has come.
    pub(crate) fn wake(&mut self, world: &mut World, token: u64) {
        match self.agenda.remove(&token) {
            Some(Deed::Enqueue) if !self.calm => {
                let pause = self.load.pause(world.now());
                self.after(world, pause, Deed::Enqueue);
                self.enqueue(world);
            }
            Some(Deed::Work { host, worker }) => {
                self.after(world, ASK_EVERY, Deed::Work { host, worker });
                self.work(world, host, worker);
            }
            Some(Deed::Settle { host, receipt, action }) => {
                self.settle_job(world, host, &receipt, action);
            }
            Some(Deed::Enqueue) | None => {}
        }
    }

    fn ask(&mut self, world: &mut World, host: usize, asked: Asked, ask: Ask) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.asked.insert(request, asked);
        world.ask_queues(host, request, ask);
        request
    }

    // --- Callers ---

    fn enqueue(&mut self, world: &mut World) {
        let regions = world.hosts.len();
        let own = if world.random.chance(LEAN_PER_MILLE) {
            world.now() / LEANS_FOR % regions as u64
        } else {
            self.load.key(&mut world.random, regions as u64)
        };
        let own = usize::try_from(own).unwrap_or(0);
        let Some(home) = world.hosts.get(own).map(|host| host.config.region.clone()) else {
            return;
        };
        let queue = *world.random.pick(&Queue::ALL).unwrap_or(&Queue::Plain);
        let acting = world.acting(&home);
        // Who asks the wrong region for a job of a group is refused.
        let right = queue == Queue::Fifo || world.random.chance(RIGHT_PER_MILLE);
        let Some(host) = acting.filter(|_| right).or(Some(own)) else { return };
        if !world.is_up(host) {
            return;
        }
        // A key that is taken in on both sides of a cut is two jobs until they meet (ADR 0008).
        let keyed = queue == Queue::Plain && acting == Some(host) && world.random.chance(300);
        let count = if keyed || queue == Queue::Fifo { 1 } else { 1 + world.random.below(3) };
        let jobs = (0..count).map(|_| self.job(world, (queue, &home), keyed)).collect();
        self.send(world, host, (queue, home, jobs));
    }

    fn job(&mut self, world: &mut World, (queue, home): (Queue, &RegionId), keyed: bool) -> NewJob {
        self.jobs += 1;
        let id = JobId((u128::from(self.jobs) << 64).to_be_bytes());
        let mut job = NewJob::new(id, Bytes::from_static(b"body"), Vec::new());
        job.drawn = true;
        let nth = world.random.below(GROUPS);
        match queue {
            Queue::Fifo => job.group = Some(format!("{home}-{nth}")),
            Queue::Plain | Queue::Fast => {
                job.priority = u8::try_from(nth).unwrap_or(0);
                job.workflow = world.random.chance(500).then(|| format!("flow-{home}-{nth}"));
            }
        }
        if keyed {
            let (round, among) = (self.jobs_before, 1 + (self.jobs - self.jobs_before) / 2);
            job.key = Some(format!("key-{round}-{home}-{}", world.random.below(among)));
            job.workflow = None;
        }
        job
    }

    fn send(
        &mut self,
        world: &mut World,
        host: usize,
        (queue, home, jobs): (Queue, RegionId, Vec<NewJob>),
    ) {
        // Whether a job may be sent on at all is for the queues to say.
        let regions = world.hosts.iter().map(|host| host.config.region.clone());
        let allowed = regions.filter(|region| *region != home).collect();
        let ask = Enqueue { queue: queue.name(), home: home.clone(), allowed, jobs: jobs.clone() };
        self.ask(world, host, Asked::Enqueue { queue, home, jobs }, Ask::Enqueue(ask));
    }

    fn enqueued(
        &mut self,
        world: &mut World,
        host: usize,
        (queue, home): (Queue, &RegionId),
        (job, result): (NewJob, Result<Enqueued, Refused>),
    ) {
        match result {
            // It is on this disk alone, which may lose it.
            Ok(Enqueued::Created { .. } | Enqueued::Duplicate { .. })
                if queue == Queue::Fast && world.checker.is_lying(host) => {}
            Ok(Enqueued::Created { id, pinned, .. }) => {
                if pinned {
                    world.branches.note(Branch::JobPinned);
                }
                self.counts.accepted += 1;
                self.promises.accepted(id, job.key.as_deref(), job.group.as_deref());
            }
            Ok(Enqueued::Duplicate { id, .. }) => {
                world.branches.note(Branch::JobDuplicate);
                self.promises.accepted(id, job.key.as_deref(), job.group.as_deref());
            }
            Ok(Enqueued::Forward { to, id, why }) => {
                world.branches.note(Branch::JobSpilled);
                let hops = job.spilled.is_some() || queue == Queue::Fifo || to == *home;
                if hops {
                    let what = format!("{id} of {queue:?} is sent from {home} to {to}: {why}");
                    world.checker.violated(Check::Spilled, what);
                }
                let job = NewJob { id, spilled: Some((home.clone(), why)), drawn: false, ..job };
                if let Some(host) = world.acting(&to) {
                    self.send(world, host, (queue, to, vec![job]));
                }
            }
            Err(_) => {}
        }
    }

    // --- Workers ---

    fn work(&mut self, world: &mut World, host: usize, worker: usize) {
        let Some(machine) = world.hosts.get(host) else { return };
        let life = machine.incarnation;
        let waits = self.polls.get(&(host, worker)).is_some_and(|(_, since)| *since == life);
        if waits || machine.process.is_none() {
            return;
        }
        let now = machine.clock(world.now());
        let until = now.mono + POLL;
        let queue = match worker {
            0 => Queue::Fifo,
            WORKERS_LAST => Queue::Fast,
            _ => Queue::Plain,
        };
        let visibility = match world.random.below(6) {
            0 => Some(Duration::from_secs(3)),
            1 => Some(Duration::from_secs(35)),
            _ => None,
        };
        let jobs_max = 1 + world.random.index(4);
        let worker_name = format!("{host}/{worker}").into();
        let receive =
            Receive { queue: queue.name(), jobs_max, visibility, until, worker: worker_name };
        let held = world.queues(host).map(|it| it.stats(&queue.name(), None, now.wall).held);
        if held.is_some_and(|held| held > 0) {
            world.branches.note(Branch::JobsHeld);
        }
        // Nobody says how many workers there are but the workers.
        if let (Some(home), 0) = (world.hosts.get(host).map(|it| it.config.region.clone()), worker)
        {
            let executors = Event::Executors { home, executors: EXECUTORS };
            world.tell_queues(host, executors);
        }
        let asked = Asked::Receive { host, worker };
        let request = self.ask(world, host, asked, Ask::Receive(receive));
        self.polls.insert((host, worker), (request, life));
    }

    fn leased(&mut self, world: &mut World, host: usize, leased: Leased) {
        let Some(machine) = world.hosts.get(host) else { return };
        let until = machine.when(leased.ends);
        let receipt = leased.receipt;
        let before = self.promises.repeated;
        let acceptance = (leased.job.order, leased.job.enqueued_at);
        self.promises.granted(world.now(), until, receipt.clone(), acceptance);
        if self.promises.repeated > before {
            world.branches.note(Branch::JobRepeated);
        }
        self.counts.leased += 1;
        let left = until.saturating_sub(world.now());
        let random = &mut world.random;
        let (wait, action) = match random.below(if self.calm { 8 } else { 16 }) {
            0..=7 => (random.below(WORK_MICROS_MAX), Action::Complete),
            8 => (random.below(left), Action::Complete),
            9 => (left + random.below(5 * SECOND), Action::Complete),
            10 | 11 => (random.below(left / 4), Action::Fail),
            12 => (random.below(left), Action::Release),
            13 | 14 => (random.below(left), Action::Extend(3 + random.below(32))),
            // It dies.
            _ => return,
        };
        self.settle_after(world, wait, (host, receipt, action));
    }

    fn settle_after(
        &mut self,
        world: &mut World,
        wait: Micros,
        (host, receipt, action): (usize, Receipt, Action),
    ) {
        let deed = Deed::Settle { host, receipt, action };
        self.after(world, Duration::from_micros(wait), deed);
    }

    fn settle_job(&mut self, world: &mut World, host: usize, receipt: &Receipt, action: Action) {
        let Some(machine) = world.hosts.get(host).filter(|it| it.process.is_some()) else { return };
        let now = world.now();
        let (asked, ask) = match action {
            Action::Complete => {
                self.promises.let_go(now, receipt);
                let receipts = vec![receipt.clone()];
                (Asked::Complete(receipt.clone()), Ask::Complete { receipts })
            }
            Action::Fail => {
                self.promises.let_go(now, receipt);
                let (receipt, why) = (receipt.clone(), "it failed".to_owned());
                (Asked::Other, Ask::Fail { receipt, why, retry: Retry::Backoff })
            }
            Action::Release => {
                self.promises.let_go(now, receipt);
                (Asked::Other, Ask::Release { receipt: receipt.clone() })
            }
            Action::Extend(seconds) => {
                let visibility = Duration::from_secs(seconds);
                let ends = machine.clock(now).mono + visibility;
                // Its time may become shorter too.
                self.promises.shortened(machine.when(ends), receipt);
                let wait = world.random.below(seconds * SECOND);
                self.settle_after(world, wait, (host, receipt.clone(), Action::Complete));
                let receipt = receipt.clone();
                (Asked::Extend(receipt.clone(), ends), Ask::Extend { receipt, visibility })
            }
        };
        self.ask(world, host, asked, ask);
    }

    // --- Answers ---

    /// The queues of a host have answered.
    pub(crate) fn answered(
        &mut self,
        world: &mut World,
        host: usize,
        request: RequestId,
        result: Result<Answer, Refused>,
    ) {
        let Some(asked) = self.asked.remove(&request) else { return };
        self.promises.doubt(world.checker.is_in_doubt());
        note_refusal(world, &result);
        match (asked, result) {
            (Asked::Enqueue { queue, home, jobs }, Ok(Answer::Enqueued(results))) => {
                for (job, result) in jobs.into_iter().zip(results) {
                    self.enqueued(world, host, (queue, &home), (job, result));
                }
            }
            (Asked::Receive { host, worker }, result) => {
                self.polls.remove(&(host, worker));
                if let Ok(Answer::Received(jobs)) = result {
                    jobs.into_iter().for_each(|job| self.leased(world, host, job));
                }
            }
            (Asked::Complete(receipt), Ok(Answer::Completed(results))) => {
                let stale = results.iter().any(|it| matches!(it, Err(Refused::Stale)));
                if stale {
                    world.branches.note(Branch::ReceiptStale);
                }
                if results.iter().all(Result::is_ok) {
                    self.counts.completed += 1;
                    let for_good = receipt.key.queue != Queue::Fast.name();
                    self.promises.completed(&receipt, for_good);
                }
            }
            (Asked::Extend(receipt, ends), Ok(Answer::Settled)) => {
                if let Some(machine) = world.hosts.get(host) {
                    self.promises.extended(&receipt, machine.when(ends));
                }
            }
            _ => {}
        }
        if let Some(broken) = &self.promises.broken {
            world.checker.violated(Check::of(broken.promise), broken.what.clone());
        }
    }

    /// The end: every job that was taken in has run, and has ended in every region.
    pub(crate) fn judge(
        &mut self,
        world: &World,
        ended: &[BTreeSet<JobId>],
    ) -> Result<(), (Check, String)> {
        self.promises.at_the_end(ended);
        let Some(broken) = &self.promises.broken else { return Ok(()) };
        let mut what = broken.what.clone();
        if let Some(id) = self.promises.lost {
            for (host, queue) in
                (0..world.hosts.len()).flat_map(|host| Queue::ALL.map(|it| (host, it)))
            {
                let key = JobKey { queue: queue.name(), id };
                let at = world.queues(host).and_then(|queues| queues.whereabouts(&key));
                if let Some(at) = at {
                    what += &format!("; {queue:?} of host {host}: {at:?}");
                }
            }
        }
        Err((Check::of(broken.promise), what))
    }
}

/// The worker of jobs that may be lost with their region.
const WORKERS_LAST: usize = WORKERS - 1;

fn note_refusal(world: &mut World, result: &Result<Answer, Refused>) {
    match result {
        Err(Refused::Stale) => world.branches.note(Branch::ReceiptStale),
        Err(Refused::Unconfirmed(_)) => world.branches.note(Branch::JobUnconfirmed),
        _ => {}
    }
}
