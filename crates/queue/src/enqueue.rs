//! Taking jobs in (rules 4, 5 and 9).
//!
//! A job without a key is a new row of a random id. One with a key has a hash as its id, of the window
//! in which it is enqueued; the job of the window before is looked up first. The row that the write
//! gives back tells whether it was there.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_types::{
    RegionId, Timestamp,
    planted::{self, Planted},
    record::{
        Ending, Job, JobId, JobKey, OwnedOp, OwnedRow, Progress, QueueDefinition, QueueName, Record,
    },
};

use crate::{
    job::{NewJob, id_of_key, id_of_spill, window},
    limits::{JOBS_MAX, JOBS_PER_REQUEST_MAX, REQUEST_BYTES_MAX},
    queues::{Entering, Member, Queues, Results, UnderWay},
    spill::Choice,
    words::{Effect, Effects, Enqueue, Enqueued, Refused, RequestId, WriteError},
};

/// A job with a key whose earlier window is looked up.
#[derive(Debug)]
pub(crate) struct Lookup {
    member: Member,
    queue: QueueName,
    home: RegionId,
    new: NewJob,
    before: JobId,
    now_id: JobId,
    /// Where it would go.
    choice: Choice,
}

impl Queues {
    pub(crate) fn enqueue(
        &mut self,
        now: Timestamp,
        request: RequestId,
        enqueue: Enqueue,
        out: &mut Effects,
    ) {
        let Enqueue { queue, home, allowed, jobs } = enqueue;
        let definition = match self.check_enqueue(now, &home, &queue, &jobs) {
            Ok(definition) => definition,
            Err(refused) => return out.answer(request, Err(refused)),
        };
        let results = Results::Enqueued(jobs.iter().map(|_| None).collect());
        let batch = self.batch(request, jobs.len(), results);
        let mut entering = Vec::new();
        for (nth, mut new) in jobs.into_iter().enumerate() {
            let member = Member { batch, nth };
            new.take_key(definition.content_dedup);
            if let Err(why) = new.check(definition.fifo) {
                self.enqueued(member, Err(Refused::Invalid(why.into())), out);
                continue;
            }
            let choice = self.choose(now, &home, &allowed, definition.fifo, &new);
            match (&new.key, choice) {
                (Some(key), choice) if new.spilled.is_none() => {
                    let key = key.clone();
                    let place = (queue.clone(), home.clone());
                    self.look_up(now, (member, place, new, choice), &key, &definition, out);
                }
                (_, Choice::Spill { to, why }) => {
                    self.enqueued(member, Ok(Enqueued::Forward { to, id: new.id, why }), out);
                }
                (_, Choice::Stay(why)) => {
                    let at = (&home, &queue, new.id);
                    let mut stays = self.entering(now, member, at, new, definition.delay);
                    note(&mut stays.job, why);
                    entering.push(stays);
                }
            }
        }
        self.enter(home, &definition, entering, out);
    }

    fn check_enqueue(
        &self,
        now: Timestamp,
        home: &RegionId,
        queue: &QueueName,
        jobs: &[NewJob],
    ) -> Result<Arc<QueueDefinition>, Refused> {
        let (_, definition) = self.known(queue)?;
        let invalid = |why: &str| Err(Refused::Invalid(why.into()));
        if jobs.is_empty() || jobs.len() > JOBS_PER_REQUEST_MAX {
            return invalid("one request takes 1 to 100 jobs");
        }
        if jobs.iter().map(NewJob::bytes).sum::<usize>() > REQUEST_BYTES_MAX {
            return invalid("the jobs of one request have at most 1 MiB together");
        }
        if definition.fifo && self.acts_for(home, now.mono).is_none() {
            // Pinned jobs and others would run side by side.
            return Err(Refused::Unavailable(
                "a FIFO queue takes jobs in at their owner only".into(),
            ));
        }
        if self.index.len() + jobs.len() > JOBS_MAX {
            return Err(Refused::Overloaded);
        }
        Ok(definition)
    }

    fn look_up(
        &mut self,
        now: Timestamp,
        (member, (queue, home), new, choice): (Member, (QueueName, RegionId), NewJob, Choice),
        key: &str,
        definition: &QueueDefinition,
        out: &mut Effects,
    ) {
        let at = window(now.wall, definition.keys_kept);
        let forgets = planted::is(Planted::ForgetKeys);
        let now_id = if forgets { new.id } else { id_of_key(&queue, key, at) };
        let before = id_of_key(&queue, key, at.wrapping_sub(1));
        if self.keys.contains_key(&before) {
            // Only as one window ends and the next begins: the outcome decides which row it is.
            let refused = Refused::Unavailable("its key is being taken in: try again".into());
            return self.enqueued(member, Err(refused), out);
        }
        *self.keys.entry(now_id).or_default() += 1;
        let row = JobKey { queue: queue.clone(), id: before }.row();
        let lookup = Lookup { member, queue, home, new, before, now_id, choice };
        self.fetch(vec![row], UnderWay::Lookup(Box::new(lookup)), out);
    }

