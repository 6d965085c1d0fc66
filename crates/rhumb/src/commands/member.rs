//! `rhumb member`: who belongs to the cluster, and as what.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use http::Method;
use rhumb_peer::Identities;
use serde_json::{Value, json};

use super::{
    change::{change, say_changed},
    say,
    serve::load,
    show::{items, word},
};
use crate::{
    cli::{Asked, Change, MemberCommand, NodeArgs},
    folders,
    http::{Ask, Http},
    table::table,
};

/// Runs a command.
pub(crate) fn run(command: &MemberCommand) -> Result<ExitCode> {
    match command {
        MemberCommand::List { asked } => list(asked)?,
        MemberCommand::Role { node, role, change: why } => {
            let ask = Ask::new(Method::PUT, "/admin/members").part(node.as_bytes());
            change(why, ask, json!({ "role": role.word() }))?;
        }
        MemberCommand::Remove { node, change: Change { asked, reason } } => {
            let ask = Ask::new(Method::DELETE, "/admin/members").part(node.as_bytes());
            say_changed(asked, &Http::new(&asked.node)?.json(ask.param("reason", reason))?)?;
        }
        MemberCommand::Replace { old, change: why, node_id, fingerprint } => {
            let (new, print, address) = match node_id.as_ref().zip(fingerprint.as_ref()) {
                Some((new, print)) => (new.clone(), print.clone(), None),
                None => here(&why.asked.node)?,
            };
            let node = Http::new(&why.asked.node)?;
            let address = match address {
                Some(address) => address,
                None => address_of(&node, old)?,
            };
            let ask = Ask::new(Method::POST, &format!("/admin/members/{old}/replace"));
            let body = json!({ "node": new, "fingerprint": print, "address": address });
            change(why, ask, body)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// This machine's node: its id, the fingerprint of its certificate, and its address.
fn here(args: &NodeArgs) -> Result<(String, String, Option<String>)> {
    let config = load(&args.config)?;
    let region = config.region().context(
        "which region's node is this? Set RHUMB_REGION, or say who the new node is with --node-id \
         and --fingerprint",
    )?;
    let folder = folders::identity(&config.settings().data, region);
    let material = Identities::load(&folder, Some(region))?.current();
    let settings = config.settings().regions.get(region);
    let address = settings.map(|settings| settings.address.clone());
    Ok((material.identity().node.to_string(), hex(&material.fingerprint()), address))
}

/// Lower-case digits, as fingerprints are written.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Where the lost member was: the new one is taken to be there too.
fn address_of(node: &Http, old: &str) -> Result<String> {
    let answer = node.json(Ask::get("/admin/members"))?;
    let member = items(&answer, "/members").iter().find(|member| word(member, "/node") == old);
    let address = member.and_then(|member| member.get("address")).and_then(Value::as_str);
    ensure!(address.is_some(), "{old} is not a member: see `rhumb member list`");
    Ok(address.unwrap_or_default().to_owned())
}

fn list(asked: &Asked) -> Result<()> {
    let answer = Http::new(&asked.node)?.json(Ask::get("/admin/members"))?;
    if asked.json {
        say(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let row = |member: &Value| {
        ["/region", "/node", "/role", "/address", "/reads"].map(|at| word(member, at))
    };
    let rows: Vec<[String; 5]> = items(&answer, "/members").iter().map(row).collect();
    table(["region", "node", "role", "address", "protocol"], &rows)
        .iter()
        .for_each(|line| say(line));
    Ok(())
}
