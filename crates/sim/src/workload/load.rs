//! How much the clients of a run do over time: each seed has a shape of its own.

use std::time::Duration;

use crate::{
    random::Random,
    run::Options,
    time::{Micros, SECOND},
    traffic::{
        Shape,
        arrivals::{Arrivals, Kind},
    },
};

/// Separates the stream of what comes when from the run's others.
const STREAM: u64 = 0x6c6f_6164;
/// Writes per second, all clients together, unless the run says otherwise.
const WRITES_PER_SECOND: f64 = 130.0;
/// Every write is simulated, and stands for itself.
const SIMULATED_MAX: f64 = 1e9;
/// Nothing comes for longer than this only when nothing will come.
const LOOK_AHEAD: Micros = 3_600 * SECOND;
/// From this length on a day is a day.
const LONG: Duration = Duration::from_secs(6 * 3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Of a thousand writes with a hot key, how many want it.
const HOT_PER_MILLE: u64 = 800;

/// What comes when, and for which key.
#[derive(Debug)]
pub(crate) struct Load {
    shape: Shape,
    arrivals: Arrivals,
    /// How many of a thousand writes want the first key of their kind.
    hot_per_mille: u64,
}

impl Load {
    /// The load of a seed: flat, a day's curve, a burst, or flat with a hot key.
    pub(crate) fn of(options: &Options) -> Self {
        // Beside queues and objects little else is written.
        use crate::run::Kind as Run;
        let beside = matches!(options.kind, Run::Queues | Run::Objects);
        Self::with(options, if beside { WRITES_PER_SECOND / 10.0 } else { WRITES_PER_SECOND })
    }

    /// The load of a seed, with so many in a second unless the run says otherwise.
    pub(crate) fn with(options: &Options, rate: f64) -> Self {
        let mut random = Random::new(options.seed ^ STREAM);
        let rate = options.rate.map_or(rate, f64::from);
        let load = options.load;
        let at = load.mul_f64(0.1) + random.between(Duration::ZERO, load.mul_f64(0.6));
        let (shape, hot_per_mille) = match random.below(10) {
            0..=3 => (Shape::Flat(rate), 0),
            4 | 5 => {
                let day = if load >= LONG { DAY } else { load };
                (Shape::Daily { least: rate * 0.1, most: rate * 1.9, day }, 0)
            }
            6 | 7 => {
                let (base, burst) = (rate * 0.5, rate * 4.5);
                (Shape::Burst { base, burst, at, lasting: load / 8 }, 0)
            }
            _ => (Shape::Flat(rate), HOT_PER_MILLE),
        };
        let stream = Random::new(random.bits());
        let arrivals = Arrivals::new(Kind::Write, 1.0, SIMULATED_MAX, stream);
        Self { shape, arrivals, hot_per_mille }
    }

    /// How long until the next write.
    pub(crate) fn pause(&mut self, now: Micros) -> Duration {
        let end = now + LOOK_AHEAD;
        let next = self.arrivals.next(&self.shape, now, end).map_or(end, |arrival| arrival.at);
        Duration::from_micros((next - now).max(1))
    }

    /// Which of so many keys a write wants.
    pub(crate) const fn key(&self, random: &mut Random, keys: u64) -> u64 {
        if random.chance(self.hot_per_mille) { 0 } else { random.below(keys) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads() -> impl Iterator<Item = Load> {
        (0..100).map(|seed| Load::of(&Options { seed, ..Options::default() }))
    }

    #[test]
    fn the_seeds_have_loads_of_every_shape() {
        let all: Vec<Load> = loads().collect();
        let count = |is: fn(&Load) -> bool| all.iter().filter(|load| is(load)).count();
        assert!(count(|load| matches!(load.shape, Shape::Daily { .. })) > 10);
        assert!(count(|load| matches!(load.shape, Shape::Burst { .. })) > 10);
        assert!(count(|load| load.hot_per_mille > 0) > 10);
        assert!(count(|load| matches!(load.shape, Shape::Flat(_)) && load.hot_per_mille == 0) > 20);
    }

    #[test]
    fn they_are_as_much_on_the_whole() {
        for mut load in loads() {
            let (mut now, mut writes) = (0, 0_u64);
            while now < 20 * SECOND {
                now += crate::time::micros(load.pause(now));
                writes += 1;
            }
            // A flat load has 2,600.
            assert!((2_200..3_000).contains(&writes), "{writes}: {load:?}");
        }
    }
}
