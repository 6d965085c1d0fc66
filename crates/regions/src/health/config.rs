//! The timing knobs, set together by a profile and checked against each other.

use std::time::Duration;

use rhumb_types::Ratio;

use super::phi;
use crate::lease::DriftBound;

/// Largest window of checks.
const CHECK_WINDOW_MAX: u32 = 64;

/// How health is judged, and the leases that rest on it.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    /// How long the cause must last before this node holds that a peer is down.
    pub detection: Duration,
    /// How often heartbeats are sent. The same in all profiles: ejection is always fast.
    pub heartbeat_every: Duration,
    /// The phi from which a silence puts a peer out.
    pub phi_max: f64,
    /// The least spread of heartbeats that is believed; absorbs the jitter of a wide-area link.
    pub deviation_min: Duration,
    /// How long a check may take.
    pub check_timeout: Duration,
    /// Failures among the last `check_window` results that make a check fail.
    pub failure_threshold: u32,
    /// Good signs in a row that make it pass again.
    pub success_threshold: u32,
    /// How many results are looked at, at most 64.
    pub check_window: u32,
    /// Errors in a row that put a peer out.
    pub errors_in_row_max: u32,
    /// The window in which the share of errors is counted.
    pub error_window: Duration,
    /// The share of errors above which a peer is degraded; it recovers below half of it.
    pub degraded_errors: Ratio,
    /// Requests in the window before the share means anything.
    pub degraded_samples_min: u64,
    /// How long a peer stays out at least, the first time.
    pub hold_down: Duration,
    /// The cap of the doubled hold-down, and how long a peer must be in for its flaps to be
    /// forgotten.
    pub hold_down_max: Duration,
    /// How long a region lease lasts.
    pub lease: Duration,
    /// The longest that an election of the control plane takes.
    pub election_max: Duration,
    /// How far clocks may drift.
    pub drift: DriftBound,
}

/// Two knobs that cannot both be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A threshold is zero or more than can ever be reached.
    #[error("{knob} is {value}: use 1 to {max}")]
    Threshold {
        /// Which knob.
        knob: &'static str,
        /// What it is.
        value: u32,
        /// The most it can be.
        max: u32,
    },
    /// A time that must not be zero is.
    #[error("{0} is zero: give it a length")]
    Zero(&'static str),
    /// The checks cannot be done within the detection time.
    #[error(
        "detection takes {detection:?}, but {failures} checks of {timeout:?} each take {needed:?}: \
         raise `detection`, or lower `timeout` or `failure_threshold`"
    )]
    DetectionBeforeChecks {
        /// The detection time.
        detection: Duration,
        /// Failures needed.
        failures: u32,
        /// Of this long each.
        timeout: Duration,
        /// Together.
        needed: Duration,
    },
    /// A region would be held to be down before it was even put out.
    #[error(
        "detection takes {detection:?}, but only a silence of {ejection:?} is noticed: raise \
         `detection` or lower the heartbeat interval"
    )]
    DetectionBeforeEjection {
        /// The detection time.
        detection: Duration,
        /// The silence that is noticed.
        ejection: Duration,
    },
    /// The hold-down starts above its cap.
    #[error("the hold-down starts at {hold_down:?}, above its cap of {max:?}")]
    HoldDownAboveCap {
        /// The start.
        hold_down: Duration,
        /// The cap.
        max: Duration,
    },
    /// A healthy region could lose its lease to an election (rule 7).
    #[error(
        "the lease of {lease:?} must exceed the worst election of {election:?} plus one renewal, \
         {needed:?} together: raise the lease"
    )]
    LeaseBeforeElection {
        /// The lease.
        lease: Duration,
        /// The worst election.
        election: Duration,
        /// What it must exceed.
        needed: Duration,
    },
    /// The clocks are not trusted enough for leases.
    #[error("a drift of {ppm} ppm leaves too little of a lease: use at most 100000 (10 %)")]
    Drift {
        /// The bound, in parts per million.
        ppm: u32,
    },
    /// Phi must be a positive number.
    #[error("the phi threshold is not a positive number")]
    Phi,
}

