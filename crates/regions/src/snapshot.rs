//! Everything that selection knows, frozen.
//!
//! [`Facts`] are plain data: a versioned record that a node keeps on disk, so that it routes from
//! the first moment after a start, whether or not the control plane answers. A
//! [`RoutingSnapshot`] is built from facts once and shared; what selection needs is worked out then:
//! sets of regions as bits, hashes of names, orders by latency and cost, the answers to round robin.

use std::{collections::BTreeSet, time::Duration};

use rhumb_types::{
    Epoch, Ratio, RegionId,
    control::{AdminState, AffinityRule},
    record::Record,
};
use serde::{Deserialize, Serialize};

use crate::{
    affinity::{self, RuleTable},
    hash, load,
    locations::{self, Location},
    plan::{Order, Reasons},
    policy::{Levels, Policy},
    pool::Pool,
    registry::{self, Capability, Region, RegistryError, ResidencyTag},
    set::{RegionIndex, RegionSet},
    status::Health,
};

/// The price of moving data out of a region, in millionths of a dollar for 10^9 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroDollarsPerGb(pub u64);

/// What is known of one region.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RegionFacts {
    /// Its configuration.
    pub region: Region,
    /// What the control plane decided.
    pub admin: AdminState,
    /// What this node observes.
    pub health: Health,
    /// What it does not offer at the moment.
    pub lost: BTreeSet<Capability>,
    /// How often its duties were taken over.
    pub epoch: Epoch,
    /// How full its fullest part is.
    pub utilisation: Ratio,
    /// Units of work in flight there.
    pub load: u32,
    /// The share of its keys that it has back; less than one only during a fail-back.
    pub ramp: Ratio,
    /// What a transfer out of it costs, when known.
    pub cost: Option<MicroDollarsPerGb>,
}

impl RegionFacts {
    /// A region that is up, idle, and fully in use.
    #[must_use]
    pub const fn new(region: Region) -> Self {
        Self {
            region,
            admin: AdminState::Active,
            health: Health::Healthy,
            lost: BTreeSet::new(),
            epoch: Epoch(0),
            utilisation: Ratio::ZERO,
            load: 0,
            ramp: Ratio::ONE,
            cost: None,
        }
    }
}

/// A measured or configured round trip. It holds both ways unless the other way is given too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// From here.
    pub from: RegionId,
    /// To there.
    pub to: RegionId,
    /// And back.
    pub rtt: Duration,
}

/// Everything that selection knows, as plain data.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// Raised with every change.
    pub version: u64,
    /// The region of the node whose view this is.
    pub here: RegionId,
    /// All regions.
    pub regions: Vec<RegionFacts>,
    /// Round trips that come before those built in.
    pub links: Vec<Link>,
    /// The operator's rules.
    pub rules: Vec<AffinityRule>,
    /// How traffic is spread.
    pub policy: Policy,
}

impl Record for Facts {
    const VERSION: u8 = 1;
}

/// Why facts are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The regions contradict each other.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The view is that of a region that is not there.
    #[error("this node's region `{0}` is not among the regions: check `REGION` and the file")]
    HereUnknown(RegionId),
    /// More rules than a cluster may have.
    #[error("{0} affinity rules are given; at most {max} are allowed", max = affinity::RULES_MAX)]
    TooManyRules(usize),
}

/// What selection needs of one region.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seed: u64,
    pub(crate) weight: f64,
    pub(crate) ramp: Ratio,
    pub(crate) cost: u64,
    /// The unit vector to its place, for distances without trigonometry.
    pub(crate) direction: Option<[f64; 3]>,
}

/// The sets of regions that filters work with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sets {
    pub(crate) all: RegionSet,
    pub(crate) witness: RegionSet,
    pub(crate) disabled: RegionSet,
    pub(crate) draining: RegionSet,
    pub(crate) down: RegionSet,
    pub(crate) degraded: RegionSet,
    pub(crate) saturated: RegionSet,
    pub(crate) over_bound: RegionSet,
    pub(crate) over_bound_of_level: RegionSet,
    pub(crate) ramping: RegionSet,
    pub(crate) weightless: RegionSet,
}

