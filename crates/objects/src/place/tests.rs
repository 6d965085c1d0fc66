use std::time::Duration;

use proptest::prelude::{Strategy as _, any, prop, prop_assert, prop_assert_eq, proptest};
use rhumb_regions::{Facts, Link, Location, Region, RegionFacts, snapshot::MicroDollarsPerGb};

use super::*;

fn id(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn facts(name: &str, tags: &[&str]) -> RegionFacts {
    let mut region = Region::new(id(name), "x:1");
    region.residency = tags.iter().map(|tag| ResidencyTag::new(tag).unwrap()).collect();
    RegionFacts::new(region)
}

fn snapshot(regions: Vec<RegionFacts>) -> RoutingSnapshot {
    RoutingSnapshot::build(Facts {
        version: 1,
        here: regions[0].region.id.clone(),
        links: Vec::new(),
        regions,
        rules: Vec::new(),
        policy: Policy::default(),
    })
    .unwrap()
}

fn upload(taken_in: Option<&RegionId>) -> Upload<'_> {
    let key = Key::new(b"photos/1");
    Upload { key, client: Client::default(), turn: 0, taken_in }
}

fn with_strategy(strategy: Strategy, mut definition: BucketDefinition) -> BucketDefinition {
    set_strategy(&mut definition, strategy);
    definition
}

fn names<'a>(regions: impl Iterator<Item = &'a RegionId>) -> Vec<&'a str> {
    regions.map(RegionId::as_str).collect()
}

#[test]
fn the_region_that_took_it_in_is_first_then_the_preferred_ones() {
    let map = snapshot(vec![facts("a", &[]), facts("b", &[]), facts("c", &[]), facts("d", &[])]);
    let definition = BucketDefinition {
        replication: Replication::ActiveActive,
        copies: 3,
        regions: vec![id("d"), id("b")],
        ..BucketDefinition::default()
    };
    let bounds = Bounds::of(&map, &definition).unwrap();
    let here = id("c");
    for strategy in Strategy::ALL {
        let definition = with_strategy(strategy, definition.clone());
        let plan = UploadPlan::new(&map, &definition, &bounds, &upload(Some(&here))).unwrap();
        assert_eq!(names(plan.targets()), ["c", "d", "b"], "{strategy}");
        assert_eq!(names(plan.spares()), ["a"], "{strategy}");
        assert_eq!(plan.copies_needed, 2);
        assert!(plan.reasons().iter().any(|line| line == "c took it in"));
    }
}

/// Four regions, of which every strategy prefers others: seen from `a`, `b` is the nearest by round trip,
/// `c` by distance, `d` the cheapest and the heaviest, and `b` comes before `c` by priority.
fn uneven() -> RoutingSnapshot {
    let region = |name: &str, [degrees, priority, weight, cost]: [u32; 4]| {
        let mut facts = facts(name, &[]);
        facts.region.location = Some(Location::new(0.0, f64::from(degrees)).unwrap());
        facts.region.priority = priority;
        facts.region.weight = weight;
        facts.cost = Some(MicroDollarsPerGb(u64::from(cost)));
        facts
    };
    let regions = vec![
        region("a", [0, 1, 1, 1]),
        region("b", [90, 3, 1, 9]),
        region("c", [10, 4, 1, 3]),
        region("d", [50, 2, 8, 2]),
    ];
    let link =
        |to: &str, millis| Link { from: id("a"), to: id(to), rtt: Duration::from_millis(millis) };
    RoutingSnapshot::build(Facts {
        version: 1,
        here: id("a"),
        regions,
        links: vec![link("b", 5), link("c", 80), link("d", 200)],
        rules: Vec::new(),
        policy: Policy::default(),
    })
    .unwrap()
}

