//! The loop: one thread that owns the node.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rhumb_node::{Effect, Effects, Event, Node, RequestId, oversee::Leases};
use rhumb_ports::clock::Clock;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    limits::{COMMIT_LINGER_MAX, EVENTS_PER_FLUSH_MAX, SIBLINGS_MAX, SIBLINGS_MIN},
    load::Load,
    own::OwnedAnswer,
    queues,
    request::{Answer, WriteError},
    world::World,
};

/// What reaches the loop.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something happened.
    Event(Event),
    /// A client's writes, and where the answer goes.
    Write(Event, RequestId, oneshot::Sender<Result<Answer, WriteError>>),
    /// A machine's owned rows, and where the answer goes.
    Own(Event, RequestId, OwnedReply),
    /// A `WAIT`, and where the answer goes.
    Wait(Event, RequestId, oneshot::Sender<usize>),
    /// Commit what has gathered, then end the loop.
    Stop,
}

/// Where the answer about owned rows goes.
#[derive(Debug)]
pub(crate) enum OwnedReply {
    /// To a caller.
    Caller(oneshot::Sender<Result<OwnedAnswer, WriteError>>),
    /// To the queues, after the rows that were committed with it.
    Queues(rhumb_queue::Token, mpsc::Sender<queues::Input>),
}

impl OwnedReply {
    fn send(self, result: Result<OwnedAnswer, WriteError>) {
        match self {
            // A caller that has gone away wants no answer, nor do queues that have stopped.
            Self::Caller(answer) => {
                let _gone = answer.send(result);
            }
            Self::Queues(token, inbox) => {
                let result = queues::answered(result);
                let _stopped = inbox.blocking_send(queues::Input::Owned { token, result });
            }
        }
    }
}

/// Where the wiring puts what peers and the control plane say.
#[derive(Clone, Debug)]
pub struct Inlet(pub(crate) mpsc::Sender<Input>);

impl Inlet {
    /// Hands an event to the node; waits while the loop is busy, so that backpressure reaches the
    /// peer. Says whether the loop still runs.
    pub async fn event(&self, event: Event) -> bool {
        self.0.send(Input::Event(event)).await.is_ok()
    }
}

/// Requests whose answers are out.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) writes: HashMap<RequestId, oneshot::Sender<Result<Answer, WriteError>>>,
    pub(crate) owned: HashMap<RequestId, OwnedReply>,
    pub(crate) waits: HashMap<RequestId, oneshot::Sender<usize>>,
}

impl Waiting {
    /// How many requests are not answered yet.
    fn len(&self) -> usize {
        self.writes.len() + self.owned.len() + self.waits.len()
    }
}

/// The node, and what it must know before every event.
pub(crate) struct Machine {
    pub(crate) node: Node,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leases: watch::Receiver<Arc<Leases>>,
    pub(crate) load: Load,
}

impl Machine {
    fn on_event(&mut self, event: Event, effects: &mut Effects) {
        // What was given up a moment ago may be another's soon: nothing is answered under it.
        if self.leases.has_changed().unwrap_or(false) {
            let leases = self.leases.borrow_and_update().clone();
            self.node.on_event(self.clock.now(), Event::Leases(leases), effects);
        }
        self.node.on_event(self.clock.now(), event, effects);
    }
}

/// Runs until it is told to stop or nobody can reach it any more.
pub(crate) fn run(mut machine: Machine, mut inputs: mpsc::Receiver<Input>, mut world: impl World) {
    let mut effects = Effects::new();
    let mut waiting = Waiting::default();
    let mut stopping = false;
    while let Some(first) = inputs.blocking_recv() {
        let began = Instant::now();
        let mut next = Some(first);
        let mut taken = 0;
        let mut siblings = Siblings::default();
        while let Some(input) = next {
            taken += 1;
            siblings.note(&input);
            stopping |= take(&mut machine, input, &mut waiting, &mut effects);
            siblings.answered += carry_out(&mut machine, &mut waiting, &mut effects, &mut world);
            next = if taken < EVENTS_PER_FLUSH_MAX {
                inputs.try_recv().ok().or_else(|| siblings.wait(&mut inputs))
            } else {
                None
            };
        }
        machine.on_event(Event::Flush, &mut effects);
        carry_out(&mut machine, &mut waiting, &mut effects, &mut world);
        let worked = began.elapsed().saturating_sub(siblings.lingered);
        machine.load.worked(worked, waiting.len());
        if stopping && machine.node.is_settled() {
            return;
        }
    }
}

