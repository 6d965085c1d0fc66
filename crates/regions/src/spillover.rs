//! When a region that is up but overloaded sends new work elsewhere, how much, and which.
//!
//! [`Spillover`] decides *when* and *how much*: it enters on any signal held for a while, leaves
//! when all of them were calm for longer, and doubles that time when it soon has to enter again.
//! Between the two thresholds nothing changes, so that noise at a threshold cannot make it swing.
//! [`credit`] decides *where to*: only to a region that advertised spare capacity. [`blame`] keeps
//! errors that follow the job and not the region from being taken for overload.
//!
//! Only new, unleased work spills; one hop; never past residency; never a FIFO group.

pub mod blame;
pub mod credit;
mod held;

use std::{collections::VecDeque, time::Duration};

use rhumb_types::{
    MonoTime, Ratio, RegionId,
    planted::{self, Planted},
};
use serde::{Deserialize, Serialize};

use self::{
    credit::{Credits, Workflow, Workflows},
    held::Held,
};
use crate::hash;

/// The fastest growth and shrinking of the spilled share, per second.
pub const SHARE_PER_SECOND: f64 = 0.10;
/// The longest time of calm that doubling asks for before spilling ends.
pub const CALM_MAX: Duration = Duration::from_secs(960);
/// How many entries are remembered for doubling.
const ENTRIES_REMEMBERED_MAX: usize = 16;
/// An entry within this many times the wait for calm after leaving is a re-entry, and doubles it.
pub const REENTRY_WINDOWS: u32 = 5;

/// The signals at which spilling begins and ends.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Begin above this many waiting jobs,
    pub enter_depth: u64,
    /// or above this share of the executors busy,
    pub enter_concurrency: Ratio,
    /// or above this share of failures,
    pub enter_error_rate: Ratio,
    /// of at least this many results,
    pub error_samples_min: u64,
    /// or when the oldest job has waited longer.
    pub oldest_age_target: Duration,
    /// Any of them for so long.
    pub enter_held: Duration,
    /// End below this many waiting jobs,
    pub leave_depth: u64,
    /// and below this share of the executors busy,
    pub leave_concurrency: Ratio,
    /// and below this share of failures.
    pub leave_error_rate: Ratio,
    /// All of them for so long, the first time.
    pub leave_held: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            enter_depth: 100,
            enter_concurrency: Ratio::clamped(0.80),
            enter_error_rate: Ratio::clamped(0.05),
            error_samples_min: 20,
            oldest_age_target: Duration::from_secs(60),
            enter_held: Duration::from_secs(10),
            leave_depth: 50,
            leave_concurrency: Ratio::clamped(0.65),
            leave_error_rate: Ratio::clamped(0.02),
            leave_held: Duration::from_secs(60),
        }
    }
}

/// Two limits that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("spillover would swing: the {0} at which it ends must be below the one at which it begins")]
pub struct LimitsError(pub &'static str);

impl Limits {
    /// Refuses limits without room between beginning and ending.
    ///
    /// # Errors
    /// The first signal without room.
    pub fn check(&self) -> Result<(), LimitsError> {
        let signals = [
            ("depth", self.leave_depth < self.enter_depth),
            ("concurrency", self.leave_concurrency < self.enter_concurrency),
            ("error rate", self.leave_error_rate < self.enter_error_rate),
        ];
        match signals.iter().find(|(_, room)| !room) {
            Some((name, _)) => Err(LimitsError(name)),
            None => Ok(()),
        }
    }
}

/// What a region's queue looks like at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// Jobs that wait.
    pub depth: u64,
    /// Executors that are busy.
    pub busy: u64,
    /// All executors.
    pub executors: u64,
    /// Results in the window of observation,
    pub results: u64,
    /// of which failed, without those of tripped tenants (see [`blame`]).
    pub errors: u64,
    /// How long the oldest job has waited; of several queues, the one that is furthest over its target,
    pub oldest_age: Duration,
    /// and how long it ought to wait at most. Without: as the region's limits say.
    pub oldest_age_target: Option<Duration>,
}

/// A signal that speaks for spilling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Too many jobs wait.
    Depth,
    /// Too many executors are busy.
    Concurrency,
    /// Too much fails.
    ErrorRate,
    /// The oldest job waits too long.
    OldestAge,
}

