//! Which entries there are, which of them need bytes, and so which packs are fetched.
//!
//! Runs ahead of the one who writes, by [`ENTRIES_AHEAD`](crate::limits::ENTRIES_AHEAD) entries at most.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use rhumb_pack::{Content, Entry, Hole, Kind, Order, PackId, PackRef, Root};
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use tokio::sync::mpsc;

use super::{
    ReceiveError,
    tree::{PART_PREFIX, Tree},
};
use crate::limits::READ_BYTES;

/// An entry, and whether its data comes.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) entry: Entry,
    /// Whether its data is in the stream of those who write; else it is there already.
    pub(super) comes: bool,
}

/// A pack that is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) id: PackId,
    /// Where it begins in the archive's stream.
    pub(super) start: u64,
    pub(super) bytes: u32,
}

/// Where the packs of an archive begin.
#[derive(Debug)]
struct Packs {
    packs: Vec<PackRef>,
    /// The first that was not asked for.
    next: usize,
    /// Where that one begins.
    start: u64,
}

/// What the planner works with.
#[derive(Debug)]
pub(super) struct Planner {
    /// Lists of entries, in order.
    pub(super) entries: mpsc::Receiver<Result<Vec<Entry>, ReceiveError>>,
    pub(super) planned: mpsc::Sender<Planned>,
    pub(super) wanted: mpsc::Sender<Wanted>,
    /// What is there already, if there is a folder.
    pub(super) present: Option<Tree>,
    /// Whether data is wanted at all.
    pub(super) data: bool,
}

impl Planner {
    /// Plans all of an archive.
    pub(super) fn run(mut self, root: &Root) -> Result<(), ReceiveError> {
        let mut order = Order::new();
        let mut packs = Packs { packs: root.packs.clone(), next: 0, start: 0 };
        let (end, mut at) = (root.bytes(), 0);
        while let Some(entries) = self.entries.blocking_recv() {
            for entry in entries? {
                order.admit(&entry)?;
                let comes = self.entry(&entry, &mut at, end, &mut packs)?;
                let planned = Planned { entry, comes };
                self.planned.blocking_send(planned).map_err(|_| ReceiveError::GivenUp)?;
            }
        }
        Ok(())
    }

    /// Looks at an entry, whose data begins at `at` if it has any; whether that comes.
    fn entry(
        &mut self,
        entry: &Entry,
        at: &mut u64,
        end: u64,
        packs: &mut Packs,
    ) -> Result<bool, ReceiveError> {
        if entry.path.split().is_some_and(|(_, name)| name.starts_with(PART_PREFIX)) {
            return Err(ReceiveError::Name(entry.path.clone()));
        }
        let Kind::File(content) = &entry.kind else { return Ok(false) };
        let next = content.start.saturating_add(content.data);
        if content.start != *at || next > end {
            return Err(ReceiveError::Stream(entry.path.clone()));
        }
        *at = next;
        let comes = self.data && !self.has(entry, content);
        if comes {
            self.want(packs, content)?;
        }
        Ok(comes)
    }

    /// Asks for the packs of a file that were not asked for yet.
    fn want(&self, packs: &mut Packs, content: &Content) -> Result<(), ReceiveError> {
        let end = content.start + content.data;
        while let Some(pack) = packs.packs.get(packs.next) {
            if packs.start >= end {
                break;
            }
            let wanted = Wanted { id: pack.id, start: packs.start, bytes: pack.bytes };
            packs.next += 1;
            packs.start += u64::from(pack.bytes);
            if packs.start > content.start {
                self.wanted.blocking_send(wanted).map_err(|_| ReceiveError::GivenUp)?;
            }
        }
        Ok(())
    }

    /// Whether the file is there with all of its bytes. What cannot be read is written anew.
    fn has(&mut self, entry: &Entry, content: &Content) -> bool {
        let Some(tree) = &mut self.present else { return false };
        let file = tree.file(&entry.path).ok().flatten();
        file.is_some_and(|file| is_content(&file, content).unwrap_or(false))
    }
}

/// Whether a file has this content, to its last bit.
pub(super) fn is_content(file: &File, content: &Content) -> io::Result<bool> {
    if file.metadata()?.len() != content.size() {
        return Ok(false);
    }
    let mut buffer = vec![0; READ_BYTES];
    let mut hasher = blake3::Hasher::new();
    for (offset, bytes) in content.ranges() {
        each_piece(file, offset, bytes, &mut buffer, |piece| {
            hasher.update(piece);
            true
        })?;
    }
    if *hasher.finalize().as_bytes() != content.hash {
        return Ok(false);
    }
    content
        .holes
        .iter()
        .try_fold(true, |empty, hole| Ok(empty && is_empty(file, hole, &mut buffer)?))
}

/// Whether a range reads as zeros. Where the file has no data, it does.
fn is_empty(file: &File, hole: &Hole, buffer: &mut [u8]) -> io::Result<bool> {
    let (mut at, end) = (hole.offset, hole.offset + hole.bytes);
    while at < end {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(true),
            // The file system does not tell.
            Err(_) => at,
        };
        let next = seek(file, SeekFrom::Hole(data)).unwrap_or(end).min(end);
        let zeros = |piece: &[u8]| piece.iter().all(|byte| *byte == 0);
        if data < next && !each_piece(file, data, next - data, buffer, zeros)? {
            return Ok(false);
        }
        at = next.max(data);
    }
    Ok(true)
}

/// Reads a range, until `take` has enough of it.
fn each_piece(
    file: &File,
    offset: u64,
    bytes: u64,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    let mut done = 0;
    while done < bytes {
        let most = usize::try_from(bytes - done).unwrap_or(buffer.len()).min(buffer.len());
        let room = buffer.get_mut(..most).unwrap_or_default();
        file.read_exact_at(room, offset + done)?;
        if !take(room) {
            return Ok(false);
        }
        done += most as u64;
    }
    Ok(true)
}
