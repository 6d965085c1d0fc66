//! Sending messages.

use std::collections::BTreeSet;

use rhumb_engine::{EnqueueRequest, HomeChoice, OsEntropy, Taken, random_id};
use rhumb_queue::{NewJob, Refused};
use rhumb_types::record::QueueDefinition;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    call::{Call, Queue},
    fault::{Code, Fault},
    limits::{BATCH_BYTES_MAX, BATCH_ID_BYTES_MAX, BATCH_MAX, DELAY_SECONDS_MAX},
    message::{self, Values},
    names,
    reply::{Outcome, json},
    settings,
};

/// What stands between group and id in a key that is of one group alone; no group or id holds it.
const KEY_SEPARATOR: char = '\0';

/// A message, as a client sends it: alone, or in a batch.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    queue_url: String,
    id: String,
    message_body: String,
    delay_seconds: Option<i64>,
    message_attributes: Values,
    message_system_attributes: Values,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct SendMany {
    queue_url: String,
    entries: Vec<Entry>,
}

/// What a sender is told.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_body: String,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_attributes: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_system: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<String>,
}

/// An entry of a batch that failed.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Failed {
    id: String,
    sender_fault: bool,
    code: &'static str,
    message: String,
}

impl Failed {
    pub(crate) fn new(id: String, fault: Fault) -> Self {
        let Fault { code, message, .. } = fault;
        Self { id, sender_fault: code.is_senders(), code: code.query(), message }
    }
}

/// What became of a batch.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Results<T> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) successful: Vec<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<Failed>,
}

impl<T> Results<T> {
    pub(crate) const fn new() -> Self {
        Self { successful: Vec::new(), failed: Vec::new() }
    }
}

/// A message that is ready to be taken in, and its checksums.
struct Ready {
    id: Option<String>,
    job: NewJob,
    bytes: usize,
    md5_of_body: String,
    md5_of_attributes: Option<String>,
    md5_of_system: Option<String>,
}

pub(crate) async fn send(call: &Call) -> Outcome {
    let entry: Entry = call.read()?;
    let queue = call.queue(&entry.queue_url)?;
    let ready = prepare(call, &queue, entry)?;
    let taken = enqueue(call, &queue, vec![ready.job.clone()]).await?;
    let Some(taken) = taken.into_iter().next() else {
        return Err(Fault::new(Code::Internal, "The message found no answer."));
    };
    json(&sent(&queue, ready, taken?, None))
}

pub(crate) async fn send_many(call: &Call) -> Outcome {
    let SendMany { queue_url, entries } = call.read()?;
    let queue = call.queue(&queue_url)?;
    check_batch(entries.iter().map(|entry| entry.id.as_str()))?;
    let mut results = Results::new();
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry.id.clone();
        match prepare(call, &queue, entry) {
            Ok(ready) => all.push(Ready { id: Some(id), ..ready }),
            Err(fault) => results.failed.push(Failed::new(id, fault)),
        }
    }
    if all.iter().map(|ready| ready.bytes).sum::<usize>() > BATCH_BYTES_MAX {
        let message = format!("Batch requests cannot be longer than {BATCH_BYTES_MAX} bytes.");
        return Err(Fault::new(Code::BatchRequestTooLong, message));
    }
    if !all.is_empty() {
        let jobs = all.iter().map(|ready| ready.job.clone()).collect();
        let taken = enqueue(call, &queue, jobs).await?;
        for (ready, taken) in all.into_iter().zip(taken) {
            let id = ready.id.clone();
            match taken {
                Ok(taken) => results.successful.push(sent(&queue, ready, taken, id)),
                Err(refused) => {
                    results.failed.push(Failed::new(id.unwrap_or_default(), refused.into()));
                }
            }
        }
    }
    json(&results)
}

async fn enqueue(
    call: &Call,
    queue: &Queue,
    jobs: Vec<NewJob>,
) -> Result<Vec<Result<Taken, Refused>>, Fault> {
    let request = EnqueueRequest { queue: queue.name.clone(), home: HomeChoice::Auto, jobs };
    Ok(call.queues()?.enqueue(request).await?)
}

