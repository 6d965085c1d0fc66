//! The semantics, one example each.

use bytes::Bytes;
use rhumb_state::{ConflictKind, KeyType, MEMBERS_UNKNOWN, Text, visible};
use rhumb_types::{
    OriginId, UnixMillis,
    record::{Amount, Cell, CellId, Entry, Head, Kind, Transaction, Value},
};

use crate::{
    history::World,
    region::{Op, Region, SPACE, key, member},
};

/// Two regions that write at the same time and then tell each other.
struct Pair {
    left: Region,
    right: Region,
}

impl Pair {
    /// Both have applied what `left` wrote first.
    fn after(first: &[Op]) -> Self {
        let (mut left, mut right) = (Region::new(1, 100), Region::new(2, 100));
        if let Some(transaction) = write(&mut left, first, 1) {
            right.receive(&transaction);
        }
        Self { left, right }
    }

    /// Both write; the right one a little later.
    fn both(&mut self, left: &[Op], right: &[Op]) {
        let from_left = write(&mut self.left, left, 10);
        let from_right = write(&mut self.right, right, 11);
        from_left.iter().for_each(|transaction| self.right.receive(transaction));
        from_right.iter().for_each(|transaction| self.left.receive(transaction));
        assert_eq!(self.left.view(), self.right.view());
    }

    fn head(&mut self) -> Head {
        self.left.view();
        self.left.table.head(SPACE, &key(0)).unwrap().clone()
    }

    fn text(&mut self) -> Option<Text> {
        visible::text(&self.head().cell)
    }

    fn member(&mut self, at: usize) -> Cell {
        self.left.view();
        self.left.table.member(SPACE, &key(0), &member(at)).unwrap().into_owned()
    }

    fn has_member(&mut self, at: usize) -> bool {
        self.left.view().contains_key(&CellId::member(SPACE, key(0), member(at)))
    }
}

fn write(region: &mut Region, ops: &[Op], wall: u64) -> Option<Transaction> {
    ops.iter().for_each(|op| region.run(op, wall));
    region.finish()
}

fn set(value: &'static str) -> Op {
    Op::Set { key: 0, value, expiry: None }
}

fn bytes(text: &'static str) -> Option<Text> {
    Some(Text::Bytes(Bytes::from_static(text.as_bytes())))
}

fn whole(int: i64) -> Option<Text> {
    Some(Text::Number(Amount { int, float: 0.0 }))
}

const INCR: Op = Op::Incr { key: 0, by: 1 };
const DEL: Op = Op::Del { key: 0 };
const SADD: Op = Op::Sadd { key: 0, member: 0 };

#[test]
fn the_later_of_two_concurrent_writes_wins_and_the_other_is_journalled() {
    let mut pair = Pair::after(&[]);
    pair.both(&[set("left")], &[set("right")]);
    assert_eq!(pair.text(), bytes("right"));
    for region in [&mut pair.left, &mut pair.right] {
        assert_eq!(region.conflicts.count(ConflictKind::ConcurrentWrite), 1);
        let writes = region.conflicts.take();
        let [(0, entry)] = writes.entries.as_slice() else { panic!("{writes:?}") };
        assert_eq!(entry.winner.origin, OriginId(2 << 16));
        assert_eq!(entry.loser_value, Some(Value::Bytes(Bytes::from_static(b"left"))));
        assert_eq!(writes.trim, None);
    }
}

#[test]
fn a_write_that_saw_the_other_replaces_it_whatever_the_clocks_say() {
    let (mut left, mut right) = (Region::new(1, 100), Region::new(2, 100));
    let ahead = write(&mut left, &[set("ahead")], 1_000_000).unwrap();
    right.receive(&ahead);
    let later = write(&mut right, &[set("later")], 5).unwrap();
    left.receive(&later);
    let head = left.table.head(SPACE, &key(0)).unwrap();
    assert_eq!(visible::text(&head.cell), bytes("later"));
    assert_eq!(left.conflicts.count(ConflictKind::ConcurrentWrite), 0);
}

#[test]
fn equal_concurrent_writes_are_no_conflict() {
    let mut pair = Pair::after(&[]);
    pair.both(&[SADD], &[SADD]);
    let kinds = ConflictKind::ALL.map(|kind| pair.left.conflicts.count(kind));
    assert_eq!(kinds, [0, 0, 0]);
    assert_eq!(pair.head().members, 1);
}

#[test]
fn a_delete_does_not_remove_what_it_did_not_see() {
    let mut pair = Pair::after(&[set("old")]);
    pair.both(&[DEL], &[set("new")]);
    assert_eq!(pair.text(), bytes("new"));
    assert_eq!(pair.right.conflicts.count(ConflictKind::ConcurrentRemove), 1);
}

