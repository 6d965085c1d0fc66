//! A node that does not run, from its files.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use rhumb_config::Config;
use rhumb_control::{FileDisk, GroupConfig, Offline, OpenError};
use rhumb_engine::{HostedAdmin, HostedStrong};
use rhumb_peer::{Identities, Identity, identity::Material};
use rhumb_ports::control::Replicated;
use rhumb_types::{RegionId, control::ControlView};

use crate::{folders, node::groups};

/// A node's identity and control logs. Holds their locks, so that the node cannot start.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// The node's folder.
    pub(crate) folder: PathBuf,
    /// Who it is.
    pub(crate) material: Arc<Material>,
    /// Its log of the administrative group.
    pub(crate) admin: Offline,
    /// What that log says.
    pub(crate) view: Arc<ControlView>,
    /// Its log of the group of the strong namespaces.
    pub(crate) strong: Offline,
}

impl Stopped {
    /// Opens what this machine's node has left.
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let region = region(config)?;
        let data = &config.settings().data;
        let folder = folders::node(data, &region);
        let identities = Identities::load(&folders::identity(data, &region), Some(&region))?;
        let material = identities.current();
        let (machine, views) = HostedAdmin::new();
        let own = material.identity();
        let admin = open(&folder, groups::admin(config, own), Box::new(machine)).await?;
        let strong = Box::new(HostedStrong::new());
        let strong = open(&folder, groups::strong(config, own), strong).await?;
        let view = views.borrow().clone();
        Ok(Self { folder, material, admin, view, strong })
    }

    /// Who the node is.
    pub(crate) fn identity(&self) -> &Identity {
        self.material.identity()
    }
}

/// The region of this machine's node.
fn region(config: &Config) -> Result<RegionId> {
    let region = config.region().cloned();
    region.context("which region's node is this? Set RHUMB_REGION, or `region` in the file")
}

async fn open(
    node: &std::path::Path,
    group: GroupConfig,
    machine: Box<dyn Replicated>,
) -> Result<Offline> {
    let folder = groups::folder(node, &group.name);
    if !folder.exists() {
        bail!("{} is not there: this node has never run", folder.display());
    }
    let disk = match FileDisk::open(&folder) {
        Err(OpenError::Locked(_)) => bail!(
            "the node of {} runs: stop it first, so that nothing changes meanwhile",
            group.region
        ),
        other => other?,
    };
    Ok(Offline::open(group, machine, Arc::new(disk)).await?)
}
