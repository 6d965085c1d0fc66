//! The words of `rhumb rehearse`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use rhumb_rehearse::clients::{SEATS, SEATS_MAX};
use rhumb_types::{ByteSize, units::parse_duration};

/// How a rehearsal is used.
const EXAMPLES: &str = "\
Examples:
  A region is lost for half an hour; what do clients see?
    rhumb rehearse --rps 500 --fault \"at 10m region us-east-1 down for 30m\"

  The same without a configuration of one's own, as a page to show around:
    rhumb rehearse --example --fault \"at 10m region us-east-1 down for 30m\" --html outage.html

  In CI: ends with 1 when an objective is missed in any run
    rhumb rehearse --scenario outages.txt --traffic monday.csv --objectives goals.txt --json

  Jobs: do they pile up when a region is lost, and how soon are they worked off?
    rhumb rehearse --example --fault \"at 10m region us-east-1 down for 10m\" --jobs 60 --workers 60 \\
      --objective \"jobs drained < 10m\" --objective \"oldest job < 2m\"

  Objects: what is at risk, how much is to be copied, and when have all regions caught up?
    rhumb rehearse --example --fault \"at 10m region us-east-1 down for 10m\" --uploads 5 --upload-size 8MiB \\
      --downloads 10 --objective \"objects at risk < 1\" --objective \"converged < 10m\"

  What is the worst that could happen?
    rhumb rehearse --search

  What would another configuration change?
    rhumb rehearse --diff rhumb.yaml candidate.yaml --fault \"at 5m region eu-west-1 isolated for 5m\"

Faults, one per --fault or line of a scenario; without `for`, nobody mends them:
  at 10m region us-east-1 down for 30m          (or killed, frozen, isolated, mute, slow 40%)
  at 10m uplink us-east-1 loss 20% for 10m      (or delay 300ms)
  at 5m link us-east-1 - eu-west-1 loss 20% for 10m     (or cut, delay 300ms)
  at 5m link us-east-1 -> eu-west-1 cut for 2m          (one direction)
  at 3m disk eu-west-1 slow 200ms               (or full, failing)
  at 4m clock ap-southeast-1 +2s for 10m

Objectives, which hold in every run:
  served < 5s  owned < 20s  detected < 15s  gap < 1s  failed < 0.1%  slow < 2%  stale < 1%
  exposed writes < 1  exposed < 100ms  load < 100%  lag < 1s  cost per hour < 3 USD
  jobs drained < 10m  oldest job < 2m  queue depth < 500  jobs repeated < 100  jobs refused < 1  jobs lost < 1
  uploads failed < 0.1%  uploads degraded < 1%  upload time < 60s  objects at risk < 1  backlog < 10GB
  converged < 10m  downloads failed < 0.1%  read through < 2s  late deletions < 1  link < 90%

Exit codes: 0 all objectives given, 1 one missed, 2 bad input, 130 stopped before its end.";

/// `rhumb rehearse`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Rehearse {
    /// The configuration file.
    #[arg(long, short, env = "RHUMB_CONFIG", default_value = "rhumb.yaml")]
    pub(crate) config: PathBuf,
    /// Rehearse the three regions of `rhumb dev` instead of a file.
    #[arg(long, conflicts_with = "diff")]
    pub(crate) example: bool,
    /// Compare two configurations: same faults, same traffic, same seeds.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "search")]
    pub(crate) diff: Option<Vec<PathBuf>>,
    /// Find the worst single and double fault. Each begins after a quarter of the time and lasts as
    /// long.
    #[arg(long, conflicts_with_all = ["fault", "scenario", "html", "objective", "objectives"])]
    pub(crate) search: bool,
    /// How long a run takes: 1h, or as long as measured traffic; 20m in a search.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) lasting: Option<Duration>,
    /// How many runs, each with a seed of its own: 10; 3 in a search.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) seeds: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "FIRST", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) events: Events,
    #[command(flatten)]
    pub(crate) traffic: TrafficArgs,
    #[command(flatten)]
    pub(crate) jobs: JobArgs,
    #[command(flatten)]
    pub(crate) objects: ObjectArgs,
    #[command(flatten)]
    pub(crate) clients: ClientArgs,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    /// Print everything as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a page with plots to this file; it needs no network.
    #[arg(long, value_name = "FILE", conflicts_with = "diff")]
    pub(crate) html: Option<PathBuf>,
}

