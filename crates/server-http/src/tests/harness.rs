//! A node with a server, and a client that speaks HTTP to it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rhumb_engine::telemetry::Metrics;
use rhumb_engine::{
    Agreement, Engine, EngineConfig, HostedAdmin, HostedStrong, ObjectsConfig, OsEntropy,
    OversightConfig, QueuesConfig, SystemClock, Tasks, node::oversee::OverseerConfig, queue,
};
use rhumb_front::{Listener, token::digest_of};
use rhumb_node::{NodeConfig, Retention};
use rhumb_ports::{
    contract::control::MemoryControl,
    memory::{MemoryBlobs, MemoryDisk},
    peer::{PeerLink, PeerMessage, SendError},
};
use rhumb_regions::{
    Facts, FailoverConfig, HealthConfig, Policy, RegionFacts, audit::AuditKey, registry::Region,
};
use rhumb_state::{NamespacePolicy, Namespaces, namespace::Namespace};
use rhumb_types::{
    AckLevel, ClusterId, Consistency, NodeId, RegionId,
    control::{ApiRole, Digest, Member, MemberRole},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{HttpConfig, HttpServer, StaticToken, Surroundings};

/// A server on the loopback address that asks for tokens.
pub(super) fn with_tokens(tokens: Vec<StaticToken>) -> HttpConfig {
    let listener = Listener { auth: true, ..Listener::open(loopback()) };
    HttpConfig { listener, tokens }
}

pub(super) const HERE: &str = "us-east-1";
pub(super) const THERE: &str = "eu-west-1";

#[derive(Debug)]
struct NoPeers;

impl PeerLink for NoPeers {
    fn send(&self, to: &RegionId, _message: PeerMessage) -> Result<(), SendError> {
        Err(SendError::Down(to.clone()))
    }
}

pub(super) fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub(super) fn member(node: u64, name: &str) -> Member {
    Member {
        node: NodeId(node),
        region: region(name),
        role: MemberRole::Voter,
        address: format!("{name}:7401"),
        fingerprint: Digest([u8::try_from(node).unwrap(); 32]),
        reads: 1,
    }
}

pub(super) const AUDIT_KEY: [u8; 32] = [7; 32];

fn oversight(regions: &[&str]) -> OversightConfig {
    let known = |name: &str| RegionFacts::new(Region::new(region(name), "host:1"));
    let overseer = OverseerConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region: region(HERE),
        founders: (1..).zip(regions).map(|(node, name)| member(node, name)).collect(),
        domains: Default::default(),
        health: HealthConfig::fast(),
        failover: FailoverConfig { watch_for: Duration::from_millis(100), ..Default::default() },
        facts: Facts {
            version: 1,
            here: region(HERE),
            regions: regions.iter().map(|name| known(name)).collect(),
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        },
        audit: Some(AuditKey::new(AUDIT_KEY)),
    };
    OversightConfig { overseer, hooks: Arc::new(|_name| Box::pin(async { Ok(()) })) }
}

fn namespaces() -> Namespaces {
    let of = |prefix: &'static str, consistency, ttl| Namespace {
        prefix: Bytes::from_static(prefix.as_bytes()),
        policy: NamespacePolicy { consistency, ttl, ..NamespacePolicy::default() },
    };
    let hour = Some(Duration::from_secs(3_600));
    let named = vec![
        of("lock:", Consistency::Strong, None),
        of("sess:", Consistency::Session, None),
        of("cache:", Consistency::Cache, hour),
    ];
    Namespaces::new(named, NamespacePolicy { ack: AckLevel::Local, ..Default::default() }).unwrap()
}

/// An engine of a region, without its groups.
pub(super) fn engine() -> Engine {
    engine_keeping(Retention::default())
}

/// The same, that keeps so much of its log.
pub(super) fn engine_keeping(retention: Retention) -> Engine {
    let node = NodeConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region: region(HERE),
        witness: false,
        domains: Default::default(),
        namespaces: namespaces(),
        retention,
        heartbeat_interval: Duration::from_millis(100),
        members: vec![],
    };
    let store = Arc::new(MemoryDisk::new().open());
    let clock = Arc::new(SystemClock::default());
    let config = EngineConfig { node };
    let started = Engine::start(config, store, Arc::new(NoPeers), clock, &OsEntropy, Tasks::new());
    started.unwrap().0
}

