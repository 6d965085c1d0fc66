//! The way of every request: operation, signature, body, rate, handler, answer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use rhumb_engine::{OsEntropy, random_id, telemetry::metrics::Outcome as Counted};
use rhumb_front::linger;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, timeout},
};

use crate::{
    call::Call,
    door::check_role,
    fault::{Code, Fault},
    limits::{
        BODIES_KIB_MAX, BODY_BYTES_MAX, BODY_WAIT_MAX, LOGGED_CHARACTERS_MAX, REQUEST_WAIT_MAX,
        WAIT_SECONDS_MAX,
    },
    names,
    operation::Operation,
    queues, receive,
    reply::{self, Answer, Outcome},
    send,
    server::Shared,
    settle,
};

/// The header that names the operation.
const TARGET: &str = "x-amz-target";

/// Answers a request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Answer {
    let request_id = names::message_id(random_id(&OsEntropy));
    let (parts, body) = request.into_parts();
    if speaks_query(&parts) {
        linger(body).await;
        return reply::query_protocol(&request_id);
    }
    let began = Instant::now();
    let operation = operation(&parts);
    let outcome = match &operation {
        Ok(operation) => serve(shared, *operation, parts, body, client).await,
        Err(fault) => {
            linger(body).await;
            Err(fault.clone())
        }
    };
    if let Some(command) = operation.ok().and_then(|it| shared.commands.get(&it)) {
        let counted =
            outcome.as_ref().err().map_or(Counted::Ok, |it| Counted::Failed(it.code.class()));
        command.record(counted, began.elapsed());
    }
    reply::answer(outcome, &request_id)
}

/// Whether a request is one of the protocol before JSON.
fn speaks_query(parts: &Parts) -> bool {
    let form = parts.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let form = form.is_some_and(|it| it.starts_with("application/x-www-form-urlencoded"));
    let action =
        parts.uri.query().is_some_and(|it| it.split('&').any(|it| it.starts_with("Action=")));
    !parts.headers.contains_key(TARGET) && (form || action)
}

fn operation(parts: &Parts) -> Result<Operation, Fault> {
    if parts.method != Method::POST {
        let message =
            format!("Requests of SQS are sent with POST, and this one with {}.", parts.method);
        return Err(Fault::new(Code::UnsupportedOperation, message));
    }
    let target = parts.headers.get(TARGET).ok_or_else(|| {
        let message = "There is no header X-Amz-Target: this server speaks AWS JSON 1.0.";
        Fault::new(Code::UnknownOperation, message)
    })?;
    Operation::of_target(target.to_str().unwrap_or_default())
}

async fn serve(
    shared: &Arc<Shared>,
    operation: Operation,
    parts: Parts,
    body: Incoming,
    client: SocketAddr,
) -> Outcome {
    let now = || shared.engine.clock().now();
    let heard = shared.door.hear(&parts, client, now());
    let heard = heard.and_then(|claim| Ok((claim, shared.room_for(&body)?)));
    let (claim, _room) = match heard {
        Ok(heard) => heard,
        Err(fault) => {
            if !parts.headers.contains_key(header::EXPECT) {
                linger(body).await;
            }
            return Err(fault);
        }
    };
    let body = read_body(body).await?;
    let grant = shared.door.prove(&claim, &parts, &body, client, now())?;
    shared.rates.take(grant.bearer(client.ip()), now().mono).map_err(|wait| {
        let message = "More requests than one access key or address may send.";
        Fault { retry_after: Some(wait), ..Fault::new(Code::RequestThrottled, message) }
    })?;
    check_role(&grant, operation)?;
    let origin = origin(&parts, shared.encrypted);
    let call = Call { shared: shared.clone(), grant, client, origin, body };
    if operation.is_administrative() {
        let key = call.grant.name();
        let body = String::from_utf8_lossy(&call.body);
        let body: String = body.chars().take(LOGGED_CHARACTERS_MAX).collect();
        tracing::info!(%key, %client, operation = operation.name(), %body, "administration of SQS");
    }
    let longest = REQUEST_WAIT_MAX + Duration::from_secs(WAIT_SECONDS_MAX);
    timeout(longest, carry_out(operation, &call)).await.unwrap_or_else(|_| {
        let message = format!("It took longer than {longest:?}. It may have been done.");
        Err(Fault::new(Code::ServiceUnavailable, message))
    })
}

async fn carry_out(operation: Operation, call: &Call) -> Outcome {
    match operation {
        Operation::ChangeMessageVisibility => settle::change_visibility(call).await,
        Operation::ChangeMessageVisibilityBatch => settle::change_visibilities(call).await,
        Operation::CreateQueue => queues::create(call).await,
        Operation::DeleteMessage => settle::delete(call).await,
        Operation::DeleteMessageBatch => settle::delete_many(call).await,
        Operation::DeleteQueue => queues::delete(call).await,
        Operation::GetQueueAttributes => queues::attributes(call).await,
        Operation::GetQueueUrl => queues::url(call),
        Operation::ListDeadLetterSourceQueues => queues::sources(call),
        Operation::ListQueueTags => queues::tags(call),
        Operation::ListQueues => queues::list(call),
        Operation::PurgeQueue => queues::purge(call).await,
        Operation::ReceiveMessage => receive::receive(call).await,
        Operation::SendMessage => send::send(call).await,
        Operation::SendMessageBatch => send::send_many(call).await,
        Operation::SetQueueAttributes => queues::set_attributes(call).await,
        Operation::TagQueue => queues::tag(call).await,
        Operation::UntagQueue => queues::untag(call).await,
    }
}

/// Scheme and host that the client has called.
fn origin(parts: &Parts, encrypted: bool) -> String {
    let scheme = if encrypted { "https" } else { "http" };
    let host = host(&parts.headers).or_else(|| parts.uri.authority().map(|it| it.as_str()));
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

async fn read_body(body: Incoming) -> Result<Bytes, Fault> {
    let late = |_| {
        let message = format!("The body did not arrive within {BODY_WAIT_MAX:?}.");
        Fault::new(Code::Serialization, message)
    };
    let reading = Limited::new(body, BODY_BYTES_MAX).collect();
    match timeout(BODY_WAIT_MAX, reading).await.map_err(late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => {
            let message = format!("The body broke off: {error}.");
            Err(Fault::new(Code::Serialization, message))
        }
    }
}

fn too_large() -> Fault {
    let message = format!("The request is larger than {BODY_BYTES_MAX} bytes.");
    Fault::new(Code::BatchRequestTooLong, message)
}

impl Shared {
    /// Room for a body among all those that are in hand.
    fn room_for(&self, body: &Incoming) -> Result<SemaphorePermit<'_>, Fault> {
        let size = body.size_hint().upper();
        let expected = usize::try_from(size.unwrap_or(BODY_BYTES_MAX as u64)).unwrap_or(usize::MAX);
        if expected > BODY_BYTES_MAX {
            return Err(too_large());
        }
        let kib = u32::try_from(expected.div_ceil(1 << 10)).unwrap_or(BODIES_KIB_MAX);
        self.bodies.try_acquire_many(kib).map_err(|_| {
            let message = "Too many large requests are on their way.";
            Fault::new(Code::RequestThrottled, message)
        })
    }
}
