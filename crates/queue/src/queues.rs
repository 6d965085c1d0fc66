//! The machine: its state, and what happens to it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use rhumb_regions::{
    DriftBound,
    lease::Leases,
    spillover::{Limits, LimitsError},
};
use rhumb_types::{
    AckLevel, Epoch, MonoTime, RegionId, Timestamp,
    record::{Job, JobId, JobKey, OwnedId, OwnedOp, QueueDefinition, QueueName},
};

use crate::{
    change::Change,
    enqueue::Lookup,
    index::{Index, ShardId, Slot},
    limits::UNDER_WAY_MAX,
    receive::{Live, Picks, Waiter},
    shard::{Grant, QueueId},
    spill::Regions,
    walk::Walk,
    words::{
        Answer, Ask, Definitions, Effect, Effects, Enqueued, Event, Refused, RequestId, Token,
        WriteError,
    },
};

/// What the queues are told at their start.
#[derive(Clone, Debug)]
pub struct Config {
    /// This region.
    pub region: RegionId,
    /// How many regions hold data, this one included. With two, a lease frontier counts although the
    /// other did not acknowledge it, because no successor opens with a majority without this one.
    pub regions: usize,
    /// How far clocks' rates may be off.
    pub drift: DriftBound,
    /// When new work is sent elsewhere; never without.
    pub spillover: Option<Limits>,
}

/// A home's lease, from when this process began to act under it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Duty {
    pub(crate) epoch: Epoch,
    pub(crate) began: MonoTime,
    pub(crate) majority: bool,
}

/// A queue by its number.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) name: QueueName,
    pub(crate) definition: Option<Arc<QueueDefinition>>,
    pub(crate) shards: Vec<ShardId>,
    pub(crate) waiters: VecDeque<Waiter>,
}

/// Results of a request about several jobs, as they come.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) request: RequestId,
    pub(crate) missing: usize,
    pub(crate) results: Results,
}

/// What a batch is answered with.
#[derive(Debug)]
pub(crate) enum Results {
    Enqueued(Vec<Option<Result<Enqueued, Refused>>>),
    Completed(Vec<Option<Result<(), Refused>>>),
    Settled(Option<Result<(), Refused>>),
}

/// Names a batch, and one of its jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) batch: u64,
    pub(crate) nth: usize,
}

/// A job that is being taken in.
#[derive(Clone, Debug)]
pub(crate) struct Entering {
    pub(crate) member: Member,
    pub(crate) queue: QueueName,
    pub(crate) id: JobId,
    /// The job, without what only a worker needs once its row is asked for,
    pub(crate) job: Job,
    /// and all of it, as it is written.
    pub(crate) payload: Bytes,
    /// Whether the id is of a key, and marked as under way.
    pub(crate) keyed: bool,
    /// Whether no row can have its id.
    pub(crate) unseen: bool,
}

/// A write or a read without an answer.
#[derive(Debug)]
pub(crate) enum UnderWay {
    /// The job of the window before is looked up.
    Lookup(Box<Lookup>),
    /// Jobs are taken in.
    Enter(Vec<Entering>),
    /// Bodies of what was leased.
    Bodies(Picks),
    /// Rows that are to be changed.
    Rows(Vec<Change>),
    /// Rows are changed; with each change the ops that it took.
    Write { home: RegionId, ack: AckLevel, changes: Vec<(Change, Vec<OwnedOp>)> },
    /// A frontier is written.
    Frontier { shard: ShardId, grant: Grant },
    /// Pinned rows are written again.
    Unpin,
}

