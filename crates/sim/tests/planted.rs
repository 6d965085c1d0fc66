//! A fault planted per rule, and the check that finds it.
//!
//! Run with `cargo nextest run -p rhumb-sim --features planted`; `cargo xtask test` does.

#![cfg(feature = "planted")]

use std::{collections::BTreeSet, thread, time::Duration};

use rhumb_sim::{
    Kind, Options,
    check::Check,
    fault::{Fault, Planned},
    run,
    shrink::{Shrunk, shrink},
};
use rhumb_types::planted::{Planted, plant};

/// Seeds that are tried before a fault counts as not found.
const SEEDS_MAX: u64 = 40;
/// Load of each run: shorter than a campaign's, for there are many.
const LOAD: Duration = Duration::from_secs(8);

fn options(kind: Kind, seed: u64) -> Options {
    // Jobs are taken over while workers have them, and pile up.
    // A lease must have the time to move before somebody acts without it.
    let load = match kind {
        Kind::Queues => 2 * LOAD,
        Kind::Objects => 3 * LOAD,
        _ => LOAD,
    };
    Options { seed, kind, load, ..Options::default() }
}

/// Runs seeds until one of the checks finds the fault; gives the seed. What happens rarely is looked
/// for among the faults that it takes.
fn found(kind: Kind, fault: Planted, by: &[Check], among: &[Fault]) -> u64 {
    let faults = (!among.is_empty()).then(|| among.iter().copied().collect::<BTreeSet<_>>());
    let with = |seed| Options { faults: faults.clone(), ..options(kind, seed) };
    found_with(fault, by, with)
}

