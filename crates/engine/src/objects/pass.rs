//! Requests that a region passes on, because it may not hold the bytes of the bucket.
//!
//! The nearest region that may hold them carries the request out as its own, and pulls the body from
//! here block by block, a few ahead: nothing is stored here, and no more than these blocks are in memory.
//! What the client said of its body (length, MD5, checksums, signed payload) is held against it here, and
//! only then is the other region told that the body has ended: of one that is not what was said nothing is
//! stored.
//!
//! Deliberately absent: a second hop. Who is passed a request carries it out itself or refuses it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use rhumb_objects::{
    checksum::Algorithm,
    condition::Condition,
    index::{self, Which},
    multipart::{ChosenPart, Whole},
    place::{self, Bounds},
};
use rhumb_ports::{blobs::BLOB_READ_BYTES_MAX, clock::Entropy as _, peer::CallError};
use rhumb_types::{
    RegionId,
    record::{BucketDefinition, BucketName, ObjectRecord, PartRecord, VersionId},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use super::{
    About, ByteStream, Digests, Done, ObjectClient, ObjectError, Put,
    digest::Digester,
    wire::{Call, Told},
};
use crate::{
    OsEntropy,
    limits::{
        BLOB_CALL_WAIT, KEEP_WAIT, OBJECT_BYTES_MAX, PASS_BLOCKS_AHEAD, PASS_IDLE_MAX, PASSES_MAX,
        PULL_WAIT,
    },
};

/// A request that another region carries out. The order of variants and fields is frozen (rule 16).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Passed {
    Put {
        bucket: BucketName,
        key: Bytes,
        body: Body,
        about: About,
        condition: Condition,
    },
    Part {
        bucket: BucketName,
        key: Bytes,
        upload: VersionId,
        number: u16,
        body: Body,
    },
    Copy {
        source: (BucketName, Bytes, Box<ObjectRecord>),
        target: (BucketName, Bytes),
        changed: index::Copied,
        condition: Condition,
    },
    Tag {
        bucket: BucketName,
        key: Bytes,
        which: Which,
        tags: BTreeMap<String, String>,
    },
    Complete {
        bucket: BucketName,
        key: Bytes,
        upload: VersionId,
        chosen: Vec<ChosenPart>,
        whole: Whole,
        condition: Condition,
    },
}

/// A body that waits at the asker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Body {
    /// By which number it is pulled.
    id: u64,
    /// How long it is, if the client has said so.
    bytes: Option<u64>,
    /// The names of the checksums to keep with it.
    compute: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum PassedOn {
    Done(Done),
    Part(PartRecord),
    Record(ObjectRecord),
}

/// An answer to a pull.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Block {
    Bytes(Bytes),
    /// The client is slow: ask again.
    NotYet,
    /// The body ended before this block, and is what was said of it.
    End,
    /// It broke off, or is not what was said of it.
    Broken,
}

/// The bodies that other regions pull from here, and how many requests may be on their way.
#[derive(Debug)]
pub(crate) struct Passes {
    outgoing: Mutex<HashMap<u64, Arc<Outgoing>>>,
    /// Of those that are passed on, and of those that are carried out for others.
    given: Semaphore,
    taken: Semaphore,
}

impl Default for Passes {
    fn default() -> Self {
        Self {
            outgoing: Mutex::default(),
            given: Semaphore::new(PASSES_MAX),
            taken: Semaphore::new(PASSES_MAX),
        }
    }
}

