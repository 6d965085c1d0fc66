//! Counters, against single increments: each counts until a delete or an overwrite that saw it.

use proptest::prelude::*;
use rhumb_types::record::{Amount, CellId, Dot};

use crate::{
    history::{REGIONS, Step, World, steps},
    region::{CellView, Op, SPACE, View, key, member},
};

/// A history in which key 0 is a string and key 1 a hash, and nothing is removed by range.
fn only_exact(steps: Vec<Step>) -> Vec<Step> {
    steps
        .into_iter()
        .filter_map(|step| {
            let Step::Run { at, op } = step else { return Some(step) };
            let op = match op {
                Op::Set { value, .. } => Op::Set { key: 0, value, expiry: None },
                Op::Incr { by, .. } => Op::Incr { key: 0, by },
                Op::Expire { at, .. } => Op::Expire { key: 0, at },
                Op::Del { .. } => Op::Del { key: 0 },
                Op::DelEach { .. } => Op::DelEach { key: 1 },
                Op::Hset { member, value, .. } => Op::Hset { key: 1, member, value },
                Op::Hincr { member, by, .. } => Op::Hincr { key: 1, member, by },
                Op::Drop { member, .. } => Op::Drop { key: 1, member },
                _ => return None,
            };
            Some(Step::Run { at, op })
        })
        .collect()
}

fn cell_of(op: &Op) -> Option<CellId> {
    match op {
        Op::Set { key: k, .. } | Op::Incr { key: k, .. } | Op::Del { key: k } => {
            Some(CellId::head(SPACE, key(*k)))
        }
        Op::Hset { key: k, member: m, .. }
        | Op::Hincr { key: k, member: m, .. }
        | Op::Drop { key: k, member: m } => Some(CellId::member(SPACE, key(*k), member(*m))),
        _ => None,
    }
}

fn touches(op: &Op, cell: &CellId) -> bool {
    match op {
        Op::DelEach { key: k } => cell.key == key(*k),
        op => cell_of(op).as_ref() == Some(cell),
    }
}

/// What the increments that nobody has removed come to.
fn counted(world: &World, cell: &CellId) -> Option<i64> {
    let saw = |(later, place): (Dot, usize), (earlier, earlier_place): (Dot, usize)| {
        if later == earlier {
            return place > earlier_place;
        }
        let transaction = world.transactions().find(|known| known.dot() == later);
        transaction.is_some_and(|known| known.has_seen(earlier))
    };
    let mut total = None;
    for (dot, place, op) in world.done.iter().filter(|(.., op)| touches(op, cell)) {
        let (Op::Incr { by, .. } | Op::Hincr { by, .. }) = op else { continue };
        let removed = world.done.iter().any(|(other, other_place, op)| {
            let removes = !matches!(op, Op::Incr { .. } | Op::Hincr { .. });
            removes && touches(op, cell) && saw((*other, *other_place), (*dot, *place))
        });
        if !removed {
            *total.get_or_insert(0) += by;
        }
    }
    total
}

fn additions(view: &View, cell: &CellId) -> Option<i64> {
    view.get(cell).and_then(|cell: &CellView| cell.additions).map(|Amount { int, .. }| int)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1_000), ..ProptestConfig::default()
    })]

    /// Nothing is counted twice, nothing that was removed comes back, nothing else is lost.
    #[test]
    fn every_increment_counts_until_it_is_removed(
        steps in steps(70).prop_map(only_exact),
        order in proptest::collection::vec(0..REGIONS, 1..6),
    ) {
        let mut world = World::run(1_000, true, &steps);
        world.settle(&order);
        let mut cells = vec![CellId::head(SPACE, key(0))];
        cells.extend((0..4).map(|at| CellId::member(SPACE, key(1), member(at))));
        for view in world.views() {
            for cell in &cells {
                let expected = counted(&world, cell);
                prop_assert_eq!(additions(&view, cell), expected, "{:?}", cell);
            }
        }
    }
}
