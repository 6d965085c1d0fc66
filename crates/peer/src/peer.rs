//! The adapter as a whole: what a node starts, sends with, and stops.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use rhumb_ports::{
    BoxFuture,
    clock::Entropy,
    peer::{CallError, PeerCall, PeerLink, PeerMessage, PeerService, SendError, Service},
};
use rhumb_types::{NodeId, RegionId};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    call::Line,
    connect::{Dialer, Tasks},
    event::{DownReason, Heard, PeerEvents},
    identity::{Identities, Identity},
    join::{JoinDesk, Registrar},
    limits::{DRAIN_TIMEOUT, EVENTS_MAX, HEARTBEAT_EVENTS_MAX},
    link,
    member::{Member, Roster},
    pb::JoinReply,
    server,
    session::{Lane, Seats},
    shape::{Shape, Shapes},
    tls,
    wire::service_number,
};

/// What the adapter needs to start.
pub struct PeerConfig {
    /// Who this node is, and whom it trusts.
    pub identities: Arc<Identities>,
    /// Where peers reach this node.
    pub listener: TcpListener,
    /// The members at the start, this node included or not; see [`Peer::update_members`].
    pub members: Vec<Member>,
    /// Injected one-way delays; empty outside `rhumb dev` and tests.
    pub delays: BTreeMap<RegionId, Duration>,
    /// For the jitter of redials.
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerConfig")
            .field("listener", &self.listener)
            .field("members", &self.members)
            .field("delays", &self.delays)
            .finish_non_exhaustive()
    }
}

/// Why the adapter did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate or key cannot be used for TLS.
    #[error("set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What all tasks of the adapter share.
pub(crate) struct Shared {
    pub(crate) dialer: Dialer,
    pub(crate) roster: Roster,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) service: OnceLock<Arc<dyn PeerService>>,
    pub(crate) desk: OnceLock<Arc<JoinDesk>>,
    pub(crate) registrar: OnceLock<Registrar>,
    /// Cancelled first: no new connections and links. The task group stops once calls have ended.
    pub(crate) closing: CancellationToken,
    pub(crate) bulk_events: mpsc::Sender<Heard>,
    pub(crate) heartbeat_events: mpsc::Sender<Heard>,
    seats: RwLock<BTreeMap<RegionId, Arc<Seats>>>,
    lines: Mutex<BTreeMap<(RegionId, u32), Arc<Line>>>,
    dials: Mutex<BTreeMap<RegionId, CancellationToken>>,
}

/// A node's links and calls. Made by [`Peer::start`]; implements [`PeerLink`] and [`PeerCall`].
/// Dropping it ends everything at once; [`Peer::shutdown`] does so in order.
pub struct Peer {
    shared: Arc<Shared>,
    /// One change of the members at a time.
    changing: Mutex<()>,
}

/// How a link is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// The peer's region.
    pub region: RegionId,
    /// The peer, while the bulk link is up.
    pub node: Option<NodeId>,
    /// Whether the heartbeat connection is up.
    pub heartbeats: bool,
    /// Messages that wait on the bulk link.
    pub queued_messages: usize,
    /// About how many bytes those are.
    pub queued_bytes: usize,
    /// Bytes of messages sent since the start on both connections, compressed and before
    /// encryption.
    pub sent_bytes: u64,
    /// Bytes of messages received since then.
    pub received_bytes: u64,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.dialer.tasks.stop.cancel();
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("members", &self.shared.roster.current())
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn seats(&self, region: &RegionId) -> Arc<Seats> {
        if let Some(seats) = self.known_seats(region) {
            return seats;
        }
        let mut all = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(region.clone()).or_default())
    }

    fn known_seats(&self, region: &RegionId) -> Option<Arc<Seats>> {
        self.seats.read().unwrap_or_else(PoisonError::into_inner).get(region).cloned()
    }

    fn line(&self, to: &RegionId, service: Service) -> Option<Arc<Line>> {
        let member = self.roster.current().get(to)?.clone();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines
            .entry((to.clone(), service_number(service)))
            .or_insert_with(|| Arc::new(Line::new(member, service, self.dialer.clone())));
        Some(Arc::clone(line))
    }
}