impl Passes {
    fn outgoing(&self) -> MutexGuard<'_, HashMap<u64, Arc<Outgoing>>> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body on its way. A lock and not a task, because it is held to move a block only.
#[derive(Debug)]
struct Outgoing {
    blocks: Mutex<Blocks>,
    changed: Notify,
}

#[derive(Debug)]
struct Blocks {
    ready: BTreeMap<u64, Bytes>,
    /// How many there are in all; `Err` when the body broke off.
    end: Option<Result<u64, ()>>,
    pulled: Instant,
}

impl Outgoing {
    fn new() -> Self {
        let blocks = Blocks { ready: BTreeMap::new(), end: None, pulled: Instant::now() };
        Self { blocks: Mutex::new(blocks), changed: Notify::new() }
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a block, once there is room for it.
    async fn offer(&self, nth: u64, bytes: Bytes) {
        loop {
            let changed = self.changed.notified();
            {
                let mut blocks = self.blocks();
                if blocks.ready.len() < PASS_BLOCKS_AHEAD {
                    blocks.ready.insert(nth, bytes);
                    break;
                }
            }
            changed.await;
        }
        self.changed.notify_waiters();
    }

    fn end(&self, end: Result<u64, ()>) {
        self.blocks().end = Some(end);
        self.changed.notify_waiters();
    }

    fn take(&self, nth: u64) -> Option<Block> {
        let mut blocks = self.blocks();
        blocks.pulled = Instant::now();
        if let Some(bytes) = blocks.ready.remove(&nth) {
            return Some(Block::Bytes(bytes));
        }
        match blocks.end {
            Some(Ok(count)) if nth >= count => Some(Block::End),
            Some(Err(())) => Some(Block::Broken),
            _ => None,
        }
    }

    /// A block, as soon as it is there.
    async fn pull(&self, nth: u64) -> Block {
        let waited = async {
            loop {
                let changed = self.changed.notified();
                if let Some(block) = self.take(nth) {
                    self.changed.notify_waiters();
                    return block;
                }
                changed.await;
            }
        };
        timeout(PULL_WAIT, waited).await.unwrap_or(Block::NotYet)
    }

    /// Ends when nobody has pulled for long although there is something to pull, or all was pulled.
    async fn idle(&self) {
        loop {
            let until = self.blocks().pulled + PASS_IDLE_MAX;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Takes a body away from where others pull it.
struct Offered<'p> {
    passes: &'p Passes,
    id: u64,
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.passes.outgoing().remove(&self.id);
    }
}

impl ObjectClient {
    /// The regions that may hold a bucket's bytes, the nearest first; nothing where this one may.
    pub(super) fn elsewhere(
        &self,
        definition: &BucketDefinition,
    ) -> Result<Option<Vec<RegionId>>, ObjectError> {
        let Some(snapshot) = self.engine().routing() else {
            return Err(ObjectError::Unavailable("this node does not route yet".to_owned()));
        };
        let unplaced = |error: place::PlaceError| ObjectError::Unavailable(error.to_string());
        let bounds = Bounds::of(&snapshot, definition).map_err(unplaced)?;
        let Some(here) = snapshot.index(self.region()) else { return Ok(None) };
        if bounds.allowed().contains(here) {
            return Ok(None);
        }
        let nearest = place::nearest(&snapshot, here, bounds.allowed());
        Ok(Some(nearest.into_iter().map(|at| snapshot.id(at).clone()).collect()))
    }

    /// Passes a put on.
    pub(super) async fn pass_put(&self, to: &[RegionId], put: Put) -> Result<Done, ObjectError> {
        let Put { bucket, key, body, bytes, about, digests, condition } = put;
        let request = |body| Passed::Put { bucket, key, body, about, condition };
        match self.pass_body(to, (body, bytes, digests), request).await? {
            PassedOn::Done(done) => Ok(done),
            _ => Err(another()),
        }
    }

    /// Passes a part of an upload on.
    pub(super) async fn pass_part(
        &self,
        to: &[RegionId],
        (bucket, key): (BucketName, Bytes),
        (upload, number): (VersionId, u16),
        (body, bytes): (ByteStream, Option<u64>),
        digests: Digests,
    ) -> Result<PartRecord, ObjectError> {
        let request = |body| Passed::Part { bucket, key, upload, number, body };
        match self.pass_body(to, (body, bytes, digests), request).await? {
            PassedOn::Part(part) => Ok(part),
            _ => Err(another()),
        }
    }

    /// Passes a request on whose body others pull from here.
    async fn pass_body(
        &self,
        to: &[RegionId],
        (body, bytes, digests): (ByteStream, Option<u64>, Digests),
        request: impl FnOnce(Body) -> Passed + Send,
    ) -> Result<PassedOn, ObjectError> {
        let passes = &self.running().passes;
        let kept = |kind: &Algorithm| {
            digests.compute.contains(kind) || kind.of(&digests.expected).is_some()
        };
        let compute = Algorithm::ALL.iter().filter(|kind| kept(kind));
        let compute = compute.map(|kind| kind.name().to_owned()).collect();
        // Drawn, so that what is pulled after a start is never the body of another request.
        let id = OsEntropy.next_u64();
        let outgoing = Arc::new(Outgoing::new());
        passes.outgoing().insert(id, outgoing.clone());
        let _offered = Offered { passes, id };
        let passed = request(Body { id, bytes, compute });
        let feed = async {
            let fed = feed(&outgoing, body, bytes, Digester::new(digests)).await;
            outgoing.end(fed.as_ref().map(|count| *count).map_err(|_| ()));
            fed
        };
        let answer = self.pass_patiently(to, passed);
        tokio::pin!(feed, answer);
        let mut fed = None;
        loop {
            tokio::select! {
                ended = &mut feed, if fed.is_none() => fed = Some(ended),
                answer = &mut answer => {
                    // What was wrong with the body is what the client wants to know.
                    return match fed {
                        Some(Err(error)) => Err(error),
                        _ => answer,
                    };
                }
                () = outgoing.idle() => {
                    let why = "the region that it was passed to does not take it";
                    return Err(ObjectError::Unconfirmed(why.to_owned()));
                }
            }
        }
    }

    /// Passes a request on that has no body.
    pub(super) async fn pass(
        &self,
        to: &[RegionId],
        passed: Passed,
    ) -> Result<PassedOn, ObjectError> {
        timeout(KEEP_WAIT, self.pass_patiently(to, passed)).await.unwrap_or_else(|_late| {
            let why = format!("nothing came within {KEEP_WAIT:?} from where it was passed to");
            Err(ObjectError::Unconfirmed(why))
        })
    }

    /// Has the first of some regions that answers carry a request out.
    async fn pass_patiently(
        &self,
        to: &[RegionId],
        passed: Passed,
    ) -> Result<PassedOn, ObjectError> {
        let Ok(_permit) = self.running().passes.given.try_acquire() else {
            let why = "too many requests are passed on to other regions at once";
            return Err(ObjectError::Unavailable(why.to_owned()));
        };
        let call = Call::Pass(Box::new(passed));
        let mut why = "no other region may hold the bytes of this bucket".to_owned();
        for region in to {
            match self.call_patiently(region, &call).await {
                Ok(Told::Passed(outcome)) => return Ok(*outcome),
                Ok(Told::Refused(refusal)) => return Err(refusal.into()),
                Ok(_) => return Err(another()),
                Err(CallError::Unreachable { sent: true, reason, .. }) => {
                    let why = format!("{region} may have done it: {reason}");
                    return Err(ObjectError::Unconfirmed(why));
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(ObjectError::Unavailable(format!("bytes of this bucket may not lie here, and {why}")))
    }

    /// Carries a request out for another region.
    pub(super) async fn take_over(&self, from: &RegionId, passed: Passed) -> Told {
        let Ok(_permit) = self.running().passes.taken.try_acquire() else {
            let error = ObjectError::Unavailable("too much is passed on to this region".to_owned());
            return Told::Refused((&error).into());
        };
        match self.carry_out(from, passed).await {
            Ok(outcome) => Told::Passed(Box::new(outcome)),
            Err(error) => Told::Refused((&error).into()),
        }
    }

    async fn carry_out(&self, from: &RegionId, passed: Passed) -> Result<PassedOn, ObjectError> {
        Ok(match passed {
            Passed::Put { bucket, key, body, about, condition } => {
                let (body, bytes, digests) = self.incoming(from, body);
                let put = Put { bucket, key, body, bytes, about, digests, condition };
                PassedOn::Done(self.put_here(put).await?)
            }
            Passed::Part { bucket, key, upload, number, body } => {
                let (body, bytes, digests) = self.incoming(from, body);
                let part = (upload, number);
                let body = (body, bytes);
                PassedOn::Part(self.put_part_here(&bucket, key, part, body, digests).await?)
            }
            Passed::Copy { source: (bucket, key, record), target, changed, condition } => {
                let source = (&bucket, &key[..], &*record);
                let target = (&target.0, target.1);
                PassedOn::Done(self.copy_here(source, target, changed, condition).await?)
            }
            Passed::Tag { bucket, key, which, tags } => {
                PassedOn::Record(self.tag_here(&bucket, key, which, tags).await?)
            }
            Passed::Complete { bucket, key, upload, chosen, whole, condition } => {
                let parts = (chosen, whole);
                let done = self.complete_here(&bucket, key, upload, parts, condition);
                PassedOn::Record(done.await?)
            }
        })
    }

    /// The body of a request that was passed on: pulled from where it is.
    fn incoming(&self, from: &RegionId, body: Body) -> (ByteStream, Option<u64>, Digests) {
        let Body { id, bytes, compute } = body;
        let (client, from) = (self.clone(), from.clone());
        let pull = move |nth: u64| {
            let (client, from) = (client.clone(), from.clone());
            async move { client.pull(&from, id, nth).await }
        };
        // The last of them says that the body has ended.
        let blocks = stream::iter(0..).map(pull).buffered(PASS_BLOCKS_AHEAD);
        let until_end = blocks.take_while(|block| {
            std::future::ready(!matches!(block, Ok(bytes) if bytes.is_empty()))
        });
        let compute = compute.iter().filter_map(|name| Algorithm::parse(name)).collect();
        (until_end.boxed(), bytes, Digests { compute, ..Digests::default() })
    }

    /// A block of a body; an empty one at its end.
    async fn pull(&self, from: &RegionId, id: u64, nth: u64) -> Result<Bytes, ObjectError> {
        let broken = |why: String| ObjectError::Body(why);
        loop {
            let call = Call::Pull { id, nth };
            match self.call(from, &call, PULL_WAIT + BLOB_CALL_WAIT).await {
                Ok(Told::Block(Block::Bytes(bytes))) => return Ok(bytes),
                Ok(Told::Block(Block::NotYet)) => {}
                Ok(Told::Block(Block::End)) => return Ok(Bytes::new()),
                Ok(_) => return Err(broken(format!("it broke off in {from}"))),
                Err(error) => return Err(broken(error.to_string())),
            }
        }
    }

    /// Gives a region a block of a body that was passed on to it.
    pub(super) async fn give(&self, id: u64, nth: u64) -> Told {
        let outgoing = self.running().passes.outgoing().get(&id).cloned();
        Told::Block(match outgoing {
            Some(outgoing) => outgoing.pull(nth).await,
            None => Block::Broken,
        })
    }
}

/// Offers a body block by block, and gives how many there are once it is what was said of it.
async fn feed(
    outgoing: &Outgoing,
    mut body: ByteStream,
    said: Option<u64>,
    digester: Digester,
) -> Result<u64, ObjectError> {
    let most = said.unwrap_or(OBJECT_BYTES_MAX);
    let size = usize::try_from(BLOB_READ_BYTES_MAX).unwrap_or(usize::MAX);
    let mut digester = digester.move_away();
    let (mut block, mut count, mut total) = (BytesMut::with_capacity(size), 0, 0);
    while let Some(part) = body.next().await {
        let mut part = part?;
        total += part.len() as u64;
        if total > most {
            return Err(ObjectError::Length { found: total, said: most });
        }
        digester.update(&part).await;
        while !part.is_empty() {
            let room = size - block.len();
            block.extend_from_slice(&part.split_to(room.min(part.len())));
            if block.len() == size {
                outgoing.offer(count, block.split().freeze()).await;
                count += 1;
            }
        }
    }
    if let Some(said) = said.filter(|said| *said != total) {
        return Err(ObjectError::Length { found: total, said });
    }
    // The last block stays here until all that was said of the body is known to be so.
    digester.finish().await?;
    if !block.is_empty() {
        outgoing.offer(count, block.freeze()).await;
        count += 1;
    }
    Ok(count)
}

pub(super) fn another() -> ObjectError {
    ObjectError::Damaged("the answer is another's".to_owned())
}
