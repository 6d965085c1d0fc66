use std::{cmp::Reverse, collections::BinaryHeap};

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// A way that carries one block after the other, and a source that takes its time for each.
#[derive(Clone, Copy)]
struct Way {
    bytes_per_second: u64,
    /// A round trip, and the source's own time.
    latency: Duration,
}

/// A region from which copies come, seen from the end of its way.
struct Copying {
    pace: Pace,
    way: Way,
    now: MonoTime,
    /// When the way has carried all that is on it.
    free: MonoTime,
    coming: BinaryHeap<Reverse<(MonoTime, Ticket)>>,
}

/// What was seen meanwhile.
#[derive(Debug)]
struct Seen {
    bytes_per_second: u64,
    under_way_most: u64,
    blocks_most: usize,
}

impl Copying {
    fn over(way: Way) -> Self {
        let now = MonoTime(1_000_000_000);
        Self { pace: Pace::default(), way, now, free: now, coming: BinaryHeap::new() }
    }

    fn begin(&mut self) {
        while let Some(ticket) = self.pace.next(self.now) {
            let bytes = self.pace.under_way[&ticket].bytes;
            let micros = bytes * 1_000_000 / self.way.bytes_per_second;
            self.free = self.free.max(self.now + self.way.latency) + Duration::from_micros(micros);
            self.coming.push(Reverse((self.free, ticket)));
        }
    }

    /// Copies go on for so long; there are always more.
    fn for_seconds(&mut self, seconds: u64) -> Seen {
        let (began, mut came, mut most, mut blocks_most) = (self.now, 0, 0, 0);
        while self.now < began + Duration::from_secs(seconds) {
            while self.pace.waiting.len() < 64 {
                self.pace.wait(Need::Background, self.pace.block_bytes());
            }
            self.begin();
            most = most.max(self.pace.under_way());
            blocks_most = blocks_most.max(self.coming.len());
            let Reverse((at, ticket)) = self.coming.pop().unwrap();
            self.now = at;
            came += self.pace.under_way[&ticket].bytes;
            self.pace.end(self.now, ticket, true);
        }
        let took = self.now.saturating_since(began);
        let bytes_per_second = came * 1_000_000 / u64::try_from(took.as_micros()).unwrap();
        Seen { bytes_per_second, under_way_most: most, blocks_most }
    }
}

const fn way(bytes_per_second: u64, latency_millis: u64) -> Way {
    Way { bytes_per_second, latency: Duration::from_millis(latency_millis) }
}

#[test]
fn on_a_slow_way_no_more_is_under_way_than_it_carries_in_a_moment() {
    for latency in [1, 70, 300] {
        let mut copying = Copying::over(way(2_000_000, latency));
        copying.for_seconds(10);
        let seen = copying.for_seconds(300);
        assert!(seen.under_way_most <= 1_500_000 + 2 * latency * 2_000, "{latency}: {seen:?}");
        assert!(seen.bytes_per_second >= 1_900_000, "{latency}: {seen:?}");
    }
}

#[test]
fn a_long_and_fast_way_is_filled() {
    for latency in [1, 70, 300] {
        let mut copying = Copying::over(way(125_000_000, latency));
        copying.for_seconds(5);
        let seen = copying.for_seconds(300);
        assert!(seen.bytes_per_second >= 110_000_000, "{latency}: {seen:?}");
    }
}

#[test]
fn a_source_that_is_slow_by_itself_is_not_taken_for_a_full_way() {
    let mut copying = Copying::over(way(1_000_000_000, 1_500));
    copying.for_seconds(60);
    let seen = copying.for_seconds(300);
    assert!(seen.under_way_most > 56 * MIB, "{seen:?}");
}

#[test]
fn a_way_that_changes_is_followed() {
    let mut copying = Copying::over(way(100_000_000, 50));
    copying.for_seconds(30);
    copying.way = way(2_000_000, 50);
    copying.for_seconds(60);
    let slow = copying.for_seconds(60);
    // Those that wait were cut when it was fast.
    assert!(slow.under_way_most <= 2 * BLOCK.1, "{slow:?}");
    assert!(slow.bytes_per_second >= 1_900_000, "{slow:?}");
    copying.way = way(100_000_000, 50);
    copying.for_seconds(30);
    let fast = copying.for_seconds(60);
    assert!(fast.bytes_per_second >= 90_000_000, "{fast:?}");
}

#[test]
fn on_the_slowest_way_one_block_is_under_way_and_now_and_then_one_more() {
    let mut copying = Copying::over(way(20_000, 200));
    copying.for_seconds(120);
    let seen = copying.for_seconds(600);
    assert_eq!(seen.blocks_most, 2, "{seen:?}");
    assert!(seen.bytes_per_second >= 19_000, "{seen:?}");
}

fn all_that_begin(pace: &mut Pace, now: MonoTime) -> Vec<Ticket> {
    std::iter::from_fn(|| pace.next(now)).collect()
}

