//! One object, to several regions at once.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use rhumb_objects::{
    transfer,
    upload::{Report, Rewind, Upload, UploadConfig, Verdict},
};
use rhumb_types::RegionId;

use self::{
    parts::{Lengths, Parts},
    source::Opened,
};
use crate::{
    drive::{Lanes, drive},
    limits::{
        REGIONS_MAX, REQUESTS_PER_REGION, REQUESTS_PER_REGION_MAX, RETRIES, RETRY_DELAY,
        STAGED_BYTES,
    },
    progress::Progress,
    remote::Remote,
};

mod parts;
mod source;

pub use source::UploadSource;

/// How objects are uploaded.
///
/// ```
/// use rhumb_ship::UploadSettings;
///
/// // Into two regions, of which one is enough; a region that fails is given up at once.
/// let settings = UploadSettings { copies: 2, min_copies: Some(1), retries: 0, ..Default::default() };
/// assert_eq!(settings.retry_delay.as_secs(), 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadSettings {
    /// In how many regions the object is to be; 1 by default.
    pub copies: usize,
    /// How many are enough for a success, if a degraded one; more than half of `copies` by default.
    pub min_copies: Option<usize>,
    /// How often a request is tried again in a region before the next takes its place; 2 by default.
    pub retries: u32,
    /// The pause before that; 5 s by default.
    pub retry_delay: Duration,
    /// How long other regions are waited for once there are enough copies; by default until they end.
    pub patience: Option<Duration>,
    /// Most requests to one region at a time, at least 1; how many there are is measured.
    pub requests: usize,
    /// Bytes of parts in memory at a time, unless that is less than one part for each region.
    pub memory: usize,
    /// How long each part but the last is, for endpoints that want all of them alike; by default what
    /// suits the link, from 5 MiB to 100 MiB.
    pub part_bytes: Option<u64>,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self {
            copies: 1,
            min_copies: None,
            retries: RETRIES,
            retry_delay: RETRY_DELAY,
            patience: None,
            requests: REQUESTS_PER_REGION,
            memory: STAGED_BYTES,
            part_bytes: None,
        }
    }
}

/// What became of a region that was used for an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedRegion {
    /// The region.
    pub region: RegionId,
    /// Whether the object is there, or why not.
    pub result: Result<(), String>,
    /// Bytes of it that the region acknowledged.
    pub bytes: u64,
    /// Parts that were sent there, those that failed included.
    pub attempts: u64,
    /// In whose place it was used.
    pub in_place_of: Option<RegionId>,
}

/// What became of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Whether there are as many copies as were wanted, fewer and enough, or too few.
    pub verdict: Verdict,
    /// The length of the object, as far as it was read.
    pub bytes: u64,
    /// The regions that were used, in the order of their first use.
    pub regions: Vec<UploadedRegion>,
    /// How long it took.
    pub took: Duration,
}

impl Uploaded {
    /// The regions that have the object.
    pub fn holders(&self) -> impl Iterator<Item = &RegionId> {
        self.regions.iter().filter(|it| it.result.is_ok()).map(|it| &it.region)
    }

    /// Why the other regions do not have it, in a line.
    #[must_use]
    pub fn reasons(&self) -> String {
        let reason = |it: &UploadedRegion| {
            it.result.as_ref().err().map(|reason| format!("{}: {reason}", it.region))
        };
        self.regions.iter().filter_map(reason).collect::<Vec<_>>().join("; ")
    }
}

/// Why nothing was uploaded. What regions fail with is in [`Uploaded`].
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The numbers of copies cannot be met.
    #[error("{copies} copies, {min_copies} at least, cannot be made in {regions} regions")]
    Copies {
        /// How many are wanted.
        copies: usize,
        /// How many are enough.
        min_copies: usize,
        /// How many regions there are.
        regions: usize,
    },
    /// The source cannot be read.
    #[error("`{}` cannot be read", name.display())]
    Source {
        /// Which.
        name: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file changed while it was read.
    #[error("`{}` changed meanwhile", .0.display())]
    Changed(PathBuf),
    /// A stream has more bytes than an object can be made of, in parts of this length.
    #[error(
        "the stream is longer than {bytes} bytes, which is what its parts make; send longer parts"
    )]
    TooLong {
        /// What was read.
        bytes: u64,
    },
    /// A thread of this program broke off.
    #[error("a task broke off")]
    Broken(#[from] tokio::task::JoinError),
}

