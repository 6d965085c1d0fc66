//! What the demonstration does, and what must come out.

use std::{
    collections::{BTreeMap, BTreeSet},
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

use super::{LOOK_INTERVAL, SECRET, SERVED_WAIT_MAX, line, shown};

/// The jobs that are queued in turn: a repository, what its jobs ask for, and the region that a rule or
/// a label names for them; without one, hashing chooses.
type Kind = (&'static str, &'static [&'static str], Option<&'static str>);
const JOBS: [Kind; 4] = [
    ("acme/web", &["self-hosted", "linux"], Some("eu-west-1")),
    ("acme/api", &["self-hosted", "linux"], Some("us-east-1")),
    (
        "globex/site",
        &["self-hosted", "linux", "rhumb-region-ap-southeast-1"],
        Some("ap-southeast-1"),
    ),
    ("globex/app", &["linux"], None),
];
/// How long nothing happens before nothing more is expected.
const QUIET: Duration = Duration::from_secs(2);
/// How long regions may take to say, each to all, what they counted.
const STATUS_WAIT_MAX: Duration = Duration::from_secs(15);

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
    let mut queued = Vec::with_capacity(jobs.into());
    for (repository, labels, _) in JOBS.iter().cycle().take(jobs.into()) {
        queued.push(github.queue(repository, labels).await);
    }
    // What was taken comes once more, as it does when somebody presses the button at GitHub.
    let mut repeats = 0;
    for job in queued.iter().take(JOBS.len()) {
        repeats += u64::from(github.send_again(*job, Action::Queued).await);
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
    let (wanted, give_up) = (u64::from(jobs) + repeats, Instant::now() + STATUS_WAIT_MAX);
    let regions = loop {
        let regions = regions(nodes).await;
        if counted(&regions, &TAKEN).iter().map(|(_, it)| it).sum::<u64>() >= wanted
            || Instant::now() > give_up
        {
            break regions;
        }
        sleep(LOOK_INTERVAL).await;
    };
    let sum = |names: &[&str]| counted(&regions, names).iter().map(|(_, it)| it).sum::<u64>();
    let [new, old] = [sum(&["queued"]), sum(&REPEATED)];
    let said = format!("{old} of {repeats} repeats known, {new} jobs");
    rows.push(("repeats are no other jobs", said, new == u64::from(jobs) && old == repeats));
    where_jobs_went(github, &regions, &mut rows);
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
    shown(place, "/v1/runners").await
}

/// What regions count of webhooks that say `queued` and were sent before.
const REPEATED: [&str; 2] = ["queued_again", "delivery_repeated"];
/// What they count of all that say `queued`.
const TAKEN: [&str; 3] = ["queued", "queued_again", "delivery_repeated"];

/// The sum of some counts, by region.
fn counted(status: &Value, names: &[&str]) -> Vec<(String, u64)> {
    let of = |region: &Value| {
        let name = region.pointer("/region")?.as_str()?.to_owned();
        let counts = region.pointer("/counts")?;
        let count = |count: &&str| counts.get(*count).and_then(Value::as_u64);
        Some((name, names.iter().filter_map(count).sum()))
    };
    let regions = status.pointer("/regions").and_then(Value::as_array);
    regions.into_iter().flatten().filter_map(of).collect()
}

/// Every job is in the region that a rule or a label names, those of one repository are in one, and
/// runners were started there and nowhere else.
fn where_jobs_went(
    github: &LocalGitHub,
    status: &Value,
    rows: &mut Vec<(&'static str, String, bool)>,
) {
    let repositories: BTreeMap<u64, String> =
        github.jobs().into_iter().map(|job| (job.id, job.repository)).collect();
    let mut homes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for happening in github.happenings(0) {
        let What::Sent { job, action: Action::Queued, region: Some(region), .. } = happening.what
        else {
            continue;
        };
        if let Some(repository) = repositories.get(&job) {
            homes.entry(repository).or_default().insert(region);
        }
    }
    let right = |(repository, regions): (&&str, &BTreeSet<String>)| {
        let kind = JOBS.iter().find(|(name, ..)| name == repository);
        let named = kind.and_then(|(_, _, region)| *region);
        regions.len() == 1 && regions.iter().all(|it| named.is_none_or(|named| it == named))
    };
    let words: Vec<String> = homes
        .iter()
        .map(|(repository, regions)| {
            let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
            format!("{repository} {}", regions.join("+"))
        })
        .collect();
    let held = !homes.is_empty() && homes.iter().all(right);
    rows.push(("jobs went by rule and label", words.join(", "), held));
    let started = counted(status, &["runner_started"]);
    let words: Vec<String> = started.iter().map(|(name, it)| format!("{name} {it}")).collect();
    let used: BTreeSet<&String> =
        started.iter().filter(|(_, it)| *it > 0).map(|(name, _)| name).collect();
    let wanted: BTreeSet<&String> = homes.values().flatten().collect();
    rows.push(("runners started there alone", words.join(", "), used == wanted));
}
