//! Objects through the shipped rules of placing, copying and reading.

use rhumb_types::{
    ByteSize,
    record::{BucketDefinition, Replication},
};

use super::*;
use crate::{
    objects::{Downloads, ObjectClients, Objects, Pace, Sizes},
    outcome::ObjectsOutcome,
};

const MIB: u64 = 1 << 20;
/// Bytes per second of a link that is narrow.
const NARROW: u64 = 10_000_000;

/// So many uploads per second for so long, from the first second on, all near the first region.
fn burst(rate: f64, lasting: u64) -> Shape {
    Shape::Burst { base: 0.0, burst: rate, at: seconds(1), lasting: seconds(lasting) }
}

fn objects(uploads: Shape, bytes: u64, bucket: BucketDefinition) -> Objects {
    let wide = |name: &str| (region(name), 125_000_000);
    let mut links = BTreeMap::new();
    for from in REGIONS {
        for to in REGIONS.into_iter().filter(|to| *to != from) {
            links.insert((region(from), region(to)), 125_000_000);
        }
    }
    Objects {
        uploads,
        near: [(region(REGIONS[0]), Ratio::ONE)].into(),
        sizes: Sizes::Always(ByteSize(bytes)),
        deletes: Ratio::ZERO,
        clients: ObjectClients::default(),
        downloads: None,
        bucket,
        pace: Pace::shipped(),
        links,
        uplinks: REGIONS.map(wide).into(),
    }
}

fn bucket(replication: Replication, copies: u8) -> BucketDefinition {
    BucketDefinition { replication, copies, ..BucketDefinition::default() }
}

/// Runs with few requests beside the objects. Every upload must come to one end.
fn stored(objects: Objects, lasting: u64, faults: Vec<Planned>) -> (ObjectsOutcome, Outcome) {
    let mut rehearsal = rehearsal(&HealthConfig::fast(), lasting, faults);
    rehearsal.traffic.shape = Shape::Flat(5.0);
    rehearsal.objects = Some(objects);
    let outcome = sound(&rehearsal, 1);
    let objects = outcome.objects.clone().unwrap();
    let counts = objects.counts;
    assert_eq!(counts.acknowledged + counts.failed + counts.left, counts.uploads);
    (objects, outcome)
}

#[test]
fn objects_come_to_every_region_while_nothing_is_wrong() {
    let mut wanted = objects(burst(10.0, 20), MIB, bucket(Replication::Async, 2));
    wanted.near = BTreeMap::new();
    wanted.downloads = Some(Downloads {
        shape: Shape::Flat(20.0),
        near: BTreeMap::new(),
        fresh: Ratio::clamped(0.9),
    });
    let (outcome, run) = stored(wanted, 40, Vec::new());
    let counts = outcome.counts;
    assert!((150..260).contains(&counts.uploads), "{counts:?}");
    assert_eq!(counts.acknowledged, counts.uploads);
    assert_eq!((counts.failed, counts.degraded, counts.moved, counts.lost), (0, 0, 0, 0));
    assert_eq!(outcome.backlog_end, 0);
    assert!(outcome.times.uploads.max < Some(seconds(1)), "{:?}", outcome.times);
    // Nothing is missed, however fresh: what is not here yet is read from where it is.
    assert_eq!((counts.missed, counts.downloads_failed), (0, 0), "{counts:?}");
    assert!(counts.through > 0 && counts.read > 400, "{counts:?}");
    // Each object crosses two links, and a few are read through.
    let sent: u64 = outcome.links.values().map(|link| link.bytes).sum();
    assert!(sent > 2 * counts.bytes && sent < 3 * counts.bytes, "{sent}");
    assert_eq!(run.series.backlog.len(), 40);
    assert_eq!(run.series.links.len(), 6);
}

#[test]
fn what_only_the_lost_region_has_is_at_risk() {
    let risk = |bucket: BucketDefinition| {
        let lost = vec![at(15, 10, down(REGIONS[0]))];
        let (outcome, _) = stored(objects(burst(10.0, 10), MIB, bucket), 30, lost);
        assert_eq!(outcome.counts.acknowledged, outcome.counts.uploads);
        (outcome.at_risk[0], outcome.counts)
    };
    // One copy, in the region that took it in: all of them.
    let (alone, counts) = risk(bucket(Replication::Regional, 1));
    assert_eq!((alone.objects, alone.bytes), (counts.acknowledged, counts.bytes));
    assert!(alone.oldest > seconds(12) && alone.oldest < seconds(15), "{alone:?}");
    // A second one comes in time, and was there long before.
    let (copied, _) = risk(bucket(Replication::Regional, 2));
    assert_eq!(copied.objects, 0);
}

