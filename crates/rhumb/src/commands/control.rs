//! `rhumb control`: the control plane's log of this machine's node, while it does not run.

mod recover;

use std::process::ExitCode;

use anyhow::Result;
use rhumb_control::OfflineStatus;
use rhumb_types::control::{Member, MemberRole};
use serde_json::{Value, json};

use super::{say, serve::load};
use crate::{
    cli::{ControlCommand, ControlStatus},
    stopped::Stopped,
    table::table,
};

/// Runs a command on a runtime of its own.
pub(crate) fn run(command: &ControlCommand) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            ControlCommand::Status(args) => status(args).await,
            ControlCommand::Recover(args) => recover::run(args).await,
        }
    })
}

async fn status(args: &ControlStatus) -> Result<ExitCode> {
    let config = load(&args.config)?;
    let node = Stopped::of(&config).await?;
    let groups = [("admin", node.admin.status()), ("strong", node.strong.status())];
    let cluster = node.view.cluster.map(|cluster| cluster.to_string());
    if args.json {
        let groups = groups.iter().map(|(name, status)| (*name, as_json(status)));
        let value = json!({
            "node": node.identity().node.to_string(),
            "region": node.identity().region,
            "cluster": cluster,
            "members": rows(&node.view.members).into_iter().map(|[region, node, role, address]| json!({
                "region": region, "node": node, "role": role, "address": address,
            })).collect::<Vec<_>>(),
            "groups": groups.collect::<std::collections::BTreeMap<_, _>>(),
        });
        say(&serde_json::to_string_pretty(&value)?);
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("{}, as its files say; others may have agreed on more since", node.identity()));
    say(&format!("cluster {}", cluster.as_deref().unwrap_or("not formed yet")));
    say("");
    table(["region", "node", "role", "address"], &rows(&node.view.members))
        .iter()
        .for_each(|line| say(line));
    say("");
    let rows: Vec<[String; 4]> = groups.iter().map(|(name, status)| row(name, status)).collect();
    table(["group", "term", "last entry", "members"], &rows).iter().for_each(|line| say(line));
    Ok(ExitCode::SUCCESS)
}

/// Members in words, one row each.
fn rows(members: &[Member]) -> Vec<[String; 4]> {
    let row = |member: &Member| {
        let Member { region, node, role: does, address, .. } = member;
        [region.to_string(), node.to_string(), role(*does).to_owned(), address.clone()]
    };
    members.iter().map(row).collect()
}

const fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
        MemberRole::Witness => "witness",
    }
}

fn row(name: &str, status: &OfflineStatus) -> [String; 4] {
    let members = status.members.iter().map(|member| {
        let votes = if member.voter { "" } else { " (learner)" };
        format!("{}/{}{votes}", member.region, member.node)
    });
    let last = status.last_index.map_or_else(|| "-".to_owned(), |index| index.to_string());
    let members = members.collect::<Vec<_>>().join(", ");
    [name.to_owned(), status.term.to_string(), last, members]
}

fn as_json(status: &OfflineStatus) -> Value {
    let members = status.members.iter().map(|member| {
        json!({
            "region": member.region, "node": member.node.to_string(), "voter": member.voter,
        })
    });
    json!({
        "term": status.term,
        "last_index": status.last_index,
        "members": members.collect::<Vec<_>>(),
    })
}
