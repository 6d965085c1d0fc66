//! How full this node is: how busy its loop is, and how many requests wait for their answers.
//!
//! Reads do not pass the loop, and are not counted. What the user's own service does in the region
//! is for the operator's checks to tell.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rhumb_regions::{
    load::Usage,
    registry::{Capacity, Mbps},
};
use rhumb_types::Ratio;

use crate::{
    Engine,
    limits::{LOAD_INTERVAL, LOAD_STEPS, LOAD_WEIGHT},
};

/// What the loop counts, for whoever asks how full the node is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// For how long the loop has worked, in microseconds.
    busy_micros: AtomicU64,
    /// Requests that wait for their answers.
    in_flight: AtomicU32,
}

impl Load {
    /// The loop has done a round of work.
    pub(crate) fn worked(&self, took: Duration, in_flight: usize) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.busy_micros.fetch_add(micros, Ordering::Relaxed);
        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
        self.0.in_flight.store(in_flight, Ordering::Relaxed);
    }
}

/// The loop's busy share, so that one busy second does not turn clients away.
#[derive(Debug, Default)]
struct Smoothed {
    share: f64,
}

impl Smoothed {
    /// A time during which the loop was busy for so long.
    fn add(&mut self, busy: Duration, elapsed: Duration) {
        let share = busy.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        self.share += (share.min(1.0) - self.share) * LOAD_WEIGHT;
    }

    /// The fullest part of the node, in whole steps: what moves within one is not told to anybody.
    fn utilisation(&self, capacity: Capacity, in_flight: u32) -> Ratio {
        let requests =
            Usage { concurrent_uploads: 0, bandwidth: Mbps(0), jobs: 0, requests: in_flight };
        let fullest = self.share.max(requests.utilisation(capacity).get());
        Ratio::clamped((fullest * LOAD_STEPS).round() / LOAD_STEPS)
    }
}

impl Engine {
    /// Tells the overseer how full this node is, as long as it runs.
    pub(crate) fn watch_load(&self, capacity: Capacity) {
        let engine = self.clone();
        self.tasks().spawn_until_stopped(async move {
            let counts = engine.shared().load.0.clone();
            let (mut smoothed, mut told) = (Smoothed::default(), Ratio::ZERO);
            let mut before = (Instant::now(), counts.busy_micros.load(Ordering::Relaxed));
            loop {
                tokio::time::sleep(LOAD_INTERVAL).await;
                let now = (Instant::now(), counts.busy_micros.load(Ordering::Relaxed));
                let busy = Duration::from_micros(now.1.saturating_sub(before.1));
                smoothed.add(busy, now.0.duration_since(before.0));
                before = now;
                let in_flight = counts.in_flight.load(Ordering::Relaxed);
                let utilisation = smoothed.utilisation(capacity, in_flight);
                if utilisation != told && engine.utilised(utilisation) {
                    told = utilisation;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_busy_second_is_not_a_full_node() {
        let mut smoothed = Smoothed::default();
        smoothed.add(SECOND, SECOND);
        assert!(smoothed.utilisation(Capacity::default(), 0).get() < 0.5);
        for _ in 0..20 {
            smoothed.add(SECOND, SECOND);
        }
        assert!(smoothed.utilisation(Capacity::default(), 0).get() > 0.95);
        for _ in 0..20 {
            smoothed.add(Duration::ZERO, SECOND);
        }
        assert!(smoothed.utilisation(Capacity::default(), 0).get() < 0.05);
    }

    #[test]
    fn the_fullest_part_counts_and_small_changes_do_not() {
        let capacity = Capacity { requests: 1_000, ..Capacity::default() };
        let mut smoothed = Smoothed::default();
        assert_eq!(smoothed.utilisation(capacity, 950).get(), 0.95);
        assert_eq!(smoothed.utilisation(capacity, 953), smoothed.utilisation(capacity, 948));
        smoothed.add(SECOND, SECOND);
        assert_eq!(smoothed.utilisation(capacity, 950).get(), 0.95);
        assert!(smoothed.utilisation(capacity, 0).get() > 0.1);
    }
}
