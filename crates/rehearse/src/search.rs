//! The worst that could happen: every single fault, and pairs of the worst of them.

use std::{cmp::Ordering, collections::BTreeSet, time::Duration};

use rhumb_types::{Ratio, RegionId};

use crate::{
    report::{Report, Spread, Value},
    scenario::{Fault, Planned, Scenario, Subject, possible},
};

/// Most single faults that are tried.
pub const SINGLES_MAX: usize = 120;
/// How many single faults are put into pairs.
pub const PAIRED: usize = 6;

/// How much of a region's capacity is left when it is slow.
const SLOW: f64 = 0.25;
/// How much a bad link loses.
const LOSS: f64 = 0.3;
/// What a slow link adds.
const DELAY: Duration = Duration::from_millis(500);
/// What a slow disk adds to an fsync.
const SLOW_DISK: Duration = Duration::from_secs(1);
/// By how much a wall clock is off, in milliseconds: nodes stop to acknowledge at half a second.
const OFFSET: i64 = 2_000;

/// When and for how long things go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct When {
    /// From the start of the rehearsal.
    pub at: Duration,
    /// Until it is mended.
    pub lasting: Duration,
}

/// Single faults to try, and how many more there would be.
#[derive(Clone, PartialEq, Debug)]
pub struct Singles {
    /// Those that are tried; faults of regions first, then of links.
    pub scenarios: Vec<Scenario>,
    /// How many were left out.
    pub left_out: usize,
}

/// Every single fault of some regions and of the links between them.
#[must_use]
pub fn singles(regions: &[RegionId], when: When) -> Singles {
    let mut faults: Vec<Fault> = regions.iter().flat_map(of_region).collect();
    for (nth, a) in regions.iter().enumerate() {
        faults.extend(regions.iter().skip(nth + 1).flat_map(|b| of_link(a, b)));
    }
    let left_out = faults.len().saturating_sub(SINGLES_MAX);
    faults.truncate(SINGLES_MAX);
    let single = |fault| Scenario {
        faults: vec![Planned { at: when.at, lasting: Some(when.lasting), fault }],
    };
    Singles { scenarios: faults.into_iter().map(single).collect(), left_out }
}

fn of_region(region: &RegionId) -> [Fault; 12] {
    let it = || region.clone();
    [
        Fault::Down(it()),
        Fault::Killed(it()),
        Fault::Freeze(it()),
        Fault::Isolated(it()),
        Fault::Mute(it()),
        Fault::UplinkLoss(it(), Ratio::clamped(LOSS)),
        Fault::UplinkDelay(it(), DELAY),
        Fault::Slow(it(), Ratio::clamped(SLOW)),
        Fault::SlowDisk(it(), SLOW_DISK),
        Fault::FullDisk(it()),
        Fault::FailingDisk(it()),
        Fault::Clock(it(), OFFSET),
    ]
}

fn of_link(a: &RegionId, b: &RegionId) -> [Fault; 5] {
    let both = || (a.clone(), b.clone());
    let ((c, d), (e, f), (g, h), (i, j), (k, l)) = (both(), both(), both(), both(), both());
    [
        Fault::Cut(c, d),
        Fault::OneWay(e, f),
        Fault::OneWay(h, g),
        Fault::Loss(i, j, Ratio::clamped(LOSS)),
        Fault::Delay(k, l, DELAY),
    ]
}

/// The worst single fault of each region and of each link, given the worst first: two ways to lose one
/// region are one loss.
#[must_use]
pub fn paired(worst: &[Scenario]) -> Vec<Scenario> {
    let mut subjects = BTreeSet::new();
    let mut paired = Vec::new();
    for scenario in worst {
        let subject = scenario.faults.first().map(|planned| subject(&planned.fault));
        if subject.is_some_and(|subject| subjects.insert(subject)) && paired.len() < PAIRED {
            paired.push(scenario.clone());
        }
    }
    paired
}

