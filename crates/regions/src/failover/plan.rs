//! The dry run: which duties move where, and whether the survivors can carry them.

use std::collections::BTreeMap;

use rhumb_types::{
    Ratio, RegionId,
    control::{DutyMove, FailoverKind, FailoverMode, FailoverPlan, FailoverStrategy, Verdict},
};

use super::FailoverConfig;

/// Something that a region does and another could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duty {
    /// What it is, such as a queue or a bucket.
    pub name: String,
    /// What it weighs, in the units of the regions' capacity.
    pub load: u64,
    /// Whether it must stay where it was accepted (rule 5).
    pub pinned: bool,
    /// Where it may go, the best first: the rest of its plan. Where it may not, residency forbids.
    pub candidates: Vec<RegionId>,
}

/// A region that could take duties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Its name.
    pub region: RegionId,
    /// What it can carry.
    pub capacity: u64,
    /// What it carries.
    pub used: u64,
}

/// What a failover would do. Nothing was changed to find out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DryRun {
    /// The duties that move, the heaviest first; one that no survivor can carry has no target.
    pub moves: Vec<DutyMove>,
    /// Duties that stay pinned to the region, and wait for it.
    pub pinned: Vec<String>,
    /// Who takes the region's lease: whoever takes the most.
    pub successor: Option<RegionId>,
    /// The survivors as they would be afterwards.
    pub after: Vec<Survivor>,
}

impl DryRun {
    /// Whether every duty that moves has somebody to carry it.
    #[must_use]
    pub fn is_carried(&self) -> bool {
        self.successor.is_some() && self.moves.iter().all(|step| step.to.is_some())
    }

    /// Duties that no survivor can carry.
    pub fn stranded(&self) -> impl Iterator<Item = &str> {
        self.moves.iter().filter(|step| step.to.is_none()).map(|step| step.duty.as_str())
    }
}

/// Gives each duty to the first of its candidates that has room under the ceiling, the heaviest
/// duties first, so that small ones fill the gaps.
#[must_use]
pub fn dry_run(from: &RegionId, duties: &[Duty], survivors: &[Survivor], ceiling: Ratio) -> DryRun {
    let mut after: Vec<Survivor> =
        survivors.iter().filter(|survivor| survivor.region != *from).cloned().collect();
    let mut ordered: Vec<&Duty> = duties.iter().filter(|duty| !duty.pinned).collect();
    ordered.sort_by(|a, b| b.load.cmp(&a.load).then_with(|| a.name.cmp(&b.name)));
    let mut taken: BTreeMap<RegionId, u64> = BTreeMap::new();
    let mut moves = Vec::new();
    for duty in ordered {
        let to = place(duty, &mut after, ceiling);
        if let Some(region) = &to {
            *taken.entry(region.clone()).or_default() += duty.load;
        }
        let (name, from) = (duty.name.clone(), from.clone());
        moves.push(DutyMove { duty: name, from, to, load: duty.load });
    }
    // Of equals the first by name; without duties the emptiest survivor.
    let most = taken.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
    let emptiest = after.iter().min_by(|a, b| fullness(a).total_cmp(&fullness(b)));
    let successor =
        most.map(|(region, _)| region.clone()).or_else(|| emptiest.map(|s| s.region.clone()));
    let pinned = duties.iter().filter(|duty| duty.pinned).map(|duty| duty.name.clone()).collect();
    DryRun { moves, pinned, successor, after }
}

/// The failover that a verdict calls for; `None` when only an operator starts one.
///
/// Its key is made of the verdict, so that every node may propose it and one is opened. A region
/// that is down is not waited for, whatever the strategy.
#[must_use]
pub fn on_verdict(
    region: &RegionId,
    verdict: &Verdict,
    dry_run: DryRun,
    config: &FailoverConfig,
) -> Option<FailoverPlan> {
    (config.mode != FailoverMode::Manual).then(|| FailoverPlan {
        idempotency_key: format!("verdict:{region}:{}", verdict.at.0),
        region: region.clone(),
        kind: FailoverKind::Failover,
        mode: config.mode,
        strategy: FailoverStrategy::Immediate,
        successor: dry_run.successor,
        moves: dry_run.moves,
    })
}

fn place(duty: &Duty, survivors: &mut [Survivor], ceiling: Ratio) -> Option<RegionId> {
    for candidate in &duty.candidates {
        let found = survivors.iter_mut().find(|survivor| survivor.region == *candidate);
        let Some(survivor) = found else { continue };
        let used = survivor.used.saturating_add(duty.load);
        if fullness(&Survivor { used, ..survivor.clone() }) <= ceiling.get() {
            survivor.used = used;
            return Some(survivor.region.clone());
        }
    }
    None
}

#[expect(clippy::cast_precision_loss, reason = "a share of capacity needs no more digits")]
fn fullness(survivor: &Survivor) -> f64 {
    if survivor.capacity == 0 {
        f64::INFINITY
    } else {
        survivor.used as f64 / survivor.capacity as f64
    }
}
