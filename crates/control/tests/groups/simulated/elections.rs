//! How long elections take between three regions, as openraft makes them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use rhumb_control::{Group, Groups, SimDisk, Timing};
use rhumb_ports::control::Control;
use tokio::time::sleep;
use turmoil::{Builder, Sim};

use super::{
    clients::Random,
    machine::{Command, Machine, State},
    network::{Caller, serve},
};
use crate::common::{config, region};

/// In the order of the file: the first offers itself first.
const HOSTS: [&str; 3] = ["us", "eu", "ap"];
/// Round trips of the built-in table between the regions of `rhumb dev`.
const ROUND_TRIPS: [(usize, usize, u64); 3] = [(0, 1, 70), (0, 2, 220), (1, 2, 174)];
const FARTHEST: Duration = Duration::from_millis(220);
const TICK: Duration = Duration::from_millis(5);
/// Every node renews a lease so often.
const RENEWED_EVERY: Duration = Duration::from_millis(3_240);

const SEEDS: u64 = 8;
/// How often a leader is lost in a run, how long it is away after another is elected, and the pause after that.
const LOSSES: usize = 6;
const AWAY: Duration = Duration::from_secs(8);
const CALM: Duration = Duration::from_secs(10);
/// What passing messages takes besides.
const SLACK: Duration = Duration::from_millis(100);

type Running = Arc<Mutex<Option<Group>>>;

#[derive(Clone)]
struct Node {
    place: usize,
    seed: u64,
    disk: SimDisk,
    group: Running,
}

impl Node {
    #[allow(clippy::disallowed_methods, reason = "the simulated host owns its tasks")]
    async fn run(self) -> turmoil::Result {
        let mut config = config(self.place as u64 + 1, HOSTS[self.place], &HOSTS, FARTHEST);
        config.seed ^= self.seed.wrapping_mul(0xd134_2543_de82_ef95);
        let caller = Arc::new(Caller { from: region(HOSTS[self.place]) });
        let machine = Machine { state: State::default(), agreed: Arc::default() };
        let group = Group::start(config, Box::new(machine), Arc::new(self.disk), caller).await?;
        *self.group.lock().unwrap() = Some(group.clone());
        let renewing = group.clone();
        tokio::spawn(async move {
            let command = Command::Write { key: self.place as u64, value: 1 };
            let command = postcard::to_stdvec(&command).unwrap();
            loop {
                let _ = renewing.propose(command.clone().into()).await;
                sleep(RENEWED_EVERY).await;
            }
        });
        serve(Groups::new([group])).await?;
        Ok(())
    }
}

struct World<'a> {
    sim: Sim<'a>,
    groups: Vec<Running>,
}

impl World<'_> {
    fn new(seed: u64) -> Self {
        let mut sim = Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3_600))
            .build();
        let mut groups = Vec::new();
        for (place, host) in HOSTS.into_iter().enumerate() {
            let group = Running::default();
            let disk = SimDisk::new(seed.wrapping_mul(31) + place as u64);
            let node = Node { place, seed, disk, group: Arc::clone(&group) };
            sim.host(host, move || node.clone().run());
            groups.push(group);
        }
        for (one, two, round_trip) in ROUND_TRIPS {
            // A call makes a connection here, which takes one more.
            let way = Duration::from_millis(round_trip) / 4;
            sim.set_link_latency(HOSTS[one], HOSTS[two], way);
        }
        Self { sim, groups }
    }

    /// Cuts a host off from the others, or no longer.
    fn cut(&self, place: usize, cut: bool) {
        for other in (0..HOSTS.len()).filter(|other| *other != place) {
            if cut {
                self.sim.partition(HOSTS[place], HOSTS[other]);
            } else {
                self.sim.repair(HOSTS[place], HOSTS[other]);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().unwrap();
        }
    }

    fn leader(&self, but: Option<usize>) -> Option<usize> {
        let leads = |place: &usize| {
            let group = self.groups[*place].lock().unwrap();
            Some(*place) != but && group.as_ref().is_some_and(Group::is_leader)
        };
        (0..self.groups.len()).find(leads)
    }

    fn wait(&mut self, but: Option<usize>) -> usize {
        loop {
            if let Some(leader) = self.leader(but) {
                return leader;
            }
            self.sim.step().unwrap();
        }
    }
}

/// The leader is lost again and again, and comes back behind the others; gives who was elected, and how long that took.
fn elections(seed: u64) -> Vec<(usize, Duration)> {
    let mut world = World::new(seed);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut elections = Vec::new();
    for _ in 0..LOSSES {
        let leader = world.wait(None);
        let away = (leader + 1 + usize::try_from(random.below(2)).unwrap()) % HOSTS.len();
        world.cut(away, true);
        world.pass(AWAY);
        world.cut(away, false);
        world.pass(CALM + Duration::from_millis(random.below(4_000)));
        let lost = world.wait(None);
        world.sim.crash(HOSTS[lost]);
        let begun = world.sim.elapsed();
        let elected = world.wait(Some(lost));
        elections.push((elected, world.sim.elapsed() - begun));
        world.pass(AWAY);
        world.sim.bounce(HOSTS[lost]);
    }
    elections
}

/// This is what rehearsals count on. An election that takes longer had two who stood at the same time, or one
/// who was told that another knows more.
#[test]
fn elections_take_as_long_as_time_outs_say() {
    let timing = Timing::for_round_trip(FARTHEST);
    let founders = HOSTS.map(region);
    let farthest = |place: usize| {
        let of = ROUND_TRIPS.iter().filter(|(one, two, _)| *one == place || *two == place);
        Duration::from_millis(of.map(|(_, _, trip)| *trip).max().unwrap_or_default())
    };
    let usual = |(place, took): &&(usize, Duration)| {
        let (least, most) = timing.stands(&founders[*place], &founders);
        let shortest = (least * 2).saturating_sub(timing.tick());
        // A tick more for who came back from a cut and was refused then.
        let longest = (most + timing.tick()) * 2 + farthest(*place) + SLACK;
        (shortest..=longest).contains(took)
    };
    let all: Vec<(usize, Duration)> = (0..SEEDS).flat_map(elections).collect();
    let in_time = all.iter().filter(usual).count();
    assert!(in_time * 20 >= all.len() * 19, "{in_time} of {}: {all:?}", all.len());
    let places: BTreeSet<usize> = all.iter().map(|(place, _)| *place).collect();
    assert!(places.len() > 1, "{all:?}");
}
