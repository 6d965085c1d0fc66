//! What workers ask: jobs, and what became of them.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::{join, join_all};
use http::StatusCode;
use rhumb_engine::queue::{Leased, Receipt, Refused, Retry, limits::JOBS_PER_REQUEST_MAX};
use rhumb_engine::{QueueClient, ReceiveRequest};
use rhumb_types::{
    MonoTime, UnixMillis,
    record::{JobId, QueueName},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Receipts of jobs that the worker is through with.
    complete: Option<Vec<String>>,
}

impl Default for Wish {
    fn default() -> Self {
        Self { max: 1, visibility: None, wait: Span::default(), worker: None, complete: None }
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
    let Wish { max, visibility, wait: Span(wait), worker: name, complete } = call.json()?;
    if !(1..=RECEIVE_MAX).contains(&max) {
        return Err(Problem::invalid(format!("`max` is 1 to {RECEIVE_MAX}")));
    }
    if wait > RECEIVE_WAIT_MAX {
        let most = Span(RECEIVE_WAIT_MAX);
        return Err(Problem::invalid(format!("`wait` is at most {most}")));
    }
    let receipts = complete.map(|texts| read_all(&texts, &queue)).transpose()?;
    let name = name.unwrap_or_else(|| format!("{}@{}", call.principal.id, call.client.ip()));
    let request = ReceiveRequest {
        queue,
        jobs_max: max,
        visibility: visibility.map(|Span(visibility)| visibility),
        wait,
        worker: worker(name)?,
        elsewhere: true,
    };
    let client = call.queues()?;
    let (completed, jobs) = match receipts {
        Some(receipts) => {
            let (completed, jobs) = join(client.complete(receipts), client.receive(request)).await;
            (Some(completed.into_iter().map(Settled::of).collect()), jobs?)
        }
        None => (None, client.receive(request).await?),
    };
    let now = call.engine().clock().now().mono;
    let jobs = jobs.iter().map(|job| Held::of(job, now)).collect();
    Ok(encode::json(&Handed { jobs, completed }))
}

#[derive(Debug, Serialize)]
struct Handed<'j> {
    jobs: Vec<Held<'j>>,
    /// What became of those that the worker was through with, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Vec<Settled>>,
}

/// A job in a worker's hands.
#[derive(Debug, Serialize)]
struct Held<'j> {
    #[serde(serialize_with = "encode::text")]
    receipt: &'j Receipt,
    #[serde(serialize_with = "encode::text")]
    id: JobId,
    queue: &'j QueueName,
    attempt: u32,
    lease_ms: u64,
    enqueued_unix_ms: UnixMillis,
    attributes: BTreeMap<&'j str, Attribute>,
    priority: u8,
    group: Option<&'j str>,
    key: Option<&'j str>,
    tenant: Option<&'j str>,
    workflow: Option<&'j str>,
    last_failure: Option<&'j str>,
    /// What is text,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'j str>,
    /// and what is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl<'j> Held<'j> {
    fn of(leased: &'j Leased, now: MonoTime) -> Self {
        let Leased { receipt, job, attempts, ends } = leased;
        let body = std::str::from_utf8(&job.body).ok();
        Self {
            receipt,
            id: receipt.key.id,
            queue: &receipt.key.queue,
            attempt: attempts.saturating_add(1),
            lease_ms: millis(ends.saturating_since(now)),
            enqueued_unix_ms: job.enqueued_at,
            attributes: job
                .attributes
                .iter()
                .map(|it| (it.name.as_str(), Attribute::shown(it)))
                .collect(),
            priority: job.priority,
            group: job.group.as_deref(),
            key: job.key.as_deref(),
            tenant: job.tenant.as_deref(),
            workflow: job.workflow.as_deref(),
            last_failure: Some(job.last_failure.as_str()).filter(|why| !why.is_empty()),
            body,
            body_base64: body.is_none().then(|| STANDARD.encode(&job.body)),
        }
    }
}

/// A settlement: of one job, which is answered with a status of its own, or of several.
struct Settling {
    client: QueueClient,
    receipts: Vec<Receipt>,
    many: bool,
}

impl Settling {
    fn of(call: &Call, one: Option<String>, many: Option<Vec<String>>) -> Result<Self, Problem> {
        let queue = call.queue()?;
        let (texts, many) = match (one, many) {
            (Some(one), None) => (vec![one], false),
            (None, Some(many)) => (many, true),
            _ => {
                let detail = "give either `receipt`, or a list of `receipts`";
                let help = "A receipt is in every job that was received.";
                return Err(Problem::invalid(detail).help(help));
            }
        };
        let receipts = read_all(&texts, &queue)?;
        Ok(Self { client: call.queues()?, receipts, many })
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

fn read_all(texts: &[String], queue: &QueueName) -> Result<Vec<Receipt>, Problem> {
    if !(1..=JOBS_PER_REQUEST_MAX).contains(&texts.len()) {
        let detail = format!("one request settles 1 to {JOBS_PER_REQUEST_MAX} jobs");
        return Err(Problem::invalid(detail));
    }
    texts.iter().map(|text| read(text, queue)).collect()
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
    Ok(encode::json(&Results { results: results.into_iter().map(Settled::of).collect() }))
}

#[derive(Debug, Serialize)]
struct Results {
    results: Vec<Settled>,
}

/// What became of a job of a list.
#[derive(Debug, Serialize)]
struct Settled {
    settled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Value>,
}

impl Settled {
    fn of(result: Result<(), Refused>) -> Self {
        let problem = result.err().map(|refused| Problem::from(refused).body());
        Self { settled: problem.is_none(), problem }
    }
}

/// Receipts, and nothing more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    #[serde(default)]
    receipt: Option<String>,
    #[serde(default)]
    receipts: Option<Vec<String>>,
}

impl Plain {
    fn of(call: &Call) -> Result<Settling, Problem> {
        call.params()?.done()?;
        let Self { receipt, receipts } = call.json()?;
        Settling::of(call, receipt, receipts)
    }
}

pub(crate) async fn complete(call: Call) -> Outcome {
    let Settling { client, receipts, many } = Plain::of(&call)?;
    answer(client.complete(receipts).await, many)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    #[serde(default)]
    receipt: Option<String>,
    #[serde(default)]
    receipts: Option<Vec<String>>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    retry_after: Option<Span>,
    /// It can never succeed: it is dead at once.
    #[serde(default)]
    dead: bool,
}

pub(crate) async fn fail(call: Call) -> Outcome {
    call.params()?.done()?;
    let Failure { receipt, receipts, reason, retry_after, dead } = call.json()?;
    let settling = Settling::of(&call, receipt, receipts)?;
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
    #[serde(default)]
    receipt: Option<String>,
    #[serde(default)]
    receipts: Option<Vec<String>>,
    visibility: Span,
}

pub(crate) async fn extend(call: Call) -> Outcome {
    call.params()?.done()?;
    let Extension { receipt, receipts, visibility: Span(visibility) } = call.json()?;
    let settling = Settling::of(&call, receipt, receipts)?;
    settling.each(|client, receipt| async move { client.extend(receipt, visibility).await }).await
}

pub(crate) async fn release(call: Call) -> Outcome {
    Plain::of(&call)?.each(|client, receipt| async move { client.release(receipt).await }).await
}
