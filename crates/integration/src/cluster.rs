//! A cluster of processes.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
    process::ExitStatus,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use redis::{Client, Connection, IntoConnectionInfo};
use rhumb_config::{dev::STRONG_PREFIX, settings::Server};
use rhumb_peer::{ClusterAuthority, Identity, Validity};
use rhumb_types::{NodeId, RegionId};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    ports::Ports,
    process::{Launch, Node},
    programs,
    relay::{Direction, Relay},
};

/// How long a node may take until it serves, in a debug build on a busy machine.
pub const READY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client waits for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long a node may take to end after SIGTERM.
const STOP_WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How much of a log is shown when something goes wrong.
const LOG_LINES_SHOWN: usize = 15;

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) resp: SocketAddr,
    pub(crate) s3: SocketAddr,
    pub(crate) sqs: SocketAddr,
    pub(crate) cache: SocketAddr,
}

impl Addresses {
    pub(crate) fn take(ports: &mut Ports) -> Result<Self> {
        Ok(Self {
            http: ports.address()?,
            peer: ports.address()?,
            resp: ports.address()?,
            s3: ports.address()?,
            sqs: ports.address()?,
            cache: ports.address()?,
        })
    }

    /// The usual ports of a host of its own.
    pub(crate) fn of_host(host: Ipv4Addr) -> Self {
        let at = |server: Server| SocketAddr::from((host, server.port()));
        Self {
            http: at(Server::Http),
            peer: at(Server::Peer),
            resp: at(Server::Resp),
            s3: at(Server::S3),
            sqs: at(Server::Sqs),
            cache: at(Server::Cache),
        }
    }
}

/// Who calls whom through a relay, and where the relay listens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Link {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) at: SocketAddr,
}

/// A cluster of `rhumb serve` processes. Nodes are named by their place, from 0.
///
/// Dropping it ends every process and removes its files.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    links: BTreeMap<Link, Relay>,
    addresses: Vec<Addresses>,
    authority: ClusterAuthority,
    data: PathBuf,
    _folder: TempDir,
    _ports: Ports,
}

impl Cluster {
    pub(crate) const fn new(
        folder: TempDir,
        data: PathBuf,
        authority: ClusterAuthority,
        addresses: Vec<Addresses>,
        nodes: Vec<Node>,
        links: BTreeMap<Link, Relay>,
        ports: Ports,
    ) -> Self {
        Self { nodes, links, addresses, authority, data, _folder: folder, _ports: ports }
    }

