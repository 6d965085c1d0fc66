//! One run of a rehearsal.
//!
//! The regions run in the simulator; what is modelled beside them (clients, lines, faults of the
//! scenario) has an agenda of its own, in the same time. Whatever is next of the two happens next.
//!
//! Modelled is:
//! - a region that is down as one that is gone: who asks it hears nothing. One whose process is
//!   killed refuses; a frozen one answers once it goes on, if its client still waits.
//! - a client's way to a node: the round trip of the two regions, and what is broken between them. To
//!   a node to which it is not connected it takes one more (TCP; TLS would take another).
//! - a region's capacity: a line that is served at an even rate ([`crate::capacity`]). Its node tells
//!   the others how full it is, as the engine does, and routing acts on it.
//! - reads: answered from the store as it is at that moment, without going through the node.
//!
//! Not modelled: connections of producers of jobs and of uploads, name servers that do not answer, the
//! time that a node computes, traffic of clients in the bill.

use std::{collections::BTreeSet, time::Duration};

use rhumb_node::Effect;
use rhumb_regions::SnapshotError;
use rhumb_sim::{random::Random, world::Call};
use rhumb_types::RegionId;

mod agenda;
mod bill;
mod course;
mod ledger;
mod requests;
mod shelf;
mod stage;
#[cfg(test)]
mod tests;
mod transfers;
mod watch;
mod work;
mod workers;

pub use shelf::LATE;
pub use stage::{SETTLE, WARM_UP_MAX};

use agenda::{Agenda, What};
use bill::Bill;
use course::Course;
use requests::Crowd;
use stage::Stage;
use transfers::Transfers;
use watch::{Behind, Watch};
use work::Work;

use crate::{
    arrivals::{Arrivals, Kind},
    books::Books,
    condition::Condition,
    outcome::{AtRisk, ObjectsOutcome, Outcome},
    rehearsal::Rehearsal,
    safety::{Exposure, Freshness},
    scenario::Fault,
    time::{Micros, SECOND, micros, whole},
};

/// Reads that are simulated one by one in a second of the rehearsal.
pub const READS_PER_SECOND_MAX: f64 = 1_700.0;
/// Writes that are simulated one by one in a second.
pub const WRITES_PER_SECOND_MAX: f64 = 300.0;
/// Reads that are simulated one by one in a whole run.
pub const READS_MAX: f64 = 10_000_000.0;
/// Writes that are simulated one by one in a whole run; the logs of all regions keep them.
pub const WRITES_MAX: f64 = 250_000.0;
/// How often load, lines and bytes are looked at.
const LOOK_EVERY: Micros = SECOND;
/// How often lag is looked at; it comes and goes within a round trip.
const LAG_EVERY: Micros = SECOND / 10;

/// A region that was gone counts for the lag again once the others are ahead of it by less than this.
pub const CAUGHT_UP: Duration = Duration::from_secs(1);

/// Why a rehearsal cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Nobody holds data.
    #[error("no region holds data: configure one that is no witness")]
    NoRegions,
    /// The regions contradict each other.
    #[error(transparent)]
    Regions(#[from] SnapshotError),
    /// The cluster did not form.
    #[error("the cluster did not form within {WARM_UP_MAX:?}: {why}")]
    NeverFormed {
        /// What was missing.
        why: String,
    },
}

/// Runs a rehearsal with a seed to its end.
///
/// # Errors
/// [`RunError`] when the regions never get so far that clients could come.
pub fn run(rehearsal: &Rehearsal, seed: u64) -> Result<Outcome, RunError> {
    let mut run = Run::new(rehearsal, seed)?;
    while run.step().is_some() {}
    Ok(run.outcome())
}

