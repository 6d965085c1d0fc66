//! The simulated regions of a rehearsal: how they are set up, how they form a cluster, and how what
//! is broken gets to them.

use std::time::Duration;

use rhumb_node::oversee::Overseer;
use rhumb_ports::memory::Faults;
use rhumb_regions::{Health, RoutingSnapshot};
use rhumb_sim::{
    host::{Host, Process},
    network::through_losses,
    random::Random,
    world::{Call, World},
};
use rhumb_types::{RegionId, control::AdminState};

use super::{RunError, host_of};
use crate::{
    capacity::{Fullness, Line},
    condition::{Condition, Machine},
    paths::Paths,
    rehearsal::{Rehearsal, Setup},
    time::{Micros, SECOND, micros},
};

/// How long a cluster may take to form, and every region to be owned.
pub const WARM_UP_MAX: Duration = Duration::from_secs(180);
/// How long it runs by itself after that, so that health has been observed for a while.
pub const SETTLE: Duration = Duration::from_secs(5);
/// Within this time all nodes start.
const START_SPREAD: Duration = Duration::from_secs(1);
/// How often it is looked at while it forms.
const LOOK_EVERY: Micros = SECOND / 10;

/// The simulated regions. Times are from the start of the rehearsal unless said otherwise.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) world: World,
    /// When the rehearsal started, in the time of the world.
    pub(super) start: Micros,
    /// The region of each host.
    pub(super) regions: Vec<RegionId>,
    /// The hosts that hold data.
    pub(super) data: Vec<usize>,
    pub(super) paths: Paths,
    pub(super) condition: Condition,
    pub(super) lines: Vec<Line>,
    fullness: Vec<Fullness>,
}

impl Stage {
    /// Regions that have formed a cluster and settled.
    pub(super) fn new(rehearsal: &Rehearsal, seed: u64) -> Result<Self, RunError> {
        let setups = &rehearsal.nodes;
        let regions: Vec<_> = setups.iter().map(|setup| setup.node.region.clone()).collect();
        let witness = |nth: &usize| setups.get(*nth).is_none_or(|setup| setup.node.witness);
        let data: Vec<usize> = (0..setups.len()).filter(|nth| !witness(nth)).collect();
        if data.is_empty() {
            return Err(RunError::NoRegions);
        }
        let host = |setup: &Setup| {
            let mut host = Host::new(setup.node.clone(), Some(setup.oversight.clone()));
            let jobs = rehearsal.jobs.as_ref().filter(|_| !setup.node.witness);
            host.queueing = jobs.map(|jobs| rhumb_queue::Config {
                region: setup.node.region.clone(),
                regions: data.len(),
                drift: setup.oversight.health.drift,
                spillover: jobs.spillover.get(&setup.node.region).copied(),
            });
            host.storing = rehearsal.objects.is_some() && !setup.node.witness;
            host
        };
        let mut world = World::new(setups.iter().map(host).collect(), Random::new(seed));
        if let Some(patience) = &rehearsal.elections {
            world.set_elections(patience.clone());
        }
        if let Some(jobs) = &rehearsal.jobs {
            world.define([(super::work::name(), jobs.definition.clone())].into());
        }
        if let Some(objects) = &rehearsal.objects {
            world.define_buckets([(super::transfers::bucket(), objects.bucket.clone())].into());
            world.set_pace(objects.pace);
        }
        let paths = Paths::new(rehearsal)?;
        for (a, b) in world.network.pairs() {
            for (from, to) in [(a, b), (b, a)] {
                let direction = world.network.direction(from, to);
                direction.delay_micros = paths.delay(from, to);
                direction.spread = rehearsal.spread;
                let ends = regions.get(from).cloned().zip(regions.get(to).cloned());
                let objects = rehearsal.objects.as_ref().zip(ends);
                let width = objects.and_then(|(objects, ends)| objects.links.get(&ends));
                direction.bytes_per_second = width.copied().unwrap_or(0);
                direction.shared = true;
            }
        }
        let mut stage = Self {
            world,
            start: 0,
            condition: Condition::sound(regions.len()),
            lines: setups.iter().map(|setup| Line::new(setup.requests_per_second)).collect(),
            fullness: setups.iter().map(|_| Fullness::default()).collect(),
            regions,
            data,
            paths,
        };
        stage.start_hosts();
        let renewed_every = |setup: &Setup| micros(setup.oversight.health.renew_every());
        stage.warm_up(setups.iter().map(renewed_every).max().unwrap_or_default())?;
        Ok(stage)
    }

