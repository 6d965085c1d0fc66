//! Typed write operations, with the semantics of Redis.
//!
//! A server parses a command into an [`Op`] on concrete keys and members, so that the rows that
//! its evaluation needs are known beforehand ([`Op::rows`]). Commands that choose members
//! themselves (`SPOP`, `ZPOPMIN`, `ZREMRANGEBYSCORE`, ...) are *lowered* to explicit members by
//! [`crate::query::lower()`] and checked again when they are executed.
//!
//! Evaluation is [`crate::execute()`]. All but one act on [`SPACE`].
//!
//! Commands that are an `Op` in other words: `SETNX`, `SETEX`, `PSETEX`, `GETSET` are
//! [`Op::Set`]; `DECRBY` is [`Op::IncrBy`] with a negated amount; `UNLINK` is [`Op::Del`];
//! `HMSET` is [`Op::HSet`]; `ZINCRBY` is [`Op::ZIncrBy`]; `FLUSHALL` is [`Op::FlushDb`].

use std::time::Duration;

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{Dot, Space, Term},
};
use serde::{Deserialize, Serialize};

use crate::{Query, RowRef, draft::DRAFT_BYTES_MAX};

mod error;
mod words;

pub use error::{OpError, OptionClash};
pub use rhumb_types::record::ROW_BYTES_MAX;
pub use words::{
    Deadline, ExpireWhen, GetExpiry, Presence, Prolong, ScoreWhen, SetExpiry, ZAddWhen,
};

/// The view that operations and queries act on, except those that name one.
pub const SPACE: Space = Space::USER;
/// Most bytes that one operation may bring to a transaction.
pub const OP_BYTES_MAX: usize = DRAFT_BYTES_MAX;
/// Longest value, in bytes: leaves room for the longest name.
pub const VALUE_BYTES_MAX: usize = OP_BYTES_MAX - 2 * ROW_BYTES_MAX;
/// Most keys or members that one operation may name.
pub const OP_ROWS_MAX: usize = 4_096;
/// The latest expiry, in milliseconds since the epoch (the year 10889; the clock's 48 bits).
pub const EXPIRY_MAX: UnixMillis = UnixMillis((1 << 48) - 1);