#[test]
fn a_delete_of_a_collection_leaves_members_added_meanwhile() {
    let mut pair = Pair::after(&[SADD, Op::Sadd { key: 0, member: 1 }]);
    pair.both(&[DEL], &[Op::Sadd { key: 0, member: 2 }]);
    assert_eq!([0, 1, 2].map(|at| pair.has_member(at)), [false, false, true]);
    assert_eq!(visible::key_type(&pair.head()), Some(KeyType::Collection(Kind::Set)));
    assert_eq!(pair.left.counted(&key(0)), 1, "the deleting side knows what is left");
    assert_eq!(pair.right.counted(&key(0)), MEMBERS_UNKNOWN);
    pair.right.sweep_all();
    assert_eq!(pair.right.counted(&key(0)), 1);
    assert_eq!(pair.right.store.members.len(), 1);
}

#[test]
fn counters_add_up_and_an_overwrite_takes_only_what_it_saw() {
    let mut pair = Pair::after(&[Op::Incr { key: 0, by: 10 }]);
    pair.both(&[INCR, INCR], &[INCR]);
    assert_eq!(pair.text(), whole(13));
    pair.both(&[set("100")], &[INCR]);
    assert_eq!(pair.text(), whole(101));
    pair.both(&[DEL], &[Op::Incr { key: 0, by: 5 }]);
    assert_eq!(pair.text(), whole(5), "the base and what was seen are gone");
}

#[test]
fn text_over_a_counter_hides_the_additions() {
    let mut pair = Pair::after(&[INCR]);
    pair.both(&[set("x")], &[INCR]);
    assert_eq!(pair.text(), bytes("x"));
    pair.both(&[set("40")], &[]);
    assert_eq!(pair.text(), bytes("40"), "the overwrite saw the addition");
}

#[test]
fn fields_of_a_hash_are_written_apart() {
    let hset = |member, value| Op::Hset { key: 0, member, value };
    let mut pair = Pair::after(&[hset(0, "old")]);
    pair.both(&[hset(0, "left"), hset(1, "left")], &[hset(2, "right")]);
    let text = |cell| visible::text(&cell);
    assert_eq!(
        [0, 1, 2].map(|at| text(pair.member(at))),
        [bytes("left"), bytes("left"), bytes("right")]
    );
    pair.both(&[hset(0, "left again")], &[hset(0, "right")]);
    assert_eq!(text(pair.member(0)), bytes("right"));
    let hincr = |by| Op::Hincr { key: 0, member: 3, by };
    pair.both(&[hincr(2)], &[hincr(3)]);
    assert_eq!(text(pair.member(3)), whole(5));
}

#[test]
fn a_member_added_while_it_was_removed_stays() {
    let mut pair = Pair::after(&[SADD]);
    pair.both(&[Op::Drop { key: 0, member: 0 }], &[SADD]);
    assert!(pair.has_member(0));
    pair.both(&[Op::Drop { key: 0, member: 0 }], &[]);
    assert!(!pair.has_member(0));
}

#[test]
fn a_score_is_a_base_that_the_later_write_sets_and_additions_that_add_up() {
    let zadd = |score| Op::Zadd { key: 0, member: 0, score };
    let zincr = |by| Op::Zincr { key: 0, member: 0, by };
    let mut pair = Pair::after(&[zadd(1.0)]);
    pair.both(&[zincr(2.0)], &[zincr(3.0)]);
    assert_eq!(visible::score(&pair.member(0)), Some(6.0));
    pair.both(&[zadd(10.0)], &[zincr(1.0)]);
    assert_eq!(visible::score(&pair.member(0)), Some(11.0));
    pair.both(&[zadd(20.0)], &[zadd(30.0)]);
    assert_eq!(visible::score(&pair.member(0)), Some(30.0));
}

#[test]
fn a_type_conflict_goes_to_the_later_write() {
    let mut pair = Pair::after(&[]);
    pair.both(&[set("text")], &[SADD]);
    assert_eq!(visible::key_type(&pair.head()), Some(KeyType::Collection(Kind::Set)));
    assert_eq!(pair.left.conflicts.count(ConflictKind::TypeConflict), 1);
    let mut pair = Pair::after(&[]);
    pair.both(&[SADD], &[set("text")]);
    assert_eq!(visible::key_type(&pair.head()), Some(KeyType::String));
    pair.both(&[DEL], &[]);
    assert_eq!(visible::key_type(&pair.head()), None);
    assert!(!pair.has_member(0), "a delete removes the loser too");
}

#[test]
fn the_longest_time_to_live_wins_among_concurrent_writes_only() {
    let with = |expiry| Op::Set { key: 0, value: "v", expiry };
    let mut pair = Pair::after(&[]);
    pair.both(&[with(Some(500))], &[with(Some(100))]);
    let head = pair.head();
    assert_eq!(visible::expiry(&head.cell), Some(UnixMillis(500)));
    assert!(!visible::expired(&head, UnixMillis(499)) && visible::expired(&head, UnixMillis(500)));
    assert_eq!(visible::present(&head, UnixMillis(500)), None);
    pair.both(&[Op::Expire { key: 0, at: Some(50) }], &[]);
    assert_eq!(visible::expiry(&pair.head().cell), Some(UnixMillis(50)));
    pair.both(&[with(Some(900))], &[with(None)]);
    assert_eq!(visible::expiry(&pair.head().cell), None, "for ever is the longest");
}

