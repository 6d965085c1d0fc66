//! What a reader sees of a cell.
//!
//! Entries that survive beside each other are concurrent; the one with the highest stamp wins, of those that
//! somebody has decided the one of the latest term.
//! Additions count on top of a base that is a number. Of concurrent head entries, the longest
//! time to live wins, and none at all is the longest.

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    planted::{self, Planted},
    record::{Amount, Cell, Delta, Entry, Head, Kind, Term, Value},
};
use serde::{Deserialize, Serialize};

/// `Head.members` of a key whose members nobody has counted since a removal of the whole key met
/// members that it had not seen. A reader counts by scanning; the sweep ends this state.
pub const MEMBERS_UNKNOWN: u64 = u64::MAX;

/// What a string cell, or a hash field, holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Text {
    /// The bytes as they were written.
    Bytes(Bytes),
    /// A number that additions have moved: base and additions together.
    Number(Amount),
}

/// The type of a key as a reader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyType {
    /// A string or a counter.
    String,
    /// A collection.
    Collection(Kind),
}

/// The entry that wins, when there is one.
#[must_use]
pub fn winner(cell: &Cell) -> Option<&Entry> {
    match cell.entries.as_slice() {
        [] => None,
        [only] => Some(only),
        several if planted::is(Planted::StampWithoutOrigin) => {
            several.iter().max_by_key(|entry| entry.hlc)
        }
        several => several.iter().max_by_key(|entry| (entry.value.term(), entry.stamp())),
    }
}

/// The latest term in which something of the cell was decided.
#[must_use]
pub fn term(cell: &Cell) -> Option<Term> {
    cell.entries.iter().filter_map(|entry| entry.value.term()).max()
}

/// Whether a reader sees anything in the cell: an entry, or an addition that still counts.
#[must_use]
pub fn is_live(cell: &Cell) -> bool {
    !cell.entries.is_empty() || cell.deltas.iter().any(Delta::counts)
}

/// What the additions that still count come to, in order of origins, so that every node adds the
/// fractions up alike. `None` when none counts, which is not the same as zero.
#[must_use]
pub fn additions(cell: &Cell) -> Option<Amount> {
    if cell.deltas.is_empty() {
        return None;
    }
    let mut int = 0_i128;
    let mut float = 0.0_f64;
    let mut any = false;
    for delta in cell.deltas.iter().filter(|delta| delta.counts()) {
        any = true;
        int += i128::from(delta.sum.int.wrapping_sub(delta.mark.int));
        float += delta.sum.float - delta.mark.float;
    }
    any.then(|| Amount { int: clamped(int), float })
}

fn clamped(wide: i128) -> i64 {
    i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
}

/// What a string's head cell or a hash's field holds. `None` when nothing is there, or when the
/// winner is not bytes.
///
/// A base that is not a number hides the additions: somebody wrote text over a counter while
/// somebody else counted, and text cannot be added to.
#[must_use]
pub fn text(cell: &Cell) -> Option<Text> {
    let added = additions(cell);
    match (winner(cell).map(|entry| &entry.value), added) {
        (None, None) => None,
        (None, Some(added)) => Some(Text::Number(added)),
        (Some(Value::Bytes(base)), None) => Some(Text::Bytes(base.clone())),
        (Some(Value::Bytes(base)), Some(added)) => Some(match number(base) {
            Some(base) => Text::Number(Amount {
                int: clamped(i128::from(base.int) + i128::from(added.int)),
                float: base.float + added.float,
            }),
            None => Text::Bytes(base.clone()),
        }),
        (Some(Value::Unit | Value::Score(_) | Value::Kind(_) | Value::Decided(_)), _) => None,
    }
}

/// What a row of one of Rhumb's own views holds, which nobody counts in.
#[must_use]
pub fn whole(cell: &Cell) -> Option<&Bytes> {
    winner(cell)?.value.bytes()
}

/// Bytes as a number: a whole number where they are one (as Redis writes it, without a plus sign
/// or leading zeros), else a finite fraction.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<Amount> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let canonical = !text.starts_with('+')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || (!digits.starts_with('0') && !digits.is_empty()));
    if canonical && let Ok(int) = text.parse() {
        return Some(Amount { int, float: 0.0 });
    }
    let first = digits.bytes().next()?;
    if !(first.is_ascii_digit() || first == b'.') {
        return None;
    }
    let float: f64 = text.parse().ok()?;
    float.is_finite().then_some(Amount { int: 0, float })
}

/// The score of a sorted set's member, additions included; never NaN and never -0.0. A cell that
/// has only additions counts from 0, so that an addition that outlives a concurrent removal keeps
/// its place in the index.
#[must_use]
pub fn score(cell: &Cell) -> Option<f64> {
    let base = match winner(cell).map(|entry| &entry.value) {
        Some(Value::Score(base)) => *base,
        Some(_) => return None,
        None => 0.0,
    };
    let score = match additions(cell) {
        #[expect(clippy::cast_precision_loss, reason = "scores are floating-point numbers")]
        Some(added) => base + added.float + added.int as f64,
        None if cell.entries.is_empty() => return None,
        None => base,
    };
    // An infinite base and an infinite addition of the other sign cancel to nothing sensible.
    Some(if score.is_nan() || score == 0.0 { 0.0 } else { score })
}

/// Whether a member's cell holds what members of a type hold. Where two regions gave a key
/// different types, members of the type that lost stay beside the others, unseen.
#[must_use]
pub fn is_member(kind: Kind, cell: &Cell) -> bool {
    match kind {
        Kind::Set => winner(cell).is_some_and(|entry| entry.value == Value::Unit),
        Kind::SortedSet => score(cell).is_some(),
        Kind::Hash => text(cell).is_some(),
    }
}

/// The type of a key; `None` when it is not there. Does not look at its expiry.
#[must_use]
pub fn key_type(head: &Head) -> Option<KeyType> {
    match winner(&head.cell).map(|entry| &entry.value) {
        Some(Value::Kind(kind)) => Some(KeyType::Collection(*kind)),
        Some(Value::Bytes(_) | Value::Unit | Value::Score(_)) => Some(KeyType::String),
        Some(Value::Decided(_)) => None,
        None => additions(&head.cell).map(|_| KeyType::String),
    }
}

/// When the key ceases to be visible: the longest among concurrent entries; `None` is for ever.
#[must_use]
pub fn expiry(cell: &Cell) -> Option<UnixMillis> {
    let mut longest = None;
    for entry in &cell.entries {
        longest = longest.max(Some(entry.expiry?));
    }
    longest
}

/// Whether the key's time is over.
#[must_use]
pub fn expired(head: &Head, now: UnixMillis) -> bool {
    expiry(&head.cell).is_some_and(|at| at <= now)
}

/// The type of a key that is there now: it has one, and its time is not over.
#[must_use]
pub fn present(head: &Head, now: UnixMillis) -> Option<KeyType> {
    if expired(head, now) { None } else { key_type(head) }
}
