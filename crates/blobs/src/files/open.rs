//! Opening a directory: lock, format, folders, and what a crash left behind.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write as _},
    path::Path,
};

use super::directory::{DAMAGED, INCOMING, SHARDS};

/// The format of directories that this binary writes, and the highest that it reads.
const FORMAT_VERSION: u32 = 1;
const FORMAT_FILE: &str = "format";
const FORMAT_PREFIX: &str = "rhumb blobs ";
const LOCK_FILE: &str = "lock";
/// The format file before it has its name.
const DRAFT_FILE: &str = "draft";

/// Why a directory of blobs was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the directory of blobs {path} is in use by process {holder}: stop it, or use another")]
    Locked {
        /// The directory.
        path: String,
        /// The other process, as far as it said.
        holder: String,
    },
    /// A newer binary wrote it.
    #[error(
        "the directory of blobs {path} has format {found}, and this binary reads up to {known}: \
         use the newer binary"
    )]
    Newer {
        /// The directory.
        path: String,
        /// What it says.
        found: u32,
        /// The highest format that this binary reads.
        known: u32,
    },
    /// It is something else.
    #[error("{path} is not empty and not a directory of blobs: name an empty one")]
    Foreign {
        /// The directory.
        path: String,
    },
    /// The disk failed.
    #[error("the directory of blobs {path} cannot be opened: {source}")]
    Disk {
        /// The directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn failed(path: &Path, error: &io::Error) -> Self {
        let source = io::Error::new(error.kind(), error.to_string());
        Self::Disk { path: path.display().to_string(), source }
    }
}

/// Opens or makes a directory; it is locked as long as the file is open.
pub(super) fn open(path: &Path) -> Result<File, OpenError> {
    let failed = |error: io::Error| OpenError::failed(path, &error);
    let is_new = prepare(path)?;
    let lock = lock(path)?;
    if !is_new {
        check_format(path)?;
    }
    make_folders(path).map_err(failed)?;
    empty(&path.join(INCOMING)).map_err(failed)?;
    if is_new {
        mark(path).map_err(failed)?;
    }
    Ok(lock)
}

/// Makes the directory; whether it has no format yet.
fn prepare(path: &Path) -> Result<bool, OpenError> {
    let failed = |error: io::Error| OpenError::failed(path, &error);
    fs::create_dir_all(path).map_err(failed)?;
    if path.join(FORMAT_FILE).try_exists().map_err(failed)? {
        return Ok(false);
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // An open that was cut short before it wrote the format has left folders.
        if !is_ours(&entry.file_name().to_string_lossy()) {
            return Err(OpenError::Foreign { path: path.display().to_string() });
        }
    }
    Ok(true)
}

fn is_ours(name: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    [LOCK_FILE, DRAFT_FILE, INCOMING, DAMAGED].contains(&name)
        || (name.len() == 2 && name.bytes().all(is_digit))
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |error: io::Error| OpenError::failed(path, &error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path.join(LOCK_FILE)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            return Err(OpenError::Locked { path: path.display().to_string(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    write!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

fn check_format(path: &Path) -> Result<(), OpenError> {
    let text = fs::read_to_string(path.join(FORMAT_FILE))
        .map_err(|error| OpenError::failed(path, &error))?;
    let found = text.strip_prefix(FORMAT_PREFIX).and_then(|version| version.trim().parse().ok());
    let name = path.display().to_string();
    match found {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) => Err(OpenError::Newer { path: name, found, known: FORMAT_VERSION }),
        None => Err(OpenError::Foreign { path: name }),
    }
}

/// The folders come first and the format last, so that a directory with a format is whole.
fn make_folders(path: &Path) -> io::Result<()> {
    let shards = (0..SHARDS).map(|shard| format!("{shard:02x}"));
    let names = shards.chain([INCOMING.to_owned(), DAMAGED.to_owned()]);
    let mut made = false;
    for name in names {
        match fs::create_dir(path.join(name)) {
            Ok(()) => made = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    if made { sync(path) } else { Ok(()) }
}

fn mark(path: &Path) -> io::Result<()> {
    let draft = path.join(DRAFT_FILE);
    let mut file = File::create(&draft)?;
    file.write_all(format!("{FORMAT_PREFIX}{FORMAT_VERSION}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path.join(FORMAT_FILE))?;
    sync(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), sync)
}

/// Removes what was under way.
fn empty(incoming: &Path) -> io::Result<()> {
    let mut removed = 0_u64;
    for entry in fs::read_dir(incoming)? {
        match fs::remove_file(entry?.path()) {
            Ok(()) => removed += 1,
            // A write of this process that outlived its store has removed it itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if removed > 0 {
        tracing::info!(removed, incoming = %incoming.display(), "removed unfinished blobs");
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
