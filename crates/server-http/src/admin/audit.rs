//! The audit chain: read, exported, verified. Answered from what this node has applied, so that it
//! can be read while the control plane is away.

use rhumb_engine::AdminClient;
use rhumb_regions::audit::{Anchor, AuditKey, export_ndjson, verify};
use rhumb_types::{
    ErrorCode,
    control::{
        AdminQuery, AdminQueryAnswer, AuditEntry,
        limits::{AUDIT_ENTRIES_MAX, AUDIT_PAGE_MAX},
    },
};
use serde_json::json;

use super::foreign;
use crate::{
    encode,
    limits::AUDIT_DEFAULT,
    problem::Problem,
    request::{Call, Outcome},
};

/// Pages that hold the whole chain; one more than there can be, because it grows meanwhile.
const PAGES_MAX: usize = AUDIT_ENTRIES_MAX.div_ceil(AUDIT_PAGE_MAX) + 1;

/// Newline-delimited JSON.
pub(crate) const NDJSON: &str = "application/x-ndjson";

pub(crate) fn read(call: &Call) -> Outcome {
    let mut params = call.params()?;
    let after = params.number("after", 0..=u64::MAX)?.unwrap_or(0);
    let limit = params.number("limit", 1..=AUDIT_PAGE_MAX as u64)?;
    params.done()?;
    let admin = call.admin()?;
    if call.accepts(NDJSON)? {
        if limit.is_some() {
            return Err(Problem::invalid("an export has no `limit`: it gives all there is"));
        }
        let entries = all_after(admin, after)?;
        let text = export_ndjson(&entries)
            .map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
        return Ok(encode::bytes(text.into(), NDJSON));
    }
    let (first, entries) = page(admin, after, limit.unwrap_or(AUDIT_DEFAULT))?;
    let next = entries.last().map(|entry| entry.index);
    Ok(encode::json(&json!({ "first_kept": first, "entries": entries, "after": next })))
}

fn page(admin: &AdminClient, after: u64, limit: u64) -> Result<(u64, Vec<AuditEntry>), Problem> {
    match admin.query_local(&AdminQuery::Audit { after, limit })? {
        AdminQueryAnswer::Audit { first, entries } => Ok((first, entries)),
        _ => Err(foreign()),
    }
}

fn all_after(admin: &AdminClient, after: u64) -> Result<Vec<AuditEntry>, Problem> {
    let mut all: Vec<AuditEntry> = Vec::new();
    for _ in 0..PAGES_MAX {
        let after = all.last().map_or(after, |entry| entry.index);
        let (_, entries) = page(admin, after, AUDIT_PAGE_MAX as u64)?;
        if entries.is_empty() {
            break;
        }
        all.extend(entries);
    }
    Ok(all)
}

/// Checks what is kept here against itself, and against the heads that regions signed.
pub(crate) fn check(call: &Call) -> Outcome {
    call.params()?.done()?;
    let admin = call.admin()?;
    let entries = all_after(admin, 0)?;
    let anchor = entries.first().map_or_else(Anchor::default, |first| Anchor {
        index: first.index.saturating_sub(1),
        hash: first.previous,
    });
    let key = call.shared.surroundings.audit_key.clone();
    let heads = match (&key, admin.query_local(&AdminQuery::Heads)?) {
        (None, _) => Vec::new(),
        (Some(_), AdminQueryAnswer::Heads(heads)) => {
            heads.into_iter().filter(|head| head.index >= anchor.index).collect()
        }
        (Some(_), _) => return Err(foreign()),
    };
    let signed = key.is_some();
    // Without heads the key is not used.
    let key = key.unwrap_or_else(|| AuditKey::new([0; 32]));
    Ok(encode::json(&match verify(anchor, &entries, &heads, &key) {
        Ok(verified) => json!({
            "whole": true,
            "first": anchor.index + 1,
            "last": verified.head.index,
            "hash": verified.head.hash,
            "entries": verified.entries,
            "heads_checked": signed,
            "heads": verified.heads,
            "covered": verified.covered,
        }),
        Err(findings) => {
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            json!({ "whole": false, "heads_checked": signed, "findings": findings })
        }
    }))
}
