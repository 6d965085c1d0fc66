//! What workers ask: jobs, and what became of them.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures_util::future::join_all;
use http::StatusCode;
use rhumb_engine::queue::{Leased, Receipt, Refused, Retry, limits::JOBS_PER_REQUEST_MAX};
use rhumb_engine::{QueueClient, ReceiveRequest};
use rhumb_types::{MonoTime, record::QueueName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{not_ours, send::Attribute};
use crate::{
    encode,
    limits::{RECEIVE_MAX, RECEIVE_WAIT_MAX, WORKER_NAME_BYTES_MAX},
    problem::Problem,
    request::{Call, Outcome},
    span::{Span, millis},
};

/// A wish for jobs.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    max: usize,
    visibility: Option<Span>,
    wait: Span,
    worker: Option<String>,
}

impl Default for Wish {
    fn default() -> Self {
        Self { max: 1, visibility: None, wait: Span::default(), worker: None }
    }
}

/// A worker's name within its bounds.
pub(crate) fn worker(name: String) -> Result<Arc<str>, Problem> {
    if (1..=WORKER_NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(name.into());
    }
    Err(Problem::invalid(format!("a worker's name has 1 to {WORKER_NAME_BYTES_MAX} bytes")))
}

pub(crate) async fn receive(call: Call) -> Outcome {
    let queue = call.queue()?;
    not_ours(&queue)?;
    call.params()?.done()?;
    let Wish { max, visibility, wait: Span(wait), worker: name } = call.json()?;
    if !(1..=RECEIVE_MAX).contains(&max) {
        return Err(Problem::invalid(format!("`max` is 1 to {RECEIVE_MAX}")));
    }
    if wait > RECEIVE_WAIT_MAX {
        let most = Span(RECEIVE_WAIT_MAX);
        return Err(Problem::invalid(format!("`wait` is at most {most}")));
    }
    let name = name.unwrap_or_else(|| format!("{}@{}", call.principal.id, call.client.ip()));
    let request = ReceiveRequest {
        queue,
        jobs_max: max,
        visibility: visibility.map(|Span(visibility)| visibility),
        wait,
        worker: worker(name)?,
    };
    let jobs = call.queues()?.receive(request).await?;
    let now = call.engine().clock().now().mono;
    let jobs: Vec<Value> = jobs.iter().map(|job| leased(job, now)).collect();
    Ok(encode::json(&json!({ "jobs": jobs })))
}

/// A job in a worker's hands.
fn leased(leased: &Leased, now: MonoTime) -> Value {
    let Leased { receipt, job, attempts, ends } = leased;
    let attributes: BTreeMap<&str, Attribute> =
        job.attributes.iter().map(|it| (it.name.as_str(), Attribute::shown(it))).collect();
    let mut shown = json!({
        "receipt": receipt.to_string(),
        "id": receipt.key.id.to_string(),
        "queue": receipt.key.queue,
        "attempt": attempts.saturating_add(1),
        "lease_ms": millis(ends.saturating_since(now)),
        "enqueued_unix_ms": job.enqueued_at,
        "attributes": attributes,
        "priority": job.priority,
        "group": job.group,
        "key": job.key,
        "tenant": job.tenant,
        "workflow": job.workflow,
        "last_failure": if job.last_failure.is_empty() { None } else { Some(&job.last_failure) },
    });
    if let Some(object) = shown.as_object_mut() {
        encode::put_bytes(object, "body", &job.body);
    }
    shown
}

/// What settles jobs: one receipt, which is answered with a status of its own, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Receipts {
    One { receipt: String },
    Many { receipts: Vec<String> },
}

/// A settlement: receipts, and what is said about them.
struct Settling {
    client: QueueClient,
    receipts: Vec<Receipt>,
    many: bool,
}

