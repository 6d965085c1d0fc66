//! Agreeing on a node that was invited, before it gets its certificate.

use std::sync::Arc;

use rhumb_engine::Engine;
use rhumb_peer::{Newcomer, Registrar};
use rhumb_types::{
    NodeId,
    control::{AdminCommand, Digest, Member, NODE_ACTOR},
};

/// Why it stands in the audit chain.
const REASON: &str = "it came with a join token";

/// Registers nodes with the control plane.
pub(super) fn registrar(engine: &Engine, own: NodeId) -> Registrar {
    let engine = engine.clone();
    Arc::new(move |newcomer| {
        let engine = engine.clone();
        Box::pin(async move { register(&engine, own, newcomer).await })
    })
}

async fn register(engine: &Engine, own: NodeId, newcomer: Newcomer) -> Result<(), String> {
    let (Some(admin), Some(agreed)) = (engine.admin(), engine.agreed()) else {
        return Err("this node is still starting: try again".to_owned());
    };
    let view = agreed.borrow().clone();
    if view.cluster.is_none() {
        // A founder: it joins as it is configured.
        return Ok(());
    }
    let Newcomer { identity, fingerprint, seat, secret } = newcomer;
    let member = Member {
        node: identity.node,
        region: identity.region,
        role: seat.role,
        address: seat.address,
        fingerprint: Digest(fingerprint),
        // It says itself what else it reads.
        reads: view.protocol,
    };
    let votes = |other: &&Member| other.region == member.region && other.role.votes();
    if let Some(other) = view.members.iter().find(votes)
        && seat.replaces.is_none()
        && member.role.votes()
    {
        return Err(format!(
            "{} has the voter {other} already: to put a node in its place, make the token with \
             --replace {other}",
            member.region,
            other = other.node
        ));
    }
    let secret = Digest(secret);
    let command = match seat.replaces {
        None => {
            let token = seat.agreed.then_some(secret);
            AdminCommand::Join { member, token }
        }
        Some(old) => {
            let mut commands = vec![AdminCommand::ReplaceMember { old, member }];
            if seat.agreed {
                commands.push(AdminCommand::RevokeJoinToken { secret });
            }
            AdminCommand::Together { commands }
        }
    };
    let actor = format!("{NODE_ACTOR}{own}");
    let agreed = admin.propose(&actor, REASON, command).await;
    agreed.map_err(|error| format!("the cluster does not agree to have this node: {error}"))?;
    Ok(())
}
