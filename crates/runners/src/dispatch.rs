//! The dispatcher of a region: it drives the [`Capacity`] machine.
//!
//! It leases the jobs of its label sets' queues and keeps each lease until the job has ended, so that
//! what it holds is what its region has to see served. A region that dies loses its leases; its successor
//! gets the same jobs, reads in their records what was started, and goes on. What happens to a job comes
//! from its record, which every region has, whichever of them got the webhook.
//!
//! One task owns the machine. What takes time is done beside it and comes back as an event.

mod held;
mod notes;
mod receive;
mod work;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rhumb_engine::{Engine, Heartbeat, QueueClient};
use rhumb_queue::Leased;
use rhumb_types::{MonoTime, NodeId, RegionId, record::QueueName};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval},
};

use self::{held::Held, notes::Notes};
use crate::{
    capacity::{Capacity, Config, Effect, Effects, Event, PoolCounts, PoolId, Scope},
    executor::Executor,
    github::{GitHub, JobAnswer, Outside},
    job::{JobRef, RunnerName, WorkflowJob},
    labels::LabelSet,
    limits::{INPUTS_MAX, STATUS_INTERVAL, TICK, WORKS_MAX},
    record::Records,
    status::{Counts, PoolStatus, RegionStatus},
};

/// Where runners of a set are registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// At the organisation, where the repository has one.
    #[default]
    Organisation,
    /// At the repository.
    Repository,
}

/// How the runners of a label set are made.
#[derive(Clone, Debug)]
pub struct SetParts {
    /// Its labels.
    pub labels: LabelSet,
    /// Where they are registered.
    pub level: Level,
    /// In which runner group; 1 is the default one.
    pub group: u64,
    /// What makes them run.
    pub executor: Arc<dyn Executor>,
}

/// What a dispatcher works with.
#[derive(Debug)]
pub struct DispatchParts {
    /// The node.
    pub engine: Engine,
    /// Its queues.
    pub queues: QueueClient,
    /// Its name, for the audit chain.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// The label sets.
    pub sets: Vec<SetParts>,
    /// The queues that this region listens to, each with its set.
    pub listens: Vec<(QueueName, String)>,
    /// GitHub.
    pub github: GitHub,
    /// Clocks and randomness.
    pub outside: Outside,
    /// What is counted.
    pub counts: Arc<Counts>,
    /// The bounds and times of the machine.
    pub config: Config,
    /// Runners that executors say have ended.
    pub ended: mpsc::Receiver<RunnerName>,
    /// The other end of that, which is kept so that it stays open.
    pub keep_open: mpsc::Sender<RunnerName>,
}

/// What tasks beside the dispatcher use.
#[derive(Debug)]
struct Shared {
    engine: Engine,
    queues: QueueClient,
    records: Records,
    region: RegionId,
    sets: BTreeMap<String, SetParts>,
    github: GitHub,
    outside: Outside,
    counts: Arc<Counts>,
    works: Semaphore,
    notes: Notes,
}

/// What comes back to the dispatcher.
#[derive(Debug)]
enum Input {
    /// Jobs were leased.
    Leased { set: String, jobs: Vec<Leased>, taken: oneshot::Sender<()> },
    /// Something for the machine.
    Event(Event),
    /// GitHub answered about a job.
    Told { job: JobRef, answer: JobAnswer },
    /// A lease was renewed, or is lost.
    Renewed { job: JobRef, until: Option<MonoTime> },
}

/// The task.
#[derive(Debug)]
struct Dispatcher {
    shared: Arc<Shared>,
    machine: Capacity,
    held: BTreeMap<JobRef, Held>,
    /// Through which installation of an app an account is reached.
    installations: BTreeMap<Scope, Option<u64>>,
    inputs: mpsc::Receiver<Input>,
    sender: mpsc::Sender<Input>,
    ended: mpsc::Receiver<RunnerName>,
    _keep_open: mpsc::Sender<RunnerName>,
    rooms: watch::Sender<BTreeMap<String, usize>>,
    /// The queues that are listened to, each with its set.
    listens: Vec<(QueueName, String)>,
    /// The last job whose record was read.
    read: Option<JobRef>,
    said: Option<Instant>,
}