/// Where a capability is configured, and where it works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) configured: RegionSet,
    pub(crate) lost: RegionSet,
}

/// Everything that selection knows, frozen and arranged. Immutable; share it in an `Arc`.
#[derive(Clone, Debug)]
pub struct RoutingSnapshot {
    facts: Facts,
    here: RegionIndex,
    pub(crate) entries: Vec<Entry>,
    pub(crate) sets: Sets,
    residency: Vec<(ResidencyTag, RegionSet)>,
    offers: Vec<(Capability, Offer)>,
    /// Regions of each priority, the first level first.
    pub(crate) levels: Vec<(u32, RegionSet)>,
    /// Round trips in microseconds, row by row.
    rtt: Vec<u32>,
    pub(crate) rules: RuleTable,
    /// What a request without demands chooses from.
    pub(crate) plain_flat: Pool,
    pub(crate) plain_by_priority: Pool,
    /// The whole answers to round robin, one per turn; empty when rules or ramps must be asked.
    pub(crate) rotations: Vec<Order>,
}

impl RoutingSnapshot {
    /// Arranges facts.
    ///
    /// # Errors
    /// When the regions contradict each other, this node's region is not among them, or there are
    /// too many rules. Rules and round trips of regions that are not there are passed over: see
    /// [`Self::unusable_rules`].
    pub fn build(mut facts: Facts) -> Result<Self, SnapshotError> {
        facts.regions.sort_by(|a, b| a.region.id.cmp(&b.region.id));
        registry::check(facts.regions.iter().map(|r| &r.region))?;
        if facts.rules.len() > affinity::RULES_MAX {
            return Err(SnapshotError::TooManyRules(facts.rules.len()));
        }
        let here = position(&facts.regions, &facts.here)
            .ok_or_else(|| SnapshotError::HereUnknown(facts.here.clone()))?;
        let mut snapshot = Self {
            here,
            entries: facts.regions.iter().map(Entry::of).collect(),
            sets: sets_of(&facts.regions),
            residency: residency_of(&facts.regions),
            offers: offers_of(&facts.regions),
            levels: levels_of(&facts.regions),
            rtt: rtt_of(&facts),
            rules: RuleTable::new(&facts.rules, |id| position(&facts.regions, id)),
            plain_flat: Pool::default(),
            plain_by_priority: Pool::default(),
            rotations: Vec::new(),
            facts,
        };
        snapshot.sets.over_bound_of_level = snapshot.over_bound_of_levels();
        let plain =
            |levels| snapshot.pool(snapshot.data(), RegionSet::EMPTY, levels, Reasons::new());
        (snapshot.plain_flat, snapshot.plain_by_priority) =
            (plain(Levels::Flat), plain(Levels::ByPriority));
        snapshot.rotations = snapshot.rotations();
        Ok(snapshot)
    }

