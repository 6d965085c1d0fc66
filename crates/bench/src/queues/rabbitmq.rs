//! RabbitMQ: a durable queue, persistent messages, publisher confirms, a consumer with a window.
//!
//! The client speaks AMQP 0-9-1 (its specification, chapter 4, and RabbitMQ's confirms). RabbitMQ
//! confirms what is published, not what is acknowledged: completing costs its client no answer.

use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{ANSWER_WAIT, Body, Broker, Client, free_address, quietly};

/// From Debian's package of the same name; the script that starts it as whoever calls.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const QUEUE: &str = "jobs";
const FRAME_END: u8 = 0xce;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// Which of its durable queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Classic,
    Quorum,
}

/// A server with an empty queue.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    child: Child,
    address: SocketAddr,
    window: u16,
    names: SocketAddr,
    folder: TempDir,
}

impl RabbitMq {
    pub(crate) fn start(kind: Kind, window: u16) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rhumb-bench-rabbitmq-").tempdir()?;
        let (address, names) = (free_address()?, free_address()?);
        let path = folder.path();
        std::fs::write(path.join("plugins"), "[].")?;
        std::fs::write(path.join("rabbitmq.conf"), "disk_free_limit.absolute = 100MB\n")?;
        let mut command = Command::new(program()?);
        command.env("RABBITMQ_NODENAME", format!("bench{}@localhost", address.port()));
        command.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_NODE_PORT", address.port().to_string());
        command.env("RABBITMQ_DIST_PORT", free_address()?.port().to_string());
        command.env("ERL_EPMD_PORT", names.port().to_string());
        command.env("RABBITMQ_MNESIA_BASE", path.join("data"));
        command.env("RABBITMQ_LOG_BASE", path.join("log"));
        command.env("RABBITMQ_PID_FILE", path.join("pid"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", path.join("plugins"));
        command.env("RABBITMQ_CONFIG_FILE", path.join("rabbitmq.conf"));
        command.env("HOME", path).stdin(Stdio::null());
        let child = quietly(&mut command).spawn().context("cannot start rabbitmq-server")?;
        let server = Self { child, address, window, names, folder };
        super::eventually("RabbitMQ", || Session::open(address)?.declare(kind))?;
        Ok(server)
    }
}

/// The script, if it is there.
pub(super) fn program() -> Result<PathBuf> {
    let path = PathBuf::from(PROGRAM);
    path.exists().then_some(path).context("RabbitMQ is in Debian's package rabbitmq-server")
}

impl Broker for RabbitMq {
    fn connect(&self) -> Result<Box<dyn Client>> {
        let mut session = Session::open(self.address)?;
        session.consume(self.window)?;
        Ok(Box::new(session))
    }

    fn process(&self) -> Result<u32> {
        Ok(self.child.id())
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        // The script has become a shell whose child is the server: its file names that one.
        let server = std::fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
        let _ended = Command::new("kill").args(["-9", server.trim()]).status();
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        let mut names = Command::new("epmd");
        names.args(["-port", &self.names.port().to_string(), "-kill"]);
        let _ended = quietly(&mut names).status();
    }
}

/// A connection with one channel.
struct Session {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    /// How many were published, and up to which all are confirmed.
    published: u64,
    confirmed: u64,
    /// Confirmed out of order.
    beyond: Vec<u64>,
    /// Came while something else was waited for.
    delivered: Vec<(u64, Body)>,
    /// The newest that was leased.
    leased: Option<u64>,
}

impl Session {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        let mut session = Self {
            stream: BufReader::new(stream),
            out: b"AMQP\0\0\x09\x01".to_vec(),
            published: 0,
            confirmed: 0,
            beyond: Vec::new(),
            delivered: Vec::new(),
            leased: None,
        };
        session.flush()?;
        session.wait(10, 10)?;
        let login = [
            &[0; 4][..],
            &short("PLAIN"),
            &12_u32.to_be_bytes(),
            b"\0guest\0guest",
            &short("en_US"),
        ];
        session.call(0, (10, 11), &login.concat())?;
        let tune = session.wait(10, 30)?;
        // What it proposes, but without heartbeats.
        let proposed = tune.get(..6).context("a short frame")?;
        session.call(0, (10, 31), &[proposed, &[0; 2]].concat())?;
        session.call(0, (10, 40), &[&short("/")[..], &[0, 0]].concat())?;
        session.wait(10, 41)?;
        session.call(1, (20, 10), &[0])?;
        session.wait(20, 11)?;
        Ok(session)
    }

    fn declare(&mut self, kind: Kind) -> Result<()> {
        let kind: &[u8] = match kind {
            Kind::Classic => b"classic",
            Kind::Quorum => b"quorum",
        };
        let length = u32::try_from(kind.len())?.to_be_bytes();
        let table = [&short("x-queue-type")[..], b"S", &length, kind].concat();
        let table = [&u32::try_from(table.len())?.to_be_bytes()[..], &table].concat();
        let durable = 0b10;
        self.call(1, (50, 10), &[&[0, 0][..], &short(QUEUE), &[durable], &table].concat())?;
        self.wait(50, 11).map(drop)
    }

