//! Typed reads, with the semantics of Redis, over anything that can scan cells.
//!
//! [`answer`] evaluates a [`Query`] against a [`CellScan`]: a snapshot of the store, or the strong
//! machine's own rows. Visibility is decided here and nowhere else: an expired key is absent, what
//! a removal of the key or of a prefix has covered is absent, and a row of the score index counts
//! only if the member's cell agrees with it.
//!
//! Consistency within one query is the scan's business: hand a snapshot to queries that read more
//! than one row.
//!
//! Deliberately absent: writes that choose their members; [`lower()`] turns them into an `Op`.
//!
//! Long: one enumeration of every read, with what each field means.

use std::ops::Bound;

use bytes::Bytes;
use rhumb_types::{
    ErrorCode,
    record::{Cell, Head},
};
use serde::{Deserialize, Serialize};

use crate::{ClearedPrefixes, KeyType, op::OptionClash};

mod answer;
mod bounds;
mod hashes;
mod keys;
mod lower;
mod pick;
mod point;
mod sets;
mod sorted_sets;
mod view;

pub use answer::answer;
pub use bounds::{LexBound, parse_lex_bound, parse_score_bound};
pub use lower::{Choice, LOWERINGS_MAX, lower};
pub(crate) use point::look;

/// Most items in one reply.
pub const REPLY_ITEMS_MAX: usize = 1 << 20;
/// Most bytes of items in one reply.
pub const REPLY_BYTES_MAX: usize = 256 << 20;
/// Most rows that one page of a scan reads, however many its caller asks for.
pub const SCAN_ROWS_MAX: usize = 10_000;
/// Rows that a scan asks for at a time.
pub(crate) const PAGE_ROWS: usize = 512;
/// Most rows among which a random key, field or member is drawn. Of a larger collection, only the
/// first rows in byte order are candidates.
pub const RANDOM_ROWS_MAX: usize = 1 << 16;

/// Where cells are read from. Mirrors the store's reads; keys are those of [`crate::op::SPACE`].
pub trait CellScan {
    /// Why a read failed.
    type Error;

    /// A key's head.
    ///
    /// # Errors
    /// When the source fails; so for every read below.
    fn head(&self, key: &[u8]) -> Result<Option<Head>, Self::Error>;
    /// A member's cell.
    fn member(&self, key: &[u8], member: &[u8]) -> Result<Option<Cell>, Self::Error>;
    /// Members of a key in order of their bytes, after one, at most so many.
    fn members(
        &self,
        key: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Cell)>, Self::Error>;
    /// Rows of a sorted set's index in order of (score, member), or from the highest down. The
    /// index may hold rows that the cells no longer bear out.
    fn scores(&self, key: &[u8], span: &ScoreSpan) -> Result<Vec<(f64, Bytes)>, Self::Error>;
    /// Keys that start with a prefix in order of their bytes, after one, at most so many.
    fn keys(
        &self,
        prefix: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Head)>, Self::Error>;
    /// The removals of ranges of keys that are not yet swept.
    fn prefixes(&self) -> &ClearedPrefixes;
}

/// Which rows of a score index to read.
#[derive(Clone, PartialEq, Debug)]
pub struct ScoreSpan {
    /// The lowest score, included.
    pub min: f64,
    /// The highest score, included.
    pub max: f64,
    /// Start after this (score, member) in the direction of reading.
    pub after: Option<(f64, Bytes)>,
    /// Read from the highest down.
    pub reverse: bool,
    /// Read at most this many rows.
    pub limit: usize,
}

/// Why a query has no answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum QueryError<E> {
    /// The key holds another type.
    #[error("the key holds another type of value")]
    WrongType,
    /// The reply would exceed [`REPLY_ITEMS_MAX`] or [`REPLY_BYTES_MAX`].
    #[error("the reply would be too large: read it in pages")]
    TooLarge,
    /// Options that exclude each other.
    #[error("options exclude each other: {0}")]
    Options(OptionClash),
    /// The source failed.
    #[error("the rows could not be read")]
    Scan(#[source] E),
}

impl<E> QueryError<E> {
    /// What kind of failure it is; `None` for the source's own.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::WrongType => Some(ErrorCode::Conflict),
            Self::TooLarge | Self::Options(_) => Some(ErrorCode::Invalid),
            Self::Scan(_) => None,
        }
    }
}

/// In which form a time to live is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TtlForm {
    /// `TTL`: seconds left, rounded.
    SecondsLeft,
    /// `PTTL`: milliseconds left.
    MillisLeft,
    /// `EXPIRETIME`: Unix seconds.
    UnixSeconds,
    /// `PEXPIRETIME`: Unix milliseconds.
    UnixMillis,
}

