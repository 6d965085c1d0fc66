//! The queues of one node: on its loop, its threads and its store, over restarts.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_engine::{
    AgreedQueues, Agreement, DefineError, Engine, EngineConfig, EnqueueRequest, Expect, HomeChoice,
    HostedAdmin, HostedStrong, OsEntropy, OversightConfig, QueueClient, QueuesConfig,
    ReceiveRequest, StrongError, StrongRequest, SystemClock, Taken, Tasks,
    node::oversee::OverseerConfig,
    queue::{Config, Leased, NewJob, Place, Refused},
    random_id,
};
use rhumb_node::{NodeConfig, Retention};
use rhumb_ports::{
    contract::control::MemoryControl,
    memory::MemoryDisk,
    peer::{PeerLink, PeerMessage, SendError},
};
use rhumb_regions::{
    DriftBound, Facts, HealthConfig, Policy, RegionFacts, audit::AuditKey, registry::Region,
};
use rhumb_state::{Namespaces, Op, strong::StrongStep};
use rhumb_types::{
    ClusterId, ErrorCode, NodeId, RegionId,
    control::{ControlView, Digest, Member, MemberRole},
    record::{JobKey, Progress, QueueDefinition, QueueName},
};
use tokio::sync::watch;

#[derive(Debug)]
struct NoPeers;

impl PeerLink for NoPeers {
    fn send(&self, to: &RegionId, _message: PeerMessage) -> Result<(), SendError> {
        Err(SendError::Down(to.clone()))
    }
}

fn here() -> RegionId {
    RegionId::new("us-east-1").unwrap()
}

fn queue() -> QueueName {
    QueueName::new("jobs").unwrap()
}

fn oversight() -> OversightConfig {
    let member = Member {
        node: NodeId(1),
        region: here(),
        role: MemberRole::Voter,
        address: "host:7401".to_owned(),
        fingerprint: Digest([1; 32]),
        reads: 1,
    };
    let overseer = OverseerConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region: here(),
        founders: vec![member],
        domains: Default::default(),
        health: HealthConfig::fast(),
        failover: Default::default(),
        facts: Facts {
            version: 1,
            here: here(),
            regions: vec![RegionFacts::new(Region::new(here(), "host:1"))],
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        },
        audit: Some(AuditKey::new([7; 32])),
    };
    OversightConfig { overseer, hooks: Arc::new(|_name| Box::pin(async { Ok(()) })) }
}

struct Node {
    engine: Engine,
    queues: QueueClient,
}

/// The groups, which outlive a node.
#[derive(Clone)]
struct Groups {
    admin: Arc<MemoryControl>,
    views: watch::Receiver<Arc<ControlView>>,
    strong: Arc<MemoryControl>,
    queues: watch::Receiver<Arc<AgreedQueues>>,
}

impl Groups {
    fn new() -> Self {
        let (hosted, views) = HostedAdmin::new();
        let admin = Arc::new(MemoryControl::new(hosted, NodeId(1), here()));
        let (hosted, queues) = HostedStrong::new();
        let strong = Arc::new(MemoryControl::new(hosted, NodeId(1), here()));
        Self { admin, views, strong, queues }
    }
}

/// A node on a disk of its own.
async fn alone() -> Node {
    start(&MemoryDisk::new(), Groups::new(), true).await
}

/// A node on a disk; without a majority for anything when `agrees` is false.
async fn start(disk: &MemoryDisk, groups: Groups, agrees: bool) -> Node {
    let node = NodeConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region: here(),
        witness: false,
        domains: Default::default(),
        namespaces: Namespaces::default(),
        retention: Retention::default(),
        heartbeat_interval: Duration::from_millis(100),
        members: vec![],
    };
    let clock = Arc::new(SystemClock::default());
    let config = EngineConfig { node };
    let store = Arc::new(disk.open());
    let (engine, _inlet, _alarms) =
        Engine::start(config, store, Arc::new(NoPeers), clock, &OsEntropy, Tasks::new()).unwrap();
    let Groups { admin, views, strong, queues } = groups;
    admin.set_reachable(agrees);
    strong.set_reachable(agrees);
    engine.attach(Agreement { admin, views, strong, queues });
    engine.oversee(oversight());
    let seed = BTreeMap::from([(QueueName::new("seeded").unwrap(), QueueDefinition::default())]);
    let machine =
        Config { region: here(), regions: 1, drift: DriftBound::default(), spillover: None };
    engine.start_queues(QueuesConfig { machine, seed }).unwrap();
    let queues = engine.queues().unwrap();
    if agrees {
        let ready = async {
            while engine.may_act(&here()).is_none() || queues.definitions().borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ready).await.unwrap();
    }
    Node { engine, queues }
}

