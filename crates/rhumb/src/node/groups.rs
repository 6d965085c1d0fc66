//! The consensus groups of a node: administration, and strong namespaces.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use bytes::Bytes;
use rhumb_config::Config;
use rhumb_control::{FileDisk, Group, GroupConfig, Groups, Limits, Timing};
use rhumb_engine::OsEntropy;
use rhumb_peer::{Identity, Peer};
use rhumb_ports::{clock::Entropy, control::Replicated, peer::Service};
use rhumb_regions::AdminMachine;
use rhumb_state::strong::StrongMachine;

/// Both groups.
#[derive(Debug)]
pub(super) struct Agreement {
    /// Administration.
    pub(super) admin: Group,
    /// Strong namespaces.
    pub(super) strong: Group,
}

struct Admin(AdminMachine);

impl Replicated for Admin {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        self.0.apply(index, command)
    }
    fn read(&self, query: &[u8]) -> Bytes {
        self.0.read(query)
    }
    fn snapshot(&self) -> Bytes {
        self.0.snapshot()
    }
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.0.restore(snapshot)
    }
}

struct Strong(StrongMachine);

impl Replicated for Strong {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        self.0.apply(index, command)
    }
    fn read(&self, query: &[u8]) -> Bytes {
        self.0.read(query)
    }
    fn snapshot(&self) -> Bytes {
        self.0.snapshot()
    }
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.0.restore(snapshot)
    }
}

impl Agreement {
    /// Starts both groups on their own logs, and answers peers for them.
    pub(super) async fn start(
        config: &Config,
        identity: &Identity,
        data: &Path,
        peer: &Arc<Peer>,
    ) -> Result<Self> {
        let group = |name: &str, service, limits| GroupConfig {
            name: name.to_owned(),
            service,
            node: identity.node,
            region: identity.region.clone(),
            founders: config.voters().to_vec(),
            limits,
            timing: Timing::for_round_trip(config.voter_round_trip()),
            seed: OsEntropy.next_u64(),
        };
        let start = async |config: GroupConfig, machine: Box<dyn Replicated>| {
            let name = config.name.clone();
            let disk = FileDisk::open(data.join("control").join(&name))?;
            let group = Group::start(config, machine, Arc::new(disk), peer.clone()).await;
            group.with_context(|| format!("the {name} group did not start"))
        };
        let admin = group("admin", Service::ControlRaft, Limits::administrative());
        let admin = start(admin, Box::new(Admin(AdminMachine::new()))).await?;
        let strong = group("strong", Service::StrongRaft, Limits::strong());
        let strong = start(strong, Box::new(Strong(StrongMachine::new()))).await?;
        peer.answer_with(Arc::new(Groups::new([admin.clone(), strong.clone()])));
        Ok(Self { admin, strong })
    }

    /// Ends both.
    pub(super) async fn stop(&self) {
        self.strong.stop().await;
        self.admin.stop().await;
    }
}
