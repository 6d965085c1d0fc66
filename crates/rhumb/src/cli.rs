//! The words of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::{
    bucket::{Bucket, BucketCommand, BucketSettings},
    control::{ControlCommand, ControlStatus, Recover},
    identity::{Init, Join, JoinToken},
    node::{Kv, KvCommand, NodeArgs, Regions, Residency, Route, Shown, Status},
    objects::{Cp, Ls, Rm, Stat, Sync},
    operate::{
        Asked, Change, ConfigApply, FailBack, FailoversCommand, MemberCommand, Move, NewNode,
        RegionCommand, Role, TokenCommand,
    },
    queue::{Attached, Queue, QueueCommand, QueueSettings, SendJob, Worker},
    rehearse::Rehearse,
    runners::{Demo, RunnersCommand},
    ship::{Endpoints, OfRegion, Receive, Ship, Transfers},
};

mod bucket;
mod control;
mod identity;
mod node;
mod objects;
mod operate;
mod queue;
mod rehearse;
mod runners;
mod ship;

/// Runs one service across every region in the same way.
#[derive(Debug, Parser)]
#[command(name = "rhumb", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs this region's node until it is told to stop.
    Serve(Serve),
    /// Shows a running node: its peers, lag, duties, the control plane, alarms.
    ///
    /// Example: `rhumb status`, or `rhumb status --url https://use1.acme.net:7400`
    Status(Status),
    /// Shows the regions as routing sees them, and what is agreed about each.
    Regions(Regions),
    /// Shows where a key goes, and why.
    ///
    /// Example: `rhumb route tenant:7:upload --client-region eu-west-1`
    Route(Route),
    /// Reports where data lies and may lie; ends with 1 when something deserves an alert.
    Residency(Residency),
    /// Reads and writes values.
    Kv(Kv),
    /// Queues and their jobs.
    Queue(Queue),
    /// Buckets and their settings.
    Bucket(Bucket),
    /// Leases jobs and runs a command for each, until it is told to stop.
    ///
    /// Example: `rhumb worker --queue jobs --concurrency 4 -- ./build.sh --fast`
    Worker(Box<Worker>),
    /// Moves the duties of a region that is down, and follows that to its end.
    ///
    /// Example: `rhumb failover us-east-1 --dry-run`
    Failover(Move),
    /// Moves the duties of a region in order, such as before maintenance.
    ///
    /// Example: `rhumb drain us-east-1 --reason "kernel update"`
    Drain(Move),
    /// Gives a region its duties back, in a ramp.
    Failback(FailBack),
    /// Failovers, drains and fail-backs: those under way and those that were.
    #[command(subcommand)]
    Failovers(FailoversCommand),
    /// What is wanted of a region, set by hand.
    #[command(subcommand)]
    Region(RegionCommand),
    /// The members of the cluster.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Tokens of the HTTP interface.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Makes a new cluster's authority, and the identities of its first nodes.
    ///
    /// Example: `rhumb init --config rhumb.yaml`
    Init(Init),
    /// Makes a token with which one new node can join, on the machine that holds the authority.
    ///
    /// Example: `rhumb join-token --region ap-southeast-1 --expires 30m`
    JoinToken(JoinToken),
    /// Gets this machine's node its identity, with a token.
    ///
    /// Example: `rhumb join rhumb-join-AfdsSd... --config rhumb.yaml`
    Join(Join),
    /// The control plane's log of this machine's node, while it does not run.
    #[command(subcommand)]
    Control(ControlCommand),
    /// The record of administrative acts.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Configuration: files, and what the cluster agreed on.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Rehearses an outage on your own configuration, in simulation, and says what clients would see.
    ///
    /// Example: `rhumb rehearse --fault "at 10m region us-east-1 down for 30m"`
    Rehearse(Box<Rehearse>),
    /// Sends a folder, a file or a stream to several regions: packed, signed, resumable.
    Ship(Box<Ship>),
    /// Restores what was shipped, from the regions that have it, verified bit for bit.
    Receive(Box<Receive>),
    /// Copies a file to an object, an object to a file, or an object to another.
    Cp(Box<Cp>),
    /// Lists the objects of a bucket.
    Ls(Box<Ls>),
    /// Removes objects.
    Rm(Box<Rm>),
    /// Shows what each region knows of an object.
    Stat(Box<Stat>),
    /// Makes a folder and the objects below a prefix alike, one from the other.
    Sync(Box<Sync>),
    /// Becomes a command that ends when the process that started it does.
    #[command(hide = true)]
    Attached(Attached),
    /// CI runners: how they do, and a demonstration that needs no account.
    #[command(subcommand)]
    Runners(RunnersCommand),
    /// Runs three regions on this machine as three processes, until Ctrl-C.
    Dev(Dev),
    /// Shows what Rhumb does, measured, on a fresh cluster on this machine: replication, counters,
    /// locks, messages, and the loss and return of a region under load.
    Tour(Tour),
}

