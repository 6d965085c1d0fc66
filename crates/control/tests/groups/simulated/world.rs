//! Simulated machines, and who torments them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use rhumb_check::{Limits as CheckLimits, Lock, Register, Verdict, check};
use rhumb_control::{Faults, Group, Groups, Limits, OpenLogError, SimDisk, StartError};
use rhumb_ports::control::Control;
use turmoil::{Builder, Sim};

use super::{
    clients::{Client, Random, Record, Shared},
    machine::{Agreed, Machine, State},
    network::{Caller, serve},
};
use crate::common::{config, region};

const HOSTS: [&str; 5] = ["ap", "eu", "us", "sa", "af"];
const TICK: Duration = Duration::from_millis(5);
const CLIENTS_PER_NODE: u64 = 2;
/// Farthest apart, for the timing.
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// What a run does.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    /// How long faults come.
    pub torment: Duration,
    /// Within which time after that everything works again.
    pub healed_within: Duration,
    /// Cuts of the network and faults of disks too, or only power cuts.
    pub all_kinds: bool,
    /// Faults of all disks, all the time.
    pub disks: Faults,
    /// Plants a fault: local reads are sold as linearizable.
    pub stale_reads: bool,
}

impl Plan {
    pub fn everything(seed: u64) -> Self {
        Self {
            seed,
            nodes: if seed % 4 == 3 { 5 } else { 3 },
            torment: Duration::from_secs(25),
            healed_within: Duration::from_secs(10),
            all_kinds: true,
            disks: Faults::default(),
            stale_reads: false,
        }
    }

    /// Power fails everywhere at once, often.
    pub fn power_cuts(seed: u64) -> Self {
        Self { all_kinds: false, nodes: 3, ..Self::everything(seed) }
    }
}

/// A node as its simulated machine sees it.
#[derive(Clone)]
struct Node {
    place: usize,
    plan: Plan,
    disk: SimDisk,
    record: Shared,
    agreed: Arc<Mutex<Agreed>>,
    /// The running group, for looking at it from outside.
    group: Arc<Mutex<Option<Group>>>,
    starts: Arc<Mutex<u64>>,
    troubles: Arc<Mutex<BTreeSet<String>>>,
}

impl Node {
    #[allow(clippy::disallowed_methods, reason = "the simulated host owns its tasks")]
    async fn run(self) -> turmoil::Result {
        let start = {
            let mut starts = self.starts.lock().unwrap();
            *starts += 1;
            *starts
        };
        let founders = &HOSTS[..self.plan.nodes];
        let id = self.place as u64 + 1;
        let mut config = config(id, HOSTS[self.place], founders, ROUND_TRIP);
        config.seed ^= self.plan.seed.wrapping_mul(0xd134_2543_de82_ef95) ^ (start << 17);
        config.timing.patience = Duration::from_secs(2);
        config.limits = Limits { snapshot_entries: 60, ..config.limits };
        let caller = Arc::new(Caller { from: region(HOSTS[self.place]) });
        let mut random = Random(config.seed | 1);
        let machine = Machine { state: State::default(), agreed: Arc::clone(&self.agreed) };
        let disk = Arc::new(self.disk.clone());
        let group = match Group::start(config, Box::new(machine), disk, caller).await {
            Ok(group) => group,
            // The disk may fail just now; whoever replaces it starts the node again.
            Err(StartError::Log(OpenLogError::Io { .. })) => return std::future::pending().await,
            Err(fault) => {
                self.troubles.lock().unwrap().insert(fault.to_string());
                return std::future::pending().await;
            }
        };
        *self.group.lock().unwrap() = Some(group.clone());
        for _ in 0..CLIENTS_PER_NODE {
            let id = {
                let mut record = self.record.lock().unwrap();
                record.clients += 1;
                record.clients
            };
            let client = Client {
                id,
                group: group.clone(),
                record: Arc::clone(&self.record),
                random: Random(random.below(u64::MAX) | 1),
                stale_reads: self.plan.stale_reads,
            };
            tokio::spawn(client.run());
        }
        serve(Groups::new([group])).await?;
        Ok(())
    }
}

/// What a run showed.
#[derive(Debug, Default)]
pub struct Outcome {
    record: Record,
    agreed: Agreed,
    counts: BTreeMap<&'static str, u64>,
    troubles: BTreeSet<String>,
    not_healed: Vec<String>,
}

pub struct World<'a> {
    plan: Plan,
    sim: Sim<'a>,
    nodes: Vec<Node>,
    random: Random,
    counts: BTreeMap<&'static str, u64>,
    /// What ends when.
    repairs: Vec<(Duration, Repair)>,
}

#[derive(Debug, Clone, Copy)]
enum Repair {
    Bounce(usize),
    Network,
    Disk(usize),
    /// A node that stopped itself is started again, with a disk that works.
    Replug(usize),
}

