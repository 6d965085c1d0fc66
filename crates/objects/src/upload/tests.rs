use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn id(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(seconds * 1_000_000)
}

struct Driver {
    upload: Upload,
    now: MonoTime,
    out: Vec<Effect>,
}

impl Driver {
    fn new(config: UploadConfig, targets: &[&str], spares: &[&str]) -> Self {
        let ids = |names: &[&str]| names.iter().map(|name| id(name)).collect::<Vec<_>>();
        let upload = Upload::new(config, ids(targets), ids(spares));
        Self { upload, now: at(0), out: Vec::new() }
    }

    fn tell(&mut self, event: Event<'_>) -> Vec<Effect> {
        self.out.clear();
        self.upload.on_event(self.now, event, &mut self.out);
        self.out.clone()
    }

    fn sent(&mut self, region: &str, part: usize, result: Result<(), Fault>) -> Vec<Effect> {
        self.tell(Event::Sent { region: &id(region), part, result })
    }

    fn finished(&mut self, region: &str) -> Vec<Effect> {
        self.tell(Event::Finished { region: &id(region), result: Ok(()) })
    }
}

fn sends(effects: &[Effect]) -> Vec<(String, usize, u64, bool)> {
    let send = |effect: &Effect| match effect {
        Effect::Send { region, part, offset, rewind, .. } => {
            Some((region.to_string(), *part, *offset, *rewind))
        }
        _ => None,
    };
    effects.iter().filter_map(send).collect()
}

fn report(effects: &[Effect]) -> Option<&Report> {
    effects.iter().find_map(|effect| match effect {
        Effect::Done(report) => Some(report),
        _ => None,
    })
}

#[test]
fn parts_go_to_all_regions_at_once() {
    let mut driver = Driver::new(UploadConfig::default(), &["a", "b"], &[]);
    let first = driver.tell(Event::Part { bytes: 10, there: &[] });
    assert_eq!(sends(&first), [("a".into(), 0, 0, false), ("b".into(), 0, 0, false)]);
    let second = driver.tell(Event::Part { bytes: 7, there: &[] });
    assert_eq!(sends(&second), [("a".into(), 1, 10, false), ("b".into(), 1, 10, false)]);
    driver.tell(Event::End);
    driver.sent("a", 1, Ok(()));
    assert_eq!(driver.sent("a", 0, Ok(())), [Effect::Finish(id("a"))]);
    driver.sent("b", 0, Ok(()));
    driver.sent("b", 1, Ok(()));
    driver.finished("b");
    let last = driver.finished("a");
    let report = report(&last).unwrap();
    assert_eq!((report.verdict, report.bytes), (Verdict::Whole, 17));
    assert!(report.regions.iter().all(|it| it.bytes == 17 && it.attempts == 2));
}

#[test]
fn tries_twice_again_after_a_pause_and_then_the_next_region_takes_over() {
    let mut driver = Driver::new(UploadConfig::default(), &["a"], &["b"]);
    driver.tell(Event::Part { bytes: 10, there: &[] });
    driver.tell(Event::Part { bytes: 10, there: &[] });
    assert_eq!(driver.sent("a", 0, Ok(())), [Effect::Keep { from: 1 }]);
    for retry in 1..=2 {
        assert_eq!(driver.sent("a", 1, Err(Fault::TimedOut)), []);
        let due = at(5 * retry);
        assert_eq!(driver.upload.wakes_at(), Some(due));
        driver.now = due;
        assert_eq!(sends(&driver.tell(Event::Tick)), [("a".into(), 1, 10, false)]);
    }
    let moved = driver.sent("a", 1, Err(Fault::TimedOut));
    assert_eq!(moved[0], Effect::Abort(id("a")));
    let rewound = [("b".into(), 1, 10, false), ("b".into(), 0, 0, true)];
    assert_eq!(sends(&moved), rewound, "what is kept first, and then again from offset 0");
    driver.tell(Event::End);
    driver.sent("b", 0, Ok(()));
    driver.sent("b", 1, Ok(()));
    let last = driver.finished("b");
    let report = report(&last).unwrap();
    assert_eq!(report.verdict, Verdict::Whole);
    let of = |at: usize| report.regions[at].clone();
    assert_eq!((of(0).bytes, of(0).attempts, of(0).result), (10, 4, Err(Fault::TimedOut)));
    assert_eq!((of(1).bytes, of(1).in_place_of), (20, Some(id("a"))));
}

