//! When to ask, renew, end and settle.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rhumb_types::MonoTime;

use crate::{
    command::Ended,
    limits::{
        CONCURRENCY_MAX, JOBS_PER_REQUEST_MAX, KILL_AFTER, PAUSE_MAX, PAUSE_MIN, RENEW_AGAIN_MIN,
        RENEW_AGAIN_PARTS, RENEW_PARTS,
    },
};

/// How a worker works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many commands run at a time; 1 to [`CONCURRENCY_MAX`].
    pub concurrency: usize,
    /// How long a lease lasts from each renewal.
    pub visibility: Duration,
    /// How long a command may run; without end by default.
    pub timeout: Option<Duration>,
    /// How long commands may go on once the worker is to stop.
    pub grace: Duration,
}

/// Names a job in this worker's hands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub u64);

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Time has passed; at least every 100 ms.
    Tick,
    /// The request for jobs gave these, each with when its lease ends; none if none came in time.
    Received(Vec<(TaskId, MonoTime)>),
    /// The request for jobs was answered by nobody.
    Unanswered,
    /// A lease was renewed, and ends then.
    Renewed(TaskId, MonoTime),
    /// Nobody answered a renewal.
    NotRenewed(TaskId),
    /// The receipt does not count any more: somebody else may have the job.
    Stale(TaskId),
    /// A command ended, and how its job is best settled.
    Ended(TaskId, Ended),
    /// The node heard how the job ended, or its lease is over.
    Settled(TaskId),
    /// The worker is to stop; the second time without waiting for its commands.
    Stop,
}

/// How a command is told to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// SIGTERM to its group.
    Ask,
    /// SIGKILL to its group.
    Kill,
}

/// How a job is settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is done.
    Complete,
    /// It failed, and is to be tried again.
    Fail(String),
    /// It is never to be tried again.
    Dead(String),
    /// It is given back untried.
    Release,
}

/// Why a lease is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LostBy {
    /// A node said that the receipt does not count any more.
    Stale,
    /// It could not be renewed in time.
    Expiry,
}

/// Something to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask for so many jobs at most; answered once.
    Receive(usize),
    /// Run the job's command; ends with [`Event::Ended`].
    Start(TaskId),
    /// Renew the lease; answered once.
    Renew(TaskId),
    /// Tell the command to end.
    End(TaskId, Way),
    /// Tell a node how the job ended, then [`Event::Settled`].
    Settle(TaskId, Verdict),
    /// Forget the job: its lease is lost and its command has ended.
    Forget(TaskId, LostBy),
    /// Give up the request for jobs, unless it is answered at once; answered all the same.
    StopReceiving,
    /// Nothing is left to be done.
    Stopped,
}

/// What one event wants done, in order.
#[derive(Debug, Default)]
pub struct Effects(VecDeque<Effect>);

impl Effects {
    /// Takes the next.
    pub fn pop(&mut self) -> Option<Effect> {
        self.0.pop_front()
    }

    fn push(&mut self, effect: Effect) {
        self.0.push_back(effect);
    }
}

/// Why a command is being ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Because {
    TooLong,
    Stopping,
    Lost(LostBy),
}

/// A command that was told to end.
#[derive(Clone, Copy, Debug)]
struct Ending {
    because: Because,
    /// When it is killed, unless it was.
    kill_at: Option<MonoTime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Running,
    Settling,
}

#[derive(Debug)]
struct Task {
    phase: Phase,
    lease_ends: MonoTime,
    renew_at: MonoTime,
    renewing: bool,
    /// When it has run too long.
    deadline: Option<MonoTime>,
    ending: Option<Ending>,
}

/// The request for jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asking {
    /// None is under way, and none is made before this.
    After(MonoTime),
    /// One is under way since then.
    Since(MonoTime),
}

/// A worker. See the crate's documentation.
#[derive(Debug)]
pub struct Worker {
    settings: Settings,
    tasks: BTreeMap<TaskId, Task>,
    asking: Asking,
    pause: Duration,
    /// When the commands that still run are ended; set once the worker is to stop.
    stopping: Option<MonoTime>,
    stopped: bool,
}

