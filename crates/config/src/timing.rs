//! The timing knobs: the profile, the single settings on top of it, and what the distance of the
//! voters asks for.

use std::time::Duration;

use rhumb_regions::{health::HealthConfig, spillover::Limits};
use rhumb_types::Ratio;

use crate::settings::{Profile, Settings, SpilloverSettings};

/// How many worst elections a lease lasts that was not set. One and a half would do for the
/// election and the renewal, a third of the lease, on perfect clocks.
const LEASE_PER_ELECTION: (u32, u32) = (8, 5);
/// Leases that were not set are whole multiples of this.
const LEASE_STEP: Duration = Duration::from_millis(100);
/// Spillover ends at half the depth that begins it, and at these parts of the other signals.
const LEAVE_CONCURRENCY_PART: f64 = 0.65 / 0.8;
const LEAVE_ERROR_RATE_PART: f64 = 0.4;

/// How health is judged. Whether the times fit each other is checked elsewhere.
pub(crate) fn health(settings: &Settings, worst_election: Duration) -> HealthConfig {
    let (failover, checks) = (&settings.failover, &settings.health);
    let mut health = match failover.profile {
        Profile::Fast => HealthConfig::fast(),
        Profile::Standard => HealthConfig::standard(),
    };
    health.detection = failover.detection.map_or(health.detection, |period| period.0);
    health.check_timeout = checks.timeout.map_or(health.check_timeout, |period| period.0);
    health.failure_threshold = checks.failure_threshold;
    health.success_threshold = checks.success_threshold;
    health.check_window = health.check_window.max(checks.failure_threshold);
    health.degraded_errors = checks.degraded_error_rate.0;
    health.election_max = worst_election;
    let ample = health.lease.max(lease_for(worst_election));
    health.lease = failover.lease.map_or(ample, |period| period.0);
    health
}

/// A lease that outlasts an election and a renewal (rule 7).
fn lease_for(worst_election: Duration) -> Duration {
    let (times, over) = LEASE_PER_ELECTION;
    let steps = (worst_election * times / over).as_nanos().div_ceil(LEASE_STEP.as_nanos());
    LEASE_STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

/// When work leaves a region, and when it stops to.
pub(crate) fn spillover(begin: &SpilloverSettings) -> Limits {
    let part = |of: Ratio, part: f64| Ratio::clamped(of.get() * part);
    Limits {
        enter_depth: u64::from(begin.queue_depth),
        enter_concurrency: begin.concurrency.0,
        enter_error_rate: begin.error_rate.0,
        leave_depth: u64::from(begin.queue_depth) / 2,
        leave_concurrency: part(begin.concurrency.0, LEAVE_CONCURRENCY_PART),
        leave_error_rate: part(begin.error_rate.0, LEAVE_ERROR_RATE_PART),
        oldest_age_target: begin.oldest.0,
        enter_held: begin.hold.0,
        leave_held: begin.calm.0,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_profiles_fit_themselves_at_any_distance() {
        for profile in [Profile::Fast, Profile::Standard] {
            let mut settings = Settings::default();
            settings.failover.profile = profile;
            for election in [0, 1, 500, 2_999, 6_000, 12_000].map(Duration::from_millis) {
                let health = health(&settings, election);
                assert_eq!(health.validate(), Ok(()), "{profile:?} {election:?}");
                assert!(health.lease < settings.failover.timeout.0, "{profile:?} {election:?}");
            }
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_machine() {
        let limits = spillover(&SpilloverSettings::default());
        let close = |a: Ratio, b: Ratio| (a.get() - b.get()).abs() < 1e-9;
        let default = Limits::default();
        assert_eq!(limits.enter_depth, default.enter_depth);
        assert_eq!(limits.leave_depth, default.leave_depth);
        assert!(close(limits.leave_concurrency, default.leave_concurrency));
        assert!(close(limits.leave_error_rate, default.leave_error_rate));
        let standard = health(&Settings::default(), Duration::from_secs(4));
        assert_eq!(standard, HealthConfig::standard());
    }
}
