//! Regions in one process: shipped engines on stores in memory, with links that can be cut, and groups
//! that outlive every node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rhumb_engine::{
    Agreement, Engine, EngineConfig, EnqueueRequest, Expect, HomeChoice, HostedAdmin, HostedStrong,
    Inlet, ObjectClient, ObjectService, ObjectsConfig, OsEntropy, OversightConfig, QueueClient,
    QueueService, QueuesConfig, ReceiveRequest, Shown, SystemClock, Taken, Tasks,
    node::{Event, Member as Peer, oversee::OverseerConfig},
    object::grant::WalkConfig,
    queue::{Config, Leased, NewJob, Refused},
    random_id,
};
use rhumb_node::{NodeConfig, Retention};
use rhumb_ports::{
    BoxFuture,
    contract::control::MemoryControl,
    control::{Control, ControlError, GroupStatus},
    memory::{MemoryBlobs, MemoryDisk},
    peer::{CallError, PeerCall, PeerLink, PeerMessage, PeerService, SendError, Service},
};
use rhumb_regions::{
    DriftBound, Facts, FailoverConfig, HealthConfig, Policy, RegionFacts, ResidencyTag,
    audit::AuditKey, registry::Region, spillover::Limits,
};
use rhumb_state::Namespaces;
use rhumb_types::{
    ClusterId, NodeId, RegionId,
    control::{ControlView, Digest, FailoverMode, Member, MemberRole},
    record::{QueueDefinition, QueueName},
};
use tokio::sync::{mpsc, watch};

/// Messages on their way to one node.
const EVENTS_MAX: usize = 65_536;
/// Bytes that a slow line carries of one answer before it goes on with another.
const PIECE_BYTES: usize = 32 << 10;
/// Nothing in these tests takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub(crate) fn queue() -> QueueName {
    QueueName::new("jobs").unwrap()
}

/// The groups, which outlive a node.
#[derive(Clone)]
struct Groups {
    admin: Arc<MemoryControl>,
    views: watch::Receiver<Arc<ControlView>>,
    strong: Arc<MemoryControl>,
    shown: Shown,
}

impl Groups {
    fn new() -> Self {
        let (hosted, views) = HostedAdmin::new();
        let admin = Arc::new(MemoryControl::new(hosted, NodeId(1), region("us")));
        let (hosted, shown) = HostedStrong::new();
        let strong = Arc::new(MemoryControl::new(hosted, NodeId(1), region("us")));
        Self { admin, views, strong, shown }
    }
}

/// A group as a node sees it that may be cut off.
struct Reach {
    group: Arc<MemoryControl>,
    end: End,
}

impl Reach {
    fn check(&self) -> Result<(), ControlError> {
        let cut = self.end.net.lock().unwrap().cut.contains(&self.end.own);
        let reason = "cut".to_owned();
        if cut { Err(ControlError::NoLeader { reason }) } else { Ok(()) }
    }
}

impl Control for Reach {
    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>> {
        Box::pin(async move {
            self.check()?;
            self.group.propose(command).await
        })
    }

    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>> {
        Box::pin(async move {
            self.check()?;
            self.group.read(query).await
        })
    }

    fn read_local(&self, query: &[u8]) -> Bytes {
        self.group.read_local(query)
    }

    fn status(&self) -> GroupStatus {
        // The leader opens failovers, and must not be the one that is gone.
        let status = self.group.status();
        let leader = if self.end.net.lock().unwrap().inlets.len() > 1 {
            Some(NodeId(2))
        } else {
            status.leader
        };
        GroupStatus { leader, ..status }
    }

    fn set_member(
        &self,
        node: NodeId,
        region: RegionId,
        voter: Option<bool>,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        self.group.set_member(node, region, voter)
    }
}

/// What a message or a call goes through.
#[derive(Default)]
pub(crate) struct Net {
    inlets: BTreeMap<RegionId, mpsc::Sender<Event>>,
    services: BTreeMap<RegionId, Arc<dyn PeerService>>,
    cut: BTreeSet<RegionId>,
    /// Regions whose transactions get lost on their way.
    held_back: BTreeSet<RegionId>,
    /// Regions whose answers take their time.
    lines: BTreeMap<RegionId, Arc<Line>>,
}

/// A slow line, which carries all answers on it by turns.
pub(crate) struct Line {
    bytes_per_second: u64,
    turns: tokio::sync::Mutex<()>,
    carried: AtomicU64,
}

