//! What queues refuse, as problems.

use rhumb_engine::DefineError;
use rhumb_engine::queue::Refused;

use crate::problem::Problem;

/// A name that programs can rely on.
const fn name(refused: &Refused) -> &'static str {
    match refused {
        Refused::NoQueue(_) => "no_queue",
        Refused::Invalid(_) => "invalid",
        Refused::ChangedParameters { .. } => "changed_parameters",
        Refused::Stale => "stale",
        Refused::Gone => "gone",
        Refused::Overloaded => "overloaded",
        Refused::Unavailable(_) => "unavailable",
        Refused::Unconfirmed(_) => "unconfirmed",
        Refused::Write { .. } => "write",
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let problem = Self::new(refused.code(), refused.to_string());
        let problem = problem.with("refused", name(&refused));
        match refused {
            Refused::ChangedParameters { id } => problem
                .with("id", id.to_string())
                .help("Use another key for another job, or send the job as it was."),
            Refused::Stale => {
                problem.help("Stop working on the job: its lease is over, and another may have it.")
            }
            Refused::Gone => problem.help("Stop working on the job: it is over."),
            Refused::NoQueue(_) => {
                problem.help("Make it with PUT /v1/queues/NAME, or check the name.")
            }
            _ => problem,
        }
    }
}

impl From<DefineError> for Problem {
    fn from(error: DefineError) -> Self {
        match error {
            DefineError::Changed(_) => Self::precondition(error.to_string()),
            DefineError::NoQueue(name) => Refused::NoQueue(name).into(),
            DefineError::Jobs(refused) => refused.into(),
            other => Self::new(other.code(), other.to_string()),
        }
    }
}
