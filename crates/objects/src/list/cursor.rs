//! A way through the rows of one kind, in order, that can leap.

use std::{collections::VecDeque, marker::PhantomData};

use bytes::Bytes;
use rhumb_types::record::{BucketName, IndexKey, object::OBJECT_KEY_BYTES_MAX};

use super::{Listing, Position};
use crate::rows::{Failed, Rows};

/// How many rows are read first, where leaps are likely.
const PAGE_FIRST: usize = 32;
/// How many rows are read after a leap: the next leap may be near.
const PAGE_LEAPT: usize = 2;
/// How many rows are read at a time at most.
const PAGE_MAX: usize = 1_024;
/// How many bytes of a row's key follow the object's: an end and an id.
const ID_BYTES: usize = 17;
/// What ends a key.
const END: u8 = 0;

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Current,
    Version,
    Upload,
}

/// A row, with the key of its object.
#[derive(Debug, Clone)]
pub(super) struct KeyedRow {
    pub(super) row: Bytes,
    pub(super) key: Bytes,
    pub(super) bytes: Bytes,
}

/// Rows of one kind and bucket whose keys start with a prefix.
#[derive(Debug)]
pub(super) struct Cursor<'a, S, R> {
    source: &'a S,
    kind: Kind,
    /// What comes before the object's key in a row's.
    head: Bytes,
    /// What the keys of all rows start with.
    prefix: Bytes,
    after: Option<Bytes>,
    buffer: VecDeque<KeyedRow>,
    page: usize,
    ended: bool,
    refused: PhantomData<R>,
}

impl<'a, S: Rows, R> Cursor<'a, S, R> {
    /// The way through what a listing is about.
    pub(super) fn new(source: &'a S, kind: Kind, bucket: &BucketName, listing: &Listing) -> Self {
        let of = match kind {
            Kind::Current => IndexKey::currents,
            Kind::Version => IndexKey::versions,
            Kind::Upload => IndexKey::uploads,
        };
        Self {
            source,
            kind,
            head: of(bucket, &[]),
            prefix: of(bucket, &listing.prefix),
            after: None,
            buffer: VecDeque::new(),
            // All that are listed, and the one that says whether there are more.
            page: if listing.delimiter.is_empty() { listing.max() + 1 } else { PAGE_FIRST },
            ended: false,
            refused: PhantomData,
        }
    }

    /// The next row.
    pub(super) fn peek(&mut self) -> Result<Option<&KeyedRow>, Failed<R, S::Error>> {
        while self.buffer.is_empty() && !self.ended {
            self.fill()?;
        }
        Ok(self.buffer.front())
    }

    /// The next row, which is then behind.
    pub(super) fn next(&mut self) -> Result<Option<KeyedRow>, Failed<R, S::Error>> {
        self.peek()?;
        Ok(self.buffer.pop_front())
    }

    /// Goes on after a position, which is not before this one.
    pub(super) fn seek(&mut self, position: &Position) {
        let after = self.row_of(position);
        while self.buffer.front().is_some_and(|row| row.row <= after) {
            self.buffer.pop_front();
        }
        if !self.buffer.is_empty() || self.ended || self.after.as_ref() >= Some(&after) {
            return;
        }
        // Where the range begins anyway, or where it has ended.
        if after < self.prefix {
            return;
        }
        self.ended = !after.starts_with(&self.prefix);
        if matches!(position, Position::Prefix(_)) {
            self.page = PAGE_LEAPT;
        }
        self.after = Some(after);
    }

    fn fill(&mut self) -> Result<(), Failed<R, S::Error>> {
        let rows = self
            .source
            .rows(&self.prefix, self.after.as_deref(), self.page)
            .map_err(Failed::Rows)?;
        self.ended = rows.len() < self.page;
        self.page = (2 * self.page).min(PAGE_MAX);
        if let Some((last, _)) = rows.last() {
            self.after = Some(last.clone());
        }
        let tail = if self.kind == Kind::Current { 0 } else { ID_BYTES };
        for (row, bytes) in rows {
            let ends = row.len().saturating_sub(tail);
            // Nothing of the index is shorter, and no key holds what ends one.
            let key =
                if ends < self.head.len() { continue } else { row.slice(self.head.len()..ends) };
            if !key.contains(&END) {
                self.buffer.push_back(KeyedRow { row, key, bytes });
            }
        }
        Ok(())
    }

    /// A row's key that is after all that a position is after, and before all others.
    fn row_of(&self, position: &Position) -> Bytes {
        let mut row = [&self.head[..], position.key()].concat();
        match position {
            Position::Key(_) if self.kind == Kind::Current => (),
            Position::Before(_) => row.push(END),
            Position::Key(_) => {
                row.push(END);
                row.extend([0xff; ID_BYTES]);
            }
            Position::Prefix(prefix) => {
                let fill = (OBJECT_KEY_BYTES_MAX + 1).saturating_sub(prefix.len());
                row.extend(std::iter::repeat_n(0xff, fill));
            }
            Position::Id { id, .. } => {
                let bits = (u128::from(id.hlc.0) << 64) | u128::from(id.entropy);
                let newest_first = self.kind == Kind::Version;
                row.push(END);
                row.extend(if newest_first { !bits } else { bits }.to_be_bytes());
            }
        }
        row.into()
    }
}
