//! Which queues there are: agreed in the strong group, under keys of the nodes' own, and kept on this
//! node's disk, so that queues work while no group answers.
//!
//! A change is a compare-and-set of one key. The queues of the file are proposed together with a mark,
//! once in the life of a cluster (rule 15).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use rhumb_node::Event as NodeEvent;
use rhumb_ports::store::MetaName;
use rhumb_queue::Definitions;
use rhumb_state::{
    Op,
    strong::{StrongMachine, StrongStep},
};
use rhumb_types::{
    ErrorCode, UnixMillis,
    record::{
        CodecError, QueueDefinition, QueueEntry, QueueName, Record, queue::QueueDefinitionError,
    },
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::driver::Input;
use crate::{
    Engine, StrongClient, StrongError, StrongRequest, driver,
    limits::{DEFINED_WAIT, QUEUES_MAX, SEED_PAUSE, TAG_BYTES_MAX, TAGS_MAX},
};

/// What the keys of queues start with; the queue's name follows.
const QUEUE_PREFIX: &[u8] = b"\0rhumb\0queue\0";
/// Says that the queues of a file were proposed.
const SEEDED_KEY: &[u8] = b"\0rhumb\0queues-seeded";
/// The queues as this node knew them last.
const REMEMBERED: &str = "queues";

/// A queue, and the version that a change of it names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgreedQueue {
    /// The queue.
    pub entry: QueueEntry,
    /// The index of its last change in the agreed log.
    pub version: u64,
}

/// All queues, as agreed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AgreedQueues {
    /// The place in the agreed log that this reflects; a higher one is newer.
    pub index: u64,
    /// The queues.
    pub queues: BTreeMap<QueueName, AgreedQueue>,
}

impl Record for AgreedQueues {
    const VERSION: u8 = 1;
}

impl AgreedQueues {
    /// What a machine has agreed on. An entry that this node cannot read is left out, and said.
    pub(crate) fn of(machine: &StrongMachine) -> Self {
        let mut queues = BTreeMap::new();
        for (key, text, version) in machine.reserved(QUEUE_PREFIX) {
            match read(key, text) {
                Ok((name, entry)) => {
                    queues.insert(name, AgreedQueue { entry, version });
                }
                Err(error) => tracing::error!(?key, %error, "a queue's settings cannot be read"),
            }
        }
        Self { index: machine.index(), queues }
    }
}

/// The settings alone, for the machine.
fn machine_definitions(queues: &AgreedQueues) -> Arc<Definitions> {
    let settings =
        |(name, queue): (&QueueName, &AgreedQueue)| (name.clone(), queue.entry.definition.clone());
    Arc::new(queues.queues.iter().map(settings).collect())
}

fn read(key: &[u8], text: &[u8]) -> Result<(QueueName, QueueEntry), CodecError> {
    let name = key.get(QUEUE_PREFIX.len()..).and_then(|name| std::str::from_utf8(name).ok());
    let name = name.and_then(|name| QueueName::new(name).ok());
    let name = name.ok_or_else(|| CodecError::Damaged("the key names no queue".to_owned()))?;
    Ok((name, QueueEntry::decode(text)?))
}

fn key(name: &QueueName) -> Bytes {
    [QUEUE_PREFIX, name.as_str().as_bytes()].concat().into()
}