    /// Starts the nodes one after the other, each at a moment of its own: what they do by the clock
    /// is in step nowhere.
    fn start_hosts(&mut self) {
        let spread = micros(START_SPREAD);
        let mut starts: Vec<(Micros, usize)> =
            (0..self.regions.len()).map(|host| (self.world.random.below(spread), host)).collect();
        starts.sort_unstable();
        for (at, host) in starts {
            self.pass(at.saturating_sub(self.world.now()));
            self.world.start(host);
        }
    }

    /// What was asked of a region in the last second, over what it serves. Its node is told.
    pub(super) fn take_load(&mut self, host: usize) -> f64 {
        let Some(line) = self.lines.get_mut(host) else { return 0.0 };
        let load = line.take_load(SECOND);
        let told = self.fullness.get_mut(host).and_then(|fullness| fullness.look(load));
        if let Some(utilisation) = told {
            self.world.utilised(host, utilisation);
        }
        load
    }

    /// The time since the start.
    pub(super) const fn now(&self) -> Micros {
        self.world.now().saturating_sub(self.start)
    }

    /// Runs the simulator up to a time, or until it has something to tell.
    pub(super) fn run_until(&mut self, until: Micros) -> Option<Call> {
        self.world.run_until(self.start + until)
    }

    pub(super) fn host(&self, region: &RegionId) -> Option<usize> {
        host_of(&self.regions, region)
    }

    /// What runs on a host.
    pub(super) fn process(&self, host: usize) -> Option<&Process> {
        self.world.hosts.get(host)?.process.as_ref()
    }

    /// The routing that a host publishes.
    pub(super) fn routing(&self, host: usize) -> Option<&RoutingSnapshot> {
        self.process(host)?.routing.as_deref()
    }

    /// Whether a host does anything.
    pub(super) fn is_there(&self, host: usize) -> bool {
        self.process(host).is_some() && self.frozen_until(host).is_none()
    }

    /// Whether a host without a process says so to whoever asks it.
    pub(super) fn refuses(&self, host: usize) -> bool {
        self.condition.machines.get(host).is_some_and(|machine| machine.killed && !machine.down)
    }

    /// When a frozen host goes on; `None` when it is not frozen.
    pub(super) fn frozen_until(&self, host: usize) -> Option<Micros> {
        let until = self.world.hosts.get(host)?.paused_until.saturating_sub(self.start);
        (until > self.now()).then_some(until)
    }

    /// Whether a host leads the control plane.
    pub(super) fn leads(&self, host: usize) -> bool {
        self.world.leader() == Some(host)
    }

    /// Whether a host acts under a region's lease now.
    pub(super) fn acts_for(&self, host: usize, region: &RegionId) -> bool {
        let Some(machine) = self.world.hosts.get(host) else { return false };
        let clock = machine.clock(self.world.now()).mono;
        let tenure = machine.process.as_ref().and_then(|process| process.leases.get(region));
        tenure.is_some_and(|tenure| tenure.at(clock).is_some())
    }

    /// Lets the cluster form, in which leases are renewed so often, and makes this the start.
    fn warm_up(&mut self, renewed_every: Micros) -> Result<(), RunError> {
        let end = micros(WARM_UP_MAX);
        while let Some(why) = self.unready() {
            if self.world.now() >= end {
                return Err(RunError::NeverFormed { why });
            }
            self.pass(LOOK_EVERY);
        }
        // The start is in step with nobody's clock either, nor with the renewals of leases.
        let more = self.world.random.below(renewed_every.max(SECOND));
        self.pass(micros(SETTLE) + more);
        self.start = self.world.now();
        Ok(())
    }

    fn pass(&mut self, time: Micros) {
        let until = self.world.now() + time;
        while self.world.run_until(until).is_some() {}
    }