#[test]
fn every_strategy_orders_the_regions_that_a_bucket_does_not_name() {
    let map = uneven();
    let here = id("a");
    // Of the other regions the one that gets the copy, for so many keys or turns.
    const COUNT: u64 = 3_000;
    let definition =
        |strategy| with_strategy(strategy, BucketDefinition { min_copies: Some(1), ..usual() });
    let of = |strategy, key: &[u8], turn| {
        let definition = definition(strategy);
        let bounds = Bounds::of(&map, &definition).unwrap();
        let upload =
            Upload { key: Key::new(key), client: Client::default(), turn, taken_in: Some(&here) };
        let plan = UploadPlan::new(&map, &definition, &bounds, &upload).unwrap();
        let order: String = plan.targets().chain(plan.spares()).map(RegionId::as_str).collect();
        assert_eq!(plan.targets().count(), 2);
        assert!(order.starts_with('a') && order.len() == 4, "{order}");
        order
    };
    for (strategy, order) in [
        (Strategy::Latency, "abcd"),
        (Strategy::Geographic, "acdb"),
        (Strategy::Priority, "adbc"),
        (Strategy::Cost, "adcb"),
    ] {
        for (turn, key) in [b"photos/1", b"photos/2", b"photos/3"].into_iter().enumerate() {
            assert_eq!(of(strategy, key, turn as u64), order, "{strategy}");
        }
    }
    // How often each of the others comes first.
    let share = |strategy, of_nth: &dyn Fn(u64) -> (Vec<u8>, u64)| {
        let mut first = std::collections::BTreeMap::from([('b', 0), ('c', 0), ('d', 0)]);
        for nth in 0..COUNT {
            let (key, turn) = of_nth(nth);
            *first.get_mut(&of(strategy, &key, turn).chars().nth(1).unwrap()).unwrap() += 1;
        }
        [first[&'b'], first[&'c'], first[&'d']]
    };
    let by_turn = |nth| (b"photos/1".to_vec(), nth);
    let by_key = |nth: u64| (format!("photos/{nth}").into_bytes(), 0);
    let [b, c, d] = share(Strategy::RoundRobin, &by_turn);
    assert!([b, c, d].iter().all(|it| it * 3 == COUNT), "{b} {c} {d}");
    // Weights are 1, 1 and 8.
    for shares in [share(Strategy::Weighted, &by_turn), share(Strategy::Affinity, &by_key)] {
        let tenth = COUNT / 10;
        assert!((tenth * 7..tenth * 9).contains(&shares[2]), "{shares:?}");
        assert!(shares[..2].iter().all(|it| (tenth / 2..tenth * 3 / 2).contains(it)), "{shares:?}");
    }
    // A key is drawn for, whatever the turn.
    assert_eq!(of(Strategy::Affinity, b"photos/1", 0), of(Strategy::Affinity, b"photos/1", 1));
}

fn usual() -> BucketDefinition {
    BucketDefinition::default()
}

#[test]
fn a_strategy_that_a_newer_node_wrote_is_the_usual_one_and_stays_as_it_is() {
    let mut definition = usual();
    assert_eq!(strategy(&definition), Strategy::Latency);
    for known in Strategy::ALL {
        set_strategy(&mut definition, known);
        assert_eq!(strategy(&definition), known);
    }
    definition.later.insert("strategy".to_owned(), "by_moonlight".to_owned());
    assert_eq!(strategy(&definition), Strategy::Latency);
    set_strategy(&mut definition, Strategy::Latency);
    assert_eq!(definition, usual(), "what is usual takes no room");
}

#[test]
fn an_upload_that_waits_for_one_copy_is_planned_to_one_region() {
    let map = snapshot(vec![facts("a", &[]), facts("b", &[])]);
    let mut definition = BucketDefinition::default();
    let bounds = Bounds::of(&map, &definition).unwrap();
    let plan = |definition: &BucketDefinition| {
        let plan = UploadPlan::new(&map, definition, &bounds, &upload(None)).unwrap();
        plan.targets().count()
    };
    assert_eq!(plan(&definition), 1);
    definition.min_copies = Some(1);
    assert_eq!(plan(&definition), 2, "what is fewer than `copies` is a degraded success");
}

