//! A fault planted per rule, and the check that finds it.
//!
//! Run with `cargo nextest run -p rhumb-sim --features planted`; `cargo xtask test` does.

#![cfg(feature = "planted")]

use std::{collections::BTreeSet, thread, time::Duration};

use rhumb_sim::{Options, check::Check, run};
use rhumb_types::planted::{Planted, plant};

/// Seeds that are tried before a fault counts as not found.
const SEEDS_MAX: u64 = 40;
/// Load of each run: shorter than a campaign's, for there are many.
const LOAD: Duration = Duration::from_secs(8);

fn options(seed: u64) -> Options {
    Options { seed, load: LOAD, ..Options::default() }
}

/// Runs seeds until one of the checks finds the fault; gives the seed.
fn found(fault: Planted, by: &[Check]) -> u64 {
    plant(Some(fault));
    let mut others = BTreeSet::new();
    for seed in 1..=SEEDS_MAX {
        match run(options(seed)).violation {
            Some(violation) if by.contains(&violation.check) => {
                plant(None);
                return seed;
            }
            Some(violation) => {
                others.insert(violation.check);
            }
            None => {}
        }
    }
    plant(None);
    panic!("{fault:?} was not found by {by:?} in {SEEDS_MAX} seeds, but by {others:?}");
}

#[test]
fn without_a_fault_the_same_seeds_are_sound() {
    let sound = |seed: u64| assert_eq!(run(options(seed)).violation, None, "seed {seed}");
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || (1..=SEEDS_MAX).filter(|seed| seed % 4 == part).for_each(sound));
        }
    });
}

macro_rules! planted {
    ($($name:ident: $fault:ident, $($check:ident)|+;)*) => {$(
        #[test]
        fn $name() {
            let seed = found(Planted::$fault, &[$(Check::$check),+]);
            assert!(seed <= SEEDS_MAX);
        }
    )*};
}

planted! {
    shipping_before_the_fsync_is_found: ShipBeforeSync, Shipped;
    reusing_versions_after_a_rewind_is_found: ReuseVersions, Dots | Causal;
    leaving_the_fsync_out_is_found: SkipSync, Shipped | Acknowledged | Lost;
    answering_before_the_commit_is_found: AnswerBeforeCommit, OwnWrites | Acknowledged;
    applying_before_the_context_is_found: ApplyBeforeDeps, Causal;
    removing_what_was_not_seen_is_found: RemoveUnseen, Converged | Lost;
    losing_a_concurrent_write_is_found: LoseConcurrent, Converged | Lost;
    counting_again_is_found: CountAgain, Converged | Lost;
    counting_oneself_is_found: CountSelf, Acknowledged;
    ignoring_the_own_clock_is_found: IgnoreClock, Clocks;
    confirming_what_was_not_confirmed_is_found: ConfirmLate, Acknowledged;
    delivering_too_early_is_found: DeliverEarly, Published;
}
