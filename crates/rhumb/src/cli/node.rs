//! The words of commands that ask a running node.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rhumb_types::RegionId;

use super::{ConfigArgs, identity::region};

/// Which node is asked, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The node's HTTP address. Without it: this machine's node, as the configuration says.
    #[arg(long, env = "RHUMB_URL")]
    pub(crate) url: Option<String>,
    /// The token to show. On a node's own machine none is needed.
    #[arg(long, env = "RHUMB_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A PEM file of the authorities that sign the node's certificate, instead of the system's.
    #[arg(long, env = "RHUMB_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// A PEM file with the certificate to show, where the node asks for one; its own chain first.
    #[arg(long, env = "RHUMB_CERT", requires = "cert_key")]
    pub(crate) cert: Option<PathBuf>,
    /// A PEM file with the certificate's private key.
    #[arg(long, env = "RHUMB_CERT_KEY", requires = "cert")]
    pub(crate) cert_key: Option<PathBuf>,
}

impl NodeArgs {
    /// The certificate to show, with its key.
    pub(crate) fn shown(&self) -> Option<Shown<'_>> {
        let (certificate, key) = (self.cert.as_deref()?, self.cert_key.as_deref()?);
        Some(Shown { certificate, key })
    }
}

/// A certificate that a command shows, as files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
}

/// `rhumb status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print the node's answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rhumb regions`.
#[derive(Debug, Args)]
pub(crate) struct Regions {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print the node's answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rhumb residency`.
#[derive(Debug, Args)]
pub(crate) struct Residency {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print the node's answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rhumb route`.
#[derive(Debug, Args)]
pub(crate) struct Route {
    /// The key; a tenant or a repository can stand in for it.
    #[arg(required_unless_present_any = ["tenant", "repository"])]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Whose it is.
    #[arg(long, conflicts_with = "repository")]
    pub(crate) tenant: Option<String>,
    /// In which repository it lies, as OWNER/NAME.
    #[arg(long)]
    pub(crate) repository: Option<String>,
    /// Where it may lie: any of these jurisdictions.
    #[arg(long, value_name = "TAGS")]
    pub(crate) residency: Option<String>,
    /// Which parts of the service it needs.
    #[arg(long, value_name = "CAPABILITIES")]
    pub(crate) needs: Option<String>,
    /// Another strategy than the configured one.
    #[arg(long)]
    pub(crate) strategy: Option<String>,
    /// The region that the client is nearest to.
    #[arg(long, value_parser = region)]
    pub(crate) client_region: Option<RegionId>,
    /// The client's country, in two letters.
    #[arg(long)]
    pub(crate) country: Option<String>,
    /// The client's continent, in two letters.
    #[arg(long)]
    pub(crate) continent: Option<String>,
    /// Print the node's answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rhumb kv`.
#[derive(Debug, Args)]
pub(crate) struct Kv {
    #[command(subcommand)]
    pub(crate) command: KvCommand,
}

/// What is done with values.
#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Prints a value.
    Get {
        /// The key.
        key: String,
        #[command(flatten)]
        node: NodeArgs,
        /// How fresh it must be: local, session or strong. Without it: as its namespace says.
        #[arg(long)]
        consistency: Option<String>,
        /// Print the value and what is known of it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Writes a value.
    ///
    /// Example: `rhumb kv put session:7 hello --ttl 1h --ack one_remote`
    Put {
        /// The key.
        key: String,
        /// The value; `-` reads it from standard input.
        value: String,
        #[command(flatten)]
        node: NodeArgs,
        /// How long it lives, such as 30s or 2h; `keep` what it had, or `none`.
        #[arg(long)]
        ttl: Option<String>,
        /// What must be safe before the answer: memory, local, one_remote or quorum.
        #[arg(long)]
        ack: Option<String>,
        /// Only where there is none yet.
        #[arg(long)]
        if_absent: bool,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
        #[command(flatten)]
        node: NodeArgs,
        /// What must be safe before the answer: memory, local, one_remote or quorum.
        #[arg(long)]
        ack: Option<String>,
    },
    /// Lists keys.
    List {
        /// What they start with.
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        node: NodeArgs,
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
        /// Print the keys as JSON.
        #[arg(long)]
        json: bool,
    },
}
