//! Runs of the run-book, and the dry run.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use proptest::prelude::*;
use rhumb_types::{
    MonoTime, Ratio, RegionId, Timestamp, UnixMillis,
    control::{
        AdminCommand, AdminState, FailoverId, FailoverKind, FailoverMode, FailoverPlan,
        FailoverRecord, FailoverState, FailoverStep, FailoverStrategy, StepRecord, StepState,
        limits::FAILOVER_STEPS_MAX,
    },
};

use super::{
    table::{Ending, Next, next},
    *,
};
use crate::health::HealthConfig;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// A driver that keeps the record as the administrative machine would, and what was asked for.
struct Driver {
    run: Failover,
    record: FailoverRecord,
    config: FailoverConfig,
    now: u64,
    asked: Vec<Effect>,
}

impl Driver {
    fn open(kind: FailoverKind, strategy: FailoverStrategy, mode: FailoverMode) -> Self {
        let waits = mode == FailoverMode::Assisted;
        let plan = FailoverPlan {
            idempotency_key: "k".to_owned(),
            region: region("us"),
            kind,
            mode,
            strategy,
            successor: Some(region("eu")),
            moves: ["jobs", "urls"]
                .map(|duty| rhumb_types::control::DutyMove {
                    duty: duty.to_owned(),
                    from: region("us"),
                    to: Some(region("eu")),
                    load: 1,
                })
                .to_vec(),
        };
        let record = FailoverRecord {
            id: FailoverId(4),
            plan,
            reason: String::new(),
            actor: "ops".to_owned(),
            started: UnixMillis(0),
            state: if waits { FailoverState::AwaitingApproval } else { FailoverState::Running },
            sequence: 0,
            steps: Vec::new(),
        };
        Self::with(record, FailoverConfig::default())
    }

    fn with(record: FailoverRecord, config: FailoverConfig) -> Self {
        let mut effects = Vec::new();
        let run = Failover::resume(Self::at(0), &record, config.clone(), &mut effects);
        let mut driver = Self { run, record, config, now: 0, asked: Vec::new() };
        driver.take(effects);
        driver
    }

    fn automatic(kind: FailoverKind, strategy: FailoverStrategy) -> Self {
        Self::open(kind, strategy, FailoverMode::Automatic)
    }

    const fn at(seconds: u64) -> Timestamp {
        let (wall, mono) = (UnixMillis(seconds * 1_000), MonoTime(seconds * 1_000_000));
        Timestamp { wall, mono }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Record { state, step } = &effect {
                self.record.state = *state;
                self.record.sequence += 1;
                if let Some(step) = step {
                    self.keep(step.clone());
                }
            }
            self.asked.push(effect);
        }
    }

    fn keep(&mut self, step: StepRecord) {
        let same = |line: &&mut StepRecord| {
            (line.step, line.attempt, line.state) == (step.step, step.attempt, StepState::Running)
        };
        match self.record.steps.iter_mut().find(same) {
            Some(line) => *line = step,
            None => self.record.steps.push(step),
        }
    }

    fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.run.on_event(Self::at(self.now), event, &mut effects);
        self.take(effects);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        self.tell(Event::Tick);
    }

    fn finish(&mut self, part: Part) {
        let ticket = self.run.ticket();
        self.tell(Event::Finished { ticket, part });
    }

    fn fail(&mut self, part: Part) {
        let ticket = self.run.ticket();
        self.tell(Event::Failed { ticket, part, error: "no".to_owned() });
    }

    fn step(&self) -> FailoverStep {
        self.run.ticket().step
    }

    /// The record as a person would read it.
    fn story(&self) -> String {
        let mut text = String::new();
        for line in &self.record.steps {
            let end = line.finished.map_or(String::new(), |end| format!("-{}", end.0 / 1_000));
            let (start, step) = (line.started.0 / 1_000, line.step);
            let note = if line.note.is_empty() { "" } else { ": " };
            writeln!(
                text,
                "{start}{end} s {step:?} #{} {:?}{note}{}",
                line.attempt, line.state, line.note
            )
            .unwrap();
        }
        writeln!(text, "{:?}", self.record.state).unwrap();
        text
    }
}

