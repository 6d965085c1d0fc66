//! An orderly end.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rhumb_peer::{DownReason, PeerEvent};
use rhumb_ports::{
    BoxFuture,
    peer::{CallError, PeerCall, PeerLink, PeerService, SendError, Service},
};
use rhumb_types::RegionId;
use tokio::sync::Notify;

use crate::support::{Cluster, follow, region};

/// Says that it was asked, and answers once it is told to.
#[derive(Clone, Default)]
struct Patient {
    asked: Arc<Notify>,
    go: Arc<Notify>,
}

impl PeerService for Patient {
    fn answer(
        &self,
        _: RegionId,
        _: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            self.asked.notify_one();
            self.go.notified().await;
            Ok(request)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_lets_calls_finish_and_takes_no_more() {
    let mut cluster = Cluster::new(&["a", "b"]).await;
    let service = Patient::default();
    let mut a = cluster.start("a").await;
    let mut b = cluster.start_with_service("b", BTreeMap::new(), service.clone()).await;
    a.up("b").await;
    b.up("a").await;
    let asking = a.peer.clone();
    let ask = |request: &'static [u8]| {
        let peer = asking.clone();
        async move { peer.call(region("b"), Service::Control, Bytes::from_static(request)).await }
    };
    let mut calls = tokio::task::JoinSet::new();
    calls.spawn(ask(b"patience"));
    service.asked.notified().await;

    let closing = b.peer.clone();
    let mut ends = tokio::task::JoinSet::new();
    ends.spawn(async move { closing.shutdown().await });
    assert!(matches!(a.down("b").await, DownReason::Closed | DownReason::Lost(_)));
    let late = ask(b"late").await.unwrap_err();
    assert!(matches!(late, CallError::Unreachable { .. }), "{late}");
    service.go.notify_one();
    let answer = calls.join_next().await.unwrap().unwrap();
    assert_eq!(answer, Ok(Bytes::from_static(b"patience")));
    ends.join_next().await.unwrap().unwrap();

    assert_eq!(b.peer.send(&region("a"), follow(1)), Err(SendError::Down(region("a"))));
    let down = PeerEvent::Down { region: region("a"), reason: DownReason::Shutdown };
    assert_eq!(b.events.next().await, Some(down));
    assert_eq!(b.events.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_end_does_not_hold_up_a_shutdown_for_ever() {
    let mut cluster = Cluster::new(&["a", "b"]).await;
    let service = Patient::default();
    let a = cluster.start("a").await;
    let b = cluster.start_with_service("b", BTreeMap::new(), service.clone()).await;
    let mut calls = tokio::task::JoinSet::new();
    let peer = a.peer.clone();
    calls.spawn(async move { peer.call(region("b"), Service::Control, Bytes::new()).await });
    service.asked.notified().await;
    let start = Instant::now();
    b.peer.shutdown().await;
    assert!(start.elapsed() < rhumb_peer::limits::DRAIN_TIMEOUT + Duration::from_secs(5));
    let lost = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert!(matches!(lost, CallError::Unreachable { sent: true, .. }), "{lost}");
}
