//! How full a region is, and when a hash must give way to load.

use rhumb_types::Ratio;
use serde::{Deserialize, Serialize};

use crate::{
    registry::{Capacity, Mbps},
    set::{RegionIndex, RegionSet},
};

/// From this utilisation on, a region takes no new work.
pub const SATURATED_FROM: f64 = 0.95;
/// The bound of consistent hashing with bounded loads, as a fraction (5/4 is c = 1.25): Mirrokni,
/// Thorup and Zadimoghaddam, 2016.
pub const LOAD_BOUND: (u64, u64) = (5, 4);
/// Below this many units in flight a region is never over its bound: with little load, chance
/// alone exceeds the mean, and moving keys would only cost their locality.
pub const LOAD_FLOOR: u32 = 16;

/// What a region does at the moment, in the units of its [`Capacity`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// Uploads in flight.
    pub concurrent_uploads: u32,
    /// Network rate.
    pub bandwidth: Mbps,
    /// Jobs running.
    pub jobs: u32,
    /// Requests in flight.
    pub requests: u32,
}

impl Usage {
    /// The fullest of all parts. A part without capacity is full when it is used.
    #[must_use]
    pub fn utilisation(self, capacity: Capacity) -> Ratio {
        let share = |used: u32, of: u32| match (used, of) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            _ => f64::from(used) / f64::from(of),
        };
        let fullest = share(self.concurrent_uploads, capacity.concurrent_uploads)
            .max(share(self.bandwidth.0, capacity.bandwidth.0))
            .max(share(self.jobs, capacity.jobs))
            .max(share(self.requests, capacity.requests));
        Ratio::clamped(fullest)
    }
}

/// Whether a region takes no new work.
#[must_use]
pub fn is_saturated(utilisation: Ratio) -> bool {
    utilisation.get() >= SATURATED_FROM
}

/// One region's part in a group that shares load by weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Which region.
    pub region: RegionIndex,
    /// Units of work in flight there.
    pub load: u32,
    /// Its weight.
    pub weight: u32,
}

/// The regions of a group that may not take one more unit by hash: it would lift them above 1.25
/// times their share of the group's load. In whole numbers, so that all nodes agree.
#[must_use]
pub fn over_bound(group: &[Share]) -> RegionSet {
    let (over, under) = LOAD_BOUND;
    let total: u128 = group.iter().map(|share| u128::from(share.load)).sum();
    let weights: u128 = group.iter().map(|share| u128::from(share.weight)).sum();
    let exceeds = |share: &&Share| {
        let load = u128::from(share.load) + 1;
        share.load >= LOAD_FLOOR
            && load * weights * u128::from(under)
                > (total + 1) * u128::from(share.weight) * u128::from(over)
    };
    group.iter().filter(exceeds).map(|share| share.region).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(loads: &[(u32, u32)]) -> Vec<Share> {
        let share = |(at, (load, weight)): (usize, &(u32, u32))| Share {
            region: RegionIndex::new(at),
            load: *load,
            weight: *weight,
        };
        loads.iter().enumerate().map(share).collect()
    }

    #[test]
    fn a_region_above_its_share_overflows_and_one_below_does_not() {
        let over = over_bound(&group(&[(200, 1), (100, 1), (100, 1)]));
        assert_eq!(over, RegionSet::of(RegionIndex::new(0)));
        assert!(over_bound(&group(&[(200, 2), (100, 1), (100, 1)])).is_empty());
    }

    #[test]
    fn little_load_moves_nothing() {
        assert!(over_bound(&group(&[(LOAD_FLOOR - 1, 1), (0, 1), (0, 1)])).is_empty());
    }

    proptest! {
        #[test]
        fn some_region_always_takes_more(loads in proptest::collection::vec((0_u32..1_000, 1_u32..100), 1..20)) {
            prop_assert!(over_bound(&group(&loads)).len() < loads.len());
        }
    }

    #[test]
    fn the_fullest_part_counts() {
        let usage = Usage { concurrent_uploads: 1, bandwidth: Mbps(960), jobs: 50, requests: 0 };
        let utilisation = usage.utilisation(Capacity::default());
        assert!((utilisation.get() - 0.96).abs() < 1e-12);
        assert!(is_saturated(utilisation));
        let none = Capacity { jobs: 0, ..Capacity::default() };
        assert!(is_saturated(usage.utilisation(none)));
    }
}