/// How many random items to draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Sample {
    /// One, answered alone; `Nil` when there is none.
    One,
    /// So many distinct ones, or all when there are fewer; a positive count.
    Distinct(usize),
    /// Exactly so many, perhaps the same again; a negative count.
    Repeated(usize),
}

/// A part of a collection or of the key space, in byte order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cursor {
    /// Start after this row; from the first when `None`. Any bytes are valid.
    pub after: Option<Bytes>,
    /// `MATCH`: a glob pattern.
    pub pattern: Option<Bytes>,
    /// `COUNT`: how many rows to look at, at most [`SCAN_ROWS_MAX`].
    pub count: usize,
}

/// How a range of a sorted set is bounded. Bounds are from low to high, also when the range is
/// read in reverse; indices count in the direction of reading, negative ones from its end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ZBounds {
    /// By place, both included.
    Index {
        /// The first.
        start: i64,
        /// The last.
        stop: i64,
    },
    /// By score. Infinities are ordinary scores.
    Score {
        /// The lower bound.
        min: Bound<f64>,
        /// The upper bound.
        max: Bound<f64>,
    },
    /// By member, where all scores are equal.
    Lex {
        /// The lower bound.
        min: LexBound,
        /// The upper bound.
        max: LexBound,
    },
}

/// `LIMIT offset count`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limit {
    /// How many to leave out; a negative offset answers nothing.
    pub offset: i64,
    /// How many to give; a negative count is all.
    pub count: i64,
}

/// A range of a sorted set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ZRange {
    /// How it is bounded.
    pub bounds: ZBounds,
    /// `REV`: from the highest down.
    pub reverse: bool,
    /// `LIMIT`; not with an index.
    pub limit: Option<Limit>,
}

