//! The phi accrual failure detector: Hayashibara, Defago, Yared and Katayama, "The phi accrual
//! failure detector", SRDS 2004.
//!
//! Phi is how surprising a silence is: `-log10` of the probability that a heartbeat comes even
//! later than now, if the intervals are normally distributed like the recent ones.

use std::{collections::VecDeque, time::Duration};

use rhumb_types::MonoTime;

/// How many intervals are remembered; older ones say little about the network of today.
const WINDOW_SAMPLES: usize = 200;

/// The intervals of one peer's heartbeats, and what a silence means after them.
#[derive(Debug, Clone)]
pub struct PhiAccrual {
    intervals: VecDeque<u64>,
    /// Sums of the window in microseconds; whole numbers, so that they never drift.
    sum: u128,
    sum_squares: u128,
    last: MonoTime,
    deviation_min: Duration,
}

impl PhiAccrual {
    /// A detector that expects heartbeats at an interval from now on. No spread narrower than
    /// `deviation_min` is believed.
    #[must_use]
    pub fn new(now: MonoTime, expected: Duration, deviation_min: Duration) -> Self {
        let mut detector = Self {
            intervals: VecDeque::with_capacity(WINDOW_SAMPLES),
            sum: 0,
            sum_squares: 0,
            last: now,
            deviation_min,
        };
        // Two samples around the expected interval stand in for a history.
        let (expected, spread) = (micros(expected), micros(expected / 4));
        detector.push(expected.saturating_sub(spread));
        detector.push(expected.saturating_add(spread));
        detector
    }

    /// A heartbeat came. The silence before it is remembered unless it was an outage, which says
    /// nothing about the rhythm.
    pub fn record(&mut self, now: MonoTime, was_outage: bool) {
        if !was_outage {
            self.push(micros(now.saturating_since(self.last)));
        }
        self.last = self.last.max(now);
    }

    /// Moves the last heartbeat later: a time in which this node could not have noticed it.
    pub fn discount(&mut self, now: MonoTime, by: Duration) {
        self.last = (self.last + by).min(now).max(self.last);
    }

    /// How long it has been silent.
    #[must_use]
    pub const fn silence(&self, now: MonoTime) -> Duration {
        now.saturating_since(self.last)
    }

    /// How surprising the present silence is.
    #[must_use]
    pub fn phi(&self, now: MonoTime) -> f64 {
        let (mean, deviation) = self.distribution();
        let y = (self.silence(now).as_secs_f64() - mean) / deviation;
        phi_of(y)
    }

    /// Mean and deviation in seconds.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of minutes fit a double")]
    fn distribution(&self) -> (f64, f64) {
        let count = self.intervals.len().max(1) as f64;
        let mean = self.sum as f64 / count;
        let variance = (self.sum_squares as f64 / count - mean * mean).max(0.0);
        let deviation = (variance.sqrt() / 1e6).max(self.deviation_min.as_secs_f64());
        (mean / 1e6, deviation)
    }

    fn push(&mut self, interval: u64) {
        if self.intervals.len() >= WINDOW_SAMPLES
            && let Some(oldest) = self.intervals.pop_front()
        {
            self.sum -= u128::from(oldest);
            self.sum_squares -= square(oldest);
        }
        self.intervals.push_back(interval);
        self.sum += u128::from(interval);
        self.sum_squares += square(interval);
    }
}

/// Phi of a silence that is `y` deviations over the mean.
///
/// A logistic approximation of the normal distribution's tail, as the common implementations of
/// the detector use it. Its absolute error is below 1.4e-4; far out it makes a silence look rarer
/// than it is, so that 8 here is a true one in 10^7.
fn phi_of(y: f64) -> f64 {
    let e = (-y * (1.597_6 + 0.070_566 * y * y)).exp();
    if y > 0.0 { -(e / (1.0 + e)).log10() } else { -(1.0 - 1.0 / (1.0 + e)).log10() }
}

/// How many deviations over the mean a silence must be for a phi; at most 32.
pub(super) fn deviations(phi: f64) -> f64 {
    let (mut low, mut high) = (0.0, 32.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if phi_of(middle) < phi { low = middle } else { high = middle }
    }
    high
}

fn square(interval: u64) -> u128 {
    u128::from(interval) * u128::from(interval)
}

fn micros(duration: Duration) -> u64 {
    // An hour bounds the squares; nobody waits that long for a heartbeat.
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(3_600_000_000)
}
