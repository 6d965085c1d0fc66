//! What servers and workloads ask about objects.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use rhumb_objects::{
    ask::{Answer, Ask, What},
    condition::Condition,
    etag,
    index::{self, Which},
    place::{self, Bounds, UploadPlan},
};
use rhumb_regions::{Client, Key};
use rhumb_types::{
    AckLevel, RegionId,
    record::{
        BlobRef, Body, BucketConsistency, BucketDefinition, BucketName, Content, Dot, ObjectRecord,
        VersionId, VersionVector,
    },
};

use serde::{Deserialize, Serialize};

use super::{
    Digests, ObjectError, Running,
    body::{Intake, TakenIn},
    copies::Copier,
    decide::By,
    digest::Digester,
    keep::Pin,
    pass::{Passed, PassedOn, another},
};
use crate::{
    Engine,
    limits::{ACK_WAIT, OBJECT_BYTES_MAX},
};

/// Bytes on their way.
pub type ByteStream = BoxStream<'static, Result<Bytes, ObjectError>>;

/// What is told of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// HTTP headers to give back, by their lower-case names.
    pub headers: BTreeMap<String, String>,
    /// The user's own metadata.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// An object to be written.
pub struct Put {
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: Bytes,
    /// Its bytes.
    pub body: ByteStream,
    /// How many there are, if that is known.
    pub bytes: Option<u64>,
    /// What is told of it.
    pub about: About,
    /// What the bytes must be, and what to compute over them.
    pub digests: Digests,
    /// Under which condition.
    pub condition: Condition,
}

impl std::fmt::Debug for Put {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bucket, key, bytes, .. } = self;
        f.debug_struct("Put")
            .field("bucket", bucket)
            .field("key", key)
            .field("bytes", bytes)
            .finish()
    }
}

/// What came of the copy in one region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyResult {
    /// The region.
    pub region: RegionId,
    /// Whether it holds the bytes now, and if not, why.
    pub outcome: Result<(), String>,
}

/// An object that was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// What is there now.
    pub record: ObjectRecord,
    /// A result per region whose copy was waited for, this one first.
    pub regions: Vec<CopyResult>,
    /// Whether there are fewer copies than the bucket asks for, although enough to go on.
    pub degraded: bool,
}

/// What a delete did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deleted {
    /// The delete marker that was written.
    pub marker: Option<VersionId>,
    /// The version that was removed (`None`: `null`), and whether it was a marker.
    pub removed: Option<(Option<VersionId>, bool)>,
}

/// The objects, for servers and workloads. Cheap to clone.
///
/// Every call may be dropped at any time; whether a write was done is unknown then.
#[derive(Clone, Debug)]
pub struct ObjectClient {
    engine: Engine,
}

impl ObjectClient {
    pub(super) const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    pub(super) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn running(&self) -> &Running {
        let running = self.engine.shared().objects.get();
        running.unwrap_or_else(|| unreachable!("a client is given once the objects run"))
    }

    /// This node's region.
    #[must_use]
    pub fn region(&self) -> &RegionId {
        &self.running().config.region
    }

    pub(super) fn definition(&self, name: &BucketName) -> Result<BucketDefinition, ObjectError> {
        Ok(self.bucket(name)?.definition)
    }

    /// Writes an object: here, or in the nearest region that may hold the bucket's bytes.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing of the object is visible then, unless its code is `Unconfirmed`.
    pub async fn put(&self, put: Put) -> Result<Done, ObjectError> {
        match self.elsewhere(&self.definition(&put.bucket)?)? {
            None => self.put_here(put).await,
            Some(regions) => self.pass_put(&regions, put).await,
        }
    }

    pub(super) async fn put_here(&self, put: Put) -> Result<Done, ObjectError> {
        let Put { bucket, key, body, bytes, about, digests, condition } = put;
        index::check_key(&key)?;
        let definition = self.definition(&bucket)?;
        let taken = self
            .take_in(
                &definition,
                &bucket,
                &key,
                (body, bytes, definition.inline_bytes_max()),
                digests,
            )
            .await?;
        let About { headers, metadata, tags } = about;
        let content = Content {
            bytes: taken.bytes,
            etag: etag::hex(&taken.digested.md5),
            body: taken.body.clone(),
            parts: Vec::new(),
            checksums: taken.digested.checksums.clone(),
            headers,
            metadata,
            tags,
        };
        let what = What::Put { content, condition };
        let ask = Ask { bucket, key, what };
        self.settle(&definition, ask, taken.pins, taken.copier).await
    }

    /// Takes bytes in, and copies them where the bucket asks for that.
    pub(super) async fn take_in(
        &self,
        definition: &BucketDefinition,
        bucket: &BucketName,
        key: &[u8],
        (body, said, inline_max): (ByteStream, Option<u64>, u64),
        digests: Digests,
    ) -> Result<TakenIn, ObjectError> {
        let copier = self.copier(definition, bucket, key)?;
        let running = self.running();
        let intake = Intake {
            blobs: &running.blobs,
            keeper: &running.keeper,
            said,
            bytes_max: OBJECT_BYTES_MAX,
            inline_max,
            copier,
        };
        intake.take(body, Digester::new(digests)).await
    }

