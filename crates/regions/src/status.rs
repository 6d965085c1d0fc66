//! The two answers to "may it be used": what an operator decided, and what is observed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the control plane decided about a region. Agreed, slow, and never changed by one node.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// Takes work.
    #[default]
    Active,
    /// Takes no new work; sessions and leases that it has run out there.
    Draining,
    /// Takes nothing; its duties are elsewhere.
    Disabled,
}

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

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        })
    }
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
