//! What the queues do, step by step.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_queue::{
    Answer, Ask, Enqueued, Event, Leased, NewJob, Receipt, Receive, Refused, RequestId, Retry,
    Stats,
};
use rhumb_regions::lease::Tenure;
use rhumb_types::{
    Epoch, MonoTime, UnixMillis,
    record::{Frontier, FrontierKey, Job, JobId, JobKey, QueueDefinition, Record},
};

use crate::{
    host::region,
    rig::{Rig, SECOND, created, name},
};

fn ids(leased: &[Leased]) -> Vec<JobId> {
    leased.iter().map(|it| it.receipt.key.id).collect()
}

#[test]
fn a_job_is_taken_in_leased_and_completed() {
    let mut rig = Rig::plain();
    let id = rig.add("q");
    let leased = rig.receive("q");
    assert_eq!(ids(&leased), [id]);
    assert_eq!(leased[0].job.body, "body 1");
    assert_eq!(rig.stats("q").leased, 1);
    assert!(rig.receive("q").is_empty());
    let receipt = leased[0].receipt.clone();
    assert_eq!(Receipt::parse(&receipt.to_string()), Some(receipt.clone()));
    assert_eq!(rig.complete(receipt.clone()), Ok(()));
    assert_eq!(rig.complete(receipt), Err(Refused::Gone));
    assert_eq!(rig.stats("q"), Stats::default());
    assert_eq!(rig.finished, [(id, true)]);
}

#[test]
fn a_lease_runs_out_and_its_receipt_with_it() {
    let mut rig = Rig::plain();
    rig.add("q");
    let first = rig.receive("q").remove(0);
    rig.wait(31);
    assert_eq!(rig.complete(first.receipt.clone()), Err(Refused::Stale));
    let second = rig.receive("q").remove(0);
    assert_eq!(second.attempts, 1);
    assert_eq!(rig.complete(first.receipt), Err(Refused::Stale));
    let receipt = second.receipt.clone();
    let extend = Ask::Extend { receipt, visibility: Duration::from_secs(25) };
    rig.wait(20);
    assert_eq!(rig.answer(extend), Ok(Answer::Settled));
    rig.wait(20);
    assert_eq!(rig.complete(second.receipt), Ok(()));
}

#[test]
fn a_home_that_is_to_move_leases_no_more_and_leaves_nothing_to_wait_for() {
    let mut rig = Rig::plain();
    for _ in 0..3 {
        rig.add("q");
    }
    let leased = rig.receive_for("q", 1, None).remove(0);
    let hush = || Ask::Hush { home: region(0) };
    assert_eq!(rig.answer(hush()), Ok(Answer::Leased(1)));
    assert!(rig.receive("q").is_empty());
    // What is leased goes on as before.
    let extend =
        Ask::Extend { receipt: leased.receipt.clone(), visibility: Duration::from_secs(9) };
    assert_eq!(rig.answer(extend), Ok(Answer::Settled));
    assert_eq!(rig.complete(leased.receipt), Ok(()));
    assert_eq!(rig.answer(hush()), Ok(Answer::Leased(1)), "what nobody waits for is being written");
    assert_eq!(rig.answer(hush()), Ok(Answer::Leased(0)));
    rig.restart(2);
    assert_eq!(rig.receive("q").len(), 2);
    // Another one that finds jobs leased waits for them, as ever.
    rig.restart(3);
    assert!(rig.receive("q").is_empty());
    let other = Ask::Hush { home: region(1) };
    assert!(matches!(rig.answer(other), Err(Refused::Unavailable(_))));
}

