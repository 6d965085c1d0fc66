//! Join tokens for new nodes.

use http::StatusCode;
use rhumb_types::{
    ErrorCode, RegionId,
    control::{AdminCommand, JoinToken, MemberRole},
};
use serde::Deserialize;
use serde_json::json;

use super::{check_reason, members::node_id, tokens::lasting};
use crate::{
    encode,
    limits::{INVITATION_DEFAULT, INVITATION_MAX},
    problem::Problem,
    request::{Call, Outcome},
    surroundings::{Invitation, InvitationError},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    region: RegionId,
    #[serde(default = "voter")]
    role: MemberRole,
    /// Where peers will reach the node, when the region is not in the file.
    #[serde(default)]
    address: Option<String>,
    /// The member that it takes the place of, such as `n2a`.
    #[serde(default)]
    replaces: Option<String>,
    /// How long it is good, such as `1h`.
    #[serde(default)]
    lasting: Option<String>,
    reason: String,
}

const fn voter() -> MemberRole {
    MemberRole::Voter
}

pub(crate) async fn create(call: Call) -> Outcome {
    call.params()?.done()?;
    let Create { region, role, address, replaces, lasting: span, reason } = call.json()?;
    check_reason(&reason)?;
    let lasting = lasting(span.as_deref(), INVITATION_DEFAULT, INVITATION_MAX)?;
    let desk = call.shared.surroundings.invitations.clone();
    let desk = desk.ok_or_else(|| refused(&InvitationError::NotHere))?;
    let replaces = replaces.map(|old| {
        node_id(&old).ok_or_else(|| Problem::invalid("`replaces` is not a node's id, such as n2a"))
    });
    let replaces = replaces.transpose()?;
    let invitation = Invitation { region: region.clone(), role, address, replaces, lasting };
    // The desk keeps its invitations in files.
    let invited = tokio::task::spawn_blocking(move || desk.invite(&invitation)).await;
    let invited = invited.map_err(|_| Problem::new(ErrorCode::Internal, "the join desk broke"))?;
    let invited = invited.map_err(|error| refused(&error))?;
    let expires = call.engine().clock().now().wall.saturating_add(lasting);
    let token = JoinToken { secret: invited.secret, region: region.clone(), role, expires };
    // Agreed before it is shown, so that nobody joins on a token that the cluster does not know.
    call.propose(&reason, AdminCommand::CreateJoinToken { token }).await?;
    let body = json!({
        "token": invited.token,
        "region": region,
        "role": role,
        "expires_unix_ms": expires,
    });
    Ok(encode::json_as(StatusCode::CREATED, &body))
}

fn refused(error: &InvitationError) -> Problem {
    let code = match error {
        InvitationError::NotHere => ErrorCode::Unavailable,
        InvitationError::Refused(_) => ErrorCode::Conflict,
    };
    Problem::new(code, error.to_string())
}
