//! The values that the strong machine holds, and their indexes.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    ops::Bound,
};

use bytes::Bytes;
use rhumb_types::{
    Hlc, OriginId, UnixMillis,
    planted::{self, Planted},
    record::{Cell, Dot, Entry, Head, Kind, Value},
};
use serde::{Deserialize, Serialize};

use super::{STRONG_BYTES_MAX, STRONG_KEYS_MAX, STRONG_PURGE_MAX, is_reserved};
use crate::{
    ClearedPrefixes,
    query::{CellScan, ScoreSpan},
};

/// What a key takes beside its bytes, by estimate.
const ITEM_BYTES: usize = 160;
/// What a member takes beside its bytes, by estimate.
const MEMBER_BYTES: usize = 64;

/// The dot of every row made from an item. The machine's order is the log's, so one will do.
pub(super) const ITEM_DOT: Dot = Dot { origin: OriginId(1), version: 1 };

/// A key's value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Content {
    Text(Bytes),
    Members(Kind, BTreeMap<Bytes, Value>),
}

/// A key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) content: Content,
    pub(super) expiry: Option<UnixMillis>,
    /// The index of the entry that last made the key present.
    pub(super) fence: u64,
    /// The index of the entry that last changed it.
    pub(super) version: u64,
}

/// A key with what is derived from it.
#[derive(Debug)]
struct Slot {
    item: Item,
    /// A sorted set's members in order of their scores.
    scores: BTreeSet<(u64, Bytes)>,
    /// By estimate.
    member_bytes: usize,
}

/// What an operation makes of a key.
#[derive(Debug)]
pub(super) struct Edit {
    /// What the key is afterwards; `None` when it is absent.
    pub(super) shape: Option<Shape>,
    pub(super) expiry: Option<UnixMillis>,
    /// Whether the members that were there are all gone.
    pub(super) cleared: bool,
    /// Members that are new, have a new value, or are gone (`None`).
    pub(super) members: Vec<(Bytes, Option<Value>)>,
}

/// What a key is.
#[derive(Debug)]
pub(super) enum Shape {
    Text(Bytes),
    Collection(Kind),
}

/// All keys.
#[derive(Debug, Default)]
pub(super) struct Items {
    slots: BTreeMap<Bytes, Slot>,
    expiries: BTreeSet<(UnixMillis, Bytes)>,
    bytes: usize,
    /// Nothing is ever removed by prefix here.
    prefixes: ClearedPrefixes,
    /// The index of the last change of a reserved key.
    reserved_changed: u64,
}