#[test]
fn the_transitions_are_these() {
    use FailoverKind as K;
    use FailoverStrategy as S;
    let steps = [
        FailoverStep::Detect,
        FailoverStep::StopRouting,
        FailoverStep::Drain,
        FailoverStep::Fence,
        FailoverStep::TakeOver,
        FailoverStep::Watch,
        FailoverStep::FailBack,
    ];
    let columns =
        [(K::Failover, S::Graceful), (K::Failover, S::Immediate), (K::FailBack, S::Graceful)];
    let name = |next| match next {
        Next::Step(step) => format!("{step:?}"),
        Next::Close(state) => format!("({state:?})"),
    };
    let mut text = String::new();
    for step in steps {
        for ending in [Ending::Done, Ending::GaveUp] {
            let to = columns.map(|(kind, strategy)| name(next(kind, strategy, step, ending)));
            let [graceful, immediate, back] = to;
            writeln!(text, "{step:?} {ending:?} -> {graceful} | {immediate} | {back}").unwrap();
        }
    }
    assert_eq!(
        text,
        "\
Detect Done -> StopRouting | StopRouting | Fence
Detect GaveUp -> (Failed) | (Failed) | (Failed)
StopRouting Done -> Drain | Fence | Drain
StopRouting GaveUp -> (Failed) | (Failed) | (Failed)
Drain Done -> Fence | Fence | Fence
Drain GaveUp -> Fence | Fence | Fence
Fence Done -> TakeOver | TakeOver | TakeOver
Fence GaveUp -> (Failed) | (Failed) | (Failed)
TakeOver Done -> Watch | Watch | FailBack
TakeOver GaveUp -> (Failed) | (Failed) | (Failed)
Watch Done -> (Succeeded) | (Succeeded) | (Succeeded)
Watch GaveUp -> (Failed) | (Failed) | (Failed)
FailBack Done -> (Succeeded) | (Succeeded) | (Succeeded)
FailBack GaveUp -> (Failed) | (Failed) | (Failed)
"
    );
}

#[test]
fn a_graceful_failover_runs_to_its_end() {
    let mut driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Graceful);
    driver.finish(Part::Agreement);
    driver.now = 3;
    driver.finish(Part::Duty("jobs".to_owned()));
    driver.finish(Part::Duty("urls".to_owned()));
    assert_eq!(driver.step(), FailoverStep::Fence);
    driver.finish(Part::Agreement);
    assert_eq!(driver.step(), FailoverStep::Fence, "the lease is not out yet");
    driver.now = 13;
    driver.finish(Part::Lease);
    driver.now = 14;
    driver.finish(Part::Lease);
    let (eu, utilisation) = (region("eu"), Ratio::clamped(0.97));
    driver.tell(Event::Load { region: eu, utilisation });
    driver.pass(60);
    assert_eq!(
        driver.story(),
        "\
0-0 s Detect #1 Done
0-0 s StopRouting #1 Done
0-3 s Drain #1 Done
3-13 s Fence #1 Done
13-14 s TakeOver #1 Done
14-74 s Watch #1 Done: eu was at 97.0%
Succeeded
"
    );
    let alerts: Vec<_> =
        driver.asked.iter().filter(|e| matches!(e, Effect::Alert { .. })).collect();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
}

#[test]
fn an_immediate_failover_disables_and_does_not_drain() {
    let mut driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    let disable = AdminCommand::SetRegionState {
        region: region("us"),
        state: AdminState::Disabled,
        expected: None,
    };
    let ramp = AdminCommand::SetRamp { region: region("us"), percent: 0 };
    let ticket = Ticket { step: FailoverStep::StopRouting, attempt: 1 };
    assert_eq!(driver.asked.last(), Some(&Effect::Agree { commands: vec![disable, ramp], ticket }));
    driver.finish(Part::Agreement);
    assert_eq!(driver.step(), FailoverStep::Fence);
    assert!(!driver.asked.iter().any(|effect| matches!(effect, Effect::Drain { .. })));
}

