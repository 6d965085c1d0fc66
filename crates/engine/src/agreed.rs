//! Settings that are agreed in the strong group, under keys of the nodes' own: queues and buckets.
//!
//! A change is a compare-and-set of one key. Every node keeps what it knew last on its disk, so that
//! what the settings are about works while no group answers.

use std::{collections::BTreeMap, fmt::Debug, str::FromStr, sync::Arc};

use bytes::Bytes;
use rhumb_node::Event as NodeEvent;
use rhumb_ports::store::MetaName;
use rhumb_state::{
    Op, Reply,
    strong::{StrongMachine, StrongStep},
};
use rhumb_types::record::{BucketEntry, BucketName, CodecError, QueueEntry, QueueName, Record};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{Engine, StrongClient, StrongError, StrongRequest, driver, limits::DEFINED_WAIT};

/// What is agreed under one prefix of keys.
pub trait Agreeable: Record + Clone + PartialEq + Debug + Send + Sync + 'static {
    /// What an entry is called.
    type Name: FromStr
        + AsRef<str>
        + Ord
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// What its keys start with; the name follows.
    const PREFIX: &'static [u8];
    /// Under which name this node remembers all of them.
    const REMEMBERED: &'static str;
}

impl Agreeable for QueueEntry {
    type Name = QueueName;
    const PREFIX: &'static [u8] = b"\0rhumb\0queue\0";
    const REMEMBERED: &'static str = "queues";
}

impl Agreeable for BucketEntry {
    type Name = BucketName;
    const PREFIX: &'static [u8] = b"\0rhumb\0bucket\0";
    const REMEMBERED: &'static str = "buckets";
}

/// An entry, and the version that a change of it names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Versioned<E> {
    /// The entry.
    pub entry: E,
    /// The index of its last change in the agreed log.
    pub version: u64,
}

/// All entries of a kind, as agreed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Agreed<E: Agreeable> {
    /// The place in the agreed log that this reflects; a higher one is newer.
    pub index: u64,
    /// The entries.
    pub entries: BTreeMap<E::Name, Versioned<E>>,
}

/// All queues, as agreed.
pub type AgreedQueues = Agreed<QueueEntry>;
/// All buckets, as agreed.
pub type AgreedBuckets = Agreed<BucketEntry>;

impl<E: Agreeable> Default for Agreed<E> {
    fn default() -> Self {
        Self { index: 0, entries: BTreeMap::new() }
    }
}

impl<E: Agreeable> Record for Agreed<E> {
    // Only this node's own disk has it; what it passes over there, it is told again.
    const VERSION: u8 = 2;
}

impl<E: Agreeable> Agreed<E> {
    /// What a machine has agreed on. An entry that this node cannot read is left out, and said.
    pub(crate) fn of(machine: &StrongMachine) -> Self {
        let mut entries = BTreeMap::new();
        for (key, text, version) in machine.reserved(E::PREFIX) {
            match read::<E>(key, text) {
                Ok((name, entry)) => {
                    entries.insert(name, Versioned { entry, version });
                }
                Err(error) => tracing::error!(?key, %error, "agreed settings cannot be read"),
            }
        }
        Self { index: machine.index(), entries }
    }
}

/// Where to see what the strong group agrees on.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The queues.
    pub queues: watch::Receiver<Arc<AgreedQueues>>,
    /// The buckets.
    pub buckets: watch::Receiver<Arc<AgreedBuckets>>,
}

fn read<E: Agreeable>(key: &[u8], text: &[u8]) -> Result<(E::Name, E), CodecError> {
    let name = key.get(E::PREFIX.len()..).and_then(|name| std::str::from_utf8(name).ok());
    let name = name.and_then(|name| name.parse().ok());
    let name = name.ok_or_else(|| CodecError::Damaged("the key holds no name".to_owned()))?;
    Ok((name, E::decode(text)?))
}

