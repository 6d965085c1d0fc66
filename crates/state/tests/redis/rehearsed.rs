//! Transactions played through: their reads see their writes.

use proptest::prelude::*;
use rhumb_state::{
    Op, OpError, Query, Reply,
    op::ZAddWhen,
    query::{TtlForm, ZBounds, ZRange},
};

use super::{
    commands::batches,
    harness::{Db, bytes},
    model::{Model, check},
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn reads_see_the_writes_before_them(batches in batches(), committed in 0..25_usize) {
        let mut db = Db::new();
        let mut model = Model::at(db.now().0);
        let (before, rehearsed) = batches.split_at(committed.min(batches.len()));
        for (wait, ops) in before {
            db.wait(*wait);
            model.wait(*wait);
            db.batch(ops);
            ops.iter().for_each(|op| drop(model.run(op)));
        }
        let unchanged = model.clone();
        let mut rehearsal = db.rehearsal();
        for op in rehearsed.iter().flat_map(|(_, ops)| ops) {
            let expected = model.run(op).unwrap_or_else(Reply::Error);
            prop_assert_eq!(rehearsal.write(op, &|_| None).unwrap(), expected, "{:?}", op);
            check(&model, &|query| rehearsal.read(&query).unwrap());
        }
        // And nobody else saw any of it.
        check(&unchanged, &|query| db.read(query));
    }
}

/// Point reads of everything that a key may hold.
fn looks(key: &str) -> Vec<Query> {
    let (key, member) = (bytes(key), bytes("m1"));
    vec![
        Query::Get { key: key.clone() },
        Query::Type { key: key.clone() },
        Query::Ttl { key: key.clone(), form: TtlForm::UnixMillis },
        Query::Exists { keys: vec![key.clone(), bytes("k1"), bytes("never")] },
        Query::HGet { key: key.clone(), field: member.clone() },
        Query::HLen { key: key.clone() },
        Query::SMIsMember { key: key.clone(), members: vec![member.clone(), bytes("m2")] },
        Query::SCard { key: key.clone() },
        Query::ZScore { key: key.clone(), member },
        Query::ZCard { key },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn point_reads_among_writes_see_those_before_them(batches in batches()) {
        let mut db = Db::new();
        for (wait, ops) in batches {
            db.wait(wait);
            let mut rehearsal = db.rehearsal();
            let (mut together, mut expected) = (Vec::new(), Vec::new());
            for op in ops {
                expected.push(rehearsal.write(&op, &|_| None).unwrap());
                together.push(op);
                for query in ["k0", "k1", "k2"].into_iter().flat_map(looks) {
                    prop_assert!(query.is_point());
                    let read = rehearsal.read(&query);
                    expected.push(read.unwrap_or(Reply::Error(OpError::WrongType)));
                    together.push(Op::Look { query });
                }
            }
            let replies = db.batch(&together).into_iter();
            let replies: Vec<Reply> =
                replies.map(|reply| reply.unwrap_or_else(Reply::Error)).collect();
            prop_assert_eq!(replies, expected);
        }
    }
}

#[test]
fn pages_of_the_source_and_of_the_transaction_are_one() {
    // More than one page of each, interleaved.
    let (mut db, members) = (Db::new(), 0..1_500_u32);
    let scored = |odd: bool| -> Vec<_> {
        let of = members.clone().filter(|nth| (nth % 2 == 1) == odd);
        of.map(|nth| (bytes(&format!("m{nth:04}")), f64::from(nth))).collect()
    };
    let add =
        |pairs| Op::ZAdd { key: bytes("z"), pairs, when: ZAddWhen::default(), changed: false };
    db.run(add(scored(false))).unwrap();
    let mut rehearsal = db.rehearsal();
    rehearsal.write(&add(scored(true)), &|_| None).unwrap();
    let gone = Op::ZRem { key: bytes("z"), members: vec![bytes("m0000"), bytes("m0001")] };
    assert_eq!(rehearsal.write(&gone, &|_| None), Ok(Reply::Int(2)));
    for reverse in [false, true] {
        let bounds = ZBounds::Index { start: 0, stop: -1 };
        let range = ZRange { bounds, reverse, limit: None };
        let all = rehearsal.read(&Query::ZRange { key: bytes("z"), range, scores: false }).unwrap();
        let names = members.clone().skip(2).map(|nth| Reply::Bytes(bytes(&format!("m{nth:04}"))));
        let mut expected: Vec<Reply> = names.collect();
        if reverse {
            expected.reverse();
        }
        assert_eq!(all, Reply::Array(expected));
    }
    let unseen = db.read(Query::ZCard { key: bytes("z") });
    assert_eq!(unseen, Reply::Int(750));
}
