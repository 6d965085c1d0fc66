//! Rule 15: who forms the group, who votes in it, and who is left behind.
//!
//! Nodes start in any order, late, and cut off from each other; they lose their disks before the
//! group forms, and after. Whoever lost one comes back under a new id, or wrongly under the old one
//! at first. In some runs one survivor is recovered by force, and the old members come back too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use rhumb_check::{Limits as CheckLimits, Lock, Register, Verdict, check};
use rhumb_control::{Group, Groups, Limits, Offline, OpenLogError, Part, SimDisk, StartError};
use rhumb_ports::control::{Control, GroupStatus};
use rhumb_types::NodeId;
use tokio::{task::AbortHandle, time::sleep};
use turmoil::{Builder, Sim};

use super::{
    clients::{Client, Random, Shared},
    machine::{Agreed, Machine, State},
    network::{Caller, serve},
    number,
};
use crate::common::{config, region};

const HOSTS: [&str; 3] = ["us", "eu", "ap"];
const TICK: Duration = Duration::from_millis(5);
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// How much higher the id of a replaced node is.
const REPLACED: u64 = 10;
/// Within which time everything is mended once nothing is wrong.
const MENDED_WITHIN: Duration = Duration::from_secs(30);

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The nodes meet for the first time.
    Forming,
    /// Voters lose their disks while the group works.
    Losses,
    /// Two of three are lost for good, one is recovered by force, and the two come back.
    Recovery,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The first leader's group has every listed voter.
    Founders,
    /// Leaders of one cluster follow one lineage.
    OneGroup,
    /// No two commands are agreed at one index.
    Agreement,
    /// What clients saw has one order.
    History,
    /// Nobody of the old cluster has to do with the recovered one.
    Strangers,
    /// Once all is mended, every node is a voter under its present id, and they have a leader.
    Seats,
}

/// What a run showed.
#[derive(Debug, Default)]
pub struct Outcome {
    pub violations: BTreeMap<Check, String>,
    pub counts: BTreeMap<&'static str, u64>,
}

/// A region's machine, over all its starts.
#[derive(Debug)]
struct Place {
    id: u64,
    /// Whether its identity says that it has been in the group.
    seated: bool,
    disk: SimDisk,
    /// 0, or 1 once it belongs to the recovered cluster.
    cluster: usize,
    recover: bool,
    /// Whether an operator gives seats here.
    tended: bool,
    starts: u64,
    /// How late it begins.
    late: Duration,
    record: Shared,
    group: Option<Group>,
    clients: Vec<AbortHandle>,
    refused: u64,
    troubles: Vec<String>,
}

type Places = Arc<Mutex<Vec<Place>>>;

/// A node as its simulated machine sees it.
#[derive(Clone)]
struct Node {
    at: usize,
    seed: u64,
    places: Places,
    agreed: Arc<Mutex<Agreed>>,
}

impl Node {
    fn with<T>(&self, what: impl FnOnce(&mut Place) -> T) -> T {
        what(&mut self.places.lock().unwrap()[self.at])
    }

    fn machine(&self) -> Box<Machine> {
        Box::new(Machine { state: State::default(), agreed: Arc::clone(&self.agreed) })
    }

    async fn run(self) -> turmoil::Result {
        sleep(self.with(|place| std::mem::take(&mut place.late))).await;
        let (id, seated, disk, recover, start) = self.with(|place| {
            place.starts += 1;
            let recover = std::mem::take(&mut place.recover);
            (place.id, place.seated, place.disk.clone(), recover, place.starts)
        });
        let name = HOSTS[self.at];
        let mut config = config(id, name, &HOSTS, ROUND_TRIP);
        config.seed ^= self.seed.wrapping_mul(0xd134_2543_de82_ef95) ^ (start << 17);
        config.seated = seated;
        config.timing.patience = Duration::from_secs(2);
        config.limits = Limits { snapshot_entries: 60, ..config.limits };
        if recover {
            let (group, seed) = (config.name.clone(), config.seed);
            let part = Part { group, node: NodeId(id), region: region(name), seed };
            let disk = Arc::new(disk.clone());
            Offline::open(part, self.machine(), disk).await?.recover().await?;
        }
        let random = Random(config.seed | 1);
        let caller = Arc::new(Caller { from: region(name) });
        let group = match Group::start(config, self.machine(), Arc::new(disk), caller).await {
            Ok(group) => group,
            Err(StartError::Log(OpenLogError::Lost { .. })) => {
                self.with(|place| place.refused += 1);
                return std::future::pending().await;
            }
            Err(fault) => {
                self.with(|place| place.troubles.push(fault.to_string()));
                return std::future::pending().await;
            }
        };
        self.begin(&group, random);
        serve(Groups::new([group])).await?;
        Ok(())
    }

