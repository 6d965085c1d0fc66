//! The words of `rhumb ship`, `rhumb receive`, and the commands for single objects.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use rhumb_types::{ByteSize, RegionId, units};

use super::identity::region;

/// A region and something of it, as REGION=VALUE.
#[derive(Debug, Clone)]
pub(crate) struct OfRegion {
    pub(crate) region: RegionId,
    pub(crate) value: String,
}

fn of_region(text: &str) -> Result<OfRegion, String> {
    let (name, value) = text.split_once('=').ok_or("write it as REGION=VALUE")?;
    Ok(OfRegion { region: region(name)?, value: value.to_owned() })
}

pub(super) fn bytes(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error: units::ByteSizeError| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).map_err(|error| error.to_string())
}

/// Which S3 endpoints there are, and as whom they are asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct Endpoints {
    /// A configuration, for its endpoints under `ship`, or else the S3 servers of its regions, and for
    /// what each region can take.
    #[arg(long, short, env = "RHUMB_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A region and its S3 endpoint, as REGION=URL; once per region. Without any: those of the
    /// configuration, else AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.
    #[arg(
        long = "endpoint",
        value_name = "REGION=URL",
        env = "RHUMB_S3_ENDPOINTS",
        value_delimiter = ',',
        value_parser = of_region
    )]
    pub(crate) endpoints: Vec<OfRegion>,
    /// What the bucket is called in one region, where its name differs.
    #[arg(long = "bucket", value_name = "REGION=BUCKET", value_delimiter = ',', value_parser = of_region)]
    pub(crate) buckets: Vec<OfRegion>,
    /// Only these regions, nearest first.
    #[arg(long, value_delimiter = ',', value_parser = region)]
    pub(crate) regions: Vec<RegionId>,
    /// The region that signatures name, where it is not the endpoint's own.
    #[arg(long)]
    pub(crate) signing_region: Option<String>,
    /// The profile of the credentials file. Keys in the environment come first.
    #[arg(long, env = "AWS_PROFILE", default_value = "default")]
    pub(crate) profile: String,
    /// The credentials file; ~/.aws/credentials without.
    #[arg(long, env = "AWS_SHARED_CREDENTIALS_FILE", value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,
    /// A PEM file of authorities that sign the endpoints' certificates, besides the system's.
    #[arg(long, env = "AWS_CA_BUNDLE", value_name = "FILE")]
    pub(crate) s3_ca: Option<PathBuf>,
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", hide = true)]
    pub(crate) aws_endpoint_s3: Option<String>,
    #[arg(long, env = "AWS_ENDPOINT_URL", hide = true)]
    pub(crate) aws_endpoint: Option<String>,
    #[arg(long, env = "AWS_REGION", hide = true)]
    pub(crate) aws_region: Option<String>,
    #[arg(long, env = "AWS_DEFAULT_REGION", hide = true)]
    pub(crate) aws_default_region: Option<String>,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide = true, hide_env_values = true)]
    pub(crate) access_key_id: Option<String>,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide = true, hide_env_values = true)]
    pub(crate) secret_access_key: Option<String>,
    #[arg(long, env = "AWS_SESSION_TOKEN", hide = true, hide_env_values = true)]
    pub(crate) session_token: Option<String>,
}

/// How requests are made.
#[derive(Debug, Clone, Args)]
pub(crate) struct Transfers {
    /// Bytes of files and packs that are in memory at a time.
    #[arg(long, default_value = "96MiB", value_parser = bytes)]
    pub(crate) memory: ByteSize,
    /// Requests to each region at a time.
    #[arg(long, default_value_t = 8)]
    pub(crate) concurrency: u16,
    /// How often a request is tried again.
    #[arg(long, default_value_t = 2)]
    pub(crate) retries: u32,
    /// The pause before it is tried again.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) retry_delay: Duration,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// `rhumb ship`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  A folder, to two regions, of which one is enough:
    rhumb ship ./photos backup/photos --copies 2 --min-copies 1 \\
      --endpoint us-east-1=https://use1.acme.net:7403 --endpoint eu-west-1=https://euw1.acme.net:7403
  The same command again sends only what is new, or what was not sent before it was killed.
  A stream:
    pg_dump app | rhumb ship - backup/app.sql
  What it would do:
    rhumb ship ./photos backup/photos --dry-run

Ends with 0 when all copies are made, with 3 when fewer are, but enough, else with 1.")]
pub(crate) struct Ship {
    /// A folder or a file; `-` reads standard input.
    pub(crate) source: PathBuf,
    /// Where it goes: BUCKET, or BUCKET/PREFIX.
    pub(crate) destination: String,
    /// In how many regions it is to be; in all without.
    #[arg(long)]
    pub(crate) copies: Option<usize>,
    /// How many are enough for a success, if a degraded one; more than half without.
    #[arg(long)]
    pub(crate) min_copies: Option<usize>,
    /// The Ed25519 key that signs the manifest, in PEM. Without: one of this user, made when first needed.
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    pub(crate) key: Option<PathBuf>,
    /// Seal the manifest under a secret that the receivers have, too: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret: Option<PathBuf>,
    /// Write down whose each file is.
    #[arg(long)]
    pub(crate) owners: bool,
    /// What a stream is called in the archive.
    #[arg(long, default_value = "stream")]
    pub(crate) name: String,
    /// Say what would be sent, where, and what the traffic would cost, and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The region from which it is sent, for the cost.
    #[arg(long, env = "RHUMB_REGION", value_parser = region)]
    pub(crate) from: Option<RegionId>,
    /// A CSV file with prices (region,to,usd_per_gb,usd_per_node_hour), over the list prices of AWS, Google
    /// Cloud and Azure; as for `rhumb rehearse`.
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub(crate) prices: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
    #[command(flatten)]
    pub(crate) transfers: Transfers,
}

/// `rhumb receive`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  A folder, from whichever regions have it:
    rhumb receive backup/photos ./photos --endpoint us-east-1=https://use1.acme.net:7403 \\
      --endpoint eu-west-1=https://euw1.acme.net:7403
  The same command again goes on where it was.
  A stream:
    rhumb receive backup/app.sql - | psql app
  Whether all of it is there and whole, without writing anything:
    rhumb receive backup/photos --verify-only
  Whether a folder is what was sent:
    rhumb receive backup/photos ./photos --verify-only")]
pub(crate) struct Receive {
    /// Where it is: BUCKET, or BUCKET/PREFIX.
    pub(crate) origin: String,
    /// The folder to restore into; `-` writes the one file of the archive to standard output.
    #[arg(required_unless_present = "verify_only")]
    pub(crate) target: Option<PathBuf>,
    /// Write nothing: check the archive, or compare the target with it.
    #[arg(long)]
    pub(crate) verify_only: bool,
    /// A key whose signature is trusted: 64 hexadecimal digits, or a PEM file. Without: this user's own
    /// key, if there is one; else any, which shows damage, and not who sent it.
    #[arg(long, conflicts_with = "secret")]
    pub(crate) signer: Vec<String>,
    /// The secret under which the manifest was sealed: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret: Option<PathBuf>,
    /// Give files to whom they belonged, which takes root's rights.
    #[arg(long)]
    pub(crate) owners: bool,
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
    #[command(flatten)]
    pub(crate) transfers: Transfers,
}
