//! `rhumb receive`: what was shipped, from the regions that have it.

use std::{io, path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use rhumb_pack::{PublicKey, Seal, SharedSecret, Trust};
use rhumb_ship::{Holding, Prefix, Progress, Received, Remote, Said, Settings, Target, receive};
use rhumb_types::ByteSize;
use serde_json::{Value, json};

use super::{
    note, say,
    ship::{bars::Bars, own_key, runtime, settings},
};
use crate::{
    cli,
    sites::{Place, remotes, small_text},
    table::table,
};

/// Does what was asked.
pub(crate) fn run(args: &cli::Receive) -> Result<ExitCode> {
    let place = Place::parse(&args.origin)?;
    let remotes = remotes(&args.endpoints, &place.bucket)?;
    let prefix = Prefix::new(&place.prefix).context("read the origin")?;
    let (trust, vouched) = trust(args)?;
    let settings = Settings { owners: args.owners, ..settings(&args.transfers) };
    let target = target(args)?;
    let received = runtime()?.block_on(async {
        let progress = Arc::new(Progress::new(remotes.iter().map(Remote::region)));
        let shown = Bars::show(&progress, &args.transfers);
        let received = receive(remotes, &prefix, trust, target, settings, progress).await;
        shown.end().await;
        received
    })?;
    if let (Seal::Signed(signer), false) = (received.seal, vouched) {
        note(&format!(
            "signed by {signer}; nothing says that this is who you think. Insist on it with \
             `--signer {signer}`"
        ));
    }
    tell(args, &received)?;
    Ok(if received.differences.count > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whose seal is taken, and whether the user vouches for it.
fn trust(args: &cli::Receive) -> Result<(Trust, bool)> {
    if let Some(path) = &args.secret {
        return Ok((Trust::Shared(SharedSecret::parse(&small_text(path)?)?), true));
    }
    let mut signers = Vec::new();
    for signer in &args.signer {
        let key = match PublicKey::parse(signer) {
            Ok(key) => key,
            Err(_) => PublicKey::parse(&small_text(Path::new(signer))?)
                .with_context(|| format!("read {signer}"))?,
        };
        signers.push(key);
    }
    if !signers.is_empty() {
        return Ok((Trust::Signers(signers), true));
    }
    Ok(match own_key()? {
        Some(key) => (Trust::Signers(vec![key.public()]), true),
        None => (Trust::AnySigner, false),
    })
}

fn target(args: &cli::Receive) -> Result<Target> {
    Ok(match (&args.target, args.verify_only) {
        (None, true) => Target::Nowhere,
        (Some(path), true) => Target::Compared(path.clone()),
        (Some(path), false) if path == Path::new("-") => Target::Output(Box::new(io::stdout())),
        (Some(path), false) => Target::Folder(path.clone()),
        (None, false) => bail!("name a folder to restore into, or `--verify-only`"),
    })
}

fn tell(args: &cli::Receive, received: &Received) -> Result<()> {
    // Standard output is the file's own, if the file is written there.
    let is_output = !args.verify_only && args.target.as_deref() == Some(Path::new("-"));
    let line = |line: &str| if is_output { note(line) } else { say(line) };
    if args.transfers.json {
        line(&serde_json::to_string_pretty(&as_json(received))?);
        return Ok(());
    }
    let rows: Vec<_> = received.regions.iter().map(row).collect();
    table(["region", "archive", "received", "objects", "damaged"], &rows)
        .iter()
        .for_each(|l| line(l));
    let written = &received.written;
    let present = if written.present > 0 {
        format!(" ({} were there)", written.present)
    } else {
        String::new()
    };
    line(&format!(
        "{} files{present}, {} directories, {} links, {}, {:.1} s",
        written.files + written.present,
        written.directories,
        written.links,
        ByteSize(written.bytes),
        received.took.as_secs_f64(),
    ));
    let differences = &received.differences;
    differences.shown.iter().for_each(|difference| line(difference));
    line(&match (args.verify_only, differences.count) {
        (false, _) => "restored, and every byte verified".to_owned(),
        (true, 0) => "verified: nothing differs from what was sent".to_owned(),
        (true, count) => format!("{count} differences"),
    });
    Ok(())
}

fn row(region: &Holding) -> [String; 5] {
    let said = match &region.said {
        Said::Newest => "there".to_owned(),
        Said::Older => "an older one".to_owned(),
        Said::Nothing => "none".to_owned(),
        Said::Refused(why) => format!("refused: {why}"),
        Said::Silent(why) => format!("no answer: {why}"),
    };
    [
        region.region.to_string(),
        said,
        ByteSize(region.bytes).to_string(),
        region.objects.to_string(),
        region.damaged.to_string(),
    ]
}

fn as_json(received: &Received) -> Value {
    let regions: Vec<Value> = received
        .regions
        .iter()
        .map(|region| {
            let (said, reason) = match &region.said {
                Said::Newest => ("newest", None),
                Said::Older => ("older", None),
                Said::Nothing => ("none", None),
                Said::Refused(why) => ("refused", Some(why)),
                Said::Silent(why) => ("silent", Some(why)),
            };
            json!({
                "region": region.region, "archive": said, "reason": reason,
                "bytes": region.bytes, "objects": region.objects, "damaged": region.damaged,
            })
        })
        .collect();
    let signer = match received.seal {
        Seal::Signed(key) => Some(key.to_string()),
        Seal::Keyed => None,
    };
    let written = &received.written;
    json!({
        "name": received.name, "created_ms": received.created, "signer": signer,
        "files": written.files, "present": written.present, "directories": written.directories,
        "links": written.links, "bytes": written.bytes, "regions": regions,
        "differences": received.differences.count,
        "differing": received.differences.shown, "seconds": received.took.as_secs_f64(),
    })
}
