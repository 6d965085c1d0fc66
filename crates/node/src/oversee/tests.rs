//! Three overseers around one agreed log.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a model with small numbers"
)]

mod world;

use std::time::Duration;

use rhumb_regions::{
    Capability,
    failover::Part,
    health::{Check, Sign},
};
use rhumb_types::control::{
    AdminCommand, AdminState, FailoverKind, FailoverMode, FailoverPlan, FailoverStep,
    FailoverStrategy, MemberRole,
};
use rhumb_types::{OriginId, UnixMillis};
use world::{NAMES, World, config, keys, region};

use super::*;

/// A world in which every region owns itself.
fn settled(seed: u64) -> World {
    let mut world = World::new(seed);
    world.until("every region has its own lease", |world| {
        (0..NAMES.len()).all(|at| world.acts(NAMES[at]) == Some(at))
    });
    world
}

fn status_of<'a>(
    world: &'a World,
    view: &'a ControlView,
    name: &str,
) -> &'a rhumb_types::control::RegionStatus {
    view.regions.get(&region(name)).unwrap_or_else(|| panic!("{name} at {}", world.now))
}

fn takeovers(world: &World, name: &str) -> usize {
    world.count(|command| {
        matches!(command, AdminCommand::TakeOverLease { region: of, .. } if *of == region(name))
    })
}

fn fail_back(name: &str, key: &str) -> AdminCommand {
    AdminCommand::StartFailover {
        plan: FailoverPlan {
            idempotency_key: key.to_owned(),
            region: region(name),
            kind: FailoverKind::FailBack,
            mode: FailoverMode::Manual,
            strategy: FailoverStrategy::Graceful,
            successor: None,
            moves: Vec::new(),
        },
    }
}

fn drain(name: &str, successor: &str) -> AdminCommand {
    let plan = FailoverPlan {
        idempotency_key: "drain".to_owned(),
        region: region(name),
        kind: FailoverKind::Drain,
        mode: FailoverMode::Manual,
        strategy: FailoverStrategy::Graceful,
        successor: Some(region(successor)),
        moves: Vec::new(),
    };
    AdminCommand::StartFailover { plan }
}

#[test]
fn a_cluster_forms_once_and_the_others_join() {
    let mut world = settled(1);
    world.run(5.0);
    assert_eq!(world.agreed.view().members.len(), 3);
    assert_eq!(world.count(|command| matches!(command, AdminCommand::Form { .. })), 1);
    assert_eq!(world.count(|command| matches!(command, AdminCommand::Join { .. })), 2);
    let refused = world.log.iter().filter(|(_, _, ok)| !ok).collect::<Vec<_>>();
    assert!(refused.is_empty(), "{refused:?}");
}

/// Whether an overseer asks to form the cluster within a time, while another node leads or itself.
fn asks_to_form(role: MemberRole, leads: bool, millis: u64) -> bool {
    let mut config = config(0);
    config.founders[0].role = role;
    let leader = if leads { config.node } else { NodeId(99) };
    let at = |millis: u64| Timestamp { wall: UnixMillis(millis), mono: MonoTime(millis * 1_000) };
    let mut out = OverseerEffects::new();
    let mut overseer = Overseer::new(config, None, at(0), &mut out);
    overseer.on_event(at(0), OverseerEvent::View(Arc::default()), &mut out);
    overseer.on_event(at(0), OverseerEvent::Leader(Some(leader)), &mut out);
    for millis in (0..=millis).step_by(50) {
        overseer.on_event(at(millis), OverseerEvent::Tick, &mut out);
    }
    std::iter::from_fn(|| out.pop()).any(|effect| {
        matches!(effect, OverseerEffect::Propose { request, .. }
            if matches!(request.command, AdminCommand::Form { .. }))
    })
}

#[test]
fn a_cluster_forms_although_a_witness_leads() {
    assert!(asks_to_form(MemberRole::Voter, true, 0), "the leader does, at once");
    assert!(!asks_to_form(MemberRole::Voter, false, 1_900), "the others leave it to it");
    assert!(asks_to_form(MemberRole::Voter, false, 2_000), "as long as it may be able to");
    assert!(!asks_to_form(MemberRole::Witness, true, 9_000), "a witness is not");
    assert!(!asks_to_form(MemberRole::Learner, false, 9_000));
}

