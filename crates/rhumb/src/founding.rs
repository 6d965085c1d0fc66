//! Making identities, with the authority at hand.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};
use rhumb_engine::OsEntropy;
use rhumb_peer::{ClusterAuthority, Identities, Identity, Validity};
use rhumb_ports::clock::Entropy;
use rhumb_types::{ClusterId, NodeId, RegionId};

/// Bits of a node's id: enough that no two are ever drawn alike, and short enough to read out.
const NODE_BITS: u32 = 48;

/// An identity that was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// Whose.
    pub(crate) identity: Identity,
    /// Where its files are.
    pub(crate) folder: PathBuf,
    /// When its certificate ends.
    pub(crate) until: SystemTime,
}

/// A new authority, of a new cluster, in a folder of its own.
pub(crate) fn found(folder: &Path) -> Result<ClusterAuthority> {
    let authority = ClusterAuthority::create(ClusterId(OsEntropy.next_u64()))?;
    authority.save(folder)?;
    Ok(authority)
}

/// An id that no node has had.
pub(crate) fn node_id() -> NodeId {
    NodeId((OsEntropy.next_u64() >> (u64::BITS - NODE_BITS)).max(1))
}

/// Makes the identity of a region's node.
pub(crate) fn issue(
    authority: &ClusterAuthority,
    region: &RegionId,
    node: NodeId,
    folder: PathBuf,
) -> Result<Made> {
    let identity = Identity { cluster: authority.cluster(), region: region.clone(), node };
    let parent = folder.parent().unwrap_or(&folder);
    std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    authority.issue(&identity, Validity::node())?.write(&folder)?;
    // What was written is what a node will read.
    let until = Identities::load(&folder, Some(region))?.expires_at();
    Ok(Made { identity, folder, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_nodes_are_short_and_differ() {
        let ids: std::collections::BTreeSet<NodeId> = (0..100).map(|_| node_id()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.0 > 0 && id.0 >> NODE_BITS == 0));
    }
}
