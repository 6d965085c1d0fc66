//! The suite of [`Store`].
//!
//! The heart of it is a comparison: random batches go to the store and to
//! [`Tables`](crate::memory::Tables), and every read must agree, also after the store was opened
//! again. The other cases are what a comparison does not show.

use std::fmt::Debug;

use bytes::Bytes;
use rhumb_types::{
    OriginId, UnixMillis,
    record::{Cell, Head, OwnedId, ROW_BYTES_MAX, Record, Space, VersionVector},
};

use super::random::{Batches, NAMES, ORIGINS, Random, SCORES, SPACES};
use crate::{
    memory::Tables,
    store::{
        Batch, Durability, MetaName, RESERVED_SPACE, Range, ReadStore, ScoreRange, Store,
        StoreError, Write,
    },
};

/// How many batches a comparison commits between two looks at everything.
const BATCHES_PER_LOOK: usize = 8;
/// How many looks a comparison takes.
const LOOKS: usize = 12;
/// The origin of cases that need one.
const ORIGIN: OriginId = OriginId(0x2_0000);

/// Where a suite gets its stores.
pub trait StoreFactory {
    /// The store under test.
    type Store: Store;
    /// Opens the same data directory again; the store opened before has been dropped.
    fn open(&mut self) -> Self::Store;
}

/// The tests of a store; give it an expression that makes a [`StoreFactory`] on no data.
#[macro_export]
macro_rules! store_contract {
    ($factory:expr) => {
        mod store_contract {
            #[allow(unused_imports, reason = "the factory may need none of it")]
            use super::*;
            use $crate::contract::store;

            #[test]
            fn agrees_with_the_reference() {
                for seed in 0..4 {
                    store::agrees_with_the_reference(&mut $factory, seed);
                }
            }
            #[test]
            fn a_refused_batch_changes_nothing() {
                store::a_refused_batch_changes_nothing(&mut $factory);
            }
            #[test]
            fn the_longest_names_are_held_and_longer_ones_refused() {
                store::the_longest_names_are_held_and_longer_ones_refused(&mut $factory);
            }
            #[test]
            fn a_later_write_of_a_batch_wins() {
                store::a_later_write_of_a_batch_wins(&mut $factory);
            }
            #[test]
            fn commit_numbers_grow_by_one_and_survive() {
                store::commit_numbers_grow_by_one_and_survive(&mut $factory);
            }
            #[test]
            fn a_snapshot_stays_as_it_is() {
                store::a_snapshot_stays_as_it_is(&mut $factory);
            }
            #[test]
            fn a_log_is_read_in_bounded_parts() {
                store::a_log_is_read_in_bounded_parts(&mut $factory);
            }
            #[test]
            fn a_log_continues_after_a_snapshot_was_loaded() {
                store::a_log_continues_after_a_snapshot_was_loaded(&mut $factory);
            }
            #[test]
            fn opening_reports_what_is_kept() {
                store::opening_reports_what_is_kept(&mut $factory);
            }
            #[test]
            fn readers_never_see_a_number_before_its_rows() {
                store::readers_never_see_a_number_before_its_rows(&mut $factory);
            }
        }
    };
}

fn head(members: u64) -> Head {
    Head { members, ..Head::default() }
}

fn put(key: &'static [u8], members: u64) -> Write {
    let key = Bytes::from_static(key);
    Write::Head { space: Space::USER, key, head: Some(head(members)) }
}

fn applied(version: u64) -> Write {
    let vector: VersionVector = [(ORIGIN, version)].into_iter().collect();
    Write::Meta { name: MetaName::Applied, value: Some(vector.encode()) }
}

fn append(version: u64, transaction: Bytes) -> Vec<Write> {
    vec![Write::Log { origin: ORIGIN, version, transaction }, applied(version)]
}

fn commit<S: Store>(store: &S, writes: Vec<Write>) -> u64 {
    store.commit(&Batch { writes }, Durability::Synced).expect("a sound batch commits")
}

