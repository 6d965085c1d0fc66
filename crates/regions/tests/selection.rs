//! The laws of selection, on the public interface.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and counts are small"
)]

use std::{collections::BTreeMap, time::Duration};

use proptest::{prelude::*, strategy::Strategy as Generator};
use rhumb_regions::{
    Capability, Client, Facts, Health, Key, Levels, Link, Location, Policy, Reason, Region,
    RegionFacts, Request, ResidencyTag, RouteError, RoutingSnapshot, Sticky, Strategy,
    affinity::GeoCode, affinity::Origin, plan::StickyOutcome, select, snapshot::MicroDollarsPerGb,
};
use rhumb_types::{
    Epoch, Ratio, RegionId, UnixMillis,
    control::{AdminState, AffinityRule as Rule, RuleMatch as Matcher},
    record::Record,
};

const THREE: [&str; 3] = ["ap-southeast-1", "eu-west-1", "us-east-1"];

fn id(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn tag(name: &str) -> ResidencyTag {
    ResidencyTag::new(name).unwrap()
}

fn facts(names: &[&str]) -> Facts {
    let region = |name: &&str| RegionFacts::new(Region::new(id(name), format!("{name}:7401")));
    Facts {
        version: 1,
        here: id(names[0]),
        regions: names.iter().map(region).collect(),
        links: Vec::new(),
        rules: Vec::new(),
        policy: Policy::new(Strategy::Affinity),
    }
}

fn numbered(count: usize) -> Facts {
    let names: Vec<_> = (0..count).map(|n| format!("region-{n:02}")).collect();
    facts(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn with(facts: &Facts, name: &str, change: impl FnOnce(&mut RegionFacts)) -> Facts {
    let mut facts = facts.clone();
    change(facts.regions.iter_mut().find(|r| r.region.id.as_str() == name).unwrap());
    facts
}

fn build(facts: &Facts) -> RoutingSnapshot {
    RoutingSnapshot::build(facts.clone()).unwrap()
}

fn firsts(snapshot: &RoutingSnapshot, keys: u32) -> Vec<RegionId> {
    let first = |n: u32| {
        let key = format!("domain-{n}.example");
        let request = Request { key: Key::new(key.as_bytes()), ..Request::default() };
        snapshot.select(&request).unwrap().first().clone()
    };
    (0..keys).map(first).collect()
}

fn shares(firsts: &[RegionId]) -> BTreeMap<&str, f64> {
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for first in firsts {
        *counts.entry(first.as_str()).or_default() += 1.0 / firsts.len() as f64;
    }
    counts
}

fn first_of<'a>(facts: &Facts, request: &Request<'a>) -> String {
    build(facts).select(request).unwrap().first().to_string()
}

fn of_key(name: &str) -> Request<'_> {
    Request { key: Key::new(name.as_bytes()), ..Request::default() }
}

#[test]
fn keys_are_even_within_five_percent() {
    for (regions, keys) in [(3, 60_000), (20, 240_000)] {
        let firsts = firsts(&build(&numbered(regions)), keys);
        for (region, share) in shares(&firsts) {
            let even = 1.0 / regions as f64;
            assert!((share / even - 1.0).abs() < 0.05, "{region} of {regions}: {share}");
        }
    }
}

#[test]
fn keys_follow_the_weights_within_five_percent() {
    let mut facts = facts(&THREE);
    for (region, weight) in facts.regions.iter_mut().zip([20, 30, 50]) {
        region.region.weight = weight;
    }
    for strategy in [Strategy::Affinity, Strategy::Weighted] {
        facts.policy = Policy::new(strategy);
        let snapshot = build(&facts);
        let first = |turn: u64| {
            let key = format!("k{turn}");
            let request = Request { turn, ..of_key(&key) };
            snapshot.select(&request).unwrap().first().clone()
        };
        let firsts: Vec<_> = (0..60_000).map(first).collect();
        for (region, wanted) in THREE.iter().zip([0.2, 0.3, 0.5]) {
            let share = shares(&firsts)[region];
            assert!((share / wanted - 1.0).abs() < 0.05, "{strategy} {region}: {share}");
        }
    }
}

#[test]
fn a_region_that_goes_moves_only_its_own_keys() {
    let all = numbered(10);
    let mut fewer = all.clone();
    fewer.regions.retain(|r| r.region.id.as_str() != "region-04");
    let down = with(&all, "region-04", |r| r.health = Health::Down);
    let before = firsts(&build(&all), 20_000);
    for after in [firsts(&build(&fewer), 20_000), firsts(&build(&down), 20_000)] {
        let mut moved = 0;
        for (before, after) in before.iter().zip(&after) {
            assert_ne!(after.as_str(), "region-04");
            if before.as_str() == "region-04" {
                moved += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!((1_800..2_200).contains(&moved), "{moved}");
    }
}

#[test]
fn keys_of_a_lost_region_spread_over_all_survivors() {
    let all = numbered(5);
    let before = firsts(&build(&all), 30_000);
    let after = firsts(&build(&with(&all, "region-00", |r| r.health = Health::Down)), 30_000);
    let moved: Vec<_> = before
        .iter()
        .zip(after)
        .filter(|(before, _)| before.as_str() == "region-00")
        .map(|(_, after)| after)
        .collect();
    for (region, share) in shares(&moved) {
        assert!((share / 0.25 - 1.0).abs() < 0.1, "{region}: {share}");
    }
}

#[test]
fn a_ramp_gives_back_a_growing_part_of_the_keys() {
    let all = numbered(4);
    let whole = firsts(&build(&all), 40_000);
    let mut smaller: Vec<RegionId> = Vec::new();
    for share in [0.01, 0.1, 0.5, 1.0] {
        let ramping = with(&all, "region-01", |r| r.ramp = Ratio::clamped(share));
        let now = firsts(&build(&ramping), 40_000);
        for (place, region) in now.iter().enumerate() {
            if smaller.get(place).is_some_and(|r| r.as_str() == "region-01") {
                assert_eq!(region.as_str(), "region-01", "what came back stays");
            }
            if whole[place].as_str() != "region-01" {
                assert_eq!(*region, whole[place], "what was elsewhere stays there");
            }
        }
        let back = shares(&now).get("region-01").copied().unwrap_or(0.0) / 0.25;
        assert!((back / share - 1.0).abs() < 0.25, "{share}: {back}");
        smaller = now;
    }
}

#[test]
fn round_robin_takes_every_healthy_region_in_turn() {
    let mut facts = facts(&THREE);
    facts.policy = Policy::new(Strategy::RoundRobin);
    let plan = |facts: &Facts, turn| {
        let snapshot = build(facts);
        let plan = snapshot.select(&Request { turn, ..Request::default() }).unwrap();
        plan.regions().map(|r| r.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(plan(&facts, 0), THREE);
    assert_eq!(plan(&facts, 1), ["eu-west-1", "us-east-1", "ap-southeast-1"]);
    assert_eq!(plan(&facts, 5), plan(&facts, 2));
    let degraded = with(&facts, "eu-west-1", |r| r.health = Health::Degraded);
    assert_eq!(plan(&degraded, 0), ["ap-southeast-1", "us-east-1", "eu-west-1"]);
    assert_eq!(plan(&degraded, 1), ["us-east-1", "ap-southeast-1", "eu-west-1"]);
    let down = with(&facts, "eu-west-1", |r| r.health = Health::Down);
    assert_eq!(plan(&down, 1), ["us-east-1", "ap-southeast-1"]);
}

#[test]
fn round_robin_is_the_same_with_and_without_its_short_cut() {
    let mut short = facts(&THREE);
    short.policy = Policy::new(Strategy::RoundRobin);
    let mut long = short.clone();
    long.rules.push(Rule { matches: Matcher::Repository("x/y".into()), region: id(THREE[0]) });
    let (short, long) = (build(&short), build(&long));
    for turn in 0..10 {
        let request = Request { turn, ..Request::default() };
        let (short, long) = (short.select(&request).unwrap(), long.select(&request).unwrap());
        assert_eq!(short.order(), long.order());
        assert!(short.reasons().eq(long.reasons()));
    }
}

#[test]
fn latency_prefers_given_round_trips_over_built_in_ones() {
    let mut facts = facts(&THREE);
    facts.policy = Policy::new(Strategy::Latency);
    let us = id("us-east-1");
    let client = Client { region: Some(&us), ..Client::default() };
    let request = Request { client, ..of_key("k") };
    let order = |facts: &Facts| {
        let snapshot = build(facts);
        let plan = snapshot.select(&request).unwrap();
        plan.regions().map(|r| r.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(order(&facts), ["us-east-1", "eu-west-1", "ap-southeast-1"]);
    let rtt = Duration::from_millis(3);
    facts.links.push(Link { from: id("ap-southeast-1"), to: us.clone(), rtt });
    assert_eq!(order(&facts), ["us-east-1", "ap-southeast-1", "eu-west-1"]);
}

#[test]
fn geography_is_that_of_the_client() {
    let mut facts = facts(&THREE);
    for strategy in [Strategy::Geographic, Strategy::Latency] {
        facts.policy = Policy::new(strategy);
        for (place, nearest) in [
            ((48.9, 2.3), "eu-west-1"),
            ((-6.2, 106.8), "ap-southeast-1"),
            ((25.8, -80.2), "us-east-1"),
        ] {
            let location = Some(Location::try_from(place).unwrap());
            let request =
                Request { client: Client { location, ..Client::default() }, ..of_key("k") };
            assert_eq!(first_of(&facts, &request), nearest);
        }
    }
}

#[test]
fn cost_takes_the_cheapest_and_unknown_prices_last() {
    let mut facts = facts(&THREE);
    facts.policy = Policy::new(Strategy::Cost);
    facts.regions[1].cost = Some(MicroDollarsPerGb(90_000));
    facts.regions[2].cost = Some(MicroDollarsPerGb(20_000));
    let snapshot = build(&facts);
    let plan = snapshot.select(&of_key("k")).unwrap();
    let order: Vec<_> = plan.regions().map(RegionId::as_str).collect();
    assert_eq!(order, ["us-east-1", "eu-west-1", "ap-southeast-1"]);
}

#[test]
fn a_level_that_is_half_down_keeps_seven_tenths_of_its_keys() {
    let mut facts = numbered(4);
    facts.policy = Policy::new(Strategy::Priority);
    facts.regions[2].region.priority = 2;
    facts.regions[3].region.priority = 2;
    let healthy = firsts(&build(&facts), 5_000);
    assert!(healthy.iter().all(|r| ["region-00", "region-01"].contains(&r.as_str())));
    let half = with(&facts, "region-00", |r| r.health = Health::Down);
    let firsts = firsts(&build(&half), 30_000);
    let kept = shares(&firsts)["region-01"];
    assert!((kept - 0.7).abs() < 0.02, "{kept}");
}

#[test]
fn preferred_regions_come_first_while_they_are_healthy() {
    let mut facts = facts(&THREE);
    facts.policy.preferred = vec![id("eu-west-1"), id("us-east-1")];
    let order = |facts: &Facts| {
        let snapshot = build(facts);
        let plan = snapshot.select(&of_key("k")).unwrap();
        plan.regions().map(|r| r.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(order(&facts), ["eu-west-1", "us-east-1", "ap-southeast-1"]);
    let degraded = with(&facts, "eu-west-1", |r| r.health = Health::Degraded);
    assert_eq!(order(&degraded), ["us-east-1", "ap-southeast-1", "eu-west-1"]);
}

#[test]
fn rules_win_over_the_hash_until_their_region_is_down() {
    let mut facts = facts(&THREE);
    facts.rules = vec![
        Rule { matches: Matcher::Organisation("acme".into()), region: id("eu-west-1") },
        Rule { matches: Matcher::Repository("acme/api".into()), region: id("us-east-1") },
        Rule { matches: Matcher::Geography("SG".into()), region: id("ap-southeast-1") },
    ];
    let api = Request { key: Key::repository("acme/api"), ..Request::default() };
    let web = Request { key: Key::repository("acme/web"), ..Request::default() };
    assert_eq!(first_of(&facts, &api), "us-east-1");
    assert_eq!(first_of(&facts, &web), "eu-west-1");
    let down = with(&facts, "us-east-1", |r| r.health = Health::Down);
    assert_ne!(first_of(&down, &api), "us-east-1");
    let origin = Origin { country: Some(GeoCode::new("sg").unwrap()), continent: None };
    let there = Client { origin, ..Client::default() };
    for key in ["a", "b", "c", "d"] {
        assert_eq!(first_of(&facts, &Request { client: there, ..of_key(key) }), "ap-southeast-1");
    }
}

#[test]
fn residency_and_capability_are_hard() {
    let mut facts = with(&facts(&THREE), "ap-southeast-1", |r| {
        r.region.residency.insert(tag("sg"));
    });
    facts.rules = vec![Rule { matches: Matcher::Everything, region: id("us-east-1") }];
    let sg = [tag("sg")];
    let request = Request { residency: &sg, ..of_key("k") };
    let only = |facts: &Facts| {
        let snapshot = build(facts);
        let plan = snapshot.select(&request).unwrap();
        plan.regions().map(|r| r.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(only(&facts), ["ap-southeast-1"]);
    let down = with(&facts, "ap-southeast-1", |r| r.health = Health::Down);
    assert_eq!(only(&down), ["ap-southeast-1"], "never past residency, and never empty");
    let disabled = with(&facts, "ap-southeast-1", |r| r.admin = AdminState::Disabled);
    assert_eq!(
        build(&disabled).select(&request).unwrap_err(),
        RouteError::ResidencyUnavailable { tag: tag("sg"), regions: vec![id("ap-southeast-1")] }
    );
    let moon = [tag("moon")];
    assert_eq!(
        build(&facts).select(&Request { residency: &moon, ..of_key("k") }).unwrap_err(),
        RouteError::ResidencyUnknown(tag("moon"))
    );
}

#[test]
fn a_lost_capability_takes_away_that_part_alone() {
    let queue = Capability::new("queue").unwrap();
    let facts = with(&facts(&THREE), "eu-west-1", |r| {
        r.lost.insert(queue.clone());
    });
    let snapshot = build(&facts);
    let needs = [queue];
    let plan = snapshot.select(&Request { needs: &needs, ..of_key("k") }).unwrap();
    assert!(plan.regions().all(|r| r.as_str() != "eu-west-1"));
    let plan = snapshot.select(&of_key("k")).unwrap();
    assert_eq!(plan.regions().count(), 3);
}

#[test]
fn a_panic_ignores_health_and_says_so() {
    let all = numbered(3);
    let one_down = with(&all, "region-00", |r| r.health = Health::Down);
    assert!(!build(&one_down).select(&of_key("k")).unwrap().is_panic());
    let two_down = with(&one_down, "region-01", |r| r.health = Health::Down);
    let snapshot = build(&two_down);
    let plan = snapshot.select(&of_key("k")).unwrap();
    assert!(plan.is_panic());
    assert_eq!(plan.regions().count(), 3);
    assert!(plan.explain().to_string().contains("PANIC"));
    assert_eq!(firsts(&snapshot, 500), firsts(&build(&all), 500));
}

#[test]
fn a_full_or_draining_region_is_used_only_when_nothing_else_is_left() {
    let all = numbered(2);
    let full = with(&all, "region-00", |r| r.utilisation = Ratio::clamped(0.95));
    assert!(firsts(&build(&full), 100).iter().all(|r| r.as_str() == "region-01"));
    let draining = with(&full, "region-01", |r| r.admin = AdminState::Draining);
    let snapshot = build(&draining);
    let plan = snapshot.select(&of_key("k")).unwrap();
    assert_eq!(plan.first().as_str(), "region-00");
    assert!(plan.reasons().any(|reason| matches!(reason, Reason::Relaxed { .. })));
}

#[test]
fn a_region_above_its_share_of_the_load_overflows_to_the_next_by_hash() {
    let all = numbered(3);
    let calm = build(&all);
    let key = (0..)
        .map(|n| format!("k{n}"))
        .find(|key| calm.select(&of_key(key)).unwrap().first().as_str() == "region-00");
    let key = key.unwrap();
    let mut hot = all.clone();
    for (region, load) in hot.regions.iter_mut().zip([200, 100, 100]) {
        region.load = load;
    }
    let hot = build(&hot);
    let (before, after) = (calm.select(&of_key(&key)).unwrap(), hot.select(&of_key(&key)).unwrap());
    assert_eq!(after.first().as_str(), before.regions().nth(1).unwrap().as_str());
    assert!(after.reasons().any(|reason| matches!(reason, Reason::Overflow { .. })));
}

#[test]
fn a_session_stays_through_a_drain_and_leaves_a_region_that_is_down() {
    let all = facts(&THREE);
    let sticky = Sticky { region: id("eu-west-1"), epoch: Epoch(0), expires: UnixMillis(1) };
    let session = |facts: &Facts, key: &str| {
        let snapshot = build(facts);
        let plan = snapshot.select(&Request { sticky: Some(&sticky), ..of_key(key) }).unwrap();
        (plan.first().to_string(), plan.sticky().unwrap())
    };
    let here = "eu-west-1".to_owned();
    for key in ["a", "b", "c", "d", "e"] {
        assert_eq!(session(&all, key), (here.clone(), StickyOutcome::Kept));
    }
    let draining = with(&all, "eu-west-1", |r| r.admin = AdminState::Draining);
    assert_eq!(session(&draining, "a"), (here.clone(), StickyOutcome::Kept));
    let full = with(&all, "eu-west-1", |r| r.utilisation = Ratio::ONE);
    assert_eq!(session(&full, "a"), (here, StickyOutcome::Kept));
    let down = with(&all, "eu-west-1", |r| r.health = Health::Down);
    let (first, outcome) = session(&down, "a");
    assert_ne!(first, "eu-west-1");
    assert_eq!(outcome, StickyOutcome::RegionDown);
    let taken = with(&all, "eu-west-1", |r| r.epoch = Epoch(1));
    assert_eq!(session(&taken, "a").1, StickyOutcome::EpochChanged);
    let disabled = with(&all, "eu-west-1", |r| r.admin = AdminState::Disabled);
    assert_eq!(session(&disabled, "a").1, StickyOutcome::RegionUnusable);
    let mut ruled = all.clone();
    ruled.rules = vec![Rule { matches: Matcher::Everything, region: id("us-east-1") }];
    assert_eq!(session(&ruled, "a"), ("us-east-1".to_owned(), StickyOutcome::Overridden));
}

#[test]
fn a_home_does_not_follow_what_one_node_observes() {
    let all = numbered(5);
    let mut observed = all.clone();
    observed.regions[1].health = Health::Down;
    observed.regions[2].utilisation = Ratio::ONE;
    observed.regions[3].load = 10_000;
    observed.here = id("region-04");
    let (agreed, observed) = (build(&all), build(&observed));
    let drained = build(&with(&all, "region-01", |r| r.admin = AdminState::Draining));
    for n in 0..2_000 {
        let name = format!("k{n}");
        let key = Key::new(name.as_bytes());
        let home = agreed.home(&key, &[]).unwrap();
        assert_eq!(home, observed.home(&key, &[]).unwrap());
        assert_eq!(agreed.id(home), agreed.select(&of_key(&name)).unwrap().first());
        let later = drained.home(&key, &[]).unwrap();
        assert_eq!(later == home, agreed.id(home).as_str() != "region-01");
    }
}

#[test]
fn an_explanation_names_every_step() {
    let mut facts = facts(&THREE);
    facts.rules =
        vec![Rule { matches: Matcher::Organisation("acme".into()), region: id("us-east-1") }];
    let facts = with(&facts, "ap-southeast-1", |r| r.admin = AdminState::Draining);
    let snapshot = build(&facts);
    let request = Request { key: Key::repository("acme/api"), ..Request::default() };
    let plan = snapshot.select(&request).unwrap();
    assert_eq!(
        plan.explain().to_string(),
        "us-east-1, then eu-west-1\n  not ap-southeast-1: draining\n  ordered by affinity\n  \
         the organisation rule names us-east-1"
    );
    assert_eq!(plan.scores().len(), 3);
}

fn any_facts() -> impl Generator<Value = Facts> {
    let region = (
        0_u32..4,
        1_u32..4,
        prop_oneof![
            Just(AdminState::Active),
            Just(AdminState::Draining),
            Just(AdminState::Disabled)
        ],
        prop_oneof![Just(Health::Healthy), Just(Health::Degraded), Just(Health::Down)],
        (0.0..=1.0_f64, 0.0..=1.0_f64, 0_u32..200),
        (any::<bool>(), any::<bool>(), any::<bool>()),
    );
    (proptest::collection::vec(region, 1..10), 0_usize..7).prop_map(|(regions, strategy)| {
        let mut facts = numbered(regions.len());
        facts.policy = Policy::new(Strategy::ALL[strategy]);
        for (facts, (weight, priority, admin, health, (full, ramp, load), (eu, lost, witness))) in
            facts.regions.iter_mut().zip(regions)
        {
            facts.region.weight = weight;
            facts.region.priority = priority;
            (facts.admin, facts.health, facts.load) = (admin, health, load);
            facts.utilisation = Ratio::clamped(full);
            facts.ramp = Ratio::clamped(ramp);
            facts.region.witness = witness && load > 150;
            if eu {
                facts.region.residency.insert(tag("eu"));
            }
            if lost {
                facts.lost.insert(Capability::new("queue").unwrap());
            }
        }
        facts
    })
}

proptest! {
    #[test]
    fn a_plan_is_allowed_unique_and_never_empty(
        facts in any_facts(),
        turn: u64,
        key in "[a-z]{0,4}",
        demand: (bool, bool, bool),
    ) {
        let Ok(snapshot) = RoutingSnapshot::build(facts.clone()) else { return Ok(()) };
        let (eu, queue) = ([tag("eu")], [Capability::new("queue").unwrap()]);
        let policy = Policy {
            levels: if demand.2 { Levels::ByPriority } else { Levels::Flat },
            ..facts.policy.clone()
        };
        let request = Request {
            turn,
            residency: if demand.0 { &eu } else { &[] },
            needs: if demand.1 { &queue } else { &[] },
            ..of_key(&key)
        };
        let may = |r: &RegionFacts| {
            !r.region.witness
                && r.admin != AdminState::Disabled
                && (!demand.0 || r.region.residency.contains(&tag("eu")))
        };
        let Ok(plan) = select(&snapshot, &request, &policy) else {
            prop_assert!(!facts.regions.iter().any(may), "refused though something is allowed");
            return Ok(());
        };
        let mut seen = std::collections::BTreeSet::new();
        for region in plan.regions() {
            let facts = snapshot.region(snapshot.index(region).unwrap());
            prop_assert!(may(facts), "{region} is not allowed");
            prop_assert!(seen.insert(region.clone()), "{region} twice");
            prop_assert!(plan.is_panic() || facts.health != Health::Down, "{region} is down");
        }
        prop_assert!(!seen.is_empty());
        let again = select(&snapshot, &request, &policy).unwrap();
        prop_assert_eq!(plan.order(), again.order());
        prop_assert!(!plan.explain().to_string().is_empty());
    }

    #[test]
    fn facts_survive_their_record(facts in any_facts()) {
        prop_assert_eq!(Facts::decode(&facts.encode()).unwrap(), facts);
    }
}
