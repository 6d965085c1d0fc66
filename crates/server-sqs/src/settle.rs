//! Deleting messages, and changing how long they stay hidden.

use std::{sync::PoisonError, time::Duration};

use rhumb_queue::{Receipt, Refused, Retry};
use serde::{Deserialize, Serialize};

use crate::{
    call::{Call, Queue},
    fault::{Code, Fault},
    limits::VISIBILITY_SECONDS_MAX,
    names,
    reply::{Outcome, json, nothing},
    send::{Failed, Results, check_batch},
};

/// A receipt, as a client sends it: alone, or in a batch.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    queue_url: String,
    id: String,
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Many {
    queue_url: String,
    entries: Vec<Entry>,
}

/// An entry of a batch that was done.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Done {
    id: String,
}

pub(crate) async fn delete(call: &Call) -> Outcome {
    let entry: Entry = call.read()?;
    let queue = call.queue(&entry.queue_url)?;
    let receipt = names::receipt(&entry.receipt_handle, &queue.name)?;
    for result in complete(call, &queue, vec![receipt]).await? {
        result?;
    }
    nothing()
}

pub(crate) async fn delete_many(call: &Call) -> Outcome {
    let Many { queue_url, entries } = call.read()?;
    let queue = call.queue(&queue_url)?;
    check_batch(entries.iter().map(|entry| entry.id.as_str()))?;
    let mut results = Results::new();
    let (mut ids, mut receipts) = (Vec::new(), Vec::new());
    for Entry { id, receipt_handle, .. } in entries {
        match names::receipt(&receipt_handle, &queue.name) {
            Ok(receipt) => {
                ids.push(id);
                receipts.push(receipt);
            }
            Err(fault) => results.failed.push(Failed::new(id, fault)),
        }
    }
    let done = complete(call, &queue, receipts).await?;
    for (id, result) in ids.into_iter().zip(done) {
        match result {
            Ok(()) => results.successful.push(Done { id }),
            Err(fault) => results.failed.push(Failed::new(id, fault)),
        }
    }
    json(&results)
}

async fn complete(
    call: &Call,
    queue: &Queue,
    receipts: Vec<Receipt>,
) -> Result<Vec<Result<(), Fault>>, Fault> {
    if receipts.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = receipts.iter().map(|receipt| receipt.key.clone()).collect();
    let results = call.queues()?.complete(receipts).await;
    let mut first = call.shared.first_receipts.lock().unwrap_or_else(PoisonError::into_inner);
    let done = results.into_iter().zip(keys).map(|(result, key)| {
        if result.is_ok() {
            first.remove(&key);
        }
        deleted(result, queue.definition().fifo)
    });
    Ok(done.collect())
}

/// A deletion that comes too late succeeds, as with SQS: the message may come again, and its next
/// receipt deletes it. In a FIFO queue the sender must know, because the order rests on it.
fn deleted(result: Result<(), Refused>, fifo: bool) -> Result<(), Fault> {
    match result {
        Ok(()) | Err(Refused::Gone) => Ok(()),
        Err(Refused::Stale) if !fifo => Ok(()),
        Err(Refused::Stale) => Err(Fault::value("ReceiptHandle", "The receipt handle has expired")),
        Err(other) => Err(other.into()),
    }
}

pub(crate) async fn change_visibility(call: &Call) -> Outcome {
    let entry: Entry = call.read()?;
    let queue = call.queue(&entry.queue_url)?;
    change(call, &queue, &entry).await?;
    nothing()
}

pub(crate) async fn change_visibilities(call: &Call) -> Outcome {
    let Many { queue_url, entries } = call.read()?;
    let queue = call.queue(&queue_url)?;
    check_batch(entries.iter().map(|entry| entry.id.as_str()))?;
    let mut results = Results::new();
    for entry in entries {
        match change(call, &queue, &entry).await {
            Ok(()) => results.successful.push(Done { id: entry.id }),
            Err(fault) => results.failed.push(Failed::new(entry.id, fault)),
        }
    }
    json(&results)
}

async fn change(call: &Call, queue: &Queue, entry: &Entry) -> Result<(), Fault> {
    let seconds = entry.visibility_timeout.ok_or_else(|| Fault::missing("VisibilityTimeout"))?;
    let visibility = visibility("VisibilityTimeout", seconds)?;
    let receipt = names::receipt(&entry.receipt_handle, &queue.name)?;
    let queues = call.queues()?;
    let changed = if visibility.is_zero() {
        // It counts as a receipt that came to nothing, or a message that no worker can digest would
        // come again for ever.
        let why = "the visibility timeout was set to 0".to_owned();
        queues.fail(receipt, why, Retry::HandedBack).await
    } else {
        queues.extend(receipt, visibility).await
    };
    changed.map_err(|refused| match refused {
        Refused::Stale => {
            let message = "The specified message is not in flight: its visibility timeout is over, or \
                           it was received again.";
            Fault::new(Code::MessageNotInflight, message)
        }
        Refused::Gone => Fault::value(
            "ReceiptHandle",
            "Message does not exist or is not available for visibility timeout change",
        ),
        other => other.into(),
    })
}

/// A visibility timeout in seconds.
pub(crate) fn visibility(parameter: &str, seconds: i64) -> Result<Duration, Fault> {
    let within = u64::try_from(seconds).ok().filter(|it| *it <= VISIBILITY_SECONDS_MAX);
    within.map(Duration::from_secs).ok_or_else(|| {
        let reason = format!("It must be between 0 and {VISIBILITY_SECONDS_MAX}, if provided");
        Fault::value(parameter, reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_deletion_succeeds_where_no_order_rests_on_it() {
        assert_eq!(deleted(Err(Refused::Stale), false), Ok(()));
        let late = deleted(Err(Refused::Stale), true).unwrap_err();
        assert_eq!(late.code, Code::InvalidParameterValue);
        assert_eq!(deleted(Err(Refused::Gone), true), Ok(()));
        let away = deleted(Err(Refused::Unavailable("x".into())), false).unwrap_err();
        assert_eq!(away.code, Code::ServiceUnavailable);
    }

    #[test]
    fn visibility_is_half_a_day_at_most() {
        assert_eq!(visibility("V", 43_200), Ok(Duration::from_secs(43_200)));
        assert!(visibility("V", 43_201).is_err() && visibility("V", -1).is_err());
    }
}
