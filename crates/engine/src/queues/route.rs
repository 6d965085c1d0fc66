//! Which region does what is asked: the one that acts for the job's home.
//!
//! New work whose owner cannot be reached is taken in here, and pinned (rule 5); a FIFO queue refuses
//! instead. A job keeps its id however often it is sent, so that a send whose outcome is unknown is
//! repeated while there is time. Settlements are not repeated: after the first the receipt is stale.

use std::{collections::BTreeMap, time::Duration};

use rhumb_queue::{
    Answer, Ask, Enqueue, Enqueued, Leased, NewJob, Receipt, Receive, Refused, Retry,
    limits::JOBS_PER_REQUEST_MAX,
};
use rhumb_regions::Key;
use rhumb_types::{RegionId, record::QueueName};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    bounds::Bounds,
    client::{EnqueueRequest, HomeChoice, QueueClient, ReceiveRequest, Taken},
    driver::{Input, Look},
    owners::Owner,
    peers::Reached,
};
use crate::limits::{
    QUEUE_CALL_PAUSE, QUEUE_CALL_WAIT, QUEUE_MOVE_WAIT, QUEUE_SEND_WAIT, RECEIVE_LINGER,
    RECEIVE_LOOK_PAUSE,
};

/// What a region did with new jobs.
struct TakenIn {
    by: RegionId,
    results: Vec<Result<Enqueued, Refused>>,
}