    /// Clients, and an operator who gives every node its seat.
    #[allow(clippy::disallowed_methods, reason = "the simulated host owns its tasks")]
    fn begin(&self, group: &Group, mut random: Random) {
        let record = self.with(|place| {
            place.seated = true;
            place.group = Some(group.clone());
            Arc::clone(&place.record)
        });
        for _ in 0..2 {
            let id = {
                let mut record = record.lock().unwrap();
                record.clients += 1;
                record.clients
            };
            let (group, record) = (group.clone(), Arc::clone(&record));
            let random = Random(random.below(u64::MAX) | 1);
            let client = Client { id, group, record, random, stale_reads: false };
            let client = tokio::spawn(client.run()).abort_handle();
            self.with(|place| place.clients.push(client));
        }
        tokio::spawn(self.clone().operate(group.clone()));
    }

    async fn operate(self, group: Group) {
        loop {
            sleep(Duration::from_millis(300)).await;
            let (cluster, tended) = self.with(|place| (place.cluster, place.tended));
            if !tended || !group.is_leader() {
                continue;
            }
            let wanted = wanted(&self.places, cluster);
            for (node, at) in &wanted {
                let _ = group.set_member(*node, region(HOSTS[*at]), Some(true)).await;
            }
            let members = group.status().members;
            let all_vote = wanted.keys().all(|node| votes(&members, *node));
            for gone in members.iter().filter(|one| all_vote && !wanted.contains_key(&one.node)) {
                let _ = group.set_member(gone.node, gone.region.clone(), None).await;
            }
        }
    }
}

fn votes(members: &[rhumb_ports::control::GroupMember], node: NodeId) -> bool {
    members.iter().any(|member| member.node == node && member.voter)
}

/// The nodes of a cluster as they are now, and where.
fn wanted(places: &Places, cluster: usize) -> BTreeMap<NodeId, usize> {
    let places = places.lock().unwrap();
    let mine = places.iter().enumerate().filter(|(_, place)| place.cluster == cluster);
    mine.map(|(at, place)| (NodeId(place.id), at)).collect()
}

/// A run.
pub struct Life<'a> {
    sim: Sim<'a>,
    kind: Kind,
    random: Random,
    places: Places,
    agreed: Arc<Mutex<Agreed>>,
    record: Shared,
    /// The lineages of leaders, by cluster.
    lineages: [BTreeSet<u64>; 2],
    outcome: Outcome,
}

