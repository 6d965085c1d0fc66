//! From the configuration's words to those of the parts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use rhumb_config::{
    Config,
    settings::{ListenerSettings, Server},
};
use rhumb_engine::node::{Member, NodeConfig, Retention};
use rhumb_front::Listener;
use rhumb_peer::Identity;
use rhumb_regions::locations;
use rhumb_server_resp::{RespConfig, TlsFiles, UserConfig};
use rhumb_state::Namespaces;
use rhumb_types::{DomainId, RegionId};

use crate::folders;

/// The data directory of a region's node.
pub(super) fn data_directory(config: &Config, region: &RegionId) -> PathBuf {
    folders::node(&config.settings().data, region)
}

/// The members, as peers know each other.
pub(super) fn members(config: &Config) -> Vec<rhumb_peer::Member> {
    let regions = config.registry().regions().iter();
    regions
        .map(|region| rhumb_peer::Member {
            region: region.id.clone(),
            node: None,
            address: region.address.clone(),
        })
        .collect()
}

/// Half the round trip to each other region.
pub(super) fn delays(config: &Config, own: &RegionId) -> BTreeMap<RegionId, Duration> {
    let others = config.registry().regions().iter().filter(|region| region.id != *own);
    others
        .filter_map(|region| {
            let round_trip = locations::rtt(own.as_str(), region.id.as_str())?;
            Some((region.id.clone(), round_trip / 2))
        })
        .collect()
}

/// The node's own configuration; a rehearsal starts it too.
pub(crate) fn node(config: &Config, identity: &Identity) -> Result<NodeConfig> {
    let registry = config.registry();
    let witness =
        registry.regions().iter().any(|region| region.id == identity.region && region.witness);
    let members = registry.regions().iter().map(|region| Member {
        region: region.id.clone(),
        witness: region.witness,
        domains: domains(config, &region.id).into_iter().collect(),
    });
    Ok(NodeConfig {
        cluster: identity.cluster,
        node: identity.node,
        region: identity.region.clone(),
        witness,
        domains: domains(config, &identity.region),
        namespaces: Namespaces::configured(config.namespaces())?,
        retention: Retention {
            age: config.settings().state.retention.age.0,
            ..Retention::default()
        },
        heartbeat_interval: config.health().heartbeat_every,
        members: members.collect(),
    })
}

/// The RESP server's users.
pub(super) fn resp(config: &Config, listener: &ListenerSettings) -> RespConfig {
    let users = config.settings().acl.users.iter().map(|user| UserConfig {
        name: user.name.clone(),
        password_sha256: user.password_sha256.clone(),
        commands: user.commands.clone(),
        keys: user.keys.clone(),
        channels: user.channels.clone(),
    });
    RespConfig { users: users.collect(), auth: listener.auth, tls: tls(config, listener) }
}

/// Where a server of HTTP listens, and what protects it there.
pub(super) fn listener(config: &Config, listener: &ListenerSettings, server: Server) -> Listener {
    let address = listener.address(server);
    Listener { address, auth: listener.auth, tls: tls(config, listener) }
}

/// The certificate of a listener, where it encrypts.
fn tls(config: &Config, listener: &ListenerSettings) -> Option<TlsFiles> {
    config.settings().tls.as_ref().filter(|_| listener.tls).map(|tls| TlsFiles {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        client_authorities: tls.client_authorities.clone(),
    })
}

/// The residency domains of a region, beside that of every region.
pub(super) fn domains(config: &Config, region: &RegionId) -> BTreeSet<DomainId> {
    let all = config.domains().iter();
    all.filter(|(id, domain)| **id != DomainId::EVERYWHERE && domain.regions.contains(region))
        .map(|(id, _)| *id)
        .collect()
}
