//! Times and thresholds that must fit each other.

use rhumb_regions::health::Contradiction;
use rhumb_types::{
    RegionId,
    control::limits::{LEASE_MAX, LEASE_MIN},
};

use super::Review;
use crate::{Period, path::Path, settings::SpilloverSettings, timing, voters::round_trip_max};

/// Refuses times and thresholds that contradict each other.
pub(super) fn check(review: &mut Review<'_>) {
    spillover(review);
    health(review);
    distance(review);
    steps(review);
}

fn spillover(review: &mut Review<'_>) {
    let settings = review.settings();
    spillover_at(review, &Path::to("spillover"), &settings.spillover);
    for (name, region) in &settings.regions {
        if let Some(own) = &region.spillover {
            let path = Path::to("regions").key(name.as_str()).key("spillover");
            spillover_at(review, &path, own);
        }
    }
}

fn spillover_at(review: &mut Review<'_>, path: &Path, settings: &SpilloverSettings) {
    for (key, is_nothing) in [
        ("queue_depth", settings.queue_depth == 0),
        ("concurrency", settings.concurrency.0.get() <= 0.0),
        ("error_rate", settings.error_rate.0.get() <= 0.0),
        ("oldest", settings.oldest.0.is_zero()),
    ] {
        if is_nothing {
            review.refuse(&path.key(key), "above nothing a region always spills; use more than 0");
        }
    }
    if review.faults.is_empty()
        && let Err(error) = timing::spillover(settings).check()
    {
        review.refuse(path, error.to_string());
    }
}

/// What the health machine itself would refuse.
fn health(review: &mut Review<'_>) {
    for contradiction in review.health.validate().err().unwrap_or_default() {
        let path = blamed(review, &contradiction);
        review.refuse(&path, contradiction.to_string());
    }
}

/// The setting that made the contradiction: the one that the file gives.
fn blamed(review: &Review<'_>, contradiction: &Contradiction) -> Path {
    let (health, failover) = (Path::to("health"), Path::to("failover"));
    let candidates = match contradiction {
        Contradiction::DetectionBeforeChecks { .. } => {
            vec![failover.key("detection"), health.key("timeout"), health.key("failure_threshold")]
        }
        Contradiction::DetectionBeforeEjection { .. } => vec![failover.key("detection")],
        Contradiction::LeaseBeforeElection { .. } => vec![failover.key("lease")],
        Contradiction::Zero(knob @ ("lease" | "detection")) => vec![failover.key(knob)],
        Contradiction::Threshold { knob, .. } | Contradiction::Zero(knob) => vec![health.key(knob)],
        Contradiction::HoldDownAboveCap { .. }
        | Contradiction::Drift { .. }
        | Contradiction::Phi => vec![failover.key("profile")],
    };
    let given = candidates.iter().find(|path| review.is_given(path));
    given.or(candidates.first()).cloned().unwrap_or(failover)
}

/// A check must be able to travel to the farthest region and back.
fn distance(review: &mut Review<'_>) {
    let regions: Vec<RegionId> = review.settings().regions.keys().cloned().collect();
    let round_trip = round_trip_max(review.settings(), &regions);
    let timeout = review.health.check_timeout;
    if timeout <= round_trip && !timeout.is_zero() {
        let message = format!(
            "a check of {} cannot be answered from regions that are {} apart; raise it",
            Period(timeout),
            Period(round_trip),
        );
        review.refuse(&Path::to("health").key("timeout"), message);
    }
}

/// The steps of a failover are long enough for what they wait for.
fn steps(review: &mut Review<'_>) {
    let lease = review.health.lease;
    let settings = &review.settings().failover;
    let failover = Path::to("failover");
    if settings.lease.is_some() && !(LEASE_MIN..=LEASE_MAX).contains(&lease) && !lease.is_zero() {
        let (min, max) = (Period(LEASE_MIN), Period(LEASE_MAX));
        review.refuse(&failover.key("lease"), format!("a lease lasts between {min} and {max}"));
    }
    if settings.timeout.0 <= lease {
        let message = format!(
            "a step of {} cannot wait out a lease of {}; raise failover.timeout or shorten \
             failover.lease",
            settings.timeout,
            Period(lease),
        );
        review.refuse(&failover.key("timeout"), message);
    }
    if settings.watch.0.is_zero() {
        review.refuse(&failover.key("watch"), "0s watches nothing; say how long, 60s for instance");
    }
    if settings.drain_timeout.0.is_zero() {
        review.refuse(
            &failover.key("drain_timeout"),
            "0s drains nothing; set failover.strategy to immediate instead",
        );
    }
}