fn sent(queue: &Queue, ready: Ready, taken: Taken, id: Option<String>) -> Sent {
    let Ready { md5_of_body, md5_of_attributes, md5_of_system, .. } = ready;
    Sent {
        id,
        message_id: names::message_id(taken.id),
        md5_of_body,
        md5_of_attributes,
        md5_of_system,
        sequence_number: queue.definition().fifo.then(|| sequence(taken.order)),
    }
}

/// A place in the order as SQS writes it.
pub(crate) fn sequence(order: u64) -> String {
    format!("{order:020}")
}

/// Refuses a batch whose entries cannot be told apart.
pub(crate) fn check_batch<'i>(ids: impl Iterator<Item = &'i str>) -> Result<(), Fault> {
    let ids: Vec<&str> = ids.collect();
    if ids.is_empty() {
        let message = "There should be at least one entry in the request.";
        return Err(Fault::new(Code::EmptyBatchRequest, message));
    }
    if ids.len() > BATCH_MAX {
        let message = format!(
            "Maximum number of entries per request are {BATCH_MAX}. You have sent {}.",
            ids.len()
        );
        return Err(Fault::new(Code::TooManyEntriesInBatchRequest, message));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let fits = |id: &&str| (1..=BATCH_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(known);
    if !ids.iter().all(fits) {
        let message = "A batch entry id can only contain alphanumeric characters, hyphens and \
                       underscores. It can be at most 80 letters long.";
        return Err(Fault::new(Code::InvalidBatchEntryId, message));
    }
    let mut seen = BTreeSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        None => Ok(()),
        Some(twice) => {
            let message = format!("Id {twice} repeated.");
            Err(Fault::new(Code::BatchEntryIdsNotDistinct, message))
        }
    }
}

fn prepare(call: &Call, queue: &Queue, entry: Entry) -> Result<Ready, Fault> {
    let definition = queue.definition();
    message::check_body(&entry.message_body)?;
    let attributes = message::attributes(entry.message_attributes)?;
    let mut system = message::system_attributes(entry.message_system_attributes)?;
    let bytes = message::bytes(&entry.message_body, &attributes);
    let most = settings::message_bytes_max(definition);
    if bytes > most {
        let reason = format!(
            "One or more parameters are invalid: the message has {bytes} bytes with its \
                              attributes, and this queue takes {most}"
        );
        return Err(Fault::value("MessageBody", reason));
    }
    let refs: Vec<_> = attributes.iter().collect();
    let md5_of_attributes = message::md5_of_attributes(&refs);
    let md5_of_system = message::md5_of_system(&system);
    let order = order(
        definition,
        &entry.message_body,
        entry.message_group_id,
        entry.message_deduplication_id,
    )?;
    system.extend(order.fair_group.map(|group| message::system(message::GROUP, group)));
    let md5_of_body = message::md5_of_body(entry.message_body.as_bytes());
    let attributes = attributes.into_iter().chain(system).collect();
    let mut job = NewJob::new(random_id(&OsEntropy), entry.message_body.into(), attributes);
    job.drawn = true;
    job.delay = delay(definition, entry.delay_seconds)?;
    job.group = order.group;
    job.key = order.key;
    job.key_alone = true;
    job.tenant = call.grant.key().map(str::to_owned);
    Ok(Ready { id: None, job, bytes, md5_of_body, md5_of_attributes, md5_of_system })
}

fn delay(
    definition: &QueueDefinition,
    seconds: Option<i64>,
) -> Result<Option<std::time::Duration>, Fault> {
    let Some(seconds) = seconds else { return Ok(None) };
    let within = u64::try_from(seconds).ok().filter(|seconds| *seconds <= DELAY_SECONDS_MAX);
    let Some(seconds) = within else {
        let reason = format!("DelaySeconds must be >= 0 and <= {DELAY_SECONDS_MAX}");
        return Err(Fault::value("DelaySeconds", reason));
    };
    match (definition.fifo, seconds) {
        (false, seconds) => Ok(Some(std::time::Duration::from_secs(seconds))),
        (true, 0) => Ok(None),
        (true, _) => Err(Fault::value(
            "DelaySeconds",
            "The request include parameter that is not valid for this queue type",
        )),
    }
}

/// Where a message stands among others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Order {
    group: Option<String>,
    key: Option<String>,
    /// The group of a message in a standard queue: it is given back, and orders nothing.
    fair_group: Option<String>,
}

