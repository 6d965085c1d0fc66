//! What servers and workloads ask of the queues.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use rhumb_queue::{
    Answer, Ask, Definitions, Finished, Leased, NewJob, Receipt, Refused, RequestId, Stats,
    Whereabouts,
};
use rhumb_types::{
    MonoTime, RegionId, UnixMillis,
    record::{Job, JobId, Progress, QueueDefinition, QueueEntry, QueueName},
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{
    DefineError, Heartbeat, Input, Running,
    definitions::{agree, check},
    driver::Look,
};
use crate::{
    Engine, OsEntropy,
    agreed::{AgreedQueues, Expect, arrived},
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
    /// Whether jobs that other regions own will do, where there are none of this region's own.
    pub elsewhere: bool,
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

    /// The settings of all queues, and whenever they change.
    #[must_use]
    pub fn definitions(&self) -> watch::Receiver<Arc<Definitions>> {
        self.running().definitions.clone()
    }

    /// Something of a queue's settings, if there is the queue.
    pub(super) fn definition<T>(
        &self,
        queue: &QueueName,
        of: impl FnOnce(&QueueDefinition) -> T,
    ) -> Option<T> {
        self.running().definitions.borrow().get(queue).map(of)
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
        self.running().queues.borrow().entries.get(name).map(|queue| queue.version)
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
        let known = present.entries.get(&name).filter(|_| expect != Expect::Absent);
        let mut entry = match known {
            Some(queue) => queue.entry.clone(),
            None => QueueEntry { created_at: now, ..QueueEntry::default() },
        };
        change(&mut entry);
        entry.changed_at = now;
        check(&name, &entry, &present)?;
        let agreed = self.engine.agreed().map_or(0, |view| view.borrow().protocol);
        if !entry.definition.residency.is_empty() && agreed < RESIDENCY_SINCE {
            return Err(DefineError::Invalid(
                "a queue has a residency once all nodes are upgraded",
            ));
        }
        let strong = self.engine.strong().ok_or(DefineError::Starting)?;
        agree(strong, &name, Some(&entry), expect).await?;
        let version = known.map_or(0, |queue| queue.version);
        let newer =
            |all: &Arc<AgreedQueues>| all.entries.get(&name).is_some_and(|it| it.version > version);
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
        arrived(&self.running().queues, |all| !all.entries.contains_key(name)).await;
        Ok(())
    }

    /// How full a queue is, by home, as this node knows it.
    pub async fn stats(&self, queue: &QueueName) -> BTreeMap<RegionId, Stats> {
        let (answer, answered) = oneshot::channel();
        self.look(Look::Stats(queue.clone(), answer), answered).await.unwrap_or_default()
    }

    /// A worker of this region says that it is there: it counts as capacity, for spillover too. One that
    /// finds no room is left out; the next says the same.
    pub fn heartbeat(&self, heartbeat: Heartbeat) {
        let _full = self.running().inbox.try_send(Input::Heartbeat(heartbeat));
    }

    /// Jobs that end on this node from now on. Who does not read them fast enough misses some.
    #[must_use]
    pub fn finished(&self) -> broadcast::Receiver<Finished> {
        self.running().finished.subscribe()
    }

    /// Asks the machine, and tells it when nobody waits any more.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, Refused> {
        self.ask_for(ask, true).await
    }

    /// Asks the machine for somebody; whether a worker counts as one of this region.
    pub(super) async fn ask_for(&self, ask: Ask, counts: bool) -> Result<Answer, Refused> {
        let running = self.running();
        let stopping = || Refused::Unavailable("this node is stopping".into());
        let permit = running.asks.clone().acquire_owned().await.map_err(|_| stopping())?;
        let request =
            RequestId(running.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let waits = matches!(ask, Ask::Receive(_));
        let input = Input::Ask { request, ask, answer, permit, counts };
        running.inbox.send(input).await.map_err(|_| stopping())?;
        if !waits {
            return answered.await.unwrap_or_else(|_| Err(unheard()));
        }
        let mut waiter = Waiter { inbox: Some(&running.inbox), request, answered };
        let result = tokio::select! {
            result = &mut waiter.answered => result,
            // A node that stops keeps no worker waiting.
            () = self.engine.tasks().stopping() => return Ok(Answer::Received(Vec::new())),
        };
        waiter.inbox = None;
        result.unwrap_or_else(|_| Err(unheard()))
    }

    pub(super) async fn look<T>(&self, look: Look, answered: oneshot::Receiver<T>) -> Option<T> {
        self.running().inbox.send(Input::Look(look)).await.ok()?;
        answered.await.ok()
    }

    pub(super) async fn send(&self, input: Input) {
        // Queues that have stopped hear nothing more.
        let _stopped = self.running().inbox.send(input).await;
    }

    pub(super) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn region(&self) -> &RegionId {
        &self.running().region
    }

    /// A job of another region is in the hands of a worker here.
    pub(super) fn borrow(&self, region: &RegionId, job: &Leased) {
        let mut borrowed = self.running().borrowed.lock().unwrap_or_else(PoisonError::into_inner);
        borrowed.add(self.now(), region, job);
    }

    /// Which region handed a job out through this node.
    pub(super) fn borrowed(&self, receipt: &Receipt) -> Option<RegionId> {
        let borrowed = self.running().borrowed.lock().unwrap_or_else(PoisonError::into_inner);
        borrowed.region(&receipt.key)
    }

    pub(super) fn now(&self) -> MonoTime {
        self.engine.clock().now().mono
    }
}

/// The machine ended before it answered.
fn unheard() -> Refused {
    Refused::Unconfirmed("this node is stopping".into())
}

/// Somebody who waits for jobs; dropped before the answer was read, nothing is leased to them any more.
struct Waiter<'c> {
    inbox: Option<&'c mpsc::Sender<Input>>,
    request: RequestId,
    answered: oneshot::Receiver<Result<Answer, Refused>>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Some(inbox) = self.inbox else { return };
        // From here on an answer finds nobody, and the machine's owner gives the jobs back. One that came
        // just before was read by nobody: its jobs would stay leased until the lease runs out.
        self.answered.close();
        let input = match self.answered.try_recv() {
            Ok(Ok(Answer::Received(jobs))) => Input::Unread(jobs),
            Ok(_) => return,
            Err(_) => Input::Gone(self.request),
        };
        // Where there is no room, an answer finds nobody, or the leases run out.
        let _full = inbox.try_send(input);
    }
}

