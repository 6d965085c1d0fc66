use proptest::prelude::*;

use super::*;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(seconds * 1_000_000)
}

fn machine() -> Spillover {
    Spillover::new(region("here"), Limits::default()).unwrap()
}

fn depth(depth: u64) -> Sample {
    Sample { depth, ..Sample::default() }
}

/// Observes the same sample every second of a span; what changed, and when.
fn run(
    machine: &mut Spillover,
    seconds: std::ops::Range<u64>,
    sample: Sample,
) -> Vec<(u64, Transition)> {
    let step = |second| machine.observe(at(second), &sample).map(|change| (second, change));
    seconds.filter_map(step).collect()
}

fn share(machine: &Spillover) -> f64 {
    match machine.mode() {
        Mode::Calm => 0.0,
        Mode::Spilling { share, .. } => share.get(),
    }
}

#[test]
fn spills_when_a_signal_is_held_and_stops_when_all_are_calm_for_longer() {
    let mut machine = machine();
    let changes = run(&mut machine, 0..20, depth(101));
    let calm = Duration::from_secs(60);
    assert_eq!(changes, [(10, Transition::Entered { signal: Signal::Depth, calm })]);
    assert!(run(&mut machine, 20..200, depth(75)).is_empty(), "between the limits nothing changes");
    let changes = run(&mut machine, 200..300, depth(49));
    assert_eq!(changes, [(260, Transition::Left { lasted: Duration::from_secs(250) })]);
}

#[test]
fn each_signal_alone_is_enough() {
    let signals = [
        (Signal::Depth, depth(500)),
        (Signal::Concurrency, Sample { busy: 81, executors: 100, ..Sample::default() }),
        (Signal::ErrorRate, Sample { results: 20, errors: 2, ..Sample::default() }),
        (Signal::OldestAge, Sample { oldest_age: Duration::from_secs(61), ..Sample::default() }),
        (
            Signal::OldestAge,
            Sample {
                oldest_age: Duration::from_secs(6),
                oldest_age_target: Some(Duration::from_secs(5)),
                ..Sample::default()
            },
        ),
    ];
    for (wanted, sample) in signals {
        let changes = run(&mut machine(), 0..11, sample);
        assert!(
            matches!(changes[..], [(10, Transition::Entered { signal, .. })] if signal == wanted),
            "{wanted:?}: {changes:?}"
        );
    }
    let few = Sample { results: 19, errors: 19, ..Sample::default() };
    assert!(run(&mut machine(), 0..100, few).is_empty());
}

#[test]
fn a_break_starts_the_wait_again() {
    let mut machine = machine();
    assert!(run(&mut machine, 0..9, depth(200)).is_empty());
    assert!(run(&mut machine, 9..10, depth(90)).is_empty());
    assert!(run(&mut machine, 10..20, depth(200)).is_empty());
    assert_eq!(run(&mut machine, 20..21, depth(200)).len(), 1);
}

#[test]
fn entering_again_soon_doubles_the_wait_for_calm_up_to_its_bound() {
    let mut machine = machine();
    let mut now = 0;
    for wanted in [60, 120, 240, 480, 960, 960] {
        let changes = run(&mut machine, now..now + 11, depth(200));
        let calm = Duration::from_secs(wanted);
        assert_eq!(changes[0].1, Transition::Entered { signal: Signal::Depth, calm });
        now += 11;
        assert!(run(&mut machine, now..now + wanted, depth(0)).is_empty());
        assert_eq!(run(&mut machine, now + wanted..now + wanted + 1, depth(0)).len(), 1);
        now += wanted + 1;
    }
    let changes = run(&mut machine, now + 10_000..now + 10_011, depth(200));
    let calm = Duration::from_secs(60);
    assert_eq!(changes[0].1, Transition::Entered { signal: Signal::Depth, calm });
}

#[test]
fn the_share_grows_with_the_overload_and_never_faster_than_a_tenth_a_second() {
    let mut machine = machine();
    run(&mut machine, 0..11, depth(1_000));
    let mut before = share(&machine);
    for second in 11..40 {
        machine.observe(at(second), &depth(1_000));
        let now = share(&machine);
        assert!(now - before <= 0.1 + 1e-9, "{before} {now}");
        before = now;
    }
    assert!((before - 1.0).abs() < 1e-9);
    run(&mut machine, 40..60, depth(100));
    assert!((share(&machine) - 0.5).abs() < 1e-9);
}

fn spilling(share: u64) -> Spillover {
    let mut machine = machine();
    run(&mut machine, 0..40, depth(share));
    machine
}

fn work(allowed: &[RegionId], workflow: u64) -> Work<'_> {
    Work { workflow: Workflow(workflow), allowed, fifo: false, hops: 0 }
}