/// Random batches; every read agrees with [`Tables`], on the store, on a snapshot of it, and after
/// a new open.
pub fn agrees_with_the_reference<F: StoreFactory>(factory: &mut F, seed: u64) {
    let mut batches = Batches::new(seed);
    let mut reference = Tables::default();
    let mut store = factory.open();
    for look in 0..LOOKS {
        for _ in 0..BATCHES_PER_LOOK {
            let batch = batches.batch();
            let durability = if batches.random.below(2) == 0 {
                Durability::Buffered
            } else {
                Durability::Synced
            };
            reference.apply(&batch).expect("random batches are sound");
            store.commit(&batch, durability).expect("a sound batch commits");
        }
        store.sync().expect("a sound store syncs");
        if look % 3 == 2 {
            drop(store);
            store = factory.open();
            assert_eq!(store.recovered(), &reference.recovered(), "seed {seed}");
        }
        compare(&store, &reference, &mut batches.random);
        compare(&store.snapshot(), &reference, &mut batches.random);
    }
}

/// One read on both.
fn same<T, A, B>(store: &A, reference: &B, read: impl Fn(&dyn ReadStore) -> Result<T, StoreError>)
where
    T: Debug + PartialEq,
    A: ReadStore,
    B: ReadStore,
{
    assert_eq!(read(store), read(reference));
}

fn compare<S: ReadStore>(store: &S, reference: &Tables, random: &mut Random) {
    assert_eq!(store.commit_number(), reference.commit_number());
    for space in SPACES {
        for name in NAMES {
            compare_key(store, reference, random, space, name);
        }
    }
    for origin in ORIGINS {
        let (after, bytes) = (random.next() % 6, random.below(12));
        same(store, reference, |s| s.log(origin, 0, usize::MAX));
        same(store, reference, |s| s.log(origin, after, bytes));
    }
    for table in [0, 1, 7] {
        let after = (random.below(2) == 0).then(|| random.name());
        let limit = random.below(5);
        same(store, reference, |s| s.owned_rows(table, Range { after: after.clone(), limit }));
        let key = random.name();
        same(store, reference, |s| s.owned(&OwnedId { table, key: key.clone() }));
    }
    for (until, limit) in [(0, 9), (1_000, 3), (u64::MAX, 99)] {
        same(store, reference, |s| s.expired(UnixMillis(until), limit));
    }
    for limit in [0, 2, 99] {
        same(store, reference, |s| s.conflicts(limit));
    }
    for name in [MetaName::Applied, MetaName::Identity, MetaName::Other("x".to_owned())] {
        same(store, reference, |s| s.meta(&name));
    }
}

fn compare_key<S: ReadStore>(
    store: &S,
    reference: &Tables,
    random: &mut Random,
    space: Space,
    key: &[u8],
) {
    let after = (random.below(2) == 0).then(|| random.name());
    let range = Range { after, limit: random.below(8) };
    let member = random.name();
    same(store, reference, |s| s.head(space, key));
    same(store, reference, |s| s.keys(space, key, range.clone()));
    same(store, reference, |s| s.member(space, key, &member));
    same(store, reference, |s| s.members(space, key, range.clone()));
    for reverse in [false, true] {
        let after = (random.below(2) == 0).then(|| (random.pick(&SCORES), random.name()));
        let (min, max) = (random.pick(&SCORES), random.pick(&SCORES));
        let range = ScoreRange { min, max, after, reverse, limit: random.below(8) };
        same(store, reference, |s| s.scores(space, key, range.clone()));
        let all = ScoreRange {
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
            after: None,
            reverse,
            limit: usize::MAX,
        };
        same(store, reference, |s| s.scores(space, key, all.clone()));
    }
}

/// A batch that leaves a gap in a log, or writes a version twice, is refused as a whole.
pub fn a_refused_batch_changes_nothing<F: StoreFactory>(factory: &mut F) {
    let store = factory.open();
    let number = commit(&store, append(1, Bytes::from_static(b"t")));
    for version in [0, 1, 3] {
        let mut writes = vec![put(b"k", 1)];
        writes.extend(append(version, Bytes::from_static(b"t")));
        let refused = store.commit(&Batch { writes }, Durability::Synced);
        assert!(matches!(refused, Err(StoreError::Record { table: "log", .. })), "{refused:?}");
        assert_eq!(store.head(Space::USER, b"k"), Ok(None));
        assert_eq!(store.commit_number(), number);
    }
    assert_eq!(commit(&store, append(2, Bytes::from_static(b"t"))), number + 1);
}