#[test]
fn a_fail_back_waits_for_the_lag_and_climbs_the_ramp() {
    let mut driver = Driver::automatic(FailoverKind::FailBack, FailoverStrategy::Graceful);
    driver.tell(Event::Lag(Duration::from_secs(9)));
    driver.pass(100);
    assert_eq!(driver.step(), FailoverStep::Detect);
    driver.tell(Event::Lag(Duration::from_millis(80)));
    driver.finish(Part::Agreement);
    driver.finish(Part::Lease);
    driver.finish(Part::Lease);
    for _ in 0..4 {
        driver.finish(Part::Agreement);
        driver.pass(29);
        driver.pass(1);
    }
    let stages = driver.asked.iter().filter_map(|effect| match effect {
        Effect::Agree { commands, .. } => commands.iter().find_map(|command| match command {
            AdminCommand::SetRamp { percent, .. } => Some(*percent),
            _ => None,
        }),
        _ => None,
    });
    assert_eq!(stages.collect::<Vec<_>>(), [0, 1, 10, 50, 100]);
    assert_eq!(driver.record.state, FailoverState::Succeeded);
    assert_eq!(driver.now, 220, "thirty seconds for each of four stages");
}

#[test]
fn a_fail_back_holds_its_stage_while_the_region_falls_behind_and_stops_when_it_ails() {
    let mut driver = Driver::automatic(FailoverKind::FailBack, FailoverStrategy::Graceful);
    driver.tell(Event::Lag(Duration::ZERO));
    driver.finish(Part::Agreement);
    driver.finish(Part::Lease);
    driver.finish(Part::Lease);
    driver.finish(Part::Agreement);
    driver.tell(Event::Lag(Duration::from_secs(5)));
    driver.pass(300);
    assert!(driver.story().contains("at 1 %"), "{}", driver.story());
    driver.tell(Event::Unhealthy);
    assert_eq!(driver.record.state, FailoverState::Failed);
    let [.., Effect::Agree { commands, .. }, Effect::Record { .. }] = &driver.asked[..] else {
        panic!("{:?}", driver.asked.last())
    };
    assert_eq!(commands[..], [AdminCommand::SetRamp { region: region("us"), percent: 0 }]);
}

#[test]
fn a_step_is_tried_three_times_for_thirty_seconds_each() {
    let mut driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    driver.pass(29);
    driver.pass(1);
    driver.fail(Part::Agreement);
    driver.pass(30);
    assert_eq!(
        driver.story(),
        "\
0-0 s Detect #1 Done
0-30 s StopRouting #1 Failed: the agreement timed out
30-30 s StopRouting #2 Failed: no
30-60 s StopRouting #3 Failed: the agreement timed out
Failed
"
    );
    assert!(driver.asked.iter().any(|effect| matches!(effect, Effect::Alert { .. })));
}

#[test]
fn a_duty_that_does_not_drain_is_taken_over_as_it_is() {
    let mut driver = Driver::automatic(FailoverKind::Drain, FailoverStrategy::Graceful);
    driver.finish(Part::Agreement);
    driver.fail(Part::Duty("jobs".to_owned()));
    driver.pass(60);
    assert!(driver.story().contains("Drain #1 Failed: jobs: no; urls: timed out"));
    assert_eq!(driver.step(), FailoverStep::Fence);
}

#[test]
fn nothing_is_taken_over_when_the_fence_fails() {
    let mut driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    driver.finish(Part::Agreement);
    for _ in 0..3 {
        driver.pass(30);
    }
    assert_eq!(driver.record.state, FailoverState::Failed);
    assert!(!driver.asked.iter().any(|effect| matches!(effect, Effect::TakeOver { .. })));
}

