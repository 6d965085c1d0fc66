//! The machine behind strong namespaces: locks, claims, and small values that every region agrees
//! on before anybody hears an answer.
//!
//! A consensus group hands it agreed commands in order; the same commands give the same answers
//! and the same bytes of snapshot on every node. Its methods are those of the port `Replicated`.
//!
//! - A command is atomic: its steps are evaluated one after the other in one entry of the log
//!   (rule 13).
//! - Time is the commands' own: each carries its proposer's clock, and the machine never goes
//!   back. What expires, expires at the same place of the log everywhere. A read that would need a
//!   later time says so ([`StrongRead::TimeBehind`]), and its caller proposes a command without
//!   steps first.
//! - The **fencing token** of a key is the log index of the entry that last made it present. It
//!   only grows, also over removal and expiry.
//! - A command that is proposed again, because its outcome was unknown, is not applied again: the
//!   first answer is remembered for a bounded number of commands, and one older than what is
//!   remembered is refused. Proposers' clocks must lie closer together (rule 8) than that many
//!   commands take.
//!
//! Operations are evaluated by [`crate::execute()`] like everywhere else, on rows made from the
//! items they name. The items themselves are plain values: here nothing is concurrent, so nothing
//! needs dots or marks.

use bytes::Bytes;
use rhumb_types::{UnixMillis, record::Record};

use crate::{
    op::OpError,
    query::{self, QueryError},
    reply::Reply,
};

mod command;
mod items;
mod requests;
mod scratch;
mod snapshot;

pub use command::{
    RequestId, StrongAnswer, StrongCommand, StrongOutcome, StrongQuery, StrongRead, StrongRefusal,
    StrongStep, StrongUsage,
};
use items::Items;
use requests::Requests;

/// Most keys in all strong namespaces together.
pub const STRONG_KEYS_MAX: usize = 100_000;
/// Most bytes of keys, members and values, by estimate.
pub const STRONG_BYTES_MAX: usize = 64 << 20;
/// Most steps of one command.
pub const STRONG_STEPS_MAX: usize = 1_024;
/// Most answers remembered, so that a command proposed twice is applied once.
pub const STRONG_REQUESTS_MAX: usize = 65_536;
/// The longest answer remembered, in bytes. Of a longer one, only that it was given.
pub const STRONG_ANSWER_BYTES_MAX: usize = 512;
/// Most keys whose time is over that one command removes on its way.
pub const STRONG_PURGE_MAX: usize = 256;

/// Keys that start with this are the nodes' own: settings that they agree on. Listings leave them
/// out, and clients are to be refused before they name one.
pub const RESERVED_PREFIX: &[u8] = b"\0rhumb\0";

/// Whether a key is the nodes' own.
#[must_use]
pub fn is_reserved(key: &[u8]) -> bool {
    key.starts_with(RESERVED_PREFIX)
}

/// The replicated machine of the strong namespaces.
#[derive(Debug, Default)]
pub struct StrongMachine {
    /// The highest index applied.
    index: u64,
    /// The highest time that a command carried.
    now: UnixMillis,
    items: Items,
    requests: Requests,
}

