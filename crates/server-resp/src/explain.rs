//! `RHUMB.WHY` and `RHUMB.CONFLICTS`: what decides about a key, which writes are behind it, and what
//! lost against them.

use bytes::Bytes;
use rhumb_engine::RoutingError;
use rhumb_regions::{Key, Request};
use rhumb_resp::Frame;
use rhumb_state::{
    CellScan, ConflictEntry, ConflictKind, KeyType, NamespacePolicy, number::parse_int,
    reply::type_name, visible,
};
use rhumb_types::{
    AckLevel, Consistency, DomainId, Hlc, OriginId, RegionId,
    record::{Dot, Field, Head, Record, Value},
};

use crate::{command::CommandError, connection::Connection, render};

/// How many conflicts are told when no number is given, and at most.
const CONFLICTS_TOLD: usize = 10;
const CONFLICTS_TOLD_MAX: usize = 1_000;
/// Most writes of a key that are told.
const WRITES_TOLD_MAX: usize = 64;

impl Connection {
    pub(crate) async fn why(&mut self, key: &Bytes) {
        let told = self.explained(key).await;
        match told {
            Ok(pairs) => self.writer().frame(&Frame::Map(pairs)),
            Err(error) => self.writer().error(&error),
        }
    }

    async fn explained(&self, key: &Bytes) -> Result<Vec<(Frame, Frame)>, String> {
        let engine = &self.shared.engine;
        let policy = engine.policy(key);
        let mut told = vec![pair("namespace", Frame::Map(self.namespace(policy)))];
        let route = Frame::Map(self.route(key, policy.domain));
        told.push(pair("route", route));
        if policy.consistency == Consistency::Strong {
            let client = engine.strong().ok_or("UNAVAILABLE the control plane is not running")?;
            let versions = client.versions(vec![key.clone()]).await;
            let versions = versions.map_err(|error| render::strong_error(&error))?;
            told.push(pair("version", number(versions.first().copied().unwrap_or(0))));
            return Ok(told);
        }
        let head = engine.reader().head(key).map_err(|error| format!("MISCONF {error}"))?;
        let head = head.unwrap_or_default();
        let now = engine.clock().now().wall;
        told.push(pair("type", text(type_name(visible::present(&head, now)))));
        let ends = visible::expiry(&head.cell).map_or(Frame::Null, |at| number(at.0));
        told.push(pair("expires_unix_ms", ends));
        told.push(pair("writes", Frame::Array(self.writes(&head)?)));
        Ok(told)
    }

    fn namespace(&self, policy: &NamespacePolicy) -> Vec<(Frame, Frame)> {
        let consistency = match policy.consistency {
            Consistency::Eventual => "eventual",
            Consistency::Session => "session",
            Consistency::Strong => "strong",
            Consistency::Cache => "cache",
        };
        let ack = match policy.ack {
            AckLevel::Memory => "memory",
            AckLevel::Local => "local",
            AckLevel::OneRemote => "one_remote",
            AckLevel::Quorum => "quorum",
        };
        let engine = &self.shared.engine;
        let ttl = policy.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let residency = engine.tags(policy.domain).into_iter();
        let residency = residency.map(|tag| text(tag.as_ref())).collect();
        vec![
            pair("consistency", text(consistency)),
            pair("ack", text(ack)),
            pair("ttl_ms", ttl.map_or(Frame::Null, number)),
            pair("domain", number(u64::from(policy.domain.0))),
            pair("residency", Frame::Array(residency)),
            pair("carriers", names(&engine.carriers(policy.domain))),
            pair("here", number(u64::from(engine.carries(policy.domain)))),
        ]
    }

    /// The same that `GET /v1/route` and `rhumb route` tell.
    fn route(&self, key: &Bytes, domain: DomainId) -> Vec<(Frame, Frame)> {
        let engine = &self.shared.engine;
        let (key, residency) = (Key::new(key), engine.tags(domain));
        let request = Request { key, residency: &residency, ..Request::default() };
        let decided = || -> Result<_, RoutingError> {
            Ok((engine.plan(&request)?, engine.seat(&key, &residency)?))
        };
        let (plan, seat) = match decided() {
            Ok(decided) => decided,
            Err(error) => return vec![pair("error", text(&error.to_string()))],
        };
        let reasons = plan.reasons.iter().map(|reason| text(reason)).collect();
        vec![
            pair("home", name(&seat.home)),
            pair("acting", seat.acting.as_ref().map_or(Frame::Null, name)),
            pair("epoch", seat.epoch.map_or(Frame::Null, |epoch| number(epoch.0))),
            pair("regions", names(&plan.regions)),
            pair("reasons", Frame::Array(reasons)),
            pair("panic", number(u64::from(plan.panic))),
            pair("version", number(plan.version)),
        ]
    }