#[test]
fn an_answer_to_an_earlier_try_is_not_this_ones() {
    let mut driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    let late = driver.run.ticket();
    driver.pass(30);
    driver.tell(Event::Finished { ticket: late, part: Part::Agreement });
    assert_eq!(driver.run.ticket(), Ticket { step: FailoverStep::StopRouting, attempt: 2 });
}

#[test]
fn an_assisted_failover_alerts_and_waits_as_long_as_it_takes() {
    let mut driver =
        Driver::open(FailoverKind::Failover, FailoverStrategy::Immediate, FailoverMode::Assisted);
    driver.pass(10_000);
    assert_eq!(driver.record.state, FailoverState::AwaitingApproval);
    let Some(Effect::Alert { text }) = driver.asked.last() else { panic!("no alert") };
    assert!(text.contains("approve failover 4"), "{text}");
    driver.tell(Event::Approved);
    assert_eq!(driver.step(), FailoverStep::StopRouting);
}

#[test]
fn an_assisted_failover_ends_when_the_region_comes_back() {
    let mut driver =
        Driver::open(FailoverKind::Failover, FailoverStrategy::Immediate, FailoverMode::Assisted);
    driver.tell(Event::Recovered);
    assert_eq!(driver.record.state, FailoverState::Cancelled);
}

#[test]
fn it_can_be_called_off_until_something_is_taken_over() {
    let mut driver = Driver::automatic(FailoverKind::Drain, FailoverStrategy::Graceful);
    driver.finish(Part::Agreement);
    driver.tell(Event::Cancelled);
    assert_eq!(driver.record.state, FailoverState::Cancelled);
    let [.., Effect::Agree { commands, .. }, Effect::Record { .. }] = &driver.asked[..] else {
        panic!("it is not undone")
    };
    assert!(commands.contains(&AdminCommand::SetRamp { region: region("us"), percent: 100 }));

    let mut driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    driver.finish(Part::Agreement);
    driver.finish(Part::Agreement);
    driver.finish(Part::Lease);
    driver.tell(Event::Cancelled);
    assert_eq!(
        (driver.step(), driver.record.state),
        (FailoverStep::TakeOver, FailoverState::Running)
    );
}

#[test]
fn without_a_successor_nothing_is_touched() {
    let driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    let mut record = driver.record;
    record.plan.successor = None;
    record.steps.clear();
    let driver = Driver::with(record, FailoverConfig::default());
    assert_eq!(driver.record.state, FailoverState::Failed);
    assert!(!driver.asked.iter().any(|effect| matches!(effect, Effect::Agree { .. })));
}

#[test]
fn another_successor_has_its_own_time_and_is_named_so_often() {
    let mut driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    driver.finish(Part::Agreement);
    driver.finish(Part::Agreement);
    driver.finish(Part::Lease);
    assert_eq!(driver.step(), FailoverStep::TakeOver);
    driver.pass(29);
    driver.tell(Event::Successor(region("us")));
    driver.tell(Event::Successor(region("eu")));
    let named = |driver: &Driver| {
        driver.asked.iter().filter(|it| matches!(it, Effect::NameSuccessor(_))).count()
    };
    assert_eq!(named(&driver), 0, "neither itself nor the same again");
    driver.tell(Event::Successor(region("ap")));
    assert!(driver.asked.contains(&Effect::NameSuccessor(region("ap"))));
    driver.pass(29);
    assert_eq!((driver.run.ticket().attempt, driver.record.state), (1, FailoverState::Running));
    for nth in 0..9 {
        driver.tell(Event::Successor(region(["eu", "ap"][nth % 2])));
    }
    assert_eq!(named(&driver), 4);
    driver.finish(Part::Lease);
    assert_eq!((driver.step(), driver.run.awaits()), (FailoverStep::Watch, None));
}

