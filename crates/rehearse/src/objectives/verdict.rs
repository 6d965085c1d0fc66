//! Whether a report gives what was asked for.
//!
//! An objective holds when it holds in every run, because an outage comes once.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Objective;
use crate::{
    outcome::{FaultOutcome, JobsOutcome, ObjectsOutcome, Outcome},
    rehearsal::Rehearsal,
    report::{Report, Value, per_hour},
    scenario::Planned,
};

/// What became of one objective.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// What was asked for.
    pub objective: Objective,
    /// The worst that came, of all runs.
    pub worst: Value,
    /// The seed of the run in which it came.
    pub seed: Option<u64>,
    /// Whether it was given.
    pub held: bool,
}

impl Verdict {
    /// For programs.
    pub(crate) fn document(&self) -> Json {
        json!({
            "objective": self.objective.to_string(),
            "held": self.held,
            "worst": self.worst.document(),
            "unit": self.worst.unit(),
            "seed": self.seed,
        })
    }
}

/// Holds a report against objectives.
#[must_use]
pub fn judge(objectives: &[Objective], rehearsal: &Rehearsal, report: &Report) -> Vec<Verdict> {
    let judge = |objective: &Objective| {
        let of = |run| (objective.measure(rehearsal, run), run.seed);
        let worst =
            report.runs.iter().map(of).reduce(|worst, next| {
                if next.0.number() > worst.0.number() { next } else { worst }
            });
        let (value, seed) = worst.map_or((Value::Count(0), None), |(it, seed)| (it, Some(seed)));
        // Of nothing that was run nothing is known.
        let held = worst.is_some() && value.number() <= objective.bound().number();
        Verdict { objective: *objective, worst: value, seed, held }
    };
    objectives.iter().map(judge).collect()
}

impl Objective {
    /// The most that may be.
    #[must_use]
    pub const fn bound(&self) -> Value {
        match *self {
            Self::Served(it)
            | Self::Owned(it)
            | Self::Detected(it)
            | Self::Gap(it)
            | Self::ExposedFor(it)
            | Self::Lag(it)
            | Self::JobsDrained(it)
            | Self::OldestJob(it)
            | Self::UploadTime(it)
            | Self::ReadThrough(it)
            | Self::Converged(it) => Value::Time(Some(it)),
            Self::Failed(it)
            | Self::Slow(it)
            | Self::Stale(it)
            | Self::Load(it)
            | Self::UploadsFailed(it)
            | Self::UploadsDegraded(it)
            | Self::DownloadsFailed(it)
            | Self::Link(it) => Value::Share(it.get()),
            Self::Backlog(it) => Value::Bytes(it.0),
            Self::ExposedWrites(it)
            | Self::QueueDepth(it)
            | Self::JobsRepeated(it)
            | Self::JobsRefused(it)
            | Self::JobsLost(it)
            | Self::ObjectsAtRisk(it)
            | Self::LateDeletions(it) => Value::Count(it),
            Self::CostPerHour(it) => Value::Dollars(it),
        }
    }

    /// What a run came to.
    fn measure(&self, rehearsal: &Rehearsal, run: &Outcome) -> Value {
        let faults = || rehearsal.scenario.faults.iter().zip(&run.faults);
        let due = |bound: Duration, which: fn(&FaultOutcome) -> Option<Duration>| {
            let counts = |(planned, fault): &(&Planned, &FaultOutcome)| {
                which(fault).is_some() || planned.is_a_loss_for_more_than(bound)
            };
            longest(&mut faults().filter(counts).map(|(_, fault)| which(fault)))
        };
        let share = |part: u64| match run.requests.asked {
            0 => Value::Share(0.0),
            asked => Value::Share(part as f64 / asked as f64),
        };
        match *self {
            Self::Served(_) => longest(&mut run.faults.iter().map(|fault| fault.served)),
            Self::Owned(bound) => due(bound, |fault| fault.owned),
            Self::Detected(bound) => due(bound, |fault| fault.detected),
            Self::Gap(_) => longest(&mut run.faults.iter().map(|fault| Some(fault.gap))),
            Self::Failed(_) => share(run.requests.failed),
            Self::Slow(_) => share(run.requests.slow),
            Self::Stale(_) => share(run.requests.stale),
            Self::ExposedWrites(_) => {
                Value::Count(run.faults.iter().map(|fault| fault.exposed).max().unwrap_or(0))
            }
            Self::ExposedFor(_) => {
                longest(&mut run.faults.iter().map(|fault| Some(fault.exposed_for)))
            }
            Self::Load(_) => {
                Value::Share(run.regions.values().map(|it| it.load_max).fold(0.0, f64::max))
            }
            Self::Lag(_) => Value::Time(Some(run.lag_max)),
            Self::CostPerHour(_) => Value::Dollars(per_hour(run.cost, rehearsal.lasting)),
            _ if self.is_of_objects() => {
                let none = ObjectsOutcome::default();
                self.measure_objects(run.objects.as_ref().unwrap_or(&none))
            }
            _ => self.measure_jobs(run.jobs.as_ref().unwrap_or(&JobsOutcome::default())),
        }
    }

    /// What a run came to for jobs.
    fn measure_jobs(&self, jobs: &JobsOutcome) -> Value {
        match *self {
            Self::JobsDrained(_) => longest(&mut jobs.drained.iter().copied()),
            Self::OldestJob(_) => Value::Time(Some(jobs.oldest_max)),
            Self::QueueDepth(_) => Value::Count(jobs.depth_max),
            Self::JobsRepeated(_) => Value::Count(jobs.counts.repeated),
            Self::JobsRefused(_) => Value::Count(jobs.counts.refused),
            _ => Value::Count(jobs.counts.lost),
        }
    }

    /// What a run came to for objects.
    fn measure_objects(&self, objects: &ObjectsOutcome) -> Value {
        let counts = &objects.counts;
        let share = |part: u64, whole: u64| Value::Share(part as f64 / whole.max(1) as f64);
        let most = |time: Option<Duration>| Value::Time(Some(time.unwrap_or_default()));
        match *self {
            Self::UploadsFailed(_) => share(counts.failed, counts.uploads),
            Self::UploadsDegraded(_) => share(counts.degraded, counts.acknowledged),
            Self::UploadTime(_) => most(objects.times.uploads.max),
            Self::DownloadsFailed(_) => {
                share(counts.downloads_failed + counts.missed, counts.downloads)
            }
            Self::ReadThrough(_) => most(objects.times.through.max),
            Self::ObjectsAtRisk(_) => Value::Count(objects.risk().objects),
            Self::Backlog(_) => Value::Bytes(objects.backlog_max),
            Self::Converged(_) => longest(&mut objects.converged.iter().copied()),
            Self::LateDeletions(_) => Value::Count(counts.deletes_late + counts.fading),
            _ => Value::Share(objects.busy_max()),
        }
    }
}

/// The longest of some times; never is longer than all.
fn longest(times: &mut dyn Iterator<Item = Option<Duration>>) -> Value {
    let never_is_longest = |it: &Option<Duration>| it.unwrap_or(Duration::MAX);
    Value::Time(times.max_by_key(never_is_longest).unwrap_or(Some(Duration::ZERO)))
}

impl Planned {
    /// Of shorter losses nothing need be known.
    fn is_a_loss_for_more_than(&self, time: Duration) -> bool {
        self.fault.is_a_loss() && self.lasting.is_none_or(|lasting| lasting > time)
    }
}
