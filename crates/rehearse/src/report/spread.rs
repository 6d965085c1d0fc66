//! How a time of a fault differs from run to run.

use std::time::Duration;

use serde::Serialize;

/// Times of one kind over all runs. What never came is counted apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spread {
    sorted: Vec<Duration>,
    /// In how many runs it never came.
    pub never: usize,
}

impl Spread {
    /// Of these times.
    pub fn of(times: impl IntoIterator<Item = Option<Duration>>) -> Self {
        let mut spread = Self::default();
        for time in times {
            match time {
                Some(time) => spread.sorted.push(time),
                None => spread.never += 1,
            }
        }
        spread.sorted.sort_unstable();
        spread
    }

    /// Whether there were none, not even some that never came.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sorted.is_empty() && self.never == 0
    }

    /// A share of them is at most this, by nearest rank; `None` when it never came in so many runs.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let runs = self.sorted.len() + self.never;
        let rank = (runs * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied()
    }

    /// The longest; `None` when it never came in some run.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.percentile(100)
    }

    /// Those that came, the shortest first.
    #[must_use]
    pub fn times(&self) -> &[Duration] {
        &self.sorted
    }
}

impl Serialize for Spread {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            p50_ms: Option<f64>,
            p99_ms: Option<f64>,
            max_ms: Option<f64>,
            never_in_runs: usize,
        }
        let millis = |percent| self.percentile(percent).map(|it| it.as_secs_f64() * 1e3);
        let (p50_ms, p99_ms, max_ms) = (millis(50), millis(99), millis(100));
        Shown { p50_ms, p99_ms, max_ms, never_in_runs: self.never }.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_came_is_longer_than_all_that_did() {
        let second = |it| Some(Duration::from_secs(it));
        let spread = Spread::of([second(3), None, second(1), second(2)]);
        assert_eq!(spread.percentile(50), second(2));
        assert_eq!(spread.percentile(75), second(3));
        assert_eq!((spread.max(), spread.never), (None, 1));
        assert_eq!(Spread::default().max(), None);
    }
}
