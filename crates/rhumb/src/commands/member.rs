//! `rhumb member`: who belongs to the cluster, and as what.

use std::process::ExitCode;

use anyhow::{Context, Result};
use http::Method;
use rhumb_peer::Identities;
use rhumb_types::RegionId;
use serde_json::{Value, json};

use super::{
    change::{change, say_changed},
    say,
    serve::load,
    show::{items, word},
};
use crate::{
    cli::{Asked, Change, MemberCommand, NewNode, NodeArgs},
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
        MemberCommand::Add { role, new, change: why } => {
            let Joiner { region, node, fingerprint, address } = joiner(new, &why.asked.node)?;
            let body = json!({
                "region": region, "node": node, "fingerprint": fingerprint, "address": address,
                "role": role.word(),
            });
            change(why, Ask::new(Method::POST, "/admin/members"), body)?;
        }
        MemberCommand::Replace { old, new, change: why } => {
            let Joiner { node, fingerprint, address, .. } = joiner(new, &why.asked.node)?;
            let ask = Ask::new(Method::POST, &format!("/admin/members/{old}/replace"));
            let body = json!({ "node": node, "fingerprint": fingerprint, "address": address });
            change(why, ask, body)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A node that is to become a member.
struct Joiner {
    region: RegionId,
    node: String,
    fingerprint: String,
    address: String,
}

/// The node that is named, or the one of this machine; its address stands in the file.
fn joiner(new: &NewNode, args: &NodeArgs) -> Result<Joiner> {
    let config = load(&args.config)?;
    let region = new.region.as_ref().or(config.region()).cloned().context(
        "which region's node is it? Set RHUMB_REGION on its own machine, or name it with --region",
    )?;
    let settings = config.settings().regions.get(&region);
    let address = settings.with_context(|| format!("{region} is not in the file"))?.address.clone();
    if let Some((node, fingerprint)) = new.node_id.clone().zip(new.fingerprint.clone()) {
        return Ok(Joiner { region, node, fingerprint, address });
    }
    let folder = folders::identity(&config.settings().data, &region);
    let material = Identities::load(&folder, Some(&region))
        .context("say who it is with --node-id and --fingerprint, or run this on its machine")?
        .current();
    let (node, fingerprint) = (material.identity().node.to_string(), hex(&material.fingerprint()));
    Ok(Joiner { region, node, fingerprint, address })
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
