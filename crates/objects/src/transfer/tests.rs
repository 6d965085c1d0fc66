//! The controller on a link that is simulated as a fluid: its bytes are shared evenly by the streams
//! in use, a stream alone gets no more than its window allows, a part waits a round trip before its
//! first byte and one before its answer, and parts are lost at random.

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

const STEP: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
struct Link {
    /// Bytes in a second.
    rate: f64,
    /// Of one stream.
    stream: f64,
    rtt: Duration,
    /// The share of parts that are lost.
    loss: f64,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    owner: usize,
    flows_from: MonoTime,
    left: f64,
    ends: Option<MonoTime>,
    lost_at: f64,
}

struct World {
    now: MonoTime,
    link: Link,
    parts: Vec<Part>,
    senders: Vec<Controller>,
    moved: Vec<f64>,
    begun: Vec<u64>,
    seed: u64,
}

impl World {
    fn new(link: Link, limits: &[Limits], seed: u64) -> Self {
        let now = MonoTime(1_000_000);
        let mut senders: Vec<_> = limits.iter().map(|it| Controller::new(now, *it)).collect();
        senders.iter_mut().for_each(|it| it.on_event(now, Event::RoundTrip(link.rtt)));
        let count = limits.len();
        let parts = Vec::new();
        Self { now, link, parts, senders, moved: vec![0.0; count], begun: vec![0; count], seed }
    }

    /// SplitMix64, as a share.
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn run(&mut self, seconds: u64, active: &[usize]) {
        let until = self.now + Duration::from_secs(seconds);
        while self.now < until {
            for owner in active {
                self.start(*owner);
            }
            self.flow();
            self.now = self.now + STEP;
            self.end();
        }
    }

    fn start(&mut self, owner: usize) {
        while self.senders[owner].may_start(self.now) == Start::Now {
            let bytes = self.senders[owner].part_bytes(None);
            let lost = self.draw() < self.link.loss;
            let lost_at = if lost { self.draw() * bytes as f64 } else { -1.0 };
            self.senders[owner].on_event(self.now, Event::Started { bytes });
            self.begun[owner] += bytes;
            let flows_from = self.now + self.link.rtt;
            self.parts.push(Part { owner, flows_from, left: bytes as f64, ends: None, lost_at });
            let gauge = self.senders[owner].gauge();
            assert!(gauge.in_flight <= self.senders[owner].limits.concurrency_max);
        }
    }

    fn flow(&mut self) {
        let now = self.now;
        let flows = |part: &&mut Part| part.flows_from <= now && part.ends.is_none();
        let count = self.parts.iter_mut().filter(flows).count().max(1);
        let share = f64::min(self.link.rate / count as f64, self.link.stream);
        let bytes = share * STEP.as_secs_f64();
        let mut sent = vec![0.0; self.senders.len()];
        for part in self.parts.iter_mut().filter(flows) {
            let part_bytes = f64::min(bytes, part.left);
            part.left -= part_bytes;
            sent[part.owner] += part_bytes;
            if part.left <= 0.0 {
                part.ends = Some(now + self.link.rtt);
            }
        }
        for (owner, bytes) in sent.into_iter().enumerate() {
            self.moved[owner] += bytes;
            #[expect(clippy::cast_possible_truncation, reason = "a few megabytes")]
            let event = if bytes > 0.0 { Event::Sent { bytes: bytes as u64 } } else { Event::Tick };
            self.senders[owner].on_event(now, event);
        }
    }

    fn end(&mut self) {
        let now = self.now;
        let (over, rest): (Vec<_>, Vec<_>) =
            self.parts.iter().copied().partition(|part| {
                part.ends.is_some_and(|at| at <= now) || part.left < part.lost_at
            });
        self.parts = rest;
        for part in over {
            let failed = part.ends.is_none();
            let event = if failed { Event::Failed(Trouble::Broken) } else { Event::Done };
            self.senders[part.owner].on_event(now, event);
        }
    }

