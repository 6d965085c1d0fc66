//! Hashes.

use bytes::Bytes;
use rhumb_types::record::{Amount, Cell, CellId, Kind, Value};

use super::{
    Editor,
    strings::{fraction, whole},
};
use crate::{
    KeyType, number,
    op::{OpError, SPACE},
    reply::Reply,
    visible,
};

const HASH: KeyType = KeyType::Collection(Kind::Hash);

impl Editor<'_> {
    pub(super) fn set_fields(
        &mut self,
        key: &Bytes,
        pairs: &[(Bytes, Bytes)],
    ) -> Result<Reply, OpError> {
        let mut standing = self.standing_as(key, HASH)?;
        if pairs.is_empty() {
            return Ok(Reply::count(0));
        }
        self.clear_remnants(key, standing)?;
        standing.kind = Some(HASH);
        let mut added = 0;
        for (field, value) in pairs {
            added += usize::from(self.member(key, standing, field, visible::text)?.is_none());
            self.put_member(key, field, Value::Bytes(value.clone()))?;
        }
        self.put_kind(key, Kind::Hash, standing)?;
        Ok(Reply::count(added))
    }

    pub(super) fn set_absent_field(
        &mut self,
        key: &Bytes,
        field: &Bytes,
        value: &Bytes,
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, HASH)?;
        if self.member(key, standing, field, visible::text)?.is_some() {
            return Ok(Reply::flag(false));
        }
        self.clear_remnants(key, standing)?;
        self.put_member(key, field, Value::Bytes(value.clone()))?;
        self.put_kind(key, Kind::Hash, standing)?;
        Ok(Reply::flag(true))
    }

    pub(super) fn increment_field(
        &mut self,
        key: &Bytes,
        field: &Bytes,
        by: i64,
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, HASH)?;
        let old = match self.member(key, standing, field, visible::text)? {
            Some(text) => whole(&text).ok_or(OpError::HashNotAnInteger)?,
            None => 0,
        };
        let new = old.checked_add(by).ok_or(OpError::Overflow)?;
        self.clear_remnants(key, standing)?;
        let cell = CellId::member(SPACE, key.clone(), field.clone());
        self.add_whole(cell, by, new, None)?;
        self.put_kind(key, Kind::Hash, standing)?;
        Ok(Reply::Int(new))
    }

    pub(super) fn increment_field_float(
        &mut self,
        key: &Bytes,
        field: &Bytes,
        by: f64,
    ) -> Result<Reply, OpError> {
        let mut standing = self.standing_as(key, HASH)?;
        let old = match self.member(key, standing, field, visible::text)? {
            Some(text) => fraction(&text, OpError::HashNotAFloat)?,
            None => 0.0,
        };
        if !(old + by).is_finite() {
            return Err(OpError::NotFinite);
        }
        self.clear_remnants(key, standing)?;
        let cell = CellId::member(SPACE, key.clone(), field.clone());
        self.add(cell, Amount { int: 0, float: by })?;
        self.put_kind(key, Kind::Hash, standing)?;
        standing.kind = Some(HASH);
        let new = |cell: &Cell| visible::text(cell).map(number::text_bytes);
        Ok(Reply::maybe(self.member(key, standing, field, new)?))
    }
}
