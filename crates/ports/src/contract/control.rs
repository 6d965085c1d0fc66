//! What every consensus group and every replicated machine must do.
//!
//! [`control_suite`](crate::control_suite) checks a [`Control`] that hosts a [`Tape`];
//! [`replicated`] checks a machine. [`MemoryControl`] is a group of one member without a log, for
//! tests of what stands on a group.

#![allow(clippy::disallowed_types, reason = "the port is shared between threads, so its model is")]

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rhumb_types::{NodeId, RegionId};

use crate::{
    BoxFuture,
    control::{Control, ControlError, GroupMember, GroupStatus, Replicated},
};

/// A machine that keeps the commands it was given. Answers a command with how many came before
/// it, and a query with how many there are, or, when the query is a number of eight bytes (little
/// endian), with that command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tape {
    commands: Vec<(u64, Bytes)>,
}

impl Tape {
    /// The commands and their indexes.
    #[must_use]
    pub fn commands(&self) -> &[(u64, Bytes)] {
        &self.commands
    }

    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut commands = Vec::new();
        let count = bytes.try_get_u64_le().ok()?;
        for _ in 0..count {
            let index = bytes.try_get_u64_le().ok()?;
            let length = usize::try_from(bytes.try_get_u64_le().ok()?).ok()?;
            let (command, rest) = bytes.split_at_checked(length)?;
            commands.push((index, Bytes::copy_from_slice(command)));
            bytes = rest;
        }
        bytes.is_empty().then_some(Self { commands })
    }
}

impl Replicated for Tape {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        let before = self.commands.len() as u64;
        self.commands.push((index, Bytes::copy_from_slice(command)));
        Bytes::copy_from_slice(&before.to_le_bytes())
    }

    fn read(&self, query: &[u8]) -> Bytes {
        let Some(place) = number(query) else {
            return Bytes::copy_from_slice(&(self.commands.len() as u64).to_le_bytes());
        };
        let command = usize::try_from(place).ok().and_then(|place| self.commands.get(place));
        command.map(|(_, command)| command.clone()).unwrap_or_default()
    }

    fn snapshot(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.commands.len() as u64);
        for (index, command) in &self.commands {
            out.put_u64_le(*index);
            out.put_u64_le(command.len() as u64);
            out.put_slice(command);
        }
        out.freeze()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        *self = Self::parse(snapshot).ok_or("the snapshot of the tape cannot be read")?;
        Ok(())
    }
}

/// The number in an answer of a [`Tape`].
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Checks a machine: the same commands give the same answers and state; a snapshot carries the
/// whole state; a damaged one is refused and changes nothing.
///
/// # Panics
/// When the machine breaks the contract.
pub fn replicated<M: Replicated>(fresh: impl Fn() -> M, commands: &[Bytes], queries: &[Bytes]) {
    let reads = |machine: &M| -> Vec<Bytes> { queries.iter().map(|q| machine.read(q)).collect() };
    let apply = |machine: &mut M, from: usize, commands: &[Bytes]| -> Vec<Bytes> {
        let indexed = (from as u64..).zip(commands);
        indexed.map(|(index, command)| machine.apply(index, command)).collect()
    };
    let (mut one, mut two) = (fresh(), fresh());
    let middle = commands.len() / 2;
    let (first, second) = commands.split_at(middle);
    assert_eq!(apply(&mut one, 1, first), apply(&mut two, 1, first), "the answers differ");
    let snapshot = one.snapshot();
    assert_eq!(snapshot, two.snapshot(), "the snapshots of equal machines differ");

    let mut restored = fresh();
    restored.restore(&snapshot).unwrap_or_else(|what| panic!("its own snapshot: {what}"));
    assert_eq!(reads(&restored), reads(&one), "reads differ after a restore");
    let from = middle + 1;
    let expected = apply(&mut one, from, second);
    assert_eq!(apply(&mut restored, from, second), expected, "answers differ after a restore");
    assert_eq!(restored.snapshot(), one.snapshot(), "states differ after a restore");

    let before = restored.snapshot();
    for cut in 0..snapshot.len() {
        let damaged = snapshot.slice(..cut);
        if restored.restore(&damaged).is_err() {
            assert_eq!(restored.snapshot(), before, "a refused snapshot changed the state");
        } else {
            restored.restore(&before).unwrap_or_else(|what| panic!("its own snapshot: {what}"));
        }
    }
}

