//! The knobs of the run-book.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::{
    Ratio,
    control::{FailoverMode, FailoverStep, FailoverStrategy},
};

use crate::health::HealthConfig;

/// Most retries of a step; bounds a record's lines.
const RETRIES_MAX: u8 = 5;
/// Most stages of the ramp.
const RAMP_STAGES_MAX: usize = 16;

/// A command that an operator wants run as part of a step; it is named here and executed
/// elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook(pub String);

/// How failovers run.
#[derive(Debug, Clone, PartialEq)]
pub struct FailoverConfig {
    /// Who decides that one runs.
    pub mode: FailoverMode,
    /// Whether the region is waited for.
    pub strategy: FailoverStrategy,
    /// How long one try of a step may take.
    pub timeout: Duration,
    /// How often a step is tried again.
    pub retries: u8,
    /// How long a duty may take to drain.
    pub drain_timeout: Duration,
    /// How long a lease may take to run out.
    pub fence_timeout: Duration,
    /// How long the survivors are watched.
    pub watch_for: Duration,
    /// How full a survivor may be, before and after.
    pub ceiling: Ratio,
    /// The lag below which a returned region has caught up.
    pub lag_max: Duration,
    /// How long a returned region may take to catch up.
    pub catch_up_timeout: Duration,
    /// The stages of the fail-back, in percent.
    pub ramp: Vec<u8>,
    /// How long each stage lasts at least.
    pub ramp_hold: Duration,
    /// How long a region that was moved without being asked for must be well before it gets its
    /// duties back in the same way; only an operator fails back when `None`.
    pub failback_after: Option<Duration>,
    /// Commands that belong to a step.
    pub hooks: BTreeMap<FailoverStep, Hook>,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        Self {
            mode: FailoverMode::Assisted,
            strategy: FailoverStrategy::Graceful,
            timeout: Duration::from_secs(30),
            retries: 2,
            drain_timeout: Duration::from_secs(60),
            fence_timeout: Duration::from_secs(30),
            watch_for: Duration::from_secs(60),
            ceiling: Ratio::clamped(0.95),
            lag_max: Duration::from_millis(500),
            catch_up_timeout: Duration::from_secs(3_600),
            ramp: vec![1, 10, 50, 100],
            ramp_hold: Duration::from_secs(30),
            failback_after: None,
            hooks: BTreeMap::new(),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FailoverConfigError {
    /// A time-out is zero.
    #[error("{0} is zero: give it a length")]
    Zero(&'static str),
    /// More retries than a record has room for.
    #[error("{0} retries are too many: use at most {RETRIES_MAX}")]
    Retries(u8),
    /// The ramp does not rise to all of it.
    #[error("the ramp must rise from stage to stage and end at 100, in at most {RAMP_STAGES_MAX}")]
    Ramp,
    /// A lease cannot run out in the time that is given for it.
    #[error(
        "a fence takes {lease:?}, and only {timeout:?} are given: raise the fence's time-out or \
         lower the lease"
    )]
    FenceBeforeLease {
        /// What it takes.
        lease: Duration,
        /// What is given.
        timeout: Duration,
    },
    /// No room is left on any survivor.
    #[error("the ceiling of the survivors is zero: use 1% to 100%")]
    Ceiling,
}

impl FailoverConfig {
    /// Whether the knobs agree with each other and with the leases.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn validate(&self, health: &HealthConfig) -> Result<(), Vec<FailoverConfigError>> {
        let times = [
            ("timeout", self.timeout),
            ("drain_timeout", self.drain_timeout),
            ("watch_for", self.watch_for),
            ("catch_up_timeout", self.catch_up_timeout),
        ];
        let zero = times.iter().filter(|(_, time)| time.is_zero());
        let mut found: Vec<_> = zero.map(|(knob, _)| FailoverConfigError::Zero(knob)).collect();
        if self.retries > RETRIES_MAX {
            found.push(FailoverConfigError::Retries(self.retries));
        }
        let rises = self.ramp.is_sorted_by(|a, b| a < b) && self.ramp.last() == Some(&100);
        if !rises || self.ramp.len() > RAMP_STAGES_MAX {
            found.push(FailoverConfigError::Ramp);
        }
        let lease = health.drift.stretch(health.lease);
        if self.fence_timeout <= lease {
            let timeout = self.fence_timeout;
            found.push(FailoverConfigError::FenceBeforeLease { lease, timeout });
        }
        if self.ceiling.get() <= 0.0 {
            found.push(FailoverConfigError::Ceiling);
        }
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}
