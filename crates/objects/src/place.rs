//! Which regions hold an object's bytes: where an upload goes, where copies ought to be, and from
//! where they are read.
//!
//! Two questions that must not be mixed up. *Where does this upload go* depends on what is seen
//! now, and is answered by the one selection function ([`rhumb_regions::select`]), with its reasons.
//! *Where ought copies to be* must not: if it followed every sign of ill health, copies would wander.
//! It follows from what is agreed alone: the bucket, the configuration, the administrative states, and
//! who holds what; what moves nobody needs to move is left where it is.
//!
//! Residency binds both: no step of either reaches a region that lacks one of the bucket's tags.

use std::fmt;

use rhumb_regions::{
    Client, Health, Key, Plan, Policy, RegionIndex, RegionSet, Request, ResidencyTag, RouteError,
    RoutingSnapshot, Strategy,
    homes::{HomeError, home_of},
    registry::TagError,
    select,
};
use rhumb_types::{
    RegionId,
    control::{AdminState, Homes},
    planted::{self, Planted},
    record::{BucketDefinition, BucketName, Replication},
};

#[cfg(test)]
mod tests;

/// Why bytes can be placed nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A tag of the bucket is none.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// Selection found no region.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Each tag is carried by some region, and all of them by none that serves.
    #[error("no region that serves carries all of the residency tags {0:?}: tag or enable one")]
    Nowhere(Vec<String>),
}

/// The bytes by which an object is placed.
#[must_use]
pub fn name(bucket: &BucketName, key: &[u8]) -> Vec<u8> {
    [bucket.as_str().as_bytes(), b"/", key].concat()
}

/// The home of a key of a linearizable bucket, which decides between its changes (rule 10).
///
/// # Errors
/// When nobody may decide for the key now.
pub fn home<'h>(
    homes: &'h Homes,
    bucket: &BucketName,
    key: &[u8],
) -> Result<&'h RegionId, HomeError> {
    home_of(homes, &name(bucket, key))
}

/// A bucket's residency, parsed and with the regions that it leaves. Make one per snapshot and bucket.
#[derive(Debug, Clone)]
pub struct Bounds {
    tags: Vec<ResidencyTag>,
    allowed: RegionSet,
}

impl Bounds {
    /// The regions that hold data, are not disabled, and carry all of the bucket's tags.
    ///
    /// # Errors
    /// When a tag is none, or no region is left: then nothing of the bucket may be stored.
    pub fn of(
        snapshot: &RoutingSnapshot,
        definition: &BucketDefinition,
    ) -> Result<Self, PlaceError> {
        let tags: Result<Vec<_>, _> =
            definition.residency.iter().map(|tag| ResidencyTag::new(tag)).collect();
        let tags = tags?;
        let carries = |at: &RegionIndex| {
            let region = &snapshot.region(*at).region;
            let carried = tags.iter().all(|tag| region.residency.contains(tag));
            carried || planted::is(Planted::PlaceAnywhere)
        };
        let allowed: RegionSet = snapshot.data().iter().filter(carries).collect();
        match (allowed.is_empty(), tags.is_empty()) {
            (false, _) => Ok(Self { tags, allowed }),
            (true, true) => Err(RouteError::AllDisabled.into()),
            (true, false) => Err(PlaceError::Nowhere(definition.residency.clone())),
        }
    }

    /// The same, with a region that is disabled only until its duties are given back to it: what it
    /// will hold then, it may fetch already. Nothing changes where it lacks a tag of the bucket.
    #[must_use]
    pub fn with_returning(mut self, snapshot: &RoutingSnapshot, region: RegionIndex) -> Self {
        let facts = snapshot.region(region);
        if !facts.region.witness && self.tags.iter().all(|tag| facts.region.residency.contains(tag))
        {
            self.allowed.insert(region);
        }
        self
    }

    /// The regions in which the bucket's bytes may lie.
    #[must_use]
    pub const fn allowed(&self) -> RegionSet {
        self.allowed
    }
}

/// Whether a region may hold a bucket's bytes. Every way on which bytes come to a region asks: uploads,
/// copies of objects, and what is read so often that it stays.
#[must_use]
pub fn may_lie(
    snapshot: &RoutingSnapshot,
    definition: &BucketDefinition,
    region: &RegionId,
) -> bool {
    let bounds = Bounds::of(snapshot, definition);
    let allowed = |at| bounds.is_ok_and(|bounds| bounds.allowed.contains(at));
    snapshot.index(region).is_some_and(allowed)
}

/// One upload to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The object, by its [`name`].
    pub key: Key<'a>,
    /// Who sends it.
    pub client: Client<'a>,
    /// A counter of the caller's: the turn of strategies that take turns.
    pub turn: u64,
    /// The region that has taken the bytes in; the first copy stays there if it may.
    pub taken_in: Option<&'a RegionId>,
}

