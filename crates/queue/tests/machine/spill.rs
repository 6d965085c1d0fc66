//! When new work is sent away, and what is not.

use std::{collections::BTreeMap, time::Duration};

use rhumb_queue::{Advert, Answer, Ask, Enqueued, Event, NewJob, Retry};
use rhumb_regions::spillover::blame::Results;
use rhumb_types::record::{Ending, Job, JobKey, Progress, QueueDefinition, Record};

use crate::{
    host::region,
    rig::{Rig, created, name},
};

fn advertise(rig: &mut Rig, jobs: u32) {
    let tenants = BTreeMap::from([("bad".to_owned(), Results { results: 40, errors: 40 })]);
    rig.event(Event::Advertised(Advert { home: region(1), jobs, tenants }));
}

/// A region with so much to do that it sends all new work away.
fn overloaded() -> Rig {
    let mut rig = Rig::plain();
    overload(&mut rig);
    rig
}

fn overload(rig: &mut Rig) {
    rig.allowed = vec![region(0), region(1)];
    for _ in 0..400 {
        rig.add("q");
    }
    for _ in 0..40 {
        rig.wait(1);
        advertise(rig, 1_000);
    }
}

#[test]
fn new_work_goes_to_who_has_room_and_is_not_sent_on() {
    let mut rig = overloaded();
    assert!(rig.alarms.iter().any(|text| text.contains("too many jobs wait")), "{:?}", rig.alarms);
    assert!(rig.adverts.last().is_some_and(|advert| advert.jobs == 0));
    let job = rig.job();
    let id = job.id;
    match rig.enqueue("q", job.clone()) {
        Ok(Enqueued::Forward { to, id: it, why }) => {
            assert_eq!((to, it), (region(1), id));
            assert!(why.contains("too many jobs wait"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    // It is written nowhere here; and what was sent here stays, with the decision in it.
    let key = JobKey { queue: name("q"), id };
    assert_eq!(rig.host.store.get(&key.row()), None);
    let sent = NewJob { spilled: Some((region(2), "it was full".to_owned())), ..job };
    assert_eq!(created(rig.enqueue("q", sent)), id);
    let row = rig.host.store.get(&key.row()).unwrap();
    let job = Job::decode(&row.payload).unwrap();
    assert_eq!(job.provenance.spilled_from, Some(region(2)));
    let why = job.provenance.why;
    assert!(why.starts_with("it was full; ") && why.ends_with("sent on once already"), "{why}");
}

/// Takes a job in that stays, and gives why.
fn stays(rig: &mut Rig, queue: &str, job: NewJob) -> String {
    let id = created(rig.enqueue(queue, job));
    let key = JobKey { queue: name(queue), id };
    let row = rig.host.store.get(&key.row()).unwrap();
    Job::decode(&row.payload).unwrap().provenance.why
}

#[test]
fn what_is_full_residency_order_or_a_tripped_tenant_keeps_at_home() {
    let fifo = QueueDefinition { fifo: true, ..QueueDefinition::default() };
    let mut rig = Rig::new(&[("q", QueueDefinition::default()), ("fifo", fifo)]);
    let bad = |rig: &mut Rig| NewJob { tenant: Some("bad".to_owned()), ..rig.job() };
    for _ in 0..30 {
        let job = bad(&mut rig);
        assert_eq!(stays(&mut rig, "q", job), "", "nothing was decided yet");
    }
    overload(&mut rig);
    for leased in rig.receive_for("q", 30, None) {
        rig.fail(leased.receipt).unwrap();
    }
    rig.wait(3);
    advertise(&mut rig, 1_000);
    let kept = |why: String, reason: &str| {
        let told =
            why.contains("sends 100.0% of new work away (too many jobs wait), and keeps it: ");
        assert!(told && why.ends_with(reason), "{why}");
    };
    let job = bad(&mut rig);
    kept(stays(&mut rig, "q", job), "the jobs of its tenant fail wherever they run");
    let good = NewJob { tenant: Some("good".to_owned()), ..rig.job() };
    assert!(matches!(rig.enqueue("q", good), Ok(Enqueued::Forward { .. })));
    let ordered = NewJob { group: Some("g".to_owned()), ..rig.job() };
    kept(stays(&mut rig, "fifo", ordered), "its order matters");
    advertise(&mut rig, 0);
    let job = rig.job();
    kept(stays(&mut rig, "q", job), "no region that may have it has room");
    let keyed = NewJob { key: Some("k".to_owned()), ..rig.job() };
    kept(stays(&mut rig, "q", keyed), "no region that may have it has room");
    advertise(&mut rig, 1_000);
    rig.allowed = vec![region(0)];
    let job = rig.job();
    kept(stays(&mut rig, "q", job), "no other region may have it");
}

#[test]
fn a_queue_that_wants_its_jobs_soon_sends_work_away_sooner() {
    let target = |seconds| QueueDefinition {
        oldest_age_target: Duration::from_secs(seconds),
        ..QueueDefinition::default()
    };
    let usual = QueueDefinition::default().oldest_age_target.as_secs();
    // Each with the seconds that a job may wait before work goes elsewhere; it must last 10 s.
    for (targets, waits) in
        [(&[usual][..], usual), (&[5], 5), (&[200], 200), (&[200, 5], 5), (&[5, usual], 5)]
    {
        let names = ["a", "b"];
        let queues: Vec<_> =
            names.into_iter().zip(targets).map(|(name, it)| (name, target(*it))).collect();
        let mut rig = Rig::new(&queues);
        for (queue, _) in &queues {
            rig.add(queue);
        }
        let waits_too_long =
            |rig: &Rig| rig.alarms.iter().any(|text| text.contains("jobs wait too long"));
        rig.wait(waits + 8);
        assert!(!waits_too_long(&rig), "{targets:?}: {:?}", rig.alarms);
        rig.wait(5);
        assert!(waits_too_long(&rig), "{targets:?}: {:?}", rig.alarms);
    }
}

#[test]
fn jobs_that_are_held_back_after_a_restart_are_no_reason_to_send_new_ones_away() {
    let mut rig = Rig::plain();
    for _ in 0..5 {
        rig.add("q");
    }
    let seconds = |rig: &mut Rig, count| (0..count).for_each(|_| rig.wait(1));
    seconds(&mut rig, 30);
    rig.receive_for("q", 1, None);
    rig.restart(2);
    seconds(&mut rig, 55);
    let stats = rig.stats("q");
    assert!(stats.held == 5 && stats.oldest_age.as_secs() > 80, "{stats:?}");
    let waits = |rig: &Rig| rig.alarms.iter().any(|text| text.contains("jobs wait too long"));
    assert!(!waits(&rig), "new work does not wait behind them: {:?}", rig.alarms);
    seconds(&mut rig, 25);
    assert!(waits(&rig), "they may be leased now: {:?}", rig.alarms);
}

#[test]
fn a_job_with_a_key_is_sent_to_the_same_place_again() {
    let mut rig = overloaded();
    let job = NewJob { key: Some("k".to_owned()), ..rig.job() };
    let Ok(Enqueued::Forward { to, id, .. }) = rig.enqueue("q", job.clone()) else {
        panic!("it is sent away")
    };
    // The receiver is full by now, and the first answer was lost.
    advertise(&mut rig, 0);
    match rig.enqueue("q", job) {
        Ok(Enqueued::Forward { to: again, id: it, .. }) => {
            assert_eq!((again, it), (to.clone(), id))
        }
        other => panic!("{other:?}"),
    }
    let ended = rig.host.store.values().find_map(|row| {
        let progress = Job::decode(&row.payload).ok()?.progress;
        match progress {
            Progress::Ended { how: Ending::Moved { to, region, .. }, .. } => Some((to.id, region)),
            _ => None,
        }
    });
    assert_eq!(ended, Some((id, Some(to))));
}

#[test]
fn a_workflow_stays_where_it_went() {
    let mut rig = overloaded();
    let workflow = Some("build 7".to_owned());
    let job = NewJob { workflow: workflow.clone(), ..rig.job() };
    assert!(matches!(rig.enqueue("q", job), Ok(Enqueued::Forward { .. })));
    // Credits are used up; the workflow goes on there all the same, another one does not.
    advertise(&mut rig, 0);
    let job = NewJob { workflow, ..rig.job() };
    assert!(matches!(rig.enqueue("q", job), Ok(Enqueued::Forward { .. })));
    let job = NewJob { workflow: Some("build 8".to_owned()), ..rig.job() };
    created(rig.enqueue("q", job));
}

#[test]
fn errors_that_follow_the_tenant_trip_it() {
    let mut rig = Rig::new(&[("q", QueueDefinition::default())]);
    for _ in 0..30 {
        let job = NewJob { tenant: Some("bad".to_owned()), ..rig.job() };
        created(rig.enqueue("q", job));
    }
    advertise(&mut rig, 10);
    for leased in rig.receive_for("q", 30, None) {
        rig.fail(leased.receipt).unwrap();
    }
    rig.wait(3);
    let tripped: Vec<_> = rig.host.queues.tripped().collect();
    assert_eq!(tripped, [(&region(0), "bad")]);
    assert!(rig.alarms.iter().any(|text| text.contains("tenant bad")));
}

#[test]
fn a_job_that_its_worker_hands_back_is_no_failure_of_the_region() {
    let twice = QueueDefinition { attempts_max: Some(2), ..QueueDefinition::default() };
    let mut rig = Rig::new(&[("q", twice)]);
    for _ in 0..30 {
        let job = NewJob { tenant: Some("slow".to_owned()), ..rig.job() };
        created(rig.enqueue("q", job));
    }
    advertise(&mut rig, 10);
    for _ in 0..2 {
        let leased = rig.receive_for("q", 30, None);
        assert_eq!(leased.len(), 30);
        for leased in leased {
            let (receipt, why) = (leased.receipt, "not now".to_owned());
            let back = Ask::Fail { receipt, why, retry: Retry::HandedBack };
            assert_eq!(rig.answer(back), Ok(Answer::Settled));
        }
        rig.wait(3);
    }
    assert_eq!(rig.host.queues.tripped().count(), 0);
    // It used an attempt up all the same.
    assert!(rig.receive_for("q", 30, None).is_empty());
    assert_eq!(rig.stats("q").dead, 30);
}