    /// Every write that the key's head is made of: its value, or that it is a collection, and what
    /// regions have added to it.
    fn writes(&self, head: &Head) -> Result<Vec<Frame>, String> {
        let entries = head.cell.entries.iter().map(|entry| ("set", entry.dot, Some(entry.hlc)));
        let deltas = head
            .cell
            .deltas
            .iter()
            .map(|delta| ("added", Dot { origin: delta.origin, version: delta.version }, None));
        let told = entries.chain(deltas).take(WRITES_TOLD_MAX);
        told.map(|(what, dot, stamp)| self.write(what, dot, stamp)).collect()
    }

    fn write(&self, what: &str, dot: Dot, stamp: Option<Hlc>) -> Result<Frame, String> {
        let region = self.origin(dot.origin)?;
        let at = stamp.map_or(Frame::Null, |stamp| number(stamp.millis().0));
        Ok(Frame::Map(vec![
            pair("what", text(what)),
            pair("region", region.as_ref().map_or(Frame::Null, name)),
            pair("origin", text(&dot.origin.to_string())),
            pair("version", number(dot.version)),
            pair("unix_ms", at),
        ]))
    }

    /// The newest entries of the conflict journal.
    pub(crate) fn conflicts(&mut self, count: Option<&Bytes>) -> Result<(), CommandError> {
        let count = match count {
            Some(word) => parse_int(word)
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(CommandError::NotAnInteger)?,
            None => CONFLICTS_TOLD,
        };
        let rows = self.shared.engine.reader().store().conflicts(count.min(CONFLICTS_TOLD_MAX));
        let told = rows.map_err(|error| format!("MISCONF {error}")).and_then(|rows| {
            let told = rows.iter().map(|(sequence, bytes)| self.conflict(*sequence, bytes));
            told.filter_map(Result::transpose).collect()
        });
        match told {
            Ok(told) => self.writer().frame(&Frame::Array(told)),
            Err(error) => self.writer().error(&error),
        }
        Ok(())
    }

    /// An entry; none of a key that the user may not touch.
    fn conflict(&self, sequence: u64, bytes: &Bytes) -> Result<Option<Frame>, String> {
        let entry = ConflictEntry::decode(bytes).map_err(|error| format!("MISCONF {error}"))?;
        if !self.may_touch(&entry.cell.key) {
            return Ok(None);
        }
        let field = match entry.cell.field {
            Field::Head => Frame::Null,
            Field::Member(member) => Frame::Bulk(member),
        };
        let kind = match entry.kind {
            ConflictKind::ConcurrentWrite => "concurrent_write",
            ConflictKind::TypeConflict => "type_conflict",
            ConflictKind::ConcurrentRemove => "concurrent_remove",
        };
        let value = match entry.loser_value {
            Some(Value::Bytes(bytes)) => Frame::Bulk(bytes),
            Some(Value::Score(score)) => Frame::Double(score),
            Some(Value::Kind(kind)) => text(type_name(Some(KeyType::Collection(kind)))),
            Some(Value::Unit | Value::Decided(_)) | None => Frame::Null,
        };
        let (read, lost) = (entry.winner_stamp.hlc, entry.loser_stamp.hlc);
        Ok(Some(Frame::Map(vec![
            pair("sequence", number(sequence)),
            pair("key", Frame::Bulk(entry.cell.key)),
            pair("field", field),
            pair("kind", text(kind)),
            pair("read", self.write("set", entry.winner, Some(read))?),
            pair("lost", self.write("set", entry.loser, Some(lost))?),
            pair("lost_value", value),
        ])))
    }

    fn origin(&self, origin: OriginId) -> Result<Option<RegionId>, String> {
        self.shared.engine.region_of(origin).map_err(|error| format!("MISCONF {error}"))
    }
}

fn text(text: &str) -> Frame {
    Frame::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

fn pair(name: &str, value: Frame) -> (Frame, Frame) {
    (text(name), value)
}

fn number(number: u64) -> Frame {
    Frame::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn name(region: &RegionId) -> Frame {
    text(region.as_str())
}

fn names(regions: &[RegionId]) -> Frame {
    Frame::Array(regions.iter().map(name).collect())
}
