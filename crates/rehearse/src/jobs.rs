//! Jobs: how many come, how long they take, and who works on them.

mod parse;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, time::Duration};

use rhumb_regions::spillover::Limits;
use rhumb_sim::random::Random;
use rhumb_types::{Ratio, RegionId, record::QueueDefinition, units::Spelled};

pub use self::parse::{RATE_MAX, WORKERS_MAX, peak_is_too_high, takes, workers};
use crate::{
    chance,
    extent::Extent,
    time::micros,
    traffic::{Shape, acknowledged},
};

/// The jobs of a rehearsal, all of one queue.
#[derive(Clone, PartialEq, Debug)]
pub struct Jobs {
    /// How many come, over time; of all producers together.
    pub shape: Shape,
    /// Which share of the producers is nearest to each region; the rest of one is spread evenly.
    pub near: BTreeMap<RegionId, Ratio>,
    /// How long a worker takes for one.
    pub takes: Takes,
    /// How many workers each region has, each with one job at a time.
    pub workers: BTreeMap<RegionId, u32>,
    /// The queue's settings.
    pub definition: QueueDefinition,
    /// When new jobs are sent elsewhere, by the region that sends them.
    pub spillover: BTreeMap<RegionId, Limits>,
}

/// How long a worker takes for a job.
pub type Takes = Extent<Duration>;

impl Takes {
    /// One of them, in microseconds.
    pub(crate) fn draw(self, random: &mut Random) -> u64 {
        match self {
            Self::Always(time) => micros(time),
            Self::Between(least, most) => micros(random.between(least, most)),
            Self::About(mean) => chance::exponential(random, 1.0 / mean.as_secs_f64().max(1e-6)),
        }
    }

    /// The average.
    #[must_use]
    pub fn mean(self) -> Duration {
        match self {
            Self::Always(time) | Self::About(time) => time,
            Self::Between(least, most) => (least + most) / 2,
        }
    }
}

impl fmt::Display for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, takes, workers, definition, .. } = self;
        let all: u64 = workers.values().map(|count| u64::from(*count)).sum();
        let (shape, ack) =
            (shape.to_string().replace("requests", "jobs"), acknowledged(definition.ack));
        let takes = takes.map(Spelled);
        write!(f, "{shape} that take {takes}, {ack}; {all} workers")
    }
}
