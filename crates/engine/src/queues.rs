//! The queues of a node: what drives the machine `rhumb_queue::Queues`, and what servers ask.
//!
//! One thread owns the machine; all that it hears comes through one inbox, in order. The committing
//! thread puts the rows of each commit there before the loop hears of that commit, so that rows come in
//! the order of commits, and before the answers of their own writes. A second thread reads rows and hands
//! writes to the loop, in the order in which the machine asked. The owner of the machine never waits for
//! either, so that nobody waits in a circle; how much may be under way is bounded by the machine.
//!
//! Which queues there are is agreed in the strong group, and kept on every node's disk (see `definitions`).
//!
//! Deliberately absent: what a job may do and when, which is the machine's business; protocols.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize},
        mpsc as std_mpsc,
    },
};

use rhumb_queue::{Advert, Effects, Finished, Leased, Queues};
use rhumb_regions::spillover::LimitsError;
use rhumb_types::{
    MonoTime, RegionId,
    record::{JobKey, QueueDefinition, QueueName},
};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use crate::{Engine, agreed::AgreedQueues, api::spawn_thread, limits, start::StartError};

mod bounds;
mod client;
mod definitions;
mod drain;
mod driver;
mod feed;
mod fresh;
mod list;
mod owners;
mod peers;
mod reads;
mod registry;
mod route;
mod shown;
mod wire;

pub use client::{
    EnqueueRequest, HomeChoice, JobSummary, JobView, QueueClient, ReceiveRequest, Taken, random_id,
    random_ids,
};
pub use definitions::DefineError;
pub use peers::QueueService;
pub use registry::{Heartbeat, WorkerInfo};

pub(crate) use driver::Input;
pub(crate) use feed::Feed;
pub(crate) use reads::answered;

/// What the queues of a node are started with.
#[derive(Clone, Debug)]
pub struct QueuesConfig {
    /// The machine's own configuration.
    pub machine: rhumb_queue::Config,
    /// Queues that are made when nobody has made any yet (rule 15).
    pub seed: BTreeMap<QueueName, QueueDefinition>,
}

/// Why the queues did not start.
#[derive(Debug, thiserror::Error)]
pub enum QueuesError {
    /// The limits of spillover contradict each other.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// A thread could not be started.
    #[error("the queues' thread cannot be started")]
    Start(#[from] StartError),
}

/// What an engine keeps of its queues.
pub(crate) struct Running {
    pub(crate) region: RegionId,
    pub(crate) inbox: mpsc::Sender<Input>,
    /// Bounds what callers put into the inbox, so that there is room for what the loop says.
    pub(crate) asks: Arc<Semaphore>,
    pub(crate) requests: Arc<AtomicU64>,
    pub(crate) queues: watch::Receiver<Arc<AgreedQueues>>,
    pub(crate) definitions: watch::Receiver<Arc<rhumb_queue::Definitions>>,
    pub(crate) finished: broadcast::Sender<Finished>,
    /// Jobs of other regions in the hands of workers that speak to this node. A lock and not a task,
    /// because it is held for a look-up only.
    pub(crate) borrowed: Mutex<Borrowed>,
}

/// Which region handed a job out, until its lease is over.
#[derive(Debug, Default)]
pub(crate) struct Borrowed(BTreeMap<JobKey, (RegionId, MonoTime)>);

impl Borrowed {
    fn add(&mut self, now: MonoTime, region: &RegionId, job: &Leased) {
        if self.0.len() >= limits::BORROWED_MAX {
            self.0.retain(|_, (_, ends)| *ends > now);
        }
        // Past the bound its settlement waits for its row to arrive here.
        if self.0.len() < limits::BORROWED_MAX {
            self.0.insert(job.receipt.key.clone(), (region.clone(), job.ends));
        }
    }

