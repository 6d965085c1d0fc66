//! What servers and workloads hold: writes through the loop, reads beside it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use rhumb_node::{
    Alarm, ConnectionId, Event, Node, NodeConfig, NodeStatus, Phase, RequestId, Submit,
    SubmitError, WaitAcks, oversee::Leases, reads,
};
use rhumb_ports::{
    clock::{Clock, Entropy},
    peer::{PeerCall, PeerLink},
    store::{MetaName, ReadStore, Store, StoreError},
};
use rhumb_state::{
    ClearedPrefixes, NamespacePolicy, Namespaces, Op, Rehearsal, Reply, RowId,
    query::{Query, answer},
};
use rhumb_telemetry::Metrics;
use rhumb_types::{
    AckLevel, DomainId,
    record::{Record, Space, VersionVector},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    agreed::Shown,
    agreement::{AdminClient, Agreement, StrongClient},
    driver::{self, Inlet, Input, Machine},
    held::Held,
    limits,
    load::Load,
    meter::Meter,
    objects,
    oversee::Oversight,
    pubsub::{PubSub, Subscription},
    queues::{self, Feed},
    reader::Reader,
    recent::Recent,
    request::{Answer, ReadError, Request, WriteError},
    rows::{self, Read},
    start::{StartError, boot, meta},
    tasks::Tasks,
    world::{Commit, Committer, RealWorld, run_commits},
};

/// What an engine is started with.
#[derive(Debug)]
pub struct EngineConfig {
    /// The node's own configuration.
    pub node: NodeConfig,
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("status", &*self.shared.status.borrow()).finish()
    }
}

pub(crate) struct Shared {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) store: Arc<dyn ReadStore>,
    snapshots: Box<dyn Fn() -> Box<dyn ReadStore> + Send + Sync>,
    namespaces: Namespaces,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) status: watch::Receiver<Arc<NodeStatus>>,
    cleared: watch::Receiver<Arc<ClearedPrefixes>>,
    pubsub: PubSub,
    pub(crate) held: Arc<Held>,
    recent: Arc<Recent>,
    pub(crate) requests: Arc<AtomicU64>,
    connections: AtomicU64,
    pub(crate) tasks: Tasks,
    /// Random, for the names of strong requests.
    nonce: u64,
    admin: OnceLock<Arc<AdminClient>>,
    strong: OnceLock<StrongClient>,
    pub(crate) agreed: OnceLock<Shown>,
    pub(crate) alarms: mpsc::Sender<Alarm>,
    pub(crate) oversight: OnceLock<Oversight>,
    /// Under which this node acts; the loop looks at them before everything that it does.
    pub(crate) leases: watch::Sender<Arc<Leases>>,
    pub(crate) meter: Meter,
    pub(crate) load: Load,
    /// The residency domains that this region carries beside that of every region.
    pub(crate) carried: BTreeSet<DomainId>,
    pub(crate) calls: OnceLock<Arc<dyn PeerCall>>,
    /// Tells the queues what is committed.
    pub(crate) feed: Feed,
    pub(crate) queues: OnceLock<queues::Running>,
    /// Tells who fetches bytes what is committed.
    pub(crate) object_feed: objects::Feed,
    pub(crate) objects: objects::Slot,
}