/// Under which name a bucket's strategy stands among its later settings.
const STRATEGY: &str = "strategy";
/// The strategy of a bucket that names none: copies that an upload waits for are made where they are made
/// soonest.
pub const STRATEGY_USUAL: Strategy = Strategy::Latency;

/// How a bucket orders the regions that it does not name. A strategy that this node does not know, because
/// a newer one wrote it, is the usual one.
#[must_use]
pub fn strategy(definition: &BucketDefinition) -> Strategy {
    let named = definition.later.get(STRATEGY);
    let known = named.and_then(|name| Strategy::ALL.into_iter().find(|it| it.as_str() == name));
    known.unwrap_or(STRATEGY_USUAL)
}

/// Says how a bucket orders the regions that it does not name.
pub fn set_strategy(definition: &mut BucketDefinition, strategy: Strategy) {
    if strategy == STRATEGY_USUAL {
        definition.later.remove(STRATEGY);
    } else {
        definition.later.insert(STRATEGY.to_owned(), strategy.as_str().to_owned());
    }
}

/// Fewer regions than the bucket asks for copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortfall {
    /// Copies that the bucket asks for.
    pub asked: u8,
    /// Regions that may hold one at all.
    pub possible: u8,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} copies are asked for and {} regions may hold one: add regions or lower `copies`",
            self.asked, self.possible
        )
    }
}

/// Where an upload goes.
#[derive(Debug, Clone)]
pub struct UploadPlan<'s> {
    snapshot: &'s RoutingSnapshot,
    selected: Plan<'s>,
    order: Vec<RegionIndex>,
    targets: usize,
    unwell: RegionSet,
    taken_in: Option<RegionIndex>,
    /// In how many regions the bytes must be before the upload is answered.
    pub copies_needed: u8,
    /// That the bucket asks for more copies than regions may hold.
    pub shortfall: Option<Shortfall>,
}

impl<'s> UploadPlan<'s> {
    /// Plans an upload: to as many regions as its answer counts on, with all others that may hold the
    /// bytes as spares. Regions that look unwell are the last spares. Copies that the answer does not
    /// wait for are made later, by [`want`](crate::want).
    ///
    /// # Errors
    /// [`PlaceError`] when no region may hold the bytes.
    pub fn new(
        snapshot: &'s RoutingSnapshot,
        definition: &BucketDefinition,
        bounds: &Bounds,
        upload: &Upload<'_>,
    ) -> Result<Self, PlaceError> {
        let mut policy = Policy::new(strategy(definition));
        policy.preferred.clone_from(&definition.regions);
        // Selection takes regions of any of the tags; what lacks one of them falls away below.
        let request = Request {
            key: upload.key,
            client: upload.client,
            turn: upload.turn,
            residency: &bounds.tags,
            needs: &[],
            sticky: None,
        };
        let taken_in = upload.taken_in.and_then(|region| snapshot.index(region));
        let mut selected = select(snapshot, &request, &policy)?;
        if policy.strategy == Strategy::RoundRobin
            && let Some(turn) = other_turn(upload.turn, taken_in, selected.order())
        {
            selected = select(snapshot, &Request { turn, ..request }, &policy)?;
        }
        let mut order: Vec<_> =
            selected.order().iter().copied().filter(|at| bounds.allowed.contains(*at)).collect();
        let chosen: RegionSet = order.iter().copied().collect();
        let unwell = bounds.allowed.without(chosen);
        order.extend(snapshot.rendezvous(&upload.key, unwell));
        let taken_in = taken_in.filter(|at| bounds.allowed.contains(*at));
        if let Some(place) = taken_in.and_then(|here| order.iter().position(|at| *at == here))
            && let Some(front) = order.get_mut(..=place)
        {
            front.rotate_right(1);
        }
        let waits_for_all =
            definition.min_copies.is_some() || definition.replication == Replication::ActiveActive;
        let targets = if waits_for_all { definition.copies } else { 1 };
        Ok(Self {
            snapshot,
            selected,
            targets: usize::from(targets).min(order.len()),
            order,
            unwell,
            taken_in,
            copies_needed: definition.copies_needed(),
            shortfall: shortfall(definition, bounds),
        })
    }

