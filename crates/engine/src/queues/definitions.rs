//! Which queues there are: agreed in the strong group, under keys of the nodes' own, and kept on this
//! node's disk, so that queues work while no group answers.
//!
//! A change is a compare-and-set of one key. The queues of the file are proposed together with a mark,
//! once in the life of a cluster (rule 15).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use rhumb_queue::Definitions;
use rhumb_regions::ResidencyTag;
use rhumb_state::Op;
use rhumb_types::{
    ErrorCode, UnixMillis,
    record::{QueueDefinition, QueueEntry, QueueName, Record, queue::QueueDefinitionError},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::driver::Input;
use crate::{
    Engine, StrongClient, StrongError,
    agreed::{self, AgreedQueues, Expect, Follower, Versioned},
    limits::{QUEUES_MAX, SEED_PAUSE, TAG_BYTES_MAX, TAGS_MAX},
};

/// Says that the queues of a file were proposed.
const SEEDED_KEY: &[u8] = b"\0rhumb\0queues-seeded";
/// The settings alone, for the machine.
fn machine_definitions(queues: &AgreedQueues) -> Arc<Definitions> {
    let settings = |(name, queue): (&QueueName, &Versioned<QueueEntry>)| {
        (name.clone(), queue.entry.definition.clone())
    };
    Arc::new(queues.entries.iter().map(settings).collect())
}

/// Why a queue was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefineError {
    /// A setting is against its bounds.
    #[error(transparent)]
    Setting(#[from] QueueDefinitionError),
    /// Something else is against a limit.
    #[error("{0}")]
    Invalid(&'static str),
    /// The queue is there already, or was changed meanwhile.
    #[error("the queue `{0}` is there already, or was changed meanwhile")]
    Changed(QueueName),
    /// There is no such queue.
    #[error("there is no queue `{0}`")]
    NoQueue(QueueName),
    /// The strong group did not agree.
    #[error(transparent)]
    Agreement(#[from] StrongError),
    /// Its jobs were not all removed, so it stays.
    #[error("its jobs were not all removed, and it stays: {0}")]
    Jobs(#[from] rhumb_queue::Refused),
    /// The groups are not attached yet.
    #[error("this node is still starting")]
    Starting,
}

impl DefineError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Setting(_) | Self::Invalid(_) => ErrorCode::Invalid,
            Self::Changed(_) => ErrorCode::Conflict,
            Self::NoQueue(_) => ErrorCode::NotFound,
            Self::Agreement(error) => error.code(),
            Self::Jobs(error) => error.code(),
            Self::Starting => ErrorCode::Unavailable,
        }
    }
}

/// Checks what would be agreed.
pub(super) fn check(
    name: &QueueName,
    entry: &QueueEntry,
    present: &AgreedQueues,
) -> Result<(), DefineError> {
    entry.definition.check()?;
    let known = present.entries.contains_key(name);
    let bytes = |(name, value): (&String, &String)| name.len() + value.len();
    let fifo = |name: &QueueName| present.entries.get(name).map(|it| it.entry.definition.fifo);
    let dead = entry.definition.dead_letters.as_ref();
    let residency = |name: &QueueName| {
        present.entries.get(name).map(|it| it.entry.definition.residency.as_slice())
    };
    let own = entry.definition.residency.as_slice();
    let rules = [
        ("a cluster has at most 10000 queues", known || present.entries.len() < QUEUES_MAX),
        ("a queue has at most 50 tags", entry.tags.len() <= TAGS_MAX),
        ("a tag has at most 512 bytes", entry.tags.iter().all(|tag| bytes(tag) <= TAG_BYTES_MAX)),
        ("a queue cannot be its own dead letters", dead != Some(name)),
        (
            "the dead letters of a FIFO queue are a FIFO queue, and of another not",
            dead.and_then(fifo).is_none_or(|fifo| fifo == entry.definition.fifo),
        ),
        (
            "a tag of residency has 1 to 63 of a-z, 0-9, `-`, `_`, `.` and `:`",
            own.iter().all(|tag| ResidencyTag::new(tag).is_ok()),
        ),
        (
            "the dead letters of a queue have the same residency",
            dead.and_then(residency).is_none_or(|theirs| theirs == own)
                && present.entries.values().map(|it| &it.entry.definition).all(|it| {
                    it.dead_letters.as_ref() != Some(name) || it.residency.as_slice() == own
                }),
        ),
        (
            "the residency of a queue is for good: make another",
            residency(name).is_none_or(|before| before == own),
        ),
        (
            "a queue stays FIFO, or not, for good: make another",
            fifo(name).is_none_or(|fifo| fifo == entry.definition.fifo),
        ),
    ];
    rules.iter().find(|(_, kept)| !kept).map_or(Ok(()), |(rule, _)| Err(DefineError::Invalid(rule)))
}

/// Proposes that a queue is so, or, without an entry, that it is no more.
pub(super) async fn agree(
    strong: &StrongClient,
    name: &QueueName,
    entry: Option<&QueueEntry>,
    expect: Expect,
) -> Result<(), DefineError> {
    agreed::agree(strong, name, entry, expect).await.map_err(|error| match error {
        StrongError::Changed => DefineError::Changed(name.clone()),
        error => error.into(),
    })
}

/// Proposes the queues of the file, once in the life of a cluster.
async fn seed(
    strong: &StrongClient,
    now: UnixMillis,
    queues: &BTreeMap<QueueName, QueueDefinition>,
) -> Result<(), StrongError> {
    let entry = |definition: &QueueDefinition| QueueEntry {
        definition: definition.clone(),
        created_at: now,
        changed_at: now,
        tags: BTreeMap::new(),
    };
    let mut pairs: Vec<(Bytes, Bytes)> = queues
        .iter()
        .map(|(name, it)| (agreed::key::<QueueEntry>(name), entry(it).encode()))
        .collect();
    let mark = Bytes::from_static(SEEDED_KEY);
    pairs.push((mark.clone(), Bytes::from_static(b"1")));
    match agreed::propose(strong, vec![Op::MSet { pairs }], vec![(mark, 0)]).await {
        // The mark was there: the cluster's own queues are the truth.
        Err(StrongError::Changed) => Ok(()),
        result => result,
    }
}

impl Engine {
    /// Keeps the machine, the callers, and the disk at the newest queues that are agreed.
    pub(super) fn keep_queues(
        &self,
        inbox: mpsc::Sender<Input>,
        file: BTreeMap<QueueName, QueueDefinition>,
    ) -> (watch::Receiver<Arc<AgreedQueues>>, watch::Receiver<Arc<Definitions>>) {
        let shared = self.shared();
        let agreed = shared.agreed.get().map(|shown| shown.queues.clone());
        assert!(agreed.is_some(), "the groups are attached before the queues start");
        let remembered = Arc::new(self.remembered());
        let first = machine_definitions(&remembered);
        // Before anybody can ask: the inbox is new.
        let _empty = inbox.try_send(Input::Definitions(first.clone()));
        let (definitions_in, definitions) = watch::channel(first);
        let (queues_in, queues) = watch::channel(remembered.clone());
        if let Some(agreed) = agreed {
            let newest = Follower::new(remembered, agreed, shared.inputs.clone());
            let keeper = Keeper { inbox, queues: queues_in, definitions: definitions_in };
            self.tasks().spawn_until_drained(keeper.run(newest));
        }
        if !file.is_empty() {
            self.seed_queues(file);
        }
        (queues, definitions)
    }

    fn seed_queues(&self, file: BTreeMap<QueueName, QueueDefinition>) {
        let engine = self.clone();
        self.tasks().spawn_until_stopped(async move {
            let Some(strong) = engine.strong() else { return };
            while let Err(error) = seed(strong, engine.clock().now().wall, &file).await {
                tracing::info!(%error, "the queues of the file wait for the strong group");
                sleep(SEED_PAUSE).await;
            }
        });
    }
}

/// Follows what is agreed.
struct Keeper {
    inbox: mpsc::Sender<Input>,
    queues: watch::Sender<Arc<AgreedQueues>>,
    definitions: watch::Sender<Arc<Definitions>>,
}

impl Keeper {
    async fn run(self, mut newest: Follower<QueueEntry>) {
        while let Some(queues) = newest.next().await {
            if !self.tell(&queues).await {
                return;
            }
        }
    }

    /// The machine first: what callers see, it knows.
    async fn tell(&self, queues: &Arc<AgreedQueues>) -> bool {
        let definitions = machine_definitions(queues);
        if self.inbox.send(Input::Definitions(definitions.clone())).await.is_err() {
            return false;
        }
        self.definitions.send_replace(definitions);
        self.queues.send_replace(queues.clone());
        true
    }
}
