//! Grants in three regions and four: uploads, copies, edits and deletes of objects that share blobs,
//! logs and messages that come late, twice or never, crashes, takeovers and homes that move, against
//! what is promised: nothing that is referred to or in flight is lost, and in the end what nobody
//! refers to is gone everywhere, and what is referred to is where it ought to be and nowhere else.

#[cfg(test)]
mod index;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod world;

use world::{Options, World};

fn run(options: Options) -> Option<String> {
    World::new(options).run()
}

#[cfg(not(feature = "planted"))]
fn sound(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        for regions in [3, 4] {
            let found = run(Options { seed, regions });
            assert_eq!(found, None, "seed {seed}, {regions} regions");
        }
    }
}

#[cfg(not(feature = "planted"))]
#[test]
fn keep_what_is_needed_and_let_the_rest_go() {
    sound(1..19);
}

#[cfg(not(feature = "planted"))]
#[test]
fn a_grant_that_comes_late_is_none() {
    assert_eq!(scripted::a_late_grant(), 1);
}

#[cfg(not(feature = "planted"))]
#[test]
fn a_copy_that_is_read_stays_until_nobody_refers_to_it() {
    assert_eq!(scripted::a_liked_copy(), (2, 0));
}

#[cfg(not(feature = "planted"))]
#[test]
fn a_region_that_is_behind_is_not_counted_on() {
    assert_eq!(scripted::a_keeper_that_is_behind(), 1);
}

#[cfg(not(feature = "planted"))]
#[test]
fn a_home_of_the_past_is_not_answered() {
    assert_eq!(scripted::a_home_of_the_past(), 1);
}

/// `GRANT_SEEDS=1000 cargo nextest run -p rhumb-objects --run-ignored only`.
#[cfg(not(feature = "planted"))]
#[test]
#[ignore = "a campaign"]
fn many_seeds() {
    #[expect(clippy::disallowed_methods, reason = "the length of a campaign")]
    let seeds = std::env::var("GRANT_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds: u64 = seeds.unwrap_or(200);
    std::thread::scope(|scope| {
        for part in 0..2 {
            let first = 1_000 + part * seeds;
            scope.spawn(move || sound(first..first + seeds));
        }
    });
}

#[cfg(feature = "planted")]
mod planted {
    use rhumb_types::planted::{Planted, plant};

    use super::{Options, run, scripted};

    /// Seeds that are tried before a fault counts as not found.
    const SEEDS_MAX: u64 = 60;

    fn found(fault: Planted, first: u64) {
        plant(Some(fault));
        for seed in first..first + SEEDS_MAX {
            for regions in [3, 4, 5] {
                let found = run(Options { seed, regions });
                if found.is_some_and(|found| found.contains("lost")) {
                    eprintln!("{fault:?} is found by seed {seed} with {regions} regions");
                    return plant(None);
                }
            }
        }
        plant(None);
        panic!("{fault:?} was not found in {SEEDS_MAX} seeds");
    }

    #[test]
    fn grants_by_any_ticket() {
        plant(Some(Planted::AnyTicket));
        assert_eq!(scripted::a_late_grant(), 0, "the fault is not found");
        plant(None);
    }

    #[test]
    fn counting_on_those_that_are_behind() {
        plant(Some(Planted::CountBehind));
        assert_eq!(scripted::a_keeper_that_is_behind(), 0, "the fault is not found");
        plant(None);
    }

    #[test]
    fn answering_homes_of_the_past() {
        plant(Some(Planted::AnswerSuperseded));
        assert_eq!(scripted::a_home_of_the_past(), 0, "the fault is not found");
        plant(None);
    }

    macro_rules! faults {
        ($($name:ident: $fault:ident, $first:literal;)*) => {
            $(
                #[test]
                fn $name() {
                    found(Planted::$fault, $first);
                }
            )*
        };
    }

    faults! {
        removing_what_is_pinned: RemovePinned, 1;
        removing_what_is_referred_to: RemoveReferenced, 1;
        forgetting_references_without_saying_so: ForgetFloor, 1;
        pinning_what_leaves: PinLeaving, 6;
        counting_rows: CountRows, 1;
        granting_the_last_copy: GrantLast, 1;
        looking_late: LookLate, 1;
        walking_over_winners_alone: WalkWinners, 1;
        committing_where_bytes_are_not_held: CommitUnheld, 8;
    }
}
