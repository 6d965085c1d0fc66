//! What is wanted of a region, set by hand.

use rhumb_types::{
    RegionId,
    control::{AdminCommand, AdminState},
};
use serde::Deserialize;

use super::{Because, answer};
use crate::{
    problem::Problem,
    request::{Call, Outcome},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: AdminState,
    /// What it must be now.
    #[serde(default)]
    expected: Option<AdminState>,
    reason: String,
}

fn region_of(call: &Call) -> Result<RegionId, Problem> {
    call.params()?.done()?;
    call.read_part("region", "a region", |text| RegionId::new(text).ok())
}

/// Sets the state without moving duties: for what a drain or a failover left behind.
pub(crate) async fn set_state(call: Call) -> Outcome {
    let region = region_of(&call)?;
    let Wanted { state, expected, reason } = call.json()?;
    let command = AdminCommand::SetRegionState { region, state, expected };
    Ok(answer(&call.propose(&reason, command).await?))
}

/// Ends a verdict that an operator knows to be wrong.
pub(crate) async fn lift_verdict(call: Call) -> Outcome {
    let region = region_of(&call)?;
    let Because { reason } = call.json()?;
    Ok(answer(&call.propose(&reason, AdminCommand::LiftVerdict { region }).await?))
}