/// A run on its way.
#[derive(Debug)]
pub struct Run<'r> {
    rehearsal: &'r Rehearsal,
    seed: u64,
    stage: Stage,
    agenda: Agenda,
    crowd: Crowd,
    arrivals: Vec<Arrivals>,
    books: Books,
    course: Course,
    watch: Watch,
    bill: Bill,
    exposure: Exposure,
    freshness: Freshness,
    work: Option<Work>,
    transfers: Option<Transfers>,
    /// What each fault put at risk, of objects.
    risks: Vec<Option<AtRisk>>,
    weight_max: u64,
    conflicts: u64,
    /// The hosts that are gone, or were and catch up.
    away: BTreeSet<usize>,
    end: Micros,
    done: Micros,
}

impl<'r> Run<'r> {
    /// A run whose cluster has formed.
    ///
    /// # Errors
    /// [`RunError`] when that does not come to pass.
    pub fn new(rehearsal: &'r Rehearsal, seed: u64) -> Result<Self, RunError> {
        let mut stage = Stage::new(rehearsal, seed)?;
        let mut random = Random::new(stage.world.random.bits());
        let end = micros(rehearsal.lasting);
        let mut crowd = Crowd::new(rehearsal, &stage, Random::new(random.bits()));
        crowd.look_everybody_up(&stage);
        let jobs = rehearsal.jobs.as_ref();
        let work = jobs.map(|jobs| Work::new(jobs, rehearsal, &stage, Random::new(random.bits())));
        let objects = rehearsal.objects.as_ref();
        let transfers = objects.map(|objects| {
            let random = Random::new(random.bits());
            let mut transfers = Transfers::new(objects, rehearsal, &stage, random);
            transfers.shelf.begin(&mut stage);
            transfers
        });
        let mut run = Self {
            seed,
            work,
            transfers,
            risks: vec![None; rehearsal.scenario.faults.len()],
            agenda: Agenda::default(),
            arrivals: arrivals(rehearsal, &mut random),
            books: Books::new(crowd.populations.len(), crowd.groups(), rehearsal.lasting),
            course: Course::new(stage.regions.len(), rehearsal.lasting),
            watch: Watch::new(&rehearsal.scenario.faults, end),
            bill: Bill::new(&mut stage.world.network),
            exposure: Exposure::new(stage.regions.len()),
            freshness: Freshness::default(),
            weight_max: 1,
            conflicts: 0,
            away: BTreeSet::new(),
            end,
            done: 0,
            rehearsal,
            stage,
            crowd,
        };
        run.plan();
        Ok(run)
    }

    fn plan(&mut self) {
        for nth in 0..self.arrivals.len() {
            self.plan_arrival(nth, 0);
        }
        for (nth, fault) in self.watch.faults.iter().enumerate() {
            let at = micros(fault.planned.at);
            if at < self.end {
                self.agenda.plan(at, What::Begin(nth));
                self.agenda.plan(fault.until, What::Mend);
            }
        }
        self.agenda.plan(LOOK_EVERY, What::Look);
        self.agenda.plan(LAG_EVERY, What::LookAtLag);
        self.plan_work();
        self.plan_transfers();
    }

    /// Goes on for a step of the series; gives how much of the rehearsal has passed, or nothing
    /// once it is over.
    pub fn step(&mut self) -> Option<Duration> {
        if self.done >= self.end {
            return None;
        }
        let until = (self.done + micros(self.course.step_length())).min(self.end);
        self.advance(until);
        self.done = until;
        if until == self.end {
            self.finish();
        }
        let passed = Duration::from_micros(until);
        let regions = &self.stage.regions;
        let cost = self.bill.cost(regions, &self.rehearsal.prices, passed);
        self.course.close(regions, &self.stage.data, cost.0);
        Some(passed)
    }

    /// Nobody asks any more; who has asked is answered or gives up.
    fn finish(&mut self) {
        let clients = &self.rehearsal.clients;
        // Of each try as long for a connection as for the answer.
        let each = clients.timeout.saturating_mul(2);
        let tries = each.saturating_mul(clients.retries.saturating_add(1));
        let pauses = crate::clients::RETRY_AFTER.saturating_mul(clients.retries);
        let patience = micros(tries.saturating_add(pauses)) + SECOND;
        self.advance(self.end + patience);
        for stretch in self.books.unfinished(self.end).collect::<Vec<_>>() {
            self.watch.stretch(stretch);
        }
    }

