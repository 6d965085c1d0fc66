//! Webhooks of GitHub, and how the runners do that they ask for: handed to whoever was wired in.

use http::StatusCode;
use rhumb_types::ErrorCode;

use crate::{
    encode,
    problem::Problem,
    request::{Call, Outcome},
    surroundings::Workflows,
};

/// The workload, where the configuration has it.
fn workflows(call: &Call) -> Result<&dyn Workflows, Problem> {
    let off = || {
        Problem::new(ErrorCode::NotFound, "this node runs no CI runners")
            .help("Add `runners` to the configuration: see docs/runners.md.")
    };
    call.shared.surroundings.workflows.as_deref().ok_or_else(off)
}

/// The raw body goes on as it came: its signature is over every byte of it.
pub(crate) async fn github(call: Call) -> Outcome {
    let (status, body) = workflows(&call)?.webhook(call.headers.clone(), call.body.clone()).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Ok(encode::json_as(status, &body))
}

pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let status = workflows(call)?.status();
    let status = status.map_err(|error| Problem::new(ErrorCode::Internal, error))?;
    Ok(encode::json(&status))
}
