//! A node, put together: the only place that names every adapter and server.

mod access;
mod cache;
mod checks;
mod events;
pub(crate) mod groups;
mod hooks;
mod http;
mod identity;
mod objects;
pub(crate) mod oversight;
mod queues;
mod registrar;
mod residency;
mod runners;
mod s3;
pub(crate) mod settings;
mod sqs;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use rhumb_config::{Config, settings::Server};
use rhumb_control::Groups;
use rhumb_engine::node::Event;
use rhumb_engine::{
    Engine, EngineConfig, Forwarded, Inlet, ObjectService, OsEntropy, QueueService, SystemClock,
    Tasks,
};
use rhumb_peer::{Identities, Peer, PeerConfig, PeerEvent, PeerEvents};
use rhumb_ports::{
    BoxFuture,
    peer::{PeerService, Service},
};
use rhumb_server_cache::CacheServer;
use rhumb_server_http::HttpServer;
use rhumb_server_resp::RespServer;
use rhumb_server_s3::S3Server;
use rhumb_server_sqs::SqsServer;
use rhumb_store_fjall::FjallStore;
use rhumb_telemetry::Metrics;
use rhumb_types::RegionId;
use tokio::net::TcpListener;

use self::groups::BothGroups;

/// Calls to these begin without a handshake: an election waits for votes between nodes that have not
/// called each other since the last one, and three more round trips are longer than what parts candidates.
const AT_HAND: [Service; 5] =
    [Service::ControlRaft, Service::StrongRaft, Service::Control, Service::Queue, Service::Forward];

/// What the command line adds to the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Delay messages as between real regions.
    pub(crate) wan: bool,
    /// Added to the wall clock, in milliseconds.
    pub(crate) clock_offset_millis: i64,
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    engine: Engine,
    peer: Arc<Peer>,
    groups: BothGroups,
    http: Option<HttpServer>,
    resp: Option<RespServer>,
    s3: Option<S3Server>,
    sqs: Option<SqsServer>,
    cache: Option<CacheServer>,
    tasks: Tasks,
}

/// How long the control plane takes at worst to elect a leader, for a round trip.
pub(crate) fn worst_election(round_trip: Duration) -> Duration {
    rhumb_control::Timing::for_round_trip(round_trip).failover_max()
}

impl Node {
    /// Starts everything that the configuration asks for, from the disk up.
    pub(crate) async fn start(config: &Config, options: Options) -> Result<Self> {
        let region = config.region().cloned().context(
            "no region is named: set `region` in the file, or RHUMB_REGION in the environment",
        )?;
        let data = settings::data_directory(config, &region);
        let identities = Identities::load(&data.join("identity"), Some(&region))
            .context("this node has no identity: `rhumb init` or `rhumb join` makes one")?;
        let identity = identities.identity();
        let clock = Arc::new(SystemClock { wall_offset_millis: options.clock_offset_millis });
        let path = data.join("store");
        let store = tokio::task::spawn_blocking(move || FjallStore::open(&path)).await??;
        let listener = listen(config, &region, Server::Peer).await?;
        let listener = listener.context("the peer listener is off: nodes cannot do without it")?;
        let (peer, events) = Peer::start(PeerConfig {
            identities: Arc::new(identities),
            listener,
            members: settings::members(config),
            delays: if options.wan {
                settings::delays(config, &region)
            } else {
                Default::default()
            },
            entropy: Arc::new(OsEntropy),
        })?;
        let tasks = Tasks::new();
        let node = settings::node(config, &identity)?;
        let (engine, inlet, alarms) = Engine::start(
            EngineConfig { node },
            Arc::new(store),
            peer.clone(),
            clock,
            &OsEntropy,
            tasks.clone(),
        )?;
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), &region));
        engine.measure(&metrics);
        forward(&peer, &tasks, events, inlet, metrics.clone());
        let members = settings::members(config);
        let keeping = identity::keep(&tasks, &peer, &config.settings().data, members);
        let groups = BothGroups::start(config, &identity, &data, &peer).await?;
        peer.answer_with(Arc::new(Answers {
            groups: groups.answers(),
            forwarded: engine.forwarded(),
            queues: engine.queue_service(),
            objects: engine.object_service(),
        }));
        engine.forward_with(peer.clone());
        engine.attach(groups.agreement());
        engine.oversee(oversight::config(config, peer.identities()));
        oversight::follow(config, &engine, &peer);
        queues::start(config, &region, &engine)?;
        objects::start(config, &region, &data, &engine, &metrics).await?;
        events::start(config, &region, &engine);
        checks::start(config, &region, &engine);
        peer.register_with(registrar::registrar(&engine, identity.node));
        let workflows = runners::start(config, &identity, &engine, &metrics)
            .context("the runners did not start")?;
        let around = http::Around { keeping: &keeping, workflows };
        let http = http::serve(config, &engine, &peer, around, alarms, metrics.clone()).await?;
        let s3 = s3::serve(config, &engine, &peer, &metrics).await?;
        let sqs = sqs::serve(config, &engine, &peer, &metrics).await?;
        let cache = cache::serve(config, &engine, &peer, &metrics).await?;
        let resp = serve_resp(config, &region, &engine, metrics).await?;
        tracing::info!(%region, "the node runs");
        Ok(Self { engine, peer, groups, http, resp, s3, sqs, cache, tasks })
    }

    /// Reads the certificates anew.
    pub(crate) fn reload(&self) {
        match self.peer.identities().reload() {
            Ok(_) => tracing::info!("the certificates were read anew"),
            Err(error) => tracing::error!(%error, "the certificates stay as they were"),
        }
        if let Some(Err(error)) = self.http.as_ref().map(HttpServer::reload) {
            tracing::error!(%error, "the certificate of HTTP stays as it was");
        }
        if let Some(Err(error)) = self.resp.as_ref().map(RespServer::reload) {
            tracing::error!(%error, "the certificate for Redis clients stays as it was");
        }
        if let Some(Err(error)) = self.s3.as_ref().map(S3Server::reload) {
            tracing::error!(%error, "the certificate for S3's clients stays as it was");
        }
        if let Some(Err(error)) = self.sqs.as_ref().map(SqsServer::reload) {
            tracing::error!(%error, "the certificate for SQS's clients stays as it was");
        }
        if let Some(Err(error)) = self.cache.as_ref().map(CacheServer::reload) {
            tracing::error!(%error, "the certificate of the cache stays as it was");
        }
    }

    /// Ends the node: what was accepted is committed and answered.
    pub(crate) async fn stop(&self) {
        if !self.tasks.stop().await {
            tracing::warn!("some tasks did not end in time");
        }
        self.engine.stop().await;
        self.groups.stop().await;
        self.peer.shutdown().await;
    }
}