/// The queues of one node. See the crate's documentation.
#[derive(Debug)]
pub struct Queues {
    pub(crate) config: Config,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) index: Index,
    pub(crate) names: BTreeMap<QueueName, QueueId>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) duties: BTreeMap<RegionId, Duty>,
    /// The highest order seen, by home.
    pub(crate) orders: BTreeMap<RegionId, u64>,
    pub(crate) live: BTreeMap<Slot, Live>,
    pub(crate) expiries: BTreeSet<(MonoTime, Slot)>,
    pub(crate) waiting: usize,
    under_way: BTreeMap<Token, UnderWay>,
    next_token: u64,
    batches: BTreeMap<u64, Batch>,
    next_batch: u64,
    /// Ids of keys that are being taken in.
    pub(crate) keys: BTreeMap<JobId, usize>,
    pub(crate) walk: Walk,
    /// Queues in which a job may have become ready.
    pub(crate) dirty: BTreeSet<QueueId>,
    pub(crate) chores: crate::chores::Chores,
    pub(crate) regions: Regions,
    /// Homes whose jobs are not leased until then, because their duties are to move.
    pub(crate) quiet: BTreeMap<RegionId, MonoTime>,
    /// When the rows at the start were all read; nothing is leased before.
    pub(crate) began: Option<MonoTime>,
}

impl Queues {
    /// The queues of a node that has read no row yet.
    ///
    /// # Errors
    /// When the limits of spillover contradict each other.
    pub fn new(config: Config, out: &mut Effects) -> Result<Self, LimitsError> {
        if let Some(limits) = &config.spillover {
            limits.check()?;
        }
        let mut queues = Self {
            config,
            definitions: Arc::default(),
            index: Index::default(),
            names: BTreeMap::new(),
            queues: Vec::new(),
            leases: Arc::default(),
            duties: BTreeMap::new(),
            orders: BTreeMap::new(),
            live: BTreeMap::new(),
            expiries: BTreeSet::new(),
            waiting: 0,
            under_way: BTreeMap::new(),
            next_token: 0,
            batches: BTreeMap::new(),
            next_batch: 0,
            keys: BTreeMap::new(),
            walk: Walk::default(),
            dirty: BTreeSet::new(),
            chores: crate::chores::Chores::default(),
            regions: Regions::default(),
            quiet: BTreeMap::new(),
            began: None,
        };
        queues.step(out);
        Ok(queues)
    }

    /// Handles one event.
    pub fn on_event(&mut self, now: Timestamp, event: Event, out: &mut Effects) {
        match event {
            Event::Tick => self.tick(now, out),
            Event::Definitions(definitions) => self.define(definitions),
            Event::Leases(leases) => self.lease(now, leases),
            Event::Rows(rows) => rows.iter().for_each(|row| self.apply(now, row, out)),
            Event::Scanned { rows, end } => self.scanned(now, &rows, end, out),
            Event::Fetched { token, rows } => self.fetched(now, token, rows, out),
            Event::Owned { token, result } => self.owned(now, token, result, out),
            Event::Request { request, ask } => self.ask(now, request, ask, out),
            Event::Gone(request) => self.gone(request),
            Event::Advertised(advert) => self.advertised(now, advert),
            Event::Executors { home, executors } => self.regions.executors(home, executors),
        }
        self.serve(now, out);
    }

    fn ask(&mut self, now: Timestamp, request: RequestId, ask: Ask, out: &mut Effects) {
        if self.is_full() {
            return out.answer(request, Err(Refused::Overloaded));
        }
        match ask {
            Ask::Enqueue(enqueue) => self.enqueue(now, request, enqueue, out),
            Ask::Receive(receive) => self.receive(now, request, receive, out),
            Ask::Complete { receipts } => self.complete(now, request, receipts, out),
            Ask::Fail { receipt, why, retry } => {
                self.fail(now, request, &receipt, why, retry, out);
            }
            Ask::Extend { receipt, visibility } => {
                self.extend(now, request, &receipt, visibility, out);
            }
            Ask::Release { receipt } => self.release(now, request, &receipt, out),
            Ask::Purge { queue } => self.purge(now, request, &queue, out),
            Ask::Redrive { queue, to, jobs_max } => {
                self.redrive(now, request, (&queue, to), jobs_max, out);
            }
            Ask::Hush { home } => self.hush(now, request, home, out),
        }
    }

