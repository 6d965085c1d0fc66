//! What operators do to queues: empty them, and take dead jobs back.

use rhumb_types::{control::QueueAct, record::QueueName};
use serde_json::json;

use super::{changed, not_ours, scoped};
use crate::{
    encode,
    limits::{REDRIVE_DEFAULT, REDRIVE_MAX},
    problem::Problem,
    request::{Call, Outcome},
};

/// Drops all jobs that are in the queue now, in every region.
pub(crate) async fn purge(call: Call) -> Outcome {
    let (queue, reason) = changed(&call, |_| Ok(()))?;
    let client = call.queues()?;
    call.note(&queue, QueueAct::Purge, &reason).await?;
    let jobs = client.purge(&queue).await?;
    Ok(encode::json(&json!({ "purged": jobs })))
}

/// Takes dead jobs back to where they came from, or to another queue.
pub(crate) async fn redrive(call: Call) -> Outcome {
    let (mut to, mut most) = (None, None);
    let (queue, reason) = changed(&call, |params| {
        to = params.read("to", "a queue's name", |text| QueueName::new(text).ok())?;
        most = params.number("max", 1..=REDRIVE_MAX)?;
        Ok(())
    })?;
    if let Some(to) = &to {
        call.principal.check(&scoped(to))?;
        not_ours(to)?;
    }
    let client = call.queues()?;
    call.note(&queue, QueueAct::Redrive, &reason).await?;
    let jobs = client.redrive(&queue, to, most.unwrap_or(REDRIVE_DEFAULT)).await;
    Ok(encode::json(&json!({ "redriven": jobs.map_err(Problem::from)? })))
}
