//! What a run is made of: its hosts, as configured, and the links between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_node::{Member, NodeConfig, Retention, oversee::OverseerConfig};
use rhumb_regions::{
    Facts, FailoverConfig, HealthConfig, Policy, RegionFacts, ResidencyTag, lease::DriftBound,
    locations, registry::Region, spillover::Limits,
};
use rhumb_state::{Namespace, NamespacePolicy, Namespaces};
use rhumb_types::{
    ClusterId, DomainId, NodeId, Ratio, RegionId,
    control::{Digest, FailoverMode, MemberRole, limits::VOTERS_MAX},
};

use crate::{
    host::Host,
    network::Spread,
    random::Random,
    run::{Kind, Options},
    workload::{jobs, objects},
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

/// How often a run has how many regions; most have three, for these are the quickest.
const REGIONS_DRAWN: [usize; 12] = [2, 3, 3, 3, 3, 3, 3, 4, 4, 5, 6, 9];
/// How many of a thousand runs with objects have a host that joins late,
const LATE_PER_MILLE: u64 = 500;
/// and when it does.
const LATE: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(10));
/// Separates what is drawn for it from the run's other draws.
const LATE_STREAM: u64 = 0x6c61_7465;
/// The share of a link's delay by which messages are late at most, in thousandths, where links are not
/// those of the built-in table.
const JITTER_PER_MILLE: u64 = 50;
/// Regions between which links are as long as they are in the world.
const NAMES: [&str; 12] = [
    "us-east-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-northeast-1",
    "sa-east-1",
    "ap-southeast-2",
    "us-east-2",
    "eu-west-2",
    "ap-south-1",
    "ca-central-1",
];

/// The world of a run, with every host up.
pub(crate) fn world(options: &Options) -> World {
    let mut random = Random::new(options.seed);
    let drawn = *random.pick(&REGIONS_DRAWN).unwrap_or(&3);
    // Two that carry a domain, and one that does not.
    let least = if options.kind == Kind::Domains { 3 } else { 2 };
    // The owner of a region's jobs must hear of a majority of the regions, and five vote.
    let voters = matches!(options.kind, Kind::Queues | Kind::Objects);
    let most = if voters { VOTERS_MAX } else { REGIONS.1 };
    let regions = options.regions.unwrap_or(drawn).clamp(least, most);
    let names = names(regions + 1, &mut random);
    let hosts = hosts(options, &names, regions, &mut random);
    let mut world = World::new(hosts, random);
    let length = Length::of(options.kind, &mut world.random);
    for (a, b) in world.network.pairs() {
        let delay = length.between(names.get(a), names.get(b), &mut world.random);
        for (from, to) in [(a, b), (b, a)] {
            let direction = world.network.direction(from, to);
            direction.delay_micros = delay;
            match length {
                Length::Table => direction.spread = Spread::Cloud,
                Length::Near | Length::Any => {
                    direction.usual_jitter_micros = delay * JITTER_PER_MILLE / 1_000;
                }
            }
            direction.jitter_micros = direction.usual_jitter_micros;
        }
    }
    match options.kind {
        Kind::Queues => world.define(jobs::definitions()),
        Kind::Objects => world.define_buckets(objects::definitions()),
        Kind::Data | Kind::Domains | Kind::Control => {}
    }
    let late = late(options, world.hosts.len()).map(|(host, _)| host);
    for host in (0..world.hosts.len()).filter(|host| late != Some(*host)) {
        world.start(host);
    }
    world
}

/// Which host joins only while clients of objects are at work, and when.
pub(crate) fn late(options: &Options, hosts: usize) -> Option<(usize, Duration)> {
    let mut random = Random::new(options.seed ^ LATE_STREAM);
    let late = options.kind == Kind::Objects && hosts > 2 && random.chance(LATE_PER_MILLE);
    late.then(|| (random.index(hosts), random.between(LATE.0, LATE.1)))
}

/// How long the links of a run are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Length {
    /// Within one part of the world, so that much happens in little time.
    Near,
    /// As between the regions of the built-in table.
    Table,
    /// Anything.
    Any,
}

impl Length {
    const fn of(kind: Kind, random: &mut Random) -> Self {
        let near = kind.has_overseers() && random.chance(600);
        match near {
            true => Self::Near,
            false if random.chance(500) => Self::Table,
            false => Self::Any,
        }
    }

    /// The one-way delay between two regions, in microseconds.
    fn between(self, a: Option<&RegionId>, b: Option<&RegionId>, random: &mut Random) -> u64 {
        match self {
            Self::Near => 500 + random.below(5_000),
            Self::Any => 5_000 + random.below(100_000),
            Self::Table => {
                let rtt = a.zip(b).and_then(|(a, b)| locations::rtt(a.as_str(), b.as_str()));
                let micros = rtt.unwrap_or_default().as_micros() / 2;
                u64::try_from(micros).unwrap_or(u64::MAX)
            }
        }
    }
}