#[test]
fn a_move_that_was_called_off_leaves_nothing_behind() {
    let mut rig = Rig::plain();
    let first = rig.add("q");
    let leased = rig.receive("q").remove(0);
    rig.complete(leased.receipt).unwrap();
    let hush = || Ask::Hush { home: region(0) };
    while rig.answer(hush()) != Ok(Answer::Leased(0)) {}
    let second = rig.add("q");
    rig.wait(4);
    assert!(rig.receive("q").is_empty());
    rig.wait(2);
    let leased = rig.receive("q").remove(0);
    assert_eq!((leased.receipt.key.id, first != second), (second, true));
    // It is leased under a frontier of its own.
    rig.restart(2);
    assert!(rig.receive("q").is_empty());
}

#[test]
fn who_waits_gets_what_comes() {
    let mut rig = Rig::plain();
    let until = MonoTime(rig.host.clock.at(rig.now).mono.0 + 20 * SECOND);
    let receive =
        Receive { queue: name("q"), jobs_max: 1, visibility: None, until, worker: "w".into() };
    let first = rig.ask(Ask::Receive(receive.clone()));
    let second = rig.ask(Ask::Receive(receive));
    assert_eq!(rig.stats("q").waiters, 2);
    let id = rig.add("q");
    match rig.answers.remove(&first) {
        Some(Ok(Answer::Received(leased))) => assert_eq!(ids(&leased), [id]),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.answers.get(&second), None);
    rig.wait(21);
    assert_eq!(rig.answers.remove(&second), Some(Ok(Answer::Received(Vec::new()))));
}

#[test]
fn after_a_restart_only_what_may_be_leased_is_held_back() {
    for epoch in [1, 2] {
        let mut rig = Rig::plain();
        for _ in 0..400 {
            rig.add("q");
        }
        let leased = rig.receive_for("q", 10, None);
        rig.restart(epoch);
        let again = rig.receive_for("q", 100, None);
        assert!(!again.is_empty(), "what is beyond the frontier is leased at once");
        assert!(ids(&again).iter().all(|id| !ids(&leased).contains(id)));
        assert!(rig.stats("q").held > 0);
        let stale = rig.complete(leased[0].receipt.clone());
        assert_eq!(stale, Err(Refused::Stale));
        rig.wait(59);
        assert!(rig.stats("q").held > 0);
        rig.wait(3);
        assert_eq!(rig.stats("q").held, 0);
        let rest = rig.receive_for("q", 100, None);
        assert_eq!(rest[0].receipt.key.id, leased[0].receipt.key.id);
    }
}

#[test]
fn a_long_lease_is_in_the_row_and_outlasts_a_restart() {
    let mut rig = Rig::plain();
    let id = rig.add("q");
    let leased = rig.receive_for("q", 1, Some(3_600));
    rig.restart(2);
    rig.wait(3_500);
    assert!(rig.receive("q").is_empty());
    rig.wait(180);
    assert_eq!(ids(&rig.receive("q")), [id]);
    assert_eq!(rig.complete(leased[0].receipt.clone()), Err(Refused::Stale));
}

#[test]
fn without_a_lease_work_is_pinned_and_run_here() {
    let mut rig = Rig::plain();
    rig.host.grant(rig.now, &region(0), None);
    let job = rig.job();
    let pinned = rig.enqueue("q", job);
    assert!(matches!(pinned, Ok(Enqueued::Created { pinned: true, .. })), "{pinned:?}");
    let leased = rig.receive("q");
    assert_eq!(leased.len(), 1);
    assert_eq!(rig.complete(leased[0].receipt.clone()), Ok(()));
    let job = rig.job();
    let other = created(rig.enqueue("q", job));
    rig.lease(2);
    rig.wait(1);
    let at = rig.host.queues.whereabouts(&JobKey { queue: name("q"), id: other });
    assert_eq!(at.map(|it| it.pinned), Some(false));
    assert_eq!(ids(&rig.receive("q")), [other]);
}

#[test]
fn higher_priorities_first_then_the_order() {
    let mut rig = Rig::plain();
    let mut expected = Vec::new();
    for priority in [0, 5, 9, 5] {
        let job = NewJob { priority, ..rig.job() };
        expected.push((9 - priority, created(rig.enqueue("q", job))));
    }
    expected.sort();
    let expected: Vec<JobId> = expected.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids(&rig.receive("q")), expected);
}

