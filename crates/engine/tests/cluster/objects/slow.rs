//! Links that carry little: what clients read comes through, whatever else is on its way.

use std::time::Instant;

use super::*;

/// What the line from one region carries in a second.
const LINE_BYTES_PER_SECOND: u64 = 2_000_000;
/// What it may carry while a client waits for 1 MiB of it: as much as in 3 s. Counted in bytes, so that a busy
/// machine, on which it carries less, does not count.
const CARRIED_MAX: u64 = 3 * LINE_BYTES_PER_SECOND;
/// Blobs that are to be copied meanwhile: 208 MiB, of which 64 MiB might be asked for at a time.
const COPIES: u8 = 13;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_through_a_slow_link_on_which_copies_are_on_their_way() {
    let cluster = Cluster::new(&["us", "eu"]);
    let disks = [MemoryDisk::new(), MemoryDisk::new()];
    let us = cluster.start("us", &disks[0], true).await;
    let eu = cluster.start("eu", &disks[1], true).await;
    let near = || BucketDefinition {
        replication: Replication::Regional,
        copies: 1,
        promote_after: 0,
        ..BucketDefinition::default()
    };
    us.make(near()).await;
    eu.knows_bucket().await;
    let small = [1, 2, 3].map(|seed| bytes(1 << 20, seed));
    for (nth, content) in small.iter().enumerate() {
        us.put(&format!("small/{nth}"), content).await.unwrap();
    }
    until("the rows", || eu.names().len() == small.len()).await;

    let line = cluster.slow_down(&us.region, LINE_BYTES_PER_SECOND);
    let backlog = BucketName::new("backlog").unwrap();
    let everywhere = BucketDefinition { replication: Replication::Async, ..near() };
    let make = |entry: &mut BucketEntry| entry.definition = everywhere.clone();
    us.objects.define_bucket(&backlog, Expect::Absent, make).await.unwrap();
    let mut block = vec![0; usize::try_from(BLOB_BYTES_MAX).unwrap()];
    for nth in 0..COPIES {
        block[0] = nth;
        let content = Bytes::from(block.clone());
        let put = Put { bucket: backlog.clone(), ..us.writing(&nth.to_string(), &content) };
        us.objects.put(put).await.unwrap();
    }
    for (nth, content) in small.iter().enumerate() {
        let carried = line.carried();
        until("the copies", || line.carried() > carried + LINE_BYTES_PER_SECOND).await;
        let (began, before) = (Instant::now(), line.carried());
        assert_eq!(eu.get(&format!("small/{nth}")).await.unwrap(), *content);
        let carried = line.carried() - before;
        println!("read after {:?}, in which {carried} bytes came", began.elapsed());
        assert!(carried < CARRIED_MAX, "{carried}");
    }
    let carried = line.carried();
    until("more copies", || line.carried() > carried + LINE_BYTES_PER_SECOND).await;
    eu.stop().await;
    us.stop().await;
}