/// Names up to the bound are held, of whatever bytes; longer ones are refused with their batch, and
/// are found nowhere.
pub fn the_longest_names_are_held_and_longer_ones_refused<F: StoreFactory>(factory: &mut F) {
    let store = factory.open();
    let space = Space::USER;
    let all = || Range { after: None, limit: 9 };
    let writes = |key: Bytes, member: Bytes, space: Space| {
        let (cell, head) = (Some(Cell::default()), Some(head(1)));
        vec![
            Write::Head { space, key: key.clone(), head },
            Write::Member { space, key: key.clone(), member: member.clone(), cell },
            Write::Score { space, key, score: 1.0, member, present: true },
        ]
    };
    for (key, member) in [(ROW_BYTES_MAX, 0), (1, ROW_BYTES_MAX - 1)] {
        let (key, member) = (Bytes::from(vec![0; key]), Bytes::from(vec![0xff; member]));
        commit(&store, writes(key.clone(), member.clone(), space));
        assert_eq!(store.head(space, &key), Ok(Some(head(1))));
        let members = store.members(space, &key, all()).expect("a read");
        assert_eq!(members, vec![(member, Cell::default())]);
    }
    let long = Bytes::from(vec![0; 100_000]);
    for (key, member, space) in [
        (long.clone(), Bytes::new(), space),
        (Bytes::from_static(b"k"), long.clone(), space),
        (Bytes::from_static(b"k"), Bytes::new(), Space(RESERVED_SPACE)),
    ] {
        let refused =
            store.commit(&Batch { writes: writes(key, member, space) }, Durability::Synced);
        assert!(matches!(refused, Err(StoreError::Record { .. })), "{refused:?}");
    }
    assert_eq!(store.commit_number(), 2);
    assert_eq!(store.head(space, &long), Ok(None));
    assert_eq!(store.member(space, b"k", &long), Ok(None));
    assert_eq!(store.members(space, &long, all()), Ok(Vec::new()));
    assert_eq!(store.keys(space, &long, all()), Ok(Vec::new()));
    // A cursor that nobody could have been given cuts where it sorts.
    let after = |cursor: &Bytes| Range { after: Some(cursor.clone()), limit: 9 };
    let keys = store.keys(space, b"", after(&long)).expect("a read");
    assert!(keys.is_empty(), "both keys are shorter runs of zeros");
    let keys = store.keys(space, b"", after(&Bytes::from_static(b"\0"))).expect("a read");
    assert_eq!(keys.len(), 1);
    let scores = ScoreRange {
        min: 1.0,
        max: 1.0,
        after: Some((1.0, Bytes::from(vec![0xff; 100_000]))),
        reverse: true,
        limit: 9,
    };
    assert_eq!(store.scores(space, b"\0", scores).expect("a read").len(), 1);
    assert_eq!(store.owned(&OwnedId { table: 1, key: long }), Ok(None));
}

/// Within a batch the later write of a row wins, removals included.
pub fn a_later_write_of_a_batch_wins<F: StoreFactory>(factory: &mut F) {
    let store = factory.open();
    let remove = |key| Write::Head { space: Space::USER, key: Bytes::from_static(key), head: None };
    commit(&store, vec![put(b"a", 1), put(b"a", 2), put(b"b", 1), remove(b"b")]);
    commit(&store, vec![remove(b"c"), put(b"c", 3)]);
    assert_eq!(store.head(Space::USER, b"a"), Ok(Some(head(2))));
    assert_eq!(store.head(Space::USER, b"b"), Ok(None));
    assert_eq!(store.head(Space::USER, b"c"), Ok(Some(head(3))));
}

/// Numbers grow by one, empty batches included, and go on after a new open.
pub fn commit_numbers_grow_by_one_and_survive<F: StoreFactory>(factory: &mut F) {
    let store = factory.open();
    assert_eq!(store.commit_number(), 0);
    assert_eq!(commit(&store, Vec::new()), 1);
    assert_eq!(commit(&store, vec![put(b"k", 1)]), 2);
    assert_eq!(store.commit_number(), 2);
    drop(store);
    let store = factory.open();
    assert_eq!(store.commit_number(), 2);
    assert_eq!(commit(&store, vec![put(b"k", 2)]), 3);
}

/// What is committed after a snapshot is not seen through it.
pub fn a_snapshot_stays_as_it_is<F: StoreFactory>(factory: &mut F) {
    let store = factory.open();
    commit(&store, vec![put(b"a", 1)]);
    let snapshot = store.snapshot();
    commit(&store, vec![put(b"a", 2), put(b"b", 1)]);
    let all = Range { after: None, limit: 9 };
    assert_eq!(snapshot.commit_number(), 1);
    assert_eq!(snapshot.head(Space::USER, b"a"), Ok(Some(head(1))));
    let keys = snapshot.keys(Space::USER, b"", all).expect("a read");
    assert_eq!(keys, vec![(Bytes::from_static(b"a"), head(1))]);
    assert_eq!(store.head(Space::USER, b"a"), Ok(Some(head(2))));
}

