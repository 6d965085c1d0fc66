//! An engine with its overseer, on a group in memory: it forms, owns, routes, is operated, and
//! routes on without its control plane.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{sync::Arc, time::Duration};

use rhumb_engine::{
    Agreement, Engine, EngineConfig, HostedAdmin, HostedStrong, OperateError, Operation, OsEntropy,
    OversightConfig, OwnedRequest, Request, SystemClock, Tasks, WriteError,
    node::oversee::OverseerConfig,
};
use rhumb_node::{NodeConfig, Retention, SubmitError};
use rhumb_ports::{
    contract::control::MemoryControl,
    memory::MemoryDisk,
    peer::{PeerLink, PeerMessage, SendError},
};
use rhumb_regions::{
    Facts, FailoverConfig, HealthConfig, Key, Policy, RegionFacts, Request as Asked,
    audit::AuditKey, registry::Region,
};
use rhumb_state::{
    Namespaces, Op,
    owned::{OwnedOp, Refusal},
};
use rhumb_types::{
    AckLevel, ClusterId, Epoch, ErrorCode, NodeId, RegionId,
    control::{AdminCommand, AdminState, Digest, FailoverState, Member, MemberRole},
    record::{OwnedId, OwnedState},
};

/// Requests in flight that a node is made for.
const REQUESTS_CAPACITY: u32 = 20;

#[derive(Debug)]
struct NoPeers;

impl PeerLink for NoPeers {
    fn send(&self, to: &RegionId, _message: PeerMessage) -> Result<(), SendError> {
        Err(SendError::Down(to.clone()))
    }
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn member(node: u64, name: &str) -> Member {
    Member {
        node: NodeId(node),
        region: region(name),
        role: MemberRole::Voter,
        address: format!("{name}:7401"),
        fingerprint: Digest([u8::try_from(node).unwrap(); 32]),
        reads: rhumb_ports::peer::PROTOCOL_VERSION,
    }
}

fn oversight() -> OversightConfig {
    let known = |name: &str| {
        let mut own = Region::new(region(name), "host:1");
        own.capacity.requests = REQUESTS_CAPACITY;
        RegionFacts::new(own)
    };
    let overseer = OverseerConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region: region("us-east-1"),
        founders: vec![member(1, "us-east-1"), member(2, "eu-west-1")],
        domains: Default::default(),
        health: HealthConfig::fast(),
        failover: FailoverConfig { watch_for: Duration::from_millis(100), ..Default::default() },
        facts: Facts {
            version: 1,
            here: region("us-east-1"),
            regions: vec![known("us-east-1"), known("eu-west-1")],
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        },
        audit: Some(AuditKey::new([7; 32])),
    };
    OversightConfig { overseer, hooks: Arc::new(|_name| Box::pin(async { Ok(()) })) }
}

struct Running {
    engine: Engine,
    tasks: Tasks,
}

/// An engine on a disk; without a majority when `reachable` is false.
fn start(disk: &MemoryDisk, reachable: bool) -> Running {
    let node = NodeConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region: region("us-east-1"),
        witness: false,
        domains: Default::default(),
        namespaces: Namespaces::default(),
        retention: Retention::default(),
        heartbeat_interval: Duration::from_millis(100),
        members: vec![],
    };
    let (store, tasks) = (Arc::new(disk.open()), Tasks::new());
    let clock = Arc::new(SystemClock::default());
    let (engine, _inlet, _alarms) = Engine::start(
        EngineConfig { node },
        store,
        Arc::new(NoPeers),
        clock,
        &OsEntropy,
        tasks.clone(),
    )
    .unwrap();
    let (hosted, views) = HostedAdmin::new();
    let admin = MemoryControl::new(hosted, NodeId(1), region("us-east-1"));
    admin.set_reachable(reachable);
    let (hosted, shown) = HostedStrong::new();
    let strong = MemoryControl::new(hosted, NodeId(1), region("us-east-1"));
    engine.attach(Agreement { admin: Arc::new(admin), views, strong: Arc::new(strong), shown });
    engine.oversee(oversight());
    Running { engine, tasks }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} never happened");
}

