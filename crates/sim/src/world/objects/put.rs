//! What clients ask, and how it is done: bytes in, copies, and the row at the end.

use bytes::Bytes;
use rhumb_objects::{
    ask::{self, What},
    condition::Condition,
    copies::{self, Copying},
    index::{self, Which},
    list,
    multipart::{self, ChosenPart, Whole},
    place::{self, Bounds, UploadPlan},
};
use rhumb_regions::{Client, Key};
use rhumb_types::{
    AckLevel, ErrorCode, RegionId,
    planted::{self, Planted},
    record::{
        BlobRef, Body, BucketDefinition, BucketName, Checksums, Content, PartRecord, UploadRecord,
        VersionId,
    },
};

use super::{
    calls::{Call, Failure, Headed, KEEP_WAIT, Told, head},
    change::{change, hold},
    decide::{By, change_index},
    here::{Answered, Here, Pin, Ticket, Wish},
    pace::Pace,
    read,
    words::{Answer, Ask, Done, End},
};
use crate::{branch::Branch, time::SECOND};

/// The least length of a part but the last, in bytes.
pub(crate) const PART_BYTES: u64 = multipart::PART_BYTES_MIN;

/// Does what a client asks, here or, where its bytes may not lie here, in the nearest region where they
/// may.
pub(super) async fn asked(here: &Here, ask: Ask) -> Answer {
    let Some(to) = elsewhere(here, &ask) else { return asked_here(here, ask).await };
    match here.call(&to, Call::Pass(Box::new(ask)), KEEP_WAIT).await {
        Some(Told::Passed(done)) => Ok(*done),
        Some(Told::Refused(failure)) => Err(failure),
        _ => Err(Failure::new(ErrorCode::Unconfirmed, format!("{to} may have done it"))),
    }
}

/// Where a request is passed on to, if it is.
fn elsewhere(here: &Here, ask: &Ask) -> Option<RegionId> {
    let definition = here.definition(ask.brings_to().filter(|_| here.pace().passes_on)?).ok()?;
    let snapshot = here.routing()?;
    let at = snapshot.index(here.region())?;
    let allowed = Bounds::of(&snapshot, &definition).ok()?.allowed();
    if allowed.contains(at) {
        return None;
    }
    let nearest = place::nearest(&snapshot, at, allowed).into_iter().next()?;
    Some(snapshot.id(nearest).clone())
}

/// Does what a client asks, here.
pub(super) async fn asked_here(here: &Here, ask: Ask) -> Answer {
    match ask {
        Ask::Put { bucket, key, etag, body, condition } => {
            put(here, (bucket, key), (etag, body), condition).await
        }
        Ask::Parts { bucket, key, etag, parts, end } => {
            in_parts(here, (&bucket, &key), &etag, (parts, end)).await
        }
        Ask::Copy { bucket, from, key } => copy(here, (bucket, key), &from).await,
        Ask::Tag { bucket, key } => tag(here, bucket, key).await,
        Ask::Delete { bucket, key, which } => {
            let definition = here.definition(&bucket)?;
            let what = What::Delete { which, condition: Condition::default() };
            let ask = ask::Ask { bucket, key, what };
            let (_, written) = change(here, &definition, &ask, Vec::new()).await?;
            Ok(Done { written, ..Done::default() })
        }
        Ask::Get { bucket, key } => {
            let Headed { record, ahead } = head(here, &bucket, &key, Which::Newest).await?;
            let through = match &record {
                Some(record) => read::bytes(here, &bucket, record).await?,
                None => false,
            };
            Ok(Done { record, ahead, through, ..Done::default() })
        }
        Ask::Begin { bucket, key } => {
            let definition = here.definition(&bucket)?;
            let upload = begin(here, &definition, (&bucket, &key)).await?;
            Ok(Done { upload: Some(upload), ..Done::default() })
        }
        Ask::Part { bucket, key, upload, part: (number, etag), blob } => {
            let definition = here.definition(&bucket)?;
            let part = part(here, &definition, (&bucket, &key), (upload, number, &etag), blob);
            let copies = part.await?;
            Ok(Done { copies, ..Done::default() })
        }
        Ask::Complete { bucket, key, upload, parts } => {
            let definition = here.definition(&bucket)?;
            let chosen =
                |(number, etag)| ChosenPart { number, etag, checksums: Checksums::default() };
            let chosen = parts.into_iter().map(chosen).collect();
            complete(here, &definition, (&bucket, &key), (upload, chosen)).await
        }
        Ask::Abort { bucket, key, upload } => {
            let definition = here.definition(&bucket)?;
            abort(here, &definition, (&bucket, &key), upload).await
        }
    }
}

