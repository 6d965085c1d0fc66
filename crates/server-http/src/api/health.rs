//! `/healthz` and `/readyz`, for those who restart nodes and those who send traffic to them.

use http::StatusCode;
use rhumb_engine::node::Phase;
use rhumb_types::control::AdminState;
use serde_json::{Value, json};

use crate::{
    encode,
    request::{Call, Outcome},
    server::Shared,
};

/// The process answers; nothing more is said. A node that is loading or drained is alive.
pub(crate) fn alive(_call: &Call) -> Outcome {
    Ok(encode::json(&json!({ "alive": true })))
}

/// Whether clients should be sent here, and if not, why.
pub(crate) fn ready(call: &Call) -> Outcome {
    let reasons = reasons(&call.shared);
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let said: Vec<Value> = reasons
        .into_iter()
        .map(|(code, detail)| json!({ "code": code, "detail": detail }))
        .collect();
    Ok(encode::json_as(status, &json!({ "ready": ready, "reasons": said })))
}

/// Why no client should be sent here; empty when they should.
///
/// The control plane is no reason: routing and eventual state work without it.
pub(crate) fn reasons(shared: &Shared) -> Vec<(&'static str, &'static str)> {
    let status = shared.engine.status();
    let phase = match status.phase {
        Phase::Running => None,
        Phase::Proving => Some(("proving", "its peers are still confirming that its log is whole")),
        Phase::Loading => Some(("loading", "it is loading a snapshot from a peer")),
        Phase::Failed => Some(("store_failed", "its disk failed: it serves reads only")),
    };
    let clock = (!status.clock_ok)
        .then_some(("clock_off", "its clock is too far from its peers': it takes no writes"));
    let stopping =
        shared.engine.tasks().is_stopping().then_some(("stopping", "it is shutting down"));
    [phase, clock, stopping, drained(shared)].into_iter().flatten().collect()
}

/// What an operator, or a failover, wants of this region.
fn drained(shared: &Shared) -> Option<(&'static str, &'static str)> {
    let view = shared.engine.admin()?.view();
    match view.regions.get(&shared.surroundings.region)?.state {
        AdminState::Active => None,
        AdminState::Draining => Some(("draining", "its region is being drained")),
        AdminState::Disabled => Some(("disabled", "its region is disabled")),
    }
}
