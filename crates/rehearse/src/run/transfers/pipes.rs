//! What regions take from their clients, and give to them: one thing after the other.

use rhumb_types::RegionId;

use crate::{
    objects::Objects,
    time::{Micros, SECOND},
};

/// The uplink of a region.
#[derive(Debug)]
struct Pipe {
    bytes_per_second: u64,
    /// When all that came so far is in,
    in_at: Micros,
    /// and when all that goes out so far has left.
    out_at: Micros,
}

/// The uplinks of all regions.
#[derive(Debug)]
pub(super) struct Pipes(Vec<Pipe>);

/// How long bytes take at a rate; no time where that is not known.
pub(super) fn takes(bytes: u64, bytes_per_second: u64) -> Micros {
    let micros = u128::from(bytes) * u128::from(SECOND);
    let micros = micros.checked_div(u128::from(bytes_per_second)).unwrap_or(0);
    u64::try_from(micros).unwrap_or(u64::MAX)
}

impl Pipes {
    pub(super) fn new(regions: &[RegionId], objects: &Objects) -> Self {
        let pipe = |region| {
            let bytes_per_second = objects.uplinks.get(region).copied().unwrap_or(0);
            Pipe { bytes_per_second, in_at: 0, out_at: 0 }
        };
        Self(regions.iter().map(pipe).collect())
    }

    /// When bytes are in that come now.
    pub(super) fn take(&mut self, host: usize, now: Micros, bytes: u64) -> Micros {
        let Some(pipe) = self.0.get_mut(host) else { return now };
        pipe.in_at = pipe.in_at.max(now) + takes(bytes, pipe.bytes_per_second);
        pipe.in_at
    }

    /// When bytes have left that are given now.
    pub(super) fn give(&mut self, host: usize, now: Micros, bytes: u64) -> Micros {
        let Some(pipe) = self.0.get_mut(host) else { return now };
        pipe.out_at = pipe.out_at.max(now) + takes(bytes, pipe.bytes_per_second);
        pipe.out_at
    }

    /// What was under way is lost.
    pub(super) fn clear(&mut self, host: usize) {
        if let Some(pipe) = self.0.get_mut(host) {
            (pipe.in_at, pipe.out_at) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_comes_in_after_the_other_and_goes_out_beside_it() {
        let pipe = Pipe { bytes_per_second: 1_000_000, in_at: 0, out_at: 0 };
        let mut pipes = Pipes(vec![pipe]);
        assert_eq!(pipes.take(0, SECOND, 2_000_000), 3 * SECOND);
        assert_eq!(pipes.take(0, SECOND, 1_000_000), 4 * SECOND);
        assert_eq!(pipes.give(0, SECOND, 500_000), SECOND * 3 / 2);
        pipes.clear(0);
        assert_eq!(pipes.take(0, 2 * SECOND, 0), 2 * SECOND);
        assert_eq!(takes(5, 0), 0);
    }
}