    /// What is missing until the cluster has formed, every region is owned and all are routed to.
    fn unready(&self) -> Option<String> {
        for (host, region) in self.regions.iter().enumerate() {
            let view = self.process(host).and_then(|process| process.overseer.as_ref());
            let Some(view) = view.map(Overseer::view) else {
                return Some(format!("the node of {region} does not run"));
            };
            if view.cluster.is_none() {
                return Some(format!("the node of {region} is in no cluster"));
            }
            if let Some(other) = self.regions.iter().find(|it| !view.regions.contains_key(it)) {
                return Some(format!("{region} has not heard that {other} is a member"));
            }
            let well = |nth: &&usize| {
                self.regions.get(**nth).is_some_and(|it| is_routed(self.routing(host), it))
            };
            if let Some(other) = self.data.iter().find(|nth| !well(nth)) {
                let other = self.regions.get(*other);
                return Some(format!("{region} does not route to {other:?}"));
            }
        }
        let owned =
            |region: &RegionId| (0..self.regions.len()).any(|host| self.acts_for(host, region));
        let ownerless = self.data.iter().filter_map(|nth| self.regions.get(*nth));
        let ownerless = ownerless.into_iter().find(|region| !owned(region))?;
        Some(format!("nobody holds the lease of {ownerless}"))
    }

    // --- What is broken ---

    /// Something else is broken from now on. Gives the hosts whose process ended.
    pub(super) fn become_broken(&mut self, condition: Condition) -> Vec<usize> {
        let before = std::mem::replace(&mut self.condition, condition);
        let mut ended = Vec::new();
        for host in 0..self.regions.len() {
            let machines = before.machines.get(host).zip(self.condition.machines.get(host));
            let Some((old, new)) = machines.map(|(old, new)| (old.clone(), new.clone())) else {
                continue;
            };
            if old != new && self.set_machine(host, &old, &new) {
                ended.push(host);
            }
        }
        for (a, b) in self.world.network.pairs() {
            for (from, to) in [(a, b), (b, a)] {
                self.set_way(from, to);
            }
        }
        ended
    }

    fn set_way(&mut self, from: usize, to: usize) {
        let (way, cut) = (self.condition.way(from, to), self.condition.is_cut(from, to));
        let delay_micros = self.paths.delay(from, to) + way.delay;
        let direction = self.world.network.direction(from, to);
        direction.delay_micros = delay_micros;
        direction.loss_ppm = u32::try_from(crate::time::whole(way.loss * 1e6)).unwrap_or(u32::MAX);
        let round_trip =
            delay_micros + self.paths.delay(to, from) + self.condition.way(to, from).delay;
        direction.connection_bytes_per_second = through_losses(round_trip, way.loss);
        self.world.set_cut(from, to, cut);
    }

    /// Says whether the process that ran has ended.
    fn set_machine(&mut self, host: usize, old: &Machine, new: &Machine) -> bool {
        let (now, start) = (self.now(), self.start);
        if let Some(line) = self.lines.get_mut(host) {
            line.set_share(now, new.share);
        }
        if let Some(machine) = self.world.hosts.get_mut(host) {
            machine.paused_until = start.saturating_add(new.frozen_until);
            machine.disk_delay_micros = new.disk_delay;
            machine.wall_offset = new.clock;
            let (full, sync_fails) = (new.disk_full, new.disk_failing);
            machine.disk.set_faults(Faults { full, sync_fails, ..Faults::default() });
        }
        let disk_mended = (old.disk_full, old.disk_failing) != (false, false)
            && !new.disk_full
            && !new.disk_failing;
        // A node whose disk failed serves reads until somebody starts it again.
        let failed = self.process(host).is_some_and(|process| process.node.has_failed());
        let ends = (!new.runs() && old.runs()) || (disk_mended && failed);
        if ends {
            if let Some(fullness) = self.fullness.get_mut(host) {
                *fullness = Fullness::default();
            }
            if new.down {
                self.world.vanish(host);
            } else {
                self.world.crash(host, usize::MAX);
            }
            if let Some(line) = self.lines.get_mut(host) {
                line.clear(now);
            }
        }
        if new.runs() {
            self.world.start(host);
        }
        ends
    }
}

/// Whether routing sends anybody to a region.
pub(super) fn is_routed(routing: Option<&RoutingSnapshot>, region: &RegionId) -> bool {
    let facts = routing.and_then(|routing| Some(routing.region(routing.index(region)?)));
    facts.is_some_and(|facts| facts.health != Health::Down && facts.admin == AdminState::Active)
}