fn content(etag: String, body: Body) -> Content {
    let bytes = match &body {
        Body::Inline(bytes) => bytes.len() as u64,
        Body::Blobs(blobs) => blobs.iter().map(|blob| blob.bytes).sum(),
    };
    Content {
        bytes,
        etag,
        body,
        parts: Vec::new(),
        checksums: Checksums::default(),
        headers: Default::default(),
        metadata: Default::default(),
        tags: Default::default(),
    }
}

async fn put(
    here: &Here,
    (bucket, key): (BucketName, Bytes),
    (etag, body): (String, Body),
    condition: Condition,
) -> Answer {
    index::check_key(&key)
        .map_err(|refused| Failure::new(ErrorCode::Invalid, refused.to_string()))?;
    let definition = here.definition(&bucket)?;
    let plan = planned(here, &definition, &bucket, &key)?;
    let pins = match &body {
        Body::Blobs(blobs) => take_in(here, blobs).await?,
        Body::Inline(_) => Vec::new(),
    };
    let what = What::Put { content: content(etag, body), condition };
    let ask = ask::Ask { bucket, key, what };
    settle(here, &definition, &ask, pins, Some(plan)).await
}

/// Where copies go before the upload is answered, and who stands in.
struct Planned {
    targets: Vec<RegionId>,
    spares: Vec<RegionId>,
}

fn planned(
    here: &Here,
    definition: &BucketDefinition,
    bucket: &BucketName,
    key: &[u8],
) -> Result<Planned, Failure> {
    let Some(snapshot) = here.routing() else {
        return Err(Failure::unavailable("this node does not route yet"));
    };
    let unplaced = |error: place::PlaceError| Failure::unavailable(error.to_string());
    let bounds = Bounds::of(&snapshot, definition).map_err(unplaced)?;
    may_lie_here(here, definition)?;
    let name = place::name(bucket, key);
    let upload = place::Upload {
        key: Key::new(&name),
        client: Client::default(),
        turn: here.turn(),
        taken_in: Some(here.region()),
    };
    let plan = UploadPlan::new(&snapshot, definition, &bounds, &upload).map_err(unplaced)?;
    if plan.is_hopeless() {
        return Err(Failure::unavailable("too few regions may hold a copy"));
    }
    let others = |region: &&RegionId| *region != here.region();
    Ok(Planned {
        targets: plan.targets().filter(others).cloned().collect(),
        spares: plan.spares().filter(others).cloned().collect(),
    })
}

/// Refuses what would bring bytes of a bucket here that may not lie here.
fn may_lie_here(here: &Here, definition: &BucketDefinition) -> Result<(), Failure> {
    if here.routing().is_some_and(|it| place::may_lie(&it, definition, here.region())) {
        return Ok(());
    }
    here.note(Branch::UploadNotHere);
    Err(Failure::unavailable("bytes of this bucket may not lie here"))
}

/// Makes blobs durable here, and pins them.
async fn take_in(here: &Here, blobs: &[BlobRef]) -> Result<Vec<Pin>, Failure> {
    let mut pins = Vec::with_capacity(blobs.len());
    for blob in blobs {
        store(here, *blob).await?;
        let Some(pin) = here.pin(blob.hash).await else {
            return Err(Failure::unavailable("the blob cannot be pinned now"));
        };
        // It may have been held before, and have gone in the moment before it was pinned.
        if here.blobs().get(&blob.hash).is_none() {
            store(here, *blob).await?;
        }
        pins.push(pin);
    }
    Ok(pins)
}

