//! How many requests come over time, and when each of them does.
//!
//! What drives the seeds of a campaign and the rehearsals of a user's configuration alike.

use std::{fmt, time::Duration};

use rhumb_types::units::Spelled;

pub mod arrivals;
pub mod chance;
pub mod exact;

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
    /// Requests per second at a time of the run.
    #[must_use]
    pub fn rate(&self, at: Duration) -> f64 {
        match self {
            Self::Flat(rate) => *rate,
            Self::Daily { least, most, day } => {
                let turn = at.as_secs_f64() / day.as_secs_f64().max(1.0);
                let height = (1.0 - exact::cos_of_turns(turn)) / 2.0;
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

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat(rate) => write!(f, "{rate} requests per second"),
            Self::Daily { least, most, day } => {
                write!(f, "{least} to {most} requests per second over {}", Spelled(*day))
            }
            Self::Burst { base, burst, at, lasting } => {
                let (at, lasting) = (Spelled(*at), Spelled(*lasting));
                write!(f, "{base} requests per second, {burst} for {lasting} at {at}")
            }
            Self::Measured(points) => {
                let most = points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
                write!(f, "as measured, up to {most} requests per second")
            }
        }
    }
}