    fn advance(&mut self, until: Micros) {
        loop {
            let next = self.agenda.next_at().map_or(until, |at| at.min(until));
            if let Some(call) = self.stage.run_until(next) {
                self.called(call);
            } else if let Some(what) = self.agenda.take(next) {
                self.happen(what);
            } else if next >= until {
                return;
            }
        }
    }

    fn called(&mut self, call: Call) {
        match call {
            Call::Effect { host, effect: Effect::Reply { request, result, written } } => {
                self.replied(host, request, &result, &written);
            }
            Call::Overseen { host } => self.watch.overseen(host, &self.stage),
            Call::Queue { host, request, result } => self.queue_answered(host, request, result),
            Call::Object { host, request, answer } => self.object_answered(host, request, *answer),
            Call::Effect { .. } | Call::Alarm { .. } | Call::Wake(_) => {}
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive { nth, weight } => self.arrive(nth, weight),
            What::Again { request, nth } => self.again(request, nth),
            What::Reach(it) => self.reach(it),
            What::Serve(it) => self.serve(it),
            What::Answer(it, told) => self.answer(it, told),
            What::TimeOut(it) => self.time_out(it),
            What::Begin(nth) => self.begin(nth),
            What::Mend => self.become_broken(),
            What::Work(deed) => self.work(deed),
            What::Transfer(deed) => self.transfer(deed),
            What::Look => self.look(),
            What::LookAtLag => self.look_at_lag(),
        }
    }

    fn begin(&mut self, nth: usize) {
        self.exposure.settle(&self.stage.world.checker);
        let fault = self.watch.faults.get(nth).map(|fault| &fault.planned.fault);
        let host = fault.and_then(|fault| fault.region()).and_then(|it| self.stage.host(it));
        let now = self.stage.now();
        let exposed = host.map_or((0, 0), |host| self.exposure.of(host, now));
        let lost = fault.is_some_and(Fault::is_a_loss).then_some(host).flatten();
        self.watch.begin(nth, &self.stage, exposed);
        if let (Some(host), Some(transfers)) = (lost, &mut self.transfers)
            && let Some(risk) = self.risks.get_mut(nth)
        {
            *risk = Some(transfers.at_risk(&self.stage, host));
        }
        self.become_broken();
    }

    fn become_broken(&mut self) {
        let broken = self.watch.broken(self.stage.now());
        let condition = Condition::of(&self.stage.regions, broken);
        for host in self.stage.become_broken(condition) {
            self.crowd.forget(host);
            self.queues_ended(host);
            self.transfers_ended(host);
        }
        self.workers_follow();
    }

    /// Looks at what is measured now and then.
    fn look(&mut self) {
        let now = self.stage.now();
        self.exposure.settle(&self.stage.world.checker);
        let weight = self.write_weight(now);
        self.bill.look(&mut self.stage.world.network, weight);
        let waiting = self.stage.lines.iter_mut().map(|line| line.waiting(now));
        let waiting = whole(waiting.fold(0.0, f64::max));
        self.course.waited(waiting);
        for host in self.stage.data.clone() {
            let load = self.stage.take_load(host);
            self.course.loaded(host, load);
        }
        self.look_at_work();
        self.look_at_transfers();
        if now < self.end {
            self.agenda.plan(now + LOOK_EVERY, What::Look);
        }
    }

    fn look_at_lag(&mut self) {
        let (now, lag) = (self.stage.now(), self.lag());
        self.course.lagged(lag);
        if now < self.end {
            self.agenda.plan(now + LAG_EVERY, What::LookAtLag);
        }
    }

