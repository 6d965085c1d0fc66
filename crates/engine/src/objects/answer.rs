//! Answering other regions about objects.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rhumb_objects::{ask::Ask, index::Which, pace::Need};
use rhumb_ports::{
    BoxFuture,
    blobs::{BLOB_READ_BYTES_MAX, BlobError},
    peer::{PeerService, Service},
};
use rhumb_types::{
    RegionId,
    record::{BlobHash, BlobRef, Body, BucketConsistency, BucketName, Record as _, VersionVector},
};
use tokio::sync::Semaphore;

use super::{
    ObjectClient, ObjectError,
    peers::{FetchError, Keep},
    wire::{Call, Told},
};
use crate::{
    Engine,
    limits::{COPY_BLOBS_PER_CALL, OBJECT_CALLS_MAX},
};

/// Answers other regions about objects; see [`Engine::object_service`].
#[derive(Debug, Clone)]
pub struct ObjectService {
    engine: Engine,
    permits: Arc<Semaphore>,
}

impl Engine {
    /// What answers other nodes' questions about the objects of this one.
    #[must_use]
    pub fn object_service(&self) -> ObjectService {
        ObjectService { engine: self.clone(), permits: Arc::new(Semaphore::new(OBJECT_CALLS_MAX)) }
    }
}

impl ObjectService {
    async fn told(&self, from: &RegionId, request: &[u8]) -> Result<Told, String> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err("too many questions about objects at once".to_owned());
        };
        let Some(client) = self.engine.objects() else {
            return Err("this node has no objects".to_owned());
        };
        match Call::decode(request).map_err(|error| error.to_string())? {
            Call::Read { hash, from, to } => Ok(read(&client, hash, from..to).await),
            Call::Keep(keep) => Ok(keep_from(&client, from, keep).await),
            Call::Find { bucket, key, which, seen } => {
                Ok(find(&client, &bucket, &key, which, &seen).await)
            }
            Call::FindToRead { bucket, key, which, seen } => {
                let found = find(&client, &bucket, &key, which, &seen).await;
                Ok(with_first(&client, found).await)
            }
            Call::Change(ask) => Ok(change(&client, &ask).await),
            Call::Ask(ask) => client
                .asked(from.clone(), ask)
                .await
                .map(Told::Holding)
                .ok_or_else(|| "nobody knows".to_owned()),
            Call::Grant(grant) => Ok(Told::Outcome(client.granted(from.clone(), grant).await)),
            Call::Applied => Ok(Told::Applied(client.applied())),
            Call::Pass(passed) => Ok(client.take_over(from, *passed).await),
            Call::Pull { id, nth } => Ok(client.give(id, nth).await),
            Call::LastRead(ids) => Ok(Told::LastRead(client.tell_reads(&ids))),
        }
    }
}

async fn read(client: &ObjectClient, hash: BlobHash, range: Range<u64>) -> Told {
    client.note_remote_use(&hash);
    match client.running().blobs.read(hash, range).await {
        Ok(bytes) => Told::Bytes(bytes),
        Err(BlobError::Missing(_) | BlobError::Damaged { .. }) => {
            client.restore(hash);
            Told::NoBlob
        }
        Err(error) => refused(&error.into()),
    }
}

fn refused(error: &ObjectError) -> Told {
    Told::Refused(error.into())
}

/// Fetches blobs from who asks for that; they are durable here, and said to be lately, when it is told.
async fn keep_from(client: &ObjectClient, from: &RegionId, keep: Keep) -> Told {
    if keep.blobs.len() > COPY_BLOBS_PER_CALL {
        return refused(&ObjectError::Invalid("too many blobs at once".to_owned()));
    }
    let mut pins = Vec::new();
    for blob in &keep.blobs {
        match client.running().keeper.pin(blob.hash).await {
            Ok(pin) => pins.push(pin),
            Err(error) => return refused(&error.into()),
        }
    }
    let bytes = keep.blobs.iter().map(|blob| blob.bytes).sum();
    client.books().fetching(&keep.bucket, bytes);
    let fetch = |blob: BlobRef| {
        let (client, from) = (client.clone(), from.clone());
        async move { client.fetch(&from, blob, Need::Awaited).await }
    };
    let fetches: Vec<_> = keep.blobs.iter().copied().map(fetch).collect();
    let fetched: Result<Vec<()>, FetchError> =
        stream::iter(fetches).buffer_unordered(2).try_collect().await;
    if let Err(error) = fetched {
        return refused(&ObjectError::Unavailable(error.to_string()));
    }
    // An upload counts on the copy, and is not written yet: an old one that nothing refers to might go.
    let renew = client.running().config.collect.surplus_grace / 2;
    match client.hold_young(&keep.blobs, renew).await {
        Ok(()) => Told::Kept,
        Err(error) => refused(&error),
    }
}

async fn find(
    client: &ObjectClient,
    bucket: &BucketName,
    key: &Bytes,
    which: Which,
    seen: &VersionVector,
) -> Told {
    let found = async {
        let definition = client.definition(bucket)?;
        let found = match definition.consistency {
            BucketConsistency::Linearizable => {
                client.found_at_home(&definition, (bucket, key), which).await?
            }
            BucketConsistency::Eventual => {
                let rows = client.engine().index_unseen(seen);
                client.known(&rows, &definition, (bucket, key), which)?
            }
        };
        Ok::<_, ObjectError>(found.record().cloned())
    };
    match found.await {
        Ok(record) => Told::Found(record.map(Box::new)),
        Err(error) => refused(&error),
    }
}

/// What was found, with its first bytes where they are here.
async fn with_first(client: &ObjectClient, told: Told) -> Told {
    let Told::Found(Some(record)) = told else { return told };
    let body = record.content.as_ref().map(|content| &content.body);
    let first = match body {
        Some(Body::Blobs(blobs)) => blobs.first().copied(),
        _ => None,
    };
    let Some(first) = first else { return Told::Found(Some(record)) };
    let range = 0..first.bytes.min(BLOB_READ_BYTES_MAX);
    client.note_remote_use(&first.hash);
    match client.running().blobs.read(first.hash, range).await {
        Ok(bytes) => Told::FoundWith(record, bytes),
        Err(_elsewhere) => Told::Found(Some(record)),
    }
}

/// Makes a change for another region, if this one acts for the key's home.
async fn change(client: &ObjectClient, ask: &Ask) -> Told {
    let made = async {
        let definition = client.definition(&ask.bucket)?;
        client.change_acting(&definition, ask).await
    };
    match made.await {
        Ok((answer, written)) => Told::Changed(Box::new(answer), written),
        Err(error) => refused(&error),
    }
}

impl PeerService for ObjectService {
    fn answer(
        &self,
        from: RegionId,
        _service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { Ok(self.told(&from, &request).await?.encode()) })
    }
}
