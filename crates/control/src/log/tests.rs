//! What opening a log trusts, repairs and refuses.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    CommittedLeaderId, EntryPayload, RaftLogReader,
    storage::{RaftLogStorage, RaftLogStorageExt},
};
use proptest::prelude::*;
use rhumb_types::NodeId;
use tokio::{sync::watch, time::timeout};

use super::{
    Identity, LogStore, OpenLogError,
    segment::{SEGMENT_BYTES_MAX, Segment},
    state::{COMMITTED_NAME, STATE_NAME},
};
use crate::{
    disk::{Disk, Faults, SimDisk},
    machine::Reach,
    raft::{Command, Entry, LogId, Vote},
};

const NODE: NodeId = NodeId(7);

fn identity() -> Identity {
    Identity { group: "administrative".to_owned(), node: NODE, salt: 0x5a17, seated: false }
}

async fn open(disk: &SimDisk) -> Result<LogStore, OpenLogError> {
    LogStore::open(Arc::new(disk.clone()), &identity()).await
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, NODE), index)
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let fill = u8::try_from(index % 251).unwrap() + 1;
    let (command, _) = Command::new(Bytes::from(vec![fill; bytes]));
    Entry { log_id: id(term, index), payload: EntryPayload::Normal(command) }
}

async fn append(log: &mut LogStore, term: u64, indexes: std::ops::Range<u64>) {
    for index in indexes {
        log.blocking_append([entry(term, index, 100)]).await.unwrap();
    }
}

/// The entries as term and index; their payloads are checked.
async fn content(log: &mut LogStore) -> Vec<(u64, u64)> {
    let entries = log.try_get_log_entries(..).await.unwrap();
    let content = entries.iter().map(|found| {
        let LogId { leader_id, index } = found.log_id;
        let EntryPayload::Normal(command) = &found.payload else { panic!("{found:?}") };
        let expected = u8::try_from(index % 251).unwrap() + 1;
        assert!(command.bytes.iter().all(|byte| *byte == expected), "entry {index}");
        (leader_id.term, index)
    });
    content.collect()
}

fn terms(term: u64, indexes: std::ops::Range<u64>) -> Vec<(u64, u64)> {
    indexes.map(|index| (term, index)).collect()
}

#[tokio::test(start_paused = true)]
async fn everything_comes_back_after_a_crash() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    append(&mut log, 1, 0..10).await;
    log.save_vote(&Vote::new_committed(3, NodeId(9))).await.unwrap();
    log.truncate(id(1, 8)).await.unwrap();
    append(&mut log, 2, 8..12).await;
    log.purge(id(1, 4)).await.unwrap();
    disk.crash();

    let mut log = open(&disk).await.unwrap();
    let expected = [terms(1, 5..8), terms(2, 8..12)].concat();
    assert_eq!(content(&mut log).await, expected);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, NodeId(9))));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(id(1, 4)));
    assert_eq!(state.last_log_id, Some(id(2, 11)));
}

#[tokio::test(start_paused = true)]
async fn a_vote_for_oneself_is_not_won_after_a_restart() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    log.save_vote(&Vote::new_committed(3, NODE)).await.unwrap();
    let mut log = open(&disk).await.unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, NODE)));
}

#[tokio::test(start_paused = true)]
async fn the_hint_of_what_is_agreed_counts_only_for_an_entry_that_is_there() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    append(&mut log, 1, 0..10).await;
    log.save_committed(Some(id(1, 6))).await.unwrap();
    assert_eq!(open(&disk).await.unwrap().read_committed().await.unwrap(), Some(id(1, 6)));
    disk.tamper(COMMITTED_NAME, |content| content[20] ^= 1);
    assert_eq!(open(&disk).await.unwrap().read_committed().await.unwrap(), None);
    log.save_committed(Some(id(1, 99))).await.unwrap();
    assert_eq!(open(&disk).await.unwrap().read_committed().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_never_finished_is_cut_off() {
    let mut torn = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed * 977 + 1);
        let mut log = open(&disk).await.unwrap();
        append(&mut log, 1, 0..5).await;
        let slow = Faults { sync_takes: Some(Duration::from_secs(9)), ..Faults::default() };
        disk.set_faults(slow);
        let large: Vec<_> = (5..9).map(|index| entry(1, index, 700)).collect();
        timeout(Duration::from_secs(1), log.blocking_append(large)).await.unwrap_err();
        disk.set_faults(Faults::default());
        disk.crash();

        let mut log = open(&disk).await.unwrap();
        let found = content(&mut log).await;
        assert!(found == terms(1, 0..5) || found == terms(1, 0..9), "seed {seed}: {found:?}");
        torn += usize::from(disk.torn() > 0);
        let next = found.len() as u64;
        append(&mut log, 2, next..next + 3).await;
        let expected = [found, terms(2, next..next + 3)].concat();
        assert_eq!(content(&mut open(&disk).await.unwrap()).await, expected, "seed {seed}");
    }
    assert!(torn > 10, "only {torn} crashes left a part");
}

