//! MULTI, EXEC and WATCH.
//!
//! The writes of a transaction go to the engine as one, and with them reads that name what they
//! read. A transaction that reads ranges, or chooses its members, is played through on a snapshot
//! first, in order, so that a read sees the
//! writes before it and nothing else; its writes are then executed only if no key of it has changed
//! meanwhile, else it is played through again. So all of it happens at one moment, as in Redis.

use bytes::Bytes;
use rhumb_engine::{Request, WriteError, node::SubmitError};
use rhumb_state::{
    CellScan, MEMBERS_UNKNOWN, Op, OpError, QueryError, Reply, reply::together, strong::StrongStep,
};
use rhumb_types::Consistency;

use crate::{
    command::Step,
    connection::{Connection, Queue, Queued},
    execute::{Aborted, CROSS, EXEC_ELSEWHERE, Home, WATCH_ELSEWHERE},
    limits, render,
};

impl Connection {
    /// `EXEC`: all in one transaction, or one entry of the strong group.
    pub(crate) async fn exec(&mut self, queue: Queue) {
        let steps = queue.commands.iter().filter_map(|command| match command {
            Queued::Step(step) => Some(step.clone()),
            Queued::Control(..) | Queued::Wrong(_) => None,
        });
        let steps: Vec<Step> = steps.collect();
        let mut homes: Vec<Home> = steps.iter().map(|step| self.home(step)).collect();
        homes.dedup_by(|a, b| a == b || matches!((a, b), (Home::Here(_), Home::Here(_))));
        let done = match homes.as_slice() {
            [] | [Home::Here(_)] => self.exec_here(&steps).await,
            [Home::Strong] => self.strong(steps.into_iter().map(|step| step.what)).await,
            [Home::Elsewhere(_)] => Err(Aborted::Refused(EXEC_ELSEWHERE.to_owned())),
            _ => Err(Aborted::Refused(CROSS.to_owned())),
        };
        self.unwatch().await;
        match done {
            Ok(replies) => self.answer_exec(queue.commands, replies).await,
            Err(Aborted::Changed) => self.writer().null_array(),
            Err(Aborted::Refused(error)) => self.writer().error(&error),
        }
    }

    async fn answer_exec(&mut self, commands: Vec<Queued>, replies: Vec<Reply>) {
        self.writer().array(commands.len());
        let mut replies = replies.into_iter();
        for command in commands {
            match command {
                Queued::Step(step) => {
                    self.answer(replies.next().unwrap_or(Reply::Nil), step.shape);
                }
                Queued::Wrong(error) => self.writer().error(&error.to_string()),
                Queued::Control(control, words) => {
                    // Boxed, because EXEC is a control too; none is ever queued.
                    if let Err(error) = Box::pin(self.control(control, words)).await {
                        self.writer().error(&error.to_string());
                    }
                }
            }
        }
    }

    async fn exec_here(&mut self, steps: &[Step]) -> Result<Vec<Reply>, Aborted> {
        let is_write = |step: &Step| matches!(step.what, StrongStep::Write(_));
        if steps.iter().all(is_write) {
            return self.exec_writes(steps).await;
        }
        if self.is_of_points(steps) {
            return self.exec_points(steps).await;
        }
        self.catch_up().await.map_err(|late| Aborted::Refused(late.to_owned()))?;
        let is_read = |step: &Step| matches!(step.what, StrongStep::Read(_));
        if steps.iter().all(is_read) && !self.watching {
            return self.rehearse(steps).map(|(replies, _)| replies);
        }
        match self.exec_rehearsed(steps).await {
            Err(Aborted::Changed) if !self.watching => {}
            done => return done,
        }
        // Those that change the same keys all the time take turns, so that each gets through.
        let shared = self.shared.clone();
        let _turn = shared.contended.lock().await;
        for _ in 1..limits::REHEARSALS_MAX {
            match self.exec_rehearsed(steps).await {
                Err(Aborted::Changed) => {}
                done => return done,
            }
        }
        let busy = "TRYAGAIN the keys of the transaction change all the time";
        Err(Aborted::Refused(busy.to_owned()))
    }

    /// Writes alone, which are executed in order and need no rehearsal.
    async fn exec_writes(&mut self, steps: &[Step]) -> Result<Vec<Reply>, Aborted> {
        let ops = steps.iter().filter_map(|step| match &step.what {
            StrongStep::Write(op) => Some(op.clone()),
            StrongStep::Read(_) | StrongStep::Choose(_) => None,
        });
        self.submit(ops.collect(), self.watching).await
    }

    /// Whether its reads can be answered where its writes are executed. Nearly always so, where
    /// they name what they read; the exceptions may still come up in between, and are then an
    /// error of the one read.
    fn is_of_points(&self, steps: &[Step]) -> bool {
        let engine = &self.shared.engine;
        let lane = |key: &Bytes| {
            let policy = engine.policy(key);
            (policy.domain, policy.consistency == Consistency::Cache)
        };
        let (mut lanes, mut counted, mut writes) = (None, true, false);
        for step in steps {
            match &step.what {
                StrongStep::Write(_) => writes = true,
                StrongStep::Read(query) if query.is_point() => {}
                StrongStep::Read(_) | StrongStep::Choose(_) => return false,
            }
            step.keys(&mut |key| {
                counted &= *lanes.get_or_insert_with(|| lane(key)) == lane(key);
                let head = engine.reader().head(key).ok().flatten();
                counted &= head.is_none_or(|head| head.members != MEMBERS_UNKNOWN);
            });
        }
        writes && counted
    }