/// Writes a blob and waits until it is durable.
pub(super) async fn store(here: &Here, blob: BlobRef) -> Result<(), Failure> {
    if planted::is(Planted::HoldEarly) && !here.is_full() {
        here.blobs().put_unsynced(blob, here.now().wall);
        let late = here.clone();
        here.spawn(async move {
            late.sleep(SECOND / 2).await;
            late.blobs().put(blob, late.now().wall);
        });
        return Ok(());
    }
    if !here.write_disk().await {
        return Err(Failure::unavailable("the store of blobs is full"));
    }
    here.blobs().put(blob, here.now().wall);
    Ok(())
}

/// Makes the copies, then writes the index.
async fn settle(
    here: &Here,
    definition: &BucketDefinition,
    ask: &ask::Ask,
    pins: Vec<Pin>,
    plan: Option<Planned>,
) -> Answer {
    let needed = usize::from(definition.copies_needed());
    let blobs = ask.what.blobs().to_vec();
    let mut copies = vec![here.region().clone()];
    let mut asked = 1;
    if let Some(plan) = plan.filter(|plan| !blobs.is_empty() && !plan.targets.is_empty()) {
        asked += plan.targets.len();
        copies.extend(copy_to(here, plan, &blobs).await);
    }
    if !blobs.is_empty() {
        let enough = copies::enough(copies.len(), needed, asked);
        let degraded = enough.map_err(|few| Failure::unavailable(few.to_string()))?;
        if degraded {
            here.note(Branch::UploadDegraded);
        }
    }
    let (answer, written) = change(here, definition, ask, pins).await?;
    let ask::Answer::Record(record) = answer else {
        return Err(Failure::new(ErrorCode::Internal, "the answer is another's"));
    };
    if blobs.is_empty() && needed > 1 {
        // What lies in the index is copied with it.
        let acks = here.acks(Some(written.clone()), needed - 1).await;
        if acks + 1 < needed {
            return Err(Failure::new(ErrorCode::Unconfirmed, "fewer regions have it"));
        }
    }
    Ok(Done { record: Some(*record), written, copies, ..Done::default() })
}

/// Has regions copy blobs, and gives those that did.
async fn copy_to(here: &Here, plan: Planned, blobs: &[BlobRef]) -> Vec<RegionId> {
    let Pace { copy_wait, copy_retries, copy_pause, .. } = *here.pace();
    let keep = |region: &RegionId| {
        here.begin_call(region, Call::Keep { blobs: blobs.to_vec() }, KEEP_WAIT)
    };
    let mut copying = Copying::new(plan.targets.len(), plan.spares);
    // Whom each ticket is about, how often it was asked, and whether this is the pause between.
    let begin = |region: RegionId, tries: u32| (keep(&region), region, tries, false);
    let mut open: Vec<(Ticket, RegionId, u32, bool)> =
        plan.targets.into_iter().map(|region| begin(region, 0)).collect();
    let over = here.ticket();
    here.wish(Wish::Sleep { ticket: over, micros: copy_wait });
    let mut copied = Vec::new();
    while !copying.is_done() && !open.is_empty() {
        let mut tickets: Vec<Ticket> = open.iter().map(|it| it.0).collect();
        tickets.push(over);
        let (ticket, answered) = here.first_of(tickets).await;
        let Some(at) = open.iter().position(|it| it.0 == ticket) else { break };
        let (_, region, tries, paused) = open.swap_remove(at);
        if paused {
            open.push(begin(region, tries));
        } else if matches!(answered, Answered::Told(Some(Told::Kept))) {
            copying.on_end(true);
            copied.push(region);
        } else if tries < copy_retries {
            let pause = here.ticket();
            here.wish(Wish::Sleep { ticket: pause, micros: copy_pause });
            open.push((pause, region, tries + 1, true));
        } else if let Some(spare) = copying.on_end(false) {
            here.note(Branch::SpareUsed);
            open.push(begin(spare, 0));
        }
    }
    copied
}

