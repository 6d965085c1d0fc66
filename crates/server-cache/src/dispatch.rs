//! The way of every request: path, door, bucket, rate, handler, answer.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body as _, Incoming};
use rhumb_engine::{
    ObjectClient, ObjectError,
    object::{condition::Condition, index::Which},
    telemetry::metrics::{Command, Outcome as Counted},
};
use rhumb_front::linger;
use rhumb_types::{ErrorCode, record::BucketDefinition};
use tokio::time::{Instant, timeout};

use crate::{
    door,
    fault::Fault,
    get,
    limits::{ENTRY_BYTES_MAX, REQUEST_WAIT_MAX},
    path::Entry,
    put,
    server::{Commands, Shared},
};

/// The body of an answer: it may break off, and the connection with it.
pub(crate) type Body = UnsyncBoxBody<Bytes, ObjectError>;
/// An answer.
pub(crate) type Answer = Response<Body>;

/// A request whose sender may do what it asks.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) objects: ObjectClient,
    pub(crate) definition: BucketDefinition,
    pub(crate) entry: Entry,
    /// How long its body is, if it says so.
    pub(crate) bytes: Option<u64>,
}

/// Answers a request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Answer {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let command = command(&shared.commands, &parts.method);
    let outcome = match admit(shared, &parts, &body, client) {
        Ok(call) => serve(call, &parts.method, body).await,
        Err(fault) => {
            if !parts.headers.contains_key(header::EXPECT) {
                linger(body).await;
            }
            Err(fault)
        }
    };
    let counted = outcome.as_ref().err().map_or(Counted::Ok, |fault| Counted::Failed(fault.code));
    command.record(counted, began.elapsed());
    outcome.unwrap_or_else(|fault| refusal(&fault))
}

const fn command<'c>(commands: &'c Commands, method: &Method) -> &'c Command {
    match *method {
        Method::GET => &commands.get,
        Method::HEAD => &commands.head,
        Method::PUT => &commands.put,
        Method::DELETE => &commands.delete,
        _ => &commands.other,
    }
}

/// Looks at everything that the head of a request says.
fn admit(
    shared: &Arc<Shared>,
    parts: &Parts,
    body: &Incoming,
    client: SocketAddr,
) -> Result<Call, Fault> {
    let engine = &shared.engine;
    let grant = shared.door.identify(engine, &parts.headers, client)?;
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE];
    if !known.contains(&parts.method) {
        let fault = Fault::invalid("only GET, HEAD, PUT and DELETE are known here");
        return Err(Fault { status: StatusCode::METHOD_NOT_ALLOWED, ..fault });
    }
    let entry = Entry::parse(parts.uri.path())?;
    door::check(&grant, &parts.method, entry.bucket.as_str())?;
    let rate = shared.rates.take(grant.bearer(client.ip()), engine.clock().now().mono);
    rate.map_err(|wait| Fault {
        retry_after: Some(wait),
        ..Fault::new(ErrorCode::Overloaded, "these are too many requests")
    })?;
    let objects = engine.objects().ok_or_else(Fault::starting)?;
    let bucket = objects.bucket(&entry.bucket);
    let cache = bucket.ok().map(|it| it.definition).filter(|it| it.cache_bytes_max.is_some());
    let definition = cache.ok_or_else(|| {
        let name = &entry.bucket;
        Fault::not_found(format!(
            "there is no cache `{name}`: make one with `rhumb bucket create {name} --cache-max 100GB`"
        ))
    })?;
    let bytes = body.size_hint().exact();
    let most = definition.cache_bytes_max.map_or(ENTRY_BYTES_MAX, |it| it.0.min(ENTRY_BYTES_MAX));
    if bytes.is_some_and(|bytes| bytes > most) {
        return Err(Fault::too_large(most));
    }
    Ok(Call { shared: shared.clone(), objects, definition, entry, bytes })
}

async fn serve(call: Call, method: &Method, body: Incoming) -> Result<Answer, Fault> {
    let late = |_| Fault::new(ErrorCode::Unavailable, "the answer takes too long");
    match *method {
        Method::PUT => put::put(&call, body).await,
        Method::DELETE => timeout(REQUEST_WAIT_MAX, delete(&call)).await.map_err(late)?,
        _ => timeout(REQUEST_WAIT_MAX, get::get(&call, *method == Method::HEAD))
            .await
            .map_err(late)?,
    }
}

async fn delete(call: &Call) -> Result<Answer, Fault> {
    let key = call.entry.key();
    let any = Condition::default();
    call.objects.delete(&call.entry.bucket, key, Which::Newest, any).await?;
    Ok(done())
}

/// An answer without a body.
pub(crate) fn done() -> Answer {
    Response::new(full(Bytes::new()))
}

/// A body that is there.
pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn refusal(fault: &Fault) -> Answer {
    let mut answer = Response::new(full(format!("{}\n", fault.message).into()));
    *answer.status_mut() = fault.status;
    let headers = answer.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    if fault.status == StatusCode::UNAUTHORIZED {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"rhumb\""));
        headers
            .append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rhumb\""));
    }
    if fault.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT, DELETE"));
    }
    if let Some(wait) = fault.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    }
    answer
}
