//! Receiving messages.

mod attempts;

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use bytes::Bytes;
use rhumb_engine::ReceiveRequest;
use rhumb_front::Bearer;
use rhumb_queue::Leased;
use rhumb_types::UnixMillis;
use serde::{Deserialize, Serialize};

pub(crate) use self::attempts::Attempts;
use crate::{
    call::{Call, Queue},
    fault::{Code, Fault},
    limits::{BATCH_MAX, WAIT_SECONDS_MAX},
    message::{self, Value},
    names,
    reply::{Outcome, json},
    send::{deduplication_id, sequence},
    settings, settle,
    waiting::{Place, Waiting},
};

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Ask {
    queue_url: String,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    attribute_names: Vec<String>,
    message_system_attribute_names: Vec<String>,
    message_attribute_names: Vec<String>,
    receive_request_attempt_id: Option<String>,
}

/// An ask that is understood.
struct Wanted {
    messages_max: usize,
    visibility: Option<Duration>,
    wait: Duration,
    system: Vec<String>,
    attributes: Vec<String>,
    attempt: Option<String>,
}

/// A message, as a client receives it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    message_id: String,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: String,
    body: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'static str, String>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Messages {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Message>,
}

/// The system attributes that a message may have.
const SYSTEM: [&str; 9] = [
    "AWSTraceHeader",
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "DeadLetterQueueSourceArn",
    "MessageDeduplicationId",
    "MessageGroupId",
    "SenderId",
    "SentTimestamp",
    "SequenceNumber",
];

pub(crate) async fn receive(call: &Call) -> Outcome {
    let ask: Ask = call.read()?;
    let queue = call.queue(&ask.queue_url)?;
    let wanted = understand(&queue, ask)?;
    let bearer = call.grant.bearer(call.client.ip());
    let _place = place(&call.shared.waiting, &bearer, wanted.wait)?;
    if let Some(again) = again(call, &queue, &wanted).await? {
        return Ok(again);
    }
    let request = ReceiveRequest {
        queue: queue.name.clone(),
        jobs_max: wanted.messages_max,
        visibility: wanted.visibility,
        wait: wanted.wait,
        worker: format!("{}@{}", call.grant.name(), call.client.ip()).into(),
        elsewhere: true,
    };
    let leased = call.queues()?.receive(request).await?;
    let receipts = leased.iter().map(|it| it.receipt.clone()).collect();
    let messages = leased.into_iter().map(|it| render(call, &queue, it, &wanted)).collect();
    let body = json(&Messages { messages })?;
    if let Some(attempt) = wanted.attempt {
        let now = call.shared.engine.clock().now().mono;
        let visibility = wanted.visibility.unwrap_or(queue.definition().visibility);
        let mut attempts = call.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.remember(queue.name, attempt, receipts, body.clone(), now + visibility, now);
    }
    Ok(body)
}

fn understand(queue: &Queue, ask: Ask) -> Result<Wanted, Fault> {
    let within = |parameter: &str, value: i64, least: u64, most: u64| {
        let found = u64::try_from(value).ok().filter(|it| (least..=most).contains(it));
        let reason = format!("Must be >= {least} and <= {most}, if provided");
        found.ok_or_else(|| Fault::value(parameter, reason))
    };
    let messages_max = ask.max_number_of_messages.unwrap_or(1);
    let messages_max = within("MaxNumberOfMessages", messages_max, 1, BATCH_MAX as u64)?;
    let wait = match ask.wait_time_seconds {
        Some(seconds) => {
            Duration::from_secs(within("WaitTimeSeconds", seconds, 0, WAIT_SECONDS_MAX)?)
        }
        None => settings::wait(queue.definition()),
    };
    let visibility = ask.visibility_timeout;
    let visibility =
        visibility.map(|it| settle::visibility("VisibilityTimeout", it)).transpose()?;
    let mut system = ask.attribute_names;
    system.extend(ask.message_system_attribute_names);
    // Clients ask messages for attributes of queues too, by the same type; SQS gives none.
    let known =
        |name: &String| name == "All" || SYSTEM.contains(&name.as_str()) || settings::is_name(name);
    if let Some(unknown) = system.iter().find(|name| !known(name)) {
        let message = format!("Unknown Attribute {unknown}.");
        return Err(Fault::new(Code::InvalidAttributeName, message));
    }
    let attempt = ask.receive_request_attempt_id;
    if let Some(attempt) = &attempt {
        message::check_token("ReceiveRequestAttemptId", attempt)?;
        if !queue.definition().fifo {
            let reason = "The request include parameter that is not valid for this queue type";
            return Err(Fault::value("ReceiveRequestAttemptId", reason));
        }
    }
    Ok(Wanted {
        messages_max: usize::try_from(messages_max).unwrap_or(BATCH_MAX),
        visibility,
        wait,
        system,
        attributes: ask.message_attribute_names,
        attempt,
    })
}