#[test]
fn retries_and_delay_may_be_zero() {
    let config = UploadConfig { retries: 0, ..UploadConfig::default() };
    let mut driver = Driver::new(config, &["a"], &["b"]);
    driver.tell(Event::Part { bytes: 10, there: &[] });
    let moved = driver.sent("a", 0, Err(Fault::Broken));
    assert_eq!(sends(&moved), [("b".into(), 0, 0, false)]);
    let config = UploadConfig { delay: Duration::ZERO, ..UploadConfig::default() };
    let mut driver = Driver::new(config, &["a"], &["b"]);
    driver.tell(Event::Part { bytes: 10, there: &[] });
    let again = driver.sent("a", 0, Err(Fault::Broken));
    assert_eq!(sends(&again), [("a".into(), 0, 0, false)]);
    let moved = driver.sent("a", 0, Err(Fault::Full));
    assert_eq!(sends(&moved), [("b".into(), 0, 0, false)], "a full region is not asked again");
}

#[test]
fn fewer_copies_than_planned_are_degraded_and_too_few_a_failure() {
    for (needed, verdict) in [(1, Verdict::Degraded), (2, Verdict::Failed)] {
        let config = UploadConfig { copies_needed: needed, ..UploadConfig::default() };
        let mut driver = Driver::new(config, &["a", "b"], &[]);
        driver.tell(Event::Part { bytes: 10, there: &[] });
        driver.tell(Event::End);
        driver.sent("a", 0, Ok(()));
        driver.finished("a");
        let last = driver.sent("b", 0, Err(Fault::Denied));
        assert_eq!(report(&last).unwrap().verdict, verdict);
        assert_eq!(driver.finished("b"), [], "nothing after the end");
    }
}

#[test]
fn a_region_that_stalls_is_waited_for_only_so_long() {
    let mut driver = Driver::new(UploadConfig::default(), &["a", "b"], &["c"]);
    driver.tell(Event::Part { bytes: 10, there: &[] });
    driver.tell(Event::End);
    driver.sent("a", 0, Ok(()));
    driver.now = at(1);
    driver.finished("a");
    assert_eq!(driver.upload.wakes_at(), Some(at(61)));
    driver.now = at(61);
    let last = driver.tell(Event::Tick);
    assert_eq!(last[0], Effect::Abort(id("b")));
    let report = report(&last).unwrap();
    assert_eq!(report.verdict, Verdict::Degraded);
    assert_eq!(report.regions[1].result, Err(Fault::TooLate));
}

#[test]
fn a_source_that_cannot_be_read_again_does_not_move() {
    let config = UploadConfig { rewind: Rewind::Never, retries: 0, ..UploadConfig::default() };
    let mut driver = Driver::new(config, &["a", "b"], &["c"]);
    driver.tell(Event::Part { bytes: 10, there: &[] });
    driver.sent("a", 0, Ok(()));
    driver.sent("b", 0, Ok(()));
    driver.tell(Event::Part { bytes: 10, there: &[] });
    let moved = driver.sent("b", 1, Err(Fault::Broken));
    assert_eq!(sends(&moved), [], "its first part is gone");
    driver.tell(Event::End);
    driver.sent("a", 1, Ok(()));
    let last = driver.finished("a");
    let report = report(&last).unwrap();
    assert_eq!(report.verdict, Verdict::Degraded);
    assert_eq!(report.regions[2].result, Err(Fault::SourceGone));
}

#[test]
fn what_a_region_has_is_not_sent_again() {
    let mut driver = Driver::new(UploadConfig::default(), &["a"], &["b"]);
    let b = id("b");
    for _ in 0..3 {
        driver.tell(Event::Part { bytes: 10, there: &[] });
    }
    // A spare region, too, is known to have some of it.
    driver.tell(Event::Present { region: &b, part: 0 });
    let both = [id("a"), b.clone()];
    assert_eq!(driver.tell(Event::Part { bytes: 10, there: &both }), []);
    let moved = driver.sent("a", 0, Err(Fault::Denied));
    assert_eq!(sends(&moved), [("b".into(), 1, 10, false), ("b".into(), 2, 20, false)]);
    driver.sent("b", 1, Ok(()));
    driver.tell(Event::Present { region: &b, part: 2 });
    assert_eq!(driver.tell(Event::End), []);
    assert_eq!(driver.sent("b", 2, Ok(())), [Effect::Finish(b)]);
}

