//! Opening a log: what is on the disk becomes trusted here, whole or not at all.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

use bytes::Bytes;
use rhumb_types::{
    NodeId,
    planted::{self, Planted},
};

use super::{
    frame::Record,
    seal::Flaw,
    segment::{self, Segment},
    state::{self, STATE_NAME, State},
};
use crate::{
    disk::Disk,
    raft::{Entry, LogId},
    snapshot::SNAPSHOT_NAME,
};

/// Whose log is expected.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The group's name.
    pub(crate) group: String,
    /// The node.
    pub(crate) node: NodeId,
    /// Starts the checksums of a log that is created now; random.
    pub(crate) salt: u64,
    /// Whether there must be a log already.
    pub(crate) seated: bool,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// A file is not what was written.
    #[error(
        "trust the control log: in `{file}`, {what}; move the group's directory away and let the \
         node join again under a new id (its old id must not vote again)"
    )]
    Damaged {
        /// Which file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is none, and the node has voted with one.
    #[error(
        "use the control log: the one of node {node} in group `{group}` is gone; the node must join \
         again under a new id (its old id must not vote again)"
    )]
    Lost {
        /// The node.
        node: NodeId,
        /// The group.
        group: String,
    },
    /// A later release wrote it.
    #[error("read the control log: `{file}`: {what}; run a release that is at least as new")]
    Newer {
        /// Which file.
        file: String,
        /// What was found.
        what: String,
    },
    /// The directory belongs to somebody else.
    #[error("use the control log: it belongs to node {node} and group `{group}`")]
    Foreign {
        /// Whose it is.
        node: NodeId,
        /// Which group's it is.
        group: String,
    },
    /// The disk said no.
    #[error("read or repair the control log's `{file}`")]
    Io {
        /// Which file.
        file: String,
        /// What it said.
        source: io::Error,
    },
}

impl OpenLogError {
    pub(crate) fn flaw(file: &str, flaw: Flaw) -> Self {
        let file = file.to_owned();
        match flaw {
            Flaw::Damaged(what) => Self::Damaged { file, what },
            Flaw::Newer { .. } => Self::Newer { file, what: flaw.to_string() },
        }
    }

    fn damaged(file: &str, what: &str) -> Self {
        Self::Damaged { file: file.to_owned(), what: what.to_owned() }
    }

    pub(crate) fn io(file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { file, source }
    }
}

/// A log as it was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) segments: VecDeque<Segment>,
    pub(super) sequence_next: u64,
    pub(super) entries: VecDeque<Entry>,
    pub(super) committed: Option<LogId>,
}

/// Reads, checks and repairs a log.
pub(super) async fn open(disk: &dyn Disk, identity: &Identity) -> Result<Opened, OpenLogError> {
    let names = disk.list().await.map_err(OpenLogError::io("."))?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| Segment::number(name)).collect();
    let has_snapshot = names.iter().any(|name| name == SNAPSHOT_NAME);
    let state = load_state(disk, identity, numbers.is_empty() && !has_snapshot).await?;
    check_numbers(&state, &numbers)?;
    let mut replay = Replay::new(&state);
    let mut segments = VecDeque::new();
    for number in &numbers {
        let newest = numbers.last() == Some(number);
        let segment = load_segment(disk, &state, *number, newest, &mut replay).await?;
        segments.push_back(segment);
    }
    let committed = load_committed(disk, &state, &replay.entries).await;
    Ok(Opened {
        sequence_next: replay.sequence_next.unwrap_or_default(),
        entries: replay.entries,
        state,
        segments,
        committed,
    })
}

async fn load_state(
    disk: &dyn Disk,
    identity: &Identity,
    empty: bool,
) -> Result<State, OpenLogError> {
    let file = disk.read(STATE_NAME).await.map_err(OpenLogError::io(STATE_NAME))?;
    let Some(file) = file else {
        if !empty {
            return Err(OpenLogError::damaged(
                STATE_NAME,
                "it is missing, though others are there",
            ));
        }
        if identity.seated && !planted::is(Planted::KeepSeat) {
            let Identity { group, node, .. } = identity.clone();
            return Err(OpenLogError::Lost { node, group });
        }
        return create_state(disk, identity).await;
    };
    let state = State::decode(&file).map_err(|flaw| OpenLogError::flaw(STATE_NAME, flaw))?;
    if state.node != identity.node || state.group != identity.group {
        return Err(OpenLogError::Foreign { node: state.node, group: state.group });
    }
    Ok(state)
}

