//! Random commands on few keys, run against the model and against two regions.

use bytes::Bytes;
use proptest::prelude::*;
use rhumb_state::{
    Op,
    op::{Deadline, ExpireWhen, GetExpiry, Presence, Prolong, ScoreWhen, SetExpiry, ZAddWhen},
};
use rhumb_types::UnixMillis;

use super::{
    harness::{Db, bytes},
    model::{Model, check},
};

fn key() -> impl Strategy<Value = Bytes> {
    (0..4_u8).prop_map(|n| bytes(&format!("k{n}")))
}

fn member() -> impl Strategy<Value = Bytes> {
    (0..4_u8).prop_map(|n| bytes(&format!("m{n}")))
}

fn members() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(member(), 1..4)
}

/// Distinct members, as lowering chooses them.
fn candidates() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::btree_set(member(), 0..4)
        .prop_map(|members| members.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => (-3..4_i64).prop_map(|n| bytes(&n.to_string())),
        1 => Just(bytes(&i64::MAX.to_string())),
        1 => Just(bytes("1.5")),
        1 => Just(bytes("text")),
        1 => Just(Bytes::new()),
    ]
}

/// Scores and fractions whose sums are exact, in whatever order they are added up.
fn score() -> impl Strategy<Value = f64> {
    (-4..5_i32).prop_map(|n| f64::from(n) / 2.0)
}

fn scored() -> impl Strategy<Value = Vec<(Bytes, f64)>> {
    (candidates(), prop::collection::vec(score(), 4))
        .prop_map(|(members, scores)| members.into_iter().zip(scores).collect())
}

fn increment() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -3..4_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
}

fn deadline() -> impl Strategy<Value = Deadline> {
    prop_oneof![
        4 => (1..100_u64).prop_map(Deadline::In),
        1 => Just(Deadline::At(UnixMillis(5))),
        1 => Just(Deadline::At(UnixMillis(2_000_000))),
    ]
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![Just(Presence::Any), Just(Presence::Absent), Just(Presence::Present)]
}

fn z_add_when() -> impl Strategy<Value = ZAddWhen> {
    let score = prop_oneof![Just(ScoreWhen::Any), Just(ScoreWhen::Greater), Just(ScoreWhen::Less)];
    (presence(), score).prop_map(|(presence, score)| {
        let excluded = presence == Presence::Absent;
        ZAddWhen { presence, score: if excluded { ScoreWhen::Any } else { score } }
    })
}

fn expire_when() -> impl Strategy<Value = ExpireWhen> {
    prop_oneof![
        Just(ExpireWhen::Always),
        Just(ExpireWhen::Persistent),
        Just(ExpireWhen::Volatile),
        Just(ExpireWhen::Longer),
        Just(ExpireWhen::Shorter),
        Just(ExpireWhen::VolatileShorter),
    ]
}

fn text_ops() -> impl Strategy<Value = Op> {
    let set_expiry = prop_oneof![
        Just(SetExpiry::Clear),
        Just(SetExpiry::Keep),
        deadline().prop_map(SetExpiry::Until)
    ];
    let get_expiry = prop_oneof![Just(GetExpiry::Persist), deadline().prop_map(GetExpiry::Until)];
    let pairs = || prop::collection::vec((key(), value()), 1..3);
    prop_oneof![
        (key(), value(), presence(), any::<bool>(), set_expiry)
            .prop_map(|(key, value, when, get, expiry)| Op::Set { key, value, when, get, expiry }),
        pairs().prop_map(|pairs| Op::MSet { pairs }),
        pairs().prop_map(|pairs| Op::MSetNx { pairs }),
        key().prop_map(|key| Op::GetDel { key }),
        (key(), get_expiry).prop_map(|(key, expiry)| Op::GetEx { key, expiry }),
        (key(), value()).prop_map(|(key, value)| Op::Append { key, value }),
        (key(), 0..5_u64, value()).prop_map(|(key, offset, value)| Op::SetRange {
            key,
            offset,
            value
        }),
        (key(), increment()).prop_map(|(key, by)| Op::IncrBy { key, by }),
        (key(), increment()).prop_map(|(key, by)| Op::IncrBy { key, by }),
    ]
}

