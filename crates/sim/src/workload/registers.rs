//! Registers that the clients of one region share, and what these saw of them.
//!
//! All their calls go through that region's node, so there must be one order of them that explains
//! every answer (linearizability), whatever crashes and however many calls end unknown: a call that
//! is not answered in time is given up, and may have been done, be done later, or never. The
//! histories go to the checker of `rhumb-check` at the end of a round, with a last read in every
//! region. Clients of several regions have no such order: that is what concurrent writes are.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_check::{CallId, History, Limits, Model, Verdict, check};
use rhumb_node::{Event, RequestId, Submit, SubmitError, reads};
use rhumb_state::{
    Op, Query, Reply, RowId,
    op::{Presence, SetExpiry},
};
use rhumb_types::{AckLevel, ErrorCode};

use crate::{branch::Branch, reader::Reader, world::World};

/// Registers of a host at a time.
const SLOTS: u64 = 2;
/// Clients of a host; each waits for one call at a time.
const CLIENTS: u64 = 4;
/// How many of a thousand clients do something when their host's turn comes.
const ACTS_PER_MILLE: u64 = 500;
/// How many of a thousand calls that were given up are tried again with the same value.
const AGAIN_PER_MILLE: u64 = 500;
/// How long clients wait, in microseconds: less than a round trip, and much longer.
const PATIENCE_MICROS: [u64; 4] = [5_000, 100_000, 400_000, 2_000_000];
/// Calls of one register, and those of them without an outcome; then another one is used, so that
/// every history can be searched.
const CALLS_MAX: usize = 150;
const UNKNOWN_MAX: usize = 12;
/// Requests from here on are of registers.
const REQUESTS: u64 = 1 << 33;

/// What is asked of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    /// Its value: `GET`.
    Read,
    /// To take a value: `SET GET`.
    Put(u64),
    /// To take it if it has none: `SET NX GET`.
    PutAbsent(u64),
    /// To have none: `GETDEL`.
    Take,
}

/// A register that answers every call with the value that it had before.
#[derive(Clone, Copy, Debug)]
struct Register;

impl Model for Register {
    type State = Option<u64>;
    type Call = Ask;
    type Answer = Option<u64>;

    fn initial(&self) -> Option<u64> {
        None
    }

    fn step(
        &self,
        state: &Option<u64>,
        call: &Ask,
        answer: Option<&Option<u64>>,
    ) -> Option<Option<u64>> {
        let next = match call {
            Ask::Read => *state,
            Ask::Put(value) => Some(*value),
            Ask::PutAbsent(value) => state.or(Some(*value)),
            Ask::Take => None,
        };
        answer.is_none_or(|answer| answer == state).then_some(next)
    }
}

type Seen = History<Ask, Option<u64>>;

/// A register of a host.
#[derive(Debug)]
struct Slot {
    key: Bytes,
    host: usize,
    seen: Seen,
    unknown: usize,
}

/// A call that was not answered yet.
#[derive(Debug)]
struct Waiting {
    client: (usize, u64),
    /// Which register, by its place among all of the round.
    slot: usize,
    call: CallId,
    ask: Ask,
    ack: AckLevel,
    /// Until when its client waits, in microseconds of the run.
    until: u64,
}

/// How the calls of a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallCounts {
    /// Calls.
    pub calls: u64,
    /// Those that were given up.
    pub unknown: u64,
    /// Histories that were found to have an order.
    pub ordered: u64,
    /// Histories whose search was too long.
    pub undecided: u64,
}

impl CallCounts {
    /// Counts another run's in.
    pub const fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.unknown += other.unknown;
        self.ordered += other.ordered;
        self.undecided += other.undecided;
    }
}

/// The registers of a round, their clients and what these saw.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    /// Rounds closed so far; each has keys of its own.
    round: u64,
    slots: Vec<Slot>,
    /// Which of them are in use, by host and number.
    used: BTreeMap<(usize, u64), usize>,
    waiting: BTreeMap<RequestId, Waiting>,
    requests: u64,
    pub(crate) counts: CallCounts,
}

impl Registers {
    /// All agree: what was seen so far is judged, and forgotten. Gives the keys.
    pub(crate) fn settle(&mut self) -> Vec<Bytes> {
        self.round += 1;
        self.used.clear();
        self.waiting.clear();
        self.slots.drain(..).map(|slot| slot.key).collect()
    }

    /// Some clients of a host do something with one of its registers.
    pub(crate) fn step(&mut self, world: &mut World, host: usize) {
        let slot = self.slot(host, world.random.below(SLOTS));
        for client in 0..CLIENTS {
            if world.random.chance(ACTS_PER_MILLE) {
                self.act(world, (host, client), slot);
            }
        }
    }

