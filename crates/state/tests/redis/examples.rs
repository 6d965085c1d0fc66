//! Writes, one family of commands at a time.

use bytes::Bytes;
use rhumb_state::{
    Op, OpError, Query, QueryError, ReadSet, Reply, RowId, Table, TableLimits, execute,
    op::{
        Deadline, OP_BYTES_MAX, OP_ROWS_MAX, OptionClash, Presence, ROW_BYTES_MAX, SPACE,
        ScoreWhen, SetExpiry, VALUE_BYTES_MAX, ZAddWhen,
    },
    query::{Choice, TtlForm, ZBounds},
};
use rhumb_types::{
    Hlc, OriginId, RegionId, UnixMillis,
    record::{Space, VersionVector},
};

use super::harness::{Db, bytes};

fn set(key: &str, value: &str) -> Op {
    let (key, value) = (bytes(key), bytes(value));
    Op::Set { key, value, when: Presence::Any, get: false, expiry: SetExpiry::Clear }
}

fn hset(key: &str, field: &str, value: &str) -> Op {
    Op::HSet { key: bytes(key), pairs: vec![(bytes(field), bytes(value))] }
}

fn sadd(key: &str, count: usize) -> Op {
    let members = (0..count).map(|n| bytes(&format!("m{n:04}"))).collect();
    Op::SAdd { key: bytes(key), members }
}

fn zadd(key: &str, pairs: &[(&str, f64)]) -> Op {
    let pairs = pairs.iter().map(|(member, score)| (bytes(member), *score)).collect();
    Op::ZAdd { key: bytes(key), pairs, when: ZAddWhen::default(), changed: false }
}

fn text(text: &str) -> Reply {
    Reply::Bytes(bytes(text))
}

#[test]
fn every_type_refuses_the_operations_of_the_others() {
    let mut db = Db::new();
    db.batch(&[
        set("string", "x"),
        hset("hash", "f", "1"),
        sadd("set", 1),
        zadd("z", &[("m", 1.0)]),
    ]);
    let key = |name: &str| bytes(name);
    let on = |name: &str| {
        [
            ("string", Op::Append { key: key(name), value: bytes("y") }),
            ("string", Op::IncrBy { key: key(name), by: 1 }),
            ("string", Op::GetDel { key: key(name) }),
            ("hash", hset(name, "f", "2")),
            ("hash", Op::HDel { key: key(name), fields: vec![key("f")] }),
            ("set", sadd(name, 1)),
            ("set", Op::SRem { key: key(name), members: vec![key("m")] }),
            ("z", zadd(name, &[("m", 2.0)])),
            ("z", Op::ZRem { key: key(name), members: vec![key("m")] }),
        ]
    };
    for name in ["string", "hash", "set", "z"] {
        for (kind, op) in on(name).into_iter().filter(|(kind, _)| *kind != name) {
            assert_eq!(db.run(op), Err(OpError::WrongType), "{kind} on {name}");
        }
    }
    for query in [
        Query::Get { key: key("set") },
        Query::HGet { key: key("string"), field: key("f") },
        Query::SCard { key: key("z") },
        Query::ZScore { key: key("hash"), member: key("m") },
        Query::SInter { keys: vec![key("absent"), key("string")] },
    ] {
        assert_eq!(db.ask(query), Err(QueryError::WrongType));
    }
    // MGET and SET do not mind.
    let keys = vec![key("string"), key("set"), key("absent")];
    let values = Reply::Array(vec![text("x"), Reply::Nil, Reply::Nil]);
    assert_eq!(db.read(Query::MGet { keys }), values);
    assert_eq!(db.run(set("set", "now a string")), Ok(Reply::Ok));
    assert_eq!(db.read(Query::Get { key: key("set") }), text("now a string"));
}