#[test]
fn two_copies_before_the_answer_are_never_at_risk() {
    let risk = |bucket: BucketDefinition| {
        // The region is lost while uploads go on, over links that are too narrow for them.
        let mut wanted = objects(burst(10.0, 20), MIB, bucket);
        wanted.links.values_mut().for_each(|width| *width = NARROW / 2);
        let (outcome, _) = stored(wanted, 30, vec![at(15, 10, down(REGIONS[0]))]);
        assert!(outcome.counts.acknowledged > 50, "{:?}", outcome.counts);
        outcome.at_risk[0].objects
    };
    // About half of what came is not yet anywhere else.
    let late = risk(bucket(Replication::Async, 2));
    assert!((40..110).contains(&late), "{late}");
    let safe = BucketDefinition {
        min_copies: Some(2),
        ack: AckLevel::OneRemote,
        ..bucket(Replication::Async, 2)
    };
    assert_eq!(risk(safe), 0);
}

#[test]
fn a_narrow_link_has_a_backlog_that_drains_at_its_rate() {
    // Some 105 MB a second for ten seconds, and links that take 10 MB each.
    let mut wanted = objects(burst(25.0, 10), 4 * MIB, bucket(Replication::Async, 2));
    wanted.links.values_mut().for_each(|width| *width = NARROW);
    let (outcome, run) = stored(wanted, 150, Vec::new());
    assert_eq!(outcome.counts.acknowledged, outcome.counts.uploads);
    let backlog = &run.series.backlog;
    let peak = backlog.iter().copied().max().unwrap();
    // Two regions want all of it, and have got some hundred MB each.
    let expected = 2 * (outcome.counts.bytes - 10 * NARROW);
    assert!(peak > expected * 9 / 10 && peak < expected * 11 / 10, "{peak} {expected}");
    let at = backlog.iter().position(|bytes| *bytes == peak).unwrap();
    let drained = backlog.iter().rposition(|bytes| *bytes > peak / 50).unwrap();
    let (took, expected) = ((drained - at) as u64, peak / 2 / NARROW);
    assert!(took >= expected * 9 / 10 && took <= expected * 13 / 10, "{took} {expected}");
    let link = &outcome.links["us-east-1>eu-west-1"];
    assert!(link.busy_max > 0.99 && link.full > seconds(expected * 8 / 10), "{link:?}");
    assert!(outcome.links["eu-west-1>us-east-1"].busy_max < 0.1);
}

#[test]
fn uploads_go_on_in_another_region_when_theirs_is_lost() {
    // Each takes some seven seconds on its client's line.
    let mut wanted = objects(burst(2.0, 20), 64 * MIB, bucket(Replication::Regional, 1));
    wanted.clients =
        ObjectClients { bytes_per_second: NARROW, retries: 0, ..ObjectClients::default() };
    let (outcome, _) = stored(wanted, 120, vec![at(10, 60, down(REGIONS[0]))]);
    let counts = outcome.counts;
    assert_eq!((counts.failed, counts.left, counts.lost), (0, 0, 0), "{counts:?}");
    assert!((8..25).contains(&counts.moved), "{counts:?}");
    // The answer that never came was waited for, and then all was sent to another region.
    let longest = outcome.times.uploads.max.unwrap();
    assert!(longest > seconds(30) && longest < seconds(60), "{longest:?}");
}

#[test]
fn deletions_during_an_outage_hold_once_the_region_is_back() {
    let mut wanted = objects(burst(10.0, 40), MIB / 2, bucket(Replication::Async, 2));
    wanted.deletes = Ratio::clamped(0.3);
    let (outcome, _) = stored(wanted, 100, vec![at(20, 30, down(REGIONS[1]))]);
    let counts = outcome.counts;
    assert!(counts.deletes > 60 && counts.deletes_failed == 0, "{counts:?}");
    assert!(counts.deletes_late > 20, "{counts:?}");
    assert_eq!((counts.fading, outcome.backlog_end), (0, 0), "{outcome:?}");
    let longest = outcome.times.deletes.max.unwrap();
    assert!(longest > seconds(15) && longest < seconds(50), "{longest:?}");
    // What the others took meanwhile was to be copied, and was once the region was back.
    assert!(outcome.backlog_max > 100 * MIB / 2, "{outcome:?}");
    let converged = outcome.converged[0].unwrap();
    assert!(converged > Duration::ZERO && converged < seconds(40), "{converged:?}");
}

#[test]
fn the_same_seed_has_the_same_objects() {
    let mut wanted = rehearsal(&HealthConfig::fast(), 30, vec![at(10, 10, down(REGIONS[1]))]);
    let active = bucket(Replication::ActiveActive, 3);
    wanted.objects = Some(objects(burst(5.0, 20), 12 * MIB, active));
    assert_eq!(run(&wanted, 7).unwrap(), run(&wanted, 7).unwrap());
}
