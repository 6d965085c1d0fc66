//! When requests come.
//!
//! Requests come by themselves, each without regard to the others: a Poisson process, whose rate
//! follows the traffic's shape in slots of a tenth of a second. Reads and writes are two processes,
//! each with a bound of its own on how many are simulated; beyond it each stands for several, its
//! *weight*.

use super::{Shape, chance::exponential};
use crate::{
    random::Random,
    time::{Micros, SECOND, whole},
};

/// Within a slot the rate does not change.
const SLOT: Micros = SECOND / 10;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// A request that comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// From the start of the run.
    pub at: Micros,
    /// How many requests it stands for.
    pub weight: u64,
}

/// Requests of one kind.
#[derive(Debug)]
pub struct Arrivals {
    /// What they do.
    pub kind: Kind,
    /// The share of all requests that are of this kind.
    share: f64,
    /// How many are simulated in a second.
    simulated_max: f64,
    random: Random,
}

impl Arrivals {
    /// Those of a share of all requests; beyond so many a second each stands for several.
    #[must_use]
    pub const fn new(kind: Kind, share: f64, simulated_max: f64, random: Random) -> Self {
        Self { kind, share, simulated_max, random }
    }

    /// How many requests one that comes now stands for.
    #[must_use]
    pub fn weight(&self, shape: &Shape, at: Micros) -> u64 {
        whole((self.rate(shape, at) / self.simulated_max).ceil()).max(1)
    }

    fn rate(&self, shape: &Shape, at: Micros) -> f64 {
        (shape.rate(std::time::Duration::from_micros(at)) * self.share).max(0.0)
    }

    /// The next request after a time and before the end.
    pub fn next(&mut self, shape: &Shape, after: Micros, end: Micros) -> Option<Arrival> {
        let mut at = after;
        while at < end {
            let slot_ends = (at / SLOT + 1) * SLOT;
            let weight = self.weight(shape, at);
            let rate = self.rate(shape, at) / weight as f64;
            let next = at.saturating_add(exponential(&mut self.random, rate));
            if next < slot_ends {
                return (next < end).then_some(Arrival { at: next, weight });
            }
            // An exponential wait has no memory: what is left of it is drawn anew.
            at = slot_ends;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn all(shape: &Shape, share: f64, simulated_max: f64, seconds: u64) -> Vec<Arrival> {
        let mut arrivals = Arrivals::new(Kind::Read, share, simulated_max, Random::new(3));
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(arrival) = arrivals.next(shape, at, seconds * SECOND) {
            at = arrival.at + 1;
            found.push(arrival);
        }
        found
    }

    #[test]
    fn as_many_come_as_the_rate_says() {
        let found = all(&Shape::Flat(100.0), 0.5, 1_000.0, 400);
        // 20,000 are expected, give or take five times their root.
        assert!((19_300..20_700).contains(&found.len()), "{}", found.len());
        // The squared coefficient of variation of the waits of a Poisson process is 1.
        let waits: Vec<f64> = found.windows(2).map(|two| (two[1].at - two[0].at) as f64).collect();
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        let spread = waits.iter().map(|wait| (wait - mean).powi(2)).sum::<f64>();
        let variation = spread / waits.len() as f64 / mean.powi(2);
        assert!((0.9..1.1).contains(&variation), "{variation}");
    }

    #[test]
    fn beyond_the_bound_each_stands_for_several() {
        let found = all(&Shape::Flat(2_500.0), 1.0, 1_000.0, 20);
        assert!(found.iter().all(|arrival| arrival.weight == 3));
        let stand_for = found.iter().map(|arrival| arrival.weight).sum::<u64>();
        assert!((48_000..52_000).contains(&stand_for), "{stand_for}");
    }

    #[test]
    fn a_burst_comes_when_it_is_said() {
        let (at, lasting) = (Duration::from_secs(10), Duration::from_secs(5));
        let shape = Shape::Burst { base: 0.0, burst: 50.0, at, lasting };
        let found = all(&shape, 1.0, 1_000.0, 30);
        assert!(found.len() > 150);
        assert!(found.iter().all(|it| (10 * SECOND..15 * SECOND).contains(&it.at)));
    }
}
