//! The times of failover, once the profile and the single settings are put together.

use std::time::Duration;

use crate::settings::{Profile, Settings};

/// A lease is renewed this many times while it lasts.
pub(crate) const RENEWALS_PER_LEASE: u32 = 3;
/// The shortest election is this share of the longest: the spread keeps candidates apart.
const ELECTION_SPREAD: u32 = 2;
/// The leader is heard this many times in the shortest election.
const BEATS_PER_ELECTION: u32 = 4;

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
    /// From one renewal of a lease to the next.
    pub renewal: Duration,
    /// From one sign of the control plane's leader to the next.
    pub leader_beat: Duration,
    /// The shortest time after which a new leader is elected.
    pub election_min: Duration,
    /// The longest.
    pub election_max: Duration,
}

/// What a profile sets, in milliseconds.
struct Knobs {
    heartbeat: u64,
    check_timeout: u64,
    detection: u64,
    lease: u64,
    election: u64,
}

/// Three checks of 5 s fit into the detection. The lease outlasts an election and a renewal.
const STANDARD: Knobs = Knobs {
    heartbeat: 200,
    check_timeout: 5_000,
    detection: 15_000,
    lease: 10_000,
    election: 3_000,
};
/// Three checks of 300 ms fit into the detection: enough for one round trip round the globe.
const FAST: Knobs =
    Knobs { heartbeat: 100, check_timeout: 300, detection: 900, lease: 3_000, election: 1_600 };

impl Timing {
    /// The times that settings ask for; whether they fit each other is checked elsewhere.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let knobs = match settings.failover.profile {
            Profile::Fast => FAST,
            Profile::Standard => STANDARD,
        };
        let chosen = |own: Option<crate::Period>, profile: u64| {
            own.map_or(Duration::from_millis(profile), |period| period.0)
        };
        let failover = &settings.failover;
        let detection = chosen(failover.detection, knobs.detection);
        let lease = chosen(failover.lease, knobs.lease);
        let election_max = chosen(failover.election, knobs.election);
        let election_min = election_max / ELECTION_SPREAD;
        Self {
            heartbeat: Duration::from_millis(knobs.heartbeat),
            check_interval: detection / settings.health.failure_threshold.max(1),
            check_timeout: chosen(settings.health.timeout, knobs.check_timeout),
            detection,
            lease,
            renewal: lease / RENEWALS_PER_LEASE,
            leader_beat: election_min / BEATS_PER_ELECTION,
            election_min,
            election_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_profiles_fit_themselves() {
        for profile in [Profile::Fast, Profile::Standard] {
            let mut settings = Settings::default();
            settings.failover.profile = profile;
            let timing = Timing::of(&settings);
            assert!(timing.check_timeout <= timing.check_interval, "{profile:?}");
            assert!(timing.lease > timing.election_max + timing.renewal, "{profile:?}");
            assert!(timing.lease < settings.failover.timeout.0, "{profile:?}");
            assert!(timing.heartbeat * 3 < timing.detection, "{profile:?}");
        }
    }
}