#[test]
fn a_flush_leaves_what_it_did_not_see() {
    let mut pair = Pair::after(&[SADD, Op::Set { key: 2, value: "v", expiry: None }]);
    let flush = Op::Flush { prefix: "a:" };
    pair.both(&[flush], &[Op::Sadd { key: 0, member: 3 }]);
    assert_eq!([0, 3].map(|at| pair.has_member(at)), [false, true]);
    assert!(pair.left.view().contains_key(&CellId::head(SPACE, key(2))), "another prefix");
    pair.left.sweep_all();
    assert_eq!(pair.left.store.members.len(), 1);
}

#[test]
fn writes_after_a_removal_in_the_same_transaction_survive() {
    let mut pair = Pair::after(&[SADD]);
    pair.both(&[SADD, DEL, Op::Sadd { key: 0, member: 1 }, INCR], &[]);
    assert_eq!([0, 1].map(|at| pair.has_member(at)), [false, true]);
    assert_eq!(pair.head().members, 1);
    pair.both(&[INCR, DEL, INCR, INCR, set("4"), INCR, Op::Flush { prefix: "" }, INCR], &[]);
    assert_eq!(pair.text(), whole(1));
}

#[test]
fn an_addition_that_missed_a_removal_of_the_whole_key_brings_back_its_frame() {
    let hincr = |by| Op::Hincr { key: 0, member: 0, by };
    let mut pair = Pair::after(&[hincr(100)]);
    // The range names no sums, so what the addition builds on cannot be told apart.
    let (removal, addition) =
        (write(&mut pair.right, &[DEL], 10), write(&mut pair.left, &[hincr(1)], 10));
    pair.left.receive(&removal.unwrap());
    pair.right.receive(&addition.unwrap());
    let cell = pair.left.table.member(SPACE, &key(0), &member(0)).unwrap().into_owned();
    assert_eq!(visible::text(&cell), whole(101));
    assert_eq!(pair.left.view(), pair.right.view());
}

#[test]
fn an_overwrite_after_a_removal_of_the_whole_key_marks_what_the_removal_could_not() {
    let hincr = |by| Op::Hincr { key: 0, member: 0, by };
    let mut pair = Pair::after(&[hincr(100)]);
    let removal = write(&mut pair.right, &[DEL], 10).unwrap();
    let base = Op::Hset { key: 0, member: 0, value: "5" };
    let overwrite = write(&mut pair.right, &[base], 11).unwrap();
    let addition = write(&mut pair.left, &[hincr(1)], 10).unwrap();
    pair.left.receive(&removal);
    pair.left.receive(&overwrite);
    pair.right.receive(&addition);
    let cell = pair.left.table.member(SPACE, &key(0), &member(0)).unwrap().into_owned();
    assert_eq!(visible::text(&cell), whole(6));
    assert_eq!(pair.left.view(), pair.right.view());
}

#[test]
fn the_journal_is_bounded() {
    use rhumb_state::conflict::{CONFLICT_JOURNAL_ENTRIES_MAX, CONFLICT_VALUE_BYTES_MAX};
    let mut world = World::new(1_000, false);
    let long: &'static str = Box::leak("x".repeat(CONFLICT_VALUE_BYTES_MAX + 1).into_boxed_str());
    world.regions[0].run(&set(long), 1);
    world.regions[1].run(&set("y"), 2);
    world.settle(&[0]);
    let first = world.regions[0].conflicts.take();
    let [(_, entry)] = first.entries.as_slice() else { panic!() };
    let Some(Value::Bytes(kept)) = &entry.loser_value else { panic!() };
    assert_eq!(kept.len(), CONFLICT_VALUE_BYTES_MAX);
    // Two regions that never hear of each other conflict in a third all the time.
    let mut third = Region::new(7, 100);
    let (mut left, mut right) = (Region::new(5, 100), Region::new(6, 100));
    for wall in 0..CONFLICT_JOURNAL_ENTRIES_MAX {
        third.receive(&write(&mut left, &[set("l")], wall).unwrap());
        third.receive(&write(&mut right, &[set("r")], wall).unwrap());
    }
    let writes = third.conflicts.take();
    assert_eq!(writes.entries.len() as u64, CONFLICT_JOURNAL_ENTRIES_MAX);
    let (last, _) = writes.entries.last().unwrap();
    assert_eq!(writes.trim, last.checked_sub(CONFLICT_JOURNAL_ENTRIES_MAX));
    assert!(third.conflicts.take().entries.is_empty());
}

#[test]
fn an_entry_orders_by_stamp_not_by_dot() {
    let entry = |origin: u64, version, hlc| Entry {
        dot: rhumb_types::record::Dot { origin: OriginId(origin), version },
        hlc: rhumb_types::Hlc(hlc),
        value: Value::Unit,
        expiry: None,
    };
    let mut cell = rhumb_types::record::Cell::default();
    cell.entries.extend([entry(1, 1, 30), entry(2, 9, 20), entry(3, 4, 30)]);
    assert_eq!(visible::winner(&cell).unwrap().dot.origin, OriginId(3));
}
