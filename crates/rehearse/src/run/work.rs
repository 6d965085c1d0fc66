//! Producers of jobs, and what is known of all jobs that are under way.
//!
//! A producer is a client: it asks a node as others do, gives up and asks the next one. Its jobs have no
//! keys, so one that it sends again, because no answer came, is another to the queue; that is how a job
//! comes to be executed twice without any fault of the queue. The node takes a job in for its own region,
//! as `rhumb` does with jobs that have neither key, group nor workflow.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_queue::{
    Answer, Ask, Enqueue, Enqueued, Event, Leased, NewJob, Refused, RequestId, Stats,
};
use rhumb_sim::{
    random::Random,
    traffic::arrivals::{Arrivals, Kind},
};
use rhumb_types::{
    RegionId,
    record::{JobId, JobKey, QueueName},
};

use super::{
    Run,
    agenda::What,
    ledger::Ledger,
    requests::shares,
    stage::{Stage, is_routed},
    workers::Worker,
};
use crate::{
    chance::unit,
    clients::{RETRY_AFTER, SeatId},
    jobs::Jobs,
    outcome::JobsOutcome,
    paths::Trip,
    rehearsal::Rehearsal,
    time::{Micros, SECOND, micros},
};

/// The name of the queue.
const QUEUE: &str = "rehearsal";
/// How often a node is told how many workers its region has.
const TELL_EVERY: Micros = 5 * SECOND;

/// Something that producers and workers do.
#[derive(Debug)]
pub(super) enum Deed {
    /// A producer has a job.
    Offer,
    /// It sends it, or sends it again.
    Send { job: u64, nth: u32 },
    /// It arrives at a node.
    Arrive(Parcel),
    /// It arrives at the region to which its home has sent it.
    Forward { parcel: Parcel, host: usize, id: JobId, why: String },
    /// Its producer hears whether it was taken in.
    Told { parcel: Parcel, taken: bool },
    /// Its producer waits no longer.
    TimeOut(Parcel),
    /// A worker asks for a job.
    Ask { worker: usize, turn: u64 },
    /// The answer has not come.
    Silent { worker: usize, turn: u64 },
    /// A worker has a job in its hands.
    Handed { worker: usize, turn: u64, leased: Box<Leased> },
    /// It needs its job for longer.
    Renew { worker: usize, turn: u64 },
    /// It is through with it.
    Finish { worker: usize, turn: u64 },
    /// It says so again.
    Report { worker: usize, turn: u64 },
}

/// A job on its way to a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel {
    job: u64,
    nth: u32,
    seat: SeatId,
    node: usize,
    deadline: Micros,
}

/// Who waits for an answer of the queues.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    /// A producer; `asked` is the node that it asked, where that has sent the job on.
    Enter { parcel: Parcel, asked: Option<usize> },
    /// A worker that wants a job.
    Hand { worker: usize, turn: u64 },
    /// A worker that is through with one.
    End { worker: usize, turn: u64 },
    /// A worker that needs its job for longer.
    Renew { worker: usize, turn: u64 },
}

/// The jobs of a run.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) queue: QueueName,
    arrivals: Arrivals,
    shares: Vec<f64>,
    pub(super) random: Random,
    requests: u64,
    pub(super) asked: BTreeMap<(usize, RequestId), Pending>,
    /// What producers wait for: which try is under way, and of which seat.
    tries: BTreeMap<u64, (u32, SeatId)>,
    pub(super) workers: Vec<Worker>,
    pub(super) ledger: Ledger,
    told_at: Option<Micros>,
}

impl Work {
    pub(super) fn new(
        jobs: &Jobs,
        rehearsal: &Rehearsal,
        stage: &Stage,
        mut random: Random,
    ) -> Self {
        let regions: Vec<&RegionId> = rehearsal.regions().collect();
        let of = |host: &usize| {
            let region = stage.regions.get(*host)?;
            Some((*host, jobs.workers.get(region).copied().unwrap_or(0)))
        };
        let workers = stage.data.iter().filter_map(of);
        let workers = workers.flat_map(|(host, count)| (0..count).map(move |_| Worker::of(host)));
        Self {
            queue: name(),
            // One job is one job: the thresholds of spillover count them.
            arrivals: Arrivals::new(Kind::Write, 1.0, f64::MAX, Random::new(random.bits())),
            shares: shares(&jobs.near, &regions),
            requests: 0,
            asked: BTreeMap::new(),
            tries: BTreeMap::new(),
            workers: workers.collect(),
            ledger: Ledger::default(),
            told_at: None,
            random,
        }
    }

