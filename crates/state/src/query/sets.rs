//! Sets.

use std::{collections::BTreeSet, ops::ControlFlow};

use bytes::Bytes;
use rhumb_types::record::Kind;

use super::{
    CellScan, Cursor, Sample,
    hashes::sampled,
    view::{Answer, Flow, Opened, Room, View},
};
use crate::reply::Reply;

/// A set that takes part in an operation on several.
type Opening<'k> = (&'k Bytes, Option<Opened>);

impl<S: CellScan> View<'_, S> {
    pub(super) fn is_member(&self, key: &[u8], member: &[u8]) -> Answer<bool, S> {
        let Some(opened) = self.open_as(key, Kind::Set)? else { return Ok(false) };
        Ok(self.member(key, &opened, member)?.is_some())
    }

    pub(super) fn are_members(&self, key: &[u8], members: &[Bytes]) -> Answer<Reply, S> {
        let opened = self.open_as(key, Kind::Set)?;
        let mut flags = Vec::with_capacity(members.len());
        for member in members {
            let present = match &opened {
                Some(opened) => self.member(key, opened, member)?.is_some(),
                None => false,
            };
            flags.push(Reply::flag(present));
        }
        Ok(Reply::Array(flags))
    }

    pub(super) fn all_members(&self, key: &[u8]) -> Answer<Reply, S> {
        let mut room = Room::new();
        let mut members = Vec::new();
        if let Some(opened) = self.open_as(key, Kind::Set)? {
            self.each_member(key, &opened, None, |member, _| {
                room.take(member.len())?;
                members.push(member);
                Ok(Flow::Continue(()))
            })?;
        }
        Ok(Reply::Set(members))
    }

    pub(super) fn scan_set(&self, key: &[u8], cursor: &Cursor) -> Answer<Reply, S> {
        self.scan_members(key, Kind::Set, cursor, |member, _, items| items.push(member))
    }

    pub(super) fn random_members(&self, key: &[u8], sample: Sample, seed: u64) -> Answer<Reply, S> {
        sampled(&self.candidates(key, Kind::Set, |_| Reply::Nil)?, sample, false, seed)
    }

    pub(super) fn intersection(&self, keys: &[Bytes], limit: usize) -> Answer<Vec<Bytes>, S> {
        let mut sets = self.open_sets(keys)?;
        // Walk the smallest, ask the others.
        sets.sort_by_key(|(_, opened)| opened.as_ref().map_or(0, Opened::members_hint));
        let mut common = Vec::new();
        let Some(((first, Some(opened)), others)) = sets.split_first() else { return Ok(common) };
        let mut room = Room::new();
        self.each_member(first, opened, None, |member, _| {
            for (key, other) in others {
                let Some(other) = other else { return Ok(ControlFlow::Break(())) };
                if self.member(key, other, &member)?.is_none() {
                    return Ok(Flow::Continue(()));
                }
            }
            room.take(member.len())?;
            common.push(member);
            let is_full = limit != 0 && common.len() >= limit;
            Ok(if is_full { Flow::Break(()) } else { Flow::Continue(()) })
        })?;
        Ok(common)
    }

    pub(super) fn union(&self, keys: &[Bytes]) -> Answer<Reply, S> {
        let mut room = Room::new();
        let mut all = BTreeSet::new();
        for (key, opened) in self.open_sets(keys)? {
            let Some(opened) = opened else { continue };
            self.each_member(key, &opened, None, |member, _| {
                let bytes = member.len();
                if all.insert(member) {
                    room.take(bytes)?;
                }
                Ok(Flow::Continue(()))
            })?;
        }
        Ok(Reply::Set(all.into_iter().collect()))
    }

    pub(super) fn difference(&self, keys: &[Bytes]) -> Answer<Reply, S> {
        let sets = self.open_sets(keys)?;
        let mut left = Vec::new();
        let Some(((first, Some(opened)), others)) = sets.split_first() else {
            return Ok(Reply::Set(left));
        };
        let mut room = Room::new();
        self.each_member(first, opened, None, |member, _| {
            for (key, other) in others {
                let Some(other) = other else { continue };
                if self.member(key, other, &member)?.is_some() {
                    return Ok(Flow::Continue(()));
                }
            }
            room.take(member.len())?;
            left.push(member);
            Ok(Flow::Continue(()))
        })?;
        Ok(Reply::Set(left))
    }

    /// Opens every set first, so that a wrong type anywhere is an error.
    fn open_sets<'k>(&self, keys: &'k [Bytes]) -> Answer<Vec<Opening<'k>>, S> {
        keys.iter().map(|key| Ok((key, self.open_as(key, Kind::Set)?))).collect()
    }
}
