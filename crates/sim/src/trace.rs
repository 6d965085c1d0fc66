//! A hash over everything that happens in a run, to tell two runs apart.

use std::hash::{Hash, Hasher};

/// The hash so far (FNV with words in place of bytes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    pub(crate) const fn mix(&mut self, value: u64) {
        // The high bits come back down, else what was mixed in there never reached the low ones.
        let mixed = (self.0 ^ value).wrapping_mul(0x0000_0100_0000_01b3);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// Mixes in which variant something is.
    pub(crate) fn mix_kind<T>(&mut self, of: &T) {
        std::mem::discriminant(of).hash(self);
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.unsigned_abs() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_its_kind_or_its_order_has_another_trace() {
        let of = |kinds: &[Option<u8>], size: u64| {
            let mut trace = Trace::new();
            kinds.iter().for_each(|kind| trace.mix_kind(kind));
            trace.mix(size);
            trace.value()
        };
        assert_eq!(of(&[None, Some(1)], 7), of(&[None, Some(1)], 7));
        assert_ne!(of(&[None, Some(1)], 7), of(&[Some(1), None], 7), "another order");
        assert_ne!(of(&[None, Some(1)], 7), of(&[None, None], 7), "another kind");
        assert_ne!(of(&[None, Some(1)], 7), of(&[None, Some(1)], 8), "another size");
        assert_ne!(of(&[None], 1 << 63), of(&[None], 0), "a high bit");
    }
}