impl Peer {
    /// Starts listening and dialling, on the runtime of the caller.
    ///
    /// Calls are answered once [`Peer::answer_with`] has been called; until then peers hear that
    /// this node is starting.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: PeerConfig) -> Result<(Arc<Self>, PeerEvents), StartError> {
        let PeerConfig { identities, listener, members, delays, entropy } = config;
        let tls = tls::server_config(&identities)?;
        let shapes = Arc::new(Shapes::default());
        for (region, delay) in delays {
            shapes.set(&region, Shape { delay, ..Shape::default() });
        }
        let (bulk_events, bulk) = mpsc::channel(EVENTS_MAX);
        let (heartbeat_events, heartbeats) = mpsc::channel(HEARTBEAT_EVENTS_MAX);
        let tasks = Tasks { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        let stop = tasks.stop.clone();
        let shared = Arc::new(Shared {
            dialer: Dialer { identities, shapes, tasks: tasks.clone() },
            roster: Roster::default(),
            entropy,
            service: OnceLock::new(),
            desk: OnceLock::new(),
            registrar: OnceLock::new(),
            closing: stop.child_token(),
            bulk_events,
            heartbeat_events,
            seats: RwLock::default(),
            lines: Mutex::default(),
            dials: Mutex::default(),
        });
        let peer = Self { shared: Arc::clone(&shared), changing: Mutex::default() };
        peer.update_members(members);
        tasks.spawn(server::accept(shared, listener, tls));
        Ok((Arc::new(peer), PeerEvents { bulk, heartbeats, stop }))
    }

    /// Answers calls from here on. Only the first service is taken. The future of an answer is
    /// dropped when its caller goes away, so it must be safe to drop at every await.
    pub fn answer_with(&self, service: Arc<dyn PeerService>) {
        let _ = self.shared.service.set(service);
    }

    /// Hands out identities from here on: this node holds the authority. Only the first desk is
    /// taken.
    pub fn hand_out(&self, desk: Arc<JoinDesk>) {
        let _ = self.shared.desk.set(desk);
    }

    /// Registers nodes that are invited to a seat, from here on; until then they are refused. Only
    /// the first registrar is taken.
    pub fn register_with(&self, registrar: Registrar) {
        let _ = self.shared.registrar.set(registrar);
    }

    /// Whether this node hands out identities.
    #[must_use]
    pub fn hands_out(&self) -> bool {
        self.shared.desk.get().is_some()
    }

    /// Opens the connection for calls to a service of a region ahead of the first call, if it is not open.
    /// Whoever calls first need not wait for it then.
    pub fn prepare(&self, to: &RegionId, service: Service) {
        if let Some(line) = self.shared.line(to, service) {
            line.prepare();
        }
    }

