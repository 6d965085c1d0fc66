//! Properties of whole runs.

mod jobs;
mod objects;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_node::{Member, NodeConfig, Retention, oversee::OverseerConfig};
use rhumb_regions::{Facts, FailoverConfig, HealthConfig, Policy, Region, RegionFacts, Strategy};
use rhumb_sim::network::Spread;
use rhumb_state::Namespaces;
use rhumb_types::{
    AckLevel, ClusterId, NodeId, Ratio, RegionId,
    control::{Digest, FailoverMode, MemberRole},
};

use super::*;
use crate::{
    prices::Prices,
    rehearsal::{Clients, Finding, Setup},
    scenario::{Fault, Planned, Scenario},
    traffic::{Shape, Traffic},
};

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn setup(nth: usize, health: &HealthConfig) -> Setup {
    let name = region(REGIONS[nth]);
    let cluster = ClusterId(7);
    let node = NodeId(nth as u64 + 1);
    let member = |name| Member { region: region(name), witness: false, domains: Vec::new() };
    let facts = |name| RegionFacts::new(Region::new(region(name), "host:1"));
    let founder = rhumb_types::control::Member {
        node,
        region: name.clone(),
        role: MemberRole::Voter,
        address: "host:1".to_owned(),
        fingerprint: Digest([u8::try_from(nth).unwrap(); 32]),
        reads: rhumb_ports::peer::PROTOCOL_VERSION,
    };
    Setup {
        node: NodeConfig {
            cluster,
            node,
            region: name.clone(),
            witness: false,
            domains: BTreeSet::new(),
            namespaces: Namespaces::default(),
            retention: Retention::default(),
            heartbeat_interval: health.heartbeat_every,
            members: REGIONS.map(member).into(),
        },
        oversight: OverseerConfig {
            cluster,
            node,
            region: name.clone(),
            founders: vec![founder],
            domains: BTreeMap::new(),
            health: health.clone(),
            failover: FailoverConfig { mode: FailoverMode::Automatic, ..FailoverConfig::default() },
            facts: Facts {
                version: 1,
                here: name,
                regions: REGIONS.map(facts).into(),
                links: Vec::new(),
                rules: Vec::new(),
                policy: Policy::new(Strategy::Latency),
            },
            audit: None,
        },
        requests_per_second: 1_000.0,
    }
}

fn rehearsal(health: &HealthConfig, seconds: u64, faults: Vec<Planned>) -> Rehearsal {
    Rehearsal {
        nodes: (0..REGIONS.len()).map(|nth| setup(nth, health)).collect(),
        clients: Clients::default(),
        traffic: Traffic::default(),
        jobs: None,
        objects: None,
        elections: None,
        spread: Spread::Cloud,
        scenario: Scenario { faults },
        prices: Prices::default(),
        lasting: Duration::from_secs(seconds),
    }
}

fn at(seconds: u64, lasting: u64, fault: Fault) -> Planned {
    let (at, lasting) = (Duration::from_secs(seconds), Some(Duration::from_secs(lasting)));
    Planned { at, lasting, fault }
}

fn sum(outcome: &Outcome) -> u64 {
    outcome.regions.values().map(|region| region.served).sum::<u64>() + outcome.requests.failed
}

