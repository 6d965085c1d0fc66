//! Nodes around one agreed log, with delays, cuts, lost answers and deaths.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rhumb_ports::peer::PROTOCOL_VERSION;
use rhumb_regions::{
    AdminMachine, Facts, FailoverConfig, HealthConfig, Policy, RegionFacts, RoutingSnapshot,
    failover::Ticket, homes::home_of, registry::Region,
};
use rhumb_types::{
    ClusterId, MonoTime, NodeId, RegionId, Timestamp, UnixMillis,
    control::{
        AdminAnswer, AdminCommand, AdminOutcome, AdminRefusal, AdminRequest, ControlView, Digest,
        FailoverId, FailoverMode, FailoverPlan, Member, MemberRole,
    },
    record::{Record, VersionVector},
};

use super::super::*;
use crate::status::{PeerStatus, Report};

pub(super) const NAMES: [&str; 3] = ["us-east-1", "eu-west-1", "ap-south-1"];
pub(super) const STEP_MS: u64 = 10;
/// Keys on which regions must agree; each region is the home of some.
pub(super) const fn keys() -> std::ops::Range<u8> {
    0..24
}

const DELAY_MS: u64 = 40;
const HEARTBEAT_MS: u64 = 100;

pub(super) fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub(super) fn member(at: usize) -> Member {
    Member {
        node: NodeId(at as u64 + 1),
        region: region(NAMES[at]),
        role: MemberRole::Voter,
        address: format!("{}.example:7401", NAMES[at]),
        fingerprint: Digest([at as u8 + 1; 32]),
        reads: PROTOCOL_VERSION,
    }
}

pub(super) fn config(at: usize) -> OverseerConfig {
    let known = |name: &&str| RegionFacts::new(Region::new(region(name), "host:1"));
    OverseerConfig {
        cluster: ClusterId(7),
        node: NodeId(at as u64 + 1),
        region: region(NAMES[at]),
        // Each knows only itself: the others join.
        founders: vec![member(at)],
        domains: BTreeMap::new(),
        health: HealthConfig::fast(),
        failover: FailoverConfig {
            mode: FailoverMode::Automatic,
            watch_for: Duration::from_secs(1),
            ramp_hold: Duration::from_secs(1),
            ..FailoverConfig::default()
        },
        facts: Facts {
            version: 1,
            here: region(NAMES[at]),
            regions: NAMES.iter().map(known).collect(),
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        },
        audit: Some(rhumb_regions::audit::AuditKey::new([9; 32])),
    }
}

pub(super) struct Place {
    pub(super) overseer: Option<Overseer>,
    pub(super) snapshot: Option<Arc<RoutingSnapshot>>,
    pub(super) remembered: Option<ControlView>,
    pub(super) alarms: Vec<String>,
    /// What it has fsynced.
    pub(super) holds: VersionVector,
    /// What its heartbeats say of it: whether it is well, and what it cannot do.
    says: (bool, Vec<String>),
    /// The operator's commands that were called and not answered.
    pub(super) hooks: Vec<(FailoverId, Ticket, String, FailoverPlan)>,
    /// Whether its disk failed.
    pub(super) failed: bool,
    leases: Arc<Leases>,
    views: VecDeque<(u64, Arc<ControlView>)>,
    beats: BTreeMap<usize, u64>,
    life: u64,
}

enum Flight {
    Going(Box<AdminRequest>),
    Coming(Result<AdminOutcome, ProposalError>),
}