fn order(
    definition: &QueueDefinition,
    body: &str,
    group: Option<String>,
    id: Option<String>,
) -> Result<Order, Fault> {
    if let Some(group) = &group {
        message::check_token("MessageGroupId", group)?;
    }
    if let Some(id) = &id {
        message::check_token("MessageDeduplicationId", id)?;
    }
    if !definition.fifo {
        return match id {
            None => Ok(Order { fair_group: group, ..Order::default() }),
            Some(_) => Err(Fault::value(
                "MessageDeduplicationId",
                "The request include parameter that is not valid for this queue type",
            )),
        };
    }
    let Some(group) = group else { return Err(Fault::missing("MessageGroupId")) };
    let content = || message::hex(&Sha256::digest(body.as_bytes()));
    let Some(id) = id.or_else(|| definition.content_dedup.then(content)) else {
        let reason = "The queue should either have ContentBasedDeduplication enabled or \
                      MessageDeduplicationId provided explicitly";
        return Err(Fault::value("MessageDeduplicationId", reason));
    };
    let key = match settings::scoped_by_group(definition) {
        true => format!("{group}{KEY_SEPARATOR}{id}"),
        false => id,
    };
    Ok(Order { group: Some(group), key: Some(key), fair_group: None })
}

/// The deduplication id within a key.
pub(crate) fn deduplication_id(key: &str) -> &str {
    key.rsplit(KEY_SEPARATOR).next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Attributes, apply, fresh};

    fn fifo(pairs: &[(&str, &str)]) -> QueueDefinition {
        let mut definition = fresh(true);
        let given: Attributes =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        apply(&mut definition, &given).unwrap();
        definition
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_message_of_a_fifo_queue_has_a_group_and_an_id() {
        let code = |group, id| order(&fifo(&[]), "body", group, id).unwrap_err().code;
        assert_eq!(code(None, text("id")), Code::MissingParameter);
        assert_eq!(code(text("g"), None), Code::InvalidParameterValue);
        assert_eq!(code(text("a b"), text("id")), Code::InvalidParameterValue);
        assert_eq!(code(text("g"), text(&"x".repeat(129))), Code::InvalidParameterValue);
        let given = order(&fifo(&[]), "body", text("g"), text("id")).unwrap();
        assert_eq!((given.group, given.key), (text("g"), text("id")));
        let by_content = fifo(&[("ContentBasedDeduplication", "true")]);
        let given = order(&by_content, "body", text("g"), None).unwrap().key.unwrap();
        assert_eq!(given, "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5");
    }

    #[test]
    fn an_id_may_be_of_one_group_alone() {
        let definition = fifo(&[("DeduplicationScope", "messageGroup")]);
        let key = |group| order(&definition, "body", text(group), text("id")).unwrap().key.unwrap();
        assert_ne!(key("a"), key("b"));
        assert_eq!(deduplication_id(&key("a")), "id");
        assert_eq!(deduplication_id("id"), "id");
    }

    #[test]
    fn a_standard_queue_orders_nothing() {
        let given = order(&fresh(false), "body", text("tenant"), None).unwrap();
        assert_eq!(given, Order { fair_group: text("tenant"), ..Order::default() });
        assert!(order(&fresh(false), "body", None, text("id")).is_err());
    }

    #[test]
    fn delays_are_of_standard_queues() {
        let seconds = std::time::Duration::from_secs;
        assert_eq!(delay(&fresh(false), Some(900)), Ok(Some(seconds(900))));
        assert_eq!(delay(&fresh(false), None), Ok(None));
        assert_eq!(delay(&fresh(true), Some(0)), Ok(None));
        for (fifo, bad) in [(false, 901), (false, -1), (true, 1)] {
            assert!(delay(&fresh(fifo), Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn batches_are_bounded_and_their_ids_distinct() {
        let code = |ids: &[&str]| check_batch(ids.iter().copied()).unwrap_err().code;
        assert!(check_batch(["a", "b-_9"].into_iter()).is_ok());
        assert_eq!(code(&[]), Code::EmptyBatchRequest);
        assert_eq!(code(&["x"; 11]), Code::TooManyEntriesInBatchRequest);
        assert_eq!(code(&["a", "a"]), Code::BatchEntryIdsNotDistinct);
        for bad in ["", "a b", "ä", &"x".repeat(81)] {
            assert_eq!(code(&[bad]), Code::InvalidBatchEntryId, "{bad}");
        }
    }
}
