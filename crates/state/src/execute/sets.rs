//! Sets.

use bytes::Bytes;
use rhumb_types::record::{Kind, Value};

use super::{Editor, Standing, holds};
use crate::{KeyType, MEMBERS_UNKNOWN, op::OpError, reply::Reply};

const SET: KeyType = KeyType::Collection(Kind::Set);

impl Editor<'_> {
    pub(super) fn add_members(&mut self, key: &Bytes, members: &[Bytes]) -> Result<Reply, OpError> {
        let mut standing = self.standing_as(key, SET)?;
        if members.is_empty() {
            return Ok(Reply::count(0));
        }
        self.clear_remnants(key, standing)?;
        standing.kind = Some(SET);
        let mut added = 0;
        for member in members {
            added += usize::from(!self.has_member(key, standing, member)?);
            // Also when it is there: this addition survives a concurrent removal.
            self.put_member(key, member, Value::Unit)?;
        }
        self.put_kind(key, Kind::Set, standing)?;
        Ok(Reply::count(added))
    }

    pub(super) fn move_member(
        &mut self,
        source: &Bytes,
        destination: &Bytes,
        member: &Bytes,
    ) -> Result<Reply, OpError> {
        let from = self.standing_as(source, SET)?;
        if from.kind.is_none() {
            return Ok(Reply::flag(false));
        }
        self.standing_as(destination, SET)?;
        let is_there = self.has_member(source, from, member)?;
        if is_there && source != destination {
            self.remove_member(source, member)?;
            self.drop_if_empty(source)?;
            let to = self.standing_as(destination, SET)?;
            self.clear_remnants(destination, to)?;
            self.put_member(destination, member, Value::Unit)?;
            self.put_kind(destination, Kind::Set, to)?;
        }
        Ok(Reply::flag(is_there))
    }

    pub(super) fn pop_members(
        &mut self,
        key: &Bytes,
        candidates: &[Bytes],
        count: usize,
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, SET)?;
        let mut chosen: Vec<Bytes> = Vec::with_capacity(count.min(candidates.len()));
        for candidate in candidates {
            if chosen.len() < count && self.has_member(key, standing, candidate)? {
                chosen.push(candidate.clone());
            }
        }
        self.require_enough(key, standing, chosen.len(), count)?;
        for member in &chosen {
            self.remove_member(key, member)?;
        }
        if !chosen.is_empty() {
            self.drop_if_empty(key)?;
        }
        Ok(Reply::Set(chosen))
    }

    /// Refuses a pop of fewer members than it could have popped.
    pub(super) fn require_enough(
        &self,
        key: &Bytes,
        standing: Standing,
        chosen: usize,
        wanted: usize,
    ) -> Result<(), OpError> {
        let members = self.head(key)?.members;
        let is_short = standing.kind.is_some()
            && members != MEMBERS_UNKNOWN
            && chosen < wanted
            && (chosen as u64) < members;
        if is_short { Err(OpError::Stale) } else { Ok(()) }
    }

    fn has_member(&self, key: &Bytes, standing: Standing, member: &Bytes) -> Result<bool, OpError> {
        Ok(self.member(key, standing, member, |cell| holds(Kind::Set, cell))?.is_some())
    }
}