/// A change of state, for the log and the audit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// Spilling begins.
    Entered {
        /// The strongest signal.
        signal: Signal,
        /// How long calm will be asked for.
        calm: Duration,
    },
    /// Spilling ends.
    Left {
        /// How long it lasted.
        lasted: Duration,
    },
}

/// One piece of new, unleased work.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// What belongs together and stays together, such as a hash of the workflow's id.
    pub workflow: Workflow,
    /// Where it may go, best first: the plan of its key, which already obeys residency.
    pub allowed: &'a [RegionId],
    /// Whether its order matters.
    pub fifo: bool,
    /// How often it was spilled already.
    pub hops: u8,
}

/// Where work goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Placement {
    /// It stays, and why.
    Stay(Stay),
    /// It goes to another region.
    Spill(RegionId),
}

/// Why work stays.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stay {
    /// Nothing is overloaded.
    Calm,
    /// It is not in the share that spills.
    Share,
    /// Its order matters.
    Fifo,
    /// It was spilled once already.
    Hop,
    /// No allowed region has spare capacity.
    NoCredit,
}

/// How a region is: calm, or spilling.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Mode {
    /// All work stays.
    Calm,
    /// A share of the new work goes elsewhere.
    Spilling {
        /// Since when.
        since: MonoTime,
        /// How much of it.
        share: Ratio,
    },
}

/// The machine of one region.
#[derive(Clone, Debug)]
pub struct Spillover {
    here: RegionId,
    limits: Limits,
    mode: Mode,
    overloaded: Held,
    calm: Held,
    /// How long calm is asked for, with its doublings.
    calm_needed: Duration,
    left_at: Option<MonoTime>,
    observed_at: Option<MonoTime>,
    entries: VecDeque<MonoTime>,
    credits: Credits,
    workflows: Workflows,
}

impl Spillover {
    /// A region that is calm.
    ///
    /// # Errors
    /// When the limits contradict each other.
    pub fn new(here: RegionId, limits: Limits) -> Result<Self, LimitsError> {
        limits.check()?;
        Ok(Self {
            here,
            limits,
            mode: Mode::Calm,
            overloaded: Held::default(),
            calm: Held::default(),
            calm_needed: limits.leave_held,
            left_at: None,
            observed_at: None,
            entries: VecDeque::new(),
            credits: Credits::default(),
            workflows: Workflows::default(),
        })
    }

    /// Calm or spilling.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The last times at which spilling began, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = MonoTime> {
        self.entries.iter().copied()
    }

    /// The spare capacity of other regions.
    pub const fn credits(&mut self) -> &mut Credits {
        &mut self.credits
    }

    /// Takes notice of the queue. Call it about once a second.
    pub fn observe(&mut self, now: MonoTime, sample: &Sample) -> Option<Transition> {
        let elapsed = self.observed_at.map_or(Duration::ZERO, |at| now.saturating_since(at));
        self.observed_at = Some(now);
        let pressure = pressure(&self.limits, sample);
        self.overloaded.observe(now, pressure.overloaded.is_some());
        self.calm.observe(now, pressure.calm);
        match self.mode {
            Mode::Calm => {
                let signal = pressure.overloaded?;
                self.overloaded
                    .is_for(now, held(self.limits.enter_held))
                    .then(|| self.enter(now, signal))
            }
            Mode::Spilling { since, .. } if self.calm.is_for(now, held(self.calm_needed)) => {
                self.mode = Mode::Calm;
                self.left_at = Some(now);
                Some(Transition::Left { lasted: now.saturating_since(since) })
            }
            Mode::Spilling { since, share } => {
                let step = SHARE_PER_SECOND * elapsed.as_secs_f64();
                let moved = (pressure.severity - share.get()).clamp(-step, step);
                self.mode = Mode::Spilling { since, share: Ratio::clamped(share.get() + moved) };
                None
            }
        }
    }

    fn enter(&mut self, now: MonoTime, signal: Signal) -> Transition {
        let window = self.calm_needed.saturating_mul(REENTRY_WINDOWS);
        let again = self.left_at.is_some_and(|left| now.saturating_since(left) < window);
        self.calm_needed = if again {
            self.calm_needed.saturating_mul(2).min(CALM_MAX.max(self.limits.leave_held))
        } else {
            self.limits.leave_held
        };
        self.mode = Mode::Spilling { since: now, share: Ratio::ZERO };
        self.calm.observe(now, false);
        self.entries.push_back(now);
        if self.entries.len() > ENTRIES_REMEMBERED_MAX {
            self.entries.pop_front();
        }
        Transition::Entered { signal, calm: self.calm_needed }
    }

    /// Where a piece of new work goes.
    ///
    /// A workflow that has spilled follows its first job for as long as that region advertises
    /// anything, also after spilling has ended.
    pub fn place(&mut self, now: MonoTime, work: &Work<'_>) -> Placement {
        if work.fifo {
            return Placement::Stay(Stay::Fifo);
        }
        if work.hops > 0 {
            return Placement::Stay(Stay::Hop);
        }
        if let Some(region) = self.followed(now, work) {
            self.credits.spend(now, &region);
            return Placement::Spill(region);
        }
        let Mode::Spilling { since, share } = self.mode else {
            return Placement::Stay(Stay::Calm);
        };
        // Whole workflows are in the share or not; which ones changes with every entry, so that
        // the same are not always sent away.
        let point = hash::unit(hash::mix(work.workflow.0 ^ hash::mix(since.0)));
        if point >= share.get() {
            return Placement::Stay(Stay::Share);
        }
        let others = work.allowed.iter().filter(|region| **region != self.here);
        for region in others {
            if self.credits.take(now, region) {
                self.workflows.insert(work.workflow, region.clone());
                return Placement::Spill(region.clone());
            }
        }
        Placement::Stay(Stay::NoCredit)
    }

    fn followed(&self, now: MonoTime, work: &Work<'_>) -> Option<RegionId> {
        let region = self.workflows.get(work.workflow)?;
        let may = work.allowed.contains(region) && self.credits.is_advertised(now, region);
        may.then(|| region.clone())
    }
}

