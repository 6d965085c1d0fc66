//! What of the rows is visible.

use std::{borrow::Cow, ops::ControlFlow};

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{Cell, Head, Kind},
};

use super::{
    CellScan, PAGE_ROWS, QueryError, REPLY_BYTES_MAX, REPLY_ITEMS_MAX, ScoreSpan, bounds::Scores,
};
use crate::{KeyType, MEMBERS_UNKNOWN, cell::settled, number, visible};

/// The outcome of a part of a query.
pub(crate) type Answer<T, S> = Result<T, QueryError<<S as CellScan>::Error>>;

/// Whether a walk goes on.
pub(crate) type Flow = ControlFlow<()>;

/// The source of rows, and the time at which expiry is judged.
#[derive(Debug)]
pub(crate) struct View<'a, S> {
    pub(crate) scan: &'a S,
    pub(crate) now: UnixMillis,
}

/// A key that is visible.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) kind: KeyType,
    head: Head,
}

impl Opened {
    /// A string's value, when it is one.
    pub(crate) fn text(&self) -> Option<Bytes> {
        text(&self.head.cell)
    }

    pub(crate) fn expiry(&self) -> Option<UnixMillis> {
        visible::expiry(&self.head.cell)
    }

    /// How many members the key has, where that is known without counting; else very many.
    pub(crate) const fn members_hint(&self) -> u64 {
        self.head.members
    }

    /// A member's cell after the removals that the key waits for, if anything of the key's type
    /// is left in it.
    fn visible(&self, cell: Cell) -> Option<Cell> {
        let cell = match settled(&cell, &self.head.cleared) {
            Cow::Borrowed(_) => cell,
            Cow::Owned(settled) => settled,
        };
        let is_there = match self.kind {
            KeyType::Collection(kind) => visible::is_member(kind, &cell),
            KeyType::String => false,
        };
        is_there.then_some(cell)
    }
}

/// What a string or a hash field holds, as a client reads it.
pub(crate) fn text(cell: &Cell) -> Option<Bytes> {
    visible::text(cell).map(number::text_bytes)
}

impl<S: CellScan> View<'_, S> {
    /// A key, if it is visible.
    pub(crate) fn open(&self, key: &[u8]) -> Answer<Option<Opened>, S> {
        match self.scan.head(key).map_err(QueryError::Scan)? {
            Some(head) => self.visible(key, head),
            None => Ok(None),
        }
    }

    /// A key, if it is visible and a collection of a type.
    pub(crate) fn open_as(&self, key: &[u8], kind: Kind) -> Answer<Option<Opened>, S> {
        match self.open(key)? {
            Some(opened) if opened.kind != KeyType::Collection(kind) => Err(QueryError::WrongType),
            opened => Ok(opened),
        }
    }

    fn visible(&self, key: &[u8], mut head: Head) -> Answer<Option<Opened>, S> {
        self.scan.prefixes().settle(key, &mut head);
        let Some(kind) = visible::present(&head, self.now) else { return Ok(None) };
        let opened = Opened { kind, head };
        let is_there = match (kind, opened.head.members) {
            (KeyType::String, _) => true,
            // Members removed one by one in two regions leave a head without members.
            (KeyType::Collection(_), MEMBERS_UNKNOWN) => {
                let mut any = false;
                self.each_member(key, &opened, None, |_, _| {
                    any = true;
                    Ok(Flow::Break(()))
                })?;
                any
            }
            (KeyType::Collection(_), members) => members > 0,
        };
        Ok(is_there.then_some(opened))
    }

    /// How many members a key has.
    pub(crate) fn count(&self, key: &[u8], opened: &Opened) -> Answer<u64, S> {
        if opened.head.members != MEMBERS_UNKNOWN {
            return Ok(opened.head.members);
        }
        let mut count = 0;
        self.each_member(key, opened, None, |_, _| {
            count += 1;
            Ok(Flow::Continue(()))
        })?;
        Ok(count)
    }

    /// Whether a row of the score index is borne out by the member's cell.
    fn bears_out(&self, key: &[u8], opened: &Opened, member: &[u8], score: f64) -> Answer<bool, S> {
        let cell = self.member(key, opened, member)?;
        Ok(cell.as_ref().and_then(visible::score) == Some(score))
    }

    /// A member's cell, with what is visible of it.
    pub(crate) fn member(
        &self,
        key: &[u8],
        opened: &Opened,
        member: &[u8],
    ) -> Answer<Option<Cell>, S> {
        let cell = self.scan.member(key, member).map_err(QueryError::Scan)?;
        Ok(cell.and_then(|cell| opened.visible(cell)))
    }

    /// Shows every visible member of a key after one, in order.
    pub(crate) fn each_member(
        &self,
        key: &[u8],
        opened: &Opened,
        mut after: Option<Bytes>,
        mut visit: impl FnMut(Bytes, Cell) -> Answer<Flow, S>,
    ) -> Answer<(), S> {
        loop {
            let rows =
                self.scan.members(key, after.as_ref(), PAGE_ROWS).map_err(QueryError::Scan)?;
            let is_last = rows.len() < PAGE_ROWS;
            after = rows.last().map(|(member, _)| member.clone());
            for (member, cell) in rows {
                let Some(cell) = opened.visible(cell) else { continue };
                if visit(member, cell)?.is_break() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Shows every visible member of a sorted set whose score lies in a range, in order of (score,
    /// member) or from the highest down.
    pub(crate) fn each_score(
        &self,
        key: &[u8],
        opened: &Opened,
        scores: &Scores,
        reverse: bool,
        mut visit: impl FnMut(Bytes, f64) -> Answer<Flow, S>,
    ) -> Answer<(), S> {
        let (min, max) = scores.ends();
        let mut span = ScoreSpan { min, max, after: None, reverse, limit: PAGE_ROWS };
        loop {
            let rows = self.scan.scores(key, &span).map_err(QueryError::Scan)?;
            let is_last = rows.len() < PAGE_ROWS;
            span.after = rows.last().cloned();
            for (score, member) in rows {
                if !scores.contains(score) || !self.bears_out(key, opened, &member, score)? {
                    continue;
                }
                if visit(member, score)?.is_break() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Shows every visible key with a prefix, after one, in order.
    pub(crate) fn each_key(
        &self,
        prefix: &[u8],
        mut after: Option<Bytes>,
        mut visit: impl FnMut(Bytes, Option<Opened>) -> Answer<Flow, S>,
    ) -> Answer<(), S> {
        loop {
            let rows =
                self.scan.keys(prefix, after.as_ref(), PAGE_ROWS).map_err(QueryError::Scan)?;
            let is_last = rows.len() < PAGE_ROWS;
            after = rows.last().map(|(key, _)| key.clone());
            for (key, head) in rows {
                let opened = self.visible(&key, head)?;
                if visit(key, opened)?.is_break() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// What is left of a reply's bounds.
#[derive(Debug)]
pub(crate) struct Room {
    items: usize,
    bytes: usize,
}

impl Room {
    pub(crate) const fn new() -> Self {
        Self { items: REPLY_ITEMS_MAX, bytes: REPLY_BYTES_MAX }
    }

    /// Takes the place of one item.
    pub(crate) fn take<E>(&mut self, bytes: usize) -> Result<(), QueryError<E>> {
        let items = self.items.checked_sub(1).ok_or(QueryError::TooLarge)?;
        let bytes = self.bytes.checked_sub(bytes).ok_or(QueryError::TooLarge)?;
        *self = Self { items, bytes };
        Ok(())
    }
}
