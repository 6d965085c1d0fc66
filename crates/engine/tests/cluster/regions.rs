//! Several regions: who does what, and what is left when one is cut off, gone, or back.

use std::{collections::BTreeSet, time::Duration};

use rhumb_engine::{
    HomeChoice, Operation, ReceiveRequest, Taken,
    queue::{NewJob, Refused},
};
use rhumb_ports::{memory::MemoryDisk, peer::PROTOCOL_VERSION};
use rhumb_regions::spillover::Limits;
use rhumb_types::{
    ErrorCode,
    control::{FailoverStep, StepState},
    record::{JobId, JobKey, QueueDefinition, QueueName},
};

use crate::cluster::{Cluster, Node, bodies, job, queue, region, until, wish};

async fn three(cluster: &Cluster) -> [Node; 3] {
    three_with(cluster, QueueDefinition::default()).await
}

async fn three_with(cluster: &Cluster, definition: QueueDefinition) -> [Node; 3] {
    let disks = [MemoryDisk::new(), MemoryDisk::new(), MemoryDisk::new()];
    let (us, eu, ap) = tokio::join!(
        cluster.start("us", &disks[0], true),
        cluster.start("eu", &disks[1], true),
        cluster.start("ap", &disks[2], true),
    );
    let agreed = us.engine.agreed().unwrap();
    until("the protocol", || agreed.borrow().protocol == PROTOCOL_VERSION).await;
    us.define(definition).await;
    for node in [&us, &eu, &ap] {
        node.knows().await;
        for home in ["us", "eu", "ap"] {
            let agreed = node.engine.agreed().unwrap();
            let known = || agreed.borrow().acting_for(&region(home)).is_some();
            until("every lease", known).await;
        }
    }
    [us, eu, ap]
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_to_its_home_and_idle_regions_come_for_it() {
    let cluster = Cluster::new(&["us", "eu", "ap"]);
    let [us, eu, ap] = three(&cluster).await;
    let home = region("us");
    let taken = eu.add_for(&home, "one").await;
    assert_eq!((&taken.home, taken.pinned), (&home, false));
    let here = us.receive_for(Duration::ZERO).await;
    assert_eq!(bodies(&here), ["one"]);
    us.queues.release(here[0].receipt.clone()).await.unwrap();
    // One that is for the work of its own region does not get it.
    let own = ReceiveRequest { elsewhere: false, ..wish(Duration::from_millis(300)) };
    assert_eq!(ap.queues.receive(own).await, Ok(Vec::new()));
    // Nobody asks in `us`: another worker in `ap` gets it, keeps it, and settles it through `eu`.
    let leased = ap.receive().await;
    assert_eq!(bodies(&leased), ["one"]);
    let receipt = leased[0].receipt.clone();
    ap.queues.extend(receipt.clone(), Duration::from_secs(20)).await.unwrap();
    assert_eq!(eu.queues.complete(vec![receipt.clone()]).await, [Ok(())]);
    assert_eq!(ap.queues.complete(vec![receipt]).await, [Err(Refused::Gone)]);
    assert!(us.receive_for(Duration::ZERO).await.is_empty());
    assert_eq!(us.queues.purge(&queue()).await, Ok(0));
    for node in [us, eu, ap] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_the_same_key_meet_wherever_they_come_in() {
    let cluster = Cluster::new(&["us", "eu", "ap"]);
    let nodes = three(&cluster).await;
    let mut ids = BTreeSet::new();
    let mut created = 0;
    for node in &nodes {
        for key in 0..20 {
            let keyed = NewJob { key: Some(format!("key {key}")), ..job("one") };
            let taken = node.enqueue_at(HomeChoice::Auto, vec![keyed]).await.remove(0).unwrap();
            created += usize::from(taken.duplicate.is_none());
            ids.insert(taken.id);
        }
    }
    assert_eq!((ids.len(), created), (20, 20));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_gone_loses_no_job_and_its_receipts_end() {
    let cluster = Cluster::new(&["us", "eu", "ap"]);
    let [us, eu, ap] = three(&cluster).await;
    let home = region("us");
    let mut all = BTreeSet::<JobId>::new();
    for nth in 0..30 {
        all.insert(eu.add_for(&home, &nth.to_string()).await.id);
    }
    // Ten of them are with workers of `us` and may run there still.
    let leased = us.receive().await;
    assert_eq!(leased.len(), 10);
    let done = leased[0].receipt.clone();
    assert_eq!(us.queues.complete(vec![done.clone()]).await, [Ok(())]);
    let stats = async || eu.queues.stats(&queue()).await.get(&home).copied().unwrap_or_default();
    let arrived = async {
        while stats().await.ready != 29 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.unwrap();
    cluster.cut(&home, true);
    // While nobody acts for it, new work is taken in where it comes, and pinned there (rule 5).
    until("that `us` looks down", || {
        let routing = eu.engine.routing().unwrap();
        let at = routing.index(&home).unwrap();
        routing.region(at).health == rhumb_regions::Health::Down
    })
    .await;
    if !eu.acts_for(&home) && !ap.acts_for(&home) {
        let pinned = eu.add_for(&home, "pinned").await;
        assert!(pinned.pinned || eu.acts_for(&pinned.home), "{pinned:?}");
        all.insert(pinned.id);
    }
    until("a successor", || eu.acts_for(&home) || ap.acts_for(&home)).await;
    // What no worker can have is leased at once; the rest waits for the longest lease there was.
    let mut seen = BTreeSet::from([done.key.id]);
    let collected = async {
        while seen.len() < 20 {
            let jobs = eu.receive().await;
            let receipts = jobs.into_iter().map(|it| it.receipt).collect::<Vec<_>>();
            for (receipt, result) in receipts.iter().zip(eu.queues.complete(receipts.clone()).await)
            {
                result.unwrap();
                assert!(seen.insert(receipt.key.id), "{receipt} ran twice");
            }
        }
    };
    let some = tokio::time::timeout(Duration::from_secs(2), collected).await;
    assert!(seen.is_subset(&all) && (some.is_ok() || seen.len() <= 20), "{}", seen.len());
    // The old owner's receipts are worth nothing, and it gives none.
    let late = us.queues.complete(vec![leased[1].receipt.clone()]).await.remove(0);
    assert!(late.is_err(), "{late:?}");
    assert!(us.receive_for(Duration::ZERO).await.is_empty());
    cluster.cut(&home, false);
    for node in [us, eu, ap] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_workers_and_its_successor_for_nobody() {
    let cluster = Cluster::new(&["us", "eu", "ap"]);
    let [us, eu, ap] = three(&cluster).await;
    let home = region("us");
    for nth in 0..15 {
        us.add_for(&home, &nth.to_string()).await;
    }
    let leased = us.receive().await;
    assert_eq!(leased.len(), 10);
    let operation = Operation {
        actor: "op".into(),
        reason: "a new kernel".into(),
        key: "drain".into(),
        strategy: None,
    };
    let id = eu.engine.drain(&home, operation).await.unwrap().id;
    let at_drain = async |state| {
        let record = eu.engine.failover_record(id).await.unwrap();
        record.steps.iter().any(|it| it.step == FailoverStep::Drain && it.state == state)
    };
    let drains = async {
        while !at_drain(StepState::Running).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), drains).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(us.receive_for(Duration::ZERO).await.is_empty(), "it leases no more");
    assert!(us.acts_for(&home), "it waits");
    let receipts: Vec<_> = leased.into_iter().map(|it| it.receipt).collect();
    let done = us.queues.complete(receipts).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    until("a successor", || eu.acts_for(&home) || ap.acts_for(&home)).await;
    assert!(at_drain(StepState::Done).await);
    let mut rest = BTreeSet::new();
    let others = async {
        while rest.len() < 5 {
            rest.extend(eu.receive().await.into_iter().map(|it| it.receipt.key.id));
        }
    };
    // Far less than a lease of theirs would last.
    tokio::time::timeout(Duration::from_secs(10), others).await.unwrap();
    for node in [us, eu, ap] {
        node.stop().await;
    }
}

/// Thresholds that ten jobs reach, after half a second.
fn soon() -> Limits {
    Limits {
        enter_depth: 10,
        leave_depth: 5,
        enter_held: Duration::from_millis(500),
        ..Limits::default()
    }
}

/// Adds jobs in `us` until one is sent away; gives that.
async fn spilled_from(us: &Node) -> Taken {
    let spilled = async {
        loop {
            let taken = us.add("more").await;
            if taken.home != region("us") {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), spilled).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_region_sends_new_work_to_one_that_has_workers() {
    let cluster = Cluster::new(&["us", "eu", "ap"]).spilling(soon());
    let [us, eu, ap] = three(&cluster).await;
    // A worker in `eu` asks now and then, and so has capacity to spare.
    assert!(eu.receive_for(Duration::ZERO).await.is_empty());
    for nth in 0..40 {
        us.add(&nth.to_string()).await;
    }
    let taken = spilled_from(&us).await;
    assert_eq!((&taken.home, taken.pinned), (&region("eu"), false));
    assert!(taken.why.as_ref().is_some_and(|why| why.contains("us sends")), "{taken:?}");
    let leased = eu.receive().await;
    assert_eq!(leased[0].receipt.key.id, taken.id);
    let provenance = &leased[0].job.provenance;
    assert_eq!(provenance.spilled_from, Some(region("us")));
    for node in [us, eu, ap] {
        node.stop().await;
    }
}

/// How many jobs a node knows of a home.
async fn known(node: &Node, home: &str) -> u64 {
    let stats = node.queues.stats(&queue()).await.remove(&region(home)).unwrap_or_default();
    stats.ready + stats.delayed + stats.behind + stats.leased + stats.held + stats.dead
}

fn resides(tags: &[&str]) -> QueueDefinition {
    let residency = tags.iter().map(|tag| (*tag).to_owned()).collect();
    QueueDefinition { residency, ..QueueDefinition::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_jurisdiction_are_taken_in_and_leased_inside_only() {
    let cluster = Cluster::new(&["us", "eu", "ap"]).spilling(soon());
    let [us, eu, ap] = three_with(&cluster, resides(&["us", "eu"])).await;
    // Who asks outside has its jobs taken in inside, and is given none.
    for key in [None, Some("a"), Some("b"), Some("c"), Some("d")] {
        let new = NewJob { key: key.map(str::to_owned), ..job("from outside") };
        let taken = ap.enqueue(vec![new]).await.remove(0).unwrap();
        assert!(taken.home != region("ap") && !taken.pinned, "{taken:?}");
    }
    let wish = |queue| ReceiveRequest { queue, ..wish(Duration::ZERO) };
    let refused = ap.queues.receive(wish(queue())).await.unwrap_err();
    assert!(refused.to_string().contains("stay in us or eu"), "{refused}");
    let there = HomeChoice::Region(region("ap"));
    let refused = us.enqueue_at(there, vec![job("sent out")]).await.remove(0).unwrap_err();
    assert!(refused.to_string().contains("ap is outside"), "{refused}");
    // Outside there are workers with nothing to do, and inside there are none: nothing is sent away.
    let seeded = QueueName::new("seeded").unwrap();
    assert_eq!(ap.queues.receive(wish(seeded)).await.map(|jobs| jobs.len()), Ok(0));
    for nth in 0..40 {
        us.add(&nth.to_string()).await;
    }
    let kept = async {
        loop {
            let taken = us.add("more").await;
            assert_eq!(taken.home, region("us"), "{taken:?}");
            let key = JobKey { queue: queue(), id: taken.id };
            let view = us.queues.job(&key).await.unwrap().unwrap();
            if view.job.provenance.why.ends_with("has room") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), kept).await.unwrap();
    // One inside comes for work, and gets some.
    assert!(!eu.receive().await.is_empty());
    let taken = spilled_from(&us).await;
    assert_eq!(taken.home, region("eu"));
    // Cut off from those inside, one outside takes nothing in.
    cluster.cut(&region("ap"), true);
    let alone = async {
        loop {
            if let Err(refused) = ap.enqueue(vec![job("alone")]).await.remove(0) {
                return refused;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(15), alone).await.unwrap();
    assert_eq!(refused.code(), ErrorCode::Unavailable, "{refused}");
    for node in [&us, &eu, &ap] {
        assert_eq!(known(node, "ap").await, 0);
    }
    cluster.cut(&region("ap"), false);
    for node in [us, eu, ap] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_from_outside_gives_no_job_of_a_jurisdiction_out() {
    let cluster = Cluster::new(&["us", "eu", "ap"]);
    let [us, eu, ap] = three_with(&cluster, resides(&["us"])).await;
    let home = region("us");
    for nth in 0..5 {
        assert_eq!(eu.add(&nth.to_string()).await.home, home);
    }
    cluster.cut(&home, true);
    until("a successor", || eu.acts_for(&home) || ap.acts_for(&home)).await;
    let other = if eu.acts_for(&home) { &eu } else { &ap };
    for node in [&eu, &ap] {
        let refused = node.enqueue(vec![job("late")]).await.remove(0).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Unavailable, "{refused}");
    }
    assert_eq!(known(other, "us").await, 5, "they wait");
    // Also where it is asked by one that does not know better, or by one inside.
    assert!(other.queues.receive(wish(Duration::ZERO)).await.is_err());
    cluster.cut(&home, false);
    assert!(us.receive_for(Duration::from_secs(2)).await.is_empty());
    for node in [us, eu, ap] {
        node.stop().await;
    }
}