impl Life<'_> {
    pub fn run(kind: Kind, seed: u64) -> Outcome {
        let sim = Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_millis(2))
            .max_message_latency(ROUND_TRIP / 2)
            .build();
        let mut life = Life {
            sim,
            kind,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            places: Places::default(),
            agreed: Arc::default(),
            record: Shared::default(),
            lineages: Default::default(),
            outcome: Outcome::default(),
        };
        life.build(seed);
        life.live();
        life.judge();
        life.outcome
    }

    fn build(&mut self, seed: u64) {
        for (at, host) in HOSTS.into_iter().enumerate() {
            let late = Duration::from_millis(self.random.below(4_000));
            self.places.lock().unwrap().push(Place {
                id: at as u64 + 1,
                seated: false,
                disk: SimDisk::new(self.random.below(u64::MAX)),
                cluster: 0,
                recover: false,
                tended: true,
                starts: 0,
                late,
                record: Arc::clone(&self.record),
                group: None,
                clients: Vec::new(),
                refused: 0,
                troubles: Vec::new(),
            });
            let (places, agreed) = (Arc::clone(&self.places), Arc::clone(&self.agreed));
            let node = Node { at, seed, places, agreed };
            self.sim.host(host, move || node.clone().run());
        }
    }

    fn live(&mut self) {
        self.form();
        match self.kind {
            Kind::Forming => {}
            Kind::Losses => {
                for _ in 0..3 {
                    self.lose();
                    if !self.settle() {
                        return;
                    }
                }
            }
            Kind::Recovery => self.recover(),
        }
        self.settle();
    }

    fn count(&mut self, what: &'static str) {
        *self.outcome.counts.entry(what).or_default() += 1;
    }

    fn violate(&mut self, check: Check, what: String) {
        self.outcome.violations.entry(check).or_insert(what);
    }

    fn place<T>(&self, at: usize, what: impl FnOnce(&mut Place) -> T) -> T {
        what(&mut self.places.lock().unwrap()[at])
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn any(&mut self) -> usize {
        usize::try_from(self.below(HOSTS.len() as u64)).unwrap()
    }

    /// Goes on for a while, looking all the time.
    fn pass(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().unwrap();
            self.look();
        }
    }

    fn pass_millis(&mut self, least: u64, more: u64) {
        let time = least + self.below(more);
        self.pass(Duration::from_millis(time));
    }

    fn groups(&self) -> Vec<(usize, Group)> {
        let places = self.places.lock().unwrap();
        places.iter().filter_map(|place| Some((place.cluster, place.group.clone()?))).collect()
    }

    fn look(&mut self) {
        for (cluster, group) in self.groups().into_iter().filter(|(_, group)| group.is_leader()) {
            let Some(lineage) = group.lineage() else { continue };
            if !self.lineages[cluster].insert(lineage) {
                continue;
            }
            let found = self.lineages[cluster].clone();
            if found.len() > 1 {
                let what = format!("{} leads one more of {found:x?}", group.node());
                self.violate(Check::OneGroup, what);
            }
            let members = group.status().members;
            if cluster == 0 && members.len() < HOSTS.len() {
                self.violate(Check::Founders, format!("formed by {members:?}"));
            }
        }
        if self.kind == Kind::Recovery {
            self.look_for_strangers();
        }
    }

    /// Neither side of a recovery has taken up the other's lineage, and the new side follows nobody
    /// of the old. (The old side remembers for a while whom it followed last: the survivor, perhaps.)
    fn look_for_strangers(&mut self) {
        let old = wanted(&self.places, 0);
        for (cluster, group) in self.groups() {
            let foreign = &self.lineages[1 - cluster];
            if group.lineage().is_some_and(|lineage| foreign.contains(&lineage)) {
                let what = format!("{} has the lineage of the other cluster", group.node());
                self.violate(Check::Strangers, what);
            }
            let leader = group.status().leader.filter(|_| cluster == 1);
            if let Some(leader) = leader.filter(|leader| old.contains_key(leader)) {
                let what = format!("{} follows {leader} of the old cluster", group.node());
                self.violate(Check::Strangers, what);
            }
        }
    }

    fn crash(&mut self, at: usize) {
        if self.sim.is_host_running(HOSTS[at]) {
            self.sim.crash(HOSTS[at]);
        }
        self.place(at, |place| {
            place.group = None;
            place.clients.clear();
            place.disk.crash();
        });
    }

    fn start(&mut self, at: usize) {
        if !self.sim.is_host_running(HOSTS[at]) {
            self.sim.bounce(HOSTS[at]);
        }
    }

    /// The machine is there again, with nothing on its disk.
    fn lose_disk(&mut self, at: usize) {
        self.count("lost disks");
        self.crash(at);
        let disk = SimDisk::new(self.below(u64::MAX));
        self.place(at, |place| place.disk = disk);
    }

    /// What an operator makes of it.
    fn replace(&mut self, at: usize) {
        self.crash(at);
        self.place(at, |place| {
            place.id += REPLACED;
            place.seated = false;
        });
        self.start(at);
    }

    fn isolate(&mut self, at: usize) {
        self.count("isolations");
        for other in HOSTS.into_iter().filter(|other| *other != HOSTS[at]) {
            self.sim.partition(HOSTS[at], other);
        }
    }

    fn reconnect(&mut self) {
        for one in HOSTS {
            for two in HOSTS.into_iter().filter(|two| *two != one) {
                self.sim.repair(one, two);
            }
        }
    }

    /// The first days: starts, cuts, and one disk that is lost before or after the group formed.
    fn form(&mut self) {
        let loses = self.below(2) == 0;
        let lost = if loses { self.below(6) } else { 6 };
        for round in 0..6 {
            let victim = self.any();
            if round == lost {
                self.lose_disk(victim);
                self.pass_millis(1, 500);
                self.replace(victim);
                self.count("lost while it formed");
            } else if self.below(2) == 0 {
                self.count("crashes");
                self.crash(victim);
                self.pass_millis(1, 800);
                self.start(victim);
            } else {
                self.isolate(victim);
                self.pass_millis(1, 1_500);
                self.reconnect();
            }
            self.pass_millis(1, 900);
        }
        self.reconnect();
        if !self.settles() && self.record.lock().unwrap().answered == 0 {
            self.begin_anew();
        }
        self.settle();
    }

    /// Founders voted, and the one that formed the group lost it before they had heard of it: all
    /// begin with nothing.
    fn begin_anew(&mut self) {
        self.count("begun anew");
        self.lineages[0].clear();
        for at in 0..HOSTS.len() {
            self.lose_disk(at);
        }
        for at in 0..HOSTS.len() {
            self.replace(at);
        }
    }

    /// The worst moment for a disk to be lost: one voter is behind, one has what was agreed and is
    /// gone for a while, and the third, who had it too, comes back with nothing.
    fn lose(&mut self) {
        let behind = self.any();
        let lost = (behind + 1 + usize::from(self.below(2) == 0)) % HOSTS.len();
        let gone = HOSTS.len() - behind - lost;
        self.isolate(behind);
        self.pass_millis(1_500, 1_500);
        self.crash(gone);
        self.lose_disk(lost);
        let wrongly = self.below(2) == 0;
        if wrongly {
            self.count("wrong starts");
            self.start(lost);
        } else {
            self.replace(lost);
        }
        // Now and then it finds itself alone at first.
        if self.below(2) == 0 {
            self.pass_millis(500, 1_000);
        }
        self.reconnect();
        self.pass_millis(3_000, 2_000);
        self.start(gone);
        self.pass_millis(1, 2_000);
        if wrongly {
            self.replace(lost);
        }
    }

    /// One survivor goes on alone, while the old majority is still there. Then they return empty.
    fn recover(&mut self) {
        self.count("recoveries");
        for at in 0..HOSTS.len() {
            self.place(at, |place| place.clients.drain(..).for_each(|client| client.abort()));
        }
        // The survivor has all that was answered, so that nothing is lost with the others.
        self.pass(Duration::from_secs(3));
        let survivor = self.any();
        for at in 0..HOSTS.len() {
            self.crash(at);
        }
        let scrap = Shared::default();
        for at in (0..HOSTS.len()).filter(|at| *at != survivor) {
            self.place(at, |place| {
                place.record = Arc::clone(&scrap);
                place.tended = false;
            });
            self.start(at);
        }
        self.place(survivor, |place| (place.cluster, place.recover) = (1, true));
        self.start(survivor);
        let before = self.record.lock().unwrap().answered;
        self.pass_millis(6_000, 2_000);
        let alone = self.record.lock().unwrap().answered - before;
        if alone == 0 {
            self.violate(Check::Strangers, "the recovered cluster does not work".to_owned());
        }
        let apart = scrap.lock().unwrap().answered;
        *self.outcome.counts.entry("answered by the old majority").or_default() += apart;
        for at in (0..HOSTS.len()).filter(|at| *at != survivor) {
            self.lose_disk(at);
            let record = Arc::clone(&self.record);
            self.place(at, |place| {
                (place.cluster, place.record, place.tended) = (1, record, true);
            });
            self.replace(at);
        }
    }

    fn statuses(&self) -> Vec<Option<GroupStatus>> {
        let places = self.places.lock().unwrap();
        places.iter().map(|place| place.group.as_ref().map(Group::status)).collect()
    }

    fn is_settled(&self) -> bool {
        let wanted: BTreeSet<NodeId> =
            self.places.lock().unwrap().iter().map(|place| NodeId(place.id)).collect();
        let sits = |status: &Option<GroupStatus>| {
            status.as_ref().is_some_and(|status| {
                status.leader.is_some_and(|leader| wanted.contains(&leader))
                    && status.trouble.is_none()
                    && status.members.len() == wanted.len()
                    && wanted.iter().all(|node| votes(&status.members, *node))
            })
        };
        self.statuses().iter().all(sits)
    }

    /// Whether everybody has a seat soon, with nothing wrong any more.
    fn settles(&mut self) -> bool {
        let until = self.sim.elapsed() + MENDED_WITHIN;
        while !self.is_settled() {
            if self.sim.elapsed() >= until {
                return false;
            }
            self.pass(Duration::from_millis(100));
        }
        true
    }

    fn settle(&mut self) -> bool {
        if self.settles() {
            return true;
        }
        let what = format!("{:?}", self.statuses());
        self.violate(Check::Seats, what);
        false
    }

    fn judge(&mut self) {
        self.pass(Duration::from_secs(1));
        let mut troubles = Vec::new();
        for at in 0..HOSTS.len() {
            let (refused, mut more) =
                self.place(at, |place| (place.refused, std::mem::take(&mut place.troubles)));
            *self.outcome.counts.entry("refused starts").or_default() += refused;
            troubles.append(&mut more);
        }
        if !troubles.is_empty() {
            self.violate(Check::Seats, format!("refused to start: {troubles:?}"));
        }
        let diverged = self.agreed.lock().unwrap().diverged.clone();
        if !diverged.is_empty() {
            self.violate(Check::Agreement, format!("two commands each at {diverged:?}"));
        }
        let record = std::mem::take(&mut *self.record.lock().unwrap());
        *self.outcome.counts.entry("answered").or_default() += record.answered;
        let limits = CheckLimits::default();
        let registers = record.registers.values().map(|history| check(&Register, history, limits));
        let locks = record.locks.values().map(|history| check(&Lock, history, limits));
        let wrong = |verdict: &Verdict| *verdict != Verdict::Linearizable;
        if let Some(verdict) = registers.chain(locks).find(wrong) {
            self.violate(Check::History, format!("{verdict:?}"));
        }
    }
}

