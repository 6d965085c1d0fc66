//! The words of `rhumb runners`.

use std::time::Duration;

use clap::{Args, Subcommand};
use rhumb_types::units::parse_duration;

use super::{LocalArgs, NodeArgs};

/// `rhumb runners`.
#[derive(Debug, Subcommand)]
pub(crate) enum RunnersCommand {
    /// Shows jobs and runners, by region; ends with 1 when GitHub limits requests somewhere.
    ///
    /// Example: `rhumb runners status`
    Status {
        #[command(flatten)]
        node: NodeArgs,
        /// Print the node's answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows the way from a webhook to a finished job, without an account: three regions and a
    /// GitHub-shaped API on this machine; ends with 1 when something did not come out right.
    ///
    /// Example: `rhumb runners demo --jobs 12`
    Demo(Demo),
    /// Acts as a runner of the demo.
    #[command(hide = true)]
    Act {
        /// The runner's configuration.
        #[arg(long)]
        jitconfig: String,
        /// How long its job takes.
        #[arg(long, value_parser = parse_duration, default_value = "1s")]
        work: Duration,
    },
}

/// `rhumb runners demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    /// How many jobs are queued.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) jobs: u16,
    /// Print what happened as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
