//! What a run is made of: its hosts, as configured, and the links between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_node::{Member, NodeConfig, Retention, oversee::OverseerConfig};
use rhumb_regions::{
    Facts, FailoverConfig, HealthConfig, Policy, RegionFacts, lease::DriftBound, registry::Region,
};
use rhumb_state::{Namespace, NamespacePolicy, Namespaces};
use rhumb_types::{
    ClusterId, DomainId, NodeId, RegionId,
    control::{Digest, FailoverMode, MemberRole},
};

use crate::{
    host::Host,
    random::Random,
    run::{Kind, Options},
    world::World,
};

/// The least and the most regions of a run.
pub const REGIONS: (usize, usize) = (2, 9);
/// What the keys start with that not every region may hold.
pub(crate) const DIVIDED: &[u8] = b"here:";
/// Their domain.
const HERE_AND_THERE: DomainId = DomainId(1);
const CLUSTER: ClusterId = ClusterId(7);
/// How far clocks may drift in a run with leases, in parts per million: now and then what is
/// configured by default, else the most that may be.
const DRIFTS_PPM: [u32; 4] = [10_000, 100_000, 100_000, 100_000];

/// The world of a run, with every host up.
pub(crate) fn world(options: &Options) -> World {
    let mut random = Random::new(options.seed);
    let hosts = hosts(options, &mut random);
    let near = options.kind == Kind::Control && random.chance(700);
    let mut world = World::new(hosts, random);
    for (a, b) in world.network.pairs() {
        let delay = if near { 500 } else { 5_000 };
        let delay = delay + world.random.below(if near { 5_000 } else { 100_000 });
        for (from, to) in [(a, b), (b, a)] {
            world.network.direction(from, to).delay_micros = delay;
        }
    }
    for host in 0..world.hosts.len() {
        world.start(host);
    }
    world
}

fn hosts(options: &Options, random: &mut Random) -> Vec<Host> {
    let mut configs = configs(options, random);
    if options.kind == Kind::Domains {
        divide(&mut configs);
    }
    if options.kind != Kind::Control {
        return configs.into_iter().map(|config| Host::new(config, None)).collect();
    }
    let names: Vec<RegionId> = configs.iter().map(|config| config.region.clone()).collect();
    let bound = *random.pick(&DRIFTS_PPM).unwrap_or(&DRIFTS_PPM[0]);
    // One clock is as slow as the bound allows, and the others are as fast: the worst for a holder.
    let fast = i64::from(bound);
    let slow = -(fast * 1_000_000 / (1_000_000 + fast));
    let slow_one = random.index(configs.len());
    let host = |(nth, config): (usize, NodeConfig)| {
        let oversight = oversight(&config, &names, DriftBound(bound));
        let mut host = Host::new(config, Some(oversight));
        host.drift_ppm = if nth == slow_one { slow } else { fast };
        host
    };
    configs.into_iter().enumerate().map(host).collect()
}

fn region(nth: usize) -> RegionId {
    match RegionId::new(&format!("r{nth}")) {
        Ok(region) => region,
        Err(error) => unreachable!("{error}"),
    }
}

fn configs(options: &Options, random: &mut Random) -> Vec<NodeConfig> {
    let regions = options.regions.unwrap_or(3);
    let member = |nth| Member { region: region(nth), witness: false, domains: Vec::new() };
    let members: Vec<Member> = (0..regions).map(member).collect();
    // Often so little is kept that a member that was away must load a snapshot.
    let retention = match options.kind {
        Kind::Domains => Retention { age: Duration::from_millis(200), transactions_max: 10 },
        _ if random.chance(400) => {
            Retention { age: Duration::from_millis(500), transactions_max: 40 }
        }
        // As good as for ever in one round, and little in many.
        _ => Retention { age: Duration::from_secs(60), transactions_max: 20_000 },
    };
    (0..regions)
        .map(|nth| NodeConfig {
            cluster: CLUSTER,
            node: NodeId(nth as u64 + 1),
            region: region(nth),
            witness: false,
            domains: BTreeSet::new(),
            namespaces: Namespaces::default(),
            retention,
            heartbeat_interval: Duration::from_millis(100),
            members: members.clone(),
        })
        .collect()
}

/// The last region does not carry the domain of some keys, and a witness carries nothing.
fn divide(configs: &mut Vec<NodeConfig>) {
    let policy = NamespacePolicy { domain: HERE_AND_THERE, ..NamespacePolicy::default() };
    let named = Namespace { prefix: bytes::Bytes::from_static(DIVIDED), policy };
    let namespaces = match Namespaces::new(vec![named], NamespacePolicy::default()) {
        Ok(namespaces) => namespaces,
        Err(error) => unreachable!("{error}"),
    };
    let Some(mut witness) = configs.last().cloned() else { return };
    let (nth, data) = (configs.len(), configs.len() - 1);
    (witness.node, witness.region) = (NodeId(nth as u64 + 1), region(nth));
    witness.witness = true;
    for config in configs.iter_mut().take(data) {
        config.domains = BTreeSet::from([HERE_AND_THERE]);
    }
    configs.push(witness);
    let member = |config: &NodeConfig| Member {
        region: config.region.clone(),
        witness: config.witness,
        domains: config.domains.iter().copied().collect(),
    };
    let members: Vec<Member> = configs.iter().map(member).collect();
    for config in configs {
        config.members.clone_from(&members);
        config.namespaces = namespaces.clone();
    }
}

/// An overseer that decides by itself, so that leases move and return within a run.
fn oversight(config: &NodeConfig, names: &[RegionId], drift: DriftBound) -> OverseerConfig {
    let known = |name: &RegionId| RegionFacts::new(Region::new(name.clone(), "host:1"));
    let founder = rhumb_types::control::Member {
        node: config.node,
        region: config.region.clone(),
        role: MemberRole::Voter,
        address: "host:1".to_owned(),
        fingerprint: Digest([u8::try_from(config.node.0).unwrap_or(u8::MAX); 32]),
        reads: rhumb_ports::peer::PROTOCOL_VERSION,
    };
    OverseerConfig {
        cluster: CLUSTER,
        node: config.node,
        region: config.region.clone(),
        // Each knows only itself: the others join.
        founders: vec![founder],
        domains: BTreeMap::new(),
        health: HealthConfig { drift, ..HealthConfig::fast() },
        failover: FailoverConfig {
            mode: FailoverMode::Automatic,
            watch_for: Duration::from_secs(1),
            ramp: vec![10, 100],
            ramp_hold: Duration::from_millis(500),
            failback_after: Some(Duration::from_secs(1)),
            ..FailoverConfig::default()
        },
        facts: Facts {
            version: 1,
            here: config.region.clone(),
            regions: names.iter().map(known).collect(),
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        },
        audit: None,
    }
}
