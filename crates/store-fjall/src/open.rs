//! Opening a data directory: lock, format, recovery, and what must be true of what was found.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use fjall::Database;
use rhumb_ports::store::{MetaName, ReadStore, Recovered, StoreError};
use rhumb_types::{Hlc, record::VersionVector};

use crate::{
    commit::Writer,
    error::{io_error, store_error},
    journal, keys,
    read::{Direct, Reader, Rows, Shared},
    row::{self, Newest},
    tables::{
        BLOCK_CACHE_BYTES, JOURNAL_BYTES_MAX, OPEN_FILES_MAX, TABLES, Table, Tables, WORKER_THREADS,
    },
    verify,
    watermark::Watermark,
};

/// The format of data directories that this binary writes, and the highest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const FORMAT_FILE: &str = "format";
const FORMAT_PREFIX: &str = "rhumb store ";
const LOCK_FILE: &str = "lock";
/// What [`create`] writes before it has a name.
const DRAFT_FILE: &str = "draft";
/// Left behind when the disk failed, until an open has written the journals anew.
pub(crate) const FAILED_FILE: &str = "failed";
/// fjall's own directory inside the data directory.
pub(crate) const RECORDS: &str = "records";

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data directory {path} is in use by process {holder}: stop it, or use another")]
    Locked {
        /// The directory.
        path: String,
        /// The other process, as far as it said.
        holder: String,
    },
    /// A newer binary wrote it.
    #[error(
        "the data directory {path} has format {found}, and this binary reads up to {known}: \
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
    #[error("{path} is not empty and not a data directory of Rhumb: name an empty one")]
    Foreign {
        /// The directory.
        path: String,
    },
    /// The records do not fit together or cannot be read at all.
    #[error(
        "the records under {path} are damaged: {reason}. Move `{RECORDS}` inside it away and start \
         again: the node then loads everything from its peers under a new origin"
    )]
    Damaged {
        /// The directory.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an open makes.
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) recovered: Recovered,
    pub(crate) lock: File,
}

/// Opens a data directory, or makes it.
pub(crate) fn open(path: &Path) -> Result<Opened, OpenError> {
    let failed = |error: io::Error| io_error(path, &error);
    let is_new = prepare(path)?;
    let lock = lock(path)?;
    format(path, is_new)?;
    let watermark = Watermark::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => damaged(path, &error.to_string()),
        _ => failed(error).into(),
    })?;
    if watermark.number() == 0 {
        discard_unfinished(path).map_err(failed)?;
    }
    journal::distrust_after_failure(path).map_err(failed)?;
    let database = database(path)?;
    let tables = Tables::open(&database).map_err(|error| store_error(path, &error))?;
    let shared = Arc::new(Shared { path: path.to_owned(), tables, published: AtomicU64::new(0) });
    let reader = Reader { shared: Arc::clone(&shared), rows: Direct };
    let newest = newest(path, &reader)?;
    shared.published.store(newest.number, std::sync::atomic::Ordering::Release);
    let lost = watermark.number().saturating_sub(newest.number);
    let extents = reader.extents()?.into_iter().map(|extent| (extent.log.origin, extent)).collect();
    let mut writer =
        Writer { newest, extents, watermark, conflicts: reader.conflict_places()?, failed: None };
    let aside = verify::set_aside_damaged_tails(&reader, &database, &mut writer)?;
    let recovered = recovered(&reader, &writer)?;
    let recovered = verify::explain(recovered, aside).rewound_by(lost);
    for damage in &recovered.damage {
        tracing::error!(table = damage.table, row = damage.row, reason = damage.reason, "damage");
    }
    Ok(Opened { database, shared, writer, recovered, lock })
}

fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Damaged { path: path.display().to_string(), reason: reason.to_owned() }
}

/// Makes the directory; whether it holds nothing yet.
fn prepare(path: &Path) -> Result<bool, OpenError> {
    let failed = |error: io::Error| io_error(path, &error);
    fs::create_dir_all(path).map_err(failed)?;
    let mut entries = fs::read_dir(path).map_err(failed)?;
    let foreign = entries
        .try_fold(None, |other, entry| {
            let name = entry?.file_name();
            let ours = name == LOCK_FILE || name == DRAFT_FILE;
            Ok::<_, io::Error>(if ours { other } else { Some(name) })
        })
        .map_err(failed)?;
    match foreign {
        None => Ok(true),
        Some(_) if path.join(FORMAT_FILE).exists() => Ok(false),
        Some(_) => Err(OpenError::Foreign { path: path.display().to_string() }),
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |error: io::Error| io_error(path, &error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            return Err(OpenError::Locked { path: path.display().to_string(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error).into()),
    }
    file.set_len(0).map_err(failed)?;
    write!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Checks the format of the directory, or marks a new one.
fn format(path: &Path, is_new: bool) -> Result<(), OpenError> {
    let failed = |error: io::Error| io_error(path, &error);
    let marker = path.join(FORMAT_FILE);
    if is_new {
        let text = format!("{FORMAT_PREFIX}{FORMAT_VERSION}\n");
        create(path, FORMAT_FILE, text.as_bytes()).map_err(failed)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent).map_err(failed)?;
        }
        return Ok(());
    }
    let text = fs::read_to_string(&marker).map_err(failed)?;
    let found = text.strip_prefix(FORMAT_PREFIX).and_then(|version| version.trim().parse().ok());
    match found {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) => {
            let path = path.display().to_string();
            Err(OpenError::Newer { path, found, known: FORMAT_VERSION })
        }
        None => Err(damaged(path, "the file `format` cannot be read")),
    }
}