impl Settling {
    /// Takes the receipts out of the body; what is left is for the caller.
    fn of(call: &Call) -> Result<(Self, Value), Problem> {
        let queue = call.queue()?;
        call.params()?.done()?;
        let mut body: Value = call.json()?;
        let Some(object) = body.as_object_mut() else {
            return Err(Problem::invalid("the body is not an object"));
        };
        let (one, many) = (object.remove("receipt"), object.remove("receipts"));
        let given = json!({ "receipt": one, "receipts": many });
        let wrong = || {
            let detail = "give either `receipt`, or a list of `receipts`";
            Problem::invalid(detail).help("A receipt is in every job that was received.")
        };
        let given = match (one.is_some(), many.is_some()) {
            (true, false) | (false, true) => serde_json::from_value(without_nulls(given)),
            _ => return Err(wrong()),
        };
        let (texts, many) = match given.map_err(|_| wrong())? {
            Receipts::One { receipt } => (vec![receipt], false),
            Receipts::Many { receipts } => (receipts, true),
        };
        if !(1..=JOBS_PER_REQUEST_MAX).contains(&texts.len()) {
            let detail = format!("one request settles 1 to {JOBS_PER_REQUEST_MAX} jobs");
            return Err(Problem::invalid(detail));
        }
        let receipts = texts.iter().map(|text| read(text, &queue)).collect::<Result<_, _>>()?;
        Ok((Self { client: call.queues()?, receipts, many }, body))
    }

    /// Settles each by itself.
    async fn each<F>(self, one: impl Fn(QueueClient, Receipt) -> F) -> Outcome
    where
        F: Future<Output = Result<(), Refused>>,
    {
        let Self { client, receipts, many } = self;
        let settled = receipts.into_iter().map(|receipt| one(client.clone(), receipt));
        answer(join_all(settled).await, many)
    }
}

fn without_nulls(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    object
}

fn read(text: &str, queue: &QueueName) -> Result<Receipt, Problem> {
    let shown = text.escape_default();
    let receipt = Receipt::parse(text)
        .ok_or_else(|| Problem::invalid(format!("`{shown}` is not a receipt")))?;
    if receipt.key.queue == *queue {
        return Ok(receipt);
    }
    Err(Problem::invalid(format!("`{shown}` is a receipt of another queue")))
}

fn answer(results: Vec<Result<(), Refused>>, many: bool) -> Outcome {
    if !many {
        results.into_iter().collect::<Result<(), _>>()?;
        return Ok(encode::empty(StatusCode::NO_CONTENT));
    }
    let shown = |result: Result<(), Refused>| match result {
        Ok(()) => json!({ "settled": true }),
        Err(refused) => json!({ "settled": false, "problem": Problem::from(refused).body() }),
    };
    let results: Vec<Value> = results.into_iter().map(shown).collect();
    Ok(encode::json(&json!({ "results": results })))
}

/// What is left of a body, as what it must be.
fn rest<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body)
        .map_err(|error| Problem::invalid(format!("the body is not as expected: {error}")))
}

/// Nothing more is said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(crate) async fn complete(call: Call) -> Outcome {
    let (settling, body) = Settling::of(&call)?;
    rest::<Nothing>(body)?;
    let Settling { client, receipts, many } = settling;
    answer(client.complete(receipts).await, many)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    retry_after: Option<Span>,
    /// It can never succeed: it is dead at once.
    #[serde(default)]
    dead: bool,
}

pub(crate) async fn fail(call: Call) -> Outcome {
    let (settling, body) = Settling::of(&call)?;
    let Failure { reason, retry_after, dead } = rest(body)?;
    let retry = match (retry_after, dead) {
        (Some(_), true) => {
            return Err(Problem::invalid("`retry_after` and `dead` contradict each other"));
        }
        (None, true) => Retry::Never,
        (Some(Span(after)), false) => Retry::After(after),
        (None, false) => Retry::Backoff,
    };
    settling
        .each(|client, receipt| {
            let reason = reason.clone();
            async move { client.fail(receipt, reason, retry).await }
        })
        .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    visibility: Span,
}

pub(crate) async fn extend(call: Call) -> Outcome {
    let (settling, body) = Settling::of(&call)?;
    let Extension { visibility: Span(visibility) } = rest(body)?;
    settling.each(|client, receipt| async move { client.extend(receipt, visibility).await }).await
}

pub(crate) async fn release(call: Call) -> Outcome {
    let (settling, body) = Settling::of(&call)?;
    rest::<Nothing>(body)?;
    settling.each(|client, receipt| async move { client.release(receipt).await }).await
}