impl Line {
    /// Bytes that it carried so far.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    async fn carry(&self, answer: &Bytes) {
        for piece in answer.chunks(PIECE_BYTES) {
            // Whoever waits longest is the next.
            let _turn = self.turns.lock().await;
            let bytes = piece.len() as u64;
            let micros = bytes * 1_000_000 / self.bytes_per_second;
            tokio::time::sleep(Duration::from_micros(micros)).await;
            self.carried.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// One region's end of it.
#[derive(Clone)]
struct End {
    own: RegionId,
    net: Arc<Mutex<Net>>,
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.own.fmt(f)
    }
}

impl PeerLink for End {
    fn send(&self, to: &RegionId, message: PeerMessage) -> Result<(), SendError> {
        let net = self.net.lock().unwrap();
        let down = || SendError::Down(to.clone());
        let apart = net.cut.contains(to) || net.cut.contains(&self.own);
        let inlet = net.inlets.get(to).filter(|_| !apart).ok_or_else(down)?;
        let transactions = matches!(message, PeerMessage::Log(_) | PeerMessage::Snapshot(_));
        if transactions && net.held_back.contains(&self.own) {
            return Ok(());
        }
        inlet.try_send(Event::Peer { from: self.own.clone(), message }).map_err(|_| down())
    }
}

impl PeerCall for End {
    fn call(
        &self,
        to: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let (answerer, line) = {
                let net = self.net.lock().unwrap();
                let apart = net.cut.contains(&to) || net.cut.contains(&self.own);
                let answerer = net.services.get(&to).filter(|_| !apart).cloned();
                (answerer, net.lines.get(&to).cloned())
            };
            let peer = to.to_string();
            let Some(answerer) = answerer else {
                let reason = "cut".to_owned();
                return Err(CallError::Unreachable { peer, sent: false, reason });
            };
            let answer = answerer.answer(self.own.clone(), service, request).await;
            if let (Some(line), Ok(bytes)) = (line, &answer) {
                line.carry(bytes).await;
            }
            answer.map_err(|reason| CallError::Refused { peer, reason })
        })
    }
}

/// What answers other nodes.
struct Services {
    queues: QueueService,
    objects: ObjectService,
}

impl PeerService for Services {
    fn answer(
        &self,
        from: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        match service {
            Service::Objects => self.objects.answer(from, service, request),
            _ => self.queues.answer(from, service, request),
        }
    }
}

/// Some regions.
pub(crate) struct Cluster {
    regions: Vec<RegionId>,
    groups: Groups,
    net: Arc<Mutex<Net>>,
    spillover: Option<Limits>,
    /// The bytes of each region, which outlive its node.
    blobs: Mutex<BTreeMap<RegionId, Arc<MemoryBlobs>>>,
    /// Time between two looks for blobs that may go.
    pub(crate) collect_every: Duration,
    /// How old blobs must be before they may go.
    pub(crate) grace: Duration,
    /// How often a region is asked again for a copy, how long after, and how long an upload waits.
    pub(crate) copying: Copying,
    /// How far ahead of true time the nodes' wall clocks are that start from now on, in milliseconds.
    pub(crate) ahead_millis: i64,
}

/// How copies are made that uploads wait for.
#[derive(Clone, Copy)]
pub(crate) struct Copying {
    pub(crate) retries: u32,
    pub(crate) delay: Duration,
    pub(crate) wait: Duration,
}

impl Default for Copying {
    fn default() -> Self {
        let usual = ObjectsConfig::new(region("us"));
        let (retries, wait) = (usual.copy_retries, usual.copy_wait);
        Self { retries, delay: Duration::from_millis(20), wait }
    }
}

/// A node, and what it stands on.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) queues: QueueClient,
    pub(crate) objects: ObjectClient,
    pub(crate) blobs: Arc<MemoryBlobs>,
    pub(crate) region: RegionId,
    net: Arc<Mutex<Net>>,
}

impl Cluster {
    pub(crate) fn new(regions: &[&str]) -> Self {
        let regions = regions.iter().map(|name| region(name)).collect();
        Self {
            regions,
            groups: Groups::new(),
            net: Arc::default(),
            spillover: None,
            blobs: Mutex::default(),
            collect_every: Duration::from_secs(3_600),
            grace: Duration::ZERO,
            copying: Copying::default(),
            ahead_millis: 0,
        }
    }

    pub(crate) fn spilling(self, limits: Limits) -> Self {
        Self { spillover: Some(limits), ..self }
    }

    /// Takes all regions' links to one away, or gives them back.
    pub(crate) fn cut(&self, region: &RegionId, cut: bool) {
        let inlets = {
            let mut net = self.net.lock().unwrap();
            if cut {
                net.cut.insert(region.clone())
            } else {
                net.cut.remove(region)
            };
            net.inlets.clone()
        };
        let told = |region: RegionId| {
            if cut { Event::PeerDown { region } } else { Event::PeerUp { region } }
        };
        for (other, inlet) in inlets.iter().filter(|(other, _)| *other != region) {
            let _stopped = inlet.try_send(told(region.clone()));
            let _stopped = inlets[region].try_send(told(other.clone()));
        }
    }

