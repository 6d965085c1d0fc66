//! The words of `rhumb bucket`.

use clap::{Args, Subcommand};
use rhumb_types::{ByteSize, RegionId, record::BucketName};

use super::{Asked, Change, identity::region};

/// `rhumb bucket`.
#[derive(Debug, Args)]
pub(crate) struct Bucket {
    #[command(subcommand)]
    pub(crate) command: BucketCommand,
}

/// What is done with buckets.
#[derive(Debug, Subcommand)]
pub(crate) enum BucketCommand {
    /// Lists the buckets and what they promise.
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Shows a bucket's settings.
    Show {
        /// The bucket.
        #[arg(value_parser = bucket)]
        bucket: BucketName,
        #[command(flatten)]
        asked: Asked,
    },
    /// Makes a bucket.
    ///
    /// Example: `rhumb bucket create photos --replication active_active --copies 3 --reason "the
    /// album"`
    Create {
        /// The bucket: 3 to 63 lower-case letters, digits, `-` and `.`.
        #[arg(value_parser = bucket)]
        bucket: BucketName,
        #[command(flatten)]
        settings: BucketSettings,
        #[command(flatten)]
        change: Change,
    },
    /// Changes some settings of a bucket; the others stay. What is held follows in its own time.
    ///
    /// Example: `rhumb bucket change photos --replication regional --reason "cheaper"`
    Change {
        /// The bucket.
        #[arg(value_parser = bucket)]
        bucket: BucketName,
        #[command(flatten)]
        settings: BucketSettings,
        /// A setting, by its name in `rhumb bucket show --json`, that is to be as usual again.
        #[arg(long, value_name = "SETTING")]
        unset: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Removes a bucket that is empty.
    Delete {
        /// The bucket.
        #[arg(value_parser = bucket)]
        bucket: BucketName,
        #[command(flatten)]
        change: Change,
    },
}

/// Settings of a bucket; those left out are as usual, or as they were.
#[derive(Debug, Args)]
pub(crate) struct BucketSettings {
    /// Where bytes are: `regional` (where they were put, and in --copies regions), `async` (in every
    /// region, in time), `active_active` (the same, and an upload waits for copies) (async).
    #[arg(long)]
    pub(crate) replication: Option<String>,
    /// In how many regions bytes are kept at least, once all is well (2).
    #[arg(long)]
    pub(crate) copies: Option<u8>,
    /// In how many they must be before an upload is answered (1; of active_active a majority of
    /// --copies).
    #[arg(long)]
    pub(crate) min_copies: Option<u8>,
    /// A region to prefer; give several in their order.
    #[arg(long = "prefer", value_parser = region, value_name = "REGION")]
    pub(crate) regions: Vec<RegionId>,
    /// In which order other regions get the copies that an upload waits for: latency, geographic, cost,
    /// priority, affinity, weighted or round_robin (latency).
    #[arg(long)]
    pub(crate) strategy: Option<String>,
    /// Bytes lie only in regions that carry all of these tags.
    #[arg(long, value_name = "TAG")]
    pub(crate) residency: Vec<String>,
    /// `eventual`, or `linearizable`: every change is made at the key's home (eventual).
    #[arg(long)]
    pub(crate) consistency: Option<String>,
    /// What must be durable of the index before an upload is answered: memory, local, one_remote or
    /// quorum (local).
    #[arg(long)]
    pub(crate) ack: Option<String>,
    /// `off`, `enabled` or `suspended` (off).
    #[arg(long)]
    pub(crate) versioning: Option<String>,
    /// Objects up to so many bytes lie in the index (8192; at most 65536).
    #[arg(long)]
    pub(crate) inline_max: Option<u64>,
    /// A region that reads another's bytes so often within an hour keeps a copy; 0: never (3).
    #[arg(long)]
    pub(crate) promote_after: Option<u32>,
    /// What a region says of a key that it does not know: `ask` the others first, or `local` (ask).
    #[arg(long)]
    pub(crate) miss: Option<String>,
    /// Makes it a cache: the most bytes of it that a region keeps, such as 100GB. What was not read for
    /// longest goes first, and --miss is `local` then, unless it is given.
    #[arg(long, value_name = "SIZE")]
    pub(crate) cache_max: Option<ByteSize>,
}

fn bucket(name: &str) -> Result<BucketName, String> {
    BucketName::new(name).map_err(|error| error.to_string())
}
