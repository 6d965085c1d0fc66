//! `rhumb join-token`: an invitation for one node, on the machine that holds the authority.
//!
//! It is written beside the authority, where a running node finds it, so nothing needs to be asked.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use rhumb_config::Config;
use rhumb_peer::JoinDesk;
use rhumb_types::RegionId;

use super::{note, say, serve::load};
use crate::{
    cli::{JoinToken, Role},
    folders, founding,
    seat::{self, Wanted},
    when,
};

/// The longest life of a token: it is a secret that travels.
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Prints a token on standard output, and what to do with it beside it.
pub(crate) fn run(args: &JoinToken) -> Result<ExitCode> {
    let lasting = args.expires.0;
    ensure!(
        lasting >= Duration::from_secs(1) && lasting <= EXPIRES_MAX,
        "--expires must lie between 1s and 7d"
    );
    let config = load(&args.config)?;
    let data = &config.settings().data;
    let holder = holder(&config, args.via.as_ref())?;
    let folder = folders::authority_of(data, &holder).with_context(|| {
        format!(
            "the node of {holder} does not hold the cluster's authority: there is none in {} or \
             {}. Run this on the machine that does, or name its region with --via",
            folders::node(data, &holder).join("authority").display(),
            folders::authority(data).display()
        )
    })?;
    ensure!(
        args.region != holder,
        "{holder} hands out the token and cannot use it; name another region with --via, or use \
         `rhumb init --region {holder}`"
    );
    let node = args.node.unwrap_or_else(founding::node_id);
    let wanted = Wanted {
        address: args.address.clone(),
        role: args.role.map(Role::agreed),
        replaces: args.replace,
    };
    // A node that keeps its id is a member already.
    let seat =
        args.node.is_none().then(|| seat::seat(&config, &args.region, wanted)).transpose()?;
    let desk = JoinDesk::open(&folder)?;
    let own = address(&config, &holder)?;
    let token = desk.invite(args.region.clone(), node, seat, own, lasting)?;
    let until = SystemTime::now() + lasting;
    if args.json {
        let value = serde_json::json!({
            "token": token.to_string(),
            "region": args.region,
            "node": node.to_string(),
            "address": token.address,
            "expires_unix": when::unix_seconds(until),
        });
        say(&value.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    say(&token.to_string());
    note(&format!(
        "For one node of {}, as {node}, until {}. Whoever has it first becomes that node.",
        args.region,
        when::minute(until)
    ));
    note(&format!("While the node of {holder} runs, on the new machine: rhumb join TOKEN"));
    Ok(ExitCode::SUCCESS)
}

/// The region whose node holds the authority on this machine.
fn holder(config: &Config, named: Option<&RegionId>) -> Result<RegionId> {
    named.or(config.region()).cloned().context(
        "which region's node runs here? Set RHUMB_REGION, or name with --via the region whose \
         node holds the authority",
    )
}

/// Where peers reach a region's node.
fn address(config: &Config, region: &RegionId) -> Result<String> {
    let settings = config.settings().regions.get(region);
    let settings = settings.with_context(|| {
        format!("{region} is not in the file: add it on every machine, with its address")
    })?;
    Ok(settings.address.clone())
}
