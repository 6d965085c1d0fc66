//! A histogram without a lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds for times, in seconds: 50 microseconds to 10 seconds, about three per decade.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
/// Upper bounds for counts of things in a batch.
const COUNTS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0, 16_384.0];

/// Counts observations in buckets. Clones are handles of the same histogram.
///
/// A reader may see an observation in the sum before it is in its bucket, which a scrape cannot
/// tell from one that came a moment later.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: &'static [f64],
    /// One more than there are bounds; the last has none.
    buckets: Box<[AtomicU64]>,
    /// The sum, in parts of a unit.
    sum: AtomicU64,
    parts_per_unit: f64,
}

impl Histogram {
    /// A histogram of times in seconds, added up in nanoseconds.
    #[must_use]
    pub fn of_times() -> Self {
        Self::new(SECONDS, 1e9)
    }

    /// A histogram of how many things are in a batch.
    #[must_use]
    pub fn of_counts() -> Self {
        Self::new(COUNTS, 1.0)
    }

    /// A histogram with upper bounds, lowest first.
    fn new(bounds: &'static [f64], parts_per_unit: f64) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { bounds, buckets, sum: AtomicU64::new(0), parts_per_unit }))
    }

    /// Counts a value; one below zero or not a number counts as zero.
    pub fn observe(&self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Counts a value as often as it occurred.
    pub fn observe_many(&self, value: f64, times: u64) {
        let value = if value > 0.0 { value } else { 0.0 };
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.0.buckets.get(at) {
            bucket.fetch_add(times, Ordering::Relaxed);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a cast of a float saturates"
        )]
        let parts = (value * self.0.parts_per_unit) as u64;
        self.0.sum.fetch_add(parts.saturating_mul(times), Ordering::Relaxed);
    }

    /// Counts a time, in seconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "a metric")]
        let sum = self.0.sum.load(Ordering::Relaxed) as f64 / self.0.parts_per_unit;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn counts_into_the_first_bucket_that_holds_the_value() {
        let histogram = Histogram::new(&[1.0, 10.0], 10.0);
        for value in [0.5, 1.0, 1.5, 10.0, 11.0, -1.0, f64::NAN] {
            histogram.observe(value);
        }
        let mut registry = Registry::default();
        registry.register("x", "A test", histogram.clone());
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        for line in [
            "x_bucket{le=\"1.0\"} 4",
            "x_bucket{le=\"10.0\"} 6",
            "x_bucket{le=\"+Inf\"} 7",
            "x_count 7",
            "x_sum 24.0",
        ] {
            assert!(out.lines().any(|found| found == line), "{line} in {out}");
        }
    }

    #[test]
    fn loses_nothing_under_many_threads() {
        let histogram = Histogram::of_times();
        let observe = |thread: u32| {
            (0..10_000).for_each(|value| {
                histogram.observe(f64::from(value % 7) * f64::from(thread) / 100.0);
            });
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || observe(thread));
            }
        });
        assert_eq!(histogram.count(), 40_000);
    }
}