    /// Replaces the members. Links and calls to nodes that are no longer listed, or that are listed
    /// at another address, end; new ones begin. A link stays when all that changed is that its very
    /// node is now listed by its id.
    pub fn update_members(&self, members: Vec<Member>) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.shared.dialer.identities.identity().region;
        let fresh: BTreeMap<_, _> = members
            .into_iter()
            .filter(|member| member.region != own)
            .map(|member| (member.region.clone(), member))
            .collect();
        let before = self.shared.roster.replace(fresh.clone());
        let mut begin = fresh.clone();
        for (region, old) in before.iter() {
            match fresh.get(region) {
                Some(new) if new == old => drop(begin.remove(region)),
                Some(new) if self.is_only_named(old, new) => {
                    begin.remove(region);
                    self.forget_lines(region);
                }
                _ => self.forget(region),
            }
        }
        for (region, member) in begin {
            if own < region {
                self.keep(member);
            }
        }
    }

    /// Whether a member that could be any node of its region is now the one that is linked.
    fn is_only_named(&self, before: &Member, after: &Member) -> bool {
        let linked = || self.shared.known_seats(&after.region);
        before.address == after.address
            && before.node.is_none()
            && after.node.is_some_and(|node| linked().is_some_and(|it| it.are_taken_by(node)))
    }

    /// How the links to all members are doing, in order of their names.
    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        let members = self.shared.roster.current();
        members.keys().map(|region| self.shared.seats(region).status(region)).collect()
    }

    /// Who this node is; reload it after its files have changed.
    #[must_use]
    pub fn identities(&self) -> &Arc<Identities> {
        &self.shared.dialer.identities
    }

    /// Sets how the way to a region is impaired on purpose, for tours and tests.
    pub fn shape(&self, region: &RegionId, shape: Shape) {
        self.shared.dialer.shapes.set(region, shape);
    }

    /// How the way to a region is impaired.
    #[must_use]
    pub fn shape_of(&self, region: &RegionId) -> Shape {
        self.shared.dialer.shapes.get(region)
    }

    /// Stops: accepts nothing more, ends the links, lets calls that are being answered finish within
    /// [`DRAIN_TIMEOUT`], and waits for every task.
    pub async fn shutdown(&self) {
        self.shared.closing.cancel();
        let regions = self.shared.roster.replace(BTreeMap::new());
        for region in regions.keys() {
            self.end_links(region, &DownReason::Shutdown);
        }
        self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let Tasks { tracker, stop } = &self.shared.dialer.tasks;
        tracker.close();
        if timeout(DRAIN_TIMEOUT, tracker.wait()).await.is_err() {
            tracing::warn!("peer calls did not end in time and are dropped");
        }
        stop.cancel();
        tracker.wait().await;
    }

    pub(crate) async fn renew_here(
        &self,
        identity: Identity,
        request: Bytes,
    ) -> Result<JoinReply, String> {
        server::renew(&self.shared, identity, request).await
    }

    fn keep(&self, member: Member) {
        let stop = self.shared.closing.child_token();
        let mut dials = self.shared.dials.lock().unwrap_or_else(PoisonError::into_inner);
        dials.insert(member.region.clone(), stop.clone());
        for lane in [Lane::Bulk, Lane::Heartbeat] {
            let shared = Arc::clone(&self.shared);
            let keep = link::keep(shared, member.clone(), lane, stop.clone());
            self.shared.dialer.tasks.spawn(keep);
        }
    }

    fn forget(&self, region: &RegionId) {
        self.end_links(region, &DownReason::Removed);
        self.forget_lines(region);
    }

    /// The next call dials anew; those under way go on.
    fn forget_lines(&self, region: &RegionId) {
        let mut lines = self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|(to, _), _| to != region);
    }

    fn end_links(&self, region: &RegionId, reason: &DownReason) {
        // First the loop, then its link: so a link that is just opening is ended by one of them.
        let dials = self.shared.dials.lock().unwrap_or_else(PoisonError::into_inner).remove(region);
        if let Some(stop) = dials {
            stop.cancel();
        }
        if let Some(seats) = self.shared.known_seats(region) {
            seats.end(reason);
        }
    }
}

impl PeerLink for Peer {
    fn send(&self, to: &RegionId, message: PeerMessage) -> Result<(), SendError> {
        let seats = self.shared.known_seats(to).ok_or_else(|| SendError::Down(to.clone()))?;
        seats.of(Lane::of(&message)).send(to, message)
    }
}

impl PeerCall for Peer {
    fn call(
        &self,
        to: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let line = self.shared.line(&to, service).ok_or_else(|| CallError::Unreachable {
                peer: to.to_string(),
                sent: false,
                reason: "it is not a member".to_owned(),
            })?;
            line.ask(request).await
        })
    }
}
