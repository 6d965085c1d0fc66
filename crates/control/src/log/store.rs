//! The log as openraft sees it.

use std::{
    collections::VecDeque,
    fmt::{self, Debug},
    io,
    ops::RangeBounds,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};
use rhumb_types::planted::{self, Planted};
use tokio::sync::{self, watch};

use super::{
    frame::{self, Record},
    memory::{Memory, payload_bytes},
    open::{self, Identity, OpenLogError},
    segment::{SEGMENT_BYTES_MAX, Segment},
    state::{self, COMMITTED_NAME, STATE_NAME, State},
};
use crate::{
    disk::Disk,
    machine::Reach,
    raft::{Entry, LogId, StorageError, TypeConfig, Vote},
    snapshot::SNAPSHOT_NAME,
};

/// Most bytes of entries in one message to a follower, unless a single one is larger, in bytes;
/// small enough to pass within a heartbeat on a slow link.
pub(crate) const REPLICATION_BYTES_MAX: usize = 512 << 10;

/// The durable log of a group on one node. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    /// A lock, because replication tasks read while the group's loop writes.
    memory: Mutex<Memory>,
    /// An asynchronous lock, because a write spans awaits, and the lineage is set from outside
    /// the group's loop.
    writer: sync::Mutex<Writer>,
    /// What broke the log, once something did.
    broken: OnceLock<String>,
    /// How far the snapshot on the disk reaches.
    reach: OnceLock<watch::Receiver<Reach>>,
}

struct Writer {
    state: State,
    segments: VecDeque<Segment>,
    sequence_next: u64,
    committed: Option<LogId>,
}

