//! What the tasks of a process share, and how they wait.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin as Pinned,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use rhumb_node::{NodeStatus, SubmitError, oversee::Leases};
use rhumb_objects::{
    grant::{
        Holder, HolderConfig, HolderEvent, Home, Homes, Pinning, limits::SILENCE, walk::Candidate,
    },
    miss,
    rows::Rows,
    terms::Fences,
    want::{Want, promotion::Promotions},
};
use rhumb_ports::{
    memory::{MemoryDisk, MemoryStore},
    store::{Range, ReadStore, StoreError},
};
use rhumb_regions::RoutingSnapshot;
use rhumb_state::{Op, Reply, visible};
use rhumb_types::{
    AckLevel, ErrorCode, Hlc, RegionId, Timestamp,
    control::ControlView,
    record::{
        BlobHash, BucketDefinition, BucketName, Cell, Dot, Head, Space, Term, VersionId,
        VersionVector,
    },
};

use super::{
    BlobDisk, Task,
    calls::{Call, Failure, Message, Told},
    granted::Rounds,
    pace::Pace,
    words::Answer,
};
use crate::{branch::Branch, check::Check, random::Random, time::SECOND};

/// The buckets of a run.
pub type Buckets = BTreeMap<BucketName, BucketDefinition>;
/// Names what a task waits for.
pub(crate) type Ticket = u64;

/// How long a blob that is being removed is waited for, in microseconds.
const LEAVING_WAIT_MICROS: u64 = 5 * SECOND;
/// How often it is looked whether it is gone.
const LEAVING_LOOK_MICROS: u64 = 50_000;

/// What a task waits for has happened.
#[derive(Debug)]
pub(crate) enum Answered {
    Slept,
    /// A blob was written, or could not be.
    Written(bool),
    Replied(Result<(Vec<Reply>, VersionVector), SubmitError>),
    Acked(usize),
    /// Another region's answer; `None` when it did not come.
    Told(Option<Told>),
}

/// What a task wants done.
#[derive(Debug)]
pub(crate) enum Wish {
    Sleep { ticket: Ticket, micros: u64 },
    Write { ticket: Ticket },
    Submit { ticket: Ticket, op: Op, ack: AckLevel },
    Acks { ticket: Ticket, written: Option<VersionVector>, regions: usize },
    Call { ticket: Ticket, to: RegionId, call: Call, wait: u64 },
    Send { to: RegionId, message: Message },
    Answer { request: u64, answer: Box<Answer> },
    Note(Branch),
    Broken(Check, String),
}

/// What objects are made with.
pub(super) struct Made {
    pub(super) region: RegionId,
    pub(super) store: Arc<MemoryStore>,
    pub(super) disk: MemoryDisk,
    pub(super) blobs: BlobDisk,
    pub(super) buckets: Arc<Buckets>,
    pub(super) pace: Pace,
    pub(super) random: Random,
}

pub(crate) struct State {
    pub(super) now: Timestamp,
    pub(super) routing: Option<Arc<RoutingSnapshot>>,
    pub(super) view: Arc<ControlView>,
    pub(super) leases: Arc<Leases>,
    pub(super) status: Arc<NodeStatus>,
    pub(super) holder: Holder,
    pub(crate) want: Want,
    /// Blobs that are being fetched.
    pub(super) fetching: usize,
    pub(super) promotions: Promotions,
    /// The terms in which this region decides, by home, and the fences that were known then.
    pub(super) terms: BTreeMap<RegionId, (Term, Rc<Fences>)>,
    pub(super) homes: BTreeMap<RegionId, Home>,
    pub(super) found: BTreeMap<RegionId, VecDeque<Candidate>>,
    /// What was said in the rounds of these.
    pub(super) rounds: Rounds,
    /// How many pins tasks hold of what.
    pub(super) pinned: BTreeMap<BlobHash, u64>,
    /// Rows that were committed, for who fetches.
    pub(super) rows: VecDeque<(Bytes, Bytes)>,
    random: Random,
    tickets: Ticket,
    /// Who waits for what.
    pub(super) waiting: BTreeMap<Ticket, u64>,
    pub(super) answered: BTreeMap<Ticket, Answered>,
    /// The task that is being polled.
    pub(super) current: u64,
    pub(super) wishes: Vec<Wish>,
    pub(super) spawned: Vec<Task>,
}

struct Shared {
    made: Made,
    state: RefCell<State>,
}

