//! The port's messages as protobuf.

use bytes::Bytes;
use prost::Message;
use rhumb_ports::peer::{
    Heartbeat, HeartbeatReply, Hello, LogBatch, OriginInfo, PeerMessage, Published, SnapshotChunk,
    SnapshotKey,
};
use rhumb_types::{
    RegionId,
    record::{Record, Space, VersionVector},
};

use crate::pb::{self, Kind};

pub(super) fn encode(message: &PeerMessage) -> (Kind, Bytes) {
    match message {
        PeerMessage::Hello(hello) => (Kind::Hello, bytes(&hello_to(hello))),
        PeerMessage::Heartbeat(beat) => (Kind::Heartbeat, bytes(&heartbeat_to(beat))),
        PeerMessage::HeartbeatReply(reply) => (Kind::HeartbeatReply, bytes(&reply_to(reply))),
        PeerMessage::Follow { origin, after } => {
            (Kind::Follow, bytes(&pb::Follow { origin: origin.0, after: *after }))
        }
        PeerMessage::Unfollow { origin } => {
            (Kind::Unfollow, bytes(&pb::Unfollow { origin: origin.0 }))
        }
        PeerMessage::Log(batch) => (Kind::Log, bytes(&log_to(batch))),
        PeerMessage::Ack { durable } => {
            (Kind::Ack, bytes(&pb::Ack { durable: Some(vector_to(durable)) }))
        }
        PeerMessage::Trimmed { origin, first } => {
            (Kind::Trimmed, bytes(&pb::Trimmed { origin: origin.0, first: *first }))
        }
        PeerMessage::SnapshotPull { transfer, after } => {
            let pull = pb::SnapshotPull { transfer: *transfer, after: place_to(after.as_ref()) };
            (Kind::SnapshotPull, bytes(&pull))
        }
        PeerMessage::Snapshot(chunk) => (Kind::Snapshot, bytes(&snapshot_to(chunk))),
        PeerMessage::Publish(published) => (Kind::Publish, bytes(&published_to(published))),
    }
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn vector_to(vector: &VersionVector) -> pb::Vector {
    let versions = vector
        .iter()
        .map(|(origin, version)| pb::OriginVersion { origin: origin.0, version })
        .collect();
    pb::Vector { versions }
}

fn regions_to(regions: &[RegionId]) -> Vec<String> {
    regions.iter().map(|region| region.as_str().to_owned()).collect()
}

fn origin_to(info: &OriginInfo) -> pb::OriginInfo {
    pb::OriginInfo {
        origin: info.origin.0,
        region: info.region.as_str().to_owned(),
        minted_hlc: info.minted.0,
    }
}

fn hello_to(hello: &Hello) -> pb::Hello {
    pb::Hello {
        protocol: u32::from(hello.protocol),
        cluster: hello.cluster.0,
        node: hello.node.0,
        region: hello.region.as_str().to_owned(),
        witness: hello.witness,
        durable: Some(vector_to(&hello.durable)),
        origins: hello.origins.iter().map(origin_to).collect(),
        wall_unix_millis: hello.wall.0,
        namespaces: hello.namespaces,
        received: Some(vector_to(&hello.received)),
    }
}

fn heartbeat_to(beat: &Heartbeat) -> pb::Heartbeat {
    pb::Heartbeat {
        sequence: beat.sequence,
        wall_unix_millis: beat.wall.0,
        heads: Some(vector_to(&beat.heads)),
        durable: Some(vector_to(&beat.durable)),
        load: beat.load,
        serving: beat.serving,
        impaired: beat.impaired.clone(),
        hears: regions_to(&beat.hears),
    }
}

fn reply_to(reply: &HeartbeatReply) -> pb::HeartbeatReply {
    pb::HeartbeatReply { sequence: reply.sequence, wall_unix_millis: reply.wall.0 }
}

fn log_to(batch: &LogBatch) -> pb::LogBatch {
    pb::LogBatch {
        origin: batch.origin.0,
        first: batch.first,
        transactions: batch.transactions.clone(),
        head: batch.head,
    }
}

fn place_to(place: Option<&(Space, Bytes)>) -> Option<pb::KeyPlace> {
    place.map(|(space, key)| pb::KeyPlace { space: u32::from(space.0), key: key.clone() })
}

fn snapshot_to(chunk: &SnapshotChunk) -> pb::SnapshotChunk {
    pb::SnapshotChunk {
        transfer: chunk.transfer,
        vector: Some(vector_to(&chunk.vector)),
        origins: chunk.origins.iter().map(origin_to).collect(),
        after: place_to(chunk.after.as_ref()),
        through: place_to(chunk.through.as_ref()),
        keys: chunk.keys.iter().map(key_to).collect(),
        owned: chunk.owned.iter().map(Record::encode).collect(),
    }
}

fn key_to(key: &SnapshotKey) -> pb::SnapshotKey {
    let members = key
        .members
        .iter()
        .map(|(member, cell)| pb::SnapshotMember { member: member.clone(), cell: cell.encode() })
        .collect();
    pb::SnapshotKey {
        space: u32::from(key.space.0),
        key: key.key.clone(),
        head: key.head.encode(),
        members,
    }
}

fn published_to(published: &Published) -> pb::Published {
    pb::Published {
        after: published
            .after
            .map(|dot| pb::OriginVersion { origin: dot.origin.0, version: dot.version }),
        channel: published.channel.clone(),
        payload: published.payload.clone(),
    }
}