#[test]
fn a_dead_region_is_taken_over_once_and_comes_back_in_a_ramp() {
    // The second of them leads at first.
    for (seed, dead) in [(1, 1), (2, 0), (3, 2)] {
        for lose_one_in in [0, 4] {
            die_and_return(seed, dead, lose_one_in);
        }
    }
}

fn die_and_return(seed: u64, dead: usize, lose_one_in: u64) {
    let name = NAMES[dead];
    let mut world = settled(seed);
    world.run(3.0);
    world.lose_one_in = lose_one_in;
    world.kill(dead);
    let took = world.until("another acts for it", |world| {
        world.acts(name).is_some_and(|holder| holder != dead)
    });
    assert!(lose_one_in > 0 || took < 8_000, "the takeover took {took} ms");
    world.until("the failover is closed", |world| world.agreed.view().open_failovers.is_empty());
    assert_eq!(takeovers(&world, name), 1, "{name} with one in {lose_one_in} lost");
    let view = world.agreed.view();
    assert_eq!(status_of(&world, &view, name).state, AdminState::Disabled);
    world.run(5.0);
    assert_eq!(takeovers(&world, name), 1, "it is moved again");

    world.start(dead);
    world.until("the verdict is lifted", |world| {
        world.agreed.view().regions[&region(name)].verdict.is_none()
    });
    world.operator(fail_back(name, "back")).unwrap();
    world.until("it acts for itself", |world| world.acts(name) == Some(dead));
    world.until("the fail-back is closed", |world| world.agreed.view().open_failovers.is_empty());
    let view = world.agreed.view();
    let status = status_of(&world, &view, name);
    assert_eq!((status.state, status.ramp_percent), (AdminState::Active, 100));
}

#[test]
fn full_survivors_condemn_a_dead_region() {
    let mut world = settled(3);
    for at in 0..NAMES.len() {
        world.event(at, OverseerEvent::Utilised(Ratio::ONE));
    }
    world.kill(2);
    world.until("the verdict", |world| {
        world.agreed.view().regions[&region(NAMES[2])].verdict.is_some()
    });
}

#[test]
fn who_is_late_with_its_own_work_condemns_nobody() {
    let mut world = settled(4);
    world.stalled = BTreeSet::from([0, 1]);
    world.run(30.0);
    let voted =
        |(_, command, _): &&(_, AdminCommand, _)| matches!(command, AdminCommand::Vote { .. });
    assert_eq!(world.log.iter().find(voted), None);
    world.stalled.clear();
    world.kill(2);
    world.until("the verdict", |world| {
        world.agreed.view().regions[&region(NAMES[2])].verdict.is_some()
    });
}

#[test]
fn an_owner_that_was_frozen_looks_again_before_it_acts() {
    let mut world = settled(4);
    // Whoever takes over lacks something that the other has, and so does not act at once.
    world.places[0].holds.raise(OriginId(0x10_0000), 5);
    world.places[1].holds.raise(OriginId(0x20_0000), 5);
    world.kill(2);
    let taker = |world: &World| {
        let view = world.agreed.view();
        let of = view.acting_for(&region(NAMES[2])).cloned();
        NAMES.iter().position(|name| of == Some(region(name))).filter(|at| *at != 2)
    };
    world.until("the lease is taken over", |world| taker(world).is_some());
    let taker = taker(&world).unwrap();
    world.run(1.0);
    let health = config(taker).health;
    world.stalled.insert(taker);
    world.run(health.tick_late_max().as_secs_f64() * 2.0);
    // It lacks nothing any more, by what it finds as it goes on.
    for place in &mut world.places {
        place.holds.raise(OriginId(0x10_0000), 5);
        place.holds.raise(OriginId(0x20_0000), 5);
    }
    world.stalled.clear();
    let took = world.until("it opens", |world| world.acts(NAMES[2]) == Some(taker));
    let looks = health.ejection().as_millis();
    assert!(u128::from(took) >= looks, "after {took} ms, and a loss is seen after {looks}");
    assert!(u128::from(took) < looks + 200, "after {took} ms");
}

