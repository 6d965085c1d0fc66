//! Handlers of what operators ask for.
//!
//! Every change is proposed to the administrative group under the token's id and with a reason, so
//! that it stands in the audit chain, also when it is refused.

use axum::response::Response;
use http::{StatusCode, header};
use rhumb_types::control::{AdminCommand, AdminOutcome};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{encode, params::Params, problem::Problem, request::Call};

pub(crate) mod audit;
pub(crate) mod documents;
pub(crate) mod invite;
pub(crate) mod members;
pub(crate) mod namespaces;
pub(crate) mod operate;
pub(crate) mod regions;
pub(crate) mod tokens;

/// The body of a change that needs nothing but a reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    pub(crate) reason: String,
}

impl Call {
    /// Proposes a change in the bearer's name.
    pub(crate) async fn propose(
        &self,
        reason: &str,
        command: AdminCommand,
    ) -> Result<AdminOutcome, Problem> {
        check_reason(reason)?;
        Ok(self.admin()?.propose(&self.principal.id, reason, command).await?)
    }

    /// The version of a document that a change replaces, from `If-Match`.
    pub(crate) fn expected_version(&self) -> Result<u64, Problem> {
        let help = "Read the document, and send its `etag` as `if-match`; 0 before the first \
                    version.";
        let Some(text) = self.header(header::IF_MATCH.as_str())? else {
            let detail = "a change of a document must say which version it replaces";
            let status = StatusCode::PRECONDITION_REQUIRED;
            return Err(Problem::http(status, "precondition_required", detail, help));
        };
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        bare.parse().map_err(|_| {
            Problem::invalid(format!("`if-match: {text}` is not a version")).help(help)
        })
    }
}

/// The reason of a change that has no body.
pub(crate) fn reason_of(params: &mut Params) -> Result<String, Problem> {
    let reason = params.text("reason")?;
    reason.ok_or_else(|| Problem::invalid("say why, with `reason`: it stands in the audit chain"))
}

pub(crate) fn check_reason(reason: &str) -> Result<(), Problem> {
    if reason.trim().is_empty() {
        let detail = "`reason` is empty: say why, it stands in the audit chain";
        return Err(Problem::invalid(detail));
    }
    Ok(())
}

/// What became of a change.
pub(crate) fn answer(outcome: &AdminOutcome) -> Response {
    let body = match outcome {
        AdminOutcome::Unchanged => json!({ "changed": false }),
        AdminOutcome::Version(version) => {
            let mut response = encode::json(&json!({ "changed": true, "version": version }));
            encode::set_etag(&mut response, version);
            return response;
        }
        _ => json!({ "changed": true }),
    };
    encode::json(&body)
}

/// A document with its version as the entity tag.
pub(crate) fn versioned(version: u64, body: &Value) -> Response {
    let mut response = encode::json(body);
    encode::set_etag(&mut response, version);
    response
}

/// An answer of the control plane that belongs to another question.
pub(crate) fn foreign() -> Problem {
    let detail = "the control plane's answer belongs to another question";
    Problem::new(rhumb_types::ErrorCode::Internal, detail)
}
