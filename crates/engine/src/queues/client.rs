//! What servers and workloads ask of the queues.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rhumb_ports::store::{Range, StoreError};
use rhumb_queue::{
    Answer, Ask, Definitions, Enqueue, Enqueued, Finished, Leased, NewJob, Place, Receipt, Receive,
    Refused, RequestId, Stats, Whereabouts, limits::JOBS_PER_REQUEST_MAX,
};
use rhumb_types::{
    MonoTime, RegionId, UnixMillis,
    record::{
        Job, JobId, JobKey, OwnedRow, OwnedState, Progress, QueueDefinition, QueueEntry, QueueName,
        Record, job::JOBS,
    },
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{
    AgreedQueues, DefineError, Expect, Input, Running,
    definitions::{agree, arrived, check},
    driver::Look,
};
use crate::{
    Engine,
    limits::{LIST_PAGE_ROWS, LIST_PAGES_MAX},
};

/// Where jobs belong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HomeChoice {
    /// By their group, else their key, else their workflow, through the shared selection; this region
    /// where they have none of these.
    #[default]
    Auto,
    /// To a region.
    Region(RegionId),
}

/// Jobs for a queue.
#[derive(Clone, Debug)]
pub struct EnqueueRequest {
    /// The queue.
    pub queue: QueueName,
    /// Where the jobs belong.
    pub home: HomeChoice,
    /// The jobs; at most [`JOBS_PER_REQUEST_MAX`].
    pub jobs: Vec<NewJob>,
}

/// A job that was taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Its id.
    pub id: JobId,
    /// Its place in the order of its home.
    pub order: u64,
    /// The region that runs it.
    pub home: RegionId,
    /// How far it had come, if it was there already.
    pub duplicate: Option<Progress>,
    /// Whether only that region may run it, because it was taken in without a lease (rule 5).
    pub pinned: bool,
    /// Why it is not where it belongs.
    pub why: Option<String>,
}

/// A worker's wish for jobs.
#[derive(Clone, Debug)]
pub struct ReceiveRequest {
    /// Of which queue.
    pub queue: QueueName,
    /// How many at most.
    pub jobs_max: usize,
    /// How long the lease lasts; the queue's own time without.
    pub visibility: Option<Duration>,
    /// How long to wait for a job.
    pub wait: Duration,
    /// Who asks, for those who look.
    pub worker: Arc<str>,
}

/// A job, as this node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobView {
    /// Everything about it.
    pub job: Job,
    /// The region that runs it, or ran it.
    pub home: RegionId,
    /// Whether only that region may.
    pub pinned: bool,
    /// Where it is; nothing once it has ended.
    pub whereabouts: Option<Whereabouts>,
}

/// A line of a list of jobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// 0 to 9; higher runs first.
    pub priority: u8,
    /// Its group.
    pub group: Option<String>,
    /// When it was taken in.
    pub enqueued_at: UnixMillis,
    /// What went wrong last.
    pub last_failure: String,
    /// The length of its body, in bytes.
    pub body_bytes: usize,
}

/// The queues, for servers and workloads. Cheap to clone.
///
/// Every call may be dropped at any time; whether a write was done is unknown then.
#[derive(Clone, Debug)]
pub struct QueueClient {
    engine: Engine,
}

impl QueueClient {
    pub(super) const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    fn running(&self) -> &Running {
        let running = self.engine.shared().queues.get();
        running.unwrap_or_else(|| unreachable!("a client is given once the queues run"))
    }

    /// Takes jobs in, at their homes. A result per job, in their order.
    ///
    /// # Errors
    /// [`Refused`] when nothing was taken in.
    pub async fn enqueue(
        &self,
        request: EnqueueRequest,
    ) -> Result<Vec<Result<Taken, Refused>>, Refused> {
        let EnqueueRequest { queue, home, jobs } = request;
        if jobs.is_empty() || jobs.len() > JOBS_PER_REQUEST_MAX {
            return Err(Refused::Invalid("one request takes 1 to 100 jobs".into()));
        }
        let mut homes: BTreeMap<RegionId, Vec<(usize, NewJob)>> = BTreeMap::new();
        for (nth, job) in jobs.into_iter().enumerate() {
            homes.entry(self.home_of(&home, &job)).or_default().push((nth, job));
        }
        let mut results = BTreeMap::new();
        for (home, jobs) in homes {
            let (places, jobs): (Vec<usize>, Vec<NewJob>) = jobs.into_iter().unzip();
            let taken = self.take_in(&queue, &home, jobs).await;
            match taken {
                Ok(taken) => results.extend(places.into_iter().zip(taken)),
                Err(refused) => {
                    results.extend(places.into_iter().map(|nth| (nth, Err(refused.clone()))));
                }
            }
        }
        Ok(results.into_values().collect())
    }