    fn rate_over(&mut self, seconds: u64, active: &[usize]) -> Vec<f64> {
        let before = self.moved.clone();
        self.run(seconds, active);
        let rate = |(after, before): (&f64, &f64)| (after - before) / seconds as f64;
        self.moved.iter().zip(&before).map(rate).collect()
    }
}

fn limits(concurrency_max: u32) -> Limits {
    Limits { concurrency_max, bytes_per_second_max: None, ..Limits::default() }
}

/// From 1 to 250 MB/s, 1 to 200 ms, filled by 1 to 12 streams.
fn links() -> impl Strategy<Value = Link> {
    (6.0_f64..8.4, 1_u64..200, 0.8_f64..12.0).prop_map(|(power, rtt, streams)| {
        let rate = 10_f64.powf(power);
        Link { rate, stream: rate / streams, rtt: Duration::from_millis(rtt), loss: 0.0 }
    })
}

proptest! {
    // The same links in every run: the bounds are those of a controller that measures, not laws.
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn fills_the_link_within_a_minute(link in links(), seed in any::<u64>()) {
        let mut world = World::new(link, &[limits(16)], seed);
        world.run(60, &[0]);
        let rate = world.rate_over(60, &[0])[0];
        prop_assert!(rate >= 0.85 * link.rate, "{:.0} of {:.0}: {:?}", rate, link.rate,
            world.senders[0]);
    }

    /// A link that becomes four times as fast, or as slow, is found again.
    #[test]
    fn follows_a_link_that_changes(link in links(), faster in any::<bool>(), seed in any::<u64>()) {
        let factor = if faster { 4.0 } else { 0.25 };
        let link = Link { rate: link.rate / f64::max(factor, 1.0), ..link };
        let mut world = World::new(link, &[limits(48)], seed);
        world.run(60, &[0]);
        world.link.rate *= factor;
        world.run(120, &[0]);
        let rate = world.rate_over(60, &[0])[0];
        prop_assert!(rate >= 0.85 * world.link.rate, "{:.0} of {:.0}: {:?}", rate, world.link.rate,
            world.senders[0]);
    }

    /// One part in a hundred is lost: most of the link is used all the same.
    #[test]
    fn survives_random_loss(link in links(), seed in any::<u64>()) {
        let link = Link { loss: 0.01, ..link };
        let mut world = World::new(link, &[limits(16)], seed);
        world.run(60, &[0]);
        let rate = world.rate_over(120, &[0])[0];
        prop_assert!(rate >= 0.6 * link.rate, "{:.0} of {:.0}: {:?}", rate, link.rate,
            world.senders[0]);
    }

    #[test]
    fn never_exceeds_its_limits(link in links(), streams in 1_u32..9, megabits in 8_u64..400,
        seed in any::<u64>()) {
        let rate = megabits * 125_000;
        let limits = Limits { bytes_per_second_max: Some(rate), ..limits(streams) };
        let mut world = World::new(link, &[limits], seed);
        for second in 1..=40 {
            world.run(1, &[0]);
            // `World::start` asserts the bound of streams at every start.
            let most = rate * second + limits.part_max.0;
            prop_assert!(world.begun[0] <= most, "{} of {most}", world.begun[0]);
        }
    }

    /// Two on one link get within a factor of two of each other, though one came a minute later.
    #[test]
    fn is_fair_between_two(link in links(), seed in any::<u64>()) {
        let mut world = World::new(link, &[limits(32), limits(32)], seed);
        world.run(60, &[0]);
        world.run(300, &[0, 1]);
        let rates = world.rate_over(120, &[0, 1]);
        let (low, high) = (rates[0].min(rates[1]), rates[0].max(rates[1]));
        prop_assert!(high <= 2.0 * low, "{rates:?} {:?} {:?}", world.senders[0], world.senders[1]);
        prop_assert!(low + high >= 0.85 * link.rate, "{rates:?}");
    }
}

