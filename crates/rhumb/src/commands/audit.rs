//! `rhumb audit verify`: the audit chain, checked away from the cluster that wrote it.
//!
//! A chain alone shows edits, deletions and moves inside it. That its end was cut off, or that it was
//! written anew, shows only against heads that regions signed and other nodes kept; so a file from
//! one node is best checked with the folder of another.

use std::{fs, io::Write, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use http::{HeaderValue, header};
use rhumb_control::Offline;
use rhumb_regions::audit::{Anchor, AuditKey, Finding, Verified, import_ndjson, verify};
use rhumb_types::{
    control::{AdminQuery, AdminQueryAnswer, AuditEntry, AuditHead, limits::AUDIT_PAGE_MAX},
    record::Record,
};
use serde_json::Value;

use super::{
    note, say,
    show::{items, word},
};
use crate::{
    cli::{AuditCommand, AuditVerify, NodeArgs},
    http::{Ask, Http},
    node::oversight::AUDIT_PURPOSE,
    stopped::Stopped,
};

/// What one node holds against a chain.
struct Witness {
    entries: Vec<AuditEntry>,
    heads: Vec<AuditHead>,
    key: AuditKey,
}

/// Runs a command.
pub(crate) fn run(command: &AuditCommand) -> Result<ExitCode> {
    let args = match command {
        AuditCommand::Verify(args) => args,
        AuditCommand::Export(node) => return export(node),
    };
    if args.file.is_none() && args.data.is_none() {
        return ask_node(args);
    }
    let witness = args.data.as_deref().map(witness).transpose()?;
    let entries = match (&args.file, &witness) {
        (Some(file), _) => read(file)?,
        (None, Some(witness)) => witness.entries.clone(),
        (None, None) => Vec::new(),
    };
    // Without the cluster's secret no head proves anything, and none is looked at.
    let (heads, key) = witness.map_or_else(
        || (Vec::new(), AuditKey::new([0; 32])),
        |witness| (witness.heads, witness.key),
    );
    let checked = verify(anchor(&entries), &entries, &heads, &key);
    if args.json {
        say(&as_json(&entries, &checked).to_string());
    } else {
        explain(&entries, heads.len(), &checked);
    }
    Ok(if checked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The chain as a running node has it.
fn export(node: &NodeArgs) -> Result<ExitCode> {
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    let ask = Ask::get("/admin/audit").header(header::ACCEPT, ndjson);
    let answer = Http::new(node)?.send(ask)?;
    std::io::stdout().write_all(&answer.body).context("print the chain")?;
    Ok(ExitCode::SUCCESS)
}

/// Has a running node check the chain that it has.
fn ask_node(args: &AuditVerify) -> Result<ExitCode> {
    let answer = Http::new(&args.node)?.json(Ask::get("/admin/audit/verify"))?;
    let whole = answer.get("whole").and_then(Value::as_bool).unwrap_or_default();
    if args.json {
        say(&serde_json::to_string_pretty(&answer)?);
    } else if whole {
        let at = |pointer: &str| word(&answer, pointer);
        let (first, last, heads) = (at("/first"), at("/last"), at("/heads"));
        say(&format!("entries {first} to {last} are whole; {heads} signed heads agree"));
    } else {
        let findings = items(&answer, "/findings").iter().filter_map(Value::as_str);
        findings.for_each(say);
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> Result<Vec<AuditEntry>> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    import_ndjson(&text).with_context(|| format!("{} is not an audit chain", file.display()))
}

/// What a node that does not run holds.
fn witness(folder: &Path) -> Result<Witness> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let node = runtime.block_on(Stopped::open(folder))?;
    let key = AuditKey::new(node.material.secret().derive(AUDIT_PURPOSE));
    let AdminQueryAnswer::Heads(heads) = ask(&node.admin, &AdminQuery::Heads)? else {
        bail!("the node's log answers with something else than heads")
    };
    Ok(Witness { entries: chain(&node.admin)?, heads, key })
}

/// The whole chain, page by page.
fn chain(admin: &Offline) -> Result<Vec<AuditEntry>> {
    let mut all: Vec<AuditEntry> = Vec::new();
    loop {
        let after = all.last().map_or(0, |entry| entry.index);
        let query = AdminQuery::Audit { after, limit: AUDIT_PAGE_MAX as u64 };
        let AdminQueryAnswer::Audit { entries, .. } = ask(admin, &query)? else {
            bail!("the node's log answers with something else than audit entries")
        };
        let grows = entries.last().is_some_and(|last| last.index > after);
        all.extend(entries);
        if !grows {
            return Ok(all);
        }
    }
}

fn ask(admin: &Offline, query: &AdminQuery) -> Result<AdminQueryAnswer> {
    Ok(AdminQueryAnswer::decode(&admin.read(&query.encode()))?)
}

/// The entry before the first one that is here: of it only its hash is known.
fn anchor(entries: &[AuditEntry]) -> Anchor {
    entries.first().map_or_else(Anchor::default, |first| Anchor {
        index: first.index.saturating_sub(1),
        hash: first.previous,
    })
}

fn explain(entries: &[AuditEntry], heads: usize, checked: &Result<Verified, Vec<Finding>>) {
    match checked {
        Ok(verified) => {
            let (first, last) = (anchor(entries).index + 1, verified.head.index);
            say(&format!(
                "entries {first} to {last} are whole; {} signed heads agree",
                verified.heads
            ));
            if first > 1 {
                note(&format!("note: entries before {first} are not here"));
            }
            match verified.covered {
                Some(covered) if covered < last => {
                    note(&format!("note: no signed head covers the entries after {covered} yet"))
                }
                None if heads == 0 => note(
                    "note: without signed heads an end that was cut off goes unnoticed; name the \
                     folder of a node with --data",
                ),
                _ => {}
            }
        }
        Err(findings) => findings.iter().for_each(|finding| say(&finding.to_string())),
    }
}

fn as_json(entries: &[AuditEntry], checked: &Result<Verified, Vec<Finding>>) -> serde_json::Value {
    let (verified, findings) = match checked {
        Ok(verified) => (Some(verified), Vec::new()),
        Err(findings) => (None, findings.iter().map(ToString::to_string).collect()),
    };
    serde_json::json!({
        "whole": verified.is_some(),
        "first": entries.first().map(|entry| entry.index),
        "last": entries.last().map(|entry| entry.index),
        "entries": entries.len(),
        "heads": verified.map(|verified| verified.heads),
        "covered": verified.and_then(|verified| verified.covered),
        "findings": findings,
    })
}

#[cfg(test)]
mod tests {
    use rhumb_regions::audit::{AuditChain, Deed, export_ndjson};
    use rhumb_types::UnixMillis;

    use super::*;
    use crate::cli::ConfigArgs;

    fn chain(length: u64) -> Vec<AuditEntry> {
        let mut chain = AuditChain::default();
        for at in 1..=length {
            let word = |word: &str| word.to_owned();
            let (actor, action) = (word("node:n1"), word("drain"));
            let (subject, detail) = (word("eu-west-1"), word("done"));
            chain.append(Deed { at: UnixMillis(at), actor, action, subject, detail });
        }
        chain.after(0, usize::MAX).cloned().collect()
    }

    fn verified(folder: &Path, entries: &[AuditEntry]) -> ExitCode {
        let file = folder.join("audit.ndjson");
        fs::write(&file, export_ndjson(entries).unwrap()).unwrap();
        let config = ConfigArgs { config: "none.yaml".into() };
        let node =
            NodeArgs { config, url: None, token: None, ca: None, cert: None, cert_key: None };
        run(&AuditCommand::Verify(AuditVerify { file: Some(file), data: None, node, json: true }))
            .unwrap()
    }

    #[test]
    fn a_whole_chain_passes_from_any_entry_on_and_an_edited_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let whole = chain(5);
        let passes = |entries: &[AuditEntry]| verified(folder.path(), entries) == ExitCode::SUCCESS;
        assert!(passes(&whole) && passes(&whole[2..]) && passes(&[]));
        let mut edited = whole.clone();
        edited[1].actor = "nobody".to_owned();
        assert!(!passes(&edited));
        let mut deleted = whole.clone();
        deleted.remove(3);
        assert!(!passes(&deleted));
        let mut moved = whole;
        moved.swap(1, 2);
        assert!(!passes(&moved));
    }

    #[test]
    fn what_is_no_chain_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.ndjson");
        fs::write(&file, "\n{}\n").unwrap();
        let error = read(&file).unwrap_err();
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        assert!(chain.join(": ").contains("line 2 is no audit entry"), "{chain:?}");
    }
}
