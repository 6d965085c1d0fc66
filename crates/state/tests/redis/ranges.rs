//! Reads of many rows: ranges, scans, set algebra, random members.

use std::{collections::BTreeSet, ops::Bound};

use bytes::Bytes;
use proptest::prelude::*;
use rhumb_state::{
    KeyType, Op, Query, QueryError, Reply,
    op::{OptionClash, Presence, SetExpiry, ZAddWhen},
    query::{Cursor, LexBound, Limit, Sample, ZBounds, ZRange, parse_lex_bound},
};
use rhumb_types::record::Kind;

use super::harness::{Db, bytes};

fn sorted_set(members: &[(Bytes, f64)]) -> Db {
    let mut db = Db::new();
    let pairs = members.to_vec();
    if !pairs.is_empty() {
        let when = ZAddWhen::default();
        db.run(Op::ZAdd { key: bytes("z"), pairs, when, changed: false }).unwrap();
    }
    db
}

fn members_of(reply: Reply) -> Vec<Bytes> {
    let member = |reply| match reply {
        Reply::Bytes(member) => member,
        other => panic!("{other:?}"),
    };
    match reply {
        Reply::Array(members) => members.into_iter().map(member).collect(),
        Reply::Set(members) => members,
        other => panic!("{other:?}"),
    }
}

fn bound() -> impl Strategy<Value = Bound<f64>> {
    prop_oneof![
        (-5..5_i32).prop_map(|n| Bound::Included(f64::from(n))),
        (-5..5_i32).prop_map(|n| Bound::Excluded(f64::from(n))),
        Just(Bound::Unbounded),
        Just(Bound::Included(f64::INFINITY)),
        Just(Bound::Excluded(f64::NEG_INFINITY)),
    ]
}

fn lex_bound() -> impl Strategy<Value = LexBound> {
    "[-+]|[\\[(][a-d]?".prop_map(|text| parse_lex_bound(text.as_bytes()).unwrap())
}

fn bounds() -> impl Strategy<Value = ZBounds> {
    prop_oneof![
        (-12..12_i64, -12..12_i64).prop_map(|(start, stop)| ZBounds::Index { start, stop }),
        (bound(), bound()).prop_map(|(min, max)| ZBounds::Score { min, max }),
        (lex_bound(), lex_bound()).prop_map(|(min, max)| ZBounds::Lex { min, max }),
    ]
}

/// A range as Redis documents it, over all members in order.
fn expected(rows: &[(f64, Bytes)], range: &ZRange) -> Vec<(Bytes, f64)> {
    let mut rows: Vec<(f64, Bytes)> = rows.to_vec();
    if range.reverse {
        rows.reverse();
    }
    let len = rows.len() as i64;
    let place = |at: i64| if at < 0 { len + at } else { at };
    let inside = |at: usize, score: f64, member: &Bytes| match &range.bounds {
        ZBounds::Index { start, stop } => (place(*start)..=place(*stop)).contains(&(at as i64)),
        ZBounds::Score { min, max } => {
            let above = match min {
                Bound::Included(min) => score >= *min,
                Bound::Excluded(min) => score > *min,
                Bound::Unbounded => true,
            };
            above
                && match max {
                    Bound::Included(max) => score <= *max,
                    Bound::Excluded(max) => score < *max,
                    Bound::Unbounded => true,
                }
        }
        ZBounds::Lex { min, max } => {
            let above = match min {
                LexBound::Lowest => true,
                LexBound::Highest => false,
                LexBound::Included(min) => member >= min,
                LexBound::Excluded(min) => member > min,
            };
            above
                && match max {
                    LexBound::Lowest => false,
                    LexBound::Highest => true,
                    LexBound::Included(max) => member <= max,
                    LexBound::Excluded(max) => member < max,
                }
        }
    };
    let all = rows
        .into_iter()
        .enumerate()
        .filter(|(at, (score, member))| inside(*at, *score, member))
        .map(|(_, (score, member))| (member, score));
    match range.limit {
        None => all.collect(),
        Some(Limit { offset, .. }) if offset < 0 => Vec::new(),
        Some(Limit { offset, count }) => {
            let take = usize::try_from(count).unwrap_or(usize::MAX);
            all.skip(usize::try_from(offset).unwrap()).take(take).collect()
        }
    }
}

