//! Requests at a region that may not hold the bytes, or has not heard of an upload yet.

use rhumb_engine::object::multipart::NoUpload;
use rhumb_types::record::VersionId;

use super::*;

/// Three regions that know a bucket whose bytes may lie in one of them.
async fn three_with_bytes_in_eu() -> (Cluster, [Node; 3], [MemoryDisk; 3]) {
    let (cluster, nodes, disks) = three().await;
    // Every region carries its own name as a tag.
    let residency = vec!["eu".to_owned()];
    let definition = BucketDefinition { residency, copies: 1, ..BucketDefinition::default() };
    nodes[0].make(definition).await;
    for node in &nodes {
        node.knows_bucket().await;
    }
    (cluster, nodes, disks)
}

impl Node {
    async fn begin(&self, name: &str) -> VersionId {
        self.objects.begin_upload(&bucket(), key(name), UploadRecord::default()).await.unwrap()
    }

    async fn part(
        &self,
        name: &str,
        (upload, number): (VersionId, u16),
        content: &Bytes,
    ) -> Result<ChosenPart, ObjectError> {
        let body = (stream_of(vec![content.clone()]), None);
        let part = (upload, number);
        let digests = Digests::default();
        let part = self.objects.put_part(&bucket(), key(name), part, body, digests).await?;
        Ok(ChosenPart { number, etag: part.etag, ..ChosenPart::default() })
    }

