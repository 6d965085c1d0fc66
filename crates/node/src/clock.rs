//! How far this node's wall clock is from its peers' (rule 8).

use std::collections::BTreeMap;

use rhumb_types::planted::{self, Planted};
use rhumb_types::{MonoTime, RegionId, UnixMillis};

use crate::limits::{CLOCK_OFFSET_MAX, CLOCK_SAMPLE_AGE_MAX};

/// Offsets of the peers' clocks against ours, and what follows.
#[derive(Debug, Default)]
pub(crate) struct PeerClocks {
    samples: BTreeMap<RegionId, (MonoTime, i64)>,
    far: bool,
}

/// A change of the verdict on our own clock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClockChange {
    /// Too far from the median; milliseconds ahead of it.
    Far(i64),
    /// Near enough again.
    Near,
}

impl PeerClocks {
    /// A peer answered a heartbeat: its clock was read about half the round trip ago.
    pub(crate) fn sample(
        &mut self,
        region: &RegionId,
        now: MonoTime,
        ours: UnixMillis,
        theirs: UnixMillis,
        round_trip_millis: u64,
    ) {
        let theirs_now = i128::from(theirs.0) + i128::from(round_trip_millis / 2);
        let offset = i128::from(ours.0) - theirs_now;
        let bounded = offset.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        self.samples.insert(region.clone(), (now, i64::try_from(bounded).unwrap_or(0)));
    }

    /// Weighs the fresh samples. A majority of the other data regions must have answered, else
    /// the verdict stays as it is: silence says nothing about a clock.
    pub(crate) fn weigh(&mut self, now: MonoTime, peers: usize) -> Option<ClockChange> {
        self.samples.retain(|_, (at, _)| now.saturating_since(*at) < CLOCK_SAMPLE_AGE_MAX);
        let mut offsets: Vec<i64> = self.samples.values().map(|(_, offset)| *offset).collect();
        if offsets.is_empty() || offsets.len() * 2 < peers {
            return None;
        }
        offsets.sort_unstable();
        // With our own offset of zero among them, the median of all clocks relative to ours: of
        // two clocks neither is the odd one, so the nearer of the middle two counts.
        let position = offsets.partition_point(|offset| *offset < 0);
        offsets.insert(position, 0);
        let upper = offsets.get(offsets.len() / 2).copied().unwrap_or(0);
        let lower = offsets.get((offsets.len() - 1) / 2).copied().unwrap_or(0);
        let median = if upper.unsigned_abs() < lower.unsigned_abs() { upper } else { lower };
        let far = u128::from(median.unsigned_abs()) > CLOCK_OFFSET_MAX.as_millis();
        let change = far != self.far;
        self.far = far;
        change.then_some(if far { ClockChange::Far(median) } else { ClockChange::Near })
    }

    pub(crate) fn is_far(&self) -> bool {
        self.far && !planted::is(Planted::IgnoreClock)
    }

    pub(crate) fn offset(&self, region: &RegionId) -> Option<i64> {
        self.samples.get(region).map(|(_, offset)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(offsets: &[i64]) -> PeerClocks {
        let mut clocks = PeerClocks::default();
        for (n, offset) in offsets.iter().enumerate() {
            let theirs = UnixMillis(u64::try_from(1_000_000 - offset).unwrap());
            let region = RegionId::new(&format!("r{n}")).unwrap();
            clocks.sample(&region, MonoTime(0), UnixMillis(1_000_000), theirs, 0);
        }
        clocks
    }

    #[test]
    fn only_the_odd_clock_out_stops() {
        // We are ten minutes ahead of both others.
        let mut ahead = clocks(&[600_000, 600_010]);
        assert_eq!(ahead.weigh(MonoTime(1), 2), Some(ClockChange::Far(600_000)));
        assert!(ahead.is_far());
        // One other is ten minutes behind; the third agrees with us.
        let mut fine = clocks(&[600_000, 3]);
        assert_eq!(fine.weigh(MonoTime(1), 2), None);
        assert!(!fine.is_far());
    }

    #[test]
    fn of_two_clocks_neither_is_the_odd_one() {
        let mut pair = clocks(&[600_000]);
        assert_eq!(pair.weigh(MonoTime(1), 1), None);
    }

    #[test]
    fn recovers_when_the_clock_is_set() {
        let mut far = clocks(&[-900, -901]);
        assert_eq!(far.weigh(MonoTime(1), 2), Some(ClockChange::Far(-900)));
        far.samples.clear();
        assert_eq!(far.weigh(MonoTime(2), 2), None);
        assert!(far.is_far(), "silence changes nothing");
        let mut near = clocks(&[2, 3]);
        near.far = true;
        assert_eq!(near.weigh(MonoTime(3), 2), Some(ClockChange::Near));
    }
}