impl StrongMachine {
    /// A machine that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an agreed command, and gives an encoded [`StrongOutcome`].
    pub fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        self.index = index;
        match StrongCommand::decode(command) {
            Ok(command) => self.apply_command(index, &command),
            Err(error) => StrongOutcome::Refused(StrongRefusal::Unreadable(error.to_string())),
        }
        .encode()
    }

    /// Answers an encoded [`StrongQuery`] from the present state with an encoded [`StrongRead`].
    #[must_use]
    pub fn read(&self, query: &[u8]) -> Bytes {
        match StrongQuery::decode(query) {
            Ok(query) => self.answer(&query),
            Err(error) => StrongRead::Unreadable(error.to_string()),
        }
        .encode()
    }

    /// The highest log index applied.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The texts under reserved keys that start with a prefix, with the index of their last change.
    pub fn reserved<'m>(
        &'m self,
        prefix: &'m [u8],
    ) -> impl Iterator<Item = (&'m Bytes, &'m Bytes, u64)> {
        self.items.reserved(prefix)
    }

    /// The index of the last command that changed a reserved key since this machine began.
    #[must_use]
    pub const fn reserved_changed(&self) -> u64 {
        self.items.reserved_changed()
    }

    /// The whole state.
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        snapshot::write(self)
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words; the state is unchanged then.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        *self = snapshot::read(snapshot).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Answers a query.
    #[must_use]
    pub fn answer(&self, query: &StrongQuery) -> StrongRead {
        match query {
            StrongQuery::Usage => StrongRead::Usage(StrongUsage {
                keys: self.items.len(),
                bytes: self.items.bytes(),
                requests: self.requests.len(),
            }),
            StrongQuery::Data { now, .. }
            | StrongQuery::Fence { now, .. }
            | StrongQuery::Versions { now, .. }
                if self.items.expires_within(self.now, *now) =>
            {
                StrongRead::TimeBehind
            }
            StrongQuery::Data { query, .. } => StrongRead::Data(self.query(query)),
            StrongQuery::Fence { key, .. } => StrongRead::Fence(self.items.fence(key, self.now)),
            StrongQuery::Versions { keys, .. } => StrongRead::Versions(
                keys.iter().map(|key| self.items.version(key, self.now)).collect(),
            ),
        }
    }

    fn apply_command(&mut self, index: u64, command: &StrongCommand) -> StrongOutcome {
        // A command that only moves the time may come twice.
        let is_tick = command.steps.is_empty();
        if let Some(known) = self.requests.find(command).filter(|_| !is_tick) {
            return known;
        }
        self.now = self.now.max(command.now);
        self.items.purge(self.now);
        let outcome = self.evaluate(index, command);
        if !is_tick {
            self.requests.remember(command, &outcome);
        }
        outcome
    }

    fn evaluate(&mut self, index: u64, command: &StrongCommand) -> StrongOutcome {
        if command.steps.len() > STRONG_STEPS_MAX {
            return StrongOutcome::Refused(StrongRefusal::TooManySteps);
        }
        let changed = |(key, version): &(Bytes, u64)| self.items.version(key, self.now) != *version;
        if command.if_unchanged.iter().any(changed) {
            return StrongOutcome::Changed;
        }
        let replies = command
            .steps
            .iter()
            .map(|step| self.step(index, step).unwrap_or_else(Reply::Error))
            .collect();
        let first = command.steps.first().and_then(StrongStep::first_key);
        let fence = first.and_then(|key| self.items.fence(&key, self.now));
        StrongOutcome::Answered(StrongAnswer { replies, fence })
    }

    fn step(&mut self, index: u64, step: &StrongStep) -> Result<Reply, OpError> {
        match step {
            StrongStep::Read(query) => Ok(self.query(query)),
            StrongStep::Write(op) => scratch::execute(op, index, self.now, &mut self.items),
            StrongStep::Choose(choice) => {
                let ops = query::lower(choice, self.now, &self.items).map_err(op_error)?;
                let mut total = None;
                for op in &ops {
                    let reply = scratch::execute(op, index, self.now, &mut self.items)?;
                    // Only a removal of a large range has several parts, and their counts add up.
                    total = Some(match (total, reply) {
                        (Some(Reply::Int(before)), Reply::Int(more)) => Reply::Int(before + more),
                        (_, reply) => reply,
                    });
                }
                Ok(total.unwrap_or(Reply::Nil))
            }
        }
    }

    fn query(&self, query: &query::Query) -> Reply {
        query::answer(query, self.now, &self.items).map_err(op_error).unwrap_or_else(Reply::Error)
    }
}

fn op_error(error: QueryError<std::convert::Infallible>) -> OpError {
    match error {
        QueryError::WrongType => OpError::WrongType,
        QueryError::TooLarge => OpError::ReplyTooLarge,
        QueryError::Options(clash) => OpError::Options(clash),
        QueryError::Scan(never) => match never {},
    }
}