    /// The facts from which it was built, with the regions by name.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Raised with every change.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.facts.version
    }

    /// The region whose view this is.
    #[must_use]
    pub const fn here(&self) -> RegionIndex {
        self.here
    }

    /// How traffic is spread unless a caller says otherwise.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.facts.policy
    }

    /// The position of a region.
    #[must_use]
    pub fn index(&self, id: &RegionId) -> Option<RegionIndex> {
        position(&self.facts.regions, id)
    }

    /// What is known of a region.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "positions come from this snapshot")]
    pub fn region(&self, index: RegionIndex) -> &RegionFacts {
        &self.facts.regions[index.at()]
    }

    /// The name of a region.
    #[must_use]
    pub fn id(&self, index: RegionIndex) -> &RegionId {
        &self.region(index).region.id
    }

    /// All regions with their positions, by name.
    pub fn regions(&self) -> impl Iterator<Item = (RegionIndex, &RegionFacts)> {
        self.facts.regions.iter().enumerate().map(|(at, facts)| (RegionIndex::new(at), facts))
    }

    /// The regions that hold data and are not disabled.
    #[must_use]
    pub fn data(&self) -> RegionSet {
        self.sets.all.without(self.sets.witness).without(self.sets.disabled)
    }

    /// The round trip between two regions: given, else published, else estimated from the great
    /// circle. The longest there is when a place is unknown.
    #[must_use]
    pub fn rtt(&self, from: RegionIndex, to: RegionIndex) -> Duration {
        Duration::from_micros(u64::from(self.rtt_micros(from, to)))
    }

    pub(crate) fn rtt_micros(&self, from: RegionIndex, to: RegionIndex) -> u32 {
        let at = from.at() * self.entries.len() + to.at();
        self.rtt.get(at).copied().unwrap_or(u32::MAX)
    }

    #[expect(clippy::indexing_slicing, reason = "positions come from this snapshot")]
    pub(crate) fn entry(&self, index: RegionIndex) -> &Entry {
        &self.entries[index.at()]
    }

    /// The rules that never apply: of a region that is not there or never serves, or of a
    /// geography that is none.
    pub fn unusable_rules(&self) -> impl Iterator<Item = &AffinityRule> {
        let serves = |id: &RegionId| {
            self.index(id).is_some_and(|at| self.sets.all.without(self.sets.witness).contains(at))
        };
        let usable =
            move |rule: &&AffinityRule| serves(&rule.region) && affinity::is_meaningful(rule);
        self.facts.rules.iter().filter(move |rule| !usable(rule))
    }

    /// The regions of a jurisdiction.
    pub(crate) fn residents(&self, tag: &ResidencyTag) -> RegionSet {
        look_up(&self.residency, tag).unwrap_or_default()
    }

    /// All jurisdictions with their regions.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (&ResidencyTag, RegionSet)> {
        self.residency.iter().map(|(tag, members)| (tag, *members))
    }

    /// Where a capability is. A region that lists none offers all.
    pub(crate) fn offer(&self, capability: &Capability) -> Offer {
        look_up(&self.offers, capability).unwrap_or_else(|| Offer {
            configured: self
                .regions()
                .filter(|(_, facts)| facts.region.capabilities.is_empty())
                .map(|(at, _)| at)
                .collect(),
            lost: RegionSet::EMPTY,
        })
    }

    /// The levels that a policy works with.
    pub(crate) fn levels_for(&self, levels: Levels) -> impl Iterator<Item = (u32, RegionSet)> {
        let flat = (levels == Levels::Flat).then_some((1, self.sets.all));
        let by_priority = (levels == Levels::ByPriority).then_some(self.levels.iter().copied());
        flat.into_iter().chain(by_priority.into_iter().flatten())
    }

    fn over_bound_of_levels(&self) -> RegionSet {
        let serving = self.data().without(self.sets.draining);
        let over =
            |(_, level): &(u32, RegionSet)| over_bound_of(&self.facts.regions, level.and(serving));
        self.levels.iter().map(over).fold(RegionSet::EMPTY, RegionSet::or)
    }
}

impl Entry {
    fn of(facts: &RegionFacts) -> Self {
        Self {
            seed: hash::of_region(facts.region.id.as_str()),
            weight: f64::from(facts.region.weight),
            ramp: facts.ramp,
            cost: facts.cost.map_or(u64::MAX, |cost| cost.0),
            direction: facts.region.location.map(direction),
        }
    }
}

/// The unit vector from the middle of the earth to a place.
pub(crate) fn direction(place: Location) -> [f64; 3] {
    let (latitude, longitude) = (place.latitude().to_radians(), place.longitude().to_radians());
    [latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()]
}

fn position(sorted: &[RegionFacts], id: &RegionId) -> Option<RegionIndex> {
    sorted.binary_search_by(|facts| facts.region.id.cmp(id)).ok().map(RegionIndex::new)
}

fn look_up<K: Ord, V: Copy>(sorted: &[(K, V)], key: &K) -> Option<V> {
    let at = sorted.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
    sorted.get(at).map(|(_, value)| *value)
}

