//! More jobs than a region can do: new ones go elsewhere, and stay again once it is calm.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rhumb_types::RegionId;
use serde_json::{Value, json};

use super::{
    jobs::{Crew, Ledger, Node, Pace},
    report::{Report, millis},
};
use crate::local::Local;

/// The queue.
const QUEUE: &str = "flood";
/// Jobs sent at a time, and the pause after them: more than all workers together can do.
const BATCH: usize = 20;
const EVERY: Duration = Duration::from_millis(150);
/// For how long.
const LASTS: Duration = Duration::from_secs(12);
/// How many workflows the jobs are of.
const WORKFLOWS: usize = 40;
/// How workers work: in each region up to 40 jobs per second.
const PACE: Pace = Pace { at_once: 10, takes: Duration::from_millis(250) };
/// Above so many waiting jobs new ones are sent elsewhere, as the file says.
const DEPTH: u64 = 100;
/// How long the way back may take: the queue is emptied, and then calm for ten seconds.
const RETURN_MAX: Duration = Duration::from_secs(40);
/// Jobs that are sent at a time to see where they go, and the pause after them.
const PROBE: usize = 3;
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// So many times in a row all of them must stay.
const LOOKS: usize = 6;
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What became of the jobs of a flood.
#[derive(Debug, Default)]
struct Course {
    accepted: Vec<String>,
    /// Where jobs went, by region.
    homes: BTreeMap<String, usize>,
    /// Where the jobs of each workflow went, after the first that was sent elsewhere.
    workflows: BTreeMap<usize, BTreeSet<String>>,
    /// When the first was sent elsewhere.
    first: Option<Duration>,
    deepest: u64,
}

/// Floods the first region.
pub(super) fn flood(cluster: &Local, report: &mut Report) -> Result<()> {
    let regions = cluster.regions();
    let Some(full) = regions.first() else { bail!("there are no regions") };
    let node = Node::of(cluster, full)?;
    node.define(QUEUE, &json!({}))?;
    let ledger = Ledger::default();
    let crew = Crew::hire(cluster, QUEUE, PACE, &ledger);
    report.step(&format!("{full} gets more jobs than all regions together can do"));
    let course = send(&node, full)?;
    spilled(report, full, &course);
    sticks(report, &course);
    report.step("the flood ends");
    let accepted = returned(report, &node, full, course.accepted)?;
    let done = ledger.of(&accepted);
    crew.dismiss()?;
    report.row(
        "every job of the flood ran",
        format!("{} of {}, {} of them a second time", done.0, accepted.len(), done.1),
        done.0 == accepted.len(),
    );
    Ok(())
}

fn send(node: &Node, full: &RegionId) -> Result<Course> {
    let mut course = Course::default();
    let begun = Instant::now();
    let mut nth = 0;
    while begun.elapsed() < LASTS {
        let numbers: Vec<usize> = (nth..nth + BATCH).collect();
        nth += BATCH;
        let job = |nth: &usize| {
            let workflow = format!("workflow {}", nth % WORKFLOWS);
            json!({ "body": format!("flood {nth}"), "workflow": workflow })
        };
        let sent = node.send(QUEUE, full, numbers.iter().map(job).collect())?;
        for (nth, taken) in numbers.iter().zip(&sent) {
            course.took(*nth, taken, full, begun.elapsed());
        }
        course.deepest = course.deepest.max(node.ready(QUEUE, full)?.1);
        thread::sleep(EVERY);
    }
    Ok(course)
}

impl Course {
    fn took(&mut self, nth: usize, taken: &Value, full: &RegionId, at: Duration) {
        let Some(home) = taken.get("home").and_then(Value::as_str) else { return };
        self.accepted.push(format!("flood {nth}"));
        *self.homes.entry(home.to_owned()).or_default() += 1;
        let workflow = nth % WORKFLOWS;
        let elsewhere = home != full.as_str();
        if elsewhere {
            self.first.get_or_insert(at);
        }
        if elsewhere || self.workflows.contains_key(&workflow) {
            self.workflows.entry(workflow).or_default().insert(home.to_owned());
        }
    }
}

fn spilled(report: &mut Report, full: &RegionId, course: &Course) {
    let all: usize = course.homes.values().sum();
    let away = all - course.homes.get(full.as_str()).copied().unwrap_or(0);
    let places: Vec<String> = course
        .homes
        .iter()
        .filter(|(home, _)| home.as_str() != full.as_str())
        .map(|(home, jobs)| format!("{jobs} to {home}"))
        .collect();
    let first =
        course.first.map_or_else(|| "never".to_owned(), |it| format!("from {} on", millis(it)));
    #[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
    let share = away as f64 * 100.0 / all.max(1) as f64;
    report.row(
        format!("above {DEPTH} waiting jobs {full} sends new ones elsewhere"),
        format!("{first}, {share:.0}% of {all}: {}; {} waited", places.join(", "), course.deepest),
        away > 0 && course.deepest > DEPTH,
    );
}

fn sticks(report: &mut Report, course: &Course) {
    let torn = course.workflows.values().filter(|homes| homes.len() > 1).count();
    let moved = course.workflows.len();
    report.row(
        "a workflow that was sent elsewhere stays there",
        format!("{} of {moved}", moved - torn),
        torn == 0 && moved > 0,
    );
}

/// Waits until new jobs stay again; gives all jobs that were accepted.
fn returned(
    report: &mut Report,
    node: &Node,
    full: &RegionId,
    mut accepted: Vec<String>,
) -> Result<Vec<String>> {
    let ended = Instant::now();
    let emptied = wait_until_empty(node, full)?;
    // Jobs of no workflow, because a workflow would follow its first job; and few, because the region
    // is to become calm. Only a share of them goes elsewhere, so all of several looks must stay.
    let (mut since, mut stayed, mut nth) = (None, 0, 0);
    while stayed < LOOKS && ended.elapsed() < RETURN_MAX {
        nth += 1;
        let bodies: Vec<String> = (0..PROBE).map(|of| format!("after {nth}.{of}")).collect();
        let jobs = bodies.iter().map(|body| json!({ "body": body })).collect();
        let sent = node.send(QUEUE, full, jobs)?;
        let stay = |taken: &Value| taken.get("home").and_then(Value::as_str) == Some(full.as_str());
        if sent.iter().all(stay) {
            since.get_or_insert(ended.elapsed());
            stayed += 1;
        } else {
            (since, stayed) = (None, 0);
        }
        accepted.extend(bodies);
        thread::sleep(PROBE_EVERY);
    }
    let back = since.filter(|_| stayed >= LOOKS);
    let told = |time: Option<Duration>| time.map_or_else(|| "never".to_owned(), millis);
    report.row(
        format!("once it is calm {full} keeps its work again"),
        format!("emptied after {}, kept after {}", told(emptied), told(back)),
        back.is_some(),
    );
    wait_until_empty(node, full)?;
    Ok(accepted)
}

/// Waits until no job is ready anywhere; gives how long that took.
fn wait_until_empty(node: &Node, full: &RegionId) -> Result<Option<Duration>> {
    let since = Instant::now();
    while since.elapsed() < RETURN_MAX {
        if node.ready(QUEUE, full)?.0 == 0 {
            let took = since.elapsed();
            // What was leased last is done soon after.
            thread::sleep(PACE.takes * 4);
            return Ok(Some(took));
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(None)
}