#[test]
fn a_delay_is_kept_and_the_oldest_age_counts_what_is_ready() {
    let mut rig = Rig::plain();
    let job = NewJob { delay: Some(Duration::from_secs(30)), ..rig.job() };
    let id = created(rig.enqueue("q", job));
    rig.wait(29);
    assert!(rig.receive("q").is_empty());
    let stats = rig.stats("q");
    assert_eq!((stats.delayed, stats.ready, stats.oldest_age), (1, 0, Duration::ZERO));
    rig.wait(2);
    let stats = rig.stats("q");
    assert_eq!((stats.delayed, stats.ready), (0, 1));
    assert_eq!(stats.oldest_age.as_secs(), 31);
    assert_eq!(ids(&rig.receive("q")), [id]);
}

fn with_dead_letters() -> Rig {
    let dead_letters = Some(name("dead"));
    let settings =
        QueueDefinition { attempts_max: Some(2), dead_letters, ..QueueDefinition::default() };
    Rig::new(&[("q", settings), ("dead", QueueDefinition::default())])
}

#[test]
fn a_poison_message_is_dead_and_comes_back_by_hand() {
    let mut rig = with_dead_letters();
    rig.add("q");
    let first = rig.receive("q").remove(0);
    assert_eq!(rig.fail(first.receipt), Ok(Answer::Settled));
    // The second time its worker dies.
    rig.receive("q");
    rig.wait(31);
    assert_eq!(rig.stats("q"), Stats::default());
    assert_eq!(rig.finished.iter().map(|(_, completed)| *completed).collect::<Vec<_>>(), [false]);
    assert_eq!(rig.stats("dead").ready, 1);
    let redrive = Ask::Redrive { queue: name("dead"), to: None, jobs_max: 10 };
    assert_eq!(rig.answer(redrive), Ok(Answer::Moved(1)));
    let again = rig.receive("q").remove(0);
    assert_eq!((again.attempts, &again.job.body[..]), (0, &b"body 1"[..]));
    assert_eq!(again.job.provenance.moved_from.map(|from| from.queue), Some(name("dead")));
}

#[test]
fn without_dead_letters_the_dead_stay_and_rise_again() {
    let settings = QueueDefinition { attempts_max: Some(1), ..QueueDefinition::default() };
    let mut rig = Rig::new(&[("q", settings)]);
    let id = rig.add("q");
    let leased = rig.receive("q").remove(0);
    assert_eq!(rig.fail(leased.receipt), Ok(Answer::Settled));
    assert_eq!((rig.stats("q").dead, rig.stats("q").leased), (1, 0));
    assert!(rig.receive("q").is_empty());
    rig.restart(2);
    assert_eq!(rig.stats("q").dead, 1);
    rig.wait(62);
    let redrive = Ask::Redrive { queue: name("q"), to: None, jobs_max: 10 };
    assert_eq!(rig.answer(redrive), Ok(Answer::Moved(1)));
    assert_eq!(ids(&rig.receive("q")), [id]);
}

#[test]
fn dead_letters_that_nobody_made_are_not_lost() {
    let settings = QueueDefinition {
        attempts_max: Some(1),
        dead_letters: Some(name("absent")),
        ..QueueDefinition::default()
    };
    let mut rig = Rig::new(&[("q", settings)]);
    rig.add("q");
    let leased = rig.receive("q").remove(0);
    assert_eq!(rig.fail(leased.receipt), Ok(Answer::Settled));
    assert_eq!(rig.stats("q").dead, 1);
}

fn fifo() -> Rig {
    let settings = QueueDefinition {
        fifo: true,
        content_dedup: true,
        keys_kept: Duration::from_secs(300),
        ..QueueDefinition::default()
    };
    Rig::new(&[("q.fifo", settings)])
}