#[tokio::test(start_paused = true)]
async fn a_failed_fsync_ends_the_log_for_good() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    append(&mut log, 1, 0..3).await;
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    log.blocking_append([entry(1, 3, 10)]).await.unwrap_err();
    disk.set_faults(Faults::default());
    assert!(log.broken().is_some());
    // The disk would take it now, and the kernel would say yes; but what it holds is not known.
    log.blocking_append([entry(1, 3, 10)]).await.unwrap_err();
    log.save_vote(&Vote::new(9, NODE)).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn entries_that_leave_a_hole_are_refused() {
    let mut log = open(&SimDisk::new(1)).await.unwrap();
    append(&mut log, 1, 0..3).await;
    log.blocking_append([entry(1, 4, 10)]).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn segments_are_closed_removed_and_missed() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    let per_segment = 5;
    let large = SEGMENT_BYTES_MAX / per_segment + 1;
    for index in 0..18 {
        log.blocking_append([entry(1, index, large)]).await.unwrap();
    }
    let segments = |disk: &SimDisk| {
        disk.names().iter().filter_map(|name| Segment::number(name)).collect::<Vec<_>>()
    };
    assert_eq!(segments(&disk), [1, 2, 3, 4]);
    assert_eq!(content(&mut open(&disk).await.unwrap()).await, terms(1, 0..18));

    for lost in [2, 4] {
        let disk = disk.fork();
        disk.lose(&Segment::name(lost));
        let refused = open(&disk).await.unwrap_err();
        assert!(matches!(refused, OpenLogError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("new id"), "{refused}");
    }

    log.purge(id(1, 11)).await.unwrap();
    assert_eq!(segments(&disk), [3, 4]);
    disk.crash();
    let mut log = open(&disk).await.unwrap();
    assert_eq!(content(&mut log).await, terms(1, 12..18));
    assert_eq!(segments(&disk), [3, 4], "what a crash brought back is removed again");
}

/// openraft 0.9 asks for the purge while the snapshot is still being installed.
#[tokio::test(start_paused = true)]
async fn nothing_is_purged_before_the_snapshot_that_takes_its_place_is_saved() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    append(&mut log, 1, 0..10).await;
    let reach = watch::Sender::new(Reach::Through(None));
    log.cover_with(reach.subscribe());
    let purge = timeout(Duration::from_secs(60), log.purge(id(2, 20)));
    assert!(purge.await.is_err(), "it waits");
    reach.send_replace(Reach::Through(Some(id(1, 9))));
    assert!(timeout(Duration::from_secs(60), log.purge(id(2, 20))).await.is_err());
    let mut after_a_crash = open(&disk).await.unwrap();
    assert_eq!(content(&mut after_a_crash).await, terms(1, 0..10));

    let mut log = after_a_crash;
    log.cover_with(reach.subscribe());
    reach.send_replace(Reach::Through(Some(id(2, 20))));
    log.purge(id(2, 20)).await.unwrap();
    assert_eq!(content(&mut log).await, []);
    append(&mut log, 2, 21..23).await;
    reach.send_replace(Reach::Failed);
    assert!(log.purge(id(2, 22)).await.is_err());
    assert_eq!(content(&mut log).await, terms(2, 21..23));
}

/// A snapshot that is ahead of the log, and of another past than its end.
#[tokio::test(start_paused = true)]
async fn a_purge_past_the_end_leaves_nothing_behind() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    append(&mut log, 1, 0..30).await;
    log.purge(id(4, 20)).await.unwrap();
    assert_eq!(content(&mut log).await, []);
    append(&mut log, 4, 21..23).await;
    assert_eq!(content(&mut log).await, terms(4, 21..23));
    assert_eq!(content(&mut open(&disk).await.unwrap()).await, terms(4, 21..23));
    log.purge(id(5, 90)).await.unwrap();
    append(&mut log, 5, 91..93).await;
    assert_eq!(content(&mut open(&disk).await.unwrap()).await, terms(5, 91..93));
}

