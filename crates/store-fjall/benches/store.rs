//! How fast a data directory takes durable batches and gives rows.
//!
//! `cargo bench -p rhumb-store-fjall`; a directory can be named as an argument, otherwise it is
//! under the system's temporary directory. The raw rate of `fdatasync` on the same disk is
//! measured first, because it bounds everything that is durable.

#![allow(clippy::print_stdout, reason = "a benchmark reports to whoever runs it")]

use std::{
    error::Error,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rhumb_ports::store::{Batch, Durability, MetaName, ReadStore, Store, Write};
use rhumb_store_fjall::FjallStore;
use rhumb_types::{
    Hlc, OriginId,
    record::{Cell, Dot, Entry, Head, Record, Space, Value, VersionVector},
};

const ORIGIN: OriginId = OriginId(0x7_0000);
const VALUE_BYTES: usize = 64;
/// How many different keys are written and read.
const KEYS: u64 = 1_000_000;
/// How many keys are read by the clients that all want the same.
const HOT_KEYS: u64 = 10_000;
/// How long each rate is measured.
const SPAN: Duration = Duration::from_secs(4);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    // Cargo passes `--bench`.
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let base = named.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base)?;
    let path = directory.path().join("data");

    println!("fdatasync after 4 KiB      {:>10.0} /s", raw_syncs(directory.path())?);
    let begun = Instant::now();
    let store = FjallStore::open(&path)?;
    println!("open, no data              {:>10.1} ms", millis(begun));
    println!("resident, no data          {:>10.1} MB", resident_megabytes()?);
    let mut version = 0;
    for size in [1, 16, 256, 1_024] {
        commits(&store, &mut version, size, Durability::Synced)?;
    }
    commits(&store, &mut version, 16, Durability::Buffered)?;
    fill(&store, &mut version)?;
    println!("resident, after writing    {:>10.1} MB", resident_megabytes()?);
    for (threads, keys) in [(1, KEYS), (4, KEYS), (1, HOT_KEYS), (4, HOT_KEYS)] {
        reads(&store, threads, keys)?;
    }
    let begun = Instant::now();
    let rows = store.snapshot().verify_all()?.len();
    println!("verify all                 {:>10.1} ms, {rows} damaged", millis(begun));
    drop(store);
    let begun = Instant::now();
    let store = FjallStore::open(&path)?;
    println!("open, {version:>9} rows      {:>10.1} ms", millis(begun));
    println!("resident, after open       {:>10.1} MB", resident_megabytes()?);
    reads(&store, 1, KEYS)
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn resident_megabytes() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no VmRSS")?;
    Ok(kilobytes.trim().parse::<f64>()? / 1e3)
}

fn raw_syncs(directory: &Path) -> Outcome<f64> {
    let mut file = File::create(directory.join("raw"))?;
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < SPAN / 4 {
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// A key, spread so that neighbours in time are none in order.
fn key(number: u64) -> Bytes {
    let spread = (number % KEYS).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Bytes::from(format!("session:{spread:016x}"))
}

/// One client's write: a log row and a head row.
fn writes(version: u64) -> [Write; 2] {
    let value = Bytes::from(vec![u8::try_from(version % 251).unwrap_or(0); VALUE_BYTES]);
    let dot = Dot { origin: ORIGIN, version };
    let entry =
        Entry { dot, hlc: Hlc(version << 16), value: Value::Bytes(value.clone()), expiry: None };
    let cell = Cell { entries: [entry].into_iter().collect(), deltas: Vec::new() };
    let head = Some(Head { cell, ..Head::default() });
    [
        Write::Log { origin: ORIGIN, version, transaction: value },
        Write::Head { space: Space::USER, key: key(version), head },
    ]
}

fn batch(version: &mut u64, size: u64) -> Batch {
    let first = *version + 1;
    *version += size;
    let applied: VersionVector = [(ORIGIN, *version)].into_iter().collect();
    let meta = Write::Meta { name: MetaName::Applied, value: Some(applied.encode()) };
    Batch { writes: (first..=*version).flat_map(writes).chain([meta]).collect() }
}

fn commits(
    store: &FjallStore,
    version: &mut u64,
    size: u64,
    durability: Durability,
) -> Outcome<()> {
    let (begun, mut count) = (Instant::now(), 0_u32);
    let mut slowest = Duration::ZERO;
    let mut committing = Duration::ZERO;
    while begun.elapsed() < SPAN {
        let batch = batch(version, size);
        let start = Instant::now();
        store.commit(&batch, durability)?;
        committing += start.elapsed();
        slowest = slowest.max(start.elapsed());
        count += 1;
    }
    let rate = f64::from(count) / committing.as_secs_f64();
    let rows = rate * f64::from(u32::try_from(size)?);
    println!(
        "{durability:?} batches of {size:>5}    {rows:>10.0} writes/s, {rate:>7.0} commits/s, \
         slowest {:.1} ms",
        slowest.as_secs_f64() * 1e3
    );
    Ok(())
}

/// Writes what is missing of every key.
fn fill(store: &FjallStore, version: &mut u64) -> Outcome<()> {
    while *version < KEYS {
        store.commit(&batch(version, 1_024), Durability::Buffered)?;
    }
    Ok(store.sync()?)
}

fn reads(store: &FjallStore, threads: u64, keys: u64) -> Outcome<()> {
    let read = |thread: u64| -> Outcome<u64> {
        let (begun, mut count, mut at) = (Instant::now(), 0_u64, thread);
        while begun.elapsed() < SPAN / 2 {
            for _ in 0..256 {
                at = at
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let found = store.head(Space::USER, &key((at >> 20) % keys))?;
                found.ok_or("a key is missing")?;
                count += 1;
            }
        }
        Ok(count)
    };
    let begun = Instant::now();
    let counts: Vec<Outcome<u64>> = std::thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || read(thread))).collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| "a reader panicked")?).collect()
    });
    let total = counts.into_iter().sum::<Outcome<u64>>()?;
    let rate = f64::from(u32::try_from(total)?) / begun.elapsed().as_secs_f64();
    println!("heads of {keys:>7}, {threads} threads {rate:>9.0} reads/s");
    Ok(())
}
