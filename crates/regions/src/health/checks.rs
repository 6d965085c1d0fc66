//! Checks that are run on purpose, judged N of M.

use std::collections::{BTreeMap, BTreeSet};

use crate::registry::Capability;

use super::{CHECKS_MAX, HealthConfig};

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// A part that the operator called vital; without it the region is out.
    Vital(Capability),
    /// The link to the peer; without it the region is out.
    PeerLink,
    /// A part that the operator named (http, tcp, command), or the store: without it the region
    /// lacks this capability.
    Part(Capability),
}

impl Check {
    /// Whether the region is out without it.
    #[must_use]
    pub const fn is_vital(&self) -> bool {
        matches!(self, Self::Vital(_) | Self::PeerLink)
    }
}

/// The recent results of one check.
///
/// It fails when `failure_threshold` of the last `check_window` results were failures, and passes
/// again after `success_threshold` successes in a row.
#[derive(Debug, Clone, Default)]
struct CheckHistory {
    /// One bit per result, the latest lowest; 1 is a failure.
    failures: u64,
    successes_in_row: u32,
    failing: bool,
}

impl CheckHistory {
    fn record(&mut self, passed: bool, config: &HealthConfig) {
        let window = u64::MAX >> (64 - config.check_window.clamp(1, 64));
        self.failures = (self.failures << 1 | u64::from(!passed)) & window;
        self.successes_in_row = if passed { self.successes_in_row.saturating_add(1) } else { 0 };
        if self.failures.count_ones() >= config.failure_threshold {
            self.failing = true;
        }
        if self.failing && self.successes_in_row >= config.success_threshold {
            // The failures before are atoned for; else the next one would tip it over at once.
            *self = Self::default();
        }
    }
}

/// A set of checks and what they come to: those of a peer, or those that a node runs of its own
/// region.
#[derive(Debug, Clone, Default)]
pub struct Checks(BTreeMap<Check, CheckHistory>);

impl Checks {
    /// Takes in a result. Beyond [`CHECKS_MAX`] checks nothing is learned of new ones.
    pub fn record(&mut self, check: Check, passed: bool, config: &HealthConfig) {
        if self.0.len() < CHECKS_MAX || self.0.contains_key(&check) {
            self.0.entry(check).or_default().record(passed, config);
        }
    }

    /// Whether something vital fails, so that the region is out.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.failing().any(Check::is_vital)
    }

    /// What the region cannot do.
    pub fn lost(&self) -> BTreeSet<Capability> {
        let lost = self.failing().filter_map(|check| match check {
            Check::Part(capability) | Check::Vital(capability) => Some(capability.clone()),
            Check::PeerLink => None,
        });
        lost.collect()
    }

    fn failing(&self) -> impl Iterator<Item = &Check> {
        self.0.iter().filter(|(_, history)| history.failing).map(|(check, _)| check)
    }
}