    /// How many nodes there are, witnesses included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn node(&mut self, nth: usize) -> Result<&mut Node> {
        self.nodes.get_mut(nth).with_context(|| format!("there is no node {nth}"))
    }

    /// The name of a node's region.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn region(&self, nth: usize) -> &str {
        #[expect(clippy::indexing_slicing, reason = "a test that names no node is wrong")]
        &self.nodes[nth].region
    }

    /// Where a node's RESP server listens.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn resp(&self, nth: usize) -> SocketAddr {
        #[expect(clippy::indexing_slicing, reason = "a test that names no node is wrong")]
        self.addresses[nth].resp
    }

    /// Where a node's S3 server listens.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn s3(&self, nth: usize) -> SocketAddr {
        #[expect(clippy::indexing_slicing, reason = "a test that names no node is wrong")]
        self.addresses[nth].s3
    }

    /// Where a node's SQS server listens.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn sqs(&self, nth: usize) -> SocketAddr {
        #[expect(clippy::indexing_slicing, reason = "a test that names no node is wrong")]
        self.addresses[nth].sqs
    }

    /// Where a node's cache server listens.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn cache(&self, nth: usize) -> SocketAddr {
        #[expect(clippy::indexing_slicing, reason = "a test that names no node is wrong")]
        self.addresses[nth].cache
    }

    /// Where a node listens for its peers.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn peer(&self, nth: usize) -> SocketAddr {
        #[expect(clippy::indexing_slicing, reason = "a test that names no node is wrong")]
        self.addresses[nth].peer
    }

    /// Where a node's HTTP server listens.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn http(&self, nth: usize) -> SocketAddr {
        #[expect(clippy::indexing_slicing, reason = "a test that names no node is wrong")]
        self.addresses[nth].http
    }

    /// A node's configuration file.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn config(&self, nth: usize) -> &Path {
        #[expect(clippy::indexing_slicing, reason = "a test that names no node is wrong")]
        &self.nodes[nth].config
    }

    /// A node's data directory.
    #[must_use]
    pub fn data(&self, nth: usize) -> PathBuf {
        self.data.join(self.region(nth))
    }

    /// The authority that signed the identities which the layout made.
    #[must_use]
    pub const fn authority(&self) -> &ClusterAuthority {
        &self.authority
    }

    /// What a node has written to its log so far.
    #[must_use]
    pub fn log(&self, nth: usize) -> String {
        let path = self.nodes.get(nth).map(|node| &node.log);
        path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// The id of a node's process, while it runs.
    #[must_use]
    pub fn process(&self, nth: usize) -> Option<u32> {
        self.nodes.get(nth)?.id()
    }

    /// Starts a node's process; does not wait until it serves.
    ///
    /// # Errors
    /// When it runs already, or the binary cannot be started.
    pub fn start(&mut self, nth: usize) -> Result<()> {
        self.launch(nth, &Launch::default())
    }

    /// Starts a node's process in a certain way.
    ///
    /// # Errors
    /// When it runs already, or the binary cannot be started.
    pub fn launch(&mut self, nth: usize, launch: &Launch) -> Result<()> {
        let binary = programs::rhumb()?;
        self.node(nth)?.start(&binary, launch)
    }

    /// Ends a node's process at once, as a loss of power ends its machine.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self, nth: usize) -> Result<()> {
        self.node(nth)?.kill()
    }

    /// Asks a node to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub fn terminate(&mut self, nth: usize) -> Result<ExitStatus> {
        let node = self.node(nth)?;
        node.signal(Signal::TERM)?;
        node.wait(STOP_WAIT_MAX)
    }

    /// Sends a node a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&mut self, nth: usize, signal: Signal) -> Result<()> {
        self.node(nth)?.signal(signal)
    }

    /// Waits for a node that ends by itself.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_for_end(&mut self, nth: usize) -> Result<ExitStatus> {
        self.node(nth)?.wait(READY_WAIT_MAX)
    }

    /// A connection to a node's RESP server.
    ///
    /// # Errors
    /// When the node does not take connections.
    pub fn connect(&self, nth: usize) -> Result<Connection> {
        connect(self.resp(nth), ANSWER_WAIT)
    }

    /// Waits until a node takes writes.
    ///
    /// # Errors
    /// When it ends, or takes too long; the end of its log is in the message.
    pub fn wait_until_ready(&mut self, nth: usize) -> Result<()> {
        let give_up = Instant::now() + READY_WAIT_MAX;
        loop {
            let tried = self.connect(nth).and_then(|mut connection| {
                Ok(redis::cmd("SET").arg("test:ready").arg(1).exec(&mut connection)?)
            });
            let Err(error) = tried else { return Ok(()) };
            let ended = self.node(nth)?.ended()?;
            if ended.is_some() || Instant::now() > give_up {
                let state =
                    ended.map_or("does not serve".to_owned(), |how| format!("ended, {how}"));
                return Err(error.context(format!(
                    "{} {state}; its log ends:\n{}",
                    self.region(nth),
                    self.log_end(nth)
                )));
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Waits until nodes take writes, and until what each writes reaches all others.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn wait_until_linked(&mut self, nodes: Range<usize>) -> Result<()> {
        for nth in nodes.clone() {
            self.wait_until_ready(nth)?;
        }
        for from in nodes.clone() {
            let key = format!("test:link:{from}:{}", self.process(from).unwrap_or_default());
            redis::cmd("SET").arg(&key).arg(1).exec(&mut self.connect(from)?)?;
            for to in nodes.clone().filter(|to| *to != from) {
                let mut reader = self.connect(to)?;
                eventually(READY_WAIT_MAX, || {
                    let there: bool = redis::cmd("EXISTS").arg(&key).query(&mut reader)?;
                    ensure!(there, "nothing comes from {from} to {to}: {}", self.log_end(to));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Waits until nodes take strong writes: the control plane first forms once all voters are
    /// there, so a voter that is lost before that is waited for.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn wait_until_agreed(&self, nodes: Range<usize>) -> Result<()> {
        for nth in nodes {
            let key = format!("{STRONG_PREFIX}test:ready");
            eventually(READY_WAIT_MAX, || {
                let mut connection = self.connect(nth)?;
                let set = redis::cmd("SET").arg(&key).arg(1).exec(&mut connection);
                set.with_context(|| self.log_end(nth))
            })?;
        }
        Ok(())
    }

    /// The last lines of a node's log.
    pub(crate) fn log_end(&self, nth: usize) -> String {
        let log = self.log(nth);
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default().join("\n")
    }

    /// Cuts or heals what one node sends to another, whoever has called.
    ///
    /// # Errors
    /// When the cluster has no relays.
    pub fn set_cut_one_way(&self, from: usize, to: usize, cut: bool) -> Result<()> {
        ensure!(!self.links.is_empty(), "only a layout with relays can be cut");
        for (link, relay) in &self.links {
            if (link.from, link.to) == (from, to) {
                relay.set_cut(Direction::Forth, cut);
            } else if (link.to, link.from) == (from, to) {
                relay.set_cut(Direction::Back, cut);
            }
        }
        Ok(())
    }

    /// Cuts a node off from all others, or lets it back.
    ///
    /// # Errors
    /// When the cluster has no relays.
    pub fn set_cut_off(&self, nth: usize, cut: bool) -> Result<()> {
        for other in (0..self.len()).filter(|other| *other != nth) {
            self.set_cut_one_way(nth, other, cut)?;
            self.set_cut_one_way(other, nth, cut)?;
        }
        Ok(())
    }

    /// Gives a node, which must not run, another certificate.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn reissue(
        &mut self,
        nth: usize,
        authority: Option<&ClusterAuthority>,
        validity: Validity,
    ) -> Result<()> {
        if self.process(nth).is_some() {
            bail!("{} runs", self.region(nth));
        }
        let authority = authority.unwrap_or(&self.authority);
        let identity = Identity {
            cluster: authority.cluster(),
            region: RegionId::new(self.region(nth))?,
            node: NodeId(u64::try_from(nth)? + 1),
        };
        let own = self.data(nth).join("identity");
        fs::remove_dir_all(&own)?;
        fs::create_dir_all(&own)?;
        authority.issue(&identity, validity)?.write(&own)?;
        Ok(())
    }
}

/// A connection whose every answer is bounded in time.
pub(crate) fn connect(address: SocketAddr, wait: Duration) -> Result<Connection> {
    let client = Client::open((address.ip().to_string(), address.port()).into_connection_info()?)?;
    let connection = client.get_connection_with_timeout(wait)?;
    connection.set_read_timeout(Some(wait))?;
    connection.set_write_timeout(Some(wait))?;
    Ok(connection)
}

/// Tries until something holds, or gives the last reason why it does not.
///
/// # Errors
/// What the last try said, once the time is over.
pub fn eventually<T>(longest: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let give_up = Instant::now() + longest;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > give_up => {
                return Err(error.context(format!("still so after {longest:?}")));
            }
            Err(_) => thread::sleep(LOOK_INTERVAL),
        }
    }
}
