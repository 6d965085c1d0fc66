//! The configuration that the cluster agreed on: put there, shown, compared with.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use http::{HeaderValue, Method, header};
use rhumb_config::{Config, ConfigError, Outside};
use rhumb_types::control::AffinityRule;
use serde_json::{Value, json};

use crate::{
    cli::{Asked, Change, ConfigApply, NodeArgs},
    commands::{say, show::items, show::word},
    http::{Ask, Http},
    node::worst_election,
    table::table,
    when,
};

const CONFIG: &str = "/admin/config";
const RULES: &str = "/admin/rules";

/// Puts a file in place of what was agreed, with its affinity rules.
pub(super) fn apply(args: &ConfigApply) -> Result<()> {
    let file = &args.file;
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let config = parse(file, &text)?;
    let node = Http::new(&args.change.asked.node)?;
    let reason = &args.change.reason;

    let agreed = node.json(Ask::get(CONFIG))?;
    let same = agreed.get("document").and_then(Value::as_str) == Some(text.as_str());
    let document = json!({ "document": text, "reason": reason });
    let config_version = put(&node, CONFIG, &agreed, same, &document)?;

    let rules_version = put_rules(&node, &config, reason)?;
    tell(&args.change.asked, config_version, rules_version);
    Ok(())
}

/// Puts an earlier version back.
pub(super) fn roll_back(version: u64, change: &Change) -> Result<()> {
    let node = Http::new(&change.asked.node)?;
    let agreed = node.json(Ask::get(CONFIG))?;
    let body = json!({ "to": version, "reason": change.reason });
    let back = Ask::new(Method::POST, &format!("{CONFIG}/rollback"));
    let back = back.header(header::IF_MATCH, tag(&agreed)?).json(&body);
    let config_version = node.json(back)?.get("version").and_then(Value::as_u64);
    let agreed = node.json(Ask::get(CONFIG))?;
    let config = parse(Path::new("agreed"), document(&agreed)?)?;
    let rules_version = put_rules(&node, &config, &change.reason)?;
    tell(&change.asked, config_version, rules_version);
    Ok(())
}

/// Puts a configuration's affinity rules in force.
fn put_rules(node: &Http, config: &Config, reason: &str) -> Result<Option<u64>> {
    let agreed = node.json(Ask::get(RULES))?;
    let known: Vec<AffinityRule> =
        serde_json::from_value(agreed.get("rules").cloned().unwrap_or_default())
            .context("the node's answer holds no affinity rules")?;
    let rules = json!({ "rules": config.rules(), "reason": reason });
    put(node, RULES, &agreed, known == config.rules(), &rules)
}

fn tell(asked: &Asked, config_version: Option<u64>, rules_version: Option<u64>) {
    if asked.json {
        let value = json!({ "config_version": config_version, "rules_version": rules_version });
        return say(&value.to_string());
    }
    for (what, version) in [("configuration", config_version), ("affinity rules", rules_version)] {
        match version {
            Some(version) => say(&format!("{what}: version {version} now")),
            None => say(&format!("{what}: so already")),
        }
    }
}

/// The version that a change replaces, as a header.
fn tag(agreed: &Value) -> Result<HeaderValue> {
    Ok(HeaderValue::try_from(format!("\"{}\"", word(agreed, "/version")))?)
}

/// Replaces a version of a document by what is wanted, unless it is so already.
fn put(node: &Http, path: &str, agreed: &Value, same: bool, body: &Value) -> Result<Option<u64>> {
    if same {
        return Ok(None);
    }
    let ask = Ask::new(Method::PUT, path).header(header::IF_MATCH, tag(agreed)?).json(body);
    Ok(node.json(ask)?.get("version").and_then(Value::as_u64))
}

/// Prints what was agreed.
pub(super) fn show(asked: &Asked) -> Result<()> {
    let answer = Http::new(&asked.node)?.json(Ask::get(CONFIG))?;
    if asked.json {
        say(&serde_json::to_string_pretty(&answer)?);
    } else {
        say(document(&answer)?.trim_end());
    }
    Ok(())
}

/// Lists the versions.
pub(super) fn versions(asked: &Asked) -> Result<()> {
    let answer = Http::new(&asked.node)?.json(Ask::get(CONFIG).part(b"versions"))?;
    if asked.json {
        say(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let row = |version: &Value| {
        let at = version.get("at_unix_ms").and_then(Value::as_u64).unwrap_or_default();
        [
            word(version, "/version"),
            when::minute(when::from_unix_millis(at)),
            word(version, "/actor"),
            word(version, "/reason"),
        ]
    };
    let rows: Vec<[String; 4]> = items(&answer, "/versions").iter().map(row).collect();
    table(["version", "at", "by", "reason"], &rows).iter().for_each(|line| say(line));
    Ok(())
}

/// What was agreed, as a configuration.
pub(super) fn agreed(node: &NodeArgs) -> Result<Config> {
    let answer = Http::new(node)?.json(Ask::get(CONFIG))?;
    parse(Path::new("agreed"), document(&answer)?)
}

fn document(answer: &Value) -> Result<&str> {
    match answer.get("document").and_then(Value::as_str) {
        None | Some("") => {
            bail!("the cluster has agreed on no configuration yet: `rhumb config apply FILE`")
        }
        Some(document) => Ok(document),
    }
}

/// A file as every node would read it, without what the environment of one lays over it.
fn parse(file: &Path, text: &str) -> Result<Config> {
    let outside = Outside { variable: &|_| None, worst_election: &worst_election };
    let refused = |faults| ConfigError { file: file.to_owned(), faults };
    Ok(Config::parse(text, &outside).map_err(refused)?)
}