    /// What became of the objects.
    fn objects_outcome(&self) -> Option<ObjectsOutcome> {
        let transfers = self.transfers.as_ref()?;
        let spans = self.watch.mended();
        let outcome = transfers.shelf.outcome(&self.stage, &self.rehearsal.prices, &spans);
        Some(ObjectsOutcome { at_risk: self.risks.iter().flatten().copied().collect(), ..outcome })
    }

    fn write_weight(&self, now: Micros) -> u64 {
        let writes = self.arrivals.iter().find(|it| it.kind == Kind::Write);
        writes.map_or(1, |writes| writes.weight(&self.rehearsal.traffic.shape, now))
    }

    /// The greatest lag that any node tells of; notes conflicts on the way.
    fn lag(&mut self) -> Duration {
        let mut behind = vec![0; self.stage.regions.len()];
        let mut all = Vec::new();
        for host in self.stage.data.iter().filter(|host| self.stage.is_there(**host)) {
            let Some(process) = self.stage.process(*host) else { continue };
            self.conflicts = self.conflicts.max(process.status.conflicts);
            for peer in &process.status.peers {
                let Some(nth) = self.stage.host(&peer.region).filter(|_| !peer.witness) else {
                    continue;
                };
                if let Some(behind) = behind.get_mut(nth) {
                    *behind = peer.behind_millis.max(*behind);
                }
                let by = Duration::from_millis(peer.behind_millis);
                all.push(Behind { host: *host, peer: nth, by });
            }
        }
        self.watch.behind(self.stage.now(), &all);
        let mut lag = Duration::ZERO;
        for host in self.stage.data.clone() {
            let behind = Duration::from_millis(behind.get(host).copied().unwrap_or(0));
            if !self.stage.is_there(host) {
                self.away.insert(host);
            } else if behind < CAUGHT_UP {
                self.away.remove(&host);
            }
            lag = if self.away.contains(&host) { lag } else { lag.max(behind) };
        }
        lag
    }

    /// What has come of it so far.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let (regions, data) = (&self.stage.regions, &self.stage.data);
        let jobs = self.jobs_outcome();
        let lost = jobs.as_ref().map_or(0, |jobs| jobs.counts.lost);
        let lost = (lost > 0).then(|| format!("{lost} jobs that were taken in are nowhere"));
        let objects = self.objects_outcome();
        let missing = objects.as_ref().map_or(0, |objects| objects.counts.lost);
        let missing =
            (missing > 0).then(|| format!("{missing} objects that were acknowledged are nowhere"));
        let violation = self.stage.world.checker.violation();
        Outcome {
            seed: self.seed,
            weight: self.weight_max,
            faults: self.watch.outcomes(&self.books),
            requests: self.books.counts,
            latency: self.books.latency.clone(),
            regions: self.course.outcomes(regions, data),
            conflicts: self.conflicts,
            lag_max: self.course.lag_max,
            egress: self.bill.egress(regions),
            cost: self.bill.cost(regions, &self.rehearsal.prices, Duration::from_micros(self.done)),
            series: self.course.series(),
            violations: violation
                .map(ToString::to_string)
                .into_iter()
                .chain(lost)
                .chain(missing)
                .collect(),
            jobs,
            objects,
        }
    }
}

/// The two kinds of requests.
fn arrivals(rehearsal: &Rehearsal, random: &mut Random) -> Vec<Arrivals> {
    let seconds = rehearsal.lasting.as_secs_f64().max(1.0);
    let writes = rehearsal.traffic.writes.get();
    let bound = |per_second: f64, in_all: f64| per_second.min(in_all / seconds);
    let reads_max = bound(READS_PER_SECOND_MAX, READS_MAX);
    let writes_max = bound(WRITES_PER_SECOND_MAX, WRITES_MAX);
    vec![
        Arrivals::new(Kind::Read, 1.0 - writes, reads_max, Random::new(random.bits())),
        Arrivals::new(Kind::Write, writes, writes_max, Random::new(random.bits())),
    ]
}

/// The host of a region.
fn host_of(regions: &[RegionId], region: &RegionId) -> Option<usize> {
    regions.iter().position(|known| known == region)
}
