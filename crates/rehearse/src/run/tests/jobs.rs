//! Jobs through the shipped queues.

use rhumb_regions::spillover::Limits;
use rhumb_types::record::QueueDefinition;

use super::*;
use crate::{
    jobs::{Jobs, Takes},
    outcome::JobsOutcome,
};

/// So many jobs per second that take half a second, for so many workers in each region.
fn jobs(rate: f64, workers: u32) -> Jobs {
    let visibility = Duration::from_secs(10);
    Jobs {
        shape: Shape::Flat(rate),
        near: BTreeMap::new(),
        takes: Takes::About(Duration::from_millis(500)),
        workers: REGIONS.map(|name| (region(name), workers)).into(),
        definition: QueueDefinition { visibility, ..QueueDefinition::default() },
        spillover: REGIONS.map(|name| (region(name), Limits::default())).into(),
    }
}

/// Runs with few requests beside the jobs. Every job must come to one end.
fn worked(jobs: Jobs, lasting: u64, faults: Vec<Planned>) -> JobsOutcome {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), lasting, faults);
    rehearsal.traffic.shape = Shape::Flat(10.0);
    rehearsal.jobs = Some(jobs);
    let outcome = sound(&rehearsal, 1).jobs.unwrap();
    let counts = outcome.counts;
    assert!(counts.taken <= counts.done + counts.left + counts.away, "{counts:?}");
    outcome
}

#[test]
fn jobs_are_done_once_while_nothing_is_wrong() {
    let outcome = worked(jobs(20.0, 15), 60, Vec::new());
    let counts = outcome.counts;
    assert!((1_000..1_400).contains(&counts.offered), "{counts:?}");
    assert_eq!((counts.refused, counts.repeated, counts.lost, counts.spilled), (0, 0, 0, 0));
    assert!(counts.done + 40 > counts.offered, "{counts:?}");
    assert!(outcome.depth_max < 30 && outcome.oldest_max < seconds(2), "{outcome:?}");
    assert!(outcome.regions.values().all(|region| region.ran > 300 && region.workers == 15));
}

#[test]
fn a_region_that_has_more_than_it_can_do_sends_jobs_to_others() {
    let busy = Jobs { near: [(region(REGIONS[0]), Ratio::ONE)].into(), ..jobs(30.0, 10) };
    let outcome = worked(busy, 120, Vec::new());
    let counts = outcome.counts;
    assert!(counts.spilled > counts.taken / 10, "{counts:?}");
    assert_eq!((counts.lost, counts.repeated), (0, 0));
    let here = |name: &str| outcome.regions[&region(name)];
    assert_eq!(here(REGIONS[0]).spilled_here, 0);
    assert!(here(REGIONS[1]).spilled_here + here(REGIONS[2]).spilled_here >= counts.spilled);
    assert_eq!(here(REGIONS[0]).busy_max, 10);
}

#[test]
fn the_jobs_of_a_region_that_is_down_are_done_by_others() {
    let faults = vec![at(30, 90, down(REGIONS[0]))];
    let safe = QueueDefinition { ack: AckLevel::OneRemote, ..jobs(0.0, 0).definition };
    let outcome = worked(Jobs { definition: safe, ..jobs(20.0, 12) }, 150, faults);
    let counts = outcome.counts;
    assert_eq!((counts.lost, counts.away), (0, 0));
    // What its workers had in hand is done again.
    assert!((1..60).contains(&counts.repeated), "{counts:?}");
    // Two regions can do nearly all: few wait at a time, and none for ever.
    let drained = outcome.drained[0].unwrap();
    assert!(drained < seconds(110), "{drained:?}");
    assert!(outcome.oldest_max > seconds(10) && outcome.oldest_max < seconds(110), "{outcome:?}");
    let ran = outcome.regions.values().map(|region| region.ran).sum::<u64>();
    assert!(ran >= counts.repeated + counts.done, "{counts:?}");
}

#[test]
fn the_same_seed_has_the_same_jobs() {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), 40, vec![at(20, 10, down(REGIONS[1]))]);
    rehearsal.jobs = Some(jobs(20.0, 12));
    assert_eq!(run(&rehearsal, 7).unwrap(), run(&rehearsal, 7).unwrap());
}
