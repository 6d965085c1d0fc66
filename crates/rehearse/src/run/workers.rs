//! Workers: each stands beside the node of its region and has one job at a time.
//!
//! A worker keeps to its own node. While that does not answer it goes on with the job that it has, until
//! its lease runs out; then it lets go. The workers of a region that is down are gone with it, and start
//! anew when it is back.

use rhumb_queue::{Answer, Ask, Leased, Receipt, Receive, Refused};

use super::{
    Run,
    agenda::What,
    work::{Deed, Pending},
};
use crate::time::{Micros, SECOND, micros};

/// How long a worker's wish waits for a job, as that of `rhumb worker` does.
const POLL: Micros = 20 * SECOND;
/// How much longer it waits for the answer.
const GRACE: Micros = SECOND;
/// The pause after something did not work.
const PAUSE: Micros = SECOND;
/// A lease is renewed after so many parts of it.
const RENEWALS: u64 = 3;

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// The host of its region.
    pub(super) host: usize,
    /// Counts its wishes; what belongs to an earlier one is over.
    turn: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It has nothing, and asks or waits.
    Idle,
    /// It works on a job.
    Busy(Hold),
    /// It is through, and says so.
    Through(Hold),
    /// Its region is down.
    Gone,
}

/// A job in its hands.
#[derive(Clone, Debug)]
struct Hold {
    receipt: Receipt,
    job: u64,
    /// Until when it is its own.
    ends: Micros,
}

impl Worker {
    pub(super) const fn of(host: usize) -> Self {
        Self { host, turn: 0, state: State::Idle }
    }

    pub(super) const fn is_busy(&self) -> bool {
        matches!(self.state, State::Busy(_) | State::Through(_))
    }
}