/// What goes wrong, and what is asked for all the same.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faults and objectives")]
pub(crate) struct Events {
    /// A file with faults, one per line.
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// A fault, such as "at 10m region us-east-1 down for 30m".
    #[arg(long, value_name = "FAULT")]
    pub(crate) fault: Vec<String>,
    /// A file with objectives, one per line.
    #[arg(long, value_name = "FILE")]
    pub(crate) objectives: Option<PathBuf>,
    /// An objective, such as "served < 5s".
    #[arg(long, value_name = "OBJECTIVE")]
    pub(crate) objective: Vec<String>,
}

/// What clients ask for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traffic")]
pub(crate) struct TrafficArgs {
    /// Requests per second, always the same: 100 unless said otherwise.
    #[arg(long, value_name = "NUMBER", conflicts_with = "traffic")]
    pub(crate) rps: Option<String>,
    /// daily:50..500, burst:100..2000@10m/5m, or a CSV file with the columns time,rps.
    #[arg(long, value_name = "SHAPE|FILE")]
    pub(crate) traffic: Option<String>,
    /// The share of requests that write.
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    pub(crate) writes: String,
    /// How writes are acknowledged: memory, local, one_remote or quorum; or several, each with its share
    /// of the requests and processes of its own, such as local=90%,one_remote=10%. Without it: as the
    /// configuration says for keys that no namespace names.
    #[arg(long, value_name = "LEVEL|LEVEL=SHARE,...")]
    pub(crate) ack: Option<String>,
    /// How many keys there are.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    /// The share of requests that want one and the same key.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub(crate) hot: String,
    /// Bytes of a value.
    #[arg(long, value_name = "SIZE", default_value = "256B")]
    pub(crate) value: ByteSize,
    /// Which share of the clients is nearest to which region; the rest is spread evenly over the
    /// others, such as us-east-1=60%,eu-west-1=40%.
    #[arg(long, value_name = "REGION=SHARE,...")]
    pub(crate) from: Option<String>,
}

/// Jobs of a queue.
#[derive(Debug, Args)]
#[command(next_help_heading = "Jobs")]
pub(crate) struct JobArgs {
    /// Jobs per second, in the words of --traffic: 20, daily:5..50, burst:5..80@10m/5m, or a CSV file.
    /// Without it no jobs are rehearsed.
    #[arg(long, value_name = "NUMBER|SHAPE|FILE")]
    pub(crate) jobs: Option<String>,
    /// How long a worker takes for one: 2s, 1s..5s, or about:2s for an average.
    #[arg(long, value_name = "TIME", default_value = "about:2s", requires = "jobs")]
    pub(crate) job_takes: String,
    /// How many workers each region has: 50, or us-east-1=50,eu-west-1=20. Without it: as many as its
    /// capacity.jobs in the configuration.
    #[arg(long, value_name = "NUMBER|REGION=NUMBER,...", requires = "jobs")]
    pub(crate) workers: Option<String>,
    /// Which share of the jobs comes from near which region, as in --from.
    #[arg(long, value_name = "REGION=SHARE,...", requires = "jobs")]
    pub(crate) jobs_from: Option<String>,
    /// How long a worker has a job before another may get it; renewed while it works.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s",
          requires = "jobs")]
    pub(crate) visibility: Duration,
    /// How jobs are acknowledged: memory, local, one_remote or quorum.
    #[arg(long, value_name = "LEVEL", default_value = "local", requires = "jobs")]
    pub(crate) job_ack: String,
}

