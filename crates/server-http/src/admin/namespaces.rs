//! Namespaces: what holds for keys by prefix.

use rhumb_types::{
    AckLevel, Consistency, DomainId,
    control::{AdminCommand, NamespacePolicy},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{answer, reason_of, versioned};
use crate::{
    problem::Problem,
    request::{Call, Outcome},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    prefix: String,
    #[serde(default)]
    consistency: Consistency,
    #[serde(default)]
    ack: AckLevel,
    #[serde(default)]
    ttl_ms: Option<u64>,
    #[serde(default)]
    domain: DomainId,
    reason: String,
}

pub(crate) fn list(call: &Call) -> Outcome {
    call.params()?.done()?;
    let view = call.admin()?.view();
    let namespaces: Vec<Value> = view.namespaces.iter().map(shown).collect();
    let version = view.namespaces_version;
    Ok(versioned(version, &json!({ "version": version, "namespaces": namespaces })))
}

fn shown(namespace: &NamespacePolicy) -> Value {
    json!({
        "prefix": namespace.prefix,
        "consistency": namespace.consistency,
        "ack": namespace.ack,
        "ttl_ms": namespace.ttl_ms,
        "domain": namespace.domain,
    })
}

pub(crate) async fn put(call: Call) -> Outcome {
    call.params()?.done()?;
    let expected = call.expected_version()?;
    let Put { prefix, consistency, ack, ttl_ms, domain, reason } = call.json()?;
    let namespace = NamespacePolicy { prefix, consistency, ack, ttl_ms, domain };
    let command = AdminCommand::PutNamespace { expected, namespace };
    Ok(answer(&call.propose(&reason, command).await?))
}

pub(crate) async fn remove(call: Call) -> Outcome {
    let mut params = call.params()?;
    let (prefix, reason) = (params.text("prefix")?, reason_of(&mut params)?);
    params.done()?;
    let prefix = prefix.ok_or_else(|| Problem::invalid("say which, with `prefix`"))?;
    let expected = call.expected_version()?;
    let command = AdminCommand::RemoveNamespace { expected, prefix };
    Ok(answer(&call.propose(&reason, command).await?))
}