fn key_ops() -> impl Strategy<Value = Op> {
    let ttl = prop_oneof![
        (1..100_u64).prop_map(Prolong::To),
        (1..100_u64).prop_map(Prolong::VolatileTo),
        (1..100_u64).prop_map(Prolong::VolatileBy),
    ];
    prop_oneof![
        4 => prop::collection::vec(key(), 1..3).prop_map(|keys| Op::Del { keys }),
        6 => (key(), deadline(), expire_when())
            .prop_map(|(key, deadline, when)| Op::Expire { key, deadline, when }),
        3 => key().prop_map(|key| Op::Persist { key }),
        1 => Just(Op::FlushDb),
        2 => (key(), value()).prop_map(|(key, expected)| Op::CompareAndDelete { key, expected }),
        3 => (key(), value(), ttl)
            .prop_map(|(key, expected, ttl)| Op::CompareAndExpire { key, expected, ttl }),
    ]
}

fn hash_ops() -> impl Strategy<Value = Op> {
    let pairs = prop::collection::vec((member(), value()), 1..4);
    prop_oneof![
        (key(), pairs).prop_map(|(key, pairs)| Op::HSet { key, pairs }),
        (key(), member(), value()).prop_map(|(key, field, value)| Op::HSetNx { key, field, value }),
        (key(), members()).prop_map(|(key, fields)| Op::HDel { key, fields }),
        (key(), member(), increment()).prop_map(|(key, field, by)| Op::HIncrBy { key, field, by }),
    ]
}

fn set_ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        (key(), members()).prop_map(|(key, members)| Op::SAdd { key, members }),
        (key(), members()).prop_map(|(key, members)| Op::SAdd { key, members }),
        (key(), members()).prop_map(|(key, members)| Op::SRem { key, members }),
        (key(), key(), member()).prop_map(|(source, destination, member)| Op::SMove {
            source,
            destination,
            member
        }),
        (key(), candidates(), 0..4_usize).prop_map(|(key, candidates, count)| Op::SPop {
            key,
            candidates,
            count
        }),
    ]
}

fn scored_ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        (key(), scored(), z_add_when(), any::<bool>())
            .prop_map(|(key, pairs, when, changed)| Op::ZAdd { key, pairs, when, changed }),
        (key(), member(), score(), z_add_when()).prop_map(|(key, member, by, when)| Op::ZIncrBy {
            key,
            member,
            by,
            when
        }),
        (key(), members()).prop_map(|(key, members)| Op::ZRem { key, members }),
        (key(), scored()).prop_map(|(key, members)| Op::ZRemScored { key, members }),
        (key(), scored(), 0..4_usize).prop_map(|(key, candidates, count)| Op::ZPop {
            key,
            candidates,
            count
        }),
    ]
}

/// Batches of operations, each some milliseconds after the one before.
pub(crate) fn batches() -> impl Strategy<Value = Vec<(u64, Vec<Op>)>> {
    let op = prop_oneof![text_ops(), key_ops(), hash_ops(), set_ops(), scored_ops()];
    prop::collection::vec((0..30_u64, prop::collection::vec(op, 1..4)), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn commands_do_what_redis_does(batches in batches()) {
        let mut db = Db::new();
        let mut model = Model::at(db.now().0);
        for (wait, ops) in batches {
            db.wait(wait);
            model.wait(wait);
            let expected: Vec<_> = ops.iter().map(|op| model.run(op)).collect();
            prop_assert_eq!(db.batch(&ops), expected, "{:?}", ops);
            check(&model, &|query| db.read(query));
        }
    }
}
