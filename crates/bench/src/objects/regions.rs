//! What another region costs: a read of what only that one has, and a copy that is waited for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rhumb_integration::{Cluster, Launch, Layout};
use rhumb_regions::locations;
use serde::Serialize;
use tempfile::TempDir;

use super::{
    NAME,
    body::Mould,
    session::{Credential, Endpoint, Session},
    store,
};
use crate::{
    plan::{Effort, Wanted},
    progress,
    report::joined,
    stats::{Spread, millis, percentile},
};

const REGIONS: usize = 2;
/// Bytes stay where they were put.
const NEAR: &str = "near";
const NEAR_SETTINGS: &str = "{\"replication\":\"regional\",\"copies\":1,\"promote_after\":0}";
/// An upload waits until both regions have all of its bytes.
const BOTH: &str = "both";
const BOTH_SETTINGS: &str = "{\"replication\":\"regional\",\"copies\":2,\"min_copies\":2}";
/// Reads of each kind.
const READS: u64 = 40;
/// How long the index is given to arrive: longer than any way.
const ARRIVAL: Duration = Duration::from_millis(300);
/// Uploads of each kind in a round,
const UPLOADS: u64 = 2;
/// and their length in bytes.
const UPLOAD_BYTES: u64 = 256 << 20;

/// The lines of clients that upload, in bytes per second: as fast as this machine, and 1 Gbit/s.
const LINES: [u64; 2] = [u64::MAX, 125_000_000];

/// What is read, and what the reading region knows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct Kind {
    name: &'static str,
    bytes: u64,
    is_known: bool,
}

const KINDS: [Kind; 3] = [
    Kind { name: "4 KiB, just put", bytes: 4 << 10, is_known: false },
    Kind { name: "1 MiB, listed already, its bytes elsewhere", bytes: 1 << 20, is_known: true },
    Kind { name: "1 MiB, just put", bytes: 1 << 20, is_known: false },
];

/// A read through another region.
#[derive(Clone, Debug, Serialize)]
struct Read {
    kind: Kind,
    round_trip_millis: f64,
    /// The whole read.
    p50_millis: f64,
    p99_millis: f64,
}

/// Uploads that wait for one or two regions.
#[derive(Clone, Debug, Serialize)]
struct Copies {
    bytes_per_second: u64,
    one_millis: Spread,
    two_millis: Spread,
}

/// Everything about several regions.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Regions {
    reads: Vec<Read>,
    copies: Vec<Copies>,
}

/// Measures what is wanted.
pub(crate) fn measure(wanted: &Wanted, effort: Effort) -> Result<Regions> {
    let mut all = Regions::default();
    if wanted.includes(&format!("{NAME}/read-through")) {
        let (cluster, keys, _folder) = start(&["--wan"])?;
        all.reads = reads(&cluster, &keys, if effort.is_quick() { READS / 4 } else { READS })?;
    }
    if wanted.includes(&format!("{NAME}/copies")) {
        let (cluster, keys, _folder) = start(&[])?;
        all.copies = copies(&cluster, &keys, effort)?;
    }
    Ok(all)
}

fn start(arguments: &[&str]) -> Result<(Cluster, Vec<Credential>, TempDir)> {
    let folder = store::folder("regions")?;
    let (keys, asks) = store::keys(folder.path())?;
    let mut cluster = Layout::regions(REGIONS).data(folder.path()).adjust(asks).prepare()?;
    for nth in 0..REGIONS {
        cluster.launch(nth, &Launch::with(arguments))?;
    }
    cluster.wait_until_linked(0..REGIONS)?;
    cluster.wait_until_agreed(0..REGIONS)?;
    for (bucket, settings) in [(NEAR, NEAR_SETTINGS), (BOTH, BOTH_SETTINGS)] {
        store::define(&cluster, bucket, settings)?;
    }
    Ok((cluster, keys, folder))
}

