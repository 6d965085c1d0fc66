//! `ship`: from one source to several regions.
//!
//! A thread reads, packs are compressed on other threads, and the machine of uploads says where each pack
//! goes, with the [`Cargo`] of packs as its source. A region that fails all tries of a request is set
//! aside, and the next in order takes its place; what that lacks and is in memory no longer comes from a
//! region that has it. The manifest is written last, so that a region has either all of an archive or
//! none of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rhumb_objects::upload::{self as machine, Fault, RegionResult, Rewind, Upload, UploadConfig};
use rhumb_pack::{OpenError, Sealer};
use rhumb_types::RegionId;
use tokio::task::JoinSet;

use self::cargo::{Cargo, Feed};
use crate::{
    archive::{Part, Prefix, present},
    drive::{Lanes, drive},
    lane::{Tries, retried},
    limits::{
        LISTED_MAX, PARTS_KEPT_MAX, REQUESTS_PER_REGION, REQUESTS_PER_REGION_MAX, REREADS_MAX,
        RETRIES, RETRY_DELAY, STAGED_BYTES,
    },
    progress::Progress,
    read::{ReadError, Source},
    remote::{Remote, RemoteError},
    upload::{UploadError, enough},
    walk::Walk,
};

mod cargo;
mod rehearsal;
mod report;

pub use rehearsal::{Estimate, RegionPlan, rehearse};
pub use report::{Outcome, RegionReport, Report};

/// How a shipment is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// In how many regions the archive is to be; in all by default.
    pub copies: Option<usize>,
    /// How many are enough to call it a success, if a degraded one; more than half by default.
    pub min_copies: Option<usize>,
    /// Bytes that are in memory at a time.
    pub staged: usize,
    /// Requests to each region at a time.
    pub requests: usize,
    /// How often a request is tried again.
    pub retries: u32,
    /// The pause before that.
    pub retry_delay: Duration,
    /// How long other regions are waited for once there are enough copies; by default until they end.
    pub patience: Option<Duration>,
    /// Whether users and groups are written down.
    pub owners: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            copies: None,
            min_copies: None,
            staged: STAGED_BYTES,
            requests: REQUESTS_PER_REGION,
            retries: RETRIES,
            retry_delay: RETRY_DELAY,
            patience: None,
            owners: false,
        }
    }
}