impl Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory();
        f.debug_struct("LogStore")
            .field("purged", &memory.purged)
            .field("entries", &memory.entries.len())
            .finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens or creates the log in a directory.
    pub(crate) async fn open(
        disk: Arc<dyn Disk>,
        identity: &Identity,
    ) -> Result<Self, OpenLogError> {
        let opened = open::open(disk.as_ref(), identity).await?;
        let bytes = opened.entries.iter().map(payload_bytes).sum();
        let memory = Memory {
            lineage: opened.state.lineage,
            purged: opened.state.purged,
            entries: opened.entries,
            bytes,
        };
        let writer = Writer {
            state: opened.state,
            segments: opened.segments,
            sequence_next: opened.sequence_next,
            committed: opened.committed,
        };
        let store = Self(Arc::new(Inner {
            disk,
            memory: Mutex::new(memory),
            writer: sync::Mutex::new(writer),
            broken: OnceLock::new(),
            reach: OnceLock::new(),
        }));
        let mut writer = store.0.writer.lock().await;
        store.drop_segments(&mut writer).await.map_err(OpenLogError::io("segments"))?;
        drop(writer);
        Ok(store)
    }

    /// Forgets nothing from here on that the snapshot on the disk does not cover.
    ///
    /// openraft 0.9 has the log purged right after it began to install a snapshot, and does not
    /// wait for its end: a crash in between would leave a log without a beginning.
    pub(crate) fn cover_with(&self, reach: watch::Receiver<Reach>) {
        let _ = self.0.reach.set(reach);
    }

    async fn covered(&self, through: LogId) -> io::Result<()> {
        let Some(mut reach) = self.0.reach.get().cloned() else { return Ok(()) };
        let settled = |reach: &Reach| match reach {
            Reach::Through(at) => *at >= Some(through),
            Reach::Failed => true,
        };
        match reach.wait_for(settled).await.as_deref() {
            Ok(Reach::Through(_)) => Ok(()),
            Ok(Reach::Failed) | Err(_) => {
                Err(io::Error::other("the snapshot that takes its place was not saved"))
            }
        }
    }

    /// What broke the log; the group has stopped then.
    #[must_use]
    pub(crate) fn broken(&self) -> Option<&str> {
        self.0.broken.get().map(String::as_str)
    }

    /// Payload bytes of the entries that are not purged.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.memory().bytes
    }

    /// Whether the node has neither voted nor stored anything for the group.
    pub(crate) async fn is_pristine(&self) -> bool {
        let writer = self.0.writer.lock().await;
        let memory = self.memory();
        writer.state.vote.is_none() && memory.purged.is_none() && memory.entries.is_empty()
    }

    /// Which forming or recovery of the group this log follows.
    pub(crate) fn lineage(&self) -> Option<u64> {
        self.memory().lineage
    }

    /// Follows a lineage, durably; refused with the present one when the log already holds
    /// something of another.
    pub(crate) async fn follow(&self, lineage: u64) -> Result<(), FollowError> {
        if self.lineage() == Some(lineage) {
            return Ok(());
        }
        let mut writer = self.0.writer.lock().await;
        let taken = {
            let memory = self.memory();
            writer.state.vote.is_some() || memory.purged.is_some() || !memory.entries.is_empty()
        };
        match writer.state.lineage {
            Some(present) if taken && !planted::is(Planted::CrossLineages) => {
                Err(FollowError::Other(present))
            }
            _ => {
                let next = State { lineage: Some(lineage), ..writer.state.clone() };
                self.write_state(&mut writer, next).await.map_err(FollowError::Disk)
            }
        }
    }

    /// Changes the lineage of a log that holds something; only forced recovery does.
    pub(crate) async fn fork(&self, lineage: u64) -> io::Result<()> {
        let mut writer = self.0.writer.lock().await;
        let next = State { lineage: Some(lineage), ..writer.state.clone() };
        self.write_state(&mut writer, next).await
    }

    /// A log that starts after its snapshot ends lacks entries.
    pub(crate) fn check_snapshot(&self, snapshot: Option<LogId>) -> Result<(), OpenLogError> {
        if self.memory().purged <= snapshot {
            return Ok(());
        }
        Err(OpenLogError::Damaged {
            file: SNAPSHOT_NAME.to_owned(),
            what: "it is missing or older than the start of the log".to_owned(),
        })
    }

    /// The entries after a place.
    pub(crate) fn entries_after(&self, place: Option<LogId>) -> Vec<Entry> {
        let first = place.map_or(0, |place| place.index + 1);
        self.memory().range(first..).cloned().collect()
    }

    /// The last vote.
    pub(crate) async fn vote(&self) -> Vote {
        self.0.writer.lock().await.state.vote.unwrap_or_default()
    }

    /// Votes, and forgets the whole log for a snapshot after it, without being asked by openraft;
    /// only forced recovery does.
    pub(crate) async fn force(&self, vote: Vote, snapshot: LogId) -> io::Result<()> {
        {
            let mut writer = self.0.writer.lock().await;
            let next = State { vote: Some(vote), ..writer.state.clone() };
            self.write_state(&mut writer, next).await?;
        }
        self.purge_through(snapshot).await
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when an earlier write failed: what the disk holds is unknown from then on.
    fn check(&self) -> io::Result<()> {
        self.broken().map_or(Ok(()), |what| Err(io::Error::other(what.to_owned())))
    }

    /// Notes that a write failed, for good.
    fn note<T>(&self, file: &str, result: io::Result<T>) -> io::Result<T> {
        if let Err(fault) = &result {
            let what = format!("cannot write `{file}`: {fault}");
            tracing::error!(%what, "the control log is broken; the group stops");
            let _ = self.0.broken.set(what);
        }
        result
    }

    async fn write_state(&self, writer: &mut Writer, next: State) -> io::Result<()> {
        self.check()?;
        let content = next.encode().map_err(io::Error::other)?;
        let result = self.0.disk.replace(STATE_NAME, content).await;
        self.note(STATE_NAME, result)?;
        self.memory().lineage = next.lineage;
        writer.state = next;
        Ok(())
    }

    /// Writes a frame and fsyncs it.
    async fn write(&self, writer: &mut Writer, record: &Record) -> io::Result<()> {
        self.check()?;
        let number = match writer.segments.back() {
            Some(active) if active.bytes < SEGMENT_BYTES_MAX => active.number,
            _ => self.start_segment(writer).await?,
        };
        let frame = frame::encode(writer.state.salt, writer.sequence_next, record)
            .map_err(io::Error::other)?;
        let name = Segment::name(number);
        let length = frame.len();
        let result = self.0.disk.append(&name, frame).await;
        self.note(&name, result)?;
        let result = self.0.disk.sync(&name).await;
        self.note(&name, result)?;
        writer.sequence_next += 1;
        if let Some(active) = writer.segments.back_mut() {
            active.bytes += length;
        }
        Ok(())
    }

    async fn start_segment(&self, writer: &mut Writer) -> io::Result<u64> {
        let number =
            writer.segments.back().map_or(writer.state.segment_newest, |segment| segment.number)
                + 1;
        let start = Record::Start { node: writer.state.node, segment: number };
        let frame = frame::encode(writer.state.salt, writer.sequence_next, &start)
            .map_err(io::Error::other)?;
        let name = Segment::name(number);
        let bytes = frame.len();
        let result = self.0.disk.replace(&name, frame).await;
        self.note(&name, result)?;
        writer.sequence_next += 1;
        writer.segments.push_back(Segment { number, index_max: None, bytes });
        let next = State { segment_newest: number, ..writer.state.clone() };
        self.write_state(writer, next).await?;
        Ok(number)
    }

    /// Removes the oldest segments while all their entries are purged. The newest stays.
    async fn drop_segments(&self, writer: &mut Writer) -> io::Result<()> {
        let Some(purged) = writer.state.purged else {
            return Ok(());
        };
        while writer.segments.len() > 1 {
            let Some(oldest) = writer.segments.front() else { break };
            if oldest.index_max.is_some_and(|index| index > purged.index) {
                break;
            }
            let name = Segment::name(oldest.number);
            let result = self.0.disk.remove(&name).await;
            self.note(&name, result)?;
            writer.segments.pop_front();
        }
        Ok(())
    }

    async fn append_entries(&self, entries: Vec<Entry>) -> io::Result<()> {
        for entry in &entries {
            if let EntryPayload::Normal(command) = &entry.payload {
                command.mark_appended();
            }
        }
        let mut writer = self.0.writer.lock().await;
        self.check_next(&entries)?;
        let index_max = entries.last().map(|entry| entry.log_id.index);
        let record = Record::Entries(entries);
        self.write(&mut writer, &record).await?;
        if let Some(active) = writer.segments.back_mut() {
            active.index_max = active.index_max.max(index_max);
        }
        if let Record::Entries(entries) = record {
            let mut memory = self.memory();
            memory.bytes += entries.iter().map(payload_bytes).sum::<usize>();
            memory.entries.extend(entries);
        }
        Ok(())
    }

    /// Entries must continue the log; anything else would be a hole.
    fn check_next(&self, entries: &[Entry]) -> io::Result<()> {
        let first = self.memory().next();
        let continues =
            entries.iter().zip(first..).all(|(entry, index)| entry.log_id.index == index);
        if continues {
            Ok(())
        } else {
            Err(io::Error::other("the entries leave a hole in the log"))
        }
    }

    async fn truncate_since(&self, since: u64) -> io::Result<()> {
        let mut writer = self.0.writer.lock().await;
        self.write(&mut writer, &Record::Truncate { since }).await?;
        let mut memory = self.memory();
        let kept = since.saturating_sub(memory.first());
        memory.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        memory.bytes = memory.entries.iter().map(payload_bytes).sum();
        Ok(())
    }

    async fn purge_through(&self, through: LogId) -> io::Result<()> {
        let mut writer = self.0.writer.lock().await;
        if writer.state.purged >= Some(through) {
            return Ok(());
        }
        let next = State { purged: Some(through), ..writer.state.clone() };
        self.write_state(&mut writer, next).await?;
        {
            let mut memory = self.memory();
            memory.entries.retain(|entry| state::is_after(entry, &through));
            memory.bytes = memory.entries.iter().map(payload_bytes).sum();
            memory.purged = Some(through);
        }
        self.drop_segments(&mut writer).await
    }
}