    /// Lets a region's answers to all others share a slow line from now on.
    pub(crate) fn slow_down(&self, region: &RegionId, bytes_per_second: u64) -> Arc<Line> {
        let (turns, carried) = Default::default();
        let line = Arc::new(Line { bytes_per_second, turns, carried });
        self.net.lock().unwrap().lines.insert(region.clone(), line.clone());
        line
    }

    /// Lets what a region says of its transactions through, and these not. They are sent again after its
    /// links were cut.
    pub(crate) fn hold_back(&self, region: &RegionId, held: bool) {
        let mut net = self.net.lock().unwrap();
        if held {
            net.held_back.insert(region.clone())
        } else {
            net.held_back.remove(region)
        };
    }

    /// A node of a region on a disk. Without groups it knows what its disk remembers.
    pub(crate) async fn start(&self, name: &str, disk: &MemoryDisk, agrees: bool) -> Node {
        let own = region(name);
        let at = self.regions.iter().position(|it| *it == own).unwrap();
        let peers = |id: &RegionId| Peer { region: id.clone(), witness: false, domains: vec![] };
        let node = NodeConfig {
            cluster: ClusterId(1),
            node: NodeId(u64::try_from(at).unwrap() + 1),
            region: own.clone(),
            witness: false,
            domains: Default::default(),
            namespaces: Namespaces::default(),
            retention: Retention::default(),
            heartbeat_interval: Duration::from_millis(50),
            members: self.regions.iter().map(peers).collect(),
        };
        let end = End { own: own.clone(), net: self.net.clone() };
        let clock = Arc::new(SystemClock { wall_offset_millis: self.ahead_millis });
        let (engine, inlet, _alarms) = Engine::start(
            EngineConfig { node },
            Arc::new(disk.open()),
            Arc::new(end.clone()),
            clock,
            &OsEntropy,
            Tasks::new(),
        )
        .unwrap();
        self.plug(&own, &engine, inlet);
        let groups = if agrees { self.groups.clone() } else { Groups::new() };
        let Groups { admin, views, strong, shown } = groups;
        if !agrees {
            admin.set_reachable(false);
            strong.set_reachable(false);
        }
        let admin = Arc::new(Reach { group: admin, end: end.clone() });
        let strong = Arc::new(Reach { group: strong, end: end.clone() });
        engine.attach(Agreement { admin, views, strong, shown });
        engine.forward_with(Arc::new(end));
        engine.oversee(self.oversight(&own));
        let machine = Config {
            region: own.clone(),
            regions: self.regions.len(),
            drift: DriftBound::default(),
            spillover: self.spillover,
        };
        let seed = [(QueueName::new("seeded").unwrap(), QueueDefinition::default())];
        engine.start_queues(QueuesConfig { machine, seed: seed.into() }).unwrap();
        let queues = engine.queues().unwrap();
        let blobs = self.blobs.lock().unwrap().entry(own.clone()).or_default().clone();
        let config = self.objects_config(&own);
        engine.start_objects(config, blobs.clone());
        let objects = engine.objects().unwrap();
        let net = self.net.clone();
        let node = Node { engine, queues, objects, blobs, region: own, net };
        if agrees {
            let seeded = || !node.queues.definitions().borrow().is_empty();
            until("the lease", || node.acts_for(&node.region) && seeded()).await;
        }
        node
    }

    /// Everything that is done in time is done at once.
    fn objects_config(&self, own: &RegionId) -> ObjectsConfig {
        ObjectsConfig {
            copy_retries: self.copying.retries,
            copy_pause: self.copying.delay,
            copy_wait: self.copying.wait,
            chores_every: Duration::from_millis(200),
            collect_every: self.collect_every,
            collect: WalkConfig {
                grace: self.grace,
                surplus_grace: self.grace,
                ..WalkConfig::default()
            },
            silence: Duration::ZERO,
            scrub_period: Duration::from_secs(2),
            scrub_tick: Duration::from_millis(100),
            ..ObjectsConfig::new(own.clone())
        }
    }

    fn plug(&self, own: &RegionId, engine: &Engine, inlet: Inlet) {
        let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
        engine.tasks().spawn_until_drained(async move {
            while let Some(event) = inbox.recv().await {
                if !inlet.event(event).await {
                    return;
                }
            }
        });
        let mut net = self.net.lock().unwrap();
        for (other, theirs) in &net.inlets {
            events.try_send(Event::PeerUp { region: other.clone() }).unwrap();
            let _stopped = theirs.try_send(Event::PeerUp { region: own.clone() });
        }
        net.inlets.insert(own.clone(), events);
        let services =
            Services { queues: engine.queue_service(), objects: engine.object_service() };
        net.services.insert(own.clone(), Arc::new(services));
    }