impl World<'_> {
    pub fn run(plan: Plan) -> Outcome {
        let sim = Builder::new()
            .rng_seed(plan.seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_millis(2))
            .max_message_latency(ROUND_TRIP / 2)
            .build();
        let mut world = World {
            sim,
            nodes: Vec::new(),
            random: Random(plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            counts: BTreeMap::new(),
            repairs: Vec::new(),
            plan,
        };
        world.build();
        world.torment();
        world.heal();
        world.outcome()
    }

    fn build(&mut self) {
        let (record, agreed) = (Shared::default(), Arc::default());
        for (place, host) in HOSTS.into_iter().enumerate().take(self.plan.nodes) {
            let disk = SimDisk::new(self.random.below(u64::MAX));
            disk.set_faults(self.plan.disks);
            let node = Node {
                place,
                plan: self.plan,
                disk,
                record: Arc::clone(&record),
                agreed: Arc::clone(&agreed),
                group: Arc::default(),
                starts: Arc::default(),
                troubles: Arc::default(),
            };
            self.nodes.push(node.clone());
            self.sim.host(host, move || node.clone().run());
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn step_until(&mut self, until: Duration) {
        while self.sim.elapsed() < until {
            self.sim.step().unwrap();
        }
    }

    fn torment(&mut self) {
        while self.sim.elapsed() < self.plan.torment {
            let pause = Duration::from_millis(300 + self.random.below(2_500));
            let mut until = self.sim.elapsed() + pause;
            while let Some(at) =
                self.repairs.iter().map(|(at, _)| *at).min().filter(|at| *at <= until)
            {
                self.step_until(at);
                self.repair_due();
            }
            until = until.max(self.sim.elapsed());
            self.step_until(until);
            self.harm();
        }
    }

    fn repair_due(&mut self) {
        let now = self.sim.elapsed();
        let (due, later) = self.repairs.drain(..).partition(|(at, _)| *at <= now);
        self.repairs = later;
        let due: Vec<(Duration, Repair)> = due;
        for (_, repair) in due {
            self.repair(repair);
        }
    }

    fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Bounce(place) => self.start(place),
            Repair::Network => self.reconnect(),
            Repair::Disk(place) => self.nodes[place].disk.set_faults(self.plan.disks),
            Repair::Replug(place) => {
                self.crash(place);
                self.nodes[place].disk.set_faults(self.plan.disks);
                self.start(place);
            }
        }
    }

    fn reconnect(&self) {
        let hosts = &HOSTS[..self.plan.nodes];
        for one in hosts {
            for two in hosts.iter().filter(|two| *two != one) {
                self.sim.repair(*one, *two);
            }
        }
    }

    fn later(&mut self, repair: Repair) {
        let after = Duration::from_millis(200 + self.random.below(6_000));
        self.repairs.push((self.sim.elapsed() + after, repair));
    }

    fn crash(&mut self, place: usize) {
        if self.sim.is_host_running(HOSTS[place]) {
            self.sim.crash(HOSTS[place]);
        }
        *self.nodes[place].group.lock().unwrap() = None;
        self.nodes[place].disk.crash();
    }

    fn start(&mut self, place: usize) {
        if !self.sim.is_host_running(HOSTS[place]) {
            self.sim.bounce(HOSTS[place]);
        }
    }

    fn any(&mut self) -> usize {
        usize::try_from(self.random.below(self.plan.nodes as u64)).unwrap()
    }

    fn leader(&self) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.group.lock().unwrap().as_ref().is_some_and(Group::is_leader))
    }

    /// The leader half of the time, else anybody.
    fn victim(&mut self) -> usize {
        let anybody = self.any();
        if self.random.below(2) == 0 { self.leader().unwrap_or(anybody) } else { anybody }
    }

    fn harm(&mut self) {
        let victim = self.victim();
        let kind = if self.plan.all_kinds { self.random.below(12) } else { 11 };
        match kind {
            0..=2 => {
                self.count("crashes");
                self.crash(victim);
                self.later(Repair::Bounce(victim));
            }
            3 | 4 => {
                self.count("isolations");
                for other in (0..self.plan.nodes).filter(|other| *other != victim) {
                    self.sim.partition(HOSTS[victim], HOSTS[other]);
                }
                self.later(Repair::Network);
            }
            5 | 6 => {
                let other = self.any();
                if other != victim {
                    self.count("one-way cuts");
                    self.sim.partition_oneway(HOSTS[victim], HOSTS[other]);
                    self.later(Repair::Network);
                }
            }
            7 => {
                let other = self.any();
                if other != victim {
                    self.count("cut links");
                    self.sim.partition(HOSTS[victim], HOSTS[other]);
                    self.later(Repair::Network);
                }
            }
            8 => {
                self.count("slow disks");
                let takes = Duration::from_millis(50 + self.random.below(400));
                let slow = Faults { sync_takes: Some(takes), ..Faults::default() };
                self.nodes[victim].disk.set_faults(slow);
                self.later(Repair::Disk(victim));
            }
            9 => {
                self.count("failing disks");
                let failing = Faults { sync_fails: true, ..Faults::default() };
                self.nodes[victim].disk.set_faults(failing);
                self.later(Repair::Replug(victim));
            }
            10 => {
                self.count("full disks");
                self.nodes[victim].disk.set_faults(Faults { full: true, ..Faults::default() });
                self.later(Repair::Replug(victim));
            }
            _ => {
                self.count("power cuts");
                for place in 0..self.plan.nodes {
                    self.crash(place);
                    self.start(place);
                }
            }
        }
    }

    /// Ends all faults, and waits until every node can agree and read.
    fn heal(&mut self) {
        self.repairs.clear();
        self.reconnect();
        for place in 0..self.plan.nodes {
            self.nodes[place].disk.set_faults(self.plan.disks);
            self.crash(place);
            self.start(place);
        }
        let healed = self.sim.elapsed();
        self.step_until(healed + self.plan.healed_within);
    }

    fn outcome(mut self) -> Outcome {
        let mut not_healed = Vec::new();
        for node in &self.nodes {
            let group = node.group.lock().unwrap().clone();
            let status = group.as_ref().map(Group::status);
            if !status
                .as_ref()
                .is_some_and(|status| status.leader.is_some() && status.trouble.is_none())
            {
                not_healed.push(format!("{}: {status:?}", HOSTS[node.place]));
            }
        }
        let torn = self.nodes.iter().map(|node| node.disk.torn()).sum();
        self.counts.insert("torn writes", torn);
        let terms = self.nodes.iter().filter_map(|node| {
            node.group.lock().unwrap().as_ref().map(|group| group.status().term)
        });
        let term = terms.max().unwrap_or_default();
        self.counts.insert("terms", term);
        let mut troubles = BTreeSet::new();
        for node in &self.nodes {
            troubles.append(&mut node.troubles.lock().unwrap());
        }
        // The hosts hold the shared record until they are gone.
        let (record, agreed) =
            (Arc::clone(&self.nodes[0].record), Arc::clone(&self.nodes[0].agreed));
        let record = std::mem::take(&mut *record.lock().unwrap());
        let agreed = std::mem::take(&mut *agreed.lock().unwrap());
        self.counts.insert("restores", agreed.restored);
        self.counts.insert("answered", record.answered);
        self.counts.insert("unknown", record.unknown);
        self.counts.insert("refused", record.refused);
        Outcome { record, agreed, counts: self.counts, troubles, not_healed }
    }
}

