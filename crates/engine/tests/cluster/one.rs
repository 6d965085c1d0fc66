//! The queues of one node, over restarts.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use rhumb_engine::{
    DefineError, EnqueueRequest, Expect, HomeChoice, StrongError, StrongRequest,
    queue::{NewJob, Place, Refused},
};
use rhumb_ports::memory::MemoryDisk;
use rhumb_state::{Op, strong::StrongStep};
use rhumb_types::{
    ErrorCode, RegionId,
    record::{JobKey, Progress, QueueDefinition, QueueName},
};

use crate::cluster::{Cluster, Node, PATIENCE, bodies, job, queue, region};

fn here() -> RegionId {
    region("us")
}

fn one() -> Cluster {
    Cluster::new(&["us"])
}

/// A node on a disk of its own.
async fn alone() -> Node {
    one().start("us", &MemoryDisk::new(), true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_taken_in_leased_and_completed() {
    let node = alone().await;
    node.define(QueueDefinition::default()).await;
    let mut finished = node.queues.finished();
    let taken = node.add("one").await;
    assert_eq!((taken.home, taken.pinned, taken.duplicate), (here(), false, None));
    let leased = node.receive().await;
    assert_eq!(bodies(&leased), ["one"]);
    let receipt = leased.into_iter().next().unwrap().receipt;
    assert_eq!(node.queues.complete(vec![receipt.clone(), receipt.clone()]).await.len(), 2);
    let event = finished.recv().await.unwrap();
    assert_eq!((event.key.id, event.completed), (taken.id, true));
    let late = node.queues.extend(receipt, Duration::from_secs(9)).await;
    assert_eq!(late.map_err(|refused| refused.code()), Err(ErrorCode::NotFound));
    let key = JobKey { queue: queue(), id: taken.id };
    let view = node.queues.job(&key).await.unwrap().unwrap();
    assert!(matches!(view.job.progress, Progress::Ended { .. }) && view.whereabouts.is_none());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_crash_and_is_leased_again() {
    let disk = MemoryDisk::new();
    let cluster = one();
    let node = cluster.start("us", &disk, true).await;
    node.define(QueueDefinition::default()).await;
    let jobs: Vec<NewJob> = ["a", "b", "c"].into_iter().map(job).collect();
    assert!(node.enqueue(jobs).await.iter().all(Result::is_ok));
    assert_eq!(node.receive().await.len(), 3);
    let again = cluster.start("us", &disk.durable_image(), true).await;
    // They may be with a worker still, so nobody gets them.
    assert!(again.receive_for(Duration::from_millis(300)).await.is_empty());
    let stats = again.queues.stats(&queue()).await;
    assert_eq!(stats.get(&here()).unwrap().held, 3);
    // What comes now is leased at once.
    again.add("d").await;
    assert_eq!(bodies(&again.receive().await), ["d"]);
    again.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_jobs_that_ended_long_ago_are_dropped_and_others_stay() {
    let disk = MemoryDisk::new();
    let mut cluster = one();
    let node = cluster.start("us", &disk, true).await;
    node.define(QueueDefinition::default()).await;
    let ended = JobKey { queue: queue(), id: node.add("ended").await.id };
    let receipts = node.receive().await.into_iter().map(|it| it.receipt).collect();
    assert_eq!(node.queues.complete(receipts).await, [Ok(())]);
    let waiting = JobKey { queue: queue(), id: node.add("waiting").await.id };
    assert!(node.queues.job(&ended).await.unwrap().is_some());
    node.stop().await;
    // An hour later: such a row is kept for ten minutes.
    cluster.ahead_millis = 3_600_000;
    let node = cluster.start("us", &disk, true).await;
    let dropped = async {
        while node.queues.job(&ended).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.unwrap();
    assert!(node.queues.job(&waiting).await.unwrap().is_some());
    node.stop().await;
    let node = cluster.start("us", &disk, true).await;
    assert!(node.queues.job(&ended).await.unwrap().is_none(), "it is gone from the disk, too");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_work_while_no_group_answers() {
    let disk = MemoryDisk::new();
    let cluster = one();
    let node = cluster.start("us", &disk, true).await;
    node.define(QueueDefinition::default()).await;
    node.stop().await;
    // Not even what was agreed is there until a group answers.
    let node = cluster.start("us", &disk, false).await;
    // Nobody holds a lease, so the work is pinned to who takes it in (rule 5).
    let taken = node.add("one").await;
    assert_eq!((taken.home, taken.pinned), (here(), true));
    let leased = node.receive().await;
    assert_eq!(bodies(&leased), ["one"]);
    let receipts = leased.into_iter().map(|it| it.receipt).collect();
    assert_eq!(node.queues.complete(receipts).await, [Ok(())]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_gets_the_job_that_comes_and_one_that_is_gone_loses_none() {
    let node = alone().await;
    node.define(QueueDefinition::default()).await;
    for _ in 0..50 {
        let gone = tokio::time::timeout(Duration::from_millis(1), node.receive()).await;
        assert!(gone.is_err());
        let polled = node.receive();
        let (leased, taken) = tokio::join!(polled, node.add("one"));
        assert_eq!(leased.len(), 1);
        assert_eq!(leased[0].receipt.key.id, taken.id);
        node.queues.release(leased[0].receipt.clone()).await.unwrap();
        // Somebody who goes away just as the job is leased to them.
        let hasty = tokio::time::timeout(Duration::from_micros(200), node.receive()).await;
        let held = match hasty {
            Ok(leased) => leased,
            Err(_gone) => node.receive().await,
        };
        let receipts = held.into_iter().map(|it| it.receipt).collect();
        assert_eq!(node.queues.complete(receipts).await, [Ok(())]);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_one_job_and_other_parameters_are_refused() {
    let node = alone().await;
    node.define(QueueDefinition::default()).await;
    let keyed = |body: &str| NewJob { key: Some("k".to_owned()), ..job(body) };
    let results = node.enqueue(vec![keyed("a"), keyed("a"), keyed("b")]).await;
    let [Ok(first), Ok(second), Err(third)] = &results[..] else { panic!("{results:?}") };
    assert_eq!((first.id, first.duplicate.is_some()), (second.id, false));
    assert!(second.duplicate.is_some());
    assert_eq!(third, &Refused::ChangedParameters { id: first.id });
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_agreed_listed_purged_and_deleted() {
    let node = alone().await;
    node.define(QueueDefinition::default()).await;
    let again = node.queues.define(queue(), QueueDefinition::default(), Expect::Absent).await;
    assert_eq!(again, Err(DefineError::Changed(queue())));
    let wrong = QueueDefinition { attempts_max: Some(0), ..QueueDefinition::default() };
    let refused = node.queues.define(queue(), wrong, Expect::Any).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Invalid);
    let tags = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    node.queues.tag(queue(), tags.clone()).await.unwrap();
    let stale = node.queues.define(queue(), QueueDefinition::default(), Expect::Version(1)).await;
    assert_eq!(stale, Err(DefineError::Changed(queue())));
    let agreed = node.queues.agreed().borrow().clone();
    assert_eq!(agreed.entries.get(&queue()).unwrap().entry.tags, tags);
    for nth in 0..7 {
        node.add(&nth.to_string()).await;
    }
    let first = node.queues.jobs(&queue(), Some(Place::Ready), None, 4).await.unwrap();
    let rest = node.queues.jobs(&queue(), None, Some(first[3].id), 9).await.unwrap();
    assert_eq!((first.len(), rest.len()), (4, 3));
    node.queues.delete(&queue()).await.unwrap();
    assert!(node.queues.jobs(&queue(), None, None, 9).await.unwrap().is_empty());
    let jobs = vec![job("late")];
    let request = EnqueueRequest { queue: queue(), home: HomeChoice::Auto, jobs };
    assert_eq!(node.queues.enqueue(request).await, Err(Refused::NoQueue(queue())));
    // A queue of the file that was deleted does not come back with the file.
    node.queues.delete(&QueueName::new("seeded").unwrap()).await.unwrap();
    assert!(node.queues.definitions().borrow().is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_strong_namespaces_do_not_reach_what_nodes_agree_on() {
    let node = alone().await;
    let key = Bytes::from_static(b"\0rhumb\0queue\0seeded");
    let strong = node.engine.strong().unwrap();
    let write = StrongStep::Write(Op::Del { keys: vec![key.clone()] });
    let refused = strong.execute(StrongRequest::new(vec![write])).await.unwrap_err();
    assert_eq!(refused, StrongError::Reserved);
    assert_eq!(strong.fence(key.clone()).await, Err(StrongError::Reserved));
    assert_eq!(strong.versions(vec![key]).await, Err(StrongError::Reserved));
    let size = strong.query(rhumb_state::Query::DbSize).await.unwrap();
    assert_eq!(size, rhumb_state::Reply::Int(0));
    node.stop().await;
}
