//! The settings of a cluster on one machine, as `rhumb dev` runs it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use rhumb_types::{AckLevel, Consistency, RegionId, control::FailoverMode};

use crate::{
    Settings,
    settings::{
        CapacitySettings, HTTP_PORT, ListenerSettings, ListenersSettings, NamespaceSettings,
        Profile, RegionSettings, Server,
    },
    units::Period,
};

/// How far apart the ports of two regions are.
pub const PORTS_PER_REGION: u16 = 100;

/// The regions of `rhumb dev`.
pub const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];

/// Keys of `rhumb dev` that are agreed before they are answered: locks.
pub const STRONG_PREFIX: &str = "lock:";
/// Keys of `rhumb dev` that another region has fsynced before a write is answered.
pub const SAFE_PREFIX: &str = "safe:";

/// A cluster on the loopback address: the first region has the ports from `first_port` on, each
/// further region 100 more. Every server is on. The fast profile makes losses visible quickly, and
/// nobody is there to approve a failover.
#[must_use]
pub fn settings(regions: &[RegionId], data: PathBuf, first_port: u16) -> Settings {
    let mut by_name = BTreeMap::new();
    let mut base = first_port;
    for region in regions {
        by_name.insert(region.clone(), on_loopback(base));
        base = base.saturating_add(PORTS_PER_REGION);
    }
    let mut settings =
        Settings { cluster: "dev".to_owned(), data, regions: by_name, ..Settings::default() };
    settings.failover.profile = Profile::Fast;
    settings.failover.mode = FailoverMode::Automatic;
    settings.failover.watch = Period::from_secs(5);
    settings.failover.failback_after = Some(Period::from_secs(2));
    settings.failover.ramp_hold = Period::from_secs(1);
    // So that whoever looks on sees work leave a full region, and stay again.
    settings.spillover.hold = Period::from_secs(3);
    settings.spillover.calm = Period::from_secs(10);
    let named = |prefix: &str, consistency, ack| NamespaceSettings {
        prefix: prefix.to_owned(),
        consistency,
        ack,
        ttl: None,
        residency: Default::default(),
    };
    settings.state.namespaces = vec![
        named(STRONG_PREFIX, Consistency::Strong, None),
        named(SAFE_PREFIX, Consistency::Eventual, Some(AckLevel::OneRemote)),
    ];
    settings
}

fn on_loopback(base: u16) -> RegionSettings {
    let at = |server: Server| {
        let port = base.saturating_add(server.port() - HTTP_PORT);
        SocketAddr::from(([127, 0, 0, 1], port))
    };
    let listener =
        |server| Some(ListenerSettings { address: Some(at(server)), ..Default::default() });
    RegionSettings {
        address: at(Server::Peer).to_string(),
        priority: 1,
        weight: 1,
        location: None,
        capacity: CapacitySettings::default(),
        residency: Default::default(),
        capabilities: Default::default(),
        witness: false,
        spillover: None,
        objects: None,
        listeners: ListenersSettings {
            http: listener(Server::Http),
            peer: listener(Server::Peer),
            resp: listener(Server::Resp),
            s3: listener(Server::S3),
            sqs: listener(Server::Sqs),
            cache: listener(Server::Cache),
        },
    }
}