#[test]
fn a_hook_belongs_to_its_step() {
    let driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    let mut record = driver.record;
    record.steps.clear();
    let hooks = BTreeMap::from([(FailoverStep::Detect, Hook("page".to_owned()))]);
    let mut driver = Driver::with(record, FailoverConfig { hooks, ..FailoverConfig::default() });
    assert!(matches!(driver.asked.last(), Some(Effect::Hook { name, .. }) if name == "page"));
    assert_eq!(driver.step(), FailoverStep::Detect);
    driver.finish(Part::Hook);
    assert_eq!(driver.step(), FailoverStep::StopRouting);
}

#[test]
fn another_node_goes_on_where_the_record_ends() {
    let mut driver = Driver::automatic(FailoverKind::Failover, FailoverStrategy::Immediate);
    driver.finish(Part::Agreement);
    assert_eq!(driver.step(), FailoverStep::Fence);
    let mut resumed = Driver::with(driver.record, driver.config);
    assert_eq!(resumed.run.ticket(), Ticket { step: FailoverStep::Fence, attempt: 2 });
    resumed.finish(Part::Agreement);
    resumed.finish(Part::Lease);
    resumed.finish(Part::Lease);
    resumed.pass(60);
    assert_eq!(resumed.record.state, FailoverState::Succeeded);
}

#[test]
fn contradictions_of_the_run_book_are_named() {
    let health = HealthConfig::standard();
    assert_eq!(FailoverConfig::default().validate(&health), Ok(()));
    let config = FailoverConfig {
        timeout: Duration::ZERO,
        retries: 6,
        ramp: vec![10, 10, 100],
        fence_timeout: Duration::from_secs(10),
        ceiling: Ratio::ZERO,
        ..FailoverConfig::default()
    };
    assert_eq!(config.validate(&health).unwrap_err().len(), 5);
}

fn duty(name: &str, load: u64, candidates: &[&str]) -> Duty {
    let candidates = candidates.iter().map(|name| region(name)).collect();
    Duty { name: name.to_owned(), load, pinned: false, candidates }
}

fn survivor(name: &str, capacity: u64, used: u64) -> Survivor {
    Survivor { region: region(name), capacity, used }
}

#[test]
fn a_dry_run_says_what_moves_where_and_what_nobody_can_carry() {
    let duties = [
        duty("small", 10, &["eu", "ap"]),
        duty("large", 60, &["eu", "ap"]),
        duty("huge", 90, &["eu", "ap"]),
        duty("resident", 10, &["sa"]),
        Duty { pinned: true, ..duty("pinned", 5, &["eu"]) },
    ];
    let survivors = [survivor("eu", 100, 20), survivor("ap", 100, 40), survivor("us", 100, 100)];
    let run = dry_run(&region("us"), &duties, &survivors, Ratio::clamped(0.95));
    let moves: Vec<_> =
        run.moves.iter().map(|m| (m.duty.as_str(), m.to.as_ref().map(RegionId::as_str))).collect();
    assert_eq!(
        moves,
        [("huge", None), ("large", Some("eu")), ("resident", None), ("small", Some("eu"))]
    );
    assert_eq!(run.stranded().collect::<Vec<_>>(), ["huge", "resident"]);
    assert!(!run.is_carried());
    assert_eq!((run.successor, run.pinned), (Some(region("eu")), vec!["pinned".to_owned()]));
}

#[test]
fn a_region_without_duties_is_succeeded_by_the_emptiest() {
    let survivors = [survivor("eu", 100, 20), survivor("ap", 100, 10)];
    let run = dry_run(&region("us"), &[], &survivors, Ratio::ONE);
    assert_eq!(run.successor, Some(region("ap")));
    assert!(run.is_carried());
    assert_eq!(dry_run(&region("us"), &[], &[], Ratio::ONE).successor, None);
}

