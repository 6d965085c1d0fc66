//! The words of `rhumb queue` and `rhumb worker`.

use std::{ffi::OsString, time::Duration};

use clap::{Args, Subcommand};
use rhumb_types::{RegionId, record::QueueName, units};

use super::{Asked, Change, NodeArgs, identity::region};

/// `rhumb queue`.
#[derive(Debug, Args)]
pub(crate) struct Queue {
    #[command(subcommand)]
    pub(crate) command: QueueCommand,
}

/// What is done with queues and jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Lists the queues and their settings that are not the usual ones.
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Shows a queue's settings, with those that are as usual.
    Show {
        /// The queue.
        #[arg(value_parser = queue)]
        queue: QueueName,
        #[command(flatten)]
        asked: Asked,
    },
    /// Makes a queue.
    ///
    /// Example: `rhumb queue create jobs --visibility 2m --attempts-max 5 --dead-letters jobs-dead
    /// --reason "build jobs"`
    Create {
        /// The queue: 1 to 80 letters, digits, `-`, `_` and `.`.
        #[arg(value_parser = queue)]
        queue: QueueName,
        #[command(flatten)]
        settings: QueueSettings,
        #[command(flatten)]
        change: Change,
    },
    /// Changes some settings of a queue; the others stay.
    ///
    /// Example: `rhumb queue change jobs --attempts-max 10 --unset backoff --reason "flaky network"`
    Change {
        /// The queue.
        #[arg(value_parser = queue)]
        queue: QueueName,
        #[command(flatten)]
        settings: QueueSettings,
        /// A setting, by its name in `rhumb queue show --json`, that is to be as usual again.
        #[arg(long, value_name = "SETTING")]
        unset: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Drops a queue with all of its jobs.
    Delete {
        /// The queue.
        #[arg(value_parser = queue)]
        queue: QueueName,
        #[command(flatten)]
        change: Change,
    },
    /// Sends a job, and prints its name: QUEUE/ID.
    ///
    /// Sent twice with one --key it is one job. Example: `rhumb queue send jobs '{"build": 7}'
    /// --key build-7`
    Send(Box<SendJob>),
    /// Leases jobs, and prints them as JSON, one per line, each with its receipt.
    ///
    /// A job that is not completed within its lease comes back. For a program that does the work, see
    /// `rhumb worker`.
    Receive {
        /// The queue.
        #[arg(value_parser = queue)]
        queue: QueueName,
        #[command(flatten)]
        node: NodeArgs,
        /// How many jobs at most, 1 to 10.
        #[arg(long, default_value_t = 1)]
        max: u8,
        /// How long the leases last, such as 5m; the queue's own time without.
        #[arg(long)]
        visibility: Option<String>,
        /// How long to wait for a job, at most 20s.
        #[arg(long, default_value = "0s")]
        wait: String,
    },
    /// Says that leased jobs are done, by their receipts.
    Complete {
        /// Receipts, as `rhumb queue receive` prints them.
        #[arg(required = true)]
        receipts: Vec<String>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Shows where a job is, and every decision that brought it there.
    Why {
        /// The job: QUEUE/ID, as `rhumb queue send` prints it, or a receipt.
        job: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Lists the jobs of a queue that have not ended.
    Jobs {
        /// The queue.
        #[arg(value_parser = queue)]
        queue: QueueName,
        #[command(flatten)]
        asked: Asked,
        /// Only those that are ready, delayed, held, behind, leased, busy or dead.
        #[arg(long)]
        place: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Drops all jobs that are in a queue now, in every region.
    Purge {
        /// The queue.
        #[arg(value_parser = queue)]
        queue: QueueName,
        #[command(flatten)]
        change: Change,
    },
    /// Takes dead jobs back to where they came from.
    ///
    /// Example: `rhumb queue redrive jobs-dead --reason "the bug is fixed"`
    Redrive {
        /// The queue in which they are.
        #[arg(value_parser = queue)]
        queue: QueueName,
        /// To this queue instead.
        #[arg(long, value_parser = queue)]
        to: Option<QueueName>,
        /// At most so many.
        #[arg(long)]
        max: Option<u64>,
        #[command(flatten)]
        change: Change,
    },
    /// Shows how full a queue is, in all regions and in each.
    Stats {
        /// The queue.
        #[arg(value_parser = queue)]
        queue: QueueName,
        #[command(flatten)]
        asked: Asked,
    },
}

/// `rhumb queue send`.
#[derive(Debug, Args)]
pub(crate) struct SendJob {
    /// The queue.
    #[arg(value_parser = queue)]
    pub(crate) queue: QueueName,
    /// What the worker gets; `-` reads it from standard input.
    pub(crate) body: String,
    #[command(flatten)]
    pub(crate) asked: Asked,
    /// Sending twice with one key makes one job.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Jobs of one group run one after the other; FIFO queues only, where every job has one.
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// 0 to 9; higher runs first.
    #[arg(long, default_value_t = 0)]
    pub(crate) priority: u8,
    /// Whose job it is.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// What belongs together, and stays in one region.
    #[arg(long)]
    pub(crate) workflow: Option<String>,
    /// How long it waits at least, such as 10m.
    #[arg(long)]
    pub(crate) delay: Option<String>,
    /// A named value for the worker, as NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) attribute: Vec<(String, String)>,
    /// The region that is to run it. Without: by its group, key or workflow; else the asked one.
    #[arg(long, value_parser = region)]
    pub(crate) home: Option<RegionId>,
}

/// Settings of a queue; those left out are as usual, or as they were.
#[derive(Debug, Args)]
pub(crate) struct QueueSettings {
    /// How long a lease lasts that names no time (30s).
    #[arg(long)]
    pub(crate) visibility: Option<String>,
    /// How long a job is kept that nobody completes (4d).
    #[arg(long)]
    pub(crate) retention: Option<String>,
    /// How long a new job waits at least (0s).
    #[arg(long)]
    pub(crate) delay: Option<String>,
    /// A job that failed so often is dead; without, it is tried until it is too old.
    #[arg(long)]
    pub(crate) attempts_max: Option<u32>,
    /// The queue for dead jobs; without, they stay in their own and are not leased.
    #[arg(long, value_parser = queue)]
    pub(crate) dead_letters: Option<QueueName>,
    /// How long a job waits after its first failure; doubles with each (0s).
    #[arg(long)]
    pub(crate) backoff: Option<String>,
    /// Every job has a group, and the jobs of a group run in order. For good.
    #[arg(long)]
    pub(crate) fifo: bool,
    /// A job without a key has its content as its key; FIFO queues only.
    #[arg(long)]
    pub(crate) content_dedup: bool,
    /// How long a key names the same job (24h).
    #[arg(long)]
    pub(crate) keys_kept: Option<String>,
    /// What must be safe before a sender hears yes: memory, local, one_remote or quorum (local).
    #[arg(long)]
    pub(crate) ack: Option<String>,
    /// The oldest job ought to wait no longer (60s); work spills to other regions past it.
    #[arg(long)]
    pub(crate) oldest_age_target: Option<String>,
    /// Jobs are taken in and run only in regions with this tag of residency, or another one that is
    /// given so. For good.
    #[arg(long, value_name = "TAG")]
    pub(crate) residency: Vec<String>,
    /// Events of these topics become jobs, one among all regions: `orders.*`, `rhumb.region.**`.
    #[arg(long, value_name = "TOPICS")]
    pub(crate) subscribe: Vec<String>,
    /// Events of these topics become jobs, one in each region.
    #[arg(long, value_name = "TOPICS")]
    pub(crate) subscribe_each_region: Vec<String>,
    /// The end of each of its jobs is an event: rhumb.job.finished.QUEUE or rhumb.job.dead.QUEUE.
    #[arg(long)]
    pub(crate) announce: bool,
}

/// `rhumb worker`.
#[derive(Debug, Args)]
#[command(after_help = "\
The command gets the job's body on its standard input, and in its environment:
  RHUMB_JOB_ID RHUMB_QUEUE RHUMB_ATTEMPT RHUMB_RECEIPT RHUMB_PRIORITY RHUMB_WORKER
  RHUMB_KEY RHUMB_GROUP RHUMB_TENANT RHUMB_WORKFLOW, where the job has them
  RHUMB_ATTRIBUTE_NAME for each attribute that is text
Its exit code says what becomes of the job:
  0    it is done
  65   it can never succeed: it is dead at once, and goes to the dead letters
  75   it is given back untried
  any other, or a signal: it failed, and is tried again after the queue's back-off; the end of
  standard error is kept as the reason
SIGTERM or SIGINT: takes no more jobs, waits --grace for those that run, then ends their commands
and gives their jobs back. A second one does not wait.")]
pub(crate) struct Worker {
    /// The queue.
    #[arg(long, value_parser = queue)]
    pub(crate) queue: QueueName,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Addresses of other regions' nodes, in the order in which to go on when the first is lost. Where
    /// they ask for a token, give --token.
    #[arg(long, value_name = "URL", value_delimiter = ',', env = "RHUMB_ALSO")]
    pub(crate) also: Vec<String>,
    /// How many commands run at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// How long a lease lasts; it is renewed at a third. Short: lost workers' jobs come back soon.
    #[arg(long, default_value = "30s", value_parser = span)]
    pub(crate) visibility: Duration,
    /// How long a command may run; then it is ended, and its job has failed.
    #[arg(long, value_parser = span)]
    pub(crate) timeout: Option<Duration>,
    /// How long commands may go on after SIGTERM.
    #[arg(long, default_value = "30s", value_parser = span)]
    pub(crate) grace: Duration,
    /// What this worker is called where workers are shown. Without: its host and process.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Say only what goes wrong.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// `rhumb attached`.
#[derive(Debug, Args)]
pub(crate) struct Attached {
    /// The process without which there is nothing to do.
    #[arg(long)]
    pub(crate) parent: u32,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

fn queue(name: &str) -> Result<QueueName, String> {
    QueueName::new(name).map_err(|error| error.to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn span(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).map_err(|error| error.to_string())
}