/// The region, or the two ends of the link, that a fault is of.
fn subject(fault: &Fault) -> [&RegionId; 2] {
    match fault.subject() {
        Subject::Region(it) => [it, it],
        Subject::Link(a, b) => [a.min(b), a.max(b)],
    }
}

/// All pairs of single faults that can be at once.
#[must_use]
pub fn pairs(singles: &[Scenario]) -> Vec<Scenario> {
    let mut pairs = Vec::new();
    for (nth, one) in singles.iter().enumerate() {
        for other in singles.iter().skip(nth + 1) {
            let faults = [one.faults.as_slice(), other.faults.as_slice()].concat();
            let scenario = Scenario { faults };
            pairs.extend(Some(scenario).filter(possible));
        }
    }
    pairs
}

/// How bad a scenario is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Badness {
    /// The share of requests that failed.
    pub failed: f64,
    /// The longest gap.
    pub gap: Duration,
    /// The most writes that were exposed.
    pub exposed: u64,
    /// Until clients were served again, at worst; `None` for never.
    pub served: Option<Duration>,
    /// Of a rehearsal with jobs.
    pub jobs: Option<JobsBadness>,
    /// Of one with objects.
    pub objects: Option<ObjectsBadness>,
}

/// How bad it is for objects.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ObjectsBadness {
    /// Objects that are nowhere.
    pub lost: u64,
    /// The share of uploads that failed.
    pub failed: f64,
    /// The most objects that were at risk.
    pub at_risk: u64,
    /// Until all regions had what they ought to, at worst; `None` for never.
    pub converged: Option<Duration>,
    /// The most bytes that were still to be copied.
    pub backlog: u64,
}

/// How bad it is for jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobsBadness {
    /// Jobs that are nowhere.
    pub lost: u64,
    /// The age of the oldest that waited.
    pub oldest: Duration,
    /// Until no more waited than before, at worst; `None` for never.
    pub drained: Option<Duration>,
    /// Executions of jobs that had been executed before.
    pub repeated: u64,
}

