//! The queues of a node, from the configuration's words.

use anyhow::{Context, Result};
use rhumb_config::Config;
use rhumb_engine::{Engine, QueuesConfig, queue};
use rhumb_types::RegionId;

/// Starts the queues, where this node holds data.
pub(super) fn start(config: &Config, region: &RegionId, engine: &Engine) -> Result<()> {
    let regions = config.registry().regions();
    let holds_data = |id: &RegionId| regions.iter().any(|it| it.id == *id && !it.witness);
    if !holds_data(region) {
        return Ok(());
    }
    let machine = queue::Config {
        region: region.clone(),
        regions: regions.iter().filter(|it| !it.witness).count(),
        drift: config.health().drift,
        spillover: Some(config.spillover_of(region)),
    };
    let queues = QueuesConfig { machine, seed: config.queues() };
    engine.start_queues(queues).context("the queues did not start")
}