#[test]
fn without_a_fault_nothing_fails() {
    let outcome = run(&rehearsal(&HealthConfig::fast(), 30, Vec::new()), 1).unwrap();
    let counts = outcome.requests;
    assert!((2_700..3_300).contains(&counts.asked), "{counts:?}");
    assert_eq!((counts.failed, counts.retried, counts.slow), (0, 0, 0));
    assert_eq!(sum(&outcome), counts.asked);
    assert!(outcome.regions.values().all(|region| region.spilled == 0 && region.served > 800));
    assert_eq!(outcome.violations, Vec::<String>::new());
    assert!(outcome.lag_max < Duration::from_millis(400), "{:?}", outcome.lag_max);
    assert_eq!(outcome.series.failed.len(), 30);
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn down(name: &str) -> Fault {
    Fault::Down(region(name))
}

/// Runs a rehearsal, in which no promise of the fabric may be broken.
fn sound(rehearsal: &Rehearsal, seed: u64) -> Outcome {
    let outcome = run(rehearsal, seed).unwrap();
    assert_eq!(outcome.violations, Vec::<String>::new());
    assert_eq!(sum(&outcome), outcome.requests.asked, "every request ends once");
    outcome
}

#[test]
fn a_region_that_goes_down_is_left_within_the_clients_time_out() {
    let fault = at(10, 30, down("eu-west-1"));
    let outcome = sound(&rehearsal(&HealthConfig::fast(), 60, vec![fault]), 1);
    let fault = &outcome.faults[0];
    // Silence puts a peer out after some half of a second at a heartbeat of 100 ms.
    assert!((millis(300)..seconds(1)).contains(&fault.detected.unwrap()), "{fault:?}");
    assert_eq!(fault.served, Some(Duration::ZERO), "a list has a next node");
    assert!((millis(500)..millis(900)).contains(&fault.gap), "{fault:?}");
    assert_eq!(outcome.requests.failed, 0);
    assert!(outcome.requests.retried > 0);
    assert!(outcome.regions[&region("us-east-1")].spilled > 0, "the nearest to Ireland");
    assert_eq!(outcome.regions[&region("ap-southeast-1")].spilled, 0);
}

#[test]
fn who_goes_on_to_another_node_connects_first() {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), 20, vec![at(10, 8, down("eu-west-1"))]);
    rehearsal.clients.seats = 1;
    rehearsal.traffic.shape = Shape::Flat(300.0);
    let gap = sound(&rehearsal, 1).faults[0].gap;
    // Its time-out of 500 ms, and to Virginia a round trip of 72 ms for the connection and one for the answer.
    assert!((millis(640)..millis(690)).contains(&gap), "{gap:?}");
}

#[test]
fn what_befalls_a_leader_and_how_far_the_others_are_behind_each_other_is_told() {
    let isolated = at(5, 12, Fault::Isolated(region("eu-west-1")));
    let rehearsal = rehearsal(&HealthConfig::fast(), 20, vec![isolated]);
    let mut led = BTreeSet::new();
    for seed in 1..=6 {
        let outcome = sound(&rehearsal, seed);
        let fault = &outcome.faults[0];
        led.insert(fault.led);
        assert!(outcome.lag_max > seconds(8), "{:?}", outcome.lag_max);
        assert!((millis(100)..seconds(2)).contains(&fault.lag_of_others), "{fault:?}");
    }
    assert_eq!(led.len(), 2, "now and then it leads");
}

#[test]
fn who_writes_at_one_level_writes_at_no_other() {
    let isolated = |acks| {
        let fault = at(5, 20, Fault::Isolated(region("eu-west-1")));
        let mut rehearsal = rehearsal(&HealthConfig::fast(), 40, vec![fault]);
        rehearsal.traffic =
            Traffic { shape: Shape::Flat(50.0), writes: Ratio::ONE, acks, ..Traffic::default() };
        sound(&rehearsal, 1)
    };
    let half = Ratio::clamped(0.5);
    let both = isolated(vec![(AckLevel::Local, half), (AckLevel::Quorum, half)]);
    let spilled = |of: &Outcome| of.regions[&region("us-east-1")].spilled;
    let many = isolated(vec![(AckLevel::Quorum, Ratio::ONE)]);
    let share = spilled(&both) as f64 / spilled(&many) as f64;
    assert!((0.35..0.65).contains(&share), "{} of {}", spilled(&both), spilled(&many));
    assert_eq!(both.requests.failed, 0);
}

