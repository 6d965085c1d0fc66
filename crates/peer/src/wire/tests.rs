//! Round trips of every kind, and bytes that nobody wrote.

use proptest::{collection::vec, option, prelude::*};
use rhumb_ports::peer::{
    Heartbeat, HeartbeatReply, Hello, LogBatch, OriginInfo, Published, SnapshotChunk, SnapshotKey,
};
use rhumb_types::{
    ClusterId, Epoch, Hlc, NodeId, OriginId, UnixMillis,
    record::{
        Amount, Cell, Delta, Dot, Entry, Head, OwnedId, OwnedRow, OwnedState, Space, Value,
        VersionVector,
    },
};

use super::*;

fn vectors() -> impl Strategy<Value = VersionVector> {
    vec((any::<u64>(), any::<u64>()), 0..6)
        .prop_map(|pairs| pairs.into_iter().map(|(o, v)| (OriginId(o), v)).collect())
}

fn regions() -> impl Strategy<Value = RegionId> {
    "[a-z0-9][a-z0-9-]{0,62}".prop_map(|name| RegionId::new(&name).unwrap())
}

fn blobs() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// Bytes that zstd can do something with, and bytes that it cannot.
fn transactions() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        blobs(),
        (any::<u8>(), 0..5_000_usize).prop_map(|(byte, length)| vec![byte; length].into()),
    ]
}

fn origins() -> impl Strategy<Value = Vec<OriginInfo>> {
    let info = (any::<u64>(), regions(), any::<u64>()).prop_map(|(origin, region, minted)| {
        OriginInfo { origin: OriginId(origin), region, minted: Hlc(minted) }
    });
    vec(info, 0..4)
}

fn places() -> impl Strategy<Value = Option<(Space, Bytes)>> {
    option::of((any::<u8>().prop_map(Space), blobs()))
}

fn cells() -> impl Strategy<Value = Cell> {
    let entry = (any::<u64>(), any::<u64>(), blobs(), option::of(any::<u64>())).prop_map(
        |(origin, version, value, expiry)| Entry {
            dot: Dot { origin: OriginId(origin), version },
            hlc: Hlc(version),
            value: Value::Bytes(value),
            expiry: expiry.map(UnixMillis),
        },
    );
    let delta =
        (any::<u64>(), any::<i64>(), -1e9..1e9_f64).prop_map(|(version, int, float)| Delta {
            origin: OriginId(version),
            frame: version,
            version,
            sum: Amount { int, float },
            mark_version: 0,
            mark: Amount::default(),
            cleared: int < 0,
            marked_by: None,
        });
    (vec(entry, 0..3), vec(delta, 0..3))
        .prop_map(|(entries, deltas)| Cell { entries: entries.into(), deltas })
}

fn keys() -> impl Strategy<Value = SnapshotKey> {
    let head = (cells(), any::<u64>(), any::<u64>()).prop_map(|(cell, members, settled)| Head {
        cell,
        members,
        cleared: rhumb_types::record::Cleared::default(),
        settled,
    });
    (any::<u8>(), blobs(), head, vec((blobs(), cells()), 0..3)).prop_map(
        |(space, key, head, members)| SnapshotKey { space: Space(space), key, head, members },
    )
}

fn owned() -> impl Strategy<Value = OwnedRow> {
    (any::<u8>(), blobs(), regions(), any::<bool>(), any::<u64>(), blobs()).prop_map(
        |(table, key, home, pinned, sequence, payload)| OwnedRow {
            id: OwnedId { table, key },
            home,
            pinned,
            epoch: Epoch(sequence),
            sequence,
            state: if pinned { OwnedState::Ready } else { OwnedState::Done },
            payload,
        },
    )
}

fn hellos() -> impl Strategy<Value = Hello> {
    let vectors = (vectors(), vectors());
    (any::<u16>(), any::<u64>(), any::<u64>(), regions(), any::<bool>(), vectors, origins())
        .prop_map(|(protocol, cluster, node, region, witness, vectors, origins)| Hello {
            protocol,
            cluster: ClusterId(cluster),
            node: NodeId(node),
            region,
            witness,
            durable: vectors.0,
            received: vectors.1,
            origins,
            wall: UnixMillis(cluster),
            namespaces: node,
        })
}

fn heartbeats() -> impl Strategy<Value = Heartbeat> {
    let hears = vec(regions(), 0..4);
    let impaired = vec("\\PC{0,12}", 0..3);
    (any::<u64>(), any::<u64>(), vectors(), vectors(), 0.0..=1.0, any::<bool>(), impaired, hears)
        .prop_map(|(sequence, wall, heads, durable, load, serving, impaired, hears)| Heartbeat {
            sequence,
            wall: UnixMillis(wall),
            heads,
            durable,
            load,
            serving,
            impaired,
            hears,
        })
}

