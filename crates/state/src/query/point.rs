//! Reads that need no more than the rows that they name.
//!
//! A machine that has loaded these rows answers them in order with its writes, so that a
//! transaction's reads see its own writes without a rehearsal, however busy its keys are.

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{Cell, Head},
};

use super::{CellScan, Query, QueryError, ScoreSpan, answer};
use crate::{
    ClearedPrefixes, Table,
    op::{OpError, SPACE},
    reply::Reply,
};

impl Query {
    /// Whether the heads of its keys, and the cells of the members that it names, are all that it
    /// reads; but see [`crate::MEMBERS_UNKNOWN`].
    #[must_use]
    pub const fn is_point(&self) -> bool {
        matches!(
            self,
            Self::Get { .. }
                | Self::MGet { .. }
                | Self::StrLen { .. }
                | Self::GetRange { .. }
                | Self::Exists { .. }
                | Self::Type { .. }
                | Self::Ttl { .. }
                | Self::HGet { .. }
                | Self::HMGet { .. }
                | Self::HLen { .. }
                | Self::HExists { .. }
                | Self::HStrLen { .. }
                | Self::SIsMember { .. }
                | Self::SMIsMember { .. }
                | Self::SCard { .. }
                | Self::ZScore { .. }
                | Self::ZMScore { .. }
                | Self::ZCard { .. }
        )
    }

    /// Shows every member that a point read names, with its key.
    pub fn members(&self, visit: &mut impl FnMut(&Bytes, &Bytes)) {
        match self {
            Self::HGet { key, field: member }
            | Self::HExists { key, field: member }
            | Self::HStrLen { key, field: member }
            | Self::SIsMember { key, member }
            | Self::ZScore { key, member } => visit(key, member),
            Self::HMGet { key, fields: members }
            | Self::SMIsMember { key, members }
            | Self::ZMScore { key, members } => {
                members.iter().for_each(|member| visit(key, member));
            }
            _ => {}
        }
    }
}

/// Answers a point read from rows that are loaded.
pub(crate) fn look(query: &Query, now: UnixMillis, table: &Table) -> Result<Reply, OpError> {
    let rows = Loaded { table, settled: ClearedPrefixes::default() };
    answer(query, now, &rows).map_err(|error| match error {
        QueryError::WrongType => OpError::WrongType,
        QueryError::TooLarge => OpError::ReplyTooLarge,
        QueryError::Options(clash) => OpError::Options(clash),
        QueryError::Scan(error) => error,
    })
}

/// The rows of a table; what would need others is stale.
struct Loaded<'t> {
    table: &'t Table,
    /// The table's heads have been passed through all removals.
    settled: ClearedPrefixes,
}

impl CellScan for Loaded<'_> {
    type Error = OpError;

    fn head(&self, key: &[u8]) -> Result<Option<Head>, OpError> {
        Ok(Some(self.table.head(SPACE, &Bytes::copy_from_slice(key))?.clone()))
    }

    fn member(&self, key: &[u8], member: &[u8]) -> Result<Option<Cell>, OpError> {
        let (key, member) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(member));
        Ok(Some(self.table.member(SPACE, &key, &member)?.into_owned()))
    }

    fn members(
        &self,
        _: &[u8],
        _: Option<&Bytes>,
        _: usize,
    ) -> Result<Vec<(Bytes, Cell)>, OpError> {
        Err(OpError::Stale)
    }

    fn scores(&self, _: &[u8], _: &ScoreSpan) -> Result<Vec<(f64, Bytes)>, OpError> {
        Err(OpError::Stale)
    }

    fn keys(&self, _: &[u8], _: Option<&Bytes>, _: usize) -> Result<Vec<(Bytes, Head)>, OpError> {
        Err(OpError::Stale)
    }

    fn prefixes(&self) -> &ClearedPrefixes {
        &self.settled
    }
}