/// The objects of one process, for its tasks.
#[derive(Clone)]
pub(crate) struct Here(Rc<Shared>);

impl Here {
    pub(super) fn new(made: Made, now: Timestamp, applied: &VersionVector, is_first: bool) -> Self {
        // Before the first start of a run nobody has spoken.
        let silence = if is_first { Duration::ZERO } else { SILENCE };
        let config = HolderConfig { silence, ..HolderConfig::default() };
        let state = State {
            now,
            routing: None,
            view: Arc::default(),
            leases: Arc::default(),
            status: Arc::default(),
            holder: Holder::new(config, now.mono, applied, now.wall.0 << 16),
            want: Want::default(),
            fetching: 0,
            promotions: Promotions::default(),
            terms: BTreeMap::new(),
            homes: BTreeMap::new(),
            found: BTreeMap::new(),
            rounds: Rounds::default(),
            pinned: BTreeMap::new(),
            rows: VecDeque::new(),
            random: made.random.clone(),
            tickets: 0,
            waiting: BTreeMap::new(),
            answered: BTreeMap::new(),
            current: 0,
            wishes: Vec::new(),
            spawned: Vec::new(),
        };
        Self(Rc::new(Shared { made, state: RefCell::new(state) }))
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.0.state.borrow_mut()
    }

    pub(super) fn region(&self) -> &RegionId {
        &self.0.made.region
    }

    pub(crate) fn blobs(&self) -> &BlobDisk {
        &self.0.made.blobs
    }

    pub(super) fn store(&self) -> &MemoryStore {
        &self.0.made.store
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.made.disk.faults().full
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.0.made.pace
    }

    pub(super) fn buckets(&self) -> &Buckets {
        &self.0.made.buckets
    }

    pub(crate) fn definition(&self, bucket: &BucketName) -> Result<BucketDefinition, Failure> {
        let found = self.buckets().get(bucket).cloned();
        found.ok_or_else(|| Failure::new(ErrorCode::NotFound, "there is no such bucket"))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.state().now
    }

    pub(super) fn status(&self) -> Arc<NodeStatus> {
        self.state().status.clone()
    }

    pub(super) fn view(&self) -> Arc<ControlView> {
        self.state().view.clone()
    }

    pub(super) fn routing(&self) -> Option<Arc<RoutingSnapshot>> {
        self.state().routing.clone()
    }