/// A read.
///
/// Replies are those of the Redis command of the same name unless said otherwise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// `GET`.
    Get {
        /// The key.
        key: Bytes,
    },
    /// `MGET`: keys of another type read as absent.
    MGet {
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// `STRLEN`.
    StrLen {
        /// The key.
        key: Bytes,
    },
    /// `GETRANGE`, `SUBSTR`.
    GetRange {
        /// The key.
        key: Bytes,
        /// The first byte; negative ones count from the end.
        start: i64,
        /// The last byte, included.
        end: i64,
    },
    /// `EXISTS`, `TOUCH`: counts a key as often as it is named.
    Exists {
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// `TYPE`.
    Type {
        /// The key.
        key: Bytes,
    },
    /// `TTL` and its kin: -2 when there is no key, -1 when it has no time to live.
    Ttl {
        /// The key.
        key: Bytes,
        /// In which form.
        form: TtlForm,
    },
    /// `HGET`.
    HGet {
        /// The key.
        key: Bytes,
        /// The field.
        field: Bytes,
    },
    /// `HMGET`.
    HMGet {
        /// The key.
        key: Bytes,
        /// The fields.
        fields: Vec<Bytes>,
    },
    /// `HGETALL`.
    HGetAll {
        /// The key.
        key: Bytes,
    },
    /// `HKEYS`.
    HKeys {
        /// The key.
        key: Bytes,
    },
    /// `HVALS`.
    HVals {
        /// The key.
        key: Bytes,
    },
    /// `HLEN`.
    HLen {
        /// The key.
        key: Bytes,
    },
    /// `HEXISTS`.
    HExists {
        /// The key.
        key: Bytes,
        /// The field.
        field: Bytes,
    },
    /// `HSTRLEN`.
    HStrLen {
        /// The key.
        key: Bytes,
        /// The field.
        field: Bytes,
    },
    /// `HSCAN`: fields and values in turn, or fields alone.
    HScan {
        /// The key.
        key: Bytes,
        /// Which part.
        cursor: Cursor,
        /// Whether values come along; `NOVALUES` when not.
        values: bool,
    },
    /// `HRANDFIELD`.
    HRandField {
        /// The key.
        key: Bytes,
        /// How many.
        sample: Sample,
        /// `WITHVALUES`.
        values: bool,
        /// What the choice is drawn from.
        seed: u64,
    },
    /// `SISMEMBER`.
    SIsMember {
        /// The key.
        key: Bytes,
        /// The member.
        member: Bytes,
    },
    /// `SMISMEMBER`.
    SMIsMember {
        /// The key.
        key: Bytes,
        /// The members.
        members: Vec<Bytes>,
    },
    /// `SMEMBERS`.
    SMembers {
        /// The key.
        key: Bytes,
    },
    /// `SCARD`.
    SCard {
        /// The key.
        key: Bytes,
    },
    /// `SSCAN`.
    SScan {
        /// The key.
        key: Bytes,
        /// Which part.
        cursor: Cursor,
    },
    /// `SRANDMEMBER`.
    SRandMember {
        /// The key.
        key: Bytes,
        /// How many.
        sample: Sample,
        /// What the choice is drawn from.
        seed: u64,
    },
    /// `SINTER`.
    SInter {
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// `SUNION`.
    SUnion {
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// `SDIFF`: the first without the others.
    SDiff {
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// `SINTERCARD`.
    SInterCard {
        /// The keys.
        keys: Vec<Bytes>,
        /// `LIMIT`: where to stop counting; 0 is no limit.
        limit: usize,
    },
    /// `ZSCORE`.
    ZScore {
        /// The key.
        key: Bytes,
        /// The member.
        member: Bytes,
    },
    /// `ZMSCORE`.
    ZMScore {
        /// The key.
        key: Bytes,
        /// The members.
        members: Vec<Bytes>,
    },
    /// `ZCARD`.
    ZCard {
        /// The key.
        key: Bytes,
    },
    /// `ZCOUNT`, `ZLEXCOUNT`.
    ZCount {
        /// The key.
        key: Bytes,
        /// Of what.
        bounds: ZBounds,
    },
    /// `ZRANGE` in all its forms, and its older names.
    ZRange {
        /// The key.
        key: Bytes,
        /// Which part.
        range: ZRange,
        /// `WITHSCORES`.
        scores: bool,
    },
    /// `ZRANK`, `ZREVRANK`.
    ZRank {
        /// The key.
        key: Bytes,
        /// The member.
        member: Bytes,
        /// From the highest down.
        reverse: bool,
        /// `WITHSCORE`: answers the rank and the score.
        score: bool,
    },
    /// `ZSCAN`: members and scores in turn.
    ZScan {
        /// The key.
        key: Bytes,
        /// Which part.
        cursor: Cursor,
    },
    /// `ZRANDMEMBER`.
    ZRandMember {
        /// The key.
        key: Bytes,
        /// How many.
        sample: Sample,
        /// `WITHSCORES`.
        scores: bool,
        /// What the choice is drawn from.
        seed: u64,
    },
    /// `SCAN`. A key that is there from the first page to the last is given exactly once.
    Scan {
        /// Which part.
        cursor: Cursor,
        /// `TYPE`.
        kind: Option<KeyType>,
    },
    /// `KEYS`.
    Keys {
        /// A glob pattern.
        pattern: Bytes,
    },
    /// `DBSIZE`: counts the visible keys, one by one.
    DbSize,
    /// `RANDOMKEY`.
    RandomKey {
        /// What the choice is drawn from.
        seed: u64,
    },
}

impl Query {
    /// The first key that the query names.
    #[must_use]
    pub fn first_key(&self) -> Option<Bytes> {
        let mut first = None;
        self.keys(&mut |key| {
            first.get_or_insert_with(|| key.clone());
        });
        first
    }

    /// Shows every key that the query names, in order; none for those over the key space.
    pub fn keys(&self, visit: &mut impl FnMut(&Bytes)) {
        match self {
            Self::MGet { keys }
            | Self::Exists { keys }
            | Self::SInter { keys }
            | Self::SUnion { keys }
            | Self::SDiff { keys }
            | Self::SInterCard { keys, .. } => keys.iter().for_each(visit),
            Self::Scan { .. } | Self::Keys { .. } | Self::DbSize | Self::RandomKey { .. } => {}
            Self::Get { key }
            | Self::StrLen { key }
            | Self::GetRange { key, .. }
            | Self::Type { key }
            | Self::Ttl { key, .. }
            | Self::HGet { key, .. }
            | Self::HMGet { key, .. }
            | Self::HGetAll { key }
            | Self::HKeys { key }
            | Self::HVals { key }
            | Self::HLen { key }
            | Self::HExists { key, .. }
            | Self::HStrLen { key, .. }
            | Self::HScan { key, .. }
            | Self::HRandField { key, .. }
            | Self::SIsMember { key, .. }
            | Self::SMIsMember { key, .. }
            | Self::SMembers { key }
            | Self::SCard { key }
            | Self::SScan { key, .. }
            | Self::SRandMember { key, .. }
            | Self::ZScore { key, .. }
            | Self::ZMScore { key, .. }
            | Self::ZCard { key }
            | Self::ZCount { key, .. }
            | Self::ZRange { key, .. }
            | Self::ZRank { key, .. }
            | Self::ZScan { key, .. }
            | Self::ZRandMember { key, .. } => visit(key),
        }
    }
}
