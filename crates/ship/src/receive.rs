//! `receive`: from whichever regions have it, to a folder or a stream.
//!
//! Lists of files come first, one after the other; a planner decides which files need bytes, and asks for
//! their packs; these are fetched from several regions at a time, checked, and handed on in order; a
//! writer restores the files. Nothing is believed before it was compared with a hash that hangs from the
//! manifest's seal.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use rhumb_pack::{
    ArchivePath, Entry, Kind, OpenError, Opened, OrderError, Root, Seal, SegmentError, SegmentRef,
    Trust, limits::SEGMENT_BYTES_MAX, read_segment,
};
use rhumb_types::RegionId;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_stream::wrappers::ReceiverStream;

use self::{
    compare::Compare,
    fetch::Holders,
    plan::{Planned, Planner, Wanted},
    restore::Restore,
    stream::{Block, Stream},
    tree::Tree,
};
use crate::{
    archive::{Part, Prefix},
    budget::Budget,
    lane::Tries,
    limits::{ENTRIES_AHEAD, FETCHES_MAX, PACK_INDEX_BYTES_MAX, READ_BYTES, SEGMENTS_AHEAD},
    progress::Progress,
    remote::Remote,
    ship::Settings,
    walk::WalkError,
};

mod compare;
mod fetch;
mod find;
mod plan;
mod restore;
mod stream;
pub(crate) mod tree;

pub use compare::Differences;
pub use find::Said;
pub use restore::Written;

/// Where an archive goes.
pub enum Target {
    /// Into this folder, which is made if need be.
    Folder(PathBuf),
    /// Its one file, into this.
    Output(Box<dyn Write + Send>),
    /// Nowhere: all of it is fetched and checked.
    Nowhere,
    /// It is compared with this folder.
    Compared(PathBuf),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Folder(_) => "Folder",
            Self::Output(_) => "Output",
            Self::Nowhere => "Nowhere",
            Self::Compared(_) => "Compared",
        })
    }
}

/// What was done in one region.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The region.
    pub region: RegionId,
    /// What it said of the archive.
    pub said: Said,
    /// Bytes that came from it.
    pub bytes: u64,
    /// Objects that came from it.
    pub objects: u64,
    /// Objects that were damaged there.
    pub damaged: u64,
}

/// What was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Who sealed it.
    pub seal: Seal,
    /// What its sender called it.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// What was written, or checked.
    pub written: Written,
    /// What differs, where it was compared.
    pub differences: Differences,
    /// The regions.
    pub regions: Vec<Holding>,
    /// How long it took.
    pub took: Duration,
}

