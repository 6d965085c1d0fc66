//! Hashes.

use bytes::Bytes;
use rhumb_types::record::{Cell, Kind};

use super::{
    CellScan, Cursor, QueryError, RANDOM_ROWS_MAX, REPLY_ITEMS_MAX, Sample,
    pick::{Draw, choose},
    view::{Answer, Flow, Room, View, text},
};
use crate::reply::Reply;

impl<S: CellScan> View<'_, S> {
    pub(super) fn field(&self, key: &[u8], field: &[u8]) -> Answer<Option<Bytes>, S> {
        let Some(opened) = self.open_as(key, Kind::Hash)? else { return Ok(None) };
        Ok(self.member(key, &opened, field)?.as_ref().and_then(text))
    }

    pub(super) fn fields(&self, key: &[u8], fields: &[Bytes]) -> Answer<Reply, S> {
        let opened = self.open_as(key, Kind::Hash)?;
        let mut room = Room::new();
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            let value = match &opened {
                Some(opened) => self.member(key, opened, field)?.as_ref().and_then(text),
                None => None,
            };
            room.take(value.as_ref().map_or(0, Bytes::len))?;
            values.push(Reply::maybe(value));
        }
        Ok(Reply::Array(values))
    }

    pub(super) fn all_fields(&self, key: &[u8]) -> Answer<Vec<(Bytes, Bytes)>, S> {
        let mut pairs = Vec::new();
        let Some(opened) = self.open_as(key, Kind::Hash)? else { return Ok(pairs) };
        let mut room = Room::new();
        self.each_member(key, &opened, None, |field, cell| {
            if let Some(value) = text(&cell) {
                room.take(field.len() + value.len())?;
                pairs.push((field, value));
            }
            Ok(Flow::Continue(()))
        })?;
        Ok(pairs)
    }

    pub(super) fn scan_hash(&self, key: &[u8], cursor: &Cursor, values: bool) -> Answer<Reply, S> {
        self.scan_members(key, Kind::Hash, cursor, |field, cell, items| {
            items.push(field);
            if values {
                items.push(text(cell).unwrap_or_default());
            }
        })
    }

    pub(super) fn random_fields(
        &self,
        key: &[u8],
        sample: Sample,
        values: bool,
        seed: u64,
    ) -> Answer<Reply, S> {
        let rows = self.candidates(key, Kind::Hash, |cell| {
            if values { text(cell).map_or(Reply::Nil, Reply::Bytes) } else { Reply::Nil }
        })?;
        sampled(&rows, sample, values, seed)
    }

    /// The members among which a random one is drawn.
    pub(super) fn candidates(
        &self,
        key: &[u8],
        kind: Kind,
        with: impl Fn(&Cell) -> Reply,
    ) -> Answer<Vec<(Bytes, Reply)>, S> {
        let mut rows = Vec::new();
        let Some(opened) = self.open_as(key, kind)? else { return Ok(rows) };
        let mut room = Room::new();
        self.each_member(key, &opened, None, |member, cell| {
            room.take(member.len())?;
            rows.push((member, with(&cell)));
            let is_full = rows.len() >= RANDOM_ROWS_MAX;
            Ok(if is_full { Flow::Break(()) } else { Flow::Continue(()) })
        })?;
        Ok(rows)
    }
}

/// The answer of `HRANDFIELD` and its kin.
pub(super) fn sampled<E>(
    rows: &[(Bytes, Reply)],
    sample: Sample,
    pairs: bool,
    seed: u64,
) -> Result<Reply, QueryError<E>> {
    let is_large = matches!(sample, Sample::Repeated(count) if count > REPLY_ITEMS_MAX);
    if is_large && !rows.is_empty() {
        return Err(QueryError::TooLarge);
    }
    let chosen = choose(rows.len(), sample, &mut Draw::new(seed));
    let mut chosen = chosen.into_iter().filter_map(|at| rows.get(at)).cloned();
    Ok(match sample {
        Sample::One => Reply::maybe(chosen.next().map(|(member, _)| member)),
        _ if pairs => Reply::Pairs(chosen.collect()),
        _ => Reply::Array(chosen.map(|(member, _)| Reply::Bytes(member)).collect()),
    })
}
