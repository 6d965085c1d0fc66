//! Where things are on a machine.
//!
//! `data` of the file holds one folder per node, named after its region, so that nodes which share
//! a file on one machine keep apart. The authority is in the folder of the node that holds it, or
//! beside all of them.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rhumb_peer::ClusterAuthority;
use rhumb_types::RegionId;

/// The name of an authority's folder.
pub(crate) const AUTHORITY: &str = "authority";
/// The name of an identity's folder.
pub(crate) const IDENTITY: &str = "identity";

/// The folder of a region's node.
pub(crate) fn node(data: &Path, region: &RegionId) -> PathBuf {
    data.join(region.as_str())
}

/// The folder of a node's identity.
pub(crate) fn identity(data: &Path, region: &RegionId) -> PathBuf {
    node(data, region).join(IDENTITY)
}

/// Where an authority is made that belongs to no node.
pub(crate) fn authority(data: &Path) -> PathBuf {
    data.join(AUTHORITY)
}

/// The authority that a region's node holds, if it holds one.
pub(crate) fn authority_of(data: &Path, region: &RegionId) -> Option<PathBuf> {
    let places = [node(data, region).join(AUTHORITY), authority(data)];
    places.into_iter().find(|place| ClusterAuthority::is_in(place))
}

/// The authority that any of some regions' nodes holds here.
pub(crate) fn authority_of_any<'a>(
    data: &Path,
    mut regions: impl Iterator<Item = &'a RegionId>,
) -> Option<PathBuf> {
    regions.find_map(|region| authority_of(data, region))
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
