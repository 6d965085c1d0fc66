//! `rhumb serve`: one node, until a signal.

use std::process::ExitCode;

use anyhow::{Context, Result};
use rhumb_config::{Config, Outside, process_environment};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{ConfigArgs, Serve},
    node::{Node, Options, worst_election},
};

/// Runs the node of the region that the file or the environment names.
pub(crate) fn run(args: Serve) -> Result<ExitCode> {
    if args.die_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    let config = load(&args.config)?;
    init_logs();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = Options { wan: args.wan, clock_offset_millis: args.clock_offset };
    runtime.block_on(serve(config, options))
}

fn init_logs() {
    // The codec of S3 tells of every answer that is an error; the metrics count them.
    let filter = tracing_subscriber::EnvFilter::new("info,openraft=warn,s3s=off");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Reads the configuration with the process's own environment.
pub(crate) fn load(args: &ConfigArgs) -> Result<Config> {
    let outside = Outside { variable: &process_environment, worst_election: &worst_election };
    Ok(Config::load(&args.config, &outside)?)
}

async fn serve(config: Config, options: Options) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let node = Node::start(&config, options).await.context("the node did not start")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => node.reload(),
        }
    }
    tracing::info!("stopping: connections drain, what was accepted is committed");
    node.stop().await;
    Ok(ExitCode::SUCCESS)
}