#[test]
fn all_tags_bind_and_a_region_that_is_down_is_the_last_spare() {
    let mut down = facts("b", &["eu", "health"]);
    down.health = Health::Down;
    let map = snapshot(vec![
        facts("a", &["eu"]),
        down,
        facts("c", &["eu", "health"]),
        facts("d", &["health"]),
        facts("e", &["eu", "health"]),
    ]);
    let definition = BucketDefinition {
        copies: 4,
        min_copies: Some(1),
        residency: vec!["eu".into(), "health".into()],
        ..BucketDefinition::default()
    };
    let definition = with_strategy(Strategy::Priority, definition);
    let bounds = Bounds::of(&map, &definition).unwrap();
    let outside = id("a");
    let plan = UploadPlan::new(&map, &definition, &bounds, &upload(Some(&outside))).unwrap();
    let targets = names(plan.targets());
    assert_eq!(targets.len(), 3, "{targets:?}");
    assert_eq!(targets[2], "b");
    assert_eq!(plan.shortfall, Some(Shortfall { asked: 4, possible: 3 }));
    assert!(!plan.is_hopeless());
    let nowhere =
        BucketDefinition { residency: vec!["eu".into(), "moon".into()], ..definition.clone() };
    assert!(matches!(Bounds::of(&map, &nowhere), Err(PlaceError::Nowhere(_))));
    let none = BucketDefinition { residency: vec!["E U".into()], ..definition };
    assert!(matches!(Bounds::of(&map, &none), Err(PlaceError::Tag(_))));
}

#[test]
fn copies_stay_where_they_are_unless_somebody_says_otherwise() {
    let regions: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| facts(name, &[])).into();
    let map = snapshot(regions.clone());
    let mut definition =
        BucketDefinition { replication: Replication::Regional, ..BucketDefinition::default() };
    let bounds = Bounds::of(&map, &definition).unwrap();
    let key = Key::new(b"photos/1");
    let at = |name: &str| map.index(&id(name)).unwrap();
    let ought_of = |definition: &BucketDefinition, holders: &[&str]| {
        let holders = holders.iter().map(|name| at(name)).collect();
        ought(&map, definition, &bounds, &key, &id("c"), holders).regions
    };
    let fresh = ought_of(&definition, &["c"]);
    assert_eq!(fresh.len(), 2);
    assert!(fresh.contains(at("c")));
    for other in ["a", "b", "d", "e"] {
        let expected: RegionSet = [at("c"), at(other)].into_iter().collect();
        assert_eq!(ought_of(&definition, &["c", other]), expected, "a holder stays one");
        let mut regions = regions.clone();
        regions.iter_mut().for_each(|r| r.health = Health::Down);
        let ill = snapshot(regions);
        let holders = [at("c"), at(other)].into_iter().collect();
        let ill = ought(&ill, &definition, &bounds, &key, &id("c"), holders);
        assert_eq!(ill.regions, expected, "health moves nothing");
    }
    definition.regions = vec![id("e")];
    let expected: RegionSet = [at("c"), at("e")].into_iter().collect();
    assert_eq!(ought_of(&definition, &["c", "a"]), expected, "a preference does");
    definition.replication = Replication::Async;
    assert_eq!(ought_of(&definition, &["c"]).len(), 5);
}

#[test]
fn a_region_that_is_back_before_its_duties_may_fetch_what_it_will_hold() {
    let mut back = facts("b", &["eu"]);
    back.admin = AdminState::Disabled;
    let map = snapshot(vec![facts("a", &["eu"]), back, facts("c", &[])]);
    let bounds = |residency: &[&str]| {
        let residency = residency.iter().map(|tag| (*tag).to_owned()).collect();
        Bounds::of(&map, &BucketDefinition { residency, ..BucketDefinition::default() }).unwrap()
    };
    let allowed = |bounds: Bounds| -> Vec<&str> {
        names(bounds.allowed().iter().map(|at| &map.region(at).region.id))
    };
    let at = |name: &str| map.index(&id(name)).unwrap();
    assert_eq!(allowed(bounds(&[])), ["a", "c"]);
    assert_eq!(allowed(bounds(&[]).with_returning(&map, at("b"))), ["a", "b", "c"]);
    assert_eq!(allowed(bounds(&["eu"]).with_returning(&map, at("b"))), ["a", "b"]);
    // Whatever becomes of its duties, it does not carry the tag.
    assert_eq!(allowed(bounds(&["eu"]).with_returning(&map, at("c"))), ["a"]);
}

