//! The consensus groups of a node: administration, and strong namespaces.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use rhumb_config::Config;
use rhumb_control::{FileDisk, Group, GroupConfig, Groups, Limits, Timing};
use rhumb_engine::{Agreement, HostedAdmin, HostedStrong, OsEntropy, Shown};
use rhumb_peer::{Identity, Peer};
use rhumb_ports::{clock::Entropy, control::Replicated, peer::Service};
use rhumb_types::control::ControlView;
use tokio::sync::watch;

use crate::folders::{self, IDENTITY};

/// The name of the administrative group.
pub(crate) const ADMIN: &str = "admin";
/// The name of the group of the strong namespaces.
pub(crate) const STRONG: &str = "strong";

/// Beside the identity of a node that takes part in the groups, with its id: from then on its logs
/// must be there.
const SEATED: &str = "seated";

/// The folder of a group's log, in a node's folder.
pub(crate) fn folder(node: &Path, group: &str) -> PathBuf {
    node.join("control").join(group)
}

fn group(
    name: &str,
    service: Service,
    limits: Limits,
    config: &Config,
    identity: &Identity,
    seated: bool,
) -> GroupConfig {
    GroupConfig {
        name: name.to_owned(),
        service,
        node: identity.node,
        region: identity.region.clone(),
        seated,
        founders: config.voters().to_vec(),
        limits,
        timing: Timing::for_round_trip(config.voter_round_trip()),
        seed: OsEntropy.next_u64(),
    }
}

/// Notes for good that a node takes part.
fn take_seat(seat: &Path, node: &str) -> Result<()> {
    let written = fs::write(seat, format!("{node}\n")).and_then(|()| File::open(seat)?.sync_all());
    let synced = written.and_then(|()| seat.parent().map_or(Ok(()), folders::sync));
    synced.with_context(|| format!("cannot write {}", seat.display()))
}

/// Both groups.
#[derive(Debug)]
pub(super) struct BothGroups {
    admin: Group,
    strong: Group,
    views: watch::Receiver<Arc<ControlView>>,
    shown: Shown,
}

impl BothGroups {
    /// Starts both groups on their own logs.
    pub(super) async fn start(
        config: &Config,
        identity: &Identity,
        data: &Path,
        peer: &Arc<Peer>,
    ) -> Result<Self> {
        let start = async |config: GroupConfig, machine: Box<dyn Replicated>| {
            let name = config.name.clone();
            let disk = FileDisk::open(folder(data, &name))?;
            let group = Group::start(config, machine, Arc::new(disk), peer.clone()).await;
            group.with_context(|| format!("the {name} group did not start"))
        };
        let seat = data.join(IDENTITY).join(SEATED);
        let node = identity.node.to_string();
        let seated = fs::read_to_string(&seat).is_ok_and(|of| of.trim() == node);
        let (machine, views) = HostedAdmin::new();
        let admin = Limits::administrative();
        let admin = group(ADMIN, Service::ControlRaft, admin, config, identity, seated);
        let strong = Limits::strong();
        let strong = group(STRONG, Service::StrongRaft, strong, config, identity, seated);
        let admin = start(admin, Box::new(machine)).await?;
        let (machine, shown) = HostedStrong::new();
        let strong = start(strong, Box::new(machine)).await?;
        // Before peers are answered: no vote is given that nobody would remember.
        if !seated {
            take_seat(&seat, &node)?;
        }
        Ok(Self { admin, strong, views, shown })
    }

    /// What answers peers for both.
    pub(super) fn answers(&self) -> Groups {
        Groups::new([self.admin.clone(), self.strong.clone()])
    }

    /// The groups as the engine needs them.
    pub(super) fn agreement(&self) -> Agreement {
        Agreement {
            admin: Arc::new(self.admin.clone()),
            views: self.views.clone(),
            strong: Arc::new(self.strong.clone()),
            shown: self.shown.clone(),
        }
    }

    /// Ends both.
    pub(super) async fn stop(&self) {
        self.strong.stop().await;
        self.admin.stop().await;
    }
}
