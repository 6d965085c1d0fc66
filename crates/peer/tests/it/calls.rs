//! Questions and answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rhumb_ports::peer::{CallError, PeerCall, Service};

use crate::support::{Cluster, region};

#[tokio::test(flavor = "multi_thread")]
async fn answers_name_the_caller_of_the_certificate() {
    let (_cluster, a, b) = Cluster::pair(Duration::ZERO).await;
    let forward = a.peer.call(region("b"), Service::Forward, Bytes::from_static(b"x")).await;
    assert_eq!(forward.unwrap(), Bytes::from_static(b"a Forward x"));
    let raft = b.peer.call(region("a"), Service::ControlRaft, Bytes::from_static(b"y")).await;
    assert_eq!(raft.unwrap(), Bytes::from_static(b"b ControlRaft y"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_apart_from_an_unreachable_peer() {
    let (mut cluster, a, b) = Cluster::pair(Duration::ZERO).await;
    let ask = |request: &'static [u8]| {
        a.peer.call(region("b"), Service::Control, Bytes::from_static(request))
    };
    let refused = ask(b"fail").await.unwrap_err();
    assert!(matches!(&refused, CallError::Refused { reason, .. } if reason == "told to"));

    b.peer.shutdown().await;
    let unreachable = ask(b"x").await.unwrap_err();
    assert!(matches!(unreachable, CallError::Unreachable { sent: false, .. }), "{unreachable}");

    let stranger = a.peer.call(region("z"), Service::Control, Bytes::new()).await.unwrap_err();
    assert!(matches!(stranger, CallError::Unreachable { sent: false, .. }), "{stranger}");

    let _b = cluster.start("b").await;
    let patience = async {
        while ask(b"again").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, patience).await.expect("calls work again");
}

/// Votes are asked for between nodes that have not called each other for long.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_is_asked_without_a_handshake() {
    const ROUND_TRIP: Duration = Duration::from_millis(200);
    let (_cluster, a, _b) = Cluster::pair(ROUND_TRIP).await;
    let took = async |service| {
        let begun = Instant::now();
        a.peer.call(region("b"), service, Bytes::from_static(b"x")).await.unwrap();
        begun.elapsed()
    };
    a.peer.prepare(&region("b"), Service::StrongRaft);
    // Dialled later than the other, and answered only after its handshake.
    let cold = took(Service::ControlRaft).await;
    let ready = took(Service::StrongRaft).await;
    assert!(cold >= ROUND_TRIP * 2, "{cold:?}");
    assert!(ready < ROUND_TRIP * 3 / 2, "{ready:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_give_up_harm_nobody() {
    let (_cluster, a, _b) = Cluster::pair(Duration::from_millis(20)).await;
    let ask = || a.peer.call(region("b"), Service::ControlRaft, Bytes::from_static(b"x"));
    ask().await.unwrap();
    for _ in 0..3 {
        // Dropped together while they are on their way.
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let peer = a.peer.clone();
            calls.spawn(async move {
                let call = peer.call(region("b"), Service::ControlRaft, Bytes::from_static(b"y"));
                tokio::time::timeout(Duration::from_millis(5), call).await.is_err()
            });
        }
        assert!(calls.join_all().await.into_iter().any(|gave_up| gave_up));
        ask().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_have_turns_are_all_answered() {
    let (_cluster, a, _b) = Cluster::pair(Duration::ZERO).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0_u32..1_000 {
        let peer = a.peer.clone();
        calls.spawn(async move {
            let request = Bytes::from(number.to_string());
            (number, peer.call(region("b"), Service::Forward, request).await)
        });
    }
    while let Some(done) = calls.join_next().await {
        let (number, answer) = done.unwrap();
        assert_eq!(answer.unwrap(), Bytes::from(format!("a Forward {number}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_passes() {
    let (_cluster, a, _b) = Cluster::pair(Duration::ZERO).await;
    let request = Bytes::from(vec![7; 20 << 20]);
    let answer = a.peer.call(region("b"), Service::StrongRaft, request.clone()).await.unwrap();
    assert!(answer.ends_with(&request));
}