/// Objects of a bucket.
#[derive(Debug, Args)]
#[command(next_help_heading = "Objects")]
pub(crate) struct ObjectArgs {
    /// Uploads per second, in the words of --traffic: 5, daily:1..20, burst:1..20@10m/5m, or a CSV file.
    /// Without it no objects are rehearsed.
    #[arg(long, value_name = "NUMBER|SHAPE|FILE")]
    pub(crate) uploads: Option<String>,
    /// How long objects are: 4MiB, 64KiB..64MiB, or about:8MiB for an average.
    #[arg(long, value_name = "SIZE", default_value = "about:4MiB", requires = "uploads")]
    pub(crate) upload_size: String,
    /// Which share of the uploads comes from near which region, as in --from.
    #[arg(long, value_name = "REGION=SHARE,...", requires = "uploads")]
    pub(crate) uploads_from: Option<String>,
    /// For so many of the uploads an older object is deleted.
    #[arg(long, value_name = "SHARE", default_value = "0%", requires = "uploads")]
    pub(crate) deletes: String,
    /// Downloads per second, in the same words. Without it nobody reads.
    #[arg(long, value_name = "NUMBER|SHAPE|FILE", requires = "uploads")]
    pub(crate) downloads: Option<String>,
    /// Which share of the downloads is near which region, as in --from.
    #[arg(long, value_name = "REGION=SHARE,...", requires = "downloads")]
    pub(crate) downloads_from: Option<String>,
    /// The share of downloads that want what was uploaded within the last minute.
    #[arg(long, value_name = "SHARE", default_value = "50%", requires = "downloads")]
    pub(crate) fresh: String,
    /// Where the bytes of the bucket are: regional, async or active_active.
    #[arg(long, value_name = "POLICY", default_value = "async", requires = "uploads")]
    pub(crate) replication: String,
    /// In how many regions bytes are kept at least, once all is well.
    #[arg(long, value_name = "NUMBER", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(1..=20), requires = "uploads")]
    pub(crate) copies: u8,
    /// In how many they must be before an upload is answered. Without it: 1, and a majority of --copies
    /// for active_active.
    #[arg(long, value_name = "NUMBER", requires = "uploads",
          value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) min_copies: Option<u8>,
    /// How the index is acknowledged: memory, local, one_remote or quorum.
    #[arg(long, value_name = "LEVEL", default_value = "local", requires = "uploads")]
    pub(crate) object_ack: String,
    /// Longer objects are sent in parts of this length.
    #[arg(long, value_name = "SIZE", default_value = "8MiB", requires = "uploads")]
    pub(crate) part: String,
    /// How often a client tries a part again in a region before it goes on in the next.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, requires = "uploads",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) upload_retries: u32,
    /// The pause before that.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s",
          requires = "uploads")]
    pub(crate) upload_delay: Duration,
    /// How wide the line of a client is.
    #[arg(long, value_name = "RATE", default_value = "1Gbps", requires = "uploads")]
    pub(crate) client_bandwidth: String,
    /// How wide links between regions are: 80Mbps, or "us-east-1 - eu-west-1=80Mbps,..." (or ->). Without
    /// it: the smaller capacity.bandwidth of the two regions in the configuration.
    #[arg(long, value_name = "RATE|LINK=RATE,...", requires = "uploads")]
    pub(crate) bandwidth: Option<String>,
}

/// What clients do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Clients")]
pub(crate) struct ClientArgs {
    /// Clients find a node by a name whose answer they may keep so long. Without it they know every
    /// node, and go on to the next.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) dns_ttl: Option<Duration>,
    /// The share of resolvers that keep an answer longer.
    #[arg(long, value_name = "SHARE", default_value = "0%", requires = "dns_ttl")]
    pub(crate) dns_ignore: String,
    /// How long those keep it.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1h",
          requires = "dns_ttl")]
    pub(crate) dns_kept: Duration,
    /// How long a client waits for an answer.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "500ms")]
    pub(crate) client_timeout: Duration,
    /// How often it asks again after that.
    #[arg(long, value_name = "NUMBER", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) retries: u32,
    /// How many client processes, or resolvers, there are near each region; each finds out by itself that
    /// a node is gone.
    #[arg(long, value_name = "NUMBER", default_value_t = SEATS,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=SEATS_MAX))]
    pub(crate) processes: usize,
    /// From here on an answer is a slow one.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    pub(crate) slow: Duration,
    /// Every message takes exactly half of its round trip. Without it they differ as packets do between
    /// regions of a cloud: mostly by less than 0.1 ms, seldom by several.
    #[arg(long)]
    pub(crate) constant_delays: bool,
}

/// What regions can do, and what they cost.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capacity and cost")]
pub(crate) struct CostArgs {
    /// Requests per second that a region serves, such as us-east-1=500. Without it: as many as its
    /// capacity.requests in the configuration, each taken to last a second.
    #[arg(long, value_name = "REGION=NUMBER,...")]
    pub(crate) capacity: Option<String>,
    /// A CSV file with prices (region,to,usd_per_gb,usd_per_node_hour), over the list prices of AWS,
    /// Google Cloud and Azure that are built in.
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
}
