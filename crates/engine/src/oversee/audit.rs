//! Looking through the audit chain, here and against the heads that regions signed (rule 18).

use rhumb_regions::audit::{Anchor, AuditKey, verify};
use rhumb_types::{
    RegionId,
    control::{
        AdminQuery, AdminQueryAnswer, AuditEntry, AuditHead,
        limits::{AUDIT_ENTRIES_MAX, AUDIT_PAGE_MAX},
    },
};

use crate::agreement::AdminClient;

/// Pages of entries that one look reads at most; one more than there can be.
const PAGES_MAX: usize = AUDIT_ENTRIES_MAX.div_ceil(AUDIT_PAGE_MAX) + 1;

/// Remembers what the chain was, so that it can only grow.
pub(super) struct Auditor {
    key: AuditKey,
    region: RegionId,
    last: Option<Anchor>,
}

impl Auditor {
    pub(super) const fn new(key: AuditKey, region: RegionId) -> Self {
        Self { key, region, last: None }
    }

    /// Checks all entries that the agreed state keeps here; gives the last one, if there is any.
    ///
    /// # Errors
    /// What is wrong with the chain, in words.
    pub(super) fn look(&mut self, admin: &AdminClient) -> Result<Option<Anchor>, String> {
        let entries = read_entries(admin)?;
        let Some(first) = entries.first() else { return Ok(None) };
        let anchor = Anchor { index: first.index.saturating_sub(1), hash: first.previous };
        let mut heads = read_heads(admin)?;
        // What this node saw before counts as signed by it.
        heads.extend(self.last.map(|last| self.key.sign(last, self.region.clone())));
        heads.retain(|head| head.index >= anchor.index);
        let verified = verify(anchor, &entries, &heads, &self.key).map_err(|findings| {
            let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
            words.join("; ")
        })?;
        self.last = Some(verified.head);
        Ok(Some(verified.head))
    }
}

fn read_entries(admin: &AdminClient) -> Result<Vec<AuditEntry>, String> {
    let mut all: Vec<AuditEntry> = Vec::new();
    for _ in 0..PAGES_MAX {
        let after = all.last().map_or(0, |entry| entry.index);
        let query = AdminQuery::Audit { after, limit: AUDIT_PAGE_MAX as u64 };
        let answer = admin.query_local(&query).map_err(|error| error.to_string())?;
        let AdminQueryAnswer::Audit { entries, .. } = answer else { break };
        if entries.is_empty() {
            break;
        }
        all.extend(entries);
    }
    Ok(all)
}

fn read_heads(admin: &AdminClient) -> Result<Vec<AuditHead>, String> {
    match admin.query_local(&AdminQuery::Heads).map_err(|error| error.to_string())? {
        AdminQueryAnswer::Heads(heads) => Ok(heads),
        _ => Ok(Vec::new()),
    }
}
