//! The times of failover, once the profile and the single settings are put together.

use std::time::Duration;

use crate::settings::{Profile, Settings};

/// A lease is renewed when this part of it has passed.
const RENEW_AFTER: u32 = 3;
/// How much a lease that was not set exceeds what it must.
const LEASE_MARGIN: Duration = Duration::from_millis(250);

/// The times of failover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// From one sign of life of a node to the next.
    pub heartbeat: Duration,
    /// From one check of a region to the next.
    pub check_interval: Duration,
    /// After how long a check without an answer has failed.
    pub check_timeout: Duration,
    /// How long a region must be silent before the others may call it down.
    pub detection: Duration,
    /// How long a region may act as owner after its last renewal.
    pub lease: Duration,
}

/// What a profile sets, in milliseconds.
struct Knobs {
    heartbeat: u64,
    check_timeout: u64,
    detection: u64,
    lease: u64,
}

/// Three checks of 5 s fit into the detection.
const STANDARD: Knobs =
    Knobs { heartbeat: 200, check_timeout: 5_000, detection: 15_000, lease: 10_000 };
/// Three checks of 300 ms fit into the detection, each long enough for a round trip half round the
/// globe.
const FAST: Knobs = Knobs { heartbeat: 100, check_timeout: 300, detection: 900, lease: 3_000 };

impl Timing {
    /// The times that settings ask for; whether they fit each other is checked elsewhere. A lease
    /// that was not set is that of the profile, or what the election needs.
    pub(crate) fn of(settings: &Settings, worst_election: Duration) -> Self {
        let failover = &settings.failover;
        let knobs = match failover.profile {
            Profile::Fast => FAST,
            Profile::Standard => STANDARD,
        };
        let chosen = |own: Option<crate::Period>, profile: u64| {
            own.map_or(Duration::from_millis(profile), |period| period.0)
        };
        let detection = chosen(failover.detection, knobs.detection);
        let lease = failover.lease.map_or_else(
            || Duration::from_millis(knobs.lease).max(lease_over(worst_election) + LEASE_MARGIN),
            |period| period.0,
        );
        Self {
            heartbeat: Duration::from_millis(knobs.heartbeat),
            check_interval: detection / settings.health.failure_threshold.max(1),
            check_timeout: chosen(settings.health.timeout, knobs.check_timeout),
            detection,
            lease,
        }
    }
}

/// What a lease must exceed: an election plus one renewal, which is a part of the lease itself
/// (rule 7).
pub(crate) fn lease_over(worst_election: Duration) -> Duration {
    let exact = worst_election * RENEW_AFTER / (RENEW_AFTER - 1);
    // In whole milliseconds, because that is what a file can say.
    Duration::from_millis(u64::try_from(exact.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX))
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
                let timing = Timing::of(&settings, election);
                assert!(timing.check_timeout <= timing.check_interval, "{profile:?}");
                assert!(timing.lease > election + timing.lease / RENEW_AFTER, "{profile:?}");
                assert!(timing.lease < settings.failover.timeout.0, "{profile:?}");
                assert!(timing.heartbeat * 3 <= timing.detection, "{profile:?}");
            }
        }
    }
}
