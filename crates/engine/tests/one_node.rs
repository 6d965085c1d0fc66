//! One node without peers, on a store in memory: writes, reads, watches, pub/sub, shutdown.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_engine::{Engine, EngineConfig, OsEntropy, Request, SystemClock, Tasks, WriteError};
use rhumb_node::{NodeConfig, Retention, SubmitError};
use rhumb_ports::{
    memory::MemoryDisk,
    peer::{PeerLink, PeerMessage, SendError},
};
use rhumb_state::{
    Namespace, NamespacePolicy, Namespaces, Op, Query, Reply,
    op::{Deadline, Presence, SetExpiry},
    query::TtlForm,
};
use rhumb_types::{AckLevel, ClusterId, NodeId, RegionId};

#[derive(Debug)]
struct NoPeers;

impl PeerLink for NoPeers {
    fn send(&self, to: &RegionId, _message: PeerMessage) -> Result<(), SendError> {
        Err(SendError::Down(to.clone()))
    }
}

fn start(disk: &MemoryDisk) -> Engine {
    start_with(disk, Namespaces::default())
}

fn start_with(disk: &MemoryDisk, namespaces: Namespaces) -> Engine {
    let region = RegionId::new("solo").unwrap();
    let node = NodeConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region,
        witness: false,
        domains: Default::default(),
        namespaces,
        retention: Retention::default(),
        heartbeat_interval: Duration::from_millis(100),
        members: vec![],
    };
    let store = Arc::new(disk.open());
    let clock = Arc::new(SystemClock::default());
    let config = EngineConfig { node };
    let (engine, _inlet, _alarms) =
        Engine::start(config, store, Arc::new(NoPeers), clock, &OsEntropy, Tasks::new()).unwrap();
    engine
}

fn set(key: &str, value: &str) -> Op {
    Op::Set {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        when: Presence::Any,
        get: false,
        expiry: SetExpiry::Clear,
    }
}