    fn slot(&mut self, host: usize, nth: u64) -> usize {
        let known = self.used.get(&(host, nth)).copied();
        let worn = |slot: &Slot| slot.unknown >= UNKNOWN_MAX || slot.seen.len() >= CALLS_MAX;
        let known = known.filter(|at| self.slots.get(*at).is_some_and(|slot| !worn(slot)));
        known.unwrap_or_else(|| {
            let at = self.slots.len();
            let key = Bytes::from(format!("{}:register{at}", self.round));
            self.slots.push(Slot { key, host, seen: Seen::default(), unknown: 0 });
            self.used.insert((host, nth), at);
            at
        })
    }

    fn act(&mut self, world: &mut World, client: (usize, u64), slot: usize) {
        let waits = self.waiting.iter().find(|(_, waiting)| waiting.client == client);
        let mut again = None;
        if let Some((request, waiting)) = waits {
            if waiting.until > world.now() {
                return;
            }
            let (request, given_up) = (*request, (waiting.slot, waiting.ask));
            self.waiting.remove(&request);
            self.unknown(world, given_up.0);
            again = Some(given_up).filter(|_| world.random.chance(AGAIN_PER_MILLE));
        }
        let (slot, ask) = again.unwrap_or_else(|| (slot, self.ask(world)));
        match ask {
            Ask::Read => self.read(world, client.0, slot),
            _ => self.submit(world, client, (slot, ask)),
        }
    }

    fn ask(&self, world: &mut World) -> Ask {
        let value = self.requests + 1;
        match world.random.below(8) {
            0..=2 => Ask::Read,
            3..=5 => Ask::Put(value),
            6 => Ask::PutAbsent(value),
            _ => Ask::Take,
        }
    }

    /// The outcome of a call is not known, and nobody will tell.
    fn unknown(&mut self, world: &mut World, slot: usize) {
        self.counts.unknown += 1;
        world.branches.note(Branch::GivenUp);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.unknown += 1;
        }
    }

    fn read(&mut self, world: &World, host: usize, slot: usize) {
        let Some(slot) = self.slots.get_mut(slot) else { return };
        let Some(value) = value(world, host, &slot.key) else { return };
        self.counts.calls += 1;
        let call = slot.seen.start(Ask::Read);
        slot.seen.answer(call, value);
    }

    fn submit(&mut self, world: &mut World, client: (usize, u64), (slot, ask): (usize, Ask)) {
        let (host, at) = (client.0, slot);
        let now = world.now();
        let patience = *world.random.pick(&PATIENCE_MICROS).unwrap_or(&0);
        let levels = [AckLevel::Local, AckLevel::Local, AckLevel::OneRemote, AckLevel::Quorum];
        let ack = *world.random.pick(&levels).unwrap_or(&AckLevel::Local);
        let Some(machine) = world.hosts.get(host) else { return };
        let (Some(process), Some(slot)) = (&machine.process, self.slots.get_mut(slot)) else {
            return;
        };
        let op = op(&slot.key, ask);
        let mut rows = Vec::new();
        op.rows(&mut |row| rows.push(RowId::from(row)));
        let Ok(reads) = reads::read_rows(process.store.as_ref(), rows.into_iter()) else { return };
        let deadline = machine.clock(now + super::REMOTE_WAIT_MICROS).mono;
        self.requests += 1;
        self.counts.calls += 1;
        let request = RequestId(REQUESTS + self.requests);
        let call = slot.seen.start(ask);
        let until = now + patience;
        self.waiting.insert(request, Waiting { client, slot: at, call, ask, ack, until });
        let submit =
            Submit { request, ops: vec![op], ack, deadline, reads, atomic: false, guard: None };
        world.submit(host, Event::Submit(submit));
    }

    /// The level that a call was asked at, if it is of a register and its client still waits.
    pub(crate) fn level(&self, request: RequestId) -> Option<AckLevel> {
        self.waiting.get(&request).map(|waiting| waiting.ack)
    }

    /// A node has answered. What comes too late is heard by nobody.
    pub(crate) fn answered(
        &mut self,
        world: &mut World,
        request: RequestId,
        result: Result<&[Reply], &SubmitError>,
    ) {
        let Some(waiting) = self.waiting.remove(&request) else { return };
        let late = waiting.until < world.now();
        let surely_not = |error: &SubmitError| {
            // A failed disk may have it, and what is not confirmed was applied.
            !matches!(error.code(), ErrorCode::Internal | ErrorCode::Unconfirmed)
        };
        let before = match result {
            Ok([Reply::Nil]) => Some(None),
            Ok([Reply::Bytes(bytes)]) => number(bytes).map(Some),
            _ => None,
        };
        match (before, result) {
            (Some(before), _) if !late => {
                if let Some(slot) = self.slots.get_mut(waiting.slot) {
                    slot.seen.answer(waiting.call, before);
                }
            }
            (_, Err(error)) if surely_not(error) => {
                if let Some(slot) = self.slots.get_mut(waiting.slot) {
                    slot.seen.discard(waiting.call);
                }
            }
            _ => self.unknown(world, waiting.slot),
        }
    }

    /// Everything is mended and all hold the same: each register is read once more in every region,
    /// and what its clients saw must have an order. Registers of hosts whose disk lost what it said
    /// that it has are left out.
    pub(crate) fn judge(
        &mut self,
        world: &World,
        forgot: impl Fn(usize) -> bool,
    ) -> Result<(), String> {
        let slots = self.slots.iter_mut().filter(|slot| !forgot(slot.host));
        for slot in slots {
            for host in 0..world.hosts.len() {
                if let Some(value) = value(world, host, &slot.key) {
                    let call = slot.seen.start(Ask::Read);
                    slot.seen.answer(call, value);
                }
            }
            match check(&Register, &slot.seen, Limits::default()) {
                Verdict::Linearizable => self.counts.ordered += 1,
                Verdict::Undecided { .. } => self.counts.undecided += 1,
                Verdict::Violation { explained, stuck } => {
                    let calls: Vec<_> = slot.seen.calls().collect();
                    let stuck: Vec<_> = stuck.iter().filter_map(|at| calls.get(*at)).collect();
                    return Err(format!(
                        "{:?} of host {}: no order explains more than {explained} of {} calls; \
                         what came next was one of {stuck:?}",
                        slot.key,
                        slot.host,
                        calls.len()
                    ));
                }
            }
        }
        Ok(())
    }
}

