//! The laws of the machine, over random faults; and single cases by name.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use rhumb_types::MonoTime;

use super::{
    Capacity, Config, Effect, Effects, Event, Failure, SeenRunner, SetLimits, Survey,
    world::{Luck, World, pool},
};
use crate::job::{JobRef, RunnerName};

/// Something that happens to the world.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Queue(u8),
    Assign(usize),
    Finish(usize),
    Cancel(usize),
    Kill(usize, bool),
    Deliver(usize, Luck),
    Lose(usize),
    Double(usize),
    Pass(u16, Luck),
    Crash,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        12 => Just(Luck::Good),
        2 => Just(Luck::Refused),
        1 => Just(Luck::StillBorn),
        1 => Just(Luck::CrashAfter),
        1 => Just(Luck::CrashBefore),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let at = || 0..1_000_usize;
    prop_oneof![
        4 => any::<u8>().prop_map(Deed::Queue),
        4 => at().prop_map(Deed::Assign),
        3 => at().prop_map(Deed::Finish),
        1 => at().prop_map(Deed::Cancel),
        1 => (at(), any::<bool>()).prop_map(|(at, heard)| Deed::Kill(at, heard)),
        12 => (at(), luck()).prop_map(|(at, luck)| Deed::Deliver(at, luck)),
        2 => at().prop_map(Deed::Lose),
        2 => at().prop_map(Deed::Double),
        6 => (0..90_u16, luck()).prop_map(|(time, luck)| Deed::Pass(time, luck)),
        1 => Just(Deed::Crash),
    ]
}