proptest! {
    #[test]
    fn ranges_are_those_of_redis(
        members in prop::collection::btree_map("[a-d]{1,2}", -4..5_i32, 0..10),
        bounds in bounds(),
        reverse: bool,
        limit in prop::option::of((-1..4_i64, -1..4_i64)),
    ) {
        let members: Vec<(Bytes, f64)> =
            members.iter().map(|(member, score)| (bytes(member), f64::from(*score))).collect();
        let mut db = sorted_set(&members);
        db.plant_stale_score("z", 0.5, "a");
        db.plant_stale_score("z", 2.0, "nobody");
        let mut rows: Vec<(f64, Bytes)> =
            members.into_iter().map(|(member, score)| (score, member)).collect();
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap());

        let is_index = matches!(bounds, ZBounds::Index { .. });
        let limit = limit.filter(|_| !is_index).map(|(offset, count)| Limit { offset, count });
        let range = ZRange { bounds: bounds.clone(), reverse, limit };
        let wanted: Vec<Bytes> =
            expected(&rows, &range).into_iter().map(|(member, _)| member).collect();
        let query = Query::ZRange { key: bytes("z"), range, scores: false };
        prop_assert_eq!(members_of(db.read(query)), wanted);

        let whole = ZRange { bounds: bounds.clone(), reverse: false, limit: None };
        let count = Reply::Int(expected(&rows, &whole).len() as i64);
        prop_assert_eq!(db.read(Query::ZCount { key: bytes("z"), bounds }), count);

        if reverse {
            rows.reverse();
        }
        for (rank, (score, member)) in rows.iter().enumerate() {
            let (key, member, rank) = (bytes("z"), member.clone(), Reply::Int(rank as i64));
            let query = Query::ZRank { key, member, reverse, score: true };
            prop_assert_eq!(db.read(query), Reply::Array(vec![rank, Reply::Float(*score)]));
        }
    }

    #[test]
    fn set_algebra_is_that_of_sets(
        sets in prop::collection::vec(prop::collection::btree_set("[a-f]", 0..6), 1..4),
        limit in 0..4_usize,
    ) {
        let mut db = Db::new();
        let keys: Vec<Bytes> = (0..sets.len()).map(|n| bytes(&format!("s{n}"))).collect();
        for (key, set) in keys.iter().zip(&sets) {
            let members = set.iter().map(|member| bytes(member)).collect();
            db.run(Op::SAdd { key: key.clone(), members }).unwrap();
        }
        let of = |set: BTreeSet<String>| -> Vec<Bytes> { set.iter().map(|m| bytes(m)).collect() };
        let fold = |with: fn(&BTreeSet<String>, &BTreeSet<String>) -> BTreeSet<String>| {
            of(sets[1..].iter().fold(sets[0].clone(), |all, set| with(&all, set)))
        };
        let common = fold(|a, b| a & b);
        let ask = |query| {
            let mut members = members_of(db.read(query));
            members.sort();
            members
        };
        prop_assert_eq!(ask(Query::SInter { keys: keys.clone() }), common.clone());
        prop_assert_eq!(ask(Query::SUnion { keys: keys.clone() }), fold(|a, b| a | b));
        prop_assert_eq!(ask(Query::SDiff { keys: keys.clone() }), fold(|a, b| a - b));
        let count = if limit == 0 { common.len() } else { common.len().min(limit) };
        let query = Query::SInterCard { keys, limit };
        prop_assert_eq!(db.read(query), Reply::Int(count as i64));
    }

    #[test]
    fn a_scan_gives_every_key_once(keys in prop::collection::btree_set("[ab]{1,5}", 0..40), count in 0..9_usize) {
        let mut db = Db::new();
        for key in &keys {
            let (key, value) = (bytes(key), Bytes::new());
            let (when, expiry) = (Presence::Any, SetExpiry::Clear);
            db.run(Op::Set { key, value, when, get: false, expiry }).unwrap();
        }
        let scan = |pattern: &str| {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let cursor = Cursor { after, pattern: Some(bytes(pattern)), count };
                let Reply::Page(page) = db.read(Query::Scan { cursor, kind: None }) else {
                    panic!("a scan answers a page");
                };
                found.extend(page.items);
                after = page.next;
                if after.is_none() {
                    return found;
                }
            }
        };
        let all: Vec<Bytes> = keys.iter().map(|key| bytes(key)).collect();
        prop_assert_eq!(scan("*"), all.clone());
        let some = |prefix: &[u8]| {
            all.iter().filter(|key| key.starts_with(prefix)).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(scan("ab*"), some(b"ab"));
        prop_assert_eq!(members_of(db.read(Query::Keys { pattern: bytes("b*") })), some(b"b"));
    }
}

