//! `rhumb runners demo`: from a webhook to a finished job, with three regions on this machine.
//!
//! Everything is what a user runs: three `rhumb serve` processes with a `runners` section, signed
//! webhooks made from payloads that GitHub sent, queues, runners as processes. Only GitHub is not: its
//! API is served here, in the shapes of its published description, and the runners do no work.

mod check;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use rhumb_config::{
    Period, Settings,
    settings::{AffinityRuleSettings, RunnerLevel, RunnersSettings, Server, SetSettings},
};
use rhumb_engine::{OsEntropy, SystemClock, Tasks};
use rhumb_ports::clock::{Clock, Entropy};
use rhumb_runners::{
    Place, Secrets,
    github::Outside,
    local::{Happening, LocalGitHub, What},
};
use rhumb_types::RegionId;
use serde_json::Value;
use tokio::{runtime::Runtime, time::sleep};

use super::super::say;
use crate::{cli::Demo, local::Local};

/// The secret of the demonstration's webhooks.
const SECRET: &str = "a secret for the demonstration only";
/// A repository with a region of its own, against the rule of its organisation.
const RULED: (&str, &str) = ("acme/api", "us-east-1");
/// How long the regions may take until they take jobs.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long all jobs may take, besides a second for each.
const SERVED_WAIT_MAX: Duration = Duration::from_secs(90);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Most runners of a region.
const RUNNERS_MAX: u32 = 8;

