//! Writing entries.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use rhumb_engine::{About, ByteStream, Digests, ObjectError, Put, object::condition::Condition};
use rhumb_front::linger;
use rhumb_types::{
    ErrorCode,
    record::{Checksums, Miss},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Mutex, SemaphorePermit},
    time::timeout,
};

use crate::{
    action,
    dispatch::{Answer, Call, done},
    fault::Fault,
    limits::{ACTION_BYTES_MAX, BODY_WAIT_MAX, IN_HAND_KIB_MAX},
    path::Kind,
};

/// What entries of ccache begin with: since 4.7, and before that results and manifests. None begins an
/// action result, because all three say a group, which the messages of the API have none of.
const OPAQUE: [&[u8]; 3] = [&[0xcc, 0xac], b"cCrS", b"cCmF"];

/// Whether an entry under `/ac/` is not one of Bazel's, and names nothing.
pub(crate) fn is_opaque(bytes: &[u8]) -> bool {
    OPAQUE.iter().any(|magic| bytes.starts_with(magic))
}

/// Stores an entry. Of a body that is refused halfway the rest is thrown away, so that its sender sees why.
pub(crate) async fn put(call: &Call, body: Incoming) -> Result<Answer, Fault> {
    let body = Arc::new(Mutex::new(body));
    let coming = pieces(body.clone());
    let stored = match call.entry.kind {
        Kind::Blob => blob(call, coming).await,
        Kind::Action => action(call, coming).await,
    };
    if stored.is_err() {
        linger(&mut *body.lock().await).await;
    }
    stored
}

/// The pieces of a body, each within its time.
fn pieces(body: Arc<Mutex<Incoming>>) -> ByteStream {
    let late = || ObjectError::Body(format!("nothing came for {BODY_WAIT_MAX:?}"));
    let broken = |error: hyper::Error| ObjectError::Body(error.to_string());
    let next = move |body: Arc<Mutex<Incoming>>| async move {
        loop {
            let frame = {
                let mut body = body.lock().await;
                timeout(BODY_WAIT_MAX, body.frame()).await.map_err(|_| late())?
            };
            match frame.transpose().map_err(broken)?.map(Frame::into_data) {
                None => return Ok::<_, ObjectError>(None),
                Some(Ok(piece)) => return Ok(Some((piece, body))),
                // Trailers.
                Some(Err(_)) => {}
            }
        }
    };
    stream::try_unfold(body, next).boxed()
}

async fn blob(call: &Call, body: ByteStream) -> Result<Answer, Fault> {
    // What other regions have is not asked for: that would cost more than it saves.
    if call.definition.miss == Miss::Local
        && let Some(known) = call.sound(&call.entry).await?
    {
        check(call, body).await?;
        call.objects.note_use(&known);
        return Ok(done());
    }
    let sha256 = Some(STANDARD.encode(call.entry.hash));
    let expected = Checksums { sha256, ..Checksums::default() };
    store(call, body, call.bytes, Digests { expected, ..Digests::default() }).await
}

/// Holds a body against its name without storing it.
async fn check(call: &Call, mut body: ByteStream) -> Result<(), Fault> {
    let mut hasher = Sha256::new();
    while let Some(piece) = body.try_next().await? {
        hasher.update(&piece);
    }
    let found: [u8; 32] = hasher.finalize().into();
    if found == call.entry.hash { Ok(()) } else { Err(poison(call)) }
}

async fn action(call: &Call, mut body: ByteStream) -> Result<Answer, Fault> {
    let mut first = BytesMut::new();
    while first.len() < 4
        && let Some(piece) = body.try_next().await?
    {
        first.extend_from_slice(&piece);
    }
    let first = first.freeze();
    if is_opaque(&first) {
        let body = stream::iter([Ok(first)]).chain(body).boxed();
        return store(call, body, call.bytes, Digests::default()).await;
    }
    let expected = call.bytes.unwrap_or(ACTION_BYTES_MAX);
    if expected > ACTION_BYTES_MAX {
        return Err(Fault::too_large(ACTION_BYTES_MAX));
    }
    let _room = call.room_for(expected)?;
    let message = gather(first, body).await?;
    action::action_result(&message).map_err(|error| {
        call.shared.caches.refused(&call.entry.bucket, "action");
        Fault::invalid(format!("the body is no action result: {error}"))
    })?;
    let bytes = Some(message.len() as u64);
    store(call, stream::iter([Ok(message)]).boxed(), bytes, Digests::default()).await
}

async fn gather(first: Bytes, mut body: ByteStream) -> Result<Bytes, Fault> {
    let mut message = BytesMut::from(first.as_ref());
    while let Some(piece) = body.try_next().await? {
        if (message.len() + piece.len()) as u64 > ACTION_BYTES_MAX {
            return Err(Fault::too_large(ACTION_BYTES_MAX));
        }
        message.extend_from_slice(&piece);
    }
    Ok(message.freeze())
}

async fn store(
    call: &Call,
    body: ByteStream,
    bytes: Option<u64>,
    digests: Digests,
) -> Result<Answer, Fault> {
    let put = Put {
        bucket: call.entry.bucket.clone(),
        key: call.entry.key(),
        body,
        bytes,
        about: About::default(),
        digests,
        condition: Condition::default(),
    };
    match call.objects.put(put).await {
        Ok(_) => Ok(done()),
        Err(ObjectError::Digest(_)) => Err(poison(call)),
        Err(error) => Err(error.into()),
    }
}

fn poison(call: &Call) -> Fault {
    call.shared.caches.refused(&call.entry.bucket, "digest");
    Fault::invalid("the SHA-256 of the body is not the one in the path; nothing was stored")
}

impl Call {
    /// Room for a message among all that are in hand.
    pub(crate) fn room_for(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Fault> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(IN_HAND_KIB_MAX);
        self.shared.in_hand.try_acquire_many(kib).map_err(|_| {
            Fault::new(ErrorCode::Overloaded, "too many large requests are on their way")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_ccache_are_no_action_results() {
        for magic in OPAQUE {
            let entry = [magic, &[0; 64]].concat();
            assert!(is_opaque(&entry));
            assert!(action::action_result(&entry).is_err());
        }
        assert!(!is_opaque(b"") && !is_opaque(&[0xcc]));
    }
}
