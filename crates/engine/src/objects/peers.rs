//! Asking other regions about objects.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rhumb_objects::{
    grant,
    index::{self, Found, Target, Which},
    miss::{Heard, Inquiry, Verdict},
    pace::Need,
    rows::Rows,
    want::cache::ReadId,
};
use rhumb_ports::{
    blobs::{BLOB_BYTES_MAX, BLOB_READ_BYTES_MAX, BlobError},
    peer::{CallError, Service},
    store::StoreError,
};
use rhumb_types::{
    RegionId, UnixMillis,
    record::{
        BlobHash, BlobRef, BucketConsistency, BucketDefinition, BucketName, Miss, ObjectRecord,
        Record as _,
    },
};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout};

use super::{
    ObjectClient, ObjectError,
    bytes::Opened,
    refusal::Refusal,
    wire::{Call, Told},
};
use crate::limits::{
    BLOB_CALL_WAIT, FETCH_BLOCKS_AHEAD, FETCH_CALL_WAIT, INDEX_CALL_WAIT, KEEP_WAIT,
};

/// Blobs of a bucket that another region is to keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Keep {
    pub(super) bucket: BucketName,
    pub(super) blobs: Vec<BlobRef>,
}

/// What an object is looked up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Know,
    Read,
}

/// Who a block of another region is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    /// A client, who reads it through.
    Client,
    /// The copy that is made here, which waits for its turn.
    Copy(Need),
}

/// Why a blob did not come from another region.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// It does not have it, or a damaged one.
    #[error("it is not there")]
    NotThere,
    /// It did not answer.
    #[error("{0}")]
    Failed(String),
    /// It could not be stored here.
    #[error(transparent)]
    Here(#[from] BlobError),
}

impl ObjectClient {
    pub(super) async fn call(
        &self,
        region: &RegionId,
        call: &Call,
        wait: Duration,
    ) -> Result<Told, CallError> {
        timeout(wait, self.call_patiently(region, call)).await.unwrap_or_else(|_late| {
            Err(unreachable(region, true, format!("nothing came within {wait:?}")))
        })
    }

    /// The same without a bound in time, for who has one of his own.
    pub(super) async fn call_patiently(
        &self,
        region: &RegionId,
        call: &Call,
    ) -> Result<Told, CallError> {
        let Some(calls) = self.engine().shared().calls.get() else {
            return Err(unreachable(region, false, "this node is still starting".to_owned()));
        };
        let answer = calls.call(region.clone(), Service::Objects, call.encode()).await?;
        Told::of(&answer).map_err(|error| unreachable(region, true, error.to_string()))
    }

    /// Asks a holder, this region among them, about a blob.
    pub(super) async fn ask_holder(
        &self,
        region: &RegionId,
        ask: grant::Ask,
    ) -> Option<grant::Told> {
        if region == self.region() {
            return self.asked(region.clone(), ask).await;
        }
        match self.call(region, &Call::Ask(ask), INDEX_CALL_WAIT).await {
            Ok(Told::Holding(told)) => Some(told),
            _ => None,
        }
    }

    /// Lets a holder, this region among them, remove a blob.
    pub(super) async fn grant_to(
        &self,
        region: &RegionId,
        grant: grant::Grant,
    ) -> Option<grant::Outcome> {
        if region == self.region() {
            return Some(self.granted(region.clone(), grant).await);
        }
        match self.call(region, &Call::Grant(grant), INDEX_CALL_WAIT).await {
            Ok(Told::Outcome(outcome)) => Some(outcome),
            _ => None,
        }
    }

    /// A part of a blob of another region.
    pub(super) async fn ask_to_read(
        &self,
        region: &RegionId,
        hash: BlobHash,
        range: Range<u64>,
        reader: Reader,
    ) -> Result<Bytes, FetchError> {
        let call = Call::Read { hash, from: range.start, to: range.end };
        let (client, from) = (self.clone(), region.clone());
        // A task of its own: parts that are read ahead are taken in by several processors, and what takes
        // them further does not count for how long they were under way.
        let mut asked = JoinSet::new();
        asked.spawn(async move {
            let ways = &client.running().ways;
            match reader {
                Reader::Client => {
                    let _reading = ways.reading(&from);
                    client.call(&from, &call, BLOB_CALL_WAIT).await
                }
                Reader::Copy(need) => {
                    let turn = ways.turn(&from, need, range.end - range.start).await;
                    let told = client.call(&from, &call, FETCH_CALL_WAIT).await;
                    turn.end(matches!(told, Ok(Told::Bytes(_))));
                    told
                }
            }
        });
        let broken = || Err(unreachable(region, true, "the question broke off".to_owned()));
        match asked.join_next().await.and_then(Result::ok).unwrap_or_else(broken) {
            Ok(Told::Bytes(bytes)) => Ok(bytes),
            Ok(Told::NoBlob) => Err(FetchError::NotThere),
            Ok(Told::Refused(Refusal { why, .. })) => Err(FetchError::Failed(why)),
            Ok(_) => Err(FetchError::Failed("the answer is another's".to_owned())),
            Err(error) => Err(FetchError::Failed(error.to_string())),
        }
    }

