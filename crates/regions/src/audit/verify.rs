//! Checks a chain against itself and against signed heads, and names what was done to it.

use std::{collections::BTreeMap, fmt};

use rhumb_types::{
    RegionId,
    control::{AuditEntry, AuditHead},
};

use super::{Anchor, AuditKey, entry_hash};

/// How far from its index an entry's true index is looked for, when somebody renumbered.
const RENUMBER_REACH: u64 = 64;

/// What is wrong with a chain. Indexes are those that the entries claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The content of an entry is not what was hashed, or not what the next entry follows.
    Edited {
        /// Which entry.
        index: u64,
    },
    /// Entries are missing from inside.
    Deleted {
        /// The first missing.
        first: u64,
        /// The last missing.
        last: u64,
    },
    /// An entry stands after one that came later.
    Reordered {
        /// Which entry.
        index: u64,
    },
    /// The end is missing: a region signed a head beyond it.
    Truncated {
        /// The last entry present.
        last: u64,
        /// The head beyond it.
        head: u64,
        /// Who signed that.
        region: RegionId,
    },
    /// The chain has another history than one that was signed, or two histories are present.
    Forked {
        /// Where they differ, at the latest.
        index: u64,
        /// Who signed the other; `None` when both are in the entries.
        region: Option<RegionId>,
    },
    /// A head is not signed with the cluster's key; it proves nothing.
    UnsignedHead {
        /// Which index it names.
        index: u64,
        /// Whose it claims to be.
        region: RegionId,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { index } => write!(f, "entry {index} was edited"),
            Self::Deleted { first, last } => write!(f, "entries {first} to {last} were deleted"),
            Self::Reordered { index } => write!(f, "entry {index} was moved"),
            Self::Truncated { last, head, region } => {
                write!(f, "the chain ends at {last}, but {region} signed entry {head}")
            }
            Self::Forked { index, region: Some(region) } => {
                write!(f, "entry {index} is not the one that {region} signed: the chain forked")
            }
            Self::Forked { index, region: None } => {
                write!(f, "two different entries are both number {index}: the chain forked")
            }
            Self::UnsignedHead { index, region } => {
                write!(f, "the head of {region} at {index} does not carry a valid signature")
            }
        }
    }
}

/// What was proved about a chain that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The last entry.
    pub head: Anchor,
    /// How many entries were checked.
    pub entries: usize,
    /// How many signed heads agree with them.
    pub heads: usize,
    /// The highest index that a signed head covers; entries after it could still be cut off
    /// unnoticed. `None` without heads.
    pub covered: Option<u64>,
}

/// One entry with the index that its hash proves, which is its own unless it was renumbered.
struct Link<'a> {
    entry: &'a AuditEntry,
    index: u64,
    intact: bool,
}

/// Checks the entries that follow an anchor, in the order given, against each other and against
/// the heads that regions signed.
///
/// # Errors
/// Everything that is wrong, in the order of the chain, then by head.
pub fn verify(
    anchor: Anchor,
    entries: &[AuditEntry],
    heads: &[AuditHead],
    key: &AuditKey,
) -> Result<Verified, Vec<Finding>> {
    let mut findings = Vec::new();
    let links = in_order(entries, &mut findings);
    check_links(anchor, &links, &mut findings);
    let last =
        links.last().map_or(anchor, |link| Anchor { index: link.index, hash: link.entry.hash });
    let signed = check_heads(anchor, last, &links, heads, key, &mut findings);
    if findings.is_empty() {
        let covered = signed.iter().copied().max();
        Ok(Verified { head: last, entries: entries.len(), heads: signed.len(), covered })
    } else {
        Err(findings)
    }
}

/// The entries by their proven index; those that stand after a later one were moved.
fn in_order<'a>(entries: &'a [AuditEntry], findings: &mut Vec<Finding>) -> Vec<Link<'a>> {
    let mut links: Vec<Link<'a>> = entries.iter().map(link).collect();
    let mut highest = 0;
    for link in &links {
        if link.index < highest {
            findings.push(Finding::Reordered { index: link.entry.index });
        }
        highest = highest.max(link.index);
    }
    links.sort_by_key(|link| link.index);
    links
}

fn link(entry: &AuditEntry) -> Link<'_> {
    if entry_hash(entry) == entry.hash {
        return Link { entry, index: entry.index, intact: true };
    }
    let mut renumbered = entry.clone();
    let low = entry.index.saturating_sub(RENUMBER_REACH);
    for index in low..=entry.index.saturating_add(RENUMBER_REACH) {
        renumbered.index = index;
        if entry_hash(&renumbered) == entry.hash {
            return Link { entry, index, intact: true };
        }
    }
    Link { entry, index: entry.index, intact: false }
}

fn check_links(anchor: Anchor, links: &[Link<'_>], findings: &mut Vec<Finding>) {
    let mut before = anchor;
    let mut trusted = true;
    for link in links {
        let follows = link.entry.previous == before.hash;
        if !link.intact {
            findings.push(Finding::Edited { index: link.entry.index });
        }
        if link.index <= before.index && link.index > anchor.index {
            findings.push(repeated(link, before));
        } else if link.index > before.index + 1 {
            findings.push(Finding::Deleted { first: before.index + 1, last: link.index - 1 });
        } else if link.intact && trusted && !follows {
            // The neighbour was edited and hashed anew, or the first entry does not follow the
            // anchor.
            findings.push(Finding::Edited { index: before.index.max(anchor.index + 1) });
        }
        trusted = link.intact;
        before = Anchor { index: link.index, hash: link.entry.hash };
    }
}

fn repeated(link: &Link<'_>, before: Anchor) -> Finding {
    if link.entry.hash == before.hash {
        Finding::Reordered { index: link.entry.index }
    } else {
        Finding::Forked { index: link.index, region: None }
    }
}

fn check_heads(
    anchor: Anchor,
    last: Anchor,
    links: &[Link<'_>],
    heads: &[AuditHead],
    key: &AuditKey,
    findings: &mut Vec<Finding>,
) -> Vec<u64> {
    let known: BTreeMap<u64, _> = links.iter().map(|l| (l.index, l.entry.hash)).collect();
    let mut signed = Vec::new();
    for head in heads {
        let (index, region) = (head.index, head.region.clone());
        let expected = if index == anchor.index { Some(&anchor.hash) } else { known.get(&index) };
        if !key.has_signed(head) {
            findings.push(Finding::UnsignedHead { index, region });
        } else if index > last.index {
            findings.push(Finding::Truncated { last: last.index, head: index, region });
        } else if expected.is_some_and(|hash| *hash != head.hash) {
            findings.push(Finding::Forked { index, region: Some(region) });
        } else if expected.is_some() {
            signed.push(index);
        }
    }
    signed
}
