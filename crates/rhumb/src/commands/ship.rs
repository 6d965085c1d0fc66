//! `rhumb ship`: a tree or a stream, to several regions.

use std::{io, path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, ensure};
use rhumb_pack::{Sealer, SecretKey, SharedSecret};
use rhumb_ship::{
    Outcome, Prefix, Progress, RegionPlan, RegionReport, Remote, Report, Settings, Source,
    rehearse, ship,
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
mod keys;

/// What a degraded success ends with.
const DEGRADED: u8 = 3;
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
        return dry_run(args, remotes, &prefix, settings);
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

fn dry_run(
    args: &cli::Ship,
    remotes: Vec<Remote>,
    prefix: &Prefix,
    settings: Settings,
) -> Result<ExitCode> {
    ensure!(args.source != Path::new("-"), "a stream cannot be looked at before it is sent");
    let planned = rehearse(&args.source, remotes, prefix, settings);
    let (estimate, regions) = runtime()?.block_on(planned)?;
    if args.transfers.json {
        let regions: Vec<Value> = regions
            .iter()
            .map(|plan| {
                json!({
                    "region": plan.region, "chosen": plan.chosen, "packs_there": plan.packs,
                    "reason": plan.silent,
                })
            })
            .collect();
        let whole = json!({
            "files": estimate.files, "directories": estimate.directories, "links": estimate.links,
            "bytes": estimate.bytes, "packed_bytes_estimate": estimate.packed(), "regions": regions,
        });
        say(&serde_json::to_string_pretty(&whole)?);
        return Ok(ExitCode::SUCCESS);
    }
    let row = |plan: &RegionPlan| {
        let what = match (&plan.silent, plan.chosen) {
            (Some(reason), _) => format!("no answer: {reason}"),
            (None, true) => "would be sent to".to_owned(),
            (None, false) => "would take the place of another".to_owned(),
        };
        [plan.region.to_string(), what, plan.packs.to_string()]
    };
    let rows: Vec<_> = regions.iter().map(row).collect();
    table(["region", "plan", "packs there"], &rows).iter().for_each(|line| say(line));
    let chosen = regions.iter().filter(|plan| plan.chosen).count() as u64;
    let (packed, all) = (estimate.packed(), estimate.packed().saturating_mul(chosen));
    say(&format!(
        "{} files, {} directories, {} links, {}; packed about {} (from a sample of {}), {} to {chosen} \
         regions if they have nothing of it",
        estimate.files,
        estimate.directories,
        estimate.links,
        ByteSize(estimate.bytes),
        ByteSize(packed),
        ByteSize(estimate.sampled),
        ByteSize(all),
    ));
    Ok(ExitCode::SUCCESS)
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
