//! Strings and counters.

use bytes::{Bytes, BytesMut};
use rhumb_types::{
    UnixMillis,
    record::{Amount, CellId, Value},
};

use super::{Editor, Standing};
use crate::{
    KeyType, Text, number,
    op::{GetExpiry, OpError, Presence, SPACE, SetExpiry, VALUE_BYTES_MAX},
    reply::Reply,
    visible,
};

/// Whole numbers beyond this are not exact as floats (2^53).
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

impl Editor<'_> {
    pub(super) fn set(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        when: Presence,
        get: bool,
        expiry: SetExpiry,
    ) -> Result<Reply, OpError> {
        let standing =
            if get { self.standing_as(key, KeyType::String)? } else { self.standing(key)? };
        let until = match expiry {
            SetExpiry::Clear => None,
            SetExpiry::Keep => standing.expiry,
            SetExpiry::Until(deadline) => Some(deadline.resolve(self.now)?),
        };
        let old = if get { self.text(key, standing)?.map(number::text_bytes) } else { None };
        let allowed = when.allows(standing.kind.is_some());
        if allowed {
            self.store(key, standing, value.clone(), until)?;
        }
        Ok(match (get, allowed) {
            (true, _) => Reply::maybe(old),
            (false, true) => Reply::Ok,
            (false, false) => Reply::Nil,
        })
    }

    pub(super) fn set_many(&mut self, pairs: &[(Bytes, Bytes)]) -> Result<Reply, OpError> {
        for (key, value) in pairs {
            let standing = self.standing(key)?;
            self.store(key, standing, value.clone(), None)?;
        }
        Ok(Reply::Ok)
    }

    pub(super) fn set_many_absent(&mut self, pairs: &[(Bytes, Bytes)]) -> Result<Reply, OpError> {
        for (key, _) in pairs {
            if self.standing(key)?.kind.is_some() {
                return Ok(Reply::flag(false));
            }
        }
        self.set_many(pairs)?;
        Ok(Reply::flag(true))
    }

    pub(super) fn get_and_delete(&mut self, key: &Bytes) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::String)?;
        let Some(text) = self.text(key, standing)? else { return Ok(Reply::Nil) };
        self.erase(key, standing)?;
        Ok(Reply::Bytes(number::text_bytes(text)))
    }

    pub(super) fn get_and_expire(
        &mut self,
        key: &Bytes,
        expiry: GetExpiry,
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::String)?;
        let until = match expiry {
            GetExpiry::Persist => None,
            GetExpiry::Until(deadline) => Some(deadline.resolve(self.now)?),
        };
        let Some(text) = self.text(key, standing)? else { return Ok(Reply::Nil) };
        if until != standing.expiry {
            self.set_expiry(key, standing, until)?;
        }
        Ok(Reply::Bytes(number::text_bytes(text)))
    }

    pub(super) fn append(&mut self, key: &Bytes, value: &Bytes) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::String)?;
        let old = self.text(key, standing)?.map(number::text_bytes).unwrap_or_default();
        if old.len() + value.len() > VALUE_BYTES_MAX {
            return Err(OpError::TooLong);
        }
        let new = Bytes::from([old.as_ref(), value.as_ref()].concat());
        let len = new.len();
        self.store(key, standing, new, standing.expiry)?;
        Ok(Reply::count(len))
    }

    pub(super) fn set_range(
        &mut self,
        key: &Bytes,
        offset: u64,
        value: &Bytes,
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::String)?;
        let old = self.text(key, standing)?.map(number::text_bytes).unwrap_or_default();
        if value.is_empty() {
            return Ok(Reply::count(old.len()));
        }
        let start = usize::try_from(offset).map_err(|_| OpError::TooLong)?;
        let end = start.checked_add(value.len()).ok_or(OpError::TooLong)?;
        if end > VALUE_BYTES_MAX {
            return Err(OpError::TooLong);
        }
        let mut new = BytesMut::from(old.as_ref());
        new.resize(new.len().max(end), 0);
        if let Some(target) = new.get_mut(start..end) {
            target.copy_from_slice(value);
        }
        let len = new.len();
        self.store(key, standing, new.freeze(), standing.expiry)?;
        Ok(Reply::count(len))
    }

    pub(super) fn increment(&mut self, key: &Bytes, by: i64) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::String)?;
        let old = match self.text(key, standing)? {
            Some(text) => whole(&text).ok_or(OpError::NotAnInteger)?,
            None => 0,
        };
        let new = old.checked_add(by).ok_or(OpError::Overflow)?;
        self.clear_remnants(key, standing)?;
        self.add_whole(CellId::head(SPACE, key.clone()), by, new, standing.expiry)?;
        Ok(Reply::Int(new))
    }

    pub(super) fn increment_float(&mut self, key: &Bytes, by: f64) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::String)?;
        let old = match self.text(key, standing)? {
            Some(text) => fraction(&text, OpError::NotAFloat)?,
            None => 0.0,
        };
        if !(old + by).is_finite() {
            return Err(OpError::NotFinite);
        }
        self.clear_remnants(key, standing)?;
        self.add(CellId::head(SPACE, key.clone()), Amount { int: 0, float: by })?;
        let new = visible::text(&self.head(key)?.cell).map(number::text_bytes);
        Ok(Reply::maybe(new))
    }

    /// A string's content, when the key is there.
    pub(super) fn text(&self, key: &Bytes, standing: Standing) -> Result<Option<Text>, OpError> {
        if standing.kind.is_none() {
            return Ok(None);
        }
        Ok(visible::text(&self.head(key)?.cell))
    }

    /// Replaces whatever a key holds by a string. A time that has passed leaves the key absent.
    fn store(
        &mut self,
        key: &Bytes,
        standing: Standing,
        value: Bytes,
        until: Option<UnixMillis>,
    ) -> Result<(), OpError> {
        if until.is_some_and(|at| at <= self.now) {
            return self.erase(key, standing);
        }
        if standing.has_members {
            self.erase(key, standing)?;
        }
        self.put_head(key, Value::Bytes(value), until)
    }
}

/// A value as a whole number.
pub(super) fn whole(text: &Text) -> Option<i64> {
    match text {
        Text::Bytes(bytes) => number::parse_int(bytes),
        Text::Number(Amount { int, float: 0.0 }) => Some(*int),
        Text::Number(amount) => {
            let total = number::total(*amount);
            let is_exact = total.trunc() == total && total.abs() <= EXACT_FLOAT_MAX;
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            is_exact.then_some(total as i64)
        }
    }
}

/// A value as a number, or else the error.
pub(super) fn fraction(text: &Text, error: OpError) -> Result<f64, OpError> {
    match text {
        Text::Bytes(bytes) => match visible::number(bytes) {
            Some(amount) => Ok(number::total(amount)),
            None if number::parse_float(bytes).is_some_and(f64::is_infinite) => {
                Err(OpError::NotFinite)
            }
            None => Err(error),
        },
        Text::Number(amount) => Ok(number::total(*amount)),
    }
}