/// Runs the demonstration; fails when something did not come out right.
pub(crate) fn run(args: &Demo) -> Result<ExitCode> {
    let mut local = args.local.clone();
    local.data.push("runners");
    if local.data.exists() {
        fs::remove_dir_all(&local.data).context("the data of the last run cannot be removed")?;
    }
    fs::create_dir_all(&local.data)?;
    let runtime = Runtime::new()?;
    let tasks = Tasks::new();
    let github = runtime.block_on(start_github(&tasks))?;
    let settings = runners(&local.data, &github.url())?;
    let mut cluster = Local::prepare_with(&local, |all| configure(all, settings))?;
    let quiet = args.json;
    let tell = |line: &str| {
        if !quiet {
            say(line);
        }
    };
    tell("three regions start on this machine, and a GitHub-shaped API");
    for region in &cluster.regions() {
        cluster.start(region)?;
    }
    for region in &cluster.regions() {
        cluster.wait_for(region, Server::Http)?;
    }
    let nodes: Vec<(RegionId, Place)> = cluster
        .regions()
        .into_iter()
        .map(|region| {
            let address = cluster.address(&region, Server::Http);
            Place::new(&format!("http://{address}"), None).map(|place| (region, place))
        })
        .collect::<Result<_, _>>()?;
    runtime.block_on(wait_until_ready(&nodes))?;
    github.deliver_to(nodes.iter().map(|(_, place)| place.clone()).collect());
    let outcome = runtime.block_on(check::play(&github, &nodes, args.jobs, &tell));
    runtime.block_on(tasks.stop());
    cluster.stop()?;
    let outcome = outcome?;
    if args.json {
        say(&serde_json::to_string_pretty(&outcome.to_json())?);
    } else {
        outcome.lines().iter().for_each(|line| say(line));
    }
    Ok(if outcome.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn start_github(tasks: &Tasks) -> Result<LocalGitHub> {
    let clock = SystemClock { wall_offset_millis: 0 };
    let outside =
        Outside { now: Arc::new(move || clock.now()), random: Arc::new(|| OsEntropy.next_u64()) };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let secrets = Secrets::new(&[SECRET])?;
    let started = LocalGitHub::start(tasks, address, secrets, outside).await;
    started.context("the GitHub-shaped API does not start")
}

/// The section `runners`, with the files that it names.
fn runners(folder: &Path, api: &str) -> Result<RunnersSettings> {
    let (secret, token) = (folder.join("webhook-secret"), folder.join("github-token"));
    fs::write(&secret, SECRET)?;
    fs::write(&token, "ghp_demonstration")?;
    let program = std::env::current_exe()?;
    let program = program.to_str().context("the path of this program is not text")?;
    let words = [program, "runners", "act", "--jitconfig", "{jitconfig}"];
    let set = SetSettings {
        labels: vec!["self-hosted".to_owned(), "linux".to_owned()],
        max: RUNNERS_MAX,
        max_in: Default::default(),
        burst: RUNNERS_MAX,
        level: RunnerLevel::Organisation,
        group: 1,
        command: Some(words.map(str::to_owned).to_vec()),
        template: None,
        http: None,
    };
    Ok(RunnersSettings {
        webhook_secrets: vec![secret],
        api: api.to_owned(),
        authorities: None,
        token: Some(token),
        app: None,
        sets: [("linux".to_owned(), set)].into(),
        owners: Vec::new(),
        geography: Default::default(),
        residency: Default::default(),
        hooks: Vec::new(),
        reconcile_every: Period::from_secs(300),
        start_timeout: Period::from_secs(300),
    })
}

/// Runners, and rules for the repositories of the demonstration.
fn configure(settings: &mut Settings, runners: RunnersSettings) {
    let rule = |repository: Option<&str>, organisation: Option<&str>, region: &RegionId| {
        AffinityRuleSettings {
            repository: repository.map(str::to_owned),
            organisation: organisation.map(str::to_owned),
            key_prefix: None,
            geography: None,
            everything: false,
            region: region.clone(),
        }
    };
    let named = |name: &str| settings.regions.keys().find(|it| it.as_str() == name).cloned();
    let rules = [
        named("eu-west-1").map(|it| rule(None, Some("acme"), &it)),
        named(RULED.1).map(|it| rule(Some(RULED.0), None, &it)),
    ];
    settings.affinity.rules.extend(rules.into_iter().flatten());
    settings.runners = Some(runners);
}

/// Waits until every region knows the queue of the runners and the rules, and acts for itself.
async fn wait_until_ready(nodes: &[(RegionId, Place)]) -> Result<()> {
    let give_up = Instant::now() + READY_WAIT_MAX;
    for (region, place) in nodes {
        while !has_queue(place).await {
            if Instant::now() > give_up {
                bail!("{region} has no queue for runners; see its log");
            }
            sleep(LOOK_INTERVAL).await;
        }
        while !(all_act(place, region, nodes).await && knows_rules(place, nodes).await) {
            if Instant::now() > give_up {
                bail!("{region} does not act for itself, or does not know the rules; see its log");
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
    Ok(())
}

/// Whether a node may act for its own region, and knows that the others act for theirs. Before that, jobs
/// are pinned to where they came in.
async fn all_act(place: &Place, region: &RegionId, nodes: &[(RegionId, Place)]) -> bool {
    let status = shown(place, "/v1/status").await;
    let acts = list(&status, "/leases")
        .iter()
        .any(|lease| lease.get("region").and_then(Value::as_str) == Some(region.as_str()));
    let seen = shown(place, "/v1/regions").await;
    let own = |region: &&Value| region.pointer("/lease/holder/region") == region.get("region");
    acts && list(&seen, "/regions").iter().filter(own).count() == nodes.len()
}

/// Whether a node sends the work of a repository where its rule says.
async fn knows_rules(place: &Place, nodes: &[(RegionId, Place)]) -> bool {
    let (repository, region) = RULED;
    let plan = shown(place, &format!("/v1/route?repository={repository}")).await;
    let home = plan.get("home").and_then(Value::as_str);
    home == Some(region) || nodes.iter().all(|(id, _)| id.as_str() != region)
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a node shows under a path; nothing if it does not answer.
async fn shown(place: &Place, path: &str) -> Value {
    let answer = ask(place, path).await;
    answer.and_then(|it| serde_json::from_slice(it.body()).ok()).unwrap_or_default()
}

async fn ask(place: &Place, path: &str) -> Option<Response<Bytes>> {
    let request = Request::get(path).body(Bytes::new()).ok()?;
    place.ask(request).await.ok()
}

async fn has_queue(place: &Place) -> bool {
    let answer = ask(place, "/v1/queues/runners.linux").await;
    answer.is_some_and(|it| it.status().is_success())
}

/// What happened, as a line.
fn line(began: u64, happening: &Happening) -> String {
    let at = happening.at.0.saturating_sub(began);
    let what = match &happening.what {
        What::Queued(job) => format!("job {job} is queued"),
        What::Sent { job, action, status, region, again, millis } => {
            let status = status.map_or("nobody".to_owned(), |status| status.to_string());
            let again = if *again { " again" } else { "" };
            let region = region.as_ref().map_or(String::new(), |it| format!(", for {it}"));
            format!(
                "webhook {} of job {job}{again}: {status} in {millis} ms{region}",
                action.name()
            )
        }
        What::Registered(runner) => format!("runner {runner} is registered"),
        What::Connected(runner) => format!("runner {runner} came"),
        What::Started { job, runner } => format!("job {job} runs on {runner}"),
        What::Completed(job) => format!("job {job} is done"),
        What::Removed(runner) => format!("runner {runner} was not needed and is removed"),
    };
    format!("{:>7.2} s  {what}", at as f64 / 1e3)
}