#[test]
fn delays_spread_unless_they_are_constant() {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), 20, Vec::new());
    let spread = sound(&rehearsal, 1);
    rehearsal.spread = Spread::None;
    let constant = sound(&rehearsal, 1);
    assert_eq!(constant, sound(&rehearsal, 1));
    assert_ne!(spread.latency, constant.latency);
    let run = Run::new(&rehearsal, 1).unwrap();
    let mut random = Random::new(1);
    let trip = crate::paths::Trip { near: 0, node: 1, asks: true };
    let mut travel = || run.stage.paths.travel(&run.stage.condition, trip, &mut random);
    assert!((0..100).all(|_| travel() == Some(36_000)), "35 ms and the last kilometres");
}

#[test]
fn a_killed_process_is_found_out_by_its_connections() {
    let killed = at(10, 30, Fault::Killed(region("eu-west-1")));
    let outcome = sound(&rehearsal(&HealthConfig::fast(), 60, vec![killed]), 1);
    let fault = &outcome.faults[0];
    // As long as a reset takes from Ireland to Virginia.
    assert!((millis(30)..millis(100)).contains(&fault.detected.unwrap()), "{fault:?}");
    assert!(fault.owned.is_some());
    assert!(outcome.lag_max < seconds(1), "who is gone is not behind: {:?}", outcome.lag_max);
    assert!((millis(70)..millis(250)).contains(&fault.gap), "{fault:?}");
    assert_eq!(outcome.requests.failed, 0);
    assert!(outcome.requests.retried > 0);
}

#[test]
fn a_lease_moves_after_the_detection_of_the_profile() {
    let owned = |health: &HealthConfig| {
        let fault = at(2, 28, down("us-east-1"));
        sound(&rehearsal(health, 30, vec![fault]), 2).faults[0].owned.unwrap()
    };
    let fast = owned(&HealthConfig::fast());
    assert!((millis(900)..seconds(5)).contains(&fast), "{fast:?}");
    let standard = owned(&HealthConfig::standard());
    assert!((seconds(15)..seconds(20)).contains(&standard), "{standard:?}");
}

#[test]
fn what_one_other_region_has_is_not_exposed() {
    let exposed = |ack| {
        let mut rehearsal =
            rehearsal(&HealthConfig::fast(), 6, vec![at(5, 1, down("ap-southeast-1"))]);
        let acks = vec![(ack, Ratio::ONE)];
        let (shape, writes) = (Shape::Flat(200.0), Ratio::ONE);
        rehearsal.traffic = Traffic { shape, writes, acks, ..Traffic::default() };
        let faults = (1..=2).map(|seed| sound(&rehearsal, seed).faults.remove(0));
        faults.map(|fault| (fault.exposed, fault.exposed_for)).max().unwrap()
    };
    let (writes, age) = exposed(AckLevel::Local);
    // Some 67 a second, for the 80 ms to the nearest other region.
    assert!((1..20).contains(&writes), "{writes}");
    assert!((millis(20)..millis(200)).contains(&age), "{age:?}");
    assert_eq!(exposed(AckLevel::OneRemote), (0, Duration::ZERO));
}

#[test]
fn survivors_that_cannot_carry_all_are_overloaded() {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), 30, vec![at(8, 22, down("us-east-1"))]);
    rehearsal.traffic.shape = Shape::Flat(150.0);
    for setup in &mut rehearsal.nodes {
        setup.requests_per_second = 60.0;
    }
    let impatient = sound(&rehearsal, 1);
    assert!(impatient.requests.failed > 100, "{:?}", impatient.requests);
    assert!(impatient.regions.values().any(|region| region.load_max > 1.2));
    let most = impatient.series.waiting.iter().max().unwrap();
    assert!((20..=31).contains(most), "who waits for 500 ms is 30th in line: {most}");
    rehearsal.clients.timeout = seconds(5);
    let patient = sound(&rehearsal, 1);
    assert!(patient.regions.values().any(|region| region.refused > 100));
    let enough = |setup: &mut Setup| setup.requests_per_second = 200.0;
    rehearsal.nodes.iter_mut().for_each(enough);
    assert_eq!(sound(&rehearsal, 1).requests.failed, 0);
}

