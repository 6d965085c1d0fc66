//! `rhumb region`: what is wanted of a region, set by hand.

use std::process::ExitCode;

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::change::change;
use crate::{cli::RegionCommand, http::Ask};

/// Runs a command.
pub(crate) fn run(command: &RegionCommand) -> Result<ExitCode> {
    match command {
        RegionCommand::Set { region, state, change: why } => {
            let ask = Ask::new(Method::PUT, &format!("/admin/regions/{region}"));
            change(why, ask, json!({ "state": state.word() }))?;
        }
        RegionCommand::LiftVerdict { region, change: why } => {
            let ask = Ask::new(Method::POST, &format!("/admin/regions/{region}/lift-verdict"));
            change(why, ask, json!({}))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