fn op(key: &Bytes, ask: Ask) -> Op {
    let set = |value: u64, when| Op::Set {
        key: key.clone(),
        value: Bytes::from(value.to_string()),
        when,
        get: true,
        expiry: SetExpiry::Clear,
    };
    match ask {
        Ask::Put(value) => set(value, Presence::Any),
        Ask::PutAbsent(value) => set(value, Presence::Absent),
        Ask::Read | Ask::Take => Op::GetDel { key: key.clone() },
    }
}

fn number(bytes: &Bytes) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// What a reader of a host sees now; `None` while the host is down, frozen, or holds no data.
fn value(world: &World, host: usize, key: &Bytes) -> Option<Option<u64>> {
    let machine = world.hosts.get(host)?;
    if machine.config.witness || machine.paused_until > world.now() {
        return None;
    }
    let process = machine.process.as_ref()?;
    let reader = Reader::of(process.store.as_ref(), machine.clock(world.now()).wall);
    match reader.ask(&Query::Get { key: key.clone() }).ok()? {
        Reply::Bytes(bytes) => number(&bytes).map(Some),
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(calls: &[(Ask, Option<Option<u64>>)]) -> Verdict {
        let mut seen = Seen::default();
        for (ask, answer) in calls {
            let call = seen.start(*ask);
            if let Some(answer) = answer {
                seen.answer(call, *answer);
            }
        }
        check(&Register, &seen, Limits::default())
    }

    #[test]
    fn good_histories_have_an_order() {
        use Ask::{Put, PutAbsent, Read, Take};
        for calls in [
            &[(Put(1), Some(None)), (Read, Some(Some(1))), (Take, Some(Some(1)))][..],
            // One that was given up is done at last, is done at once, or never.
            &[(Put(1), None), (Read, Some(None)), (Put(2), Some(None)), (Read, Some(Some(1)))],
            &[(Put(1), None), (PutAbsent(2), Some(Some(1))), (Read, Some(Some(1)))],
            &[(Put(1), None), (PutAbsent(2), Some(None)), (Read, Some(Some(2)))],
            // What was given up and tried again may be done twice.
            &[(Put(1), None), (Put(1), Some(Some(1))), (Take, Some(Some(1))), (Read, Some(None))],
        ] {
            assert_eq!(verdict(calls), Verdict::Linearizable, "{calls:?}");
        }
    }

    #[test]
    fn bad_histories_have_none() {
        use Ask::{Put, PutAbsent, Read, Take};
        for calls in [
            // Lost, done twice, undone, and not what the client before was told.
            &[(Put(1), Some(None)), (Read, Some(None))][..],
            &[(Put(1), None), (Take, Some(Some(1))), (Read, Some(None)), (Read, Some(Some(1)))],
            &[(Put(1), Some(None)), (Put(2), Some(Some(1))), (Read, Some(Some(1)))],
            &[(PutAbsent(1), Some(None)), (PutAbsent(2), Some(None))],
            &[(Put(1), Some(None)), (Put(2), Some(None))],
        ] {
            assert!(matches!(verdict(calls), Verdict::Violation { .. }), "{calls:?}");
        }
    }
}