#[test]
fn a_new_owner_first_holds_what_the_regions_in_reach_hold() {
    let mut world = settled(4);
    // Whoever takes over lacks something that the other has, such as what the dead region wrote.
    world.places[0].holds.raise(OriginId(0x10_0000), 5);
    world.places[1].holds.raise(OriginId(0x20_0000), 5);
    world.kill(2);
    world.until("the lease is taken over", |world| {
        world.agreed.view().acting_for(&region(NAMES[2])) != Some(&region(NAMES[2]))
    });
    world.run(12.0);
    assert_eq!(world.acts(NAMES[2]), None);
    assert!(world.places.iter().flat_map(|place| &place.alarms).any(|it| it.contains("it lacks")));
    for place in &mut world.places {
        place.holds.raise(OriginId(0x10_0000), 5);
        place.holds.raise(OriginId(0x20_0000), 5);
    }
    let took = world.until("it opens", |world| world.acts(NAMES[2]).is_some());
    assert!(took < 100, "it took {took} ms");
}

#[test]
fn the_cut_off_side_agrees_on_nothing_and_stops_to_act_before_it_is_taken_over() {
    let mut world = settled(5);
    world.run(3.0);
    world.cut.insert(0);
    let before = world.log.len();
    world.until("another acts for it", |world| world.acts(NAMES[0]).is_some_and(|at| at != 0));
    assert!(world.log[before..].iter().all(|(by, ..)| *by != 0), "the minority was heard");
    assert!(world.places[0].snapshot.is_some(), "it routes on");
    world.cut.clear();
    world.until("the verdict is lifted", |world| {
        world.agreed.view().regions[&region(NAMES[0])].verdict.is_none()
    });
    world.run(5.0);
    assert_ne!(world.acts(NAMES[0]), Some(0), "it is not failed back unasked");
}

#[test]
fn an_operator_drains_a_region_that_gives_its_lease_up() {
    let mut world = settled(6);
    world.run(2.0);
    world.operator(drain(NAMES[2], NAMES[1])).unwrap();
    let took = world.until("it moves", |world| world.acts(NAMES[2]) == Some(1));
    assert!(took < 2_000, "a lease that is given up is not waited out: {took} ms");
    let released = |command: &AdminCommand| matches!(command, AdminCommand::ReleaseLease { .. });
    assert_eq!(world.count(released), 1);
}

#[test]
fn a_failover_whose_successor_is_lost_too_is_taken_over_by_another() {
    for lose_one_in in [0, 4] {
        let mut world = settled(7);
        world.run(2.0);
        world.lose_one_in = lose_one_in;
        world.kill(2);
        world.until("the failover", |world| !world.agreed.view().open_failovers.is_empty());
        let chosen = world.agreed.view().open_failovers[0].plan.successor.clone();
        let chosen = NAMES.iter().position(|name| Some(region(name)) == chosen).unwrap();
        // It is out of service before it can take over.
        let state = AdminState::Disabled;
        let disable =
            AdminCommand::SetRegionState { region: region(NAMES[chosen]), state, expected: None };
        world.operator(disable).unwrap();
        let took =
            world.until("the other acts for it", |world| world.acts(NAMES[2]) == Some(1 - chosen));
        assert!(lose_one_in > 0 || took < 8_000, "the takeover took {took} ms");
        world.until("the end", |world| world.agreed.view().open_failovers.is_empty());
        let named = |command: &AdminCommand| matches!(command, AdminCommand::NameSuccessor { .. });
        assert_eq!((world.count(named), takeovers(&world, NAMES[2])), (1, 1));
    }
}

#[test]
fn a_region_whose_disk_failed_gives_its_lease_up_at_once_and_once() {
    let mut world = settled(9);
    world.run(2.0);
    world.places[2].failed = true;
    // Nor does it hear any more of what is agreed.
    world.deaf.insert(2);
    world.until("nobody acts for it", |world| world.acts(NAMES[2]).is_none());
    let released = |command: &AdminCommand| matches!(command, AdminCommand::ReleaseLease { .. });
    world.until("it is given up", |world| world.count(released) == 1);
    let took = world.until("another acts for it", |world| world.acts(NAMES[2]).is_some());
    assert!(took < 3_000, "a lease that is given up is not waited out: {took} ms");
    world.run(2.0);
    assert_eq!(world.count(released), 1);
}

