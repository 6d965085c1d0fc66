//! What a failover would do, from what this node knows.

use rhumb_regions::{
    Facts, Health, RegionFacts,
    failover::{self, DryRun, Duty, FailoverConfig, Survivor},
};
use rhumb_types::{
    Ratio, RegionId,
    control::{ControlView, FailoverKind, FailoverPlan},
};

/// Which duties of a region would move where, and whether the survivors can carry them. Regions
/// that are not eligible, or not well as seen from here, are no survivors.
#[must_use]
pub fn dry_run(
    region: &RegionId,
    facts: &Facts,
    view: &ControlView,
    duties: &[Duty],
    ceiling: Ratio,
) -> DryRun {
    let able = |facts: &&RegionFacts| {
        let status = view.regions.get(&facts.region.id);
        status.is_some_and(|status| status.is_eligible()) && facts.health != Health::Down
    };
    let survivors: Vec<Survivor> = facts.regions.iter().filter(able).map(survivor).collect();
    failover::dry_run(region, duties, &survivors, ceiling)
}

/// A plan that an operator asks for, and the dry run behind it. A fail-back moves nothing anew: the
/// region takes back what is its own.
#[must_use]
pub fn plan(
    region: &RegionId,
    kind: FailoverKind,
    key: &str,
    dry_run: &DryRun,
    config: &FailoverConfig,
) -> FailoverPlan {
    let back = kind == FailoverKind::FailBack;
    FailoverPlan {
        idempotency_key: key.to_owned(),
        region: region.clone(),
        kind,
        mode: config.mode,
        strategy: config.strategy,
        successor: if back { None } else { dry_run.successor.clone() },
        moves: if back { Vec::new() } else { dry_run.moves.clone() },
    }
}

fn survivor(facts: &RegionFacts) -> Survivor {
    let capacity = facts.region.capacity.jobs;
    let used = f64::from(capacity) * facts.utilisation.get();
    Survivor {
        region: facts.region.id.clone(),
        capacity: u64::from(capacity),
        // A share of capacity is small and not negative.
        used: whole(used),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a 32-bit capacity fits, and is not negative"
)]
fn whole(units: f64) -> u64 {
    units.ceil() as u64
}
