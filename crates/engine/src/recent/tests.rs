use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use rhumb_types::{
    Hlc, OriginId,
    record::{Dot, Entry},
};

use super::*;

fn head(number: u64, bytes: usize) -> Head {
    let mut head = Head::default();
    head.cell.entries.push(Entry {
        dot: Dot { origin: OriginId(1), version: number },
        hlc: Hlc(number),
        value: Value::Bytes(vec![0; bytes].into()),
        expiry: None,
    });
    head
}

fn number(head: &Head) -> u64 {
    head.cell.entries[0].dot.version
}

fn batch(writes: &[(&str, Option<Head>)]) -> Batch {
    let write = |(key, head): &(&str, Option<Head>)| Write::Head {
        space: Space::USER,
        key: Bytes::copy_from_slice(key.as_bytes()),
        head: head.clone(),
    };
    Batch { writes: writes.iter().map(write).collect() }
}

fn fill(recent: &Recent, key: &str, value: &Head) {
    match recent.find(key.as_bytes()) {
        Found::Gap(gap) => recent.fill(gap, key.as_bytes(), value),
        Found::Here(_) | Found::Closed => panic!("there is a gap"),
    }
}

fn found(recent: &Recent, key: &str) -> Option<u64> {
    match recent.find(key.as_bytes()) {
        Found::Here(head) => Some(number(&head)),
        Found::Gap(_) | Found::Closed => None,
    }
}

#[test]
fn what_was_read_is_there_and_follows_commits() {
    let recent = Recent::default();
    fill(&recent, "a", &head(1, 8));
    assert_eq!(found(&recent, "a"), Some(1));
    let writes =
        batch(&[("a", Some(head(2, 8))), ("b", Some(head(2, 8))), ("a", Some(head(3, 8)))]);
    let begun = recent.begin(&writes);
    assert!(matches!(recent.find(b"a"), Found::Closed), "neither old nor new");
    begun.committed();
    assert_eq!(found(&recent, "a"), Some(3), "the later write of one commit wins");
    assert_eq!(found(&recent, "b"), None, "nobody has read it");
    let writes = batch(&[("a", None)]);
    recent.begin(&writes).committed();
    assert_eq!(found(&recent, "a"), None);
}

#[test]
fn a_commit_that_failed_leaves_nothing() {
    let recent = Recent::default();
    fill(&recent, "a", &head(1, 8));
    let writes = batch(&[("a", Some(head(2, 8)))]);
    drop(recent.begin(&writes));
    assert_eq!(found(&recent, "a"), None);
    fill(&recent, "a", &head(2, 8));
    assert_eq!(found(&recent, "a"), Some(2));
}

#[test]
fn what_was_fetched_before_a_commit_is_not_kept_after_it() {
    let recent = Recent::default();
    let Found::Gap(gap) = recent.find(b"a") else { panic!("there is a gap") };
    let writes = batch(&[("a", Some(head(2, 8)))]);
    recent.begin(&writes).committed();
    recent.fill(gap, b"a", &head(1, 8));
    assert_eq!(found(&recent, "a"), None);
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let recent = Recent::default();
    let mut shards = 0;
    for nth in 0..400_000 {
        let key = format!("k{nth}");
        fill(&recent, &key, &head(1, 200));
        assert_eq!(found(&recent, "hot").is_some(), nth > 0);
        if nth == 0 {
            fill(&recent, "hot", &head(7, 200));
        }
    }
    for shard in &recent.shards {
        let shard = shard.lock().unwrap();
        let bytes = |generation: &Generation| -> usize {
            generation.iter().map(|(key, head)| bytes_of(key, head)).sum()
        };
        assert!(bytes(&shard.young) <= GENERATION_BYTES_MAX);
        assert!(bytes(&shard.old) <= GENERATION_BYTES_MAX);
        shards += usize::from(!shard.old.is_empty());
    }
    assert_eq!(shards, SHARDS, "every shard has forgotten something");
    fill(&recent, "large", &head(1, HEAD_BYTES_MAX));
    assert_eq!(found(&recent, "large"), None);
}

/// A store of two keys that are always written together.
#[derive(Default)]
struct Pair(Mutex<u64>);

impl Pair {
    fn read(&self, recent: &Recent, key: &str) -> u64 {
        let gap = match recent.find(key.as_bytes()) {
            Found::Here(head) => return number(&head),
            Found::Gap(gap) => Some(gap),
            Found::Closed => None,
        };
        let now = *self.0.lock().unwrap();
        if let Some(gap) = gap {
            // Another thread may run in between.
            thread::yield_now();
            recent.fill(gap, key.as_bytes(), &head(now, 8));
        }
        now
    }
}

#[test]
fn whoever_has_seen_a_commit_sees_all_of_it_from_then_on() {
    let (recent, pair) = (Recent::default(), Pair::default());
    let (done, hits) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (first, second) = (pair.read(&recent, "a"), pair.read(&recent, "b"));
                    assert!(second >= first, "the past came back: {first}, then {second}");
                    let again = pair.read(&recent, "a");
                    assert!(again >= second, "the past came back: {second}, then {again}");
                    hits.fetch_add(u64::from(found(&recent, "a").is_some()), Ordering::Relaxed);
                }
            });
        }
        for nth in 1..20_000 {
            let writes = batch(&[("a", Some(head(nth, 8))), ("b", Some(head(nth, 8)))]);
            let begun = recent.begin(&writes);
            *pair.0.lock().unwrap() = nth;
            begun.committed();
            if nth % 8 == 0 {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(hits.into_inner() > 0, "nothing was ever found");
}
