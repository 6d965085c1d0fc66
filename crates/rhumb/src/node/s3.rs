//! The S3 server of a node, and who may use it.

use std::sync::Arc;

use anyhow::Result;
use rhumb_config::{Config, settings::Server};
use rhumb_engine::Engine;
use rhumb_peer::Peer;
use rhumb_server_s3::S3Server;
use rhumb_telemetry::Metrics;

use super::access;

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
    let signed = access::signed(config, listener, Server::S3, peer)?;
    let server = S3Server::new(&signed, engine.clone(), region.as_str(), metrics)?;
    let address = server.listen().await?;
    tracing::info!(%address, "S3 is served");
    Ok(Some(server))
}
