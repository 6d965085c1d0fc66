//! The words of the commands for single objects.

use clap::Args;
use rhumb_types::ByteSize;

use super::ship::{Endpoints, Transfers};

/// `rhumb ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rhumb ls backup
  rhumb ls backup/photos --recursive --json

Ends with 1 when there is nothing below the prefix.")]
pub(crate) struct Ls {
    /// BUCKET, or BUCKET/PREFIX.
    pub(crate) place: String,
    /// Everything below it, not only what is right there.
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// Print one JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
}

/// `rhumb stat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  rhumb stat backup/photos/manifest

Ends with 1 when no region has it.")]
pub(crate) struct Stat {
    /// BUCKET/KEY.
    pub(crate) object: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
}

/// `rhumb rm`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rhumb rm backup/old.tar
  rhumb rm backup/photos --recursive --everywhere")]
pub(crate) struct Rm {
    /// BUCKET/KEY; with --recursive also BUCKET/PREFIX.
    #[arg(required = true)]
    pub(crate) objects: Vec<String>,
    /// Everything below the prefix.
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// In each region. Rhumb's own regions tell each other; other endpoints do not.
    #[arg(long)]
    pub(crate) everywhere: bool,
    #[command(flatten)]
    pub(crate) transfers: Transfers,
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
}

/// `rhumb cp`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rhumb cp film.mkv s3://media/film.mkv
  rhumb cp s3://media/film.mkv .
  rhumb cp s3://media/film.mkv s3://media/2026/film.mkv
  rhumb cp film.mkv s3://media/film.mkv --copies 2 --min-copies 1
  pg_dump app | rhumb cp - s3://backup/app.sql --spool
  rhumb cp ./site s3://www/2026 --recursive

A file goes to as many regions as --copies says, in the order in which they are named; a region that fails
is replaced by the next. An object comes from the first region that has it. With --recursive
all files of a folder go below a prefix, or the other way, whatever is there; `rhumb sync` copies only what
differs, and `rhumb ship` makes an archive.

Ends with 0 when all copies are made, with 3 when fewer are, but enough, else with 1.")]
pub(crate) struct Cp {
    /// A file, s3://BUCKET/KEY, or `-` for standard input.
    pub(crate) source: String,
    /// A file or folder, s3://BUCKET/KEY, or `-` for standard output.
    pub(crate) target: String,
    /// In how many regions it is to be.
    #[arg(long, default_value_t = 1)]
    pub(crate) copies: usize,
    /// How many are enough for a success, if a degraded one; more than half without.
    #[arg(long)]
    pub(crate) min_copies: Option<usize>,
    /// How long each part is, for endpoints that want all parts alike; as the link likes it without.
    #[arg(long, value_name = "BYTES", value_parser = super::ship::bytes)]
    pub(crate) part_size: Option<ByteSize>,
    /// Write standard input to a temporary file on the way, so that another region can take it over.
    #[arg(long, conflicts_with = "recursive")]
    pub(crate) spool: bool,
    /// All files of a folder, or all objects below a prefix.
    #[arg(long, short)]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) transfers: Transfers,
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
}

/// `rhumb sync`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rhumb sync ./site s3://www --dry-run
  rhumb sync s3://www ./site --delete

A file and an object count as alike when they have the same size and the target is not older.")]
pub(crate) struct Sync {
    /// A folder, or s3://BUCKET/PREFIX.
    pub(crate) source: String,
    /// A folder, or s3://BUCKET/PREFIX; the other of the two.
    pub(crate) target: String,
    /// Remove from the target what the source does not have.
    #[arg(long)]
    pub(crate) delete: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) transfers: Transfers,
    #[command(flatten)]
    pub(crate) endpoints: Endpoints,
}
