//! Webhooks, made from payloads that GitHub sent.

use rhumb_types::UnixMillis;
use serde_json::{Value, json};

use super::{LocalJob, shapes::time};
use crate::job::Action;

/// Payloads of `@octokit/webhooks-examples`; see fixtures/README.md.
const QUEUED: &str = include_str!("../../fixtures/workflow_job.queued.json");
const IN_PROGRESS: &str = include_str!("../../fixtures/workflow_job.in_progress.json");
const COMPLETED: &str = include_str!("../../fixtures/workflow_job.completed.json");

/// The body of an event of a job.
pub(super) fn body(job: &LocalJob, repository: u64, action: Action, now: UnixMillis) -> Value {
    let text = match action {
        Action::Queued | Action::Waiting => QUEUED,
        Action::InProgress => IN_PROGRESS,
        Action::Completed => COMPLETED,
    };
    let mut body: Value = serde_json::from_str(text).unwrap_or_default();
    let (owner, name) = job.repository.split_once('/').unwrap_or((&job.repository, ""));
    let started = (action != Action::Queued).then(|| time(now));
    let completed = (action == Action::Completed).then(|| time(now));
    let (runner_id, runner_name) = job.runner.clone().unzip();
    merge(
        &mut body,
        json!({
            "action": action.name(),
            "workflow_job": {
                "id": job.id,
                "run_id": job.run,
                "run_attempt": 1,
                "status": action.name(),
                "labels": job.labels,
                "created_at": time(job.created_at),
                "started_at": started.unwrap_or_else(|| time(job.created_at)),
                "completed_at": completed,
                "runner_id": runner_id,
                "runner_name": runner_name,
            },
            "repository": {
                "id": repository,
                "name": name,
                "full_name": job.repository,
                "owner": { "login": owner },
            },
            "organization": { "login": owner },
        }),
    );
    if let Some(body) = body.as_object_mut() {
        body.remove("installation");
    }
    body
}

/// Lays members over others; objects within objects too.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                merge(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// A repository, as runs name it.
pub(super) fn repository(full_name: &str, id: u64) -> Value {
    let mut body: Value = serde_json::from_str(QUEUED).unwrap_or_default();
    let mut repository = body.get_mut("repository").map(Value::take).unwrap_or_default();
    let name = full_name.split_once('/').map_or("", |(_, name)| name);
    merge(&mut repository, json!({ "id": id, "name": name, "full_name": full_name }));
    repository
}