/// The cases of the suite, one function each. Each wants a fresh group that hosts a [`Tape`].
pub mod cases {
    use super::{Bytes, Control, number};

    const ALL: Bytes = Bytes::new();

    async fn propose(control: &dyn Control, command: &'static str) -> u64 {
        let answer = control.propose(Bytes::from_static(command.as_bytes())).await;
        number(&answer.unwrap_or_else(|error| panic!("{command}: {error}")))
            .unwrap_or_else(|| panic!("{command}: the answer is not the machine's"))
    }

    async fn count(control: &dyn Control) -> Option<u64> {
        number(&control.read(ALL).await.unwrap_or_else(|error| panic!("the read: {error}")))
    }

    /// A proposal gives the machine's answer, and proposals take effect in the order in which one
    /// caller makes them.
    ///
    /// # Panics
    /// When the group breaks the contract.
    pub async fn answers_in_order(control: &dyn Control) {
        for (place, command) in (0..).zip(["a", "b", "c"]) {
            assert_eq!(propose(control, command).await, place);
        }
    }

    /// A linearizable read sees every proposal that was answered before it.
    ///
    /// # Panics
    /// When the group breaks the contract.
    pub async fn a_read_sees_what_was_answered(control: &dyn Control) {
        assert_eq!(count(control).await, Some(0));
        for expected in 1..=5 {
            propose(control, "x").await;
            assert_eq!(count(control).await, Some(expected));
        }
    }

    /// After a linearizable read through the leader itself, its local reads see as much; reads
    /// never go back on one node.
    ///
    /// # Panics
    /// When the group breaks the contract.
    pub async fn local_reads_do_not_go_back(control: &dyn Control) {
        let mut seen = 0;
        for _ in 0..20 {
            propose(control, "x").await;
            let now = number(&control.read_local(&ALL)).unwrap_or_default();
            assert!(now >= seen, "{now} after {seen}");
            seen = now;
        }
    }

    /// The status names a leader and its members, and `applied` rises.
    ///
    /// # Panics
    /// When the group breaks the contract.
    pub async fn the_status_follows(control: &dyn Control) {
        propose(control, "a").await;
        control.read(ALL).await.unwrap_or_else(|error| panic!("the read: {error}"));
        let status = control.status();
        let leader = status.leader.unwrap_or_else(|| panic!("no leader in {status:?}"));
        assert!(status.members.iter().any(|member| member.node == leader && member.voter));
        assert_eq!(status.trouble, None);
    }

    /// A command's bytes reach the machine as they are, the empty one too.
    ///
    /// # Panics
    /// When the group breaks the contract.
    pub async fn commands_arrive_as_they_are(control: &dyn Control) {
        let commands =
            [Bytes::new(), Bytes::from_static(b"\0\xff\r\n"), Bytes::from(vec![7; 9_000])];
        for command in &commands {
            let answer = control.propose(command.clone()).await;
            answer.unwrap_or_else(|error| panic!("{} bytes: {error}", command.len()));
        }
        for (place, command) in (0_u64..).zip(&commands) {
            let query = Bytes::copy_from_slice(&place.to_le_bytes());
            let kept = control.read(query).await.unwrap_or_else(|error| panic!("read: {error}"));
            assert_eq!(kept, *command);
        }
    }
}

