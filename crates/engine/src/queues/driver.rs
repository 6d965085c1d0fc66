//! The thread that owns the machine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use rhumb_node::{
    Alarm, Event as NodeEvent, RequestId as NodeRequest, SubmitOwned, oversee::Leases,
};
use rhumb_ports::{
    clock::Clock,
    store::{Range, ReadStore},
};
use rhumb_queue::{
    Advert, Answer, Ask, Definitions, Effect, Effects, Event, Finished, Leased, Queues, Receive,
    Refused, RequestId, Stats, Token, Whereabouts, WriteError,
};
use rhumb_state::{ReadSet, RowId, RowRef, owned::OwnedOp};
use rhumb_types::{
    AckLevel, ErrorCode, MonoTime, RegionId,
    record::{JobKey, OwnedId, OwnedRow, QueueName},
};
use tokio::{
    sync::{
        OwnedSemaphorePermit, broadcast,
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{MissedTickBehavior, interval},
};

use super::{
    fresh::Fresh,
    reads::{Work, stopped, wait},
    registry::{Heartbeat, Registry, WorkerInfo},
    shown::Shown,
};
use crate::{
    driver::{self, OwnedReply},
    held::Held,
    limits::{LOOK_INTERVAL, QUEUE_TICK, WORKERS_COUNTED_EVERY},
    meter::Meter,
    tasks::Tasks,
};

/// What the machine hears.
#[derive(Debug)]
pub(crate) enum Input {
    /// Time has passed.
    Tick,
    /// Rows were committed.
    Rows(Vec<OwnedRow>),
    /// A write was answered.
    Owned { token: Token, result: Result<Vec<OwnedRow>, WriteError> },
    /// Rows were read, or the store failed.
    Fetched { token: Token, rows: Result<Vec<Option<OwnedRow>>, String> },
    /// The queues that there are.
    Definitions(Arc<Definitions>),
    /// The leases of this node.
    Leases(Arc<Leases>),
    /// A caller asks.
    Ask {
        request: RequestId,
        ask: Ask,
        answer: oneshot::Sender<Result<Answer, Refused>>,
        permit: OwnedSemaphorePermit,
        /// Whether the worker that asks for jobs is one of this region.
        counts: bool,
    },
    /// A caller that waited is gone.
    Gone(RequestId),
    /// One went away without having read what it was given.
    Unread(Vec<Leased>),
    /// Another region says how many jobs more it can take.
    Advertised(Advert),
    /// A worker is there.
    Heartbeat(Heartbeat),
    /// A caller looks.
    Look(Look),
    /// End.
    Stop,
}

/// A question that changes nothing.
#[derive(Debug)]
pub(crate) enum Look {
    /// How full a queue is, by home.
    Stats(QueueName, oneshot::Sender<BTreeMap<RegionId, Stats>>),
    /// Where jobs are.
    Whereabouts(Vec<JobKey>, oneshot::Sender<Vec<Option<Whereabouts>>>),
    /// Homes of others that seem to have jobs of a queue; none when somebody has asked just before.
    Elsewhere(QueueName, oneshot::Sender<Vec<RegionId>>),
    /// There were some: the next may ask at once.
    Found(QueueName),
    /// The workers of this region.
    Workers(oneshot::Sender<Vec<WorkerInfo>>),
}

/// What the machine's owner works with.
pub(super) struct Around {
    pub(super) store: Arc<dyn ReadStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) inputs: mpsc::Sender<driver::Input>,
    pub(super) work: std_mpsc::SyncSender<Work>,
    pub(super) alarms: mpsc::Sender<Alarm>,
    pub(super) finished: broadcast::Sender<Finished>,
    pub(super) adverts: mpsc::Sender<Advert>,
    pub(super) inbox: mpsc::Sender<Input>,
    pub(super) held: Arc<Held>,
    /// Writes that wait for the thread that reads.
    pub(super) writes: Arc<AtomicUsize>,
    pub(super) meter: Meter,
    pub(super) requests: Arc<AtomicU64>,
}

/// Who waits for an answer.
struct Waiting {
    answer: oneshot::Sender<Result<Answer, Refused>>,
    /// The queue of what is taken in.
    enqueues: Option<QueueName>,
}

