//! Strings, and what is asked of keys of any type.

use bytes::Bytes;
use rhumb_types::record::{Cell, Kind};

use super::{
    CellScan, Cursor, QueryError, RANDOM_ROWS_MAX, SCAN_ROWS_MAX, TtlForm,
    pick::Draw,
    view::{Answer, Flow, Room, View},
};
use crate::{
    KeyType, glob,
    reply::{Page, Reply},
};

impl<S: CellScan> View<'_, S> {
    pub(super) fn string(&self, key: &[u8]) -> Answer<Option<Bytes>, S> {
        match self.open(key)? {
            None => Ok(None),
            Some(opened) if opened.kind == KeyType::String => Ok(opened.text()),
            Some(_) => Err(QueryError::WrongType),
        }
    }

    pub(super) fn get_many(&self, keys: &[Bytes]) -> Answer<Reply, S> {
        let mut room = Room::new();
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.open(key)?.and_then(|opened| opened.text());
            room.take(value.as_ref().map_or(0, Bytes::len))?;
            values.push(Reply::maybe(value));
        }
        Ok(Reply::Array(values))
    }

    pub(super) fn get_range(&self, key: &[u8], start: i64, end: i64) -> Answer<Reply, S> {
        let value = self.string(key)?.unwrap_or_default();
        let range = byte_range(value.len(), start, end);
        Ok(Reply::Bytes(value.slice(range)))
    }

    pub(super) fn exists(&self, keys: &[Bytes]) -> Answer<Reply, S> {
        let mut count = 0;
        for key in keys {
            count += usize::from(self.open(key)?.is_some());
        }
        Ok(Reply::count(count))
    }

    pub(super) fn key_type(&self, key: &[u8]) -> Answer<Reply, S> {
        Ok(Reply::Type(self.open(key)?.map(|opened| opened.kind)))
    }

    pub(super) fn ttl(&self, key: &[u8], form: TtlForm) -> Answer<Reply, S> {
        let Some(opened) = self.open(key)? else { return Ok(Reply::Int(-2)) };
        let Some(at) = opened.expiry() else { return Ok(Reply::Int(-1)) };
        let left = at.0.saturating_sub(self.now.0);
        let number = match form {
            // Rounded to the nearest second, as Redis does.
            TtlForm::SecondsLeft => left.saturating_add(500) / 1_000,
            TtlForm::MillisLeft => left,
            TtlForm::UnixSeconds => at.0 / 1_000,
            TtlForm::UnixMillis => at.0,
        };
        Ok(Reply::Int(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    pub(super) fn scan_keys(&self, cursor: &Cursor, kind: Option<KeyType>) -> Answer<Reply, S> {
        let pattern = cursor.pattern.as_deref().unwrap_or(b"*");
        let mut left = cursor.count.clamp(1, SCAN_ROWS_MAX);
        let mut page = Page { next: None, items: Vec::new() };
        let mut room = Room::new();
        self.each_key(glob::literal_prefix(pattern), cursor.after.clone(), |key, opened| {
            let wanted = opened.is_some_and(|opened| kind.is_none_or(|kind| kind == opened.kind));
            if wanted && glob::matches(pattern, &key) {
                room.take(key.len())?;
                page.items.push(key.clone());
            }
            left -= 1;
            if left > 0 {
                return Ok(Flow::Continue(()));
            }
            page.next = Some(key);
            Ok(Flow::Break(()))
        })?;
        Ok(Reply::Page(page))
    }

    pub(super) fn keys_matching(&self, pattern: &[u8]) -> Answer<Reply, S> {
        let mut room = Room::new();
        let mut keys = Vec::new();
        self.each_key(glob::literal_prefix(pattern), None, |key, opened| {
            if opened.is_some() && glob::matches(pattern, &key) {
                room.take(key.len())?;
                keys.push(Reply::Bytes(key));
            }
            Ok(Flow::Continue(()))
        })?;
        Ok(Reply::Array(keys))
    }

    pub(super) fn count_keys(&self) -> Answer<Reply, S> {
        let mut count = 0;
        self.each_key(b"", None, |_, opened| {
            count += usize::from(opened.is_some());
            Ok(Flow::Continue(()))
        })?;
        Ok(Reply::count(count))
    }

    pub(super) fn random_key(&self, seed: u64) -> Answer<Reply, S> {
        // One pass that keeps the n-th visible key with a chance of 1/n (reservoir sampling).
        let mut draw = Draw::new(seed);
        let (mut chosen, mut seen) = (None, 0);
        self.each_key(b"", None, |key, opened| {
            if opened.is_some() {
                seen += 1;
                if draw.below(seen) == 0 {
                    chosen = Some(key);
                }
            }
            Ok(if seen < RANDOM_ROWS_MAX { Flow::Continue(()) } else { Flow::Break(()) })
        })?;
        Ok(Reply::maybe(chosen))
    }

    /// One page of a key's members: those that match, as `show` writes them.
    pub(super) fn scan_members(
        &self,
        key: &[u8],
        kind: Kind,
        cursor: &Cursor,
        mut show: impl FnMut(Bytes, &Cell, &mut Vec<Bytes>),
    ) -> Answer<Reply, S> {
        let mut page = Page { next: None, items: Vec::new() };
        let Some(opened) = self.open_as(key, kind)? else { return Ok(Reply::Page(page)) };
        let pattern = cursor.pattern.as_deref().unwrap_or(b"*");
        let mut left = cursor.count.clamp(1, SCAN_ROWS_MAX);
        let mut room = Room::new();
        self.each_member(key, &opened, cursor.after.clone(), |member, cell| {
            if glob::matches(pattern, &member) {
                let before = page.items.len();
                show(member.clone(), &cell, &mut page.items);
                for item in page.items.iter().skip(before) {
                    room.take(item.len())?;
                }
            }
            left -= 1;
            if left > 0 {
                return Ok(Flow::Continue(()));
            }
            page.next = Some(member);
            Ok(Flow::Break(()))
        })?;
        Ok(Reply::Page(page))
    }

    /// How many members a key of a type has.
    pub(super) fn cardinality(&self, key: &[u8], kind: Kind) -> Answer<Reply, S> {
        let members = match self.open_as(key, kind)? {
            Some(opened) => self.count(key, &opened)?,
            None => 0,
        };
        Ok(Reply::Int(i64::try_from(members).unwrap_or(i64::MAX)))
    }
}

/// The bytes between two places, both included, negative ones counted from the end. As in Redis, a
/// place before the first byte is the first byte, unless both places are negative and in the wrong
/// order.
fn byte_range(len: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let place = |at: i64| usize::try_from(from_end(len, at)).unwrap_or(0);
    let end = place(end).min(len - 1) + 1;
    place(start).min(end)..end
}

/// A place that counts from the end when it is negative; may lie outside.
pub(super) fn from_end(len: usize, at: i64) -> i64 {
    if at < 0 { signed(len).saturating_add(at) } else { at }
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_ranges_are_those_of_getrange() {
        assert_eq!(byte_range(5, 0, -1), 0..5);
        assert_eq!(byte_range(5, -3, -1), 2..5);
        assert_eq!(byte_range(5, 1, 2), 1..3);
        assert_eq!(byte_range(5, -100, 100), 0..5);
        assert!(byte_range(5, 3, 1).is_empty());
        assert!(byte_range(5, 7, 9).is_empty());
        assert!(byte_range(0, 0, -1).is_empty());
        assert!(byte_range(5, -1, -2).is_empty());
        assert_eq!(byte_range(5, 0, -10), 0..1);
        assert_eq!(byte_range(5, i64::MIN, i64::MIN), 0..1);
    }
}
