//! Properties of whole runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_node::{Member, NodeConfig, Retention, oversee::OverseerConfig};
use rhumb_regions::{Facts, FailoverConfig, HealthConfig, Policy, Region, RegionFacts, Strategy};
use rhumb_state::Namespaces;
use rhumb_types::{
    ClusterId, NodeId, RegionId,
    control::{Digest, FailoverMode, MemberRole},
};

use super::*;
use crate::{
    prices::Prices,
    rehearsal::{Clients, Setup},
    scenario::{Fault, Planned, Scenario},
    traffic::Traffic,
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

#[test]
fn a_region_that_goes_down_is_left_within_the_clients_time_out() {
    let fault = at(10, 30, Fault::Down(region("eu-west-1")));
    let outcome = run(&rehearsal(&HealthConfig::fast(), 60, vec![fault]), 1).unwrap();
    let fault = &outcome.faults[0];
    assert!(fault.detected.unwrap() < Duration::from_secs(1), "{fault:?}");
    assert!(fault.owned.unwrap() < Duration::from_secs(8), "{fault:?}");
    assert_eq!(fault.served, Some(Duration::ZERO), "a list has a next node");
    let (timeout, most) = (Duration::from_millis(500), Duration::from_millis(900));
    assert!((timeout..most).contains(&fault.gap), "{fault:?}");
    assert_eq!(outcome.requests.failed, 0);
    assert!(outcome.requests.retried > 0);
    assert_eq!(outcome.violations, Vec::<String>::new());
}