/// Starts the dispatcher of a region on the node's tasks.
pub fn start(parts: DispatchParts) {
    let DispatchParts { engine, queues, node, region, sets, listens, github, outside, .. } = parts;
    let DispatchParts { counts, config, ended, keep_open, .. } = parts;
    let records = Records::new(engine.clone());
    let sets = sets.into_iter().map(|set| (set.labels.name.clone(), set)).collect();
    let works = Semaphore::new(WORKS_MAX);
    let notes = Notes::start(&engine, node, region.clone(), counts.clone());
    let shared = Arc::new(Shared {
        engine: engine.clone(),
        queues,
        records,
        region,
        sets,
        github,
        outside,
        counts,
        works,
        notes,
    });
    let (sender, inputs) = mpsc::channel(INPUTS_MAX);
    let (rooms, room) = watch::channel(BTreeMap::new());
    for (queue, set) in listens.clone() {
        receive::listen(&shared, queue, set, room.clone(), sender.clone());
    }
    let dispatcher = Dispatcher {
        shared,
        machine: Capacity::new(config),
        held: BTreeMap::new(),
        installations: BTreeMap::new(),
        inputs,
        sender,
        ended,
        _keep_open: keep_open,
        rooms,
        listens,
        read: None,
        said: None,
    };
    engine.tasks().spawn_until_stopped(dispatcher.run());
}