    fn fetched(
        &mut self,
        now: Timestamp,
        token: Token,
        rows: Vec<Option<rhumb_types::record::OwnedRow>>,
        out: &mut Effects,
    ) {
        match self.under_way.remove(&token) {
            Some(UnderWay::Lookup(lookup)) => self.looked_up(now, *lookup, &rows, out),
            Some(UnderWay::Bodies(picks)) => self.hand_out(now, picks, &rows, out),
            Some(UnderWay::Rows(changes)) => self.change_rows(now, changes, rows, out),
            Some(other) => {
                self.under_way.insert(token, other);
            }
            None => {}
        }
    }

    fn owned(
        &mut self,
        now: Timestamp,
        token: Token,
        result: Result<Vec<rhumb_types::record::OwnedRow>, WriteError>,
        out: &mut Effects,
    ) {
        match self.under_way.remove(&token) {
            Some(UnderWay::Enter(entering)) => self.entered(entering, result, out),
            Some(UnderWay::Write { home, ack, changes }) => {
                self.written(now, (home, ack), changes, result, out);
            }
            Some(UnderWay::Frontier { shard, grant }) => {
                self.advanced(now, shard, grant, result.map(|_| ()));
            }
            Some(UnderWay::Unpin) => self.chores.unpin(true),
            None => {}
            Some(other) => {
                self.under_way.insert(token, other);
            }
        }
    }

    /// Asks for a write.
    pub(crate) fn own(
        &mut self,
        home: RegionId,
        ack: AckLevel,
        ops: Vec<OwnedOp>,
        then: UnderWay,
        out: &mut Effects,
    ) -> Token {
        let token = self.token(then);
        out.push(Effect::Own { token, home, ops, ack, drawn: false });
        token
    }

    /// Asks for rows.
    pub(crate) fn fetch(&mut self, rows: Vec<OwnedId>, then: UnderWay, out: &mut Effects) {
        let token = self.token(then);
        out.push(Effect::Fetch { token, rows });
    }

    pub(crate) fn token(&mut self, then: UnderWay) -> Token {
        self.next_token += 1;
        self.under_way.insert(Token(self.next_token), then);
        Token(self.next_token)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.under_way.len() >= UNDER_WAY_MAX
    }

    /// Begins to collect results.
    pub(crate) fn batch(&mut self, request: RequestId, missing: usize, results: Results) -> u64 {
        self.next_batch += 1;
        self.batches.insert(self.next_batch, Batch { request, missing, results });
        self.next_batch
    }

    /// One result; the last one answers the request.
    pub(crate) fn result(
        &mut self,
        member: Member,
        put: impl FnOnce(&mut Results, usize),
        out: &mut Effects,
    ) {
        let Some(batch) = self.batches.get_mut(&member.batch) else { return };
        put(&mut batch.results, member.nth);
        batch.missing = batch.missing.saturating_sub(1);
        if batch.missing > 0 {
            return;
        }
        let Some(Batch { request, results, .. }) = self.batches.remove(&member.batch) else {
            return;
        };
        let answer = match results {
            Results::Enqueued(all) => Ok(Answer::Enqueued(all.into_iter().flatten().collect())),
            Results::Completed(all) => Ok(Answer::Completed(all.into_iter().flatten().collect())),
            Results::Settled(one) => one.unwrap_or(Ok(())).map(|()| Answer::Settled),
        };
        out.answer(request, answer);
    }

    /// The result of a settlement.
    pub(crate) fn settled(
        &mut self,
        member: Member,
        result: Result<(), Refused>,
        out: &mut Effects,
    ) {
        let put = |results: &mut Results, nth: usize| match results {
            Results::Completed(all) => {
                if let Some(place) = all.get_mut(nth) {
                    *place = Some(result);
                }
            }
            Results::Settled(one) => *one = Some(result),
            Results::Enqueued(_) => {}
        };
        self.result(member, put, out);
    }