impl Run<'_> {
    fn worker(&mut self, worker: usize, turn: u64) -> Option<&mut Worker> {
        let worker = self.work.as_mut()?.workers.get_mut(worker)?;
        (worker.turn == turn).then_some(worker)
    }

    /// A worker asks its node for a job.
    pub(super) fn wish(&mut self, nth: usize, turn: u64) {
        let now = self.stage.now();
        let Some(worker) = self.worker(nth, turn) else { return };
        if !matches!(worker.state, State::Idle) || now >= self.end {
            return;
        }
        let Some(host) = self.worker(nth, turn).map(|worker| worker.host) else { return };
        if !self.stage.is_there(host) {
            return self.agenda.plan(now + PAUSE, What::Work(Deed::Ask { worker: nth, turn }));
        }
        let clock = self
            .stage
            .world
            .hosts
            .get(host)
            .map(|machine| machine.clock(self.stage.world.now().saturating_add(POLL)).mono);
        let (Some(until), Some(work)) = (clock, &mut self.work) else { return };
        let request = work.request(host, Pending::Hand { worker: nth, turn });
        let receive = Receive {
            queue: work.queue.clone(),
            jobs_max: 1,
            visibility: None,
            until,
            worker: "worker".into(),
        };
        self.stage.world.ask_queues(host, request, Ask::Receive(receive));
        let silent = What::Work(Deed::Silent { worker: nth, turn });
        self.agenda.plan(now + POLL + GRACE, silent);
    }

    /// A worker asks anew: no answer came, or nothing was in it.
    pub(super) fn wish_again(&mut self, nth: usize, turn: u64) {
        let Some(worker) = self.worker(nth, turn) else { return };
        if matches!(worker.state, State::Idle) {
            worker.turn += 1;
            let turn = worker.turn;
            self.wish(nth, turn);
        }
    }

    pub(super) fn handed(&mut self, nth: usize, turn: u64, result: Result<Answer, Refused>) {
        let now = self.stage.now();
        let leased = match result {
            Ok(Answer::Received(mut jobs)) => jobs.pop(),
            Ok(_) => None,
            Err(_) => {
                let again = What::Work(Deed::Silent { worker: nth, turn });
                return self.agenda.plan(now + PAUSE, again);
            }
        };
        match leased {
            Some(leased) => {
                let way = micros(crate::paths::CLIENT_ROUND_TRIP) / 2;
                let handed = Deed::Handed { worker: nth, turn, leased: Box::new(leased) };
                self.agenda.plan(now + way, What::Work(handed));
            }
            None => self.wish_again(nth, turn),
        }
    }

    pub(super) fn begin_job(&mut self, nth: usize, turn: u64, leased: Leased) {
        let now = self.stage.now();
        let Some(jobs) = &self.rehearsal.jobs else { return };
        let visibility = micros(jobs.definition.visibility);
        let number: Option<[u8; 8]> = leased.job.body.as_ref().try_into().ok();
        let (Some(work), Some(number)) = (&mut self.work, number) else { return };
        let job = u64::from_be_bytes(number);
        let Some(worker) = work.workers.get_mut(nth).filter(|worker| worker.turn == turn) else {
            return;
        };
        if !matches!(worker.state, State::Idle) {
            return;
        }
        let hold = Hold { receipt: leased.receipt, job, ends: now + visibility };
        worker.state = State::Busy(hold);
        work.ledger.begun(job, worker.host);
        let takes = jobs.takes.draw(&mut work.random);
        let finish = What::Work(Deed::Finish { worker: nth, turn });
        self.agenda.plan(now + takes, finish);
        if takes > visibility / RENEWALS {
            let renew = What::Work(Deed::Renew { worker: nth, turn });
            self.agenda.plan(now + visibility / RENEWALS, renew);
        }
    }

    /// A worker needs its job for longer, or has it no more.
    pub(super) fn renew(&mut self, nth: usize, turn: u64) {
        let now = self.stage.now();
        let Some(jobs) = &self.rehearsal.jobs else { return };
        let visibility = jobs.definition.visibility;
        let Some(worker) = self.worker(nth, turn) else { return };
        let State::Busy(hold) = &worker.state else { return };
        let (receipt, ends, host) = (hold.receipt.clone(), hold.ends, worker.host);
        if now >= ends {
            return self.let_go(nth, turn);
        }
        if self.stage.is_there(host)
            && let Some(work) = &mut self.work
        {
            let request = work.request(host, Pending::Renew { worker: nth, turn });
            self.stage.world.ask_queues(host, request, Ask::Extend { receipt, visibility });
        }
        let next = (now + micros(visibility) / RENEWALS).min(ends.max(now + PAUSE));
        self.agenda.plan(next, What::Work(Deed::Renew { worker: nth, turn }));
    }

    pub(super) fn renewed(&mut self, nth: usize, turn: u64, result: &Result<Answer, Refused>) {
        let now = self.stage.now();
        let Some(jobs) = &self.rehearsal.jobs else { return };
        let visibility = micros(jobs.definition.visibility);
        let over = is_over(result);
        let Some(worker) = self.worker(nth, turn) else { return };
        match &mut worker.state {
            State::Busy(_) if over => self.let_go(nth, turn),
            State::Busy(hold) if result.is_ok() => hold.ends = now + visibility,
            _ => {}
        }
    }

    /// A worker is through with its job.
    pub(super) fn finish_job(&mut self, nth: usize, turn: u64) {
        let Some(worker) = self.worker(nth, turn) else { return };
        if let State::Busy(hold) = &worker.state {
            worker.state = State::Through(hold.clone());
            self.report(nth, turn);
        }
    }

    /// A worker says that it is through, until that is heard or its job is no longer its own.
    pub(super) fn report(&mut self, nth: usize, turn: u64) {
        let now = self.stage.now();
        let Some(worker) = self.worker(nth, turn) else { return };
        let State::Through(hold) = &worker.state else { return };
        let (receipt, ends, host) = (hold.receipt.clone(), hold.ends, worker.host);
        if now >= ends {
            return self.let_go(nth, turn);
        }
        if self.stage.is_there(host)
            && let Some(work) = &mut self.work
        {
            let request = work.request(host, Pending::End { worker: nth, turn });
            let receipts = vec![receipt];
            self.stage.world.ask_queues(host, request, Ask::Complete { receipts });
        }
        self.agenda.plan(now + PAUSE, What::Work(Deed::Report { worker: nth, turn }));
    }

    pub(super) fn ended_job(&mut self, nth: usize, turn: u64, result: &Result<Answer, Refused>) {
        let Some(work) = &mut self.work else { return };
        let Some(worker) = work.workers.get_mut(nth).filter(|worker| worker.turn == turn) else {
            return;
        };
        let State::Through(hold) = &worker.state else { return };
        let done = match result {
            Ok(Answer::Completed(all)) => all.iter().all(Result::is_ok),
            _ => false,
        };
        if done {
            work.ledger.done(hold.job);
        }
        if done || is_over(result) {
            self.let_go(nth, turn);
        }
    }

    /// A worker has nothing any more, and asks for the next job.
    fn let_go(&mut self, nth: usize, turn: u64) {
        if let Some(worker) = self.worker(nth, turn) {
            worker.state = State::Idle;
            self.wish_again(nth, turn);
        }
    }

    /// A process has ended: it answers nobody any more.
    pub(super) fn queues_ended(&mut self, host: usize) {
        let now = self.stage.now();
        let Some(work) = &mut self.work else { return };
        let of_host = work.asked.extract_if(.., |(of, _), _| *of == host);
        let pending: Vec<Pending> = of_host.map(|(_, pending)| pending).collect();
        for pending in pending {
            // Its connection is reset.
            if let Pending::Hand { worker, turn } = pending {
                self.agenda.plan(now + PAUSE, What::Work(Deed::Silent { worker, turn }));
            }
        }
    }

    /// The workers of regions that are down are gone; those of regions that are back start anew.
    pub(super) fn workers_follow(&mut self) {
        let now = self.stage.now();
        let Some(work) = &mut self.work else { return };
        let machines = &self.stage.condition.machines;
        let mut back = Vec::new();
        for (nth, worker) in work.workers.iter_mut().enumerate() {
            let down = machines.get(worker.host).is_some_and(|machine| machine.down);
            match (&worker.state, down) {
                (State::Gone, false) => {
                    worker.state = State::Idle;
                    back.push((nth, worker.turn));
                }
                (State::Gone, true) | (_, false) => {}
                (_, true) => {
                    worker.turn += 1;
                    worker.state = State::Gone;
                }
            }
        }
        for (worker, turn) in back {
            self.agenda.plan(now + PAUSE, What::Work(Deed::Ask { worker, turn }));
        }
    }
}

/// Whether a receipt counts no more.
fn is_over(result: &Result<Answer, Refused>) -> bool {
    let over = |refused: &Refused| matches!(refused, Refused::Stale | Refused::Gone);
    match result {
        Err(refused) => over(refused),
        Ok(Answer::Completed(all)) => all.iter().any(|one| one.as_ref().is_err_and(over)),
        Ok(_) => false,
    }
}
