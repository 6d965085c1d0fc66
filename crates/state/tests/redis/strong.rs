//! The strong machine: the same commands, agreed one after the other.

use bytes::Bytes;
use proptest::prelude::*;
use rhumb_state::{
    Choice, Op, OpError, Query, Reply, StrongMachine,
    op::{Deadline, Presence, SetExpiry},
    strong::{
        RequestId, STRONG_ANSWER_BYTES_MAX, STRONG_BYTES_MAX, STRONG_REQUESTS_MAX, StrongCommand,
        StrongOutcome, StrongQuery, StrongRead, StrongRefusal, StrongStep,
    },
};
use rhumb_types::{UnixMillis, record::Record};

use super::{
    commands::batches,
    harness::bytes,
    model::{Model, check},
};

/// A machine with the log that leads to its state.
#[derive(Debug, Default)]
struct Group {
    machine: StrongMachine,
    index: u64,
    now: UnixMillis,
}

impl Group {
    fn propose(&mut self, command: &StrongCommand) -> StrongOutcome {
        self.index += 1;
        let answer = self.machine.apply(self.index, &command.encode());
        StrongOutcome::decode(&answer).unwrap()
    }

    fn command(&self, steps: Vec<StrongStep>) -> StrongCommand {
        let request = RequestId(u128::from(self.index) + 1);
        StrongCommand { request, now: self.now, if_unchanged: Vec::new(), steps }
    }

    /// The reply to one operation, and the fencing token after it.
    fn run(&mut self, op: Op) -> (Reply, Option<u64>) {
        let command = self.command(vec![StrongStep::Write(op)]);
        let StrongOutcome::Answered(mut answer) = self.propose(&command) else {
            panic!("the command is applied");
        };
        (answer.replies.remove(0), answer.fence)
    }

    fn read(&self, query: &StrongQuery) -> StrongRead {
        StrongRead::decode(&self.machine.read(&query.encode())).unwrap()
    }

