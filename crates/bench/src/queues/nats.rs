//! NATS JetStream: a stream with the retention of a work queue, in a file, and one durable consumer.
//!
//! The protocol is text: docs.nats.io, "Client Protocol" and "JetStream wire API".

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{ANSWER_WAIT, Body, Broker, Client, free_address, quietly};

/// From Debian's package of the same name.
const PROGRAM: &str = "nats-server";
const STREAM: &str = r#"{"name":"jobs","subjects":["jobs.new"],"retention":"workqueue","storage":"file","num_replicas":1}"#;
const CONSUMER: &str = r#"{"stream_name":"jobs","config":{"durable_name":"workers","ack_policy":"explicit","ack_wait":30000000000,"max_ack_pending":100000}}"#;

/// A server with an empty stream.
#[derive(Debug)]
pub(crate) struct Nats {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nats {
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rhumb-bench-nats-").tempdir()?;
        let address = free_address()?;
        let mut command = Command::new(program()?);
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string(), "-js", "-sd"]);
        command.arg(folder.path()).stdin(Stdio::null());
        let child = quietly(&mut command).spawn().context("nats-server is in Debian's package")?;
        let server = Self { child, address, _folder: folder };
        super::eventually("NATS", || {
            let mut session = Session::open(address)?;
            session.ask("$JS.API.STREAM.CREATE.jobs", STREAM)?;
            session.ask("$JS.API.CONSUMER.DURABLE.CREATE.jobs.workers", CONSUMER)
        })?;
        Ok(server)
    }
}

/// The program, if it is there.
pub(super) fn program() -> Result<PathBuf> {
    let path = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(PROGRAM))
        .find(|path| path.exists());
    path.context("NATS is in Debian's package nats-server")
}

impl Broker for Nats {
    fn connect(&self) -> Result<Box<dyn Client>> {
        Ok(Box::new(Session::open(self.address)?))
    }

    fn process(&self) -> Result<u32> {
        Ok(self.child.id())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Whatever ended before needs no killing.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A connection, with an inbox of its own.
struct Session {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    leased: Vec<String>,
}

/// What came.
struct Message {
    /// Where an acknowledgement goes.
    reply: Option<String>,
    /// A status line, such as that there are no messages.
    is_status: bool,
    payload: Vec<u8>,
}

impl Session {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        let mut session =
            Self { stream: BufReader::new(stream), out: Vec::new(), leased: Vec::new() };
        let inbox = session.inbox()?;
        write!(session.out, "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {inbox} 1\r\n")?;
        session.flush()?;
        Ok(session)
    }

    /// Its local port names the connection.
    fn inbox(&self) -> Result<String> {
        Ok(format!("_INBOX.{}", self.stream.get_ref().local_addr()?.port()))
    }

    fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        let inbox = self.inbox()?;
        write!(self.out, "PUB {subject} {inbox} {}\r\n", payload.len())?;
        self.out.extend_from_slice(payload);
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Asks the server to do something.
    fn ask(&mut self, subject: &str, payload: &str) -> Result<()> {
        self.publish(subject, payload.as_bytes())?;
        self.flush()?;
        let answer = self.next()?;
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        ensure!(!text.contains("\"error\""), "NATS: {text}");
        Ok(())
    }

    fn next(&mut self) -> Result<Message> {
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "NATS closed the connection");
            let words: Vec<&str> = line.split_whitespace().collect();
            let (reply, head, total) = match words.as_slice() {
                ["PING"] => {
                    self.stream.get_mut().write_all(b"PONG\r\n")?;
                    continue;
                }
                ["MSG", _, _, total] => (None, "0", *total),
                ["MSG", _, _, reply, total] => (Some(*reply), "0", *total),
                ["HMSG", _, _, head, total] => (None, *head, *total),
                ["HMSG", _, _, reply, head, total] => (Some(*reply), *head, *total),
                ["-ERR", ..] => bail!("NATS: {line}"),
                _ => continue,
            };
            let (head, total): (usize, usize) = (head.parse()?, total.parse()?);
            let mut content = vec![0; total + 2];
            self.stream.read_exact(&mut content)?;
            content.truncate(total);
            let payload = content.split_off(head);
            let is_status = reply.is_none() && head > 0;
            return Ok(Message { reply: reply.map(str::to_owned), is_status, payload });
        }
    }
}

impl Client for Session {
    fn enqueue(&mut self, bodies: &[Body]) -> Result<()> {
        for body in bodies {
            self.publish("jobs.new", body.as_str().as_bytes())?;
        }
        self.flush()?;
        for _ in bodies {
            let answer = self.next()?;
            ensure!(!answer.payload.starts_with(b"{\"error"), "NATS refused a message");
        }
        Ok(())
    }

    fn lease(&mut self, jobs_max: usize, bodies: &mut Vec<Body>) -> Result<()> {
        let wish = format!("{{\"batch\":{jobs_max},\"expires\":1000000000}}");
        self.publish("$JS.API.CONSUMER.MSG.NEXT.jobs.workers", wish.as_bytes())?;
        self.flush()?;
        for _ in 0..jobs_max {
            let message = self.next()?;
            if message.is_status {
                break;
            }
            bodies.push(Body::parse(std::str::from_utf8(&message.payload)?)?);
            self.leased.extend(message.reply);
        }
        Ok(())
    }

    /// Waits until the server has noted each acknowledgement.
    fn complete(&mut self) -> Result<()> {
        let leased = std::mem::take(&mut self.leased);
        for reply in &leased {
            self.publish(reply, b"+ACK")?;
        }
        self.flush()?;
        for _ in &leased {
            self.next()?;
        }
        Ok(())
    }
}
