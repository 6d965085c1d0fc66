use std::time::Duration;

use proptest::prelude::{Strategy as _, any, prop, prop_assert, prop_assert_eq, proptest};
use rhumb_regions::{Facts, Link, Region, RegionFacts};

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

fn upload<'a>(taken_in: Option<&'a RegionId>, strategy: Strategy) -> Upload<'a> {
    let key = Key::new(b"photos/1");
    Upload { key, client: Client::default(), turn: 0, taken_in, strategy }
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
        let plan =
            UploadPlan::new(&map, &definition, &bounds, &upload(Some(&here), strategy)).unwrap();
        assert_eq!(names(plan.targets()), ["c", "d", "b"], "{strategy}");
        assert_eq!(names(plan.spares()), ["a"], "{strategy}");
        assert_eq!(plan.copies_needed, 2);
        assert!(plan.reasons().iter().any(|line| line == "c took it in"));
    }
}

#[test]
fn an_upload_that_waits_for_one_copy_is_planned_to_one_region() {
    let map = snapshot(vec![facts("a", &[]), facts("b", &[])]);
    let mut definition = BucketDefinition::default();
    let bounds = Bounds::of(&map, &definition).unwrap();
    let plan = |definition: &BucketDefinition| {
        let plan =
            UploadPlan::new(&map, definition, &bounds, &upload(None, Strategy::Latency)).unwrap();
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
    let bounds = Bounds::of(&map, &definition).unwrap();
    let outside = id("a");
    let plan =
        UploadPlan::new(&map, &definition, &bounds, &upload(Some(&outside), Strategy::Priority))
            .unwrap();
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
        let plan = UploadPlan::new(&map, &definition, &bounds, &upload(Some(&taken_in), world.strategy));
        let plan = plan.unwrap();
        let all: Vec<_> = plan.targets().chain(plan.spares()).map(|r| map.index(r).unwrap()).collect();
        prop_assert_eq!(all.len(), expected.len());
        prop_assert_eq!(all.iter().copied().collect::<RegionSet>(), expected);
        let ought = ought(&map, &definition, &bounds, &upload(None, world.strategy).key, &taken_in,
            RegionSet::EMPTY);
        prop_assert!(ought.regions.without(expected).is_empty());
        prop_assert!(ought.regions.len() >= usize::from(ought.copies));
        prop_assert_eq!(ought.shortfall.is_some(), expected.len() < usize::from(world.copies));
    }
}