    /// When another region last read something; nothing when it does not say.
    pub(super) async fn ask_for_reads(
        &self,
        region: &RegionId,
        ids: Vec<ReadId>,
    ) -> Option<Vec<Option<UnixMillis>>> {
        match self.call(region, &Call::LastRead(ids), INDEX_CALL_WAIT).await {
            Ok(Told::LastRead(times)) => Some(times),
            _ => None,
        }
    }

    /// Has another region keep blobs of this one.
    pub(super) async fn ask_to_keep(&self, region: &RegionId, keep: &Keep) -> Result<(), String> {
        match self.call(region, &Call::Keep(keep.clone()), KEEP_WAIT).await {
            Ok(Told::Kept) => Ok(()),
            Ok(Told::Refused(Refusal { why, .. })) => Err(why),
            Ok(_) => Err("the answer is another's".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Fetches a blob from another region, whole and verified, and says that it is here.
    pub(super) async fn fetch(
        &self,
        region: &RegionId,
        blob: BlobRef,
        need: Need,
    ) -> Result<(), FetchError> {
        let blobs = &self.running().blobs;
        if blobs.stat(blob.hash).await?.is_some() {
            return Ok(());
        }
        if blob.bytes > BLOB_BYTES_MAX {
            return Err(FetchError::Failed(format!("a blob of {} bytes is none", blob.bytes)));
        }
        let block = self.running().ways.block_bytes(region).min(BLOB_READ_BYTES_MAX);
        let starts = (0..blob.bytes).step_by(usize::try_from(block).unwrap_or(usize::MAX));
        let (client, source) = (self.clone(), region.clone());
        let read = move |at: u64| {
            let (client, source) = (client.clone(), source.clone());
            let range = at..(at + block).min(blob.bytes);
            async move { client.ask_to_read(&source, blob.hash, range, Reader::Copy(need)).await }
        };
        let mut parts = stream::iter(starts).map(read).buffered(FETCH_BLOCKS_AHEAD);
        let mut writer = blobs.create().await?;
        while let Some(part) = parts.try_next().await? {
            writer.write(part).await?;
        }
        let written = writer.finish().await?;
        if written == blob {
            return Ok(());
        }
        // What came is something else; nothing refers to it, and it is collected in time.
        Err(FetchError::NotThere)
    }

    /// Fetches a blob that is not here from whoever has it, now.
    pub(super) async fn fetch_now(
        &self,
        bucket: &BucketName,
        blob: BlobRef,
        taken_in: &RegionId,
    ) -> Result<(), ObjectError> {
        if self.running().blobs.stat(blob.hash).await?.is_some() {
            return Ok(());
        }
        let mut why = format!("no region is known to hold {} of {bucket}", blob.hash);
        for region in self.holders(&blob.hash, taken_in) {
            match self.fetch(&region, blob, Need::Awaited).await {
                Ok(()) => return Ok(()),
                Err(FetchError::Here(error)) => return Err(error.into()),
                Err(error) => why = format!("{region}: {error}"),
            }
        }
        Err(ObjectError::Unavailable(why))
    }

    /// Finds a version, in this region or, where it is not known here, in the others (rule 11).
    ///
    /// # Errors
    /// [`ObjectError::Read`] when there is none to read; `Unavailable` when a region that may know of
    /// one cannot be reached.
    pub async fn head(
        &self,
        bucket: &BucketName,
        key: &Bytes,
        which: Which,
    ) -> Result<ObjectRecord, ObjectError> {
        self.open_for(bucket, key, which, Purpose::Know).await.map(|opened| opened.record)
    }

    /// As [`head`](Self::head), and a cache counts no miss.
    ///
    /// # Errors
    /// As [`head`](Self::head).
    pub async fn look(
        &self,
        bucket: &BucketName,
        key: &Bytes,
        which: Which,
    ) -> Result<ObjectRecord, ObjectError> {
        self.look_up(bucket, key, which, Purpose::Know).await.map(|opened| opened.record)
    }

    /// As [`head`](Self::head), to be [read](Self::read_opened): where another region is asked, the
    /// first bytes come with its answer.
    ///
    /// # Errors
    /// As [`head`](Self::head).
    pub async fn open(
        &self,
        bucket: &BucketName,
        key: &Bytes,
        which: Which,
    ) -> Result<Opened, ObjectError> {
        self.open_for(bucket, key, which, Purpose::Read).await
    }

    async fn open_for(
        &self,
        bucket: &BucketName,
        key: &Bytes,
        which: Which,
        purpose: Purpose,
    ) -> Result<Opened, ObjectError> {
        let found = self.look_up(bucket, key, which, purpose).await;
        if matches!(found, Err(ObjectError::Read(_))) && self.is_cache(bucket) {
            self.cache_metrics().inspect(|shown| shown.miss(bucket));
        }
        found
    }

    async fn look_up(
        &self,
        bucket: &BucketName,
        key: &Bytes,
        which: Which,
        purpose: Purpose,
    ) -> Result<Opened, ObjectError> {
        let definition = self.definition(bucket)?;
        if definition.consistency == BucketConsistency::Linearizable {
            let record = self.head_at_home(&definition, bucket, key, which).await?;
            return Ok(record.into());
        }
        let find = || self.known(&self.engine().index(), &definition, (bucket, key), which);
        let found = find()?;
        if found.record().is_some() || definition.miss == Miss::Local {
            return Ok(found.object(which)?.into());
        }
        // Looked for again after what is applied was noted: what that covers, and is not here, was
        // deleted.
        let seen = self.engine().committed_vector();
        let found = find()?;
        if found.record().is_some() {
            return Ok(found.object(which)?.into());
        }
        let (bucket, key) = (bucket.clone(), key.clone());
        let call = match purpose {
            Purpose::Know => Call::Find { bucket, key, which, seen },
            Purpose::Read => Call::FindToRead { bucket, key, which, seen },
        };
        match self.find_elsewhere(call).await? {
            Some(opened) if opened.record.content.is_some() => Ok(opened),
            _ => Ok(found.object(which)?.into()),
        }
    }

    /// Asks all other regions at once for what is not applied here.
    async fn find_elsewhere(&self, call: Call) -> Result<Option<Opened>, ObjectError> {
        let status = self.engine().status();
        let peers = status.peers.iter().filter(|peer| !peer.witness);
        // All that it ever told is here: its silence hides nothing that was told.
        let peers = peers.map(|peer| (peer.region.clone(), peer.ahead_transactions > 0));
        let mut inquiry = Inquiry::new(peers);
        let call = Arc::new(call);
        let mut asked = JoinSet::new();
        for region in inquiry.asked() {
            let (client, call, region) = (self.clone(), call.clone(), region.clone());
            asked.spawn(async move {
                let brings_bytes = matches!(*call, Call::FindToRead { .. });
                let _reading = brings_bytes.then(|| client.running().ways.reading(&region));
                let told = client.call(&region, &call, INDEX_CALL_WAIT).await;
                let (heard, first) = match told {
                    Ok(Told::Found(Some(record))) => (Heard::Found(record), Bytes::new()),
                    Ok(Told::FoundWith(record, first)) => (Heard::Found(record), first),
                    Ok(Told::Found(None)) => (Heard::Nothing, Bytes::new()),
                    Ok(_) | Err(_) => {
                        // It may have told of more while it was waited for.
                        let ahead = client.engine().status().lacks_of(&region);
                        (Heard::Silence { ahead }, Bytes::new())
                    }
                };
                (region, heard, first)
            });
        }
        let mut verdict = inquiry.verdict();
        let mut along = Bytes::new();
        while verdict.is_none()
            && let Some(answer) = asked.join_next().await
        {
            let Ok((region, heard, first)) = answer else { continue };
            verdict = inquiry.on_answer(&region, heard);
            along = first;
        }
        match verdict {
            // The first that finds something to read is believed, and nothing was heard since.
            Some(Verdict::Found(record)) => Ok(Some(Opened { record: *record, first: along })),
            Some(Verdict::NotThere) => Ok(None),
            Some(Verdict::Unsure(region)) => Err(ObjectError::Unavailable(format!(
                "{region} may know the object, and cannot be reached"
            ))),
            None => Err(ObjectError::Unavailable("the search broke off".to_owned())),
        }
    }

    /// What some rows of this region say of a version. Of a linearizable bucket they say something only
    /// while this region acts for the key's home: looked at after they were read.
    pub(super) fn known(
        &self,
        rows: &impl Rows<Error = StoreError>,
        definition: &BucketDefinition,
        (bucket, key): (&BucketName, &Bytes),
        which: Which,
    ) -> Result<Found, ObjectError> {
        let target = Target { bucket, versioning: definition.versioning, key };
        let found = index::find(rows, target, which)?;
        if definition.consistency == BucketConsistency::Linearizable {
            self.still_acts(bucket, key)?;
        }
        Ok(found)
    }
}

fn unreachable(region: &RegionId, sent: bool, reason: String) -> CallError {
    CallError::Unreachable { peer: region.to_string(), sent, reason }
}