/// Keeps the blobs of a body here, and fetches those that are not: a reference is written only where
/// its bytes are (rule 12).
async fn ensure_here(
    here: &Here,
    definition: &BucketDefinition,
    body: &Body,
    taken_in: &RegionId,
) -> Result<Vec<Pin>, Failure> {
    let Body::Blobs(blobs) = body else { return Ok(Vec::new()) };
    may_lie_here(here, definition)?;
    if planted::is(Planted::CommitUnheld) {
        return Ok(Vec::new());
    }
    let mut pins = Vec::new();
    for blob in blobs {
        let pin = here.pin(blob.hash).await;
        pins.push(pin.ok_or_else(|| Failure::unavailable("the blob cannot be pinned now"))?);
        super::fetch::fetch_now(here, *blob, taken_in).await?;
    }
    hold(here, blobs).await?;
    Ok(pins)
}

async fn copy(here: &Here, (bucket, key): (BucketName, Bytes), from: &Bytes) -> Answer {
    let definition = here.definition(&bucket)?;
    let Some(record) = head(here, &bucket, from, Which::Newest).await?.record else {
        return Err(Failure::new(ErrorCode::NotFound, "there is nothing to copy"));
    };
    // The engine passes inline bodies through its caller.
    let copied = index::Copied::default();
    let content = match index::copied(&record, false, &definition, copied) {
        Ok(content) => content,
        Err(refused) => return Err(Failure::new(ErrorCode::Invalid, refused.to_string())),
    };
    let pins = ensure_here(here, &definition, &content.body, &record.region).await?;
    let what = What::Put { content, condition: Condition::default() };
    let ask = ask::Ask { bucket, key, what };
    settle(here, &definition, &ask, pins, None).await
}

async fn tag(here: &Here, bucket: BucketName, key: Bytes) -> Answer {
    let definition = here.definition(&bucket)?;
    let Some(record) = head(here, &bucket, &key, Which::Newest).await?.record else {
        return Err(Failure::new(ErrorCode::NotFound, "there is nothing to tag"));
    };
    let pins = match &record.content {
        Some(content) => ensure_here(here, &definition, &content.body, &record.region).await?,
        None => Vec::new(),
    };
    let tags = [("tag".to_owned(), here.new_version().to_string())].into();
    let what = What::Tag { which: Which::Newest, version: record.version, tags };
    let ask = ask::Ask { bucket, key, what };
    let (answer, written) = change(here, &definition, &ask, pins).await?;
    let ask::Answer::Record(record) = answer else {
        return Err(Failure::new(ErrorCode::Internal, "the answer is another's"));
    };
    Ok(Done { record: Some(*record), written, ..Done::default() })
}

async fn in_parts(
    here: &Here,
    (bucket, key): (&BucketName, &Bytes),
    etag: &str,
    (parts, end): (Vec<BlobRef>, End),
) -> Answer {
    let definition = here.definition(bucket)?;
    let upload = begin(here, &definition, (bucket, key)).await?;
    let mut chosen = Vec::new();
    for (number, blob) in (1..).zip(parts) {
        // As long as an MD5, and of digits: only such parts are joined.
        let part_etag = format!("{etag:0>24}{number:08}");
        part(here, &definition, (bucket, key), (upload, number, &part_etag), blob).await?;
        chosen.push(ChosenPart { number, etag: part_etag, checksums: Checksums::default() });
    }
    match end {
        End::Forget => return Err(Failure::unavailable("the client went away")),
        End::Abort => return abort(here, &definition, (bucket, key), upload).await,
        End::Wrong => {
            let checksums = Checksums::default();
            chosen.push(ChosenPart { number: 9_999, etag: "none".to_owned(), checksums });
        }
        End::Complete => {}
    }
    complete(here, &definition, (bucket, key), (upload, chosen)).await
}