/// The key under which an entry is agreed.
pub(crate) fn key<E: Agreeable>(name: &E::Name) -> Bytes {
    [E::PREFIX, name.as_ref().as_bytes()].concat().into()
}

/// What a change counts on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// There is none of that name yet.
    Absent,
    /// Whatever there is.
    Any,
    /// It is still as it was at this version.
    Version(u64),
}

/// Proposes that an entry is so, or, without one, that it is no more.
///
/// # Errors
/// [`StrongError`]; `Changed` when it is not as expected.
pub(crate) async fn agree<E: Agreeable>(
    strong: &StrongClient,
    name: &E::Name,
    entry: Option<&E>,
    expect: Expect,
) -> Result<(), StrongError> {
    let key = key::<E>(name);
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
    propose(strong, vec![op], if_unchanged).await
}

/// Proposes writes of reserved keys, all or none.
pub(crate) async fn propose(
    strong: &StrongClient,
    ops: Vec<Op>,
    if_unchanged: Vec<(Bytes, u64)>,
) -> Result<(), StrongError> {
    let steps = ops.into_iter().map(StrongStep::Write).collect();
    let answer =
        strong.execute_own(StrongRequest { if_unchanged, ..StrongRequest::new(steps) }).await?;
    let failed = answer.replies.into_iter().find_map(|reply| match reply {
        Reply::Error(error) => Some(error),
        _ => None,
    });
    failed.map_or(Ok(()), |error| Err(StrongError::Answer(error.to_string())))
}

/// Waits until this node has a change that was agreed. A later change may have taken its place.
pub(crate) async fn arrived<E: Agreeable>(
    shown: &watch::Receiver<Arc<Agreed<E>>>,
    holds: impl FnMut(&Arc<Agreed<E>>) -> bool,
) {
    let mut shown = shown.clone();
    let _late = timeout(DEFINED_WAIT, shown.wait_for(holds)).await;
}

impl Engine {
    /// What this node knew last, before its group has answered.
    pub(crate) fn remembered<E: Agreeable>(&self) -> Agreed<E> {
        let kind = E::REMEMBERED;
        let bytes = self.shared().store.meta(&MetaName::Other(kind.to_owned()));
        let bytes = bytes.inspect_err(|error| tracing::warn!(%error, kind, "none are remembered"));
        let Ok(Some(bytes)) = bytes else { return Agreed::default() };
        let entries = Agreed::decode(&bytes);
        entries
            .inspect_err(|error| tracing::warn!(%error, kind, "what is remembered is passed over"))
            .unwrap_or_default()
    }
}

/// What is new of what is agreed, after what this node remembers.
pub(crate) struct Follower<E: Agreeable> {
    shown: Arc<Agreed<E>>,
    agreed: watch::Receiver<Arc<Agreed<E>>>,
    inputs: mpsc::Sender<driver::Input>,
}

impl<E: Agreeable> Follower<E> {
    pub(crate) fn new(
        shown: Arc<Agreed<E>>,
        mut agreed: watch::Receiver<Arc<Agreed<E>>>,
        inputs: mpsc::Sender<driver::Input>,
    ) -> Self {
        agreed.mark_changed();
        Self { shown, agreed, inputs }
    }

    /// The next state, remembered on disk; `None` when the group is gone.
    pub(crate) async fn next(&mut self) -> Option<Arc<Agreed<E>>> {
        while self.agreed.changed().await.is_ok() {
            let newest = self.agreed.borrow_and_update().clone();
            // A group that replays its log after a start shows what was long ago.
            if newest.index < self.shown.index || newest.entries == self.shown.entries {
                continue;
            }
            let name = MetaName::Other(E::REMEMBERED.to_owned());
            let event = NodeEvent::Remember { name, value: newest.encode() };
            let _stopped = self.inputs.send(driver::Input::Event(event)).await;
            self.shown = newest.clone();
            return Some(newest);
        }
        None
    }
}