impl Node {
    async fn define(&self, definition: QueueDefinition) {
        self.queues.define(queue(), definition, Expect::Absent).await.unwrap();
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Vec<Result<Taken, Refused>> {
        let home = HomeChoice::Auto;
        self.queues.enqueue(EnqueueRequest { queue: queue(), home, jobs }).await.unwrap()
    }

    async fn add(&self, body: &str) -> Taken {
        self.enqueue(vec![job(body)]).await.remove(0).unwrap()
    }

    async fn receive_for(&self, wait: Duration) -> Vec<Leased> {
        let (jobs_max, visibility, worker) = (10, None, "w".into());
        let request = ReceiveRequest { queue: queue(), jobs_max, visibility, wait, worker };
        self.queues.receive(request).await.unwrap()
    }

    async fn receive(&self) -> Vec<Leased> {
        self.receive_for(Duration::from_secs(2)).await
    }

    async fn stop(self) {
        assert!(self.engine.tasks().stop().await);
        self.engine.stop().await;
    }
}

fn job(body: &str) -> NewJob {
    NewJob::new(random_id(&OsEntropy), Bytes::copy_from_slice(body.as_bytes()), Vec::new())
}

fn bodies(leased: &[Leased]) -> Vec<&str> {
    leased.iter().map(|it| std::str::from_utf8(&it.job.body).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_taken_in_leased_and_completed() {
    let node = alone().await;
    node.define(QueueDefinition::default()).await;
    let mut finished = node.queues.finished();
    let taken = node.add("one").await;
    assert_eq!((taken.home, taken.pinned, taken.duplicate), (here(), false, None));
    let leased = node.receive().await;
    assert_eq!(bodies(&leased), ["one"]);
    let receipt = leased.into_iter().next().unwrap().receipt;
    assert_eq!(node.queues.complete(vec![receipt.clone(), receipt.clone()]).await.len(), 2);
    let event = finished.recv().await.unwrap();
    assert_eq!((event.key.id, event.completed), (taken.id, true));
    let late = node.queues.extend(receipt, Duration::from_secs(9)).await;
    assert_eq!(late.map_err(|refused| refused.code()), Err(ErrorCode::NotFound));
    let key = JobKey { queue: queue(), id: taken.id };
    let view = node.queues.job(&key).await.unwrap().unwrap();
    assert!(matches!(view.job.progress, Progress::Ended { .. }) && view.whereabouts.is_none());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_crash_and_is_leased_again() {
    let disk = MemoryDisk::new();
    let groups = Groups::new();
    let node = start(&disk, groups.clone(), true).await;
    node.define(QueueDefinition::default()).await;
    let jobs: Vec<NewJob> = ["a", "b", "c"].into_iter().map(job).collect();
    assert!(node.enqueue(jobs).await.iter().all(Result::is_ok));
    assert_eq!(node.receive().await.len(), 3);
    let again = start(&disk.durable_image(), groups, true).await;
    // They may be with a worker still, so nobody gets them.
    assert!(again.receive_for(Duration::from_millis(300)).await.is_empty());
    let stats = again.queues.stats(&queue()).await;
    assert_eq!(stats.get(&here()).unwrap().held, 3);
    // What comes now is leased at once.
    again.add("d").await;
    assert_eq!(bodies(&again.receive().await), ["d"]);
    again.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_work_while_no_group_answers() {
    let disk = MemoryDisk::new();
    let groups = Groups::new();
    let node = start(&disk, groups, true).await;
    node.define(QueueDefinition::default()).await;
    node.stop().await;
    // Not even what was agreed is there until a group answers.
    let node = start(&disk, Groups::new(), false).await;
    // Nobody holds a lease, so the work is pinned to who takes it in (rule 5).
    let taken = node.add("one").await;
    assert_eq!((taken.home, taken.pinned), (here(), true));
    let leased = node.receive().await;
    assert_eq!(bodies(&leased), ["one"]);
    let receipts = leased.into_iter().map(|it| it.receipt).collect();
    assert_eq!(node.queues.complete(receipts).await, [Ok(())]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_gets_the_job_that_comes_and_one_that_is_gone_loses_none() {
    let node = alone().await;
    node.define(QueueDefinition::default()).await;
    for _ in 0..50 {
        let gone = tokio::time::timeout(Duration::from_millis(1), node.receive()).await;
        assert!(gone.is_err());
        let polled = node.receive();
        let (leased, taken) = tokio::join!(polled, node.add("one"));
        assert_eq!(leased.len(), 1);
        assert_eq!(leased[0].receipt.key.id, taken.id);
        node.queues.release(leased[0].receipt.clone()).await.unwrap();
        // Somebody who goes away just as the job is leased to them.
        let hasty = tokio::time::timeout(Duration::from_micros(200), node.receive()).await;
        let held = match hasty {
            Ok(leased) => leased,
            Err(_gone) => node.receive().await,
        };
        let receipts = held.into_iter().map(|it| it.receipt).collect();
        assert_eq!(node.queues.complete(receipts).await, [Ok(())]);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_one_job_and_other_parameters_are_refused() {
    let node = alone().await;
    node.define(QueueDefinition::default()).await;
    let keyed = |body: &str| NewJob { key: Some("k".to_owned()), ..job(body) };
    let results = node.enqueue(vec![keyed("a"), keyed("a"), keyed("b")]).await;
    let [Ok(first), Ok(second), Err(third)] = &results[..] else { panic!("{results:?}") };
    assert_eq!((first.id, first.duplicate.is_some()), (second.id, false));
    assert!(second.duplicate.is_some());
    assert_eq!(third, &Refused::ChangedParameters { id: first.id });
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_agreed_listed_purged_and_deleted() {
    let node = alone().await;
    node.define(QueueDefinition::default()).await;
    let again = node.queues.define(queue(), QueueDefinition::default(), Expect::Absent).await;
    assert_eq!(again, Err(DefineError::Changed(queue())));
    let wrong = QueueDefinition { attempts_max: Some(0), ..QueueDefinition::default() };
    let refused = node.queues.define(queue(), wrong, Expect::Any).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Invalid);
    let tags = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    node.queues.tag(queue(), tags.clone()).await.unwrap();
    let stale = node.queues.define(queue(), QueueDefinition::default(), Expect::Version(1)).await;
    assert_eq!(stale, Err(DefineError::Changed(queue())));
    let agreed = node.queues.agreed().borrow().clone();
    assert_eq!(agreed.queues.get(&queue()).unwrap().entry.tags, tags);
    for nth in 0..7 {
        node.add(&nth.to_string()).await;
    }
    let first = node.queues.jobs(&queue(), Some(Place::Ready), None, 4).await.unwrap();
    let rest = node.queues.jobs(&queue(), None, Some(first[3].id), 9).await.unwrap();
    assert_eq!((first.len(), rest.len()), (4, 3));
    node.queues.delete(&queue()).await.unwrap();
    assert!(node.queues.jobs(&queue(), None, None, 9).await.unwrap().is_empty());
    let jobs = vec![job("late")];
    let request = EnqueueRequest { queue: queue(), home: HomeChoice::Auto, jobs };
    let gone = node.queues.enqueue(request).await.unwrap().remove(0);
    assert_eq!(gone, Err(Refused::NoQueue(queue())));
    // A queue of the file that was deleted does not come back with the file.
    node.queues.delete(&QueueName::new("seeded").unwrap()).await.unwrap();
    assert!(node.queues.definitions().borrow().is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_strong_namespaces_do_not_reach_what_nodes_agree_on() {
    let node = alone().await;
    let key = Bytes::from_static(b"\0rhumb\0queue\0seeded");
    let strong = node.engine.strong().unwrap();
    let write = StrongStep::Write(Op::Del { keys: vec![key.clone()] });
    let refused = strong.execute(StrongRequest::new(vec![write])).await.unwrap_err();
    assert_eq!(refused, StrongError::Reserved);
    assert_eq!(strong.fence(key.clone()).await, Err(StrongError::Reserved));
    assert_eq!(strong.versions(vec![key]).await, Err(StrongError::Reserved));
    let size = strong.query(rhumb_state::Query::DbSize).await.unwrap();
    assert_eq!(size, rhumb_state::Reply::Int(0));
    node.stop().await;
}
