//! Sorted sets.

use std::ops::Bound;

use bytes::Bytes;
use rhumb_types::record::Kind;

use super::{
    CellScan, Cursor, Limit, QueryError, Sample, ZBounds, ZRange,
    bounds::{Scores, lex_contains},
    hashes::sampled,
    keys::from_end,
    view::{Answer, Flow, Room, View},
};
use crate::{number::score_text, op::OptionClash, reply::Reply, visible::score};

impl<S: CellScan> View<'_, S> {
    pub(super) fn score_of(&self, key: &[u8], member: &[u8]) -> Answer<Option<f64>, S> {
        let Some(opened) = self.open_as(key, Kind::SortedSet)? else { return Ok(None) };
        Ok(self.member(key, &opened, member)?.as_ref().and_then(score))
    }

    pub(super) fn scores_of(&self, key: &[u8], members: &[Bytes]) -> Answer<Reply, S> {
        let opened = self.open_as(key, Kind::SortedSet)?;
        let mut scores = Vec::with_capacity(members.len());
        for member in members {
            let found = match &opened {
                Some(opened) => self.member(key, opened, member)?.as_ref().and_then(score),
                None => None,
            };
            scores.push(found.map_or(Reply::Nil, Reply::Float));
        }
        Ok(Reply::Array(scores))
    }

    pub(super) fn count_within(&self, key: &[u8], bounds: &ZBounds) -> Answer<Reply, S> {
        let range = ZRange { bounds: bounds.clone(), reverse: false, limit: None };
        let mut count = 0;
        self.each_in_range(key, &range, |_, _| {
            count += 1;
            Ok(Flow::Continue(()))
        })?;
        Ok(Reply::count(count))
    }

    pub(super) fn z_range(&self, key: &[u8], range: &ZRange, scores: bool) -> Answer<Reply, S> {
        if scores && matches!(range.bounds, ZBounds::Lex { .. }) {
            return Err(QueryError::Options(OptionClash::ScoresByLex));
        }
        let rows = self.members_in_range(key, range)?;
        Ok(if scores {
            Reply::Pairs(rows.into_iter().map(|(m, score)| (m, Reply::Float(score))).collect())
        } else {
            Reply::Array(rows.into_iter().map(|(member, _)| Reply::Bytes(member)).collect())
        })
    }

    pub(super) fn rank(
        &self,
        key: &[u8],
        member: &Bytes,
        reverse: bool,
        with_score: bool,
    ) -> Answer<Reply, S> {
        let Some(opened) = self.open_as(key, Kind::SortedSet)? else { return Ok(Reply::Nil) };
        let found = self.member(key, &opened, member)?;
        let Some(own) = found.as_ref().and_then(score) else { return Ok(Reply::Nil) };
        let before = if reverse {
            Scores { min: Bound::Included(own), max: Bound::Unbounded }
        } else {
            Scores { min: Bound::Unbounded, max: Bound::Included(own) }
        };
        let mut rank = 0;
        self.each_score(key, &opened, &before, reverse, |other, _| {
            if other == *member {
                return Ok(Flow::Break(()));
            }
            rank += 1;
            Ok(Flow::Continue(()))
        })?;
        let rank = Reply::count(rank);
        Ok(if with_score { Reply::Array(vec![rank, Reply::Float(own)]) } else { rank })
    }

    pub(super) fn scan_sorted_set(&self, key: &[u8], cursor: &Cursor) -> Answer<Reply, S> {
        self.scan_members(key, Kind::SortedSet, cursor, |member, cell, items| {
            items.push(member);
            items.push(Bytes::from(score_text(score(cell).unwrap_or_default())));
        })
    }

    pub(super) fn random_scored(
        &self,
        key: &[u8],
        sample: Sample,
        scores: bool,
        seed: u64,
    ) -> Answer<Reply, S> {
        let rows = self.candidates(key, Kind::SortedSet, |cell| {
            score(cell).map_or(Reply::Nil, Reply::Float)
        })?;
        sampled(&rows, sample, scores, seed)
    }

    /// The members of a range with their scores, in the direction of reading.
    pub(super) fn members_in_range(
        &self,
        key: &[u8],
        range: &ZRange,
    ) -> Answer<Vec<(Bytes, f64)>, S> {
        let mut room = Room::new();
        let mut rows = Vec::new();
        self.each_in_range(key, range, |member, score| {
            room.take(member.len())?;
            rows.push((member, score));
            Ok(Flow::Continue(()))
        })?;
        Ok(rows)
    }

    fn each_in_range(
        &self,
        key: &[u8],
        range: &ZRange,
        mut visit: impl FnMut(Bytes, f64) -> Answer<Flow, S>,
    ) -> Answer<(), S> {
        let Some(opened) = self.open_as(key, Kind::SortedSet)? else { return Ok(()) };
        let mut window = match &range.bounds {
            ZBounds::Index { start, stop } if range.limit.is_none() => {
                Window::of_places(*start, *stop, self.count(key, &opened)?)
            }
            ZBounds::Index { .. } => return Err(QueryError::Options(OptionClash::LimitByIndex)),
            ZBounds::Score { .. } | ZBounds::Lex { .. } => Window::of_limit(range.limit),
        };
        let scores = match &range.bounds {
            ZBounds::Score { min, max } => Scores { min: *min, max: *max },
            ZBounds::Index { .. } | ZBounds::Lex { .. } => Scores::ALL,
        };
        if window.is_done() {
            return Ok(());
        }
        self.each_score(key, &opened, &scores, range.reverse, |member, score| {
            if let ZBounds::Lex { min, max } = &range.bounds
                && !lex_contains(min, max, &member)
            {
                return Ok(Flow::Continue(()));
            }
            if window.admits() && visit(member, score)?.is_break() {
                return Ok(Flow::Break(()));
            }
            Ok(if window.is_done() { Flow::Break(()) } else { Flow::Continue(()) })
        })
    }
}

/// Which of the members that a range bounds are answered: leaves some out, then takes some.
#[derive(Debug)]
struct Window {
    skip: u64,
    take: u64,
}

impl Window {
    /// Both places included; negative ones count from the end.
    fn of_places(start: i64, stop: i64, members: u64) -> Self {
        let len = usize::try_from(members).unwrap_or(usize::MAX);
        let skip = u64::try_from(from_end(len, start)).unwrap_or(0);
        let end = u64::try_from(from_end(len, stop).saturating_add(1)).unwrap_or(0);
        Self { skip, take: end.saturating_sub(skip) }
    }

    fn of_limit(limit: Option<Limit>) -> Self {
        let Some(Limit { offset, count }) = limit else { return Self { skip: 0, take: u64::MAX } };
        match u64::try_from(offset) {
            Ok(skip) => Self { skip, take: u64::try_from(count).unwrap_or(u64::MAX) },
            Err(_) => Self { skip: 0, take: 0 },
        }
    }

    const fn is_done(&self) -> bool {
        self.take == 0
    }

    /// Whether the next member is answered.
    const fn admits(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let admitted = self.take > 0;
        self.take = self.take.saturating_sub(1);
        admitted
    }
}
