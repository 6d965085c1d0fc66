//! The answer of selection: regions in the order in which to try them, and why.
//!
//! Reasons are data. They become text only when somebody asks.

use std::{fmt, time::Duration};

use rhumb_types::{Ratio, RegionId, control::AdminState};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    affinity::RuleKind,
    hash,
    policy::Strategy,
    set::{RegionIndex, RegionSet},
    snapshot::{MicroDollarsPerGb, RoutingSnapshot},
    status::Health,
};

/// Why a region is not used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The data may not lie there.
    Residency,
    /// It does not offer what is needed.
    Capability,
    /// It does not offer what is needed at the moment.
    CapabilityLost,
    /// The control plane disabled it.
    Disabled,
    /// It is being drained.
    Draining,
    /// It does not answer.
    Down,
    /// It is full.
    Saturated,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Residency => "the data may not lie there",
            Self::Capability => "it does not offer what is needed",
            Self::CapabilityLost => "it has lost what is needed",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Saturated => "saturated",
        })
    }
}

/// What became of a sticky token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickyOutcome {
    /// Its region comes first.
    Kept,
    /// Its region is down.
    RegionDown,
    /// Its region is gone, disabled, or not allowed for this request.
    RegionUnusable,
    /// Its region's duties were taken over since.
    EpochChanged,
    /// An override rule places the key elsewhere.
    Overridden,
}

/// One step of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// These regions are not used.
    Excluded {
        /// Which.
        regions: RegionSet,
        /// Why not.
        because: Exclusion,
    },
    /// These regions are used all the same, because otherwise none would be left.
    Relaxed {
        /// Which.
        regions: RegionSet,
        /// What would speak against it.
        because: Exclusion,
    },
    /// So much looks down that health is not believed.
    Panic {
        /// What looks down.
        down: RegionSet,
    },
    /// An operator's rule names a region.
    Rule {
        /// Which kind of rule.
        kind: RuleKind,
        /// Which region.
        region: RegionIndex,
        /// Whether the region comes first; it does not while it cannot be used.
        followed: bool,
    },
    /// These regions are being failed back to and do not have this key yet.
    Ramp {
        /// Which.
        regions: RegionSet,
    },
    /// This level of priority serves the key.
    Level {
        /// Its number.
        priority: u32,
    },
    /// The order within a level.
    Strategy(Strategy),
    /// The policy prefers these regions.
    Preferred {
        /// Which.
        regions: RegionSet,
    },
    /// The hash chose one of these, but they are above 1.25 times their share of the load.
    Overflow {
        /// Which.
        regions: RegionSet,
    },
    /// A sticky token named a region.
    Sticky {
        /// What became of it.
        outcome: StickyOutcome,
        /// Which region, if it is there.
        region: Option<RegionIndex>,
    },
}

pub(crate) type Reasons = SmallVec<[Reason; 6]>;
pub(crate) type Order = SmallVec<[RegionIndex; 24]>;

/// An order that is the plan's own, or one of the snapshot's.
#[derive(Clone, Debug)]
pub(crate) enum Sequence<'s> {
    Own(Order),
    Shared(&'s [RegionIndex]),
}

/// Regions in the order in which to try them, and why. Never empty.
#[derive(Clone, Debug)]
pub struct Plan<'s> {
    pub(crate) snapshot: &'s RoutingSnapshot,
    pub(crate) sequence: Sequence<'s>,
    pub(crate) shared_reasons: &'s [Reason],
    pub(crate) reasons: Reasons,
    pub(crate) panic: bool,
    /// The hash by which regions drew.
    pub(crate) spot: u64,
    /// From where distances were seen.
    pub(crate) viewpoint: RegionIndex,
    pub(crate) sticky: Option<StickyOutcome>,
}

impl<'s> Plan<'s> {
    /// The positions of the regions, first to try first.
    #[must_use]
    pub fn order(&self) -> &[RegionIndex] {
        match &self.sequence {
            Sequence::Own(order) => order,
            Sequence::Shared(order) => order,
        }
    }

