//! The one selection function.
//!
//! In this order: hard filters and health ([`crate::pool`]), levels of priority, the strategy,
//! bounded load, the operator's rules, the sticky token. Later steps only reorder what the filters
//! left, so that no rule and no token reaches a region that is forbidden.
//!
//! - Health wins over everything but residency, capability and the administrative state.
//! - An override rule wins over a token; a token wins over the other rules, the hash and the
//!   strategy, because what is in flight stays.
//! - A plan is never empty: what speaks against a region gives way, step by step, when nothing
//!   else is left, and the plan says so. Only residency, a capability that nobody offers, and
//!   disabling everything end in an error.
//!
//! The same request and snapshot give the same plan on every node.
//!
//! Long: the steps of one decision, in the order in which they are taken.

use smallvec::SmallVec;

use crate::{
    affinity::{Key, Origin, RuleKind},
    hash,
    locations::Location,
    plan::{Order, Plan, Reason, Reasons, Sequence, StickyOutcome},
    policy::{Levels, Policy, Strategy},
    pool::{Demand, Pool, RouteError},
    registry::{Capability, ResidencyTag},
    set::{RegionIndex, RegionSet},
    snapshot::{RoutingSnapshot, direction},
    sticky::Sticky,
};
use rhumb_types::{
    RegionId,
    planted::{self, Planted},
};

/// Who asks, as far as it is known.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Client<'a> {
    /// The region in which it is; its round trips are known best.
    pub region: Option<&'a RegionId>,
    /// Where it is on the globe.
    pub location: Option<Location>,
    /// Its country and continent, for rules.
    pub origin: Origin,
}

/// One question to selection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// What is to be placed.
    pub key: Key<'a>,
    /// Who asks.
    pub client: Client<'a>,
    /// A counter of the caller's: the turn in `round_robin` and `weighted`, and the key of a
    /// request without one.
    pub turn: u64,
    /// The jurisdictions in one of which the data must stay; none means anywhere.
    pub residency: &'a [ResidencyTag],
    /// What the regions must offer.
    pub needs: &'a [Capability],
    /// A token, once it is verified.
    pub sticky: Option<&'a Sticky>,
}

const LEVEL_SALT: u64 = 0x4c45_5645_4c00_0001;
const RAMP_SALT: u64 = 0x5241_4d50_0000_0001;

/// A candidate on its way to its place: the tier first, then the score, then chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Ranked {
    tier: u32,
    score: u64,
    chance: u64,
    region: RegionIndex,
}

type Ranking = SmallVec<[Ranked; 24]>;

const TIER_OVER_BOUND: u32 = 1;
const TIER_LEVEL_SHIFT: u32 = 1;
const TIER_PREFERENCE_SHIFT: u32 = 9;
const TIER_DEGRADED: u32 = 1 << 17;
const TIER_NOT_RAMPED: u32 = 1 << 18;
const TIER_WEIGHTLESS: u32 = 1 << 19;

/// Where a request goes, by the snapshot's own policy or another.
///
/// # Errors
/// When no region may serve it: see [`RouteError`].
pub fn select<'s>(
    snapshot: &'s RoutingSnapshot,
    request: &Request<'_>,
    policy: &Policy,
) -> Result<Plan<'s>, RouteError> {
    let demand = Demand { residency: request.residency, needs: request.needs };
    let plain = snapshot.plain(policy.levels);
    if !demand.is_plain() {
        let mut pool = snapshot.pool_for(demand, policy.levels)?;
        let reasons = std::mem::take(&mut pool.reasons);
        return Ok(Selection { snapshot, request, policy, pool: &pool }.plan(&[], reasons));
    }
    if plain.candidates.is_empty() {
        return Err(RouteError::AllDisabled);
    }
    if let Some(plan) = snapshot.rotation(request, policy) {
        return Ok(plan);
    }
    let selection = Selection { snapshot, request, policy, pool: plain };
    Ok(selection.plan(&plain.reasons, Reasons::new()))
}

struct Selection<'p, 's> {
    snapshot: &'s RoutingSnapshot,
    request: &'p Request<'p>,
    policy: &'p Policy,
    pool: &'p Pool,
}

