//! Forming a group, changing its members, and recovering it by force.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rhumb_control::{
    Disk, Faults, Group, GroupConfig, Groups, Limits, Offline, Part, RECOVERY_LEAP, Rate, SimDisk,
    VOTERS_MAX,
};
use rhumb_ports::{
    contract::control::{Tape, number},
    control::{Control, ControlError, GroupMember},
};
use rhumb_types::NodeId;

use crate::common::{Caller, Net, REGIONS, Three, config, open_free, region, start, until};

const FAST: Duration = Duration::from_millis(2);
const ALL: Bytes = Bytes::new();

fn word(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn has(members: &[GroupMember], node: u64, voter: bool) -> bool {
    members.iter().any(|member| member.node == NodeId(node) && member.voter == voter)
}

#[tokio::test]
async fn a_group_forms_only_when_every_founder_answers() {
    let net = Net::with_delay(FAST / 2);
    let directory = tempfile::tempdir().unwrap();
    let founders = ["ap", "eu", "us"];
    let start_one = async |node: u64, name: &str| {
        start(config(node, name, &founders, FAST), &directory.path().join(name), &net).await
    };
    let ap = start_one(3, "ap").await;
    let eu = start_one(2, "eu").await;
    until(&ap, |status| status.trouble.as_ref().is_some_and(|what| what.contains("us"))).await;
    let waits = |what: &String| what.contains("until ap forms the group");
    until(&eu, |status| status.trouble.as_ref().is_some_and(waits)).await;
    let refused = eu.propose(word("early")).await.unwrap_err();
    assert!(matches!(refused, ControlError::NoLeader { .. }), "{refused}");

    let us = start_one(1, "us").await;
    us.propose(word("formed")).await.unwrap();
    for group in [&us, &eu, &ap] {
        until(group, |status| status.trouble.is_none() && status.members.len() == 3).await;
    }
}

/// A voter that lost its disk comes back under a new id (rule 15). It finds the others in a group
/// and waits; were it to form one, there would be two.
#[tokio::test]
async fn a_founder_without_its_disk_is_added_under_a_new_id() {
    let mut three = Three::start(FAST).await;
    let ap = three.groups.pop().unwrap();
    ap.propose(word("before")).await.unwrap();
    ap.stop().await;
    three.net.forget(&region("ap"));

    // Listed first, it would be the one to form a group.
    let fresh = config(33, "ap", &["ap", "eu", "us"], FAST);
    let fresh = start(fresh, &three.directory.path().join("ap-again"), &three.net).await;
    let waits = |what: &String| what.contains("in a group already");
    until(&fresh, |status| status.trouble.as_ref().is_some_and(waits)).await;

    let us = &three.groups[0];
    us.set_member(NodeId(33), region("ap"), Some(true)).await.unwrap();
    us.set_member(NodeId(3), region("ap"), None).await.unwrap();
    assert_eq!(number(&fresh.read(ALL).await.unwrap()), Some(1));
    let status = until(&fresh, |status| status.members.len() == 3).await;
    assert!(has(&status.members, 33, true) && !has(&status.members, 3, true), "{status:?}");
}

#[tokio::test]
async fn two_regions_and_a_witness_outlive_any_one_of_them() {
    for (lost, name) in REGIONS.into_iter().enumerate() {
        let three = Three::start(FAST).await;
        three.groups[0].propose(word("before")).await.unwrap();
        three.net.cut(&region(name), true);
        let survivor = &three.groups[(lost + 1) % 3];
        while survivor.propose(word("after")).await.is_err() {}
    }
}

#[tokio::test]
async fn members_come_and_go_while_the_group_works() {
    let three = Three::start(FAST).await;
    let us = &three.groups[0];
    for _ in 0..300 {
        us.propose(word("x")).await.unwrap();
    }
    let sa = config(4, "sa", &REGIONS, FAST);
    let sa = start(sa, &three.directory.path().join("sa"), &three.net).await;

    us.set_member(NodeId(4), region("sa"), Some(false)).await.unwrap();
    us.set_member(NodeId(4), region("sa"), Some(false)).await.unwrap();
    let status = until(&sa, |status| status.applied >= 300).await;
    assert!(has(&status.members, 4, false), "{status:?}");
    assert_eq!(number(&sa.propose(word("from a learner")).await.unwrap()), Some(300));

    us.set_member(NodeId(4), region("sa"), Some(true)).await.unwrap();
    until(&sa, |status| has(&status.members, 4, true)).await;
    let refused = us.set_member(NodeId(4), region("eu"), Some(true)).await.unwrap_err();
    assert!(matches!(refused, ControlError::Membership(_)), "{refused}");

    us.set_member(NodeId(4), region("sa"), Some(false)).await.unwrap();
    until(us, |status| has(&status.members, 4, false)).await;
    us.set_member(NodeId(4), region("sa"), None).await.unwrap();
    until(us, |status| status.members.len() == 3).await;
}

#[tokio::test]
async fn a_node_that_does_not_answer_becomes_no_voter() {
    let three = Three::start(FAST).await;
    three.groups[0].propose(word("before")).await.unwrap();
    let refused =
        three.groups[0].set_member(NodeId(4), region("sa"), Some(true)).await.unwrap_err();
    let says = |what: &String| what.contains("not caught up");
    assert!(matches!(&refused, ControlError::Membership(what) if says(what)), "{refused}");
    let status = until(&three.groups[0], |status| status.members.len() == 4).await;
    assert!(has(&status.members, 4, false), "{status:?}");
    three.groups[0].propose(word("after")).await.unwrap();
}

#[tokio::test]
async fn the_leader_itself_can_be_removed() {
    let three = Three::start(FAST).await;
    let leader = three.leader().await;
    let other = &three.groups[(leader + 1) % 3];
    other.propose(word("before")).await.unwrap();
    let node = three.groups[leader].node();
    other.set_member(node, region(REGIONS[leader]), None).await.unwrap();
    let status = until(other, |status| status.members.len() == 2).await;
    assert!(status.members.iter().all(|member| member.node != node));
    three.net.cut(&region(REGIONS[leader]), true);
    while other.propose(word("after")).await.is_err() {}
}

#[tokio::test]
async fn there_are_at_most_five_voters_and_at_least_one() {
    let net = Net::with_delay(FAST / 2);
    let directory = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "d", "e", "f"];
    let founders = &names[..VOTERS_MAX];
    let mut groups = Vec::new();
    for (node, name) in (1..).zip(names) {
        let config = config(node, name, founders, FAST);
        groups.push(start(config, &directory.path().join(name), &net).await);
    }
    let refused = groups[0].set_member(NodeId(6), region("f"), Some(true)).await.unwrap_err();
    assert!(matches!(&refused, ControlError::Membership(what) if what.contains("learner")));
    groups[0].set_member(NodeId(6), region("f"), Some(false)).await.unwrap();
    until(&groups[5], |status| status.members.len() == 6).await;

    let alone = config(9, "z", &["z"], FAST);
    let alone = start(alone, &directory.path().join("z"), &net).await;
    alone.propose(word("alone")).await.unwrap();
    for wanted in [None, Some(false)] {
        let refused = alone.set_member(NodeId(9), region("z"), wanted).await.unwrap_err();
        assert!(matches!(refused, ControlError::Membership(_)), "{refused}");
    }
}