impl Engine {
    /// Starts the loop and its threads on a store.
    ///
    /// # Errors
    /// [`StartError`] when the store's records about this node cannot be read or belong to
    /// another one.
    pub fn start<S: Store>(
        config: EngineConfig,
        store: Arc<S>,
        links: Arc<dyn PeerLink>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        tasks: Tasks,
    ) -> Result<(Self, Inlet, mpsc::Receiver<Alarm>), StartError> {
        let boot = boot(store.as_ref(), &config.node, entropy)?;
        let cleared = meta::<ClearedPrefixes>(
            store.as_ref(),
            &MetaName::Cleared(Space::USER),
            "cleared prefixes",
        )?;
        let cleared = Arc::new(cleared.unwrap_or_default());
        let namespaces = config.node.namespaces.clone();
        let carried = config.node.domains.iter().copied().collect();
        let node = Node::new(config.node, boot, clock.now());
        let (inputs, inbox) = mpsc::channel(limits::INPUTS_MAX);
        let (status_in, status) = watch::channel(Arc::new(node.status(clock.now())));
        let (cleared_in, cleared) = watch::channel(cleared);
        let (alarms_in, alarms) = mpsc::channel(256);
        let (commits_in, commits) = std_mpsc::sync_channel(1);
        let (reads_in, reads) = mpsc::channel(limits::READS_WAITING_MAX);
        let (pubsub, meter, feed) = (PubSub::default(), Meter::default(), Feed::default());
        let object_feed = objects::Feed::default();
        let (held, recent) = (Arc::new(Held::default()), Arc::new(Recent::default()));
        let world = RealWorld {
            store: store.clone(),
            commits: commits_in,
            reads: reads_in,
            links,
            pubsub: pubsub.clone(),
            held: held.clone(),
            status: status_in,
            cleared: cleared_in,
            alarms: alarms_in.clone(),
            committer: Committer::new(&meter, &recent, (&feed, &object_feed)),
        };
        serve_disk(&store, &inputs, world.committer.clone(), (commits, reads))?;
        let leases = watch::Sender::new(Arc::default());
        let load = Load::default();
        let machine =
            Machine { node, clock: clock.clone(), leases: leases.subscribe(), load: load.clone() };
        spawn_thread("rhumb-loop", move || driver::run(machine, inbox, world))?;
        tick(&tasks, inputs.clone());
        let snapshot_store = store.clone();
        let shared = Shared {
            inputs: inputs.clone(),
            store,
            snapshots: Box::new(move || Box::new(snapshot_store.snapshot())),
            namespaces,
            clock,
            status,
            cleared,
            pubsub,
            held,
            recent,
            requests: Arc::new(AtomicU64::new(1)),
            connections: AtomicU64::new(1),
            tasks,
            nonce: entropy.next_u64(),
            admin: OnceLock::new(),
            strong: OnceLock::new(),
            agreed: OnceLock::new(),
            alarms: alarms_in,
            oversight: OnceLock::new(),
            leases,
            meter,
            load,
            carried,
            calls: OnceLock::new(),
            feed,
            queues: OnceLock::new(),
            object_feed,
            objects: OnceLock::new(),
        };
        Ok((Self { shared: Arc::new(shared) }, Inlet(inputs), alarms))
    }

    /// Executes writes and waits for their acknowledgement.
    ///
    /// Cancel-safe: dropping the future leaves the write's outcome unknown to the caller.
    ///
    /// # Errors
    /// [`WriteError`]; an error of a single op is inside the answer.
    pub async fn write(&self, request: Request) -> Result<Answer, WriteError> {
        let Request { ops, ack, atomic, guard, wait } = request;
        let ack = ack.unwrap_or_else(|| self.ack_of(&ops));
        let mut rows = Vec::new();
        let held = &self.shared.held;
        for op in &ops {
            op.rows(&mut |row| {
                if !held.passes(row) {
                    rows.push(RowId::from(row));
                }
            });
        }
        let reads = reads::read_rows(self.shared.store.as_ref(), rows.into_iter())
            .map_err(WriteError::Store)?;
        let request = RequestId(self.shared.requests.fetch_add(1, Ordering::Relaxed));
        let deadline = self.shared.clock.now().mono + wait;
        let submit = Submit { request, ops, ack, deadline, reads, atomic, guard };
        let (answer, answered) = oneshot::channel();
        let input = Input::Write(Event::Submit(submit), request, answer);
        self.shared.inputs.send(input).await.map_err(|_| WriteError::Stopped)?;
        let answer = answered.await.map_err(|_| WriteError::Stopped)?;
        if matches!(answer, Err(WriteError::Refused(SubmitError::Unconfirmed { .. }))) {
            self.shared.meter.unconfirmed();
        }
        answer
    }

    /// The strictest acknowledgement level of the keys' namespaces.
    fn ack_of(&self, ops: &[Op]) -> AckLevel {
        let mut strictest = AckLevel::Memory;
        let mut named = false;
        for op in ops {
            op.keys(&mut |key| {
                named = true;
                strictest = strictest.max(self.policy(key).ack);
            });
        }
        if named { strictest } else { AckLevel::default() }
    }