#[test]
fn a_later_operation_of_a_batch_sees_the_earlier_ones() {
    let mut db = Db::new();
    let replies = db.batch(&[
        set("n", "5"),
        Op::IncrBy { key: bytes("n"), by: 2 },
        Op::Append { key: bytes("n"), value: bytes("0") },
        Op::IncrBy { key: bytes("n"), by: 1 },
        Op::Del { keys: vec![bytes("n"), bytes("n")] },
        Op::IncrBy { key: bytes("n"), by: 1 },
        hset("h", "f", "1"),
        Op::FlushDb,
        hset("h", "g", "1"),
    ]);
    let int = |n| Ok(Reply::Int(n));
    assert_eq!(
        replies,
        [Ok(Reply::Ok), int(7), int(2), int(71), int(1), int(1), int(1), Ok(Reply::Ok), int(1)]
    );
    assert_eq!(
        db.read(Query::HGetAll { key: bytes("h") }),
        Reply::Map(vec![(bytes("g"), bytes("1"))])
    );
    assert_eq!(db.read(Query::DbSize), Reply::Int(1));
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let mut db = Db::new();
    db.batch(&[set("text", "ten"), set("float", "1.5"), set("max", &i64::MAX.to_string())]);
    db.batch(&[hset("h", "text", "ten"), zadd("z", &[("inf", f64::INFINITY)])]);
    let incr = |key: &str| Op::IncrBy { key: bytes(key), by: 1 };
    let float = |key: &str, by| Op::IncrByFloat { key: bytes(key), by };
    assert_eq!(db.run(incr("text")), Err(OpError::NotAnInteger));
    assert_eq!(db.run(incr("float")), Err(OpError::NotAnInteger));
    assert_eq!(db.run(incr("max")), Err(OpError::Overflow));
    assert_eq!(db.run(float("text", 1.0)), Err(OpError::NotAFloat));
    assert_eq!(db.run(float("float", f64::MAX)), Ok(text(&f64::MAX.to_string())));
    assert_eq!(db.run(float("float", f64::MAX)), Err(OpError::NotFinite));
    let field = bytes("text");
    let in_hash = Op::HIncrBy { key: bytes("h"), field: field.clone(), by: 1 };
    assert_eq!(db.run(in_hash), Err(OpError::HashNotAnInteger));
    let in_hash = Op::HIncrByFloat { key: bytes("h"), field, by: 1.0 };
    assert_eq!(db.run(in_hash), Err(OpError::HashNotAFloat));
    let when = ZAddWhen::default();
    let key = bytes("z");
    let incr = Op::ZIncrBy { key, member: bytes("inf"), by: f64::NEG_INFINITY, when };
    assert_eq!(db.run(incr), Err(OpError::ScoreNotANumber));
    let when = ZAddWhen { presence: Presence::Absent, score: ScoreWhen::Greater };
    let clash = Op::ZAdd { key: bytes("z"), pairs: vec![(bytes("m"), 1.0)], when, changed: false };
    assert_eq!(db.run(clash), Err(OpError::Options(OptionClash::NxWithCompare)));
}

#[test]
fn fractions_and_whole_numbers_add_up_together() {
    let mut db = Db::new();
    let float = |by| Op::IncrByFloat { key: bytes("n"), by };
    assert_eq!(db.run(set("n", "10.5")), Ok(Reply::Ok));
    assert_eq!(db.run(float(0.1)), Ok(text("10.6")));
    assert_eq!(db.run(float(-5.0)), Ok(text("5.6")));
    assert_eq!(db.run(set("n", "5.0e3")), Ok(Reply::Ok));
    assert_eq!(db.run(float(200.0)), Ok(text("5200")));
    assert_eq!(db.run(Op::IncrBy { key: bytes("n"), by: 1 }), Ok(Reply::Int(5_201)));
    let score = |by| {
        let when = ZAddWhen::default();
        Op::ZIncrBy { key: bytes("z"), member: bytes("m"), by, when }
    };
    assert_eq!(db.run(score(1.5)), Ok(Reply::Float(1.5)));
    assert_eq!(db.run(score(f64::INFINITY)), Ok(Reply::Float(f64::INFINITY)));
    assert_eq!(db.run(score(-7.0)), Ok(Reply::Float(f64::INFINITY)));
    assert_eq!(db.run(zadd("z", &[("m", -0.0)])), Ok(Reply::Int(0)));
    assert_eq!(db.run(score(2.0)), Ok(Reply::Float(2.0)));
}

