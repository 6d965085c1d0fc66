//! `GET /v1/residency`: which jurisdictions there are, what lies where, and what is wrong with it.

use rhumb_engine::RoutingError;
use rhumb_regions::residency;
use serde_json::json;

use crate::{
    encode,
    request::{Call, Outcome},
};

pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let snapshot = call.engine().routing().ok_or(RoutingError::Off)?;
    let holdings = &call.shared.surroundings.holdings;
    let report = residency::report(&snapshot, holdings);
    let findings = report.findings.iter().map(ToString::to_string);
    Ok(encode::json(&json!({
        "version": report.version,
        "jurisdictions": report.jurisdictions,
        "holdings": holdings.as_ref(),
        "findings": report.findings,
        "alerts": findings.collect::<Vec<_>>(),
    })))
}
