//! The words of commands that move duties and change what is agreed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rhumb_types::{RegionId, control::MemberRole};

use super::{ConfigArgs, NodeArgs, identity::region};

/// A node, and how its answer is printed.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print the node's answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A node, and why it is asked to change something.
#[derive(Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) asked: Asked,
    /// Why; it stands in the audit chain.
    #[arg(long)]
    pub(crate) reason: String,
}

/// `rhumb failover` and `rhumb drain`.
#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The region whose duties move.
    #[arg(value_parser = region)]
    pub(crate) region: RegionId,
    #[command(flatten)]
    pub(crate) asked: Asked,
    /// Why; it stands in the audit chain.
    #[arg(long, required_unless_present = "dry_run")]
    pub(crate) reason: Option<String>,
    /// Say which duties would move where, and whether the survivors can carry them; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Whether the region is waited for, instead of as the file says.
    #[arg(long)]
    pub(crate) strategy: Option<Strategy>,
    /// Asking twice with one key starts one run.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Do not follow it to its end.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// `rhumb failback`.
#[derive(Debug, Args)]
pub(crate) struct FailBack {
    /// The region that gets its duties back.
    #[arg(value_parser = region)]
    pub(crate) region: RegionId,
    #[command(flatten)]
    pub(crate) change: Change,
    /// Asking twice with one key starts one run.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Do not follow it to its end.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// Whether a region that gives up its duties is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// It drains first, as long as it answers.
    Graceful,
    /// It is not asked.
    Immediate,
}

/// `rhumb failovers`.
#[derive(Debug, Subcommand)]
pub(crate) enum FailoversCommand {
    /// Lists the last runs.
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Shows a run, step by step.
    Show {
        /// Its number.
        id: u64,
        #[command(flatten)]
        asked: Asked,
    },
    /// Lets a run go on that waits for an approval.
    Approve {
        /// Its number.
        id: u64,
        #[command(flatten)]
        change: Change,
    },
    /// Calls a run off, as long as nothing was taken over.
    Cancel {
        /// Its number.
        id: u64,
        #[command(flatten)]
        change: Change,
    },
}

/// `rhumb region`.
#[derive(Debug, Subcommand)]
pub(crate) enum RegionCommand {
    /// Sets what is wanted of a region, without moving its duties.
    Set {
        /// Which.
        #[arg(value_parser = region)]
        region: RegionId,
        /// What is wanted.
        state: WantedState,
        #[command(flatten)]
        change: Change,
    },
    /// Ends the verdict that a region is down, when it is known to be wrong.
    LiftVerdict {
        /// Which.
        #[arg(value_parser = region)]
        region: RegionId,
        #[command(flatten)]
        change: Change,
    },
}

/// What an operator wants of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WantedState {
    /// It takes work.
    Active,
    /// It finishes what it has.
    Draining,
    /// It takes nothing.
    Disabled,
}

/// `rhumb member`.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Lists the members of the cluster.
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Adds a node that does not add itself: one of a region that had no member left, or that the
    /// other nodes' files do not name.
    ///
    /// Run it on the machine of the new node, after `rhumb join`, with --url of a running one.
    Add {
        /// What it does.
        #[arg(long, default_value = "voter")]
        role: Role,
        #[command(flatten)]
        new: NewNode,
        #[command(flatten)]
        change: Change,
    },
    /// Changes what a member does.
    Role {
        /// The member, such as n2a.
        node: String,
        /// Its new role.
        role: Role,
        #[command(flatten)]
        change: Change,
    },
    /// Removes a member for good; it can only come back as a new node.
    Remove {
        /// The member, such as n2a.
        node: String,
        #[command(flatten)]
        change: Change,
    },
    /// Puts a new node in the place of one that is lost.
    ///
    /// Run it on the machine of the new node, after `rhumb join`, with --url of a running one; or
    /// say who the new node is with --node-id and --fingerprint, as `rhumb join` printed them.
    Replace {
        /// The member that is lost, such as n2a.
        old: String,
        #[command(flatten)]
        new: NewNode,
        #[command(flatten)]
        change: Change,
    },
}

/// Who a new node is. Without it: the node of this machine.
#[derive(Debug, Args)]
pub(crate) struct NewNode {
    /// Its id, such as n51.
    #[arg(long, requires_all = ["fingerprint", "region"])]
    pub(crate) node_id: Option<String>,
    /// The SHA-256 of its certificate.
    #[arg(long, requires = "node_id")]
    pub(crate) fingerprint: Option<String>,
    /// Its region; the file says at which address it is.
    #[arg(long, value_parser = region)]
    pub(crate) region: Option<RegionId>,
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Votes, and holds data.
    Voter,
    /// Holds data, follows, does not vote.
    Learner,
    /// Votes only.
    Witness,
}

impl Role {
    /// As the cluster agrees on it.
    pub(crate) const fn agreed(self) -> MemberRole {
        match self {
            Self::Voter => MemberRole::Voter,
            Self::Learner => MemberRole::Learner,
            Self::Witness => MemberRole::Witness,
        }
    }
}

/// `rhumb token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token and prints it, once.
    ///
    /// Example: `rhumb token create grafana --role reader --reason dashboards`
    Create {
        /// Its name: 1 to 63 of a-z, 0-9 and `-`.
        id: String,
        /// What its bearer may do.
        #[arg(long)]
        role: Bearer,
        /// Limit it to keys with this prefix; can be given more than once.
        #[arg(long)]
        scope: Vec<String>,
        /// How long it is good, such as 30d; 90 days unless it is said.
        #[arg(long)]
        lasting: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Prints what clients of S3 need on this machine: the address, and the access key `machine`.
    ///
    /// Example: `export $(rhumb token s3)`
    S3(ConfigArgs),
    /// Prints what clients of SQS need on this machine: the address, and the access key `machine`.
    ///
    /// Example: `export $(rhumb token sqs)`
    Sqs(ConfigArgs),
    /// Prints the address of this machine's cache server with the access key `machine`, for builds.
    ///
    /// Example: `bazel build --remote_cache="$(rhumb token cache)" //...`
    Cache(ConfigArgs),
    /// Lists the tokens, without their secrets.
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Ends a token.
    Revoke {
        /// Its name.
        id: String,
        /// Forget it, once it is revoked or has expired.
        #[arg(long)]
        purge: bool,
        #[command(flatten)]
        change: Change,
    },
}

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bearer {
    /// Reads state and status.
    Reader,
    /// That, writes state, and runs drains, failovers and fail-backs.
    Operator,
    /// Everything.
    Admin,
    /// Reads the audit chain and nothing else.
    Auditor,
}

/// What is done with the configuration that the cluster agreed on.
#[derive(Debug, Args)]
pub(crate) struct ConfigApply {
    /// The file; its affinity rules replace the agreed ones too.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) change: Change,
}

macro_rules! words {
    ($($kind:ty),*) => {$(
        impl $kind {
            /// As nodes write it.
            pub(crate) fn word(self) -> String {
                self.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
            }
        }
    )*};
}

words!(Strategy, WantedState, Role, Bearer);
