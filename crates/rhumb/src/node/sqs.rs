//! The SQS server of a node, and who may use it.

use std::sync::Arc;

use anyhow::Result;
use rhumb_config::{
    Config,
    settings::{ListenerSettings, Server},
};
use rhumb_engine::Engine;
use rhumb_peer::Peer;
use rhumb_server_sqs::{AccessKey, SqsConfig, SqsServer};
use rhumb_telemetry::Metrics;

use super::{access, settings};

/// Starts the SQS server, where it is on and there are queues.
pub(super) async fn serve(
    config: &Config,
    engine: &Engine,
    peer: &Peer,
    metrics: &Arc<Metrics>,
) -> Result<Option<SqsServer>> {
    let region = peer.identities().identity().region;
    let Some(listener) = config.listener(&region, Server::Sqs) else { return Ok(None) };
    if engine.queues().is_none() {
        return Ok(None);
    }
    let sqs = sqs(config, listener, peer)?;
    let server = SqsServer::new(&sqs, engine.clone(), region.as_str(), metrics)?;
    let address = server.listen().await?;
    tracing::info!(%address, "SQS is served");
    Ok(Some(server))
}

fn sqs(config: &Config, listener: &ListenerSettings, peer: &Peer) -> Result<SqsConfig> {
    let keys = access::keys(config, peer, |key| (&key.queues, &key.buckets))?;
    let key = |key: access::Key| {
        let access::Key { id, secret, role, reach } = key;
        AccessKey { id, secret, role, queues: reach }
    };
    let keys = keys.into_iter().map(key).collect();
    Ok(SqsConfig {
        address: listener.address(Server::Sqs),
        auth: listener.auth,
        keys,
        regions: config.settings().regions.keys().map(ToString::to_string).collect(),
        tls: settings::tls(config, listener),
    })
}
