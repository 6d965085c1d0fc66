//! A cluster of nodes in one process, each with its own identity, listener and adapter.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rhumb_peer::{
    ClusterAuthority, Identities, Identity, Member, Peer, PeerConfig, PeerEvent, PeerEvents,
    Validity,
};
use rhumb_ports::{
    BoxFuture,
    clock::Entropy,
    peer::{Heartbeat, LogBatch, PeerLink, PeerMessage, PeerService, Service},
};
use rhumb_types::{ClusterId, NodeId, OriginId, RegionId, UnixMillis, record::VersionVector};
use tokio::{net::TcpListener, time::timeout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const CLUSTER: ClusterId = ClusterId(0xc1);

/// SplitMix64 (Steele et al., 2014): enough for jitter.
#[derive(Default)]
pub(crate) struct Seeded(AtomicU64);

impl Entropy for Seeded {
    fn next_u64(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Answers a call with who asked, for what, and the request itself.
pub(crate) struct Echo;

impl PeerService for Echo {
    fn answer(
        &self,
        from: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            if request.as_ref() == b"fail" {
                return Err("told to".to_owned());
            }
            let mut answer = format!("{from} {service:?} ").into_bytes();
            answer.extend_from_slice(&request);
            Ok(answer.into())
        })
    }
}

pub(crate) fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub(crate) fn identity(name: &str, node: u64) -> Identity {
    Identity { cluster: CLUSTER, region: region(name), node: NodeId(node) }
}

pub(crate) struct Cluster {
    pub(crate) authority: ClusterAuthority,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) members: Vec<Member>,
    listeners: BTreeMap<RegionId, TcpListener>,
}

pub(crate) struct Running {
    pub(crate) peer: Arc<Peer>,
    pub(crate) events: PeerEvents,
}

impl Cluster {
    /// A cluster of regions that do not run yet; node ids count from 1.
    pub(crate) async fn new(regions: &[&str]) -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let mut cluster = Self {
            authority: ClusterAuthority::create(CLUSTER).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            members: Vec::new(),
            listeners: BTreeMap::new(),
        };
        for (at, name) in regions.iter().enumerate() {
            cluster.add(name, at as u64 + 1).await;
        }
        cluster
    }

    pub(crate) async fn add(&mut self, name: &str, node: u64) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.members.push(Member { region: region(name), node: Some(NodeId(node)), address });
        self.listeners.insert(region(name), listener);
        let issued = self.authority.issue(&identity(name, node), Validity::node()).unwrap();
        issued.write(&self.home(name)).unwrap();
    }

    pub(crate) fn home(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self, name: &str) -> String {
        self.members.iter().find(|m| m.region.as_str() == name).unwrap().address.clone()
    }

    pub(crate) async fn start(&mut self, name: &str) -> Running {
        self.start_with(name, BTreeMap::new()).await
    }

    pub(crate) async fn start_with(
        &mut self,
        name: &str,
        delays: BTreeMap<RegionId, Duration>,
    ) -> Running {
        self.start_with_service(name, delays, Echo).await
    }

    pub(crate) async fn start_with_service(
        &mut self,
        name: &str,
        delays: BTreeMap<RegionId, Duration>,
        service: impl PeerService,
    ) -> Running {
        let listener = match self.listeners.remove(&region(name)) {
            Some(listener) => listener,
            None => TcpListener::bind(self.address(name)).await.unwrap(),
        };
        self.start_as(&self.home(name), listener, delays, service)
    }

    pub(crate) fn start_on(
        &self,
        home: &Path,
        listener: TcpListener,
        delays: BTreeMap<RegionId, Duration>,
    ) -> Running {
        self.start_as(home, listener, delays, Echo)
    }

    fn start_as(
        &self,
        home: &Path,
        listener: TcpListener,
        delays: BTreeMap<RegionId, Duration>,
        service: impl PeerService,
    ) -> Running {
        let (peer, events) = Peer::start(PeerConfig {
            identities: Arc::new(Identities::load(home, None).unwrap()),
            listener,
            members: self.members.clone(),
            delays,
            entropy: Arc::new(Seeded::default()),
        })
        .unwrap();
        peer.answer_with(Arc::new(service));
        Running { peer, events }
    }

    /// Two nodes whose bulk link is up, with a round trip between them.
    pub(crate) async fn pair(round_trip: Duration) -> (Self, Running, Running) {
        let mut cluster = Self::new(&["a", "b"]).await;
        let delay = |to| BTreeMap::from([(region(to), round_trip / 2)]);
        let mut a = cluster.start_with("a", delay("b")).await;
        let mut b = cluster.start_with("b", delay("a")).await;
        a.up("b").await;
        b.up("a").await;
        (cluster, a, b)
    }
}

impl Running {
    pub(crate) async fn next(&mut self) -> PeerEvent {
        timeout(PATIENCE, self.events.next()).await.expect("no event came").expect("it stopped")
    }

    pub(crate) async fn up(&mut self, name: &str) -> NodeId {
        loop {
            match self.next().await {
                PeerEvent::Up { region, node } if region.as_str() == name => return node,
                PeerEvent::Message { .. } | PeerEvent::Down { .. } => {}
                other => panic!("{other:?} where {name} should come up"),
            }
        }
    }

    /// Skips what was under way until the link is reported down.
    pub(crate) async fn down(&mut self, name: &str) -> rhumb_peer::DownReason {
        loop {
            match self.next().await {
                PeerEvent::Down { region, reason } if region.as_str() == name => return reason,
                PeerEvent::Message { .. } => {}
                other => panic!("{other:?} where {name} should go down"),
            }
        }
    }

    pub(crate) async fn message(&mut self) -> PeerMessage {
        match self.next().await {
            PeerEvent::Message { message, .. } => message,
            other => panic!("{other:?} where a message should come"),
        }
    }

    /// Waits until heartbeats can be sent.
    pub(crate) async fn heartbeats_up(&self, to: &str) {
        let sent = async {
            while self.peer.send(&region(to), heartbeat(0)).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, sent).await.expect("no heartbeat connection");
    }
}

pub(crate) fn heartbeat(sequence: u64) -> PeerMessage {
    PeerMessage::Heartbeat(Heartbeat {
        sequence,
        wall: UnixMillis(7),
        heads: VersionVector::new(),
        durable: VersionVector::new(),
        load: 0.5,
        serving: true,
        impaired: Vec::new(),
        hears: Vec::new(),
    })
}

pub(crate) fn follow(after: u64) -> PeerMessage {
    PeerMessage::Follow { origin: OriginId(9), after }
}

/// A batch of one transaction of bytes that do not compress.
pub(crate) fn log(first: u64, bytes: usize) -> PeerMessage {
    let source = Seeded(AtomicU64::new(first));
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&source.next_u64().to_le_bytes());
    }
    noise.truncate(bytes);
    PeerMessage::Log(LogBatch {
        origin: OriginId(9),
        first,
        transactions: vec![noise.into()],
        head: first,
    })
}
