//! The same transactions give the same state, which is the one that the definition says.

use proptest::prelude::*;
use rhumb_state::{Draft, DraftContext, KeyRows, MEMBERS_UNKNOWN, visible};
use rhumb_types::record::{CellId, Change, Field, Record};

use crate::{
    history::{REGIONS, Step, World, counting_steps, ops, steps, sweeping_steps},
    model,
    region::{KEYS, Region, SPACE, View, is_member_of, key},
};

fn check_counts(region: &mut Region, view: &View, exact: bool) {
    for key in (0..KEYS.len()).map(key) {
        let counted = region.counted(&key);
        let live = view.keys().filter(|cell| is_member_of(cell, &key)).count() as u64;
        if exact || counted != MEMBERS_UNKNOWN {
            assert_eq!(counted, live, "members of {key:?}");
        }
    }
}

/// After all sweeps the store holds the view and nothing else, and its indexes agree with it.
fn check_store(region: &mut Region, view: &View) {
    region.sweep_all();
    check_counts(region, view, true);
    let store = &region.store;
    assert!(store.cleared.values().all(|list| list.removals.is_empty()));
    let mut scores = Vec::new();
    for ((space, key, member), cell) in &store.members {
        let id = CellId { space: *space, key: key.clone(), field: Field::Member(member.clone()) };
        assert_eq!(visible::is_live(cell), view.contains_key(&id), "{id:?}");
        assert!(!visible::is_live(cell) || store.heads.contains_key(&(*space, key.clone())));
        scores.extend(
            visible::score(cell).map(|s| (*space, key.clone(), s.to_bits(), member.clone())),
        );
    }
    scores.sort();
    assert!(scores.iter().eq(store.scores.iter()), "{scores:?} {:?}", store.scores);
    let expiries = store.heads.iter().filter_map(|((space, key), head)| {
        assert!(head.cleared.is_empty());
        visible::expiry(&head.cell).map(|at| (at, *space, key.clone()))
    });
    let mut expiries: Vec<_> = expiries.collect();
    expiries.sort();
    assert!(expiries.iter().eq(store.expiries.iter()), "{expiries:?} {:?}", store.expiries);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1_000), ..ProptestConfig::default()
    })]

    /// At any moment a region shows what the transactions that it has applied mean.
    #[test]
    fn a_region_shows_what_its_transactions_mean(
        steps in steps(60),
        rows_max in prop_oneof![Just(1_usize), 2..8_usize, Just(1_000)],
        order in proptest::collection::vec(0..REGIONS, 1..6),
    ) {
        let mut world = World::run(rows_max, true, &steps);
        for at in 0..REGIONS {
            world.finish(at);
            let expected = model::meaning(world.applied(at));
            let view = world.regions[at].view();
            prop_assert_eq!(&view, &expected, "region {}", at);
            check_counts(&mut world.regions[at], &view, false);
        }
        world.settle(&order);
        let expected = model::meaning(world.transactions());
        for (at, view) in world.views().into_iter().enumerate() {
            prop_assert_eq!(&view, &expected, "region {} at the end", at);
            check_store(&mut world.regions[at], &view);
            prop_assert_eq!(&world.regions[at].view(), &expected, "region {} swept", at);
        }
    }

    /// Sweeps count exactly and lose nothing, whatever happens while they run.
    #[test]
    fn sweeps_take_out_what_is_removed_and_nothing_else(
        steps in sweeping_steps(60),
        rows_max in prop_oneof![Just(1_usize), Just(3), Just(1_000)],
    ) {
        let mut world = World::new(rows_max, false);
        for step in &steps {
            world.step(step);
            for at in 0..2 {
                let view = world.regions[at].view();
                check_counts(&mut world.regions[at], &view, false);
            }
        }
        world.settle(&[0]);
        let expected = model::meaning(world.transactions());
        for at in 0..2 {
            prop_assert_eq!(&world.regions[at].view(), &expected);
            check_store(&mut world.regions[at], &expected);
            prop_assert_eq!(&world.regions[at].view(), &expected);
        }
    }

    /// What is forgotten as early as can be is never missed.
    #[test]
    fn counters_survive_forgetting_at_once(
        steps in counting_steps(80),
        order in proptest::collection::vec(0..REGIONS, 1..4),
    ) {
        let mut world = World::run(1_000, true, &steps);
        world.settle(&order);
        let expected = model::meaning(world.transactions());
        for view in world.views() {
            prop_assert_eq!(&view, &expected);
        }
    }

    /// A removal never takes away what its writer had not seen.
    #[test]
    fn what_a_removal_did_not_see_survives(steps in steps(60)) {
        let mut world = World::run(1_000, true, &steps);
        world.settle(&[1]);
        let view = world.regions[0].view();
        let visible: Vec<_> = model::dots(&view).collect();
        for transaction in world.transactions() {
            let unseen = !world.transactions().any(|other| other.has_seen(transaction.dot()));
            let puts = transaction.changes.iter().any(|change| matches!(change, Change::Put { .. }));
            prop_assert!(!unseen || !puts || visible.contains(&transaction.dot()));
        }
    }

    /// Forgetting dead deltas as soon as it is allowed changes nothing that can be seen.
    #[test]
    fn forgetting_changes_nothing(steps in steps(80)) {
        let mut forgetful = World::run(1_000, true, &steps);
        let mut faithful = World::run(1_000, false, &steps);
        prop_assert_eq!(forgetful.views(), faithful.views());
        forgetful.settle(&[0, 2, 1]);
        faithful.settle(&[0, 2, 1]);
        prop_assert_eq!(forgetful.views(), faithful.views());
    }

    /// Once everybody has seen everything, nothing dead is kept.
    #[test]
    fn in_the_end_nothing_dead_is_kept(steps in steps(60)) {
        let mut world = World::run(1_000, true, &steps);
        world.settle(&[0]);
        for at in 0..REGIONS {
            world.regions[at].sweep_all();
            for of in 0..REGIONS {
                world.step(&Step::Learn { at, of });
            }
            world.regions[at].collect(1_000);
            world.regions[at].arrive_all();
            let store = &world.regions[at].store;
            let cells = store.members.values().chain(store.heads.values().map(|head| &head.cell));
            for cell in cells {
                prop_assert!(cell.deltas.iter().all(|delta| delta.counts()), "{:?}", cell);
            }
        }
    }

    /// Many operations in one transaction come to the same as each in its own.
    #[test]
    fn folding_changes_nothing(ops in proptest::collection::vec(ops(), 1..25)) {
        let mut folded = World::new(1_000, false);
        let mut single = World::new(1_000, false);
        for op in &ops {
            folded.step(&Step::Run { at: 0, op: op.clone() });
            single.step(&Step::Run { at: 0, op: op.clone() });
            single.finish(0);
        }
        folded.settle(&[0]);
        single.settle(&[0]);
        prop_assert!(folded.transactions().count() <= 1);
        let shown = |view: View| -> Vec<_> {
            view.into_iter()
                .map(|(id, cell)| {
                    let values: Vec<_> =
                        cell.entries.into_iter().map(|(_, value, expiry)| (value, expiry)).collect();
                    (id, values, cell.additions)
                })
                .collect()
        };
        for at in 0..REGIONS {
            let folded = shown(folded.regions[at].view());
            prop_assert_eq!(folded, shown(single.regions[at].view()), "region {}", at);
        }
    }

    /// A transaction holds at most one write and one addition of a cell between barriers, and is
    /// no longer than the draft says.
    #[test]
    fn a_transaction_is_folded(ops in proptest::collection::vec(ops(), 1..60)) {
        let mut region = Region::new(1, 1_000);
        for op in &ops {
            region.run(op, 1);
        }
        let bytes = region.draft_bytes();
        let Some(transaction) = region.finish() else { return Ok(()) };
        prop_assert!(transaction.encode().len() <= bytes);
        let mut seen = std::collections::BTreeSet::new();
        for change in &transaction.changes {
            let fresh = match change {
                Change::Put { cell, .. } | Change::Remove { cell, .. } => seen.insert((0, cell.clone())),
                Change::Add { cell, .. } => seen.insert((1, cell.clone())),
                Change::RemoveKey { .. } | Change::RemovePrefix { .. } => {
                    seen.clear();
                    true
                }
                Change::Own(_) => true,
            };
            prop_assert!(fresh, "{:?}", transaction.changes);
        }
    }
}

#[test]
fn an_empty_draft_is_no_transaction() {
    let context = DraftContext {
        origin: rhumb_types::OriginId(1),
        version: 1,
        timestamp: rhumb_types::Hlc(1),
        region: rhumb_types::RegionId::new("here").unwrap(),
        deps: rhumb_types::record::VersionVector::new(),
    };
    let draft = Draft::open(context);
    assert!(draft.is_empty() && draft.finish().is_none());
    assert_eq!(KeyRows::default().head_row(0).members, 0);
    assert_eq!(SPACE, rhumb_types::record::Space::USER);
}