#[test]
fn assisted_waits_for_a_person_and_is_called_off_when_the_region_returns() {
    let mut world = World::new(7);
    for place in &mut world.places {
        place.overseer.as_mut().unwrap().config.failover.mode = FailoverMode::Assisted;
    }
    world.until("every region has its own lease", |world| {
        (0..NAMES.len()).all(|at| world.acts(NAMES[at]) == Some(at))
    });
    world.run(3.0);
    world.kill(2);
    world.until("a failover waits", |world| !world.agreed.view().open_failovers.is_empty());
    world.run(10.0);
    assert_eq!(takeovers(&world, NAMES[2]), 0);
    assert!(world.places.iter().flat_map(|place| &place.alarms).any(|a| a.contains("approve")));
    world.start(2);
    world.until("it is called off", |world| world.agreed.view().open_failovers.is_empty());
    world.until("it acts again", |world| world.acts(NAMES[2]) == Some(2));
    let view = world.agreed.view();
    assert_eq!(status_of(&world, &view, NAMES[2]).state, AdminState::Active);
}

#[test]
fn a_restart_without_a_control_plane_routes_on_what_was_agreed() {
    let mut world = settled(8);
    let (region, state) = (region(NAMES[2]), AdminState::Draining);
    let command = AdminCommand::SetRegionState { region: region.clone(), state, expected: None };
    world.operator(command).unwrap();
    world.run(1.0);
    let remembered = world.places[1].remembered.clone();
    assert!(remembered.is_some());
    let mut out = OverseerEffects::new();
    let overseer = Overseer::new(config(1), remembered, world.time(), &mut out);
    let published = std::iter::from_fn(|| out.pop()).find_map(|effect| match effect {
        OverseerEffect::Publish(snapshot) => Some(snapshot),
        _ => None,
    });
    let published = published.unwrap();
    let at = published.index(&region).unwrap();
    assert_eq!(published.region(at).admin, AdminState::Draining);
    assert!(overseer.leases().is_empty(), "what it held it must renew first");
}

/// Two regions decide, and a third has not joined.
fn two_decide(seed: u64) -> World {
    let mut world = World::new(seed);
    world.kill(2);
    world.until("two are homes", |world| world.agreed.view().homes.regions.len() == 2);
    world.until("both decide", |world| {
        keys().flat_map(|key| world.deciding(key)).collect::<BTreeSet<_>>() == [0, 1].into()
    });
    world
}

fn decide_all(world: &World, among: &[usize]) -> bool {
    keys().map(|key| world.deciding(key)).all(|by| by.iter().any(|at| among.contains(at)))
}

/// Seed 167 of the simulator: a region hears late that another has joined, keeps its lease, and is
/// no longer the home of some keys.
#[test]
fn a_home_that_has_not_heard_of_a_new_one_stops_before_that_begins() {
    let mut world = two_decide(21);
    let of_the_deaf: Vec<u8> = keys().filter(|key| world.deciding(*key) == [1]).collect();
    world.deaf.insert(1);
    world.start(2);
    // Where two decide for a key the world itself says so.
    world.until("the new one decides", |world| keys().any(|key| world.deciding(key) == [2]));
    assert_eq!(world.acts(NAMES[1]), Some(1), "its lease is renewed all the while");
    assert!(of_the_deaf.iter().any(|key| world.deciding(*key) == [2]), "some of its keys moved");
    world.run(5.0);
    assert!(keys().all(|key| world.deciding(key) != [1]), "it knows that it knows too little");
    world.deaf.clear();
    world.until("all keys are decided", |world| decide_all(world, &[0, 1, 2]));
    assert!(keys().any(|key| world.deciding(key) == [1]));
}

