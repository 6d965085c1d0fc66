//! The S3 server of a node, and who may use it.

use std::sync::Arc;

use anyhow::Result;
use rhumb_config::{
    Config,
    settings::{ListenerSettings, Server},
};
use rhumb_engine::Engine;
use rhumb_peer::Peer;
use rhumb_server_s3::{AccessKey, S3Config, S3Server};
use rhumb_telemetry::Metrics;

use super::{access, settings};

/// Starts the S3 server, where it is on and there are objects.
pub(super) async fn serve(
    config: &Config,
    engine: &Engine,
    peer: &Peer,
    metrics: &Arc<Metrics>,
) -> Result<Option<S3Server>> {
    let region = peer.identities().identity().region;
    let Some(listener) = config.listener(&region, Server::S3) else { return Ok(None) };
    if engine.objects().is_none() {
        return Ok(None);
    }
    let s3 = s3(config, listener, peer)?;
    let server = S3Server::new(&s3, engine.clone(), region.as_str(), metrics)?;
    let address = server.listen().await?;
    tracing::info!(%address, "S3 is served");
    Ok(Some(server))
}

fn s3(config: &Config, listener: &ListenerSettings, peer: &Peer) -> Result<S3Config> {
    let keys = access::keys(config, peer, |key| (&key.buckets, &key.queues))?;
    let key = |key: access::Key| {
        let access::Key { id, secret, role, reach } = key;
        AccessKey { id, secret, role, buckets: reach }
    };
    Ok(S3Config {
        address: listener.address(Server::S3),
        auth: listener.auth,
        keys: keys.into_iter().map(key).collect(),
        regions: config.settings().regions.keys().map(ToString::to_string).collect(),
        tls: settings::tls(config, listener),
    })
}