impl Items {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Item)> {
        self.slots.iter().map(|(key, slot)| (key, &slot.item))
    }

    pub(super) const fn reserved_changed(&self) -> u64 {
        self.reserved_changed
    }

    pub(super) fn reserved<'i>(
        &'i self,
        prefix: &'i [u8],
    ) -> impl Iterator<Item = (&'i Bytes, &'i Bytes, u64)> {
        let rows = self.slots.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        let rows = rows.take_while(move |(key, _)| key.starts_with(prefix) && is_reserved(key));
        rows.filter_map(|(key, slot)| match &slot.item.content {
            Content::Text(text) => Some((key, text, slot.item.version)),
            Content::Members(..) => None,
        })
    }

    pub(super) fn fence(&self, key: &[u8], now: UnixMillis) -> Option<u64> {
        self.present(key, now).map(|item| item.fence)
    }

    /// The index of the last change of a key; 0 when it is absent.
    pub(super) fn version(&self, key: &[u8], now: UnixMillis) -> u64 {
        self.present(key, now).map_or(0, |item| item.version)
    }

    pub(super) fn present(&self, key: &[u8], now: UnixMillis) -> Option<&Item> {
        let item = &self.slots.get(key)?.item;
        item.expiry.is_none_or(|at| at > now).then_some(item)
    }

    /// Whether a key's time ends after one time and not after another.
    pub(super) fn expires_within(&self, after: UnixMillis, until: UnixMillis) -> bool {
        let first = (UnixMillis(after.0.saturating_add(1)), Bytes::new());
        self.expiries.range(first..).next().is_some_and(|(at, _)| *at <= until)
    }

    /// Removes keys whose time is over, the oldest first, at most [`STRONG_PURGE_MAX`].
    pub(super) fn purge(&mut self, now: UnixMillis) {
        for _ in 0..STRONG_PURGE_MAX {
            let Some((_, key)) = self.expiries.first().filter(|(at, _)| *at <= now) else { break };
            let key = key.clone();
            self.remove(&key);
        }
    }

    /// Whether edits fit. What does not grow always fits.
    pub(super) fn has_room(&self, edits: &BTreeMap<Bytes, Edit>) -> bool {
        let (mut keys, mut bytes) = (0, 0);
        for (key, edit) in edits {
            let growth = self.growth(key, edit);
            keys += growth.0;
            bytes += growth.1;
        }
        let fits = |growth: i64, present: usize, limit: usize| {
            growth <= 0 || signed(present) + growth <= signed(limit)
        };
        fits(keys, self.len(), STRONG_KEYS_MAX) && fits(bytes, self.bytes, STRONG_BYTES_MAX)
    }

    /// How many keys and bytes an edit adds.
    fn growth(&self, key: &Bytes, edit: &Edit) -> (i64, i64) {
        let old = self.slots.get(key);
        let before = old.map_or(0, |slot| slot.bytes(key));
        let after = match &edit.shape {
            None => 0,
            Some(Shape::Text(text)) => ITEM_BYTES + key.len() + text.len(),
            Some(Shape::Collection(_)) => {
                let kept = old.filter(|_| !edit.cleared);
                let mut members = kept.map_or(0, |slot| slot.member_bytes);
                for (member, value) in &edit.members {
                    let known = kept.and_then(|slot| slot.member(member));
                    members -= known.map_or(0, |known| member_bytes(member, known));
                    members += value.as_ref().map_or(0, |value| member_bytes(member, value));
                }
                ITEM_BYTES + key.len() + members
            }
        };
        let keys = i64::from(edit.shape.is_some()) - i64::from(old.is_some());
        (keys, signed(after) - signed(before))
    }

    /// Carries out an edit under a log index.
    pub(super) fn apply(&mut self, key: &Bytes, edit: Edit, index: u64, now: UnixMillis) {
        let first = if planted::is(Planted::TokenAgain) { 1 } else { index };
        let fence = self.fence(key, now).unwrap_or(first);
        let old = self.remove(key);
        if is_reserved(key) {
            self.reserved_changed = index;
        }
        let Some(shape) = edit.shape else { return };
        let mut slot = match (shape, old) {
            (Shape::Text(text), _) => Slot::new(Content::Text(text)),
            (Shape::Collection(_), Some(old)) if !edit.cleared => old,
            (Shape::Collection(kind), _) => Slot::new(Content::Members(kind, BTreeMap::new())),
        };
        for (member, value) in edit.members {
            slot.set(member, value);
        }
        slot.item = Item { expiry: edit.expiry, fence, version: index, ..slot.item };
        self.attach(key.clone(), slot);
    }

    pub(super) fn insert(&mut self, key: Bytes, item: Item) {
        let Item { content, expiry, fence, version } = item;
        let mut slot = match content {
            Content::Text(text) => Slot::new(Content::Text(text)),
            Content::Members(kind, members) => {
                let mut slot = Slot::new(Content::Members(kind, BTreeMap::new()));
                members.into_iter().for_each(|(member, value)| slot.set(member, Some(value)));
                slot
            }
        };
        slot.item = Item { expiry, fence, version, ..slot.item };
        self.attach(key, slot);
    }

    fn attach(&mut self, key: Bytes, slot: Slot) {
        if let Some(at) = slot.item.expiry {
            self.expiries.insert((at, key.clone()));
        }
        self.bytes += slot.bytes(&key);
        self.slots.insert(key, slot);
    }

    fn remove(&mut self, key: &Bytes) -> Option<Slot> {
        let slot = self.slots.remove(key)?;
        self.bytes -= slot.bytes(key);
        if let Some(at) = slot.item.expiry {
            self.expiries.remove(&(at, key.clone()));
        }
        Some(slot)
    }
}

impl Slot {
    /// A key without members yet.
    const fn new(content: Content) -> Self {
        let item = Item { content, expiry: None, fence: 0, version: 0 };
        Self { item, scores: BTreeSet::new(), member_bytes: 0 }
    }

    /// Sets or removes a member.
    fn set(&mut self, member: Bytes, value: Option<Value>) {
        let Content::Members(_, members) = &mut self.item.content else { return };
        if let Some(value) = &value {
            self.member_bytes += member_bytes(&member, value);
            if let Value::Score(score) = value {
                self.scores.insert((rank(*score), member.clone()));
            }
        }
        let old = match value.clone() {
            Some(new) => members.insert(member.clone(), new),
            None => members.remove(&member),
        };
        if let Some(old) = old {
            self.member_bytes -= member_bytes(&member, &old);
            if let Value::Score(score) = old
                && value != Some(Value::Score(score))
            {
                self.scores.remove(&(rank(score), member));
            }
        }
    }

