//! The nodes of a rehearsal, from a configuration by the same functions as in `serve`.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Result;
use rhumb_config::{Config, Outside, dev, process_environment};
use rhumb_engine::node::oversee::OverseerConfig;
use rhumb_peer::Identity;
use rhumb_regions::{FailoverConfig, locations};
use rhumb_rehearse::rehearsal::{Patience, Setup};
use rhumb_types::{
    ClusterId, NodeId, RegionId,
    control::{Digest, FailoverMode},
};

use super::inputs::Refused;
use crate::{
    cli::{ConfigArgs, Rehearse},
    commands::serve::load,
    node::{oversight, settings, worst_election},
};

/// The cluster of every rehearsal; nobody outside of it sees the name.
const CLUSTER: ClusterId = ClusterId(1);
/// The first port of the example; nothing listens.
const EXAMPLE_PORT: u16 = 7400;

/// The configuration that is rehearsed.
pub(super) fn config(args: &Rehearse) -> Result<Config> {
    if args.example {
        return example();
    }
    if !args.config.exists() {
        return Err(Refused(vec![format!(
            "{} is not there; name a file with --config, or rehearse an example with --example",
            args.config.display()
        )])
        .into());
    }
    file(args.config.clone())
}

/// A configuration from its file.
pub(super) fn file(file: PathBuf) -> Result<Config> {
    load(&ConfigArgs { config: file }).map_err(|error| Refused(vec![error.to_string()]).into())
}

/// The three regions of `rhumb dev`.
fn example() -> Result<Config> {
    let regions =
        dev::REGIONS.iter().map(|name| RegionId::new(name)).collect::<Result<Vec<_>, _>>()?;
    let text = dev::settings(&regions, PathBuf::from("rhumb-dev"), EXAMPLE_PORT).to_yaml()?;
    let outside = Outside { variable: &process_environment, worst_election: &worst_election };
    let told = |faults: Vec<rhumb_config::Fault>| {
        Refused(faults.iter().map(|fault| format!("the example: {fault}")).collect())
    };
    Ok(Config::parse(&text, &outside).map_err(told)?)
}

/// A node per region.
pub(super) fn nodes(config: &Config, capacities: &BTreeMap<RegionId, f64>) -> Result<Vec<Setup>> {
    let regions = config.registry().regions().iter();
    regions
        .zip(1..)
        .map(|(region, nth)| {
            let identity =
                Identity { cluster: CLUSTER, region: region.id.clone(), node: NodeId(nth) };
            let fingerprint = Digest([u8::try_from(nth).unwrap_or(u8::MAX); 32]);
            let overseer = oversight::overseer(config, &identity, fingerprint);
            // Nobody is there to run an operator's commands; they are taken to be done at once.
            let failover = FailoverConfig { hooks: BTreeMap::new(), ..overseer.failover };
            Ok(Setup {
                node: settings::node(config, &identity)?,
                oversight: OverseerConfig { failover, ..overseer },
                requests_per_second: capacities
                    .get(&region.id)
                    .copied()
                    .unwrap_or_else(|| f64::from(region.capacity.requests)),
            })
        })
        .collect()
}

/// How long each node waits for its leader before it stands for election: as long as the leader's lease,
/// and then its own time-out, which is as long.
pub(super) fn elections(config: &Config) -> Patience {
    let timing = rhumb_control::Timing::for_round_trip(config.voter_round_trip());
    let waits = config.registry().regions().iter().map(|region| {
        let (least, most) = timing.stands(&region.id, config.voters());
        (least * 2, most * 2)
    });
    Patience { waits: waits.collect(), tick: timing.tick() }
}

/// What a reader should know of how a configuration is rehearsed.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let failover = &config.settings().failover;
    let mut notes = Vec::new();
    let mode = match failover.mode {
        FailoverMode::Automatic => None,
        FailoverMode::Assisted => Some("assisted"),
        FailoverMode::Manual => Some("manual"),
    };
    notes.extend(mode.map(|mode| {
        format!(
            "failover.mode is {mode}: nobody approves anything in a rehearsal, so that no duties \
             move, and leases run out; rehearse with `automatic` to see them move"
        )
    }));
    if !failover.hooks.is_empty() {
        notes.push("hooks are not run; they are taken to be done at once".to_owned());
    }
    let regions = config.registry().regions();
    let links = config.links();
    let known = |a: &RegionId, b: &RegionId| {
        let given = |it: &RegionId| {
            let placed = regions.iter().find(|region| region.id == *it);
            let placed = placed.is_some_and(|region| region.location.is_some());
            placed || locations::well_known(it.as_str()).is_some()
        };
        let configured =
            links.iter().any(|it| (&it.from, &it.to) == (a, b) || (&it.from, &it.to) == (b, a));
        configured || (given(a) && given(b))
    };
    let pairs = regions
        .iter()
        .enumerate()
        .flat_map(|(nth, a)| regions.iter().skip(nth + 1).map(move |b| (&a.id, &b.id)));
    let unknown: Vec<String> =
        pairs.filter(|(a, b)| !known(a, b)).map(|(a, b)| format!("{a} - {b}")).collect();
    if !unknown.is_empty() {
        notes.push(format!(
            "the round trip is not known and taken to be {:?}: {}; set it under round_trips",
            rhumb_rehearse::paths::UNKNOWN_ROUND_TRIP,
            unknown.join(", ")
        ));
    }
    notes
}