#[test]
fn the_jobs_of_a_group_run_one_after_the_other() {
    let mut rig = fifo();
    let mut jobs = Vec::new();
    for group in ["a", "b", "a"] {
        let job = NewJob { group: Some(group.to_owned()), ..rig.job() };
        jobs.push(created(rig.enqueue("q.fifo", job)));
    }
    let leased = rig.receive("q.fifo");
    assert_eq!(ids(&leased), jobs[..2]);
    assert_eq!(rig.stats("q.fifo").behind, 1);
    // A failure keeps the group's order: the head is delayed, and those behind it wait.
    let retry = Retry::After(Duration::from_secs(5));
    let (receipt, why) = (leased[0].receipt.clone(), "no".to_owned());
    assert_eq!(rig.answer(Ask::Fail { receipt, why, retry }), Ok(Answer::Settled));
    assert!(rig.receive("q.fifo").is_empty());
    rig.wait(6);
    let leased = rig.receive("q.fifo");
    assert_eq!(ids(&leased), jobs[..1]);
    assert_eq!(rig.complete(leased[0].receipt.clone()), Ok(()));
    assert_eq!(ids(&rig.receive("q.fifo")), jobs[2..]);
    let groupless = rig.job();
    assert!(matches!(rig.enqueue("q.fifo", groupless), Err(Refused::Invalid(_))));
}

#[test]
fn a_job_that_can_never_succeed_is_dead_at_once() {
    let mut rig = Rig::plain();
    let id = rig.add("q");
    let leased = rig.receive("q");
    let (receipt, why) = (leased[0].receipt.clone(), "no such order".to_owned());
    let retry = Retry::Never;
    assert_eq!(rig.answer(Ask::Fail { receipt, why, retry }), Ok(Answer::Settled));
    rig.wait(60);
    assert!(rig.receive("q").is_empty());
    let (queue, to, jobs_max) = (leased[0].receipt.key.queue.clone(), None, 9);
    assert_eq!(rig.answer(Ask::Redrive { queue, to, jobs_max }), Ok(Answer::Moved(1)));
    assert_eq!(ids(&rig.receive("q")), [id]);
}

#[test]
fn content_is_the_key_where_the_queue_says_so() {
    let mut rig = fifo();
    let job = NewJob { group: Some("a".to_owned()), ..rig.job() };
    let id = created(rig.enqueue("q.fifo", job.clone()));
    let leased = rig.receive("q.fifo");
    assert_eq!(rig.complete(leased[0].receipt.clone()), Ok(()));
    // Across the border of a window, and once it ended; but not for longer than keys are kept.
    rig.wait(290);
    let again = rig.enqueue("q.fifo", job.clone());
    assert!(matches!(again, Ok(Enqueued::Duplicate { id: it, .. }) if it == id), "{again:?}");
    rig.wait(20);
    assert_ne!(created(rig.enqueue("q.fifo", job)), id);
}

#[test]
fn a_key_names_one_job_and_other_parameters_are_an_error() {
    let mut rig = Rig::plain();
    let job = NewJob { key: Some("k".to_owned()), ..rig.job() };
    let id = created(rig.enqueue("q", job.clone()));
    assert!(matches!(rig.enqueue("q", job), Ok(Enqueued::Duplicate { id: it, .. }) if it == id));
    let other = NewJob { key: Some("k".to_owned()), ..rig.job() };
    assert_eq!(rig.enqueue("q", other), Err(Refused::ChangedParameters { id }));
    assert_eq!(rig.stats("q").ready, 1);
}

#[test]
fn a_purge_empties_what_is_there() {
    let mut rig = Rig::plain();
    for _ in 0..150 {
        rig.add("q");
    }
    let leased = rig.receive("q");
    assert_eq!(rig.answer(Ask::Purge { queue: name("q") }), Ok(Answer::Moved(150)));
    assert_eq!(rig.stats("q"), Stats::default());
    assert_eq!(rig.complete(leased[0].receipt.clone()), Err(Refused::Gone));
    rig.add("q");
    assert_eq!(rig.receive("q").len(), 1);
}

