//! `GET /v1/regions`: the regions as routing sees them, and what is agreed about each.

use rhumb_engine::RoutingError;
use rhumb_regions::RegionFacts;
use rhumb_types::control::{ControlView, RegionLease, RegionStatus};
use serde_json::{Value, json};

use crate::{
    encode,
    request::{Call, Outcome},
};

pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let snapshot = call.engine().routing().ok_or(RoutingError::Off)?;
    let view = call.engine().admin().map(|admin| admin.view()).unwrap_or_default();
    let here = snapshot.here();
    let regions = snapshot.regions().map(|(at, facts)| {
        let mut region = region(facts, &view);
        if let Some(object) = region.as_object_mut() {
            let rtt = snapshot.rtt(here, at).as_secs_f64() * 1e3;
            object.insert("round_trip_ms".to_owned(), rtt.into());
        }
        region
    });
    Ok(encode::json(&json!({
        "here": snapshot.id(here),
        "version": snapshot.version(),
        "strategy": snapshot.policy().strategy,
        "regions": regions.collect::<Vec<_>>(),
        "homes": {
            "version": view.homes.version,
            "in_force": view.homes.regions,
            "announced": view.homes.announced,
        },
    })))
}

fn region(facts: &RegionFacts, view: &ControlView) -> Value {
    let region = &facts.region;
    json!({
        "region": region.id,
        "address": region.address,
        "witness": region.witness,
        "priority": region.priority,
        "weight": region.weight,
        "residency": region.residency,
        "health": facts.health,
        "utilisation": facts.utilisation,
        "lost": facts.lost,
        "admin": facts.admin,
        "ramp": facts.ramp,
        "epoch": facts.epoch,
        "agreed": view.regions.get(&region.id).map(agreed),
        "lease": view.leases.get(&region.id).map(lease),
    })
}

fn agreed(status: &RegionStatus) -> Value {
    json!({
        "state": status.state,
        "reason": status.reason,
        "actor": status.actor,
        "since_unix_ms": status.since,
        "ramp_percent": status.ramp_percent,
        "verdict": status.verdict,
    })
}

fn lease(lease: &RegionLease) -> Value {
    json!({
        "epoch": lease.epoch,
        "renewal": lease.renewal,
        "duration_ms": lease.duration_ms,
        "holder": lease.holder.as_ref().map(|party| {
            json!({ "node": party.node.to_string(), "region": party.region })
        }),
    })
}