/// A read of a log keeps to its bound, gives at least one transaction, and starts where the log
/// starts when that is later than asked.
pub fn a_log_is_read_in_bounded_parts<F: StoreFactory>(factory: &mut F) {
    let store = factory.open();
    let versions = |after, bytes| -> Vec<u64> {
        let rows = store.log(ORIGIN, after, bytes).expect("a read");
        rows.into_iter().map(|(version, _)| version).collect()
    };
    for version in 1..=5 {
        commit(&store, append(version, Bytes::from(vec![7; 100])));
    }
    assert_eq!(versions(0, 250), vec![1, 2]);
    assert_eq!(versions(2, 1), vec![3]);
    assert_eq!(versions(5, 1_000), Vec::<u64>::new());
    commit(&store, vec![Write::LogTrim { origin: ORIGIN, through: 3 }]);
    assert_eq!(versions(0, 1_000), vec![4, 5]);
}

/// A trim past the end empties the log, and it goes on after what was trimmed.
pub fn a_log_continues_after_a_snapshot_was_loaded<F: StoreFactory>(factory: &mut F) {
    let store = factory.open();
    commit(&store, append(1, Bytes::from_static(b"t")));
    commit(&store, vec![Write::LogTrim { origin: ORIGIN, through: 50 }, applied(50)]);
    assert_eq!(store.log(ORIGIN, 0, 1_000), Ok(Vec::new()));
    drop(store);
    let store = factory.open();
    assert_eq!(store.recovered().damage, Vec::new());
    assert_eq!(store.recovered().logs, Vec::new());
    let old = Batch { writes: append(2, Bytes::from_static(b"t")) };
    assert!(store.commit(&old, Durability::Synced).is_err(), "version 2 after version 50");
    commit(&store, append(51, Bytes::from_static(b"t")));
    let rows = store.log(ORIGIN, 0, 1_000).expect("a read");
    assert_eq!(rows, vec![(51, Bytes::from_static(b"t"))]);
}

/// An open reports the vector, the clock's ceiling and the extents, and no damage.
pub fn opening_reports_what_is_kept<F: StoreFactory>(factory: &mut F) {
    let store = factory.open();
    assert_eq!(store.recovered(), &crate::store::Recovered::default());
    for version in 1..=4 {
        commit(&store, append(version, Bytes::from_static(b"t")));
    }
    let ceiling = Bytes::copy_from_slice(&77_u64.to_be_bytes());
    let ceiling = Write::Meta { name: MetaName::HlcCeiling, value: Some(ceiling) };
    commit(&store, vec![Write::LogTrim { origin: ORIGIN, through: 2 }, ceiling]);
    drop(store);
    let store = factory.open();
    let found = store.recovered();
    assert_eq!(found.applied.get(ORIGIN), 4);
    assert_eq!(found.hlc_ceiling.0, 77);
    let kept: Vec<_> = found.logs.iter().map(|log| (log.origin, log.first, log.last)).collect();
    assert_eq!(kept, vec![(ORIGIN, 3, 4)]);
    assert_eq!(found.damage, Vec::new());
}

/// Rows read after a commit number are at least as new, and two rows of one batch are never seen
/// apart in a snapshot, while another thread commits.
pub fn readers_never_see_a_number_before_its_rows<F: StoreFactory>(factory: &mut F) {
    const COMMITS: u64 = 300;
    let store = factory.open();
    commit(&store, vec![put(b"a", 1), put(b"b", 1)]);
    let members = |source: &dyn ReadStore, key: &[u8]| {
        source.head(Space::USER, key).expect("a read").map_or(0, |head| head.members)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 2..=COMMITS {
                let writes = vec![put(b"a", number), put(b"b", number)];
                store.commit(&Batch { writes }, Durability::Buffered).expect("a commit");
            }
        });
        loop {
            let number = store.commit_number();
            assert!(members(&store, b"b") >= number);
            let snapshot = store.snapshot();
            assert_eq!(members(&snapshot, b"a"), members(&snapshot, b"b"));
            assert_eq!(members(&snapshot, b"a"), snapshot.commit_number());
            if number == COMMITS {
                break;
            }
        }
    });
}
