//! What the demonstration does, and what must come out.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Request;
use rhumb_runners::{
    Action, Place, Secrets,
    local::{LocalGitHub, What},
};
use rhumb_types::RegionId;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{LOOK_INTERVAL, SECRET, SERVED_WAIT_MAX, line};

/// The jobs that are queued in turn: a repository and what its jobs ask for.
const JOBS: [(&str, &[&str]); 4] = [
    ("acme/web", &["self-hosted", "linux"]),
    ("acme/api", &["self-hosted", "linux"]),
    ("globex/site", &["self-hosted", "linux", "rhumb-region-ap-southeast-1"]),
    ("globex/app", &["linux"]),
];
/// How long nothing happens before nothing more is expected.
const QUIET: Duration = Duration::from_secs(2);

/// What came out.
#[derive(Debug)]
pub(super) struct Outcome {
    rows: Vec<(&'static str, String, bool)>,
    regions: Value,
}

impl Outcome {
    pub(super) fn all_held(&self) -> bool {
        self.rows.iter().all(|(_, _, held)| *held)
    }

    pub(super) fn to_json(&self) -> Value {
        let row = |(what, measured, held): &(&str, String, bool)| json!({ "what": what, "measured": measured, "held": held });
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({ "held": self.all_held(), "rows": rows, "regions": self.regions })
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let rows: Vec<[String; 3]> = self
            .rows
            .iter()
            .map(|(what, measured, held)| {
                [(*what).to_owned(), measured.clone(), if *held { "yes" } else { "NO" }.to_owned()]
            })
            .collect();
        let mut lines = vec![String::new()];
        lines.extend(crate::table::table(["what", "measured", "held"], &rows));
        lines
    }
}

/// Queues jobs, waits for their end, and looks at what happened.
pub(super) async fn play(
    github: &LocalGitHub,
    nodes: &[(RegionId, Place)],
    jobs: u16,
    tell: &impl Fn(&str),
) -> Result<Outcome> {
    let mut rows = Vec::new();
    forged(nodes, &mut rows).await?;
    let began = Instant::now();
    for nth in 0..jobs {
        let (repository, labels) =
            JOBS.get(usize::from(nth) % JOBS.len()).copied().unwrap_or(("acme/web", &["linux"]));
        github.queue(repository, labels).await;
    }
    let give_up = began + SERVED_WAIT_MAX + Duration::from_secs(jobs.into());
    let done = |github: &LocalGitHub| {
        github.jobs().iter().filter(|job| job.state == Action::Completed).count()
    };
    let (mut told, mut changed) = (0, Instant::now());
    let first = github.happenings(0).first().map_or(0, |it| it.at.0);
    let mut served = None;
    while Instant::now() < give_up {
        for happening in github.happenings(told) {
            tell(&line(first, &happening));
            (told, changed) = (told + 1, Instant::now());
        }
        if served.is_none() && done(github) == usize::from(jobs) {
            served = Some(began.elapsed());
        }
        let all_gone = served.is_some() && github.registered() == 0;
        if all_gone && changed.elapsed() > QUIET {
            break;
        }
        sleep(LOOK_INTERVAL).await;
    }
    let time =
        served.map_or("not all".to_owned(), |it| format!("all in {:.1} s", it.as_secs_f64()));
    rows.push(("every job ran", format!("{} of {jobs}, {time}", done(github)), served.is_some()));
    look(github, jobs, &mut rows);
    let regions = regions(nodes).await;
    where_jobs_ran(&regions, &mut rows);
    Ok(Outcome { rows, regions })
}

/// A webhook that is signed with another secret, and one that is not signed, are refused.
async fn forged(
    nodes: &[(RegionId, Place)],
    rows: &mut Vec<(&'static str, String, bool)>,
) -> Result<()> {
    ensure!(!nodes.is_empty(), "there are no nodes");
    let mut statuses = BTreeSet::new();
    let other = Secrets::new(&["another secret than that of the webhook"])?;
    for (_, place) in nodes {
        for signature in [None, Some(other.sign(b"{}"))] {
            let mut request = Request::post("/webhooks/github")
                .header("content-type", "application/json")
                .header("x-github-event", "workflow_job")
                .header("x-github-delivery", "forged");
            if let Some(signature) = signature {
                request = request.header("x-hub-signature-256", signature);
            }
            let answer = place.ask(request.body(Bytes::from_static(b"{}"))?).await?;
            statuses.insert(answer.status().as_u16());
        }
    }
    let said = format!("{statuses:?}");
    rows.push(("forged webhooks are refused", said, statuses == BTreeSet::from([401])));
    let right = Secrets::new(&[SECRET])?.sign(b"{}");
    let request = Request::post("/webhooks/github")
        .header("content-type", "application/json")
        .header("x-github-event", "ping")
        .header("x-github-delivery", "ping-1")
        .header("x-hub-signature-256", right);
    let (_, place) = nodes.first().ok_or_else(|| anyhow::anyhow!("there are no nodes"))?;
    let status = place.ask(request.body(Bytes::from_static(b"{}"))?).await?.status();
    rows.push(("a signed ping is answered", status.to_string(), status.as_u16() == 200));
    Ok(())
}

/// What the API saw.
fn look(github: &LocalGitHub, jobs: u16, rows: &mut Vec<(&'static str, String, bool)>) {
    let happenings = github.happenings(0);
    let mut millis = Vec::new();
    let (mut failed, mut started, mut registered) = (0, BTreeSet::new(), Vec::new());
    for happening in &happenings {
        match &happening.what {
            What::Sent { status, millis: took, .. } => {
                millis.push(*took);
                failed += usize::from(*status != Some(202));
            }
            What::Started { job, runner } => {
                started.insert((*job, runner.clone()));
            }
            What::Registered(name) => registered.push(name.clone()),
            _ => {}
        }
    }
    millis.sort_unstable();
    let slowest = millis.last().copied().unwrap_or(0);
    let sent = format!("{} of {}, slowest {slowest} ms", millis.len() - failed, millis.len());
    rows.push(("webhooks were durable when answered", sent, failed == 0 && !millis.is_empty()));
    rows.push((
        "no job ran twice",
        format!("{} starts", started.len()),
        started.len() == usize::from(jobs),
    ));
    let names: BTreeSet<&String> = registered.iter().collect();
    let said = format!("{} runners for {jobs} jobs", registered.len());
    rows.push(("no runner was started twice", said, names.len() == registered.len()));
    let left = github.registered();
    rows.push(("no runner is left", left.to_string(), left == 0));
}

/// How the regions say that they do.
async fn regions(nodes: &[(RegionId, Place)]) -> Value {
    let Some((_, place)) = nodes.first() else { return Value::Null };
    let Ok(request) = Request::get("/v1/runners").body(Bytes::new()) else { return Value::Null };
    let answer = place.ask(request).await;
    answer.ok().and_then(|it| serde_json::from_slice(it.body()).ok()).unwrap_or_default()
}

fn where_jobs_ran(status: &Value, rows: &mut Vec<(&'static str, String, bool)>) {
    let regions = status.pointer("/regions").and_then(Value::as_array);
    let started = |region: &Value| {
        let name = region.pointer("/region")?.as_str()?.to_owned();
        let runners = region.pointer("/counts/runner_started").and_then(Value::as_u64);
        Some((name, runners.unwrap_or(0)))
    };
    let started: Vec<_> = regions.into_iter().flatten().filter_map(started).collect();
    let words: Vec<String> = started.iter().map(|(name, it)| format!("{name} {it}")).collect();
    let used = started.iter().filter(|(_, it)| *it > 0).count();
    rows.push(("runners started by rule and label", words.join(", "), used >= 1));
}
