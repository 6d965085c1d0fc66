//! What a node knows of the CI runners of its region.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::family::Family,
    registry::{Registry, Unit},
};
use rhumb_types::RegionId;

use super::{Count, Level};
use crate::Histogram;

/// The states of jobs that are shown.
pub const RUNNER_JOB_STATES: [&str; 2] = ["waiting", "served"];
/// The states of runners that are shown; `wanted` is one for each job.
pub const RUNNER_STATES: [&str; 5] = ["wanted", "starting", "idle", "busy", "stopping"];

/// A label set, for the region that its jobs name or this one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SetAndState {
    set: String,
    region: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SetAndOutcome {
    set: String,
    region: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The metrics of runners. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Runners {
    jobs: Family<SetAndState, Level>,
    runners: Family<SetAndState, Level>,
    starts: Family<SetAndOutcome, Count>,
    ends: Family<SetAndOutcome, Count>,
    calls: Family<Outcome, Count>,
    answers: Family<Outcome, Count>,
    answer_seconds: Family<Outcome, Histogram, fn() -> Histogram>,
    happened: Family<Outcome, Count>,
}

impl Runners {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let times: fn() -> Histogram = Histogram::of_times;
        let families = Self {
            jobs: Family::default(),
            runners: Family::default(),
            starts: Family::default(),
            ends: Family::default(),
            calls: Family::default(),
            answers: Family::default(),
            answer_seconds: Family::new_with_constructor(times),
            happened: Family::default(),
        };
        let help = "CI jobs that this region holds, by label set, region wished for and state";
        registry.register("runner_jobs", help, families.jobs.clone());
        let help = "CI runners of this region, by label set, region wished for and state";
        registry.register("runners", help, families.runners.clone());
        let help = "CI runners that this node started, or tried to";
        registry.register("runner_starts", help, families.starts.clone());
        let help = "CI runners that ended: by themselves, or because they were stopped";
        registry.register("runner_ends", help, families.ends.clone());
        let help = "Calls of GitHub's API, by how they ended";
        registry.register("github_calls", help, families.calls.clone());
        let help = "Webhooks of GitHub, by how they were answered";
        registry.register("webhook_answers", help, families.answers.clone());
        registry.register_with_unit(
            "webhook",
            "Time from a webhook's arrival to its answer, durability included",
            Unit::Seconds,
            families.answer_seconds.clone(),
        );
        let help = "What happened to CI jobs and runners besides, by name";
        registry.register("runner_events", help, families.happened.clone());
        families
    }

    /// Sets what there is of a label set: jobs in each of [`RUNNER_JOB_STATES`] and runners in each of
    /// [`RUNNER_STATES`].
    pub fn set(
        &self,
        set: &str,
        region: &RegionId,
        jobs: [usize; RUNNER_JOB_STATES.len()],
        runners: [usize; RUNNER_STATES.len()],
    ) {
        let labels = |state| SetAndState { set: set.to_owned(), region: region.to_string(), state };
        let show = |family: &Family<SetAndState, Level>, state, number| {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            family.get_or_create(&labels(state)).set(number);
        };
        RUNNER_JOB_STATES.iter().zip(jobs).for_each(|(state, it)| show(&self.jobs, state, it));
        RUNNER_STATES.iter().zip(runners).for_each(|(state, it)| show(&self.runners, state, it));
    }

    /// Counts a runner that was started, or was to be: `started` or `failed`.
    pub fn started(&self, set: &str, region: &RegionId, outcome: &'static str) {
        self.starts.get_or_create(&ending(set, region, outcome)).inc();
    }

    /// Counts a runner that is no more: `exited` or `stopped`.
    pub fn ended(&self, set: &str, region: &RegionId, outcome: &'static str) {
        self.ends.get_or_create(&ending(set, region, outcome)).inc();
    }

    /// Counts a call of GitHub's API: `ok`, or the name of an error. Names are part of the program.
    pub fn called(&self, outcome: &'static str) {
        self.calls.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a webhook's answer. Names of outcomes are part of the program.
    pub fn answered(&self, outcome: &'static str, time: Duration) {
        self.answers.get_or_create(&Outcome { outcome }).inc();
        self.answer_seconds.get_or_create(&Outcome { outcome }).observe_time(time);
    }

    /// Counts something that happened. Names are part of the program.
    pub fn happened(&self, outcome: &'static str) {
        self.happened.get_or_create(&Outcome { outcome }).inc();
    }
}

fn ending(set: &str, region: &RegionId, outcome: &'static str) -> SetAndOutcome {
    SetAndOutcome { set: set.to_owned(), region: region.to_string(), outcome }
}