#[test]
fn a_slow_region_holds_up_the_source_only_where_reading_again_is_dear() {
    for (rewind, reads) in [(Rewind::Never, false), (Rewind::Dear, false), (Rewind::Free, true)] {
        let config = UploadConfig { rewind, parts_kept: 2, ..UploadConfig::default() };
        let mut driver = Driver::new(config, &["a", "b"], &[]);
        for part in 0..2 {
            driver.tell(Event::Part { bytes: 10, there: &[] });
            driver.sent("a", part, Ok(()));
        }
        assert_eq!(driver.upload.may_read(), reads, "{rewind:?}");
    }
}

#[test]
fn a_region_that_is_down_is_replaced_at_once() {
    let mut driver = Driver::new(UploadConfig::default(), &["a"], &["b", "c"]);
    driver.tell(Event::Part { bytes: 10, there: &[] });
    driver.sent("a", 0, Err(Fault::Refused));
    driver.tell(Event::Health { region: &id("b"), down: true });
    let moved = driver.tell(Event::Health { region: &id("a"), down: true });
    assert_eq!(moved[0], Effect::Abort(id("a")), "without the pause");
    assert_eq!(sends(&moved), [("c".into(), 0, 0, false)], "not by one that is down as well");
    driver.tell(Event::End);
    driver.sent("c", 0, Ok(()));
    let last = driver.finished("c");
    let regions = &report(&last).unwrap().regions;
    assert_eq!((&regions[0].result, &regions[1].result), (&Err(Fault::Down), &Ok(())));
    assert_eq!(regions[1].in_place_of, Some(id("a")));
}

#[test]
fn a_region_that_is_down_is_tried_on_where_nobody_can_take_its_place() {
    let mut driver = Driver::new(UploadConfig::default(), &["a"], &["b"]);
    driver.tell(Event::Part { bytes: 10, there: &[] });
    driver.tell(Event::Health { region: &id("b"), down: true });
    assert_eq!(driver.tell(Event::Health { region: &id("a"), down: true }), []);
    driver.sent("a", 0, Err(Fault::Refused));
    driver.now = at(5);
    assert_eq!(sends(&driver.tell(Event::Tick)), [("a".into(), 0, 0, false)]);
    // As soon as somebody can, it is.
    let moved = driver.tell(Event::Health { region: &id("b"), down: false });
    assert_eq!(sends(&moved), [("b".into(), 0, 0, false)]);
}

/// A region that answers each request after a while, and fails some.
#[derive(Debug, Clone)]
struct Server {
    millis: u64,
    /// It fails everything from its so-and-so-many-th request on.
    dies_after: usize,
    /// It fails every so-and-so-many-th.
    flaky: usize,
    fault: u8,
    /// With which of all events it is known to be down, and with which to be up.
    seen: [usize; 2],
}

fn servers() -> impl Strategy<Value = Vec<Server>> {
    let dies_after = prop_oneof![Just(usize::MAX), 0_usize..30];
    let seen = [0_usize..60, 0_usize..120];
    let server = (1_u64..3_000, dies_after, 2_usize..9, 0_u8..4, seen);
    let server = server.prop_map(|(millis, dies_after, flaky, fault, seen)| Server {
        millis,
        dies_after,
        flaky,
        fault,
        seen,
    });
    prop::collection::vec(server, 1..6)
}

#[derive(Debug, Clone)]
struct Case {
    servers: Vec<Server>,
    parts: usize,
    targets: usize,
    config: UploadConfig,
}

fn rewinds() -> impl Strategy<Value = Rewind> {
    prop_oneof![Just(Rewind::Never), Just(Rewind::Dear), Just(Rewind::Free)]
}

fn cases() -> impl Strategy<Value = Case> {
    (servers(), 0_usize..25, 1_usize..4, 0_u32..3, 0_u64..6, 1_u8..4, 1_usize..6, rewinds())
        .prop_map(|(servers, parts, targets, retries, delay, needed, parts_kept, rewind)| {
            let config = UploadConfig {
                retries,
                delay: Duration::from_secs(delay),
                copies_needed: needed,
                patience: Duration::from_secs(20),
                parts_kept,
                parts_max: PARTS_MAX,
                rewind,
            };
            Case { servers, parts, targets, config }
        })
}

