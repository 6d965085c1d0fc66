//! Reads what is shipped, and turns it into packs and lists of files.
//!
//! Runs on a thread of its own. What it has read and nobody has sent yet is bounded by the budget. Of a long
//! file a second thread reads ahead and makes the hash, so that this one has only to cut.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc::sync_channel},
    thread,
    time::SystemTime,
};

use rhumb_pack::{
    ArchivePath, Content, Cutter, Entry, Hole, Kind, Mtime, Owner, PathError, PlainPack, Segment,
    SegmentError, SegmentWriter, limits::HOLES_MAX,
};
use rustix::fs::{CWD, Mode, OFlags, SeekFrom, openat, seek};
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    budget::{Budget, Held},
    limits::{HARD_LINKS_MAX, LONG_RANGE_BYTES, READ_AHEAD, READ_BYTES, WARNINGS_MAX},
    progress::Progress,
    receive::tree::PART_PREFIX,
    walk::{Found, Walk, WalkError},
};

mod ahead;

use ahead::{Ahead, read_at};

const MODE_BITS: u32 = 0o7777;
const STREAM_MODE: u32 = 0o644;
/// What `st_blocks` counts, whatever the file system's own blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// What is shipped.
pub enum Source {
    /// A directory with what is in it, or one file.
    Tree(PathBuf),
    /// Whatever can be read, as one file of this name.
    Stream {
        /// The name in the archive.
        name: String,
        /// The bytes.
        input: Box<dyn Read + Send>,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tree(path) => f.debug_tuple("Tree").field(path).finish(),
            Self::Stream { name, .. } => f.debug_tuple("Stream").field(name).finish(),
        }
    }
}

/// What the reader has for the sender.
#[derive(Debug)]
pub(crate) enum Step {
    Pack(PlainPack, Held),
    Segment(Segment),
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Regular files.
    pub files: u64,
    /// Directories, with the top.
    pub directories: u64,
    /// Symbolic and hard links.
    pub links: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// What was left out or seemed odd, the first [`WARNINGS_MAX`] of them.
    pub warnings: Vec<String>,
    /// How much there was to warn of.
    pub warned: u64,
}

impl Summary {
    fn warn(&mut self, text: String) {
        self.warned += 1;
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(text);
        }
    }
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The walk cannot go on.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The stream cannot be read.
    #[error("standard input cannot be read")]
    Stream(#[source] io::Error),
    /// The stream's name cannot stand in an archive.
    #[error("the stream's name cannot be used")]
    Name(#[from] PathError),
    /// A list of files cannot be written.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Nobody takes what is read; why is known there.
    #[error("the transfer was given up")]
    GivenUp,
}

/// How a source is read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) budget: Budget,
    pub(crate) steps: mpsc::Sender<Step>,
    pub(crate) progress: Arc<Progress>,
    /// Whether users and groups are written down.
    pub(crate) owners: bool,
    pub(crate) runtime: Handle,
}

/// Reads all of a source.
pub(crate) fn read(source: Source, reading: Reading) -> Result<Summary, ReadError> {
    let mut reader = Reader {
        reading,
        cutter: Cutter::new(),
        segments: SegmentWriter::new(),
        held: Held::default(),
        at: 0,
        buffer: vec![0; READ_BYTES],
        names: HashMap::new(),
        summary: Summary::default(),
    };
    match source {
        Source::Tree(top) => reader.tree(&top)?,
        Source::Stream { name, input } => reader.stream(&name, input)?,
    }
    for pack in reader.cutter.finish() {
        reader.send_pack(pack)?;
    }
    if let Some(segment) = reader.segments.finish()? {
        reader.send(Step::Segment(segment))?;
    }
    Ok(reader.summary)
}

struct Reader {
    reading: Reading,
    cutter: Cutter,
    segments: SegmentWriter,
    /// What the bytes in the cutter take.
    held: Held,
    /// How long the archive's stream is by now.
    at: u64,
    buffer: Vec<u8>,
    /// By device and inode: the first name of a file with several, and how many are still to come. Only
    /// looked up, so its order does not matter.
    names: HashMap<(u64, u64), (ArchivePath, u64)>,
    summary: Summary,
}

impl Reader {
    fn tree(&mut self, top: &Path) -> Result<(), ReadError> {
        for found in Walk::new(top)? {
            let found = found?;
            let kind = found.metadata.file_type();
            if found.path.split().is_some_and(|(_, name)| name.starts_with(PART_PREFIX)) {
                let shown = found.real.display();
                self.summary.warn(format!("`{shown}` is what `receive` left unfinished; left out"));
            } else if kind.is_dir() {
                self.summary.directories += 1;
                self.entry(&found.path, &found.metadata, Kind::Directory)?;
            } else if kind.is_symlink() {
                self.symlink(&found)?;
            } else if kind.is_file() {
                self.file(&found)?;
            } else {
                let shown = found.real.display();
                self.summary.warn(format!("`{shown}` is no file, directory or link; left out"));
            }
        }
        Ok(())
    }

