//! Commands on state: gathered writes, reads, transactions, strong namespaces.

use bytes::Bytes;
use rhumb_engine::{
    ChooseError, Request, StrongError, StrongRequest, WriteError, node::SubmitError,
};
use rhumb_resp::Writer;
use rhumb_state::{
    Choice, Op, OpError, Query, Reply, lower, query::Cursor, reply::together, strong::StrongStep,
};
use rhumb_types::{AckLevel, Consistency, DomainId};

use crate::{
    command::{CommandError, Scan, ScanOf, Shape, Step},
    connection::{Connection, Queue, Queued},
    limits, render,
};

const CROSS: &str = "CROSSSLOT keys of strong namespaces, of other jurisdictions and all others cannot \
                     be mixed";
const EXEC_ELSEWHERE: &str = "CROSSSLOT a transaction over keys of another jurisdiction is not forwarded: \
                              connect to a region that has them";
const WATCH_ELSEWHERE: &str = "CROSSSLOT a key of another jurisdiction cannot be watched from here: \
                               connect to a region that has it";
const NO_CONTROL: &str = "UNAVAILABLE the control plane of this node is not running";

/// Where the keys of a step live.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// In this region's rows.
    Here(AckLevel),
    /// In the strong group.
    Strong,
    /// In regions of a residency domain that this one does not carry.
    Elsewhere(DomainId),
    /// Some here and some there.
    Several,
}

impl Connection {
    fn home(&self, step: &Step) -> Home {
        let engine = &self.shared.engine;
        let mut home = None;
        step.keys(&mut |key| {
            let policy = engine.policy(key);
            let of_key = if policy.consistency == Consistency::Strong {
                Home::Strong
            } else if engine.carries(policy.domain) {
                Home::Here(policy.ack)
            } else {
                Home::Elsewhere(policy.domain)
            };
            home = Some(match (home, of_key) {
                (None, home) => home,
                (Some(Home::Here(one)), Home::Here(other)) => Home::Here(one.max(other)),
                (Some(home), of_key) if home == of_key => home,
                _ => Home::Several,
            });
        });
        home.unwrap_or(Home::Here(AckLevel::default()))
    }

    /// A command on state, outside a transaction.
    pub(crate) async fn step(&mut self, step: Step) {
        match (self.home(&step), step.what) {
            (Home::Several, _) => self.cross().await,
            (Home::Elsewhere(domain), what) => {
                self.settle().await;
                let answer = self.shared.engine.forward(domain, what, None).await;
                let answer = answer.map_err(|error| render::forward_error(&error));
                self.write_result(answer, step.shape);
            }
            (Home::Strong, what) => {
                self.settle().await;
                let replies = self.strong(std::iter::once(what)).await;
                let reply = replies.map(|replies| replies.into_iter().next().unwrap_or(Reply::Nil));
                self.write_result(reply.map_err(Aborted::into_error), step.shape);
            }
            (Home::Here(ack), StrongStep::Write(op)) => {
                let full = self.gathered.len() >= limits::WRITES_TOGETHER_MAX;
                if full || (!self.gathered.is_empty() && ack != self.gathered_ack) {
                    self.settle().await;
                }
                self.gathered_ack = ack;
                self.gathered.push(Step { what: StrongStep::Write(op), shape: step.shape });
            }
            (Home::Here(_), StrongStep::Read(query)) => {
                self.settle().await;
                self.read(&query, step.shape).await;
            }
            (Home::Here(_), StrongStep::Choose(choice)) => {
                self.settle().await;
                let reply = self.choose(&choice).await;
                self.write_result(reply, step.shape);
            }
        }
    }

    async fn cross(&mut self) {
        self.settle().await;
        self.writer().error(CROSS);
    }

    /// Executes the writes that have gathered, and writes their replies.
    pub(crate) async fn settle(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let steps = std::mem::take(&mut self.gathered);
        let mut shapes = Vec::with_capacity(steps.len());
        let mut ops = Vec::with_capacity(steps.len());
        for step in steps {
            if let StrongStep::Write(op) = step.what {
                ops.push(op);
                shapes.push(step.shape);
            }
        }
        let request = Request { ack: Some(self.gathered_ack), ..Request::new(ops) };
        match self.shared.engine.write(request).await {
            Ok(answer) => {
                self.written.merge(&answer.written);
                for (reply, shape) in answer.replies.into_iter().zip(shapes) {
                    self.answer(reply, shape);
                }
            }
            Err(error) => {
                let error = render::write_error(&error);
                let mut out = self.writer();
                shapes.iter().for_each(|_| out.error(&error));
            }
        }
    }