#[test]
fn rows_that_ended_are_dropped_and_old_jobs_end() {
    let retention = Duration::from_secs(60);
    let mut rig = Rig::new(&[("q", QueueDefinition { retention, ..QueueDefinition::default() })]);
    rig.add("q");
    rig.wait(92);
    assert_eq!(rig.stats("q"), Stats::default(), "it was too old");
    assert_eq!(rig.dropped, 0);
    rig.wait(640);
    assert_eq!(rig.dropped, 1);
}

#[test]
fn what_is_wrong_is_refused() {
    let mut rig = Rig::plain();
    let job = rig.job();
    assert_eq!(rig.enqueue("absent", job), Err(Refused::NoQueue(name("absent"))));
    let big = Bytes::from(vec![0; (1 << 20) + 1]);
    let job = NewJob::new(JobId([1; 16]), big, Vec::new());
    assert!(matches!(rig.enqueue("q", job), Err(Refused::Invalid(_))));
    let key = JobKey { queue: name("q"), id: JobId([1; 16]) };
    let receipt = Receipt { key, epoch: Epoch(1), number: 1 };
    assert_eq!(rig.complete(receipt), Err(Refused::Gone));
}

#[test]
fn a_job_waits_twice_as_long_after_each_failure_and_an_hour_at_most() {
    let settings = QueueDefinition {
        backoff: Duration::from_secs(10),
        retention: Duration::from_secs(14 * 24 * 3_600),
        ..QueueDefinition::default()
    };
    let mut rig = Rig::new(&[("q", settings)]);
    let id = rig.add("q");
    for seconds in [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600] {
        let leased = rig.receive("q");
        assert_eq!(leased[0].receipt.key.id, id);
        rig.fail(leased[0].receipt.clone()).unwrap();
        rig.wait(seconds - 1);
        assert!(rig.receive("q").is_empty(), "it is tried again before {seconds} s");
        assert_eq!(rig.stats("q").delayed, 1);
        rig.wait(2);
        assert_eq!(rig.stats("q").ready, 1, "it is not tried again after {seconds} s");
    }
}

/// The frontier of a queue, as it lies on the disk.
fn frontier(rig: &Rig, queue: &str) -> Option<Frontier> {
    let row = rig.host.store.get(&FrontierKey { home: region(0), queue: name(queue) }.row())?;
    assert!(!row.pinned);
    Some(Frontier::decode(&row.payload).unwrap())
}

/// A worker asks and waits: the owner writes its frontier ahead although nothing may be leased yet.
fn wait_for_a_job(rig: &mut Rig) {
    let until = MonoTime(u64::MAX);
    let (queue, worker) = (name("q"), "w".into());
    rig.ask(Ask::Receive(Receive { queue, jobs_max: 1, visibility: None, until, worker }));
    rig.wait(1);
}

/// An owner whose workers have many jobs, so that its frontier is beyond all of them.
fn busy() -> Rig {
    let mut rig = Rig::plain();
    for _ in 0..400 {
        rig.add("q");
    }
    for _ in 0..2 {
        assert!(!rig.receive_for("q", 200, None).is_empty());
        rig.wait(1);
    }
    assert!(frontier(&rig, "q").unwrap().through >= 400);
    rig
}

#[test]
fn a_frontier_only_grows_over_owners_too() {
    let mut rig = busy();
    for epoch in 2..4 {
        let before = frontier(&rig, "q").unwrap();
        rig.restart(epoch);
        wait_for_a_job(&mut rig);
        let after = frontier(&rig, "q").unwrap();
        assert_ne!(before, after, "this owner has written its own");
        assert!(after.through >= before.through && after.numbers > before.numbers, "{after:?}");
    }
}

