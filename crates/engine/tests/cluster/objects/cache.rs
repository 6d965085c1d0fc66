//! Buckets that are caches: within their bounds, the least lately read first, and no byte too early.

use std::{sync::Arc, time::Duration};

use rhumb_engine::telemetry::Metrics;
use rhumb_types::ByteSize;

use super::*;

fn cache(bytes_max: u64) -> BucketDefinition {
    BucketDefinition {
        cache_bytes_max: Some(ByteSize(bytes_max)),
        miss: Miss::Local,
        promote_after: 2,
        ..BucketDefinition::default()
    }
}

fn measured(node: &Node) -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new("0", &node.region));
    node.engine.measure(&metrics);
    metrics
}

/// The value of a line of the metrics.
fn shown(metrics: &Metrics, line: &str) -> u64 {
    let all = metrics.render();
    let found = all.lines().find_map(|it| it.strip_prefix(line));
    found.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_cache_forgets_what_was_not_read_for_longest() {
    let mut cluster = Cluster::new(&["us"]);
    // What goes is not what the usual walk finds.
    cluster.grace = Duration::from_secs(24 * 3_600);
    let disk = MemoryDisk::new();
    let node = cluster.start("us", &disk, true).await;
    let metrics = measured(&node);
    // Half of it lies in the index, half in blobs.
    node.make(cache(400_000)).await;
    node.knows_bucket().await;
    let mut large = Vec::new();
    for nth in 0..8_u64 {
        let small = bytes(8_000, nth);
        node.put(&format!("small-{nth}"), &small).await.unwrap();
        let done = node.put(&format!("large-{nth}"), &bytes(40_000, nth)).await.unwrap();
        large.push(blobs(&done.record));
        // What is read stays, although it is the oldest.
        assert_eq!(node.get("small-0").await.unwrap(), bytes(8_000, 0));
        assert_eq!(node.get("large-0").await.unwrap(), bytes(40_000, 0));
    }
    assert_eq!(node.names().len(), 16, "384,000 bytes fit");
    node.put("more", &bytes(40_000, 99)).await.unwrap();
    until("room", || node.names().len() < 17).await;
    let names = node.names();
    assert!(!names.contains(&"large-1".to_owned()), "{names:?}");
    for stays in ["small-0", "large-0", "large-7", "more"] {
        assert!(names.contains(&stays.to_owned()), "{names:?}");
    }
    // Its bytes go, long before those of what somebody has deleted would.
    until_gone(&node, &large[1]).await;
    assert!(node.holds(&large[0]).await && node.holds(&large[7]).await);
    let held = || shown(&metrics, "rhumb_cache_held_bytes{bucket=\"photos\"}");
    until("the figure", || (1..=400_000).contains(&held())).await;
    assert!(shown(&metrics, "rhumb_cache_evicted_total{bucket=\"photos\"}") >= 1);
    assert_eq!(shown(&metrics, "rhumb_cache_misses_total{bucket=\"photos\"}"), 0);
    assert!(node.get("large-1").await.is_err());
    assert_eq!(shown(&metrics, "rhumb_cache_misses_total{bucket=\"photos\"}"), 1);
    assert!(shown(&metrics, "rhumb_cache_hits_total{bucket=\"photos\"}") >= 16);
    node.stop().await;

    // A restart finds what is there, and the bound is kept on.
    let node = cluster.start("us", &disk, true).await;
    node.knows_bucket().await;
    let before = node.names().len();
    for nth in 0..4 {
        node.put(&format!("late-{nth}"), &bytes(40_000, 200 + nth)).await.unwrap();
    }
    until("room", || node.names().len() < before + 4).await;
    let names = node.names();
    for nth in 0..4 {
        assert!(names.contains(&format!("late-{nth}")), "{names:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_others_hold_is_given_up_and_the_object_stays() {
    let mut cluster = Cluster::new(&["us", "eu", "ap"]);
    // What goes is not what the usual walk finds.
    cluster.grace = Duration::from_secs(24 * 3_600);
    let (cluster, [us, eu, ap], _disks) = three_of(cluster).await;
    let metrics = [measured(&us), measured(&eu), measured(&ap)];
    us.make(cache(1_000_000)).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    let content = bytes(300_000, 1);
    let first = us.put("first", &content).await.unwrap();
    let first = blobs(&first.record);
    until("the row", || eu.names() == ["first"] && ap.names() == ["first"]).await;
    assert!(!eu.holds(&first).await, "nobody brings it before it is read");
    for _ in 0..2 {
        assert_eq!(eu.get("first").await.unwrap(), content);
    }
    until_held(&eu, &first).await;
    let from_us = "rhumb_cache_remote_hits_total{bucket=\"photos\",region=\"us\"}";
    assert_eq!(shown(&metrics[1], from_us), 2);
    // The region that took it in fills up: its copy goes, the other's stays, and it is still a hit.
    for nth in 0..4_u64 {
        us.put(&format!("more-{nth}"), &bytes(300_000, 10 + nth)).await.unwrap();
    }
    until_gone(&us, &first).await;
    assert!(eu.holds(&first).await);
    assert!(us.names().contains(&"first".to_owned()));
    assert_eq!(us.get("first").await.unwrap(), content);
    assert!(shown(&metrics[0], "rhumb_cache_given_up_total{bucket=\"photos\"}") >= 1);
    drop(cluster);
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_region_reads_does_not_go_everywhere() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    us.make(cache(100_000)).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    for nth in 0..12_u64 {
        us.put(&format!("k-{nth:02}"), &bytes(8_000, nth)).await.unwrap();
    }
    until("the rows", || eu.names().len() == 12).await;
    // Oldest of all, it lies in the index of every region, and only one reads it.
    eu.get("k-00").await.unwrap();
    us.put("k-12", &bytes(8_000, 12)).await.unwrap();
    until("room", || us.names().len() < 13).await;
    until("agreement", || us.names() == eu.names()).await;
    let names = us.names();
    assert!(names.contains(&"k-00".to_owned()), "{names:?}");
    assert!(!names.contains(&"k-01".to_owned()), "{names:?}");
    assert!(names.len() >= 8, "no more goes than need be: {names:?}");
    drop(cluster);
    stop([us, eu, ap]).await;
}