async fn create_state(disk: &dyn Disk, identity: &Identity) -> Result<State, OpenLogError> {
    let state = State {
        group: identity.group.clone(),
        node: identity.node,
        lineage: None,
        salt: identity.salt,
        vote: None,
        purged: None,
        segment_newest: 0,
    };
    let content = state.encode().map_err(|what| OpenLogError::damaged(STATE_NAME, &what))?;
    disk.replace(STATE_NAME, content).await.map_err(OpenLogError::io(STATE_NAME))?;
    Ok(state)
}

/// Segments are numbered without a gap, and none of the newest is missing. The oldest may be
/// gone, because purging removes them.
fn check_numbers(state: &State, numbers: &[u64]) -> Result<(), OpenLogError> {
    for pair in numbers.windows(2) {
        if let [before, after] = pair
            && before + 1 != *after
        {
            let missing = Segment::name(before + 1);
            return Err(OpenLogError::damaged(&missing, "it is missing, and a later one is there"));
        }
    }
    if numbers.last().copied().unwrap_or_default() < state.segment_newest {
        let missing = Segment::name(state.segment_newest);
        return Err(OpenLogError::damaged(&missing, "it is missing, and it was the newest"));
    }
    Ok(())
}

async fn load_segment(
    disk: &dyn Disk,
    state: &State,
    number: u64,
    newest: bool,
    replay: &mut Replay,
) -> Result<Segment, OpenLogError> {
    let name = Segment::name(number);
    let content = disk.read(&name).await.map_err(OpenLogError::io(&name))?.unwrap_or_default();
    let scan = segment::scan(state.salt, number, &content, newest)
        .map_err(|flaw| OpenLogError::flaw(&name, flaw))?;
    let index_max = replay
        .take(scan.sequence_first, scan.sequence_next, scan.records)
        .map_err(|what| OpenLogError::damaged(&name, &what))?;
    if newest {
        // Written again even when it is whole: after an fsync that failed, or a process that was
        // killed before one, the content may be in the cache alone, and a later fsync would say
        // yes without writing it.
        let whole = content.slice(..scan.end);
        disk.replace(&name, whole).await.map_err(OpenLogError::io(&name))?;
    }
    Ok(Segment { number, index_max, bytes: scan.end })
}

/// Takes records in the order in which they were written.
struct Replay {
    purged: Option<LogId>,
    /// Index of the first entry that is not purged.
    index_first: u64,
    entries: VecDeque<Entry>,
    sequence_next: Option<u64>,
}

impl Replay {
    fn new(state: &State) -> Self {
        Self {
            purged: state.purged,
            index_first: state.purged.map_or(0, |purged| purged.index + 1),
            entries: VecDeque::new(),
            sequence_next: None,
        }
    }

    /// Takes a segment's records; gives the highest index in it.
    fn take(&mut self, first: u64, next: u64, records: Vec<Record>) -> Result<Option<u64>, String> {
        if self.sequence_next.is_some_and(|expected| expected != first) {
            return Err("it does not continue the segment before it".to_owned());
        }
        self.sequence_next = Some(next);
        let mut index_max = None;
        for record in records {
            match record {
                Record::Start { .. } => return Err("a segment starts inside it".to_owned()),
                Record::Truncate { since } => {
                    let kept = since.saturating_sub(self.index_first);
                    self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                }
                Record::Entries(entries) => {
                    index_max = index_max.max(entries.last().map(|entry| entry.log_id.index));
                    entries.into_iter().try_for_each(|entry| self.push(entry))?;
                }
            }
        }
        Ok(index_max)
    }

    fn push(&mut self, entry: Entry) -> Result<(), String> {
        let index = entry.log_id.index;
        if self.purged.is_some_and(|purged| !state::is_after(&entry, &purged)) {
            return Ok(());
        }
        let expected = self.index_first + self.entries.len() as u64;
        if index != expected {
            return Err(format!("entry {index} follows where {expected} belongs"));
        }
        if self.entries.back().is_some_and(|last| last.log_id.leader_id > entry.log_id.leader_id) {
            return Err(format!("the term of entry {index} is lower than the one before"));
        }
        self.entries.push_back(entry);
        Ok(())
    }
}

/// The hint, when it names an entry of this log.
async fn load_committed(
    disk: &dyn Disk,
    state: &State,
    entries: &VecDeque<Entry>,
) -> Option<LogId> {
    let file = disk.read(state::COMMITTED_NAME).await.ok()?.unwrap_or_else(Bytes::new);
    let committed = state::decode_committed(state.salt, &file)?;
    let known: BTreeMap<u64, LogId> =
        entries.iter().map(|entry| (entry.log_id.index, entry.log_id)).collect();
    (known.get(&committed.index) == Some(&committed)).then_some(committed)
}
