//! Changes of what is agreed: asked for with a reason, answered with whether anything changed.

use anyhow::Result;
use serde_json::Value;

use super::say;
use crate::{
    cli::{Asked, Change},
    http::{Ask, Http},
};

/// Asks for a change, with the reason in the body.
pub(super) fn change(why: &Change, ask: Ask, mut body: Value) -> Result<()> {
    if let Some(body) = body.as_object_mut() {
        body.insert("reason".to_owned(), why.reason.clone().into());
    }
    let answer = Http::new(&why.asked.node)?.json(ask.json(&body))?;
    say_changed(&why.asked, &answer)
}

/// Says whether something changed.
pub(super) fn say_changed(asked: &Asked, answer: &Value) -> Result<()> {
    if asked.json {
        say(&serde_json::to_string_pretty(answer)?);
        return Ok(());
    }
    let changed = answer.get("changed").and_then(Value::as_bool).unwrap_or_default();
    match (changed, answer.get("version").and_then(Value::as_u64)) {
        (true, Some(version)) => say(&format!("done; it is version {version} now")),
        (true, None) => say("done"),
        (false, _) => say("it was so already"),
    }
    Ok(())
}
