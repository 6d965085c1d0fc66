use std::sync::Arc;

use bytes::Bytes;
use rhumb_ports::{peer::PeerMessage, store::Batch};
use rhumb_state::{
    ReadSet,
    owned::{OwnedOp, Refusal},
};
use rhumb_types::{Epoch, record::OwnedState};

use super::*;
use crate::{
    Boot, Event, RequestId,
    oversee::{Leases, Tenure},
    trials::{at, config, region},
};

/// The tenure of every test ends here.
const UNTIL: MonoTime = MonoTime(1_000_000);

fn id(name: &str) -> OwnedId {
    OwnedId { table: 1, key: Bytes::copy_from_slice(name.as_bytes()) }
}

fn put(name: &str) -> OwnedOp {
    OwnedOp::Put { id: id(name), payload: Bytes::from_static(b"work") }
}

fn done(name: &str, receipt: u64) -> OwnedOp {
    let payload = Bytes::from_static(b"done");
    OwnedOp::Change { id: id(name), receipt: Epoch(receipt), state: OwnedState::Done, payload }
}

/// A node of `us` with a peer in `eu`, on a disk that does what it should.
struct Rig {
    node: Node,
    out: Effects,
    commits: u64,
    requests: u64,
    answers: Vec<Result<Vec<OwnedRow>, SubmitError>>,
    in_flight: Option<(u64, Batch)>,
}

impl Rig {
    fn new() -> Self {
        let config = config(&["us", "eu"]);
        let boot = Boot { entropy: 77 << 16, ..Boot::default() };
        Self {
            node: Node::new(config, boot, at(0)),
            out: Effects::new(),
            commits: 0,
            requests: 0,
            answers: Vec::new(),
            in_flight: None,
        }
    }

    /// Holds the lease of `us` from now on.
    fn with_lease(mut self) -> Self {
        let tenure = Tenure { epoch: Epoch(3), until: UNTIL, majority: true, homes: None };
        let leases = Leases::from([(region("us"), tenure)]);
        self.event(0, Event::Leases(Arc::new(leases)));
        self
    }

    fn event(&mut self, micros: u64, event: Event) {
        self.node.on_event(at(micros), event, &mut self.out);
        self.node.on_event(at(micros), Event::Flush, &mut self.out);
        while let Some(effect) = self.out.pop() {
            match effect {
                Effect::Commit { batch, writes, .. } => self.in_flight = Some((batch, writes)),
                Effect::Owned { result, .. } => self.answers.push(result),
                _ => {}
            }
        }
    }

    fn own(&mut self, micros: u64, ack: AckLevel, ops: Vec<OwnedOp>) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let owned = ops.iter().map(|op| (op.id().clone(), None)).collect();
        let reads = ReadSet { commit: self.commits, owned, ..ReadSet::default() };
        let (home, deadline) = (region("us"), MonoTime(9_000_000));
        self.event(micros, Event::Own(SubmitOwned { request, home, ops, ack, deadline, reads }));
    }

    /// The commit under way ends; gives the owned rows and the number of transactions in it.
    fn commit(&mut self, micros: u64) -> (Vec<OwnedRow>, usize) {
        let (batch, writes) = self.in_flight.take().unwrap();
        self.commits += 1;
        self.event(micros, Event::Committed { batch, result: Ok(self.commits) });
        let logs = writes.writes.iter().filter(|write| matches!(write, Write::Log { .. }));
        let logs = logs.count();
        let owned = |write: Write| if let Write::Owned(row) = write { Some(row) } else { None };
        (writes.writes.into_iter().filter_map(owned).collect(), logs)
    }

    /// `eu` says that it has everything.
    fn acknowledged(&mut self, micros: u64) {
        let durable = self.node.durable.clone();
        let message = PeerMessage::Ack { durable };
        self.event(micros, Event::Peer { from: region("eu"), message });
    }
}

#[test]
fn a_yes_comes_with_the_commit_while_the_tenure_lasts() {
    let mut rig = Rig::new().with_lease();
    rig.own(10, AckLevel::Local, vec![put("a"), put("b"), done("a", 3)]);
    assert!(rig.answers.is_empty());
    rig.commit(20);
    let rows = rig.answers.pop().unwrap().unwrap();
    let versions: Vec<_> = rows.iter().map(|row| (row.epoch.0, row.sequence, row.pinned)).collect();
    assert_eq!(versions, [(3, 1, false), (3, 1, false), (3, 2, false)]);
    rig.own(30, AckLevel::Local, vec![done("b", 2)]);
    let stale = Refusal::StaleEpoch { receipt: Epoch(2), current: Epoch(3) };
    assert_eq!(rig.answers.pop().unwrap(), Err(SubmitError::NotOwner(stale)));
}