    /// The regions that get a copy before the upload is answered, first the one to try first.
    pub fn targets(&self) -> impl Iterator<Item = &'s RegionId> + use<'_, 's> {
        let snapshot = self.snapshot;
        self.order.iter().take(self.targets).map(move |at| snapshot.id(*at))
    }

    /// The regions that stand in for one that fails, in their order.
    pub fn spares(&self) -> impl Iterator<Item = &'s RegionId> + use<'_, 's> {
        let snapshot = self.snapshot;
        self.order.iter().skip(self.targets).map(move |at| snapshot.id(*at))
    }

    /// Whether fewer regions may hold a copy than the answer needs: the upload must be refused.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.targets < usize::from(self.copies_needed)
    }

    /// Whether so much looked down that health was not believed.
    #[must_use]
    pub const fn is_panic(&self) -> bool {
        self.selected.is_panic()
    }

    /// The decision in words, a line per step.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut lines = self.selected.to_record().reasons;
        let name = |at: RegionIndex| self.snapshot.id(at).as_str();
        if let Some(here) = self.taken_in {
            lines.push(format!("{} took it in", name(here)));
        }
        if !self.unwell.is_empty() {
            let names: Vec<_> = self.unwell.iter().map(name).collect();
            lines.push(format!("{} only if nothing else is left", names.join(", ")));
        }
        lines.extend(self.shortfall.map(|shortfall| shortfall.to_string()));
        lines
    }
}

/// The turn to take where it is that of the region that has the bytes already: those of the others in turn.
/// Otherwise the one after it would have two turns in every round.
fn other_turn(turn: u64, taken_in: Option<RegionIndex>, order: &[RegionIndex]) -> Option<u64> {
    let count = u64::try_from(order.len()).ok()?;
    if taken_in.is_none() || order.first().copied() != taken_in {
        return None;
    }
    let round = turn.checked_div(count)?;
    Some(turn.wrapping_add(1 + round.checked_rem(count.checked_sub(1)?)?))
}

fn shortfall(definition: &BucketDefinition, bounds: &Bounds) -> Option<Shortfall> {
    let possible = u8::try_from(bounds.allowed.len()).unwrap_or(u8::MAX);
    (possible < definition.copies).then_some(Shortfall { asked: definition.copies, possible })
}

/// Where copies of an object ought to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ought {
    /// The regions.
    pub regions: RegionSet,
    /// How many copies there must always be: what the bucket asks for, or as many as regions allow.
    pub copies: u8,
    /// That the bucket asks for more than that.
    pub shortfall: Option<Shortfall>,
}

/// Where copies of an object ought to be, whatever is observed at the moment: every node with the same
/// agreed state and the same holders says the same.
///
/// `async` and `active_active`: every region that may. `regional`: the one that took it in, those that
/// the bucket prefers, those that hold it already, then by the draw of its key; draining ones last.
/// `holders` are those that hold a copy for good, and not a cached one.
#[must_use]
pub fn ought(
    snapshot: &RoutingSnapshot,
    definition: &BucketDefinition,
    bounds: &Bounds,
    key: &Key<'_>,
    taken_in: &RegionId,
    holders: RegionSet,
) -> Ought {
    if definition.cache_bytes_max.is_some() {
        // A cache holds what is put into it and what is read often; nobody brings it more.
        return Ought { regions: holders.and(bounds.allowed), copies: 1, shortfall: None };
    }
    let possible = u8::try_from(bounds.allowed.len()).unwrap_or(u8::MAX);
    let copies = definition.copies.min(possible);
    let shortfall = shortfall(definition, bounds);
    if definition.replication != Replication::Regional {
        return Ought { regions: bounds.allowed, copies, shortfall };
    }
    let taken_in = snapshot.index(taken_in);
    let preferred: Vec<_> =
        definition.regions.iter().filter_map(|region| snapshot.index(region)).collect();
    let rank = |at: &RegionIndex| {
        let draining = snapshot.region(*at).admin == AdminState::Draining;
        let preference = preferred.iter().position(|wanted| wanted == at);
        (
            draining,
            taken_in != Some(*at),
            preference.unwrap_or(preferred.len()),
            !holders.contains(*at),
        )
    };
    let mut order = snapshot.rendezvous(key, bounds.allowed);
    order.sort_by_key(rank);
    Ought { regions: order.into_iter().take(usize::from(copies)).collect(), copies, shortfall }
}

/// Holders in the order in which to read from them: those that look well before those that do not, the
/// nearest first. None is left out, because bytes may lie nowhere else.
#[must_use]
pub fn nearest(
    snapshot: &RoutingSnapshot,
    from: RegionIndex,
    holders: RegionSet,
) -> Vec<RegionIndex> {
    let mut order: Vec<_> = holders.iter().collect();
    order.sort_by_key(|at| {
        let facts = snapshot.region(*at);
        let health = match facts.health {
            Health::Healthy => 0_u8,
            Health::Degraded => 1,
            Health::Down => 2,
        };
        (facts.admin == AdminState::Disabled, health, snapshot.rtt(from, *at), *at)
    });
    order
}