impl Worker {
    /// A worker that has no job yet.
    ///
    /// # Panics
    /// When the concurrency is not within its bounds; the command line checks it.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        assert!((1..=CONCURRENCY_MAX).contains(&settings.concurrency), "concurrency out of bounds");
        Self {
            settings,
            tasks: BTreeMap::new(),
            asking: Asking::After(MonoTime(0)),
            pause: PAUSE_MIN,
            stopping: None,
            stopped: false,
        }
    }

    /// Handles one event.
    pub fn on_event(&mut self, now: MonoTime, event: Event, out: &mut Effects) {
        match event {
            Event::Tick => {}
            Event::Received(jobs) => self.received(now, jobs, out),
            Event::Unanswered => self.pause(now),
            Event::Renewed(id, ends) => self.renewed(now, id, ends),
            Event::NotRenewed(id) => self.not_renewed(now, id),
            Event::Stale(id) => self.lose(id, LostBy::Stale, out),
            Event::Ended(id, ended) => self.ended(id, ended, out),
            Event::Settled(id) => {
                self.tasks.remove(&id);
            }
            Event::Stop => self.stop(now, out),
        }
        self.look(now, out);
    }

    /// Jobs whose commands run.
    pub fn running(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.tasks.iter().filter(|(_, task)| task.phase == Phase::Running).map(|(id, _)| *id)
    }

    /// Whether it takes no more jobs.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Asks again after a while, which grows.
    fn pause(&mut self, now: MonoTime) {
        self.asking = Asking::After(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn received(&mut self, now: MonoTime, jobs: Vec<(TaskId, MonoTime)>, out: &mut Effects) {
        let hasty = |since| now.saturating_since(since) < PAUSE_MIN;
        match self.asking {
            // A node that is stopping does not wait for jobs; nor is it asked without end.
            Asking::Since(since) if jobs.is_empty() && hasty(since) => self.pause(now),
            _ => {
                self.asking = Asking::After(now);
                self.pause = PAUSE_MIN;
            }
        }
        for (id, lease_ends) in jobs {
            let stopping = self.stopping.is_some();
            let phase = if stopping { Phase::Settling } else { Phase::Running };
            let task = Task {
                phase,
                lease_ends,
                renew_at: self.renew_at(now, lease_ends),
                renewing: false,
                deadline: self.settings.timeout.map(|timeout| now + timeout),
                ending: None,
            };
            self.tasks.insert(id, task);
            let effect =
                if stopping { Effect::Settle(id, Verdict::Release) } else { Effect::Start(id) };
            out.push(effect);
        }
    }

    /// When a lease that ends then is to be renewed.
    fn renew_at(&self, now: MonoTime, ends: MonoTime) -> MonoTime {
        let left = ends.saturating_since(now);
        let third = self.settings.visibility / RENEW_PARTS;
        // Of a lease that is shorter than asked for, a third is shorter too.
        now + third.min(left / RENEW_PARTS)
    }

    fn renewed(&mut self, now: MonoTime, id: TaskId, ends: MonoTime) {
        let at = self.renew_at(now, ends);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.renewing = false;
        task.lease_ends = ends;
        task.renew_at = at;
    }

    fn not_renewed(&mut self, now: MonoTime, id: TaskId) {
        let again = (self.settings.visibility / RENEW_AGAIN_PARTS).max(RENEW_AGAIN_MIN);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.renewing = false;
        task.renew_at = now + again;
    }

    fn lose(&mut self, id: TaskId, by: LostBy, out: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.phase == Phase::Settling {
            return;
        }
        task.renewing = false;
        let lost_already = matches!(task.ending, Some(Ending { because: Because::Lost(_), .. }));
        if lost_already {
            return;
        }
        // Somebody else may be running the job: there is nothing to wait for.
        task.ending = Some(Ending { because: Because::Lost(by), kill_at: None });
        out.push(Effect::End(id, Way::Kill));
    }

    fn ended(&mut self, id: TaskId, ended: Ended, out: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let verdict = match task.ending.map(|ending| ending.because) {
            Some(Because::Lost(by)) => {
                self.tasks.remove(&id);
                out.push(Effect::Forget(id, by));
                return;
            }
            // It may have got ready in the meantime.
            _ if ended.is_success() => Verdict::Complete,
            Some(Because::Stopping) => Verdict::Release,
            Some(Because::TooLong) => {
                let timeout = self.settings.timeout.unwrap_or_default();
                Verdict::Fail(ended.reason_after(&format!("ran longer than {timeout:?}")))
            }
            None => ended.verdict(),
        };
        task.phase = Phase::Settling;
        task.ending = None;
        out.push(Effect::Settle(id, verdict));
    }

    fn stop(&mut self, now: MonoTime, out: &mut Effects) {
        if self.stopping.is_some() {
            self.stopping = Some(now);
            return;
        }
        self.stopping = Some(now + self.settings.grace);
        if matches!(self.asking, Asking::Since(_)) {
            out.push(Effect::StopReceiving);
        }
    }

    /// Does what it is time for.
    fn look(&mut self, now: MonoTime, out: &mut Effects) {
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            self.look_at(now, id, out);
        }
        self.ask(now, out);
        let idle = self.tasks.is_empty() && !matches!(self.asking, Asking::Since(_));
        if self.stopping.is_some() && idle && !self.stopped {
            self.stopped = true;
            out.push(Effect::Stopped);
        }
    }

    fn look_at(&mut self, now: MonoTime, id: TaskId, out: &mut Effects) {
        let stop = self.stopping.is_some_and(|at| at <= now);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.phase == Phase::Settling {
            return;
        }
        if task.lease_ends <= now {
            self.lose(id, LostBy::Expiry, out);
            return;
        }
        if let Some(ending) = &mut task.ending {
            if ending.kill_at.is_some_and(|at| at <= now) {
                ending.kill_at = None;
                out.push(Effect::End(id, Way::Kill));
            }
        } else if let Some(because) = match task.deadline {
            _ if stop => Some(Because::Stopping),
            Some(deadline) if deadline <= now => Some(Because::TooLong),
            _ => None,
        } {
            task.ending = Some(Ending { because, kill_at: Some(now + KILL_AFTER) });
            out.push(Effect::End(id, Way::Ask));
        }
        let lost = matches!(task.ending, Some(Ending { because: Because::Lost(_), .. }));
        if !lost && !task.renewing && task.renew_at <= now {
            task.renewing = true;
            out.push(Effect::Renew(id));
        }
    }

    fn ask(&mut self, now: MonoTime, out: &mut Effects) {
        let free = self.settings.concurrency.saturating_sub(self.tasks.len());
        let due = matches!(self.asking, Asking::After(at) if at <= now);
        if self.stopping.is_none() && due && free > 0 {
            self.asking = Asking::Since(now);
            out.push(Effect::Receive(free.min(JOBS_PER_REQUEST_MAX)));
        }
    }
}

#[cfg(test)]
mod tests;
