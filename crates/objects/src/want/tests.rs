use proptest::prelude::*;

use super::*;

fn hash(n: u64) -> BlobHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&n.to_be_bytes());
    BlobHash(hash)
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn wish(n: u64, priority: Priority, written: u64, sources: &[&str]) -> Wish {
    Wish {
        blob: BlobRef { hash: hash(n), bytes: 10 },
        priority,
        written: UnixMillis(written),
        sources: sources.iter().map(|name| region(name)).collect(),
    }
}

fn order_of(want: &mut Want) -> Vec<BlobHash> {
    std::iter::from_fn(|| want.next(MonoTime(0))).map(|fetch| fetch.blob.hash).collect()
}

#[test]
fn repairs_come_first_and_then_the_newest_writes() {
    let fill = |order| {
        let mut want = Want::new(order);
        want.add(wish(1, Priority::Written, 1, &["a"]));
        want.add(wish(2, Priority::Missing, 9, &["a"]));
        want.add(wish(3, Priority::Written, 2, &["a"]));
        want.add(wish(4, Priority::Repair, 0, &["a"]));
        want.add(wish(5, Priority::Promoted, 5, &["a"]));
        order_of(&mut want)
    };
    assert_eq!(fill(Order::RepairFirst), [4, 3, 1, 5, 2].map(hash));
    assert_eq!(fill(Order::WrittenFirst), [3, 1, 4, 5, 2].map(hash));
}

#[test]
fn a_blob_is_fetched_once_whoever_asks() {
    let mut want = Want::default();
    want.add(wish(1, Priority::Missing, 1, &["a"]));
    want.add(wish(1, Priority::Repair, 7, &["b", "a"]));
    assert_eq!(want.len(), 1);
    let fetch = want.next(MonoTime(0)).unwrap();
    assert_eq!((fetch.priority, fetch.source), (Priority::Repair, region("a")));
    want.add(wish(1, Priority::Written, 8, &["c"]));
    assert_eq!(want.next(MonoTime(0)), None, "it is on its way");
    want.on_end(MonoTime(0), &hash(1), FetchEnd::Held);
    assert!(want.is_empty());
    assert_eq!(want.counts().fetched_bytes, 10);
}

#[test]
fn a_source_that_does_not_answer_is_given_a_pause_and_the_next_one_a_turn() {
    let mut want = Want::default();
    want.add(wish(1, Priority::Written, 1, &["a", "b"]));
    assert_eq!(want.next(MonoTime(0)).unwrap().source, region("a"));
    want.on_end(MonoTime(0), &hash(1), FetchEnd::Failed);
    assert_eq!(want.next(MonoTime(999_999)), None);
    assert_eq!(want.wakes_at(), Some(MonoTime(1_000_000)));
    assert_eq!(want.next(MonoTime(1_000_000)).unwrap().source, region("b"));
    want.on_end(MonoTime(1_000_000), &hash(1), FetchEnd::NotThere);
    assert_eq!(want.next(MonoTime(2_999_999)), None, "the pause doubles");
    assert_eq!(want.next(MonoTime(3_000_000)).unwrap().source, region("a"));
    want.on_end(MonoTime(3_000_000), &hash(1), FetchEnd::NotThere);
    assert!(want.is_empty(), "nobody has it");
    assert_eq!(want.counts().given_up, 1);
}

#[test]
fn a_busy_source_does_not_hold_up_the_others() {
    let mut want = Want::default();
    for n in 0..20 {
        want.add(wish(n, Priority::Written, 100 - n, &["a"]));
    }
    want.add(wish(50, Priority::Missing, 0, &["b"]));
    let began = order_of(&mut want);
    assert_eq!(began.len(), FETCHES_PER_SOURCE_MAX + 1);
    assert_eq!(began.last(), Some(&hash(50)));
    assert_eq!(want.in_flight(&region("a")), FETCHES_PER_SOURCE_MAX);
    want.forget(&hash(0));
    assert_eq!(want.next(MonoTime(0)).unwrap().blob.hash, hash(8));
}

#[test]
fn a_full_queue_drops_what_matters_least() {
    let mut want = Want::default();
    let many = u64::try_from(WANTED_MAX).unwrap();
    for n in 0..many {
        want.add(wish(n, Priority::Missing, n, &["a"]));
    }
    want.add(wish(many, Priority::Repair, 0, &["a"]));
    assert_eq!(want.len(), WANTED_MAX);
    assert_eq!(want.counts().dropped, 1);
    assert_eq!(want.next(MonoTime(0)).unwrap().blob.hash, hash(many));
    want.add(wish(0, Priority::Missing, 0, &["a"]));
    assert_eq!(want.counts().dropped, 2, "the oldest was dropped, and is dropped again");
}

#[derive(Debug, Clone)]
enum Step {
    Add(u64, u8, u64, Vec<u8>),
    Next,
    End(u64, u8),
    Forget(u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..12, 0_u8..4, 0_u64..9, prop::collection::vec(0_u8..3, 0..4))
            .prop_map(|(n, p, at, sources)| Step::Add(n, p, at, sources)),
        Just(Step::Next),
        Just(Step::Next),
        (0_u64..12, 0_u8..3).prop_map(|(n, end)| Step::End(n, end)),
        (0_u64..12).prop_map(Step::Forget),
        (0_u64..400).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Slots are never leaked nor overdrawn, whatever the order of events.
    #[test]
    fn slots_are_counted_right(steps in steps()) {
        let mut want = Want::default();
        let mut now = MonoTime(0);
        for step in steps {
            match step {
                Step::Add(n, p, at, sources) => {
                    let priority = [Priority::Repair, Priority::Written, Priority::Promoted,
                        Priority::Missing][usize::from(p)];
                    let names: Vec<_> = sources.iter().map(|s| ["a", "b", "c"][usize::from(*s)]).collect();
                    want.add(wish(n, priority, at, &names));
                }
                Step::Next => { want.next(now); }
                Step::End(n, end) => {
                    let end = [FetchEnd::Held, FetchEnd::NotThere, FetchEnd::Failed][usize::from(end)];
                    want.on_end(now, &hash(n), end);
                }
                Step::Forget(n) => want.forget(&hash(n)),
                Step::Pass(seconds) => now = now + Duration::from_secs(seconds),
            }
            let fetching = want.wanted.values().filter(|w| w.state == State::Fetching).count();
            prop_assert_eq!(want.in_flight.values().sum::<usize>(), fetching);
            let ready = want.wanted.values().filter(|w| w.state == State::Ready).count();
            prop_assert_eq!(want.ready.len(), ready);
            prop_assert_eq!(want.ranked.len() + fetching, want.wanted.len());
            prop_assert_eq!(want.pausing.len() + ready + fetching, want.wanted.len());
        }
    }
}

/// Once a source that had not answered was passed over for good, as long as others were added anew.
#[test]
fn each_source_has_its_turn_although_others_are_added_again() {
    let mut want = Want::default();
    let sources = ["holder", "a", "b", "c"];
    want.add(wish(1, Priority::Missing, 1, &sources));
    let (mut now, mut asked) = (MonoTime(0), Vec::new());
    while asked.len() < 5 {
        let fetch = want.next(now).unwrap();
        // The holder cannot be reached at first, and the others do not have it.
        let end = if asked.is_empty() { FetchEnd::Failed } else { FetchEnd::NotThere };
        asked.push(fetch.source);
        want.on_end(now, &hash(1), end);
        want.add(wish(1, Priority::Missing, 1, &sources));
        now = want.wakes_at().unwrap();
    }
    assert_eq!(asked, ["holder", "a", "b", "c", "holder"].map(region));
}
