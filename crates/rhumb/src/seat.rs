//! What a node is in the cluster, as the file says or as an operator invites it.

use anyhow::{Context, Result, bail};
use rhumb_config::Config;
use rhumb_peer::Seat;
use rhumb_types::{NodeId, RegionId, control::MemberRole};

/// What an operator says of a node that is invited; the file says the rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Where peers will reach it.
    pub(crate) address: Option<String>,
    /// What it will do.
    pub(crate) role: Option<MemberRole>,
    /// The member that it takes the place of.
    pub(crate) replaces: Option<NodeId>,
}

/// What a configured region's node does; nothing when the file does not name the region.
pub(crate) fn role(config: &Config, region: &RegionId) -> Option<MemberRole> {
    let region = config.registry().get(region)?;
    Some(match (region.witness, config.voters().contains(&region.id)) {
        (true, _) => MemberRole::Witness,
        (false, true) => MemberRole::Voter,
        (false, false) => MemberRole::Learner,
    })
}

/// The seat of a node that is invited to a region.
pub(crate) fn seat(config: &Config, region: &RegionId, wanted: Wanted) -> Result<Seat> {
    let known = config.registry().get(region);
    let Some(address) = wanted.address.or_else(|| known.map(|region| region.address.clone()))
    else {
        bail!("{region} is not in this node's file: say where its node will listen (address)");
    };
    let role = wanted.role.or_else(|| role(config, region)).with_context(|| {
        format!("{region} is not in this node's file: say what its node will do (role)")
    })?;
    Ok(Seat { address, role, replaces: wanted.replaces, agreed: false })
}
