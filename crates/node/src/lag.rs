//! When this node's own transactions became durable, to tell how far a peer is behind in time.

use std::collections::VecDeque;

use rhumb_types::MonoTime;

/// Most marks kept; past that every second one is dropped, and times get coarser.
const MARKS_MAX: usize = 4_096;

/// The time at which versions of the own log became durable.
#[derive(Debug, Default)]
pub(crate) struct DurableTimes {
    marks: VecDeque<(u64, MonoTime)>,
}

impl DurableTimes {
    pub(crate) fn mark(&mut self, version: u64, now: MonoTime) {
        if self.marks.back().is_some_and(|(last, _)| *last >= version) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back((version, now));
    }

    /// Forgets what every peer has.
    pub(crate) fn forget(&mut self, everywhere: u64) {
        while self.marks.front().is_some_and(|(version, _)| *version <= everywhere) {
            self.marks.pop_front();
        }
    }

    /// For how long the oldest transaction after `acknowledged` has been durable, in
    /// milliseconds; 0 when there is none.
    pub(crate) fn behind_millis(&self, acknowledged: u64, now: MonoTime) -> u64 {
        let at = self.marks.partition_point(|(version, _)| *version <= acknowledged);
        let oldest = self.marks.get(at).map(|(_, since)| now.saturating_since(*since));
        oldest.map_or(0, |behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_long_the_oldest_missing_transaction_has_waited() {
        let mut times = DurableTimes::default();
        times.mark(3, MonoTime(1_000));
        times.mark(5, MonoTime(9_000));
        assert_eq!(times.behind_millis(3, MonoTime(19_000)), 10);
        assert_eq!(times.behind_millis(0, MonoTime(19_000)), 18);
        assert_eq!(times.behind_millis(5, MonoTime(19_000)), 0);
        times.forget(3);
        assert_eq!(times.behind_millis(0, MonoTime(19_000)), 10);
        for version in 6..10_000 {
            times.mark(version, MonoTime(version));
        }
        assert!(times.marks.len() <= MARKS_MAX);
    }
}
