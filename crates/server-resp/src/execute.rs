//! Commands on state: gathered writes, reads, strong namespaces.

use rhumb_engine::{ChooseError, Request, StrongError, StrongRequest};
use rhumb_resp::Writer;
use rhumb_state::{Choice, Query, Reply, query::Cursor, reply::together, strong::StrongStep};
use rhumb_types::{AckLevel, Consistency, DomainId};

use crate::{
    command::{CommandError, Scan, ScanOf, Shape, Step},
    connection::{Connection, Gathered},
    limits, render,
};

pub(crate) const CROSS: &str = "CROSSSLOT keys of strong namespaces, of other jurisdictions and all others cannot \
                     be mixed";
pub(crate) const EXEC_ELSEWHERE: &str = "CROSSSLOT a transaction over keys of another jurisdiction is not forwarded: \
                              connect to a region that has them";
pub(crate) const WATCH_ELSEWHERE: &str = "CROSSSLOT a key of another jurisdiction cannot be watched from here: \
                               connect to a region that has it";
const NO_CONTROL: &str = "UNAVAILABLE the control plane of this node is not running";

/// Where the keys of a step live.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
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
    pub(crate) fn home(&self, step: &Step) -> Home {
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
                self.gathered.push(Gathered { op, shape: step.shape, place: self.place });
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
        let gathered = std::mem::take(&mut self.gathered);
        let mut answers = Vec::with_capacity(gathered.len());
        let mut ops = Vec::with_capacity(gathered.len());
        for Gathered { op, shape, place } in gathered {
            ops.push(op);
            answers.push((shape, place));
        }
        let request = Request { ack: Some(self.gathered_ack), ..Request::new(ops) };
        match self.shared.engine.write(request).await {
            Ok(answer) => {
                self.written.merge(&answer.written);
                for (reply, (shape, place)) in answer.replies.into_iter().zip(answers) {
                    self.answer(reply, shape);
                    self.tally_reply(place);
                }
            }
            Err(error) => {
                let error = render::write_error(&error);
                for (_, place) in answers {
                    self.writer().error(&error);
                    self.tally_reply(place);
                }
            }
        }
    }

    /// A read from this region's rows, not before what the session has seen.
    async fn read(&mut self, query: &Query, shape: Shape) {
        if let Err(late) = self.catch_up().await {
            return self.writer().error(late);
        }
        let answer = self.shared.engine.query(query);
        self.write_result(answer.map_err(|error| render::read_error(&error)), shape);
    }

    /// Waits until this region has what the session has seen.
    pub(crate) async fn catch_up(&self) -> Result<(), &'static str> {
        match &self.session {
            Some(seen) if !self.shared.engine.has_applied(seen, limits::WAIT_MAX).await => {
                Err("UNAVAILABLE this region has not caught up with the session")
            }
            _ => Ok(()),
        }
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

    /// Writes a reply in the client's protocol.
    pub(crate) fn answer(&mut self, reply: Reply, shape: Shape) {
        let mut out = Writer::new(&mut self.outgoing, self.protocol);
        render::reply(&mut out, reply, shape, &self.shared.cursors);
    }

    /// Steps in the strong group, as one entry of its log.
    pub(crate) async fn strong(
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
}

/// Why a transaction did not go through.
pub(crate) enum Aborted {
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