    /// The regions, first to try first.
    pub fn regions(&self) -> impl Iterator<Item = &'s RegionId> + use<'_, 's> {
        let snapshot = self.snapshot;
        self.order().iter().map(move |at| snapshot.id(*at))
    }

    /// The region to try first.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a plan is never empty")]
    pub fn first(&self) -> &'s RegionId {
        self.snapshot.id(self.order()[0])
    }

    /// The steps of the decision, in their order.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> + use<'_> {
        self.shared_reasons.iter().chain(&self.reasons).copied()
    }

    /// Whether so much looked down that health was not believed. Say so loudly.
    #[must_use]
    pub const fn is_panic(&self) -> bool {
        self.panic
    }

    /// What became of the sticky token; `None` when the request had none.
    #[must_use]
    pub const fn sticky(&self) -> Option<StickyOutcome> {
        self.sticky
    }

    /// Whether the client needs a new sticky token.
    #[must_use]
    pub fn needs_token(&self) -> bool {
        self.sticky != Some(StickyOutcome::Kept)
    }

    /// The decision in words, a line per step.
    #[must_use]
    pub const fn explain(&self) -> Explanation<'_, 's> {
        Explanation(self)
    }

    /// What was known of each region, in the order of the plan and then the regions left out.
    #[must_use]
    pub fn scores(&self) -> Vec<Score> {
        let order = self.order();
        let rest = self.snapshot.regions().map(|(at, _)| at).filter(|at| !order.contains(at));
        order.iter().copied().chain(rest).map(|at| self.score(at)).collect()
    }

    fn score(&self, at: RegionIndex) -> Score {
        let (facts, entry) = (self.snapshot.region(at), self.snapshot.entry(at));
        let draw = hash::draw(self.spot, entry.seed, entry.weight);
        Score {
            region: facts.region.id.clone(),
            admin: facts.admin,
            health: facts.health,
            utilisation: facts.utilisation,
            load: facts.load,
            priority: facts.region.priority,
            weight: facts.region.weight,
            rtt: self.snapshot.rtt(self.viewpoint, at),
            cost: facts.cost,
            draw: draw.is_finite().then_some(draw),
        }
    }

    /// The plan as plain data, for an API.
    #[must_use]
    pub fn to_record(&self) -> PlanRecord {
        PlanRecord {
            version: self.snapshot.version(),
            regions: self.regions().cloned().collect(),
            panic: self.panic,
            reasons: self.reasons().map(|reason| self.say(reason)).collect(),
            scores: self.scores(),
        }
    }

    fn names(&self, regions: RegionSet) -> String {
        let names: Vec<_> = regions.iter().map(|at| self.snapshot.id(at).as_str()).collect();
        names.join(", ")
    }

    fn say(&self, reason: Reason) -> String {
        match reason {
            Reason::Excluded { regions, because } => {
                format!("not {}: {because}", self.names(regions))
            }
            Reason::Relaxed { regions, because } => {
                format!(
                    "{} all the same, though {because}: nothing else is left",
                    self.names(regions)
                )
            }
            Reason::Panic { down } => format!(
                "PANIC: less than half is healthy, so health is ignored; {} look down",
                self.names(down)
            ),
            Reason::Rule { kind, region, followed: true } => {
                format!("the {kind} rule names {}", self.snapshot.id(region))
            }
            Reason::Rule { kind, region, followed: false } => {
                format!("the {kind} rule names {}, which cannot be used", self.snapshot.id(region))
            }
            Reason::Ramp { regions } => {
                format!("{} not yet: the fail-back has not reached this key", self.names(regions))
            }
            Reason::Level { priority } => format!("priority level {priority} serves the key"),
            Reason::Strategy(strategy) => format!("ordered by {strategy}"),
            Reason::Preferred { regions } => format!("{} preferred", self.names(regions)),
            Reason::Overflow { regions } => {
                format!("past {}: above 1.25 times its share of the load", self.names(regions))
            }
            Reason::Sticky { outcome, region } => self.say_sticky(outcome, region),
        }
    }

    fn say_sticky(&self, outcome: StickyOutcome, region: Option<RegionIndex>) -> String {
        let name = region.map_or("a region that is gone", |at| self.snapshot.id(at).as_str());
        match outcome {
            StickyOutcome::Kept => format!("the session is in {name}"),
            StickyOutcome::RegionDown => format!("the session leaves {name}, which is down"),
            StickyOutcome::RegionUnusable => {
                format!("the session leaves {name}, which may not serve it")
            }
            StickyOutcome::EpochChanged => {
                format!("the session's token is older than the last take-over of {name}")
            }
            StickyOutcome::Overridden => format!("an override rule moves the session from {name}"),
        }
    }
}

/// A decision in words.
#[derive(Clone, Copy, Debug)]
pub struct Explanation<'p, 's>(&'p Plan<'s>);

impl fmt::Display for Explanation<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(plan) = self;
        for (nth, region) in plan.regions().enumerate() {
            write!(f, "{}{region}", if nth == 0 { "" } else { ", then " })?;
        }
        for reason in plan.reasons() {
            write!(f, "\n  {}", plan.say(reason))?;
        }
        Ok(())
    }
}

/// What was known of a region when a plan was made.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Score {
    /// Which region.
    pub region: RegionId,
    /// What the control plane decided.
    pub admin: AdminState,
    /// What was observed.
    pub health: Health,
    /// How full it was.
    pub utilisation: Ratio,
    /// Units of work in flight.
    pub load: u32,
    /// Its priority level.
    pub priority: u32,
    /// Its weight.
    pub weight: u32,
    /// The round trip from where the plan was made.
    pub rtt: Duration,
    /// The price of a transfer out of it.
    pub cost: Option<MicroDollarsPerGb>,
    /// Its draw in the rendezvous hash of this key; the smallest wins. `None` at weight 0.
    pub draw: Option<f64>,
}

/// A plan as plain data.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PlanRecord {
    /// The version of the snapshot.
    pub version: u64,
    /// The regions, first to try first.
    pub regions: Vec<RegionId>,
    /// Whether health was not believed.
    pub panic: bool,
    /// The steps of the decision, in words.
    pub reasons: Vec<String>,
    /// What was known of each region.
    pub scores: Vec<Score>,
}
