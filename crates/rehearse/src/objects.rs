//! Objects: how many are uploaded, how long they are, who reads them, and where their bytes are kept.

mod parse;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, time::Duration};

use rhumb_objects::upload::UploadConfig;
use rhumb_ports::blobs::BLOB_BYTES_MAX;
pub use rhumb_sim::world::objects::Pace;
use rhumb_sim::{random::Random, traffic::chance::exponential};
use rhumb_types::{
    ByteSize, Ratio, RegionId,
    record::{BucketDefinition, Replication},
};

pub use self::parse::{bandwidths, bytes_per_second, part, replication, sizes};
use crate::{
    extent::Extent,
    text::Percent,
    time::{SECOND, whole},
    traffic::{Shape, acknowledged, peak_and_sum},
};

/// Most uploads per second, and most parts of them: each is simulated by itself.
pub const RATE_MAX: f64 = 200.0;
/// Most uploads of a run: the index of every region keeps them.
pub const UPLOADS_MAX: f64 = 200_000.0;
/// Most downloads per second.
pub const READS_PER_SECOND_MAX: f64 = 500.0;
/// Longest object.
pub const OBJECT_BYTES_MAX: u64 = 100 << 30;
/// How long an object counts as a fresh one.
pub const FRESH_FOR: Duration = Duration::from_secs(60);

/// The objects of a rehearsal, all of one bucket.
#[derive(Clone, Debug)]
pub struct Objects {
    /// How many are uploaded, over time; by all clients together.
    pub uploads: Shape,
    /// Which share of the uploads comes from near each region; the rest of one is spread evenly.
    pub near: BTreeMap<RegionId, Ratio>,
    /// How long they are.
    pub sizes: Sizes,
    /// For so many of the uploads an older object is deleted.
    pub deletes: Ratio,
    /// How clients send and receive.
    pub clients: ObjectClients,
    /// Reads, if any are rehearsed.
    pub downloads: Option<Downloads>,
    /// The settings of the bucket.
    pub bucket: BucketDefinition,
    /// The times of what nodes do.
    pub pace: Pace,
    /// Bytes per second from one region to another.
    pub links: BTreeMap<(RegionId, RegionId), u64>,
    /// Bytes per second that a region takes from its clients, and as many that it gives.
    pub uplinks: BTreeMap<RegionId, u64>,
}

/// Who reads objects.
#[derive(Clone, PartialEq, Debug)]
pub struct Downloads {
    /// How many, over time.
    pub shape: Shape,
    /// Which share of them is near each region.
    pub near: BTreeMap<RegionId, Ratio>,
    /// The share that wants what was uploaded within [`FRESH_FOR`]; the others want any object.
    pub fresh: Ratio,
}

/// How clients send and receive objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectClients {
    /// Bytes per second of each.
    pub bytes_per_second: u64,
    /// Longer objects are sent in parts of this length.
    pub part_bytes: u64,
    /// How often a part is tried again in a region before the next takes its place.
    pub retries: u32,
    /// The pause before that.
    pub delay: Duration,
}

impl Default for ObjectClients {
    /// A line of 1 Gbps; parts as the AWS SDKs cut them, tries as `rhumb cp` makes them.
    fn default() -> Self {
        let UploadConfig { retries, delay, .. } = UploadConfig::default();
        Self { bytes_per_second: 125_000_000, part_bytes: 8 << 20, retries, delay }
    }
}

/// How long objects are.
pub type Sizes = Extent<ByteSize>;

impl Sizes {
    /// One of them, in bytes.
    pub(crate) fn draw(self, random: &mut Random) -> u64 {
        match self {
            Self::Always(size) => size.0,
            Self::Between(least, most) => least.0 + random.below(most.0 - least.0 + 1),
            Self::About(mean) => {
                let turns = exponential(random, 1.0) as f64 / SECOND as f64;
                whole(turns * mean.0 as f64).clamp(1, OBJECT_BYTES_MAX)
            }
        }
    }

    /// The average, in bytes.
    #[must_use]
    pub const fn mean(self) -> u64 {
        match self {
            Self::Always(size) | Self::About(size) => size.0,
            Self::Between(least, most) => least.0.midpoint(most.0),
        }
    }
}

impl Objects {
    /// In how many regions bytes are once all is well, of so many.
    #[must_use]
    pub fn copies_wanted(&self, regions: usize) -> usize {
        match self.bucket.replication {
            Replication::Regional => usize::from(self.bucket.copies).min(regions),
            Replication::Async | Replication::ActiveActive => regions,
        }
    }

    /// How many copies an upload waits for, if regions allow: with fewer it is degraded.
    #[must_use]
    pub fn copies_awaited(&self, regions: usize) -> usize {
        let waits = self.bucket.min_copies.is_some()
            || self.bucket.replication == Replication::ActiveActive;
        if waits { usize::from(self.bucket.copies).min(regions) } else { 1 }
    }

    /// Why so many cannot be rehearsed, in words.
    #[must_use]
    pub fn is_too_much(&self, lasting: Duration) -> Option<String> {
        let (peak, all) = peak_and_sum(&self.uploads, lasting);
        let parts = (self.sizes.mean() as f64 / self.clients.part_bytes as f64).max(1.0);
        let hint = "rehearse a part of them, with a part of the bandwidth";
        if peak * parts > RATE_MAX {
            return Some(format!(
                "--uploads: {:.0} parts per second are too many; up to {RATE_MAX} are rehearsed, because \
                 each is simulated by itself: {hint}",
                peak * parts
            ));
        }
        (all > UPLOADS_MAX).then(|| {
            format!("--uploads: {all:.0} uploads are too many; up to {UPLOADS_MAX} are rehearsed: {hint}")
        })
    }
}

impl Downloads {
    /// Why so many cannot be rehearsed, in words.
    #[must_use]
    pub fn is_too_much(&self, lasting: Duration) -> Option<String> {
        let (peak, _) = peak_and_sum(&self.shape, lasting);
        (peak > READS_PER_SECOND_MAX).then(|| {
            format!(
                "--downloads: {peak} per second are too many; up to {READS_PER_SECOND_MAX} are \
                 rehearsed, because each is simulated by itself"
            )
        })
    }
}

/// How long a part may be: as long as a blob.
pub const PART_BYTES_MAX: u64 = BLOB_BYTES_MAX;

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uploads, sizes, bucket, downloads, .. } = self;
        let uploads = uploads.to_string().replace("requests", "uploads");
        write!(f, "{uploads} of {sizes}; ")?;
        match bucket.replication {
            Replication::Regional => write!(f, "regional, {} copies", bucket.copies)?,
            Replication::Async => f.write_str("async, to every region in time")?,
            Replication::ActiveActive => write!(
                f,
                "active_active, answered with {} of {} copies",
                bucket.copies_needed(),
                bucket.copies
            )?,
        }
        write!(f, ", {}", acknowledged(bucket.ack))?;
        if self.deletes > Ratio::ZERO {
            write!(f, "; {} of them delete an older one", Percent(self.deletes))?;
        }
        if let Some(Downloads { shape, fresh, .. }) = downloads {
            let shape = shape.to_string().replace("requests", "downloads");
            write!(f, "; {shape}, {} of them of fresh objects", Percent(*fresh))?;
        }
        Ok(())
    }
}