#[test]
fn resolvers_make_an_outage_as_long_as_they_keep_an_answer() {
    let outage = |ttl, ignoring, kept| {
        let mut rehearsal =
            rehearsal(&HealthConfig::fast(), 50, vec![at(5, 44, down("eu-west-1"))]);
        let ignoring = Ratio::clamped(ignoring);
        rehearsal.clients.finding = Finding::Dns { ttl: seconds(ttl), ignoring, kept };
        let outcome = sound(&rehearsal, 3);
        (outcome.faults[0].served.unwrap(), outcome.faults[0].gap, outcome.requests.failed)
    };
    let short = outage(4, 0.0, seconds(4));
    // The answers are of any age when it begins, and some were asked for before it was detected.
    assert!((seconds(2)..millis(5_500)).contains(&short.0), "{short:?}");
    let long = outage(20, 0.0, seconds(20));
    assert!((seconds(14)..millis(21_500)).contains(&long.0), "{long:?}");
    assert!(long.2 > 2 * short.2, "{short:?} {long:?}");
    let ignored = outage(4, 0.2, seconds(40));
    assert!((seconds(25)..millis(41_500)).contains(&ignored.0), "{ignored:?}");
    // Those behind the resolver that asked last go without for about as long.
    for (served, gap, _) in [short, long, ignored] {
        assert!(gap < served + seconds(3) && gap + seconds(4) > served, "{served:?} {gap:?}");
    }
    assert!(ignored.2 < long.2 + short.2, "and are a fifth of all: {ignored:?} {long:?}");
}

#[test]
fn a_seed_is_a_run() {
    let faults = vec![at(5, 10, down("us-east-1"))];
    let rehearsal = rehearsal(&HealthConfig::fast(), 20, faults);
    assert_eq!(sound(&rehearsal, 5), sound(&rehearsal, 5));
    assert_ne!(sound(&rehearsal, 5).latency, sound(&rehearsal, 6).latency);
}

#[test]
fn a_link_stays_cut_until_the_last_fault_that_cuts_it_is_over() {
    let (us, eu) = (region("us-east-1"), region("eu-west-1"));
    let cut = at(2, 20, Fault::Cut(us.clone(), eu.clone()));
    let isolated = at(5, 5, Fault::Isolated(us));
    let one_way = at(7, 30, Fault::OneWay(eu.clone(), region("ap-southeast-1")));
    let gone = at(9, 4, Fault::Down(eu));
    let rehearsal = rehearsal(&HealthConfig::fast(), 50, vec![cut, isolated, one_way, gone]);
    let mut run = Run::new(&rehearsal, 1).unwrap();
    let mut cuts = |until: u64| {
        while run.step().is_some_and(|passed| passed < seconds(until)) {}
        let network = &mut run.stage.world.network;
        let ways = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
        ways.map(|(from, to)| u8::from(network.direction(from, to).cut))
    };
    assert_eq!(cuts(1), [0, 0, 0, 0, 0, 0]);
    assert_eq!(cuts(4), [1, 1, 0, 0, 0, 0]);
    assert_eq!(cuts(6), [1, 1, 1, 1, 0, 0]);
    assert_eq!(cuts(8), [1, 1, 1, 1, 1, 0]);
    assert_eq!(cuts(12), [1, 1, 0, 0, 1, 1]);
    assert_eq!(cuts(15), [1, 1, 0, 0, 1, 0]);
    assert_eq!(cuts(25), [0, 0, 0, 0, 1, 0]);
    assert_eq!(cuts(40), [0, 0, 0, 0, 0, 0]);
    assert!(run.stage.process(1).is_some(), "it was started again");
}

