//! The words of commands about the control plane's log on this machine.

use clap::{Args, Subcommand};
use rhumb_types::RegionId;

use super::{ConfigArgs, identity::region};

/// `rhumb control`.
#[derive(Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// Shows what this machine's node knows of the control plane, from its files, while it does not
    /// run.
    Status(ControlStatus),
    /// Goes on with this node alone when the majority of the cluster is lost for ever.
    ///
    /// Without --lost-for-ever it changes nothing, and says what would be lost.
    ///
    /// Example: `rhumb control recover --lost-for-ever us-east-1,eu-west-1`
    Recover(Recover),
}

/// `rhumb control status`.
#[derive(Debug, Args)]
pub(crate) struct ControlStatus {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rhumb control recover`.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The regions that are given up: every member but this node, whether it runs or not.
    #[arg(long, value_delimiter = ',', value_parser = region, value_name = "REGIONS")]
    pub(crate) lost_for_ever: Vec<RegionId>,
    /// Go on although something listens at the address of a region that is given up.
    #[arg(long)]
    pub(crate) though_they_answer: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
