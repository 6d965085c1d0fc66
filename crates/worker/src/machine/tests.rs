//! The machine, with a world of its own around it.

use proptest::prelude::*;

use super::*;
use crate::{Running, StartError, Work};

const SECOND: Duration = Duration::from_secs(1);
const VISIBILITY: Duration = Duration::from_secs(30);

fn settings() -> Settings {
    Settings { concurrency: 2, visibility: VISIBILITY, timeout: None, grace: SECOND * 20 }
}

/// A command that ended badly, by a program that is not there.
fn failed() -> Ended {
    let (program, arguments) = ("/nonexistent".into(), vec![]);
    let work = Work { program, arguments, environment: vec![], input: Default::default() };
    let started: Result<_, StartError> = Running::start(work);
    Ended::not_started(&started.unwrap_err())
}

struct Rig {
    worker: Worker,
    now: MonoTime,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let mut rig = Self { worker: Worker::new(settings), now: MonoTime(0) };
        let first = rig.on(Event::Tick);
        assert_eq!(first, [Effect::Receive(settings.concurrency.min(JOBS_PER_REQUEST_MAX))]);
        rig
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Effects::default();
        self.worker.on_event(self.now, event, &mut out);
        std::iter::from_fn(|| out.pop()).collect()
    }

    fn after(&mut self, by: Duration) -> Vec<Effect> {
        self.now = self.now + by;
        self.on(Event::Tick)
    }

    fn receive(&mut self, ids: &[u64]) -> Vec<Effect> {
        let ends = self.now + VISIBILITY;
        self.on(Event::Received(ids.iter().map(|id| (TaskId(*id), ends)).collect()))
    }
}

const ONE: TaskId = TaskId(1);

#[tokio::test]
async fn a_lease_is_renewed_at_a_third_and_again_when_nobody_answers() {
    let mut rig = Rig::new(settings());
    assert_eq!(rig.receive(&[1]), [Effect::Start(ONE), Effect::Receive(1)]);
    assert_eq!(rig.after(SECOND * 9), []);
    assert_eq!(rig.after(SECOND), [Effect::Renew(ONE)]);
    assert_eq!(rig.after(SECOND), [], "one at a time");
    assert_eq!(rig.on(Event::NotRenewed(ONE)), []);
    assert_eq!(rig.after(SECOND * 2), []);
    assert_eq!(rig.after(SECOND / 2), [Effect::Renew(ONE)]);
    let ends = rig.now + VISIBILITY;
    assert_eq!(rig.on(Event::Renewed(ONE, ends)), []);
    assert_eq!(rig.after(SECOND * 9), []);
    assert_eq!(rig.after(SECOND), [Effect::Renew(ONE)]);
}

#[tokio::test]
async fn a_lost_lease_kills_the_command_and_settles_nothing() {
    for by in [LostBy::Stale, LostBy::Expiry] {
        let mut rig = Rig::new(settings());
        rig.receive(&[1]);
        let killed = match by {
            LostBy::Stale => rig.on(Event::Stale(ONE)),
            LostBy::Expiry => rig.after(VISIBILITY),
        };
        assert_eq!(killed, [Effect::End(ONE, Way::Kill)]);
        assert_eq!(rig.on(Event::Stale(ONE)), [], "it is lost once");
        assert_eq!(rig.after(VISIBILITY), [], "and neither renewed nor killed again");
        assert_eq!(rig.on(Event::Ended(ONE, failed())), [Effect::Forget(ONE, by)]);
        assert_eq!(rig.worker.running().count(), 0);
    }
}

#[tokio::test]
async fn a_command_that_runs_too_long_is_asked_then_killed_and_fails() {
    let mut rig = Rig::new(Settings { timeout: Some(SECOND * 5), ..settings() });
    rig.receive(&[1]);
    assert_eq!(rig.after(SECOND * 5), [Effect::End(ONE, Way::Ask)]);
    assert_eq!(rig.after(SECOND * 5), [Effect::Renew(ONE)], "while it takes its time");
    assert_eq!(rig.after(SECOND * 5), [Effect::End(ONE, Way::Kill)]);
    assert_eq!(rig.after(SECOND), []);
    let settled = rig.on(Event::Ended(ONE, failed()));
    let [Effect::Settle(ONE, Verdict::Fail(why))] = &settled[..] else { panic!("{settled:?}") };
    assert!(why.starts_with("ran longer than 5s"), "{why}");
    assert_eq!(rig.on(Event::Settled(ONE)), []);
}

#[tokio::test]
async fn a_graceful_stop_waits_then_ends_and_releases() {
    let mut rig = Rig::new(settings());
    assert_eq!(rig.receive(&[1]), [Effect::Start(ONE), Effect::Receive(1)]);
    assert_eq!(rig.on(Event::Stop), [Effect::StopReceiving]);
    // What the request still gave goes back at once.
    assert_eq!(rig.receive(&[2]), [Effect::Settle(TaskId(2), Verdict::Release)]);
    assert_eq!(rig.on(Event::Settled(TaskId(2))), []);
    assert_eq!(rig.after(SECOND * 10), [Effect::Renew(ONE)]);
    let ends = rig.now + VISIBILITY;
    rig.on(Event::Renewed(ONE, ends));
    assert_eq!(rig.after(SECOND * 10), [Effect::End(ONE, Way::Ask), Effect::Renew(ONE)]);
    assert_eq!(rig.after(KILL_AFTER), [Effect::End(ONE, Way::Kill)]);
    let settled = rig.on(Event::Ended(ONE, failed()));
    assert_eq!(settled, [Effect::Settle(ONE, Verdict::Release)]);
    assert_eq!(rig.on(Event::Settled(ONE)), [Effect::Stopped]);
    assert_eq!(rig.after(SECOND), [], "it stops once");
}

