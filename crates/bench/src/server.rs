//! The two servers that are compared, each started afresh in a folder of its own.

use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use redis::{Client, IntoConnectionInfo};
use rhumb_integration::{Cluster, Layout, READY_WAIT_MAX};
use serde::Serialize;
use tempfile::TempDir;

use crate::{machine, plan::Durability};

/// The peer, from Debian's redis-server.
pub(crate) const REDIS: &str = "redis-server";
/// How long a server may take for an answer while it starts.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at a server that starts: well below what a start takes.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Whose server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Rhumb,
    Redis,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rhumb => "Rhumb",
            Self::Redis => "Redis",
        })
    }
}

/// A server without data. Dropping it ends it and removes its files.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    /// From the start of the process until it had taken a write.
    pub(crate) ready_after: Duration,
}

#[derive(Debug)]
enum Process {
    Rhumb(Box<Cluster>),
    Redis(Redis),
}

impl Server {
    /// Starts a server, and waits until it takes writes.
    pub(crate) fn start(side: Side, durability: Durability) -> Result<Self> {
        let ack = durability.ack();
        let (process, since) = match side {
            Side::Rhumb => {
                let layout = Layout::regions(1).adjust(move |all| all.state.ack = ack);
                let mut cluster = layout.prepare()?;
                let since = Instant::now();
                cluster.start(0)?;
                (Process::Rhumb(Box::new(cluster)), since)
            }
            Side::Redis => {
                let since = Instant::now();
                (Process::Redis(Redis::start(durability)?), since)
            }
        };
        let mut server = Self { process, ready_after: Duration::ZERO };
        server.wait(since).with_context(|| format!("{side} does not take writes"))?;
        server.ready_after = since.elapsed();
        Ok(server)
    }

    fn wait(&self, since: Instant) -> Result<()> {
        loop {
            let Err(error) = self.write_once() else { return Ok(()) };
            if since.elapsed() > READY_WAIT_MAX {
                return Err(error);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    fn write_once(&self) -> Result<()> {
        let at = self.address();
        let client = Client::open((at.ip().to_string(), at.port()).into_connection_info()?)?;
        let mut connection = client.get_connection_with_timeout(ANSWER_WAIT)?;
        connection.set_read_timeout(Some(ANSWER_WAIT))?;
        redis::cmd("SET").arg("bench:ready").arg(1).exec(&mut connection)?;
        Ok(())
    }

    /// Where it speaks RESP.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.process {
            Process::Rhumb(cluster) => cluster.resp(0),
            Process::Redis(redis) => redis.address,
        }
    }

    fn process(&self) -> Result<u32> {
        match &self.process {
            Process::Rhumb(cluster) => cluster.process(0).context("the node has ended"),
            Process::Redis(redis) => Ok(redis.child.id()),
        }
    }

    /// The processor time that all its threads have taken so far, in the kernel too.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        machine::processor_time(self.process()?)
    }

    /// What it holds of the machine's memory now, in megabytes of 2^20 bytes.
    pub(crate) fn resident_mebibytes(&self) -> Result<f64> {
        let id = self.process()?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kibibytes = kibibytes.context("the system does not say what is resident")?;
        Ok(kibibytes.trim().parse::<f64>()? / 1_024.0)
    }
}

/// A Redis with its append-only file, as Debian's package sets it up, without snapshots.
#[derive(Debug)]
struct Redis {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    fn start(durability: Durability) -> Result<Self> {
        // Where Rhumb's data goes, so that both write to the same disk.
        let folder = tempfile::Builder::new().prefix("rhumb-bench-redis-").tempdir()?;
        // The port is free again once it is dropped; nobody else is given it so soon.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let port = address.port().to_string();
        let mut command = Command::new(REDIS);
        command.args(["--bind", "127.0.0.1", "--port", &port, "--daemonize", "no", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", durability.appendfsync()]);
        command.arg("--dir").arg(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .context("cannot start redis-server; it is in Debian's package of the same name")?;
        Ok(Self { child, address, _folder: folder })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Whatever ended before needs no killing.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Asks a server for its version.
pub(crate) fn version(program: &std::path::Path) -> Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(output.status.success(), "{} does not tell its version", program.display());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