/// Why a lineage was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// The log holds something of another.
    #[error("this log follows lineage {0:x}")]
    Other(u64),
    /// The disk said no.
    #[error("the log cannot be written")]
    Disk(#[source] io::Error),
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.memory().range(range).cloned().collect())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let memory = self.memory();
        let mut bytes = 0;
        let within = memory.range(start..end).take_while(|entry| {
            let fits = bytes == 0 || bytes + payload_bytes(entry) <= REPLICATION_BYTES_MAX;
            bytes += payload_bytes(entry).max(1);
            fits
        });
        Ok(within.cloned().collect())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let memory = self.memory();
        let last = memory.entries.back().map(|entry| entry.log_id).or(memory.purged);
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let mut writer = self.0.writer.lock().await;
        let next = State { vote: Some(*vote), ..writer.state.clone() };
        let saved = self.write_state(&mut writer, next).await;
        saved.map_err(|fault| StorageIOError::write_vote(&fault).into())
    }

    /// The last vote, at the start.
    ///
    /// A node that led before is given its vote as one that it did not win. openraft would let it
    /// go on leading at once, with a machine that stands where the hint of what was agreed says,
    /// and read from it (openraft issue 1511). Elected anew, it first agrees on an entry of its
    /// new term, and with it on everything before.
    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let writer = self.0.writer.lock().await;
        let node = writer.state.node;
        Ok(writer.state.vote.map(|vote| match vote.leader_id.node_id {
            voted_for if voted_for == node => Vote::new(vote.leader_id.term, node),
            _ => vote,
        }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let Some(committed) = committed else { return Ok(()) };
        let mut writer = self.0.writer.lock().await;
        writer.committed = Some(committed);
        // Only a hint: it is written without fsync, and a disk that refuses it is found out by
        // the next entry.
        if let Ok(content) = state::encode_committed(writer.state.salt, &committed) {
            let _ = self.0.disk.hint(COMMITTED_NAME, content).await;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.0.writer.lock().await.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let result = self.append_entries(entries).await;
        callback.log_io_completed(result);
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        let result = self.truncate_since(since.index).await;
        result.map_err(|fault| StorageIOError::write_logs(&fault).into())
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        let result = match self.covered(through).await {
            Ok(()) => self.purge_through(through).await,
            Err(fault) => Err(fault),
        };
        result.map_err(|fault| StorageIOError::write_logs(&fault).into())
    }
}