    /// The policy of a key's namespace.
    #[must_use]
    pub fn policy(&self, key: &[u8]) -> &NamespacePolicy {
        self.shared.namespaces.policy(key)
    }

    /// Answers a read from the newest commit, or from a snapshot when it reads more than a row.
    ///
    /// # Errors
    /// [`ReadError`] when the query cannot be answered or the store fails.
    pub fn query(&self, query: &Query) -> Result<Reply, ReadError> {
        let now = self.shared.clock.now().wall;
        let one_row = matches!(
            query,
            Query::Get { .. } | Query::StrLen { .. } | Query::GetRange { .. } | Query::Type { .. }
        );
        let reader = if one_row { self.reader() } else { self.snapshot() };
        answer(query, now, &reader)
    }

    /// A source of cells that always shows the newest commit.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        let Shared { store, recent, cleared, .. } = self.shared.as_ref();
        Reader::newest(store.as_ref(), recent, cleared.borrow())
    }

    /// A source of cells that stays as it is.
    #[must_use]
    pub fn snapshot(&self) -> Reader<'static> {
        let cleared = self.shared.cleared.borrow().clone();
        Reader::snapshot((self.shared.snapshots)(), cleared)
    }

    /// A transaction to play through on a snapshot, unseen by anybody else.
    ///
    /// # Errors
    /// [`StoreError`] when the snapshot cannot say what it reflects.
    pub fn rehearsal(&self) -> Result<Rehearsal<Reader<'static>>, StoreError> {
        let snapshot = self.snapshot();
        let applied = match snapshot.store().meta(&MetaName::Applied)? {
            Some(bytes) => VersionVector::decode(&bytes)
                .map_err(|error| StoreError::Record { table: "meta", reason: error.to_string() })?,
            None => VersionVector::new(),
        };
        Ok(Rehearsal::new(snapshot, applied, self.shared.clock.now().wall))
    }

    /// The clock that the node runs on.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.shared.clock.as_ref()
    }

    /// The node, as it last described itself.
    #[must_use]
    pub fn status(&self) -> Arc<NodeStatus> {
        self.shared.status.borrow().clone()
    }

    /// Counts and times commits, and unconfirmed writes, in some metrics from now on.
    pub fn measure(&self, metrics: &Arc<Metrics>) {
        self.shared.meter.show(metrics);
    }

    /// The policies of all keys that this node applies.
    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.shared.namespaces
    }

    /// Whether the node takes writes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let status = self.status();
        status.phase == Phase::Running && status.clock_ok
    }

    /// Waits until this node has applied a vector; says whether it has.
    pub async fn has_applied(&self, vector: &VersionVector, wait: Duration) -> bool {
        let mut status = self.shared.status.clone();
        let applied = status.wait_for(|status| status.durable.includes(vector));
        matches!(tokio::time::timeout(wait, applied).await, Ok(Ok(_)))
    }

    /// How many other regions have fsynced what was written, waiting for some number of them.
    pub async fn wait_acks(
        &self,
        written: Option<VersionVector>,
        regions: usize,
        wait: Duration,
    ) -> usize {
        let request = RequestId(self.shared.requests.fetch_add(1, Ordering::Relaxed));
        let deadline = self.shared.clock.now().mono + wait;
        let event = Event::WaitAcks(WaitAcks { request, written, regions, deadline });
        let (answer, answered) = oneshot::channel();
        if self.shared.inputs.send(Input::Wait(event, request, answer)).await.is_err() {
            return 0;
        }
        answered.await.unwrap_or(0)
    }

    /// A new connection's name.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        ConnectionId(self.shared.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// Watches keys for a connection, from before any later read of that connection; returns when
    /// reads see everything that was executed before.
    pub async fn watch(&self, connection: ConnectionId, keys: Vec<Bytes>) {
        self.tell(Event::Watch { connection, keys }).await;
        // What was executed before may still be in flight, where no read sees it and no watch
        // notices it: a write of nothing is answered after it. A node that refuses it refuses the
        // guarded write too.
        let nothing = Request { ack: Some(AckLevel::Memory), ..Request::new(Vec::new()) };
        let _refused = self.write(nothing).await;
    }

    /// Ends the watches of a connection.
    pub async fn unwatch(&self, connection: ConnectionId) {
        self.tell(Event::Unwatch { connection }).await;
    }

    /// Publishes a message in every region; says how many subscribers of this one it reaches.
    pub async fn publish(&self, channel: Bytes, payload: Bytes) -> usize {
        let reached = self.shared.pubsub.count(&channel);
        self.tell(Event::Publish { channel, payload }).await;
        reached
    }

    /// A subscriber without subscriptions yet.
    #[must_use]
    pub fn subscriber(&self) -> Subscription {
        self.shared.pubsub.subscriber()
    }

    /// Channels with subscribers on this node, and how many patterns are subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> (Vec<(Bytes, usize)>, usize) {
        (self.shared.pubsub.channels(), self.shared.pubsub.patterns())
    }

    /// Gives the engine its consensus groups, once they run.
    ///
    /// # Panics
    /// When it has them already.
    pub fn attach(&self, agreement: Agreement) {
        let Agreement { admin, views, strong, shown } = agreement;
        let clock = || self.shared.clock.clone();
        let strong = StrongClient::new(strong, clock(), self.shared.nonce);
        let admin = Arc::new(AdminClient::new(admin, clock(), views));
        let fresh = self.shared.strong.set(strong).is_ok()
            && self.shared.agreed.set(shown).is_ok()
            && self.shared.admin.set(admin).is_ok();
        assert!(fresh, "the consensus groups are attached once");
    }

    /// The strong namespaces; `None` until the groups are attached.
    #[must_use]
    pub fn strong(&self) -> Option<&StrongClient> {
        self.shared.strong.get()
    }

    /// The administrative group; `None` until the groups are attached.
    #[must_use]
    pub fn admin(&self) -> Option<&AdminClient> {
        self.shared.admin.get().map(Arc::as_ref)
    }

    pub(crate) fn admin_handle(&self) -> Option<Arc<AdminClient>> {
        self.shared.admin.get().cloned()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The task group of this node.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.shared.tasks
    }

    /// Ends the loop once everything accepted is committed, durable and answered.
    pub async fn stop(&self) {
        if let Some(queues) = self.shared.queues.get() {
            queues.stop().await;
        }
        // A closed channel means that it has stopped already.
        let _stopped = self.shared.inputs.send(Input::Stop).await;
        // What was answered before its fsync gets that by a tick, and the group's are over by now.
        let ended = send_ticks(self.shared.inputs.clone());
        let _late = tokio::time::timeout(limits::SHUTDOWN_WAIT_MAX, ended).await;
    }

    async fn tell(&self, event: Event) {
        // A node that has stopped hears nothing more.
        let _stopped = self.shared.inputs.send(Input::Event(event)).await;
    }
}

/// Starts the threads that wait for the disk.
fn serve_disk<S: Store>(
    store: &Arc<S>,
    inputs: &mpsc::Sender<Input>,
    committer: Committer,
    (commits, reads): (std_mpsc::Receiver<Commit>, mpsc::Receiver<Read>),
) -> Result<(), StartError> {
    let (commit_store, commit_inputs) = (store.clone(), inputs.clone());
    spawn_thread("rhumb-commit", move || {
        run_commits(commit_store.as_ref(), &commits, &commit_inputs, &committer);
    })?;
    let (read_store, read_inputs) = (store.clone(), inputs.clone());
    spawn_thread("rhumb-read", move || rows::run(read_store.as_ref(), reads, &read_inputs))
}

pub(crate) fn spawn_thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), StartError> {
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

fn tick(tasks: &Tasks, inputs: mpsc::Sender<Input>) {
    // Who waits for an acknowledgement that does not come is answered by a tick.
    tasks.spawn_until_drained(send_ticks(inputs));
}

/// Ticks until the loop has ended.
async fn send_ticks(inputs: mpsc::Sender<Input>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(Event::TICK_MILLIS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while inputs.send(Input::Event(Event::Tick)).await.is_ok() {
        ticks.tick().await;
    }
}
