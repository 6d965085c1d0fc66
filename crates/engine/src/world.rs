//! What carries out the node's effects: the threads of the disk, the links, the subscribers.

use std::sync::{Arc, mpsc as std_mpsc};

use rhumb_node::{Alarm, Effect, Event, NodeStatus};
use rhumb_ports::{
    peer::{PeerLink, SendError},
    store::{Batch, Durability, Store, StoreError, Write},
};
use rhumb_state::ClearedPrefixes;
use rhumb_types::record::{Record, Space};
use tokio::sync::{mpsc, watch};

use crate::{
    driver::Input, held::Held, meter::Meter, objects, pubsub::PubSub, queues::Feed, recent::Recent,
    rows::Read,
};

/// Carries out effects; some at once, with what follows.
pub(crate) trait World {
    /// Carries out an effect. Gives the event that ends it, where it ended at once.
    fn carry_out(&mut self, effect: Effect) -> Option<Event>;
}

/// Work of the committing thread.
#[derive(Debug)]
pub(crate) enum Commit {
    /// Commit with fsync.
    Batch(u64, Batch),
    /// Fsync what was committed.
    Sync,
}

/// Commits, measured, with what readers keep in step.
#[derive(Clone)]
pub(crate) struct Committer {
    pub(crate) meter: Meter,
    pub(crate) recent: Arc<Recent>,
    pub(crate) feed: Feed,
    pub(crate) object_feed: objects::Feed,
}

impl Committer {
    pub(crate) fn new(meter: &Meter, recent: &Arc<Recent>, feeds: (&Feed, &objects::Feed)) -> Self {
        let (feed, object_feed) = (feeds.0.clone(), feeds.1.clone());
        Self { meter: meter.clone(), recent: recent.clone(), feed, object_feed }
    }

    /// Commits. The node has one commit out at a time.
    fn commit(
        &self,
        store: &impl Store,
        writes: &Batch,
        durability: Durability,
    ) -> Result<u64, StoreError> {
        let begun = self.recent.begin(writes);
        let number = self.meter.commit(store, writes, durability)?;
        begun.committed();
        self.feed.committed(writes);
        self.object_feed.committed(writes);
        Ok(number)
    }
}

/// The real world of a node.
pub(crate) struct RealWorld<S> {
    pub(crate) store: Arc<S>,
    pub(crate) commits: std_mpsc::SyncSender<Commit>,
    pub(crate) reads: mpsc::Sender<Read>,
    pub(crate) links: Arc<dyn PeerLink>,
    pub(crate) pubsub: PubSub,
    pub(crate) held: Arc<Held>,
    pub(crate) status: watch::Sender<Arc<NodeStatus>>,
    pub(crate) cleared: watch::Sender<Arc<ClearedPrefixes>>,
    pub(crate) alarms: mpsc::Sender<Alarm>,
    pub(crate) committer: Committer,
}

impl<S: Store> World for RealWorld<S> {
    fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Commit { batch, writes, durability } => {
                return self.commit(batch, writes, durability);
            }
            Effect::Sync => self.to_disk(Commit::Sync),
            Effect::Send { to, message } => {
                if let Err(error) = self.links.send(&to, message) {
                    return self.not_sent(error);
                }
            }
            Effect::Deliver(message) => {
                self.pubsub.deliver(&message.channel, &message.payload);
            }
            Effect::Alarm(alarm) => {
                tracing::warn!(?alarm, "the node raised an alarm");
                // The log has it; the list that operators see is bounded.
                let _full = self.alarms.try_send(alarm);
            }
            Effect::Status(status) => {
                self.status.send_replace(Arc::new(*status));
            }
            Effect::Reply { .. } | Effect::Owned { .. } | Effect::Acked { .. } => {}
            read => {
                if matches!(read, Effect::Fetch { .. }) {
                    self.held.missed();
                }
                // The node bounds what it asks for, so the queue has room.
                if self.reads.try_send(Read(read)).is_err() {
                    tracing::error!("the reading thread is behind or gone");
                }
            }
        }
        None
    }
}

impl<S: Store> RealWorld<S> {
    fn commit(&mut self, batch: u64, writes: Batch, durability: Durability) -> Option<Event> {
        self.note_cleared(&writes);
        match durability {
            Durability::Synced => {
                self.to_disk(Commit::Batch(batch, writes));
                None
            }
            Durability::Buffered => {
                let result = self.committer.commit(&*self.store, &writes, Durability::Buffered);
                Some(Event::Committed { batch, result })
            }
        }
    }

    fn to_disk(&self, work: Commit) {
        // The node has at most one commit or sync out, so the channel of one has room.
        if self.commits.try_send(work).is_err() {
            tracing::error!("the committing thread is gone");
        }
    }

    /// Readers must see a removal of a prefix no later than its caller hears of it. Seeing it a
    /// moment before the commit is a read that came after.
    fn note_cleared(&mut self, writes: &Batch) {
        for write in &writes.writes {
            if let Write::Meta { name, value: Some(value) } = write
                && *name == rhumb_ports::store::MetaName::Cleared(Space::USER)
                && let Ok(cleared) = ClearedPrefixes::decode(value)
            {
                self.cleared.send_replace(Arc::new(cleared));
            }
        }
    }

    fn not_sent(&self, error: SendError) -> Option<Event> {
        match error {
            // The adapter reports the end of a link itself.
            SendError::Down(_) => None,
            SendError::Full(region) => {
                tracing::warn!(%region, "a link was full and is dropped");
                None
            }
        }
    }
}

/// The committing thread.
pub(crate) fn run_commits<S: Store>(
    store: &S,
    commits: &std_mpsc::Receiver<Commit>,
    inputs: &mpsc::Sender<Input>,
    committer: &Committer,
) {
    while let Ok(work) = commits.recv() {
        let event = match work {
            Commit::Batch(batch, writes) => {
                let result = committer.commit(store, &writes, Durability::Synced);
                Event::Committed { batch, result }
            }
            Commit::Sync => Event::Synced { result: store.sync() },
        };
        if inputs.blocking_send(Input::Event(event)).is_err() {
            return;
        }
    }
}
