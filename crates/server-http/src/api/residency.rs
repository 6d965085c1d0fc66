//! `GET /v1/residency`: which jurisdictions there are, what lies where, and what is wrong with it.

use rhumb_engine::RoutingError;
use rhumb_regions::{
    ResidencyTag, RoutingSnapshot,
    residency::{self, Holding},
};
use rhumb_types::record::QueueDefinition;
use serde_json::json;

use crate::{
    encode,
    request::{Call, Outcome},
};

pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let snapshot = call.engine().routing().ok_or(RoutingError::Off)?;
    let holdings = &call.shared.surroundings.holdings;
    let queues = queues(call, &snapshot);
    // Rows of jobs are in every region's log; what a queue's residency is about is who acts on them.
    let bound = queues.iter().map(|queue| Holding { regions: Vec::new(), ..queue.clone() });
    let all: Vec<Holding> = holdings.iter().cloned().chain(bound).collect();
    let report = residency::report(&snapshot, &all);
    let findings = report.findings.iter().map(ToString::to_string);
    Ok(encode::json(&json!({
        "version": report.version,
        "jurisdictions": report.jurisdictions,
        "holdings": holdings.as_ref(),
        "queues": queues,
        "findings": report.findings,
        "alerts": findings.collect::<Vec<_>>(),
    })))
}

/// The queues with a residency, and the regions in which their jobs are taken in and leased.
fn queues(call: &Call, snapshot: &RoutingSnapshot) -> Vec<Holding> {
    let Some(queues) = call.engine().queues() else { return Vec::new() };
    let definitions = queues.definitions().borrow().clone();
    let holding = |(name, definition): (&_, &QueueDefinition)| {
        let tags = definition.residency.iter().filter_map(|tag| ResidencyTag::new(tag).ok());
        let residency: Vec<ResidencyTag> = tags.collect();
        let regions = snapshot.regions().map(|(_, facts)| facts.region.id.clone());
        let regions = regions.filter(|it| residency::may_lie(snapshot, &residency, it)).collect();
        Holding { name: format!("queue {name}"), residency, regions }
    };
    definitions.iter().filter(|(_, it)| !it.residency.is_empty()).map(holding).collect()
}