impl<'s> Selection<'_, 's> {
    fn plan(&self, shared_reasons: &'s [Reason], mut reasons: Reasons) -> Plan<'s> {
        let spot = self.spot();
        let not_ramped = self.not_ramped(spot);
        if !not_ramped.is_empty() {
            reasons.push(Reason::Ramp { regions: not_ramped });
        }
        let mut ranking = self.tiers(spot, not_ramped, &mut reasons);
        self.score(&mut ranking, spot);
        ranking.sort_unstable();
        reasons.push(Reason::Strategy(self.policy.strategy));
        note_overflow(&ranking, &mut reasons);
        let mut order: Order = ranking.iter().map(|ranked| ranked.region).collect();
        let rule = self.follow_rule(not_ramped, &mut order, &mut reasons);
        let sticky = self.follow_token(rule, &mut order, &mut reasons);
        Plan {
            snapshot: self.snapshot,
            sequence: Sequence::Own(order),
            shared_reasons,
            reasons,
            panic: self.pool.panic,
            spot,
            viewpoint: self.viewpoint(),
            sticky,
        }
    }

    /// The hash by which regions draw: of the key, or of the turn where turns decide.
    fn spot(&self) -> u64 {
        let name = self.request.key.name();
        if self.policy.strategy.takes_turns() || name.is_empty() {
            hash::mix(self.request.turn)
        } else {
            hash::of_key(name)
        }
    }

    /// The candidates that a fail-back has not yet given this key. The keys that a region has at
    /// 1 % it also has at 10 %.
    fn not_ramped(&self, spot: u64) -> RegionSet {
        let ramping = self.snapshot.sets.ramping.and(self.pool.candidates);
        let without = |at: &RegionIndex| !has_ramped(self.snapshot, *at, spot);
        ramping.iter().filter(without).collect()
    }

    /// The candidates with their tiers: what comes before any strategy.
    fn tiers(&self, spot: u64, not_ramped: RegionSet, reasons: &mut Reasons) -> Ranking {
        let (sets, pool) = (&self.snapshot.sets, self.pool);
        let degraded = if pool.panic { RegionSet::EMPTY } else { sets.degraded };
        let over_bound = match (self.policy.strategy.spreads_by_weight(), self.policy.levels) {
            (false, _) => RegionSet::EMPTY,
            (true, Levels::Flat) => sets.over_bound,
            (true, Levels::ByPriority) => sets.over_bound_of_level,
        };
        let flag = |set: RegionSet, at, tier| if set.contains(at) { tier } else { 0 };
        let tier = |at| {
            flag(over_bound, at, TIER_OVER_BOUND)
                | flag(degraded, at, TIER_DEGRADED)
                | flag(not_ramped, at, TIER_NOT_RAMPED)
                | flag(sets.weightless, at, TIER_WEIGHTLESS)
        };
        let ranked = |at| Ranked {
            tier: tier(at),
            score: 0,
            chance: hash::mix(spot ^ self.snapshot.entry(at).seed),
            region: at,
        };
        let mut ranking: Ranking = pool.candidates.iter().map(ranked).collect();
        if self.policy.levels == Levels::ByPriority {
            self.add_levels(spot, &mut ranking, reasons);
        }
        if !self.policy.preferred.is_empty() {
            self.add_preference(&mut ranking, reasons);
        }
        ranking
    }

    /// The key's level first, then the others by priority.
    fn add_levels(&self, spot: u64, ranking: &mut Ranking, reasons: &mut Reasons) {
        let levels = &self.pool.levels;
        let point = hash::unit(hash::mix(spot ^ LEVEL_SALT));
        let chosen = levels.iter().position(|level| point < level.cumulative).unwrap_or(0);
        for ranked in ranking.iter_mut() {
            let home = levels.iter().position(|level| level.members.contains(ranked.region));
            let place = home.map_or(levels.len(), |at| match at.cmp(&chosen) {
                std::cmp::Ordering::Less => at + 1,
                std::cmp::Ordering::Equal => 0,
                std::cmp::Ordering::Greater => at,
            });
            ranked.tier |= small(place) << TIER_LEVEL_SHIFT;
        }
        if let Some(level) = levels.get(chosen) {
            reasons.push(Reason::Level { priority: level.priority });
        }
    }

    fn add_preference(&self, ranking: &mut Ranking, reasons: &mut Reasons) {
        let preferred = &self.policy.preferred;
        let mut regions = RegionSet::EMPTY;
        for ranked in ranking.iter_mut() {
            let id = self.snapshot.id(ranked.region);
            let place = preferred.iter().position(|wanted| wanted == id);
            if place.is_some() {
                regions.insert(ranked.region);
            }
            let place = place.unwrap_or(preferred.len()).min(usize::from(u8::MAX));
            ranked.tier |= small(place) << TIER_PREFERENCE_SHIFT;
        }
        if !regions.is_empty() {
            reasons.push(Reason::Preferred { regions });
        }
    }

    fn score(&self, ranking: &mut Ranking, spot: u64) {
        match self.policy.strategy {
            Strategy::RoundRobin => rotate(ranking, self.request.turn),
            Strategy::Weighted => self.score_by_weight(ranking, spot),
            Strategy::Latency => self.score_by_latency(ranking),
            Strategy::Geographic => self.score_by_distance(ranking),
            Strategy::Cost => {
                ranking.iter_mut().for_each(|r| r.score = self.snapshot.entry(r.region).cost);
            }
            Strategy::Priority | Strategy::Affinity => self.score_by_draw(ranking, spot),
        }
    }

    fn score_by_draw(&self, ranking: &mut Ranking, spot: u64) {
        for ranked in ranking.iter_mut() {
            let entry = self.snapshot.entry(ranked.region);
            // Positive doubles are ordered as their bits are.
            ranked.score = hash::draw(spot, entry.seed, entry.weight).to_bits();
        }
    }

    /// The first region by an even sequence of turns (multiples of the golden ratio, which fill
    /// the weights without clumps), the others by draw.
    fn score_by_weight(&self, ranking: &mut Ranking, spot: u64) {
        self.score_by_draw(ranking, spot);
        let top = ranking.iter().map(|ranked| ranked.tier).min().unwrap_or(0);
        let weight = |ranked: &Ranked| self.snapshot.region(ranked.region).region.weight;
        let of_top = |ranked: &&mut Ranked| ranked.tier == top;
        let total: u64 =
            ranking.iter().filter(|r| r.tier == top).map(|r| u64::from(weight(r))).sum();
        let point = self.request.turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut left = scale(point, total);
        for ranked in ranking.iter_mut().filter(of_top) {
            let weight = u64::from(weight(ranked));
            if left < weight {
                ranked.score = 0;
                return;
            }
            left -= weight;
        }
    }

    fn score_by_latency(&self, ranking: &mut Ranking) {
        if self.request.client.region.is_none() && self.request.client.location.is_some() {
            return self.score_by_distance(ranking);
        }
        let from = self.viewpoint();
        for ranked in ranking.iter_mut() {
            ranked.score = u64::from(self.snapshot.rtt_micros(from, ranked.region));
        }
    }

    fn score_by_distance(&self, ranking: &mut Ranking) {
        let from = match self.request.client.location {
            Some(place) => Some(direction(place)),
            None => self.snapshot.entry(self.viewpoint()).direction,
        };
        for ranked in ranking.iter_mut() {
            let to = self.snapshot.entry(ranked.region).direction;
            // One minus the cosine of the angle: 0 here, 2 at the antipode. In steps of 2^-40, so
            // that the last bits of a platform's trigonometry decide nothing.
            ranked.score = match (from, to) {
                (Some([a, b, c]), Some([x, y, z])) => steps(1.0 - (a * x + b * y + c * z)),
                _ => u64::MAX,
            };
        }
    }

    /// The region from which round trips are counted.
    fn viewpoint(&self) -> RegionIndex {
        let region = self.request.client.region.and_then(|id| self.snapshot.index(id));
        region.unwrap_or_else(|| self.snapshot.here())
    }

    fn follow_rule(
        &self,
        not_ramped: RegionSet,
        order: &mut Order,
        reasons: &mut Reasons,
    ) -> Option<RuleKind> {
        let request = self.request;
        let (kind, region) = self.snapshot.rules.find(&request.key, request.client.origin)?;
        let followed = self.pool.candidates.without(not_ramped).contains(region);
        if followed {
            move_to_front(order, region);
        }
        reasons.push(Reason::Rule { kind, region, followed });
        followed.then_some(kind)
    }

    fn follow_token(
        &self,
        rule: Option<RuleKind>,
        order: &mut Order,
        reasons: &mut Reasons,
    ) -> Option<StickyOutcome> {
        let sticky = self.request.sticky?;
        let region = self.snapshot.index(&sticky.region);
        let outcome = match region {
            Some(at) if self.pool.allowed.contains(at) => {
                if self.pool.down.contains(at) {
                    StickyOutcome::RegionDown
                } else if self.snapshot.region(at).epoch != sticky.epoch {
                    StickyOutcome::EpochChanged
                } else if rule == Some(RuleKind::Override) && order.first() != Some(&at) {
                    StickyOutcome::Overridden
                } else {
                    move_to_front(order, at);
                    StickyOutcome::Kept
                }
            }
            _ => StickyOutcome::RegionUnusable,
        };
        reasons.push(Reason::Sticky { outcome, region });
        Some(outcome)
    }
}