impl Badness {
    /// Of the runs of a scenario.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let asked = report.requests.asked.max(1);
        let faults = || report.runs.iter().flat_map(|run| &run.faults);
        Self {
            failed: report.requests.failed as f64 / asked as f64,
            gap: faults().map(|fault| fault.gap).max().unwrap_or_default(),
            exposed: faults().map(|fault| fault.exposed).max().unwrap_or(0),
            served: report.spread(|fault| fault.served).max(),
            jobs: report.jobs().map(|jobs| JobsBadness {
                lost: jobs.counts.lost,
                oldest: jobs.oldest_max,
                drained: Spread::of(jobs.drained.iter().copied()).max(),
                repeated: jobs.counts.repeated,
            }),
            objects: report.objects().map(|objects| ObjectsBadness {
                lost: objects.counts.lost,
                failed: objects.counts.failed as f64 / objects.counts.uploads.max(1) as f64,
                at_risk: objects.risk().objects,
                converged: Spread::of(objects.converged.iter().copied()).max(),
                backlog: objects.backlog_max,
            }),
        }
    }

    /// The worse one first: by jobs and objects that are lost, then by requests that failed, then by uploads
    /// that failed, then by the gap, then by objects at risk and exposed writes, then by how long jobs
    /// waited, and by bytes that were still to be copied.
    #[must_use]
    pub fn worse_first(&self, other: &Self) -> Ordering {
        let lost = |it: &Self| it.jobs.map(|jobs| jobs.lost);
        let oldest = |it: &Self| it.jobs.map(|jobs| jobs.oldest);
        let gone = |it: &Self| it.objects.map(|objects| objects.lost);
        let refused = |it: &Self| it.objects.map_or(0.0, |objects| objects.failed);
        let at_risk = |it: &Self| it.objects.map(|objects| objects.at_risk);
        let backlog = |it: &Self| it.objects.map(|objects| objects.backlog);
        lost(other)
            .cmp(&lost(self))
            .then(gone(other).cmp(&gone(self)))
            .then(other.failed.total_cmp(&self.failed))
            .then(refused(other).total_cmp(&refused(self)))
            .then(other.gap.cmp(&self.gap))
            .then(at_risk(other).cmp(&at_risk(self)))
            .then(other.exposed.cmp(&self.exposed))
            .then(oldest(other).cmp(&oldest(self)))
            .then(backlog(other).cmp(&backlog(self)))
    }

    /// For people: each a head and a figure, those of jobs and objects where there were any.
    #[must_use]
    pub fn shown(&self) -> Vec<(&'static str, String)> {
        let mut figures = vec![
            ("failed", Value::Share(self.failed)),
            ("longest gap", Value::Time(Some(self.gap))),
            ("served again", Value::Time(self.served)),
            ("exposed writes", Value::Count(self.exposed)),
        ];
        figures.extend(self.jobs.into_iter().flat_map(|jobs| {
            [
                ("oldest job", Value::Time(Some(jobs.oldest))),
                ("drained", Value::Time(jobs.drained)),
                ("jobs again", Value::Count(jobs.repeated)),
            ]
        }));
        figures.extend(self.objects.into_iter().flat_map(|objects| {
            [
                ("uploads failed", Value::Share(objects.failed)),
                ("objects at risk", Value::Count(objects.at_risk)),
                ("converged", Value::Time(objects.converged)),
                ("backlog", Value::Bytes(objects.backlog)),
            ]
        }));
        figures.into_iter().map(|(head, value)| (head, value.shown())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{outcome, regions};

    const WHEN: When = When { at: Duration::from_secs(60), lasting: Duration::from_secs(30) };

    #[test]
    fn every_region_and_link_is_tried_up_to_the_bound() {
        let three = singles(&regions(), WHEN);
        assert_eq!((three.scenarios.len(), three.left_out), (3 * 12 + 3 * 5, 0));
        assert!(three.scenarios.iter().all(possible));
        let many: Vec<RegionId> =
            (0..20).map(|nth| RegionId::new(&format!("r{nth}")).unwrap()).collect();
        let many = singles(&many, WHEN);
        assert_eq!(
            (many.scenarios.len(), many.left_out),
            (SINGLES_MAX, 20 * 12 + 190 * 5 - SINGLES_MAX)
        );
    }

    #[test]
    fn pairs_can_be_at_once_and_are_of_two_things() {
        let singles = singles(&regions(), WHEN).scenarios;
        let shown = |scenarios: &[Scenario], nth: usize| -> Vec<String> {
            scenarios.iter().map(|it| it.faults[nth].fault.to_string()).collect()
        };
        // What is down, killed or frozen is that alone.
        let of_one = pairs(&singles[..4]);
        assert_eq!(shown(&of_one, 1), ["region ap-southeast-1 isolated"; 3]);
        let paired = paired(&singles);
        assert_eq!(
            shown(&paired, 0),
            [
                "region ap-southeast-1 down",
                "region eu-west-1 down",
                "region us-east-1 down",
                "link ap-southeast-1 - eu-west-1 cut",
                "link ap-southeast-1 - us-east-1 cut",
                "link eu-west-1 - us-east-1 cut",
            ]
        );
        assert_eq!(pairs(&paired).len(), 15);
    }

    #[test]
    fn more_failures_are_worse_and_then_the_longer_gap() {
        let one = Badness::of(&Report::new(vec![outcome(1)]));
        let two = Badness::of(&Report::new(vec![outcome(2)]));
        assert_eq!(one.worse_first(&two), Ordering::Greater);
        let longer = Badness { gap: one.gap * 2, ..one };
        assert_eq!(longer.worse_first(&one), Ordering::Less);
    }
}
