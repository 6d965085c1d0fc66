//! Protobuf as the port's messages: what is parsed here is checked once and for all.

use bytes::Bytes;
use prost::Message;
use rhumb_ports::peer::{
    Heartbeat, HeartbeatReply, Hello, LogBatch, OriginInfo, PeerMessage, Published, SnapshotChunk,
    SnapshotKey,
};
use rhumb_types::{
    ClusterId, Hlc, NodeId, OriginId, RegionId, UnixMillis,
    record::{Dot, OwnedRow, Record, Space, VersionVector},
};

use super::{WireError, region};
use crate::{
    limits::VECTOR_ORIGINS_MAX,
    pb::{self, Kind},
};

pub(super) fn decode(kind: Kind, payload: Bytes) -> Result<PeerMessage, WireError> {
    match kind {
        Kind::Unspecified => Err(WireError::Unknown { kind: u32::from(kind), version: 0 }),
        Kind::Hello => hello(pb::Hello::decode(payload)?).map(PeerMessage::Hello),
        Kind::Heartbeat => heartbeat(pb::Heartbeat::decode(payload)?).map(PeerMessage::Heartbeat),
        Kind::HeartbeatReply => {
            let reply = pb::HeartbeatReply::decode(payload)?;
            let wall = UnixMillis(reply.wall_unix_millis);
            Ok(PeerMessage::HeartbeatReply(HeartbeatReply { sequence: reply.sequence, wall }))
        }
        Kind::Follow => {
            let follow = pb::Follow::decode(payload)?;
            Ok(PeerMessage::Follow { origin: OriginId(follow.origin), after: follow.after })
        }
        Kind::Unfollow => {
            let unfollow = pb::Unfollow::decode(payload)?;
            Ok(PeerMessage::Unfollow { origin: OriginId(unfollow.origin) })
        }
        Kind::Log => log(pb::LogBatch::decode(payload)?).map(PeerMessage::Log),
        Kind::Ack => {
            let ack = pb::Ack::decode(payload)?;
            Ok(PeerMessage::Ack { durable: vector(ack.durable)? })
        }
        Kind::Trimmed => {
            let trimmed = pb::Trimmed::decode(payload)?;
            Ok(PeerMessage::Trimmed { origin: OriginId(trimmed.origin), first: trimmed.first })
        }
        Kind::SnapshotPull => {
            let pull = pb::SnapshotPull::decode(payload)?;
            Ok(PeerMessage::SnapshotPull { transfer: pull.transfer, after: place(pull.after)? })
        }
        Kind::Snapshot => snapshot(pb::SnapshotChunk::decode(payload)?).map(PeerMessage::Snapshot),
        Kind::Publish => Ok(PeerMessage::Publish(published(pb::Published::decode(payload)?))),
    }
}

fn vector(wire: Option<pb::Vector>) -> Result<VersionVector, WireError> {
    let versions = wire.unwrap_or_default().versions;
    if versions.len() > VECTOR_ORIGINS_MAX {
        let reason =
            format!("a vector of {} origins, at most {VECTOR_ORIGINS_MAX}", versions.len());
        return Err(WireError::Damaged(reason));
    }
    Ok(versions.into_iter().map(|pair| (OriginId(pair.origin), pair.version)).collect())
}

fn regions(names: &[String]) -> Result<Vec<RegionId>, WireError> {
    names.iter().map(|name| region(name)).collect()
}

fn space(number: u32) -> Result<Space, WireError> {
    u8::try_from(number)
        .map(Space)
        .map_err(|_| WireError::Damaged(format!("{number} is not a space")))
}

fn origin(wire: &pb::OriginInfo) -> Result<OriginInfo, WireError> {
    Ok(OriginInfo {
        origin: OriginId(wire.origin),
        region: region(&wire.region)?,
        minted: Hlc(wire.minted_hlc),
    })
}

fn hello(wire: pb::Hello) -> Result<Hello, WireError> {
    let protocol = u16::try_from(wire.protocol)
        .map_err(|_| WireError::Damaged(format!("{} is not a version", wire.protocol)))?;
    Ok(Hello {
        protocol,
        cluster: ClusterId(wire.cluster),
        node: NodeId(wire.node),
        region: region(&wire.region)?,
        witness: wire.witness,
        durable: vector(wire.durable)?,
        origins: wire.origins.iter().map(origin).collect::<Result<_, _>>()?,
        wall: UnixMillis(wire.wall_unix_millis),
        namespaces: wire.namespaces,
        received: vector(wire.received)?,
    })
}

fn heartbeat(wire: pb::Heartbeat) -> Result<Heartbeat, WireError> {
    if !(0.0..=1.0).contains(&wire.load) {
        return Err(WireError::Damaged(format!("{} is not a load from 0 to 1", wire.load)));
    }
    Ok(Heartbeat {
        sequence: wire.sequence,
        wall: UnixMillis(wire.wall_unix_millis),
        heads: vector(wire.heads)?,
        durable: vector(wire.durable)?,
        load: wire.load,
        serving: wire.serving,
        impaired: wire.impaired,
        hears: regions(&wire.hears)?,
    })
}

fn log(wire: pb::LogBatch) -> Result<LogBatch, WireError> {
    let last = wire.first.checked_add(wire.transactions.len() as u64);
    if wire.first == 0 || last.is_none() {
        let reason = format!("versions start at 1 and stay below 2^64, not at {}", wire.first);
        return Err(WireError::Damaged(reason));
    }
    Ok(LogBatch {
        origin: OriginId(wire.origin),
        first: wire.first,
        transactions: wire.transactions,
        head: wire.head,
    })
}

fn place(wire: Option<pb::KeyPlace>) -> Result<Option<(Space, Bytes)>, WireError> {
    wire.map(|place| Ok((space(place.space)?, place.key))).transpose()
}

fn record<R: Record>(bytes: &[u8]) -> Result<R, WireError> {
    R::decode(bytes).map_err(|error| WireError::record(Kind::Snapshot, &error))
}

fn snapshot(wire: pb::SnapshotChunk) -> Result<SnapshotChunk, WireError> {
    let owned: Result<Vec<OwnedRow>, _> = wire.owned.iter().map(|row| record(row)).collect();
    Ok(SnapshotChunk {
        transfer: wire.transfer,
        vector: vector(wire.vector)?,
        origins: wire.origins.iter().map(origin).collect::<Result<_, _>>()?,
        after: place(wire.after)?,
        through: place(wire.through)?,
        keys: wire.keys.into_iter().map(key).collect::<Result<_, _>>()?,
        owned: owned?,
    })
}

fn key(wire: pb::SnapshotKey) -> Result<SnapshotKey, WireError> {
    let members: Result<Vec<_>, WireError> =
        wire.members.into_iter().map(|member| Ok((member.member, record(&member.cell)?))).collect();
    Ok(SnapshotKey {
        space: space(wire.space)?,
        key: wire.key,
        head: record(&wire.head)?,
        members: members?,
    })
}

fn published(wire: pb::Published) -> Published {
    Published {
        after: wire.after.map(|dot| Dot { origin: OriginId(dot.origin), version: dot.version }),
        channel: wire.channel,
        payload: wire.payload,
    }
}
