//! Answers on their way to whom they are for.
//!
//! What was accepted under a lease is answered with a yes only while that tenure lasts: the lease is
//! looked at again as the answer leaves (rule 4). What was written stays, whatever the answer.

use rhumb_state::Reply;
use rhumb_types::{
    MonoTime, RegionId,
    planted::{self, Planted},
    record::{OwnedRow, VersionVector},
};

use crate::{
    event::{Effect, RequestId, SubmitError},
    oversee::Leases,
};

/// What a request that was done is told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A reply per op.
    Replies(Vec<Reply>),
    /// The version that each op made.
    Owned(Vec<OwnedRow>),
}

/// The leases at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fence<'l> {
    leases: &'l Leases,
    now: MonoTime,
}

impl<'l> Fence<'l> {
    pub(crate) const fn new(leases: &'l Leases, now: MonoTime) -> Self {
        Self { leases, now }
    }

    /// A home whose lease is no longer the one that a row was accepted under.
    fn fences(&self, rows: &[OwnedRow]) -> Option<RegionId> {
        if planted::is(Planted::AnswerUnfenced) {
            return None;
        }
        let lasts = |row: &OwnedRow| {
            let tenure = self.leases.get(&row.home);
            tenure.and_then(|tenure| tenure.at(self.now)) == Some(row.epoch)
        };
        let over = rows.iter().find(|row| !row.pinned && !lasts(row));
        over.map(|row| row.home.clone())
    }
}

impl Answer {
    /// The answer, once what was written is as durable as was asked for.
    pub(crate) fn done(
        self,
        request: RequestId,
        written: VersionVector,
        fence: Fence<'_>,
    ) -> Effect {
        match self {
            Self::Replies(replies) => Effect::Reply { request, result: Ok(replies), written },
            Self::Owned(rows) => {
                let fenced = fence.fences(&rows).map(|home| SubmitError::Fenced { home });
                Effect::Owned { request, result: fenced.map_or(Ok(rows), Err), written }
            }
        }
    }

    /// The answer that it is not.
    pub(crate) fn failed(
        &self,
        request: RequestId,
        written: VersionVector,
        error: SubmitError,
    ) -> Effect {
        match self {
            Self::Replies(_) => Effect::Reply { request, result: Err(error), written },
            Self::Owned(_) => Effect::Owned { request, result: Err(error), written },
        }
    }
}
