//! The SQS server of a node, and who may use it.

use std::sync::Arc;

use anyhow::Result;
use rhumb_config::{Config, settings::Server};
use rhumb_engine::Engine;
use rhumb_peer::Peer;
use rhumb_server_sqs::SqsServer;
use rhumb_telemetry::Metrics;

use super::access;

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
    let signed = access::signed(config, listener, Server::Sqs, peer)?;
    let server = SqsServer::new(&signed, engine.clone(), region.as_str(), metrics)?;
    let address = server.listen().await?;
    tracing::info!(%address, "SQS is served");
    Ok(Some(server))
}
