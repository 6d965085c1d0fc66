//! From a query to its reply.

use bytes::Bytes;
use rhumb_types::{UnixMillis, record::Kind};

use super::{
    CellScan, Query,
    view::{Answer, View},
};
use crate::reply::Reply;

/// Answers a query from a source, judging expiry at a time.
///
/// # Errors
/// [`super::QueryError`]: a wrong type, a reply past its bounds, options that exclude each other,
/// or a source that failed.
pub fn answer<S: CellScan>(query: &Query, now: UnixMillis, scan: &S) -> Answer<Reply, S> {
    let view = View { scan, now };
    Ok(match query {
        Query::Get { key } => Reply::maybe(view.string(key)?),
        Query::MGet { keys } => view.get_many(keys)?,
        Query::StrLen { key } => length(view.string(key)?),
        Query::GetRange { key, start, end } => view.get_range(key, *start, *end)?,
        Query::Exists { keys } => view.exists(keys)?,
        Query::Type { key } => view.key_type(key)?,
        Query::Ttl { key, form } => view.ttl(key, *form)?,
        Query::Scan { cursor, kind } => view.scan_keys(cursor, *kind)?,
        Query::Keys { pattern } => view.keys_matching(pattern)?,
        Query::DbSize => view.count_keys()?,
        Query::RandomKey { seed } => view.random_key(*seed)?,

        Query::HGet { key, field } => Reply::maybe(view.field(key, field)?),
        Query::HMGet { key, fields } => view.fields(key, fields)?,
        Query::HGetAll { key } => Reply::Map(view.all_fields(key)?),
        Query::HKeys { key } => array(view.all_fields(key)?.into_iter().map(|(field, _)| field)),
        Query::HVals { key } => array(view.all_fields(key)?.into_iter().map(|(_, value)| value)),
        Query::HLen { key } => view.cardinality(key, Kind::Hash)?,
        Query::HExists { key, field } => Reply::flag(view.field(key, field)?.is_some()),
        Query::HStrLen { key, field } => length(view.field(key, field)?),
        Query::HScan { key, cursor, values } => view.scan_hash(key, cursor, *values)?,
        Query::HRandField { key, sample, values, seed } => {
            view.random_fields(key, *sample, *values, *seed)?
        }

        Query::SIsMember { key, member } => Reply::flag(view.is_member(key, member)?),
        Query::SMIsMember { key, members } => view.are_members(key, members)?,
        Query::SMembers { key } => view.all_members(key)?,
        Query::SCard { key } => view.cardinality(key, Kind::Set)?,
        Query::SScan { key, cursor } => view.scan_set(key, cursor)?,
        Query::SRandMember { key, sample, seed } => view.random_members(key, *sample, *seed)?,
        Query::SInter { keys } => Reply::Set(view.intersection(keys, 0)?),
        Query::SUnion { keys } => view.union(keys)?,
        Query::SDiff { keys } => view.difference(keys)?,
        Query::SInterCard { keys, limit } => Reply::count(view.intersection(keys, *limit)?.len()),

        Query::ZScore { key, member } => {
            view.score_of(key, member)?.map_or(Reply::Nil, Reply::Float)
        }
        Query::ZMScore { key, members } => view.scores_of(key, members)?,
        Query::ZCard { key } => view.cardinality(key, Kind::SortedSet)?,
        Query::ZCount { key, bounds } => view.count_within(key, bounds)?,
        Query::ZRange { key, range, scores } => view.z_range(key, range, *scores)?,
        Query::ZRank { key, member, reverse, score } => view.rank(key, member, *reverse, *score)?,
        Query::ZScan { key, cursor } => view.scan_sorted_set(key, cursor)?,
        Query::ZRandMember { key, sample, scores, seed } => {
            view.random_scored(key, *sample, *scores, *seed)?
        }
    })
}

fn length(value: Option<Bytes>) -> Reply {
    Reply::count(value.map_or(0, |value| value.len()))
}

fn array(items: impl Iterator<Item = Bytes>) -> Reply {
    Reply::Array(items.map(Reply::Bytes).collect())
}