    /// Writes and point reads, which the node executes in order.
    async fn exec_points(&mut self, steps: &[Step]) -> Result<Vec<Reply>, Aborted> {
        self.catch_up().await.map_err(|late| Aborted::Refused(late.to_owned()))?;
        let ops = steps.iter().filter_map(|step| match &step.what {
            StrongStep::Write(op) => Some(op.clone()),
            StrongStep::Read(query) => Some(Op::Look { query: query.clone() }),
            StrongStep::Choose(_) => None,
        });
        self.submit(ops.collect(), self.watching).await
    }

    /// One rehearsal, and the writes if its keys have not changed since.
    async fn exec_rehearsed(&mut self, steps: &[Step]) -> Result<Vec<Reply>, Aborted> {
        let mut keys = Vec::new();
        for step in steps {
            step.keys(&mut |key| keys.push(key.clone()));
        }
        self.shared.engine.watch(self.id, keys).await;
        let done = match self.rehearse(steps) {
            Ok((replies, ops)) => self.submit(ops, true).await.map(|_| replies),
            Err(error) => Err(error),
        };
        if !self.watching {
            self.shared.engine.unwatch(self.id).await;
        }
        done
    }

    /// Plays a transaction through: what it answers, and what it writes.
    fn rehearse(&self, steps: &[Step]) -> Result<(Vec<Reply>, Vec<Op>), Aborted> {
        let engine = &self.shared.engine;
        let failed = |error| Aborted::Refused(render::read_error(&QueryError::Scan(error)));
        let mut rehearsal = engine.rehearsal().map_err(failed)?;
        let ttl = |key: &Bytes| engine.policy(key).ttl;
        let (mut replies, mut written) = (Vec::with_capacity(steps.len()), Vec::new());
        for step in steps {
            let ops = match &step.what {
                StrongStep::Read(query) => {
                    replies.push(rehearsal.read(query).or_else(own_error)?);
                    continue;
                }
                StrongStep::Write(op) => vec![op.clone()],
                StrongStep::Choose(choice) => match rehearsal.lower(choice) {
                    Ok(ops) => ops,
                    Err(error) => {
                        replies.push(own_error(error)?);
                        continue;
                    }
                },
            };
            let done: Result<Vec<Reply>, _> =
                ops.iter().map(|op| rehearsal.write(op, &ttl)).collect();
            replies.push(together(done.map_err(failed)?));
            written.extend(ops);
        }
        Ok((replies, written))
    }

    /// Executes writes as one transaction.
    async fn submit(&mut self, ops: Vec<Op>, guarded: bool) -> Result<Vec<Reply>, Aborted> {
        if ops.is_empty() && !guarded {
            return Ok(Vec::new());
        }
        let guard = guarded.then_some(self.id);
        let request = Request { atomic: true, guard, ..Request::new(ops) };
        match self.shared.engine.write(request).await {
            Ok(answer) => {
                self.written.merge(&answer.written);
                Ok(answer.replies)
            }
            Err(WriteError::Refused(SubmitError::Guarded)) => Err(Aborted::Changed),
            Err(error) => Err(Aborted::Refused(render::write_error(&error))),
        }
    }

    /// `WATCH`.
    pub(crate) async fn watch(&mut self, keys: Vec<Bytes>) -> Result<(), String> {
        let strong =
            |key: &Bytes| self.shared.engine.policy(key).consistency == Consistency::Strong;
        if !keys.iter().all(|key| strong(key) || self.shared.engine.lies_here(key)) {
            return Err(WATCH_ELSEWHERE.to_owned());
        }
        let (strong, here): (Vec<_>, Vec<_>) = keys.into_iter().partition(strong);
        if !strong.is_empty() {
            let client = self.shared.engine.strong();
            let client = client.ok_or("UNAVAILABLE the control plane is not running")?;
            let versions = client.versions(strong.clone()).await;
            let versions = versions.map_err(|error| render::strong_error(&error))?;
            self.strong_watch.extend(strong.into_iter().zip(versions));
        }
        if !here.is_empty() {
            self.shared.engine.watch(self.id, here).await;
            self.watching = true;
        }
        Ok(())
    }

    /// `UNWATCH`.
    pub(crate) async fn unwatch(&mut self) {
        self.strong_watch.clear();
        if std::mem::take(&mut self.watching) {
            self.shared.engine.unwatch(self.id).await;
        }
    }
}

/// What is wrong with one command of a transaction is its own answer; a source that fails ends all.
fn own_error(error: rhumb_engine::ReadError) -> Result<Reply, Aborted> {
    match error {
        QueryError::WrongType => Ok(Reply::Error(OpError::WrongType)),
        QueryError::TooLarge => Ok(Reply::Error(OpError::ReplyTooLarge)),
        QueryError::Options(clash) => Ok(Reply::Error(OpError::Options(clash))),
        QueryError::Scan(_) => Err(Aborted::Refused(render::read_error(&error))),
    }
}