    fn oversight(&self, own: &RegionId) -> OversightConfig {
        let member = |(nth, id): (u64, &RegionId)| Member {
            node: NodeId(nth),
            region: id.clone(),
            role: MemberRole::Voter,
            address: format!("{id}:7401"),
            fingerprint: Digest([u8::try_from(nth).unwrap(); 32]),
            reads: rhumb_ports::peer::PROTOCOL_VERSION,
        };
        let members: Vec<Member> = (1..).zip(&self.regions).map(member).collect();
        // Every region carries its own name as a tag of residency.
        let known = |id: &RegionId| {
            let mut region = Region::new(id.clone(), "host:1");
            region.residency.insert(ResidencyTag::new(id.as_str()).unwrap());
            RegionFacts::new(region)
        };
        let node = members.iter().find(|it| it.region == *own).unwrap().node;
        let overseer = OverseerConfig {
            cluster: ClusterId(1),
            node,
            region: own.clone(),
            founders: members,
            domains: Default::default(),
            health: HealthConfig::fast(),
            failover: FailoverConfig { mode: FailoverMode::Automatic, ..Default::default() },
            facts: Facts {
                version: 1,
                here: own.clone(),
                regions: self.regions.iter().map(known).collect(),
                links: Vec::new(),
                rules: Vec::new(),
                policy: Policy::default(),
            },
            audit: Some(AuditKey::new([7; 32])),
        };
        OversightConfig { overseer, hooks: Arc::new(|_name| Box::pin(async { Ok(()) })) }
    }
}

impl Node {
    pub(crate) fn acts_for(&self, home: &RegionId) -> bool {
        self.engine.may_act(home).is_some()
    }

    /// Makes the queue, and waits until some nodes know it.
    pub(crate) async fn define(&self, definition: QueueDefinition) {
        self.queues.define(queue(), definition, Expect::Absent).await.unwrap();
    }

    pub(crate) async fn knows(&self) {
        until("the queue", || self.queues.definitions().borrow().contains_key(&queue())).await;
    }

    pub(crate) async fn enqueue(&self, jobs: Vec<NewJob>) -> Vec<Result<Taken, Refused>> {
        self.enqueue_at(HomeChoice::Auto, jobs).await
    }

    pub(crate) async fn enqueue_at(
        &self,
        home: HomeChoice,
        jobs: Vec<NewJob>,
    ) -> Vec<Result<Taken, Refused>> {
        self.queues.enqueue(EnqueueRequest { queue: queue(), home, jobs }).await.unwrap()
    }

    pub(crate) async fn add(&self, body: &str) -> Taken {
        self.enqueue(vec![job(body)]).await.remove(0).unwrap()
    }

    pub(crate) async fn add_for(&self, home: &RegionId, body: &str) -> Taken {
        let home = HomeChoice::Region(home.clone());
        self.enqueue_at(home, vec![job(body)]).await.remove(0).unwrap()
    }

    pub(crate) async fn receive_for(&self, wait: Duration) -> Vec<Leased> {
        self.queues.receive(wish(wait)).await.unwrap()
    }

    pub(crate) async fn receive(&self) -> Vec<Leased> {
        self.receive_for(Duration::from_secs(5)).await
    }

    /// The process is gone; what it sent before arrives.
    pub(crate) async fn stop(self) {
        {
            let mut net = self.net.lock().unwrap();
            net.inlets.remove(&self.region);
            net.services.remove(&self.region);
            for theirs in net.inlets.values() {
                let _stopped = theirs.try_send(Event::PeerDown { region: self.region.clone() });
            }
        }
        assert!(self.engine.tasks().stop().await);
        self.engine.stop().await;
    }
}

pub(crate) fn job(body: &str) -> NewJob {
    let body = Bytes::copy_from_slice(body.as_bytes());
    NewJob { drawn: true, ..NewJob::new(random_id(&OsEntropy), body, Vec::new()) }
}

/// A worker's wish for ten jobs.
pub(crate) fn wish(wait: Duration) -> ReceiveRequest {
    ReceiveRequest {
        queue: queue(),
        jobs_max: 10,
        visibility: None,
        wait,
        worker: "w".into(),
        elsewhere: true,
    }
}

pub(crate) fn bodies(leased: &[Leased]) -> Vec<&str> {
    leased.iter().map(|it| std::str::from_utf8(&it.job.body).unwrap()).collect()
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, waited).await;
    assert!(came.is_ok(), "{what} never came");
}