fn found_with(fault: Planted, by: &[Check], with: impl Fn(u64) -> Options) -> u64 {
    plant(Some(fault));
    let mut others = BTreeSet::new();
    for seed in 1..=SEEDS_MAX {
        match run(&with(seed)).violation {
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
    let sound = |kind: Kind, seed: u64| {
        assert_eq!(run(&options(kind, seed)).violation, None, "seed {seed} ({kind:?})");
    };
    thread::scope(|scope| {
        for (kind, odd) in Kind::ALL.into_iter().flat_map(|kind| [(kind, 0), (kind, 1)]) {
            let mine = (1..=SEEDS_MAX / 2).filter(move |seed| seed % 2 == odd);
            scope.spawn(move || mine.for_each(|seed| sound(kind, seed)));
        }
    });
}

/// A failure is shrunk to the few faults that it needs, and the command that is printed has it again.
#[test]
fn a_planted_fault_is_shrunk_to_what_it_needs() {
    plant(Some(Planted::ReuseVersions));
    let fails = |options: &Options| run(options).violation.map(|found| found.check);
    let seeds = (1..=SEEDS_MAX).map(|seed| options(Kind::Data, seed));
    let failures = seeds.filter_map(|options| fails(&options).map(|check| (options, check)));
    let (failing, check) = { failures }.next().unwrap();
    let begun: BTreeSet<u64> =
        run(&failing).begun.iter().map(|begun| begun.planned.number).collect();
    let Shrunk { options, tries } = shrink(&failing, check, &begun, fails);
    let again = fails(&options);
    plant(None);
    assert_eq!(again, Some(check), "{options:?}");
    assert_eq!(run(&options).violation, None, "the fault is planted, and no bug: {options:?}");
    // A disk must rewind, and somebody must be cut off or late.
    let left = options.only.as_ref().map_or(usize::MAX, BTreeSet::len);
    assert!((1..=3).contains(&left), "{left} of {} faults are left", begun.len());
    assert!(tries < 100, "{tries} runs");
}

/// Bugs that were once in the shipped node, planted again.
#[test]
fn hiding_what_was_received_is_found() {
    let faults = Some(BTreeSet::from([Fault::SyncLies, Fault::DiskStalls]));
    let with =
        |seed| Options { regions: Some(2), faults: faults.clone(), ..options(Kind::Data, seed) };
    let by = [Check::Dots, Check::Causal, Check::Converged];
    assert!(found_with(Planted::HideReceived, &by, with) <= SEEDS_MAX);
}

#[test]
fn leaving_a_snapshot_too_early_is_found() {
    // A host with a slow disk is away for long, and as it comes back and loads a snapshot, its
    // peers die one after the other.
    let with = |seed| {
        let script = vec![
            Planned::scripted(Fault::Kill, 2, (1_000, 2_500)),
            Planned::scripted(Fault::SlowDisk, 2, (1, 5_000)),
            Planned::scripted(Fault::Kill, 0, (2_600 + seed * 10, 500)),
            Planned::scripted(Fault::Kill, 1, (200, 500)),
        ];
        let load = Duration::from_secs(6);
        Options { regions: Some(3), script: Some(script), load, ..options(Kind::Domains, seed) }
    };
    let by = [Check::Converged, Check::Lost];
    assert!(found_with(Planted::LeaveMerging, &by, with) <= SEEDS_MAX);
}

/// Of three regions one after the other is cut off for so long that another decides in its place.
fn cut_in_turn(seed: u64) -> Options {
    let cut = |host, after| Planned::scripted(Fault::Isolate, host, (after, 9_000));
    let script = Some(vec![cut(0, 4_000), cut(1, 14_000)]);
    let load = Duration::from_secs(28);
    Options { regions: Some(3), script, load, ..options(Kind::Objects, seed) }
}

#[test]
fn homes_that_move_are_sound() {
    for seed in 1..=SEEDS_MAX / 2 {
        assert_eq!(run(&cut_in_turn(seed)).violation, None, "seed {seed}");
    }
}

#[test]
fn answering_before_a_majority_has_it_is_found() {
    let by = [Check::Ordered];
    assert!(found_with(Planted::AnswerUnsettled, &by, cut_in_turn) <= SEEDS_MAX);
}

#[test]
fn deciding_without_terms_is_found() {
    let by = [Check::Ordered];
    assert!(found_with(Planted::DecideWithoutTerms, &by, cut_in_turn) <= SEEDS_MAX);
}

#[test]
fn acting_for_a_home_without_its_lease_is_found() {
    let by = [Check::Ordered];
    assert!(found_with(Planted::ActWithoutLease, &by, cut_in_turn) <= SEEDS_MAX);
}

#[test]
fn missing_what_a_silent_region_may_know_is_found() {
    // What one region writes reaches the other late, and so do its answers.
    let with = |seed| {
        let narrow = Planned::scripted(Fault::Narrow, 0, (2_000, 20_000));
        let script = Some(vec![Planned { other: 1, dice: seed, ..narrow }]);
        Options { regions: Some(2), script, ..options(Kind::Objects, seed) }
    };
    assert!(found_with(Planted::MissSilent, &[Check::Missed], with) <= SEEDS_MAX);
}

#[test]
fn sending_jobs_on_twice_is_found() {
    // Nothing fails. One region after the other has too much, while it is sent what others cannot do.
    let with = |seed| {
        let (script, load) = (Some(Vec::new()), Duration::from_secs(60));
        Options { regions: Some(5), script, load, ..options(Kind::Queues, seed) }
    };
    assert!(found_with(Planted::SpillAgain, &[Check::Spilled], with) <= SEEDS_MAX);
}

macro_rules! planted {
    ($($name:ident: $kind:ident, $fault:ident, $($check:ident)|+ $(, among $($of:ident)|+)?;)*) => {$(
        #[test]
        fn $name() {
            let seed = found(Kind::$kind, Planted::$fault, &[$(Check::$check),+], &[$($(Fault::$of),+)?]);
            assert!(seed <= SEEDS_MAX);
        }
    )*};
}

planted! {
    shipping_before_the_fsync_is_found: Data, ShipBeforeSync, Shipped;
    reusing_versions_after_a_rewind_is_found: Data, ReuseVersions, Dots | Causal | Converged;
    leaving_the_fsync_out_is_found: Data, SkipSync, Shipped | Acknowledged | Lost;
    doing_what_was_refused_is_found: Data, DoRefused, Ordered, among Clock | Kill;
    answering_before_the_commit_is_found: Data, AnswerBeforeCommit, OwnWrites | Acknowledged;
    applying_before_the_context_is_found: Data, ApplyBeforeDeps, Causal;
    removing_what_was_not_seen_is_found: Data, RemoveUnseen, Converged | Lost;
    a_disk_that_forgets_what_was_fsynced_is_found: Data, DiskForgets, Durable, among PowerLoss | Torn;
    forgetting_what_was_applied_with_a_snapshot_is_found: Data, ForgetApplied, Whole,
        among Kill | PowerLoss | Isolate;
    losing_a_concurrent_write_is_found: Data, LoseConcurrent, Converged | Lost;
    comparing_stamps_without_the_origin_is_found: Data, StampWithoutOrigin, Converged;
    counting_again_is_found: Data, CountAgain, Converged | Lost;
    counting_oneself_is_found: Data, CountSelf, Acknowledged;
    counting_a_witness_is_found: Domains, CountWitness, Acknowledged;
    ignoring_the_own_clock_is_found: Data, IgnoreClock, Clocks;
    confirming_what_was_not_confirmed_is_found: Data, ConfirmLate, Acknowledged;
    delivering_too_early_is_found: Data, DeliverEarly, Published;
    carrying_every_domain_is_found: Domains, CarryAll, Residency;
    waiting_for_what_is_not_carried_is_found: Domains, WaitForUncarried, Converged;
    taking_absence_for_deletion_is_found: Domains, AbsenceEverywhere, Converged | Lost,
        among Kill | PowerLoss | Isolate;
    passing_over_an_unknown_kind_is_found: Domains, SkipUnknown, Whole | Dots | Converged | Lost;
    accepting_without_the_lease_is_found: Control, AcceptUnfenced, Fenced;
    answering_after_the_lease_is_found: Control, AnswerUnfenced, Fenced;
    refusing_what_was_logged_in_an_old_epoch_is_found: Control, RefuseOldEpoch, Converged | Lost;
    running_what_is_pinned_elsewhere_is_found: Control, RunPinned, Pinned,
        among Kill | Isolate | Strand | Depose;
    acting_before_it_holds_all_is_found: Control, OpenAtOnce, Opened,
        among Kill | Isolate | Strand | Depose;
    counting_a_lease_from_its_answer_is_found: Control, CountFromReceipt, Leases | Fenced,
        among Isolate | Strand;
    ignoring_renewals_is_found: Control, IgnoreRenewals, Leases | Fenced;
    trusting_clocks_is_found: Control, NoDriftMargin, Leases | Fenced;
    a_clock_that_stops_in_suspend_is_found: Control, ClockStopsInSuspend, Leases | Fenced;
    leaving_something_out_of_the_audit_chain_is_found: Control, AuditGap, Audited;
    forgetting_the_hold_down_is_found: Control, ForgetHold, Steady;
    giving_duties_back_at_once_is_found: Control, ReturnAtOnce, Steady;
    leaving_a_lease_free_is_found: Control, KeepFree, Agreed,
        among Kill | Isolate | Strand;
    drawing_homes_anew_is_found: Control, MoveHomes, Stable;
    leasing_at_once_after_a_takeover_is_found: Queues, LeaseAtOnce, OneLease | Completed,
        among Kill | Isolate | Strand | Suspend;
    leasing_before_the_frontier_is_found: Queues, LeaseBeforeFrontier, OneLease,
        among Kill | Isolate | Strand | PowerLoss;
    counting_any_receipt_is_found: Queues, AnyReceipt, Receipts;
    completing_early_is_found: Queues, CompleteEarly, Completed | Kept;
    ignoring_groups_is_found: Queues, IgnoreGroups, Groups;
    forgetting_keys_is_found: Queues, ForgetKeys, Keys;
    forgetting_the_hysteresis_of_spillover_is_found: Queues, SwingAtOnce, Swings;
    pinning_jobs_of_groups_is_found: Queues, PinClaims, Groups,
        among Pause;
    answering_an_upload_before_its_copies_is_found: Objects, AnswerBeforeCopies, Copied;
    holding_a_blob_before_it_is_durable_is_found: Objects, HoldEarly, Copied | Lost;
    changing_the_index_without_comparing_is_found: Objects, CompareNothing, Deleted | Lost | Ordered;
    copying_where_bytes_may_not_lie_is_found: Objects, PlaceAnywhere, Residency;
    collecting_what_is_pinned_is_found: Objects, RemovePinned, Lost | Granted;
    deleting_versions_that_were_not_seen_is_found: Objects, DeleteAll, Lost;
    leaving_damage_as_it_is_is_found: Objects, NeverRepair, Placed;
    answering_with_what_the_asker_has_deleted_is_found: Objects, AnswerDeleted, Deleted;
    completing_an_upload_unchecked_is_found: Objects, CompleteUnchecked, Parts;
    keeping_what_is_read_where_it_may_not_lie_is_found: Objects, PromoteAnywhere, Residency;
    granting_the_last_copy_is_found: Objects, GrantLast, Granted;
    removing_what_is_referred_to_is_found: Objects, RemoveReferenced, Granted;
    moving_homes_at_once_is_found: Objects, MoveHomesAtOnce, Homes | Ordered, among Isolate | Pause;
}
