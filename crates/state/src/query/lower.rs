//! From commands that choose their members to operations on explicit ones.
//!
//! A lowered operation was chosen from a snapshot, and other writes may come before it is
//! executed. It is checked again then, member by member; [`crate::op::OpError::Stale`] asks the
//! caller to lower it once more, at most [`LOWERINGS_MAX`] times.

use bytes::Bytes;
use rhumb_types::{UnixMillis, record::Kind};
use serde::{Deserialize, Serialize};

use super::{
    CellScan, QueryError, Sample, ZBounds, ZRange,
    pick::{Draw, choose},
    view::{Answer, View},
};
use crate::{
    op::{OP_ROWS_MAX, Op},
    reply::Reply,
};

/// How often a command is lowered before its caller hears that the key is too busy.
pub const LOWERINGS_MAX: usize = 16;
/// Candidates beyond those asked for, so that a few concurrent pops do not make the rest stale.
const SPARES: usize = 32;

/// A write that chooses its members.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Choice {
    /// `SPOP`. Answers a set, also without a count.
    SPop {
        /// The key.
        key: Bytes,
        /// How many; 1 without a count.
        count: usize,
        /// What the choice is drawn from.
        seed: u64,
    },
    /// `ZPOPMIN`, `ZPOPMAX`. Answers members with scores, also without a count.
    ZPop {
        /// The key.
        key: Bytes,
        /// How many; 1 without a count.
        count: usize,
        /// `ZPOPMAX`: the highest.
        highest: bool,
    },
    /// `ZREMRANGEBYSCORE`, `ZREMRANGEBYLEX`, `ZREMRANGEBYRANK`. Answers how many.
    ZRemRange {
        /// The key.
        key: Bytes,
        /// Which.
        bounds: ZBounds,
    },
}

impl Choice {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::SPop { key, .. } | Self::ZPop { key, .. } | Self::ZRemRange { key, .. } => key,
        }
    }
}

/// Chooses the members, as the source holds them now.
///
/// Gives one operation; a range of more than [`OP_ROWS_MAX`] members gives several, whose counts
/// add up.
///
/// # Errors
/// As [`super::answer`]. A pop of more than [`OP_ROWS_MAX`] members at once is too large.
pub fn lower<S: CellScan>(choice: &Choice, now: UnixMillis, scan: &S) -> Answer<Vec<Op>, S> {
    let view = View { scan, now };
    match choice {
        Choice::SPop { key, count, seed } => {
            let rows = view.candidates(key, Kind::Set, |_| Reply::Nil)?;
            let tries = tries(*count, rows.len())?;
            let mut draw = Draw::new(*seed);
            let mut places = choose(rows.len(), Sample::Distinct(tries), &mut draw);
            // `choose` leaves the places in order when it takes all of them.
            draw.shuffle(&mut places);
            let chosen = places.into_iter().filter_map(|at| rows.get(at));
            let candidates = chosen.map(|(member, _)| member.clone()).collect();
            Ok(vec![Op::SPop { key: key.clone(), candidates, count: *count }])
        }
        Choice::ZPop { key, count, highest } => {
            let members = match view.open_as(key, Kind::SortedSet)? {
                Some(opened) => view.count(key, &opened)?,
                None => 0,
            };
            let tries = tries(*count, usize::try_from(members).unwrap_or(usize::MAX))?;
            let stop = i64::try_from(tries).unwrap_or(i64::MAX) - 1;
            let bounds = ZBounds::Index { start: 0, stop };
            let range = ZRange { bounds, reverse: *highest, limit: None };
            let candidates = view.members_in_range(key, &range)?;
            Ok(vec![Op::ZPop { key: key.clone(), candidates, count: *count }])
        }
        Choice::ZRemRange { key, bounds } => {
            let range = ZRange { bounds: bounds.clone(), reverse: false, limit: None };
            let members = view.members_in_range(key, &range)?;
            let remove =
                |members: &[_]| Op::ZRemScored { key: key.clone(), members: members.to_vec() };
            if members.is_empty() {
                return Ok(vec![remove(&[])]);
            }
            Ok(members.chunks(OP_ROWS_MAX).map(remove).collect())
        }
    }
}

/// How many candidates to take for a pop, of those there are.
fn tries<E>(count: usize, available: usize) -> Result<usize, QueryError<E>> {
    if count.min(available) > OP_ROWS_MAX - SPARES {
        return Err(QueryError::TooLarge);
    }
    Ok(count.saturating_add(SPARES).min(available))
}