#[tokio::test]
async fn a_member_far_behind_is_given_a_snapshot() {
    let net = Net::with_delay(FAST / 2);
    let directory = tempfile::tempdir().unwrap();
    let limited = |node: u64, name: &str| {
        let mut config = config(node, name, &REGIONS, FAST);
        config.limits = Limits { snapshot_entries: 50, ..config.limits };
        config
    };
    let mut groups = Vec::new();
    for (node, name) in (1..).zip(REGIONS) {
        groups.push(start(limited(node, name), &directory.path().join(name), &net).await);
    }
    groups[0].propose(word("x")).await.unwrap();
    let ap = groups.pop().unwrap();
    ap.stop().await;
    drop(ap);
    net.forget(&region("ap"));
    for _ in 0..300 {
        while groups[0].propose(Bytes::from(vec![7; 4_000])).await.is_err() {}
    }
    let ap = start(limited(3, "ap"), &directory.path().join("ap"), &net).await;
    until(&ap, |_| number(&ap.read_local(b"")).is_some_and(|count| count >= 301)).await;
    assert!(directory.path().join("ap/snapshot").exists());
}

fn part(config: &GroupConfig) -> Part {
    let GroupConfig { name, node, region, seed, .. } = config.clone();
    Part { group: name, node, region, seed }
}