fn operation(key: &str) -> Operation {
    let (actor, reason) = ("ops".to_owned(), "drill".to_owned());
    Operation { actor, reason, key: key.to_owned(), strategy: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_forms_its_cluster_owns_its_region_and_routes() {
    let disk = MemoryDisk::new();
    let Running { engine, .. } = start(&disk, true);
    let here = region("us-east-1");
    until("the lease", || engine.may_act(&here) == Some(Epoch(1))).await;
    assert_eq!(engine.admin().unwrap().view().members.len(), 2);
    assert_eq!(engine.may_act(&region("eu-west-1")), None);
    let plan = engine.plan(&Asked::default()).unwrap();
    assert!(!plan.regions.is_empty());
    // A key has one home, whoever asks and how often.
    let home = engine.home(&Key::new(b"user:1"), &[]).unwrap();
    assert_eq!(engine.home(&Key::new(b"user:1"), &[]).unwrap(), home);
}

fn job(name: &str) -> OwnedId {
    OwnedId { table: 1, key: name.to_owned().into() }
}

fn put(name: &str) -> Vec<OwnedOp> {
    vec![OwnedOp::Put { id: job(name), payload: "work".into() }]
}

#[tokio::test(flavor = "multi_thread")]
async fn owned_rows_are_written_under_the_lease_of_their_home_or_pinned() {
    let disk = MemoryDisk::new();
    let Running { engine, .. } = start(&disk, true);
    let (here, eu) = (region("us-east-1"), region("eu-west-1"));
    until("the lease", || engine.may_act(&here) == Some(Epoch(1))).await;
    let answer = engine.own(OwnedRequest::new(here.clone(), put("ours"))).await.unwrap();
    assert_eq!((answer.rows[0].pinned, answer.rows[0].epoch), (false, Epoch(1)));
    // Nobody holds that lease: it is taken in all the same, and is this region's work.
    let answer = engine.own(OwnedRequest::new(eu, put("theirs"))).await.unwrap();
    assert_eq!((answer.rows[0].pinned, &answer.rows[0].home), (true, &here));
    let done = |receipt| OwnedOp::Change {
        id: job("ours"),
        receipt: Epoch(receipt),
        state: OwnedState::Done,
        payload: "done".into(),
    };
    let stale = engine.own(OwnedRequest::new(here.clone(), vec![done(0)])).await;
    let why = Refusal::StaleEpoch { receipt: Epoch(0), current: Epoch(1) };
    assert_eq!(stale, Err(WriteError::Refused(SubmitError::NotOwner(why))));
    let answer = engine.own(OwnedRequest::new(here, vec![done(1)])).await.unwrap();
    assert_eq!((answer.rows[0].state, answer.rows[0].sequence), (OwnedState::Done, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_too_many_requests_in_flight_is_full_until_they_are_answered() {
    let disk = MemoryDisk::new();
    let Running { engine, tasks } = start(&disk, true);
    let here = region("us-east-1");
    let full = || {
        let snapshot = engine.routing().unwrap();
        let own = snapshot.region(snapshot.index(&here).unwrap());
        own.utilisation.get() >= rhumb_regions::load::SATURATED_FROM
    };
    assert!(!full());
    // Nobody else is there to acknowledge them: they wait until their time is over.
    let (answered, mut answers) = tokio::sync::mpsc::channel(1);
    for nth in 0..REQUESTS_CAPACITY {
        let add = Op::SAdd { key: format!("k{nth}").into(), members: vec!["v".into()] };
        let wait = Duration::from_secs(3);
        let request = Request { ack: Some(AckLevel::OneRemote), wait, ..Request::new(vec![add]) };
        let (engine, answered) = (engine.clone(), answered.clone());
        tasks.spawn(async move { answered.send(engine.write(request).await).await.unwrap() });
    }
    until("the node is full", full).await;
    for _ in 0..REQUESTS_CAPACITY {
        let answer = answers.recv().await.unwrap();
        assert_eq!(answer.unwrap_err().code(), ErrorCode::Unconfirmed);
    }
    until("the node has room again", || !full()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_moves_a_dead_regions_lease_here() {
    let disk = MemoryDisk::new();
    let Running { engine, .. } = start(&disk, true);
    until("the cluster", || engine.admin().unwrap().view().cluster.is_some()).await;
    let eu = region("eu-west-1");
    let dry_run = engine.dry_run(&eu).unwrap();
    assert_eq!(dry_run.successor, Some(region("us-east-1")));
    let record = engine.failover(&eu, operation("once")).await.unwrap();
    let again = engine.failover(&eu, operation("once")).await.unwrap();
    assert_eq!(again.id, record.id, "one key starts one failover");
    until("the takeover", || engine.may_act(&eu).is_some()).await;
    for _ in 0..500 {
        if engine.failover_record(record.id).await.unwrap().state.is_closed() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let record = engine.failover_record(record.id).await.unwrap();
    assert_eq!(record.state, FailoverState::Succeeded, "{:?}", record.steps);
    let late = engine.cancel_failover(record.id, &operation("")).await;
    assert_eq!(late, Err(OperateError::PastReturn(record.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_a_control_plane_routes_on_what_was_agreed() {
    let disk = MemoryDisk::new();
    let Running { engine, tasks } = start(&disk, true);
    until("the cluster", || engine.admin().unwrap().view().cluster.is_some()).await;
    let (eu, state) = (region("eu-west-1"), AdminState::Disabled);
    let command = AdminCommand::SetRegionState { region: eu.clone(), state, expected: None };
    engine.admin().unwrap().propose("ops", "drill", command).await.unwrap();
    let admin_state = |engine: &Engine| {
        let routing = engine.routing().unwrap();
        routing.region(routing.index(&region("eu-west-1")).unwrap()).admin
    };
    until("the state in routing", || admin_state(&engine) == AdminState::Disabled).await;
    // What is remembered goes with the next commit; a stop commits what has gathered.
    tasks.stop().await;
    engine.stop().await;
    drop(engine);
    let Running { engine, .. } = start(&disk, false);
    assert_eq!(admin_state(&engine), AdminState::Disabled, "from the first moment");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(admin_state(&engine), AdminState::Disabled, "an empty group does not undo it");
    assert_eq!(engine.may_act(&region("us-east-1")), None, "nothing is owned without a lease");
}
