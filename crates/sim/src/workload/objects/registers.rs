//! Objects of the linearizable bucket as registers: whoever asks, wherever, there must be one order of
//! all calls that explains every answer (rule 10).

use bytes::Bytes;
use rhumb_check::{CallId, History, Limits, Model, Verdict, check};
use rhumb_objects::{condition::Condition, etag::EntityTags, index::Which};
use rhumb_types::record::{Body, ObjectRecord};

use super::{LINEAR, bucket, is_unmet, matching};
use crate::{
    random::Random,
    world::objects::{Ask, Done, Failure},
};

/// Registers at a time.
pub(super) const SLOTS: u64 = 2;
/// Calls of one register; then another one is used.
const CALLS_MAX: usize = 160;
/// Changes of one without an outcome; then it is only read,
const UNKNOWN_MAX: usize = 12;
/// so often: by whoever is its home then.
const LATE_READS_MAX: usize = 40;

/// What is asked of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    /// Its value: GET.
    Read,
    /// To take a value: PUT.
    Put(u64),
    /// To take it if it has none: `If-None-Match: *`.
    PutAbsent(u64),
    /// To take one in place of another: `If-Match`.
    Swap(u64, u64),
    /// To have none: DELETE.
    Delete,
}

/// What it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Value(Option<u64>),
    Done,
    /// The condition did not hold.
    Unmet,
}

#[derive(Clone, Copy, Debug)]
struct Register;

impl Model for Register {
    type State = Option<u64>;
    type Call = Call;
    type Answer = Heard;

    fn initial(&self) -> Option<u64> {
        None
    }

    fn step(
        &self,
        state: &Option<u64>,
        call: &Call,
        answer: Option<&Heard>,
    ) -> Option<Option<u64>> {
        let (next, heard) = match call {
            Call::Read => (*state, Heard::Value(*state)),
            Call::Put(value) => (Some(*value), Heard::Done),
            Call::PutAbsent(value) if state.is_none() => (Some(*value), Heard::Done),
            Call::Swap(old, new) if *state == Some(*old) => (Some(*new), Heard::Done),
            Call::PutAbsent(_) | Call::Swap(..) => (*state, Heard::Unmet),
            Call::Delete => (None, Heard::Done),
        };
        answer.is_none_or(|answer| *answer == heard).then_some(next)
    }
}

#[derive(Debug)]
struct Slot {
    key: Bytes,
    seen: History<Call, Heard>,
    unknown: usize,
    /// Reads since there were too many of these.
    late_reads: usize,
    /// The last value that somebody heard of.
    known: Option<u64>,
    /// Whether a disk that counted among its majorities has forgotten: then it promises nothing.
    void: bool,
}

/// A call that is not answered.
#[derive(Debug)]
pub(super) struct Waiting {
    slot: usize,
    id: CallId,
    call: Call,
}

/// The registers of a round, and what was seen of them.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    slots: Vec<Slot>,
    values: u64,
}

impl Registers {
    pub(super) fn settle(&mut self) {
        self.slots.clear();
    }