/// Random ids for the jobs of one request, with few questions to the system.
pub fn random_ids(jobs: usize) -> impl Iterator<Item = JobId> {
    let mut ids = vec![JobId::default(); jobs];
    ids.chunks_mut(IDS_PER_QUESTION).for_each(|ids| {
        let mut bytes = [0; IDS_PER_QUESTION * size_of::<JobId>()];
        OsEntropy.fill(&mut bytes);
        for (id, random) in ids.iter_mut().zip(bytes.as_chunks().0) {
            id.0 = *random;
        }
    });
    ids.into_iter()
}

/// The agreed protocol version from which on a queue may have a residency (rule 16).
const RESIDENCY_SINCE: u16 = 3;
/// Ids that one question to the system gives at most.
const IDS_PER_QUESTION: usize = 16;

/// A random id for a job without a key.
#[must_use]
pub fn random_id(entropy: &dyn rhumb_ports::clock::Entropy) -> JobId {
    let (high, low) = (entropy.next_u64(), entropy.next_u64());
    JobId((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use rhumb_queue::Receipt;
    use rhumb_types::{Epoch, record::JobKey};

    use super::*;

    fn leased() -> Leased {
        let key = JobKey { queue: QueueName::new("q").unwrap(), id: JobId([7; 16]) };
        let receipt = Receipt { key, epoch: Epoch(1), number: 3 };
        Leased { receipt, job: Job::default(), attempts: 0, ends: MonoTime(9) }
    }

    #[test]
    fn jobs_that_were_answered_to_somebody_who_left_are_given_back() {
        let (inbox, mut inputs) = mpsc::channel(1);
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter { inbox: Some(&inbox), request: RequestId(5), answered };
        answer.send(Ok(Answer::Received(vec![leased()]))).unwrap();
        drop(waiter);
        let unread = inputs.try_recv();
        assert!(matches!(&unread, Ok(Input::Unread(jobs)) if *jobs == [leased()]), "{unread:?}");
    }

    #[test]
    fn who_left_before_the_answer_is_answered_no_more() {
        let (inbox, mut inputs) = mpsc::channel(1);
        let (answer, answered) = oneshot::channel();
        drop(Waiter { inbox: Some(&inbox), request: RequestId(5), answered });
        assert!(matches!(inputs.try_recv(), Ok(Input::Gone(RequestId(5)))));
        assert!(answer.send(Ok(Answer::Received(vec![leased()]))).is_err());
    }
}
