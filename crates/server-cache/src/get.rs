//! Reading entries.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use rhumb_engine::{ByteStream, ObjectError, object::index::Which};
use rhumb_types::{
    ErrorCode,
    record::{Content, ObjectRecord},
};

use crate::{
    action::{self, Digest, Named},
    dispatch::{Answer, Call, full},
    fault::Fault,
    limits::{ACTION_BYTES_MAX, NAMED_MAX, TREE_BYTES_MAX},
    path::{Entry, Kind},
    put::is_opaque,
};

/// Gives an entry, or only what is to be said of it.
pub(crate) async fn get(call: &Call, head: bool) -> Result<Answer, Fault> {
    let found = match call.entry.kind {
        Kind::Blob => blob(call, head).await,
        Kind::Action => action(call, head).await,
    };
    let missed = found.as_ref().is_err_and(|fault| fault.code == ErrorCode::NotFound);
    if !head && missed {
        call.shared.caches.miss(&call.entry.bucket);
    }
    found
}

async fn blob(call: &Call, head: bool) -> Result<Answer, Fault> {
    let Entry { bucket, hash, .. } = &call.entry;
    let digest = Digest { hash: *hash, bytes: 0 };
    let Some(record) = call.sound(&call.entry).await? else {
        return if digest.is_empty() {
            Ok(answer(0, full(Bytes::new())))
        } else {
            Err(Fault::miss())
        };
    };
    let bytes = length(&record);
    if head {
        call.objects.note_use(&record);
        return Ok(answer(bytes, full(Bytes::new())));
    }
    let body = begun(call.objects.read(bucket, &record, 0..bytes)).await?;
    Ok(answer(bytes, body))
}

/// An action result is given only if all that it names can be given.
async fn action(call: &Call, head: bool) -> Result<Answer, Fault> {
    let bucket = &call.entry.bucket;
    let record = call.look(&call.entry).await?.ok_or_else(Fault::miss)?;
    let bytes = length(&record);
    let first = call.objects.peek(bucket, &record, 0..bytes.min(4));
    let first: Vec<Bytes> = first.try_collect().await?;
    if is_opaque(&first.concat()) {
        // It names nothing that could be gone.
        if head {
            call.objects.note_use(&record);
            return Ok(answer(bytes, full(Bytes::new())));
        }
        let body = begun(call.objects.read(bucket, &record, 0..bytes)).await?;
        return Ok(answer(bytes, body));
    }
    let message = call.whole(&record, ACTION_BYTES_MAX).await?.ok_or_else(Fault::miss)?;
    let named = action::action_result(&message).map_err(|error| {
        let key = call.entry.key();
        tracing::warn!(%bucket, key = %key.escape_ascii(), %error, "cache: no action result");
        call.shared.caches.refused(bucket, "action");
        Fault::miss()
    })?;
    if !call.has_all(named).await? {
        return Err(Fault::miss());
    }
    call.objects.note_use(&record);
    if head {
        return Ok(answer(bytes, full(Bytes::new())));
    }
    call.shared.caches.hit(bucket);
    Ok(answer(bytes, full(message)))
}

fn length(record: &ObjectRecord) -> u64 {
    record.content.as_ref().map_or(0, |content| content.bytes)
}

fn answer(bytes: u64, body: crate::dispatch::Body) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    answer
}

/// A stream of which the first bytes are there: until then a failure can still be told.
async fn begun(mut stream: ByteStream) -> Result<crate::dispatch::Body, Fault> {
    let first = stream.next().await.transpose()?;
    let first = stream::iter(first.map(Ok::<Bytes, ObjectError>));
    let frames = first.chain(stream).map_ok(Frame::data).inspect_err(|error| {
        tracing::warn!(%error, "cache: an entry broke off while it was read");
    });
    Ok(StreamBody::new(frames).boxed_unsync())
}