#[test]
fn keys_that_stay_where_they_are_are_decided_all_the_while() {
    let mut world = two_decide(22);
    world.start(2);
    world.until("a new home is announced", |world| world.agreed.view().homes.announced.is_some());
    let homes = world.agreed.view().homes;
    let stay = |key: &u8| rhumb_regions::homes::home_of(&homes, &[*key]).is_ok();
    let stay: Vec<u8> = keys().filter(stay).collect();
    assert!(!stay.is_empty() && stay.len() < keys().len());
    let announced = world.now;
    let undecided = |world: &World| stay.iter().any(|key| world.deciding(*key).is_empty());
    while world.agreed.view().homes.announced.is_some() {
        assert!(!undecided(&world), "a key that does not move is not decided at {}", world.now);
        world.run(0.05);
    }
    assert!(world.now - announced >= 3_000, "a lease must have passed");
    // Then all look once at what the others hold.
    world.run(0.5);
    assert!(decide_all(&world, &[0, 1, 2]));
}

#[test]
fn homes_of_a_region_that_is_removed_move_on() {
    let mut world = settled(23);
    world.until("all keys are decided", |world| {
        let homes = world.agreed.view().homes;
        homes.regions.len() == 3 && homes.announced.is_none() && decide_all(world, &[0, 1, 2])
    });
    // It hears nothing of it, and decides until its lease is out.
    world.cut.insert(2);
    let remove = AdminCommand::RemoveRegion { region: region(NAMES[2]), origins: Vec::new() };
    world.operator(remove).unwrap();
    assert!(keys().any(|key| world.deciding(key) == [2]));
    world.until("the others decide", |world| decide_all(world, &[0, 1]));
    assert!(!world.agreed.view().homes.regions.contains(&region(NAMES[2])));
}

#[test]
fn a_new_home_first_holds_what_the_old_ones_hold() {
    let mut world = two_decide(24);
    let origin = OriginId(0x10_0000);
    for at in [0, 1] {
        world.places[at].holds.raise(origin, 7);
    }
    world.start(2);
    world.until("it is a home", |world| world.agreed.view().homes.regions.len() == 3);
    world.run(5.0);
    assert!(keys().all(|key| world.deciding(key) != [2]), "it does not hold what was decided");
    world.places[2].holds.raise(origin, 7);
    world.until("all keys are decided", |world| decide_all(world, &[0, 1, 2]));
}

#[test]
fn a_broken_link_shows_in_routing_at_once_and_asks_nobody() {
    let mut world = settled(9);
    world.run(2.0);
    let now = world.time();
    let overseer = world.places[1].overseer.as_mut().unwrap();
    let mut out = OverseerEffects::new();
    overseer.sign(now, &region(NAMES[2]), Sign::Unreachable, &mut out);
    let mut published = None;
    while let Some(effect) = out.pop() {
        match effect {
            OverseerEffect::Publish(snapshot) => published = Some(snapshot),
            OverseerEffect::Propose { request, .. } => panic!("{request:?}"),
            _ => {}
        }
    }
    let snapshot = published.unwrap();
    let at = snapshot.index(&region(NAMES[2])).unwrap();
    assert_eq!(snapshot.region(at).health, Health::Down);
}

#[test]
fn audit_heads_are_published_when_the_chain_grows() {
    let mut world = settled(10);
    let head = world.agreed.audit_head();
    world.event(1, OverseerEvent::Audited(head));
    world.run(2.0);
    let published = |command: &AdminCommand| matches!(command, AdminCommand::PublishHead { .. });
    assert_eq!(world.count(published), 1);
}

