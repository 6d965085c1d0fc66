//! Where the copies go that an upload waits for, and what stands in for a region that fails.

use std::collections::BTreeMap;

use rhumb_engine::object::place;
use rhumb_regions::{Health, Strategy};
use rhumb_types::RegionId;
use tokio::sync::watch;

use super::*;
use crate::cluster::Copying;

/// What a node waits for before the tests begin: nothing looks unwell.
async fn until_well(node: &Node) {
    let well = || {
        let map = node.engine.routing();
        map.is_some_and(|map| map.regions().all(|(_, it)| it.health == Health::Healthy))
    };
    until("all regions to look well", well).await;
}

/// What came of each region's copy, in their order.
fn told(done: &Done) -> Vec<(&str, bool)> {
    done.regions.iter().map(|copy| (copy.region.as_str(), copy.outcome.is_ok())).collect()
}

/// Uploads of which each waits for one copy elsewhere: how often each region got it.
async fn others(us: &Node, count: u64) -> BTreeMap<RegionId, u64> {
    let mut found = BTreeMap::new();
    for nth in 0..count {
        let done = us.put("k", &bytes(20_000, nth)).await.unwrap();
        assert!(!done.degraded && done.regions.len() == 2, "{:?}", done.regions);
        assert_eq!(done.regions[0].region, us.region);
        *found.entry(done.regions[1].region.clone()).or_default() += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buckets_strategy_says_which_region_gets_the_copy_and_is_changed_online() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    us.make(BucketDefinition { min_copies: Some(2), ..BucketDefinition::default() }).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    until_well(&us).await;
    // The nearest, each time.
    assert_eq!(others(&us, 4).await.len(), 1);
    let by_turns =
        |entry: &mut BucketEntry| place::set_strategy(&mut entry.definition, Strategy::RoundRobin);
    us.objects.define_bucket(&bucket(), Expect::Any, by_turns).await.unwrap();
    let even = BTreeMap::from([(eu.region.clone(), 3), (ap.region.clone(), 3)]);
    assert_eq!(others(&us, 6).await, even);
    drop(cluster);
    stop([us, eu, ap]).await;
}

/// What a slow client sends at a time, in bytes,
const SIP: usize = 20;
/// and the time between.
const PAUSE: Duration = Duration::from_millis(10);

/// An upload of two blobs to a region that fails once it has the first.
async fn failing(
    cluster: &Cluster,
    us: &Node,
    eu: &Node,
    name: &str,
    seed: u64,
    cut: bool,
) -> Done {
    let whole = usize::try_from(BLOB_BYTES_MAX).unwrap();
    let content = bytes(whole + 50_000, seed);
    let held = async || eu.blobs.list(None, 100).await.unwrap().len();
    let before = held().await;
    let (failed, fails) = watch::channel(false);
    // Who uploads goes on slowly until then: a blob that is durable is copied as the next bytes come.
    let rest: Vec<Bytes> =
        content.slice(whole..).chunks(SIP).map(|it| content.slice_ref(it)).collect();
    let sips = stream::iter(rest).then(move |sip| {
        let mut fails = fails.clone();
        async move {
            let _early = tokio::time::timeout(PAUSE, fails.wait_for(|it| *it)).await;
            Ok(sip)
        }
    });
    let body = stream_of(vec![content.slice(..whole)]).chain(sips).boxed();
    let put = us.objects.put(Put { body, ..us.writing(name, &content) });
    let fault = async {
        let come = async {
            while held().await == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(crate::cluster::PATIENCE, come).await.unwrap();
        if cut {
            cluster.cut(&eu.region, true);
        } else {
            eu.blobs.set_faults(BlobFaults { full: true, ..BlobFaults::default() });
        }
        failed.send_replace(true);
    };
    tokio::join!(put, fault).0.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_takes_the_place_of_a_region_that_fails_in_mid_upload() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    let definition = BucketDefinition {
        copies: 2,
        min_copies: Some(2),
        regions: vec![eu.region.clone()],
        ..BucketDefinition::default()
    };
    us.make(definition).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    until_well(&us).await;
    for (name, seed, cut) in [("full", 1, false), ("cut", 2, true)] {
        let done = failing(&cluster, &us, &eu, name, seed, cut).await;
        assert_eq!(told(&done), [("us", true), ("eu", false), ("ap", true)], "{name}");
        assert!(!done.degraded, "{name}: two copies were asked for, and are there");
        let all = blobs(&done.record);
        assert!(all.len() == 2 && us.holds(&all).await && ap.holds(&all).await, "{name}");
        cluster.cut(&eu.region, false);
        eu.blobs.set_faults(BlobFaults::default());
        // It gets what it missed in its own time.
        until_held(&eu, &all).await;
        until_well(&us).await;
    }
    stop([us, eu, ap]).await;
}

/// Two regions, with a bucket whose uploads wait for both and are content with one.
async fn two(copying: Copying) -> (Cluster, Node, Node) {
    let mut cluster = Cluster::new(&["us", "eu"]);
    cluster.copying = copying;
    let disks = [MemoryDisk::new(), MemoryDisk::new()];
    let (us, eu) =
        tokio::join!(cluster.start("us", &disks[0], true), cluster.start("eu", &disks[1], true));
    us.make(BucketDefinition { min_copies: Some(1), ..BucketDefinition::default() }).await;
    eu.knows_bucket().await;
    (cluster, us, eu)
}

/// An upload while the other region's disk is full for a moment.
async fn while_full(us: &Node, eu: &Node, lasting: Duration) -> Done {
    eu.blobs.set_faults(BlobFaults { full: true, ..BlobFaults::default() });
    let content = bytes(50_000, 1);
    let room = async {
        tokio::time::sleep(lasting).await;
        eu.blobs.set_faults(BlobFaults::default());
    };
    tokio::join!(us.put("k", &content), room).0.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_asked_again_as_often_as_the_node_says() {
    let often = Copying { retries: 1_000, delay: Duration::from_millis(20), ..Copying::default() };
    let (_cluster, us, eu) = two(often).await;
    let done = while_full(&us, &eu, Duration::from_millis(300)).await;
    assert_eq!((told(&done), done.degraded), (vec![("us", true), ("eu", true)], false));
    us.stop().await;
    eu.stop().await;

    let never = Copying { retries: 0, ..often };
    let (_cluster, us, eu) = two(never).await;
    let done = while_full(&us, &eu, Duration::from_millis(300)).await;
    assert_eq!((told(&done), done.degraded), (vec![("us", true), ("eu", false)], true));
    let why = done.regions[1].outcome.clone().unwrap_err();
    assert!(why.contains("full"), "{why}");
    us.stop().await;
    eu.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_region_is_asked_again_before_the_delay_and_no_upload_waits_longer_than_it_may() {
    let (delay, wait) = (Duration::from_secs(3_600), Duration::from_secs(2));
    let (_cluster, us, eu) = two(Copying { retries: 5, delay, wait }).await;
    let begun = tokio::time::Instant::now();
    let done = while_full(&us, &eu, Duration::from_secs(1)).await;
    // Room came in time, and it was not asked again: the answer is that it came too late.
    assert_eq!((told(&done), done.degraded), (vec![("us", true), ("eu", false)], true));
    assert!((wait..delay).contains(&begun.elapsed()));
    us.stop().await;
    eu.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_with_which_an_object_has_too_many_blobs_is_refused_before_it_comes() {
    let cluster = Cluster::new(&["us"]);
    let node = cluster.start("us", &MemoryDisk::new(), true).await;
    node.make(BucketDefinition { copies: 1, ..BucketDefinition::default() }).await;
    let upload =
        node.objects.begin_upload(&bucket(), key("k"), UploadRecord::default()).await.unwrap();
    let part = async |number, said| {
        let body = stream::once(async { Err(ObjectError::Body("it was read".to_owned())) }).boxed();
        let body = (body, Some(said));
        let part = (upload, number);
        node.objects.put_part(&bucket(), key("k"), part, body, Digests::default()).await
    };
    let longest = part(10_000, 320 * BLOB_BYTES_MAX).await;
    assert_eq!(longest, Err(ObjectError::Body("it was read".to_owned())), "there is no other");
    let refused = Err(ObjectError::Change(Refused::TooMany { blobs: 25_001 }));
    assert_eq!(part(1, 25_000 * BLOB_BYTES_MAX + 1).await, refused);
    node.stop().await;
}