#[tokio::test]
async fn the_second_word_to_stop_does_not_wait() {
    let mut rig = Rig::new(settings());
    rig.receive(&[1]);
    rig.on(Event::Stop);
    assert_eq!(rig.on(Event::Stop), [Effect::End(ONE, Way::Ask)]);
}

#[tokio::test]
async fn nobody_is_asked_without_a_pause_when_nobody_answers() {
    let mut rig = Rig::new(settings());
    let mut pause = PAUSE_MIN;
    for _ in 0..10 {
        assert_eq!(rig.on(Event::Unanswered), []);
        assert_eq!(rig.after(pause - Duration::from_millis(1)), []);
        assert_eq!(rig.after(Duration::from_millis(1)), [Effect::Receive(2)]);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    assert_eq!(pause, PAUSE_MAX);
    rig.after(SECOND);
    rig.receive(&[]);
    assert_eq!(rig.on(Event::Unanswered), []);
    assert_eq!(rig.after(PAUSE_MIN), [Effect::Receive(2)], "an answer ends the long pauses");
    assert_eq!(rig.receive(&[]), [], "and one that comes at once, with nothing, is none");
    assert_eq!(rig.after(PAUSE_MIN * 2), [Effect::Receive(2)]);
}

/// What the world may do next; what does not fit the present is left out.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Give(usize),
    Nobody,
    Renew(bool),
    Stale,
    End,
    Settle,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..12_000_u64).prop_map(Step::Pass),
        3 => (0..4_usize).prop_map(Step::Give),
        1 => Just(Step::Nobody),
        3 => any::<bool>().prop_map(Step::Renew),
        1 => Just(Step::Stale),
        3 => Just(Step::End),
        3 => Just(Step::Settle),
        1 => Just(Step::Stop),
    ]
}

/// What must be true of a task outside the machine.
#[derive(Default)]
struct World {
    next: u64,
    asked: Option<usize>,
    commands: BTreeMap<TaskId, MonoTime>,
    renewals: Vec<TaskId>,
    settling: Vec<TaskId>,
    stopped: bool,
    stopping: bool,
}

impl World {
    fn carry_out(&mut self, concurrency: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Receive(count) => {
                    assert!(!self.stopping && self.asked.is_none(), "asked out of turn");
                    let held = self.commands.len() + self.settling.len();
                    assert!(count >= 1 && held + count <= concurrency, "too many");
                    self.asked = Some(count);
                }
                Effect::Start(id) => assert!(self.commands.contains_key(&id)),
                Effect::Renew(id) => {
                    assert!(!self.renewals.contains(&id), "renewed twice at a time");
                    assert!(self.commands.contains_key(&id), "renewed without a command");
                    self.renewals.push(id);
                }
                Effect::End(id, _) => assert!(self.commands.contains_key(&id)),
                Effect::Settle(id, _) => {
                    self.commands.remove(&id);
                    assert!(!self.settling.contains(&id), "settled twice");
                    self.settling.push(id);
                }
                Effect::Forget(id, _) => assert!(!self.settling.contains(&id)),
                Effect::StopReceiving => assert!(self.asked.is_some()),
                Effect::Stopped => {
                    assert!(self.commands.is_empty() && self.settling.is_empty());
                    assert!(self.asked.is_none() && !self.stopped);
                    self.stopped = true;
                }
            }
        }
    }

    fn event(&mut self, step: &Step, now: MonoTime) -> Option<Event> {
        let first = self.commands.keys().next().copied();
        match step {
            Step::Pass(_) => Some(Event::Tick),
            Step::Give(count) => {
                let count = (*count).min(self.asked.take()?);
                let ends = now + VISIBILITY;
                let ids: Vec<_> =
                    (0..count as u64).map(|n| (TaskId(self.next + n), ends)).collect();
                self.next += count as u64;
                self.commands.extend(ids.iter().copied());
                Some(Event::Received(ids))
            }
            Step::Nobody => self.asked.take().map(|_| Event::Unanswered),
            Step::Renew(yes) => {
                let id = self.renewals.pop()?;
                Some(if *yes {
                    Event::Renewed(id, now + VISIBILITY)
                } else {
                    Event::NotRenewed(id)
                })
            }
            Step::Stale => first.map(Event::Stale),
            Step::End => first.map(|id| {
                self.commands.remove(&id);
                Event::Ended(id, Ended::success())
            }),
            Step::Settle => self.settling.pop().map(Event::Settled),
            Step::Stop => {
                self.stopping = true;
                Some(Event::Stop)
            }
        }
    }
}

proptest! {
    /// Whatever happens, in whatever order: the bounds hold, nothing is settled twice, and a worker
    /// that is told to stop does, once everything that it waits for has happened.
    #[test]
    fn the_rules_hold_in_any_order(steps in prop::collection::vec(step(), 1..200)) {
        let settings = Settings { concurrency: 3, timeout: Some(SECOND * 40), ..settings() };
        let (mut worker, mut world) = (Worker::new(settings), World::default());
        let mut now = MonoTime(0);
        let end = [Step::Stop, Step::Give(0)].into_iter();
        let end = end.chain((0..8).flat_map(|_| [Step::End, Step::Settle, Step::Pass(1)]));
        for step in steps.into_iter().chain(end) {
            if let Step::Pass(millis) = step {
                now = now + Duration::from_millis(millis);
            }
            let Some(event) = world.event(&step, now) else { continue };
            let mut out = Effects::default();
            worker.on_event(now, event, &mut out);
            world.carry_out(3, std::iter::from_fn(|| out.pop()).collect());
        }
        prop_assert!(world.stopped, "{worker:?}");
    }
}
