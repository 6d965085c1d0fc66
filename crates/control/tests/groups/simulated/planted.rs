//! Faults planted in the shipped code, and the check that finds each.

use rhumb_types::planted::{Planted, plant};

use super::{
    identity::{Check, Kind, Life},
    world::{Plan, World},
};

/// Seeds that are tried before a fault counts as not found.
const SEEDS_MAX: u64 = 8;

/// Runs seeds until one of the checks finds the fault.
fn found(kind: Kind, fault: Planted, by: &[Check]) {
    let mut others = Vec::new();
    for seed in 0..SEEDS_MAX {
        plant(Some(fault));
        let violations = Life::run(kind, seed).violations;
        plant(None);
        if violations.iter().any(|(check, _)| by.contains(check)) {
            eprintln!("seed {seed}: {violations:#?}");
            return;
        }
        others.extend(violations);
    }
    panic!("{fault:?} was not found by {by:?} in {SEEDS_MAX} seeds, but {others:#?}");
}

#[test]
fn forming_without_an_answer_is_found() {
    found(Kind::Forming, Planted::FormUnanswered, &[Check::Founders, Check::OneGroup]);
}

#[test]
fn forming_over_others_is_found() {
    found(Kind::Losses, Planted::FormOverOthers, &[Check::OneGroup, Check::Seats]);
}

#[test]
fn keeping_a_seat_is_found() {
    found(Kind::Losses, Planted::KeepSeat, &[Check::Agreement, Check::History]);
}

#[test]
fn answering_for_another_is_found() {
    found(Kind::Losses, Planted::AnswerForOther, &[Check::Agreement, Check::History]);
}

#[test]
fn crossing_lineages_is_found() {
    found(Kind::Recovery, Planted::CrossLineages, &[Check::OneGroup, Check::Strangers]);
}

#[test]
fn giving_a_token_again_is_found() {
    plant(Some(Planted::TokenAgain));
    let locks: Vec<String> = World::run(Plan::power_cuts(0)).locks_in_disorder();
    plant(None);
    assert!(!locks.is_empty(), "no lock's history shows it");
}
