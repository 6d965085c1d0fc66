//! Batches that collide often: few keys, short and empty ones, bytes at both ends of the order.

use bytes::Bytes;
use rhumb_types::{
    Epoch, Hlc, OriginId, RegionId, UnixMillis,
    record::{
        Cell, Dot, Entry, Head, OwnedId, OwnedRow, OwnedState, Record, Space, Value, VersionVector,
    },
};

use crate::store::{Batch, MetaName, Write};

/// Keys, members and prefixes, chosen for the ways an encoding can mix them up.
pub(super) const NAMES: [&[u8]; 9] =
    [b"", b"\0", b"\0\xff", b"\0\x01", b"a", b"a\0", b"a\0b", b"ab", b"\xff\xff"];
/// Scores, chosen for the ways an encoding can misplace them.
pub(super) const SCORES: [f64; 9] =
    [f64::NEG_INFINITY, -1.5, -1.0, -0.0, 0.0, f64::MIN_POSITIVE, 1.0, 1e300, f64::INFINITY];
/// Origins, at both ends.
pub(super) const ORIGINS: [OriginId; 3] = [OriginId(0), OriginId(0x10000), OriginId(u64::MAX)];
/// Views.
pub(super) const SPACES: [Space; 3] = Space::ALL;
/// Times.
const TIMES: [u64; 4] = [0, 1, 1_000, u64::MAX];

/// A stream of numbers from a seed (Steele et al., "Fast splittable pseudorandom number
/// generators", 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len());
        from.get(at).copied().expect("an index below the length")
    }

    pub(super) fn name(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&NAMES))
    }

    fn flag(&mut self) -> bool {
        self.below(3) > 0
    }

    fn cell(&mut self) -> Cell {
        let entry = Entry {
            dot: Dot { origin: self.pick(&ORIGINS), version: self.next() },
            hlc: Hlc(self.next()),
            value: Value::Bytes(self.name()),
            expiry: None,
        };
        Cell { entries: [entry].into_iter().collect(), deltas: Vec::new() }
    }

    fn owned_id(&mut self) -> OwnedId {
        OwnedId { table: self.pick(&[0, 1, 7]), key: self.name() }
    }

    fn owned_row(&mut self) -> OwnedRow {
        OwnedRow {
            id: self.owned_id(),
            home: RegionId::new("us-east-1").expect("a region's name"),
            pinned: self.flag(),
            epoch: Epoch(self.next()),
            sequence: self.next(),
            state: OwnedState::Ready,
            payload: self.name(),
        }
    }
}

/// Makes batches that a store must accept, one after the other.
#[derive(Debug)]
pub(super) struct Batches {
    pub(super) random: Random,
    applied: VersionVector,
    conflict: u64,
}

impl Batches {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random(seed), applied: VersionVector::new(), conflict: 0 }
    }

    pub(super) fn batch(&mut self) -> Batch {
        let mut writes: Vec<Write> = (0..self.random.below(24)).map(|_| self.write()).collect();
        writes.push(Write::Meta { name: MetaName::Applied, value: Some(self.applied.encode()) });
        Batch { writes }
    }

    fn write(&mut self) -> Write {
        let random = &mut self.random;
        let space = random.pick(&SPACES);
        let key = random.name();
        match random.below(14) {
            0..3 => {
                let head = Head { cell: random.cell(), members: random.next(), ..Head::default() };
                Write::Head { space, key, head: random.flag().then_some(head) }
            }
            3..5 => {
                let (member, cell) = (random.name(), random.cell());
                Write::Member { space, key, member, cell: random.flag().then_some(cell) }
            }
            5..7 => {
                let (score, member) = (random.pick(&SCORES), random.name());
                Write::Score { space, key, score, member, present: random.flag() }
            }
            7 => {
                let at = UnixMillis(random.pick(&TIMES));
                Write::Expiry { at, space, key, present: random.flag() }
            }
            8 => Write::Owned(random.owned_row()),
            9 => Write::OwnedDrop(random.owned_id()),
            10 => {
                let name = random.pick(&["x", "y", ""]).to_owned();
                Write::Meta { name: MetaName::Other(name), value: random.flag().then_some(key) }
            }
            11 => self.conflict(key),
            _ => self.log(key),
        }
    }

    fn conflict(&mut self, entry: Bytes) -> Write {
        if self.conflict > 0 && self.random.below(4) == 0 {
            let back = u64::try_from(self.random.below(3)).unwrap_or(0);
            return Write::ConflictTrim { through: self.conflict.saturating_sub(back) };
        }
        self.conflict += 1;
        Write::Conflict { sequence: self.conflict, entry }
    }

    fn log(&mut self, transaction: Bytes) -> Write {
        let origin = self.random.pick(&ORIGINS);
        let last = self.applied.get(origin);
        if last > 0 && self.random.below(5) == 0 {
            // Sometimes past the end, as a snapshot does.
            let reach = u64::try_from(self.random.below(6)).unwrap_or(0);
            let through = (last + 2).saturating_sub(reach);
            self.applied.raise(origin, through);
            return Write::LogTrim { origin, through };
        }
        self.applied.raise(origin, last + 1);
        Write::Log { origin, version: last + 1, transaction }
    }
}
