//! Groups in one process, over a network that can be cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use rhumb_control::{FileDisk, Group, GroupConfig, Groups, Limits, OpenError, Timing};
use rhumb_ports::{
    BoxFuture,
    contract::control::Tape,
    control::{Control, GroupStatus},
    peer::{CallError, PeerCall, PeerService, Service},
};
use rhumb_types::{NodeId, RegionId};

pub fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// Answers of all nodes by region, the links that are cut, and how long one way takes.
#[derive(Default)]
pub struct Net {
    nodes: Mutex<BTreeMap<RegionId, Groups>>,
    cut: Mutex<BTreeSet<RegionId>>,
    silent: Mutex<BTreeSet<RegionId>>,
    one_way: Mutex<Duration>,
}

impl Net {
    pub fn with_delay(one_way: Duration) -> Arc<Self> {
        let net = Self::default();
        *net.one_way.lock().unwrap() = one_way;
        Arc::new(net)
    }

    pub fn register(&self, region: RegionId, groups: Groups) {
        self.nodes.lock().unwrap().insert(region, groups);
    }

    /// Takes a region off the network, or puts it back.
    pub fn cut(&self, region: &RegionId, cut: bool) {
        let mut all = self.cut.lock().unwrap();
        if cut {
            all.insert(region.clone())
        } else {
            all.remove(region)
        };
    }

    /// From now on nothing comes from a region or gets there, and nobody is told.
    pub fn silence(&self, region: &RegionId) {
        self.silent.lock().unwrap().insert(region.clone());
    }

    async fn pass(&self, from: &RegionId, to: &RegionId) {
        let silent = [from, to].iter().any(|end| self.silent.lock().unwrap().contains(*end));
        if silent {
            std::future::pending::<()>().await;
        }
    }

    pub fn forget(&self, region: &RegionId) {
        self.nodes.lock().unwrap().remove(region);
    }
}

/// The network as one node sees it.
pub struct Caller {
    pub net: Arc<Net>,
    pub from: RegionId,
}

impl PeerCall for Caller {
    fn call(
        &self,
        to: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let one_way = *self.net.one_way.lock().unwrap();
            let cut = || {
                let cut = self.net.cut.lock().unwrap();
                cut.contains(&to) || cut.contains(&self.from)
            };
            let unreachable = |sent| CallError::Unreachable {
                peer: to.to_string(),
                sent,
                reason: "cut".to_owned(),
            };
            if cut() {
                return Err(unreachable(false));
            }
            self.net.pass(&self.from, &to).await;
            tokio::time::sleep(one_way).await;
            let groups = self.net.nodes.lock().unwrap().get(&to).cloned();
            let Some(groups) = groups else { return Err(unreachable(false)) };
            let answer = groups.answer(self.from.clone(), service, request).await;
            if cut() {
                return Err(unreachable(true));
            }
            self.net.pass(&self.from, &to).await;
            tokio::time::sleep(one_way).await;
            answer.map_err(|reason| CallError::Refused { peer: to.to_string(), reason })
        })
    }
}

pub const REGIONS: [&str; 3] = ["us", "eu", "ap"];

pub fn config(node: u64, name: &str, founders: &[&str], round_trip: Duration) -> GroupConfig {
    GroupConfig {
        name: "administrative".to_owned(),
        service: Service::ControlRaft,
        node: NodeId(node),
        region: region(name),
        seated: false,
        founders: founders.iter().map(|name| region(name)).collect(),
        limits: Limits::administrative(),
        timing: Timing::for_round_trip(round_trip),
        seed: 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(node + 1),
    }
}

/// Opens a directory once the tasks of a stopped group have let go of it.
pub async fn open_free(directory: &Path) -> FileDisk {
    for _ in 0..500 {
        match FileDisk::open(directory) {
            Err(OpenError::Locked(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => return other.unwrap(),
        }
    }
    panic!("{} stays locked", directory.display());
}

/// Starts a node on real files and puts it on the network.
pub async fn start(config: GroupConfig, directory: &Path, net: &Arc<Net>) -> Group {
    let region = config.region.clone();
    let group = start_unseen(config, directory, net).await;
    net.register(region, Groups::new([group.clone()]));
    group
}

/// Starts a node on real files that nobody can call.
pub async fn start_unseen(config: GroupConfig, directory: &Path, net: &Arc<Net>) -> Group {
    let region = config.region.clone();
    let disk = Arc::new(open_free(directory).await);
    let call = Arc::new(Caller { net: Arc::clone(net), from: region });
    Group::start(config, Box::new(Tape::default()), disk, call).await.unwrap()
}

/// Three nodes on real files.
pub struct Three {
    pub net: Arc<Net>,
    pub directory: tempfile::TempDir,
    pub groups: Vec<Group>,
}

impl Three {
    pub async fn start(round_trip: Duration) -> Self {
        Self::start_seeded(round_trip, 0).await
    }

    pub async fn start_seeded(round_trip: Duration, seed: u64) -> Self {
        let net = Net::with_delay(round_trip / 2);
        let directory = tempfile::tempdir().unwrap();
        let mut groups = Vec::new();
        for (node, name) in (1..).zip(REGIONS) {
            let mut config = config(node, name, &REGIONS, round_trip);
            config.seed ^= seed.wrapping_mul(0xd134_2543_de82_ef95);
            groups.push(start(config, &directory.path().join(name), &net).await);
        }
        Self { net, directory, groups }
    }

    /// Waits until some node leads; gives its place.
    pub async fn leader(&self) -> usize {
        loop {
            if let Some(place) = self.groups.iter().position(Group::is_leader) {
                return place;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits until a status is as wanted, and fails with it after 30 s.
pub async fn until(group: &Group, wanted: impl Fn(&GroupStatus) -> bool) -> GroupStatus {
    for _ in 0..3_000 {
        let status = group.status();
        if wanted(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the status stays {:?}", group.status());
}
