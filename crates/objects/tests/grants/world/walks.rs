//! Walks of the homes, over rows that change meanwhile.

use rhumb_objects::grant::{HomeEvent, Walk, WalkConfig, walk::Taken};
use rhumb_types::{
    UnixMillis,
    planted::{self, Planted},
    record::{BlobHash, HolderRecord},
};

use super::{GRACE, KEYS, Walking, Work, World, hash};

impl World {
    pub(super) fn start_walk(&mut self, at: usize) {
        let duties: Vec<_> = self.nodes[at].homes.keys().copied().collect();
        let (Some(count), None) =
            (u64::try_from(duties.len()).ok().filter(|n| *n > 0), &self.nodes[at].walking)
        else {
            return;
        };
        let duty = duties[usize::try_from(self.draw(count)).unwrap()];
        self.begin_pass(at, duty, None);
    }

    pub(super) fn begin_pass(&mut self, at: usize, duty: usize, after: Option<BlobHash>) {
        let config = WalkConfig {
            grace: GRACE,
            surplus_grace: GRACE / 2,
            cached_grace: GRACE / 4,
            hashes_max: 4,
        };
        let node = &self.nodes[at];
        let mut walk = Walk::begin(config, UnixMillis(self.now), &node.view.applied);
        let homes = usize::try_from(node.homes_known).unwrap();
        for ((blob, region), (since, cached)) in &node.view.holders {
            let mine = (usize::from(*blob) + homes) % self.nodes.len() == duty;
            let past = after.is_none_or(|after| hash(*blob) > after);
            let since = UnixMillis(*since);
            let record = HolderRecord { bytes: 1, since, cached: *cached };
            if mine
                && past
                && walk.on_holder(hash(*blob), self.index(*region), &record) == Taken::Full
            {
                break;
            }
        }
        self.nodes[at].walking = Some(Walking { duty, walk, next: 0, after });
        self.work(at, 4_000, Work::WalkOn);
    }

    /// Reads the rows of one key, as they are by now.
    pub(super) fn walk_on(&mut self, at: usize) {
        let Some(mut walking) = self.nodes[at].walking.take() else { return };
        let cell = self.nodes[at].view.cells.get(&walking.next).cloned().unwrap_or_default();
        let winner = cell.last_key_value().map(|(dot, _)| *dot);
        for (dot, blob) in cell {
            if Some(dot) == winner || !planted::is(Planted::WalkWinners) {
                walking.walk.on_reference(&hash(blob), self.wanted(blob), self.copies);
            }
        }
        walking.next += 1;
        if u64::from(walking.next) < KEYS {
            self.nodes[at].walking = Some(walking);
            return self.work(at, 4_000, Work::WalkOn);
        }
        let pass = walking.walk.finish(&self.map);
        assert!(walking.after.is_none_or(|after| pass.next.is_none_or(|next| next > after)));
        for mut candidate in pass.candidates {
            if planted::is(Planted::LookLate) {
                candidate.vector = self.nodes[at].view.applied.clone().into();
            }
            self.home_event(at, walking.duty, HomeEvent::Found(candidate));
        }
        if pass.next.is_some() {
            self.begin_pass(at, walking.duty, pass.next);
        }
    }
}
