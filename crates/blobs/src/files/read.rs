//! Reading: any range against the tree, and the whole for a check.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
};

use bytes::{Bytes, BytesMut};
use rhumb_ports::blobs::{BlobError, bounded};
use rhumb_types::record::BlobHash;
use rustix::io::Errno;

use super::directory::{DAMAGED, Directory, lock};
use crate::{
    counters::add,
    format::{Flaw, Index, Layout},
    pack::PIECE_BYTES,
    tree::BLOCK_BYTES,
};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A blob whose tree was checked against its name.
struct Opened {
    file: File,
    found: Metadata,
    index: Index,
}

/// Why a read gave nothing.
enum Refused {
    Flaw(Flaw),
    Disk(io::Error),
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        // A sector that cannot be read is as good as one with other bytes in it.
        let is_medium = Errno::from_io_error(&error) == Some(Errno::IO);
        match error.kind() {
            ErrorKind::UnexpectedEof => Flaw::Damaged("it is cut off".to_owned()).into(),
            _ if is_medium => Flaw::Damaged(format!("it cannot be read: {error}")).into(),
            _ => Self::Disk(error),
        }
    }
}

impl Directory {
    pub(super) fn read(&self, hash: BlobHash, range: &Range<u64>) -> Result<Bytes, BlobError> {
        let opened = self.open(hash)?.ok_or(BlobError::Missing(hash))?;
        let part = bounded(range, opened.index.bytes)?;
        let read =
            opened.read(&part).map_err(|refused| self.refuse(hash, &opened.found, refused))?;
        add(&self.counters.reads, 1);
        add(&self.counters.read_bytes, read.len() as u64);
        Ok(read)
    }

    /// Reads the whole from the disk, as far as the system allows: what is cached says nothing about
    /// the disk, and a check should not fill the cache.
    pub(super) fn verify(&self, hash: BlobHash) -> Result<(), BlobError> {
        let opened = self.open(hash)?.ok_or(BlobError::Missing(hash))?;
        let checked = opened.verify();
        checked.map_err(|refused| self.refuse(hash, &opened.found, refused))?;
        add(&self.counters.verified, 1);
        add(&self.counters.verified_bytes, opened.index.bytes);
        Ok(())
    }

    /// Whether a blob is here with a sound tree. One that is damaged is set aside.
    pub(super) fn is_held(&self, hash: BlobHash) -> Result<bool, BlobError> {
        match self.open(hash) {
            Ok(found) => Ok(found.is_some()),
            Err(BlobError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open(&self, hash: BlobHash) -> Result<Option<Opened>, BlobError> {
        let file = match File::open(self.file(hash)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error(&error)),
        };
        let found = file.metadata().map_err(|error| self.error(&error))?;
        match self.index(hash, &file, &found) {
            Ok(index) => Ok(Some(Opened { file, found, index })),
            Err(refused) => Err(self.refuse(hash, &found, refused)),
        }
    }

    fn index(&self, hash: BlobHash, file: &File, found: &Metadata) -> Result<Index, Refused> {
        let no_blob = || Flaw::Damaged("it has a size that no blob has".to_owned());
        let layout = Layout::of_size(found.size()).ok_or_else(no_blob)?;
        // At most 16 KiB.
        let mut front = vec![0; usize::try_from(layout.data_at()).unwrap_or_default()];
        file.read_exact_at(&mut front, 0)?;
        Ok(Index::decode(hash, layout, &front, &self.keys)?)
    }

    fn refuse(&self, hash: BlobHash, found: &Metadata, refused: Refused) -> BlobError {
        let place = || self.place.clone();
        match refused {
            Refused::Disk(error) => self.error(&error),
            Refused::Flaw(Flaw::Damaged(reason)) => self.set_aside(hash, found, reason),
            Refused::Flaw(Flaw::NoKey(id)) => {
                let reason = format!("the blob {hash} is sealed with the key {id}: configure it");
                BlobError::Failed { place: place(), reason }
            }
            Refused::Flaw(Flaw::Newer(version)) => {
                let reason = format!("the blob {hash} has format {version}: upgrade this node");
                BlobError::Failed { place: place(), reason }
            }
        }
    }

    /// Moves a damaged blob out of the way, unless another took its place meanwhile.
    pub(super) fn set_aside(&self, hash: BlobHash, found: &Metadata, reason: String) -> BlobError {
        let path = self.file(hash);
        let one_at_a_time = lock(&self.aside);
        let now = fs::metadata(&path);
        if now.is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino())) {
            let aside = self.root.join(DAMAGED).join(hash.to_string());
            match fs::rename(&path, &aside) {
                Ok(()) => add(&self.counters.damaged, 1),
                Err(error) => tracing::error!(%hash, %error, "a damaged blob cannot be moved"),
            }
            self.changed(hash);
            tracing::error!(%hash, reason, place = self.place, "a blob is damaged");
        }
        drop(one_at_a_time);
        BlobError::Damaged { hash, reason }
    }
}

impl Opened {
    /// Reads a range that lies in the blob, by the blocks that it touches.
    fn read(&self, range: &Range<u64>) -> Result<Bytes, Refused> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let first = range.start / BLOCK;
        let from = first * BLOCK;
        let to = range.end.next_multiple_of(BLOCK).min(self.index.bytes);
        let mut bytes = BytesMut::zeroed(length(to - from));
        self.file.read_exact_at(&mut bytes, self.index.layout().data_at() + from)?;
        for (number, block) in (first..).zip(bytes.chunks_mut(BLOCK_BYTES)) {
            self.index.check(number, block)?;
        }
        let part = length(range.start - from)..length(range.end - from);
        Ok(bytes.freeze().slice(part))
    }

    fn verify(&self) -> Result<(), Refused> {
        forget_cached(&self.file)?;
        let piece = PIECE_BYTES as u64;
        for from in (0..self.index.bytes).step_by(PIECE_BYTES) {
            self.read(&(from..self.index.bytes.min(from + piece)))?;
        }
        Ok(forget_cached(&self.file)?)
    }
}

/// Has what follows read from the disk.
#[cfg(target_os = "linux")]
fn forget_cached(file: &File) -> io::Result<()> {
    use rustix::fs::{Advice, fadvise};
    fadvise(file, 0, None, Advice::DontNeed).map_err(io::Error::from)
}

/// Other systems have no such advice.
#[cfg(not(target_os = "linux"))]
fn forget_cached(_: &File) -> io::Result<()> {
    Ok(())
}

/// Lengths here are those of reads, which are bounded.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or_default()
}