fn having(regions: &[RegionFacts], wanted: impl Fn(&RegionFacts) -> bool) -> RegionSet {
    let found = regions.iter().enumerate().filter(|(_, facts)| wanted(facts));
    found.map(|(at, _)| RegionIndex::new(at)).collect()
}

fn sets_of(regions: &[RegionFacts]) -> Sets {
    let all = having(regions, |_| true);
    let serving = having(regions, |r| !r.region.witness && r.admin == AdminState::Active);
    Sets {
        all,
        witness: having(regions, |r| r.region.witness),
        disabled: having(regions, |r| r.admin == AdminState::Disabled),
        draining: having(regions, |r| r.admin == AdminState::Draining),
        down: having(regions, |r| r.health == Health::Down),
        degraded: having(regions, |r| r.health == Health::Degraded),
        saturated: having(regions, |r| load::is_saturated(r.utilisation)),
        over_bound: over_bound_of(regions, serving),
        over_bound_of_level: RegionSet::EMPTY,
        ramping: having(regions, |r| r.ramp.get() < 1.0),
        weightless: having(regions, |r| r.region.weight == 0),
    }
}

fn over_bound_of(regions: &[RegionFacts], group: RegionSet) -> RegionSet {
    let share = |(at, facts): (usize, &RegionFacts)| load::Share {
        region: RegionIndex::new(at),
        load: facts.load,
        weight: facts.region.weight,
    };
    let shares: Vec<_> = regions
        .iter()
        .enumerate()
        .filter(|(at, facts)| group.contains(RegionIndex::new(*at)) && facts.health != Health::Down)
        .map(share)
        .collect();
    load::over_bound(&shares)
}

fn residency_of(regions: &[RegionFacts]) -> Vec<(ResidencyTag, RegionSet)> {
    let tags: BTreeSet<_> = regions.iter().flat_map(|r| &r.region.residency).collect();
    let members = |tag| having(regions, |r| r.region.residency.contains(tag));
    tags.into_iter().map(|tag| (tag.clone(), members(tag))).collect()
}

fn offers_of(regions: &[RegionFacts]) -> Vec<(Capability, Offer)> {
    let named =
        |r: &'_ RegionFacts| r.region.capabilities.union(&r.lost).cloned().collect::<Vec<_>>();
    let capabilities: BTreeSet<_> = regions.iter().flat_map(named).collect();
    let offer = |capability: &Capability| Offer {
        configured: having(regions, |r| r.region.offers(capability)),
        lost: having(regions, |r| r.lost.contains(capability)),
    };
    capabilities.into_iter().map(|capability| (capability.clone(), offer(&capability))).collect()
}

fn levels_of(regions: &[RegionFacts]) -> Vec<(u32, RegionSet)> {
    let priorities: BTreeSet<_> = regions.iter().map(|r| r.region.priority).collect();
    let members = |priority| having(regions, |r| r.region.priority == priority);
    priorities.into_iter().map(|priority| (priority, members(priority))).collect()
}

fn rtt_of(facts: &Facts) -> Vec<u32> {
    let regions = &facts.regions;
    let pairs = regions.iter().flat_map(|from| regions.iter().map(move |to| (from, to)));
    pairs.map(|(from, to)| rtt_of_pair(facts, &from.region, &to.region)).collect()
}

fn rtt_of_pair(facts: &Facts, from: &Region, to: &Region) -> u32 {
    if from.id == to.id {
        return 0;
    }
    let given = |a: &RegionId, b: &RegionId| {
        facts.links.iter().find(|link| link.from == *a && link.to == *b).map(|link| link.rtt)
    };
    let rtt = given(&from.id, &to.id)
        .or_else(|| given(&to.id, &from.id))
        .or_else(|| locations::published_rtt(from.id.as_str(), to.id.as_str()))
        .or_else(|| Some(from.location?.estimated_rtt(to.location?)));
    rtt.and_then(|rtt| u32::try_from(rtt.as_micros()).ok()).unwrap_or(u32::MAX)
}