/// Runs seeds and complains.
fn run_seeds(kind: Kind, seeds: std::ops::Range<u64>) -> BTreeMap<&'static str, u64> {
    let mut total = BTreeMap::new();
    for seed in seeds {
        let outcome = Life::run(kind, seed);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:#?}\n{:?}",
            outcome.violations,
            outcome.counts
        );
        for (what, count) in outcome.counts {
            *total.entry(what).or_default() += count;
        }
    }
    eprintln!("{total:?}");
    total
}

fn assert_seen(counts: &BTreeMap<&'static str, u64>, all: &[&str]) {
    for what in all {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "no {what} in {counts:?}");
    }
}

#[test]
fn one_group_forms_whoever_comes_late_or_loses_its_disk() {
    let counts = run_seeds(Kind::Forming, 0..12);
    assert_seen(&counts, &["crashes", "isolations", "lost while it formed", "answered"]);
}

#[test]
fn a_voter_without_its_disk_votes_under_no_old_id() {
    let counts = run_seeds(Kind::Losses, 0..8);
    assert_seen(&counts, &["lost disks", "wrong starts", "refused starts", "answered"]);
}

#[test]
fn a_recovered_cluster_is_left_alone_by_old_members() {
    let counts = run_seeds(Kind::Recovery, 0..8);
    assert_seen(&counts, &["recoveries", "answered by the old majority", "answered"]);
}

/// `RHUMB_SEED=1000 RHUMB_SEEDS=500` runs five hundred seeds of each kind.
#[test]
#[ignore = "by hand: it reads its seeds from the environment"]
fn many_seeds() {
    let first = number("RHUMB_SEED", 0);
    for kind in [Kind::Forming, Kind::Losses, Kind::Recovery] {
        run_seeds(kind, first..first + number("RHUMB_SEEDS", 1));
    }
}