    pub(crate) fn rows(&self) -> IndexRows<'_> {
        IndexRows { store: self.store(), seen: None }
    }

    pub(super) fn rows_unseen<'h>(&'h self, seen: &'h VersionVector) -> IndexRows<'h> {
        IndexRows { store: self.store(), seen: Some(seen) }
    }

    /// The regions among which hashes are shared out.
    pub(super) fn homes(&self) -> Homes {
        self.view().data_regions().cloned().collect()
    }

    /// Whether this region is to fetch what it will hold once its duties are back.
    pub(super) fn is_returning(&self) -> bool {
        self.pace().fetches_displaced && self.view().displaced.contains_key(self.region())
    }

    pub(super) fn new_version(&self) -> VersionId {
        let mut state = self.state();
        VersionId { hlc: Hlc::from_millis(state.now.wall), entropy: state.random.bits() }
    }

    pub(super) fn wish(&self, wish: Wish) {
        self.state().wishes.push(wish);
    }

    pub(super) fn note(&self, branch: Branch) {
        self.wish(Wish::Note(branch));
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.state().spawned.push(Box::pin(task));
    }

    /// A ticket, for something that the present task waits for.
    pub(super) fn ticket(&self) -> Ticket {
        let mut state = self.state();
        state.tickets += 1;
        let (ticket, task) = (state.tickets, state.current);
        state.waiting.insert(ticket, task);
        ticket
    }

    /// A number that grows, for strategies that take turns.
    pub(super) fn turn(&self) -> u64 {
        self.state().tickets
    }

    /// Waits for the first of some tickets.
    pub(super) fn first_of(&self, tickets: Vec<Ticket>) -> First {
        First { here: self.clone(), tickets }
    }

    async fn one(&self, ticket: Ticket) -> Answered {
        self.first_of(vec![ticket]).await.1
    }

    pub(super) async fn sleep(&self, micros: u64) {
        let ticket = self.ticket();
        self.wish(Wish::Sleep { ticket, micros });
        self.one(ticket).await;
    }

    /// Writes to the disk of blobs; says whether that went well.
    pub(super) async fn write_disk(&self) -> bool {
        let ticket = self.ticket();
        self.wish(Wish::Write { ticket });
        matches!(self.one(ticket).await, Answered::Written(true))
    }

    pub(super) async fn submit(
        &self,
        op: Op,
        ack: AckLevel,
    ) -> Result<(Vec<Reply>, VersionVector), SubmitError> {
        let ticket = self.ticket();
        self.wish(Wish::Submit { ticket, op, ack });
        match self.one(ticket).await {
            Answered::Replied(result) => result,
            other => unreachable!("a write is answered by {other:?}"),
        }
    }

    /// How many other regions have something, as soon as so many have.
    pub(super) async fn acks(&self, written: Option<VersionVector>, regions: usize) -> usize {
        let ticket = self.ticket();
        self.wish(Wish::Acks { ticket, written, regions });
        match self.one(ticket).await {
            Answered::Acked(regions) => regions,
            _ => 0,
        }
    }

    pub(super) fn begin_call(&self, to: &RegionId, call: Call, wait: u64) -> Ticket {
        let ticket = self.ticket();
        self.wish(Wish::Call { ticket, to: to.clone(), call, wait });
        ticket
    }

    pub(super) async fn call(&self, to: &RegionId, call: Call, wait: u64) -> Option<Told> {
        let ticket = self.begin_call(to, call, wait);
        match self.one(ticket).await {
            Answered::Told(told) => told,
            _ => None,
        }
    }

    /// Keeps a blob for as long as what is given lives.
    pub(super) async fn pin(&self, hash: BlobHash) -> Option<Pin> {
        let mut waited = 0;
        loop {
            let pinning = self.state().holder.pin(hash);
            match pinning {
                Pinning::Pinned => {
                    *self.state().pinned.entry(hash).or_default() += 1;
                    return Some(Pin { here: self.clone(), hash, dot: None });
                }
                Pinning::Leaving if waited < LEAVING_WAIT_MICROS => {
                    waited += LEAVING_LOOK_MICROS;
                    self.sleep(LEAVING_LOOK_MICROS).await;
                }
                Pinning::Leaving | Pinning::Full => return None,
            }
        }
    }
}

/// The first of some tickets that is resolved.
pub(super) struct First {
    here: Here,
    tickets: Vec<Ticket>,
}

impl Future for First {
    type Output = (Ticket, Answered);

    fn poll(self: Pinned<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.here.state();
        for ticket in &self.tickets {
            if let Some(answered) = state.answered.remove(ticket) {
                return Poll::Ready((*ticket, answered));
            }
        }
        Poll::Pending
    }
}

/// Keeps a blob.
pub(super) struct Pin {
    here: Here,
    hash: BlobHash,
    dot: Option<Dot>,
}

impl Pin {
    /// Goes only when a transaction of another region is applied here.
    pub(super) fn until(mut self, dot: Dot) {
        self.dot = Some(dot);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // A process that ends takes its pins with it, whoever looks at them at the moment.
        let Ok(mut state) = self.here.0.state.try_borrow_mut() else { return };
        let now = state.now.mono;
        if let Some(pins) = state.pinned.get_mut(&self.hash) {
            *pins -= 1;
        }
        match self.dot {
            None => state.holder.unpin(&self.hash),
            Some(dot) => {
                let event = HolderEvent::UnpinAfter(self.hash, dot);
                state.holder.on_event(now, event, &mut Vec::new());
            }
        }
    }
}

/// The newest rows of the index, but for what somebody has seen.
pub(crate) struct IndexRows<'s> {
    store: &'s MemoryStore,
    seen: Option<&'s VersionVector>,
}

impl IndexRows<'_> {
    fn whole(&self, cell: Cell) -> Option<Bytes> {
        let cell = match self.seen {
            Some(seen) => miss::unseen(cell, seen),
            None => cell,
        };
        visible::whole(&cell).cloned()
    }
}

impl Rows for IndexRows<'_> {
    type Error = StoreError;

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let head = self.store.head(Space::OBJECTS, key)?;
        Ok(head.and_then(|head| self.whole(head.cell)))
    }

    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let range = Range { after: after.map(Bytes::copy_from_slice), limit: usize::MAX };
        let page = self.store.keys(Space::OBJECTS, prefix, range)?;
        let held = |(key, head): (Bytes, Head)| Some((key, self.whole(head.cell)?));
        Ok(page.into_iter().filter_map(held).take(limit).collect())
    }
}
