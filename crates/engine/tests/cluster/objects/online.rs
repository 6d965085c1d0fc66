//! How a bucket replicates, changed while it is in use.

use super::*;

/// How many of the nodes hold all of a record's blobs.
async fn holders(nodes: &[Node; 3], record: &ObjectRecord) -> usize {
    let mut count = 0;
    for node in nodes {
        count += usize::from(node.holds(&blobs(record)).await);
    }
    count
}

async fn replicate(node: &Node, replication: Replication, copies: u8) {
    let change = |entry: &mut BucketEntry| {
        entry.definition.replication = replication;
        entry.definition.copies = copies;
    };
    node.objects.define_bucket(&bucket(), Expect::Any, change).await.unwrap();
    let knows = |node: &Node| {
        let known = node.objects.bucket(&bucket()).unwrap().definition;
        (known.replication, known.copies) == (replication, copies)
    };
    until("the change", || knows(node)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_to_be_in_fewer_regions_keeps_as_many_copies_as_it_says_and_can_go_back() {
    const OBJECTS: u64 = 20;
    let mut cluster = Cluster::new(&["us", "eu", "ap"]);
    cluster.collect_every = Duration::from_secs(1);
    let (_cluster, nodes, _disks) = three_of(cluster).await;
    nodes[0].make(BucketDefinition { promote_after: 0, ..BucketDefinition::default() }).await;
    for node in &nodes {
        node.knows_bucket().await;
    }
    let mut records = Vec::new();
    for nth in 0..OBJECTS {
        // From every region, so that copies stay in each.
        let node = &nodes[usize::try_from(nth % 3).unwrap()];
        records.push(node.put(&nth.to_string(), &bytes(20_000, nth)).await.unwrap().record);
    }
    for record in &records {
        for node in &nodes {
            until_held(node, &blobs(record)).await;
        }
    }
    replicate(&nodes[1], Replication::Regional, 2).await;
    let fewer = async {
        for (nth, record) in records.iter().enumerate() {
            let mut count = usize::MAX;
            while count != 2 {
                count = holders(&nodes, record).await;
                assert!(count >= 2, "{nth} is in {count} regions");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    assert!(
        tokio::time::timeout(3 * crate::cluster::PATIENCE, fewer).await.is_ok(),
        "copies stay that the bucket does not ask for"
    );
    for (nth, record) in (0..).zip(&records) {
        // The one that took it in is among them, and who has no copy reads it from another.
        let taken_in = nodes.iter().find(|node| node.region == record.region).unwrap();
        assert!(taken_in.holds(&blobs(record)).await);
        for node in &nodes {
            assert_eq!(node.get(&nth.to_string()).await.unwrap(), bytes(20_000, nth));
        }
        assert_eq!(holders(&nodes, record).await, 2);
    }
    // From now on an upload waits, and what is there already comes back everywhere.
    replicate(&nodes[0], Replication::ActiveActive, 3).await;
    let done = nodes[0].put("next", &bytes(20_000, 99)).await.unwrap();
    assert_eq!(done.regions.iter().filter(|copy| copy.outcome.is_ok()).count(), 3);
    assert!(!done.degraded);
    assert_eq!(holders(&nodes, &done.record).await, 3);
    for record in &records {
        for node in &nodes {
            until_held(node, &blobs(record)).await;
        }
    }
    stop(nodes).await;
}