    /// The job of the window before is known.
    pub(crate) fn looked_up(
        &mut self,
        now: Timestamp,
        lookup: Lookup,
        rows: &[Option<OwnedRow>],
        out: &mut Effects,
    ) {
        let Lookup { member, queue, home, new, before, now_id, choice } = lookup;
        let definition = match self.known(&queue) {
            Ok((_, definition)) => definition,
            Err(refused) => {
                self.release_key(now_id);
                return self.enqueued(member, Err(refused), out);
            }
        };
        let earlier = rows.first().and_then(Option::as_ref);
        let earlier = earlier.and_then(|row| Job::decode(&row.payload).ok());
        let counts = |job: &Job| now.wall < job.enqueued_at.saturating_add(definition.keys_kept);
        let id = if earlier.as_ref().is_some_and(counts) { before } else { now_id };
        if id != now_id {
            self.release_key(now_id);
            *self.keys.entry(id).or_default() += 1;
        }
        let mut entering = self.entering(now, member, (&home, &queue, id), new, definition.delay);
        entering.keyed = true;
        match choice {
            Choice::Spill { to, why } => {
                let moved = JobKey { queue, id: id_of_spill(id, &to) };
                let how = Ending::Moved { to: moved, region: Some(to), why };
                let kept = now.wall.saturating_add(definition.keys_kept);
                entering.job = entering.job.ended(now.wall, how, kept);
            }
            Choice::Stay(why) => note(&mut entering.job, why),
        }
        self.enter(home, &definition, vec![entering], out);
    }

    fn entering(
        &mut self,
        now: Timestamp,
        member: Member,
        (home, queue, id): (&RegionId, &QueueName, JobId),
        new: NewJob,
        delay: Duration,
    ) -> Entering {
        // Without the lease of its home it is taken in here, and pinned.
        let here = self.config.region.clone();
        let acts = self.acts_for(home, now.mono).is_some();
        let order = self.next_order(if acts { home } else { &here });
        let unseen = new.is_unseen();
        let job = new.into_job(now.wall, order, delay);
        let (queue, payload) = (queue.clone(), Bytes::new());
        Entering { member, queue, id, job, payload, keyed: false, unseen }
    }

    fn enter(
        &mut self,
        home: RegionId,
        definition: &QueueDefinition,
        mut entering: Vec<Entering>,
        out: &mut Effects,
    ) {
        if entering.is_empty() {
            return;
        }
        let put = |it: &mut Entering| {
            let id = JobKey { queue: it.queue.clone(), id: it.id }.row();
            let payload = it.job.encode();
            it.job.strip();
            it.payload = payload.clone();
            // The lease may run out before the write: pinned jobs and others would run side by side.
            match definition.fifo {
                true => OwnedOp::Claim { id, payload },
                false => OwnedOp::Put { id, payload },
            }
        };
        let ops = entering.iter_mut().map(put).collect();
        // A FIFO queue's rows are written in the order in which they were asked for.
        let drawn = !definition.fifo && entering.iter().all(|it| it.unseen);
        let token = self.token(UnderWay::Enter(entering));
        out.push(Effect::Own { token, home, ops, ack: definition.ack, drawn });
    }

    /// Jobs were written, or not.
    pub(crate) fn entered(
        &mut self,
        entering: Vec<Entering>,
        result: Result<Vec<OwnedRow>, WriteError>,
        out: &mut Effects,
    ) {
        let mut rows = result.as_deref().unwrap_or_default().iter();
        for entering in entering {
            let answer = match (&result, rows.next()) {
                (Err(error), _) => Err(error.clone().into()),
                (Ok(_), Some(row)) => taken(&entering, row),
                (Ok(_), None) => Err(Refused::Unconfirmed("the answer lacks a row".into())),
            };
            if entering.keyed {
                self.release_key(entering.id);
            }
            self.enqueued(entering.member, answer, out);
        }
    }

    fn release_key(&mut self, id: JobId) {
        if let Some(count) = self.keys.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(&id);
            }
        }
    }

    fn enqueued(&mut self, member: Member, result: Result<Enqueued, Refused>, out: &mut Effects) {
        let put = |results: &mut Results, nth: usize| {
            if let Results::Enqueued(all) = results
                && let Some(place) = all.get_mut(nth)
            {
                *place = Some(result);
            }
        };
        self.result(member, put, out);
    }
}

/// Says in a job why it stays, after why it came.
fn note(job: &mut Job, why: Option<String>) {
    let Some(why) = why else { return };
    let said = &mut job.provenance.why;
    if !said.is_empty() {
        said.push_str("; ");
    }
    said.push_str(&why);
}

/// What the row says that came of it: this job, or one that was there.
fn taken(entering: &Entering, row: &OwnedRow) -> Result<Enqueued, Refused> {
    let (id, ours) = (entering.id, &entering.job);
    // One that is sent away is a row of its own, and no job of this region.
    if ours.progress == Progress::Waiting && row.payload == entering.payload {
        return Ok(Enqueued::Created { id, order: ours.order, pinned: row.pinned });
    }
    let unreadable =
        |error| Refused::Unconfirmed(format!("its row cannot be used: {error}").into());
    let job = Job::decode(&row.payload).map_err(unreadable)?;
    if let Progress::Ended { how: Ending::Moved { to, region: Some(region), why }, .. } =
        &job.progress
        && crate::job::same_parameters(ours, &job)
    {
        let (to, id, why) = (region.clone(), to.id, why.clone());
        return Ok(Enqueued::Forward { to, id, why });
    }
    let (order, progress) = (job.order, job.progress.clone());
    let mut stripped = job;
    stripped.strip();
    if stripped == *ours {
        Ok(Enqueued::Created { id, order, pinned: row.pinned })
    } else if crate::job::same_parameters(ours, &stripped) {
        Ok(Enqueued::Duplicate { id, order, progress })
    } else {
        Err(Refused::ChangedParameters { id })
    }
}