    /// A disk has forgotten what it had confirmed: those that there are promise nothing any more.
    pub(super) fn forget(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.void = true);
    }

    /// Somebody asks something of one of the registers.
    pub(super) fn act(
        &mut self,
        random: &mut Random,
        (round, nth): (u64, u64),
    ) -> Option<(Ask, Waiting)> {
        let at = self.slot(nth, round);
        let slot = self.slots.get_mut(at)?;
        self.values += 1;
        let value = self.values;
        let full = slot.unknown >= UNKNOWN_MAX;
        slot.late_reads += usize::from(full);
        let call = match (random.below(8), slot.known) {
            _ if full => Call::Read,
            (0..=2, _) => Call::Read,
            (3, _) | (4, None) => Call::PutAbsent(value),
            (4 | 5, Some(old)) => Call::Swap(old, value),
            (6, _) => Call::Delete,
            _ => Call::Put(value),
        };
        let id = slot.seen.start(call);
        // Until it is answered. A read changes nothing.
        slot.unknown += usize::from(call != Call::Read);
        Some((ask(&slot.key, call), Waiting { slot: at, id, call }))
    }

    fn slot(&mut self, nth: u64, round: u64) -> usize {
        let worn = |slot: &Slot| {
            slot.void || slot.late_reads >= LATE_READS_MAX || slot.seen.len() >= CALLS_MAX
        };
        let place = |at: usize| at as u64 % SLOTS == nth;
        let last = (0..self.slots.len()).rev().find(|at| place(*at));
        let fresh = last.is_none_or(|at| self.slots.get(at).is_none_or(worn));
        if !fresh {
            return last.unwrap_or(0);
        }
        while !place(self.slots.len()) || self.slots.is_empty() && nth != 0 {
            self.push(round);
        }
        self.push(round);
        self.slots.len() - 1
    }

    fn push(&mut self, round: u64) {
        let key = Bytes::from(format!("{round}/register/{}", self.slots.len()));
        let seen = History::default();
        self.slots.push(Slot { key, seen, unknown: 0, late_reads: 0, known: None, void: false });
    }

    pub(super) fn answered(&mut self, waiting: Waiting, answer: Result<Done, Failure>) {
        let Waiting { slot, id, call } = waiting;
        let Some(slot) = self.slots.get_mut(slot) else { return };
        let heard = match (call, answer) {
            (Call::Read, Ok(done)) => {
                let value = done.record.as_ref().and_then(value);
                slot.known = value.or(slot.known);
                Heard::Value(value)
            }
            (Call::Put(value) | Call::PutAbsent(value) | Call::Swap(_, value), Ok(_)) => {
                slot.known = Some(value);
                Heard::Done
            }
            (Call::Delete, Ok(_)) => Heard::Done,
            (Call::PutAbsent(_) | Call::Swap(..), Err(failure)) if is_unmet(&failure) => {
                Heard::Unmet
            }
            (Call::Read, Err(_)) => return slot.seen.discard(id),
            (_, Err(failure)) if failure.is_unknown() => return,
            (_, Err(_)) => {
                slot.unknown -= 1;
                return slot.seen.discard(id);
            }
        };
        slot.unknown -= usize::from(call != Call::Read);
        slot.seen.answer(id, heard);
    }

    /// All hold the same: each register is read once more, and what was seen must have an order. Gives
    /// how many have one.
    pub(crate) fn judge(
        &self,
        newest: impl Fn(&Bytes) -> Option<ObjectRecord>,
    ) -> Result<u64, String> {
        let mut ordered = 0;
        for slot in self.slots.iter().filter(|slot| !slot.void) {
            let mut seen = slot.seen.clone();
            let last = seen.start(Call::Read);
            seen.answer(last, Heard::Value(newest(&slot.key).as_ref().and_then(value)));
            match check(&Register, &seen, Limits::default()) {
                Verdict::Linearizable => ordered += 1,
                Verdict::Undecided { .. } => {}
                Verdict::Violation { explained, stuck } => {
                    let calls: Vec<_> = seen.calls().collect();
                    let stuck: Vec<_> = stuck.iter().filter_map(|at| calls.get(*at)).collect();
                    return Err(format!(
                        "{:?}: no order explains more than {explained} of {} calls; what came next \
                         was one of {stuck:?}",
                        slot.key,
                        calls.len()
                    ));
                }
            }
        }
        Ok(ordered)
    }
}

fn value(record: &ObjectRecord) -> Option<u64> {
    record.content.as_ref()?.etag.parse().ok()
}

fn ask(key: &Bytes, call: Call) -> Ask {
    let (bucket, key) = (bucket(LINEAR), key.clone());
    let put = |value: u64, condition| Ask::Put {
        bucket: bucket.clone(),
        key: key.clone(),
        etag: value.to_string(),
        body: Body::Inline(Bytes::from(value.to_string())),
        condition,
    };
    match call {
        Call::Read => Ask::Get { bucket, key },
        Call::Put(value) => put(value, Condition::default()),
        Call::PutAbsent(value) => {
            put(value, Condition { if_none_match: Some(EntityTags::Any), ..Condition::default() })
        }
        Call::Swap(old, value) => {
            let if_match = Some(matching(old.to_string()));
            put(value, Condition { if_match, ..Condition::default() })
        }
        Call::Delete => Ask::Delete { bucket, key, which: Which::Newest },
    }
}