/// Runs an upload to its end. Says what each region got, what was kept at most, and how it ended.
fn run(case: &Case) -> (Report, BTreeMap<RegionId, BTreeSet<usize>>, usize) {
    let names: Vec<_> = (0..case.servers.len()).map(|at| id(&format!("r{at}"))).collect();
    let targets = case.targets.min(names.len());
    let mut upload = Upload::new(case.config, names[..targets].to_vec(), names[targets..].to_vec());
    let mut got: BTreeMap<RegionId, BTreeSet<usize>> = BTreeMap::new();
    let mut requests: BTreeMap<RegionId, usize> = BTreeMap::new();
    let mut events: BTreeMap<(u64, u64), (RegionId, Option<usize>)> = BTreeMap::new();
    let (mut now, mut number, mut read, mut kept_from, mut kept_most) = (0, 0, 0, 0, 0);
    let mut told = false;
    for step in 0..100_000 {
        let mut out = Vec::new();
        let time = |millis: u64| MonoTime(millis * 1_000);
        for (region, server) in names.iter().zip(&case.servers) {
            if let Some(nth) = server.seen.iter().position(|at| *at == step) {
                let event = Event::Health { region, down: nth == 0 };
                upload.on_event(time(now), event, &mut out);
            }
        }
        if !out.is_empty() {
            // What that leads to comes first.
        } else if upload.may_read() && !told {
            told = read == case.parts;
            let event = if told { Event::End } else { Event::Part { bytes: 5, there: &[] } };
            read += usize::from(!told);
            upload.on_event(time(now), event, &mut out);
        } else {
            let next = events.first_key_value().map(|((at, _), _)| *at);
            let wakes = upload.wakes_at().map(|at| at.0 / 1_000);
            now = next.into_iter().chain(wakes).min().expect("nothing would ever happen").max(now);
            if next == Some(now) {
                let (_, (region, part)) = events.pop_first().unwrap();
                let server = &case.servers[names.iter().position(|it| *it == region).unwrap()];
                let count = requests.entry(region.clone()).or_default();
                *count += 1;
                let fails = *count > server.dies_after || count.is_multiple_of(server.flaky);
                let faults = [Fault::TimedOut, Fault::Refused, Fault::Broken, Fault::Full];
                let result = if fails { Err(faults[usize::from(server.fault)]) } else { Ok(()) };
                if let (Some(part), Ok(())) = (part, result) {
                    got.entry(region.clone()).or_default().insert(part);
                }
                let event = match part {
                    Some(part) => Event::Sent { region: &region, part, result },
                    None => Event::Finished { region: &region, result },
                };
                upload.on_event(time(now), event, &mut out);
            } else {
                upload.on_event(time(now), Event::Tick, &mut out);
            }
        }
        for effect in out {
            number += 1;
            let mut after = |region: &RegionId, part| {
                let server = &case.servers[names.iter().position(|it| it == region).unwrap()];
                events.insert((now + server.millis, number), (region.clone(), part));
            };
            match effect {
                Effect::Send { region, part, offset, rewind, .. } => {
                    assert_eq!(offset, u64::try_from(part).unwrap() * 5);
                    assert_eq!(rewind, part < kept_from, "who must rewind is told so");
                    assert!(!rewind || case.config.rewind != Rewind::Never);
                    after(&region, Some(part));
                }
                Effect::Finish(region) => after(&region, None),
                Effect::Keep { from } => kept_from = from,
                Effect::Abort(_) => {}
                Effect::Done(report) => return (report, got, kept_most),
            }
        }
        kept_most = kept_most.max(read - kept_from);
    }
    panic!("the upload does not end");
}

proptest! {
    /// Whatever fails: the upload ends, says what is true, and keeps no more than it may.
    #[test]
    fn says_what_is_true(case in cases()) {
        let (report, got, kept) = run(&case);
        let copies = report.regions.iter().filter(|it| it.result.is_ok()).count();
        let planned = case.targets.min(case.servers.len());
        let enough = copies >= usize::from(case.config.copies_needed);
        let verdict = match (enough, copies >= planned) {
            (true, true) => Verdict::Whole,
            (true, false) => Verdict::Degraded,
            (false, _) => Verdict::Failed,
        };
        prop_assert_eq!(report.verdict, verdict);
        prop_assert!(kept <= case.config.parts_kept);
        for it in &report.regions {
            let parts = got.get(&it.region).map_or(0, BTreeSet::len);
            prop_assert!(it.bytes <= u64::try_from(parts).unwrap() * 5);
            if it.result.is_ok() {
                prop_assert_eq!(parts, case.parts);
                prop_assert_eq!(it.bytes, report.bytes);
            }
        }
        if enough {
            prop_assert_eq!(report.bytes, u64::try_from(case.parts).unwrap() * 5);
        }
    }
}
