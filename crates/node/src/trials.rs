//! What tests of whole nodes begin with.

use std::{collections::BTreeSet, time::Duration};

use rhumb_state::Namespaces;
use rhumb_types::{ClusterId, MonoTime, NodeId, RegionId, Timestamp, UnixMillis};

use crate::{Member, NodeConfig, Retention};

pub(crate) fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// So many microseconds after the beginning.
pub(crate) fn at(micros: u64) -> Timestamp {
    Timestamp { wall: UnixMillis(1_000_000 + micros / 1_000), mono: MonoTime(micros) }
}

/// A node of `us`, in a cluster of these regions.
pub(crate) fn config(regions: &[&str]) -> NodeConfig {
    let member = |name: &&str| Member { region: region(name), witness: false, domains: vec![] };
    NodeConfig {
        cluster: ClusterId(1),
        node: NodeId(1),
        region: region("us"),
        witness: false,
        domains: BTreeSet::new(),
        namespaces: Namespaces::default(),
        retention: Retention::default(),
        heartbeat_interval: Duration::from_millis(100),
        members: regions.iter().map(member).collect(),
    }
}
