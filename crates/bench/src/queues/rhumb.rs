//! Rhumb's queue over its HTTP API, on connections that stay open.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::{Context, Result, ensure};
use rhumb_integration::{Cluster, Layout};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{ANSWER_WAIT, Body, Broker, Client};
use crate::plan::Durability;

const QUEUE: &str = "/v1/queues/jobs";

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
            let path = format!("{QUEUE}?reason=bench");
            server.session()?.ask("PUT", &path, &settings).map(drop)
        })?;
        Ok(server)
    }

    /// Clients come from many addresses, as workers do: what one may ask per second is bounded.
    fn session(&self) -> Result<Session> {
        let host = self.clients.fetch_add(1, Ordering::Relaxed).clamp(1, 254);
        Session::open(Ipv4Addr::new(127, 0, 0, host), self.cluster.http(0))
    }
}

impl Broker for Rhumb {
    fn connect(&self) -> Result<Box<dyn Client>> {
        Ok(Box::new(self.session()?))
    }
}

/// A connection to a server.
pub(crate) struct Session {
    stream: BufReader<TcpStream>,
    host: String,
    out: String,
    leased: Vec<String>,
}

impl Session {
    pub(crate) fn open(from: Ipv4Addr, address: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        let (stream, host) = (BufReader::new(stream), address.to_string());
        Ok(Self { stream, host, out: String::new(), leased: Vec::new() })
    }

    /// Asks, and gives the body of an answer that is a yes.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        self.out.clear();
        write!(
            self.out,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )?;
        self.stream.get_mut().write_all(self.out.as_bytes())?;
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "Rhumb closed the connection");
        let status: u16 = line.split(' ').nth(1).context("no status")?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content)?;
        let text = String::from_utf8_lossy(&content);
        ensure!((200..300).contains(&status), "{method} {path}: {status} {text}");
        Ok(content)
    }
}

impl Client for Session {
    fn enqueue(&mut self, bodies: &[Body]) -> Result<()> {
        let jobs: Vec<String> =
            bodies.iter().map(|body| format!("{{\"body\":\"{}\"}}", body.as_str())).collect();
        let answer = self.ask(
            "POST",
            &format!("{QUEUE}/jobs"),
            &format!("{{\"jobs\":[{}]}}", jobs.join(",")),
        )?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let results = answer.get("results").and_then(Value::as_array).context("no results")?;
        ensure!(results.iter().all(|result| result.get("id").is_some()), "refused: {answer}");
        Ok(())
    }

    fn lease(&mut self, jobs_max: usize, bodies: &mut Vec<Body>) -> Result<()> {
        let wish = format!("{{\"max\":{jobs_max},\"wait\":\"1s\"}}");
        let answer = self.ask("POST", &format!("{QUEUE}/receive"), &wish)?;
        let answer: Value = serde_json::from_slice(&answer)?;
        for job in answer.get("jobs").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| job.get(name).and_then(Value::as_str).context("a short job");
            bodies.push(Body::parse(text("body")?)?);
            self.leased.push(text("receipt")?.to_owned());
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        if self.leased.is_empty() {
            return Ok(());
        }
        let receipts = serde_json::to_string(&std::mem::take(&mut self.leased))?;
        let body = format!("{{\"receipts\":{receipts}}}");
        let answer = self.ask("POST", &format!("{QUEUE}/complete"), &body)?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let results = answer.get("results").and_then(Value::as_array).context("no results")?;
        let settled = |result: &Value| result.get("settled") == Some(&Value::Bool(true));
        ensure!(results.iter().all(settled), "not settled: {answer}");
        Ok(())
    }
}
