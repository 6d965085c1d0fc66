//! The words of commands about who belongs to the cluster.

use std::path::PathBuf;

use clap::Args;
use rhumb_config::Period;
use rhumb_types::{NodeId, RegionId};

use super::{ConfigArgs, operate::Role};

/// `rhumb init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Make the identity of this region only, with the authority that is there already.
    #[arg(long, value_parser = region)]
    pub(crate) region: Option<RegionId>,
    /// Where the authority and the identities go, instead of the file's `data`.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Write a configuration file to start from, where there is none, and do nothing else.
    #[arg(long, conflicts_with_all = ["region", "out"])]
    pub(crate) sample: bool,
    /// Print what was made as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rhumb join-token`.
#[derive(Debug, Args)]
pub(crate) struct JoinToken {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The region of the node that is to join.
    #[arg(long, value_parser = region)]
    pub(crate) region: RegionId,
    /// For how long the token can be used, such as 30m or 24h.
    #[arg(long, default_value = "1h")]
    pub(crate) expires: Period,
    /// Give a node that keeps its data its own id again, such as n2a. A new node gets a new id.
    #[arg(long, value_parser = node)]
    pub(crate) node: Option<NodeId>,
    /// Where peers will reach the node, as host:port. Without it: as the file says of the region.
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// What the node will do. Without it: as follows from the file.
    #[arg(long)]
    pub(crate) role: Option<Role>,
    /// The member that the node takes the place of, such as n2a.
    #[arg(long, value_parser = node, conflicts_with = "node")]
    pub(crate) replace: Option<NodeId>,
    /// The region whose node the new one asks; it must hold the authority. Without it: the region
    /// of this node.
    #[arg(long, value_parser = region)]
    pub(crate) via: Option<RegionId>,
    /// Print the token and what it is for as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rhumb join`.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// What `rhumb join-token` printed; `-` reads it from standard input, where no list of
    /// processes shows it.
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Print who this node is now as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn region(name: &str) -> Result<RegionId, String> {
    RegionId::new(name).map_err(|error| error.to_string())
}

fn node(name: &str) -> Result<NodeId, String> {
    let digits = name.strip_prefix('n').unwrap_or(name);
    u64::from_str_radix(digits, 16)
        .map(NodeId)
        .map_err(|_| "a node's id is `n` and hexadecimal digits, such as n2a".to_owned())
}
