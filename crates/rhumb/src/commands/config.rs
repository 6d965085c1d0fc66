//! `rhumb config`: files, without a running node.

mod agreed;

use std::process::ExitCode;

use anyhow::Result;
use rhumb_config::Config;

use super::{say, serve::load};
use crate::cli::{ConfigArgs, ConfigCommand};

/// Runs a command on files.
pub(crate) fn run(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Check(args) => {
            let config = load(&args)?;
            config.notes().iter().for_each(|note| say(&format!("note: {note}")));
            say(&format!("{} is sound", args.config.display()));
        }
        ConfigCommand::Schema => say(&serde_json::to_string_pretty(&Config::schema())?),
        ConfigCommand::Diff { before, after: Some(after), json, .. } => {
            let before = load(&ConfigArgs { config: before })?;
            differences(&before, &load(&ConfigArgs { config: after })?, json);
        }
        ConfigCommand::Diff { before, after: None, node, json } => {
            let file = load(&ConfigArgs { config: before })?;
            differences(&agreed::agreed(&node)?, &file, json);
        }
        ConfigCommand::Apply(args) => agreed::apply(&args)?,
        ConfigCommand::Show(asked) => agreed::show(&asked)?,
        ConfigCommand::Versions(asked) => agreed::versions(&asked)?,
        ConfigCommand::Rollback { version, change } => agreed::roll_back(version, &change)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn differences(before: &Config, after: &Config, json: bool) {
    for change in &rhumb_config::diff(before.settings(), after.settings()) {
        let value = |value: &Option<serde_json::Value>| {
            value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let (path, old, new) =
            (change.path.to_string(), value(&change.before), value(&change.after));
        if json {
            let line = serde_json::json!({
                "path": path, "before": change.before, "after": change.after
            });
            say(&line.to_string());
        } else {
            say(&format!("{path}: {old} -> {new}"));
        }
    }
}