fn get(engine: &Engine, key: &str) -> Reply {
    engine.query(&Query::Get { key: Bytes::copy_from_slice(key.as_bytes()) }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_read_and_survives_a_restart() {
    let disk = MemoryDisk::new();
    let engine = start(&disk);
    let answer = engine.write(Request::new(vec![set("k", "v"), set("l", "w")])).await.unwrap();
    assert_eq!(answer.replies, [Reply::Ok, Reply::Ok]);
    assert_eq!(get(&engine, "k"), Reply::Bytes(Bytes::from_static(b"v")));
    engine.stop().await;
    disk.crash(0);
    let engine = start(&disk);
    assert_eq!(get(&engine, "l"), Reply::Bytes(Bytes::from_static(b"w")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_no_other_region_confirms_says_so() {
    let engine = start(&MemoryDisk::new());
    let mut request = Request::new(vec![set("k", "v")]);
    request.ack = Some(AckLevel::OneRemote);
    request.wait = Duration::from_millis(30);
    let refused = engine.write(request).await.unwrap_err();
    assert_eq!(refused, WriteError::Refused(SubmitError::Unconfirmed { wanted: 1, had: 0 }));
    assert_eq!(get(&engine, "k"), Reply::Bytes(Bytes::from_static(b"v")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_confirmation_does_not_hold_up_a_stop() {
    let engine = start(&MemoryDisk::new());
    let mut request = Request::new(vec![set("k", "v")]);
    request.ack = Some(AckLevel::OneRemote);
    request.wait = Duration::from_millis(300);
    let (writer, (answer_in, answer)) = (engine.clone(), tokio::sync::oneshot::channel());
    engine.tasks().spawn(async move {
        answer_in.send(writer.write(request).await).unwrap();
    });
    while !matches!(get(&engine, "k"), Reply::Bytes(_)) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped = tokio::time::timeout(Duration::from_secs(5), engine.tasks().stop()).await;
    assert_eq!(stopped, Ok(true), "it waits for what nobody will ever say");
    let refused = answer.await.unwrap().unwrap_err();
    assert_eq!(refused, WriteError::Refused(SubmitError::Unconfirmed { wanted: 1, had: 0 }));
}

/// Once the stop waited out its bound for an fsync that only a tick begins, and the write was lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_from_memory_is_durable_after_a_stop_that_takes_no_time() {
    let disk = MemoryDisk::new();
    let engine = start(&disk);
    let request = Request { ack: Some(AckLevel::Memory), ..Request::new(vec![set("k", "v")]) };
    engine.write(request).await.unwrap();
    assert!(engine.tasks().stop().await);
    let stopped = tokio::time::timeout(Duration::from_secs(5), engine.stop()).await;
    assert!(stopped.is_ok(), "it waits for what nobody begins");
    disk.crash(0);
    let engine = start(&disk);
    assert_eq!(get(&engine, "k"), Reply::Bytes(Bytes::from_static(b"v")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_key_that_changed_refuses_the_transaction() {
    let engine = start(&MemoryDisk::new());
    let connection = engine.connection();
    engine.watch(connection, vec![Bytes::from_static(b"k")]).await;
    engine.write(Request::new(vec![set("k", "other")])).await.unwrap();
    let guarded = || Request {
        atomic: true,
        guard: Some(connection),
        ..Request::new(vec![set("k", "mine")])
    };
    let refused = engine.write(guarded()).await.unwrap_err();
    assert_eq!(refused, WriteError::Refused(SubmitError::Guarded));
    engine.unwatch(connection).await;
    engine.write(guarded()).await.unwrap();
    assert_eq!(get(&engine, "k"), Reply::Bytes(Bytes::from_static(b"mine")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_transactions_that_watch_one_key_none_overwrites_what_it_has_not_read() {
    const ADDITIONS: usize = 50;
    let engine = start(&MemoryDisk::new());
    let increment = async |engine: &Engine| {
        let connection = engine.connection();
        engine.watch(connection, vec![Bytes::from_static(b"n")]).await;
        let read = match get(engine, "n") {
            Reply::Bytes(text) => std::str::from_utf8(&text).unwrap().parse::<u64>().unwrap(),
            _ => 0,
        };
        let guard = Some(connection);
        let next = (read + 1).to_string();
        let guarded = Request { atomic: true, guard, ..Request::new(vec![set("n", &next)]) };
        let written = engine.write(guarded).await.is_ok();
        engine.unwatch(connection).await;
        written
    };
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let engine = engine.clone();
        workers.spawn(async move {
            let mut done = 0;
            while done < ADDITIONS {
                done += usize::from(increment(&engine).await);
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    let sum = (4 * ADDITIONS).to_string();
    assert_eq!(get(&engine, "n"), Reply::Bytes(Bytes::from(sum)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_message_reaches_subscribers() {
    let engine = start(&MemoryDisk::new());
    let mut subscriber = engine.subscriber();
    subscriber.add(Bytes::from_static(b"c"));
    let reached = engine.publish(Bytes::from_static(b"c"), Bytes::from_static(b"m")).await;
    assert_eq!(reached, 1);
    assert_eq!(subscriber.next().await.unwrap().payload, Bytes::from_static(b"m"));
}

/// Milliseconds that a key has left; -1 for ever, -2 not there.
fn left(engine: &Engine, key: &str) -> i64 {
    let key = Bytes::copy_from_slice(key.as_bytes());
    match engine.query(&Query::Ttl { key, form: TtlForm::MillisLeft }).unwrap() {
        Reply::Int(left) => left,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_namespace_live_as_long_as_it_says() {
    let policy =
        NamespacePolicy { ttl: Some(Duration::from_secs(1_000)), ..NamespacePolicy::default() };
    let sessions = Namespace { prefix: Bytes::from_static(b"s:"), policy };
    let namespaces = Namespaces::new(vec![sessions], NamespacePolicy::default()).unwrap();
    let engine = start_with(&MemoryDisk::new(), namespaces);
    let key = |name: &'static str| Bytes::from_static(name.as_bytes());
    let until = |name, millis| Op::Set {
        key: key(name),
        value: key("v"),
        when: Presence::Any,
        get: false,
        expiry: SetExpiry::Until(Deadline::In(millis)),
    };
    let members = vec![key("m")];
    let ops = vec![
        set("s:plain", "v"),
        Op::SAdd { key: key("s:set"), members: members.clone() },
        Op::IncrBy { key: key("s:count"), by: 3 },
        until("s:named", 5_000_000),
        set("other", "v"),
    ];
    engine.write(Request::new(ops)).await.unwrap();
    for name in ["s:plain", "s:set", "s:count"] {
        assert!((990_001..=1_000_000).contains(&left(&engine, name)), "{name}");
    }
    assert!(left(&engine, "s:named") > 4_000_000, "a time that is named counts");
    assert_eq!(left(&engine, "other"), -1);
    assert_eq!(get(&engine, "s:count"), Reply::Bytes(key("3")));

    // Whoever keeps a key keeps it, until it is set anew.
    engine.write(Request::new(vec![Op::Persist { key: key("s:set") }])).await.unwrap();
    let again = vec![Op::SAdd { key: key("s:set"), members: vec![key("n")] }];
    engine.write(Request::new(again)).await.unwrap();
    assert_eq!(left(&engine, "s:set"), -1);
    engine.write(Request::new(vec![Op::Persist { key: key("s:plain") }])).await.unwrap();
    let absent = Op::Set {
        key: key("s:plain"),
        value: key("w"),
        when: Presence::Absent,
        get: false,
        expiry: SetExpiry::Clear,
    };
    engine.write(Request::new(vec![absent])).await.unwrap();
    assert_eq!(left(&engine, "s:plain"), -1, "nothing was set");
    engine.write(Request::new(vec![set("s:plain", "w")])).await.unwrap();
    assert!(left(&engine, "s:plain") > 990_000);
}