/// Two pages of rows and more, so that walks go on from one page to the next.
fn large() -> Db {
    let mut db = Db::new();
    let name = |n: usize| bytes(&format!("m{n:04}"));
    let pairs = |range: std::ops::Range<usize>| range.map(|n| (name(n), bytes("v"))).collect();
    db.run(Op::HSet { key: bytes("h"), pairs: pairs(0..1_200) }).unwrap();
    db.run(Op::SAdd { key: bytes("s"), members: (0..1_200).map(name).collect() }).unwrap();
    let pairs = (0..1_200).map(|n| (name(n), (n / 100) as f64)).collect();
    let when = ZAddWhen::default();
    db.run(Op::ZAdd { key: bytes("z"), pairs, when, changed: false }).unwrap();
    db
}

#[test]
fn walks_go_on_over_pages() {
    let db = large();
    let Reply::Map(pairs) = db.read(Query::HGetAll { key: bytes("h") }) else { panic!() };
    assert_eq!(pairs.len(), 1_200);
    let bounds = ZBounds::Index { start: 100, stop: -101 };
    let range = ZRange { bounds, reverse: true, limit: None };
    let query = Query::ZRange { key: bytes("z"), range, scores: false };
    let members = members_of(db.read(query));
    assert_eq!(members.len(), 1_000);
    assert_eq!(members.first(), Some(&bytes("m1099")));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let cursor = Cursor { after, pattern: None, count: 700 };
        let query = Query::HScan { key: bytes("h"), cursor, values: true };
        let Reply::Page(page) = db.read(query) else { panic!() };
        seen.extend(page.items.chunks(2).map(|pair| pair[0].clone()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 1_200);
    assert!(seen.is_sorted());
}

#[test]
fn scans_of_members_give_what_their_type_holds() {
    let db = large();
    let cursor = || Cursor { after: None, pattern: Some(bytes("m*7")), count: 20 };
    let page = |query| match db.read(query) {
        Reply::Page(page) => page,
        other => panic!("{other:?}"),
    };
    let set = page(Query::SScan { key: bytes("s"), cursor: cursor() });
    assert_eq!(set.items, [bytes("m0007"), bytes("m0017")]);
    assert_eq!(set.next, Some(bytes("m0019")));
    let sorted = page(Query::ZScan { key: bytes("z"), cursor: cursor() });
    assert_eq!(sorted.items, ["m0007", "0", "m0017", "0"].map(bytes));
    let hash = page(Query::HScan { key: bytes("h"), cursor: cursor(), values: false });
    assert_eq!(hash.items, set.items);
    let cursor = Cursor { after: None, pattern: None, count: 10 };
    let kind = Some(KeyType::Collection(Kind::SortedSet));
    assert_eq!(page(Query::Scan { cursor, kind }).items, [bytes("z")]);
}

#[test]
fn random_members_are_members() {
    let db = large();
    let key = || bytes("s");
    let draw = |sample, seed| db.read(Query::SRandMember { key: key(), sample, seed });
    let few = members_of(draw(Sample::Distinct(5), 1));
    assert_eq!(few.iter().collect::<BTreeSet<_>>().len(), 5);
    assert_ne!(few, members_of(draw(Sample::Distinct(5), 2)));
    assert_eq!(members_of(draw(Sample::Distinct(2_000), 1)).len(), 1_200);
    assert_eq!(members_of(draw(Sample::Repeated(2_000), 1)).len(), 2_000);
    assert!(matches!(draw(Sample::One, 1), Reply::Bytes(_)));
    let all = members_of(db.read(Query::SMembers { key: key() }));
    assert!(few.iter().all(|member| all.contains(member)));
    let field =
        Query::HRandField { key: bytes("h"), sample: Sample::Distinct(2), values: true, seed: 3 };
    let Reply::Pairs(pairs) = db.read(field) else { panic!() };
    assert!(pairs.iter().all(|(_, value)| *value == Reply::Bytes(bytes("v"))));
    let absent = Query::SRandMember { key: bytes("x"), sample: Sample::One, seed: 3 };
    assert_eq!(db.read(absent), Reply::Nil);
    let chosen: BTreeSet<_> = (0..60)
        .map(|seed| match db.read(Query::RandomKey { seed }) {
            Reply::Bytes(key) => key,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(chosen, ["h", "s", "z"].map(bytes).into_iter().collect());
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let db = large();
    let limit = Some(Limit { offset: 0, count: 1 });
    let range = ZRange { bounds: ZBounds::Index { start: 0, stop: 1 }, reverse: false, limit };
    let query = Query::ZRange { key: bytes("z"), range, scores: false };
    assert_eq!(db.ask(query), Err(QueryError::Options(OptionClash::LimitByIndex)));
    let bounds = ZBounds::Lex { min: LexBound::Lowest, max: LexBound::Highest };
    let range = ZRange { bounds, reverse: false, limit: None };
    let query = Query::ZRange { key: bytes("z"), range, scores: true };
    assert_eq!(db.ask(query), Err(QueryError::Options(OptionClash::ScoresByLex)));
}
