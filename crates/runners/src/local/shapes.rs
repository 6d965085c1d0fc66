//! Answers in the shapes of GitHub's OpenAPI description.

use rhumb_types::UnixMillis;
use serde_json::{Value, json};

use super::{LocalJob, LocalRunner, deliver::Sent, payloads};
use crate::job::Action;

/// A time as GitHub writes it.
pub(super) fn time(at: UnixMillis) -> String {
    let seconds = at.0 / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar from days, counted from March so that the leap day is the last.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let year = year + era * 400;
    let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
}

pub(super) fn runner(runner: &LocalRunner) -> Value {
    let label = |name: &String| json!({ "id": 0, "name": name, "type": "custom" });
    json!({
        "id": runner.id,
        "runner_group_id": 1,
        "name": runner.name,
        "os": "linux",
        "status": if runner.online { "online" } else { "offline" },
        "busy": runner.job.is_some(),
        "ephemeral": true,
        "labels": runner.labels.iter().map(label).collect::<Vec<_>>(),
    })
}

pub(super) fn job(job: &LocalJob) -> Value {
    let conclusion = (job.state == Action::Completed).then_some("success");
    let (runner_id, runner_name) = job.runner.clone().unzip();
    let url = format!("https://api.github.com/repos/{}/actions/jobs/{}", job.repository, job.id);
    json!({
        "id": job.id,
        "run_id": job.run,
        "run_attempt": 1,
        "run_url": url,
        "node_id": "",
        "head_sha": "",
        "head_branch": "main",
        "url": url,
        "html_url": url,
        "status": job.state.name(),
        "conclusion": conclusion,
        "created_at": time(job.created_at),
        "started_at": time(job.created_at),
        "completed_at": conclusion.map(|_| time(job.created_at)),
        "name": "job",
        "workflow_name": "demo",
        "check_run_url": url,
        "labels": job.labels,
        "runner_id": runner_id,
        "runner_name": runner_name,
        "runner_group_id": null,
        "runner_group_name": null,
    })
}

pub(super) fn run(job: &LocalJob, repository: u64) -> Value {
    let base = format!("https://api.github.com/repos/{}/actions/runs/{}", job.repository, job.run);
    let within = payloads::repository(&job.repository, repository);
    let at = time(job.created_at);
    let person = json!({ "name": "", "email": "" });
    json!({
        "id": job.run,
        "node_id": "",
        "head_branch": "main",
        "head_sha": "",
        "path": ".github/workflows/demo.yml",
        "run_number": 1,
        "run_attempt": 1,
        "event": "push",
        "display_title": "demo",
        "status": job.state.name(),
        "conclusion": null,
        "workflow_id": 1,
        "url": base,
        "html_url": base,
        "pull_requests": [],
        "created_at": at,
        "updated_at": at,
        "jobs_url": base,
        "logs_url": base,
        "check_suite_url": base,
        "artifacts_url": base,
        "cancel_url": base,
        "rerun_url": base,
        "workflow_url": base,
        "head_commit": {
            "id": "", "tree_id": "", "message": "", "timestamp": at,
            "author": person, "committer": person,
        },
        "repository": within,
        "head_repository": within,
    })
}

pub(super) fn delivery(sent: &Sent) -> Value {
    json!({
        "id": sent.id,
        "guid": sent.guid,
        "delivered_at": time(sent.at),
        "redelivery": sent.redelivery,
        "duration": 0.1,
        "status": if sent.is_ok() { "OK" } else { "failed to connect" },
        "status_code": sent.status.unwrap_or(0),
        "event": "workflow_job",
        "action": sent.action.name(),
        "installation_id": null,
        "repository_id": null,
    })
}

#[cfg(test)]
mod unit {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_written_as_they_are_read(seconds in 0..100_000_000_000_u64) {
            let at = UnixMillis(seconds * 1_000);
            prop_assert_eq!(crate::payload::unix_millis(&time(at)), Some(at));
        }
    }
}
