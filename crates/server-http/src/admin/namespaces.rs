//! Namespaces: what holds for keys by prefix.

use rhumb_state::Namespace;
use rhumb_types::{
    AckLevel, Consistency, DomainId,
    control::{AdminCommand, NamespacePolicy},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{answer, reason_of, versioned};
use crate::{
    encode,
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
    let agreed: Vec<Value> = view.namespaces.iter().map(shown).collect();
    let in_use: Vec<Value> = call.engine().namespaces().iter().map(in_use).collect();
    let version = view.namespaces_version;
    let body = json!({ "version": version, "namespaces": agreed, "in_use": in_use });
    Ok(versioned(version, &body))
}

/// What this node applies: what it started with.
fn in_use(namespace: &Namespace) -> Value {
    let policy = &namespace.policy;
    let mut shown = json!({
        "consistency": policy.consistency,
        "ack": policy.ack,
        "ttl_ms": policy.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        "domain": policy.domain,
    });
    if let Some(object) = shown.as_object_mut() {
        encode::put_bytes(object, "prefix", &namespace.prefix);
    }
    shown
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
