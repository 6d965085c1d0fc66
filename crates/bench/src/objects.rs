//! Objects side by side: how many are written and read per second, how soon each is answered, and how
//! fast a bucket is listed.
//!
//! Every client has a connection and a thread of its own and waits for each answer. The stores take
//! turns, each fresh in every round, on the same disk. Bodies do not compress and no two are alike.

mod body;
mod listing;
mod load;
mod multipart;
mod regions;
mod report;
mod session;
mod store;

use std::{fmt, path::PathBuf};

use anyhow::{Context, Result};
use rhumb_integration::programs;
use serde::Serialize;

use self::{body::Mould, listing::Listing, load::Load, multipart::Upload, regions::Regions};
pub(crate) use self::{
    body::noise,
    store::{BUCKET, Store, program},
};
use crate::{
    machine,
    plan::{Effort, Wanted},
    progress,
    stats::{Spread, millis, percentile},
};

/// The name of its rows.
const NAME: &str = "objects";

/// Whose store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    Rhumb,
    GarageSynced,
    Garage,
    S3sFs,
}

impl Side {
    /// First those that fsync before they answer.
    const ALL: [Self; 4] = [Self::Rhumb, Self::GarageSynced, Self::Garage, Self::S3sFs];

    fn start(self) -> Result<Store> {
        match self {
            Self::Rhumb => Store::rhumb(),
            Self::GarageSynced => Store::garage(true),
            Self::Garage => Store::garage(false),
            Self::S3sFs => Store::s3s_fs(),
        }
    }

    /// Its part of a row's name.
    const fn slug(self) -> &'static str {
        match self {
            Self::Rhumb => "rhumb",
            Self::GarageSynced => "garage-synced",
            Self::Garage => "garage",
            Self::S3sFs => "s3s-fs",
        }
    }

    /// Where its server is.
    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Rhumb => programs::rhumb(),
            Self::Garage | Self::GarageSynced => store::garage_program(),
            Self::S3sFs => store::s3s_fs_program(),
        }
    }

    /// What is on the disk when a client hears that its object is stored.
    const fn durability(self) -> &'static str {
        match self {
            Self::Rhumb => "bytes and index fsynced",
            Self::GarageSynced => "bytes and index fsynced (`data_fsync`, `metadata_fsync`)",
            Self::Garage | Self::S3sFs => "nothing: the disk follows when the system writes",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rhumb => "Rhumb",
            Self::GarageSynced => "Garage, with fsync",
            Self::Garage => "Garage, as it comes",
            Self::S3sFs => "s3s-fs",
        })
    }
}

/// How long the bodies are, and how many clients there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct Setting {
    name: &'static str,
    bytes: u64,
    clients: usize,
}

/// In the order in which a fresh store gets them.
const SETTINGS: [Setting; 4] = [
    Setting { name: "4KiB", bytes: 4 << 10, clients: 1 },
    Setting { name: "4KiB", bytes: 4 << 10, clients: 50 },
    Setting { name: "1MiB", bytes: 1 << 20, clients: 8 },
    Setting { name: "1GiB", bytes: 1 << 30, clients: 1 },
];

/// Writing, or reading what was written before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verb {
    Put,
    Get,
}

