//! The nodes that a worker asks: one after the other, when one is lost.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use rhumb_types::units::Spelled;
use rhumb_worker::Verdict;
use serde_json::{Value, json};

use super::super::note;
use crate::{
    cli::{self, NodeArgs},
    http::{Ask, Client, HttpError},
};

/// How long a node may keep a request for jobs before it says that there are none.
const POLL: Duration = Duration::from_secs(20);

/// A job as a node gave it.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) id: String,
    pub(super) queue: String,
    pub(super) receipt: String,
    pub(super) attempt: u64,
    pub(super) priority: u64,
    pub(super) lease: Duration,
    pub(super) body: Bytes,
    pub(super) key: Option<String>,
    pub(super) group: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) workflow: Option<String>,
    /// Those that are text.
    pub(super) attributes: Vec<(String, String)>,
}

impl Leased {
    /// What the other commands call it.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.queue, self.id)
    }

    fn read(job: &Value) -> Option<Self> {
        let text = |name: &str| job.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| job.get(name).and_then(Value::as_u64);
        let body = match text("body") {
            Some(body) => body.into(),
            None => STANDARD.decode(text("body_base64")?).ok()?.into(),
        };
        let attributes = job.get("attributes").and_then(Value::as_object);
        let attributes = attributes.into_iter().flatten().filter_map(|(name, value)| {
            let value = value.as_str().or_else(|| value.get("value").and_then(Value::as_str));
            Some((name.clone(), value?.to_owned()))
        });
        Some(Self {
            id: text("id")?,
            queue: text("queue")?,
            receipt: text("receipt")?,
            attempt: number("attempt")?,
            priority: number("priority").unwrap_or_default(),
            lease: Duration::from_millis(number("lease_ms")?),
            body,
            key: text("key"),
            group: text("group"),
            tenant: text("tenant"),
            workflow: text("workflow"),
            attributes: attributes.collect(),
        })
    }
}

/// What became of a settlement or a renewal.
#[derive(Debug)]
pub(super) enum Settled {
    /// A node took it.
    Done,
    /// The receipt does not count, and never will again.
    Lost(String),
    /// No node could say.
    Unanswered(String),
}

/// Nodes in the order in which they are asked.
pub(super) struct Desk {
    nodes: Vec<Client>,
    /// The one that answered last.
    present: AtomicUsize,
    queue: String,
    worker: String,
    visibility: Duration,
}

impl Desk {
    pub(super) fn new(args: &cli::Worker, worker: &str) -> Result<Self> {
        let mut nodes = vec![Client::new(&args.node)?];
        for url in &args.also {
            let node = NodeArgs { url: Some(url.clone()), ..args.node.clone() };
            nodes.push(Client::new(&node).with_context(|| format!("--also {url}"))?);
        }
        if args.visibility < Duration::from_secs(1) {
            bail!("--visibility is at least 1s: a shorter lease is lost before it is renewed");
        }
        Ok(Self {
            nodes,
            present: AtomicUsize::new(0),
            queue: args.queue.to_string(),
            worker: worker.to_owned(),
            visibility: args.visibility,
        })
    }

    /// Asks for jobs; nothing when no node answered.
    pub(super) async fn receive(&self, count: usize) -> Option<Vec<Leased>> {
        let wish = json!({
            "max": count,
            "wait": Spelled(POLL).to_string(),
            "visibility": Spelled(self.visibility).to_string(),
            "worker": self.worker,
        });
        match self.ask("receive", &wish).await {
            Ok(answer) => {
                let jobs = answer.get("jobs").and_then(Value::as_array);
                Some(jobs.into_iter().flatten().filter_map(Leased::read).collect())
            }
            Err(error) => {
                super::super::complain(&error.to_string());
                None
            }
        }
    }

    pub(super) async fn extend(&self, receipt: &str) -> Settled {
        let visibility = Spelled(self.visibility).to_string();
        self.tell("extend", &json!({ "receipt": receipt, "visibility": visibility })).await
    }

    pub(super) async fn settle(&self, receipt: &str, verdict: &Verdict) -> Settled {
        let (what, body) = match verdict {
            Verdict::Complete => ("complete", json!({ "receipt": receipt })),
            Verdict::Release => ("release", json!({ "receipt": receipt })),
            Verdict::Fail(why) => ("fail", json!({ "receipt": receipt, "reason": why })),
            Verdict::Dead(why) => {
                ("fail", json!({ "receipt": receipt, "reason": why, "dead": true }))
            }
        };
        self.tell(what, &body).await
    }

    /// Says that this worker is there. Nothing rests on it.
    pub(super) async fn beat(&self, concurrency: usize, active: &[String], stopping: bool) {
        let beat = json!({
            "worker": self.worker,
            "concurrency": concurrency,
            "active": active,
            "stopping": stopping,
        });
        let _unheard = self.ask("heartbeat", &beat).await;
    }

    async fn tell(&self, what: &str, body: &Value) -> Settled {
        match self.ask(what, body).await {
            Ok(_) => Settled::Done,
            Err(error @ HttpError::Refused(_)) if !is_passing(&error) => {
                Settled::Lost(error.to_string())
            }
            Err(error) => Settled::Unanswered(error.to_string()),
        }
    }

    /// Asks the present node, and the others in turn when it does not answer.
    async fn ask(&self, what: &str, body: &Value) -> Result<Value, HttpError> {
        let first = self.present.load(Ordering::Relaxed);
        let mut last = None;
        for step in 0..self.nodes.len() {
            let nth = (first + step) % self.nodes.len();
            let Some(node) = self.nodes.get(nth) else { continue };
            match self.ask_node(node, what, body).await {
                Err(error) if is_passing(&error) => last = Some(error),
                answered => {
                    self.stay_at(first, nth, node);
                    return answered;
                }
            }
        }
        let nobody = || HttpError::Unreachable { url: String::new(), reason: String::new() };
        Err(last.unwrap_or_else(nobody))
    }

    async fn ask_node(&self, node: &Client, what: &str, body: &Value) -> Result<Value, HttpError> {
        let ask = Ask::new(Method::POST, "/v1/queues").part(self.queue.as_bytes());
        let answer = node.send(ask.part(what.as_bytes()).json(body)).await?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// The next question goes to who answered this one.
    fn stay_at(&self, first: usize, nth: usize, node: &Client) {
        let moved = self.present.compare_exchange(first, nth, Ordering::Relaxed, Ordering::Relaxed);
        if first != nth && moved.is_ok() {
            note(&format!("going on at {}", node.url()));
        }
    }
}

/// Whether another node, or a later time, may have a better answer.
fn is_passing(error: &HttpError) -> bool {
    match error {
        HttpError::Refused(problem) => {
            problem.status.is_server_error() || problem.status == StatusCode::TOO_MANY_REQUESTS
        }
        _ => true,
    }
}
