//! The members of the cluster. The consensus groups follow what is agreed here.

use rhumb_types::{
    ErrorCode, NodeId, RegionId,
    control::{AdminCommand, Digest, Member, MemberRole},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{answer, reason_of};
use crate::{
    encode,
    problem::Problem,
    request::{Call, Outcome},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRole {
    role: MemberRole,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    node: String,
    region: RegionId,
    #[serde(default = "voter")]
    role: MemberRole,
    address: String,
    fingerprint: Digest,
    /// As the cluster agreed unless it is said.
    #[serde(default)]
    reads: Option<u16>,
    reason: String,
}

const fn voter() -> MemberRole {
    MemberRole::Voter
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    /// The new node's id; a node that lost its disk has a new one.
    node: String,
    address: String,
    fingerprint: Digest,
    /// As the old one's unless it is said.
    #[serde(default)]
    role: Option<MemberRole>,
    #[serde(default)]
    reads: Option<u16>,
    reason: String,
}

/// Reads a node's id as it is written everywhere: `n2a`.
pub(super) fn node_id(text: &str) -> Option<NodeId> {
    let digits = text.strip_prefix('n')?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten().map(NodeId)
}

fn node_of(call: &Call) -> Result<NodeId, Problem> {
    call.read_part("node", "a node's id, such as n2a", node_id)
}

pub(crate) fn list(call: &Call) -> Outcome {
    call.params()?.done()?;
    let view = call.admin()?.view();
    let members: Vec<Value> = view.members.iter().map(shown).collect();
    Ok(encode::json(&json!({ "protocol": view.protocol, "members": members })))
}

fn shown(member: &Member) -> Value {
    json!({
        "node": member.node.to_string(),
        "region": member.region,
        "role": member.role,
        "address": member.address,
        "fingerprint": member.fingerprint,
        "reads": member.reads,
    })
}

/// A node's id in a body.
fn node_in(body: &str) -> Result<NodeId, Problem> {
    node_id(body).ok_or_else(|| Problem::invalid("`node` is not a node's id, such as n2a"))
}

/// Adds a node that does not add itself: one of a region that had no member left, or that the other
/// nodes' files do not name.
pub(crate) async fn add(call: Call) -> Outcome {
    call.params()?.done()?;
    let Add { node, region, role, address, fingerprint, reads, reason } = call.json()?;
    let reads = reads.unwrap_or(call.admin()?.view().protocol);
    let member = Member { node: node_in(&node)?, region, role, address, fingerprint, reads };
    let command = AdminCommand::Join { member, token: None };
    Ok(answer(&call.propose(&reason, command).await?))
}

pub(crate) async fn set_role(call: Call) -> Outcome {
    call.params()?.done()?;
    let node = node_of(&call)?;
    let SetRole { role, reason } = call.json()?;
    Ok(answer(&call.propose(&reason, AdminCommand::SetMemberRole { node, role }).await?))
}

pub(crate) async fn remove(call: Call) -> Outcome {
    let node = node_of(&call)?;
    let mut params = call.params()?;
    let reason = reason_of(&mut params)?;
    params.done()?;
    Ok(answer(&call.propose(&reason, AdminCommand::RemoveMember { node }).await?))
}

pub(crate) async fn replace(call: Call) -> Outcome {
    call.params()?.done()?;
    let old = node_of(&call)?;
    let Replace { node, address, fingerprint, role, reads, reason } = call.json()?;
    let node = node_in(&node)?;
    let view = call.admin()?.view();
    let replaced = view.members.iter().find(|member| member.node == old);
    let replaced = replaced.ok_or_else(|| {
        Problem::new(ErrorCode::NotFound, format!("{old} is not a member of this cluster"))
    })?;
    let region: RegionId = replaced.region.clone();
    let (role, reads) = (role.unwrap_or(replaced.role), reads.unwrap_or(replaced.reads));
    let member = Member { node, region, role, address, fingerprint, reads };
    Ok(answer(&call.propose(&reason, AdminCommand::ReplaceMember { old, member }).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_id_is_read_as_it_is_written() {
        let node = NodeId(0x2a_0000_0000_0001);
        assert_eq!(node_id(&node.to_string()), Some(node));
        for bad in ["", "n", "2a", "n+2", "nx", "n10000000000000000"] {
            assert_eq!(node_id(bad), None, "{bad}");
        }
    }
}