/// The clients that a commit has just answered. Most of them write again within microseconds, and
/// belong into the next commit: without them two halves of the clients take turns, and every fsync
/// carries half of what it could (the idea of PostgreSQL's `commit_siblings`).
#[derive(Debug, Default)]
struct Siblings {
    /// Operations that were answered since then.
    answered: usize,
    /// Operations that came since then.
    came: usize,
    /// When the last commit ended; nothing if that was before the last flush.
    since: Option<Instant>,
    /// For how long there was nothing to do but to wait for them.
    lingered: Duration,
}

impl Siblings {
    fn note(&mut self, input: &Input) {
        match input {
            Input::Event(Event::Committed { .. }) => {
                let (since, lingered) = (Some(Instant::now()), self.lingered);
                *self = Self { since, lingered, ..Self::default() };
            }
            Input::Write(Event::Submit(submit), ..) => self.came += submit.ops.len(),
            _ => {}
        }
    }

    /// Waits for those that are still to come, for a moment. Large batches gain nothing by it: the
    /// work for them takes longer than the fsync, and is better done beside it.
    fn wait(&mut self, inputs: &mut mpsc::Receiver<Input>) -> Option<Input> {
        let worth = SIBLINGS_MIN..=SIBLINGS_MAX;
        let since = self.since.filter(|_| worth.contains(&self.answered))?;
        let before = since.elapsed();
        let mut now = before;
        let mut input = None;
        while input.is_none() && self.came < self.answered && now < COMMIT_LINGER_MAX {
            thread::yield_now();
            input = inputs.try_recv().ok();
            now = since.elapsed();
        }
        self.lingered += now - before;
        input
    }
}

/// Gives an input to the node; says whether it asks the loop to stop.
fn take(machine: &mut Machine, input: Input, waiting: &mut Waiting, effects: &mut Effects) -> bool {
    let event = match input {
        Input::Event(event) => event,
        Input::Write(event, request, answer) => {
            waiting.writes.insert(request, answer);
            event
        }
        Input::Own(event, request, answer) => {
            waiting.owned.insert(request, answer);
            event
        }
        Input::Wait(event, request, answer) => {
            waiting.waits.insert(request, answer);
            event
        }
        Input::Stop => return true,
    };
    machine.on_event(event, effects);
    false
}

/// Carries out what the node wants; gives how many operations were answered.
fn carry_out(
    machine: &mut Machine,
    waiting: &mut Waiting,
    effects: &mut Effects,
    world: &mut impl World,
) -> usize {
    let mut answered = 0;
    while let Some(effect) = effects.pop() {
        match effect {
            // A caller that has gone away wants no answer.
            Effect::Reply { request, result, written } => {
                if let Some(answer) = waiting.writes.remove(&request) {
                    answered += result.as_ref().map_or(1, Vec::len);
                    let result = result
                        .map(|replies| Answer { replies, written })
                        .map_err(WriteError::Refused);
                    let _gone = answer.send(result);
                }
            }
            Effect::Owned { request, result, written } => {
                if let Some(answer) = waiting.owned.remove(&request) {
                    let result = result
                        .map(|rows| OwnedAnswer { rows, written })
                        .map_err(WriteError::Refused);
                    answer.send(result);
                }
            }
            Effect::Acked { request, regions } => {
                if let Some(answer) = waiting.waits.remove(&request) {
                    let _gone = answer.send(regions);
                }
            }
            // Some effects are done at once, such as a commit without fsync: what follows from
            // them is handled here, so that no thread is woken for it.
            effect => {
                if let Some(event) = world.carry_out(effect) {
                    machine.on_event(event, effects);
                }
            }
        }
    }
    answered
}
