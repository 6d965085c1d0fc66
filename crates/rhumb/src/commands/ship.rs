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
    lines(report, sealer).iter().for_each(|line| say(line));
    Ok(())
}

fn lines(report: &Report, sealer: &Sealer) -> Vec<String> {
    let rows: Vec<_> = report.regions.iter().map(row).collect();
    let head = ["region", "result", "sent", "objects", "there", "from others"];
    let mut lines = table(head, &rows);
    let summary = &report.summary;
    lines.push(format!(
        "{} files, {} directories, {} links, {} in {} packs, {:.1} s",
        summary.files,
        summary.directories,
        summary.links,
        ByteSize(summary.bytes),
        report.packs,
        report.took.as_secs_f64(),
    ));
    if let Sealer::Key(key) = sealer {
        lines.push(format!("signed by {}", key.public()));
    }
    lines.push(verdict(report));
    lines
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rhumb_ship::{RegionId, Summary};

    use super::*;

    fn region(name: &str, outcome: Outcome) -> RegionReport {
        RegionReport {
            region: RegionId::new(name).unwrap(),
            outcome,
            sent_objects: 7,
            sent_bytes: 3 << 20,
            present: 2,
            mended: 1,
        }
    }

    fn report(wanted: usize, enough: usize) -> Report {
        let summary =
            Summary { files: 3, directories: 2, links: 1, bytes: 5 << 20, ..Summary::default() };
        let regions = vec![
            region("us-east-1", Outcome::Complete),
            region("eu-west-1", Outcome::Lost("the connection broke".to_owned())),
            region("ap-south-1", Outcome::Spare),
        ];
        Report { summary, packs: 4, wanted, enough, regions, took: Duration::from_millis(1_250) }
    }

    #[test]
    fn the_table_has_a_row_for_each_region_and_then_the_verdict() {
        let secret = Sealer::Shared(SharedSecret::parse(&"ab".repeat(32)).unwrap());
        let told = lines(&report(2, 1), &secret);
        assert_eq!(
            told,
            [
                "region      result                      sent     objects  there  from others",
                "us-east-1   complete                    3.0 MiB  7        2      1",
                "eu-west-1   lost: the connection broke  3.0 MiB  7        2      1",
                "ap-south-1  not needed                  3.0 MiB  7        2      1",
                "3 files, 2 directories, 1 links, 5.0 MiB in 4 packs, 1.2 s",
                "degraded: 1 of 2 copies, 1 are enough; the same command makes the others",
            ]
        );
        let key = SecretKey::from_seed([1; 32]);
        let signed = format!("signed by {}", key.public());
        let told = lines(&report(1, 1), &Sealer::Key(key));
        assert_eq!(told[5..], [signed, "done: 1 copies".to_owned()]);
        assert!(verdict(&report(3, 2)).starts_with("failed: 1 of 3 copies, and 2 are needed;"));
    }

    #[test]
    fn the_result_says_the_same_in_json() {
        let secret = Sealer::Shared(SharedSecret::parse(&"ab".repeat(32)).unwrap());
        let told = as_json(&report(2, 1), &secret);
        let result = |pointer: &str| told.pointer(pointer).unwrap().clone();
        assert_eq!([result("/result"), result("/copies")], [json!("degraded"), json!(1)]);
        assert_eq!(result("/regions/0/result"), "complete");
        assert_eq!(result("/regions/1/reason"), "the connection broke");
        assert_eq!(result("/regions/2/result"), "spare");
        assert_eq!(result("/regions/2/sent_bytes"), 3 << 20);
        assert_eq!(as_json(&report(3, 2), &secret)["result"], "failed");
        assert_eq!(as_json(&report(1, 1), &secret)["result"], "complete");
    }
}
