//! Times and thresholds that must fit each other.

use rhumb_types::{
    RegionId,
    control::limits::{LEASE_MAX, LEASE_MIN},
};

use super::Review;
use crate::{Period, path::Path, timing::lease_over, voters::round_trip_max};

/// Refuses times that contradict each other.
pub(super) fn check(review: &mut Review<'_>) {
    thresholds(review);
    times(review);
}

fn thresholds(review: &mut Review<'_>) {
    let settings = review.settings();
    let health = Path::to("health");
    for (key, threshold) in [
        ("failure_threshold", settings.health.failure_threshold),
        ("success_threshold", settings.health.success_threshold),
    ] {
        if threshold == 0 {
            review.refuse(&health.key(key), "0 checks decide nothing; use 1 or more");
        }
    }
    let spillover = Path::to("spillover");
    if settings.spillover.queue_depth < 2 {
        review.refuse(
            &spillover.key("queue_depth"),
            "a region that spills at a depth below 2 never works; use 2 or more",
        );
    }
    for (key, share) in [
        ("concurrency", settings.spillover.concurrency),
        ("error_rate", settings.spillover.error_rate),
    ] {
        if share.0.get() <= 0.0 {
            review.refuse(&spillover.key(key), "at 0 % a region always spills; use more");
        }
    }
}

fn times(review: &mut Review<'_>) {
    checks(review);
    lease(review);
    if review.settings().failover.drain_timeout.0.is_zero() {
        review.refuse(
            &Path::to("failover").key("drain_timeout"),
            "0s drains nothing; set failover.strategy to immediate instead",
        );
    }
}

/// The checks that make a region down fit into the detection, and a round trip into a check.
fn checks(review: &mut Review<'_>) {
    let settings = review.settings();
    let timing = review.timing;
    let threshold = settings.health.failure_threshold.max(1);
    let needed = timing.check_timeout * threshold;
    let timeout = Path::to("health").key("timeout");
    let detection = Path::to("failover").key("detection");
    let regions: Vec<RegionId> = settings.regions.keys().cloned().collect();
    let round_trip = round_trip_max(settings, &regions);
    if timing.check_timeout <= round_trip {
        let message = format!(
            "a check of {} cannot be answered from regions that are {} apart; raise health.timeout",
            Period(timing.check_timeout),
            Period(round_trip),
        );
        review.refuse(&timeout, message);
    } else if timing.detection < needed {
        let blamed = if settings.failover.detection.is_some() { detection } else { timeout };
        let message = format!(
            "a detection of {} is shorter than its checks, which take {threshold} x {}; raise \
             failover.detection to {} or lower health.timeout",
            Period(timing.detection),
            Period(timing.check_timeout),
            Period(needed),
        );
        review.refuse(&blamed, message);
    }
}

/// Rule 7: a lease outlasts the worst election plus one renewal, so that a change of the leader
/// does not cost a healthy region its duties.
fn lease(review: &mut Review<'_>) {
    let (lease, shortest) = (review.timing.lease, lease_over(review.worst_election));
    let failover = Path::to("failover");
    let path = failover.key("lease");
    if lease < LEASE_MIN || lease > LEASE_MAX {
        let (min, max) = (Period(LEASE_MIN), Period(LEASE_MAX));
        review.refuse(&path, format!("a lease lasts between {min} and {max}"));
    } else if lease <= shortest {
        let message = format!(
            "a lease of {} does not outlast an election, which takes up to {} over this distance, \
             and one renewal; raise it above {}, or leave it out",
            Period(lease),
            Period(review.worst_election),
            Period(shortest),
        );
        review.refuse(&path, message);
    }
    let step = review.settings().failover.timeout;
    if step.0 <= lease {
        let message = format!(
            "a step of {step} cannot wait out a lease of {}; raise failover.timeout or shorten \
             failover.lease",
            Period(lease),
        );
        review.refuse(&failover.key("timeout"), message);
    }
}