impl HealthConfig {
    /// Fifteen seconds to detect; a false alarm is worse than a slow one.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            detection: Duration::from_secs(15),
            check_timeout: Duration::from_secs(5),
            hold_down: Duration::from_secs(1),
            hold_down_max: Duration::from_secs(60),
            lease: Duration::from_secs(10),
            election_max: Duration::from_secs(4),
            ..Self::fast()
        }
    }

    /// Under a second to detect, for links with round trips up to about 250 ms.
    #[must_use]
    pub fn fast() -> Self {
        Self {
            detection: Duration::from_millis(900),
            heartbeat_every: Duration::from_millis(100),
            phi_max: 8.0,
            deviation_min: Duration::from_millis(80),
            check_timeout: Duration::from_millis(300),
            failure_threshold: 3,
            success_threshold: 2,
            check_window: 5,
            errors_in_row_max: 3,
            error_window: Duration::from_secs(10),
            degraded_errors: Ratio::clamped(0.25),
            degraded_samples_min: 20,
            hold_down: Duration::from_millis(500),
            hold_down_max: Duration::from_secs(30),
            lease: Duration::from_secs(3),
            election_max: Duration::from_millis(1_500),
            drift: DriftBound::default(),
        }
    }

    /// How often each check runs: so that its failures fit into the detection time.
    #[must_use]
    pub fn check_every(&self) -> Duration {
        self.detection / self.failure_threshold.max(1)
    }

    /// How often a lease is renewed.
    #[must_use]
    pub fn renew_every(&self) -> Duration {
        self.lease / crate::lease::RENEW_AFTER
    }

    /// The silence after which a peer with steady heartbeats is out.
    #[must_use]
    pub fn ejection(&self) -> Duration {
        let spread = self.deviation_min.as_secs_f64() * phi::deviations(self.phi_max);
        let spread = Duration::try_from_secs_f64(spread).unwrap_or(Duration::MAX);
        self.heartbeat_every.saturating_add(spread)
    }

    /// How late a tick may be before this node blames itself.
    #[must_use]
    pub fn tick_late_max(&self) -> Duration {
        self.heartbeat_every * 3
    }

    /// Whether the knobs agree with each other.
    ///
    /// # Errors
    /// Every contradiction.
    pub fn validate(&self) -> Result<(), Vec<Contradiction>> {
        let mut found = self.wrong_shapes();
        let needed = self.check_timeout.saturating_mul(self.failure_threshold);
        if self.detection < needed {
            found.push(Contradiction::DetectionBeforeChecks {
                detection: self.detection,
                failures: self.failure_threshold,
                timeout: self.check_timeout,
                needed,
            });
        }
        let ejection = self.ejection();
        if self.detection < ejection {
            let detection = self.detection;
            found.push(Contradiction::DetectionBeforeEjection { detection, ejection });
        }
        if self.hold_down > self.hold_down_max {
            let (hold_down, max) = (self.hold_down, self.hold_down_max);
            found.push(Contradiction::HoldDownAboveCap { hold_down, max });
        }
        let needed = self.drift.stretch(self.election_max.saturating_add(self.renew_every()));
        if self.lease <= needed {
            let (lease, election) = (self.lease, self.election_max);
            found.push(Contradiction::LeaseBeforeElection { lease, election, needed });
        }
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    fn wrong_shapes(&self) -> Vec<Contradiction> {
        let window = self.check_window;
        let thresholds = [
            ("failure_threshold", self.failure_threshold, window.min(CHECK_WINDOW_MAX)),
            ("success_threshold", self.success_threshold, CHECK_WINDOW_MAX),
            ("check_window", window, CHECK_WINDOW_MAX),
            ("errors_in_row_max", self.errors_in_row_max, u32::MAX),
        ];
        let times = [
            ("detection", self.detection),
            ("heartbeat_every", self.heartbeat_every),
            ("deviation_min", self.deviation_min),
            ("timeout", self.check_timeout),
            ("error_window", self.error_window),
            ("hold_down", self.hold_down),
            ("lease", self.lease),
        ];
        let mut found = Vec::new();
        for (knob, value, max) in thresholds {
            if value == 0 || value > max {
                found.push(Contradiction::Threshold { knob, value, max });
            }
        }
        let zero = times.iter().filter(|(_, time)| time.is_zero());
        found.extend(zero.map(|(knob, _)| Contradiction::Zero(knob)));
        if !(self.phi_max.is_finite() && self.phi_max > 0.0) {
            found.push(Contradiction::Phi);
        }
        if self.drift.0 > 100_000 {
            found.push(Contradiction::Drift { ppm: self.drift.0 });
        }
        found
    }
}
