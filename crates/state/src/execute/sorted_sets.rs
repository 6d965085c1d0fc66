//! Sorted sets.

use bytes::Bytes;
use rhumb_types::record::{Amount, CellId, Kind, Value};

use super::Editor;
use crate::{
    KeyType,
    op::{OpError, OptionClash, Presence, SPACE, ScoreWhen, ZAddWhen},
    reply::Reply,
    visible,
};

const SORTED_SET: KeyType = KeyType::Collection(Kind::SortedSet);

impl Editor<'_> {
    pub(super) fn add_scored(
        &mut self,
        key: &Bytes,
        pairs: &[(Bytes, f64)],
        when: ZAddWhen,
        changed: bool,
    ) -> Result<Reply, OpError> {
        check(when)?;
        if pairs.iter().any(|(_, score)| score.is_nan()) {
            return Err(OpError::ScoreNotANumber);
        }
        let mut standing = self.standing_as(key, SORTED_SET)?;
        let (mut added, mut moved, mut is_written) = (0, 0, false);
        for (member, score) in pairs {
            let score = normal(*score);
            let old = self.member(key, standing, member, visible::score)?;
            if !allows(when, old, score) {
                continue;
            }
            // Nothing is written before it is known that something will be.
            if standing.kind.is_none() {
                self.clear_remnants(key, standing)?;
                standing.kind = Some(SORTED_SET);
            }
            added += usize::from(old.is_none());
            moved += usize::from(old.is_some_and(|old| old != score));
            self.put_member(key, member, Value::Score(score))?;
            is_written = true;
        }
        if is_written {
            self.put_kind(key, Kind::SortedSet, standing)?;
        }
        Ok(Reply::count(if changed { added + moved } else { added }))
    }

    pub(super) fn add_score(
        &mut self,
        key: &Bytes,
        member: &Bytes,
        by: f64,
        when: ZAddWhen,
    ) -> Result<Reply, OpError> {
        check(when)?;
        let mut standing = self.standing_as(key, SORTED_SET)?;
        let old = self.member(key, standing, member, visible::score)?;
        let new = normal(old.unwrap_or_default() + by);
        if new.is_nan() {
            return Err(OpError::ScoreNotANumber);
        }
        if !allows(when, old, new) {
            return Ok(Reply::Nil);
        }
        self.clear_remnants(key, standing)?;
        standing.kind = Some(SORTED_SET);
        if new.is_finite() && old.is_none_or(f64::is_finite) {
            let cell = CellId::member(SPACE, key.clone(), member.clone());
            self.add(cell, Amount { int: 0, float: by })?;
        } else {
            // A sum that passed through infinity could not be marked.
            self.put_member(key, member, Value::Score(new))?;
        }
        self.put_kind(key, Kind::SortedSet, standing)?;
        let score = self.member(key, standing, member, visible::score)?;
        Ok(score.map_or(Reply::Nil, Reply::Float))
    }

    pub(super) fn remove_scored(
        &mut self,
        key: &Bytes,
        members: &[(Bytes, f64)],
    ) -> Result<Reply, OpError> {
        let chosen = self.unmoved(key, members, usize::MAX)?;
        let removed = chosen.len();
        self.remove_chosen(key, chosen)?;
        Ok(Reply::count(removed))
    }

    pub(super) fn pop_scored(
        &mut self,
        key: &Bytes,
        candidates: &[(Bytes, f64)],
        count: usize,
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, SORTED_SET)?;
        let chosen = self.unmoved(key, candidates, count)?;
        self.require_enough(key, standing, chosen.len(), count)?;
        self.remove_chosen(key, chosen.clone())?;
        let scored = chosen.into_iter().map(|(member, score)| (member, Reply::Float(score)));
        Ok(Reply::Pairs(scored.collect()))
    }

    /// The first members whose score is still the one given.
    fn unmoved(
        &self,
        key: &Bytes,
        candidates: &[(Bytes, f64)],
        count: usize,
    ) -> Result<Vec<(Bytes, f64)>, OpError> {
        let standing = self.standing_as(key, SORTED_SET)?;
        let mut chosen = Vec::with_capacity(count.min(candidates.len()));
        for (member, score) in candidates {
            if chosen.len() >= count {
                break;
            }
            if self.member(key, standing, member, visible::score)? == Some(*score) {
                chosen.push((member.clone(), *score));
            }
        }
        Ok(chosen)
    }

    fn remove_chosen(&mut self, key: &Bytes, chosen: Vec<(Bytes, f64)>) -> Result<(), OpError> {
        if chosen.is_empty() {
            return Ok(());
        }
        for (member, _) in &chosen {
            self.remove_member(key, member)?;
        }
        self.drop_if_empty(key)
    }
}

/// Negative zero is zero: both print and sort alike.
fn normal(score: f64) -> f64 {
    if score == 0.0 { 0.0 } else { score }
}

fn check(when: ZAddWhen) -> Result<(), OpError> {
    if when.presence == Presence::Absent && when.score != ScoreWhen::Any {
        return Err(OpError::Options(OptionClash::NxWithCompare));
    }
    Ok(())
}

/// Whether a member's score may become another.
fn allows(when: ZAddWhen, old: Option<f64>, new: f64) -> bool {
    let moves = |old: f64| match when.score {
        ScoreWhen::Any => true,
        ScoreWhen::Greater => new > old,
        ScoreWhen::Less => new < old,
    };
    when.presence.allows(old.is_some()) && old.is_none_or(moves)
}
