//! Documents that are agreed on: affinity rules and the configuration.
//!
//! A change names the version that it replaces, in `If-Match`, so that of two people who change one
//! version the second is refused.

use rhumb_types::control::{
    AdminCommand, AdminQuery, AdminQueryAnswer, AffinityRule, Document, DocumentVersion,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{answer, foreign, versioned};
use crate::{
    encode,
    problem::Problem,
    request::{Call, Outcome},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutRules {
    rules: Vec<AffinityRule>,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutConfig {
    document: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBack {
    to: u64,
    reason: String,
}

pub(crate) fn rules(call: &Call) -> Outcome {
    call.params()?.done()?;
    let view = call.admin()?.view();
    let snapshot = call.engine().routing();
    let unusable = snapshot.iter().flat_map(|snapshot| snapshot.unusable_rules());
    let body = json!({
        "version": view.rules_version,
        "rules": view.rules,
        "unusable": unusable.collect::<Vec<_>>(),
    });
    Ok(versioned(view.rules_version, &body))
}

pub(crate) async fn put_rules(call: Call) -> Outcome {
    call.params()?.done()?;
    let expected = call.expected_version()?;
    let PutRules { rules, reason } = call.json()?;
    let command = AdminCommand::PutRules { expected, rules };
    Ok(answer(&call.propose(&reason, command).await?))
}

pub(crate) fn rules_versions(call: &Call) -> Outcome {
    versions(call, Document::Rules)
}

pub(crate) async fn roll_rules_back(call: Call) -> Outcome {
    roll_back(&call, Document::Rules).await
}

pub(crate) fn config(call: &Call) -> Outcome {
    call.params()?.done()?;
    read_config(call, &AdminQuery::Config)
}

pub(crate) fn config_at(call: &Call) -> Outcome {
    call.params()?.done()?;
    let version = call.read_part("version", "a version", |text| text.parse().ok())?;
    read_config(call, &AdminQuery::ConfigAt { version })
}

fn read_config(call: &Call, query: &AdminQuery) -> Outcome {
    match call.admin()?.query_local(query)? {
        AdminQueryAnswer::Config { version, document } => {
            let body = json!({ "version": version, "document": document });
            Ok(versioned(version, &body))
        }
        _ => Err(foreign()),
    }
}

pub(crate) async fn put_config(call: Call) -> Outcome {
    call.params()?.done()?;
    let expected = call.expected_version()?;
    let PutConfig { document, reason } = call.json()?;
    check(&call, &document)?;
    let command = AdminCommand::PutConfig { expected, document };
    Ok(answer(&call.propose(&reason, command).await?))
}

/// Refuses a configuration that a node could not follow, with everything that is wrong with it.
fn check(call: &Call, document: &str) -> Result<(), Problem> {
    let Some(check) = &call.shared.surroundings.config_check else { return Ok(()) };
    check(document).map_err(|faults| {
        let detail = match faults.as_slice() {
            [only] => format!("the configuration is not valid: {only}"),
            several => format!("the configuration has {} faults", several.len()),
        };
        Problem::invalid(detail).with("faults", faults)
    })
}

pub(crate) fn config_versions(call: &Call) -> Outcome {
    versions(call, Document::Config)
}

pub(crate) async fn roll_config_back(call: Call) -> Outcome {
    roll_back(&call, Document::Config).await
}

fn versions(call: &Call, document: Document) -> Outcome {
    call.params()?.done()?;
    match call.admin()?.query_local(&AdminQuery::History { document })? {
        AdminQueryAnswer::History(stamps) => {
            let versions: Vec<Value> = stamps.iter().rev().map(stamp).collect();
            Ok(encode::json(&json!({ "versions": versions })))
        }
        _ => Err(foreign()),
    }
}

fn stamp(stamp: &DocumentVersion) -> Value {
    json!({
        "version": stamp.version,
        "at_unix_ms": stamp.at,
        "actor": stamp.actor,
        "reason": stamp.reason,
    })
}

async fn roll_back(call: &Call, document: Document) -> Outcome {
    call.params()?.done()?;
    let expected = call.expected_version()?;
    let RollBack { to, reason } = call.json()?;
    let command = AdminCommand::Rollback { document, expected, to };
    Ok(answer(&call.propose(&reason, command).await?))
}