impl Outcome {
    pub fn verdicts(&self) -> Vec<(String, Verdict)> {
        let limits = CheckLimits::default();
        let registers =
            self.record.registers.iter().map(|(key, history)| {
                (format!("register {key}"), check(&Register, history, limits))
            });
        let locks = self
            .record
            .locks
            .iter()
            .map(|(key, history)| (format!("lock {key}"), check(&Lock, history, limits)));
        registers.chain(locks).collect()
    }

    /// The locks whose histories no order explains.
    #[cfg(feature = "planted")]
    pub fn locks_in_disorder(&self) -> Vec<String> {
        let wrong = |(key, verdict): &(String, Verdict)| {
            key.starts_with("lock") && matches!(verdict, Verdict::Violation { .. })
        };
        self.verdicts().into_iter().filter(wrong).map(|(key, _)| key).collect()
    }

    /// Whether two nodes applied different commands at one index.
    pub fn diverged(&self) -> bool {
        !self.agreed.diverged.is_empty()
    }

    /// The calls around those that no order explains.
    fn around(&self, key: &str, stuck: &[usize]) -> String {
        let mut text = String::new();
        let first = stuck.iter().min().copied().unwrap_or_default().saturating_sub(12);
        for (name, history) in
            self.record.registers.iter().map(|(k, h)| (format!("register {k}"), h))
        {
            for (place, call) in history.calls().enumerate().skip(first).take(30) {
                if name == key {
                    let _ = writeln!(text, "{place}: {call:?}");
                }
            }
        }
        text
    }

    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (key, verdict) in self.verdicts() {
            if let Verdict::Violation { stuck, .. } = &verdict {
                eprintln!("{key}: {verdict:?}\n{}", self.around(&key, stuck));
            }
            if verdict != Verdict::Linearizable {
                complaints.push(format!("{key}: {verdict:?}"));
            }
        }
        if self.diverged() {
            complaints.push(format!("diverged at {:?}", self.agreed.diverged));
        }
        complaints.extend(self.troubles.iter().map(|what| format!("refused to start: {what}")));
        complaints.extend(self.not_healed.iter().map(|what| format!("not healed: {what}")));
        complaints
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    pub fn summary(&self) -> String {
        format!("{:?}", self.counts)
    }

    /// Faults that never came would prove nothing.
    pub fn assert_nothing_was_idle(&self) {
        for what in [
            "crashes",
            "isolations",
            "one-way cuts",
            "cut links",
            "slow disks",
            "failing disks",
            "full disks",
            "power cuts",
            "torn writes",
            "restores",
            "answered",
            "unknown",
            "refused",
        ] {
            assert!(self.counts.get(what).is_some_and(|count| *count > 0), "no {what}");
        }
    }
}