fn snapshots() -> impl Strategy<Value = SnapshotChunk> {
    (any::<u64>(), vectors(), origins(), places(), places(), vec(keys(), 0..4), vec(owned(), 0..3))
        .prop_map(|(transfer, vector, origins, after, through, keys, owned)| SnapshotChunk {
            transfer,
            vector,
            origins,
            after,
            through,
            keys,
            owned,
        })
}

fn logs() -> impl Strategy<Value = LogBatch> {
    (any::<u64>(), 1..1_u64 << 60, vec(transactions(), 0..5), any::<u64>()).prop_map(
        |(origin, first, transactions, head)| LogBatch {
            origin: OriginId(origin),
            first,
            transactions,
            head,
        },
    )
}

fn publications() -> impl Strategy<Value = Published> {
    (option::of((any::<u64>(), any::<u64>())), blobs(), blobs()).prop_map(
        |(after, channel, payload)| Published {
            after: after.map(|(origin, version)| Dot { origin: OriginId(origin), version }),
            channel,
            payload,
        },
    )
}

fn messages() -> impl Strategy<Value = PeerMessage> {
    prop_oneof![
        hellos().prop_map(PeerMessage::Hello),
        heartbeats().prop_map(PeerMessage::Heartbeat),
        (any::<u64>(), any::<u64>()).prop_map(|(sequence, wall)| {
            PeerMessage::HeartbeatReply(HeartbeatReply { sequence, wall: UnixMillis(wall) })
        }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(origin, after)| PeerMessage::Follow { origin: OriginId(origin), after }),
        any::<u64>().prop_map(|origin| PeerMessage::Unfollow { origin: OriginId(origin) }),
        logs().prop_map(PeerMessage::Log),
        vectors().prop_map(|durable| PeerMessage::Ack { durable }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(origin, first)| PeerMessage::Trimmed { origin: OriginId(origin), first }),
        (any::<u64>(), places())
            .prop_map(|(transfer, after)| PeerMessage::SnapshotPull { transfer, after }),
        snapshots().prop_map(PeerMessage::Snapshot),
        publications().prop_map(PeerMessage::Publish),
    ]
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(message in messages()) {
        prop_assert_eq!(decode(&encode(&message).unwrap()), Ok(message));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    /// Damage deep inside of a valid envelope, where random bytes seldom reach.
    #[test]
    fn damage_is_read_or_refused(
        message in messages(),
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&message).unwrap().to_vec();
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&bytes);
    }
}

#[test]
fn a_kind_or_version_of_the_future_is_no_damage() {
    let mut envelope = seal(&PeerMessage::Unfollow { origin: OriginId(1) }).unwrap();
    envelope.kind = 999;
    assert!(open(&envelope).unwrap_err().is_newer());
    envelope.kind = u32::from(Kind::Unfollow);
    envelope.version = u32::from(PROTOCOL_VERSION) + 1;
    assert!(open(&envelope).unwrap_err().is_newer());
    envelope.version = u32::from(PROTOCOL_VERSION);
    envelope.packing = 9;
    assert!(open(&envelope).unwrap_err().is_newer());
    envelope.packing = 0;
    assert!(open(&envelope).is_ok());
}

#[test]
fn a_record_of_the_future_inside_a_snapshot_is_no_damage() {
    let key = pb::SnapshotKey { head: Bytes::from_static(&[200, 1]), ..Default::default() };
    let chunk = pb::SnapshotChunk { keys: vec![key], ..Default::default() };
    let payload = Bytes::from(chunk.encode_to_vec());
    let envelope = Envelope {
        version: 1,
        kind: u32::from(Kind::Snapshot),
        packing: 0,
        unpacked_bytes: payload.len() as u64,
        payload,
    };
    assert!(matches!(open(&envelope), Err(WireError::NewerRecord { .. })));
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    assert!(bomb.len() < 10_000);
    let envelope = |unpacked_bytes| Envelope {
        version: 1,
        kind: u32::from(Kind::Log),
        packing: 1,
        unpacked_bytes,
        payload: bomb.clone().into(),
    };
    assert!(matches!(open(&envelope(64 << 20)), Err(WireError::TooLarge { .. })));
    assert!(matches!(open(&envelope(u64::MAX)), Err(WireError::TooLarge { .. })));
    // One that lies about its size does not get more room than it announced.
    assert!(matches!(open(&envelope(1_000)), Err(WireError::Damaged(_))));
}

#[test]
fn only_what_shrinks_is_packed() {
    let log = |transaction: Vec<u8>| {
        let batch = LogBatch {
            origin: OriginId(1),
            first: 1,
            transactions: vec![transaction.into()],
            head: 1,
        };
        seal(&PeerMessage::Log(batch)).unwrap()
    };
    let dull = log(vec![1; 100_000]);
    assert!(dull.packing == 1 && dull.payload.len() < 1_000);
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    let noise = log(noise.take(100_000).collect());
    assert!(noise.packing == 0 && noise.payload.len() > 100_000);
    assert_eq!(log(vec![1; 100]).packing, 0);
}
