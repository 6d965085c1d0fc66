//! How many requests come, from where, and what they are.

mod measured;
mod parse;
#[cfg(test)]
mod tests;
mod words;

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::{AckLevel, Ratio, RegionId};

pub use rhumb_sim::traffic::Shape;

pub use self::{
    measured::measured,
    parse::{ack, acks, capacities, near, shape, share},
};
pub(crate) use self::{
    parse::{by_regions, only},
    words::acknowledged,
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
    /// How writes are acknowledged, each level with its share of the requests; 100 % together. Who writes at
    /// one level writes at no other.
    pub acks: Vec<(AckLevel, Ratio)>,
    /// How many keys there are.
    pub keys: u64,
    /// The share of requests that want one and the same key.
    pub hot: Ratio,
    /// Bytes of a value.
    pub value_bytes: u32,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            shape: Shape::Flat(100.0),
            near: BTreeMap::new(),
            writes: Ratio::clamped(0.1),
            acks: vec![(AckLevel::Local, Ratio::ONE)],
            keys: 10_000,
            hot: Ratio::ZERO,
            value_bytes: 256,
        }
    }
}

/// The most per second, and how many come in all, as far as a look at the beginning of each second tells.
pub(crate) fn peak_and_sum(shape: &Shape, lasting: Duration) -> (f64, f64) {
    let seconds = lasting.as_secs() + u64::from(lasting.subsec_nanos() > 0);
    let rates = (0..seconds).map(|at| shape.rate(Duration::from_secs(at)));
    rates.fold((0.0, 0.0), |(peak, all), rate| (rate.max(peak), all + rate))
}