#[test]
fn what_ran_out_during_the_commit_is_logged_and_gets_no_yes() {
    let mut rig = Rig::new().with_lease();
    rig.own(UNTIL.0 - 1, AckLevel::Local, vec![put("a")]);
    let (rows, logs) = rig.commit(UNTIL.0);
    assert_eq!((rows.len(), logs), (1, 1));
    assert_eq!(rig.answers.pop(), Some(Err(SubmitError::Fenced { home: region("us") })));
    rig.own(UNTIL.0, AckLevel::Local, vec![done("a", 3)]);
    let why = Refusal::NoLease { home: region("us") };
    assert_eq!(rig.answers.pop(), Some(Err(SubmitError::NotOwner(why))));
    assert!(rig.in_flight.is_none(), "nothing is written");
}

#[test]
fn what_ran_out_while_others_were_waited_for_gets_no_yes() {
    for (micros, yes) in [(UNTIL.0 - 1, true), (UNTIL.0, false)] {
        let mut rig = Rig::new().with_lease();
        rig.own(10, AckLevel::OneRemote, vec![put("a")]);
        rig.commit(20);
        assert!(rig.answers.is_empty());
        rig.acknowledged(micros);
        assert_eq!(rig.answers.pop().unwrap().is_ok(), yes);
    }
}

#[test]
fn a_lease_that_is_given_up_ends_at_once() {
    let mut rig = Rig::new().with_lease();
    rig.own(10, AckLevel::Local, vec![put("a")]);
    rig.event(15, Event::Leases(Arc::default()));
    rig.commit(20);
    assert_eq!(rig.answers.pop(), Some(Err(SubmitError::Fenced { home: region("us") })));
}

#[test]
fn without_a_lease_new_work_is_pinned_and_loses_its_pin_under_one() {
    let mut rig = Rig::new();
    rig.own(10, AckLevel::Local, vec![put("a")]);
    rig.commit(20);
    let rows = rig.answers.pop().unwrap().unwrap();
    assert!(rows.iter().all(|row| row.pinned && row.epoch == Epoch(0)));
    let mut rig = rig.with_lease();
    rig.own(30, AckLevel::Local, vec![done("a", 0)]);
    let (stored, _) = rig.commit(40);
    assert!(stored.iter().all(|row| !row.pinned && row.epoch == Epoch(3)));
    assert!(rig.answers.pop().unwrap().is_ok());
}

#[test]
fn a_row_that_is_over_is_dropped_here_and_logged_nowhere() {
    let mut rig = Rig::new().with_lease();
    rig.own(10, AckLevel::Local, vec![put("a"), put("b"), done("a", 3)]);
    rig.commit(20);
    rig.event(30, Event::DropOwned(vec![id("a"), id("b"), id("c")]));
    let (batch, writes) = rig.in_flight.clone().unwrap();
    let drops = [Write::OwnedDrop(id("a")), Write::OwnedDrop(id("c"))];
    assert_eq!(writes.writes, drops, "what waits for its owner stays");
    // Before that is committed the same work comes again: it is new, and stays.
    rig.own(40, AckLevel::Local, vec![put("a")]);
    rig.commit(50);
    assert_eq!(batch, 2);
    let (rows, logs) = rig.commit(60);
    assert_eq!((rows.len(), logs), (1, 1));
    let row = rig.answers.pop().unwrap().unwrap().remove(0);
    assert_eq!((row.state, row.sequence), (OwnedState::Ready, 1));
}

#[test]
fn work_that_comes_again_with_its_drop_is_kept() {
    let mut rig = Rig::new().with_lease();
    rig.own(10, AckLevel::Local, vec![put("a"), done("a", 3)]);
    // A commit is under way, so that both lie in the next one.
    rig.event(20, Event::DropOwned(vec![id("a")]));
    rig.own(30, AckLevel::Local, vec![put("a")]);
    rig.commit(40);
    let (_, writes) = rig.in_flight.clone().unwrap();
    assert!(writes.writes.iter().all(|write| !matches!(write, Write::OwnedDrop(_))), "{writes:?}");
    rig.commit(50);
}

#[test]
fn all_is_done_or_nothing_and_within_bounds() {
    let mut rig = Rig::new().with_lease();
    rig.own(10, AckLevel::Local, vec![put("a"), done("absent", 3)]);
    assert_eq!(rig.answers.pop(), Some(Err(SubmitError::NotOwner(Refusal::Absent))));
    let many = (0..=limits::OWNED_OPS_MAX).map(|nth| put(&nth.to_string())).collect();
    rig.own(20, AckLevel::Local, many);
    assert!(matches!(rig.answers.pop(), Some(Err(SubmitError::Unfit(_)))));
    let long = "k".repeat(rhumb_types::record::ROW_BYTES_MAX + 1);
    rig.own(30, AckLevel::Local, vec![put(&long)]);
    assert!(matches!(rig.answers.pop(), Some(Err(SubmitError::Unfit(_)))));
    assert!(rig.in_flight.is_none(), "nothing is written");
}
