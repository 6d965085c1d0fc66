//! The cache server of a node, and who may use it.

use std::sync::Arc;

use anyhow::Result;
use rhumb_config::{Config, settings::Server};
use rhumb_engine::Engine;
use rhumb_peer::Peer;
use rhumb_server_cache::CacheServer;
use rhumb_telemetry::Metrics;

use super::access;

/// Starts the cache server, where it is on and there are objects.
pub(super) async fn serve(
    config: &Config,
    engine: &Engine,
    peer: &Peer,
    metrics: &Arc<Metrics>,
) -> Result<Option<CacheServer>> {
    let region = peer.identities().identity().region;
    let Some(listener) = config.listener(&region, Server::Cache) else { return Ok(None) };
    if engine.objects().is_none() {
        return Ok(None);
    }
    let keys = access::signed(config, listener, Server::Cache, peer)?;
    let server = CacheServer::new(&keys, engine.clone(), metrics)?;
    let address = server.listen().await?;
    tracing::info!(%address, "the cache is served");
    Ok(Some(server))
}