#[test]
fn spills_only_where_there_is_credit_and_residency_allows_it() {
    let mut machine = spilling(10_000);
    let allowed = [region("here"), region("b"), region("c")];
    let now = at(40);
    assert_eq!(machine.place(now, &work(&allowed, 1)), Placement::Stay(Stay::NoCredit));
    machine.credits().advertise(now, region("elsewhere"), 100);
    assert_eq!(machine.place(now, &work(&allowed, 1)), Placement::Stay(Stay::NoCredit));
    machine.credits().advertise(now, region("c"), 1);
    assert_eq!(machine.place(now, &work(&allowed, 1)), Placement::Spill(region("c")));
    assert_eq!(machine.place(now, &work(&allowed, 2)), Placement::Stay(Stay::NoCredit));
    machine.credits().advertise(now, region("b"), 5);
    assert_eq!(machine.place(now, &work(&allowed, 2)), Placement::Spill(region("b")));
    let silent = now + credit::CREDIT_LIFETIME;
    assert_eq!(machine.place(silent, &work(&allowed, 3)), Placement::Stay(Stay::NoCredit));
}

#[test]
fn order_and_a_second_hop_never_spill() {
    let mut machine = spilling(10_000);
    let allowed = [region("b")];
    machine.credits().advertise(at(40), region("b"), 5);
    let fifo = Work { fifo: true, ..work(&allowed, 1) };
    assert_eq!(machine.place(at(40), &fifo), Placement::Stay(Stay::Fifo));
    let hopped = Work { hops: 1, ..work(&allowed, 1) };
    assert_eq!(machine.place(at(40), &hopped), Placement::Stay(Stay::Hop));
}

#[test]
fn a_workflow_that_has_spilled_stays_spilled() {
    let mut machine = spilling(10_000);
    let allowed = [region("b"), region("c")];
    machine.credits().advertise(at(40), region("c"), 2);
    assert_eq!(machine.place(at(40), &work(&allowed, 1)), Placement::Spill(region("c")));
    run(&mut machine, 40..200, depth(0));
    assert_eq!(machine.mode(), Mode::Calm);
    machine.credits().advertise(at(200), region("b"), 100);
    machine.credits().advertise(at(200), region("c"), 0);
    assert_eq!(machine.place(at(200), &work(&allowed, 1)), Placement::Spill(region("c")));
    assert_eq!(machine.place(at(200), &work(&allowed, 2)), Placement::Stay(Stay::Calm));
}

#[test]
fn the_share_is_met_by_whole_workflows() {
    let mut machine = spilling(100);
    run(&mut machine, 40..60, depth(100));
    // At the upper limit itself: not above it, so nothing was entered.
    assert_eq!(machine.mode(), Mode::Calm);
    let mut machine = spilling(101);
    let allowed = [region("b")];
    machine.credits().advertise(at(40), region("b"), u32::MAX);
    let spilled = (0..10_000)
        .filter(|n| matches!(machine.place(at(40), &work(&allowed, *n)), Placement::Spill(_)));
    let spilled = spilled.count();
    assert!((4_700..5_400).contains(&spilled), "{spilled}");
}

#[test]
fn limits_without_room_are_refused() {
    let limits = Limits { leave_depth: 100, ..Limits::default() };
    assert_eq!(Spillover::new(region("here"), limits).unwrap_err(), LimitsError("depth"));
}

proptest! {
    /// However a signal flickers around one threshold, spilling begins or ends at most once.
    #[test]
    fn noise_at_a_threshold_does_not_make_it_swing(
        noise in proptest::collection::vec(-8_i64..=8, 600),
        at_upper: bool,
    ) {
        let mut machine = machine();
        if !at_upper {
            run(&mut machine, 0..20, depth(200));
        }
        let middle: i64 = if at_upper { 100 } else { 50 };
        let changes = noise.iter().zip(20..).filter(|(noise, second)| {
            let depth = depth(u64::try_from(middle + **noise).unwrap());
            machine.observe(at(*second), &depth).is_some()
        });
        prop_assert!(changes.count() <= 1);
    }

    /// Whatever the load does, two entries are at least one wait for calm apart.
    #[test]
    fn entries_are_bounded_by_the_wait_for_calm(loads in proptest::collection::vec((1_u64..120, 0_u64..400), 1..40)) {
        let mut machine = machine();
        let (mut now, mut entered) = (0, Vec::new());
        for (seconds, load) in loads {
            for (second, change) in run(&mut machine, now..now + seconds, depth(load)) {
                if matches!(change, Transition::Entered { .. }) {
                    entered.push(second);
                }
            }
            now += seconds;
        }
        for (wait, pair) in entered.windows(2).enumerate() {
            let doubled = (60_u64 << wait.min(4)).min(960);
            prop_assert!(pair[1] - pair[0] >= 70, "{entered:?}");
            // Entries close together are further apart each time.
            let soon = entered.windows(2).take(wait + 1).all(|p| p[1] - p[0] < 300);
            prop_assert!(!soon || pair[1] - pair[0] >= doubled, "{entered:?}");
        }
    }
}