impl QueueClient {
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
        let known = self.definition(&queue, |it| (it.fifo, it.content_dedup, Bounds::of(it)));
        let Some((fifo, content_dedup, bounds)) = known else {
            return Err(Refused::NoQueue(queue));
        };
        let mut homes: BTreeMap<RegionId, (Vec<usize>, Vec<NewJob>)> = BTreeMap::new();
        let mut results = BTreeMap::new();
        for (nth, mut job) in jobs.into_iter().enumerate() {
            job.hash(content_dedup);
            match self.home_of((&queue, &bounds, fifo), &home, &job) {
                Ok(home) => {
                    let (places, jobs) = homes.entry(home).or_default();
                    places.push(nth);
                    jobs.push(job);
                }
                Err(refused) => drop(results.insert(nth, Err(refused))),
            }
        }
        for (home, (places, jobs)) in homes {
            let target = Target { queue: &queue, fifo, home: &home, bounds: &bounds };
            let taken = self.take_in(&target, jobs).await;
            results.extend(places.into_iter().zip(taken));
        }
        Ok(results.into_values().collect())
    }

    fn home_of(
        &self,
        within: (&QueueName, &Bounds, bool),
        choice: &HomeChoice,
        job: &NewJob,
    ) -> Result<RegionId, Refused> {
        let name = job.group.as_ref().or(job.key.as_ref()).or(job.workflow.as_ref());
        if !within.1.is_none() {
            return self.home_within(within, choice, name.map(String::as_str));
        }
        if let HomeChoice::Region(region) = choice {
            return Ok(region.clone());
        }
        let home = name.map(|name| self.engine().home(&Key::new(name.as_bytes()), &[]));
        Ok(home.and_then(Result::ok).unwrap_or_else(|| self.region().clone()))
    }

    /// Takes jobs of one home in, and sends on what the home sends away.
    async fn take_in(&self, target: &Target<'_>, jobs: Vec<NewJob>) -> Vec<Result<Taken, Refused>> {
        let count = jobs.len();
        let allowed =
            if target.fifo { Vec::new() } else { self.receivers(target.home, target.bounds) };
        let TakenIn { by, results } = match self.send_jobs(target, allowed, jobs.clone()).await {
            Ok(taken) => taken,
            Err(refused) => return vec![Err(refused); count],
        };
        let mut all = Vec::with_capacity(count);
        for (result, job) in results.into_iter().zip(jobs) {
            all.push(match result {
                Ok(Enqueued::Forward { to, id, why }) => {
                    self.send_on(target, NewJob { id, drawn: false, ..job }, to, why).await
                }
                result => result.and_then(|it| taken(target.home, &by, it, None)),
            });
        }
        all
    }

    /// Sends a job on, once, where its home says.
    async fn send_on(
        &self,
        target: &Target<'_>,
        job: NewJob,
        to: RegionId,
        why: String,
    ) -> Result<Taken, Refused> {
        let spilled = NewJob { spilled: Some((target.home.clone(), why.clone())), ..job.clone() };
        let there = Target { home: &to, ..*target };
        let sent = self.send_jobs(&there, Vec::new(), vec![spilled]).await;
        let back = sent.is_err() && job.key.is_none();
        let (home, sent, why) = if back {
            // Nothing was written for it yet, so it may as well stay.
            (target.home, self.send_jobs(target, Vec::new(), vec![job]).await, None)
        } else {
            (&to, sent, Some(why))
        };
        let TakenIn { by, results } = sent?;
        let result = results.into_iter().next();
        let missing = || Refused::Unconfirmed("the answer lacks the job".into());
        taken(home, &by, result.ok_or_else(missing)??, why)
    }

    /// Has jobs taken in by whoever acts for their home.
    async fn send_jobs(
        &self,
        target: &Target<'_>,
        allowed: Vec<RegionId>,
        jobs: Vec<NewJob>,
    ) -> Result<TakenIn, Refused> {
        let Target { queue, fifo, home, bounds } = *target;
        let inside = |region: &RegionId| bounds.allow(self.engine(), region);
        let here = inside(self.region());
        let mut enqueue = Enqueue { queue: queue.clone(), home: home.clone(), allowed, jobs };
        let end = Instant::now() + QUEUE_SEND_WAIT;
        let mut unknown: Option<RegionId> = None;
        loop {
            let region = match self.owner(home) {
                Owner::There(region) if inside(&region) => region,
                Owner::Nobody | Owner::There(_) if fifo => {
                    let why = format!("no region that owns the jobs of {home} can be reached");
                    return Err(Refused::Unavailable(why.into()));
                }
                _ if here => return self.enqueue_here(enqueue).await,
                _ => return Err(bounds.out_of_reach(queue)),
            };
            // From here on another region may know the ids.
            enqueue.jobs.iter_mut().for_each(|job| job.drawn = false);
            let ask = Ask::Enqueue(enqueue.clone());
            match self.call(&region, ask, QUEUE_CALL_WAIT).await {
                Reached::Answer(answer) => return enqueued(region, answer?),
                Reached::Not(_) if !fifo && here => return self.enqueue_here(enqueue).await,
                Reached::Not(_) => {}
                // The ids stay, so that the same again is no second job.
                Reached::Unknown(_) => unknown = Some(region),
            }
            if Instant::now() + QUEUE_CALL_PAUSE >= end {
                return Err(match unknown {
                    Some(region) => Refused::Unconfirmed(
                        format!("{region} was asked and did not answer").into(),
                    ),
                    None => Refused::Unavailable(
                        format!("no region that owns the jobs of {home} can be reached").into(),
                    ),
                });
            }
            sleep(QUEUE_CALL_PAUSE).await;
        }
    }

    async fn enqueue_here(&self, enqueue: Enqueue) -> Result<TakenIn, Refused> {
        enqueued(self.region().clone(), self.ask(Ask::Enqueue(enqueue)).await?)
    }

    /// Leases jobs to a worker: what this region owns first, and when there is none for a moment, what
    /// others own, unless the worker is for this region's alone. Empty when there were none in time.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn receive(&self, request: ReceiveRequest) -> Result<Vec<Leased>, Refused> {
        let bounds = self.bounds(&request.queue);
        if !bounds.allow(self.engine(), self.region()) {
            return Err(bounds.outside(&request.queue, self.region()));
        }
        let end = self.now() + request.wait;
        let mut patience = RECEIVE_LINGER;
        loop {
            let left = end.saturating_since(self.now());
            let until = self.now() + left.min(patience);
            let ReceiveRequest { queue, jobs_max, visibility, worker, .. } = request.clone();
            let receive = Receive { queue, jobs_max, visibility, until, worker };
            let jobs = received(self.ask(Ask::Receive(receive)).await?)?;
            if !jobs.is_empty() || self.engine().tasks().is_stopping() {
                return Ok(jobs);
            }
            let jobs = match request.elsewhere {
                true => self.receive_elsewhere(&request).await,
                false => Vec::new(),
            };
            if !jobs.is_empty() || end <= self.now() {
                return Ok(jobs);
            }
            patience = RECEIVE_LOOK_PAUSE;
        }
    }

    /// Asks the owners of other homes that seem to have jobs. Few ask at a time, for all who wait.
    async fn receive_elsewhere(&self, request: &ReceiveRequest) -> Vec<Leased> {
        let (answer, answered) = oneshot::channel();
        let look = Look::Elsewhere(request.queue.clone(), answer);
        let homes = self.look(look, answered).await.unwrap_or_default();
        let mut owners: Vec<RegionId> = Vec::new();
        for home in homes {
            if let Owner::There(region) = self.owner(&home)
                && !owners.contains(&region)
                && self.may_have(&request.queue, &region)
            {
                owners.push(region);
            }
        }
        for region in owners {
            let ReceiveRequest { queue, jobs_max, visibility, worker, .. } = request.clone();
            let until = self.now();
            let ask = Ask::Receive(Receive { queue, jobs_max, visibility, until, worker });
            // Jobs whose lease nobody hears of come back when it runs out.
            let Reached::Answer(Ok(answer)) = self.call(&region, ask, QUEUE_CALL_WAIT).await else {
                continue;
            };
            if let Ok(jobs) = received(answer)
                && !jobs.is_empty()
            {
                self.send(Input::Look(Look::Found(request.queue.clone()))).await;
                return jobs;
            }
        }
        Vec::new()
    }

    /// Workers are through with jobs. A result per receipt.
    pub async fn complete(&self, receipts: Vec<Receipt>) -> Vec<Result<(), Refused>> {
        let count = receipts.len();
        let here = self.ask(Ask::Complete { receipts: receipts.clone() }).await;
        let mut results = completed(here, count);
        let mut elsewhere: BTreeMap<RegionId, Vec<(usize, Receipt)>> = BTreeMap::new();
        for (nth, (result, receipt)) in results.iter().zip(receipts).enumerate() {
            if result.as_ref().is_err_and(may_be_elsewhere)
                && let Some(region) = self.owner_of_job(&receipt)
            {
                elsewhere.entry(region).or_default().push((nth, receipt));
            }
        }
        for (region, receipts) in elsewhere {
            let (places, receipts): (Vec<usize>, Vec<Receipt>) = receipts.into_iter().unzip();
            let asked = self.call(&region, Ask::Complete { receipts }, QUEUE_CALL_WAIT).await;
            let told = completed(asked.into_result(), places.len());
            for (nth, result) in places.into_iter().zip(told) {
                if let Some(place) = results.get_mut(nth) {
                    *place = result;
                }
            }
        }
        results
    }

    /// A worker failed; says what becomes of the job.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn fail(&self, receipt: Receipt, why: String, retry: Retry) -> Result<(), Refused> {
        let of = receipt.clone();
        self.settle(&of, Ask::Fail { receipt, why, retry }).await
    }

    /// A worker needs a job for so long from now on; zero gives it back.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn extend(&self, receipt: Receipt, visibility: Duration) -> Result<(), Refused> {
        let of = receipt.clone();
        self.settle(&of, Ask::Extend { receipt, visibility }).await
    }

    /// A worker gives a job back, untried.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn release(&self, receipt: Receipt) -> Result<(), Refused> {
        let of = receipt.clone();
        self.settle(&of, Ask::Release { receipt }).await
    }

    /// Here first: it is most likely, and costs nobody a way.
    async fn settle(&self, receipt: &Receipt, ask: Ask) -> Result<(), Refused> {
        let here = self.ask(ask.clone()).await;
        let answer = match here {
            Err(refused) if may_be_elsewhere(&refused) => match self.owner_of_job(receipt) {
                Some(region) => self.call(&region, ask, QUEUE_CALL_WAIT).await.into_result()?,
                None => return Err(refused),
            },
            result => result?,
        };
        match answer {
            Answer::Settled => Ok(()),
            other => Err(foreign(&other)),
        }
    }

    /// The region, other than this one, that a job's receipts are of: by its row, and where that is not
    /// here yet by the region that handed it out through this node.
    fn owner_of_job(&self, receipt: &Receipt) -> Option<RegionId> {
        let row = self.engine().shared().store.owned(&receipt.key.row()).ok().flatten();
        let region = match row {
            Some(row) if row.pinned => row.home,
            Some(row) => match self.owner(&row.home) {
                Owner::There(region) => region,
                Owner::Here | Owner::Nobody => return None,
            },
            None => self.borrowed(receipt)?,
        };
        (region != *self.region()).then_some(region)
    }

    /// Empties a queue, in every region, of what is in it now; says of how many jobs.
    ///
    /// # Errors
    /// [`Refused`]; what was done in some regions before is done.
    pub async fn purge(&self, queue: &QueueName) -> Result<u64, Refused> {
        let mut purged = 0;
        for region in self.owners()? {
            let ask = Ask::Purge { queue: queue.clone() };
            purged += self.moved(&region, ask).await?;
        }
        Ok(purged)
    }

    /// Takes dead jobs of every region back: where they came from, or to a queue. Says how many.
    ///
    /// # Errors
    /// [`Refused`]; what was done in some regions before is done.
    pub async fn redrive(
        &self,
        queue: &QueueName,
        to: Option<QueueName>,
        jobs_max: u64,
    ) -> Result<u64, Refused> {
        self.check_move(queue, to.as_ref())?;
        let mut moved = 0;
        for region in self.owners()? {
            if moved >= jobs_max {
                break;
            }
            let (queue, to) = (queue.clone(), to.clone());
            let ask = Ask::Redrive { queue, to, jobs_max: jobs_max - moved };
            moved += self.moved(&region, ask).await?;
        }
        Ok(moved)
    }

    async fn moved(&self, region: &RegionId, ask: Ask) -> Result<u64, Refused> {
        let answer = if region == self.region() {
            self.ask(ask).await?
        } else {
            self.call(region, ask, QUEUE_MOVE_WAIT).await.into_result()?
        };
        match answer {
            Answer::Moved(jobs) => Ok(jobs),
            other => Err(foreign(&other)),
        }
    }
}

