//! Namespaces: what holds for keys by prefix. They come from the file of each node.

use rhumb_state::Namespace;
use serde_json::{Value, json};

use crate::{
    encode,
    request::{Call, Outcome},
};

pub(crate) fn list(call: &Call) -> Outcome {
    call.params()?.done()?;
    let namespaces: Vec<Value> = call.engine().namespaces().iter().map(shown).collect();
    Ok(encode::json(&json!({ "namespaces": namespaces })))
}

fn shown(namespace: &Namespace) -> Value {
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