#[test]
fn a_short_freeze_is_waited_out() {
    let short = Planned {
        at: seconds(5),
        lasting: Some(millis(300)),
        fault: Fault::Freeze(region("us-east-1")),
    };
    let outcome = sound(&rehearsal(&HealthConfig::standard(), 15, vec![short]), 1);
    assert_eq!((outcome.requests.failed, outcome.requests.retried), (0, 0));
    assert!(outcome.latency.percentile(1.0).unwrap() > millis(150));
    assert_eq!(outcome.faults[0].owned, None);
    let long = at(5, 20, Fault::Freeze(region("us-east-1")));
    let outcome = sound(&rehearsal(&HealthConfig::fast(), 40, vec![long]), 1);
    assert!(outcome.faults[0].detected.is_some() && outcome.faults[0].owned.is_some());
    assert!(outcome.requests.retried > 0);
}

#[test]
fn the_clients_of_an_isolated_region_stay_there_as_long_as_that_answers() {
    let isolated = |ack| {
        let fault = at(5, 20, Fault::Isolated(region("eu-west-1")));
        let mut rehearsal = rehearsal(&HealthConfig::fast(), 40, vec![fault]);
        rehearsal.traffic.acks = vec![(ack, Ratio::ONE)];
        sound(&rehearsal, 1)
    };
    let alone = isolated(AckLevel::Local);
    assert_eq!((alone.requests.retried, alone.faults[0].gap), (0, Duration::ZERO));
    assert!(alone.faults[0].owned.is_some(), "the others take over what it owned");
    assert!(alone.lag_max > seconds(15), "{:?}", alone.lag_max);
    assert_eq!(alone.regions[&region("us-east-1")].spilled, 0);
    let many = isolated(AckLevel::Quorum);
    assert!(many.requests.retried > 20, "its writes reach no majority: {:?}", many.requests);
    assert_eq!(many.requests.failed, 0, "and its writers go elsewhere");
    assert!(many.regions[&region("us-east-1")].spilled > 20);
    assert_eq!(many.faults[0].exposed, 0);
}

#[test]
fn readers_elsewhere_miss_what_is_under_way() {
    let stale = |delay| {
        let (us, eu) = (region("us-east-1"), region("eu-west-1"));
        let faults = vec![at(5, 20, Fault::Delay(us, eu, delay))];
        let mut rehearsal = rehearsal(&HealthConfig::standard(), 30, faults);
        rehearsal.traffic.hot = Ratio::ONE;
        sound(&rehearsal, 1).requests
    };
    let (little, much) = (stale(millis(1)), stale(seconds(2)));
    assert!(little.stale > 0, "one key, written ten times a second: {little:?}");
    assert!(much.stale > little.stale + 200, "{little:?} {much:?}");
}

#[test]
fn who_waited_as_long_as_the_limit_says_had_a_slow_answer() {
    let slow = |limit| {
        let fault = at(10, 10, down("eu-west-1"));
        let mut rehearsal = rehearsal(&HealthConfig::fast(), 20, vec![fault]);
        rehearsal.clients.timeout = millis(1_500);
        rehearsal.clients.slow = limit;
        sound(&rehearsal, 1).requests
    };
    // Whoever asked in vain waited for the time-out, and then was answered elsewhere.
    let counts = slow(seconds(1));
    assert!(counts.retried > 10 && counts.failed == 0, "{counts:?}");
    assert_eq!(counts.slow, counts.retried);
    assert_eq!(slow(seconds(4)).slow, 0);
}

#[test]
fn writes_that_cross_each_other_are_conflicts() {
    let conflicts = |hot| {
        let (us, eu) = (region("us-east-1"), region("eu-west-1"));
        let faults = vec![at(5, 10, Fault::Delay(us, eu, seconds(1)))];
        let mut rehearsal = rehearsal(&HealthConfig::standard(), 20, faults);
        rehearsal.traffic.hot = hot;
        sound(&rehearsal, 1).conflicts
    };
    let (one_key, many_keys) = (conflicts(Ratio::ONE), conflicts(Ratio::ZERO));
    assert!(one_key > 20, "every region writes it, three times a second: {one_key}");
    assert!(many_keys < 5, "ten writes a second to 10,000 keys: {many_keys}");
}

