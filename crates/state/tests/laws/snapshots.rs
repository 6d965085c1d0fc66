//! A snapshot taken at any cut merges into what a region has as the transactions would have.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use rhumb_state::{KeyRows, Side, merge_key};
use rhumb_types::record::{CellId, VersionVector};

use crate::{
    history::{REGIONS, World, steps},
    model,
    region::{CellView, Region, SPACE, View},
};

/// All keys of a region, and the vector that they reflect.
#[derive(Clone)]
struct Snapshot {
    keys: BTreeMap<Bytes, KeyRows>,
    vector: VersionVector,
}

impl Snapshot {
    fn of(region: &mut Region) -> Self {
        Self { keys: region.key_rows(), vector: region.applied.clone() }
    }

    fn merge(&self, other: &Self) -> Self {
        let keys = self.keys.iter().map(|(key, rows)| {
            let local = Side { rows, vector: &self.vector };
            let theirs = Side { rows: &other.keys[key], vector: &other.vector };
            (key.clone(), merge_key(local, theirs))
        });
        let keys = keys.collect();
        let mut vector = self.vector.clone();
        vector.merge(&other.vector);
        Self { keys, vector }
    }

    fn view(&self) -> View {
        let mut view = View::new();
        for (key, rows) in &self.keys {
            view.insert(CellId::head(SPACE, key.clone()), CellView::of(&rows.head));
            for (member, cell) in &rows.members {
                let id = CellId::member(SPACE, key.clone(), member.clone());
                view.insert(id, CellView::of(cell));
            }
        }
        view.retain(|_, cell| !cell.is_vacant());
        view
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1_000), ..ProptestConfig::default()
    })]

    #[test]
    fn a_merge_is_the_union_of_the_transactions(steps in steps(80)) {
        let mut world = World::run(1_000, true, &steps);
        (0..REGIONS).for_each(|at| world.finish(at));
        let [a, b, c] = [0, 1, 2].map(|at| Snapshot::of(&mut world.regions[at]));
        for (left, right) in [(&a, &b), (&b, &c), (&a, &c)] {
            let merged = left.merge(right);
            let union = world.transactions().filter(|t| merged.vector.covers(t.dot()));
            prop_assert_eq!(merged.view(), model::meaning(union));
            prop_assert_eq!(&right.merge(left).keys, &merged.keys, "commutative");
            prop_assert_eq!(&merged.merge(right).keys, &merged.keys, "absorbs");
        }
        prop_assert_eq!(&a.merge(&a).keys, &a.keys, "idempotent");
        prop_assert_eq!(&a.merge(&b).merge(&c).keys, &a.merge(&b.merge(&c)).keys, "associative");
    }

    /// A region that starts from a merged snapshot goes on as if it had applied everything.
    #[test]
    fn a_bootstrapped_region_goes_on_as_the_others(steps in steps(60), more in steps(40)) {
        let mut world = World::run(1_000, true, &steps);
        (0..REGIONS).for_each(|at| world.finish(at));
        let merged =
            Snapshot::of(&mut world.regions[0]).merge(&Snapshot::of(&mut world.regions[1]));
        let mut late = Region::from_rows(9, &merged.keys, merged.vector);
        for step in &more {
            world.step(step);
        }
        world.settle(&[1, 0]);
        while let Some(next) = world
            .transactions()
            .filter(|known| !late.applied.covers(known.dot()))
            .find(|known| late.is_ready(known))
        {
            late.receive(next);
        }
        prop_assert_eq!(late.view(), model::meaning(world.transactions()));
        late.sweep_all();
        prop_assert_eq!(late.view(), model::meaning(world.transactions()));
    }
}