#[test]
fn an_expired_key_is_absent_in_every_way() {
    let mut db = Db::new();
    let expire = |key: &str| {
        let deadline = Deadline::In(100);
        Op::Expire { key: bytes(key), deadline, when: rhumb_state::op::ExpireWhen::Always }
    };
    db.batch(&[set("s", "1"), hset("h", "old", "1"), expire("s"), expire("h")]);
    db.wait(99);
    let ttl = |form| Query::Ttl { key: bytes("s"), form };
    assert_eq!(db.read(ttl(TtlForm::MillisLeft)), Reply::Int(1));
    assert_eq!(db.read(ttl(TtlForm::SecondsLeft)), Reply::Int(0));
    db.wait(1);
    assert_eq!(db.read(ttl(TtlForm::MillisLeft)), Reply::Int(-2));
    assert_eq!(db.read(Query::DbSize), Reply::Int(0));
    assert_eq!(db.read(Query::Get { key: bytes("s") }), Reply::Nil);
    assert_eq!(db.run(Op::Del { keys: vec![bytes("s")] }), Ok(Reply::Int(0)));
    // What is written next finds nothing of the old key, neither its members nor its end.
    assert_eq!(db.run(hset("h", "new", "2")), Ok(Reply::Int(1)));
    let all = Reply::Map(vec![(bytes("new"), bytes("2"))]);
    assert_eq!(db.read(Query::HGetAll { key: bytes("h") }), all);
    let form = TtlForm::UnixSeconds;
    assert_eq!(db.read(Query::Ttl { key: bytes("h"), form }), Reply::Int(-1));
}

#[test]
fn a_deadline_past_the_clock_is_refused() {
    let mut db = Db::new();
    let expiry = SetExpiry::Until(Deadline::In(u64::MAX));
    let (key, value) = (bytes("k"), bytes("v"));
    let far = Op::Set { key, value, when: Presence::Any, get: false, expiry };
    assert_eq!(db.run(far), Err(OpError::InvalidExpire));
}

#[test]
fn what_does_not_fit_in_a_transaction_is_refused() {
    let mut db = Db::new();
    let long = Bytes::from(vec![b'x'; OP_BYTES_MAX]);
    let with = |key: Bytes, value: Bytes| Op::MSet { pairs: vec![(key, value)] };
    assert_eq!(db.run(with(bytes("k"), long.clone())), Err(OpError::TooLong));
    let name = long.slice(..=ROW_BYTES_MAX);
    assert_eq!(db.run(with(name.clone(), Bytes::new())), Err(OpError::TooLong));
    assert_eq!(db.run(hset("k", std::str::from_utf8(&name).unwrap(), "")), Err(OpError::TooLong));
    assert_eq!(db.run(sadd("k", OP_ROWS_MAX)), Err(OpError::TooManyRows));
    assert_eq!(db.run(with(bytes("k"), long.slice(..VALUE_BYTES_MAX))), Ok(Reply::Ok));
    let append = Op::Append { key: bytes("k"), value: bytes("x") };
    assert_eq!(db.run(append), Err(OpError::TooLong));
    let (key, value) = (bytes("k"), bytes("x"));
    let offset = VALUE_BYTES_MAX as u64;
    assert_eq!(db.run(Op::SetRange { key, offset, value }), Err(OpError::TooLong));
    let length = Reply::Int(i64::try_from(VALUE_BYTES_MAX).unwrap());
    assert_eq!(db.read(Query::StrLen { key: bytes("k") }), length);
}