/// Why nothing was shipped.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The numbers of copies cannot be met.
    #[error(transparent)]
    Copies(#[from] UploadError),
    /// Too few regions answer.
    #[error("only {answered} regions answered, and {enough} copies are needed: {reasons}")]
    Unreachable {
        /// How many did.
        answered: usize,
        /// How many copies are enough.
        enough: usize,
        /// Why the others did not.
        reasons: String,
    },
    /// The source cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The archive is too large for one.
    #[error(transparent)]
    Seal(#[from] OpenError),
    /// A thread of this program broke off.
    #[error("a task broke off")]
    Broken(#[from] tokio::task::JoinError),
}

/// Sends a source to the regions, and seals it.
///
/// # Errors
/// When the source cannot be read, or too few regions answer at the begin. That regions were lost later
/// is in the report.
pub async fn ship(
    source: Source,
    remotes: Vec<Remote>,
    prefix: &Prefix,
    sealer: &Sealer,
    settings: Settings,
    progress: Arc<Progress>,
) -> Result<Report, ShipError> {
    let (begun, name) = (Instant::now(), shown_name(&source));
    let again = match &source {
        Source::Tree(top) => Some(top.clone()),
        Source::Stream { .. } => None,
    };
    let _counting = count(&source, &progress);
    let shipment = Shipment { prefix, sealer, settings, progress: &progress, name: &name, begun };
    let (mut report, mut gone) = shipment.once(source, &remotes).await?;
    for _ in 0..REREADS_MAX {
        // What only a lost region had is read again for those that are left.
        let Some(top) = again.clone().filter(|_| gone && report.is_failed()) else { break };
        tracing::warn!("what only a lost region had is read again");
        match shipment.once(Source::Tree(top), &remotes).await {
            Ok((next, still_gone)) => {
                report.follow(next);
                gone = still_gone;
            }
            Err(ShipError::Unreachable { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    report.took = begun.elapsed();
    Ok(report)
}

/// What is asked of a shipment.
struct Shipment<'a> {
    prefix: &'a Prefix,
    sealer: &'a Sealer,
    settings: Settings,
    progress: &'a Arc<Progress>,
    name: &'a str,
    begun: Instant,
}

impl Shipment<'_> {
    /// Reads the source once, and sends it. Says, too, whether what was read before was needed again and
    /// nowhere to be had.
    async fn once(&self, source: Source, remotes: &[Remote]) -> Result<(Report, bool), ShipError> {
        let (wanted, enough) = copies(&self.settings, remotes.len())?;
        let survey = survey(remotes, self.prefix, &self.settings, enough).await?;
        let feed = Feed::of(source, &self.settings, self.progress);
        let mut cargo = Cargo::new(self, &survey, feed);
        let (targets, spares) = survey.order.split_at(wanted.min(survey.order.len()));
        let upload = Upload::new(self.config(enough), targets.to_vec(), spares.to_vec());
        let mut lanes = self.lanes(remotes);
        let sent = drive(&mut cargo, &mut lanes, upload, self.begun, self.progress).await;
        let summary = cargo.end().await;
        let sent = sent?;
        let mut ends = survey.ends();
        ends.extend(outcomes(&sent, &lanes));
        let missing = wanted.saturating_sub(complete(&ends));
        if missing > 0 && cargo.is_sealed() {
            self.refill(&mut cargo, remotes, missing, &mut ends).await?;
        }
        let gone = sent.regions.iter().any(|it| it.result == Err(Fault::SourceGone));
        let packs = cargo.packs();
        let regions = remotes.iter().map(|remote| {
            let region = remote.region();
            let outcome = ends.remove(region).unwrap_or(Outcome::Spare);
            RegionReport { region: region.clone(), outcome, ..cargo.counts(region) }
        });
        let regions = regions.collect();
        let took = self.begun.elapsed();
        Ok((Report { summary: summary?, packs, wanted, enough, regions, took }, gone))
    }

    /// Regions that were lost and answer again get what they lack from those that have it.
    async fn refill(
        &self,
        cargo: &mut Cargo<'_>,
        remotes: &[Remote],
        missing: usize,
        ends: &mut BTreeMap<RegionId, Outcome>,
    ) -> Result<(), ShipError> {
        let mut back = Vec::new();
        for remote in remotes {
            let lost = matches!(ends.get(remote.region()), Some(Outcome::Lost(_)));
            if lost && let Ok(has) = present(remote, self.prefix, LISTED_MAX).await {
                tracing::info!(region = %remote.region(), "the region answers again");
                cargo.returns(remote.region(), has);
                if let Some(shown) = self.progress.region(remote.region()) {
                    shown.lost.store(false, Ordering::Relaxed);
                }
                back.push(remote.region().clone());
            }
        }
        if back.is_empty() {
            return Ok(());
        }
        cargo.rewind();
        let (targets, spares) = back.split_at(missing.min(back.len()));
        let upload = Upload::new(self.config(1), targets.to_vec(), spares.to_vec());
        let mut lanes = self.lanes(remotes);
        let sent = drive(cargo, &mut lanes, upload, self.begun, self.progress).await?;
        ends.extend(outcomes(&sent, &lanes));
        Ok(())
    }

    fn config(&self, enough: usize) -> UploadConfig {
        UploadConfig {
            retries: self.settings.retries,
            delay: self.settings.retry_delay,
            copies_needed: u8::try_from(enough).unwrap_or(u8::MAX),
            patience: self.settings.patience.unwrap_or(Duration::MAX),
            // Memory is what bounds them, and the budget is the one who knows.
            parts_kept: PARTS_KEPT_MAX,
            parts_max: LISTED_MAX,
            rewind: Rewind::Dear,
        }
    }

    fn lanes<P>(&self, remotes: &[Remote]) -> Lanes<P> {
        let requests = self.settings.requests.clamp(1, REQUESTS_PER_REGION_MAX);
        Lanes::new(remotes.iter().cloned(), requests, self.begun)
    }
}

fn complete(ends: &BTreeMap<RegionId, Outcome>) -> usize {
    ends.values().filter(|end| **end == Outcome::Complete).count()
}

fn outcomes<P>(report: &machine::Report, lanes: &Lanes<P>) -> Vec<(RegionId, Outcome)> {
    let outcome = |it: &RegionResult| {
        let end = match it.result {
            Ok(()) => Outcome::Complete,
            Err(fault) => {
                let reason = lanes.reason(&it.region);
                Outcome::Lost(reason.unwrap_or_else(|| fault.to_string()))
            }
        };
        (it.region.clone(), end)
    };
    report.regions.iter().map(outcome).collect()
}

/// How many copies are wanted, and how many are enough.
fn copies(settings: &Settings, regions: usize) -> Result<(usize, usize), UploadError> {
    let wanted = settings.copies.unwrap_or(regions);
    Ok((wanted, enough(wanted, settings.min_copies, regions)?))
}

fn shown_name(source: &Source) -> String {
    match source {
        Source::Stream { name, .. } => name.clone(),
        Source::Tree(path) => path
            .canonicalize()
            .ok()
            .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "files".to_owned()),
    }
}

/// Counts what there is to read, beside the reading. Ends with what it returns.
fn count(source: &Source, progress: &Arc<Progress>) -> JoinSet<()> {
    let mut counting = JoinSet::new();
    if let Source::Tree(top) = source {
        let (top, progress): (PathBuf, _) = (top.clone(), Arc::clone(progress));
        counting.spawn_blocking(move || {
            // What cannot be read is found by the reader, who says so.
            for found in Walk::new(&top).into_iter().flatten().flatten() {
                if found.metadata.is_file() {
                    progress.total.add(found.metadata.len());
                }
            }
            progress.counted.store(true, Ordering::Relaxed);
        });
    }
    counting
}

/// What the regions said when they were asked what they have.
struct Survey {
    /// In the order in which they were named.
    regions: Vec<(Remote, Result<BTreeSet<Part>, String>)>,
    /// Those that answered, the first first.
    order: Vec<RegionId>,
}

impl Survey {
    /// What is known of the regions before anything is sent.
    fn ends(&self) -> BTreeMap<RegionId, Outcome> {
        let end = |(remote, answer): &(Remote, Result<_, String>)| {
            let end = match answer {
                Ok(_) => Outcome::Spare,
                Err(reason) => Outcome::Lost(reason.clone()),
            };
            (remote.region().clone(), end)
        };
        self.regions.iter().map(end).collect()
    }
}

/// Asks every region what it has.
async fn survey(
    remotes: &[Remote],
    prefix: &Prefix,
    settings: &Settings,
    enough: usize,
) -> Result<Survey, ShipError> {
    let tries = Tries { retries: settings.retries, delay: settings.retry_delay };
    let mut asked = JoinSet::new();
    for (at, remote) in remotes.iter().enumerate() {
        let (remote, prefix) = (remote.clone(), prefix.clone());
        asked.spawn(
            async move { (at, retried(tries, || present(&remote, &prefix, LISTED_MAX)).await) },
        );
    }
    let late = || Err("no answer".to_owned());
    let mut regions: Vec<_> = remotes.iter().map(|remote| (remote.clone(), late())).collect();
    let mut order = Vec::new();
    while let Some(answer) = asked.join_next().await {
        let (at, answer) = answer?;
        let Some((remote, said)) = regions.get_mut(at) else { continue };
        if answer.is_ok() {
            order.push(remote.region().clone());
        }
        *said = answer.map_err(|error: RemoteError| error.to_string());
    }
    if order.len() >= enough {
        return Ok(Survey { regions, order });
    }
    let silent = regions.iter().filter_map(|(remote, said)| {
        said.as_ref().err().map(|reason| format!("{}: {reason}", remote.region()))
    });
    let reasons = silent.collect::<Vec<_>>().join("; ");
    Err(ShipError::Unreachable { answered: order.len(), enough, reasons })
}