#[test]
fn a_node_that_cannot_write_is_left_by_writers_and_comes_back() {
    for fault in [
        Fault::FailingDisk(region("eu-west-1")),
        Fault::FullDisk(region("eu-west-1")),
        Fault::Clock(region("eu-west-1"), 2_000),
    ] {
        let text = fault.to_string();
        let outcome = sound(&rehearsal(&HealthConfig::fast(), 46, vec![at(3, 6, fault)]), 1);
        assert_eq!(outcome.requests.failed, 0, "{text}: {:?}", outcome.requests);
        assert!(outcome.requests.retried > 0, "{text}");
        assert!(outcome.faults[0].detected.is_some(), "{text}: {:?}", outcome.faults);
        let served = &outcome.series.served[&region("eu-west-1")];
        let last: u64 = served[41..].iter().sum();
        assert!(last > 100, "{text}: {served:?}");
    }
}

#[test]
fn a_slow_disk_and_a_lossy_link_cost_time() {
    let quiet = sound(&rehearsal(&HealthConfig::standard(), 30, Vec::new()), 1);
    let (us, eu) = (region("us-east-1"), region("eu-west-1"));
    let faults = vec![
        at(5, 20, Fault::SlowDisk(us.clone(), millis(50))),
        at(5, 20, Fault::Loss(us, eu, Ratio::clamped(0.2))),
    ];
    let outcome = sound(&rehearsal(&HealthConfig::standard(), 30, faults), 1);
    assert!(outcome.lag_max > quiet.lag_max + millis(100), "{:?}", outcome.lag_max);
    let p99 = |outcome: &Outcome| outcome.latency.percentile(0.99).unwrap();
    assert!(p99(&outcome) > p99(&quiet) + millis(20), "{:?}", p99(&outcome));
}

#[test]
fn clients_wait_no_longer_than_they_say_for_what_is_lost() {
    let (us, eu) = (region("us-east-1"), region("eu-west-1"));
    let faults = vec![at(2, 20, Fault::Loss(us, eu, Ratio::clamped(0.6)))];
    let mut rehearsal = rehearsal(&HealthConfig::standard(), 22, faults);
    for setup in &mut rehearsal.nodes {
        setup.oversight.facts.policy = Policy::new(Strategy::RoundRobin);
    }
    rehearsal.clients.finding =
        Finding::Dns { ttl: seconds(1), ignoring: Ratio::ZERO, kept: seconds(1) };
    let outcome = sound(&rehearsal, 1);
    assert!(outcome.requests.retried > 0);
    // Three tries of 500 ms for a connection and as much for an answer; the last is answered in time, and
    // the bucket is a quarter wide.
    assert!(outcome.latency.percentile(1.0).unwrap() < millis(3_750));
}

#[test]
fn a_region_that_serves_less_waits_and_refuses() {
    let fault = at(5, 20, Fault::Slow(region("us-east-1"), Ratio::clamped(0.02)));
    let outcome = sound(&rehearsal(&HealthConfig::fast(), 30, vec![fault]), 1);
    let region = outcome.regions[&region("us-east-1")];
    assert!(region.load_max > 1.2, "{region:?}");
    assert!(outcome.requests.retried > 0);
}