/// Uploads objects to buckets of several regions.
///
/// ```no_run
/// use rhumb_ship::{RegionId, Remote, Site, UploadSettings, UploadSource, Uploader};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let east = Site::new(RegionId::new("us-east-1")?, "https://use1.acme.net:7403", "photos");
/// let west = Site::new(RegionId::new("eu-west-1")?, "https://euw1.acme.net:7403", "photos-eu");
/// let remotes = vec![Remote::new(east)?, Remote::new(west)?];
///
/// let settings = UploadSettings { copies: 2, ..UploadSettings::default() };
/// let uploader = Uploader::new(remotes, settings)?;
/// let uploaded = uploader.upload("2026/one.jpg", UploadSource::File("one.jpg".into())).await?;
/// for region in &uploaded.regions {
///     println!("{}: {:?}", region.region, region.result);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Uploader {
    remotes: Vec<Remote>,
    settings: UploadSettings,
    enough: usize,
}

impl Uploader {
    /// An uploader to these regions, nearest first: the first are sent to, and the others stand in for
    /// those that fail.
    ///
    /// # Errors
    /// When there are fewer regions than copies, or more copies are enough than are wanted.
    pub fn new(remotes: Vec<Remote>, settings: UploadSettings) -> Result<Self, UploadError> {
        let enough = enough(settings.copies, settings.min_copies, remotes.len())?;
        Ok(Self { remotes, settings, enough })
    }

    /// Uploads an object, and says what each region did.
    ///
    /// # Errors
    /// When the source cannot be read. That too few regions have the object is a verdict.
    pub async fn upload(&self, key: &str, source: UploadSource) -> Result<Uploaded, UploadError> {
        let progress = Progress::new(self.remotes.iter().map(Remote::region));
        self.upload_shown(key, source, &progress).await
    }

    /// The same, while others look how far it is.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub async fn upload_shown(
        &self,
        key: &str,
        source: UploadSource,
        progress: &Progress,
    ) -> Result<Uploaded, UploadError> {
        let begun = Instant::now();
        let once = matches!(source, UploadSource::Stream(_));
        let source = Opened::new(source)?;
        progress.total.add(source.total.unwrap_or(0));
        let (shortest, longest) = transfer::PART_BYTES;
        let lanes = self.settings.copies.max(1);
        let shares = (self.settings.memory as u64 / shortest).max(1);
        let kept = usize::try_from(shares).unwrap_or(usize::MAX) / lanes;
        let kept = kept.clamp(1, self.settings.requests.clamp(1, REQUESTS_PER_REGION_MAX));
        let most = self.settings.memory / lanes / kept;
        let lengths = Lengths {
            fixed: self.settings.part_bytes,
            most: (most as u64).clamp(shortest, longest),
        };
        let config = UploadConfig {
            retries: self.settings.retries,
            delay: self.settings.retry_delay,
            copies_needed: u8::try_from(self.enough).unwrap_or(u8::MAX),
            patience: self.settings.patience.unwrap_or(Duration::MAX),
            parts_kept: kept,
            rewind: if once { Rewind::Never } else { Rewind::Free },
            ..UploadConfig::default()
        };
        let regions = self.remotes.iter().map(|remote| remote.region().clone());
        let (targets, spares) = (regions.clone().take(lanes), regions.skip(lanes));
        let upload = Upload::new(config, targets, spares);
        let mut lanes = Lanes::new(self.remotes.iter().cloned(), kept, begun);
        let mut parts = Parts::new(key, source, lengths);
        let report = drive(&mut parts, &mut lanes, upload, begun, progress).await?;
        Ok(told(report, &lanes, begun))
    }
}

/// How many copies are enough, if so many can be made.
pub(crate) fn enough(
    copies: usize,
    min_copies: Option<usize>,
    regions: usize,
) -> Result<usize, UploadError> {
    let min_copies = min_copies.unwrap_or(copies / 2 + 1);
    let fits =
        (1..=regions.min(REGIONS_MAX)).contains(&copies) && (1..=copies).contains(&min_copies);
    if fits { Ok(min_copies) } else { Err(UploadError::Copies { copies, min_copies, regions }) }
}

fn told<P>(report: Report, lanes: &Lanes<P>, begun: Instant) -> Uploaded {
    let region = |it: rhumb_objects::upload::RegionResult| UploadedRegion {
        result: it.result.map_err(|fault| {
            let reason = lanes.reason(&it.region);
            reason.unwrap_or_else(|| fault.to_string())
        }),
        region: it.region,
        bytes: it.bytes,
        attempts: it.attempts,
        in_place_of: it.in_place_of,
    };
    Uploaded {
        verdict: report.verdict,
        bytes: report.bytes,
        regions: report.regions.into_iter().map(region).collect(),
        took: begun.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_copies_is_enough_unless_another_number_is_given() {
        for (copies, majority) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            assert_eq!(enough(copies, None, 5).unwrap(), majority, "of {copies}");
            assert_eq!(enough(copies, Some(1), 5).unwrap(), 1);
            assert!(enough(copies, Some(copies + 1), 5).is_err());
        }
        assert!(enough(3, None, 2).is_err());
    }
}