impl RoutingSnapshot {
    /// Where a request goes, by this snapshot's own policy.
    ///
    /// # Errors
    /// When no region may serve it: see [`RouteError`].
    pub fn select(&self, request: &Request<'_>) -> Result<Plan<'_>, RouteError> {
        select(self, request, self.policy())
    }

    /// The home region of a key: by rule, else by weighted rendezvous hashing.
    ///
    /// It follows from what the control plane agreed on alone (configuration, administrative
    /// states, ramps, rules) and never from what this node observes, so that all nodes with the
    /// same agreed state name the same home.
    ///
    /// # Errors
    /// When no region may hold the key: see [`RouteError`].
    pub fn home(
        &self,
        key: &Key<'_>,
        residency: &[ResidencyTag],
    ) -> Result<RegionIndex, RouteError> {
        self.home_from(key, Origin::default(), residency)
    }

    /// As [`RoutingSnapshot::home`], for a key whose clients are known to be somewhere, by
    /// configuration: rules of geography count too.
    ///
    /// # Errors
    /// When no region may hold the key: see [`RouteError`].
    pub fn home_from(
        &self,
        key: &Key<'_>,
        clients: Origin,
        residency: &[ResidencyTag],
    ) -> Result<RegionIndex, RouteError> {
        let mut allowed = self.data();
        if !residency.is_empty() {
            allowed = allowed.and(self.residents_of_any(residency)?);
        }
        let version = if planted::is(Planted::MoveHomes) { self.facts().version } else { 0 };
        let spot = hash::of_key(key.name()) ^ version.rotate_right(8);
        let active = allowed.without(self.sets.draining).or_if_empty(allowed);
        let ramped: RegionSet = active.iter().filter(|at| has_ramped(self, *at, spot)).collect();
        let candidates = ramped.or_if_empty(active);
        let by_rule = self.rules.find(key, clients).map(|(_, region)| region);
        if let Some(region) = by_rule.filter(|region| candidates.contains(*region)) {
            return Ok(region);
        }
        let draw = |at: &RegionIndex| {
            let entry = self.entry(*at);
            (hash::draw(spot, entry.seed, entry.weight).to_bits(), *at)
        };
        candidates.iter().min_by_key(draw).ok_or(RouteError::AllDisabled)
    }

    /// Some regions in the order of weighted rendezvous hashing of a key, whatever is observed of
    /// them: where copies lie must not change with every sign of ill health. The same order draws
    /// [`home`](Self::home).
    #[must_use]
    pub fn rendezvous(&self, key: &Key<'_>, among: RegionSet) -> Vec<RegionIndex> {
        let spot = hash::of_key(key.name());
        let mut order: Vec<_> = among.iter().collect();
        order.sort_by_key(|at| {
            let entry = self.entry(*at);
            (hash::draw(spot, entry.seed, entry.weight).to_bits(), *at)
        });
        order
    }

    pub(crate) const fn plain(&self, levels: Levels) -> &Pool {
        match levels {
            Levels::Flat => &self.plain_flat,
            Levels::ByPriority => &self.plain_by_priority,
        }
    }

    /// The whole answers to round robin for requests without demands, one per turn.
    ///
    /// None when something must be asked for each request: rules, or a ramp.
    pub(crate) fn rotations(&self) -> Vec<Order> {
        let pool = &self.plain_flat;
        if !self.rules.is_empty() || !self.sets.ramping.and(pool.candidates).is_empty() {
            return Vec::new();
        }
        let policy = Policy::new(Strategy::RoundRobin);
        let request = Request::default();
        let selection = Selection { snapshot: self, request: &request, policy: &policy, pool };
        let tiers = selection.tiers(0, RegionSet::EMPTY, &mut Reasons::new());
        let turn = |turn: u64| {
            let mut ranking = tiers.clone();
            rotate(&mut ranking, turn);
            ranking.sort_unstable();
            ranking.iter().map(|ranked| ranked.region).collect()
        };
        (0..top_of(&tiers).1).map(turn).collect()
    }

    /// Round robin in constant time, where nothing but the turn matters.
    fn rotation(&self, request: &Request<'_>, policy: &Policy) -> Option<Plan<'_>> {
        let only_turn = policy.strategy == Strategy::RoundRobin
            && policy.levels == Levels::Flat
            && policy.preferred.is_empty()
            && request.sticky.is_none();
        if !only_turn {
            return None;
        }
        let turns = u64::try_from(self.rotations.len()).ok()?;
        let at = usize::try_from(request.turn.checked_rem(turns)?).ok()?;
        Some(Plan {
            snapshot: self,
            sequence: Sequence::Shared(self.rotations.get(at)?),
            shared_reasons: &self.plain_flat.reasons,
            reasons: SmallVec::from_iter([Reason::Strategy(Strategy::RoundRobin)]),
            panic: self.plain_flat.panic,
            spot: hash::mix(request.turn),
            viewpoint: self.here(),
            sticky: None,
        })
    }
}

/// Whether a region has a key (back).
fn has_ramped(snapshot: &RoutingSnapshot, at: RegionIndex, spot: u64) -> bool {
    let entry = snapshot.entry(at);
    entry.ramp.get() >= 1.0
        || hash::unit(hash::mix(spot ^ entry.seed ^ RAMP_SALT)) < entry.ramp.get()
}

/// The best tier, and how many share it.
fn top_of(ranking: &Ranking) -> (u32, u64) {
    let top = ranking.iter().map(|ranked| ranked.tier).min().unwrap_or(0);
    (top, ranking.iter().filter(|ranked| ranked.tier == top).map(|_| 1).sum())
}

/// Scores the best tier so that each of its regions comes first in its turn.
fn rotate(ranking: &mut Ranking, turn: u64) {
    let (top, count) = top_of(ranking);
    let start = turn.checked_rem(count).unwrap_or(0);
    for (place, ranked) in (0..).zip(ranking.iter_mut().filter(|ranked| ranked.tier == top)) {
        ranked.score = (place + count - start) % count;
    }
}

/// Says when the hash would have chosen a region that is above its share of the load.
fn note_overflow(ranking: &Ranking, reasons: &mut Reasons) {
    let Some(first) = ranking.first() else { return };
    let passed = |ranked: &&Ranked| {
        ranked.tier == first.tier | TIER_OVER_BOUND
            && ranked.tier != first.tier
            && ranked.score < first.score
    };
    let regions: RegionSet = ranking.iter().filter(passed).map(|ranked| ranked.region).collect();
    if !regions.is_empty() {
        reasons.push(Reason::Overflow { regions });
    }
}

fn move_to_front(order: &mut Order, region: RegionIndex) {
    match order.iter().position(|at| *at == region) {
        Some(place) => {
            if let Some(front) = order.get_mut(..=place) {
                front.rotate_right(1);
            }
        }
        None => order.insert(0, region),
    }
}

/// A place below 256, for a field of a tier.
fn small(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX).min(u32::from(u8::MAX))
}

/// A uniform point of 64 bits as a whole number below `bound`.
fn scale(point: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(point) * u128::from(bound)) >> 64).unwrap_or(u64::MAX)
}

/// A number from 0 to 2 in steps of 2^-40.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0 to 2^41, and rounding is meant"
)]
fn steps(x: f64) -> u64 {
    (x.clamp(0.0, 2.0) * (1_u64 << 40) as f64).round() as u64
}