    fn stream(&mut self, name: &str, mut input: Box<dyn Read + Send>) -> Result<(), ReadError> {
        let path = ArchivePath::top().join(name.as_bytes())?;
        let (start, mut hasher) = (self.at, blake3::Hasher::new());
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = match input.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.buffer = buffer;
                    continue;
                }
                other => other.map_err(ReadError::Stream)?,
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            hasher.update(bytes);
            let fed = self.feed(bytes);
            self.buffer = buffer;
            fed?;
            if read == 0 {
                break;
            }
        }
        self.summary.files += 1;
        let content = Content {
            start,
            data: self.at - start,
            holes: Vec::new(),
            hash: *hasher.finalize().as_bytes(),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mtime = Mtime { seconds, nanos: now.subsec_nanos() };
        let kind = Kind::File(content);
        self.write_down(&Entry { path, mode: STREAM_MODE, mtime, owner: None, kind })
    }

    fn symlink(&mut self, found: &Found) -> Result<(), ReadError> {
        match fs::read_link(&found.real) {
            Ok(target) => {
                self.summary.links += 1;
                let target = target.into_os_string().into_vec().into();
                self.entry(&found.path, &found.metadata, Kind::Symlink { target })
            }
            Err(error) => self.gone(found, error),
        }
    }

    /// What went away between the walk and now is left out; anything else ends the reading.
    fn gone(&mut self, found: &Found, source: io::Error) -> Result<(), ReadError> {
        if source.kind() == io::ErrorKind::NotFound {
            self.summary.warn(format!("`{}` went away; left out", found.real.display()));
            return Ok(());
        }
        Err(ReadError::File { path: found.real.clone(), source })
    }

    fn file(&mut self, found: &Found) -> Result<(), ReadError> {
        if let Some(to) = self.first_name(found) {
            self.summary.links += 1;
            return self.entry(&found.path, &found.metadata, Kind::HardLink { to });
        }
        // Neither a link that took the file's place is followed, nor a pipe waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(CWD, &found.real, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(error) => return self.gone(found, error.into()),
        };
        let fault = |source| ReadError::File { path: found.real.clone(), source };
        let before = file.metadata().map_err(fault)?;
        if !before.is_file() {
            self.summary.warn(format!("`{}` is no file any more; left out", found.real.display()));
            return Ok(());
        }
        let content = self.content(&file, &before, &found.real)?;
        let after = file.metadata().map_err(fault)?;
        let stamp = |of: &fs::Metadata| (of.mtime(), of.mtime_nsec(), of.len());
        if stamp(&before) != stamp(&after) || content.size() != before.len() {
            self.summary.warn(format!("`{}` changed while it was read", found.real.display()));
        }
        self.summary.files += 1;
        self.entry(&found.path, &before, Kind::File(content))
    }

    /// The name under which this file stands in the archive already; else it is remembered, if it has
    /// more names.
    fn first_name(&mut self, found: &Found) -> Option<ArchivePath> {
        let links = found.metadata.nlink();
        if links < 2 {
            return None;
        }
        let key = (found.metadata.dev(), found.metadata.ino());
        if let Some((first, left)) = self.names.get_mut(&key) {
            let first = first.clone();
            *left -= 1;
            if *left == 0 {
                self.names.remove(&key);
            }
            return Some(first);
        }
        if self.names.len() < HARD_LINKS_MAX {
            self.names.insert(key, (found.path.clone(), links - 1));
        }
        None
    }

    fn content(
        &mut self,
        file: &File,
        metadata: &fs::Metadata,
        path: &Path,
    ) -> Result<Content, ReadError> {
        let fault = |source| ReadError::File { path: path.to_owned(), source };
        let (start, mut hasher) = (self.at, blake3::Hasher::new());
        let ranges = data_ranges(file, metadata).map_err(fault)?;
        let (mut end, mut holes) = (0, Vec::new());
        let mut whole = true;
        for (offset, bytes) in ranges {
            if offset > end {
                holes.push(Hole { offset: end, bytes: offset - end });
            }
            let read = if bytes < LONG_RANGE_BYTES {
                self.range(file, offset, bytes, &mut hasher, path)?
            } else {
                self.long_range(file, offset, bytes, &mut hasher, path)?
            };
            end = offset + read;
            if read < bytes {
                whole = false;
                break;
            }
        }
        if whole && end < metadata.len() {
            holes.push(Hole { offset: end, bytes: metadata.len() - end });
        }
        // A hole before data that went away would be followed by nothing, which is a hole at the end.
        let hash = *hasher.finalize().as_bytes();
        Ok(Content { start, data: self.at - start, holes, hash })
    }

    /// Reads a range of a file, or what is left of it.
    fn range(
        &mut self,
        file: &File,
        offset: u64,
        bytes: u64,
        hasher: &mut blake3::Hasher,
        path: &Path,
    ) -> Result<u64, ReadError> {
        let mut done = 0;
        while done < bytes {
            let mut buffer = std::mem::take(&mut self.buffer);
            let most = usize::try_from(bytes - done).unwrap_or(READ_BYTES).min(READ_BYTES);
            let read = read_at(file, buffer.get_mut(..most).unwrap_or_default(), offset + done);
            let read = read.map_err(|source| ReadError::File { path: path.to_owned(), source })?;
            let piece = buffer.get(..read).unwrap_or_default();
            hasher.update(piece);
            let fed = self.feed(piece);
            self.buffer = buffer;
            fed?;
            if read == 0 {
                break;
            }
            done += read as u64;
        }
        Ok(done)
    }

    /// As [`range`](Self::range), read and hashed by a thread that is ahead.
    fn long_range(
        &mut self,
        file: &File,
        offset: u64,
        bytes: u64,
        hasher: &mut blake3::Hasher,
        path: &Path,
    ) -> Result<u64, ReadError> {
        thread::scope(|scope| {
            let (filled, pieces) = sync_channel(READ_AHEAD);
            let (spare, emptied) = sync_channel(READ_AHEAD);
            scope.spawn(move || {
                let ahead = Ahead { filled, emptied, fresh: READ_AHEAD };
                ahead.read(file, offset, bytes, hasher);
            });
            let mut done = 0;
            for piece in pieces {
                let (buffer, read) =
                    piece.map_err(|source| ReadError::File { path: path.to_owned(), source })?;
                self.feed(buffer.get(..read).unwrap_or_default())?;
                done += read as u64;
                let _at_the_end = spare.send(buffer);
            }
            Ok(done)
        })
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let wanted = (self.cutter.held() + bytes.len()).saturating_sub(self.held.bytes());
        if wanted > 0 {
            let more = self.reading.runtime.block_on(self.reading.budget.hold(wanted));
            self.held.add(more);
        }
        self.at += bytes.len() as u64;
        self.summary.bytes += bytes.len() as u64;
        self.reading.progress.done.add(bytes.len() as u64);
        for pack in self.cutter.push(bytes) {
            self.send_pack(pack)?;
        }
        Ok(())
    }

    fn send_pack(&mut self, pack: PlainPack) -> Result<(), ReadError> {
        let held = self.held.split(pack.bytes as usize);
        self.send(Step::Pack(pack, held))
    }

    fn send(&self, step: Step) -> Result<(), ReadError> {
        self.reading.steps.blocking_send(step).map_err(|_| ReadError::GivenUp)
    }

    fn entry(
        &mut self,
        path: &ArchivePath,
        metadata: &fs::Metadata,
        kind: Kind,
    ) -> Result<(), ReadError> {
        let owner = Owner { user: metadata.uid(), group: metadata.gid() };
        let entry = Entry {
            path: path.clone(),
            mode: metadata.mode() & MODE_BITS,
            mtime: Mtime {
                seconds: metadata.mtime(),
                nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            },
            owner: self.reading.owners.then_some(owner),
            kind,
        };
        self.write_down(&entry)
    }

    fn write_down(&mut self, entry: &Entry) -> Result<(), ReadError> {
        self.reading.progress.entries.add(1);
        match self.segments.push(entry)? {
            Some(segment) => self.send(Step::Segment(segment)),
            None => Ok(()),
        }
    }
}

/// Where a file has data, in order. A file with more holes than an archive takes is data from there on.
fn data_ranges(file: &File, metadata: &fs::Metadata) -> io::Result<Vec<(u64, u64)>> {
    let size = metadata.len();
    if metadata.blocks().saturating_mul(STAT_BLOCK_BYTES) >= size {
        return Ok(vec![(0, size)]);
    }
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at < size {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // No data follows.
            Err(rustix::io::Errno::NXIO) => break,
            // The file system does not tell.
            Err(rustix::io::Errno::INVAL) if ranges.is_empty() => return Ok(vec![(0, size)]),
            Err(error) => return Err(error.into()),
        };
        let hole = seek(file, SeekFrom::Hole(data))?.min(size);
        if ranges.len() + 2 >= HOLES_MAX {
            ranges.push((data, size.saturating_sub(data)));
            break;
        }
        ranges.push((data, hole.saturating_sub(data)));
        at = hole;
    }
    ranges.retain(|(_, bytes)| *bytes > 0);
    Ok(ranges)
}

#[cfg(test)]
mod tests;