    async fn complete(
        &self,
        name: &str,
        upload: VersionId,
        chosen: Vec<ChosenPart>,
    ) -> Result<ObjectRecord, ObjectError> {
        let (all, any) = ((chosen, Whole::default()), Condition::default());
        self.objects.complete_upload(&bucket(), key(name), upload, all, any).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_may_not_hold_bytes_passes_requests_on_and_holds_nothing() {
    let (_cluster, [us, eu, ap], _disks) = three_with_bytes_in_eu().await;
    // Of several blocks, of one, and of none.
    for (name, size) in [("large", 20 << 20), ("small", 1_000), ("empty", 0)] {
        let content = bytes(size, 5);
        let done = us.put(name, &content).await.unwrap();
        let regions: Vec<&str> = done.regions.iter().map(|it| it.region.as_str()).collect();
        assert_eq!(regions, ["eu"], "the region that took it is named");
        assert_eq!(us.get(name).await.unwrap(), content);
        assert_eq!(ap.get(name).await.unwrap(), content);
    }
    let large = blobs(&us.head("large").await.unwrap());
    // However often it is read.
    for _ in 0..5 {
        us.get("large").await.unwrap();
    }
    let parts = [bytes(6 << 20, 1), bytes(10, 3)];
    let upload = us.begin("parts").await;
    let mut chosen = Vec::new();
    for (number, content) in (1..).zip(&parts) {
        chosen.push(us.part("parts", (upload, number), content).await.unwrap());
    }
    let record = us.complete("parts", upload, chosen).await.unwrap();
    assert_eq!(us.read(&record).await.unwrap(), parts.concat());
    let tags = [("k".to_owned(), "v".to_owned())].into();
    let tagged = us.objects.tag(&bucket(), key("large"), Which::Newest, tags).await.unwrap();
    assert_eq!(tagged.content.unwrap().tags.len(), 1);
    let (of, source) = (bucket(), us.head("large").await.unwrap());
    let source = (&of, &b"large"[..], &source);
    let changed = rhumb_engine::object::index::Copied::default();
    let (target, any) = (bucket(), Condition::default());
    let copied = us.objects.copy(source, (&target, key("copy")), changed, any).await;
    assert_eq!(us.read(&copied.unwrap().record).await.unwrap().len(), 20 << 20);
    assert!(eu.holds(&large).await && eu.holds(&blobs(&record)).await);
    for outside in [&us, &ap] {
        for blob in large.iter().chain(&blobs(&record)) {
            assert!(!outside.holds(&[*blob]).await, "{} holds what it may not", outside.region);
        }
    }
    us.delete("large").await;
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_was_said_is_stored_nowhere_when_it_is_passed_on() {
    let (cluster, [us, eu, ap], _disks) = three_with_bytes_in_eu().await;
    for size in [100, 3 << 20] {
        let content = bytes(size, 3);
        let mut wrong = us.writing("k", &content);
        wrong.digests.md5 = Some([0; 16]);
        assert_eq!(us.objects.put(wrong).await, Err(ObjectError::Digest("MD5")));
        for said in [size as u64 - 1, size as u64 + 1] {
            let short = Put { bytes: Some(said), ..us.writing("k", &content) };
            assert!(matches!(us.objects.put(short).await, Err(ObjectError::Length { .. })));
        }
        let broken = || ObjectError::Body("gone".to_owned());
        let body = stream::iter([Ok(content.clone()), Err(broken())]).boxed();
        let put = Put { body, bytes: None, ..us.writing("k", &content) };
        assert_eq!(us.objects.put(put).await, Err(broken()));
    }
    let absent =
        Condition { if_none_match: Some(EntityTags::parse("*").unwrap()), ..Condition::default() };
    us.put("there", &bytes(10, 1)).await.unwrap();
    let again = Put { condition: absent, ..us.writing("there", &bytes(10, 2)) };
    assert_eq!(
        us.objects.put(again).await,
        Err(Refused::Precondition.into()),
        "as if refused here"
    );
    assert_eq!(eu.names(), ["there"]);
    // Nobody who may hold it is there.
    cluster.cut(&eu.region, true);
    let alone = us.put("k", &bytes(100, 1)).await;
    assert!(
        matches!(alone, Err(ObjectError::Unavailable(_) | ObjectError::Unconfirmed(_))),
        "{alone:?}"
    );
    cluster.cut(&eu.region, false);
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_in_other_regions_before_they_have_heard_of_it() {
    let (_cluster, [us, eu, ap], _disks) = three().await;
    us.make(BucketDefinition { copies: 1, ..BucketDefinition::default() }).await;
    eu.knows_bucket().await;
    ap.knows_bucket().await;
    for round in 0..5 {
        let name = format!("k{round}");
        let content = [bytes(5 << 20, round), bytes(9, round)];
        let upload = us.begin(&name).await;
        let first = eu.part(&name, (upload, 1), &content[0]).await.unwrap();
        let second = us.part(&name, (upload, 2), &content[1]).await.unwrap();
        let record = ap.complete(&name, upload, vec![first, second]).await.unwrap();
        assert_eq!(us.read(&record).await.unwrap(), content.concat());
    }
    let never = us.begin("given up").await;
    eu.objects.abort_upload(&bucket(), key("given up"), never).await.unwrap();
    let late = ap.part("given up", (never, 1), &bytes(9, 9)).await;
    // By whom it is refused, as a part or as an upload, depends on who has heard of the end.
    assert_eq!(late.unwrap_err().to_string(), ObjectError::from(NoUpload).to_string());
    stop([us, eu, ap]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_came_because_it_is_read_stays_while_others_go() {
    let mut cluster = Cluster::new(&["us", "eu", "ap"]);
    cluster.collect_every = Duration::from_secs(1);
    let (_cluster, [us, eu, ap], _disks) = three_of(cluster).await;
    let definition = BucketDefinition {
        replication: Replication::Regional,
        copies: 1,
        promote_after: 2,
        ..BucketDefinition::default()
    };
    us.make(definition).await;
    eu.knows_bucket().await;
    let read = blobs(&us.put("read", &bytes(100_000, 1)).await.unwrap().record);
    for _ in 0..3 {
        eu.get("read").await.unwrap();
    }
    until_held(&eu, &read).await;
    // What may go of every home's goes: all of them have looked.
    let mut gone = Vec::new();
    for seed in 2..10 {
        gone.extend(blobs(&us.put("gone", &bytes(100_000, seed)).await.unwrap().record));
    }
    us.delete("gone").await;
    for blob in gone {
        until_gone(&us, &[blob]).await;
    }
    assert!(eu.holds(&read).await, "it is one more than is asked for, and is read here");
    stop([us, eu, ap]).await;
}
