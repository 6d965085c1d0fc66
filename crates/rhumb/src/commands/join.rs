//! `rhumb join`: gets this machine's node its identity.

use std::{io::Read, process::ExitCode};

use anyhow::{Context, Result, ensure};
use rhumb_peer::{Identities, JoinToken};

use super::{member::hex, say, serve::load};
use crate::{cli::Join, folders, when};

/// The most that is read of a token from standard input.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// Asks the member that the token names. Everything that can be wrong here is found before: the
/// secret works once.
pub(crate) fn run(args: &Join) -> Result<ExitCode> {
    let token: JoinToken = text(&args.token)?.parse()?;
    let config = load(&args.config)?;
    let file = args.config.config.display();
    let regions = &config.settings().regions;
    ensure!(
        regions.contains_key(&token.region),
        "the token is for {}, which is not in {file}: add that region first, on every machine",
        token.region
    );
    if let Some(own) = config.region() {
        ensure!(
            *own == token.region,
            "this node is configured as {own}, and the token is for {}",
            token.region
        );
    }
    let folder = folders::identity(&config.settings().data, &token.region);
    ensure!(
        !Identities::is_in(&folder),
        "{} holds an identity already; move it away to join again",
        folder.display()
    );
    let parent = folder.parent().unwrap_or(&folder);
    std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let identity = runtime.block_on(rhumb_peer::join(&token, &folder))?;
    let material = Identities::load(&folder, Some(&token.region))?.current();
    let (until, fingerprint) = (material.expires_at(), hex(&material.fingerprint()));
    if args.json {
        let value = serde_json::json!({
            "cluster": identity.cluster.to_string(),
            "region": identity.region,
            "node": identity.node.to_string(),
            "fingerprint": fingerprint,
            "folder": folder,
            "expires_unix": when::unix_seconds(until),
        });
        say(&value.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("this node is {identity}, until {}", when::day(until)));
    say(&format!("its identity is in {}, with the fingerprint", folder.display()));
    say(&fingerprint);
    say("Next:");
    say(&format!("  RHUMB_REGION={} rhumb serve --config {file}", identity.region));
    Ok(ExitCode::SUCCESS)
}

fn text(argument: &str) -> Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut read = String::new();
    std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut read).context("read the token")?;
    Ok(read)
}
