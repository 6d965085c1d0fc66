//! What a cluster is made of, before it is made.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rhumb_config::{
    Settings,
    dev::{self, SAFE_PREFIX},
    settings::{ListenerSettings, ListenersSettings},
};
use rhumb_engine::OsEntropy;
use rhumb_peer::{ClusterAuthority, Identity, Validity};
use rhumb_ports::clock::Entropy;
use rhumb_types::{ClusterId, NodeId, RegionId};

use crate::{
    cluster::{Addresses, Cluster, Link},
    ports::Ports,
    process::Node,
    relay::Relay,
};

/// Regions beyond those of `rhumb dev`.
const MORE: [&str; 2] = ["us-west-2", "eu-central-1"];

type Adjust = Box<dyn FnOnce(&mut Settings)>;

/// What a cluster is made of.
pub struct Layout {
    regions: usize,
    witness: bool,
    relayed: bool,
    identities: bool,
    data: Option<PathBuf>,
    addresses: Option<Vec<Addresses>>,
    adjust: Option<Adjust>,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout").field("regions", &self.regions).finish_non_exhaustive()
    }
}

impl Layout {
    /// So many regions, first those of `rhumb dev`, at most five, with its settings: keys under `lock:` are strong,
    /// keys under `safe:` are acknowledged at `one_remote` where there is more than one region,
    /// all others at `local`.
    #[must_use]
    pub fn regions(count: usize) -> Self {
        Self {
            regions: count,
            witness: false,
            relayed: false,
            identities: true,
            data: None,
            addresses: None,
            adjust: None,
        }
    }

    /// The last region only votes.
    #[must_use]
    pub const fn witness(mut self) -> Self {
        self.witness = true;
        self
    }

    /// Messages between nodes pass through relays, so that they can be cut.
    #[must_use]
    pub const fn relayed(mut self) -> Self {
        self.relayed = true;
        self
    }

    /// No node has an identity yet.
    #[must_use]
    pub const fn without_identities(mut self) -> Self {
        self.identities = false;
        self
    }

    /// Data goes into this folder rather than a temporary one.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Each region's node has an address of its own, and the usual ports there.
    #[must_use]
    pub fn hosts(mut self, hosts: &[Ipv4Addr]) -> Self {
        self.addresses = Some(hosts.iter().map(|host| Addresses::of_host(*host)).collect());
        self
    }

    /// Changes the settings of every node before they are written.
    #[must_use]
    pub fn adjust(mut self, change: impl FnOnce(&mut Settings) + 'static) -> Self {
        self.adjust = Some(Box::new(change));
        self
    }

    /// Writes identities and configuration; starts nothing.
    ///
    /// # Errors
    /// When files cannot be written, or ports are not to be had.
    pub fn prepare(self) -> Result<Cluster> {
        let folder = tempfile::Builder::new().prefix("rhumb-test-").tempdir()?;
        let data = self.data.clone().unwrap_or_else(|| folder.path().to_owned());
        let names = dev::REGIONS.iter().chain(&MORE).take(self.regions);
        let regions = names.map(|name| RegionId::new(name)).collect::<Result<Vec<_>, _>>()?;
        let mut ports = Ports::take()?;
        let addresses = match self.addresses {
            Some(addresses) => addresses,
            None => regions.iter().map(|_| Addresses::take(&mut ports)).collect::<Result<_>>()?,
        };
        let mut settings = dev::settings(&regions, data.clone(), 0);
        listen(&mut settings, &regions, &addresses);
        if let Some(last) = regions.last().filter(|_| self.witness) {
            let witness = settings.regions.get_mut(last).context("the witness is a region")?;
            witness.witness = true;
            witness.listeners.resp = None;
            witness.listeners.s3 = None;
            witness.listeners.sqs = None;
            witness.listeners.cache = None;
        }
        if self.regions == 1 {
            settings.state.namespaces.retain(|namespace| namespace.prefix != SAFE_PREFIX);
        }
        if let Some(adjust) = self.adjust {
            adjust(&mut settings);
        }
        let links = if self.relayed { relays(&addresses, &mut ports)? } else { BTreeMap::new() };
        let mut nodes = Vec::with_capacity(regions.len());
        for (nth, region) in regions.iter().enumerate() {
            let seen = seen_by(nth, &settings, &regions, &links);
            let config = folder.path().join(format!("{region}.yaml"));
            fs::write(&config, seen.to_yaml()?)?;
            let log = folder.path().join(format!("{region}.log"));
            nodes.push(Node::new(region.as_str().to_owned(), config, log));
        }
        let authority = ClusterAuthority::create(ClusterId(OsEntropy.next_u64()))?;
        if self.identities {
            issue(&authority, &data, &regions)?;
        }
        Ok(Cluster::new(folder, data, authority, addresses, nodes, links, ports))
    }

    /// Makes the cluster and starts it; every node takes writes when this returns, what one writes
    /// reaches the others, and strong namespaces are open.
    ///
    /// # Errors
    /// When a node does not become ready; the end of its log is in the message.
    pub fn start(self) -> Result<Cluster> {
        let witness = self.witness;
        let mut cluster = self.prepare()?;
        let nodes = 0..cluster.len();
        for nth in nodes.clone() {
            cluster.start(nth)?;
        }
        let last = nodes.end.saturating_sub(usize::from(witness));
        cluster.wait_until_linked(0..last)?;
        cluster.wait_until_agreed(0..last)?;
        Ok(cluster)
    }
}

fn listen(settings: &mut Settings, regions: &[RegionId], addresses: &[Addresses]) {
    let at = |address: SocketAddr| {
        Some(ListenerSettings { address: Some(address), ..Default::default() })
    };
    for (region, own) in regions.iter().zip(addresses) {
        if let Some(of) = settings.regions.get_mut(region) {
            of.address = own.peer.to_string();
            of.listeners = ListenersSettings {
                http: at(own.http),
                peer: at(own.peer),
                resp: at(own.resp),
                s3: at(own.s3),
                sqs: at(own.sqs),
                cache: at(own.cache),
            };
        }
    }
}

/// A relay for every ordered pair of nodes.
fn relays(addresses: &[Addresses], ports: &mut Ports) -> Result<BTreeMap<Link, Relay>> {
    let mut relays = BTreeMap::new();
    for from in 0..addresses.len() {
        for (to, called) in addresses.iter().enumerate().filter(|(to, _)| *to != from) {
            let listen = ports.address()?;
            relays.insert(Link { from, to, at: listen }, Relay::start(listen, called.peer)?);
        }
    }
    Ok(relays)
}

/// The settings with the addresses at which one node finds the others.
fn seen_by(
    from: usize,
    settings: &Settings,
    regions: &[RegionId],
    links: &BTreeMap<Link, Relay>,
) -> Settings {
    let mut seen = settings.clone();
    for link in links.keys().filter(|link| link.from == from) {
        if let Some(of) = regions.get(link.to).and_then(|region| seen.regions.get_mut(region)) {
            of.address = link.at.to_string();
        }
    }
    seen
}

fn issue(authority: &ClusterAuthority, data: &Path, regions: &[RegionId]) -> Result<()> {
    for (nth, region) in (1..).zip(regions) {
        let own = data.join(region.as_str()).join("identity");
        fs::create_dir_all(&own)?;
        let identity =
            Identity { cluster: authority.cluster(), region: region.clone(), node: NodeId(nth) };
        authority.issue(&identity, Validity::node())?.write(&own)?;
    }
    Ok(())
}
