//! Objects of the linearizable bucket as registers: whoever asks, wherever, there must be one order of
//! all calls that explains every answer (rule 10).

use bytes::Bytes;
use rhumb_check::{
    CallId, History, Limits, Register, RegisterAnswer as Heard, RegisterCall as Call, Verdict,
    check,
};
use rhumb_objects::{condition::Condition, etag::EntityTags, index::Which};
use rhumb_types::record::{Body, BucketName, ObjectRecord};

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
        let (bucket, key) = (bucket(LINEAR), slot.key.clone());
        let (call, ask) = match (random.below(8), slot.known) {
            _ if full => (Call::Read, Ask::Get { bucket, key }),
            (0..=2, _) => (Call::Read, Ask::Get { bucket, key }),
            (3, _) | (4, None) => swap(bucket, key, None, value),
            (4 | 5, Some(old)) => swap(bucket, key, Some(old), value),
            (6, _) => (Call::Write(None), Ask::Delete { bucket, key, which: Which::Newest }),
            _ => (Call::Write(Some(value)), put(bucket, key, Condition::default(), value)),
        };
        let id = slot.seen.start(call);
        // Until it is answered. A read changes nothing.
        slot.unknown += usize::from(call != Call::Read);
        Some((ask, Waiting { slot: at, id, call }))
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
            (Call::Write(new), Ok(_)) => {
                slot.known = new.or(slot.known);
                Heard::Written
            }
            (Call::CompareAndSet { new, .. }, Ok(_)) => {
                slot.known = new.or(slot.known);
                Heard::Swapped(true)
            }
            (Call::CompareAndSet { .. }, Err(failure)) if is_unmet(&failure) => {
                Heard::Swapped(false)
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

fn put(bucket: BucketName, key: Bytes, condition: Condition, value: u64) -> Ask {
    let body = Body::Inline(Bytes::from(value.to_string()));
    Ask::Put { bucket, key, etag: value.to_string(), body, condition }
}

/// A PUT in place of a value, or of none: `If-Match`, or `If-None-Match: *`.
fn swap(bucket: BucketName, key: Bytes, expected: Option<u64>, value: u64) -> (Call, Ask) {
    let condition = Condition {
        if_match: expected.map(|old| matching(old.to_string())),
        if_none_match: expected.is_none().then_some(EntityTags::Any),
        ..Condition::default()
    };
    let call = Call::CompareAndSet { expected, new: Some(value) };
    (call, put(bucket, key, condition, value))
}
