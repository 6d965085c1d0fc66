//! The clients of the consensus groups, on groups in memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rhumb_engine::{
    AdminError, Agreement, Engine, EngineConfig, HostedAdmin, HostedStrong, OsEntropy, StrongError,
    StrongRequest, SystemClock, Tasks,
};
use rhumb_node::{NodeConfig, Retention};
use rhumb_ports::{
    BoxFuture,
    contract::control::MemoryControl,
    control::{Control, ControlError, GroupStatus},
    memory::MemoryDisk,
    peer::{PeerLink, PeerMessage, SendError},
};
use rhumb_state::{Namespaces, Op, Query, Reply, strong::StrongStep};
use rhumb_types::{
    ClusterId, NodeId, RegionId,
    control::{AdminCommand, AdminOutcome, AdminRefusal, Digest, Member, MemberRole, QueueAct},
    record::QueueName,
};

const KEY: Bytes = Bytes::from_static(b"lock:a");

#[derive(Debug)]
struct NoPeers;

impl PeerLink for NoPeers {
    fn send(&self, to: &RegionId, _message: PeerMessage) -> Result<(), SendError> {
        Err(SendError::Down(to.clone()))
    }
}

/// A group that loses some answers after it has agreed.
#[derive(Debug)]
struct Forgetful {
    group: MemoryControl,
    lose: AtomicU32,
}

impl Control for Forgetful {
    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>> {
        Box::pin(async move {
            let answer = self.group.propose(command).await?;
            let lose = |left: u32| left.checked_sub(1);
            match self.lose.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lose) {
                Ok(_) => Err(ControlError::Unknown),
                Err(_) => Ok(answer),
            }
        })
    }
    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>> {
        self.group.read(query)
    }
    fn read_local(&self, query: &[u8]) -> Bytes {
        self.group.read_local(query)
    }
    fn status(&self) -> GroupStatus {
        self.group.status()
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

fn region() -> RegionId {
    RegionId::new("solo").unwrap()
}

/// An engine whose groups lose their first answers.
fn start(lose: u32) -> (Engine, Arc<Forgetful>) {
    let node = NodeConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region: region(),
        witness: false,
        domains: Default::default(),
        namespaces: Namespaces::default(),
        retention: Retention::default(),
        heartbeat_interval: Duration::from_millis(100),
        members: vec![],
    };
    let store = Arc::new(MemoryDisk::new().open());
    let clock = Arc::new(SystemClock::default());
    let config = EngineConfig { node };
    let (engine, _inlet, _alarms) =
        Engine::start(config, store, Arc::new(NoPeers), clock, &OsEntropy, Tasks::new()).unwrap();
    let (hosted, views) = HostedAdmin::new();
    let admin = MemoryControl::new(hosted, NodeId(1), region());
    let (hosted, shown) = HostedStrong::new();
    let strong = MemoryControl::new(hosted, NodeId(1), region());
    let strong = Arc::new(Forgetful { group: strong, lose: AtomicU32::new(lose) });
    assert!(engine.strong().is_none());
    engine.attach(Agreement { admin: Arc::new(admin), views, strong: strong.clone(), shown });
    (engine, strong)
}

fn increment() -> StrongRequest {
    StrongRequest::new(vec![StrongStep::Write(Op::IncrBy { key: KEY, by: 1 })])
}

#[tokio::test]
async fn a_command_whose_answer_was_lost_takes_effect_once() {
    let (engine, _) = start(2);
    let answer = engine.strong().unwrap().execute(increment()).await.unwrap();
    assert_eq!(answer.replies, [Reply::Int(1)]);
    let value = engine.strong().unwrap().query(Query::Get { key: KEY }).await.unwrap();
    assert_eq!(value, Reply::Bytes(Bytes::from_static(b"1")));
}

#[tokio::test]
async fn a_fence_is_that_of_the_entry_which_made_the_key() {
    let (engine, _) = start(0);
    let strong = engine.strong().unwrap();
    assert_eq!(strong.fence(KEY).await, Ok(None));
    let answer = strong.execute(increment()).await.unwrap();
    assert!(answer.fence.is_some());
    assert_eq!(strong.fence(KEY).await, Ok(answer.fence));
}

#[tokio::test]
async fn a_watched_key_that_changed_refuses_the_command() {
    let (engine, _) = start(0);
    let strong = engine.strong().unwrap();
    let versions = strong.versions(vec![KEY]).await.unwrap();
    strong.execute(increment()).await.unwrap();
    let if_unchanged = vec![(KEY, versions[0])];
    let refused = strong.execute(StrongRequest { if_unchanged, ..increment() }).await;
    assert_eq!(refused, Err(StrongError::Changed));
}

#[tokio::test]
async fn without_a_majority_the_deadline_is_kept() {
    let (engine, group) = start(0);
    group.group.set_reachable(false);
    let request = StrongRequest { wait: Duration::from_millis(200), ..increment() };
    let began = std::time::Instant::now();
    let refused = engine.strong().unwrap().execute(request).await.unwrap_err();
    assert!(matches!(refused, StrongError::Control(ControlError::NoLeader { .. })), "{refused}");
    assert!(began.elapsed() >= Duration::from_millis(100), "it gave up at once");
    assert!(began.elapsed() < Duration::from_secs(2), "it kept trying");
}

fn form() -> AdminCommand {
    AdminCommand::Form {
        cluster: ClusterId(7),
        members: vec![Member {
            node: NodeId(1),
            region: region(),
            role: MemberRole::Voter,
            address: "solo:7401".to_owned(),
            fingerprint: Digest([1; 32]),
            reads: rhumb_ports::peer::PROTOCOL_VERSION,
        }],
    }
}

#[tokio::test]
async fn what_is_asked_before_the_cluster_is_formed_waits_for_it() {
    let (engine, _) = start(0);
    let admin = engine.admin().unwrap();
    let queue = QueueName::new("jobs").unwrap();
    let note = AdminCommand::NoteQueue { queue, act: QueueAct::Create };
    // The first is asked before the second is.
    let (noted, formed) =
        tokio::join!(admin.propose("op", "early", note), admin.propose("node:1", "first", form()));
    assert_eq!((noted, formed), (Ok(AdminOutcome::Done), Ok(AdminOutcome::Done)));
}

#[tokio::test]
async fn an_agreed_command_shows_in_the_view_at_once() {
    let (engine, _) = start(0);
    let admin = engine.admin().unwrap();
    let mut views = admin.views();
    assert_eq!(views.borrow_and_update().cluster, None);
    assert_eq!(admin.propose("node:1", "first", form()).await, Ok(AdminOutcome::Done));
    assert!(views.has_changed().unwrap());
    assert_eq!(admin.view().cluster, Some(ClusterId(7)));
    let again = admin.propose("node:1", "first", form()).await;
    assert_eq!(again, Err(AdminError::Refused(AdminRefusal::AlreadyFormed)));
}