    fn region(&self, key: &JobKey) -> Option<RegionId> {
        self.0.get(key).map(|(region, _)| region.clone())
    }
}

impl Running {
    /// Ends the machine's thread. Who still waits is told that the outcome is unknown.
    pub(crate) async fn stop(&self) {
        let _stopped = self.inbox.send(Input::Stop).await;
    }
}

impl Engine {
    /// Starts the queues of this node, once the groups are attached and the overseer runs.
    ///
    /// # Errors
    /// [`QueuesError`].
    ///
    /// # Panics
    /// Without the groups or the overseer, or a second time.
    pub fn start_queues(&self, config: QueuesConfig) -> Result<(), QueuesError> {
        let shared = self.shared();
        let QueuesConfig { machine: config, seed } = config;
        let region = config.region.clone();
        let mut effects = Effects::new();
        let machine = Queues::new(config, &mut effects)?;
        let (inbox, events) = mpsc::channel(limits::QUEUE_INPUTS_MAX);
        let (work, works) = std_mpsc::sync_channel(limits::QUEUE_WORK_MAX);
        let (finished, _) = broadcast::channel(limits::FINISHED_UNREAD_MAX);
        let requests = shared.requests.clone();
        // From here on every commit tells its rows; what was committed before is found by the scan.
        shared.feed.attach(inbox.clone());
        let writes = Arc::new(AtomicUsize::new(0));
        let reader = reads::Reader {
            store: shared.store.clone(),
            inputs: shared.inputs.clone(),
            inbox: inbox.clone(),
            writes: writes.clone(),
        };
        let (adverts, advertised) = mpsc::channel(limits::ADVERTS_MAX);
        let driver = driver::Driver::new(
            region.clone(),
            machine,
            driver::Around {
                store: shared.store.clone(),
                clock: shared.clock.clone(),
                inputs: shared.inputs.clone(),
                work,
                alarms: shared.alarms.clone(),
                finished: finished.clone(),
                requests: requests.clone(),
                adverts,
                meter: shared.meter.clone(),
                inbox: inbox.clone(),
                held: shared.held.clone(),
                writes,
            },
        );
        spawn_thread("rhumb-queue-io", move || reader.run(&works))?;
        spawn_thread("rhumb-queues", move || driver.run(effects, events))?;
        // The machine knows the queues before it may act for anybody.
        let (queues, definitions) = self.keep_queues(inbox.clone(), seed);
        self.tell_leases(inbox.clone());
        driver::tick(self.tasks(), inbox.clone());
        let asks = Arc::new(Semaphore::new(limits::QUEUE_ASKS_MAX));
        let running = Running {
            region,
            inbox,
            asks,
            requests,
            queues,
            definitions,
            finished,
            borrowed: Mutex::default(),
        };
        let fresh = shared.queues.set(running).is_ok();
        assert!(fresh, "the queues are started once");
        self.tell_adverts(advertised);
        Ok(())
    }

    /// The queues; `None` until they are started, and on a witness.
    #[must_use]
    pub fn queues(&self) -> Option<QueueClient> {
        self.shared().queues.get().is_some().then(|| QueueClient::new(self.clone()))
    }

    fn tell_adverts(&self, mut adverts: mpsc::Receiver<Advert>) {
        let Some(client) = self.queues() else { return };
        self.tasks().spawn_until_stopped(async move {
            while let Some(advert) = adverts.recv().await {
                client.advertise(advert).await;
            }
        });
    }

    /// Tells the machine under which leases this node acts. What a lease waited for was told before,
    /// because the overseer takes it only once the node has said that it is there.
    fn tell_leases(&self, inbox: mpsc::Sender<Input>) {
        let leases = self.leases();
        assert!(leases.is_some(), "the overseer runs before the queues start");
        let Some(mut leases) = leases else { return };
        self.tasks().spawn_until_drained(async move {
            leases.mark_changed();
            while leases.changed().await.is_ok() {
                let held = leases.borrow_and_update().clone();
                if inbox.send(Input::Leases(held)).await.is_err() {
                    return;
                }
            }
        });
    }
}