/// Rule 15: what a node promised with a log that is gone, it cannot keep.
#[tokio::test(start_paused = true)]
async fn a_log_that_must_be_there_is_not_created_anew() {
    let disk = SimDisk::new(1);
    let seated = Identity { seated: true, ..identity() };
    let refused = LogStore::open(Arc::new(disk.clone()), &seated).await.unwrap_err();
    assert!(matches!(refused, OpenLogError::Lost { node: NODE, .. }), "{refused}");
    assert!(disk.names().is_empty(), "a refused start leaves nothing behind");
    open(&disk).await.unwrap();
    LogStore::open(Arc::new(disk), &seated).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_log_of_somebody_else_is_refused() {
    let disk = SimDisk::new(1);
    open(&disk).await.unwrap();
    let other = Identity { node: NodeId(8), ..identity() };
    let refused = LogStore::open(Arc::new(disk.clone()), &other).await.unwrap_err();
    assert!(matches!(refused, OpenLogError::Foreign { node: NODE, .. }), "{refused}");
    let other = Identity { group: "strong".to_owned(), ..identity() };
    let refused = LogStore::open(Arc::new(disk), &other).await.unwrap_err();
    assert!(matches!(refused, OpenLogError::Foreign { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_state_file_beside_a_log_is_damage() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    append(&mut log, 1, 0..3).await;
    disk.lose(STATE_NAME);
    assert!(matches!(open(&disk).await, Err(OpenLogError::Damaged { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_file_of_a_later_release_is_told_apart_from_damage() {
    let disk = SimDisk::new(1);
    open(&disk).await.unwrap();
    let newer = super::seal(*b"RLST", 2, b"whatever that release writes");
    disk.replace(STATE_NAME, newer).await.unwrap();
    assert!(matches!(open(&disk).await, Err(OpenLogError::Newer { .. })));
}

#[tokio::test(start_paused = true)]
async fn messages_to_followers_are_bounded() {
    let mut log = open(&SimDisk::new(1)).await.unwrap();
    for index in 0..20 {
        log.blocking_append([entry(1, index, 100 << 10)]).await.unwrap();
    }
    assert_eq!(log.limited_get_log_entries(0, 20).await.unwrap().len(), 5);
    assert_eq!(log.limited_get_log_entries(18, 20).await.unwrap().len(), 2);
    log.blocking_append([entry(1, 20, 2 << 20)]).await.unwrap();
    assert_eq!(log.limited_get_log_entries(20, 21).await.unwrap().len(), 1, "a single large one");
}

async fn ten_entries() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).await.unwrap();
    append(&mut log, 1, 0..10).await;
    disk
}

/// Every single flipped bit of a log that was closed in order is refused. None is taken for an
/// unfinished append, because none leaves a whole sector of zeros.
#[tokio::test(start_paused = true)]
async fn every_flipped_bit_is_refused() {
    let disk = ten_entries().await;
    let name = Segment::name(1);
    let bytes = disk.read(&name).await.unwrap().unwrap().len();
    for bit in (0..bytes * 8).step_by(3) {
        let disk = disk.fork();
        disk.tamper(&name, |content| content[bit / 8] ^= 1 << (bit % 8));
        match open(&disk).await {
            Err(OpenLogError::Damaged { .. }) => {}
            other => panic!("bit {bit}: {other:?}"),
        }
    }
}

/// One step of a random life of a log.
#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Truncate(u64),
    Purge(u64),
    Crash,
    FailThenCrash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..5_u64).prop_map(Step::Append),
        2 => (0..6_u64).prop_map(Step::Truncate),
        2 => (0..6_u64).prop_map(Step::Purge),
        2 => Just(Step::Crash),
        1 => Just(Step::FailThenCrash),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What the log must hold: the purged prefix ends at `purged`, the rest follows.
#[derive(Debug, Default)]
struct Reference {
    purged: Option<LogId>,
    entries: Vec<LogId>,
    term: u64,
}

impl Reference {
    fn next(&self) -> u64 {
        self.entries.last().or(self.purged.as_ref()).map_or(0, |last| last.index + 1)
    }

    fn found(&self) -> Vec<(u64, u64)> {
        self.entries.iter().map(|id| (id.leader_id.term, id.index)).collect()
    }

    async fn step(&mut self, disk: &SimDisk, log: &mut LogStore, step: Step) {
        match step {
            Step::Append(count) => {
                let new = (self.next()..).take(usize::try_from(count).unwrap());
                let new: Vec<LogId> = new.map(|index| id(self.term, index)).collect();
                let entries = new.iter().map(|new| entry(self.term, new.index, 300));
                log.blocking_append(entries.collect::<Vec<_>>()).await.unwrap();
                self.entries.extend(new);
            }
            Step::Truncate(back) => {
                let kept = self.entries.len().saturating_sub(usize::try_from(back).unwrap());
                if let Some(since) = self.entries.get(kept).copied() {
                    log.truncate(since).await.unwrap();
                    self.entries.truncate(kept);
                    self.term += 1;
                }
            }
            Step::Purge(count) => {
                let count = usize::try_from(count).unwrap().min(self.entries.len());
                if let Some(through) = self.entries.drain(..count).next_back() {
                    log.purge(through).await.unwrap();
                    self.purged = Some(through);
                }
            }
            Step::Crash => disk.crash(),
            Step::FailThenCrash => {
                disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
                let lost = entry(self.term, self.next(), 1_500);
                let lost_id = lost.log_id;
                log.blocking_append([lost]).await.unwrap_err();
                disk.set_faults(Faults::default());
                disk.crash();
                // It may have been written whole.
                let mut again = open(disk).await.unwrap();
                if content(&mut again).await.len() > self.entries.len() {
                    self.entries.push(lost_id);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn holds_what_the_reference_holds(steps in steps(), seed in 1..u64::MAX) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async move {
            let disk = SimDisk::new(seed);
            let mut reference = Reference { term: 1, ..Reference::default() };
            let mut log = open(&disk).await.unwrap();
            for step in steps {
                let again = matches!(step, Step::Crash | Step::FailThenCrash);
                reference.step(&disk, &mut log, step).await;
                if again {
                    log = open(&disk).await.unwrap();
                }
                let state = log.get_log_state().await.unwrap();
                assert_eq!(state.last_purged_log_id, reference.purged);
                assert_eq!(content(&mut log).await, reference.found());
            }
        });
    }
}