    /// A read from this region's rows, not before what the session has seen.
    async fn read(&mut self, query: &Query, shape: Shape) {
        if let Some(seen) = &self.session
            && !self.shared.engine.has_applied(seen, limits::WAIT_MAX).await
        {
            let late = "UNAVAILABLE this region has not caught up with the session";
            return self.writer().error(late);
        }
        let answer = self.shared.engine.query(query);
        self.write_result(answer.map_err(|error| render::read_error(&error)), shape);
    }

    fn write_result(&mut self, result: Result<Reply, String>, shape: Shape) {
        match result {
            Ok(reply) => self.answer(reply, shape),
            Err(error) => self.writer().error(&error),
        }
    }

    /// A write that chooses its members.
    async fn choose(&mut self, choice: &Choice) -> Result<Reply, String> {
        let answer = self.shared.engine.choose(choice, None).await;
        let answer = answer.map_err(|error| match error {
            ChooseError::Read(error) => render::read_error(&error),
            ChooseError::Write(error) => render::write_error(&error),
        })?;
        self.written.merge(&answer.written);
        Ok(together(answer.replies))
    }

    fn lowered(&self, choice: &Choice) -> Result<Vec<Op>, String> {
        let now = self.shared.engine.clock().now().wall;
        let snapshot = self.shared.engine.snapshot();
        lower(choice, now, &snapshot).map_err(|error| render::read_error(&error))
    }

    /// The step that reads a page of a scan.
    pub(crate) fn scan(&self, scan: Scan) -> Result<Step, CommandError> {
        let unknown = "this cursor is of another node, or too old: start the scan again at 0";
        let after = match scan.cursor {
            0 => None,
            cursor => {
                let place = self.shared.cursors.place(cursor);
                Some(place.ok_or(CommandError::Other(unknown))?)
            }
        };
        let cursor = Cursor { after, pattern: scan.pattern, count: scan.count };
        let query = match scan.of {
            ScanOf::Keys(kind) => Query::Scan { cursor, kind },
            ScanOf::Hash(key) => Query::HScan { key, cursor, values: true },
            ScanOf::Set(key) => Query::SScan { key, cursor },
            ScanOf::SortedSet(key) => Query::ZScan { key, cursor },
        };
        Ok(Step { what: StrongStep::Read(query), shape: Shape::Plain })
    }

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

    /// Writes a reply in the client's protocol.
    fn answer(&mut self, reply: Reply, shape: Shape) {
        let mut out = Writer::new(&mut self.outgoing, self.protocol);
        render::reply(&mut out, reply, shape, &self.shared.cursors);
    }

    /// Steps in the strong group, as one entry of its log.
    async fn strong(
        &mut self,
        steps: impl Iterator<Item = StrongStep>,
    ) -> Result<Vec<Reply>, Aborted> {
        let away = || Aborted::Refused(NO_CONTROL.to_owned());
        let client = self.shared.engine.strong().ok_or_else(away)?;
        // The strong machine knows no namespaces.
        let usual = |what: StrongStep| match what {
            StrongStep::Write(op) => {
                let mut ttl = None;
                op.keys(&mut |key| ttl = ttl.or(self.shared.engine.policy(key).ttl));
                StrongStep::Write(op.or_ttl(ttl))
            }
            other => other,
        };
        let steps: Vec<StrongStep> = steps.map(usual).collect();
        // A read alone needs no entry in the log.
        let answer = match steps.as_slice() {
            [StrongStep::Read(query)] if self.strong_watch.is_empty() => {
                client.query(query.clone()).await.map(|reply| vec![reply])
            }
            _ => {
                let if_unchanged = std::mem::take(&mut self.strong_watch);
                let request = StrongRequest { if_unchanged, ..StrongRequest::new(steps) };
                client.execute(request).await.map(|answer| answer.replies)
            }
        };
        answer.map_err(|error| match error {
            StrongError::Changed => Aborted::Changed,
            error => Aborted::Refused(render::strong_error(&error)),
        })
    }