#[test]
fn a_missing_row_is_named_and_nothing_is_edited() {
    let mut table = Table::new(TableLimits::default());
    let head = |key: &str| (Space::USER, bytes(key), None);
    table.admit(ReadSet { heads: vec![head("a")], ..ReadSet::default() });
    let mut draft = rhumb_state::Draft::open(rhumb_state::DraftContext {
        origin: OriginId(1 << 16),
        version: 1,
        timestamp: Hlc(1),
        region: RegionId::new("here").unwrap(),
        deps: VersionVector::new(),
    });
    let pairs = vec![(bytes("a"), bytes("1")), (bytes("b"), bytes("2"))];
    let missing = execute(&Op::MSet { pairs }, UnixMillis(1), &mut table, &mut draft);
    assert_eq!(missing, Err(OpError::Missing(RowId::Head(SPACE, bytes("b")))));
    assert!(draft.is_empty() && !table.has_writes());
}

#[test]
fn a_pop_takes_what_is_there_and_asks_again_when_its_choice_is_gone() {
    let mut db = Db::new();
    db.run(sadd("s", 200)).unwrap();
    let pop = |count| Choice::SPop { key: bytes("s"), count, seed: 9 };
    let lowered = db.lower(&pop(1));
    let Ok(Reply::Set(first)) = db.run(lowered[0].clone()) else { panic!() };
    // The same choice again: its first candidate is gone, a spare takes its place.
    let Ok(Reply::Set(second)) = db.run(lowered[0].clone()) else { panic!() };
    assert_ne!(first, second);
    let stale = loop {
        match db.run(lowered[0].clone()) {
            Ok(Reply::Set(popped)) => assert_eq!(popped.len(), 1),
            other => break other,
        }
    };
    assert_eq!(stale, Err(OpError::Stale));
    let Reply::Int(left) = db.read(Query::SCard { key: bytes("s") }) else { panic!() };
    let replies = db.choose(&pop(1_000));
    assert!(matches!(&replies[..], [Ok(Reply::Set(all))] if all.len() as i64 == left));
    assert_eq!(db.read(Query::Exists { keys: vec![bytes("s")] }), Reply::Int(0));
    assert_eq!(db.choose(&pop(1)), [Ok(Reply::Set(Vec::new()))]);
}

#[test]
fn the_lowest_and_the_highest_are_popped_in_order() {
    let mut db = Db::new();
    db.run(zadd("z", &[("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 3.0)])).unwrap();
    let pop = |count, highest| Choice::ZPop { key: bytes("z"), count, highest };
    let pairs = |pairs: &[(&str, f64)]| {
        let scored = |(member, score): &(&str, f64)| (bytes(member), Reply::Float(*score));
        [Ok(Reply::Pairs(pairs.iter().map(scored).collect()))]
    };
    let early = db.lower(&pop(1, false));
    assert_eq!(db.choose(&pop(2, true)), pairs(&[("d", 3.0), ("c", 2.0)]));
    // One that moved since it was chosen is passed over.
    db.run(zadd("z", &[("a", 9.0)])).unwrap();
    assert_eq!(db.batch(&early), pairs(&[("b", 2.0)]));
    assert_eq!(db.choose(&pop(5, false)), pairs(&[("a", 9.0)]));
    assert_eq!(db.read(Query::DbSize), Reply::Int(0));
}

#[test]
fn a_range_is_removed_but_not_what_moved_out_of_it() {
    let mut db = Db::new();
    let members: Vec<(String, f64)> =
        (0..100).map(|n| (format!("m{n:02}"), f64::from(n))).collect();
    let pairs = members.iter().map(|(member, score)| (bytes(member), *score)).collect();
    let when = ZAddWhen::default();
    db.run(Op::ZAdd { key: bytes("z"), pairs, when, changed: false }).unwrap();
    let remove = |bounds| Choice::ZRemRange { key: bytes("z"), bounds };
    let by_rank = remove(ZBounds::Index { start: -10, stop: -1 });
    assert_eq!(db.choose(&by_rank), [Ok(Reply::Int(10))]);
    let (min, max) = (std::ops::Bound::Included(0.0), std::ops::Bound::Excluded(10.0));
    let lowered = db.lower(&remove(ZBounds::Score { min, max }));
    db.run(zadd("z", &[("m03", 55.5)])).unwrap();
    assert_eq!(db.batch(&lowered), [Ok(Reply::Int(9))]);
    assert_eq!(db.read(Query::ZCard { key: bytes("z") }), Reply::Int(81));
}
