//! What a peer that does not keep to the rules can reach.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rhumb_ports::clock::Entropy;
use rhumb_types::{ClusterId, NodeId, RegionId};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Code;

use super::*;
use crate::{
    ClusterAuthority, Identities, Member, Peer, PeerConfig, PeerEvent, PeerEvents, Validity,
    connect::{Channel, Dialer, Tasks, connect, origin, secure},
    pb::{joining_client::JoiningClient, peer_client::PeerClient},
    shape::Shapes,
    tls, wire,
};

const CLUSTER: ClusterId = ClusterId(1);
const PATIENCE: Duration = Duration::from_secs(10);

struct Fixed;

impl Entropy for Fixed {
    fn next_u64(&self) -> u64 {
        1
    }
}

/// The node `m` under test, and what is needed to speak to it as `a` or as nobody.
struct Bench {
    authority: ClusterAuthority,
    folder: tempfile::TempDir,
    member: Member,
    tasks: Tasks,
    events: PeerEvents,
    peer: Arc<Peer>,
}

fn named(region: &str, node: u64) -> Identity {
    Identity { cluster: CLUSTER, region: RegionId::new(region).unwrap(), node: NodeId(node) }
}

impl Bench {
    async fn new() -> Self {
        let authority = ClusterAuthority::create(CLUSTER).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let home = folder.path().join("m");
        authority.issue(&named("m", 1), Validity::node()).unwrap().write(&home).unwrap();
        // `a` sorts first and dials, so that nothing but these tests speaks to `m`.
        let a = Member { region: named("a", 2).region, node: None, address: "127.0.0.1:1".into() };
        let (peer, events) = Peer::start(PeerConfig {
            identities: Arc::new(Identities::load(&home, None).unwrap()),
            listener,
            members: vec![a],
            delays: BTreeMap::new(),
            entropy: Arc::new(Fixed),
        })
        .unwrap();
        let tasks = Tasks { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        let member = Member { region: named("m", 1).region, node: Some(NodeId(1)), address };
        Self { authority, folder, member, tasks, events, peer }
    }

    async fn as_member(&self, region: &str) -> PeerClient<Channel> {
        let home = self.folder.path().join(region);
        let identity = named(region, 2);
        self.authority.issue(&identity, Validity::node()).unwrap().write(&home).unwrap();
        let dialer = Dialer {
            identities: Arc::new(Identities::load(&home, None).unwrap()),
            shapes: Arc::new(Shapes::default()),
            tasks: self.tasks.clone(),
        };
        let (channel, _) = dialer.dial(&self.member, Keepalive::BULK).await.unwrap();
        PeerClient::with_origin(channel, origin())
    }

    async fn as_nobody(&self) -> Channel {
        let config = tls::joining_config(tls::fingerprint(self.authority.certificate())).unwrap();
        let stream = ShapedStream::new(connect(&self.member.address).await.unwrap());
        let address = &self.member.address;
        secure(stream, config, Keepalive::BULK, address, &self.tasks).await.unwrap().0
    }

    async fn next(&mut self) -> PeerEvent {
        timeout(PATIENCE, self.events.next()).await.unwrap().unwrap()
    }
}

fn endless() -> (mpsc::Sender<Envelope>, ReceiverStream<Envelope>) {
    let (sender, receiver) = mpsc::channel(8);
    (sender, ReceiverStream::new(receiver))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_there_is_nothing_but_joining() {
    let bench = Bench::new().await;
    let channel = bench.as_nobody().await;
    let mut peer = PeerClient::with_origin(channel.clone(), origin());
    let call = peer.call(CallRequest { service: 1, payload: Bytes::new() }).await.unwrap_err();
    assert_eq!(call.code(), Code::Unimplemented, "{call}");
    let link = peer.link(endless().1).await.unwrap_err();
    assert_eq!(link.code(), Code::Unimplemented, "{link}");
    let heartbeats = peer.heartbeats(endless().1).await.unwrap_err();
    assert_eq!(heartbeats.code(), Code::Unimplemented, "{heartbeats}");
    let mut joining = JoiningClient::with_origin(channel, origin());
    let join = joining.join(JoinRequest::default()).await.unwrap_err();
    assert_eq!(join.code(), Code::PermissionDenied, "{join}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_future_parks_the_link_with_an_alarm() {
    let mut bench = Bench::new().await;
    let mut client = bench.as_member("a").await;
    let (sender, outbound) = endless();
    let _inbound = client.link(outbound).await.unwrap();
    assert!(matches!(bench.next().await, PeerEvent::Up { .. }));
    let known = wire::seal(&follow(1)).unwrap();
    sender.send(known.clone()).await.unwrap();
    sender.send(Envelope { kind: 77, ..known.clone() }).await.unwrap();
    sender.send(known).await.unwrap();
    assert!(matches!(bench.next().await, PeerEvent::Message { .. }));
    let parked = bench.next().await;
    assert!(matches!(&parked, PeerEvent::Parked { reason, .. } if reason.contains("kind 77")));
    // Nothing after it is read, and the link is not dropped.
    assert!(timeout(Duration::from_millis(200), bench.events.next()).await.is_err());
    assert!(!sender.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_ends_the_link_and_nothing_else() {
    let mut bench = Bench::new().await;
    let mut client = bench.as_member("a").await;
    for damaged in [
        Envelope { payload: Bytes::from_static(b"\xff\xff"), unpacked_bytes: 2, ..kind_of_log() },
        Envelope { unpacked_bytes: 9, ..kind_of_log() },
        wire::seal(&heartbeat()).unwrap(),
        wire::seal(&hello_of_another()).unwrap(),
    ] {
        let (sender, outbound) = endless();
        let _inbound = client.link(outbound).await.unwrap();
        assert!(matches!(bench.next().await, PeerEvent::Up { .. }));
        sender.send(damaged).await.unwrap();
        let down = bench.next().await;
        let PeerEvent::Down { reason: crate::DownReason::Protocol(_), .. } = down else {
            panic!("{down:?}");
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_those_who_should_not_dial_are_refused() {
    let bench = Bench::new().await;
    let mut stranger = bench.as_member("b").await;
    let refused = stranger.link(endless().1).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let zulu = Member { region: named("z", 2).region, node: None, address: "127.0.0.1:1".into() };
    bench.peer.update_members(vec![zulu]);
    let mut zulu = bench.as_member("z").await;
    let refused = zulu.link(endless().1).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
}

fn follow(after: u64) -> rhumb_ports::peer::PeerMessage {
    rhumb_ports::peer::PeerMessage::Follow { origin: rhumb_types::OriginId(1), after }
}

fn kind_of_log() -> Envelope {
    Envelope { version: 1, kind: 6, packing: 0, unpacked_bytes: 0, payload: Bytes::new() }
}

fn heartbeat() -> rhumb_ports::peer::PeerMessage {
    rhumb_ports::peer::PeerMessage::HeartbeatReply(rhumb_ports::peer::HeartbeatReply {
        sequence: 1,
        wall: rhumb_types::UnixMillis(1),
    })
}

fn hello_of_another() -> rhumb_ports::peer::PeerMessage {
    rhumb_ports::peer::PeerMessage::Hello(rhumb_ports::peer::Hello {
        protocol: 1,
        cluster: CLUSTER,
        node: NodeId(99),
        region: named("a", 2).region,
        witness: false,
        durable: rhumb_types::record::VersionVector::new(),
        received: rhumb_types::record::VersionVector::new(),
        origins: Vec::new(),
        wall: rhumb_types::UnixMillis(1),
        namespaces: 0,
    })
}
