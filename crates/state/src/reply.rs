//! What an operation or a query answers, in no protocol's words.
//!
//! Servers render a [`Reply`]: RESP2 flattens maps and pairs and prints floats, RESP3 has words
//! for most of them, HTTP makes JSON.

use bytes::Bytes;
use rhumb_types::record::Kind;
use serde::{Deserialize, Serialize};

use crate::{KeyType, op::OpError};

/// An answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done, with nothing to tell.
    Ok,
    /// Nothing there, or a condition that did not hold.
    Nil,
    /// A count, or an integer's value.
    Int(i64),
    /// A score.
    Float(f64),
    /// A value, a field or a member.
    Bytes(Bytes),
    /// A key's type, see [`type_name`].
    Type(Option<KeyType>),
    /// Replies in order.
    Array(Vec<Reply>),
    /// Fields with values; a map in RESP3, flat in RESP2.
    Map(Vec<(Bytes, Bytes)>),
    /// Distinct members; a set in RESP3, an array in RESP2.
    Set(Vec<Bytes>),
    /// Things in pairs, such as members with scores; nested in RESP3, flat in RESP2.
    Pairs(Vec<(Bytes, Reply)>),
    /// One page of a scan.
    Page(Page),
    /// What went wrong with one operation among several.
    Error(OpError),
}

impl Reply {
    /// A count. Counts are bounded by memory, so they fit.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// One for yes, zero for no.
    #[must_use]
    pub const fn flag(yes: bool) -> Self {
        Self::Int(if yes { 1 } else { 0 })
    }

    /// A value that may be absent.
    #[must_use]
    pub fn maybe(value: Option<Bytes>) -> Self {
        value.map_or(Self::Nil, Self::Bytes)
    }
}

/// The reply of a command that became several operations: their counts add up.
#[must_use]
pub fn together(replies: Vec<Reply>) -> Reply {
    let mut replies = replies.into_iter();
    let Some(first) = replies.next() else { return Reply::Int(0) };
    replies.fold(first, |sum, reply| match (sum, reply) {
        (Reply::Int(sum), Reply::Int(more)) => Reply::Int(sum.saturating_add(more)),
        (Reply::Error(error), _) | (_, Reply::Error(error)) => Reply::Error(error),
        (sum, _) => sum,
    })
}

/// One page of a scan, and where the next one starts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The row after which the next page starts, as long as a key or a member at most; `None`
    /// when the scan is complete. Redis clients expect a decimal cursor: the server keeps the
    /// translation.
    pub next: Option<Bytes>,
    /// Keys, members, or fields and values in turn.
    pub items: Vec<Bytes>,
}

/// The name that `TYPE` answers; `none` for a key that is not there.
#[must_use]
pub const fn type_name(kind: Option<KeyType>) -> &'static str {
    match kind {
        None => "none",
        Some(KeyType::String) => "string",
        Some(KeyType::Collection(Kind::Hash)) => "hash",
        Some(KeyType::Collection(Kind::Set)) => "set",
        Some(KeyType::Collection(Kind::SortedSet)) => "zset",
    }
}

/// Reads a type's name, in any case, as `SCAN ... TYPE` takes it.
#[must_use]
pub fn parse_type_name(name: &[u8]) -> Option<KeyType> {
    let kinds = [Kind::Hash, Kind::Set, Kind::SortedSet].map(KeyType::Collection);
    kinds
        .into_iter()
        .chain([KeyType::String])
        .find(|kind| name.eq_ignore_ascii_case(type_name(Some(*kind)).as_bytes()))
}
