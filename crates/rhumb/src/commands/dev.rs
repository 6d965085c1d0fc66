//! `rhumb dev`: three regions on this machine, until Ctrl-C.

mod board;

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use anyhow::Result;
use rhumb_config::settings::Server;
use tokio::time::{MissedTickBehavior, interval};

use self::board::{Board, Screen};
use super::say;
use crate::{cli::Dev, local::Local};

/// Time between two looks at the regions.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the three regions, says where they are, and waits.
pub(crate) fn run(args: &Dev) -> Result<ExitCode> {
    let mut local = Local::prepare(&args.local)?;
    for region in &local.regions() {
        local.start(region)?;
    }
    for region in &local.regions() {
        local.wait_for(region, Server::Resp)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if std::io::stdout().is_terminal() {
        runtime.block_on(watch(&mut local))?;
    } else {
        board::places(&local).iter().for_each(|line| say(line));
        say("Ctrl-C ends them.");
        runtime.block_on(tokio::signal::ctrl_c())?;
    }
    local.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// Shows how the regions are doing, again and again.
async fn watch(local: &mut Local) -> Result<()> {
    let board = Board::new(local)?;
    let screen = Screen::open();
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            ended = interrupted.as_mut() => return Ok(ended?),
            _ = looks.tick() => screen.show(&board.lines(local).await?),
        }
    }
}
