//! Rhumb's queue over its HTTP API, on connections that stay open.

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::{Context, Result, ensure};
use rhumb_integration::{Cluster, Http, Layout};
use serde::Deserialize;

use super::{ANSWER_WAIT, Body, Broker, Client};
use crate::plan::Durability;

const QUEUE: &str = "/v1/queues/jobs?reason=bench";
const ENQUEUE: &str = "/v1/queues/jobs/jobs";
const RECEIVE: &str = "/v1/queues/jobs/receive";

/// One node of one region, with an empty queue.
#[derive(Debug)]
pub(crate) struct Rhumb {
    cluster: Cluster,
    clients: AtomicU8,
}

impl Rhumb {
    pub(crate) fn start(durability: Durability) -> Result<Self> {
        let mut cluster = Layout::regions(1).start()?;
        cluster.wait_until_ready(0)?;
        let server = Self { cluster, clients: AtomicU8::new(0) };
        let settings = format!("{{\"ack\":\"{}\"}}", durability.name());
        super::eventually("Rhumb", || {
            ask(&mut server.session()?.http, "PUT", QUEUE, &settings).map(drop)
        })?;
        Ok(server)
    }

    /// Clients come from many addresses, as workers do: what one may ask per second is bounded.
    fn session(&self) -> Result<Session> {
        let host = self.clients.fetch_add(1, Ordering::Relaxed).clamp(1, 254);
        let from = Ipv4Addr::new(127, 0, 0, host);
        let http = Http::open_from(from, self.cluster.http(0), ANSWER_WAIT)?;
        Ok(Session { http, body: String::new(), leased: Vec::new(), done: Vec::new() })
    }
}

impl Broker for Rhumb {
    fn connect(&self) -> Result<Box<dyn Client>> {
        Ok(Box::new(self.session()?))
    }

    fn process(&self) -> Result<u32> {
        self.cluster.process(0).context("the node has ended")
    }
}

/// A connection to a server, and the receipts of what is leased over it, and of what is done.
struct Session {
    http: Http,
    body: String,
    leased: Vec<String>,
    done: Vec<String>,
}

/// What is said of a job that was taken in.
#[derive(Deserialize)]
struct Taken<'a> {
    #[serde(borrow)]
    id: &'a str,
}

/// A job in a worker's hands.
#[derive(Deserialize)]
struct Job<'a> {
    body: &'a str,
    receipt: &'a str,
}

#[derive(Deserialize)]
struct Handed<'a> {
    #[serde(borrow)]
    jobs: Vec<Job<'a>>,
    #[serde(default)]
    completed: Vec<Settled>,
}

#[derive(Deserialize)]
struct Settled {
    settled: bool,
}

#[derive(Deserialize)]
struct Results<T> {
    results: Vec<T>,
}

/// Asks, and gives the body of an answer that is a yes.
pub(crate) fn ask<'h>(
    http: &'h mut Http,
    method: &str,
    path: &str,
    body: &str,
) -> Result<&'h [u8]> {
    let (status, answer) = http.ask(method, path, body.as_bytes())?;
    let text = || String::from_utf8_lossy(answer);
    ensure!((200..300).contains(&status), "{method} {path}: {status} {}", text());
    Ok(answer)
}

impl Client for Session {
    fn enqueue(&mut self, bodies: &[Body]) -> Result<()> {
        self.body.clear();
        self.body.push_str("{\"jobs\":[");
        for (nth, body) in bodies.iter().enumerate() {
            let comma = if nth > 0 { "," } else { "" };
            write!(self.body, "{comma}{{\"body\":\"{}\"}}", body.as_str())?;
        }
        self.body.push_str("]}");
        let answer = ask(&mut self.http, "POST", ENQUEUE, &self.body)?;
        let answer: Results<Taken<'_>> = serde_json::from_slice(answer)?;
        ensure!(answer.results.iter().filter(|it| !it.id.is_empty()).count() == bodies.len());
        Ok(())
    }

    fn lease(&mut self, jobs_max: usize, bodies: &mut Vec<Body>) -> Result<()> {
        self.body.clear();
        write!(self.body, "{{\"max\":{jobs_max},\"wait\":\"1s\"")?;
        if !self.done.is_empty() {
            write!(self.body, ",\"complete\":[\"{}\"]", self.done.join("\",\""))?;
            self.done.clear();
        }
        self.body.push('}');
        let answer = ask(&mut self.http, "POST", RECEIVE, &self.body)?;
        let answer: Handed<'_> = serde_json::from_slice(answer)?;
        ensure!(answer.completed.iter().all(|it| it.settled), "a job was not settled");
        for job in answer.jobs {
            bodies.push(Body::parse(job.body)?);
            self.leased.push(job.receipt.to_owned());
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        self.done.append(&mut self.leased);
        Ok(())
    }
}
