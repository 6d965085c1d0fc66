//! Times and thresholds that must fit each other.

use rhumb_types::control::limits::{LEASE_MAX, LEASE_MIN};

use super::Review;
use crate::{Period, Timing, path::Path};

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
    let settings = review.settings();
    let timing = Timing::of(settings);
    let failover = Path::to("failover");
    let threshold = settings.health.failure_threshold.max(1);
    let checks = timing.check_timeout * threshold;
    if timing.check_timeout.is_zero() {
        review.refuse(&Path::to("health").key("timeout"), "0s leaves no time to answer; use more");
    } else if timing.detection < checks {
        let blamed = if settings.failover.detection.is_some() {
            failover.key("detection")
        } else {
            Path::to("health").key("timeout")
        };
        review.refuse(
            &blamed,
            format!(
                "a detection of {} is shorter than its checks, which take {threshold} x {}; raise \
                 failover.detection to {} or lower health.timeout",
                Period(timing.detection),
                Period(timing.check_timeout),
                Period(checks),
            ),
        );
    }
    lease(review, &timing, &failover);
}

/// Rule 7: a lease outlasts the worst election plus one renewal, so that a change of the leader
/// does not cost a healthy region its duties.
fn lease(review: &mut Review<'_>, timing: &Timing, failover: &Path) {
    let settings = review.settings();
    let path = failover.key(if settings.failover.lease.is_some() { "lease" } else { "election" });
    if timing.election_max.is_zero() {
        review.refuse(&failover.key("election"), "0s leaves no time to vote; use more");
    } else if timing.lease < LEASE_MIN || timing.lease > LEASE_MAX {
        let bounds = (Period(LEASE_MIN), Period(LEASE_MAX));
        review.refuse(&path, format!("a lease lasts between {} and {}", bounds.0, bounds.1));
    } else if timing.lease <= timing.election_max + timing.renewal {
        review.refuse(
            &path,
            format!(
                "a lease of {} is not longer than an election of {} plus one renewal (a third of \
                 the lease); raise failover.lease above {} or shorten failover.election",
                Period(timing.lease),
                Period(timing.election_max),
                Period(timing.election_max * 3 / 2),
            ),
        );
    }
    if settings.failover.timeout.0 <= timing.lease {
        review.refuse(
            &failover.key("timeout"),
            format!(
                "a step of {} cannot wait out a lease of {}; raise failover.timeout or shorten \
                 failover.lease",
                settings.failover.timeout,
                Period(timing.lease),
            ),
        );
    }
    if settings.failover.drain_timeout.0.is_zero() {
        review.refuse(
            &failover.key("drain_timeout"),
            "0s drains nothing; set failover.strategy to immediate instead",
        );
    }
}