/// The machine, and who waits for it.
pub(super) struct Driver {
    machine: Queues,
    around: Around,
    waiting: HashMap<RequestId, Waiting>,
    /// What follows at once from an effect that was carried out at once.
    next: VecDeque<Event>,
    fresh: Fresh,
    /// Homes of which rows were seen.
    homes: BTreeSet<RegionId>,
    region: RegionId,
    registry: Registry,
    leases: Arc<Leases>,
    /// When somebody last asked other regions for jobs of a queue.
    looked: BTreeMap<QueueName, MonoTime>,
    /// When the workers were last counted.
    counted: MonoTime,
    shown: Shown,
    definitions: Arc<Definitions>,
}

impl Driver {
    pub(super) fn new(region: RegionId, machine: Queues, around: Around) -> Self {
        let shown = Shown::new(around.meter.clone());
        Self {
            machine,
            around,
            waiting: HashMap::new(),
            next: VecDeque::new(),
            fresh: Fresh::default(),
            homes: BTreeSet::new(),
            registry: Registry::new(region.clone()),
            region,
            leases: Arc::default(),
            looked: BTreeMap::new(),
            counted: MonoTime(0),
            shown,
            definitions: Arc::default(),
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self, mut effects: Effects, mut inbox: mpsc::Receiver<Input>) {
        self.carry_out(&mut effects);
        while let Some(input) = inbox.blocking_recv() {
            let Some(event) = self.event(input) else { return };
            self.next.extend(event);
            while let Some(event) = self.next.pop_front() {
                self.machine.on_event(self.around.clock.now(), event, &mut effects);
                self.carry_out(&mut effects);
            }
        }
    }

    /// What the machine is told of an input; nothing at all once it is to stop.
    #[expect(clippy::option_option, reason = "the outer one ends the thread")]
    fn event(&mut self, input: Input) -> Option<Option<Event>> {
        Some(Some(match input {
            Input::Tick => {
                self.count();
                Event::Tick
            }
            Input::Rows(rows) => {
                self.note_homes(&rows);
                rows.iter().for_each(|row| self.fresh.note(row));
                Event::Rows(rows)
            }
            Input::Owned { token, result } => Event::Owned { token, result },
            Input::Fetched { token, rows: Ok(rows) } => Event::Fetched { token, rows },
            Input::Fetched { token, rows: Err(error) } => {
                self.alarm(format!("rows of the queues cannot be read: {error}"));
                Event::Fetched { token, rows: Vec::new() }
            }
            Input::Definitions(definitions) => {
                self.shown.define(&definitions);
                self.definitions = definitions.clone();
                Event::Definitions(definitions)
            }
            Input::Leases(leases) => {
                self.leases = leases.clone();
                Event::Leases(leases)
            }
            Input::Advertised(advert) => Event::Advertised(advert),
            Input::Heartbeat(beat) => {
                self.registry.heartbeat(self.around.clock.now(), beat);
                return Some(None);
            }
            Input::Ask { request, ask, answer, permit, counts } => {
                drop(permit);
                if let Ask::Receive(receive) = &ask
                    && counts
                {
                    let Receive { queue, worker, jobs_max, .. } = receive;
                    self.registry.asked(self.around.clock.now(), worker, queue, *jobs_max);
                }
                let enqueues = match &ask {
                    Ask::Enqueue(enqueue) => Some(enqueue.queue.clone()),
                    Ask::Fail { receipt, .. } => {
                        if let Some(work) = self.shown.work(&receipt.key.queue) {
                            work.failed.inc();
                        }
                        None
                    }
                    _ => None,
                };
                self.waiting.insert(request, Waiting { answer, enqueues });
                Event::Request { request, ask }
            }
            Input::Gone(request) => {
                self.waiting.remove(&request);
                Event::Gone(request)
            }
            Input::Unread(jobs) => {
                self.give_back(jobs);
                return Some(None);
            }
            Input::Look(look) => {
                self.look(look);
                return Some(None);
            }
            Input::Stop => return None,
        }))
    }

    fn note_homes(&mut self, rows: &[OwnedRow]) {
        for row in rows {
            if !self.homes.contains(&row.home) {
                self.homes.insert(row.home.clone());
            }
        }
    }

    /// Shows how full the queues are, and tells the machine how many workers there are, for every home
    /// that it acts for.
    fn count(&mut self) {
        let now = self.around.clock.now().mono;
        if now.saturating_since(self.counted) < WORKERS_COUNTED_EVERY {
            return;
        }
        self.counted = now;
        self.registry.expire(now);
        // The metrics may have come after the queues.
        self.shown.define(&self.definitions);
        let (machine, wall) = (&self.machine, self.around.clock.now().wall);
        self.shown.depths(&self.homes, |queue, home| machine.stats(queue, Some(home), wall));
        let executors = self.registry.executors();
        let homes: BTreeSet<&RegionId> =
            self.leases.keys().chain(std::iter::once(&self.region)).collect();
        let tell = |home: &RegionId| Event::Executors { home: home.clone(), executors };
        self.next.extend(homes.into_iter().map(tell));
    }

    /// Homes that others act for, and that seem to have jobs of a queue.
    fn elsewhere(&mut self, queue: &QueueName) -> Vec<RegionId> {
        let now = self.around.clock.now();
        let last = self.looked.get(queue);
        if last.is_some_and(|at| now.mono.saturating_since(*at) < LOOK_INTERVAL) {
            return Vec::new();
        }
        let acts =
            |home: &RegionId| self.leases.get(home).is_some_and(|it| it.at(now.mono).is_some());
        let has = |home: &RegionId| self.machine.stats(queue, Some(home), now.wall).ready > 0;
        let homes: Vec<RegionId> =
            self.homes.iter().filter(|home| !acts(home) && has(home)).cloned().collect();
        if !homes.is_empty() {
            self.looked.insert(queue.clone(), now.mono);
        }
        homes
    }

    fn look(&mut self, look: Look) {
        let now = self.around.clock.now().wall;
        match look {
            Look::Elsewhere(queue, answer) => {
                let _gone = answer.send(self.elsewhere(&queue));
            }
            Look::Found(queue) => {
                self.looked.remove(&queue);
            }
            Look::Workers(answer) => {
                let _gone = answer.send(self.registry.workers());
            }
            Look::Stats(queue, answer) => {
                let of =
                    |home: &RegionId| (home.clone(), self.machine.stats(&queue, Some(home), now));
                // Who asked may be gone.
                let _gone = answer.send(self.homes.iter().map(of).collect());
            }
            Look::Whereabouts(keys, answer) => {
                let all = keys.iter().map(|key| self.machine.whereabouts(key)).collect();
                let _gone = answer.send(all);
            }
        }
    }

    fn carry_out(&mut self, effects: &mut Effects) {
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Own { token, home, ops, ack, drawn } => {
                    self.own(token, (home, ops, ack), drawn);
                }
                Effect::Fetch { token, rows } => self.fetch(token, rows),
                Effect::Scan { table, after, rows_max } => self.scan(table, after, rows_max),
                Effect::Drop(rows) => self.forget(rows),
                Effect::Answer { request, result } => self.answer(request, result),
                Effect::Publish(finished) => {
                    let work = self.shown.work(&finished.key.queue);
                    if let Some(work) = work.filter(|_| finished.completed) {
                        work.completed.inc();
                    }
                    // Nobody may follow.
                    let _unheard = self.around.finished.send(finished);
                }
                Effect::Advertise(advert) => {
                    // One that finds no room is old by the time there is some.
                    let _full = self.around.adverts.try_send(advert);
                }
                Effect::Alarm(text) => self.alarm(text),
            }
        }
    }

    /// A write goes to the loop at once when that has its rows at hand, as it has those of jobs that were
    /// taken in or leased a moment ago, and when none waits that was asked for before. New rows of drawn
    /// ids are nowhere, and come after nothing.
    fn own(
        &mut self,
        token: Token,
        (home, ops, ack): (RegionId, Vec<OwnedOp>, AckLevel),
        drawn: bool,
    ) {
        let request = NodeRequest(self.request());
        let deadline = self.around.clock.now().mono + wait(ack);
        let ids = ops.iter().map(OwnedOp::id);
        let unknown = ids.filter(|id| !self.around.held.passes(RowRef::Owned(id)));
        let unknown: Vec<OwnedId> = unknown.cloned().collect();
        let mut submit =
            SubmitOwned { request, home, ops, ack, deadline, reads: ReadSet::default() };
        if drawn {
            submit.reads = ReadSet::absent(unknown);
        } else if !unknown.is_empty() || self.around.writes.load(Ordering::Acquire) > 0 {
            let unknown = unknown.into_iter().map(RowId::Owned).collect();
            return self.own_later(token, submit, unknown);
        }
        let reply = OwnedReply::Queues(token, self.around.inbox.clone());
        let input = driver::Input::Own(NodeEvent::Own(submit), request, reply);
        match self.around.inputs.try_send(input) {
            Ok(()) => {}
            Err(TrySendError::Full(driver::Input::Own(NodeEvent::Own(submit), ..))) => {
                self.own_later(token, submit, Vec::new());
            }
            Err(_) => self.next.push_back(Event::Owned { token, result: Err(stopped()) }),
        }
    }

    /// Bodies of what was just taken in are at hand.
    fn fetch(&mut self, token: Token, rows: Vec<OwnedId>) {
        match self.fresh.all(&rows) {
            Some(rows) => self.next.push_back(Event::Fetched { token, rows }),
            None => self.ask_for(token, Work::Fetch { token, rows }),
        }
    }

    fn own_later(&mut self, token: Token, submit: SubmitOwned, unknown: Vec<RowId>) {
        self.around.writes.fetch_add(1, Ordering::AcqRel);
        self.ask_for(token, Work::Own { token, submit, unknown });
    }

    /// Writes and reads go to the thread that waits for the disk. The machine bounds how many there are,
    /// so that thread's queue has room; were it full or gone, the answer is given here.
    fn ask_for(&mut self, token: Token, work: Work) {
        let Err(refused) = self.around.work.try_send(work) else { return };
        let (std_mpsc::TrySendError::Full(work) | std_mpsc::TrySendError::Disconnected(work)) =
            refused;
        self.next.push_back(match work {
            Work::Own { .. } => {
                self.around.writes.fetch_sub(1, Ordering::Release);
                let why = "too many writes of the queues wait".into();
                let error = WriteError::Refused { code: ErrorCode::Overloaded, why };
                Event::Owned { token, result: Err(error) }
            }
            Work::Fetch { .. } => Event::Fetched { token, rows: Vec::new() },
        });
    }

    /// Reads a part of a table. Here, and not beside: what is read is then at least as new as all rows
    /// that the machine was told of, so that no row comes back that it was told the end of.
    fn scan(&mut self, table: u8, after: Option<Bytes>, rows_max: usize) {
        match self.around.store.owned_rows(table, Range { after, limit: rows_max }) {
            Ok(rows) => {
                self.note_homes(&rows);
                let end = rows.len() < rows_max;
                self.next.push_back(Event::Scanned { rows, end });
            }
            Err(error) => {
                // The walk stands still, and nothing is leased if it was the first. The store fails
                // every commit from here on anyway.
                self.alarm(format!("the queues' table cannot be read: {error}"));
            }
        }
    }

    /// Rows that are over. What the loop has no room for is found again by the next walk.
    fn forget(&self, rows: Vec<OwnedId>) {
        let input = driver::Input::Event(NodeEvent::DropOwned(rows));
        let _later = self.around.inputs.try_send(input);
    }

    fn answer(&mut self, request: RequestId, result: Result<Answer, Refused>) {
        let Some(answer) = self.waiting.remove(&request) else {
            return self.unheard(result);
        };
        let Waiting { answer, enqueues } = answer;
        if let (Some(queue), Ok(Answer::Enqueued(results))) = (enqueues, &result) {
            self.shown.taken_in(&queue, results);
        }
        if let Err(result) = answer.send(result) {
            self.unheard(result);
        }
    }

    fn unheard(&mut self, result: Result<Answer, Refused>) {
        if let Ok(Answer::Received(jobs)) = result {
            self.give_back(jobs);
        }
    }

    /// Who asked is gone: the jobs are the next one's.
    fn give_back(&mut self, jobs: Vec<Leased>) {
        for job in jobs {
            let request = RequestId(self.request());
            self.next
                .push_back(Event::Request { request, ask: Ask::Release { receipt: job.receipt } });
        }
    }

    fn request(&self) -> u64 {
        self.around.requests.fetch_add(1, Ordering::Relaxed)
    }

    fn alarm(&self, text: String) {
        tracing::warn!(alarm = %text, "the queues raised an alarm");
        // The log has it; the list that operators see is bounded.
        let _full = self.around.alarms.try_send(Alarm::Queues(text));
    }
}

/// Tells the machine that time passes. Who waits for it is answered by that, so it goes on until they are.
pub(super) fn tick(tasks: &Tasks, inbox: mpsc::Sender<Input>) {
    tasks.spawn_until_drained(async move {
        let mut ticks = interval(QUEUE_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while inbox.send(Input::Tick).await.is_ok() {
            ticks.tick().await;
        }
    });
}

/// The longest time between two ticks that the machine allows.
const TICK_MAX: Duration = Duration::from_millis(100);
const _: () = assert!(QUEUE_TICK.as_millis() <= TICK_MAX.as_millis());