struct InFlight {
    at: u64,
    node: usize,
    life: u64,
    token: Token,
    flight: Flight,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) places: Vec<Place>,
    /// Nodes that hear nobody.
    pub(super) cut: BTreeSet<usize>,
    /// Whose overseer hears nothing of its node.
    pub(super) stalled: BTreeSet<usize>,
    /// Nodes that hear no more of what is agreed, though they still ask for it.
    pub(super) deaf: BTreeSet<usize>,
    /// One in so many answers is lost; none when 0.
    pub(super) lose_one_in: u64,
    pub(super) agreed: AdminMachine,
    index: u64,
    flights: Vec<InFlight>,
    /// What was agreed, with who proposed it.
    pub(super) log: Vec<(usize, AdminCommand, bool)>,
    led: (Option<usize>, u64),
    dice: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            now: 1_000,
            places: Vec::new(),
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            deaf: BTreeSet::new(),
            lose_one_in: 0,
            agreed: AdminMachine::new(),
            index: 0,
            flights: Vec::new(),
            log: Vec::new(),
            led: (None, 0),
            dice: seed,
        };
        for at in 0..NAMES.len() {
            world.places.push(Place {
                overseer: None,
                snapshot: None,
                remembered: None,
                alarms: Vec::new(),
                holds: VersionVector::new(),
                says: (true, Vec::new()),
                hooks: Vec::new(),
                leases: Arc::default(),
                views: VecDeque::new(),
                failed: false,
                beats: BTreeMap::new(),
                life: 0,
            });
            world.start(at);
        }
        world
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.dice >> 33) % below
    }

    pub(super) const fn time(&self) -> Timestamp {
        Timestamp { wall: UnixMillis(self.now + 1_000_000), mono: MonoTime(self.now * 1_000) }
    }

    pub(super) fn start(&mut self, at: usize) {
        let mut out = OverseerEffects::new();
        let remembered = self.places[at].remembered.clone();
        let overseer = Overseer::new(config(at), remembered, self.time(), &mut out);
        let view = Arc::new(self.agreed.view());
        let due = self.now + DELAY_MS;
        let place = &mut self.places[at];
        place.overseer = Some(overseer);
        place.leases = Arc::default();
        place.views = [(due, view)].into();
        place.life += 1;
        self.carry_out(at, out);
    }

    pub(super) fn kill(&mut self, at: usize) {
        self.places[at].overseer = None;
        self.places[at].snapshot = None;
        self.places[at].leases = Arc::default();
    }

    fn linked(&self, one: usize, two: usize) -> bool {
        let alive = |at: usize| self.places[at].overseer.is_some() && !self.cut.contains(&at);
        one == two || (alive(one) && alive(two))
    }

    fn majority(&self, at: usize) -> bool {
        let alive = self.places[at].overseer.is_some();
        alive && (0..NAMES.len()).filter(|other| self.linked(at, *other)).count() >= 2
    }

    /// The leader: it stays while it has a majority, and another takes half a second.
    pub(super) fn leader(&mut self) -> Option<usize> {
        if self.led.0.is_some_and(|leader| !self.majority(leader)) {
            self.led = (None, self.now + 500);
        }
        if self.led.0.is_none() && self.now >= self.led.1 {
            self.led.0 = (0..NAMES.len()).find(|at| self.majority(*at));
        }
        self.led.0
    }

    pub(super) fn event(&mut self, at: usize, event: OverseerEvent) {
        let now = self.time();
        let mut out = OverseerEffects::new();
        if let Some(overseer) = &mut self.places[at].overseer {
            overseer.on_event(now, event, &mut out);
        }
        self.carry_out(at, out);
    }

    fn carry_out(&mut self, node: usize, mut out: OverseerEffects) {
        while let Some(effect) = out.pop() {
            let place = &mut self.places[node];
            match effect {
                OverseerEffect::Propose { token, request } => {
                    let (at, life) = (self.now + DELAY_MS, place.life);
                    let flight = Flight::Going(request);
                    self.flights.push(InFlight { at, node, life, token, flight });
                }
                OverseerEffect::Publish(snapshot) => place.snapshot = Some(snapshot),
                OverseerEffect::Leases(leases) => place.leases = leases,
                OverseerEffect::Remember(view) => place.remembered = Some((*view).clone()),
                OverseerEffect::Alarm(text) => place.alarms.push(text),
                OverseerEffect::Observed { lost, well, .. } => {
                    place.says = (well, lost.iter().map(ToString::to_string).collect());
                }
                OverseerEffect::RunHook { id, ticket, name, plan } => {
                    place.hooks.push((id, ticket, name, *plan));
                }
                OverseerEffect::Members(_) | OverseerEffect::Health(_) => {}
                other => panic!("nothing asks for {other:?}"),
            }
        }
    }

    /// An operator's command, agreed at once.
    pub(super) fn operator(&mut self, command: AdminCommand) -> Result<AdminOutcome, AdminRefusal> {
        let (at, actor) = (self.time().wall, "ops".to_owned());
        self.agree(usize::MAX, &AdminRequest { at, actor, reason: "drill".to_owned(), command })
    }

    fn agree(&mut self, by: usize, request: &AdminRequest) -> Result<AdminOutcome, AdminRefusal> {
        self.index += 1;
        let answer = self.agreed.apply(self.index, &request.encode());
        let answer = AdminAnswer::decode(&answer).unwrap().0;
        self.log.push((by, request.command.clone(), answer.is_ok()));
        let (due, view) = (self.now + DELAY_MS, Arc::new(self.agreed.view()));
        for place in &mut self.places {
            place.views.push_back((due, view.clone()));
        }
        answer
    }

    fn fly(&mut self) {
        let (due, rest) = std::mem::take(&mut self.flights)
            .into_iter()
            .partition::<Vec<_>, _>(|flight| flight.at <= self.now);
        self.flights = rest;
        for InFlight { node, life, token, flight, .. } in due {
            match flight {
                Flight::Coming(answer) => {
                    if self.places[node].life == life {
                        self.event(node, OverseerEvent::Answered { token, answer });
                    }
                }
                Flight::Going(request) => {
                    let answer = self.arrive(node, &request);
                    let flight = Flight::Coming(answer);
                    let at = self.now + DELAY_MS;
                    self.flights.push(InFlight { at, node, life, token, flight });
                }
            }
        }
    }

    fn arrive(
        &mut self,
        node: usize,
        request: &AdminRequest,
    ) -> Result<AdminOutcome, ProposalError> {
        let leader = self.leader();
        if !leader.is_some_and(|leader| self.linked(node, leader)) || !self.majority(node) {
            return Err(ProposalError::NotAgreed("no majority".to_owned()));
        }
        let answer = self.agree(node, request);
        let lost = self.lose_one_in > 0 && self.roll(self.lose_one_in) == 0;
        if lost { Err(ProposalError::Unknown) } else { answer.map_err(ProposalError::Refused) }
    }

    fn status(&mut self, at: usize) -> NodeStatus {
        let mut peers = Vec::new();
        for other in (0..NAMES.len()).filter(|other| *other != at) {
            let up = self.linked(at, other);
            let (well, impaired) = self.places[other].says.clone();
            let serving = well && !self.places[other].failed;
            let beats = self.places[at].beats.entry(other).or_default();
            *beats += u64::from(up && self.now.is_multiple_of(HEARTBEAT_MS));
            peers.push(PeerStatus {
                region: region(NAMES[other]),
                witness: false,
                up,
                round_trip_micros: None,
                heartbeats: *beats,
                silent_micros: 0,
                clock_offset_millis: None,
                behind_transactions: 0,
                behind_millis: 0,
                ahead_transactions: 0,
                serving,
                load: 0.2,
                impaired,
                hears: Vec::new(),
                report: Some(Arc::new(Report {
                    asked: self.time().mono,
                    durable: self.places[other].holds.clone(),
                })),
            });
        }
        let durable = self.places[at].holds.clone();
        NodeStatus {
            phase: if self.places[at].failed { Phase::Failed } else { Phase::Running },
            clock_ok: true,
            durable,
            peers,
            ..NodeStatus::default()
        }
    }

    fn step(&mut self) {
        self.now += STEP_MS;
        self.fly();
        let leader = self.leader();
        for at in 0..NAMES.len() {
            if self.places[at].overseer.is_none() {
                continue;
            }
            let status = Arc::new(self.status(at));
            if !self.stalled.contains(&at) {
                self.event(at, OverseerEvent::Status(status));
            }
            let reaches = leader.filter(|leader| self.linked(at, *leader) && self.majority(at));
            self.event(at, OverseerEvent::Leader(reaches.map(|at| NodeId(at as u64 + 1))));
            while self.majority(at)
                && !self.deaf.contains(&at)
                && self.places[at].views.front().is_some_and(|(due, _)| *due <= self.now)
                && let Some((_, view)) = self.places[at].views.pop_front()
            {
                self.event(at, OverseerEvent::View(view));
            }
            if self.now.is_multiple_of(50) {
                self.event(at, OverseerEvent::Tick);
            }
        }
        self.check_leases();
        self.check_homes();
    }

    /// Rule 10: at most one node may decide for a key, whatever each has heard of the members.
    fn check_homes(&self) {
        for key in keys() {
            let deciding = self.deciding(key);
            assert!(deciding.len() <= 1, "{deciding:?} decide for key {key} at {}", self.now);
        }
    }

    /// Who may decide for a key now.
    pub(super) fn deciding(&self, key: u8) -> Vec<usize> {
        let now = self.time().mono;
        let decides = |place: &Place| {
            let homes = &place.overseer.as_ref()?.view().homes;
            let home = home_of(homes, &[key]).ok()?;
            place.leases.get(home)?.decides(now, homes.version)
        };
        (0..).zip(&self.places).filter(|(_, it)| decides(it).is_some()).map(|(at, _)| at).collect()
    }

    /// Rule 7: at most one node may act for a region.
    fn check_leases(&self) {
        let now = self.time().mono;
        for name in NAMES {
            let held = |place: &&Place| {
                place.leases.get(&region(name)).is_some_and(|tenure| tenure.at(now).is_some())
            };
            let holders = self.places.iter().filter(held).count();
            assert!(holders <= 1, "{holders} nodes act for {name} at {}", self.now);
        }
    }

    /// Who may act for a region now.
    pub(super) fn acts(&self, name: &str) -> Option<usize> {
        let now = self.time().mono;
        let held = |place: &Place| {
            place.leases.get(&region(name)).is_some_and(|tenure| tenure.at(now).is_some())
        };
        self.places.iter().position(held)
    }

    pub(super) fn run(&mut self, seconds: f64) {
        let end = self.now + (seconds * 1_000.0) as u64;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until something holds; fails with what is agreed when it does not within a minute.
    pub(super) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> u64 {
        let start = self.now;
        while !holds(self) {
            assert!(self.now < start + 60_000, "{what} never: {:#?}", self.agreed.view());
            self.step();
        }
        self.now - start
    }

    pub(super) fn count(&self, wanted: impl Fn(&AdminCommand) -> bool) -> usize {
        self.log.iter().filter(|(_, command, ok)| *ok && wanted(command)).count()
    }
}
