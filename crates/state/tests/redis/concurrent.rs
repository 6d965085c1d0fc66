//! What an operation means when another region writes at the same time.

use rhumb_state::{
    Op, Query, Reply,
    op::{Deadline, ExpireWhen, Presence, SetExpiry},
    query::TtlForm,
    visible,
};

use rhumb_types::{
    Epoch,
    record::{Dot, Space, Term},
};

use super::harness::{Db, Region, bytes};

/// Two regions that have applied the same, then write at the same time, the right one later, and
/// then hear of each other.
struct Regions {
    left: Region,
    right: Region,
}

impl Regions {
    fn after(ops: &[Op]) -> Self {
        let (mut left, mut right) = (Region::new(1), Region::new(2));
        if !ops.is_empty() {
            let shared = left.write(ops);
            right.apply(&shared);
        }
        right.now.0 += 10;
        Self { left, right }
    }

    fn write(mut self, left: &[Op], right: &[Op]) -> Self {
        let (from_left, from_right) = (self.left.write(left), self.right.write(right));
        self.left.apply(&from_right);
        self.right.apply(&from_left);
        self.left.now = self.right.now;
        self
    }

    fn read(&self, query: &Query) -> Reply {
        let left = self.left.ask(query).unwrap();
        assert_eq!(left, self.right.ask(query).unwrap(), "{query:?}");
        left
    }
}

fn set(key: &str, value: &str) -> Op {
    let (key, value) = (bytes(key), bytes(value));
    Op::Set { key, value, when: Presence::Any, get: false, expiry: SetExpiry::Clear }
}

fn incr(key: &str, by: i64) -> Op {
    Op::IncrBy { key: bytes(key), by }
}

fn expire(key: &str, ms: u64) -> Op {
    Op::Expire { key: bytes(key), deadline: Deadline::In(ms), when: ExpireWhen::Always }
}

fn hset(key: &str, field: &str, value: &str) -> Op {
    Op::HSet { key: bytes(key), pairs: vec![(bytes(field), bytes(value))] }
}

fn hdel(key: &str, field: &str) -> Op {
    Op::HDel { key: bytes(key), fields: vec![bytes(field)] }
}

fn del(key: &str) -> Op {
    Op::Del { keys: vec![bytes(key)] }
}

fn get(key: &str) -> Query {
    Query::Get { key: bytes(key) }
}

fn number(text: &str) -> Reply {
    Reply::Bytes(bytes(text))
}

#[test]
fn a_counter_made_in_two_regions_counts_both() {
    let regions = Regions::after(&[]).write(&[incr("n", 2)], &[incr("n", 3), incr("n", 1)]);
    assert_eq!(regions.read(&get("n")), number("6"));
}

#[test]
fn a_time_to_live_does_not_swallow_increments() {
    // A rate limiter: both regions count and set the window.
    let regions = Regions::after(&[])
        .write(&[incr("n", 1), expire("n", 500)], &[incr("n", 1), expire("n", 900)]);
    assert_eq!(regions.read(&get("n")), number("2"));
    let ttl = Query::Ttl { key: bytes("n"), form: TtlForm::MillisLeft };
    assert_eq!(regions.read(&ttl), Reply::Int(900));
    // The same on a counter that is there.
    let regions = Regions::after(&[set("n", "10"), incr("n", 5)])
        .write(&[expire("n", 500), incr("n", 1)], &[incr("n", 2), expire("n", 900), incr("n", 3)]);
    assert_eq!(regions.read(&get("n")), number("21"));
}

#[test]
fn a_field_written_while_the_hash_was_deleted_keeps_the_hash() {
    let regions = Regions::after(&[hset("h", "a", "1"), expire("h", 5_000)])
        .write(&[del("h")], &[hset("h", "b", "2")]);
    let all = Query::HGetAll { key: bytes("h") };
    assert_eq!(regions.read(&all), Reply::Map(vec![(bytes("b"), bytes("2"))]));
    let length = Query::HLen { key: bytes("h") };
    assert_eq!(regions.read(&length), Reply::Int(1));
}

#[test]
fn a_hash_whose_last_fields_went_in_two_regions_is_gone() {
    let regions = Regions::after(&[hset("h", "a", "1"), hset("h", "b", "2")])
        .write(&[hdel("h", "a")], &[hdel("h", "b")]);
    let kind = Query::Type { key: bytes("h") };
    assert_eq!(regions.read(&kind), Reply::Type(None));
    assert_eq!(regions.read(&Query::DbSize), Reply::Int(0));
    let exists = Query::Exists { keys: vec![bytes("h")] };
    assert_eq!(regions.read(&exists), Reply::Int(0));

    // It can be used again, as another type too.
    let regions = regions.write(&[set("h", "text")], &[set("other", "x")]);
    assert_eq!(regions.read(&get("h")), number("text"));
}

#[test]
fn a_field_added_while_the_last_one_was_removed_stays() {
    let regions =
        Regions::after(&[hset("h", "a", "1")]).write(&[hdel("h", "a")], &[hset("h", "b", "2")]);
    let all = Query::HGetAll { key: bytes("h") };
    assert_eq!(regions.read(&all), Reply::Map(vec![(bytes("b"), bytes("2"))]));
}

