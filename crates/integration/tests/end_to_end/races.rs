//! A linearizable bucket over S3: conditional writes that meet, from three regions, one of which is cut off
//! for a while.

use std::{collections::BTreeMap, path::Path, thread, time::Duration};

use rhumb_check::{
    CallId, History, Limits, Register, RegisterAnswer, RegisterCall, Verdict, check,
};
use rhumb_integration::{Cluster, Layout};
use serde_json::Value;

use crate::{
    identities, json,
    objects::{NO_PYTHON, Script, make_bucket, python, script},
    skipped,
};

/// How long clients race, in seconds;
const RACING: &str = "10";
/// longer where a region joins meanwhile;
const RACING_LONG: &str = "20";
/// after how long a region is cut off,
const CUT_AFTER: Duration = Duration::from_secs(3);
/// and for how long.
const CUT_FOR: Duration = Duration::from_secs(2);
/// Calls that must have been answered, so that something is shown.
const ANSWERED_MIN: usize = 100;

/// What clients saw of each key.
#[derive(Default)]
struct Seen {
    histories: BTreeMap<String, History<RegisterCall, RegisterAnswer>>,
    calls: BTreeMap<u64, CallId>,
}

impl Seen {
    fn note(&mut self, event: &Value) {
        let history = self.histories.entry(event["key"].as_str().unwrap().to_owned()).or_default();
        if let Some(number) = event["start"].as_u64() {
            let call = &event["call"];
            let call = match call[0].as_str().unwrap() {
                "read" => RegisterCall::Read,
                "write" => RegisterCall::Write(Some(call[1].as_u64().unwrap())),
                _ => {
                    let new = Some(call[2].as_u64().unwrap());
                    RegisterCall::CompareAndSet { expected: call[1].as_u64(), new }
                }
            };
            self.calls.insert(number, history.start(call));
            return;
        }
        let id = self.calls.remove(&event["end"].as_u64().unwrap()).unwrap();
        let answer = &event["answer"];
        match answer[0].as_str().unwrap() {
            "value" => history.answer(id, RegisterAnswer::Value(answer[1].as_u64())),
            "written" => history.answer(id, RegisterAnswer::Written),
            "swapped" => history.answer(id, RegisterAnswer::Swapped(answer[1] == true)),
            _ => history.discard(id),
        }
    }
}

#[test]
fn conditional_writes_of_three_regions_have_one_order() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let cluster = Layout::regions(3).relayed().start().unwrap();
    let race = begin(&python, &cluster, RACING);
    let events = meanwhile(race, || {
        thread::sleep(CUT_AFTER);
        cluster.set_cut_off(2, true).unwrap();
        thread::sleep(CUT_FOR);
        cluster.set_cut_off(2, false).unwrap();
    });
    judge(&events);
}

/// A fourth region joins while clients of three race; some keys have their homes there from then on.
#[test]
fn conditional_writes_have_one_order_while_homes_move_to_a_region_that_joins() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let mut cluster = identities::three_of_four();
    let race = begin(&python, &cluster, RACING_LONG);
    let events = meanwhile(race, || {
        identities::join_fourth(&mut cluster);
        crate::wait_for_homes(&cluster, 4);
    });
    judge(&events);
}

/// Clients of three regions, at a linearizable bucket, for so many seconds.
fn begin(python: &Path, cluster: &Cluster, seconds: &str) -> Script {
    make_bucket(cluster, &["--consistency", "linearizable"]);
    crate::wait_for_duties(cluster, 0..3);
    crate::wait_for_homes(cluster, 3);
    let mut race = script(python, "s3_races.py");
    let addresses = (0..3).map(|nth| cluster.s3(nth).to_string());
    let mut race = Script::start(race.arg(seconds).args(addresses));
    race.until("racing");
    race
}

/// What clients saw while something happened.
fn meanwhile(race: Script, happens: impl FnOnce() + Send) -> Vec<String> {
    thread::scope(|scope| {
        let happening = scope.spawn(happens);
        let events = race.finish();
        happening.join().unwrap();
        events
    })
}

/// Whether what was seen of each key has an order.
fn judge(events: &[String]) {
    let mut seen = Seen::default();
    events.iter().for_each(|line| seen.note(&json(line)));
    let (mut answered, mut unknown) = (0, 0);
    for (key, history) in &seen.histories {
        let ended = history.calls().filter(|call| call.answered.is_some()).count();
        answered += ended;
        unknown += history.len() - ended;
        let verdict = check(&Register, history, Limits::default());
        assert_eq!(
            verdict,
            Verdict::Linearizable,
            "{key}: {ended} of {} calls answered",
            history.len()
        );
    }
    println!("{answered} calls of {} keys were answered, {unknown} were not", seen.histories.len());
    assert!(answered >= ANSWERED_MIN, "only {answered} calls were answered");
}