fn happen(world: &mut World, deed: Deed) {
    match deed {
        Deed::Queue(at) => world.queue(at),
        Deed::Assign(at) => world.assign(at),
        Deed::Finish(at) => world.finish(at),
        Deed::Cancel(at) => world.cancel(at),
        Deed::Kill(at, heard) => world.kill(at, heard),
        Deed::Deliver(at, luck) => world.deliver(at, luck),
        Deed::Lose(at) => world.lose(at),
        Deed::Double(at) => world.double(at),
        Deed::Pass(time, luck) => world.pass(Duration::from_secs(time.into()), luck),
        Deed::Crash => world.crash(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// With events that are lost, doubled, late and out of order, calls that fail, runners that die or
    /// never come, and a machine that forgets everything: after a rest as many runners wait as jobs do,
    /// every job is served, no name is started twice, and no runner stays.
    #[test]
    fn after_a_rest_there_are_enough_runners_and_in_the_end_none(
        deeds in proptest::collection::vec(deed(), 1..120)
    ) {
        let mut world = World::new();
        world.crash();
        for deed in deeds {
            happen(&mut world, deed);
        }
        world.rest(Duration::from_secs(2 * 3_600));
        world.check_levels();
        world.serve_all();
    }
}

fn machine(runners_max: usize) -> Capacity {
    let limits = SetLimits { runners_max, starting_max: 3 };
    Capacity::new(Config::new(BTreeMap::from([("linux".to_owned(), limits)])))
}

fn job(id: u64) -> JobRef {
    JobRef { repository: 1, job: id, attempt: 1 }
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(seconds * 1_000_000)
}

fn on(machine: &mut Capacity, seconds: u64, event: Event) -> Vec<Effect> {
    let mut out = Effects::new();
    machine.on_event(at(seconds), event, &mut out);
    std::iter::from_fn(|| out.pop()).collect()
}

fn survey(asked: u64, runners: Vec<SeenRunner>) -> Event {
    let tasks = Some(Vec::new());
    Event::Surveyed(Survey { scope: pool(0).scope, asked: at(asked), runners, tasks })
}

fn wanted(id: u64, claimed: &[u32]) -> Event {
    Event::Wanted { job: job(id), pool: pool(0), claimed: claimed.to_vec() }
}

fn starts(effects: &[Effect]) -> Vec<RunnerName> {
    let start = |effect: &Effect| match effect {
        Effect::Start { name, .. } => Some(name.clone()),
        _ => None,
    };
    effects.iter().filter_map(start).collect()
}

#[test]
fn nothing_is_started_before_the_list_was_seen() {
    let mut machine = machine(5);
    let effects = on(&mut machine, 1, wanted(1, &[]));
    assert_eq!(effects, [Effect::Survey { scope: pool(0).scope }]);
    assert_eq!(starts(&on(&mut machine, 2, survey(1, vec![]))), [job(1).runner(0)]);
}

#[test]
fn a_burst_is_spread_and_the_bound_is_kept() {
    let mut machine = machine(5);
    on(&mut machine, 0, survey(0, vec![]));
    let mut started = Vec::new();
    for id in 0..9 {
        started.extend(starts(&on(&mut machine, 1, wanted(id, &[]))));
    }
    assert_eq!(started.len(), 3, "as many as may start at a time");
    for name in started.clone() {
        on(&mut machine, 2, Event::Started { name });
        let running = Event::Running { job: job(100), runner: Some(started[0].clone()) };
        started.extend(starts(&on(&mut machine, 3, running)));
    }
    assert!(started.len() <= 5);
}

#[test]
fn a_job_that_another_runner_took_does_not_take_its_runner_along() {
    let mut machine = machine(5);
    on(&mut machine, 0, survey(0, vec![]));
    let first = starts(&on(&mut machine, 1, wanted(1, &[])));
    let second = starts(&on(&mut machine, 1, wanted(2, &[])));
    assert_eq!((&first, &second), (&vec![job(1).runner(0)], &vec![job(2).runner(0)]));
    // GitHub gives the second job to the first runner: one waits for one.
    let crossed = Event::Running { job: job(2), runner: Some(job(1).runner(0)) };
    assert_eq!(starts(&on(&mut machine, 2, crossed)), []);
    // A runner from elsewhere takes the other: one is too many, and is stopped after a while.
    on(&mut machine, 3, Event::Started { name: job(2).runner(0) });
    on(&mut machine, 4, Event::Running { job: job(1), runner: None });
    let effects = on(&mut machine, 70, Event::Tick);
    let stop =
        |effect: &Effect| matches!(effect, Effect::Stop { name, .. } if *name == job(2).runner(0));
    assert!(effects.iter().any(stop), "{effects:?}");
}

#[test]
fn a_successor_finds_the_runner_that_was_started_before() {
    let mut machine = machine(5);
    on(&mut machine, 1, wanted(1, &[0]));
    let name = job(1).runner(0);
    let seen = SeenRunner { name, pool: pool(0), here: false, online: true, busy: false };
    assert_eq!(starts(&on(&mut machine, 3, survey(2, vec![seen]))), []);
    assert_eq!(machine.counts()[&pool(0)].idle, 1);
}

#[test]
fn a_successor_starts_another_when_the_one_before_is_gone() {
    let mut machine = machine(5);
    on(&mut machine, 1, wanted(1, &[0]));
    assert_eq!(starts(&on(&mut machine, 3, survey(2, vec![]))), [job(1).runner(1)]);
}

#[test]
fn what_is_left_of_a_dead_region_is_cleared_and_replaced() {
    let mut machine = machine(5);
    on(&mut machine, 1, wanted(1, &[0]));
    let name = job(1).runner(0);
    let dead =
        SeenRunner { name: name.clone(), pool: pool(0), here: false, online: false, busy: false };
    let effects = on(&mut machine, 3, survey(2, vec![dead]));
    assert!(effects.contains(&Effect::Stop { name: name.clone(), pool: pool(0) }));
    assert_eq!(starts(&effects), [job(1).runner(1)]);
}

#[test]
fn failures_back_off_and_an_existing_name_is_looked_at() {
    let mut machine = machine(5);
    on(&mut machine, 0, survey(0, vec![]));
    on(&mut machine, 1, wanted(1, &[]));
    let failed = |ordinal, failure| Event::NotStarted { name: job(1).runner(ordinal), failure };
    assert_eq!(starts(&on(&mut machine, 1, failed(0, Failure::Failed))), []);
    assert_eq!(starts(&on(&mut machine, 2, Event::Tick)), [job(1).runner(1)]);
    let later = failed(1, Failure::Later(Duration::from_secs(30)));
    assert_eq!(starts(&on(&mut machine, 2, later)), []);
    assert_eq!(starts(&on(&mut machine, 31, Event::Tick)), []);
    assert_eq!(starts(&on(&mut machine, 32, Event::Tick)), [job(1).runner(2)]);
    let effects = on(&mut machine, 33, failed(2, Failure::Exists));
    assert!(effects.contains(&Effect::Survey { scope: pool(0).scope }), "{effects:?}");
}

#[test]
fn a_runner_that_never_comes_is_given_up() {
    let mut machine = machine(5);
    on(&mut machine, 0, survey(0, vec![]));
    on(&mut machine, 1, wanted(1, &[]));
    on(&mut machine, 2, Event::Started { name: job(1).runner(0) });
    let effects = on(&mut machine, 400, Event::Tick);
    assert!(effects.contains(&Effect::Stop { name: job(1).runner(0), pool: pool(0) }));
    assert_eq!(starts(&on(&mut machine, 402, Event::Tick)), [job(1).runner(1)]);
}

#[test]
fn a_job_that_nobody_hears_of_is_asked_about_ever_more_seldom() {
    let mut machine = machine(0);
    on(&mut machine, 0, wanted(1, &[]));
    let asks = |machine: &mut Capacity, seconds| {
        on(machine, seconds, Event::Tick).contains(&Effect::Ask { job: job(1) })
    };
    let asked: Vec<u64> = (0..4_000).filter(|at| asks(&mut machine, *at)).collect();
    assert_eq!(asked, [120, 240, 480, 960, 1_920, 3_720]);
}