/// A configured token of a role; its secret is its id.
pub(super) fn token(id: &str, role: ApiRole) -> StaticToken {
    StaticToken {
        id: id.to_owned(),
        secret: digest_of(id),
        roles: vec![role],
        scopes: vec![],
        expires: None,
    }
}

/// What the bearer of [`token`] sends.
pub(super) fn bearer(id: &str) -> String {
    format!("Bearer rhumb_{id}_{id}")
}

/// Any free port of the loopback address.
pub(super) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) server: HttpServer,
    pub(super) address: SocketAddr,
    /// Both groups, to cut them off.
    pub(super) groups: Vec<Arc<MemoryControl>>,
}

impl Node {
    /// A formed cluster of one reachable node, without tokens.
    pub(super) async fn open() -> Self {
        Self::start(HttpConfig::open(loopback()), |_| {}).await
    }

    /// The same, of a cluster that has no other region to wait for.
    pub(super) async fn alone(config: HttpConfig) -> Self {
        Self::among(&[HERE], config, |_| {}).await
    }

    pub(super) async fn start(config: HttpConfig, adapt: impl FnOnce(&mut Surroundings)) -> Self {
        Self::among(&[HERE, THERE], config, adapt).await
    }

    async fn among(
        regions: &[&str],
        config: HttpConfig,
        adapt: impl FnOnce(&mut Surroundings),
    ) -> Self {
        let engine = engine();
        let (hosted, views) = HostedAdmin::new();
        let admin = Arc::new(MemoryControl::new(hosted, NodeId(1), region(HERE)));
        let (strong, shown) = HostedStrong::new();
        let strong = Arc::new(MemoryControl::new(strong, NodeId(1), region(HERE)));
        let groups = vec![admin.clone(), strong.clone()];
        engine.attach(Agreement { admin, views, strong, shown });
        engine.oversee(oversight(regions));
        let machine = queue::Config {
            region: region(HERE),
            regions: regions.len(),
            drift: Default::default(),
            spillover: None,
        };
        engine.start_queues(QueuesConfig { machine, seed: Default::default() }).unwrap();
        let blobs = Arc::new(MemoryBlobs::new());
        engine.start_objects(ObjectsConfig::new(region(HERE)), blobs);
        until("the cluster", || {
            engine.admin().unwrap().view().cluster.is_some() && engine.is_ready()
        })
        .await;
        Self { groups, ..Self::serve(engine, config, adapt).await }
    }

    /// A server on an engine as it is.
    pub(super) async fn serve(
        engine: Engine,
        config: HttpConfig,
        adapt: impl FnOnce(&mut Surroundings),
    ) -> Self {
        let metrics = Arc::new(Metrics::new("test", &region(HERE)));
        let mut surroundings = Surroundings::new(NodeId(1), region(HERE), metrics);
        surroundings.audit_key = Some(AuditKey::new(AUDIT_KEY));
        adapt(&mut surroundings);
        let server = HttpServer::new(&config, engine.clone(), surroundings).unwrap();
        let address = server.listen().await.unwrap();
        Self { engine, server, address, groups: Vec::new() }
    }

    pub(super) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Client::over(stream, &self.engine, self.address.to_string()).await
    }
}

pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} never happened");
}

/// One connection.
pub(super) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    /// Headers of every request.
    pub(super) always: Vec<(&'static str, String)>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().unwrap()
    }

    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// A problem, as every refusal is one.
    #[track_caller]
    pub(super) fn problem(self, status: u16, code: &str) -> Value {
        let reply = self.expect(status);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let problem = reply.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code, "{problem}");
        for member in ["title", "detail", "help"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        problem
    }
}

impl Client {
    pub(super) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        engine: &Engine,
        host: String,
    ) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        engine.tasks().spawn_until_stopped(async move {
            let _ended = connection.await;
        });
        Self { sender, host, always: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.always.push((name, value.into()));
        self
    }

    pub(super) async fn open(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Response<Incoming> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.host);
        }
        for (name, value) in &self.always {
            request = request.header(*name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub(super) async fn put(&mut self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send("PUT", path, &[], body).await
    }

    pub(super) async fn json(&mut self, method: &str, path: &str, body: Value) -> Reply {
        let json = &[("content-type", "application/json")];
        self.send(method, path, json, body.to_string()).await
    }
}