    pub(super) fn request(&mut self, host: usize, pending: Pending) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.asked.insert((host, request), pending);
        request
    }
}

/// The name of the queue.
pub(super) fn name() -> QueueName {
    match QueueName::new(QUEUE) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

impl Run<'_> {
    /// The first job, and the first wish of every worker.
    pub(super) fn plan_work(&mut self) {
        let Some(work) = &mut self.work else { return };
        let mut wishes: Vec<Micros> = Vec::new();
        wishes.extend(work.workers.iter().map(|_| work.random.below(SECOND)));
        for (worker, at) in wishes.into_iter().enumerate() {
            self.agenda.plan(at, What::Work(Deed::Ask { worker, turn: 0 }));
        }
        self.plan_offer(0);
    }

    fn plan_offer(&mut self, after: Micros) {
        let (Some(jobs), Some(work)) = (&self.rehearsal.jobs, &mut self.work) else { return };
        if let Some(arrival) = work.arrivals.next(&jobs.shape, after, self.end) {
            self.agenda.plan(arrival.at, What::Work(Deed::Offer));
        }
    }

    pub(super) fn work(&mut self, deed: Deed) {
        match deed {
            Deed::Offer => self.offer(),
            Deed::Send { job, nth } => self.send_job(job, nth),
            Deed::Arrive(parcel) => self.job_arrives(parcel),
            Deed::Forward { parcel, host, id, why } => self.forward_arrives(parcel, host, id, why),
            Deed::Told { parcel, taken } => self.told_of_job(parcel, taken),
            Deed::TimeOut(parcel) => self.job_try_failed(parcel),
            Deed::Ask { worker, turn } => self.wish(worker, turn),
            Deed::Silent { worker, turn } => self.wish_again(worker, turn),
            Deed::Handed { worker, turn, leased } => self.begin_job(worker, turn, *leased),
            Deed::Renew { worker, turn } => self.renew(worker, turn),
            Deed::Finish { worker, turn } => self.finish_job(worker, turn),
            Deed::Report { worker, turn } => self.report(worker, turn),
        }
    }

    /// The queues of a host answer.
    pub(super) fn queue_answered(
        &mut self,
        host: usize,
        request: RequestId,
        result: Result<Answer, Refused>,
    ) {
        let pending = self.work.as_mut().and_then(|work| work.asked.remove(&(host, request)));
        match pending {
            Some(Pending::Enter { parcel, asked }) => self.entered(host, parcel, asked, result),
            Some(Pending::Hand { worker, turn }) => self.handed(worker, turn, result),
            Some(Pending::End { worker, turn }) => self.ended_job(worker, turn, &result),
            Some(Pending::Renew { worker, turn }) => self.renewed(worker, turn, &result),
            None => {}
        }
    }

    // --- Producers ---

    fn offer(&mut self) {
        let now = self.stage.now();
        self.plan_offer(now);
        let Some(work) = &mut self.work else { return };
        let job = work.ledger.offered();
        let point = unit(&mut work.random);
        let population = work.shares.iter().position(|share| point < *share);
        let population = population.unwrap_or(work.shares.len().saturating_sub(1));
        let seat = self.crowd.populations.get(population);
        let seat = seat.map_or(0, |population| population.any_seat(&mut work.random));
        work.tries.insert(job, (0, SeatId { population, seat }));
        self.send_job(job, 0);
    }

    fn send_job(&mut self, job: u64, nth: u32) {
        let now = self.stage.now();
        let Some(work) = &self.work else { return };
        let Some((_, seat)) = work.tries.get(&job).copied().filter(|it| it.0 == nth) else {
            return;
        };
        let deadline = now + micros(self.rehearsal.clients.timeout).max(1);
        let (node, looked) = self.find(seat);
        let parcel = Parcel { job, nth, seat, node: node.unwrap_or(usize::MAX), deadline };
        let way = node.and_then(|node| self.way_of(seat.population, node, true));
        if let Some(at) = way.map(|way| now + looked + way).filter(|at| *at < deadline) {
            self.agenda.plan(at, What::Work(Deed::Arrive(parcel)));
        }
        self.agenda.plan(deadline, What::Work(Deed::TimeOut(parcel)));
    }

    /// How long something takes between producers and a node.
    fn way_of(&mut self, population: usize, node: usize, asks: bool) -> Option<Micros> {
        let near = self.crowd.populations.get(population)?.home;
        let random = &mut self.work.as_mut()?.random;
        self.stage.paths.travel(&self.stage.condition, Trip { near, node, asks }, random)
    }

    fn job_arrives(&mut self, parcel: Parcel) {
        let node = parcel.node;
        if self.stage.process(node).is_none() {
            if self.stage.refuses(node) {
                self.tell_producer(parcel, node, false);
            }
            return;
        }
        if let Some(until) = self.stage.frozen_until(node) {
            if until < parcel.deadline {
                self.agenda.plan(until, What::Work(Deed::Arrive(parcel)));
            }
            return;
        }
        let Some(work) = &mut self.work else { return };
        let id = id(&mut work.random);
        self.enqueue(parcel, node, None, id, None);
    }

    fn forward_arrives(&mut self, parcel: Parcel, host: usize, id: JobId, why: String) {
        let from = self.stage.regions.get(parcel.node).cloned();
        if self.stage.is_there(host) {
            self.enqueue(parcel, host, Some(parcel.node), id, from.map(|from| (from, why)));
        }
    }

    fn enqueue(
        &mut self,
        parcel: Parcel,
        host: usize,
        asked: Option<usize>,
        id: JobId,
        spilled: Option<(RegionId, String)>,
    ) {
        let Some(home) = self.stage.regions.get(host).cloned() else { return };
        // What was sent on once is not sent on again.
        let allowed = if spilled.is_some() { Vec::new() } else { allowed(&self.stage, host) };
        let Some(work) = &mut self.work else { return };
        let body = Bytes::copy_from_slice(&parcel.job.to_be_bytes());
        let job = NewJob { spilled, ..NewJob::new(id, body, Vec::new()) };
        let request = work.request(host, Pending::Enter { parcel, asked });
        let enqueue = Enqueue { queue: work.queue.clone(), home, allowed, jobs: vec![job] };
        self.stage.world.ask_queues(host, request, Ask::Enqueue(enqueue));
    }

    fn entered(
        &mut self,
        host: usize,
        parcel: Parcel,
        asked: Option<usize>,
        result: Result<Answer, Refused>,
    ) {
        let Some(work) = &mut self.work else { return };
        let one = match result {
            Ok(Answer::Enqueued(mut all)) => all.pop().and_then(Result::ok),
            _ => None,
        };
        match one {
            Some(Enqueued::Created { id, pinned, .. }) => {
                work.ledger.entered(parcel.job, id, pinned);
                if asked.is_some() {
                    work.ledger.spilled(host);
                }
                self.tell_producer(parcel, host, true);
            }
            Some(Enqueued::Duplicate { .. }) => self.tell_producer(parcel, host, true),
            Some(Enqueued::Forward { to, id, why }) => {
                let now = self.stage.now();
                let to = self.stage.world.acting(&to);
                let open = |to: &usize| self.stage.world.network.is_up(host, *to);
                let Some(to) = to.filter(open) else {
                    return self.tell_producer(parcel, host, false);
                };
                let at = now + self.stage.paths.delay(host, to);
                self.agenda.plan(at, What::Work(Deed::Forward { parcel, host: to, id, why }));
            }
            None => self.tell_producer(parcel, host, false),
        }
    }

    /// The answer goes back to a producer, over the node that it asked.
    fn tell_producer(&mut self, parcel: Parcel, from: usize, taken: bool) {
        let back = if from == parcel.node { 0 } else { self.stage.paths.delay(from, parcel.node) };
        let Some(way) = self.way_of(parcel.seat.population, parcel.node, false) else { return };
        let at = self.stage.now() + back + way;
        self.agenda.plan(at, What::Work(Deed::Told { parcel, taken }));
    }

    fn told_of_job(&mut self, parcel: Parcel, taken: bool) {
        let Some(work) = &mut self.work else { return };
        if work.tries.get(&parcel.job).is_none_or(|(nth, _)| *nth != parcel.nth) {
            return;
        }
        if !taken {
            return self.job_try_failed(parcel);
        }
        work.tries.remove(&parcel.job);
        work.ledger.taken(parcel.job);
    }

    fn job_try_failed(&mut self, parcel: Parcel) {
        let now = self.stage.now();
        let Some(work) = &mut self.work else { return };
        let Some((nth, seat)) = work.tries.get_mut(&parcel.job) else { return };
        if *nth != parcel.nth {
            return;
        }
        *nth += 1;
        let (nth, seat) = (*nth, *seat);
        if let Some(population) = self.crowd.populations.get_mut(seat.population) {
            population.failed(seat.seat, parcel.node, now);
        }
        if nth > self.rehearsal.clients.retries {
            work.tries.remove(&parcel.job);
            work.ledger.counts.refused += 1;
            return;
        }
        let at = now + micros(RETRY_AFTER);
        self.agenda.plan(at, What::Work(Deed::Send { job: parcel.job, nth }));
    }

    // --- What is looked at ---

    /// Once a second: how many jobs wait, and how busy workers are.
    pub(super) fn look_at_work(&mut self) {
        let now = self.stage.now();
        let Some(work) = &mut self.work else { return };
        let mut depths = Vec::new();
        let mut oldest = std::time::Duration::ZERO;
        for host in &self.stage.data {
            let stats = waiting(&self.stage, &work.queue, *host);
            depths.push((*host, stats.ready + stats.held + stats.delayed + stats.behind));
            oldest = oldest.max(stats.oldest_age);
        }
        work.ledger.seen(&depths, oldest);
        self.course.waits(&depths, oldest);
        for host in &self.stage.data {
            let workers = work.workers.iter().filter(|worker| worker.host == *host);
            work.ledger.busy(*host, workers.filter(|worker| worker.is_busy()).count() as u64);
        }
        if work.told_at.is_none_or(|at| now >= at + TELL_EVERY) {
            work.told_at = Some(now);
            for host in &self.stage.data {
                let Some(home) = self.stage.regions.get(*host).cloned() else { continue };
                let executors = work.workers.iter().filter(|worker| worker.host == *host).count();
                let event = Event::Executors { home, executors: executors as u64 };
                self.stage.world.tell_queues(*host, event);
            }
        }
    }

    /// What became of the jobs.
    pub(super) fn jobs_outcome(&self) -> Option<JobsOutcome> {
        let work = self.work.as_ref()?;
        let regions: Vec<(usize, RegionId, u64)> = (self.stage.data.iter())
            .filter_map(|host| {
                let workers = work.workers.iter().filter(|worker| worker.host == *host).count();
                Some((*host, self.stage.regions.get(*host)?.clone(), workers as u64))
            })
            .collect();
        let known = |id: JobId| {
            let key = JobKey { queue: work.queue.clone(), id };
            let knows = |host: &usize| {
                let queues = self.stage.world.queues(*host);
                queues.is_some_and(|queues| queues.whereabouts(&key).is_some())
            };
            self.stage.data.iter().any(knows)
        };
        let gone = self.stage.data.iter().any(|host| !self.stage.is_there(*host));
        Some(work.ledger.outcome(&regions, &self.watch.spans(), known, gone))
    }
}

