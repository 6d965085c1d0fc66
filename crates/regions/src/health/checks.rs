//! Checks that are run on purpose, judged N of M.

use crate::registry::Capability;

use super::HealthConfig;

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// The node itself; without it the region is out.
    Node,
    /// The link to the peer; without it the region is out.
    PeerLink,
    /// A part that the operator named (http, tcp, command), or the store: without it the region
    /// lacks this capability.
    Part(Capability),
}

/// The recent results of one check.
///
/// It fails when `failure_threshold` of the last `check_window` results were failures, and passes
/// again after `success_threshold` successes in a row.
#[derive(Debug, Clone, Default)]
pub(super) struct CheckHistory {
    /// One bit per result, the latest lowest; 1 is a failure.
    failures: u64,
    successes_in_row: u32,
    failing: bool,
}

impl CheckHistory {
    pub(super) fn record(&mut self, passed: bool, config: &HealthConfig) {
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

    pub(super) const fn is_failing(&self) -> bool {
        self.failing
    }
}