/// Two regions of three are lost for good; later their old voters come back.
#[tokio::test]
async fn a_forced_recovery_goes_on_and_the_old_voters_are_refused() {
    let mut three = Three::start(FAST).await;
    for _ in 0..5 {
        three.groups[2].propose(word("agreed")).await.unwrap();
    }
    until(&three.groups[2], |_| number(&three.groups[2].read_local(b"")) == Some(5)).await;
    for group in three.groups.drain(..) {
        group.stop().await;
    }
    for name in REGIONS {
        three.net.forget(&region(name));
    }
    let path = |name: &str| three.directory.path().join(name);
    let mut survivor = config(3, "ap", &REGIONS, FAST);
    survivor.seed = 0xfeed;
    let disk: Arc<dyn Disk> = Arc::new(open_free(&path("ap")).await);
    let open = || Offline::open(part(&survivor), Box::new(Tape::default()), disk.clone());
    // Looking at it, and thinking better of it, changes nothing.
    let mut offline = open().await.unwrap();
    let before = offline.status();
    assert_eq!(before.members.len(), 3);
    let _answer = offline.propose(&word("thought better of"));
    drop(offline);
    let mut offline = open().await.unwrap();
    assert_eq!(offline.status(), before);
    let _answer = offline.propose(&word("recovered"));
    let recovered = offline.recover().await.unwrap();
    let removed: Vec<NodeId> = recovered.removed.iter().map(|member| member.node).collect();
    assert_eq!(removed, [NodeId(1), NodeId(2)]);
    assert_eq!(recovered.last_index, before.last_index);
    // It was interrupted before anybody knew, and is asked for again.
    let again = open().await.unwrap();
    assert_eq!(number(&again.read(b"")), Some(6));
    assert_eq!(again.recover().await.unwrap().removed, []);
    drop(disk);

    let ap = start(survivor, &path("ap"), &three.net).await;
    assert_eq!(number(&ap.read(ALL).await.unwrap()), Some(6));
    ap.propose(word("alone")).await.unwrap();
    // Whatever place the lost two gave out later, this one is past it.
    assert!(ap.status().applied > 2 * RECOVERY_LEAP);

    // The lost two are a majority of the old group and elect a leader, who must not reach us.
    let us = start(config(1, "us", &REGIONS, FAST), &path("us"), &three.net).await;
    let eu = start(config(2, "eu", &REGIONS, FAST), &path("eu"), &three.net).await;
    while us.propose(word("of the past")).await.is_err() {}
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(number(&ap.read(ALL).await.unwrap()), Some(7));
    let last = Bytes::copy_from_slice(&6_u64.to_le_bytes());
    assert_eq!(ap.read(last).await.unwrap(), word("alone"));

    // One of them returns as it should: empty, under a new id.
    us.stop().await;
    eu.stop().await;
    let us = start(config(11, "us", &REGIONS, FAST), &path("us-again"), &three.net).await;
    ap.set_member(NodeId(11), region("us"), Some(true)).await.unwrap();
    assert_eq!(number(&us.read(ALL).await.unwrap()), Some(7));
}