#[test]
fn trouble_cuts_at_once_and_once_in_a_round() {
    let link = Link { rate: 1e8, stream: 1e7, rtt: Duration::from_millis(50), loss: 0.0 };
    let mut world = World::new(link, &[limits(16)], 1);
    world.run(60, &[0]);
    while !matches!(world.senders[0].phase, Phase::Hold { left: 2, .. }) {
        world.run(1, &[0]);
    }
    let before = world.senders[0].gauge();
    assert!(before.window >= 6, "{before:?}");
    let now = world.now;
    let sender = &mut world.senders[0];
    sender.on_event(now, Event::Failed(Trouble::TimedOut));
    let after = sender.gauge();
    assert!(after.window <= before.window.div_ceil(2), "{after:?}");
    assert!(after.part < before.part || before.part.0 == PART_BYTES.0, "{after:?}");
    assert_eq!(sender.may_start(now), Start::Full, "what is in flight is above the window");
    for _ in 0..3 {
        sender.on_event(now, Event::Failed(Trouble::Refused));
    }
    assert_eq!(sender.gauge().window, after.window, "they were in flight together");
    assert_eq!(sender.gauge().cuts, before.cuts + 1);
    for (_, trouble) in (0..20).zip(std::iter::repeat(Trouble::Broken)) {
        sender.on_event(now, Event::Failed(trouble));
    }
    assert_eq!(sender.gauge().in_flight, 0);
}

#[test]
fn one_stream_is_the_least_and_begins() {
    let now = MonoTime(0);
    let mut sender = Controller::new(now, limits(0));
    for _ in 0..5 {
        assert_eq!(sender.may_start(now), Start::Now);
        sender.on_event(now, Event::Started { bytes: 1 });
        assert_eq!(sender.may_start(now), Start::Full);
        sender.on_event(now, Event::Failed(Trouble::TimedOut));
    }
}

#[test]
fn a_round_in_which_streams_were_idle_changes_nothing() {
    let mut sender = Controller::new(MonoTime(0), limits(16));
    sender.window = 8;
    sender.phase = Phase::hold(1);
    let mut now = MonoTime(0);
    sender.on_event(now, Event::Started { bytes: 1_000 });
    for _ in 0..1_000 {
        now = now + Duration::from_millis(50);
        sender.on_event(now, Event::Sent { bytes: 10 });
    }
    assert_eq!(sender.gauge().window, 8);
}

#[test]
fn parts_are_long_enough_for_the_link_and_for_their_number() {
    let slow = Link { rate: 1e6, stream: 1e6, rtt: Duration::from_millis(10), loss: 0.0 };
    let fast = Link { rate: 1e9, stream: 5e8, rtt: Duration::from_millis(10), loss: 0.0 };
    let part = |link| {
        let mut world = World::new(link, &[limits(16)], 1);
        world.run(60, &[0]);
        world.senders[0].gauge().part
    };
    assert_eq!(part(slow), ByteSize(PART_BYTES.0));
    assert_eq!(part(fast), ByteSize(PART_BYTES.1));
    let sender = Controller::new(MonoTime(0), limits(1));
    assert_eq!(sender.part_bytes(Some(50 << 30)), (50_u64 << 30).div_ceil(PARTS_MAX));
}

#[test]
fn limits_are_what_the_capacity_says() {
    use rhumb_regions::registry::Mbps;

    let of = |concurrent_uploads, megabits| {
        let limits = Limits::of(&Capacity {
            concurrent_uploads,
            bandwidth: Mbps(megabits),
            ..Capacity::default()
        });
        (limits.concurrency_max, limits.bytes_per_second_max)
    };
    // 200 Mbit in a second are 25 MB.
    assert_eq!(of(4, 200), (4, Some(25_000_000)));
    assert_eq!(of(1, 0), (1, None), "nothing configured is no bound");
    assert_eq!(of(0, 1), (1, Some(125_000)), "less than one stream is none");
    assert_eq!(of(1_000, u32::MAX).0, CONCURRENCY_MAX);
    let Limits { part_min, part_max, .. } = Limits::default();
    assert_eq!((part_min.0, part_max.0), PART_BYTES);
}