/// What waits for a region's home, as its owner knows it; else as anybody does.
fn waiting(stage: &Stage, queue: &QueueName, host: usize) -> Stats {
    let Some(region) = stage.regions.get(host) else { return Stats::default() };
    let runs = |host: &usize| stage.world.queues(*host).is_some();
    let knows = stage.world.acting(region).filter(runs);
    let knows = knows.or_else(|| stage.data.iter().copied().find(runs));
    let clock = |host: usize| Some(stage.world.hosts.get(host)?.clock(stage.world.now()).wall);
    let stats = knows
        .and_then(|host| Some(stage.world.queues(host)?.stats(queue, Some(region), clock(host)?)));
    stats.unwrap_or_default()
}

/// Where new jobs of a node may go instead: the regions that it routes to, the nearest first.
fn allowed(stage: &Stage, node: usize) -> Vec<RegionId> {
    let routing = stage.routing(node);
    let mut others: Vec<usize> =
        stage.data.iter().copied().filter(|other| *other != node).collect();
    others.sort_by_key(|other| stage.paths.delay(node, *other));
    let regions = others.iter().filter_map(|other| stage.regions.get(*other));
    regions.filter(|region| is_routed(routing, region)).cloned().collect()
}

fn id(random: &mut Random) -> JobId {
    let mut id = [0; 16];
    for (place, byte) in id
        .iter_mut()
        .zip(random.bits().to_be_bytes().into_iter().chain(random.bits().to_be_bytes()))
    {
        *place = byte;
    }
    JobId(id)
}
