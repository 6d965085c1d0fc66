//! `/v1/queues`: queues, their jobs, and those who work on them.
//!
//! A queue is within a token's scope when `queue:NAME` is. What changes a queue as a whole is noted in
//! the audit chain before it is done.

use http::StatusCode;
use rhumb_engine::{QueueClient, Versioned};
use rhumb_types::{
    ErrorCode,
    control::{AdminCommand, QueueAct},
    record::{QueueName, queue::OWN_TOPICS},
};
use serde_json::{Value, json};

pub(crate) mod look;
mod refusals;
pub(crate) mod send;
mod settings;
pub(crate) mod tend;
pub(crate) mod work;

use self::settings::Settings;
use crate::{
    admin::{check_reason, reason_of},
    encode,
    params::Params,
    problem::Problem,
    request::{Call, Outcome},
};

/// What a queue's name has before it in a token's scopes.
const SCOPE: &str = "queue:";

impl Call {
    /// The queues of this node.
    pub(crate) fn queues(&self) -> Result<QueueClient, Problem> {
        let away = "the queues of this node have not started";
        self.engine().queues().ok_or_else(|| Problem::new(ErrorCode::Unavailable, away))
    }

    /// The queue that the path names, within the bearer's reach.
    pub(crate) fn queue(&self) -> Result<QueueName, Problem> {
        let name = self.read_part("queue", "a queue's name", |text| QueueName::new(text).ok())?;
        self.principal.check(&scoped(&name))?;
        Ok(name)
    }

    /// Notes in the audit chain what is about to be done to a queue.
    async fn note(&self, queue: &QueueName, act: QueueAct, reason: &str) -> Result<(), Problem> {
        let queue = queue.clone();
        self.propose(reason, AdminCommand::NoteQueue { queue, act }).await.map(|_| ())
    }
}

/// What a token's scopes are held against.
pub(crate) fn scoped(queue: &QueueName) -> Vec<u8> {
    format!("{SCOPE}{queue}").into_bytes()
}

/// Refuses a name that belongs to the cluster itself.
fn not_ours(name: &QueueName) -> Result<(), Problem> {
    match name.as_str().split_once('.') {
        Some((OWN_TOPICS, _)) => {
            let detail = "names that begin with `rhumb.` belong to the cluster itself";
            Err(Problem::new(ErrorCode::Forbidden, detail).help("Choose another name."))
        }
        _ => Ok(()),
    }
}

pub(crate) fn list(call: &Call) -> Outcome {
    call.params()?.done()?;
    let agreed = call.queues()?.agreed().borrow().clone();
    let seen = agreed.entries.iter().filter(|(name, _)| call.principal.covers(&scoped(name)));
    let queues: Vec<Value> = seen.map(|(name, queue)| shown(name, queue)).collect();
    Ok(encode::json(&json!({ "queues": queues })))
}

fn shown(name: &QueueName, queue: &Versioned<rhumb_types::record::QueueEntry>) -> Value {
    json!({
        "queue": name,
        "version": queue.version,
        "created_unix_ms": queue.entry.created_at,
        "changed_unix_ms": queue.entry.changed_at,
        "tags": queue.entry.tags,
        "settings": Settings::from(&queue.entry.definition),
    })
}

pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let name = call.queue()?;
    let agreed = call.queues()?.agreed().borrow().clone();
    let Some(queue) = agreed.entries.get(&name) else { return Err(no_queue(&name)) };
    let mut response = encode::json(&shown(&name, queue));
    encode::set_etag(&mut response, queue.version);
    Ok(response)
}

fn no_queue(name: &QueueName) -> Problem {
    rhumb_engine::queue::Refused::NoQueue(name.clone()).into()
}

/// Makes a queue, or gives it other settings: all of them, those left out being the usual ones.
pub(crate) async fn put(call: Call) -> Outcome {
    let name = call.queue()?;
    not_ours(&name)?;
    let mut params = call.params()?;
    let reason = reason_of(&mut params)?;
    params.done()?;
    check_reason(&reason)?;
    let client = call.queues()?;
    let known = client.agreed().borrow().entries.get(&name).map(|queue| queue.version);
    let expect = call.expected("queue", known)?;
    let definition = call.json::<Settings>()?.definition();
    definition.check().map_err(|error| Problem::invalid(error.to_string()))?;
    let act = if known.is_some() { QueueAct::Change } else { QueueAct::Create };
    call.note(&name, act, &reason).await?;
    client.define(name.clone(), definition, expect).await?;
    let agreed = client.agreed().borrow().clone();
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let Some(queue) = agreed.entries.get(&name) else {
        // Dropped again since.
        return Ok(encode::json_as(status, &json!({ "queue": name })));
    };
    let mut response = encode::json_as(status, &shown(&name, queue));
    encode::set_etag(&mut response, queue.version);
    Ok(response)
}

/// Drops a queue, with its jobs.
pub(crate) async fn remove(call: Call) -> Outcome {
    let (name, reason) = changed(&call, |_| Ok(()))?;
    not_ours(&name)?;
    let client = call.queues()?;
    call.note(&name, QueueAct::Delete, &reason).await?;
    client.delete(&name).await?;
    Ok(encode::empty(StatusCode::NO_CONTENT))
}

/// The queue of a change without a body, and why it is made.
fn changed(
    call: &Call,
    more: impl FnOnce(&mut Params) -> Result<(), Problem>,
) -> Result<(QueueName, String), Problem> {
    let name = call.queue()?;
    let mut params = call.params()?;
    let reason = reason_of(&mut params)?;
    more(&mut params)?;
    params.done()?;
    check_reason(&reason)?;
    Ok((name, reason))
}