/// Makes a file that is there as a whole or not at all.
pub(crate) fn create(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = directory.join(DRAFT_FILE);
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    sync_directory(directory)
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Moves away what a first start left that did not come to its end: fjall writes the file
/// `version` last, refuses to begin where others are, and nothing was committed before it.
fn discard_unfinished(path: &Path) -> io::Result<()> {
    let records = path.join(RECORDS);
    if records.exists() && !records.join("version").exists() {
        fs::rename(&records, free_name(path, "unfinished"))?;
        sync_directory(path)?;
    }
    Ok(())
}

/// A name for records that are put aside.
fn free_name(path: &Path, why: &str) -> PathBuf {
    let named = |number: u32| path.join(format!("{RECORDS}.{why}-{number}"));
    (1..).map(named).find(|name| !name.exists()).unwrap_or_else(|| named(u32::MAX))
}

/// Opens fjall. A last batch that was torn so that fjall takes it for damage is cut off first.
fn database(path: &Path) -> Result<Database, OpenError> {
    let records = path.join(RECORDS);
    let opened = match build(&records) {
        Some(Err(fjall::Error::JournalRecovery(found))) => {
            let cut = journal::cut_last_batch(&records).map_err(|error| io_error(path, &error))?;
            tracing::warn!(?found, copy = ?cut, "cut a batch that was torn off the journal");
            build(&records)
        }
        opened => opened,
    };
    opened.ok_or_else(|| damaged(path, "fjall cannot follow them"))?.map_err(|error| match error {
        fjall::Error::JournalRecovery(found) => {
            damaged(path, &format!("a batch in the middle of the journal cannot be read ({found})"))
        }
        fjall::Error::Storage(fjall::LsmError::Io(_)) | fjall::Error::Io(_) => {
            store_error(path, &error).into()
        }
        other => damaged(path, &other.to_string()),
    })
}

/// `None` when fjall panics, as it does over lengths that do not agree. Nothing of ours is in its
/// hands then, and what it had opened is dropped.
fn build(records: &Path) -> Option<fjall::Result<Database>> {
    catch_unwind(AssertUnwindSafe(|| {
        Database::builder(records)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .open()
    }))
    .ok()
}

/// Reads the newest commit, and checks that every table is at it.
///
/// fjall flushes tables one by one and replays the journal for the rest. If the journal lost its
/// end, a table that was flushed later than that is ahead of one that was not, and views and log
/// no longer fit together. Each table's mark says how far it is; the newest commit says how far
/// each must be.
fn newest(path: &Path, reader: &Reader<Direct>) -> Result<Newest, OpenError> {
    let failed = |error: fjall::Error| store_error(path, &error);
    let get = |table: Table, key: &[u8]| Direct.get(reader.shared.tables.get(table), key);
    let newest = match get(Table::Meta, &keys::commit()).map_err(failed)? {
        Some(row) => Newest::decode(&row)
            .ok_or_else(|| damaged(path, "the newest commit's row cannot be read"))?,
        None => Newest { number: 0, touched: [0; TABLES] },
    };
    for (table, expected) in Table::ALL.into_iter().zip(newest.touched) {
        let mark = get(table, &keys::MARK).map_err(failed)?;
        let found = mark.and_then(|mark| keys::number(&mark, 0)).unwrap_or(0);
        if found != expected {
            let table = table.name();
            let reason = format!(
                "the table {table} is at commit {found} where the newest commit needs {expected}, \
                 so that part of the journal is missing"
            );
            return Err(damaged(path, &reason));
        }
    }
    Ok(newest)
}

/// What the rows say about themselves.
fn recovered(reader: &Reader<Direct>, writer: &Writer) -> Result<Recovered, StoreError> {
    let applied = match reader.meta(&MetaName::Applied)? {
        Some(row) => row::decode(Table::Meta, &row)?,
        None => VersionVector::new(),
    };
    let ceiling = reader.meta(&MetaName::HlcCeiling)?;
    let ceiling = ceiling.and_then(|row| keys::number(&row, 0)).unwrap_or(0);
    let extents: Vec<_> = writer.extents.values().map(|extent| extent.log).collect();
    Ok(Recovered::judge(applied, Hlc(ceiling), &extents))
}

/// Moves the records of a data directory aside, so that the next open starts with none. Gives the
/// place they were moved to; nothing is deleted.
///
/// # Errors
/// [`OpenError`] when the directory is in use or the move fails.
pub fn set_aside(path: &Path) -> Result<PathBuf, OpenError> {
    let failed = |error: io::Error| io_error(path, &error);
    let _lock = lock(path)?;
    let aside = free_name(path, "damaged");
    fs::rename(path.join(RECORDS), &aside).map_err(failed)?;
    let mut watermark = Watermark::open(path).map_err(failed)?;
    watermark.set(0).map_err(failed)?;
    sync_directory(path).map_err(failed)?;
    Ok(aside)
}