/// The configuration that a command works on.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file.
    #[arg(long, short, env = "RHUMB_CONFIG", default_value = "rhumb.yaml")]
    pub(crate) config: PathBuf,
}

/// `rhumb serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Delay messages to each peer by half the round trip that is known between the regions. For
    /// clusters on one machine.
    #[arg(long)]
    pub(crate) wan: bool,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    pub(crate) die_with_parent: bool,
    /// Add this to the wall clock, in milliseconds. For tests of clocks that are off.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, hide = true)]
    pub(crate) clock_offset: i64,
}

/// `rhumb dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

/// A cluster on this machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct LocalArgs {
    /// Where the data of the three regions goes.
    #[arg(long, default_value = "rhumb-dev")]
    pub(crate) data: PathBuf,
    /// Do not delay messages between the regions as the real distances would.
    #[arg(long)]
    pub(crate) no_wan: bool,
    /// The first port; each region has the ports from here on, 100 apart.
    #[arg(long, default_value_t = 7400)]
    pub(crate) port: u16,
}

/// `rhumb tour`.
#[derive(Debug, Args)]
pub(crate) struct Tour {
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    /// Print the table as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// For how many seconds clients write before and after the loss of the region.
    #[arg(long, default_value_t = 5)]
    pub(crate) load_seconds: u64,
}

/// `rhumb audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Checks that nothing was changed, removed, moved or cut off; ends with 1 when something was.
    ///
    /// Example: `rhumb audit verify audit.ndjson --data rhumb-data/us-east-1`
    Verify(AuditVerify),
    /// Prints the chain as a running node has it, one entry per line.
    ///
    /// Example: `rhumb audit export > audit.ndjson`
    Export(NodeArgs),
}

/// `rhumb audit verify`.
#[derive(Debug, Args)]
pub(crate) struct AuditVerify {
    /// An exported chain, one JSON object per line. Without it: the chain in the folder, or the one
    /// that a running node has.
    pub(crate) file: Option<PathBuf>,
    /// The folder of a node that does not run: its signed heads show what was cut off or rewritten.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print what was found as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rhumb config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Says everything that is wrong with a file, with line and column.
    ///
    /// Example: `rhumb config check --config rhumb.yaml`
    Check(ConfigArgs),
    /// Prints the JSON Schema of the file, for editors.
    Schema,
    /// Prints what differs between two files, or between what the cluster agreed on and a file.
    ///
    /// Example: `rhumb config diff old.yaml new.yaml`, or `rhumb config diff rhumb.yaml`
    Diff {
        /// The file as it was; or, when it is the only one, as it is to be.
        before: PathBuf,
        /// The file as it is to be.
        after: Option<PathBuf>,
        #[command(flatten)]
        node: NodeArgs,
        /// Print the differences as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Has the cluster agree on a file. Its affinity rules are in force at once; other settings are
    /// what each node was started with.
    ///
    /// Example: `rhumb config apply rhumb.yaml --reason "a third region"`
    Apply(ConfigApply),
    /// Prints the configuration that the cluster agreed on.
    Show(Asked),
    /// Lists the versions that were agreed on.
    Versions(Asked),
    /// Puts an earlier version back, as a new one, with its affinity rules.
    ///
    /// Example: `rhumb config rollback 3 --reason "the rules of version 4 were wrong"`
    Rollback {
        /// The version, from `rhumb config versions`.
        version: u64,
        #[command(flatten)]
        change: Change,
    },
}