#[test]
fn reads_go_to_the_nearest_holder_that_looks_well() {
    let mut regions = vec![facts("a", &[]), facts("b", &[]), facts("c", &[]), facts("d", &[])];
    regions[1].health = Health::Down;
    let link =
        |to: &str, millis| Link { from: id("a"), to: id(to), rtt: Duration::from_millis(millis) };
    let map = RoutingSnapshot::build(Facts {
        version: 1,
        here: id("a"),
        regions,
        links: vec![link("b", 1), link("c", 90), link("d", 30)],
        rules: Vec::new(),
        policy: Policy::default(),
    })
    .unwrap();
    let holders = map.data().without(RegionSet::of(map.here()));
    let order = nearest(&map, map.here(), holders);
    assert_eq!(names(order.iter().map(|at| map.id(*at))), ["d", "c", "b"]);
}

#[derive(Debug, Clone)]
struct World {
    regions: Vec<(bool, bool, u8, u8)>,
    residency: Vec<&'static str>,
    copies: u8,
    replication: Replication,
    strategy: Strategy,
    taken_in: usize,
}

fn worlds() -> impl proptest::strategy::Strategy<Value = World> {
    let region = (any::<bool>(), any::<bool>(), 0_u8..3, 0_u8..3);
    let residency =
        prop::sample::select(vec![vec![], vec!["x"], vec!["y"], vec!["x", "y"], vec!["z"]]);
    let replication = prop::sample::select(vec![
        Replication::Regional,
        Replication::Async,
        Replication::ActiveActive,
    ]);
    let strategy = prop::sample::select(Strategy::ALL.to_vec());
    (prop::collection::vec(region, 1..7), residency, 1_u8..5, replication, strategy, 0_usize..7)
        .prop_map(|(regions, residency, copies, replication, strategy, taken_in)| World {
            regions,
            residency,
            copies,
            replication,
            strategy,
            taken_in,
        })
}

fn facts_of((at, (x, y, admin, health)): (usize, (bool, bool, u8, u8))) -> RegionFacts {
    let tags: Vec<_> = [(x, "x"), (y, "y")].iter().filter(|(on, _)| *on).map(|(_, t)| *t).collect();
    let mut facts = facts(&format!("r{at}"), &tags);
    facts.admin =
        [AdminState::Active, AdminState::Draining, AdminState::Disabled][usize::from(admin)];
    facts.health = [Health::Healthy, Health::Degraded, Health::Down][usize::from(health)];
    facts
}

proptest! {
    /// Whatever is up or down: nothing is planned or wished for outside of the bucket's residency, no
    /// region comes twice, and no region that may serve is forgotten.
    #[test]
    fn residency_always_binds(world in worlds()) {
        let regions: Vec<_> = world.regions.iter().copied().enumerate().map(facts_of).collect();
        let map = snapshot(regions);
        let definition = BucketDefinition {
            replication: world.replication,
            copies: world.copies,
            residency: world.residency.iter().map(|tag| (*tag).to_owned()).collect(),
            ..BucketDefinition::default()
        };
        let definition = with_strategy(world.strategy, definition);
        let may = |at: RegionIndex| {
            let facts = map.region(at);
            facts.admin != AdminState::Disabled && world.residency.iter().all(|tag| {
                facts.region.residency.contains(&ResidencyTag::new(tag).unwrap())
            })
        };
        let expected: RegionSet = map.regions().map(|(at, _)| at).filter(|at| may(*at)).collect();
        let Ok(bounds) = Bounds::of(&map, &definition) else {
            prop_assert!(expected.is_empty());
            return Ok(());
        };
        prop_assert_eq!(bounds.allowed(), expected);
        let taken_in = id(&format!("r{}", world.taken_in));
        let plan = UploadPlan::new(&map, &definition, &bounds, &upload(Some(&taken_in)));
        let plan = plan.unwrap();
        let all: Vec<_> = plan.targets().chain(plan.spares()).map(|r| map.index(r).unwrap()).collect();
        prop_assert_eq!(all.len(), expected.len());
        prop_assert_eq!(all.iter().copied().collect::<RegionSet>(), expected);
        let ought = ought(&map, &definition, &bounds, &upload(None).key, &taken_in,
            RegionSet::EMPTY);
        prop_assert!(ought.regions.without(expected).is_empty());
        prop_assert!(ought.regions.len() >= usize::from(ought.copies));
        prop_assert_eq!(ought.shortfall.is_some(), expected.len() < usize::from(world.copies));
    }
}