    /// What copies an upload while it comes in; none where the bucket waits for no copies.
    ///
    /// # Errors
    /// When this region may not hold the bucket's bytes.
    fn copier(
        &self,
        definition: &BucketDefinition,
        bucket: &BucketName,
        key: &[u8],
    ) -> Result<Option<Copier>, ObjectError> {
        let Some(snapshot) = self.engine.routing() else {
            return Err(ObjectError::Unavailable("this node does not route yet".to_owned()));
        };
        let unplaced = |error: place::PlaceError| ObjectError::Unavailable(error.to_string());
        let bounds = Bounds::of(&snapshot, definition).map_err(unplaced)?;
        let here = snapshot.index(self.region());
        if !here.is_some_and(|here| bounds.allowed().contains(here)) {
            return Err(ObjectError::Unavailable(format!(
                "bytes of this bucket may not lie in {}",
                self.region()
            )));
        }
        let name = place::name(bucket, key);
        let upload = place::Upload {
            key: Key::new(&name),
            client: Client::default(),
            turn: self.running().turns.fetch_add(1, Ordering::Relaxed),
            taken_in: Some(self.region()),
        };
        let plan = UploadPlan::new(&snapshot, definition, &bounds, &upload).map_err(unplaced)?;
        if plan.is_hopeless() {
            return Err(ObjectError::Copies {
                had: plan.targets().count(),
                needed: usize::from(plan.copies_needed),
                why: plan.shortfall.map_or_else(String::new, |short| short.to_string()),
            });
        }
        let others = |region: &&RegionId| *region != self.region();
        let targets: Vec<RegionId> = plan.targets().filter(others).cloned().collect();
        let spares = plan.spares().filter(others).cloned().collect();
        let wanted = !targets.is_empty();
        Ok(wanted.then(|| Copier::new(self.clone(), bucket.clone(), targets, spares)))
    }

    /// Waits for the copies, then writes the index.
    async fn settle(
        &self,
        definition: &BucketDefinition,
        ask: Ask,
        pins: Vec<Pin>,
        copier: Option<Copier>,
    ) -> Result<Done, ObjectError> {
        let mut regions = vec![CopyResult { region: self.region().clone(), outcome: Ok(()) }];
        let needed = usize::from(definition.copies_needed());
        let has_blobs = !ask.what.blobs().is_empty();
        let mut asked = 1;
        if let Some(copier) = copier.filter(|_| has_blobs) {
            asked += copier.targets();
            regions.extend(copier.finish(self.running().config.copy_wait).await);
        }
        let had = regions.iter().filter(|copy| copy.outcome.is_ok()).count();
        if has_blobs && had < needed {
            let failed = regions.into_iter().filter_map(|it| Some((it.region, it.outcome.err()?)));
            let why: Vec<String> = failed.map(|(region, why)| format!("{region}: {why}")).collect();
            return Err(ObjectError::Copies { had, needed, why: why.join("; ") });
        }
        let (answer, written) = self.change(definition, &ask, pins).await?;
        let Answer::Record(record) = answer else { return Err(foreign(&answer)) };
        let mut degraded = had < asked;
        if !has_blobs && needed > 1 {
            // What lies in the index is copied with it.
            let acks = self.engine.wait_acks(Some(written), needed - 1, ACK_WAIT).await;
            if acks + 1 < needed {
                return Err(ObjectError::Unconfirmed(format!(
                    "written here, and {} of {needed} regions have it; it will replicate",
                    acks + 1
                )));
            }
            degraded = false;
        }
        Ok(Done { record: *record, regions, degraded })
    }

    /// Changes the index: here, or where the key's home is acted for. What the change refers to stays
    /// here until it is committed here.
    pub(super) async fn change(
        &self,
        definition: &BucketDefinition,
        ask: &Ask,
        pins: Vec<Pin>,
    ) -> Result<(Answer, VersionVector), ObjectError> {
        match definition.consistency {
            BucketConsistency::Eventual => {
                let by = By::Anyone(definition.ack);
                self.decide(definition, ask, &by, ask.what.blobs()).await
            }
            BucketConsistency::Linearizable => {
                self.hold(ask.what.blobs()).await?;
                let (answer, written) = self.change_at_home(definition, ask).await?;
                let dot = written.iter().next().map(|(origin, version)| Dot { origin, version });
                if let Some(dot) = dot {
                    pins.into_iter().for_each(|pin| pin.until(dot));
                }
                Ok((answer, written))
            }
        }
    }

    /// Says that blobs are held here, before another region refers to them.
    pub(super) async fn hold(&self, blobs: &[BlobRef]) -> Result<(), ObjectError> {
        self.hold_young(blobs, Duration::MAX).await
    }

    /// The same, and again where that was said longer ago than `renew`.
    pub(super) async fn hold_young(
        &self,
        blobs: &[BlobRef],
        renew: Duration,
    ) -> Result<(), ObjectError> {
        if blobs.is_empty() {
            return Ok(());
        }
        let change = self.change_index(&By::Anyone(AckLevel::Local), |rows| {
            let mut change = rhumb_objects::Change::default();
            self.say_held(rows, (blobs, renew), &mut change)?;
            Ok(((), change))
        });
        change.await.map(|_| ())
    }

