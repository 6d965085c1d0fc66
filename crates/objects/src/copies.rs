//! Copies that an upload waits for: who stands in for a region that took none, and when there are
//! enough.

use std::collections::VecDeque;

use rhumb_types::{
    RegionId,
    planted::{self, Planted},
};

/// The copies of one upload.
#[derive(Debug, Clone)]
pub struct Copying {
    wanted: usize,
    copied: usize,
    spares: VecDeque<RegionId>,
}

/// Too few regions took the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{had} of {needed} regions took the bytes")]
pub struct TooFew {
    /// How many did.
    pub had: usize,
    /// How many were needed.
    pub needed: usize,
}

impl Copying {
    /// So many are wanted beside the one here; the spares stand in, in their order.
    #[must_use]
    pub fn new(wanted: usize, spares: impl IntoIterator<Item = RegionId>) -> Self {
        Self { wanted, copied: 0, spares: spares.into_iter().collect() }
    }

    /// How many are wanted.
    #[must_use]
    pub const fn wanted(&self) -> usize {
        self.wanted
    }

    /// A region has all of it, or gave up after its last try; gives who stands in.
    pub fn on_end(&mut self, copied: bool) -> Option<RegionId> {
        if copied {
            self.copied += 1;
            return None;
        }
        self.spares.pop_front()
    }

    /// Whether as many as wanted are made.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.copied >= self.wanted || planted::is(Planted::AnswerBeforeCopies)
    }
}

/// Whether an upload with so many copies may be answered, of `needed` and `asked`; says whether fewer were
/// made than were asked for.
///
/// # Errors
/// [`TooFew`].
pub fn enough(had: usize, needed: usize, asked: usize) -> Result<bool, TooFew> {
    if had < needed && !planted::is(Planted::AnswerBeforeCopies) {
        return Err(TooFew { had, needed });
    }
    Ok(had < asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_stands_in_for_each_that_fails() {
        let spare = RegionId::new("c").unwrap();
        let mut copying = Copying::new(2, [spare.clone()]);
        assert_eq!(copying.on_end(true), None);
        assert_eq!(copying.on_end(false), Some(spare));
        assert!(!copying.is_done());
        assert_eq!(copying.on_end(true), None);
        assert!(copying.is_done());
        assert_eq!(Copying::new(1, []).on_end(false), None);
    }

    #[test]
    fn fewer_than_asked_for_are_a_degraded_success_and_fewer_than_needed_none() {
        assert_eq!(enough(3, 2, 3), Ok(false));
        assert_eq!(enough(2, 2, 3), Ok(true));
        assert_eq!(enough(1, 2, 3), Err(TooFew { had: 1, needed: 2 }));
    }
}
