//! Objects in one region and in several: what is written is found, read, and copied.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rhumb_engine::{
    About, ByteStream, Digests, Done, Expect, ObjectError, Put,
    object::{
        condition::Condition,
        etag::EntityTags,
        index::{ReadRefused, Refused, Which},
        list::Listing,
        multipart::{ChosenPart, Whole},
    },
};
use rhumb_ports::{
    blobs::{BLOB_BYTES_MAX, Blobs as _},
    memory::{BlobFaults, MemoryDisk},
};
use rhumb_types::{
    ByteSize,
    record::{
        BlobRef, Body, BucketConsistency, BucketDefinition, BucketEntry, BucketName, LifecycleRule,
        Miss, ObjectRecord, Replication, UploadRecord, Versioning,
    },
};

use tokio::task::JoinSet;

use super::cluster::{Cluster, Node, until};

mod cache;
mod elsewhere;
mod online;
mod placed;
mod slow;

fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn stream_of(parts: Vec<Bytes>) -> ByteStream {
    stream::iter(parts.into_iter().map(Ok)).boxed()
}

/// So many bytes, no two blocks of which are alike.
fn bytes(count: usize, seed: u64) -> Bytes {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u8::try_from(state >> 56).unwrap()
    };
    std::iter::repeat_with(next).take(count).collect()
}

impl Node {
    async fn make(&self, definition: BucketDefinition) {
        let make = |entry: &mut BucketEntry| entry.definition = definition;
        self.objects.define_bucket(&bucket(), Expect::Absent, make).await.unwrap();
    }

    async fn knows_bucket(&self) {
        until("the bucket", || self.objects.bucket(&bucket()).is_ok()).await;
    }

    fn writing(&self, name: &str, content: &Bytes) -> Put {
        // In pieces, as they come from a network.
        let pieces = content.chunks(300_000).map(|piece| content.slice_ref(piece)).collect();
        Put {
            bucket: bucket(),
            key: key(name),
            body: stream_of(pieces),
            bytes: Some(content.len() as u64),
            about: About::default(),
            digests: Digests::default(),
            condition: Condition::default(),
        }
    }

    async fn put(&self, name: &str, content: &Bytes) -> Result<Done, ObjectError> {
        self.objects.put(self.writing(name, content)).await
    }

    async fn head(&self, name: &str) -> Result<ObjectRecord, ObjectError> {
        self.objects.head(&bucket(), &key(name), Which::Newest).await
    }

    async fn read(&self, record: &ObjectRecord) -> Result<Vec<u8>, ObjectError> {
        let length = record.content.as_ref().unwrap().bytes;
        self.read_range(record, 0..length).await
    }

