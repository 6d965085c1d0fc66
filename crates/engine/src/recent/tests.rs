use std::{
    sync::atomic::{AtomicBool, Ordering},
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
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (first, second) = (pair.read(&recent, "a"), pair.read(&recent, "b"));
                    assert!(second >= first, "the past came back: {first}, then {second}");
                    let again = pair.read(&recent, "a");
                    assert!(again >= second, "the past came back: {second}, then {again}");
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
}

/// Two keys and their store, of which readers and commits take turns step by step.
struct Turns<'t> {
    recent: &'t Recent,
    store: u64,
}

/// What a reader does next about its key.
enum Step {
    Find,
    Fetch(Option<Gap>),
    Fill(Gap, u64),
}

/// Reads one key after the other, and never sees less than before.
struct Reading {
    keys: Vec<&'static str>,
    step: Step,
    seen: u64,
    /// What was found without the store after a commit began.
    hits: usize,
}

impl Reading {
    fn turn(&mut self, turns: &Turns<'_>) -> bool {
        let Some(key) = self.keys.last().copied() else { return false };
        match self.step {
            Step::Find => match turns.recent.find(key.as_bytes()) {
                Found::Here(head) => {
                    self.hits += usize::from(turns.store > 0);
                    self.read(number(&head));
                }
                Found::Gap(gap) => self.step = Step::Fetch(Some(gap)),
                Found::Closed => self.step = Step::Fetch(None),
            },
            Step::Fetch(Some(gap)) => self.step = Step::Fill(gap, turns.store),
            Step::Fetch(None) => self.read(turns.store),
            Step::Fill(gap, fetched) => {
                turns.recent.fill(gap, key.as_bytes(), &head(fetched, 8));
                self.read(fetched);
            }
        }
        true
    }

    fn read(&mut self, number: u64) {
        assert!(number >= self.seen, "the past came back: {}, then {number}", self.seen);
        self.seen = number;
        self.step = Step::Find;
        self.keys.pop();
    }
}

#[test]
fn in_no_order_of_steps_does_the_past_come_back() {
    const KEYS: [&str; 3] = ["a", "b", "a"];
    /// Of two commits: begin, store, end.
    const COMMIT_STEPS: usize = 6;
    let commits = [1, 2].map(|nth| batch(&[("a", Some(head(nth, 8))), ("b", Some(head(nth, 8)))]));
    let mut hits = 0;
    // A bit says whose turn it is; who is through lets the other go on.
    for order in 0..1_u32 << (3 * KEYS.len() + COMMIT_STEPS) {
        let recent = Recent::default();
        let mut turns = Turns { recent: &recent, store: 0 };
        let mut reading = Reading { keys: KEYS.to_vec(), step: Step::Find, seen: 0, hits: 0 };
        let mut begun = None;
        let mut at = 0;
        for turn in 0.. {
            let wants = turn < u32::BITS && order >> turn & 1 == 1;
            if wants && at < COMMIT_STEPS {
                match at % 3 {
                    0 => begun = Some(recent.begin(&commits[at / 3])),
                    1 => turns.store += 1,
                    _ => begun.take().unwrap().committed(),
                }
                at += 1;
            } else if !reading.turn(&turns) {
                break;
            }
        }
        hits += reading.hits;
    }
    assert!(hits > 0, "nothing was ever found");
}