/// What a change counts on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// There is no such queue yet.
    Absent,
    /// Whatever there is.
    Any,
    /// The queue is still as it was at this version.
    Version(u64),
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
    let known = present.queues.contains_key(name);
    let bytes = |(name, value): (&String, &String)| name.len() + value.len();
    let fifo = |name: &QueueName| present.queues.get(name).map(|it| it.entry.definition.fifo);
    let dead = entry.definition.dead_letters.as_ref();
    let rules = [
        ("a cluster has at most 10000 queues", known || present.queues.len() < QUEUES_MAX),
        ("a queue has at most 50 tags", entry.tags.len() <= TAGS_MAX),
        ("a tag has at most 512 bytes", entry.tags.iter().all(|tag| bytes(tag) <= TAG_BYTES_MAX)),
        ("a queue cannot be its own dead letters", dead != Some(name)),
        (
            "the dead letters of a FIFO queue are a FIFO queue, and of another not",
            dead.and_then(fifo).is_none_or(|fifo| fifo == entry.definition.fifo),
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
    let key = key(name);
    let op = match entry {
        Some(entry) => Op::MSet { pairs: vec![(key.clone(), entry.encode())] },
        None => Op::Del { keys: vec![key.clone()] },
    };
    let version = match expect {
        Expect::Absent => Some(0),
        Expect::Any => None,
        Expect::Version(version) => Some(version),
    };
    let if_unchanged = version.map(|version| (key, version)).into_iter().collect();
    propose(strong, vec![op], if_unchanged).await.map_err(|error| match error {
        StrongError::Changed => DefineError::Changed(name.clone()),
        error => error.into(),
    })
}

async fn propose(
    strong: &StrongClient,
    ops: Vec<Op>,
    if_unchanged: Vec<(Bytes, u64)>,
) -> Result<(), StrongError> {
    let steps = ops.into_iter().map(StrongStep::Write).collect();
    let answer =
        strong.execute_own(StrongRequest { if_unchanged, ..StrongRequest::new(steps) }).await?;
    let failed = answer.replies.into_iter().find_map(|reply| match reply {
        rhumb_state::Reply::Error(error) => Some(error),
        _ => None,
    });
    failed.map_or(Ok(()), |error| Err(StrongError::Answer(error.to_string())))
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
    let mut pairs: Vec<(Bytes, Bytes)> =
        queues.iter().map(|(name, it)| (key(name), entry(it).encode())).collect();
    let mark = Bytes::from_static(SEEDED_KEY);
    pairs.push((mark.clone(), Bytes::from_static(b"1")));
    match propose(strong, vec![Op::MSet { pairs }], vec![(mark, 0)]).await {
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
        let agreed = shared.agreed_queues.get().cloned();
        assert!(agreed.is_some(), "the groups are attached before the queues start");
        let remembered = Arc::new(self.remembered_queues());
        let first = machine_definitions(&remembered);
        // Before anybody can ask: the inbox is new.
        let _empty = inbox.try_send(Input::Definitions(first.clone()));
        let (definitions_in, definitions) = watch::channel(first);
        let (queues_in, queues) = watch::channel(remembered.clone());
        if let Some(agreed) = agreed {
            let keeper = Keeper {
                inbox,
                inputs: shared.inputs.clone(),
                queues: queues_in,
                definitions: definitions_in,
            };
            self.tasks().spawn_until_drained(keeper.run(remembered, agreed));
        }
        if !file.is_empty() {
            self.seed_queues(file);
        }
        (queues, definitions)
    }

    fn remembered_queues(&self) -> AgreedQueues {
        let name = MetaName::Other(REMEMBERED.to_owned());
        let bytes = self.shared().store.meta(&name);
        let bytes = bytes.inspect_err(|error| tracing::warn!(%error, "no queues are remembered"));
        let Ok(Some(bytes)) = bytes else { return AgreedQueues::default() };
        let queues = AgreedQueues::decode(&bytes);
        queues
            .inspect_err(|error| tracing::warn!(%error, "the remembered queues are passed over"))
            .unwrap_or_default()
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

/// Waits until this node has a change that was agreed. A later change may have taken its place.
pub(super) async fn arrived(
    queues: &watch::Receiver<Arc<AgreedQueues>>,
    holds: impl FnMut(&Arc<AgreedQueues>) -> bool,
) {
    let mut queues = queues.clone();
    let _late = timeout(DEFINED_WAIT, queues.wait_for(holds)).await;
}

/// Follows what is agreed.
struct Keeper {
    inbox: mpsc::Sender<Input>,
    inputs: mpsc::Sender<driver::Input>,
    queues: watch::Sender<Arc<AgreedQueues>>,
    definitions: watch::Sender<Arc<Definitions>>,
}

impl Keeper {
    async fn run(
        self,
        remembered: Arc<AgreedQueues>,
        mut agreed: watch::Receiver<Arc<AgreedQueues>>,
    ) {
        let mut shown = remembered;
        agreed.mark_changed();
        while agreed.changed().await.is_ok() {
            let newest = agreed.borrow_and_update().clone();
            // A group that replays its log after a start shows what was long ago.
            if newest.index < shown.index || newest.queues == shown.queues {
                continue;
            }
            let name = MetaName::Other(REMEMBERED.to_owned());
            let event = NodeEvent::Remember { name, value: newest.encode() };
            let _stopped = self.inputs.send(driver::Input::Event(event)).await;
            if !self.tell(&newest).await {
                return;
            }
            shown = newest;
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
