//! Every manipulation of the chain is found, and told apart from the others.

use crate::audit::{
    Anchor, AuditChain, AuditKey, Deed, Finding, entry_hash, export_ndjson, import_ndjson, verify,
};
use rhumb_types::{
    RegionId, UnixMillis,
    control::{AuditEntry, AuditHead, Digest},
};

const LENGTH: u64 = 20;

fn key() -> AuditKey {
    AuditKey::new([7; 32])
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn deed(at: u64) -> Deed {
    Deed {
        at: UnixMillis(1_000 + at),
        actor: "ops".to_owned(),
        action: "set-ramp".to_owned(),
        subject: format!("us to {at} %"),
        detail: "done".to_owned(),
    }
}

/// A chain of twenty entries with heads that two regions signed at 10 and 20.
fn chain() -> (Vec<AuditEntry>, Vec<AuditHead>) {
    let (mut chain, mut heads) = (AuditChain::default(), Vec::new());
    for at in 1..=LENGTH {
        chain.append(deed(at));
        if at % 10 == 0 {
            heads.push(key().sign(chain.head(), region(["eu", "ap"][usize::from(at == 20)])));
        }
    }
    (chain.after(0, 100).cloned().collect(), heads)
}

fn check(entries: &[AuditEntry], heads: &[AuditHead]) -> Vec<Finding> {
    verify(Anchor::default(), entries, heads, &key()).err().unwrap_or_default()
}

/// Hashes everything anew from an entry on, as a thorough forger would.
fn rehash_from(entries: &mut [AuditEntry], start: usize) {
    for at in start..entries.len() {
        entries[at].previous = if at == 0 { Digest::default() } else { entries[at - 1].hash };
        entries[at].index = at as u64 + 1;
        entries[at].hash = entry_hash(&entries[at]);
    }
}

type Manipulation = fn(&mut Vec<AuditEntry>);

fn eu() -> Option<RegionId> {
    Some(region("eu"))
}

fn ap() -> Option<RegionId> {
    Some(region("ap"))
}

fn forked(index: u64, region: Option<RegionId>) -> Finding {
    Finding::Forked { index, region }
}

fn truncated(last: u64) -> Finding {
    Finding::Truncated { last, head: 20, region: region("ap") }
}

fn assert_found(table: Vec<(&str, Manipulation, Vec<Finding>)>) {
    for (name, manipulate, expected) in table {
        let (mut entries, heads) = chain();
        assert_eq!(check(&entries, &heads), []);
        manipulate(&mut entries);
        assert_eq!(check(&entries, &heads), expected, "{name}");
    }
}

#[test]
fn edits_and_deletions_are_found_and_named() {
    assert_found(vec![
        ("an edit", |e| e[4].actor = "me".to_owned(), vec![Finding::Edited { index: 5 }]),
        (
            "an edit with a new hash",
            |e| {
                e[4].detail = "refused".to_owned();
                e[4].hash = entry_hash(&e[4]);
            },
            vec![Finding::Edited { index: 5 }],
        ),
        (
            "an edit with everything after it hashed anew",
            |e| {
                e[4].detail = "refused".to_owned();
                rehash_from(e, 4);
            },
            vec![forked(10, eu()), forked(20, ap())],
        ),
        ("a deletion", |e| drop(e.drain(4..7)), vec![Finding::Deleted { first: 5, last: 7 }]),
        (
            "a deletion of the beginning",
            |e| drop(e.drain(..3)),
            vec![Finding::Deleted { first: 1, last: 3 }],
        ),
        (
            "a deletion with new numbers",
            |e| {
                e.remove(4);
                e.iter_mut().zip(1..).for_each(|(entry, index)| entry.index = index);
            },
            vec![Finding::Deleted { first: 5, last: 5 }],
        ),
        (
            "a deletion with everything after it hashed anew",
            |e| {
                e.remove(4);
                rehash_from(e, 4);
            },
            vec![forked(10, eu()), Finding::Truncated { last: 19, head: 20, region: region("ap") }],
        ),
    ]);
}

#[test]
fn reorders_truncations_and_forks_are_found_and_named() {
    assert_found(vec![
        ("a reorder", |e| e.swap(4, 5), vec![Finding::Reordered { index: 5 }]),
        (
            "a reorder with new numbers",
            |e| {
                e.swap(4, 5);
                e.iter_mut().zip(1..).for_each(|(entry, index)| entry.index = index);
            },
            vec![Finding::Reordered { index: 6 }],
        ),
        ("a truncation", |e| e.truncate(15), vec![truncated(15)]),
        (
            "nothing left",
            |e| e.clear(),
            vec![Finding::Truncated { last: 0, head: 10, region: region("eu") }, truncated(0)],
        ),
        (
            "a fork",
            |e| {
                e[12].subject = "eu to 0 %".to_owned();
                rehash_from(e, 12);
            },
            vec![forked(20, ap())],
        ),
        (
            "two histories side by side",
            |e| {
                let mut other = e[7].clone();
                other.actor = "me".to_owned();
                other.hash = entry_hash(&other);
                e.insert(8, other);
            },
            vec![forked(8, None), Finding::Edited { index: 8 }],
        ),
    ]);
}

#[test]
fn a_whole_chain_says_how_far_it_is_covered() {
    let (entries, heads) = chain();
    let verified = verify(Anchor::default(), &entries, &heads[..1], &key()).unwrap();
    assert_eq!((verified.entries, verified.heads, verified.covered), (20, 1, Some(10)));
    assert_eq!(verified.head.index, LENGTH);
    let tail = Anchor { index: 10, hash: entries[9].hash };
    let verified = verify(tail, &entries[10..], &heads, &key()).unwrap();
    assert_eq!((verified.entries, verified.heads), (10, 2));
}

#[test]
fn a_chain_that_does_not_follow_its_anchor_is_refused() {
    let (entries, heads) = chain();
    let wrong = Anchor { index: 10, hash: Digest([1; 32]) };
    let findings = verify(wrong, &entries[10..], &heads[1..], &key()).unwrap_err();
    assert_eq!(findings, [Finding::Edited { index: 11 }]);
}

#[test]
fn a_head_of_another_key_proves_nothing() {
    let (entries, _) = chain();
    let forged =
        AuditKey::new([8; 32]).sign(Anchor { index: 30, ..Anchor::default() }, region("eu"));
    let finding = Finding::UnsignedHead { index: 30, region: region("eu") };
    assert_eq!(check(&entries, &[forged]), [finding]);
    let (_, mut heads) = chain();
    heads[0].region = region("ap");
    assert!(matches!(check(&entries, &heads)[..], [Finding::UnsignedHead { index: 10, .. }]));
}

#[test]
fn an_export_reads_back_line_by_line() {
    let (entries, _) = chain();
    let text = export_ndjson(&entries).unwrap();
    assert_eq!(text.lines().count(), 20);
    assert_eq!(import_ndjson(&text).unwrap(), entries);
    let error = import_ndjson(&text.replacen("\"actor\"", "\"author\"", 2)).unwrap_err();
    assert_eq!(error.line, 1);
}

#[test]
fn the_hash_of_an_entry_is_pinned() {
    let (entries, heads) = chain();
    let pins = [entries[0].hash.to_string(), heads[0].signature.to_string()];
    assert_eq!(pins, PINNED, "a change of these breaks every chain that exists");
}

const PINNED: [&str; 2] = [
    "4eee8913c15526e855e2d0eb0d26f6b65cc88bdca955063c9aa12b4da359a370",
    "ceada6fbf6978279250befa6e64def5556e1695f6b06a538aa4b1fcc5a531ad1",
];