async fn begin(
    here: &Here,
    definition: &BucketDefinition,
    (bucket, key): (&BucketName, &Bytes),
) -> Result<VersionId, Failure> {
    let begun = here.now().wall;
    let what = What::Begin { upload: UploadRecord { begun, ..UploadRecord::default() } };
    let ask = ask::Ask { bucket: bucket.clone(), key: key.clone(), what };
    match change(here, definition, &ask, Vec::new()).await?.0 {
        ask::Answer::Begun(upload) => Ok(upload),
        _ => Err(Failure::new(ErrorCode::Internal, "the answer is another's")),
    }
}

async fn complete(
    here: &Here,
    definition: &BucketDefinition,
    (bucket, key): (&BucketName, &Bytes),
    (upload, chosen): (VersionId, Vec<ChosenPart>),
) -> Answer {
    let pins = parts_here(here, definition, upload).await?;
    let (whole, condition) = (Whole::default(), Condition::default());
    let what = What::Complete { upload, chosen, whole, condition };
    let ask = ask::Ask { bucket: bucket.clone(), key: key.clone(), what };
    let (answer, written) = change(here, definition, &ask, pins).await?;
    let ask::Answer::Record(record) = answer else {
        return Err(Failure::new(ErrorCode::Internal, "the answer is another's"));
    };
    clear(here, bucket, key, upload).await;
    here.note(Branch::PartsJoined);
    Ok(Done { record: Some(*record), written, ..Done::default() })
}

async fn abort(
    here: &Here,
    definition: &BucketDefinition,
    (bucket, key): (&BucketName, &Bytes),
    upload: VersionId,
) -> Answer {
    let what = What::Abort { upload };
    let ask = ask::Ask { bucket: bucket.clone(), key: key.clone(), what };
    change(here, definition, &ask, Vec::new()).await?;
    clear(here, bucket, key, upload).await;
    Ok(Done::default())
}

async fn part(
    here: &Here,
    definition: &BucketDefinition,
    (bucket, key): (&BucketName, &Bytes),
    (upload, number, etag): (VersionId, u16, &str),
    blob: BlobRef,
) -> Result<Vec<RegionId>, Failure> {
    let plan = planned(here, definition, bucket, key)?;
    let mut copies = vec![here.region().clone()];
    let pins = take_in(here, &[blob]).await?;
    let part = PartRecord {
        bytes: blob.bytes,
        etag: etag.to_owned(),
        body: Body::Blobs(vec![blob]),
        checksums: Checksums::default(),
        modified: here.now().wall,
    };
    if !plan.targets.is_empty() {
        let needed = usize::from(definition.copies_needed());
        copies.extend(copy_to(here, plan, &[blob]).await);
        let had = copies.len();
        copies::enough(had, needed, had).map_err(|few| Failure::unavailable(few.to_string()))?;
    }
    let what = What::Part { upload, number, part };
    let ask = ask::Ask { bucket: bucket.clone(), key: key.clone(), what };
    change(here, definition, &ask, pins).await?;
    Ok(copies)
}

/// Keeps the blobs of all parts of an upload here.
async fn parts_here(
    here: &Here,
    definition: &BucketDefinition,
    upload: VersionId,
) -> Result<Vec<Pin>, Failure> {
    let (parts, _) = list::parts(&here.rows(), upload, 0, list::LISTED_MAX)?;
    let mut pins = Vec::new();
    for listed in &parts {
        pins.extend(ensure_here(here, definition, &listed.part.body, here.region()).await?);
    }
    Ok(pins)
}

/// Removes what is left of an upload that has ended. What this does not get to, a walk does.
async fn clear(here: &Here, bucket: &BucketName, key: &Bytes, upload: VersionId) {
    let Ok(definition) = here.definition(bucket) else { return };
    let target = index::Target { bucket, versioning: definition.versioning, key };
    let cleared = change_index(here, &By::Anyone(AckLevel::Local), |rows| {
        Ok(((), multipart::leftovers(rows, target, upload)?))
    });
    let _left = cleared.await;
}
