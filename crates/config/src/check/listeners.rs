//! Servers: nobody listens twice, and nobody listens to the world unprotected.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Review, cluster::of_region};
use crate::{
    path::Path,
    settings::{ListenerSettings, ListenersSettings, Server},
};

/// Checks the servers of all nodes, and of each region's node.
pub(super) fn check(review: &mut Review<'_>) {
    let settings = review.settings();
    let common = Path::to("listeners");
    for server in Server::ALL {
        if let Some(listener) = settings.listeners.get(server) {
            protection(review, &common, server, listener);
        }
        for (id, region) in &settings.regions {
            if let Some(listener) = region.listeners.get(server) {
                protection(review, &of_region(id).key("listeners"), server, listener);
            }
        }
    }
    clashes(review, &[(&common, &settings.listeners)]);
    for (id, region) in &settings.regions {
        let own = of_region(id).key("listeners");
        if region.listeners != ListenersSettings::default() {
            clashes(review, &[(&own, &region.listeners), (&common, &settings.listeners)]);
        }
    }
}

/// Refuses two servers of one node on one address. The first layer that names a server counts.
fn clashes(review: &mut Review<'_>, layers: &[(&Path, &ListenersSettings)]) {
    let mut taken: BTreeMap<SocketAddr, Server> = BTreeMap::new();
    for server in Server::ALL {
        let named = layers.iter().find_map(|(path, layer)| Some((*path, layer.get(server)?)));
        let Some((path, listener)) = named else { continue };
        let address = listener.address(server);
        if address.port() == 0 {
            continue;
        }
        if let Some(other) = taken.insert(address, server) {
            let message = format!("`{address}` is taken by the {} server", other.key());
            review.refuse(&path.key(server.key()).key("address"), message);
        }
    }
}

/// Beyond the loopback address, a server that faces clients wants TLS and authentication.
fn protection(review: &mut Review<'_>, path: &Path, server: Server, listener: &ListenerSettings) {
    let settings = review.settings();
    let path = path.key(server.key());
    if server == Server::Peer {
        for (key, given) in [("tls", listener.tls), ("auth", listener.auth)] {
            if given {
                let message = "nodes always use mutual TLS between them; remove this";
                review.refuse(&path.key(key), message);
            }
        }
        return;
    }
    if listener.tls && settings.tls.is_none() {
        let message = "there is no certificate; add `tls: { certificate: ..., key: ... }`";
        review.refuse(&path.key("tls"), message);
    }
    if server == Server::Resp && listener.auth && settings.acl.users.is_empty() {
        review.refuse(&path.key("auth"), "there is nobody who could log in; add users under `acl`");
    }
    let address = listener.address(server);
    let missing = match (listener.tls, listener.auth) {
        (true, true) => return,
        (false, true) => "`tls: true`",
        (true, false) => "`auth: true`",
        (false, false) => "`tls: true` and `auth: true`",
    };
    if !address.ip().is_loopback() {
        let message = format!(
            "{} can be reached from other machines; add {missing}, or listen on 127.0.0.1",
            address
        );
        review.refuse(&path.key("address"), message);
    }
}