/// Why an archive was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// No region has a manifest that is trusted.
    #[error("no region has an archive there that can be trusted: {0}")]
    NoManifest(String),
    /// No region has a part, undamaged.
    #[error("`{key}` cannot be had from any region: {reasons}")]
    Lost {
        /// Its key.
        key: String,
        /// What each region said.
        reasons: String,
    },
    /// A list of files is not what it is said to be.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The archive contradicts itself, or tries to leave its target.
    #[error("the archive is refused")]
    Order(#[from] OrderError),
    /// Its data is not where it should be.
    #[error("the archive is refused: the data of `{0}` is not where it should be")]
    Stream(ArchivePath),
    /// It has a file with a name of this program's own.
    #[error("the archive is refused: `{0}` is a name of unfinished files")]
    Name(ArchivePath),
    /// Its bytes are not those that were sent.
    #[error("`{0}` does not have the bytes that were sent")]
    Content(ArchivePath),
    /// It is no single file.
    #[error("the archive is not one file, and cannot be written to standard output")]
    NoStream,
    /// Something cannot be written.
    #[error("`{path}` cannot be restored")]
    Write {
        /// What.
        path: ArchivePath,
        /// Why.
        source: io::Error,
    },
    /// The stream cannot be written.
    #[error("standard output cannot be written to")]
    Output(#[source] io::Error),
    /// The folder cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Target {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be looked through.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The manifest breaks a bound.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A thread of this program broke off.
    #[error("a task broke off")]
    Broken(#[from] JoinError),
    /// Somebody else knows why.
    #[error("the transfer was given up")]
    GivenUp,
}

/// Fetches, checks and restores an archive.
///
/// # Errors
/// When no region has it, all of it cannot be had, or it cannot be written. Files that have their names by
/// then are whole, and the same call goes on after them.
pub async fn receive(
    remotes: Vec<Remote>,
    prefix: &Prefix,
    trust: Trust,
    target: Target,
    settings: Settings,
    progress: Arc<Progress>,
) -> Result<Received, ReceiveError> {
    let begun = Instant::now();
    let tries = Tries { retries: settings.retries, delay: settings.retry_delay };
    let found = find::find(&remotes, prefix, &Arc::new(trust), tries).await?;
    let Opened { root, seal } = found.opened;
    progress.total.add(root.bytes());
    progress.counted.store(true, Ordering::Relaxed);
    let holders =
        Arc::new(Holders::new(remotes.clone(), prefix.clone(), tries, Arc::clone(&progress)));
    let root = Arc::new(root);
    let done = transfer(&root, target, &holders, settings, &progress).await?;
    let region = |((region, damaged), said): ((RegionId, u64), Said)| {
        let shown = progress.region(&region);
        let (bytes, objects) =
            shown.map_or((0, 0), |shown| (shown.bytes.get(), shown.objects.get()));
        Holding { region, said, bytes, objects, damaged }
    };
    Ok(Received {
        seal,
        name: root.name.clone(),
        created: root.created,
        written: done.0,
        differences: done.1,
        regions: holders.damaged().into_iter().zip(found.said).map(region).collect(),
        took: begun.elapsed(),
    })
}

/// Runs the four parts of a transfer, and gives the first reason if one of them ends badly.
async fn transfer(
    root: &Arc<Root>,
    target: Target,
    holders: &Arc<Holders>,
    settings: Settings,
    progress: &Arc<Progress>,
) -> Result<(Written, Differences), ReceiveError> {
    let (entries, listed) = mpsc::channel(SEGMENTS_AHEAD);
    let (planned, writing) = mpsc::channel(ENTRIES_AHEAD);
    let (wanted, asked) = mpsc::channel(FETCHES_MAX);
    let (blocks, coming) = mpsc::channel(1);
    let data = !matches!(target, Target::Compared(_));
    let present = match &target {
        Target::Folder(path) => Some(opened(path)?),
        Target::Output(_) | Target::Nowhere | Target::Compared(_) => None,
    };
    let mut parts: JoinSet<Result<Option<(Written, Differences)>, ReceiveError>> = JoinSet::new();
    let (lists, sources) = (root.segments.clone(), Arc::clone(holders));
    parts.spawn(async move {
        list(lists, &sources, entries).await;
        Ok(None)
    });
    let planner = Planner { entries: listed, planned, wanted, present, data };
    let of = Arc::clone(root);
    parts.spawn_blocking(move || planner.run(&of).map(|()| None));
    let (sources, budget) = (Arc::clone(holders), Budget::new(settings.staged));
    let window = settings.requests.clamp(1, FETCHES_MAX);
    parts.spawn(async move {
        fetch(asked, &sources, &budget, window, blocks).await;
        Ok(None)
    });
    let (shown, owners) = (Arc::clone(progress), settings.owners);
    parts.spawn_blocking(move || {
        write(target, writing, Stream::new(coming), owners, &shown).map(Some)
    });
    let (mut done, mut failed) = (None, None);
    while let Some(part) = parts.join_next().await {
        match part? {
            Ok(result) => done = result.or(done),
            // Those that wait for the one that failed only know that it is gone.
            Err(ReceiveError::GivenUp) => failed = failed.or(Some(ReceiveError::GivenUp)),
            Err(reason) if failed.as_ref().is_none_or(|f| matches!(f, ReceiveError::GivenUp)) => {
                failed = Some(reason);
            }
            Err(_) => {}
        }
    }
    match (failed, done) {
        (None, Some(done)) => Ok(done),
        (failed, _) => Err(failed.unwrap_or(ReceiveError::GivenUp)),
    }
}

fn opened(path: &Path) -> Result<Tree, ReceiveError> {
    let fault = |source| ReceiveError::Target { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(fault)?;
    Tree::open(path).map_err(fault)
}

/// Gets the lists of files, in order.
async fn list(
    lists: Vec<SegmentRef>,
    holders: &Holders,
    entries: mpsc::Sender<Result<Vec<Entry>, ReceiveError>>,
) {
    let get = |named: SegmentRef| async move {
        let part = Part::Segment(named.hash);
        let bytes = holders.segment(part, SEGMENT_BYTES_MAX).await?;
        let read = tokio::task::spawn_blocking(move || read_segment(&bytes, &named)).await?;
        Ok(read?)
    };
    let mut all = futures_util::stream::iter(lists).map(get).buffered(SEGMENTS_AHEAD);
    while let Some(list) = all.next().await {
        let failed = list.is_err();
        if entries.send(list).await.is_err() || failed {
            return;
        }
    }
}

/// Gets the packs that are asked for, several at a time, and hands them on in order.
async fn fetch(
    asked: mpsc::Receiver<Wanted>,
    holders: &Holders,
    budget: &Budget,
    window: usize,
    blocks: mpsc::Sender<Result<Block, ReceiveError>>,
) {
    let get = |wanted: Wanted| async move {
        let plain = wanted.bytes as usize;
        // As it comes, and as it is unpacked.
        let mut held = budget.hold(2 * plain).await;
        let chunks = holders.pack(wanted.id, plain + PACK_INDEX_BYTES_MAX).await?;
        held.shrink(plain);
        let bytes = u64::from(wanted.bytes);
        let found: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if found != bytes {
            let key = format!("pack {}", wanted.id);
            let reasons = "it has another size than the manifest says".to_owned();
            return Err(ReceiveError::Lost { key, reasons });
        }
        Ok(Block { start: wanted.start, bytes, chunks, _held: held })
    };
    let mut all = ReceiverStream::new(asked).map(get).buffered(window);
    while let Some(block) = all.next().await {
        let failed = block.is_err();
        if blocks.send(block).await.is_err() || failed {
            return;
        }
    }
}

/// Takes the entries, on a thread of its own.
fn write(
    target: Target,
    mut planned: mpsc::Receiver<Planned>,
    mut stream: Stream,
    owners: bool,
    progress: &Progress,
) -> Result<(Written, Differences), ReceiveError> {
    match target {
        Target::Folder(path) => {
            let tree = opened(&path)?;
            let (open, written) = (Vec::new(), Written::default());
            let mut restore = Restore { tree, stream, owners, progress, open, written };
            while let Some(planned) = planned.blocking_recv() {
                restore.entry(planned)?;
            }
            restore.leave(None)?;
            Ok((restore.written, Differences::default()))
        }
        Target::Compared(path) => {
            let (mut compare, mut seen) = (Compare::new(&path, owners)?, Written::default());
            while let Some(Planned { entry, .. }) = planned.blocking_recv() {
                count(&mut seen, &entry);
                compare.entry(&entry)?;
                progress.entries.add(1);
            }
            compare.end()?;
            Ok((seen, compare.found))
        }
        Target::Nowhere => {
            let mut seen = Written::default();
            while let Some(Planned { entry, .. }) = planned.blocking_recv() {
                count(&mut seen, &entry);
                drain(&mut stream, &entry, progress, None, |_| Ok(()))?;
            }
            Ok((seen, Differences::default()))
        }
        Target::Output(mut output) => {
            let mut seen = Written::default();
            while let Some(Planned { entry, .. }) = planned.blocking_recv() {
                count(&mut seen, &entry);
                if seen.files != 1 || seen.directories + seen.links > 0 {
                    return Err(ReceiveError::NoStream);
                }
                let zeros = Some(Vec::new());
                drain(&mut stream, &entry, progress, zeros, |piece| output.write_all(piece))?;
            }
            output.flush().map_err(ReceiveError::Output)?;
            Ok((seen, Differences::default()))
        }
    }
}

fn count(seen: &mut Written, entry: &Entry) {
    match &entry.kind {
        Kind::Directory => seen.directories += 1,
        Kind::Symlink { .. } | Kind::HardLink { .. } => seen.links += 1,
        Kind::File(content) => {
            seen.files += 1;
            seen.bytes += content.data;
        }
    }
}

/// Reads all of a file's bytes and checks them; holes are handed on as zeros where they are wanted.
fn drain(
    stream: &mut Stream,
    entry: &Entry,
    progress: &Progress,
    mut zeros: Option<Vec<u8>>,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ReceiveError> {
    progress.entries.add(1);
    let Kind::File(content) = &entry.kind else { return Ok(()) };
    let (mut hasher, mut from, mut at) = (blake3::Hasher::new(), content.start, 0);
    for (offset, bytes) in content.ranges() {
        skip(offset - at, zeros.as_mut(), &mut take)?;
        stream.read(from, bytes, |piece| {
            hasher.update(piece);
            progress.done.add(piece.len() as u64);
            take(piece).map_err(ReceiveError::Output)
        })?;
        (from, at) = (from + bytes, offset + bytes);
    }
    skip(content.size() - at, zeros.as_mut(), &mut take)?;
    let whole = *hasher.finalize().as_bytes() == content.hash;
    if whole { Ok(()) } else { Err(ReceiveError::Content(entry.path.clone())) }
}

/// Hands on a hole as zeros.
fn skip(
    mut bytes: u64,
    zeros: Option<&mut Vec<u8>>,
    take: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ReceiveError> {
    let Some(zeros) = zeros else { return Ok(()) };
    zeros.resize(READ_BYTES, 0);
    while bytes > 0 {
        let most = usize::try_from(bytes).unwrap_or(READ_BYTES).min(READ_BYTES);
        take(zeros.get(..most).unwrap_or_default()).map_err(ReceiveError::Output)?;
        bytes -= most as u64;
    }
    Ok(())
}
