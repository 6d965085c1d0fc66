//! `rhumb dev`: three regions on this machine, until Ctrl-C.

use std::process::ExitCode;

use anyhow::Result;
use rhumb_config::settings::Server;

use super::say;
use crate::{cli::Dev, local::Local};

/// Starts the three regions, says where they are, and waits.
pub(crate) fn run(args: &Dev) -> Result<ExitCode> {
    let mut local = Local::prepare(&args.local)?;
    let regions = local.regions();
    for region in &regions {
        local.start(region)?;
    }
    say(&format!("{:<16} {:<22} {:<22} log", "region", "redis", "http"));
    for region in &regions {
        local.wait_for(region, Server::Resp)?;
        say(&format!(
            "{:<16} {:<22} {:<22} {}",
            region.as_str(),
            local.address(region, Server::Resp),
            local.address(region, Server::Http),
            local.log(region).display()
        ));
    }
    say("Ctrl-C ends them.");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    local.stop()?;
    Ok(ExitCode::SUCCESS)
}
