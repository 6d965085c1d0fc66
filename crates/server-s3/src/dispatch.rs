//! The way of every request: head, signature, rate, body, operation, answer.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use rhumb_engine::{OsEntropy, random_id, telemetry::metrics::Outcome};
use rhumb_front::linger;
use rhumb_sigv4::Chain;
use rhumb_types::ErrorCode;
use s3s::{Body, HttpError, S3Error, S3ErrorCode, S3Result, s3_error};
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, timeout},
};

use crate::{
    access::Asked,
    conditions::Conditions,
    declared::Declared,
    intake,
    lent::Lent,
    limits::{DOCUMENT_BYTES_MAX, DOCUMENTS_KIB_MAX, REQUEST_WAIT_MAX},
    names,
    server::Shared,
    strip::strip,
};

/// Names a request in the client's logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// Answers a request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Response<Body> {
    let request_id = names::request_id(random_id(&OsEntropy));
    let (parts, body) = request.into_parts();
    let (began, asked) = (Instant::now(), Asked::default());
    let answered = serve(shared, parts, body, client, &asked).await;
    let mut response = answered.unwrap_or_else(|mut error| {
        error.set_request_id(request_id.clone());
        refusal(error)
    });
    if let Some(command) = asked.operation().and_then(|it| shared.commands.get(it.name)) {
        command.record(outcome(response.status()), began.elapsed());
    }
    if let Ok(id) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// An error as an answer.
fn refusal(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// How an answer counts among those of all protocols.
fn outcome(status: StatusCode) -> Outcome {
    Outcome::Failed(match status.as_u16() {
        401 | 403 => ErrorCode::Forbidden,
        404 => ErrorCode::NotFound,
        409 | 412 => ErrorCode::Conflict,
        429 | 503 => ErrorCode::Unavailable,
        400..=499 => ErrorCode::Invalid,
        500..=599 => ErrorCode::Internal,
        _ => return Outcome::Ok,
    })
}

async fn serve(
    shared: &Arc<Shared>,
    parts: Parts,
    body: Incoming,
    client: SocketAddr,
    asked: &Asked,
) -> S3Result<Response<Body>> {
    match shared.admit(&parts, client) {
        Ok((declared, chain, extensions)) => {
            let mut parts = parts;
            parts.extensions.extend(extensions);
            parts.extensions.insert(asked.clone());
            shared.carry_out(parts, body, declared, chain).await
        }
        Err(error) => {
            // A client that waits for leave to send its body sends none.
            if !parts.headers.contains_key(header::EXPECT) {
                linger(body).await;
            }
            Err(error)
        }
    }
}

impl Shared {
    /// Lets a request in by its head.
    fn admit(
        &self,
        parts: &Parts,
        client: SocketAddr,
    ) -> S3Result<(Declared, Option<Chain>, http::Extensions)> {
        refuse_forms(parts)?;
        let now = self.engine.clock().now();
        let declared = Declared::of(parts)?;
        let (caller, chain) = self.door.enter(parts, &declared, client, now)?;
        self.rates
            .take(caller.bearer(), now.mono)
            .map_err(|wait| slow_down("Please reduce your request rate.", wait.as_secs() + 1))?;
        let mut extensions = http::Extensions::new();
        extensions.insert(caller);
        Ok((declared, chain, extensions))
    }

    async fn carry_out(
        &self,
        mut parts: Parts,
        body: Incoming,
        declared: Declared,
        chain: Option<Chain>,
    ) -> S3Result<Response<Body>> {
        strip(&mut parts, &declared)?;
        let conditions = Conditions::take(&mut parts.headers)?;
        parts.extensions.insert(conditions);
        let expected = body.size_hint().upper();
        let waits_for_leave = parts.headers.contains_key(header::EXPECT);
        let (body, rest) = Lent::new(body.into_data_stream());
        let (content, verdict) = intake::content(body, &declared, chain);
        if declared.is_object {
            parts.extensions.insert(verdict);
            parts.extensions.insert(declared);
            let content = StreamBody::new(content.map_ok(Frame::data));
            let answer = self.call(parts, Body::http_body_unsync(content)).await;
            let refused = answer.as_ref().map_or(true, |it| !it.status().is_success());
            let unread = rest.take().filter(|_| refused && !waits_for_leave);
            if let Some(unread) = unread {
                linger(StreamBody::new(unread.map_ok(Frame::data))).await;
            }
            return answer;
        }
        let document = async {
            let _room = self.room_for(expected)?;
            let mut document = BytesMut::new();
            let mut content = std::pin::pin!(content);
            while let Some(bytes) = content.try_next().await.map_err(|fault| fault.error())? {
                if document.len() + bytes.len() > DOCUMENT_BYTES_MAX {
                    return Err(crate::declared::too_large(false));
                }
                document.extend_from_slice(&bytes);
            }
            let document: Bytes = document.freeze();
            intake::check_document(&declared, &verdict, &document)
                .map_err(|fault| fault.error())?;
            self.call(parts, document.into()).await
        };
        timeout(REQUEST_WAIT_MAX, document).await.unwrap_or_else(|_| {
            let message = "It took too long. It may have been done.";
            Err(S3Error::with_message(S3ErrorCode::ServiceUnavailable, message))
        })
    }

    async fn call(&self, parts: Parts, body: Body) -> S3Result<Response<Body>> {
        let called = self.codec.call(Request::from_parts(parts, body)).await;
        called.map_err(|error: HttpError| {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::error!(%error, "S3: an answer could not be written");
            s3_error!(InternalError, "The answer could not be written.")
        })
    }

    /// Room for a document among all those that are in hand.
    fn room_for(&self, expected: Option<u64>) -> S3Result<SemaphorePermit<'_>> {
        let most = DOCUMENT_BYTES_MAX as u64;
        let bytes = expected.map_or(most, |expected| expected.min(most));
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(DOCUMENTS_KIB_MAX);
        self.documents
            .try_acquire_many(kib)
            .map_err(|_| slow_down("Too many large requests are on their way.", 1))
    }
}

/// Forms that browsers post carry their signature in themselves.
fn refuse_forms(parts: &Parts) -> S3Result<()> {
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_form = kind.is_some_and(|kind| {
        kind.get(..19).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/form-data"))
    });
    if parts.method == http::Method::POST && is_form {
        return Err(s3_error!(NotImplemented, "Uploads by posted forms are not implemented here."));
    }
    Ok(())
}

fn slow_down(message: &'static str, seconds: u64) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::SlowDown, message);
    error.set_headers(retry_after(seconds));
    error
}

/// When to try again.
pub(crate) fn retry_after(seconds: u64) -> http::HeaderMap {
    http::HeaderMap::from_iter([(header::RETRY_AFTER, seconds.into())])
}