impl Dispatcher {
    async fn run(mut self) {
        self.find_tasks();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => self.tick(),
                Some(name) = self.ended.recv() => self.tell(Event::Exited { name }),
                Some(input) = self.inputs.recv() => self.take(input),
            }
            self.offer_room();
        }
    }

    /// Runners that an earlier process started are looked for at GitHub too.
    fn find_tasks(&mut self) {
        let sets: Vec<SetParts> = self.shared.sets.values().cloned().collect();
        for task in sets.iter().filter_map(|set| set.executor.tasks()).flatten() {
            self.tell(Event::Known(task.pool.scope));
        }
    }

    fn now(&self) -> MonoTime {
        (self.shared.outside.now)().mono
    }

    fn tick(&mut self) {
        self.read_records();
        self.renew();
        self.tell(Event::Tick);
        if self.said.is_none_or(|said| said.elapsed() >= STATUS_INTERVAL) {
            self.said = Some(Instant::now());
            self.say();
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Leased { set, jobs, taken } => {
                for leased in jobs {
                    self.hold(&set, leased);
                }
                self.offer_room();
                // Who brought them may have stopped.
                let _gone = taken.send(());
            }
            Input::Event(event) => self.tell(event),
            Input::Told { job, answer } => self.told(job, answer),
            Input::Renewed { job, until } => self.renewed(job, until),
        }
    }

    /// Tells the machine, and has done what it wants done.
    fn tell(&mut self, event: Event) {
        let mut effects = Effects::new();
        self.machine.on_event(self.now(), event, &mut effects);
        while let Some(effect) = effects.pop() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Start { pool, job, ordinal, name } => {
                let installation = self.installation(&pool.scope);
                let start = work::Start { pool, job, ordinal, name, installation };
                self.beside(
                    |shared| async move { Input::Event(work::start(&shared, start).await) },
                );
            }
            Effect::Stop { name, pool } => {
                let installation = self.installation(&pool.scope);
                self.beside(move |shared| async move {
                    Input::Event(work::stop(&shared, &pool, installation, name).await)
                });
            }
            Effect::Survey { scope } => {
                let installation = self.installation(&scope);
                self.beside(move |shared| async move {
                    Input::Event(work::survey(&shared, scope, installation).await)
                });
            }
            Effect::Ended { name, pool, how } => {
                let region = pool.region.as_ref().unwrap_or(&self.shared.region);
                self.shared.counts.meters().ended(&pool.set, region, how.name());
                self.shared.notes.ended(&pool.set, &name);
            }
            Effect::Ask { job } => self.ask(job),
        }
    }

    fn ask(&self, job: JobRef) {
        let Some(workflow_job) = self.held.get(&job).map(|held| held.job.clone()) else { return };
        self.beside(move |shared| async move {
            let answer = work::ask(&shared, &workflow_job).await;
            Input::Told { job, answer }
        });
    }

    /// Does something beside the dispatcher, with a bound on how much at a time.
    fn beside<F>(&self, work: impl FnOnce(Arc<Shared>) -> F + Send + 'static)
    where
        F: Future<Output = Input> + Send,
    {
        let (shared, sender) = (self.shared.clone(), self.sender.clone());
        self.shared.engine.tasks().spawn_until_stopped(async move {
            let Ok(_turn) = shared.works.acquire().await else { return };
            let input = work(shared.clone()).await;
            // The dispatcher has stopped when nobody takes it.
            let _stopped = sender.send(input).await;
        });
    }

    fn installation(&self, scope: &Scope) -> Option<u64> {
        self.installations.get(scope).copied().flatten()
    }

    /// The scope of a job's runners.
    fn scope(level: Level, job: &WorkflowJob) -> Scope {
        match (&job.organisation, level) {
            (Some(organisation), Level::Organisation) => Scope::Organisation(organisation.clone()),
            _ => Scope::Repository(job.repository.clone()),
        }
    }

    fn offer_room(&self) {
        let sets = self.shared.sets.keys();
        let rooms: BTreeMap<String, usize> =
            sets.map(|set| (set.clone(), self.machine.room(set))).collect();
        self.rooms.send_if_modified(|present| {
            let changed = *present != rooms;
            *present = rooms;
            changed
        });
    }

    /// Signs of life for the queues: their spillover counts how many jobs a region can hold.
    fn beats(&self) -> Vec<Heartbeat> {
        let beat = |(queue, set): &(QueueName, String)| {
            let active = self.held.values().filter(|held| held.receipt.key.queue == *queue);
            let active: Vec<_> = active.map(|held| held.receipt.key.id).collect();
            let concurrency = self.machine.room(set).saturating_add(active.len());
            Heartbeat {
                // One per queue: a set's room is that of each of its queues.
                worker: format!("runners:{}:{queue}", self.shared.region).into(),
                queue: queue.clone(),
                concurrency: u32::try_from(concurrency).unwrap_or(u32::MAX),
                active,
                stopping: false,
            }
        };
        self.listens.iter().map(beat).collect()
    }

    /// Shows in the node's metrics what there is of each set; one that has nothing any more shows that.
    fn show(&self, pools: &BTreeMap<PoolId, PoolCounts>) {
        let shared = &self.shared;
        let nothing = shared.sets.keys().map(|set| ((set, &shared.region), PoolCounts::default()));
        let mut shown: BTreeMap<(&String, &RegionId), PoolCounts> = nothing.collect();
        for (pool, counts) in pools {
            let region = pool.region.as_ref().unwrap_or(&shared.region);
            shown.entry((&pool.set, region)).or_default().add(counts);
        }
        for ((set, region), it) in shown {
            let runners = [it.waiting + it.running, it.starting, it.idle, it.busy, it.stopping];
            shared.counts.meters().set(set, region, [it.waiting, it.running], runners);
        }
    }

    fn say(&self) {
        let counts = self.shared.counts.all();
        let pools = self.machine.counts();
        self.show(&pools);
        let status = RegionStatus {
            region: self.shared.region.clone(),
            at: (self.shared.outside.now)().wall,
            pools: pools.into_iter().map(|(pool, counts)| PoolStatus { pool, counts }).collect(),
            limited_seconds: self.shared.github.limited().map_or(0, |wait| wait.as_secs()),
            counts: counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        };
        let beats = self.beats();
        let shared = self.shared.clone();
        self.shared.engine.tasks().spawn_until_stopped(async move {
            for beat in beats {
                shared.queues.heartbeat(beat);
            }
            if let Err(error) = shared.records.say(&status).await {
                tracing::debug!(%error, "the status of runners was not written");
            }
        });
    }
}

/// How long after now a job's "not found" is believed.
fn is_lost(job: &WorkflowJob, now: rhumb_types::UnixMillis, after: Duration) -> bool {
    job.created_at.is_some_and(|at| now.saturating_since(at) > after)
}