    fn define(&mut self, definitions: Arc<Definitions>) {
        for queue in &mut self.queues {
            queue.definition = definitions.get(&queue.name).cloned().map(Arc::new);
        }
        self.definitions = definitions;
        let names: Vec<QueueName> = self.definitions.keys().cloned().collect();
        for name in names {
            let id = self.queue_id(&name);
            self.dirty.insert(id);
        }
    }

    /// The queue of a name, defined or not.
    pub(crate) fn queue_id(&mut self, name: &QueueName) -> QueueId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = QueueId(u32::try_from(self.queues.len()).unwrap_or(u32::MAX));
        self.names.insert(name.clone(), id);
        self.queues.push(Queue {
            name: name.clone(),
            definition: self.definitions.get(name).cloned().map(Arc::new),
            shards: Vec::new(),
            waiters: VecDeque::new(),
        });
        id
    }

    pub(crate) fn queue(&self, id: QueueId) -> &Queue {
        match self.queues.get(id.0 as usize) {
            Some(queue) => queue,
            None => unreachable!("queues are never removed"),
        }
    }

    pub(crate) fn queue_mut(&mut self, id: QueueId) -> &mut Queue {
        match self.queues.get_mut(id.0 as usize) {
            Some(queue) => queue,
            None => unreachable!("queues are never removed"),
        }
    }

    /// A queue that a caller may use.
    pub(crate) fn known(
        &self,
        name: &QueueName,
    ) -> Result<(QueueId, Arc<QueueDefinition>), Refused> {
        let id = self.names.get(name).copied();
        let found = id.and_then(|id| Some((id, self.queue(id).definition.clone()?)));
        found.ok_or_else(|| Refused::NoQueue(name.clone()))
    }

    /// The settings of the queue in which a job is; the usual ones if nobody defined it.
    pub(crate) fn settings(&self, slot: Slot) -> Arc<QueueDefinition> {
        self.queue(self.index.shard_of(slot).queue).definition.clone().unwrap_or_default()
    }

    pub(crate) fn key(&self, slot: Slot) -> JobKey {
        let queue = self.queue(self.index.shard_of(slot).queue).name.clone();
        JobKey { queue, id: self.index.entry(slot).id }
    }

    /// The epoch under which a job's receipts are given and its changes asked for now; `None` when
    /// this node may not act on it.
    pub(crate) fn epoch(&self, slot: Slot, now: MonoTime) -> Option<Epoch> {
        let shard = self.index.shard_of(slot);
        if shard.whose.pinned {
            let here = self.began.is_some() && shard.whose.home == self.config.region;
            return here.then(|| Epoch(u64::from(self.index.entry(slot).version.0)));
        }
        self.acts_for(&shard.whose.home, now)
    }

    /// The epoch under which this node acts for a home now, if it does.
    pub(crate) fn acts_for(&self, home: &RegionId, now: MonoTime) -> Option<Epoch> {
        let duty = self.duties.get(home)?;
        let epoch = self.leases.get(home)?.at(now)?;
        (epoch == duty.epoch).then_some(epoch)
    }

    /// Whether this node leases the jobs of a shard now.
    pub(crate) fn runs(&self, shard: ShardId, now: MonoTime) -> bool {
        let whose = &self.index.shard(shard).whose;
        if whose.pinned {
            return self.began.is_some() && whose.home == self.config.region;
        }
        self.acts_for(&whose.home, now).is_some()
    }

    /// The next place in the order of a home.
    pub(crate) fn next_order(&mut self, home: &RegionId) -> u64 {
        let order = self.orders.entry(home.clone()).or_default();
        *order += 1;
        *order
    }

    pub(crate) fn saw_order(&mut self, home: &RegionId, order: u64) {
        match self.orders.get_mut(home) {
            Some(seen) => *seen = order.max(*seen),
            None => {
                self.orders.insert(home.clone(), order);
            }
        }
    }

    /// Whether all rows at the start were read, so that this node may act.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.began.is_some()
    }
}
