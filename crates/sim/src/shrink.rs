//! The smallest run that still fails.
//!
//! Faults are taken away as Zeller and Hildebrandt do ("Simplifying and isolating failure-inducing
//! input", 2002): in halves, quarters and so on, as long as the same check still fails; then the
//! load is shortened. A run is a function of its options, so each try is one run.

use std::{collections::BTreeSet, time::Duration};

use crate::{check::Check, run::Options};

/// Most runs that are tried.
pub const TRIES_MAX: usize = 400;
/// The load is not made shorter than this.
const LOAD_MIN: Duration = Duration::from_secs(1);

/// A run that fails, and how far it was shrunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// The run.
    pub options: Options,
    /// How many runs it took to find it.
    pub tries: usize,
}

/// Looks for a smaller run that fails as another does. `begun` are the faults that happened in it;
/// `fails` runs options and says which check failed.
pub fn shrink(
    failing: &Options,
    check: Check,
    begun: &BTreeSet<u64>,
    fails: impl FnMut(&Options) -> Option<Check>,
) -> Shrunk {
    let mut search = Search { best: failing.clone(), check, tries: 0, fails };
    // Without those that never began the run is the same.
    let known = Options { only: Some(begun.clone()), ..failing.clone() };
    if search.try_options(known) {
        search.fewer_faults();
    }
    search.shorter();
    search.fewer_faults();
    Shrunk { options: search.best, tries: search.tries }
}

struct Search<F> {
    best: Options,
    check: Check,
    tries: usize,
    fails: F,
}

impl<F: FnMut(&Options) -> Option<Check>> Search<F> {
    /// Takes options over if they fail in the same way.
    fn try_options(&mut self, options: Options) -> bool {
        if self.tries >= TRIES_MAX {
            return false;
        }
        self.tries += 1;
        let same = (self.fails)(&options) == Some(self.check);
        if same {
            self.best = options;
        }
        same
    }

    fn fewer_faults(&mut self) {
        let mut parts = 2;
        while let Some(faults) = self.best.only.clone().filter(|faults| !faults.is_empty()) {
            let faults: Vec<u64> = faults.into_iter().collect();
            let parts_now = parts.min(faults.len());
            let size = faults.len().div_ceil(parts_now);
            let smaller = (0..parts_now).any(|nth| {
                let left_out = nth * size..(nth + 1) * size;
                let rest = faults.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
                let only = rest.map(|(_, number)| *number).collect();
                self.try_options(Options { only: Some(only), ..self.best.clone() })
            });
            match smaller {
                true => parts = (parts_now - 1).max(2),
                false if parts_now < faults.len() => parts = parts_now * 2,
                false => return,
            }
        }
    }

    fn shorter(&mut self) {
        let mut cut = self.best.load / 2;
        while cut >= LOAD_MIN / 4 {
            let load = self.best.load.saturating_sub(cut).max(LOAD_MIN);
            let shorter =
                load < self.best.load && self.try_options(Options { load, ..self.best.clone() });
            if !shorter {
                cut /= 2;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(load: u64) -> Options {
        Options { load: Duration::from_secs(load), ..Options::default() }
    }

    #[test]
    fn what_is_not_needed_goes() {
        // Faults 3, 17 and 18 together, and at least 5 s.
        let needed = BTreeSet::from([3, 17, 18]);
        let all: BTreeSet<u64> = (1..=40).collect();
        let shrunk = shrink(&failing(20), Check::Lost, &all, |options| {
            let has = options.only.as_ref().is_none_or(|only| only.is_superset(&needed));
            (has && options.load >= Duration::from_secs(5)).then_some(Check::Lost)
        });
        assert_eq!(shrunk.options.only, Some(needed.clone()));
        assert!(shrunk.options.load < Duration::from_millis(5_600), "{shrunk:?}");
        assert!(shrunk.tries < 100, "{}", shrunk.tries);
    }

    #[test]
    fn another_failure_is_not_taken_for_the_same() {
        let all: BTreeSet<u64> = (1..=4).collect();
        let shrunk = shrink(&failing(2), Check::Lost, &all, |options| {
            let whole = options.only.as_ref().is_none_or(|only| only.len() == 4);
            Some(if whole { Check::Lost } else { Check::Causal })
        });
        assert_eq!(shrunk.options.only, Some(all));
    }

    #[test]
    fn a_failure_that_needs_no_fault_has_none_left() {
        let all: BTreeSet<u64> = (1..=9).collect();
        let shrunk = shrink(&failing(20), Check::Dots, &all, |_| Some(Check::Dots));
        assert_eq!(shrunk.options.only, Some(BTreeSet::new()));
        assert_eq!(shrunk.options.load, LOAD_MIN);
        assert!(shrunk.tries <= TRIES_MAX);
    }
}
