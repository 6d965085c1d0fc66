//! The workers that have let themselves be heard lately: who they are, and what they work on.
//!
//! What is known of a worker decides nothing about its jobs: those of one that is lost come back when
//! their leases end.

use http::StatusCode;
use rhumb_engine::{Heartbeat, WorkerInfo};
use rhumb_types::{UnixMillis, record::JobId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::queues::scoped;
use crate::{
    encode,
    limits::{ACTIVE_MAX, WORKER_LATE_AFTER},
    problem::Problem,
    request::{Call, Outcome},
    span::millis,
};

/// What a worker says of itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beat {
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

pub(crate) fn beat(call: &Call) -> Outcome {
    let queue = call.queue()?;
    call.params()?.done()?;
    let Beat { worker, concurrency, active, stopping } = call.json()?;
    let worker = super::queues::work::worker(worker)?;
    if active.len() > ACTIVE_MAX {
        return Err(Problem::invalid(format!("a worker names at most {ACTIVE_MAX} jobs")));
    }
    let id = |text: String| {
        JobId::parse(&text).ok_or_else(|| {
            Problem::invalid(format!("`{}` is not a job's id", text.escape_default()))
        })
    };
    let active = active.into_iter().map(id).collect::<Result<_, _>>()?;
    let beat = Heartbeat { worker, queue, concurrency, active, stopping };
    call.queues()?.heartbeat(beat);
    Ok(encode::empty(StatusCode::NO_CONTENT))
}

/// `/api/health/workers`: the workers of every region that answers, of the queues that the bearer may
/// see.
pub(crate) async fn show(call: Call) -> Outcome {
    call.params()?.done()?;
    let now = call.engine().clock().now().wall;
    let all = call.queues()?.workers().await;
    let may = |worker: &&WorkerInfo| {
        worker.queues.iter().all(|queue| call.principal.covers(&scoped(queue)))
    };
    let workers: Vec<Value> = all.iter().filter(may).map(|worker| shown(worker, now)).collect();
    let late = workers.iter().filter(|worker| worker["state"] == "late").count();
    let body = json!({
        "healthy": late == 0,
        "alive": workers.len() - late,
        "late": late,
        "workers": workers,
    });
    Ok(encode::json(&body))
}

fn shown(worker: &WorkerInfo, now: UnixMillis) -> Value {
    let silent = now.saturating_since(worker.seen);
    let state = match silent {
        silent if worker.heartbeats && silent >= WORKER_LATE_AFTER => "late",
        _ if worker.stopping => "stopping",
        _ if !worker.heartbeats => "asking",
        _ if worker.active.is_empty() => "idle",
        _ => "busy",
    };
    let active: Vec<String> = worker.active.iter().map(JobId::to_string).collect();
    json!({
        "worker": worker.worker,
        "region": worker.region,
        "queues": worker.queues,
        "state": state,
        "since_unix_ms": worker.since,
        "silent_ms": millis(silent),
        "concurrency": worker.concurrency,
        "active": active,
    })
}

#[cfg(test)]
mod tests {
    use rhumb_types::RegionId;

    use super::*;

    #[test]
    fn a_worker_that_misses_its_beats_is_late() {
        let mut worker = WorkerInfo {
            worker: "w".to_owned(),
            region: RegionId::new("us").unwrap(),
            queues: Default::default(),
            concurrency: 1,
            active: vec![JobId([1; 16])],
            stopping: false,
            since: UnixMillis(0),
            seen: UnixMillis(1_000),
            heartbeats: true,
        };
        let state = |worker: &WorkerInfo, now| shown(worker, UnixMillis(now))["state"].clone();
        assert_eq!(state(&worker, 2_000), "busy");
        assert_eq!(state(&worker, 20_000), "late");
        worker.stopping = true;
        assert_eq!(state(&worker, 2_000), "stopping");
        worker = WorkerInfo { stopping: false, active: vec![], ..worker };
        assert_eq!(state(&worker, 2_000), "idle");
        worker.heartbeats = false;
        assert_eq!(state(&worker, 20_000), "asking");
    }
}