    async fn exec_here(&mut self, steps: &[Step]) -> Result<Vec<Reply>, Aborted> {
        for _ in 0..limits::CHOICES_MAX {
            match self.try_exec(steps).await {
                Err(Aborted::Changed) if !self.watching => {}
                done => return done,
            }
        }
        let busy = "TRYAGAIN the keys of the transaction change all the time";
        Err(Aborted::Refused(busy.to_owned()))
    }

    async fn try_exec(&mut self, steps: &[Step]) -> Result<Vec<Reply>, Aborted> {
        let first_write = steps.iter().position(|step| !matches!(step.what, StrongStep::Read(_)));
        let chosen = steps.iter().any(|step| matches!(step.what, StrongStep::Choose(_)));
        let reads_first = first_write.is_some_and(|at| at > 0);
        let guard = self.watching || ((reads_first || chosen) && first_write.is_some());
        if guard && !self.watching {
            let mut keys = Vec::new();
            for step in steps {
                step.keys(&mut |key| keys.push(key.clone()));
            }
            self.shared.engine.watch(self.id, keys).await;
        }
        let result = self.run_exec(steps, first_write, guard).await;
        if guard && !self.watching {
            self.shared.engine.unwatch(self.id).await;
        }
        result
    }

    async fn run_exec(
        &mut self,
        steps: &[Step],
        first_write: Option<usize>,
        guard: bool,
    ) -> Result<Vec<Reply>, Aborted> {
        let first_write = first_write.unwrap_or(steps.len());
        let (before, rest) = steps.split_at(first_write);
        let mut replies = self.answers(before)?;
        let mut ops = Vec::new();
        let mut counts = Vec::new();
        for step in rest {
            let lowered = match &step.what {
                StrongStep::Write(op) => vec![op.clone()],
                StrongStep::Choose(choice) => self.lowered(choice).map_err(Aborted::Refused)?,
                StrongStep::Read(_) => Vec::new(),
            };
            counts.push(lowered.len());
            ops.extend(lowered);
        }
        if ops.is_empty() && !guard {
            return Ok(replies);
        }
        let request =
            Request { atomic: true, guard: guard.then_some(self.id), ..Request::new(ops) };
        let answer = match self.shared.engine.write(request).await {
            Ok(answer) => answer,
            Err(WriteError::Refused(SubmitError::Guarded)) => return Err(Aborted::Changed),
            Err(error) => return Err(Aborted::Refused(render::write_error(&error))),
        };
        self.written.merge(&answer.written);
        let mut written = answer.replies.into_iter();
        for (step, count) in rest.iter().zip(counts) {
            if matches!(step.what, StrongStep::Read(_)) {
                replies.extend(self.answers(std::slice::from_ref(step))?);
            } else {
                replies.push(together(written.by_ref().take(count).collect()));
            }
        }
        Ok(replies)
    }

    /// Reads of one moment.
    fn answers(&self, steps: &[Step]) -> Result<Vec<Reply>, Aborted> {
        let now = self.shared.engine.clock().now().wall;
        let snapshot = self.shared.engine.snapshot();
        let mut replies = Vec::with_capacity(steps.len());
        for step in steps {
            let StrongStep::Read(query) = &step.what else { continue };
            let reply = rhumb_state::answer(query, now, &snapshot);
            replies.push(reply.or_else(|error| match error {
                rhumb_state::QueryError::WrongType => Ok(Reply::Error(OpError::WrongType)),
                other => Err(Aborted::Refused(render::read_error(&other))),
            })?);
        }
        Ok(replies)
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

/// Why a transaction did not go through.
enum Aborted {
    /// A watched key has changed.
    Changed,
    /// It was refused, with this error.
    Refused(String),
}

impl Aborted {
    fn into_error(self) -> String {
        match self {
            Self::Changed => "TRYAGAIN a watched key has changed".to_owned(),
            Self::Refused(error) => error,
        }
    }
}
