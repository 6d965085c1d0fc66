//! What one selection costs, with 3 and with 20 regions, per strategy.
#![expect(clippy::indexing_slicing, reason = "a benchmark's own tables")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rhumb_regions::{
    Client, Facts, Key, Policy, Region, RegionFacts, Request, RoutingSnapshot, Strategy,
    locations::WELL_KNOWN,
};

fn snapshot(regions: usize, strategy: Strategy) -> RoutingSnapshot {
    let region = |nth: usize| {
        let id =
            rhumb_types::RegionId::new(WELL_KNOWN[nth].name).expect("well-known names are names");
        let mut region = Region::new(id, "host:7401");
        region.weight = 10 + u32::try_from(nth).expect("few regions");
        RegionFacts::new(region)
    };
    let regions: Vec<_> = (0..regions).map(region).collect();
    RoutingSnapshot::build(Facts {
        version: 1,
        here: regions[0].region.id.clone(),
        regions,
        links: Vec::new(),
        rules: Vec::new(),
        policy: Policy::new(strategy),
    })
    .expect("the facts are sound")
}

fn selection(c: &mut Criterion) {
    let keys: Vec<String> = (0..1_024).map(|n| format!("session:{n:08}")).collect();
    for strategy in Strategy::ALL {
        let mut group = c.benchmark_group(strategy.as_str());
        for regions in [3, 20] {
            let snapshot = snapshot(regions, strategy);
            let mut turn = 0_u64;
            group.bench_function(BenchmarkId::from_parameter(regions), |b| {
                b.iter(|| {
                    turn += 1;
                    let key = &keys[usize::try_from(turn % 1_024).expect("below 1,024")];
                    let request = Request {
                        key: Key::new(key.as_bytes()),
                        client: Client::default(),
                        turn,
                        ..Request::default()
                    };
                    let plan = snapshot.select(black_box(&request)).expect("a region is up");
                    black_box(plan.order().len())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, selection);
criterion_main!(benches);