#[test]
fn a_region_that_nodes_moved_comes_back_by_itself_when_that_is_configured() {
    let fail_back_alone = |world: &mut World| {
        for overseer in world.places.iter_mut().filter_map(|place| place.overseer.as_mut()) {
            overseer.config.failover.failback_after = Some(Duration::from_secs(2));
        }
    };
    let mut world = World::new(7);
    fail_back_alone(&mut world);
    world.until("every region has its own lease", |world| {
        (0..NAMES.len()).all(|at| world.acts(NAMES[at]) == Some(at))
    });
    world.kill(2);
    world.until("another acts for it", |world| world.acts(NAMES[2]).is_some_and(|at| at != 2));
    world.until("the failover is closed", |world| world.agreed.view().open_failovers.is_empty());
    assert_eq!(world.agreed.view().displaced.len(), 1);
    world.start(2);
    fail_back_alone(&mut world);
    world.until("it acts for itself", |world| world.acts(NAMES[2]) == Some(2));
    world.until("the fail-back is closed", |world| world.agreed.view().open_failovers.is_empty());
    assert!(world.agreed.view().displaced.is_empty());
    // What an operator drained stays as he left it.
    world.operator(drain(NAMES[1], NAMES[0])).unwrap();
    world.until("another acts for it", |world| world.acts(NAMES[1]).is_some_and(|at| at != 1));
    world.until("the drain is closed", |world| world.agreed.view().open_failovers.is_empty());
    world.run(10.0);
    assert_ne!(world.acts(NAMES[1]), Some(1));
}

#[test]
fn a_region_is_failed_over_when_a_vital_part_fails_and_keeps_its_duties_without_another() {
    let mut world = settled(8);
    let api = Capability::new("api").unwrap();
    let check = |world: &mut World, check: Check, passed| {
        for _ in 0..3 {
            let (check, of) = (check.clone(), region(NAMES[1]));
            world.event(1, OverseerEvent::Checked { region: of, check, passed });
        }
    };
    let lost = |world: &World, at: usize| {
        let snapshot = world.places[at].snapshot.as_ref().unwrap();
        let facts = snapshot.facts().regions.iter().find(|it| it.region.id == region(NAMES[1]));
        facts.unwrap().lost.contains(&api)
    };
    check(&mut world, Check::Part(api.clone()), false);
    assert!(lost(&world, 1), "it knows at once");
    world.until("the others know", |world| lost(world, 0) && lost(world, 2));
    world.run(5.0);
    assert_eq!(world.acts(NAMES[1]), Some(1));
    check(&mut world, Check::Part(api.clone()), true);
    world.until("the others know", |world| !lost(world, 0) && !lost(world, 2));

    check(&mut world, Check::Vital(api.clone()), false);
    world.until("another acts for it", |world| world.acts(NAMES[1]).is_some_and(|at| at != 1));
    world.until("the failover is closed", |world| world.agreed.view().open_failovers.is_empty());
    check(&mut world, Check::Vital(api), true);
    world.until("the verdict is lifted", |world| {
        world.agreed.view().regions[&region(NAMES[1])].verdict.is_none()
    });
    world.operator(fail_back(NAMES[1], "back")).unwrap();
    world.until("it acts for itself", |world| world.acts(NAMES[1]) == Some(1));
}

#[test]
fn a_hook_is_told_what_it_is_a_part_of_and_the_step_waits_for_it() {
    let hook = rhumb_regions::failover::Hook("promote".to_owned());
    let mut world = settled(9);
    for overseer in world.places.iter_mut().filter_map(|place| place.overseer.as_mut()) {
        overseer.config.failover.hooks = [(FailoverStep::TakeOver, hook.clone())].into();
    }
    world.operator(drain(NAMES[1], NAMES[2])).unwrap();
    world.until("the hook runs", |world| world.places.iter().any(|place| !place.hooks.is_empty()));
    world.run(2.0);
    assert!(!world.agreed.view().open_failovers.is_empty(), "nothing waits for the hook");
    let at = world.places.iter().position(|place| !place.hooks.is_empty()).unwrap();
    let (id, ticket, name, plan) = world.places[at].hooks.remove(0);
    assert_eq!((name.as_str(), plan.successor), ("promote", Some(region(NAMES[2]))));
    let failed = Err("the replica lags".to_owned());
    world.event(at, OverseerEvent::PartEnded { id, ticket, part: Part::Hook, result: failed });
    world.until("it is tried again", |world| !world.places[at].hooks.is_empty());
    let (id, ticket, ..) = world.places[at].hooks.remove(0);
    assert_eq!(ticket.attempt, 2);
    world.event(at, OverseerEvent::PartEnded { id, ticket, part: Part::Hook, result: Ok(()) });
    world.until("the drain is closed", |world| world.agreed.view().open_failovers.is_empty());
}