#[test]
fn members_of_a_type_that_lost_are_not_seen() {
    let add = Op::SAdd { key: bytes("k"), members: vec![bytes("member")] };
    let regions = Regions::after(&[]).write(&[hset("k", "field", "1")], &[add]);
    let members = Query::SMembers { key: bytes("k") };
    assert_eq!(regions.read(&members), Reply::Set(vec![bytes("member")]));
    assert!(regions.left.ask(&Query::HGetAll { key: bytes("k") }).is_err());

    let mut left = regions.left;
    left.write(&[del("k")]);
    assert_eq!(left.ask(&Query::DbSize).unwrap(), Reply::Int(0));
}

#[test]
fn a_lock_released_by_its_owner_does_not_release_a_concurrent_ones() {
    let release = Op::CompareAndDelete { key: bytes("lock"), expected: bytes("a") };
    let regions = Regions::after(&[set("lock", "a")]).write(&[release], &[set("lock", "b")]);
    assert_eq!(regions.read(&get("lock")), number("b"));
}

fn compare_set(expected: &[(&str, Option<&str>)], pairs: &[(&str, Option<&str>)]) -> Op {
    let rows = |rows: &[(&str, Option<&str>)]| {
        rows.iter().map(|(key, value)| (bytes(key), value.map(bytes))).collect()
    };
    Op::CompareSet { space: Space::OBJECTS, expected: rows(expected), pairs: rows(pairs) }
}

#[test]
fn a_compare_and_set_changes_all_rows_or_none() {
    let mut db = Db::new();
    assert_eq!(
        db.run(compare_set(&[("a", None)], &[("a", Some("1")), ("b", Some("2"))])),
        Ok(Reply::Int(1))
    );
    // Not as expected: of two rows one, or present instead of absent.
    for expected in [[("a", Some("1")), ("b", Some("3"))], [("a", None), ("b", Some("2"))]] {
        let change = compare_set(&expected, &[("a", None), ("b", Some("9"))]);
        assert_eq!(db.run(change), Ok(Reply::Int(0)));
    }
    assert_eq!(db.read(get("a")), number("1"));
    assert_eq!(db.read(get("b")), number("2"));
    let change = compare_set(&[("a", Some("1")), ("b", Some("2"))], &[("a", None)]);
    assert_eq!(db.run(change), Ok(Reply::Int(1)));
    assert_eq!(db.read(get("a")), Reply::Nil);
    assert_eq!(db.read(get("b")), number("2"));
}

#[test]
fn a_removed_row_stays_removed_and_one_that_was_written_meanwhile_is_kept() {
    let begin = [compare_set(&[], &[("gone", Some("1")), ("kept", Some("1"))])];
    let remove = compare_set(&[("gone", Some("1"))], &[("gone", None), ("kept", None)]);
    let write = compare_set(&[("kept", Some("1"))], &[("kept", Some("2"))]);
    let regions = Regions::after(&begin).write(&[remove], &[write]);
    assert_eq!(regions.read(&get("gone")), Reply::Nil);
    assert_eq!(regions.read(&get("kept")), number("2"));
}

/// Decides about one row in a term of this epoch.
fn decide(epoch: u64, expected: Option<&str>, row: Option<&str>) -> Op {
    Op::Decide {
        space: Space::OBJECTS,
        term: Term { homes: 1, epoch: Epoch(epoch) },
        expected: vec![(bytes("row"), expected.map(bytes))],
        decided: vec![(bytes("row"), row.map(bytes))],
        pairs: vec![(bytes("beside"), row.map(bytes))],
    }
}

#[test]
fn what_was_decided_in_the_latest_term_is_the_row_whoever_wrote_last() {
    for row in [Some("new"), None] {
        // The right one writes later, in the earlier term.
        let regions = Regions::after(&[decide(1, None, Some("old"))])
            .write(&[decide(2, Some("old"), row)], &[decide(1, Some("old"), Some("late"))]);
        for region in [&regions.left, &regions.right] {
            let cell = region.cell("row");
            assert_eq!(visible::whole(&cell), row.map(bytes).as_ref());
            assert_eq!(cell.entries.len(), 2);
        }
    }
}

#[test]
fn who_has_what_was_decided_in_a_later_term_decides_nothing_in_an_earlier_one() {
    let mut db = Db::new();
    assert_eq!(db.run(decide(2, None, Some("a"))), Ok(Reply::Int(1)));
    assert_eq!(db.run(decide(2, None, Some("b"))), Ok(Reply::Int(0)), "it is there");
    assert_eq!(db.run(decide(1, Some("a"), Some("b"))), Ok(Reply::Int(0)), "in an earlier term");
    assert_eq!(db.run(decide(3, Some("a"), None)), Ok(Reply::Int(1)));
    assert_eq!(db.run(decide(2, None, Some("b"))), Ok(Reply::Int(0)), "a deletion counts, too");
    assert_eq!(db.run(decide(3, None, Some("b"))), Ok(Reply::Int(1)));
    assert_eq!(db.read(get("beside")), number("b"));
}

#[test]
fn only_the_decision_that_nothing_is_there_is_forgotten() {
    let mut region = Region::new(1);
    let forget = |decision| Op::Forget { space: Space::OBJECTS, key: bytes("row"), decision };
    let there = region.write(&[decide(1, None, Some("a"))]).dot();
    let (answers, _) = region.batch(&[forget(there)]);
    assert_eq!(answers, [Ok(Reply::Int(0))]);
    let gone = region.write(&[decide(1, Some("a"), None)]).dot();
    let other = Dot { version: gone.version + 1, ..gone };
    let (answers, _) = region.batch(&[forget(other), forget(gone)]);
    assert_eq!(answers, [Ok(Reply::Int(0)), Ok(Reply::Int(1))]);
    assert!(region.cell("row").entries.is_empty());
}