/// Where jobs are to go.
#[derive(Clone, Copy)]
struct Target<'t> {
    queue: &'t QueueName,
    fifo: bool,
    home: &'t RegionId,
    bounds: &'t Bounds,
}

fn enqueued(by: RegionId, answer: Answer) -> Result<TakenIn, Refused> {
    match answer {
        Answer::Enqueued(results) => Ok(TakenIn { by, results }),
        other => Err(foreign(&other)),
    }
}

fn received(answer: Answer) -> Result<Vec<Leased>, Refused> {
    match answer {
        Answer::Received(jobs) => Ok(jobs),
        other => Err(foreign(&other)),
    }
}

fn completed(answer: Result<Answer, Refused>, count: usize) -> Vec<Result<(), Refused>> {
    match answer {
        Ok(Answer::Completed(results)) if results.len() == count => results,
        Ok(other) => vec![Err(foreign(&other)); count],
        Err(refused) => vec![Err(refused); count],
    }
}

/// What came of a job that is where it belongs, or where it was sent to.
fn taken(
    home: &RegionId,
    by: &RegionId,
    enqueued: Enqueued,
    why: Option<String>,
) -> Result<Taken, Refused> {
    match enqueued {
        Enqueued::Created { id, order, pinned } => {
            let home = if pinned { by } else { home }.clone();
            Ok(Taken { id, order, home, duplicate: None, pinned, why })
        }
        Enqueued::Duplicate { id, order, progress } => {
            let home = home.clone();
            Ok(Taken { id, order, home, duplicate: Some(progress), pinned: false, why })
        }
        // One hop: who was sent to does not send on.
        Enqueued::Forward { to, .. } => {
            Err(Refused::Unavailable(format!("it was sent on to {to} a second time").into()))
        }
    }
}

/// Whether another region may know the receipt.
const fn may_be_elsewhere(refused: &Refused) -> bool {
    matches!(refused, Refused::Gone | Refused::Stale | Refused::Unavailable(_))
}

pub(super) fn foreign(answer: &Answer) -> Refused {
    Refused::Unconfirmed(format!("the answer is not the one to the question: {answer:?}").into())
}
