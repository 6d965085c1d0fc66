//! Commands by name and outcome.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::family::Family,
    registry::{Registry, Unit},
};
use rhumb_types::ErrorCode;

use super::Count;
use crate::Histogram;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Ok,
    /// With an error.
    Failed(ErrorCode),
}

/// Every label of an outcome, in the order of [`Outcome::place`].
const OUTCOMES: [&str; 10] = [
    "ok",
    "invalid",
    "unauthenticated",
    "forbidden",
    "not_found",
    "conflict",
    "overloaded",
    "unavailable",
    "unconfirmed",
    "internal",
];

impl Outcome {
    const fn place(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Failed(ErrorCode::Invalid) => 1,
            Self::Failed(ErrorCode::Unauthenticated) => 2,
            Self::Failed(ErrorCode::Forbidden) => 3,
            Self::Failed(ErrorCode::NotFound) => 4,
            Self::Failed(ErrorCode::Conflict) => 5,
            Self::Failed(ErrorCode::Overloaded) => 6,
            Self::Failed(ErrorCode::Unavailable) => 7,
            Self::Failed(ErrorCode::Unconfirmed) => 8,
            Self::Failed(ErrorCode::Internal) => 9,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    command: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameAndResult {
    command: &'static str,
    result: &'static str,
}

/// The handle of one command.
#[derive(Debug, Clone)]
pub struct Command {
    outcomes: [Count; OUTCOMES.len()],
    seconds: Histogram,
}

impl Command {
    /// Counts a command that ended.
    pub fn record(&self, outcome: Outcome, time: Duration) {
        self.count(outcome, 1);
        self.seconds.observe_time(time);
    }

    /// Counts commands that ended alike and took the same time, such as those of a pipeline.
    pub fn record_many(&self, outcome: Outcome, time: Duration, commands: u64) {
        self.count(outcome, commands);
        self.seconds.observe_many(time.as_secs_f64(), commands);
    }

    /// Counts commands that ended alike without timing them.
    pub fn count(&self, outcome: Outcome, commands: u64) {
        if let Some(counter) = self.outcomes.get(outcome.place()) {
            counter.inc_by(commands);
        }
    }
}

#[derive(Debug)]
pub(super) struct Families {
    outcomes: Family<NameAndResult, Count>,
    seconds: Family<Name, Histogram, fn() -> Histogram>,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let outcomes = Family::default();
        registry.register("commands", "Commands that ended, by result", outcomes.clone());
        let seconds: Family<Name, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(Histogram::of_times);
        let help = "Time of a command, from its last byte to its answer";
        registry.register_with_unit("command", help, Unit::Seconds, seconds.clone());
        Self { outcomes, seconds }
    }

    pub(super) fn command(&self, command: &'static str) -> Command {
        let counter =
            |result| self.outcomes.get_or_create_owned(&NameAndResult { command, result });
        let seconds = self.seconds.get_or_create_owned(&Name { command });
        Command { outcomes: OUTCOMES.map(counter), seconds }
    }
}
