//! `rhumb ls`, `stat`, `rm`, `cp` and `sync`: single objects over S3.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail, ensure};
use rhumb_ship::{Action, Listed, Objects, UploadSettings};
use rhumb_types::ByteSize;
use serde_json::{Value, json};

use super::{
    say,
    ship::{runtime, upload_settings},
};
use crate::{
    cli::{self, Endpoints, Transfers},
    sites::{Place, remotes},
    table::table,
    when,
};

pub(crate) mod copy;

/// What begins the name of an object, where a file could be meant.
const SCHEME: &str = "s3://";

fn objects(endpoints: &Endpoints, transfers: Option<&Transfers>, bucket: &str) -> Result<Objects> {
    let settings = transfers.map_or_else(UploadSettings::default, upload_settings);
    Ok(Objects::new(remotes(endpoints, bucket)?, settings))
}

/// Lists what is there.
pub(crate) fn ls(args: &cli::Ls) -> Result<ExitCode> {
    let place = Place::parse(&args.place)?;
    let objects = objects(&args.endpoints, None, &place.bucket)?;
    let mut any = false;
    let listed = objects.list(&place.prefix, !args.recursive, |listed| {
        any = true;
        if args.json {
            say(&known(&listed).to_string());
        } else {
            let (time, size) = match listed.key.ends_with('/') && listed.changed == 0 {
                true => (String::new(), "PRE".to_owned()),
                false => (time(&listed), ByteSize(listed.bytes).to_string()),
            };
            say(format!("{time:<20}  {size:>10}  {}", listed.key).trim_end());
        }
    });
    runtime()?.block_on(listed)?;
    // An empty bucket is one; a prefix without objects is not there.
    Ok(if any || place.prefix.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows what each region knows of an object.
pub(crate) fn stat(args: &cli::Stat) -> Result<ExitCode> {
    let place = one(&args.object)?;
    let objects = objects(&args.endpoints, None, &place.bucket)?;
    let all = runtime()?.block_on(objects.stat(&place.prefix));
    let some = all.iter().any(|(_, known)| known.is_ok());
    if args.json {
        let regions: Vec<Value> = all
            .iter()
            .map(|(region, answer)| match answer {
                Ok(listed) => json!({ "region": region, "object": known(listed) }),
                Err(error) => json!({ "region": region, "error": error.to_string() }),
            })
            .collect();
        say(&serde_json::to_string_pretty(&regions)?);
    } else {
        let rows: Vec<[String; 4]> = all
            .iter()
            .map(|(region, known)| match known {
                Ok(listed) => {
                    let tag = listed.tag.clone().unwrap_or_default();
                    [region.to_string(), ByteSize(listed.bytes).to_string(), time(listed), tag]
                }
                Err(error) => {
                    [region.to_string(), "-".to_owned(), String::new(), error.to_string()]
                }
            })
            .collect();
        table(["region", "size", "changed", "tag"], &rows).iter().for_each(|line| say(line));
    }
    Ok(if some { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Removes objects.
pub(crate) fn rm(args: &cli::Rm) -> Result<ExitCode> {
    let runtime = runtime()?;
    let mut removed = 0_u64;
    for object in &args.objects {
        let place = if args.recursive { Place::parse(object)? } else { one(object)? };
        let objects = objects(&args.endpoints, Some(&args.transfers), &place.bucket)?;
        let quiet = args.transfers.quiet || args.transfers.json;
        let mut gone = |key: &str| {
            removed += 1;
            if !quiet {
                say(&format!("removed {}/{key}", place.bucket));
            }
        };
        if args.recursive {
            let all = objects.remove_below(&place.prefix, args.everywhere, |_, key| gone(key));
            runtime.block_on(all)?;
        } else {
            runtime.block_on(objects.remove(&place.prefix, args.everywhere))?;
            gone(&place.prefix);
        }
    }
    if args.transfers.json {
        say(&json!({ "removed": removed }).to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a folder and a prefix alike.
pub(crate) fn sync(args: &cli::Sync) -> Result<ExitCode> {
    let (up, folder, place) =
        match (args.source.strip_prefix(SCHEME), args.target.strip_prefix(SCHEME)) {
            (None, Some(place)) => (true, Path::new(&args.source), Place::parse(place)?),
            (Some(place), None) => (false, Path::new(&args.target), Place::parse(place)?),
            _ => bail!("one of both has to be s3://BUCKET/PREFIX, and the other a folder"),
        };
    let objects = objects(&args.endpoints, Some(&args.transfers), &place.bucket)?;
    let runtime = runtime()?;
    let plan = runtime.block_on(async {
        if up {
            objects.plan_up(folder, &place.prefix, args.delete).await
        } else {
            objects.plan_down(&place.prefix, folder, args.delete).await
        }
    })?;
    let (mut tally, bucket) = (Tally::default(), &place.bucket);
    let (alike, left_out) = (plan.alike, plan.left_out);
    let mut each = |action: &Action| tally.take(action, bucket, &args.transfers);
    if args.dry_run {
        plan.actions.iter().for_each(&mut each);
    } else {
        runtime.block_on(objects.carry_out(plan, &mut each))?;
    }
    let Tally { moved, bytes, removed } = tally;
    if args.transfers.json {
        let summary = json!({
            "copied": moved, "bytes": bytes, "removed": removed, "alike": alike,
            "left_out": left_out, "dry_run": args.dry_run,
        });
        say(&summary.to_string());
    } else {
        let would = if args.dry_run { "to be copied" } else { "copied" };
        say(&format!("{moved} {would} ({}), {removed} removed, {alike} alike", ByteSize(bytes)));
    }
    Ok(ExitCode::SUCCESS)
}

/// What was done with several objects, each told when it is.
#[derive(Debug, Default)]
struct Tally {
    moved: u64,
    bytes: u64,
    removed: u64,
}

impl Tally {
    fn take(&mut self, action: &Action, bucket: &str, args: &Transfers) {
        let line = match action {
            Action::Upload { file, key, bytes } => {
                (self.moved, self.bytes) = (self.moved + 1, self.bytes + bytes);
                format!("{} -> {SCHEME}{bucket}/{key}", file.display())
            }
            Action::Download { key, file, bytes, .. } => {
                (self.moved, self.bytes) = (self.moved + 1, self.bytes + bytes);
                format!("{SCHEME}{bucket}/{key} -> {}", file.display())
            }
            Action::RemoveObject(key) => {
                self.removed += 1;
                format!("remove {SCHEME}{bucket}/{key}")
            }
            Action::RemoveFile(path) => {
                self.removed += 1;
                format!("remove {}", path.display())
            }
        };
        if !args.quiet && !args.json {
            say(&line);
        }
    }
}

/// A place that names an object.
fn one(text: &str) -> Result<Place> {
    let place = Place::parse(text)?;
    ensure!(!place.prefix.is_empty(), "`{text}` names no object; write BUCKET/KEY");
    Ok(place)
}

fn known(listed: &Listed) -> Value {
    json!({
        "key": listed.key, "bytes": listed.bytes, "changed_ms": listed.changed, "tag": listed.tag,
    })
}

fn time(listed: &Listed) -> String {
    when::minute(when::from_unix_millis(u64::try_from(listed.changed).unwrap_or(0)))
}