impl Call {
    /// The record of an entry.
    async fn look(&self, entry: &Entry) -> Result<Option<ObjectRecord>, Fault> {
        match self.objects.look(&entry.bucket, &entry.key(), Which::Newest).await {
            Ok(record) => Ok(Some(record)),
            Err(ObjectError::Read(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The record of a blob that is what its name says, and can be read.
    pub(crate) async fn sound(&self, entry: &Entry) -> Result<Option<ObjectRecord>, Fault> {
        let Some(record) = self.look(entry).await? else { return Ok(None) };
        let content = record.content.as_ref();
        if !content.is_some_and(|content| was_checked(content, &entry.hash)) {
            let key = entry.key();
            let key = key.escape_ascii();
            tracing::warn!(bucket = %entry.bucket, %key, "cache: not checked when it came");
            self.shared.caches.refused(&entry.bucket, "unchecked");
            return Ok(None);
        }
        Ok(self.objects.is_within_reach(&record)?.then_some(record))
    }

    /// All bytes of an object that is not too long; they are a part of what may be in hand.
    async fn whole(&self, record: &ObjectRecord, bytes_max: u64) -> Result<Option<Bytes>, Fault> {
        let bytes = length(record);
        if bytes > bytes_max {
            return Ok(None);
        }
        let _room = self.room_for(bytes)?;
        let mut stream = self.objects.peek(&self.entry.bucket, record, 0..bytes);
        let mut whole = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or_default());
        while let Some(part) = stream.try_next().await? {
            whole.extend_from_slice(&part);
        }
        Ok(Some(whole.freeze()))
    }

    /// Whether everything is there that an action result names. What is, is used by that.
    async fn has_all(&self, named: Named) -> Result<bool, Fault> {
        let Named { blobs, trees, directories } = named;
        let mut seen = BTreeSet::new();
        for digest in blobs {
            if !self.has(&digest, &mut seen).await? {
                return Ok(false);
            }
        }
        for digest in trees {
            let Some(bytes) = self.read(&digest).await? else { return Ok(false) };
            let Ok(files) = action::tree(&bytes) else { return Ok(false) };
            for file in files {
                if !self.has(&file, &mut seen).await? {
                    return Ok(false);
                }
            }
        }
        self.has_directories(directories, &mut seen).await
    }

    /// The same for directories that name each other.
    async fn has_directories(
        &self,
        mut waiting: Vec<Digest>,
        seen: &mut BTreeSet<Digest>,
    ) -> Result<bool, Fault> {
        let mut looked: BTreeSet<Digest> = waiting.iter().copied().collect();
        while let Some(digest) = waiting.pop() {
            let Some(bytes) = self.read(&digest).await? else { return Ok(false) };
            let Ok(named) = action::directory(&bytes) else { return Ok(false) };
            for file in named.blobs {
                if !self.has(&file, seen).await? {
                    return Ok(false);
                }
            }
            waiting.extend(named.directories.into_iter().filter(|it| looked.insert(*it)));
            if looked.len() > NAMED_MAX {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a blob is there that something names. Each is looked for once.
    async fn has(&self, digest: &Digest, seen: &mut BTreeSet<Digest>) -> Result<bool, Fault> {
        if digest.is_empty() || seen.contains(digest) {
            return Ok(true);
        }
        if seen.len() >= NAMED_MAX {
            return Ok(false);
        }
        let there = self.named(digest).await?.is_some();
        seen.insert(*digest);
        Ok(there)
    }

    async fn named(&self, digest: &Digest) -> Result<Option<ObjectRecord>, Fault> {
        let found = self.sound(&self.entry.sibling(digest.hash)).await?;
        let found = found.filter(|record| length(record) == digest.bytes);
        Ok(found.inspect(|record| self.objects.note_use(record)))
    }

    /// The bytes of a blob that is a message.
    async fn read(&self, digest: &Digest) -> Result<Option<Bytes>, Fault> {
        if digest.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        match self.named(digest).await? {
            Some(record) => self.whole(&record, TREE_BYTES_MAX).await,
            None => Ok(None),
        }
    }
}

/// Whether the SHA-256 of an object was checked when it came, and is this.
fn was_checked(content: &Content, hash: &[u8; 32]) -> bool {
    let sums = &content.checksums;
    !sums.composite && sums.sha256.as_deref() == Some(STANDARD.encode(hash).as_str())
}
