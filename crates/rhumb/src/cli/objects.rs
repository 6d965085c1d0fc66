//! The words of the commands for single objects.

use clap::Args;

use super::ship::{Endpoints, Transfers};

/// `rhumb ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rhumb ls backup
  rhumb ls backup/photos --recursive --json")]
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

A file goes to the first region that takes it, and an object comes from the first that has it. To several
regions at once, and for folders with all that is in them: `rhumb ship`.")]
pub(crate) struct Cp {
    /// A file, or s3://BUCKET/KEY.
    pub(crate) source: String,
    /// A file or folder, or s3://BUCKET/KEY.
    pub(crate) target: String,
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