/// A place among those who wait; who does not wait needs none.
fn place(waiting: &Waiting, bearer: &Bearer, wait: Duration) -> Result<Option<Place>, Fault> {
    if wait.is_zero() {
        return Ok(None);
    }
    waiting.place(bearer).map(Some).ok_or_else(|| {
        let message = "Too many requests wait for messages already.";
        Fault::new(Code::OverLimit, message)
    })
}

/// The answer to an attempt that was made before, as long as all of its messages are still hidden for
/// it. They stay hidden for as long again.
async fn again(call: &Call, queue: &Queue, wanted: &Wanted) -> Result<Option<Bytes>, Fault> {
    let Some(attempt) = &wanted.attempt else { return Ok(None) };
    let now = call.shared.engine.clock().now().mono;
    let found = {
        let attempts = call.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.find(&queue.name, attempt, now)
    };
    let Some((receipts, body)) = found else { return Ok(None) };
    let visibility = wanted.visibility.unwrap_or(queue.definition().visibility);
    let queues = call.queues()?;
    for receipt in receipts {
        if queues.extend(receipt, visibility).await.is_err() {
            return Ok(None);
        }
    }
    Ok(Some(body))
}

fn render(call: &Call, queue: &Queue, leased: Leased, wanted: &Wanted) -> Message {
    // What other clients have put in may be any bytes; a client of SQS reads text.
    let body = String::from_utf8_lossy(&leased.job.body).into_owned();
    let asked = message::wanted(&leased.job.attributes, &wanted.attributes);
    Message {
        message_id: names::message_id(leased.receipt.key.id),
        receipt_handle: names::handle(&leased.receipt),
        md5_of_body: message::md5_of_body(body.as_bytes()),
        md5_of_attributes: message::md5_of_attributes(&asked),
        message_attributes: asked.iter().map(|it| (it.name.clone(), message::value(it))).collect(),
        attributes: system(call, queue, &leased, &wanted.system),
        body,
    }
}

fn system(
    call: &Call,
    queue: &Queue,
    leased: &Leased,
    names: &[String],
) -> BTreeMap<&'static str, String> {
    let first = first_receipt(call, leased);
    let job = &leased.job;
    let fifo = queue.definition().fifo;
    let asked = |name: &str| names.iter().any(|asked| asked == name || asked == "All");
    let value = |name: &str| match name {
        "ApproximateFirstReceiveTimestamp" => Some(first.0.to_string()),
        "ApproximateReceiveCount" => Some((u64::from(leased.attempts) + 1).to_string()),
        "DeadLetterQueueSourceArn" => {
            let from = job.provenance.moved_from.as_ref();
            from.map(|from| names::arn(&call.shared.region, &from.queue))
        }
        "MessageDeduplicationId" if fifo => {
            job.key.as_deref().map(|key| deduplication_id(key).to_owned())
        }
        "MessageGroupId" if fifo => job.group.clone(),
        "SenderId" => Some(job.tenant.clone().unwrap_or_else(|| "anonymous".to_owned())),
        "SentTimestamp" => Some(job.enqueued_at.0.to_string()),
        "SequenceNumber" => fifo.then(|| sequence(job.order)),
        other => message::system_value(&job.attributes, other),
    };
    let all = SYSTEM.into_iter().filter(|name| asked(name));
    all.filter_map(|name| Some((name, value(name)?))).collect()
}

/// When a message was received first: now, or when this node gave it out before; else at least it was not
/// before it was sent.
fn first_receipt(call: &Call, leased: &Leased) -> UnixMillis {
    let key = &leased.receipt.key;
    let mut first = call.shared.first_receipts.lock().unwrap_or_else(PoisonError::into_inner);
    if leased.attempts > 0 {
        return first.get(key).copied().unwrap_or(leased.job.enqueued_at);
    }
    let now = call.shared.engine.clock().now().wall;
    first.put(key.clone(), now);
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WAITING_PER_KEY_MAX;

    #[test]
    fn too_many_who_wait_are_over_the_limit_and_who_does_not_wait_needs_no_place() {
        let waiting = Waiting::default();
        let (one, other) = (Bearer::Token("a".into()), Bearer::Token("b".into()));
        let wait = Duration::from_secs(1);
        let places: Vec<_> =
            (0..WAITING_PER_KEY_MAX).map(|_| place(&waiting, &one, wait).unwrap()).collect();
        let code = place(&waiting, &one, wait).unwrap_err().code;
        assert_eq!((code, code.query(), code.status()), (Code::OverLimit, "OverLimit", 403));
        assert!(place(&waiting, &one, Duration::ZERO).unwrap().is_none());
        assert!(place(&waiting, &other, wait).unwrap().is_some());
        drop(places);
        assert!(place(&waiting, &one, wait).unwrap().is_some());
    }
}
