//! `rhumb ship`: a tree or a stream, to several regions.

use std::{io, path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use rhumb_pack::{Sealer, SecretKey, SharedSecret};
use rhumb_ship::{
    Outcome, Prefix, Progress, RegionReport, Remote, Report, Settings, Source, UploadSettings, ship,
};
use rhumb_types::ByteSize;
use serde_json::{Value, json};

use super::{note, say};
use crate::{
    cli::{self, Transfers},
    sites::{Place, remotes, small_text},
    table::table,
};

pub(crate) mod bars;
mod dry_run;
mod keys;

/// What a degraded success ends with.
pub(crate) const DEGRADED: u8 = 3;
/// Threads that drive requests; what takes time runs on threads of its own.
const THREADS: usize = 2;
/// Threads that read, compress and check.
const BLOCKING_THREADS_MAX: usize = 16;

/// Does what was asked.
pub(crate) fn run(args: &cli::Ship) -> Result<ExitCode> {
    let place = Place::parse(&args.destination)?;
    let remotes = remotes(&args.endpoints, &place.bucket)?;
    let prefix = Prefix::new(&place.prefix).context("read the destination")?;
    let settings = Settings {
        copies: args.copies,
        min_copies: args.min_copies,
        owners: args.owners,
        ..settings(&args.transfers)
    };
    if args.dry_run {
        return dry_run::run(args, remotes, &prefix, settings);
    }
    let sealer = sealer(args)?;
    let source = if args.source == Path::new("-") {
        Source::Stream { name: args.name.clone(), input: Box::new(io::stdin()) }
    } else {
        Source::Tree(args.source.clone())
    };
    let report = runtime()?.block_on(async {
        let progress = Arc::new(Progress::new(remotes.iter().map(Remote::region)));
        let shown = bars::Bars::show(&progress, &args.transfers);
        let shipped = ship(source, remotes, &prefix, &sealer, settings, progress).await;
        shown.end().await;
        shipped
    })?;
    tell(args, &sealer, &report)?;
    Ok(if report.is_failed() {
        ExitCode::FAILURE
    } else if report.is_degraded() {
        ExitCode::from(DEGRADED)
    } else {
        ExitCode::SUCCESS
    })
}

/// What transfers run on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("start a runtime")
}

/// How transfers are made.
pub(crate) fn settings(args: &Transfers) -> Settings {
    Settings {
        staged: usize::try_from(args.memory.0).unwrap_or(usize::MAX),
        requests: usize::from(args.concurrency),
        retries: args.retries,
        retry_delay: args.retry_delay,
        ..Settings::default()
    }
}

/// How single objects are uploaded.
pub(crate) fn upload_settings(args: &Transfers) -> UploadSettings {
    UploadSettings {
        requests: usize::from(args.concurrency),
        memory: usize::try_from(args.memory.0).unwrap_or(usize::MAX),
        retries: args.retries,
        retry_delay: args.retry_delay,
        ..UploadSettings::default()
    }
}

fn sealer(args: &cli::Ship) -> Result<Sealer> {
    if let Some(path) = &args.secret {
        return Ok(Sealer::Shared(SharedSecret::parse(&small_text(path)?)?));
    }
    let key = match &args.key {
        Some(path) => SecretKey::from_pem(&small_text(path)?)
            .with_context(|| format!("read {}", path.display()))?,
        None => keys::own()?,
    };
    Ok(Sealer::Key(key))
}

/// What this user's manifests are signed with, if there is such a key.
pub(crate) fn own_key() -> Result<Option<SecretKey>> {
    keys::find()
}

fn tell(args: &cli::Ship, sealer: &Sealer, report: &Report) -> Result<()> {
    for warning in &report.summary.warnings {
        note(warning);
    }
    let more = report.summary.warned.saturating_sub(report.summary.warnings.len() as u64);
    if more > 0 {
        note(&format!("and {more} more of that kind"));
    }
    if args.transfers.json {
        say(&serde_json::to_string_pretty(&as_json(report, sealer))?);
        return Ok(());
    }
    let rows: Vec<_> = report.regions.iter().map(row).collect();
    let head = ["region", "result", "sent", "objects", "there", "from others"];
    table(head, &rows).iter().for_each(|line| say(line));
    let summary = &report.summary;
    say(&format!(
        "{} files, {} directories, {} links, {} in {} packs, {:.1} s",
        summary.files,
        summary.directories,
        summary.links,
        ByteSize(summary.bytes),
        report.packs,
        report.took.as_secs_f64(),
    ));
    if let Sealer::Key(key) = sealer {
        say(&format!("signed by {}", key.public()));
    }
    say(&verdict(report));
    Ok(())
}

fn verdict(report: &Report) -> String {
    let (complete, wanted, enough) = (report.complete(), report.wanted, report.enough);
    if report.is_failed() {
        format!(
            "failed: {complete} of {wanted} copies, and {enough} are needed; the same command goes on \
             where it was"
        )
    } else if report.is_degraded() {
        format!(
            "degraded: {complete} of {wanted} copies, {enough} are enough; the same command makes the \
             others"
        )
    } else {
        format!("done: {complete} copies")
    }
}

fn row(region: &RegionReport) -> [String; 6] {
    let result = match &region.outcome {
        Outcome::Complete => "complete".to_owned(),
        Outcome::Spare => "not needed".to_owned(),
        Outcome::Lost(reason) => format!("lost: {reason}"),
    };
    [
        region.region.to_string(),
        result,
        ByteSize(region.sent_bytes).to_string(),
        region.sent_objects.to_string(),
        region.present.to_string(),
        region.mended.to_string(),
    ]
}

fn as_json(report: &Report, sealer: &Sealer) -> Value {
    let regions: Vec<Value> = report
        .regions
        .iter()
        .map(|region| {
            let (result, reason) = match &region.outcome {
                Outcome::Complete => ("complete", None),
                Outcome::Spare => ("spare", None),
                Outcome::Lost(reason) => ("lost", Some(reason)),
            };
            json!({
                "region": region.region, "result": result, "reason": reason,
                "sent_bytes": region.sent_bytes, "sent_objects": region.sent_objects,
                "present_objects": region.present, "mended_objects": region.mended,
            })
        })
        .collect();
    let result = match (report.is_failed(), report.is_degraded()) {
        (true, _) => "failed",
        (_, true) => "degraded",
        _ => "complete",
    };
    let signer = match sealer {
        Sealer::Key(key) => Some(key.public().to_string()),
        Sealer::Shared(_) => None,
    };
    json!({
        "result": result, "copies": report.complete(), "copies_wanted": report.wanted,
        "copies_enough": report.enough, "regions": regions, "signer": signer,
        "files": report.summary.files, "directories": report.summary.directories,
        "links": report.summary.links, "bytes": report.summary.bytes, "packs": report.packs,
        "warnings": report.summary.warned, "seconds": report.took.as_secs_f64(),
    })
}