#[test]
fn a_verdict_calls_for_one_failover_unless_a_person_decides() {
    let verdict = rhumb_types::control::Verdict { at: UnixMillis(77), by: Vec::new() };
    let plan = |mode| {
        let config = FailoverConfig { mode, ..FailoverConfig::default() };
        let run = dry_run(&region("us"), &[], &[survivor("eu", 1, 0)], config.ceiling);
        on_verdict(&region("us"), &verdict, run, &config)
    };
    assert_eq!(plan(FailoverMode::Manual), None);
    let assisted = plan(FailoverMode::Assisted).unwrap();
    assert_eq!(assisted.idempotency_key, "verdict:us:77");
    assert_eq!(assisted.strategy, FailoverStrategy::Immediate);
    assert_eq!(assisted.successor, Some(region("eu")));
}

#[derive(Debug, Clone)]
enum Input {
    Finish(usize),
    Fail(usize),
    Pass(u64),
    Lag(u64),
    Approve,
    Cancel,
    Unhealthy,
    Resume,
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let input = prop_oneof![
        8 => (0_usize..5).prop_map(Input::Finish),
        1 => (0_usize..5).prop_map(Input::Fail),
        4 => (0_u64..100).prop_map(Input::Pass),
        2 => (0_u64..900).prop_map(Input::Lag),
        1 => Just(Input::Approve),
        1 => prop_oneof![9 => Just(Input::Approve), 1 => Just(Input::Cancel)],
        1 => prop_oneof![9 => Just(Input::Approve), 1 => Just(Input::Unhealthy)],
        1 => Just(Input::Resume),
    ];
    proptest::collection::vec(input, 0..80)
}

fn part(at: usize) -> Part {
    let duty = |name: &str| Part::Duty(name.to_owned());
    [Part::Agreement, Part::Hook, Part::Lease, duty("jobs"), duty("urls")][at].clone()
}

fn kinds() -> impl Strategy<Value = (FailoverKind, FailoverStrategy, FailoverMode)> {
    (
        prop_oneof![
            Just(FailoverKind::Failover),
            Just(FailoverKind::Drain),
            Just(FailoverKind::FailBack)
        ],
        prop_oneof![Just(FailoverStrategy::Graceful), Just(FailoverStrategy::Immediate)],
        prop_oneof![Just(FailoverMode::Assisted), Just(FailoverMode::Automatic)],
    )
}

proptest! {
    /// Whatever happens: no takeover without its fence, a bounded record, nothing after the end,
    /// and an end.
    #[test]
    fn a_run_is_safe_bounded_and_ends((kind, strategy, mode) in kinds(), inputs in inputs()) {
        let mut driver = Driver::open(kind, strategy, mode);
        for input in inputs {
            let (closed, asked) = (driver.record.state.is_closed(), driver.asked.len());
            match input {
                Input::Finish(at) => driver.finish(part(at)),
                Input::Fail(at) => driver.fail(part(at)),
                Input::Pass(seconds) => driver.pass(seconds),
                Input::Lag(ms) => driver.tell(Event::Lag(Duration::from_millis(ms))),
                Input::Approve => driver.tell(Event::Approved),
                Input::Cancel => driver.tell(Event::Cancelled),
                Input::Unhealthy => driver.tell(Event::Unhealthy),
                Input::Resume => {
                    let (now, asked) = (driver.now, driver.asked);
                    driver = Driver::with(driver.record, driver.config);
                    driver.now = now;
                    driver.asked = [asked, driver.asked].concat();
                }
            }
            prop_assert!(!closed || driver.asked.len() == asked, "it acts after its end");
            prop_assert!(driver.record.steps.len() <= FAILOVER_STEPS_MAX);
        }
        let fenced = |line: &StepRecord| {
            line.step == FailoverStep::Fence && line.state == StepState::Done
        };
        let taken = driver.asked.iter().any(|effect| matches!(effect, Effect::TakeOver { .. }));
        prop_assert!(!taken || driver.record.steps.iter().any(fenced));
        driver.tell(Event::Approved);
        for _ in 0..60 {
            driver.pass(3_600);
        }
        prop_assert!(driver.record.state.is_closed(), "{}", driver.story());
    }
}