/// So many names in an order of chance.
fn names(count: usize, random: &mut Random) -> Vec<RegionId> {
    let mut left = NAMES.to_vec();
    let take = |_| {
        let name = left.swap_remove(random.index(left.len()));
        match RegionId::new(name) {
            Ok(region) => region,
            Err(error) => unreachable!("{error}"),
        }
    };
    (0..count).map(take).collect()
}

fn hosts(options: &Options, names: &[RegionId], regions: usize, random: &mut Random) -> Vec<Host> {
    let data = names.get(..regions).unwrap_or(names);
    let mut configs = configs(options, data, random);
    if options.kind == Kind::Domains {
        divide(&mut configs, names.last());
    }
    let bound = *random.pick(&DRIFTS_PPM).unwrap_or(&DRIFTS_PPM[0]);
    let fast = i64::from(bound);
    let slow = -(fast * 1_000_000 / (1_000_000 + fast));
    if !options.kind.has_overseers() {
        let host = |config| {
            let mut host = Host::new(config, None);
            host.drift_ppm = *random.pick(&[slow, 0, fast]).unwrap_or(&0);
            host
        };
        return configs.into_iter().map(host).collect();
    }
    // One clock is as slow as the bound allows, and the others are as fast: the worst for a holder.
    let slow_one = random.index(configs.len());
    let queues = options.kind == Kind::Queues;
    let host = |(nth, config): (usize, NodeConfig)| {
        let oversight = oversight(&config, data, DriftBound(bound));
        let mut host = Host::new(config, Some(oversight));
        host.drift_ppm = if nth == slow_one { slow } else { fast };
        host.storing = options.kind == Kind::Objects;
        host.queueing = queues.then(|| queueing(&host.config, data.len(), DriftBound(bound)));
        host
    };
    configs.into_iter().enumerate().map(host).collect()
}

fn configs(options: &Options, names: &[RegionId], random: &mut Random) -> Vec<NodeConfig> {
    let member =
        |name: &RegionId| Member { region: name.clone(), witness: false, domains: Vec::new() };
    let members: Vec<Member> = names.iter().map(member).collect();
    // Often so little is kept that a member that was away must load a snapshot.
    let retention = match options.kind {
        Kind::Domains => Retention { age: Duration::from_millis(200), transactions_max: 10 },
        _ if random.chance(400) => {
            Retention { age: Duration::from_millis(500), transactions_max: 40 }
        }
        // As good as for ever in one round, and little in many.
        _ => Retention { age: Duration::from_secs(60), transactions_max: 20_000 },
    };
    (1..)
        .zip(names)
        .map(|(nth, name)| NodeConfig {
            cluster: CLUSTER,
            node: NodeId(nth),
            region: name.clone(),
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
fn divide(configs: &mut Vec<NodeConfig>, name: Option<&RegionId>) {
    let policy = NamespacePolicy { domain: HERE_AND_THERE, ..NamespacePolicy::default() };
    let named = Namespace { prefix: bytes::Bytes::from_static(DIVIDED), policy };
    let namespaces = match Namespaces::new(vec![named], NamespacePolicy::default()) {
        Ok(namespaces) => namespaces,
        Err(error) => unreachable!("{error}"),
    };
    let (Some(mut witness), Some(name)) = (configs.last().cloned(), name) else { return };
    let (nth, data) = (configs.len(), configs.len() - 1);
    (witness.node, witness.region) = (NodeId(nth as u64 + 1), name.clone());
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

/// When jobs are sent on: soon, so that they are within a run.
pub(crate) fn spillover() -> Limits {
    Limits {
        enter_depth: 12,
        leave_depth: 4,
        oldest_age_target: Duration::from_secs(5),
        enter_held: Duration::from_secs(2),
        leave_held: Duration::from_secs(4),
        // One job in six fails, wherever it runs.
        enter_error_rate: Ratio::clamped(0.5),
        leave_error_rate: Ratio::clamped(0.3),
        ..Limits::default()
    }
}

fn queueing(config: &NodeConfig, regions: usize, drift: DriftBound) -> rhumb_queue::Config {
    let region = config.region.clone();
    rhumb_queue::Config { region, regions, drift, spillover: Some(spillover()) }
}

/// An overseer that decides by itself, so that leases move and return within a run.
fn oversight(config: &NodeConfig, names: &[RegionId], drift: DriftBound) -> OverseerConfig {
    let votes = names.iter().take(VOTERS_MAX).any(|name| *name == config.region);
    // Where there are enough regions, the last may not hold what is resident.
    let outside = names.last().filter(|_| names.len() > 2);
    let tag = ResidencyTag::new(objects::TAG).ok();
    let known = |name: &RegionId| {
        let mut region = Region::new(name.clone(), "host:1");
        region.residency.extend(tag.clone().filter(|_| Some(name) != outside));
        RegionFacts::new(region)
    };
    let founder = rhumb_types::control::Member {
        node: config.node,
        region: config.region.clone(),
        role: if votes { MemberRole::Voter } else { MemberRole::Learner },
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
            // A successor may be failed over itself; the step that waits for it ends within a run.
            timeout: Duration::from_secs(8),
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