impl Verb {
    const fn slug(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// One row.
#[derive(Clone, Debug, Serialize)]
struct Row {
    setting: Setting,
    verb: Verb,
    side: Side,
    per_second: Spread,
    /// Over all rounds.
    p50_millis: f64,
    p99_millis: f64,
}

/// Everything about objects.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Objects {
    rows: Vec<Row>,
    listings: Vec<Listing>,
    uploads: Vec<Upload>,
    regions: Regions,
    /// The most that each server held of the memory in a round.
    peaks_mebibytes: Vec<(Side, Spread)>,
    busy_by_others: Option<Spread>,
}

/// What the rounds of one row gave.
struct Rounds {
    setting: Setting,
    verb: Verb,
    side: Side,
    rates: Vec<f64>,
    loads: Vec<Load>,
}

impl Rounds {
    fn row(mut self) -> Option<Row> {
        let mut waits: Vec<_> = self.loads.drain(..).flat_map(|load| load.waits).collect();
        waits.sort_unstable();
        let at = |percent| millis(percentile(&waits, percent));
        let (p50_millis, p99_millis) = (at(50), at(99));
        let Self { setting, verb, side, rates, .. } = self;
        let per_second = Spread::of(&rates)?;
        Some(Row { setting, verb, side, per_second, p50_millis, p99_millis })
    }
}

/// Measures the wanted settings.
pub(crate) fn measure(wanted: &Wanted, effort: Effort) -> Result<Objects> {
    let mut all = Objects::default();
    if !wanted.includes_some_of(NAME) {
        return Ok(all);
    }
    let sides = installed();
    let mut rounds = Vec::new();
    for setting in SETTINGS {
        for verb in [Verb::Put, Verb::Get] {
            let wants = |side: &Side| wanted.includes(&name(setting, verb, *side));
            rounds.extend(sides.iter().copied().filter(wants).map(|side| Rounds {
                setting,
                verb,
                side,
                rates: Vec::new(),
                loads: Vec::new(),
            }));
        }
    }
    let (mut busy, mut peaks) = (Vec::new(), Vec::new());
    for round in 1..=effort.rounds {
        for side in &sides {
            let of_side: Vec<&mut Rounds> =
                rounds.iter_mut().filter(|rounds| rounds.side == *side).collect();
            if of_side.is_empty() {
                continue;
            }
            busy.push(machine::busy()?);
            progress(&format!("{NAME}: {side}, round {round} of {}", effort.rounds));
            let peak = one_round(*side, of_side, effort).with_context(|| side.to_string())?;
            peaks.push((*side, peak));
        }
    }
    all.rows = rounds.into_iter().filter_map(Rounds::row).collect();
    for side in Side::ALL {
        let of: Vec<f64> = peaks.iter().filter(|it| it.0 == side).map(|it| it.1).collect();
        all.peaks_mebibytes.extend(Spread::of(&of).map(|peak| (side, peak)));
    }
    all.listings = listing::measure(wanted, &sides, effort)?;
    all.uploads = multipart::measure(wanted, &sides, effort)?;
    all.regions = regions::measure(wanted, effort)?;
    all.busy_by_others = Spread::of(&busy);
    Ok(all)
}

fn name(setting: Setting, verb: Verb, side: Side) -> String {
    format!("{NAME}/{}/{}/{}/{}", setting.name, setting.clients, verb.slug(), side.slug())
}

/// The sides whose servers are on this machine; the others are named.
fn installed() -> Vec<Side> {
    let is_there = |side: &Side| match side.program() {
        Ok(_) => true,
        Err(missing) => {
            progress(&format!("{NAME}: {side} is left out: {missing}"));
            false
        }
    };
    Side::ALL.into_iter().filter(is_there).collect()
}

/// All wanted settings on one fresh store; the most memory that it took.
fn one_round(side: Side, wanted: Vec<&mut Rounds>, effort: Effort) -> Result<f64> {
    let store = side.start()?;
    let mut written = Vec::new();
    for rounds in wanted {
        let Setting { bytes, clients, name } = rounds.setting;
        let mould = Mould::new(bytes);
        let folder = format!("/{BUCKET}/{name}-{clients}");
        let load = match rounds.verb {
            Verb::Put => load::put(&store.endpoint, &folder, &mould, (clients, effort.run)),
            Verb::Get => {
                let is_there = written.contains(&rounds.setting);
                load::get(&store.endpoint, &folder, &mould, is_there, (clients, effort.run))
            }
        }?;
        written.push(rounds.setting);
        let verb = rounds.verb.slug();
        progress(&format!("{NAME}/{name}/{clients}/{verb}: {side}: {:.1}/s", load.rate));
        rounds.rates.push(load.rate);
        rounds.loads.push(load);
    }
    store.peak_mebibytes()
}