/// How long a signal must hold; not at all only where that fault is planted.
fn held(wanted: Duration) -> Duration {
    if planted::is(Planted::SwingAtOnce) { Duration::ZERO } else { wanted }
}

/// What a sample says.
struct Pressure {
    /// The strongest signal above its limit.
    overloaded: Option<Signal>,
    /// Whether all signals are below their lower limits.
    calm: bool,
    /// The share that ought to spill: 0 at the lower limit, 1/2 at the upper, 1 as far again.
    severity: f64,
}

fn pressure(limits: &Limits, sample: &Sample) -> Pressure {
    let enough = sample.results >= limits.error_samples_min;
    let error_rate = if enough { share(sample.errors, sample.results) } else { 0.0 };
    let target = sample.oldest_age_target.unwrap_or(limits.oldest_age_target).as_secs_f64();
    let span = |value: f64, leave: f64, enter: f64| (value, leave, enter);
    #[expect(clippy::cast_precision_loss, reason = "counts of jobs are far below 2^52")]
    let depth = span(sample.depth as f64, limits.leave_depth as f64, limits.enter_depth as f64);
    let concurrency = span(
        share(sample.busy, sample.executors),
        limits.leave_concurrency.get(),
        limits.enter_concurrency.get(),
    );
    let errors = span(error_rate, limits.leave_error_rate.get(), limits.enter_error_rate.get());
    let signals = [
        (Signal::Depth, depth),
        (Signal::Concurrency, concurrency),
        (Signal::ErrorRate, errors),
        (Signal::OldestAge, span(sample.oldest_age.as_secs_f64(), target / 2.0, target)),
    ];
    let severity =
        |(value, leave, enter): (f64, f64, f64)| (value - leave) / (2.0 * (enter - leave));
    let overloaded = signals
        .iter()
        .filter(|(_, (value, _, enter))| value > enter)
        .max_by(|a, b| severity(a.1).total_cmp(&severity(b.1)))
        .map(|(signal, _)| *signal);
    Pressure {
        overloaded,
        // An empty queue is calm, whatever the lower limit; and what speaks for beginning cannot
        // at the same time speak for ending.
        calm: overloaded.is_none()
            && [depth, concurrency, errors]
                .iter()
                .all(|(value, leave, _)| value < leave || *value == 0.0),
        severity: signals
            .iter()
            .map(|(_, span)| severity(*span))
            .fold(0.0, f64::max)
            .clamp(0.0, 1.0),
    }
}

/// A share of counts; nothing of nothing is 0, something of nothing is 1.
#[expect(clippy::cast_precision_loss, reason = "counts of jobs are far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    match (part, whole) {
        (0, _) => 0.0,
        (_, 0) => 1.0,
        _ => part as f64 / whole as f64,
    }
}

#[cfg(test)]
mod tests;
