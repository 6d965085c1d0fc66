//! What is observed of a region. What was decided about it is `AdminState`, in `types`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What this node observes of a region. Local, fast, and reversible.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Answers as it should.
    #[default]
    Healthy,
    /// Answers, with too many errors or too slowly; used when no healthy region is left.
    Degraded,
    /// Does not answer.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        })
    }
}
