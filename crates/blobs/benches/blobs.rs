//! How fast a directory takes and gives blobs, beside what its disk takes and gives raw.
//!
//! `cargo bench -p rhumb-blobs`; a directory can be named as an argument, otherwise it is under the
//! system's temporary directory. Every blob is on the disk when it counts. Reads are from the page
//! cache; checks are from the disk.

#![allow(clippy::print_stdout, reason = "a benchmark reports to whoever runs it")]

use std::{
    error::Error,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rhumb_blobs::{FileBlobs, Key, Keys, Options};
use rhumb_ports::blobs::{BLOB_BYTES_MAX, BLOB_READ_BYTES_MAX, Blobs};
use rhumb_types::record::BlobRef;
use tokio::task::JoinSet;

/// How many of the longest blobs are written and read.
const LONG: u64 = 48;
/// How long each rate of small blobs is measured.
const SPAN: Duration = Duration::from_secs(3);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    // Cargo passes `--bench`.
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let base = named.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base)?;
    println!("in {}", directory.path().display());
    raw(directory.path())?;
    for (name, keys) in [("plain", Keys::default()), ("sealed", sealing())] {
        let path = directory.path().join(name);
        let options = Options { keys, ..Options::default() };
        let blobs = Arc::new(FileBlobs::open(&path, options)?);
        println!("{name}");
        long(&blobs).await?;
        for (kib, at_once) in [(4, 1), (4, 16), (4, 64), (4, 256), (64, 1), (64, 64), (64, 256)] {
            small(&blobs, kib << 10, at_once).await?;
        }
    }
    Ok(())
}

fn sealing() -> Keys {
    Keys::new(Some(Key::new([7; 32])), [])
}

/// Bytes that differ for every seed.
fn content(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..bytes.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(bytes).collect::<Vec<u8>>().into()
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e6
}

/// What the disk does without us: files as long as the longest blobs, each synced; and small ones,
/// one after the other, each synced with its directory.
fn raw(path: &Path) -> Outcome<()> {
    let longest = content(1, usize::try_from(BLOB_BYTES_MAX)?);
    let named = |number: u64| path.join(format!("raw-{number}"));
    let begun = Instant::now();
    for number in 0..LONG {
        let mut file = File::create(named(number))?;
        for piece in longest.chunks(1 << 20) {
            file.write_all(piece)?;
        }
        file.sync_all()?;
    }
    println!(
        "raw write, 16 MiB files, fsync each: {:.0} MB/s",
        rate(LONG * BLOB_BYTES_MAX, begun.elapsed())
    );
    let mut piece = vec![0; 1 << 20];
    let begun = Instant::now();
    for number in 0..LONG {
        let mut file = File::open(named(number))?;
        while file.read(&mut piece)? > 0 {}
    }
    println!("raw read, cached: {:.0} MB/s", rate(LONG * BLOB_BYTES_MAX, begun.elapsed()));
    for number in 0..LONG {
        fs::remove_file(named(number))?;
    }
    let (begun, mut files) = (Instant::now(), 0_u64);
    while begun.elapsed() < SPAN {
        let (draft, name) = (named(files), path.join(format!("done-{files}")));
        let mut file = File::create(&draft)?;
        file.write_all(longest.get(..4_096).unwrap_or_default())?;
        file.sync_all()?;
        fs::rename(draft, name)?;
        File::open(path)?.sync_all()?;
        files += 1;
    }
    println!(
        "raw 4 KiB files, fsync, rename, fsync: {:.0}/s",
        files as f64 / begun.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn store(blobs: &FileBlobs, content: Bytes) -> Outcome<BlobRef> {
    let mut writer = blobs.create().await?;
    let mut rest = content;
    while !rest.is_empty() {
        writer.write(rest.split_to(rest.len().min(256 << 10))).await?;
    }
    Ok(writer.finish().await?)
}

async fn long(blobs: &Arc<FileBlobs>) -> Outcome<()> {
    let contents: Vec<Bytes> = (0..LONG)
        .map(|seed| Ok(content(seed, usize::try_from(BLOB_BYTES_MAX)?)))
        .collect::<Outcome<_>>()?;
    let begun = Instant::now();
    let mut held = Vec::new();
    for content in &contents {
        held.push(store(blobs, content.clone()).await?);
    }
    let all = LONG * BLOB_BYTES_MAX;
    println!("  write 16 MiB, one after the other: {:.0} MB/s", rate(all, begun.elapsed()));
    for blob in &held {
        blobs.remove(blob.hash).await?;
    }
    let begun = Instant::now();
    let mut storing = JoinSet::new();
    for content in contents {
        let blobs = Arc::clone(blobs);
        storing.spawn(async move { store(&blobs, content).await.map(|_| ()) });
        if storing.len() >= 4 {
            storing.join_next().await.transpose()?.transpose()?;
        }
    }
    while let Some(stored) = storing.join_next().await {
        stored??;
    }
    println!("  write 16 MiB, four at a time: {:.0} MB/s", rate(all, begun.elapsed()));
    let begun = Instant::now();
    for blob in &held {
        for from in (0..blob.bytes).step_by(1 << 20) {
            blobs.read(blob.hash, from..from + BLOB_READ_BYTES_MAX).await?;
        }
    }
    println!("  read by 1 MiB, cached: {:.0} MB/s", rate(all, begun.elapsed()));
    let (begun, mut reads) = (Instant::now(), 0_u64);
    while begun.elapsed() < SPAN {
        for blob in &held {
            let from = reads.wrapping_mul(7_919_777) % (blob.bytes - 4_096);
            blobs.read(blob.hash, from..from + 4_096).await?;
            reads += 1;
        }
    }
    println!(
        "  read 4 KiB anywhere, cached: {:.0}/s",
        reads as f64 / begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    for blob in &held {
        blobs.verify(blob.hash).await?;
    }
    println!("  check, from the disk: {:.0} MB/s", rate(all, begun.elapsed()));
    for blob in held {
        blobs.remove(blob.hash).await?;
    }
    Ok(())
}

async fn small(blobs: &Arc<FileBlobs>, bytes: usize, at_once: usize) -> Outcome<()> {
    let seed = Arc::new(AtomicU64::new((bytes * at_once) as u64 * 1_000_003));
    let stored = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut storing = JoinSet::new();
    for _ in 0..at_once {
        let (blobs, seed, stored) = (Arc::clone(blobs), Arc::clone(&seed), Arc::clone(&stored));
        storing.spawn(async move {
            let mut whole = content(0, bytes).to_vec();
            while begun.elapsed() < SPAN {
                let own = seed.fetch_add(1, Ordering::Relaxed);
                whole.iter_mut().zip(own.to_le_bytes()).for_each(|(byte, own)| *byte = own);
                store(&blobs, Bytes::copy_from_slice(&whole)).await?;
                stored.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = storing.join_next().await {
        ended??;
    }
    let each_second = stored.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    println!("  store {} KiB, {at_once} at once: {each_second:.0}/s", bytes >> 10);
    Ok(())
}