#[test]
fn a_frontier_that_was_written_without_knowing_the_one_before_says_so() {
    let mut rig = busy();
    assert!(!frontier(&rig, "q").unwrap().blind);
    // The next owner has heard no majority, and the frontier has not come to it.
    rig.host.store.remove(&FrontierKey { home: region(0), queue: name("q") }.row());
    let until = MonoTime(u64::MAX);
    rig.restart_under(Tenure { epoch: Epoch(2), until, majority: false, homes: None });
    wait_for_a_job(&mut rig);
    let second = frontier(&rig, "q").unwrap();
    assert!(second.blind && second.through < 400, "{second:?}");
    // Its successor has heard one, and knows no more: workers of the first have jobs beyond that.
    rig.restart(3);
    assert!(rig.receive_for("q", 100, None).is_empty());
    assert_eq!(rig.stats("q").held, 400, "{:?}", rig.stats("q"));
    rig.wait(62);
    assert_eq!(rig.stats("q").held, 0);
    assert!(!rig.receive("q").is_empty());
}

#[test]
fn after_a_takeover_nothing_of_a_fifo_queue_is_leased_before_the_earlier_leases_have_ended() {
    let mut rig = fifo();
    let member = |rig: &mut Rig| {
        let job = NewJob { group: Some("a".to_owned()), ..rig.job() };
        created(rig.enqueue("q.fifo", job))
    };
    let first = member(&mut rig);
    assert_eq!(ids(&rig.receive("q.fifo")), [first]);
    // A worker has it, and its row has not come to the next owner.
    rig.host.store.remove(&JobKey { queue: name("q.fifo"), id: first }.row());
    rig.restart(2);
    let second = member(&mut rig);
    assert!(rig.receive("q.fifo").is_empty());
    rig.wait(59);
    assert!(rig.receive("q.fifo").is_empty());
    rig.wait(3);
    assert_eq!(ids(&rig.receive("q.fifo")), [second]);
}

#[test]
fn a_first_frontier_is_not_pinned_where_the_lease_has_just_run_out() {
    let mut rig = Rig::plain();
    let id = rig.add("q");
    rig.requests += 1;
    let receive = Receive {
        queue: name("q"),
        jobs_max: 1,
        visibility: None,
        until: MonoTime(0),
        worker: "w".into(),
    };
    let (request, ask) = (RequestId(rig.requests), Ask::Receive(receive));
    rig.host.event(rig.now, Event::Request { request, ask });
    // Asked for under the lease, and accepted after it.
    rig.host.leases = Arc::default();
    rig.drain();
    let row = FrontierKey { home: region(0), queue: name("q") }.row();
    assert_eq!(rig.host.store.get(&row), None);
    rig.lease(2);
    rig.wait(1);
    // Who asked has waited for the next one.
    let Some(Ok(Answer::Received(leased))) = rig.answers.remove(&request) else {
        panic!("{:?}", rig.stats("q"))
    };
    assert_eq!(ids(&leased), [id]);
    assert!(frontier(&rig, "q").is_some());
}

#[test]
fn a_failure_without_a_wait_asks_no_clock() {
    let mut rig = Rig::plain();
    let id = rig.add("q");
    let not_before = |rig: &Rig| {
        let row = rig.host.store.get(&JobKey { queue: name("q"), id }.row()).unwrap();
        Job::decode(&row.payload).unwrap().not_before
    };
    for (seconds, set) in [(0, false), (5, true)] {
        let receipt = rig.receive("q").remove(0).receipt;
        let retry = Retry::After(Duration::from_secs(seconds));
        let why = "no".to_owned();
        assert_eq!(rig.answer(Ask::Fail { receipt, why, retry }), Ok(Answer::Settled));
        assert_eq!(not_before(&rig) > UnixMillis(0), set, "a wait of {seconds} s");
    }
}
