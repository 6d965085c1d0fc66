//! Random choice from a seed.

use super::Sample;

/// Numbers that look random, from a seed (SplitMix64: Steele, Lea, Flood, "Fast splittable
/// pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The upper half of a 128-bit product spreads 64 random bits over the bound; the bias is
        // under bound / 2^64.
        let product = u128::from(self.next()) * (bound as u128);
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Puts things into a random order (Fisher-Yates).
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

/// Chooses places among `count` rows, in no particular order when fewer than all are chosen.
pub(crate) fn choose(count: usize, sample: Sample, draw: &mut Draw) -> Vec<usize> {
    match sample {
        _ if count == 0 => Vec::new(),
        Sample::One => vec![draw.below(count)],
        Sample::Repeated(wanted) => (0..wanted).map(|_| draw.below(count)).collect(),
        Sample::Distinct(wanted) if wanted >= count => (0..count).collect(),
        Sample::Distinct(wanted) => {
            // The first steps of a Fisher-Yates shuffle.
            let mut places: Vec<usize> = (0..count).collect();
            for at in 0..wanted {
                places.swap(at, at + draw.below(count - at));
            }
            places.truncate(wanted);
            places
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn distinct_choices_are_distinct(count in 0_usize..50, wanted in 0_usize..60, seed: u64) {
            let chosen = choose(count, Sample::Distinct(wanted), &mut Draw::new(seed));
            prop_assert_eq!(chosen.len(), wanted.min(count));
            prop_assert!(chosen.iter().all(|at| *at < count));
            prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
        }

        #[test]
        fn repeated_choices_are_as_many_as_wanted(count in 1_usize..50, wanted in 0_usize..60, seed: u64) {
            let chosen = choose(count, Sample::Repeated(wanted), &mut Draw::new(seed));
            prop_assert_eq!(chosen.len(), wanted);
            prop_assert!(chosen.iter().all(|at| *at < count));
        }
    }

    #[test]
    fn every_row_has_the_same_chance() {
        let mut draw = Draw::new(7);
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[draw.below(10)] += 1;
        }
        // Six standard deviations around 1,000.
        assert!(counts.iter().all(|count| (820..1_180).contains(count)), "{counts:?}");
    }
}