    async fn read_range(
        &self,
        record: &ObjectRecord,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, ObjectError> {
        let parts: Vec<Bytes> = self.objects.read(&bucket(), record, range).try_collect().await?;
        Ok(parts.concat())
    }

    async fn get(&self, name: &str) -> Result<Vec<u8>, ObjectError> {
        let opened = self.objects.open(&bucket(), &key(name), Which::Newest).await?;
        let length = opened.record.content.as_ref().unwrap().bytes;
        let parts = self.objects.read_opened(&bucket(), &opened, 0..length);
        Ok(parts.try_collect::<Vec<Bytes>>().await?.concat())
    }

    async fn delete(&self, name: &str) {
        let any = Condition::default();
        self.objects.delete(&bucket(), key(name), Which::Newest, any).await.unwrap();
    }

    fn names(&self) -> Vec<String> {
        let all = Listing { max: 1_000, ..Listing::default() };
        let page = self.objects.list(&bucket(), &all).unwrap();
        let name = |key: &Bytes| String::from_utf8(key.to_vec()).unwrap();
        page.entries.iter().map(|object| name(&object.key)).collect()
    }

    async fn holds(&self, blobs: &[BlobRef]) -> bool {
        for blob in blobs {
            if self.blobs.stat(blob.hash).await.unwrap().is_none() {
                return false;
            }
        }
        true
    }
}

async fn until_held(node: &Node, blobs: &[BlobRef]) {
    let waited = async {
        while !node.holds(blobs).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let came = tokio::time::timeout(super::cluster::PATIENCE, waited).await;
    assert!(came.is_ok(), "the blobs never came to {}", node.region);
}

/// Waits until a region is heard on a key of a linearizable bucket: homes are in force, and know what was
/// decided before them.
async fn until_decided(node: &Node, text: &str) {
    let waited = async {
        while matches!(node.head(text).await, Err(ObjectError::Unavailable(_))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let came = tokio::time::timeout(super::cluster::PATIENCE, waited).await;
    assert!(came.is_ok(), "nobody decides for {text}");
}

async fn until_gone(node: &Node, blobs: &[BlobRef]) {
    let waited = async {
        while node.holds(blobs).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(2 * super::cluster::PATIENCE, waited).await;
    assert!(gone.is_ok(), "{} still holds what nobody refers to", node.region);
}

fn blobs(record: &ObjectRecord) -> Vec<BlobRef> {
    match &record.content.as_ref().unwrap().body {
        Body::Blobs(blobs) => blobs.clone(),
        Body::Inline(_) => Vec::new(),
    }
}

async fn three() -> (Cluster, [Node; 3], [MemoryDisk; 3]) {
    three_of(Cluster::new(&["us", "eu", "ap"])).await
}

async fn three_of(cluster: Cluster) -> (Cluster, [Node; 3], [MemoryDisk; 3]) {
    let disks = [MemoryDisk::new(), MemoryDisk::new(), MemoryDisk::new()];
    let nodes = tokio::join!(
        cluster.start("us", &disks[0], true),
        cluster.start("eu", &disks[1], true),
        cluster.start("ap", &disks[2], true),
    );
    (cluster, nodes.into(), disks)
}

async fn stop(nodes: [Node; 3]) {
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_and_survives_a_restart() {
    let cluster = Cluster::new(&["us"]);
    let disk = MemoryDisk::new();
    let node = cluster.start("us", &disk, true).await;
    node.make(BucketDefinition { copies: 1, ..BucketDefinition::default() }).await;
    let (small, large) =
        (bytes(5_000, 1), bytes(usize::try_from(BLOB_BYTES_MAX).unwrap() + 70_000, 2));
    let done = node.put("small", &small).await.unwrap();
    assert!(blobs(&done.record).is_empty(), "it lies in the index");
    let done = node.put("large", &large).await.unwrap();
    assert_eq!(blobs(&done.record).len(), 2);
    assert!(!done.degraded);
    node.put("empty", &Bytes::new()).await.unwrap();
    node.stop().await;

    let node = cluster.start("us", &disk, true).await;
    node.knows_bucket().await;
    assert_eq!(node.get("small").await.unwrap(), small);
    assert_eq!(node.get("large").await.unwrap(), large);
    assert_eq!(node.get("empty").await.unwrap(), Bytes::new());
    let record = node.head("large").await.unwrap();
    let (from, to) = (BLOB_BYTES_MAX - 10, BLOB_BYTES_MAX + 10);
    let part = node.read_range(&record, from..to).await.unwrap();
    assert_eq!(part, large[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()]);
    assert_eq!(node.names(), ["empty", "large", "small"]);
    node.delete("small").await;
    assert_eq!(node.names(), ["empty", "large"]);
    assert!(matches!(node.head("small").await, Err(ObjectError::Read(ReadRefused::NoKey))));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_was_said_leaves_nothing() {
    let cluster = Cluster::new(&["us"]);
    let node = cluster.start("us", &MemoryDisk::new(), true).await;
    node.make(BucketDefinition { copies: 1, ..BucketDefinition::default() }).await;
    for size in [100, 400_000] {
        let content = bytes(size, 3);
        let mut wrong = node.writing("k", &content);
        wrong.digests.md5 = Some([0; 16]);
        assert_eq!(node.objects.put(wrong).await, Err(ObjectError::Digest("MD5")));
        let mut wrong = node.writing("k", &content);
        wrong.digests.expected.crc32c = Some("AAAAAA==".to_owned());
        assert_eq!(node.objects.put(wrong).await, Err(ObjectError::Digest("CRC32C")));
        let mut wrong = node.writing("k", &content);
        wrong.digests.sha256 = Some([1; 32]);
        assert!(matches!(node.objects.put(wrong).await, Err(ObjectError::Digest(_))));
        for said in [size as u64 - 1, size as u64 + 1] {
            let short = Put { bytes: Some(said), ..node.writing("k", &content) };
            assert!(matches!(node.objects.put(short).await, Err(ObjectError::Length { .. })));
        }
        let broken = || ObjectError::Body("gone".to_owned());
        let body = stream::iter([Ok(content.clone()), Err(broken())]).boxed();
        let put = Put { body, bytes: None, ..node.writing("k", &content) };
        assert_eq!(node.objects.put(put).await, Err(broken()));
    }
    assert!(node.names().is_empty());
    node.blobs.set_faults(BlobFaults { full: true, ..BlobFaults::default() });
    assert!(matches!(node.put("k", &bytes(400_000, 4)).await, Err(ObjectError::Blob(_))));
    assert!(node.names().is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_uploads_that_meet_only_one_finds_nothing_there() {
    let cluster = Cluster::new(&["us"]);
    let node = cluster.start("us", &MemoryDisk::new(), true).await;
    node.make(BucketDefinition { copies: 1, ..BucketDefinition::default() }).await;
    let absent =
        Condition { if_none_match: Some(EntityTags::parse("*").unwrap()), ..Condition::default() };
    let mut tries = JoinSet::new();
    for nth in 0..8 {
        let put = Put { condition: absent.clone(), ..node.writing("k", &bytes(100, nth)) };
        let objects = node.objects.clone();
        tries.spawn(async move { objects.put(put).await });
    }
    let (mut won, mut lost) = (0, 0);
    while let Some(tried) = tries.join_next().await {
        match tried.unwrap() {
            Ok(_) => won += 1,
            Err(ObjectError::Change(Refused::Precondition)) => lost += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((won, lost), (1, 7));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_an_object_and_their_rows_go() {
    let cluster = Cluster::new(&["us"]);
    let node = cluster.start("us", &MemoryDisk::new(), true).await;
    node.make(BucketDefinition { copies: 1, ..BucketDefinition::default() }).await;
    let name = key("big");
    let upload =
        node.objects.begin_upload(&bucket(), name.clone(), UploadRecord::default()).await.unwrap();
    let parts = [bytes(6 << 20, 1), bytes(5 << 20, 2), bytes(10, 3)];
    let mut chosen = Vec::new();
    for (number, content) in (1..).zip(&parts) {
        let body = (stream_of(vec![content.clone()]), None);
        let part = node
            .objects
            .put_part(&bucket(), name.clone(), (upload, number), body, Digests::default())
            .await
            .unwrap();
        chosen.push(ChosenPart { number, etag: part.etag, ..ChosenPart::default() });
    }
    assert_eq!(node.objects.list_parts(upload, 0, 10).unwrap().0.len(), 3);
    let all = (chosen, Whole::default());
    let record = node
        .objects
        .complete_upload(&bucket(), name, upload, all, Condition::default())
        .await
        .unwrap();
    assert_eq!(node.read(&record).await.unwrap(), parts.concat());
    assert!(record.content.unwrap().etag.ends_with("-3"));
    assert!(node.objects.list_parts(upload, 0, 10).unwrap().0.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_reach_every_region_and_are_read_before_they_do() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    us.make(BucketDefinition { replication: Replication::Async, ..BucketDefinition::default() })
        .await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    let content = bytes(3 << 20, 5);
    let done = us.put("k", &content).await.unwrap();
    // At once: the row may not be there, and the bytes are not.
    assert_eq!(eu.get("k").await.unwrap(), content);
    assert_eq!(ap.get("k").await.unwrap(), content);
    until_held(&eu, &blobs(&done.record)).await;
    until_held(&ap, &blobs(&done.record)).await;
    // Now they outlive the region that took them in.
    until("the rows", || eu.names() == ["k"]).await;
    cluster.cut(&us.region, true);
    assert_eq!(eu.get("k").await.unwrap(), content);
    cluster.cut(&us.region, false);
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_to_be_everywhere_from_now_on_is_copied_to_the_last_blob() {
    // More than a walk looks at in one step.
    const OBJECTS: u64 = 700;
    let (_cluster, [us, eu, ap], _disks) = three().await;
    let everywhere = BucketDefinition { inline_max: ByteSize(0), ..BucketDefinition::default() };
    us.make(BucketDefinition { replication: Replication::Regional, ..everywhere.clone() }).await;
    eu.knows_bucket().await;
    let put = |nth: u64| {
        let us = &us;
        async move { us.put(&nth.to_string(), &bytes(64, nth)).await.unwrap().record }
    };
    let records: Vec<ObjectRecord> = stream::iter(0..OBJECTS).map(put).buffered(32).collect().await;
    let all: Vec<BlobRef> = records.iter().flat_map(blobs).collect();
    until("the rows", || eu.names().len() == all.len() && ap.names().len() == all.len()).await;
    assert!(!eu.holds(&all).await);
    let change = |entry: &mut BucketEntry| entry.definition = everywhere;
    us.objects.define_bucket(&bucket(), Expect::Any, change).await.unwrap();
    until_held(&eu, &all).await;
    until_held(&ap, &all).await;
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_was_away_fetches_what_it_missed_and_its_deletes_stand() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    us.make(BucketDefinition::default()).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    let content = bytes(1 << 20, 6);
    for name in ["stays", "goes"] {
        us.put(name, &content).await.unwrap();
    }
    until("the rows", || ap.names() == ["goes", "stays"]).await;
    cluster.cut(&ap.region, true);
    us.delete("goes").await;
    let missed = bytes(2 << 20, 7);
    let done = us.put("missed", &missed).await.unwrap();
    ap.put("alone", &bytes(2 << 20, 8)).await.unwrap();
    cluster.cut(&ap.region, false);
    for node in [&us, &eu, &ap] {
        until("all to agree", || node.names() == ["alone", "missed", "stays"]).await;
    }
    until_held(&ap, &blobs(&done.record)).await;
    assert_eq!(us.get("alone").await.unwrap(), bytes(2 << 20, 8));
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_waits_for_its_copies_and_says_when_there_are_fewer() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    let definition = BucketDefinition {
        replication: Replication::ActiveActive,
        copies: 3,
        ..BucketDefinition::default()
    };
    us.make(definition).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    let done = us.put("k", &bytes(3 << 20, 9)).await.unwrap();
    assert!(!done.degraded);
    assert_eq!(done.regions.iter().filter(|copy| copy.outcome.is_ok()).count(), 3);
    for node in [&us, &eu, &ap] {
        assert!(node.holds(&blobs(&done.record)).await);
    }
    // One region cannot store: two of three are a majority, and the answer says which one failed.
    ap.blobs.set_faults(BlobFaults { full: true, ..BlobFaults::default() });
    let done = us.put("k", &bytes(3 << 20, 10)).await.unwrap();
    assert!(done.degraded);
    let failed: Vec<_> = done.regions.iter().filter(|copy| copy.outcome.is_err()).collect();
    assert!(failed.iter().all(|copy| copy.region == ap.region), "{failed:?}");
    // Two cannot: it is refused, and what was there stays.
    eu.blobs.set_faults(BlobFaults { full: true, ..BlobFaults::default() });
    assert!(matches!(us.put("k", &bytes(3 << 20, 11)).await, Err(ObjectError::Copies { .. })));
    assert_eq!(us.head("k").await.unwrap(), done.record);
    drop(cluster);
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_lost_in_mid_upload_is_replaced_without_waiting_for_it() {
    let mut cluster = Cluster::new(&["us", "eu", "ap"]);
    // Longer than an upload waits for its copies.
    cluster.copying.delay = Duration::from_secs(600);
    let (cluster, [us, eu, ap], _disks) = three_of(cluster).await;
    let definition = BucketDefinition {
        replication: Replication::ActiveActive,
        copies: 2,
        min_copies: Some(2),
        regions: vec![us.region.clone(), eu.region.clone()],
        ..BucketDefinition::default()
    };
    us.make(definition).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    let body = bytes(usize::try_from(BLOB_BYTES_MAX).unwrap() + 70_000, 12);
    let mut rest = body.clone();
    let first = rest.split_to(usize::try_from(BLOB_BYTES_MAX).unwrap());
    let cluster = Arc::new(cluster);
    let (cut, lost) = (cluster.clone(), eu.region.clone());
    let last = stream::once(async move {
        cut.cut(&lost, true);
        Ok(rest)
    });
    let parts = stream::iter([Ok(first)]).chain(last).boxed();
    let done = us.objects.put(Put { body: parts, ..us.writing("k", &body) }).await.unwrap();
    assert!(!done.degraded);
    let result = |node: &Node| {
        let copy = done.regions.iter().find(|copy| copy.region == node.region);
        copy.map(|copy| copy.outcome.is_ok())
    };
    assert_eq!([result(&us), result(&eu), result(&ap)], [Some(true), Some(false), Some(true)]);
    assert!(us.holds(&blobs(&done.record)).await && ap.holds(&blobs(&done.record)).await);
    drop(cluster);
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_linearizable_bucket_are_made_at_the_home_wherever_they_are_asked_for() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    let definition = BucketDefinition {
        consistency: BucketConsistency::Linearizable,
        versioning: Versioning::Enabled,
        ..BucketDefinition::default()
    };
    us.make(definition).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    for node in [&us, &eu, &ap] {
        until_decided(node, "k").await;
    }
    let absent =
        Condition { if_none_match: Some(EntityTags::parse("*").unwrap()), ..Condition::default() };
    let mut tries = JoinSet::new();
    for (nth, node) in (0_u64..).zip([&us, &eu, &ap, &us, &eu, &ap]) {
        let put = Put { condition: absent.clone(), ..node.writing("k", &bytes(50_000, nth)) };
        let objects = node.objects.clone();
        tries.spawn(async move { objects.put(put).await });
    }
    let mut won = Vec::new();
    while let Some(tried) = tries.join_next().await {
        match tried.unwrap() {
            Ok(done) => won.push(done.record),
            Err(ObjectError::Change(Refused::Precondition)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    // Whoever asks sees it at once, wherever.
    for node in [&us, &eu, &ap] {
        assert_eq!(node.head("k").await.unwrap(), won[0]);
        assert_eq!(node.read(&won[0]).await.unwrap().len(), 50_000);
    }
    // The home decided, and took no bytes in: they come to it as to the others.
    for node in [&us, &eu, &ap] {
        until_held(node, &blobs(&won[0])).await;
    }
    // A region that is alone decides nothing.
    cluster.cut(&ap.region, true);
    let alone = ap.put("k", &bytes(10, 1)).await;
    assert!(
        matches!(
            alone,
            Err(ObjectError::Unavailable(_) | ObjectError::Unconfirmed(_) | ObjectError::Write(_))
        ),
        "{alone:?}"
    );
    cluster.cut(&ap.region, false);
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_told_only_when_all_that_may_know_deny_it() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    us.make(BucketDefinition::default()).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    assert!(matches!(eu.head("nothing").await, Err(ObjectError::Read(ReadRefused::NoKey))));
    // A region that is gone, with nothing told that is not here: still a miss.
    cluster.cut(&ap.region, true);
    assert!(matches!(eu.head("nothing").await, Err(ObjectError::Read(ReadRefused::NoKey))));
    cluster.cut(&ap.region, false);
    let local = |entry: &mut BucketEntry| entry.definition.miss = Miss::Local;
    eu.objects.define_bucket(&bucket(), Expect::Any, local).await.unwrap();
    assert!(matches!(eu.head("nothing").await, Err(ObjectError::Read(ReadRefused::NoKey))));
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_region_told_of_and_nobody_can_be_asked_for_is_no_miss() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    us.make(BucketDefinition::default()).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    cluster.hold_back(&ap.region, true);
    ap.put("k", &bytes(100, 1)).await.unwrap();
    let ahead = |node: &Node| {
        let status = node.engine.status();
        status.peers.iter().any(|it| it.region == ap.region && it.ahead_transactions > 0)
    };
    until("that there is more", || ahead(&us) && ahead(&eu)).await;
    // Its row is not here, and it can be asked.
    assert!(eu.names().is_empty());
    assert_eq!(eu.get("k").await.unwrap(), bytes(100, 1));
    assert!(matches!(eu.head("nothing").await, Err(ObjectError::Read(ReadRefused::NoKey))));
    // Now it cannot: it may know either.
    cluster.cut(&ap.region, true);
    for name in ["k", "nothing"] {
        for found in [eu.head(name).await.map(drop), us.get(name).await.map(drop)] {
            let Err(ObjectError::Unavailable(why)) = found else { panic!("{name}: {found:?}") };
            assert!(why.starts_with("ap may know the object"), "{why}");
        }
    }
    // What is here is read, and what is written is there.
    eu.put("other", &bytes(100, 2)).await.unwrap();
    assert_eq!(eu.get("other").await.unwrap(), bytes(100, 2));
    cluster.hold_back(&ap.region, false);
    cluster.cut(&ap.region, false);
    for node in [&us, &eu] {
        until("all of it", || node.names() == ["k", "other"]).await;
        assert!(matches!(node.head("nothing").await, Err(ObjectError::Read(ReadRefused::NoKey))));
    }
    stop([us, eu, ap]).await;
}

/// A change of a bucket that changes nothing.
fn same(_: &mut BucketEntry) {}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_goes_only_when_it_is_empty() {
    let cluster = Cluster::new(&["us"]);
    let node = cluster.start("us", &MemoryDisk::new(), true).await;
    node.make(BucketDefinition { copies: 1, ..BucketDefinition::default() }).await;
    let version = node.objects.bucket_version(&bucket()).unwrap();
    for (expect, error) in [
        (Expect::Absent, ObjectError::BucketExists(bucket())),
        (Expect::Version(version + 1), ObjectError::BucketChanged(bucket())),
    ] {
        assert_eq!(node.objects.define_bucket(&bucket(), expect, same).await, Err(error));
    }
    node.put("k", &bytes(10, 1)).await.unwrap();
    assert_eq!(node.objects.remove_bucket(&bucket()).await, Err(ObjectError::NotEmpty(bucket())));
    node.delete("k").await;
    node.objects.remove_bucket(&bucket()).await.unwrap();
    assert_eq!(node.objects.bucket(&bucket()), Err(ObjectError::NoBucket(bucket())));
    let gone = node.objects.define_bucket(&bucket(), Expect::Version(version), same).await;
    assert_eq!(gone, Err(ObjectError::NoBucket(bucket())));
    assert!(matches!(node.put("k", &bytes(10, 1)).await, Err(ObjectError::NoBucket(_))));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_enough_goes_and_uploads_are_given_up() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    let old = Duration::from_millis(1);
    let rule =
        |prefix: &str| LifecycleRule { prefix: prefix.to_owned(), ..LifecycleRule::default() };
    let lifecycle = vec![
        LifecycleRule { expire_after: Some(old), ..rule("logs/") },
        LifecycleRule { abort_uploads_after: Some(old), ..rule("") },
    ];
    us.make(BucketDefinition { lifecycle, ..BucketDefinition::default() }).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    us.put("logs/1", &bytes(10, 1)).await.unwrap();
    us.put("kept", &bytes(10, 1)).await.unwrap();
    let name = key("begun");
    let upload =
        eu.objects.begin_upload(&bucket(), name.clone(), UploadRecord::default()).await.unwrap();
    let body = (stream_of(vec![bytes(100, 1)]), None);
    // The upload may be given up before its part is there.
    let _part = eu.objects.put_part(&bucket(), name, (upload, 1), body, Digests::default()).await;
    let all = Listing { max: 10, ..Listing::default() };
    for node in [&us, &eu, &ap] {
        until("the log to go", || node.names() == ["kept"]).await;
        let uploads = || node.objects.list_uploads(&bucket(), &all).unwrap().entries.len();
        until("the upload to go", || uploads() == 0).await;
        let parts = || node.objects.list_parts(upload, 0, 10).unwrap().0.len();
        until("its parts to go", || parts() == 0).await;
    }
    drop(cluster);
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_regions_that_wrote_at_a_time_all_stay_and_the_latest_is_the_newest() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    us.make(BucketDefinition { versioning: Versioning::Enabled, ..BucketDefinition::default() })
        .await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    us.put("k", &bytes(10, 0)).await.unwrap();
    until("the first", || ap.names() == ["k"]).await;
    cluster.cut(&ap.region, true);
    us.put("k", &bytes(10, 1)).await.unwrap();
    ap.put("k", &bytes(10, 2)).await.unwrap();
    // Of what is written within one millisecond, the names of regions say which is later.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let last = us.put("k", &bytes(10, 3)).await.unwrap().record;
    cluster.cut(&ap.region, false);
    let all = Listing { max: 10, ..Listing::default() };
    for node in [&us, &eu, &ap] {
        let versions = || node.objects.list_versions(&bucket(), &all).unwrap().entries.len();
        until("four versions", || versions() == 4).await;
        let newest = async {
            while node.head("k").await.unwrap().version != last.version {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(super::cluster::PATIENCE, newest).await.unwrap();
    }
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_nobody_refers_to_go_everywhere_and_all_others_stay() {
    let mut cluster = Cluster::new(&["us", "eu", "ap"]);
    cluster.collect_every = Duration::from_secs(2);
    let (cluster, [us, eu, ap], _disks) = three_of(cluster).await;
    us.make(BucketDefinition { versioning: Versioning::Off, ..BucketDefinition::default() }).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    let (kept, replaced, deleted) = (bytes(300_000, 1), bytes(300_000, 2), bytes(300_000, 3));
    let stays = us.put("kept", &kept).await.unwrap();
    let goes = us.put("replaced", &replaced).await.unwrap();
    let dies = eu.put("deleted", &deleted).await.unwrap();
    // The same bytes under two keys are one blob: it stays with the second.
    let twin = ap.put("twin", &kept).await.unwrap();
    assert_eq!(blobs(&twin.record), blobs(&stays.record));
    for node in [&us, &eu, &ap] {
        for done in [&stays, &goes, &dies] {
            until_held(node, &blobs(&done.record)).await;
        }
    }
    us.put("replaced", &bytes(300_000, 4)).await.unwrap();
    eu.delete("deleted").await;
    us.delete("kept").await;
    for node in [&us, &eu, &ap] {
        for done in [&goes, &dies] {
            until_gone(node, &blobs(&done.record)).await;
        }
        assert!(node.holds(&blobs(&twin.record)).await);
        assert_eq!(node.get("twin").await.unwrap(), kept);
        assert_eq!(node.get("replaced").await.unwrap(), bytes(300_000, 4));
    }
    drop(cluster);
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_read_around_and_mended_from_another_region() {
    let (cluster, [us, eu, ap], _disks) = three().await;
    us.make(BucketDefinition::default()).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    let content = bytes(2 << 20, 1);
    let done = us.put("k", &content).await.unwrap();
    until_held(&eu, &blobs(&done.record)).await;
    // Found by a reader, who sees nothing of it.
    let hash = blobs(&done.record)[0].hash;
    assert!(us.blobs.damage(hash));
    assert_eq!(us.get("k").await.unwrap(), content);
    until_held(&us, &blobs(&done.record)).await;
    // Found by the scrub, though its row says that it is here.
    us.blobs.remove(hash).await.unwrap();
    until_held(&us, &blobs(&done.record)).await;
    drop(cluster);
    stop([us, eu, ap]).await;
}
