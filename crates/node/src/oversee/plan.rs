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
/// that are not eligible, or not well as seen from here, are no survivors. One that shares a tag of
/// residency with the region comes first as its successor.
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
    let mut run = failover::dry_run(region, duties, &survivors, ceiling);
    if duties.is_empty() {
        // What stays in a jurisdiction goes on where another region of it takes over.
        let tags = facts.regions.iter().find(|it| it.region.id == *region);
        let near = |it: &RegionFacts| {
            tags.is_some_and(|lost| !lost.region.residency.is_disjoint(&it.region.residency))
        };
        let near = facts.regions.iter().filter(able).filter(|it| near(it)).map(survivor);
        let near: Vec<Survivor> = near.collect();
        let inside = failover::dry_run(region, &[], &near, ceiling).successor;
        run.successor = inside.or(run.successor);
    }
    run
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

#[cfg(test)]
mod tests {
    use rhumb_regions::{Policy, Region, ResidencyTag};
    use rhumb_types::{
        UnixMillis,
        control::{AdminState, RegionStatus},
    };

    use super::*;

    #[test]
    fn a_region_of_the_same_jurisdiction_takes_over_before_an_emptier_one() {
        let id = |name: &str| RegionId::new(name).unwrap();
        let of = |(name, tag, jobs): (&str, Option<&str>, u32)| {
            let mut region = Region::new(id(name), "x:1");
            region.residency.extend(tag.map(|tag| ResidencyTag::new(tag).unwrap()));
            region.capacity.jobs = jobs;
            RegionFacts::new(region)
        };
        let known = [
            ("eu-1", Some("eu"), 100),
            ("eu-2", Some("eu"), 0),
            ("us", None, 100),
            ("sg", Some("sg"), 100),
        ];
        let mut facts = Facts {
            version: 1,
            here: id("us"),
            regions: known.into_iter().map(of).collect(),
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        };
        let status = RegionStatus {
            state: AdminState::Active,
            reason: String::new(),
            actor: String::new(),
            since: UnixMillis(0),
            ramp_percent: 100,
            verdict: None,
            witness: false,
        };
        let regions = known.iter().map(|(name, ..)| (id(name), status.clone())).collect();
        let view = ControlView { regions, ..ControlView::default() };
        let next = |facts: &Facts, lost: &str| {
            dry_run(&id(lost), facts, &view, &[], Ratio::ONE).successor.unwrap()
        };
        assert_eq!(next(&facts, "eu-1"), id("eu-2"));
        // Where nobody else of it is left, and where there is none, the emptiest does.
        assert_ne!(next(&facts, "sg"), id("eu-2"));
        assert_ne!(next(&facts, "us"), id("eu-2"));
        facts.regions[1].health = Health::Down;
        assert_ne!(next(&facts, "eu-1"), id("eu-2"));
    }
}