    /// Takes jobs of one home in.
    async fn take_in(
        &self,
        queue: &QueueName,
        home: &RegionId,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Result<Taken, Refused>>, Refused> {
        let enqueue = Enqueue { queue: queue.clone(), home: home.clone(), allowed: vec![], jobs };
        match self.ask(Ask::Enqueue(enqueue)).await? {
            Answer::Enqueued(results) => {
                Ok(results.into_iter().map(|it| it.and_then(|it| self.taken(home, it))).collect())
            }
            other => Err(foreign(&other)),
        }
    }

    fn taken(&self, home: &RegionId, enqueued: Enqueued) -> Result<Taken, Refused> {
        let home = home.clone();
        match enqueued {
            Enqueued::Created { id, order, pinned } => {
                let home = if pinned { self.running().region.clone() } else { home };
                Ok(Taken { id, order, home, duplicate: None, pinned, why: None })
            }
            Enqueued::Duplicate { id, order, progress } => {
                Ok(Taken { id, order, home, duplicate: Some(progress), pinned: false, why: None })
            }
            Enqueued::Forward { to, .. } => {
                Err(Refused::Unavailable(format!("its work goes to {to}").into()))
            }
        }
    }

    fn home_of(&self, choice: &HomeChoice, job: &NewJob) -> RegionId {
        let here = || self.running().region.clone();
        let HomeChoice::Auto = choice else {
            let HomeChoice::Region(region) = choice else { return here() };
            return region.clone();
        };
        let name = job.group.as_ref().or(job.key.as_ref()).or(job.workflow.as_ref());
        let Some(name) = name else { return here() };
        let home = self.engine.home(&rhumb_regions::Key::new(name.as_bytes()), &[]);
        home.unwrap_or_else(|_| here())
    }

    /// Leases jobs to a worker: what this region owns first. Empty when there were none in time.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn receive(&self, request: ReceiveRequest) -> Result<Vec<Leased>, Refused> {
        let ReceiveRequest { queue, jobs_max, visibility, wait, worker } = request;
        let until = self.now() + wait;
        let ask = Ask::Receive(Receive { queue, jobs_max, visibility, until, worker });
        match self.ask(ask).await? {
            Answer::Received(jobs) => Ok(jobs),
            other => Err(foreign(&other)),
        }
    }

    /// Workers are through with jobs. A result per receipt.
    pub async fn complete(&self, receipts: Vec<Receipt>) -> Vec<Result<(), Refused>> {
        let count = receipts.len();
        match self.ask(Ask::Complete { receipts }).await {
            Ok(Answer::Completed(results)) => results,
            Ok(other) => vec![Err(foreign(&other)); count],
            Err(refused) => vec![Err(refused); count],
        }
    }

