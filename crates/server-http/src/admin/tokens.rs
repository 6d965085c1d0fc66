//! API tokens: made, listed, revoked. A secret is shown once, to whom asked for it.

use std::time::Duration;

use http::StatusCode;
use rhumb_front::token::{Token, digest_of};
use rhumb_types::{
    ErrorCode,
    control::{AdminCommand, AdminQuery, AdminQueryAnswer, ApiRole, ApiToken},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{answer, foreign, reason_of};
use crate::{
    auth::random_hex,
    config::is_token_id,
    encode,
    limits::{SECRET_BYTES, TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX},
    params::duration_millis,
    problem::Problem,
    request::{Call, Outcome},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    id: String,
    role: ApiRole,
    #[serde(default)]
    scopes: Vec<String>,
    /// How long it is good, such as `30d`.
    #[serde(default)]
    lasting: Option<String>,
    reason: String,
}

/// Reads how long something is to last.
pub(super) fn lasting(
    text: Option<&str>,
    usual: Duration,
    most: Duration,
) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(usual) };
    let span = duration_millis(text).map(Duration::from_millis);
    span.filter(|span| !span.is_zero() && *span <= most).ok_or_else(|| {
        let days = most.as_secs() / 86_400;
        let text = text.escape_default();
        Problem::invalid(format!("`lasting` is a time up to {days}d, and not `{text}`"))
    })
}

pub(crate) fn list(call: &Call) -> Outcome {
    call.params()?.done()?;
    match call.admin()?.query_local(&AdminQuery::ApiTokens)? {
        AdminQueryAnswer::ApiTokens(tokens) => {
            let now = call.engine().clock().now().wall;
            let tokens = tokens.iter().map(|token| {
                let mut shown = shown(token);
                encode::put(&mut shown, "valid", token.is_valid(now));
                shown
            });
            let configured = call.shared.door.configured();
            let body = json!({ "tokens": tokens.collect::<Vec<_>>(), "configured": configured });
            Ok(encode::json(&body))
        }
        _ => Err(foreign()),
    }
}

fn shown(token: &ApiToken) -> Value {
    json!({
        "id": token.id,
        "role": token.role,
        "scopes": token.scopes,
        "created_unix_ms": token.created,
        "expires_unix_ms": token.expires,
        "revoked_unix_ms": token.revoked,
    })
}

pub(crate) async fn create(call: Call) -> Outcome {
    call.params()?.done()?;
    let Create { id, role, scopes, lasting: span, reason } = call.json()?;
    if !is_token_id(&id) {
        return Err(Problem::invalid("`id` is 1 to 63 of a-z, 0-9 and `-`"));
    }
    if call.shared.door.configures(&id) {
        let detail = format!("the configuration has a token `{id}` already");
        return Err(Problem::new(ErrorCode::Conflict, detail));
    }
    let span = lasting(span.as_deref(), TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX)?;
    let secret = random_hex::<SECRET_BYTES>()?;
    let created = call.engine().clock().now().wall;
    let token = ApiToken {
        id: id.clone(),
        secret: digest_of(&secret),
        role,
        scopes,
        created,
        expires: Some(created.saturating_add(span)),
        revoked: None,
    };
    let mut body = shown(&token);
    encode::put(&mut body, "token", Token { id: &id, secret: &secret }.to_string());
    call.propose(&reason, AdminCommand::CreateApiToken { token }).await?;
    Ok(encode::json_as(StatusCode::CREATED, &body))
}

/// Revokes a token; with `purge`, forgets one that is revoked or has expired.
pub(crate) async fn revoke(call: Call) -> Outcome {
    let id = call.read_part("id", "a token's id", |id| is_token_id(id).then(|| id.to_owned()))?;
    let mut params = call.params()?;
    let (reason, purge) = (reason_of(&mut params)?, params.flag("purge")?);
    params.done()?;
    if call.shared.door.configures(&id) {
        let detail = format!("`{id}` is a token of the configuration");
        let help = "Take it out of the configuration of every node.";
        return Err(Problem::new(ErrorCode::Conflict, detail).help(help));
    }
    let command = match purge {
        true => AdminCommand::DropApiToken { id },
        false => AdminCommand::RevokeApiToken { id },
    };
    Ok(answer(&call.propose(&reason, command).await?))
}
