//! The queues of three regions (or two) that crash, freeze, are cut off and take over, with clocks that
//! drift, against what is promised: nothing acknowledged is lost, no two leases of a job are live, only
//! the receipt of the live lease counts, groups are in order, a key is one row.

#[cfg(test)]
mod host;
#[cfg(test)]
mod world;

use world::{Options, World};

fn run(options: Options) -> Option<String> {
    World::new(options).run()
}

#[cfg(not(feature = "planted"))]
fn sound(seeds: std::ops::Range<u64>, regions: usize) {
    for seed in seeds {
        let found = run(Options { seed, regions });
        assert_eq!(found, None, "seed {seed}, {regions} regions");
    }
}

#[cfg(not(feature = "planted"))]
#[test]
fn three_regions_keep_the_promises() {
    sound(1..7, 3);
}

#[cfg(not(feature = "planted"))]
#[test]
fn two_regions_keep_the_promises() {
    sound(100..104, 2);
    // A key is enqueued again while its job is held back.
    sound(1_356..1_357, 2);
}

/// `QUEUE_SEEDS=200 cargo nextest run -p rhumb-queue --run-ignored only`.
#[cfg(not(feature = "planted"))]
#[test]
#[ignore = "a campaign"]
fn many_seeds_keep_the_promises() {
    #[expect(clippy::disallowed_methods, reason = "the length of a campaign")]
    let seeds = std::env::var("QUEUE_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds: u64 = seeds.unwrap_or(100);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let first = 1_000 + part * seeds;
            scope.spawn(move || sound(first..first + seeds / 2, 3));
            scope.spawn(move || sound(first + seeds / 2..first + seeds, 2));
        }
    });
}

#[cfg(feature = "planted")]
mod planted {
    use rhumb_types::planted::{Planted, plant};

    use super::{Options, run};

    /// Seeds that are tried before a fault counts as not found.
    const SEEDS_MAX: u64 = 40;

    fn found(fault: Planted, by: &str, regions: usize) {
        plant(Some(fault));
        let mut others = Vec::new();
        for seed in 1..=SEEDS_MAX {
            match run(Options { seed, regions }) {
                Some(found) if found.contains(by) => return plant(None),
                Some(found) => others.push(found),
                None => {}
            }
        }
        plant(None);
        panic!("{fault:?} was not found in {SEEDS_MAX} seeds, but {others:?}");
    }

    #[test]
    fn a_successor_that_does_not_wait() {
        found(Planted::LeaseAtOnce, "two live leases", 3);
    }

    #[test]
    fn leases_before_their_frontier() {
        found(Planted::LeaseBeforeFrontier, "two live leases", 3);
    }

    #[test]
    fn receipts_that_all_count() {
        found(Planted::AnyReceipt, "receipt", 3);
    }

    #[test]
    fn a_completion_that_is_answered_early() {
        found(Planted::CompleteEarly, "was completed", 3);
    }

    #[test]
    fn groups_side_by_side() {
        found(Planted::IgnoreGroups, "group", 3);
    }

    #[test]
    fn keys_that_are_forgotten() {
        found(Planted::ForgetKeys, "key", 3);
    }
}