    fn consume(&mut self, window: u16) -> Result<()> {
        self.call(1, (85, 10), &[0])?;
        self.wait(85, 11)?;
        self.call(1, (60, 10), &[&[0; 4][..], &window.to_be_bytes(), &[0]].concat())?;
        self.wait(60, 11)?;
        let rest = [0; 1 + 1 + 4];
        self.call(1, (60, 20), &[&[0, 0][..], &short(QUEUE), &rest].concat())?;
        self.wait(60, 21).map(drop)
    }

    fn frame(&mut self, kind: u8, channel: u16, content: &[u8]) -> Result<()> {
        self.out.push(kind);
        self.out.extend_from_slice(&channel.to_be_bytes());
        self.out.extend_from_slice(&u32::try_from(content.len())?.to_be_bytes());
        self.out.extend_from_slice(content);
        self.out.push(FRAME_END);
        Ok(())
    }

    fn method(&mut self, channel: u16, (class, id): (u16, u16), content: &[u8]) -> Result<()> {
        let content = [&class.to_be_bytes()[..], &id.to_be_bytes(), content].concat();
        self.frame(METHOD, channel, &content)
    }

    fn call(&mut self, channel: u16, method: (u16, u16), content: &[u8]) -> Result<()> {
        self.method(channel, method, content)?;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn read(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head)?;
        let [kind, _, _, length @ ..] = head;
        let mut content = vec![0; usize::try_from(u32::from_be_bytes(length))? + 1];
        self.stream.read_exact(&mut content)?;
        ensure!(content.pop() == Some(FRAME_END), "not a frame of AMQP");
        Ok((kind, content))
    }

    /// The next method and its arguments; confirms and deliveries are noted on the way.
    fn step(&mut self) -> Result<(u16, u16, Vec<u8>)> {
        loop {
            let (kind, content) = self.read()?;
            if kind != METHOD {
                continue;
            }
            let mut fields = Fields(&content);
            let (class, id) = (fields.u16()?, fields.u16()?);
            match (class, id) {
                (60, 80) => {
                    let (tag, multiple) = (fields.u64()?, fields.u8()? & 1 == 1);
                    self.confirm(tag, multiple);
                }
                (60, 120) => bail!("RabbitMQ refused a message"),
                (60, 60) => {
                    fields.short()?;
                    let tag = fields.u64()?;
                    self.deliver(tag)?;
                }
                (10, 50) | (20, 40) => {
                    bail!("RabbitMQ: {}", String::from_utf8_lossy(fields.0).escape_debug())
                }
                _ => return Ok((class, id, fields.0.to_vec())),
            }
            return Ok((class, id, Vec::new()));
        }
    }

    fn confirm(&mut self, tag: u64, multiple: bool) {
        if multiple {
            self.confirmed = self.confirmed.max(tag);
            self.beyond.retain(|it| *it > tag);
        } else {
            self.beyond.push(tag);
        }
        while let Some(at) = self.beyond.iter().position(|it| *it == self.confirmed + 1) {
            self.beyond.swap_remove(at);
            self.confirmed += 1;
        }
    }

    fn deliver(&mut self, tag: u64) -> Result<()> {
        let (_, header) = self.read()?;
        let size = Fields(header.get(4..).context("a short header")?).u64()?;
        let mut body = Vec::new();
        while u64::try_from(body.len())? < size {
            body.extend(self.read()?.1);
        }
        self.delivered.push((tag, Body::parse(std::str::from_utf8(&body)?)?));
        Ok(())
    }

    fn wait(&mut self, class: u16, id: u16) -> Result<Vec<u8>> {
        loop {
            let (got, method, rest) = self.step()?;
            if (got, method) == (class, id) {
                return Ok(rest);
            }
        }
    }
}

impl Client for Session {
    fn enqueue(&mut self, bodies: &[Body]) -> Result<()> {
        for body in bodies {
            let body = body.as_str().as_bytes();
            let to = [&[0, 0, 0][..], &short(QUEUE), &[0]].concat();
            self.method(1, (60, 40), &to)?;
            let size = u64::try_from(body.len())?.to_be_bytes();
            // The one property that is there: the delivery mode, persistent.
            let header = [&[0, 60, 0, 0][..], &size, &[0x10, 0, 2]].concat();
            self.frame(HEADER, 1, &header)?;
            self.frame(BODY, 1, body)?;
            self.published += 1;
        }
        self.flush()?;
        while self.confirmed < self.published {
            self.step()?;
        }
        Ok(())
    }

    fn lease(&mut self, jobs_max: usize, bodies: &mut Vec<Body>) -> Result<()> {
        while self.delivered.len() < jobs_max {
            self.step()?;
        }
        for (tag, body) in self.delivered.drain(..jobs_max) {
            self.leased = Some(tag);
            bodies.push(body);
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        let Some(tag) = self.leased.take() else { return Ok(()) };
        self.call(1, (60, 80), &[&tag.to_be_bytes()[..], &[1]].concat())
    }
}

/// A text of at most 255 bytes behind its length.
fn short(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[length][..], text.as_bytes()].concat()
}

/// What is left of a method's arguments.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().context("a short method")?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn short(&mut self) -> Result<()> {
        let length = usize::from(self.u8()?);
        self.0 = self.0.get(length..).context("a short text")?;
        Ok(())
    }
}