/// One group had not formed yet when the others were lost.
#[tokio::test]
async fn a_group_that_never_formed_is_recovered_too() {
    let net = Net::with_delay(FAST / 2);
    let directory = tempfile::tempdir().unwrap();
    let survivor = config(3, "ap", &REGIONS, FAST);
    let disk = Arc::new(open_free(directory.path()).await);
    let offline = Offline::open(part(&survivor), Box::new(Tape::default()), disk).await.unwrap();
    assert_eq!(offline.status().last_index, None);
    offline.recover().await.unwrap();
    let ap = start(survivor, directory.path(), &net).await;
    ap.propose(word("alone")).await.unwrap();
}

async fn alone(limits: Limits) -> (Group, SimDisk) {
    let net = Net::with_delay(Duration::ZERO);
    let mut config = config(1, "us", &["us"], FAST);
    config.limits = limits;
    let disk = SimDisk::new(7);
    let call = Arc::new(Caller { net: Arc::clone(&net), from: region("us") });
    let machine = Box::new(Tape::default());
    let group = Group::start(config, machine, Arc::new(disk.clone()), call).await.unwrap();
    net.register(region("us"), Groups::new([group.clone()]));
    group.propose(word("first")).await.unwrap();
    (group, disk)
}

/// openraft publishes its state while others read it; a reader that reads again within must not
/// wait for the publisher that waits for the reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_status_can_be_asked_at_any_moment() {
    const READERS: usize = 4;
    let (group, _) = alone(Limits::strong()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = |group: Group, stop: Arc<AtomicBool>| {
        move || {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(group.status().members.len(), 1);
            }
        }
    };
    let readers: Vec<_> = (0..READERS)
        .map(|_| tokio::task::spawn_blocking(reader(group.clone(), stop.clone())))
        .collect();
    let writing = async {
        for _ in 0..500 {
            group.propose(word("x")).await.unwrap();
        }
    };
    let wrote = tokio::time::timeout(Duration::from_secs(20), writing).await;
    stop.store(true, Ordering::Relaxed);
    assert!(wrote.is_ok(), "readers and the group wait for each other");
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_not_agreed() {
    let rate = Some(Rate { per_second: 0.001, burst: 3.0 });
    let (group, _) = alone(Limits { rate, ..Limits::strong() }).await;
    group.propose(word("second")).await.unwrap();
    group.propose(word("third")).await.unwrap();
    let refused = group.propose(word("fourth")).await.unwrap_err();
    assert!(matches!(refused, ControlError::Overloaded(_)), "{refused}");
    let large = Bytes::from(vec![0; Limits::strong().command_bytes_max + 1]);
    let refused = group.propose(large).await.unwrap_err();
    assert!(matches!(refused, ControlError::Invalid(_)), "{refused}");
    assert_eq!(number(&group.read(ALL).await.unwrap()), Some(3));
}

#[tokio::test]
async fn proposals_in_flight_are_bounded_while_the_disk_is_slow() {
    let (group, disk) = alone(Limits { proposals_in_flight_max: 4, ..Limits::strong() }).await;
    let slow = Faults { sync_takes: Some(Duration::from_millis(200)), ..Faults::default() };
    disk.set_faults(slow);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let group = group.clone();
        waiting.spawn(async move { group.propose(word("x")).await });
    }
    let outcomes = waiting.join_all().await;
    let refused =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(ControlError::Overloaded(_))));
    assert_eq!(refused.count(), 2, "{outcomes:?}");
    assert_eq!(number(&group.read(ALL).await.unwrap()), Some(5));
}

#[tokio::test]
async fn a_failed_fsync_stops_the_group_here_and_says_so() {
    let (group, disk) = alone(Limits::administrative()).await;
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    let outcome = group.propose(word("lost")).await.unwrap_err();
    assert_eq!(outcome, ControlError::Unknown, "it is in the log, perhaps");
    disk.set_faults(Faults::default());
    let status = until(&group, |status| status.trouble.is_some()).await;
    assert!(status.trouble.unwrap().contains("segment-"), "the file is named");
    assert_eq!(status.leader, None);
    let refused = group.propose(word("later")).await.unwrap_err();
    assert!(matches!(refused, ControlError::Storage(_)), "{refused}");
    assert_eq!(number(&group.read_local(b"")), Some(1), "local reads go on");
}