    /// A worker failed. The job is tried again after a time: the queue's own, or the one given.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn fail(
        &self,
        receipt: Receipt,
        why: String,
        retry_after: Option<Duration>,
    ) -> Result<(), Refused> {
        self.settle(Ask::Fail { receipt, why, retry_after }).await
    }

    /// A worker needs a job for so long from now on; zero gives it back.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn extend(&self, receipt: Receipt, visibility: Duration) -> Result<(), Refused> {
        self.settle(Ask::Extend { receipt, visibility }).await
    }

    /// A worker gives a job back, untried.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn release(&self, receipt: Receipt) -> Result<(), Refused> {
        self.settle(Ask::Release { receipt }).await
    }

    async fn settle(&self, ask: Ask) -> Result<(), Refused> {
        match self.ask(ask).await? {
            Answer::Settled => Ok(()),
            other => Err(foreign(&other)),
        }
    }

    /// Empties a queue of what is in it now; says of how many jobs.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn purge(&self, queue: &QueueName) -> Result<u64, Refused> {
        self.moved(Ask::Purge { queue: queue.clone() }).await
    }

    /// Takes dead jobs back: where they came from, or to a queue. Says how many.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn redrive(
        &self,
        queue: &QueueName,
        to: Option<QueueName>,
        jobs_max: u64,
    ) -> Result<u64, Refused> {
        self.moved(Ask::Redrive { queue: queue.clone(), to, jobs_max }).await
    }

    async fn moved(&self, ask: Ask) -> Result<u64, Refused> {
        match self.ask(ask).await? {
            Answer::Moved(jobs) => Ok(jobs),
            other => Err(foreign(&other)),
        }
    }

    /// The settings of all queues, and whenever they change.
    #[must_use]
    pub fn definitions(&self) -> watch::Receiver<Arc<Definitions>> {
        self.running().definitions.clone()
    }

    /// All queues with their versions and tags, and whenever they change.
    #[must_use]
    pub fn agreed(&self) -> watch::Receiver<Arc<AgreedQueues>> {
        self.running().queues.clone()
    }

    /// Makes a queue, or changes its settings; its tags stay.
    ///
    /// # Errors
    /// [`DefineError`].
    pub async fn define(
        &self,
        name: QueueName,
        definition: QueueDefinition,
        expect: Expect,
    ) -> Result<(), DefineError> {
        self.define_with(name, expect, |entry| entry.definition = definition).await
    }

    /// Gives a queue other tags.
    ///
    /// # Errors
    /// [`DefineError`]; the queue must be there.
    pub async fn tag(
        &self,
        name: QueueName,
        tags: BTreeMap<String, String>,
    ) -> Result<(), DefineError> {
        let version = self.version(&name).ok_or_else(|| DefineError::NoQueue(name.clone()))?;
        self.define_with(name, Expect::Version(version), |entry| entry.tags = tags).await
    }

    fn version(&self, name: &QueueName) -> Option<u64> {
        self.running().queues.borrow().queues.get(name).map(|queue| queue.version)
    }

    /// Makes or changes a queue: settings and tags at once.
    ///
    /// # Errors
    /// [`DefineError`].
    pub async fn define_with(
        &self,
        name: QueueName,
        expect: Expect,
        change: impl FnOnce(&mut QueueEntry) + Send,
    ) -> Result<(), DefineError> {
        let present = self.running().queues.borrow().clone();
        let now = self.engine.clock().now().wall;
        let known = present.queues.get(&name).filter(|_| expect != Expect::Absent);
        let mut entry = match known {
            Some(queue) => queue.entry.clone(),
            None => QueueEntry { created_at: now, ..QueueEntry::default() },
        };
        change(&mut entry);
        entry.changed_at = now;
        check(&name, &entry, &present)?;
        let strong = self.engine.strong().ok_or(DefineError::Starting)?;
        agree(strong, &name, Some(&entry), expect).await?;
        let version = known.map_or(0, |queue| queue.version);
        let newer =
            |all: &Arc<AgreedQueues>| all.queues.get(&name).is_some_and(|it| it.version > version);
        arrived(&self.running().queues, newer).await;
        Ok(())
    }

    /// Removes a queue and its jobs.
    ///
    /// # Errors
    /// [`DefineError`]; the queue stays when not all of its jobs could be removed.
    pub async fn delete(&self, name: &QueueName) -> Result<(), DefineError> {
        let version = self.version(name).ok_or_else(|| DefineError::NoQueue(name.clone()))?;
        self.purge(name).await?;
        let strong = self.engine.strong().ok_or(DefineError::Starting)?;
        agree(strong, name, None, Expect::Version(version)).await?;
        arrived(&self.running().queues, |all| !all.queues.contains_key(name)).await;
        Ok(())
    }

    /// How full a queue is, by home, as this node knows it.
    pub async fn stats(&self, queue: &QueueName) -> BTreeMap<RegionId, Stats> {
        let (answer, answered) = oneshot::channel();
        self.look(Look::Stats(queue.clone(), answer), answered).await.unwrap_or_default()
    }

    /// A job, ended or not.
    ///
    /// # Errors
    /// [`Refused`] when its row cannot be read.
    pub async fn job(&self, key: &JobKey) -> Result<Option<JobView>, Refused> {
        let row = self.engine.shared().store.owned(&key.row()).map_err(|it| unreadable(&it))?;
        let Some(row) = row else { return Ok(None) };
        let job = Job::decode(&row.payload)
            .map_err(|error| Refused::Unavailable(error.to_string().into()))?;
        let (answer, answered) = oneshot::channel();
        let found = self.look(Look::Whereabouts(vec![key.clone()], answer), answered).await;
        let whereabouts = found.and_then(|all| all.into_iter().next()).flatten();
        Ok(Some(JobView { job, home: row.home, pinned: row.pinned, whereabouts }))
    }

    /// Jobs of a queue that have not ended, in the order of their ids, after one, at most so many; only
    /// those in a place where one is named.
    ///
    /// # Errors
    /// [`Refused`] when the rows cannot be read.
    pub async fn jobs(
        &self,
        queue: &QueueName,
        place: Option<Place>,
        after: Option<JobId>,
        jobs_max: usize,
    ) -> Result<Vec<JobSummary>, Refused> {
        let start = JobKey { queue: queue.clone(), id: after.unwrap_or_default() }.row().key;
        // Ids are 16 bytes: without one the list starts at what stands before all of them.
        let mut after = match after {
            Some(_) => start,
            None => start.slice(..start.len() - size_of::<JobId>()),
        };
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let range = Range { after: Some(after.clone()), limit: LIST_PAGE_ROWS };
            let rows = self.engine.shared().store.owned_rows(JOBS, range);
            let rows = rows.map_err(|error| unreadable(&error))?;
            let read = rows.len();
            let last = rows.last().map(|row| row.id.key.clone());
            let mine: Vec<(JobKey, OwnedRow)> = rows
                .into_iter()
                .map_while(|row| Some((JobKey::of_row(&row.id).ok()?, row)))
                .take_while(|(key, _)| key.queue == *queue)
                .collect();
            let ends = mine.len() < LIST_PAGE_ROWS || read < LIST_PAGE_ROWS;
            found.extend(self.summaries(mine, place).await);
            match last.filter(|_| !ends && found.len() < jobs_max) {
                Some(last) => after = last,
                None => break,
            }
        }
        found.truncate(jobs_max);
        Ok(found)
    }

    async fn summaries(
        &self,
        rows: Vec<(JobKey, OwnedRow)>,
        place: Option<Place>,
    ) -> Vec<JobSummary> {
        let rows: Vec<_> =
            rows.into_iter().filter(|(_, row)| row.state != OwnedState::Done).collect();
        let keys = rows.iter().map(|(key, _)| key.clone()).collect();
        let (answer, answered) = oneshot::channel();
        let found = self.look(Look::Whereabouts(keys, answer), answered).await.unwrap_or_default();
        let summary = |((key, row), whereabouts): ((JobKey, OwnedRow), Option<Whereabouts>)| {
            let whereabouts =
                whereabouts.filter(|it| place.is_none_or(|place| it.place == place))?;
            let job = Job::decode(&row.payload).ok()?;
            Some(JobSummary {
                id: key.id,
                whereabouts,
                priority: job.priority,
                group: job.group,
                enqueued_at: job.enqueued_at,
                last_failure: job.last_failure,
                body_bytes: job.body.len(),
            })
        };
        rows.into_iter().zip(found).filter_map(summary).collect()
    }

    /// Jobs that end on this node from now on. Who does not read them fast enough misses some.
    #[must_use]
    pub fn finished(&self) -> broadcast::Receiver<Finished> {
        self.running().finished.subscribe()
    }

    /// Asks the machine, and tells it when nobody waits any more.
    async fn ask(&self, ask: Ask) -> Result<Answer, Refused> {
        let running = self.running();
        let stopping = || Refused::Unavailable("this node is stopping".into());
        let permit = running.asks.clone().acquire_owned().await.map_err(|_| stopping())?;
        let request =
            RequestId(running.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let waits = matches!(ask, Ask::Receive(_));
        let input = Input::Ask { request, ask, answer, permit };
        running.inbox.send(input).await.map_err(|_| stopping())?;
        let mut waiter = Waiter { inbox: waits.then_some(&running.inbox), request };
        let result = if waits {
            tokio::select! {
                result = answered => result,
                // A node that stops keeps no worker waiting.
                () = self.engine.tasks().stopping() => return Ok(Answer::Received(Vec::new())),
            }
        } else {
            answered.await
        };
        waiter.inbox = None;
        result.unwrap_or_else(|_| Err(Refused::Unconfirmed("this node is stopping".into())))
    }

    async fn look<T>(&self, look: Look, answered: oneshot::Receiver<T>) -> Option<T> {
        self.running().inbox.send(Input::Look(look)).await.ok()?;
        answered.await.ok()
    }

    fn now(&self) -> MonoTime {
        self.engine.clock().now().mono
    }
}

/// Somebody who waits for jobs; dropped before the answer, nothing is leased to them any more.
struct Waiter<'c> {
    inbox: Option<&'c mpsc::Sender<Input>>,
    request: RequestId,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(inbox) = self.inbox {
            // Where there is no room, the answer finds nobody, and the jobs are given back.
            let _full = inbox.try_send(Input::Gone(self.request));
        }
    }
}

fn foreign(answer: &Answer) -> Refused {
    Refused::Unconfirmed(format!("the answer is not the one to the question: {answer:?}").into())
}

fn unreadable(error: &StoreError) -> Refused {
    Refused::Unavailable(error.to_string().into())
}

/// A random id for a job without a key.
#[must_use]
pub fn random_id(entropy: &dyn rhumb_ports::clock::Entropy) -> JobId {
    let (high, low) = (entropy.next_u64(), entropy.next_u64());
    JobId((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}
