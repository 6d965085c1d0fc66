//! Keys of any type: removal, times to live, and the scripts of locks.

use bytes::Bytes;
use rhumb_types::UnixMillis;

use super::{Editor, Standing};
use crate::{
    KeyType, number,
    op::{Deadline, ExpireWhen, OpError, Prolong, SPACE},
    reply::Reply,
};

impl Editor<'_> {
    pub(super) fn delete(&mut self, keys: &[Bytes]) -> Result<Reply, OpError> {
        let mut deleted = 0;
        for key in keys {
            let standing = self.standing(key)?;
            deleted += usize::from(standing.kind.is_some());
            self.erase(key, standing)?;
        }
        Ok(Reply::count(deleted))
    }

    pub(super) fn expire(
        &mut self,
        key: &Bytes,
        deadline: Deadline,
        when: ExpireWhen,
    ) -> Result<Reply, OpError> {
        let at = deadline.resolve(self.now)?;
        let standing = self.standing(key)?;
        if standing.kind.is_none() || !allows(when, standing.expiry, at) {
            return Ok(Reply::flag(false));
        }
        self.set_expiry(key, standing, Some(at))?;
        Ok(Reply::flag(true))
    }

    pub(super) fn persist(&mut self, key: &Bytes) -> Result<Reply, OpError> {
        let standing = self.standing(key)?;
        if standing.expiry.is_none() {
            return Ok(Reply::flag(false));
        }
        self.set_expiry(key, standing, None)?;
        Ok(Reply::flag(true))
    }

    pub(super) fn compare_and_delete(
        &mut self,
        key: &Bytes,
        expected: &Bytes,
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::String)?;
        let held = self.text(key, standing)?.map(number::text_bytes);
        let is_held = held.as_ref() == Some(expected);
        if is_held {
            self.erase(key, standing)?;
        }
        Ok(Reply::flag(is_held))
    }

    pub(super) fn compare_and_expire(
        &mut self,
        key: &Bytes,
        expected: &Bytes,
        ttl: Prolong,
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::String)?;
        let held = self.text(key, standing)?.map(number::text_bytes);
        if held.as_ref() != Some(expected) {
            return Ok(Reply::flag(false));
        }
        let deadline = match (ttl, standing.expiry) {
            (Prolong::VolatileTo(_) | Prolong::VolatileBy(_), None) => {
                return Ok(Reply::flag(false));
            }
            (Prolong::To(ms) | Prolong::VolatileTo(ms), _) => Deadline::In(ms),
            (Prolong::VolatileBy(ms), Some(at)) => {
                Deadline::At(UnixMillis(at.0.saturating_add(ms)))
            }
        };
        let at = deadline.resolve(self.now)?;
        self.set_expiry(key, standing, Some(at))?;
        Ok(Reply::flag(true))
    }

    /// Gives a key that is there another time to live. A time that has passed removes it.
    pub(super) fn set_expiry(
        &mut self,
        key: &Bytes,
        standing: Standing,
        until: Option<UnixMillis>,
    ) -> Result<(), OpError> {
        if until.is_some_and(|at| at <= self.now) {
            return self.erase(key, standing);
        }
        Ok(self.draft.set_expiry(self.table, SPACE, key.clone(), until)?)
    }
}

/// Whether an `EXPIRE` takes effect.
fn allows(when: ExpireWhen, present: Option<UnixMillis>, new: UnixMillis) -> bool {
    match when {
        ExpireWhen::Always => true,
        ExpireWhen::Persistent => present.is_none(),
        ExpireWhen::Volatile => present.is_some(),
        ExpireWhen::Longer => present.is_some_and(|present| new > present),
        ExpireWhen::Shorter => present.is_none_or(|present| new < present),
        ExpireWhen::VolatileShorter => present.is_some_and(|present| new < present),
    }
}