    fn ask(&self, query: Query) -> Reply {
        match self.read(&StrongQuery::Data { now: self.now, query }) {
            StrongRead::Data(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn fence(&self, key: &str) -> Option<u64> {
        match self.read(&StrongQuery::Fence { now: self.now, key: bytes(key) }) {
            StrongRead::Fence(fence) => fence,
            other => panic!("{other:?}"),
        }
    }
}

fn set(key: &str, value: &str) -> Op {
    let (key, value) = (bytes(key), bytes(value));
    Op::Set { key, value, when: Presence::Any, get: false, expiry: SetExpiry::Clear }
}

/// A lock as Redlock takes it.
fn lock(key: &str, owner: &str, ms: u64) -> Op {
    let (key, value) = (bytes(key), bytes(owner));
    let expiry = SetExpiry::Until(Deadline::In(ms));
    Op::Set { key, value, when: Presence::Absent, get: false, expiry }
}

fn unlock(key: &str, owner: &str) -> Op {
    Op::CompareAndDelete { key: bytes(key), expected: bytes(owner) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn commands_do_what_redis_does_and_snapshots_change_nothing(batches in batches()) {
        let mut group = Group { now: UnixMillis(1_000_000), ..Group::default() };
        let mut other = Group::default();
        let mut model = Model::at(group.now.0);
        for (wait, mut ops) in batches {
            ops.retain(|op| *op != Op::FlushDb);
            group.now.0 += wait;
            model.wait(wait);
            let expected: Vec<Reply> =
                ops.iter().map(|op| model.run(op).unwrap_or_else(Reply::Error)).collect();
            let command = group.command(ops.into_iter().map(StrongStep::Write).collect());
            let outcome = group.propose(&command);
            let StrongOutcome::Answered(answer) = &outcome else { panic!("{outcome:?}") };
            prop_assert_eq!(&answer.replies, &expected);
            check(&model, &|query| group.ask(query));

            // A node that restarts from a snapshot before every entry stays the same.
            let mut restarted = StrongMachine::new();
            restarted.restore(&other.machine.snapshot()).unwrap();
            other.machine = restarted;
            prop_assert_eq!(other.propose(&command), outcome);
            prop_assert_eq!(other.machine.snapshot(), group.machine.snapshot());
            let usage = |group: &Group| group.read(&StrongQuery::Usage);
            prop_assert_eq!(usage(&other), usage(&group));
        }
    }
}

#[test]
fn a_fencing_token_grows_with_every_owner() {
    let mut group = Group { now: UnixMillis(1_000), ..Group::default() };
    let (reply, first) = group.run(lock("lock", "a", 100));
    assert_eq!(reply, Reply::Ok);
    let (reply, held) = group.run(lock("lock", "b", 100));
    assert_eq!((reply, held), (Reply::Nil, first), "the lock is held");
    assert_eq!(group.run(set("lock", "a again")).1, first, "an overwrite takes nothing");
    group.run(set("lock", "a"));

    assert_eq!(group.run(unlock("lock", "b")).0, Reply::Int(0));
    assert_eq!(group.run(unlock("lock", "a")), (Reply::Int(1), None));
    assert_eq!(group.fence("lock"), None);
    let (_, second) = group.run(lock("lock", "b", 100));
    assert!(second > first);

    group.now.0 += 101;
    let (reply, third) = group.run(lock("lock", "c", 100));
    assert_eq!(reply, Reply::Ok, "the lock of b is over");
    assert!(third > second);
    assert_eq!(group.fence("lock"), third);
}

#[test]
fn a_key_taken_again_within_one_command_gets_a_new_token() {
    let mut group = Group::default();
    let (_, first) = group.run(set("k", "1"));
    let steps = [unlock("k", "1"), set("k", "2")].map(StrongStep::Write).to_vec();
    let StrongOutcome::Answered(answer) = group.propose(&group.command(steps)) else { panic!() };
    assert!(answer.fence > first);
}

#[test]
fn a_command_proposed_twice_is_applied_once() {
    let mut group = Group::default();
    let increment = Op::IncrBy { key: bytes("n"), by: 1 };
    let command = group.command(vec![StrongStep::Write(increment)]);
    let first = group.propose(&command);
    assert_eq!(group.propose(&command), first);
    assert_eq!(group.ask(Query::Get { key: bytes("n") }), Reply::Bytes(bytes("1")));

    // Also by a node that has only the snapshot.
    let mut restored = Group { index: group.index, ..Group::default() };
    restored.machine.restore(&group.machine.snapshot()).unwrap();
    assert_eq!(restored.propose(&command), first);
}

#[test]
fn a_long_answer_is_not_kept_but_its_command_is_not_repeated() {
    let mut group = Group::default();
    group.run(set("k", &"x".repeat(STRONG_ANSWER_BYTES_MAX)));
    let append = Op::Append { key: bytes("k"), value: bytes("y") };
    let read = StrongStep::Read(Query::Get { key: bytes("k") });
    let command = group.command(vec![StrongStep::Write(append), read]);
    assert!(matches!(group.propose(&command), StrongOutcome::Answered(_)));
    let applied = StrongOutcome::Refused(StrongRefusal::AppliedBefore);
    assert_eq!(group.propose(&command), applied);
    let length = i64::try_from(STRONG_ANSWER_BYTES_MAX).unwrap() + 1;
    assert_eq!(group.ask(Query::StrLen { key: bytes("k") }), Reply::Int(length));
}

#[test]
fn a_command_too_old_to_be_told_from_a_repetition_is_refused() {
    let mut group = Group { now: UnixMillis(1), ..Group::default() };
    let old = group.command(vec![StrongStep::Write(set("old", "1"))]);
    group.propose(&old);
    group.now = UnixMillis(2);
    for _ in 0..STRONG_REQUESTS_MAX {
        let command = group.command(vec![StrongStep::Read(Query::DbSize)]);
        group.propose(&command);
    }
    let refused = StrongOutcome::Refused(StrongRefusal::TooOld);
    assert_eq!(group.propose(&old), refused);
    assert!(matches!(group.run(set("new", "1")).0, Reply::Ok));
}

#[test]
fn a_watched_key_that_changed_stops_the_command() {
    let mut group = Group::default();
    group.run(set("k", "1"));
    let keys = vec![bytes("k"), bytes("absent")];
    let StrongRead::Versions(versions) =
        group.read(&StrongQuery::Versions { now: group.now, keys: keys.clone() })
    else {
        panic!()
    };
    assert_eq!(versions.len(), 2);
    let if_unchanged: Vec<_> = keys.into_iter().zip(versions).collect();
    let increment = || vec![StrongStep::Write(Op::IncrBy { key: bytes("k"), by: 1 })];
    let watching = |group: &Group| StrongCommand {
        if_unchanged: if_unchanged.clone(),
        ..group.command(increment())
    };
    assert!(matches!(group.propose(&watching(&group)), StrongOutcome::Answered(_)));
    assert_eq!(group.propose(&watching(&group)), StrongOutcome::Changed);
    assert_eq!(group.ask(Query::Get { key: bytes("k") }), Reply::Bytes(bytes("2")));
}

#[test]
fn time_is_the_logs_and_never_goes_back() {
    let mut group = Group { now: UnixMillis(1_000), ..Group::default() };
    group.run(lock("lock", "a", 100));
    let get =
        |now| StrongQuery::Data { now: UnixMillis(now), query: Query::Get { key: bytes("lock") } };
    assert_eq!(group.read(&get(1_050)), StrongRead::Data(Reply::Bytes(bytes("a"))));
    // The asker's clock is past the lock's end, the log's is not: it has to be moved first.
    assert_eq!(group.read(&get(1_100)), StrongRead::TimeBehind);
    group.now = UnixMillis(1_100);
    group.propose(&group.command(Vec::new()));
    assert_eq!(group.read(&get(1_100)), StrongRead::Data(Reply::Nil));
    // A proposer whose clock is behind does not bring the lock back.
    group.now = UnixMillis(900);
    assert_eq!(group.run(lock("lock", "b", 100)).0, Reply::Ok);
    assert_eq!(group.read(&get(1_199)), StrongRead::Data(Reply::Bytes(bytes("b"))));
}

#[test]
fn a_full_machine_refuses_what_grows_and_takes_what_shrinks() {
    let mut group = Group::default();
    let big = "x".repeat(3 << 20);
    let refused = (0..)
        .map(|n| group.run(set(&format!("k{n}"), &big)).0)
        .take(STRONG_BYTES_MAX / big.len() + 1)
        .find(|reply| *reply != Reply::Ok);
    assert_eq!(refused, Some(Reply::Error(OpError::Full)));
    let StrongRead::Usage(usage) = group.read(&StrongQuery::Usage) else { panic!() };
    assert!(usage.bytes <= STRONG_BYTES_MAX);
    assert_eq!(group.run(set("k0", "small")).0, Reply::Ok);
    assert_eq!(group.run(Op::Del { keys: vec![bytes("k1")] }).0, Reply::Int(1));
    assert_eq!(group.run(set("another", &big)).0, Reply::Ok);
}

#[test]
fn members_are_chosen_within_the_command() {
    let mut group = Group::default();
    let members: Vec<Bytes> = (0..10).map(|n| bytes(&format!("m{n}"))).collect();
    group.run(Op::SAdd { key: bytes("s"), members });
    let choice = Choice::SPop { key: bytes("s"), count: 4, seed: 3 };
    let steps = vec![
        StrongStep::Choose(choice),
        StrongStep::Read(Query::SCard { key: bytes("s") }),
        StrongStep::Write(Op::FlushDb),
    ];
    let StrongOutcome::Answered(answer) = group.propose(&group.command(steps)) else { panic!() };
    assert!(matches!(&answer.replies[0], Reply::Set(popped) if popped.len() == 4));
    assert_eq!(answer.replies[1], Reply::Int(6));
    assert_eq!(answer.replies[2], Reply::Error(OpError::NotStrong));
}

#[test]
fn damaged_bytes_are_refused_and_change_nothing() {
    let mut group = Group::default();
    group.run(set("k", "1"));
    let before = group.machine.snapshot();
    assert!(group.machine.restore(&[7, 7, 7]).is_err());
    assert!(group.machine.restore(&before[..before.len() - 1]).is_err());
    assert_eq!(group.machine.snapshot(), before);
    let answer = group.machine.apply(2, b"\x09nonsense");
    assert!(matches!(
        StrongOutcome::decode(&answer).unwrap(),
        StrongOutcome::Refused(StrongRefusal::Unreadable(_))
    ));
}