    fn member(&self, member: &[u8]) -> Option<&Value> {
        match &self.item.content {
            Content::Members(_, members) => members.get(member),
            Content::Text(_) => None,
        }
    }

    fn bytes(&self, key: &[u8]) -> usize {
        let content = match &self.item.content {
            Content::Text(text) => text.len(),
            Content::Members(..) => self.member_bytes,
        };
        ITEM_BYTES + key.len() + content
    }

    fn head(&self) -> Head {
        let (value, members) = match &self.item.content {
            Content::Text(text) => (Value::Bytes(text.clone()), 0),
            Content::Members(kind, members) => (Value::Kind(*kind), members.len() as u64),
        };
        Head { cell: cell(value, self.item.expiry), members, ..Head::default() }
    }
}

impl CellScan for Items {
    type Error = Infallible;

    fn head(&self, key: &[u8]) -> Result<Option<Head>, Infallible> {
        Ok(self.slots.get(key).map(Slot::head))
    }

    fn member(&self, key: &[u8], member: &[u8]) -> Result<Option<Cell>, Infallible> {
        let value = self.slots.get(key).and_then(|slot| slot.member(member));
        Ok(value.map(|value| cell(value.clone(), None)))
    }

    fn members(
        &self,
        key: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Cell)>, Infallible> {
        let Some(Content::Members(_, members)) = self.slots.get(key).map(|slot| &slot.item.content)
        else {
            return Ok(Vec::new());
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = members.range::<Bytes, _>((start, Bound::Unbounded)).take(limit);
        Ok(rows.map(|(member, value)| (member.clone(), cell(value.clone(), None))).collect())
    }

    fn scores(&self, key: &[u8], span: &ScoreSpan) -> Result<Vec<(f64, Bytes)>, Infallible> {
        let Some(slot) = self.slots.get(key) else { return Ok(Vec::new()) };
        let (lowest, highest) = (rank(span.min), rank(span.max));
        let after = span.after.as_ref().map(|(score, member)| (rank(*score), member.clone()));
        let row = |(rank, member): &(u64, Bytes)| (score_of(*rank), member.clone());
        if span.reverse {
            let end = after.map_or(Bound::Unbounded, Bound::Excluded);
            let rows = slot.scores.range((Bound::Unbounded, end)).rev();
            let rows = rows.skip_while(|(rank, _)| *rank > highest);
            Ok(rows.take_while(|(rank, _)| *rank >= lowest).take(span.limit).map(row).collect())
        } else {
            let start = after.map_or(Bound::Included((lowest, Bytes::new())), Bound::Excluded);
            let rows = slot.scores.range((start, Bound::Unbounded));
            Ok(rows.take_while(|(rank, _)| *rank <= highest).take(span.limit).map(row).collect())
        }
    }

    fn keys(
        &self,
        prefix: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Head)>, Infallible> {
        let start = match after {
            Some(after) if after.as_ref() >= prefix => Bound::Excluded(after.as_ref()),
            _ => Bound::Included(prefix),
        };
        let rows = self.slots.range::<[u8], _>((start, Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(prefix));
        let rows = rows.filter(|(key, _)| !is_reserved(key)).take(limit);
        Ok(rows.map(|(key, slot)| (key.clone(), slot.head())).collect())
    }

    fn prefixes(&self) -> &ClearedPrefixes {
        &self.prefixes
    }
}

fn cell(value: Value, expiry: Option<UnixMillis>) -> Cell {
    let entry = Entry { dot: ITEM_DOT, hlc: Hlc::default(), value, expiry };
    Cell { entries: [entry].into_iter().collect(), deltas: Vec::new() }
}

fn member_bytes(member: &[u8], value: &Value) -> usize {
    let value = if let Value::Bytes(bytes) = value { bytes.len() } else { 0 };
    MEMBER_BYTES + member.len() + value
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

const SIGN: u64 = 1 << 63;

/// A number that sorts as the score does.
const fn rank(score: f64) -> u64 {
    let bits = score.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

const fn score_of(rank: u64) -> f64 {
    f64::from_bits(if rank & SIGN == 0 { !rank } else { rank & !SIGN })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_sort_as_scores_do(a: f64, b: f64) {
            prop_assert_eq!(rank(a).cmp(&rank(b)), a.total_cmp(&b));
            prop_assert_eq!(score_of(rank(a)).to_bits(), a.to_bits());
        }
    }
}