#[test]
fn while_a_client_reads_what_nobody_waits_for_comes_one_by_one_and_all_else_as_ever() {
    let now = MonoTime(0);
    let mut pace = Pace::default();
    pace.read_begins();
    pace.read_begins();
    let wait = |pace: &mut Pace, need, count| {
        (0..count).map(|_| pace.wait(need, MIB / 4)).collect::<Vec<_>>()
    };
    wait(&mut pace, Need::Background, 8);
    let [only] = all_that_begin(&mut pace, now)[..] else { panic!("one begins") };
    pace.read_ends();
    assert_eq!(all_that_begin(&mut pace, now), [], "another reads still");
    pace.end(now, only, true);
    assert_eq!(all_that_begin(&mut pace, now).len(), 1);
    wait(&mut pace, Need::Awaited, 3);
    assert_eq!(all_that_begin(&mut pace, now).len(), 3, "an upload waits for these");
    pace.read_ends();
    assert_eq!(all_that_begin(&mut pace, now).len(), 4);
    assert_eq!(pace.under_way(), WINDOW_FIRST);
}

#[test]
fn what_somebody_waits_for_comes_first_and_then_what_came_first() {
    let now = MonoTime(0);
    let mut pace = Pace::default();
    let asked = [Need::Background, Need::Background, Need::Awaited, Need::Awaited];
    let tickets = asked.map(|need| pace.wait(need, MIB));
    assert_eq!(all_that_begin(&mut pace, now), [tickets[2], tickets[3]]);
    pace.end(now, tickets[0], false);
    for ended in [tickets[2], tickets[3]] {
        pace.end(now, ended, true);
    }
    assert_eq!(all_that_begin(&mut pace, now), [tickets[1]], "the other was given up");
}

#[test]
fn after_a_pause_the_way_is_measured_anew() {
    let mut copying = Copying::over(way(125_000_000, 70));
    copying.for_seconds(30);
    while let Some(Reverse((at, ticket))) = copying.coming.pop() {
        copying.pace.end(at, ticket, true);
        copying.now = at;
    }
    assert!(copying.pace.window() > 8 * MIB);
    copying.now = copying.now + LOOK_EVERY;
    copying.begin();
    assert!(copying.pace.under_way() <= WINDOW_FIRST);
}

#[test]
fn what_fails_early_says_nothing_of_the_way_and_what_fails_late_does() {
    let mut pace = Pace::default();
    let mut fail_after = |took: Duration| {
        let began = MonoTime(1);
        for _ in 0..4 {
            pace.wait(Need::Background, pace.block_bytes());
        }
        for ticket in all_that_begin(&mut pace, began) {
            pace.end(began + took, ticket, false);
        }
        pace.window()
    };
    assert_eq!(fail_after(Duration::from_millis(1)), WINDOW_FIRST);
    assert_eq!(fail_after(Duration::from_secs(60)), WINDOW.0);
}

#[derive(Debug, Clone)]
enum Step {
    Wait(Need, u64),
    Next,
    End(usize, bool),
    Read(bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let need = prop_oneof![Just(Need::Awaited), Just(Need::Background)];
    prop_oneof![
        3 => (need, 1..=MIB).prop_map(|(need, bytes)| Step::Wait(need, bytes)),
        3 => Just(Step::Next),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, came)| Step::End(which, came)),
        1 => any::<bool>().prop_map(Step::Read),
        2 => (0_u64..90_000_000).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn bytes_stay_within_the_window_and_something_is_always_under_way(
        steps in proptest::collection::vec(step(), 1..200)
    ) {
        let (mut pace, mut now) = (Pace::default(), MonoTime(0));
        let mut out: BTreeMap<Ticket, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Wait(need, bytes) => {
                    out.insert(pace.wait(need, bytes), bytes);
                }
                Step::Next => {
                    let (before, waiting) = (pace.under_way(), pace.waiting.len());
                    match pace.next(now) {
                        Some(ticket) => {
                            let with = before + out[&ticket];
                            prop_assert_eq!(pace.under_way(), with);
                            prop_assert!(before == 0 || with <= pace.window());
                        }
                        None => prop_assert!(waiting == 0 || before > 0, "all wait for nothing"),
                    }
                }
                Step::End(which, came) if !out.is_empty() => {
                    let ticket = *out.keys().nth(which % out.len()).unwrap();
                    out.remove(&ticket);
                    pace.end(now, ticket, came);
                }
                Step::End(..) => {}
                Step::Read(true) => pace.read_begins(),
                Step::Read(false) => pace.read_ends(),
                Step::Pass(micros) => now = now + Duration::from_micros(micros),
            }
            prop_assert!((WINDOW.0..=WINDOW.1).contains(&pace.window()));
            prop_assert!((BLOCK.0..=BLOCK.1).contains(&pace.block_bytes()));
            prop_assert_eq!(pace.waiting.len() + pace.under_way.len(), out.len());
            let begun: u64 = pace.under_way.values().map(|begun| begun.bytes).sum();
            prop_assert_eq!(pace.under_way(), begun);
        }
    }
}
