//! The workers that have let themselves be heard lately: who they are, and what they work on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::StatusCode;
use rhumb_types::{
    MonoTime,
    record::{JobId, QueueName},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::queues::scoped;
use crate::{
    encode,
    limits::{ACTIVE_MAX, WORKER_LOST_AFTER, WORKER_NAME_BYTES_MAX, WORKER_SHOWN, WORKERS_MAX},
    problem::Problem,
    request::{Call, Outcome},
    span::millis,
};

/// What a worker says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Heartbeat {
    worker: String,
    /// How many jobs it works on at a time.
    concurrency: u32,
    /// The jobs that it works on now.
    #[serde(default)]
    active: Vec<String>,
    /// Whether it takes no more jobs.
    #[serde(default)]
    stopping: bool,
}

#[derive(Clone, Debug)]
struct Seen {
    beat: Heartbeat,
    at: MonoTime,
}

/// The workers of this node. A lock, because any request writes and reads for a few instructions.
///
/// Workers beat at one node, the one that they lease from. What is here decides nothing: a job of a
/// worker that is lost comes back when its lease ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers(Arc<Mutex<BTreeMap<(QueueName, String), Seen>>>);

impl Workers {
    /// Keeps what a worker says; refuses more workers than can be kept.
    fn heard(&self, queue: QueueName, beat: Heartbeat, at: MonoTime) -> Result<(), Problem> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (queue, beat.worker.clone());
        if seen.len() >= WORKERS_MAX && !seen.contains_key(&key) {
            seen.retain(|_, worker| at.saturating_since(worker.at) < WORKER_SHOWN);
        }
        if seen.len() >= WORKERS_MAX && !seen.contains_key(&key) {
            let detail = format!("more than {WORKERS_MAX} workers beat here");
            return Err(Problem::new(rhumb_types::ErrorCode::Overloaded, detail));
        }
        seen.insert(key, Seen { beat, at });
        Ok(())
    }

    /// Those who are shown: lost ones for a while, too.
    fn shown(&self, now: MonoTime) -> Vec<(QueueName, Seen)> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, worker| now.saturating_since(worker.at) < WORKER_SHOWN);
        seen.iter().map(|((queue, _), worker)| (queue.clone(), worker.clone())).collect()
    }
}

pub(crate) fn beat(call: &Call) -> Outcome {
    let queue = call.queue()?;
    call.params()?.done()?;
    let beat: Heartbeat = call.json()?;
    if !(1..=WORKER_NAME_BYTES_MAX).contains(&beat.worker.len()) {
        let detail = format!("a worker's name has 1 to {WORKER_NAME_BYTES_MAX} bytes");
        return Err(Problem::invalid(detail));
    }
    if beat.active.len() > ACTIVE_MAX {
        return Err(Problem::invalid(format!("a worker names at most {ACTIVE_MAX} jobs")));
    }
    if let Some(bad) = beat.active.iter().find(|id| JobId::parse(id).is_none()) {
        return Err(Problem::invalid(format!("`{}` is not a job's id", bad.escape_default())));
    }
    if let Some(queues) = call.engine().queues() {
        // What counts as this region's capacity, for spillover too.
        queues.heartbeat(rhumb_engine::Heartbeat {
            worker: beat.worker.as_str().into(),
            queue: queue.clone(),
            concurrency: beat.concurrency,
            active: beat.active.iter().filter_map(|id| JobId::parse(id)).collect(),
            stopping: beat.stopping,
        });
    }
    call.shared.workers.heard(queue, beat, call.engine().clock().now().mono)?;
    Ok(encode::empty(StatusCode::NO_CONTENT))
}

/// `/api/health/workers`: the workers of this node's region, of the queues that the bearer may see.
pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let now = call.engine().clock().now().mono;
    let all = call.shared.workers.shown(now);
    let seen = all.iter().filter(|(queue, _)| call.principal.covers(&scoped(queue)));
    let workers: Vec<Value> = seen.map(|(queue, worker)| shown(queue, worker, now)).collect();
    let lost = workers.iter().filter(|worker| worker["state"] == "lost").count();
    let body = json!({
        "region": call.shared.surroundings.region,
        "healthy": lost == 0,
        "alive": workers.len() - lost,
        "lost": lost,
        "workers": workers,
    });
    Ok(encode::json(&body))
}

fn shown(queue: &QueueName, worker: &Seen, now: MonoTime) -> Value {
    let silent = now.saturating_since(worker.at);
    let state = match silent {
        silent if silent >= WORKER_LOST_AFTER => "lost",
        _ if worker.beat.stopping => "stopping",
        _ if worker.beat.active.is_empty() => "idle",
        _ => "busy",
    };
    json!({
        "worker": worker.beat.worker,
        "queue": queue,
        "state": state,
        "silent_ms": millis(silent),
        "concurrency": worker.beat.concurrency,
        "active": worker.beat.active,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_the_lost_are_shown_for_a_while() {
        let (workers, now) = (Workers::default(), MonoTime(0));
        let queue = QueueName::new("q").unwrap();
        let beat = |n: usize| Heartbeat {
            worker: format!("w{n}"),
            concurrency: 1,
            active: vec![],
            stopping: false,
        };
        for n in 0..WORKERS_MAX {
            workers.heard(queue.clone(), beat(n), now).unwrap();
        }
        assert!(workers.heard(queue.clone(), beat(WORKERS_MAX), now).is_err());
        workers.heard(queue.clone(), beat(0), now).unwrap();
        let later = now + WORKER_SHOWN;
        workers.heard(queue.clone(), beat(WORKERS_MAX), later).unwrap();
        assert_eq!(workers.shown(later).len(), 1);
        let seen = &workers.shown(later)[0].1;
        assert_eq!(shown(&queue, seen, later)["state"], "idle");
        assert_eq!(shown(&queue, seen, later + WORKER_LOST_AFTER)["state"], "lost");
        assert!(workers.shown(later + WORKER_SHOWN + Duration::from_secs(1)).is_empty());
    }
}