/// A write operation.
///
/// Replies are those of the Redis command of the same name unless said otherwise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// `SET`. Answers `Ok`, or `Nil` when the condition does not hold; with `get`, the old value
    /// or `Nil` (and the old value must be a string).
    Set {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// `NX` or `XX`.
        when: Presence,
        /// `GET`.
        get: bool,
        /// The time to live.
        expiry: SetExpiry,
    },
    /// `MSET`: in order; a later pair of the same key wins.
    MSet {
        /// Keys with values.
        pairs: Vec<(Bytes, Bytes)>,
    },
    /// `MSETNX`: all or, when any key is present, none. Answers 1 or 0.
    MSetNx {
        /// Keys with values.
        pairs: Vec<(Bytes, Bytes)>,
    },
    /// `GETDEL`.
    GetDel {
        /// The key.
        key: Bytes,
    },
    /// `GETEX` with an option.
    GetEx {
        /// The key.
        key: Bytes,
        /// The time to live.
        expiry: GetExpiry,
    },
    /// `APPEND`. Turns a counter into plain bytes.
    Append {
        /// The key.
        key: Bytes,
        /// What to append.
        value: Bytes,
    },
    /// `SETRANGE`. Turns a counter into plain bytes.
    SetRange {
        /// The key.
        key: Bytes,
        /// Where to write, in bytes.
        offset: u64,
        /// What to write.
        value: Bytes,
    },
    /// `INCR`, `DECR`, `INCRBY`, `DECRBY`.
    IncrBy {
        /// The key.
        key: Bytes,
        /// How much.
        by: i64,
    },
    /// `INCRBYFLOAT`. Answers the new value as bytes.
    IncrByFloat {
        /// The key.
        key: Bytes,
        /// How much.
        by: f64,
    },
    /// `DEL`, `UNLINK`.
    Del {
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// `EXPIRE`, `PEXPIRE`, `EXPIREAT`, `PEXPIREAT`.
    Expire {
        /// The key.
        key: Bytes,
        /// When it ends.
        deadline: Deadline,
        /// Under which condition.
        when: ExpireWhen,
    },
    /// `PERSIST`.
    Persist {
        /// The key.
        key: Bytes,
    },
    /// `HSET`. Answers how many fields are new.
    HSet {
        /// The key.
        key: Bytes,
        /// Fields with values.
        pairs: Vec<(Bytes, Bytes)>,
    },
    /// `HSETNX`.
    HSetNx {
        /// The key.
        key: Bytes,
        /// The field.
        field: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// `HDEL`.
    HDel {
        /// The key.
        key: Bytes,
        /// The fields.
        fields: Vec<Bytes>,
    },
    /// `HINCRBY`.
    HIncrBy {
        /// The key.
        key: Bytes,
        /// The field.
        field: Bytes,
        /// How much.
        by: i64,
    },
    /// `HINCRBYFLOAT`. Answers the new value as bytes.
    HIncrByFloat {
        /// The key.
        key: Bytes,
        /// The field.
        field: Bytes,
        /// How much.
        by: f64,
    },
    /// `SADD`.
    SAdd {
        /// The key.
        key: Bytes,
        /// The members.
        members: Vec<Bytes>,
    },
    /// `SREM`.
    SRem {
        /// The key.
        key: Bytes,
        /// The members.
        members: Vec<Bytes>,
    },
    /// `SMOVE`.
    SMove {
        /// From where.
        source: Bytes,
        /// To where.
        destination: Bytes,
        /// What.
        member: Bytes,
    },
    /// `SPOP`, lowered: removes the first `count` of the candidates that are still members, and
    /// answers them as an array. [`OpError::Stale`] when too few are left of the candidates but
    /// not of the set.
    SPop {
        /// The key.
        key: Bytes,
        /// Members in the order in which they are tried; more than `count`, as spares.
        candidates: Vec<Bytes>,
        /// How many to remove.
        count: usize,
    },
    /// `ZADD` without `INCR`.
    ZAdd {
        /// The key.
        key: Bytes,
        /// Members with their scores; never NaN.
        pairs: Vec<(Bytes, f64)>,
        /// `NX`, `XX`, `GT`, `LT`.
        when: ZAddWhen,
        /// `CH`: answer how many changed, not how many are new.
        changed: bool,
    },
    /// `ZINCRBY`, `ZADD ... INCR`. Answers the new score, or `Nil` when a condition does not hold.
    ZIncrBy {
        /// The key.
        key: Bytes,
        /// The member.
        member: Bytes,
        /// How much.
        by: f64,
        /// `NX`, `XX`, `GT`, `LT`.
        when: ZAddWhen,
    },
    /// `ZREM`.
    ZRem {
        /// The key.
        key: Bytes,
        /// The members.
        members: Vec<Bytes>,
    },
    /// `ZREMRANGEBYSCORE`, `ZREMRANGEBYLEX`, `ZREMRANGEBYRANK`, lowered: removes those members
    /// whose score is still the one given. Answers how many. A member that came into the range
    /// after it was read stays, as if it had come after the removal.
    ZRemScored {
        /// The key.
        key: Bytes,
        /// Members with the scores that they had.
        members: Vec<(Bytes, f64)>,
    },
    /// `ZPOPMIN`, `ZPOPMAX`, lowered: removes the first `count` of the candidates whose score is
    /// still the one given, and answers them with their scores. [`OpError::Stale`] as for
    /// [`Op::SPop`]. A member that came below the candidates after they were read stays.
    ZPop {
        /// The key.
        key: Bytes,
        /// Members with the scores that they had, in order; more than `count`, as spares.
        candidates: Vec<(Bytes, f64)>,
        /// How many to remove.
        count: usize,
    },
    /// `FLUSHDB`, `FLUSHALL`.
    FlushDb,
    /// The release of a lock: deletes the key if its value is the one expected. Answers 1 or 0.
    CompareAndDelete {
        /// The key.
        key: Bytes,
        /// The value that the caller believes to be there.
        expected: Bytes,
    },
    /// The prolonging of a lock: sets the time to live if the value is the one expected. Answers
    /// 1 or 0.
    CompareAndExpire {
        /// The key.
        key: Bytes,
        /// The value that the caller believes to be there.
        expected: Bytes,
        /// The new time to live.
        ttl: Prolong,
    },
    /// Rows of a view of Rhumb's own, each a string: writes all of them, or removes those without a
    /// value, if each of those named is as expected, or absent as expected. Answers 1 or 0.
    CompareSet {
        /// The view; not that of users.
        space: Space,
        /// What the caller believes to be there; rows that are only written need no mention.
        expected: Vec<(Bytes, Option<Bytes>)>,
        /// What is to be there.
        pairs: Vec<(Bytes, Option<Bytes>)>,
    },
    /// The same by who decides about some of the rows (rule 10): they hold it as decided in a term,
    /// also that there is none. Answers 0 too where one of them was decided about in a later term.
    Decide {
        /// The view; not that of users.
        space: Space,
        /// Under what.
        term: Term,
        /// What the caller believes to be there.
        expected: Vec<(Bytes, Option<Bytes>)>,
        /// What is decided.
        decided: Vec<(Bytes, Option<Bytes>)>,
        /// What rows that nobody decides about are to hold.
        pairs: Vec<(Bytes, Option<Bytes>)>,
    },
    /// Takes away that a row was decided not to be there, if nothing else is in it. Only once nothing
    /// can arrive that was decided in an earlier term. Answers 1 or 0.
    Forget {
        /// The view; not that of users.
        space: Space,
        /// The row.
        key: Bytes,
        /// Which decision.
        decision: Dot,
    },
    /// A point read in order with the writes around it; see [`Query::is_point`]. Of the machine
    /// that executes it alone: it is never sent and never agreed.
    Look {
        /// What is read.
        query: Query,
    },
}

impl Op {
    /// Shows every row that the evaluation reads or edits; the same row may come twice.
    pub fn rows(&self, visit: &mut impl FnMut(RowRef<'_>)) {
        self.keys(&mut |key| visit(RowRef::Head(SPACE, key)));
        let mut show = |key: &Bytes, member: &Bytes| visit(RowRef::Member(SPACE, key, member));
        match self {
            Self::HSet { key, pairs } => pairs.iter().for_each(|(field, _)| show(key, field)),
            Self::HSetNx { key, field, .. }
            | Self::HIncrBy { key, field, .. }
            | Self::HIncrByFloat { key, field, .. } => show(key, field),
            Self::HDel { key, fields: members }
            | Self::SAdd { key, members }
            | Self::SRem { key, members }
            | Self::SPop { key, candidates: members, .. }
            | Self::ZRem { key, members } => members.iter().for_each(|member| show(key, member)),
            Self::SMove { source, destination, member } => {
                show(source, member);
                show(destination, member);
            }
            Self::ZAdd { key, pairs, .. } => pairs.iter().for_each(|(member, _)| show(key, member)),
            Self::ZIncrBy { key, member, .. } => show(key, member),
            Self::ZRemScored { key, members } | Self::ZPop { key, candidates: members, .. } => {
                members.iter().for_each(|(member, _)| show(key, member));
            }
            Self::Look { query } => query.members(&mut show),
            Self::CompareSet { space, expected, pairs } => {
                let all = expected.iter().chain(pairs);
                all.for_each(|(key, _)| visit(RowRef::Head(*space, key)));
            }
            Self::Decide { space, expected, decided, pairs, .. } => {
                let all = expected.iter().chain(decided).chain(pairs);
                all.for_each(|(key, _)| visit(RowRef::Head(*space, key)));
            }
            Self::Forget { space, key, .. } => visit(RowRef::Head(*space, key)),
            _ => {}
        }
    }

    /// Whether it writes keys as a whole and names no time to live for them, where they are
    /// present, or absent.
    #[must_use]
    pub const fn sets_anew(&self, present: bool) -> bool {
        match self {
            Self::Set { when, expiry: SetExpiry::Clear, .. } => when.allows(present),
            Self::MSet { .. } => true,
            _ => false,
        }
    }

    /// The same with a time to live, where it is a write that names none: for machines that keep
    /// no times of their own.
    #[must_use]
    pub fn or_ttl(mut self, ttl: Option<Duration>) -> Self {
        if let (Self::Set { expiry: expiry @ SetExpiry::Clear, .. }, Some(ttl)) = (&mut self, ttl) {
            *expiry = SetExpiry::Until(Deadline::after(ttl));
        }
        self
    }

    /// Shows every key of users that the operation names, in order; none for [`Op::FlushDb`] and
    /// those on views of Rhumb's own.
    pub fn keys(&self, visit: &mut impl FnMut(&Bytes)) {
        match self {
            Self::MSet { pairs } | Self::MSetNx { pairs } => {
                pairs.iter().for_each(|(key, _)| visit(key));
            }
            Self::Del { keys } => keys.iter().for_each(visit),
            Self::SMove { source, destination, .. } => {
                visit(source);
                visit(destination);
            }
            Self::FlushDb | Self::CompareSet { .. } | Self::Decide { .. } | Self::Forget { .. } => {
            }
            Self::Look { query } => query.keys(visit),
            Self::Set { key, .. }
            | Self::GetDel { key }
            | Self::GetEx { key, .. }
            | Self::Append { key, .. }
            | Self::SetRange { key, .. }
            | Self::IncrBy { key, .. }
            | Self::IncrByFloat { key, .. }
            | Self::Expire { key, .. }
            | Self::Persist { key }
            | Self::HSet { key, .. }
            | Self::HSetNx { key, .. }
            | Self::HDel { key, .. }
            | Self::HIncrBy { key, .. }
            | Self::HIncrByFloat { key, .. }
            | Self::SAdd { key, .. }
            | Self::SRem { key, .. }
            | Self::SPop { key, .. }
            | Self::ZAdd { key, .. }
            | Self::ZIncrBy { key, .. }
            | Self::ZRem { key, .. }
            | Self::ZRemScored { key, .. }
            | Self::ZPop { key, .. }
            | Self::CompareAndDelete { key, .. }
            | Self::CompareAndExpire { key, .. } => visit(key),
        }
    }

    /// The first key that the operation names.
    #[must_use]
    pub fn first_key(&self) -> Option<Bytes> {
        let mut first = None;
        self.keys(&mut |key| {
            first.get_or_insert_with(|| key.clone());
        });
        first
    }

    /// How many bytes of values it carries, beside the names of its rows.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Set { value, .. }
            | Self::Append { value, .. }
            | Self::SetRange { value, .. }
            | Self::HSetNx { value, .. } => value.len(),
            Self::MSet { pairs } | Self::MSetNx { pairs } | Self::HSet { pairs, .. } => {
                pairs.iter().map(|(_, value)| value.len()).sum()
            }
            Self::CompareSet { expected, pairs, .. } => {
                let values = expected.iter().chain(pairs).filter_map(|(_, value)| value.as_ref());
                values.map(Bytes::len).sum()
            }
            Self::Decide { expected, decided, pairs, .. } => {
                let all = expected.iter().chain(decided).chain(pairs);
                all.filter_map(|(_, value)| value.as_ref()).map(Bytes::len).sum()
            }
            _ => 0,
        }
    }

    /// Whether a strong namespace takes the operation. `FLUSHDB` is not one of a namespace, and reads
    /// are steps of their own there. Rhumb's own views are not in it.
    #[must_use]
    pub const fn is_allowed_strong(&self) -> bool {
        !matches!(
            self,
            Self::FlushDb
                | Self::Look { .. }
                | Self::CompareSet { .. }
                | Self::Decide { .. }
                | Self::Forget { .. }
        )
    }
}
