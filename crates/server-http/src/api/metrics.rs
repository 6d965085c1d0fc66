//! `GET /metrics`: OpenMetrics text for Prometheus.
//!
//! Counters are kept up to date where things happen. What a node only knows of itself at a moment
//! is read here, when somebody asks.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use rhumb_engine::node::{NodeStatus, Phase};
use rhumb_engine::telemetry::{Metrics, metrics::CONTENT_TYPE};
use rhumb_types::{RegionId, control::ControlView};

use crate::{
    encode,
    request::{Call, Outcome},
    server::Shared,
};

pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let shared = &call.shared;
    observe(shared);
    let text = shared.surroundings.metrics.render();
    Ok(encode::bytes(text.into(), CONTENT_TYPE))
}

fn observe(shared: &Shared) {
    let (metrics, engine) = (&shared.surroundings.metrics, &shared.engine);
    let status = engine.status();
    let serving = status.phase == Phase::Running && status.clock_ok;
    metrics.serving.set(i64::from(serving));
    let queues = &metrics.queues;
    queues.acks_waiting.set(level(status.acks_waiting));
    queues.received_waiting.set(level(status.received_waiting));
    queues.received_waiting_bytes.set(level(status.received_bytes));
    queues.published_dropped.inner().store(status.published_dropped, Ordering::Relaxed);
    metrics.conflicts("settled").inner().store(status.conflicts, Ordering::Relaxed);
    peers(metrics, &status);
    for link in shared.surroundings.links.iter().flat_map(|links| links()) {
        let peer = metrics.region(&link.region).peer;
        peer.sent_bytes.inner().store(link.sent_bytes, Ordering::Relaxed);
        peer.received_bytes.inner().store(link.received_bytes, Ordering::Relaxed);
    }
    applied(shared, &status);
    if let Some(admin) = engine.admin() {
        agreed(metrics, &admin.view());
    }
    if let Some(snapshot) = engine.routing() {
        for (_, facts) in snapshot.regions() {
            let region = metrics.region(&facts.region.id);
            region.set_health(&facts.health.to_string());
            region.utilisation.set(facts.utilisation.get());
        }
    }
}

fn level(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn peers(metrics: &Metrics, status: &NodeStatus) {
    let mut offsets: Vec<i64> = Vec::with_capacity(status.peers.len());
    for peer in &status.peers {
        let region = metrics.region(&peer.region);
        region.peer.up.set(i64::from(peer.up));
        if let Some(micros) = peer.round_trip_micros {
            // A sample, as often as somebody looks.
            region.peer.round_trip_seconds.observe_time(Duration::from_micros(micros));
        }
        let ahead = i64::try_from(peer.ahead_transactions).unwrap_or(i64::MAX);
        region.replication.lag_transactions.set(ahead);
        let behind = i64::try_from(peer.behind_transactions).unwrap_or(i64::MAX);
        region.unacknowledged.set(behind);
        let age = Duration::from_millis(peer.behind_millis).as_secs_f64();
        region.unacknowledged_seconds.set(age);
        offsets.extend(peer.clock_offset_millis);
    }
    offsets.sort_unstable();
    if let Some(median) = offsets.get(offsets.len() / 2) {
        let milliseconds = i32::try_from(*median).unwrap_or(i32::MAX);
        metrics.clock_offset_seconds.set(f64::from(milliseconds) / 1e3);
    }
}

/// How much of each region's writes is applied here; origins of one region count together.
fn applied(shared: &Shared, status: &NodeStatus) {
    let mut by_region: BTreeMap<RegionId, u64> = BTreeMap::new();
    for (origin, version) in status.durable.iter() {
        if let Some(region) = shared.region_of(origin) {
            *by_region.entry(region).or_default() += version;
        }
    }
    for (region, transactions) in by_region {
        let shown = shared.surroundings.metrics.region(&region).replication.applied;
        shown.inner().store(transactions, Ordering::Relaxed);
    }
}

fn agreed(metrics: &Metrics, view: &ControlView) {
    for (name, status) in &view.regions {
        let region = metrics.region(name);
        region.set_admin(status.state);
        if let Some(lease) = view.leases.get(name) {
            region.lease.set(lease.holder.is_some(), lease.epoch);
        }
    }
}
