//! Queues over HTTP: who sends jobs, who works on them, and what ran how often.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use http::Method;
use rhumb_config::settings::Server;
use rhumb_types::RegionId;
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::{
    http::{Ask, Client},
    local::Local,
};

/// How long a worker waits for a job.
const POLL: Duration = Duration::from_secs(1);
/// How long anybody waits for an answer beyond that.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// A worker's pause after something did not work.
const PAUSE: Duration = Duration::from_millis(200);
/// Longer than a queue takes to be agreed on.
const DEFINE_WAIT: Duration = Duration::from_secs(20);

/// A region's node, asked for jobs.
pub(super) struct Node {
    client: Client,
    runtime: Runtime,
}

impl Node {
    pub(super) fn at(address: SocketAddr) -> Result<Self> {
        let client = Client::open(&format!("http://{address}"))?;
        Ok(Self { client, runtime: Builder::new_current_thread().enable_all().build()? })
    }

    pub(super) fn of(cluster: &Local, region: &RegionId) -> Result<Self> {
        Self::at(cluster.address(region, Server::Http))
    }

    fn ask(&self, ask: Ask, wait: Duration) -> Result<Value> {
        let answer = self.runtime.block_on(async { timeout(wait, self.client.json(ask)).await });
        Ok(answer.context("no answer in time")??)
    }

    /// Makes a queue.
    pub(super) fn define(&self, queue: &str, settings: &Value) -> Result<()> {
        let path = format!("/v1/queues/{queue}");
        let ask = Ask::new(Method::PUT, &path).param("reason", "the tour");
        self.ask(ask.json(settings), DEFINE_WAIT).with_context(|| format!("the queue {queue}"))?;
        Ok(())
    }

    /// Makes a bucket.
    pub(super) fn put_bucket(&self, bucket: &str, settings: &Value) -> Result<()> {
        let path = format!("/v1/buckets/{bucket}");
        let ask = Ask::new(Method::PUT, &path).param("reason", "the tour");
        self.ask(ask.json(settings), DEFINE_WAIT)
            .with_context(|| format!("the bucket {bucket}"))?;
        Ok(())
    }

    /// A metric of the node that has no labels.
    pub(super) fn counted(&self, name: &str) -> Result<u64> {
        let page = self.runtime.block_on(self.client.send(Ask::get("/metrics")))?;
        let page = String::from_utf8_lossy(&page.body);
        let shown = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        page.lines().find_map(shown).with_context(|| format!("the metrics do not show {name}"))
    }

    /// Sends jobs; gives what became of each.
    pub(super) fn send(
        &self,
        queue: &str,
        home: &RegionId,
        jobs: Vec<Value>,
    ) -> Result<Vec<Value>> {
        let ask = Ask::new(Method::POST, &format!("/v1/queues/{queue}/jobs"));
        let ask = ask.param("home", home.as_str()).json(&json!({ "jobs": jobs }));
        let mut answer = self.ask(ask, ANSWER_WAIT)?;
        let results = answer.get_mut("results").map(Value::take);
        Ok(serde_json::from_value(results.unwrap_or_default())?)
    }

    /// How many jobs are ready in all of a queue, and how many of a region.
    pub(super) fn ready(&self, queue: &str, region: &RegionId) -> Result<(u64, u64)> {
        let stats = self.ask(Ask::get(&format!("/v1/queues/{queue}/stats")), ANSWER_WAIT)?;
        let number = |path: &str| stats.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        Ok((number("/total/ready"), number(&format!("/regions/{region}/ready"))))
    }

    /// Leases jobs: the body of each, and its receipt.
    fn receive(&self, queue: &str, most: usize) -> Result<Vec<(String, String)>> {
        let wish = json!({ "max": most, "wait": "1s", "worker": "tour" });
        let ask = Ask::new(Method::POST, &format!("/v1/queues/{queue}/receive")).json(&wish);
        let answer = self.ask(ask, POLL + ANSWER_WAIT)?;
        let jobs = answer.get("jobs").and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |job: &Value, name: &str| job.get(name)?.as_str().map(str::to_owned);
        Ok(jobs
            .iter()
            .filter_map(|job| Some((text(job, "body")?, text(job, "receipt")?)))
            .collect())
    }

    fn complete(&self, queue: &str, receipts: &[String]) -> Result<()> {
        let ask = Ask::new(Method::POST, &format!("/v1/queues/{queue}/complete"));
        self.ask(ask.json(&json!({ "receipts": receipts })), ANSWER_WAIT)?;
        Ok(())
    }
}

/// How often each job ran, by its body, and when it ran last.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<BTreeMap<String, (u32, Instant)>>>);

impl Ledger {
    fn ran(&self, body: String) {
        let mut ran = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = ran.entry(body).or_insert((0, Instant::now()));
        *entry = (entry.0 + 1, Instant::now());
    }

    /// Of these jobs: how many ran, how many executions were not the first, and when the last one ran.
    pub(super) fn of(&self, bodies: &[String]) -> (usize, u32, Option<Instant>) {
        let ran = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<(u32, Instant)> =
            bodies.iter().filter_map(|body| ran.get(body).copied()).collect();
        let again = known.iter().map(|(times, _)| times - 1).sum();
        (known.len(), again, known.iter().map(|(_, at)| *at).max())
    }
}

/// Workers in every region, until they are stopped.
pub(super) struct Crew {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// How workers work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Jobs that one has at a time.
    pub(super) at_once: usize,
    /// How long it takes for them.
    pub(super) takes: Duration,
}

impl Crew {
    /// One worker in each region.
    pub(super) fn hire(cluster: &Local, queue: &'static str, pace: Pace, ledger: &Ledger) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = cluster.regions().into_iter().map(|region| {
            let address = cluster.address(&region, Server::Http);
            let (stop, ledger) = (stop.clone(), ledger.clone());
            thread::spawn(move || work(address, queue, pace, &ledger, &stop))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Waits until all have put down what they had.
    pub(super) fn dismiss(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ends = self.threads.into_iter().map(|thread| super::state::joined(thread.join()));
        ends.collect()
    }
}

fn work(
    address: SocketAddr,
    queue: &str,
    pace: Pace,
    ledger: &Ledger,
    stop: &AtomicBool,
) -> Result<()> {
    let node = Node::at(address)?;
    while !stop.load(Ordering::Relaxed) {
        // A region that is down has no answer; its worker asks on.
        let Ok(jobs) = node.receive(queue, pace.at_once) else {
            thread::sleep(PAUSE);
            continue;
        };
        if jobs.is_empty() {
            continue;
        }
        thread::sleep(pace.takes);
        let (bodies, receipts): (Vec<String>, Vec<String>) = jobs.into_iter().unzip();
        bodies.into_iter().for_each(|body| ledger.ran(body));
        // A job whose end nobody hears of runs again.
        let _unheard = node.complete(queue, &receipts);
    }
    Ok(())
}