async fn listen(config: &Config, region: &RegionId, server: Server) -> Result<Option<TcpListener>> {
    let Some(listener) = config.listener(region, server) else { return Ok(None) };
    let address = listener.address(server);
    let bound = TcpListener::bind(address).await;
    bound.map(Some).with_context(|| format!("cannot listen on {address} for {server:?}"))
}

/// Starts the RESP server, where it is on.
async fn serve_resp(
    config: &Config,
    region: &RegionId,
    engine: &Engine,
    metrics: Arc<Metrics>,
) -> Result<Option<RespServer>> {
    let Some(listener) = config.listener(region, Server::Resp) else { return Ok(None) };
    let resp = settings::resp(config, listener);
    let server = RespServer::new(&resp, engine.clone(), region.as_str(), metrics)?;
    if let Some(listener) = listen(config, region, Server::Resp).await? {
        server.serve(listener);
    }
    Ok(Some(server))
}

/// What answers the calls of other nodes.
struct Answers {
    groups: Groups,
    forwarded: Forwarded,
    queues: QueueService,
    objects: ObjectService,
}

impl PeerService for Answers {
    fn answer(
        &self,
        from: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        match service {
            Service::Forward => self.forwarded.answer(from, service, request),
            Service::Queue => self.queues.answer(from, service, request),
            Service::Objects => self.objects.answer(from, service, request),
            _ => self.groups.answer(from, service, request),
        }
    }
}

/// Hands what peers say to the node.
fn forward(
    peer: &Arc<Peer>,
    tasks: &Tasks,
    mut events: PeerEvents,
    inlet: Inlet,
    metrics: Arc<Metrics>,
) {
    let peer = peer.clone();
    // Acknowledgements of what clients still wait for are among them.
    tasks.spawn_until_drained(async move {
        while let Some(event) = events.next().await {
            let event = match event {
                PeerEvent::Up { region, node } => {
                    tracing::info!(%region, %node, "a link is up");
                    // Who is asked for a vote, or for work that arrives here, need not be dialled first.
                    for service in AT_HAND {
                        peer.prepare(&region, service);
                    }
                    Event::PeerUp { region }
                }
                PeerEvent::Down { region, reason } => {
                    tracing::info!(%region, %reason, "a link is down");
                    metrics.region(&region).peer.lost.inc();
                    Event::PeerDown { region }
                }
                PeerEvent::Parked { region, reason } => {
                    tracing::error!(%region, %reason, "a link is parked: upgrade this node");
                    continue;
                }
                PeerEvent::Message { from, message } => Event::Peer { from, message },
            };
            if !inlet.event(event).await {
                return;
            }
        }
    });
}