#[test]
fn two_regions_and_a_witness_survive_the_loss_of_either() {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), 15, vec![at(2, 12, down("us-east-1"))]);
    let witness = region("ap-southeast-1");
    for setup in &mut rehearsal.nodes {
        setup.node.witness = setup.node.region == witness;
        for member in &mut setup.node.members {
            member.witness = member.region == witness;
        }
        for facts in &mut setup.oversight.facts.regions {
            facts.region.witness = facts.region.id == witness;
        }
        if setup.node.witness {
            setup.oversight.founders[0].role = MemberRole::Witness;
        }
    }
    for seed in 1..=4 {
        // Whoever leads at first, the witness too.
        let outcome = sound(&rehearsal, seed);
        assert_eq!(outcome.requests.failed, 0);
        assert!(outcome.faults[0].owned.unwrap() < seconds(6), "{:?}", outcome.faults);
        assert_eq!(outcome.regions.len(), 2, "a witness serves nobody");
        assert_eq!(outcome.series.served.len(), 2);
    }
}

/// Some fault of any kind.
fn any_fault(dice: &mut Random) -> Fault {
    let first = dice.index(REGIONS.len());
    let other = (first + 1 + dice.index(REGIONS.len() - 1)) % REGIONS.len();
    let (a, b) = (region(REGIONS[first]), region(REGIONS[other]));
    match dice.below(13) {
        0 => Fault::Down(a),
        1 => Fault::Killed(a),
        2 => Fault::Freeze(a),
        3 => Fault::Isolated(a),
        4 => Fault::Cut(a, b),
        5 => Fault::OneWay(a, b),
        6 => Fault::Loss(a, b, Ratio::clamped(0.3)),
        7 => Fault::Delay(a, b, millis(dice.below(1_500))),
        8 => Fault::SlowDisk(a, millis(dice.below(800))),
        9 => Fault::FullDisk(a),
        10 => Fault::FailingDisk(a),
        11 => Fault::Clock(a, if dice.chance(500) { 3_000 } else { -3_000 }),
        _ => Fault::Slow(a, Ratio::clamped(0.02)),
    }
}

#[test]
fn whatever_goes_wrong_requests_end_once_and_regions_come_back() {
    let levels = [AckLevel::Memory, AckLevel::Local, AckLevel::OneRemote, AckLevel::Quorum];
    for (seed, ack) in (1..).zip(levels) {
        let mut dice = Random::new(seed);
        let mut faults: Vec<Planned> = (0..5)
            .map(|_| {
                let (at, lasting) = (millis(dice.below(9_000)), millis(1 + dice.below(6_000)));
                Planned { at, lasting: Some(lasting), fault: any_fault(&mut dice) }
            })
            .collect();
        faults.sort_by_key(|planned| planned.at);
        let mut rehearsal = rehearsal(&HealthConfig::fast(), 60, faults);
        rehearsal.traffic.shape = Shape::Flat(40.0);
        rehearsal.traffic.acks = vec![(ack, Ratio::ONE)];
        let outcome = sound(&rehearsal, seed);
        let served = |steps: &[u64]| steps[56..].iter().sum::<u64>();
        assert!(outcome.series.served.values().all(|steps| served(steps) > 20), "seed {seed}");
    }
}

#[test]
fn much_traffic_is_simulated_in_part_and_counted_in_whole() {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), 10, Vec::new());
    rehearsal.traffic.shape = Shape::Flat(5_000.0);
    rehearsal.nodes.iter_mut().for_each(|setup| setup.requests_per_second = 10_000.0);
    let all = sound(&rehearsal, 1);
    assert_eq!(all.weight, 3);
    assert!((48_000..52_000).contains(&all.requests.asked), "{:?}", all.requests);
    // 500 writes of 256 bytes a second go to two other regions.
    let sent: u64 = all.egress.values().sum();
    assert!((2_560_000..5_120_000).contains(&sent), "{sent}");
}

#[test]
fn a_cluster_without_a_majority_never_forms_and_says_why() {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), 10, Vec::new());
    rehearsal.nodes.truncate(1);
    let error = run(&rehearsal, 1).unwrap_err();
    assert!(matches!(error, RunError::NeverFormed { .. }), "{error}");
    rehearsal.nodes.clear();
    assert_eq!(run(&rehearsal, 1).unwrap_err(), RunError::NoRegions);
}