fn reads(cluster: &Cluster, keys: &[Credential], reads: u64) -> Result<Vec<Read>> {
    let (from, to) = (store::endpoint(cluster, 0, keys), store::endpoint(cluster, 1, keys));
    let (mut writer, mut reader) = (Session::open(&from, 0)?, Session::open(&to, 0)?);
    let round_trip = locations::rtt(cluster.region(0), cluster.region(1)).unwrap_or_default();
    let mut rows = Vec::new();
    for (client, kind) in KINDS.into_iter().enumerate() {
        let mould = Mould::new(kind.bytes);
        let mut waits = Vec::new();
        for nth in 0..reads {
            let path = format!("/{NEAR}/{client}-{nth:08}");
            writer.put(&path, &mould.body(client, nth))?;
            if kind.is_known {
                std::thread::sleep(ARRIVAL);
            }
            let before = Instant::now();
            reader.get(&path).with_context(|| format!("reading through: {}", kind.name))?;
            waits.push(before.elapsed());
        }
        waits.sort_unstable();
        let at = |percent| millis(percentile(&waits, percent));
        progress(&format!("{NAME}/read-through: {}: {:.1} ms", kind.name, at(50)));
        rows.push(Read {
            kind,
            round_trip_millis: millis(round_trip),
            p50_millis: at(50),
            p99_millis: at(99),
        });
    }
    Ok(rows)
}

fn copies(cluster: &Cluster, keys: &[Credential], effort: Effort) -> Result<Vec<Copies>> {
    let endpoint = store::endpoint(cluster, 0, keys);
    let mould = Mould::new(if effort.is_quick() { 1 << 20 } else { UPLOAD_BYTES });
    let mut rows = Vec::new();
    for (bytes_per_second, line) in LINES.into_iter().zip(0_u64..) {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for round in 0..u64::try_from(effort.rounds)? {
            for nth in 0..UPLOADS {
                let nth = (line << 32) + round * UPLOADS + nth;
                let uploads = Uploads { endpoint: &endpoint, mould: &mould, bytes_per_second };
                one.push(uploads.one(NEAR, 1, nth)?);
                two.push(uploads.one(BOTH, 2, nth)?);
            }
        }
        let spreads = Spread::of(&one).zip(Spread::of(&two));
        rows.extend(spreads.map(|(one_millis, two_millis)| Copies {
            bytes_per_second,
            one_millis,
            two_millis,
        }));
    }
    Ok(rows)
}

/// Uploads over one line.
struct Uploads<'a> {
    endpoint: &'a Endpoint,
    mould: &'a Mould,
    bytes_per_second: u64,
}

impl Uploads<'_> {
    /// How long one took, in milliseconds.
    fn one(&self, bucket: &str, client: usize, nth: u64) -> Result<f64> {
        let mut session = Session::open(self.endpoint, client)?;
        let body = self.mould.body(client, nth);
        let before = Instant::now();
        let path = format!("/{bucket}/{nth:08}");
        session.put_over(&path, &body, self.bytes_per_second).with_context(|| bucket.to_owned())?;
        let took = before.elapsed();
        progress(&format!("{NAME}/copies: {bucket}: {:.0} ms", millis(took)));
        Ok(millis(took))
    }
}

impl Regions {
    pub(crate) fn reads_table(&self) -> String {
        if self.reads.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            "Reads of what only another region has, ms, and beyond the round trip:".to_owned(),
            String::new(),
            "| object | round trip | p50, p99 | beyond it: p50, p99 |".to_owned(),
            "|---|---|---|---|".to_owned(),
        ];
        lines.extend(self.reads.iter().map(|read| {
            let (p50, p99, trip) = (read.p50_millis, read.p99_millis, read.round_trip_millis);
            let name = read.kind.name;
            format!(
                "| {name} | {trip:.0} | {p50:.1}, {p99:.1} | {:.1}, {:.1} |",
                p50 - trip,
                p99 - trip
            )
        }));
        joined(&lines)
    }

    pub(crate) fn copies_table(&self) -> String {
        if self.copies.is_empty() {
            return String::new();
        }
        let mut lines = vec![
            format!(
                "An upload of {} MiB that waits for one region and for two, both on this machine and \
                 disk, ms:",
                UPLOAD_BYTES >> 20
            ),
            String::new(),
            "| the client's line | one | two | ratio |".to_owned(),
            "|---|---|---|---|".to_owned(),
        ];
        lines.extend(self.copies.iter().map(|copies| {
            let Copies { bytes_per_second, one_millis: one, two_millis: two } = copies;
            let line = match bytes_per_second {
                &u64::MAX => "as fast as this machine".to_owned(),
                bytes => format!("{} MB/s", bytes / 1_000_000),
            };
            format!(
                "| {line} | {:.0} ({:.0}-{:.0}) | {:.0} ({:.0}-{:.0}) | {:.2} |",
                one.median,
                one.min,
                one.max,
                two.median,
                two.min,
                two.max,
                two.median / one.median
            )
        }));
        joined(&lines)
    }
}
