//! Links: order, loss, queues, return.

use std::time::{Duration, Instant};

use rhumb_peer::{DownReason, PeerEvent, Shape};
use rhumb_ports::peer::{PeerLink, SendError};

use crate::support::{Cluster, follow, heartbeat, log, region};

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_in_order_in_both_directions() {
    let (_cluster, mut a, mut b) = Cluster::pair(Duration::ZERO).await;
    for sequence in 0..500 {
        a.peer.send(&region("b"), follow(sequence)).unwrap();
        b.peer.send(&region("a"), log(sequence + 1, 3_000)).unwrap();
    }
    let link = &a.peer.links()[0];
    assert_eq!((link.region.as_str(), link.node), ("b", Some(rhumb_types::NodeId(2))));
    for sequence in 0..500 {
        assert_eq!(b.message().await, follow(sequence));
        assert_eq!(a.message().await, log(sequence + 1, 3_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarts_comes_back() {
    let (mut cluster, mut a, b) = Cluster::pair(Duration::ZERO).await;
    b.peer.shutdown().await;
    drop(b);
    a.down("b").await;
    assert_eq!(a.peer.send(&region("b"), follow(0)), Err(SendError::Down(region("b"))));
    let mut b = cluster.start("b").await;
    a.up("b").await;
    b.up("a").await;
    a.peer.send(&region("b"), follow(1)).unwrap();
    assert_eq!(b.message().await, follow(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialler_that_restarts_replaces_its_old_link() {
    let (mut cluster, a, mut b) = Cluster::pair(Duration::ZERO).await;
    a.peer.shutdown().await;
    drop(a);
    let mut a = cluster.start("a").await;
    b.down("a").await;
    b.up("a").await;
    a.up("b").await;
    b.peer.send(&region("a"), follow(1)).unwrap();
    assert_eq!(a.message().await, follow(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_drops_the_link_and_says_so() {
    let (_cluster, mut a, mut b) = Cluster::pair(Duration::ZERO).await;
    a.peer.shape(&region("b"), Shape { cut_outbound: true, ..Shape::default() });
    let full = (0..)
        .find_map(|sequence| a.peer.send(&region("b"), log(sequence + 1, 1 << 20)).err())
        .unwrap();
    assert_eq!(full, SendError::Full(region("b")));
    assert_eq!(a.peer.send(&region("b"), follow(0)), Err(SendError::Down(region("b"))));
    assert_eq!(a.down("b").await, DownReason::Full);
    a.peer.shape(&region("b"), Shape::default());
    a.up("b").await;
    b.down("a").await;
    b.up("a").await;
    a.peer.send(&region("b"), follow(5)).unwrap();
    loop {
        if b.message().await == follow(5) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_does_not_take_slows_the_sender_and_loses_nothing() {
    let (_cluster, a, mut b) = Cluster::pair(Duration::ZERO).await;
    // Far more than inbox, HTTP/2 window and queue hold together.
    const BYTES: usize = 1 << 20;
    const MESSAGES: u64 = 300;
    let mut sent = 0;
    let mut next = 1;
    while next <= MESSAGES {
        while sent < MESSAGES && sent < next + 48 {
            sent += 1;
            a.peer.send(&region("b"), log(sent, BYTES)).unwrap();
        }
        if sent == 48 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(b.message().await, log(next, BYTES));
        next += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_stays_cut_ends_the_link_and_comes_back() {
    let (_cluster, mut a, mut b) = Cluster::pair(Duration::ZERO).await;
    // One direction is enough: TCP needs both.
    a.peer.shape(&region("b"), Shape { cut_inbound: true, ..Shape::default() });
    assert!(matches!(a.down("b").await, DownReason::Lost(_)));
    assert_eq!(a.peer.links()[0].node, None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    a.peer.shape(&region("b"), Shape::default());
    a.up("b").await;
    b.up("a").await;
    b.peer.send(&region("a"), follow(4)).unwrap();
    assert_eq!(a.message().await, follow(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_way_heals_without_loss() {
    let (_cluster, mut a, mut b) = Cluster::pair(Duration::from_millis(20)).await;
    let cut = Shape { cut_outbound: true, cut_inbound: true, ..a.peer.shape_of(&region("b")) };
    a.peer.shape(&region("b"), cut);
    a.peer.send(&region("b"), follow(1)).unwrap();
    b.peer.send(&region("a"), follow(2)).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(a.events.try_next(), None);
    assert_eq!(b.events.try_next(), None);
    a.peer.shape(&region("b"), Shape { cut_outbound: false, cut_inbound: false, ..cut });
    assert_eq!(b.message().await, follow(1));
    assert_eq!(a.message().await, follow(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_distance_delays_one_way_and_keeps_order() {
    let (_cluster, a, mut b) = Cluster::pair(Duration::from_millis(200)).await;
    let start = Instant::now();
    for sequence in 0..100 {
        a.peer.send(&region("b"), follow(sequence)).unwrap();
    }
    for sequence in 0..100 {
        assert_eq!(b.message().await, follow(sequence));
    }
    let took = start.elapsed();
    // A sleep per message would take ten seconds.
    assert!(took >= Duration::from_millis(100), "{took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// With a window of 1 MiB, HTTP/2 could move 5 MB/s here, and with its default of 64 KiB 0.3 MB/s.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_fills_a_long_way() {
    const BYTES: usize = 1 << 20;
    const MESSAGES: u64 = 192;
    let (_cluster, a, mut b) = Cluster::pair(Duration::from_millis(200)).await;
    let batches: Vec<_> = (1..=MESSAGES).map(|first| log(first, BYTES)).collect();
    let start = Instant::now();
    let mut batches = batches.into_iter();
    // As the node does: a window of unacknowledged bytes, here 60 MiB for 200 ms.
    for batch in batches.by_ref().take(60) {
        a.peer.send(&region("b"), batch).unwrap();
    }
    for _ in 1..=MESSAGES {
        let _ = b.message().await;
        if let Some(batch) = batches.next() {
            a.peer.send(&region("b"), batch).unwrap();
        }
    }
    let rate = (MESSAGES as f64 * BYTES as f64) / start.elapsed().as_secs_f64() / 1e6;
    eprintln!("{rate:.0} MB/s over a round trip of 200 ms");
    // Four times what 1 MiB could do. Not a measurement: this machine may be busy.
    assert!(rate > 20.0, "{rate:.0} MB/s");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_do_not_wait_for_bulk() {
    let (_cluster, a, mut b) = Cluster::pair(Duration::ZERO).await;
    a.heartbeats_up("b").await;
    b.heartbeats_up("a").await;
    while b.message().await != heartbeat(0) {}
    // Nobody takes the bulk, so everything behind it on its connection stands still.
    for first in 1..=60 {
        a.peer.send(&region("b"), log(first, 1 << 20)).unwrap();
    }
    let mut worst = Duration::ZERO;
    for sequence in 1..=50 {
        let start = Instant::now();
        a.peer.send(&region("b"), heartbeat(sequence)).unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(5), b.events.next_heartbeat()).await;
        let PeerEvent::Message { message, .. } = heard.unwrap().unwrap() else { panic!() };
        assert_eq!(message, heartbeat(sequence));
        worst = worst.max(start.elapsed());
    }
    eprintln!("slowest heartbeat: {worst:?}");
}
