//! `rhumb cp`: one file to an object, one object to a file, one object to another, or all of a folder.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use rhumb_ship::{Action, Objects, Progress, RegionId, UploadSource, Uploaded, Verdict};
use rhumb_types::ByteSize;
use serde_json::{Value, json};

use super::{SCHEME, Tally, one};
use crate::{
    cli,
    commands::{
        note, say,
        ship::{DEGRADED, bars::Bars, runtime, upload_settings},
    },
    sites::{Place, remotes},
};

/// Standard input, or standard output.
const STANDARD: &str = "-";

/// Copies a file or an object.
pub(crate) fn run(args: &cli::Cp) -> Result<ExitCode> {
    if args.recursive {
        return several(args);
    }
    match (args.source.strip_prefix(SCHEME), args.target.strip_prefix(SCHEME)) {
        (None, Some(target)) => upload(args, target),
        (Some(source), None) => download(args, &one(source)?),
        (Some(source), Some(target)) => {
            let (source, target) = (one(source)?, one(target)?);
            ensure!(
                source.bucket == target.bucket,
                "an object is copied within its bucket only; fetch it and send it for another"
            );
            let (objects, _) = objects(args, &source.bucket)?;
            let copied = objects.copy(&source.prefix, &target.prefix);
            tell(args, &runtime()?.block_on(copied)?, None);
            Ok(ExitCode::SUCCESS)
        }
        (None, None) => bail!("one of both has to be an object: s3://BUCKET/KEY"),
    }
}

fn objects(args: &cli::Cp, bucket: &str) -> Result<(Objects, Arc<Progress>)> {
    let remotes = remotes(&args.endpoints, bucket)?;
    let mut settings = upload_settings(&args.transfers);
    settings.copies = args.copies;
    settings.min_copies = args.min_copies;
    settings.part_bytes = args.part_size.map(|bytes| bytes.0);
    let progress = Arc::new(Progress::new(remotes.iter().map(rhumb_ship::Remote::region)));
    Ok((Objects::new(remotes, settings), progress))
}

/// Copies a folder's files to objects below a prefix, or the other way, whatever is there.
fn several(args: &cli::Cp) -> Result<ExitCode> {
    let way = (args.source.strip_prefix(SCHEME), args.target.strip_prefix(SCHEME));
    let (up, folder, place) = match way {
        (None, Some(place)) => (true, Path::new(&args.source), Place::parse(place)?),
        (Some(place), None) => (false, Path::new(&args.target), Place::parse(place)?),
        _ => bail!("with --recursive one of both is s3://BUCKET/PREFIX, and the other a folder"),
    };
    ensure!(folder != Path::new(STANDARD), "a stream is one object; --recursive takes a folder");
    let (objects, _) = objects(args, &place.bucket)?;
    let mut tally = Tally::default();
    let (degraded, left_out) = runtime()?.block_on(async {
        let plan = if up {
            objects.plan_all_up(folder, &place.prefix).await?
        } else {
            objects.plan_all_down(&place.prefix, folder).await?
        };
        let left_out = plan.left_out;
        let each = |action: &Action| tally.take(action, &place.bucket, &args.transfers);
        anyhow::Ok((objects.carry_out(plan, each).await?, left_out))
    })?;
    let Tally { moved, bytes, .. } = tally;
    if args.transfers.json {
        let summary = json!({
            "copied": moved, "bytes": bytes, "left_out": left_out, "degraded": degraded,
        });
        say(&summary.to_string());
    } else {
        say(&format!("{moved} copied ({})", ByteSize(bytes)));
    }
    if degraded > 0 {
        note(&format!("degraded: {degraded} objects are in fewer than {} regions", args.copies));
        return Ok(ExitCode::from(DEGRADED));
    }
    Ok(ExitCode::SUCCESS)
}

fn upload(args: &cli::Cp, target: &str) -> Result<ExitCode> {
    let (file, mut place) = (Path::new(&args.source), Place::parse(target)?);
    let from_input = args.source == STANDARD;
    if place.prefix.is_empty() || target.ends_with('/') {
        let name = file.file_name().and_then(|name| name.to_str()).filter(|_| !from_input);
        let name = name.context("name the object: s3://BUCKET/KEY")?;
        let folder = if place.prefix.is_empty() { "" } else { "/" };
        place.prefix = format!("{}{folder}{name}", place.prefix);
    }
    let source = match (from_input, args.spool) {
        (true, true) => UploadSource::Spooled(Box::new(io::stdin())),
        (true, false) => UploadSource::Stream(Box::new(io::stdin())),
        (false, _) => UploadSource::File(file.to_owned()),
    };
    let (objects, progress) = objects(args, &place.bucket)?;
    let uploaded = runtime()?.block_on(async {
        let shown = Bars::show(&progress, &args.transfers);
        let uploaded = objects.put(source, &place.prefix, &progress).await;
        shown.end().await;
        uploaded
    })?;
    if args.transfers.json {
        say(&as_json(&uploaded).to_string());
    } else {
        uploaded.holders().for_each(|region| tell(args, region, Some(uploaded.bytes)));
    }
    if uploaded.verdict == Verdict::Degraded {
        let (copies, reasons) = (uploaded.holders().count(), uploaded.reasons());
        note(&format!("degraded: {copies} of {} copies; {reasons}", args.copies));
        return Ok(ExitCode::from(DEGRADED));
    }
    Ok(ExitCode::SUCCESS)
}

fn download(args: &cli::Cp, place: &Place) -> Result<ExitCode> {
    let (objects, progress) = objects(args, &place.bucket)?;
    let mut file = PathBuf::from(&args.target);
    if file.is_dir() {
        file.push(place.prefix.rsplit('/').next().unwrap_or_default());
    }
    let (region, bytes) = runtime()?.block_on(async {
        let shown = Bars::show(&progress, &args.transfers);
        let got = if args.target == STANDARD {
            objects.pour(&place.prefix, Box::new(io::stdout()), &progress).await
        } else {
            objects.get(&place.prefix, &file, &progress).await
        };
        shown.end().await;
        got
    })?;
    if args.target != STANDARD {
        tell(args, &region, Some(bytes));
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &cli::Cp, region: &RegionId, bytes: Option<u64>) {
    if args.transfers.json {
        say(&json!({ "region": region, "bytes": bytes }).to_string());
    } else if !args.transfers.quiet {
        let size = bytes.map(|bytes| format!("{} ", ByteSize(bytes))).unwrap_or_default();
        say(&format!("{} -> {}: {size}in {region}", args.source, args.target));
    }
}

fn as_json(uploaded: &Uploaded) -> Value {
    let regions: Vec<Value> = uploaded
        .regions
        .iter()
        .map(|it| {
            json!({
                "region": it.region, "reason": it.result.as_ref().err(), "bytes": it.bytes,
                "attempts": it.attempts, "in_place_of": it.in_place_of,
            })
        })
        .collect();
    let result = match uploaded.verdict {
        Verdict::Whole => "complete",
        Verdict::Degraded => "degraded",
        Verdict::Failed => "failed",
    };
    json!({ "result": result, "bytes": uploaded.bytes, "regions": regions })
}
