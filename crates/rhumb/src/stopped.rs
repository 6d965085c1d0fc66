//! A node that does not run, from its files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use rhumb_config::Config;
use rhumb_control::{FileDisk, Offline, OpenError, Part};
use rhumb_engine::{HostedAdmin, HostedStrong, OsEntropy};
use rhumb_peer::{Identities, Identity, identity::Material};
use rhumb_ports::{clock::Entropy, control::Replicated};
use rhumb_types::control::ControlView;

use crate::{
    folders::{self, IDENTITY},
    node::groups::{self, ADMIN, STRONG},
};

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
    pub(crate) async fn of(config: &Config) -> Result<Self> {
        let region = config
            .region()
            .context("which region's node is this? Set RHUMB_REGION, or `region` in the file")?;
        Self::open(&folders::node(&config.settings().data, region)).await
    }

    /// Opens what a node has left in its folder.
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let material = Identities::load(&folder.join(IDENTITY), None)?.current();
        let (machine, views) = HostedAdmin::new();
        let own = material.identity();
        let admin = open(folder, ADMIN, own, Box::new(machine)).await?;
        let (machine, _shown) = HostedStrong::new();
        let strong = open(folder, STRONG, own, Box::new(machine)).await?;
        let view = views.borrow().clone();
        Ok(Self { folder: folder.to_owned(), material, admin, view, strong })
    }

    /// Who the node is.
    pub(crate) fn identity(&self) -> &Identity {
        self.material.identity()
    }
}

async fn open(
    node: &Path,
    group: &str,
    own: &Identity,
    machine: Box<dyn Replicated>,
) -> Result<Offline> {
    let folder = groups::folder(node, group);
    if !folder.exists() {
        bail!("{} is not there: this node has never run", folder.display());
    }
    let disk = match FileDisk::open(&folder) {
        Err(OpenError::Locked(_)) => bail!(
            "the node of {} runs: stop it first, so that nothing changes meanwhile",
            own.region
        ),
        other => other?,
    };
    let part = Part {
        group: group.to_owned(),
        node: own.node,
        region: own.region.clone(),
        seed: OsEntropy.next_u64(),
    };
    Ok(Offline::open(part, machine, Arc::new(disk)).await?)
}
