//! The two repairs that fjall's journal needs from outside.
//!
//! **A torn last batch.** A machine that loses power can leave the last batch with its end on disk
//! and a page in its middle not. fjall then finds a wrong checksum and refuses to open, although
//! the batch was never synced. Cutting its end off makes it an unfinished batch, which fjall drops.
//! If the damage was elsewhere, the second attempt fails as the first did; if the batch had been
//! synced, the watermark tells that it is gone.
//!
//! **A failed fsync.** Linux then calls pages clean that are not on the disk, so that a restarted
//! process reads them from memory, builds on them, and no later fsync writes them (Rebello et al.,
//! USENIX ATC 2020). After a failure the journals are therefore written anew before they are used.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::open::{FAILED_FILE, RECORDS, sync_directory};

/// The suffix of fjall's journals, which are named by a number.
const SUFFIX: &str = "jnl";
/// Bytes read at once while the end of the data is searched from the back.
const CHUNK_BYTES: u64 = 64 << 10;

/// Cuts the last byte of data off the newest journal, and keeps a copy of the journal beside the
/// records. Gives the copy's path; `None` when there is nothing to cut.
pub(crate) fn cut_last_batch(records: &Path) -> io::Result<Option<PathBuf>> {
    let Some((number, journal)) = journals(records)?.into_iter().max() else { return Ok(None) };
    let mut file = OpenOptions::new().read(true).write(true).open(&journal)?;
    let end = data_end(&mut file)?;
    if end == 0 {
        return Ok(None);
    }
    let copy = records.with_extension(format!("torn-{number}"));
    let mut kept = File::create(&copy)?;
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut Read::by_ref(&mut file).take(end), &mut kept)?;
    kept.sync_all()?;
    file.set_len(end - 1)?;
    file.sync_all()?;
    Ok(Some(copy))
}

/// Notes that the disk failed, as well as the disk lets us.
pub(crate) fn note_failure(path: &Path) {
    let noted = File::create(path.join(FAILED_FILE)).and_then(|file| file.sync_all());
    if let Err(error) = noted {
        tracing::error!(%error, "the failure could not be noted in the data directory");
    }
}

/// Writes the journals anew if the disk failed under an earlier process.
pub(crate) fn distrust_after_failure(path: &Path) -> io::Result<()> {
    let noted = path.join(FAILED_FILE);
    if !noted.exists() {
        return Ok(());
    }
    let records = path.join(RECORDS);
    for (_, journal) in journals(&records)? {
        let anew = path.join("journal");
        let mut file = File::open(&journal)?;
        let end = data_end(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        let mut copy = File::create(&anew)?;
        io::copy(&mut file.take(end), &mut copy)?;
        copy.sync_all()?;
        fs::rename(&anew, &journal)?;
    }
    sync_directory(&records)?;
    fs::remove_file(noted)?;
    sync_directory(path)
}

/// Every journal with its number.
fn journals(records: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    if !records.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(records)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if path.extension().is_some_and(|extension| extension == SUFFIX) {
            found.extend(number.map(|number: u64| (number, path)));
        }
    }
    Ok(found)
}

/// The length without the zeros that fjall allocates in advance. A batch ends with fjall's magic
/// bytes, never with a zero.
fn data_end(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES);
        chunk.clear();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte != 0) {
            return Ok(start + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = start;
    }
    Ok(0)
}
