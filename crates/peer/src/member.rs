//! Whom this node may speak with.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use rhumb_types::{NodeId, RegionId};

use crate::identity::Identity;

/// One node of the cluster, as the configuration or the control plane lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its region.
    pub region: RegionId,
    /// Which node; any node with a certificate of the region when `None`.
    pub node: Option<NodeId>,
    /// Where it listens for peers: a host name or address, and a port.
    pub address: String,
}

pub(crate) type Members = BTreeMap<RegionId, Member>;

/// Why a node with a good certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotMember {
    #[error("{0} is not in the member list of this node: add the region, or its configuration")]
    Region(Identity),
    #[error("{found} was replaced: the member of its region is {listed}")]
    Node { found: Identity, listed: NodeId },
}

/// The members, replaced as a whole while running.
#[derive(Debug, Default)]
pub(crate) struct Roster(RwLock<Arc<Members>>);

impl Roster {
    pub(crate) fn current(&self) -> Arc<Members> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, members: Members) -> Arc<Members> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(members))
    }

    pub(crate) fn admit(&self, found: &Identity) -> Result<(), NotMember> {
        let members = self.current();
        let member = members.get(&found.region).ok_or_else(|| NotMember::Region(found.clone()))?;
        match member.node {
            Some(listed) if listed != found.node => {
                Err(NotMember::Node { found: found.clone(), listed })
            }
            _ => Ok(()),
        }
    }
}