/// Expands to one test per case. `attribute` makes an async function a test; `fresh` is an
/// expression whose await gives a `Control` that hosts a [`Tape`](crate::contract::control::Tape)
/// and has a leader, or gets one.
#[macro_export]
macro_rules! control_suite {
    (attribute = $attribute:meta, fresh = $fresh:expr $(,)?) => {
        $crate::control_suite!(@ $attribute, $fresh;
            answers_in_order
            a_read_sees_what_was_answered
            local_reads_do_not_go_back
            the_status_follows
            commands_arrive_as_they_are
        );
    };
    (@ $attribute:meta, $fresh:expr; $($case:ident)*) => {
        $crate::control_suite!(@@ $attribute; ($fresh); $($case)*);
    };
    (@@ $attribute:meta; $fresh:tt; $($case:ident)*) => {
        $(
            #[$attribute]
            async fn $case() {
                let control = ($fresh).await;
                $crate::contract::control::cases::$case(&control).await;
            }
        )*
    };
}

/// A group of one member that agrees with itself at once and keeps nothing.
pub struct MemoryControl {
    state: Mutex<State>,
}

struct State {
    machine: Box<dyn Replicated>,
    applied: u64,
    members: Vec<GroupMember>,
    leader: NodeId,
    reachable: bool,
}

impl fmt::Debug for MemoryControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryControl")
            .field("applied", &self.state().applied)
            .finish_non_exhaustive()
    }
}

impl MemoryControl {
    /// Hosts a machine at one node.
    #[must_use]
    pub fn new(machine: impl Replicated, node: NodeId, region: RegionId) -> Self {
        let members = vec![GroupMember { node, region, voter: true }];
        let machine = Box::new(machine);
        let state = State { machine, applied: 0, members, leader: node, reachable: true };
        Self { state: Mutex::new(state) }
    }

    /// Whether there is a majority from now on; without, only local reads work.
    pub fn set_reachable(&self, reachable: bool) {
        self.state().reachable = reachable;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<(), ControlError> {
        let reason = "the majority was made unreachable".to_owned();
        if self.reachable { Ok(()) } else { Err(ControlError::NoLeader { reason }) }
    }
}

impl Control for MemoryControl {
    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>> {
        Box::pin(async move {
            let mut state = self.state();
            state.check()?;
            state.applied += 1;
            let index = state.applied;
            Ok(state.machine.apply(index, &command))
        })
    }

    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>> {
        Box::pin(async move {
            let state = self.state();
            state.check().map(|()| state.machine.read(&query))
        })
    }

    fn read_local(&self, query: &[u8]) -> Bytes {
        self.state().machine.read(query)
    }

    fn status(&self) -> GroupStatus {
        let state = self.state();
        GroupStatus {
            leader: state.reachable.then_some(state.leader),
            term: 1,
            applied: state.applied,
            members: state.members.clone(),
            trouble: None,
        }
    }

    fn set_member(
        &self,
        node: NodeId,
        region: RegionId,
        voter: Option<bool>,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(async move {
            let mut state = self.state();
            state.check()?;
            state.applied += 1;
            state.members.retain(|member| member.node != node);
            if let Some(voter) = voter {
                state.members.push(GroupMember { node, region, voter });
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// Nothing here ever waits.
    fn ready<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn group() -> MemoryControl {
        MemoryControl::new(Tape::default(), NodeId(1), RegionId::new("a").unwrap())
    }

    #[test]
    fn a_group_in_memory_keeps_the_contract() {
        ready(cases::answers_in_order(&group()));
        ready(cases::a_read_sees_what_was_answered(&group()));
        ready(cases::local_reads_do_not_go_back(&group()));
        ready(cases::the_status_follows(&group()));
        ready(cases::commands_arrive_as_they_are(&group()));
    }

    #[test]
    fn without_a_majority_only_local_reads_work() {
        let group = group();
        ready(group.propose(Bytes::from_static(b"a"))).unwrap();
        group.set_reachable(false);
        assert!(ready(group.propose(Bytes::from_static(b"b"))).is_err());
        assert!(ready(group.read(Bytes::new())).is_err());
        assert_eq!(number(&group.read_local(b"")), Some(1));
        assert_eq!(group.status().leader, None);
    }

    #[test]
    fn a_tape_is_a_replicated_machine() {
        let commands: Vec<Bytes> = (0..10_u8).map(|n| Bytes::from(vec![n; n.into()])).collect();
        replicated(Tape::default, &commands, &[Bytes::new(), Bytes::from_static(&[3; 8])]);
    }
}