    /// Deletes an object, or a version of it.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn delete(
        &self,
        bucket: &BucketName,
        key: Bytes,
        which: Which,
        condition: Condition,
    ) -> Result<Deleted, ObjectError> {
        let definition = self.definition(bucket)?;
        let what = What::Delete { which, condition };
        let ask = Ask { bucket: bucket.clone(), key, what };
        match self.change(&definition, &ask, Vec::new()).await?.0 {
            Answer::Deleted { marker, told } => Ok(Deleted { marker, removed: told }),
            other => Err(foreign(&other)),
        }
    }

    /// Gives a version other tags.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn tag(
        &self,
        bucket: &BucketName,
        key: Bytes,
        which: Which,
        tags: BTreeMap<String, String>,
    ) -> Result<ObjectRecord, ObjectError> {
        let Some(regions) = self.elsewhere(&self.definition(bucket)?)? else {
            return self.tag_here(bucket, key, which, tags).await;
        };
        let passed = Passed::Tag { bucket: bucket.clone(), key, which, tags };
        match self.pass(&regions, passed).await? {
            PassedOn::Record(record) => Ok(record),
            _ => Err(another()),
        }
    }

    pub(super) async fn tag_here(
        &self,
        bucket: &BucketName,
        key: Bytes,
        which: Which,
        tags: BTreeMap<String, String>,
    ) -> Result<ObjectRecord, ObjectError> {
        let definition = self.definition(bucket)?;
        // The row is written anew, and refers to the same.
        let record = self.head(bucket, &key, which).await?;
        let pins = match &record.content {
            Some(content) => self.ensure_here(bucket, &content.body, &record.region).await?,
            None => Vec::new(),
        };
        let what = What::Tag { which, version: record.version, tags };
        let ask = Ask { bucket: bucket.clone(), key, what };
        self.recorded(&definition, &ask, pins).await
    }

    pub(super) async fn recorded(
        &self,
        definition: &BucketDefinition,
        ask: &Ask,
        pins: Vec<Pin>,
    ) -> Result<ObjectRecord, ObjectError> {
        match self.change(definition, ask, pins).await?.0 {
            Answer::Record(record) => Ok(*record),
            other => Err(foreign(&other)),
        }
    }

    /// Writes a copy of a version: no bytes are moved where its blobs may stay.
    ///
    /// # Errors
    /// [`ObjectError`]; [`CopyRefused::Inline`](rhumb_objects::index::CopyRefused::Inline) where the
    /// bytes must be read and written by the caller.
    pub async fn copy(
        &self,
        source: (&BucketName, &[u8], &ObjectRecord),
        target: (&BucketName, Bytes),
        changed: index::Copied,
        condition: Condition,
    ) -> Result<Done, ObjectError> {
        let Some(regions) = self.elsewhere(&self.definition(target.0)?)? else {
            return self.copy_here(source, target, changed, condition).await;
        };
        let (bucket, key, record) = source;
        let source = (bucket.clone(), Bytes::copy_from_slice(key), Box::new(record.clone()));
        let target = (target.0.clone(), target.1);
        let passed = Passed::Copy { source, target, changed, condition };
        match self.pass(&regions, passed).await? {
            PassedOn::Done(done) => Ok(done),
            _ => Err(another()),
        }
    }

    pub(super) async fn copy_here(
        &self,
        source: (&BucketName, &[u8], &ObjectRecord),
        target: (&BucketName, Bytes),
        changed: index::Copied,
        condition: Condition,
    ) -> Result<Done, ObjectError> {
        let (bucket, key) = target;
        let definition = self.definition(bucket)?;
        let onto_itself = source.0 == bucket && source.1 == key;
        let content = index::copied(source.2, onto_itself, &definition, changed)?;
        // A reference is written only where its bytes are.
        let pins = self.ensure_here(source.0, &content.body, &source.2.region).await?;
        let ask = Ask { bucket: bucket.clone(), key, what: What::Put { content, condition } };
        self.settle(&definition, ask, pins, None).await
    }

    /// Keeps the blobs of a body here, and fetches those that are not: a reference is written only where
    /// its bytes are (rule 12).
    pub(super) async fn ensure_here(
        &self,
        bucket: &BucketName,
        body: &Body,
        taken_in: &RegionId,
    ) -> Result<Vec<Pin>, ObjectError> {
        let Body::Blobs(blobs) = body else { return Ok(Vec::new()) };
        let mut pins = Vec::with_capacity(blobs.len());
        for blob in blobs {
            pins.push(self.running().keeper.pin(blob.hash).await?);
            self.fetch_now(bucket, *blob, taken_in).await?;
        }
        self.hold(blobs).await?;
        Ok(pins)
    }
}

pub(super) fn foreign(answer: &Answer) -> ObjectError {
    ObjectError::Damaged(format!("the answer is not the one to the question: {answer:?}"))
}
