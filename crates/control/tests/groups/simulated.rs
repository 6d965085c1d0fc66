//! openraft over our log on simulated machines: virtual time, a network that is cut, machines
//! that crash, disks that fail, stall and lie. What clients saw is checked for linearizability.

mod clients;
mod elections;
mod identity;
mod machine;
mod network;
#[cfg(feature = "planted")]
mod planted;
mod world;

use std::time::Duration;

use rhumb_check::Verdict;
use rhumb_control::Faults;

use world::{Outcome, Plan, World};

/// Seeds of the runs that every test run makes, in parts that run side by side.
const SEEDS: [std::ops::Range<u64>; 3] = [0..4, 4..8, 8..12];

/// Runs a plan and complains with how to run it again.
///
/// A seed decides the faults, the load, the network's delays and what crashes leave on the disks.
/// It does not decide the order in which tokio wakes several waiters of one `watch` channel, so
/// that a rare failure may need some runs to come again; `many_seeds` makes them.
fn run_checked(plan: Plan) -> Outcome {
    let seed = plan.seed;
    let outcome = World::run(plan);
    let complaints = outcome.complaints();
    assert!(
        complaints.is_empty(),
        "seed {seed}: {complaints:#?}\n{}\nrun it again with: RHUMB_SEED={seed} RHUMB_RUNS=20 cargo \
         nextest run -p rhumb-control --run-ignored all --no-capture many_seeds",
        outcome.summary()
    );
    outcome
}

fn run_part(part: usize) {
    let mut total = Outcome::default();
    for seed in SEEDS[part].clone() {
        total.add(&run_checked(Plan::everything(seed)));
    }
    eprintln!("{}", total.summary());
    total.assert_nothing_was_idle();
}

#[test]
fn histories_are_linearizable_under_faults_part_0() {
    run_part(0);
}

#[test]
fn histories_are_linearizable_under_faults_part_1() {
    run_part(1);
}

#[test]
fn histories_are_linearizable_under_faults_part_2() {
    run_part(2);
}

/// A number that a person gives, or another.
#[allow(clippy::disallowed_methods, reason = "a person gives the seed")]
fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(or)
}

/// `RHUMB_SEED=17 RHUMB_RUNS=20` runs seed 17 twenty times; `RHUMB_SEED=1000 RHUMB_SEEDS=500` runs
/// five hundred seeds.
#[test]
#[ignore = "by hand: it reads its seeds from the environment"]
fn many_seeds() {
    let first = number("RHUMB_SEED", 0);
    let mut total = Outcome::default();
    for seed in first..first + number("RHUMB_SEEDS", 1) {
        for _ in 0..number("RHUMB_RUNS", 1) {
            total.add(&run_checked(Plan::everything(seed)));
        }
    }
    eprintln!("{}", total.summary());
}

/// Whether any of some seeds shows a violation, as it must when a fault is planted.
fn found(plan: impl Fn(u64) -> Plan) -> bool {
    (100..140).any(|seed| {
        let outcome = World::run(plan(seed));
        let verdicts = outcome.verdicts();
        let wrong = |(_, verdict): &(String, Verdict)| matches!(verdict, Verdict::Violation { .. });
        verdicts.iter().any(wrong) || outcome.diverged()
    })
}

#[test]
fn planted_stale_reads_are_found() {
    assert!(found(|seed| Plan { stale_reads: true, ..Plan::everything(seed) }));
}

#[test]
fn planted_acknowledgement_before_fsync_is_found() {
    let early = Faults { sync_early: Some(Duration::from_millis(400)), ..Faults::default() };
    assert!(found(|seed| Plan { disks: early, ..Plan::power_cuts(seed) }));
}

#[test]
fn planted_lying_disks_are_found() {
    let lies = Faults { sync_lies: true, ..Faults::default() };
    assert!(found(|seed| Plan { disks: lies, ..Plan::power_cuts(seed) }));
}

#[test]
fn power_cuts_lose_nothing_when_disks_are_honest() {
    for seed in 100..103 {
        run_checked(Plan::power_cuts(seed));
    }
}
