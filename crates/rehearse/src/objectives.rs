//! What is asked for, and whether a report gives it.
//!
//! One objective per line, each with its unit; `#` begins a comment:
//!
//! ```text
//! served < 5s             # also: owned, detected, gap, exposed, lag
//! failed < 0.1%           # also: slow, stale, load
//! exposed writes < 1
//! cost per hour < 3 USD
//! ```

mod parse;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use rhumb_types::Ratio;

pub use self::{
    parse::parse,
    verdict::{Verdict, judge},
};
use crate::prices::MicroDollars;

/// What is asked for: none of these is exceeded, in any run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Objective {
    /// The time until clients are served again, at most.
    Served(Duration),
    /// The time until a failed region's lease is held elsewhere, at most.
    Owned(Duration),
    /// The time until a fault is known, at most.
    Detected(Duration),
    /// The longest gap of any group of clients, at most.
    Gap(Duration),
    /// The share of requests that fail, at most.
    Failed(Ratio),
    /// The share of answers that are slow, at most.
    Slow(Ratio),
    /// The share of reads that are stale, at most.
    Stale(Ratio),
    /// Acknowledged writes that no other region has, at most.
    ExposedWrites(u64),
    /// The age of the oldest of them, at most.
    ExposedFor(Duration),
    /// The load of any region, at most.
    Load(Ratio),
    /// The lag between any two regions, at most.
    Lag(Duration),
    /// The cost per hour, at most.
    CostPerHour(MicroDollars),
}
