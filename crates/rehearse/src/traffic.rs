//! How many requests come, from where, and what they are.

mod measured;
mod parse;
#[cfg(test)]
mod tests;
mod words;

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::{AckLevel, Ratio, RegionId};

pub use self::{
    measured::measured,
    parse::{ack, capacities, near, shape, share},
};

/// The requests of a rehearsal.
#[derive(Clone, PartialEq, Debug)]
pub struct Traffic {
    /// How many come, over time.
    pub shape: Shape,
    /// Which share of the clients is nearest to each region; the rest of one is spread evenly over
    /// those that are not named.
    pub near: BTreeMap<RegionId, Ratio>,
    /// The share of requests that write.
    pub writes: Ratio,
    /// How writes are acknowledged.
    pub ack: AckLevel,
    /// How many keys there are.
    pub keys: u64,
    /// The share of requests that want one and the same key.
    pub hot: Ratio,
    /// Bytes of a value.
    pub value_bytes: u32,
}

/// Requests per second, over time, from all clients together.
#[derive(Clone, PartialEq, Debug)]
pub enum Shape {
    /// Always the same.
    Flat(f64),
    /// A day's curve: the least at its start, the most in its middle.
    Daily {
        /// In the quietest hour.
        least: f64,
        /// In the busiest.
        most: f64,
        /// How long a day is.
        day: Duration,
    },
    /// Always the same, but for one burst.
    Burst {
        /// Outside of it.
        base: f64,
        /// Within.
        burst: f64,
        /// When it begins.
        at: Duration,
        /// How long it lasts.
        lasting: Duration,
    },
    /// As it was measured: each figure holds until the next time.
    Measured(Vec<(Duration, f64)>),
}

impl Shape {
    /// Requests per second at a time of the rehearsal.
    #[must_use]
    pub fn rate(&self, at: Duration) -> f64 {
        match self {
            Self::Flat(rate) => *rate,
            Self::Daily { least, most, day } => {
                let turn = at.as_secs_f64() / day.as_secs_f64().max(1.0);
                let height = (1.0 - crate::exact::cos_of_turns(turn)) / 2.0;
                least + (most - least) * height
            }
            Self::Burst { base, burst, at: begin, lasting } => {
                let within = at >= *begin && at < *begin + *lasting;
                if within { *burst } else { *base }
            }
            Self::Measured(points) => {
                let after = points.partition_point(|(time, _)| *time <= at);
                after.checked_sub(1).and_then(|last| points.get(last)).map_or(0.0, |point| point.1)
            }
        }
    }

    /// For how long it was measured: until one step after its last figure. `None` when it was not.
    #[must_use]
    pub fn measured_for(&self) -> Option<Duration> {
        let Self::Measured(points) = self else { return None };
        let times = |nth: usize| Some(points.get(points.len().checked_sub(nth)?)?.0);
        let (last, before) = (times(1)?, times(2)?);
        last.checked_add(last.saturating_sub(before))
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            shape: Shape::Flat(100.0),
            near: BTreeMap::new(),
            writes: Ratio::clamped(0.1),
            ack: AckLevel::Local,
            keys: 10_000,
            hot: Ratio::ZERO,
            value_bytes: 256,
        }
    }
}
