//! Strong namespaces: commands and reads that every region agrees on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rhumb_ports::{
    clock::Clock,
    control::{Control, ControlError, GroupStatus},
};
use rhumb_state::{
    Reply,
    query::Query,
    strong::{
        RequestId, StrongAnswer, StrongCommand, StrongOutcome, StrongQuery, StrongRead,
        StrongRefusal, StrongStep, StrongUsage, is_reserved,
    },
};
use rhumb_types::{
    ErrorCode, UnixMillis,
    record::{CodecError, Record},
};
use tokio::time::Instant;

use super::{Repeat, attempt, deadline};
use crate::limits::STRONG_WAIT;

/// What a client wants done in strong namespaces, as one entry of the agreed log (rule 13).
#[derive(Debug, Clone, PartialEq)]
pub struct StrongRequest {
    /// What to do, in order. An error of one step does not undo the others, as in Redis.
    pub steps: Vec<StrongStep>,
    /// Keys with the versions that they must still have, from [`StrongClient::versions`].
    pub if_unchanged: Vec<(Bytes, u64)>,
    /// How long to try.
    pub wait: Duration,
}

impl StrongRequest {
    /// Steps without a condition, tried for [`STRONG_WAIT`].
    #[must_use]
    pub const fn new(steps: Vec<StrongStep>) -> Self {
        Self { steps, if_unchanged: Vec::new(), wait: STRONG_WAIT }
    }
}

/// Why a strong namespace did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrongError {
    /// The group did not agree.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A watched key has changed: nothing was done.
    #[error("a watched key has changed")]
    Changed,
    /// The key is the nodes' own: nothing was done.
    #[error("keys that start with \\0rhumb\\0 are the cluster's own")]
    Reserved,
    /// The machine refused the command.
    #[error("the strong namespace refused: {0}")]
    Refused(#[from] StrongRefusal),
    /// The machine's answer is not the one that belongs to the question.
    #[error("the strong namespace's answer cannot be used: {0}")]
    Answer(String),
}

impl StrongError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Control(error) => error.code(),
            Self::Changed => ErrorCode::Conflict,
            Self::Reserved => ErrorCode::Forbidden,
            // Both stand for a command that may be, or is, in effect.
            Self::Refused(StrongRefusal::TooOld | StrongRefusal::AppliedBefore) => {
                ErrorCode::Unconfirmed
            }
            Self::Refused(StrongRefusal::TooManySteps | StrongRefusal::Unreadable(_)) => {
                ErrorCode::Invalid
            }
            Self::Answer(_) => ErrorCode::Internal,
        }
    }
}

impl From<CodecError> for StrongError {
    fn from(error: CodecError) -> Self {
        Self::Answer(error.to_string())
    }
}

/// The group of the strong namespaces.
pub struct StrongClient {
    group: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    /// Random, and new at every start, so that request names never repeat.
    nonce: u64,
    requests: AtomicU64,
}

impl std::fmt::Debug for StrongClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StrongClient").field("group", &self.group.status()).finish()
    }
}

impl StrongClient {
    /// A client; `nonce` is random and new at every start.
    pub(crate) fn new(group: Arc<dyn Control>, clock: Arc<dyn Clock>, nonce: u64) -> Self {
        Self { group, clock, nonce, requests: AtomicU64::new(0) }
    }

    /// The group itself.
    pub(crate) fn group(&self) -> Arc<dyn Control> {
        self.group.clone()
    }

    /// Does something in one agreed step. Repeats until the request's deadline under one name, so
    /// that it takes effect once at most.
    ///
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Errors
    /// [`StrongError`]; the error of a single step is inside the answer.
    pub async fn execute(&self, request: StrongRequest) -> Result<StrongAnswer, StrongError> {
        let watched = request.if_unchanged.iter().map(|(key, _)| key);
        watched.map(Bytes::as_ref).try_for_each(refuse_reserved)?;
        for step in &request.steps {
            let mut refused = Ok(());
            step.keys(&mut |key| refused = refused.clone().and_then(|()| refuse_reserved(key)));
            refused?;
        }
        self.execute_own(request).await
    }

    /// Does something with the nodes' own keys.
    ///
    /// # Errors
    /// As [`StrongClient::execute`].
    pub(crate) async fn execute_own(
        &self,
        request: StrongRequest,
    ) -> Result<StrongAnswer, StrongError> {
        let StrongRequest { steps, if_unchanged, wait } = request;
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let request = RequestId(u128::from(self.nonce) << 64 | u128::from(count));
        let command = StrongCommand { request, now: self.now(), if_unchanged, steps };
        self.propose(&command, deadline(wait)).await
    }

    /// Reads after everything that was agreed before the call.
    ///
    /// # Errors
    /// [`StrongError`]; an error of the read itself, such as a wrong type, is the reply.
    pub async fn query(&self, query: Query) -> Result<Reply, StrongError> {
        let mut refused = Ok(());
        query.keys(&mut |key| refused = refused.clone().and_then(|()| refuse_reserved(key)));
        refused?;
        let now = self.now();
        match self.ask(&StrongQuery::Data { now, query }, now).await? {
            StrongRead::Data(reply) => Ok(reply),
            other => Err(foreign(&other)),
        }
    }

    /// A key's fencing token: the log index of the entry that last made it present. `None` while
    /// it is absent.
    ///
    /// # Errors
    /// [`StrongError`].
    pub async fn fence(&self, key: Bytes) -> Result<Option<u64>, StrongError> {
        refuse_reserved(&key)?;
        let now = self.now();
        match self.ask(&StrongQuery::Fence { now, key }, now).await? {
            StrongRead::Fence(fence) => Ok(fence),
            other => Err(foreign(&other)),
        }
    }

    /// A version per key, 0 for an absent one, for [`StrongRequest::if_unchanged`].
    ///
    /// # Errors
    /// [`StrongError`].
    pub async fn versions(&self, keys: Vec<Bytes>) -> Result<Vec<u64>, StrongError> {
        keys.iter().map(Bytes::as_ref).try_for_each(refuse_reserved)?;
        let now = self.now();
        match self.ask(&StrongQuery::Versions { now, keys }, now).await? {
            StrongRead::Versions(versions) => Ok(versions),
            other => Err(foreign(&other)),
        }
    }

    /// How full the machine is, as this node knows it.
    ///
    /// # Errors
    /// [`StrongError::Answer`].
    pub fn usage(&self) -> Result<StrongUsage, StrongError> {
        match StrongRead::decode(&self.group.read_local(&StrongQuery::Usage.encode()))? {
            StrongRead::Usage(usage) => Ok(usage),
            other => Err(foreign(&other)),
        }
    }

    /// What the group knows of itself.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    async fn ask(&self, query: &StrongQuery, now: UnixMillis) -> Result<StrongRead, StrongError> {
        let deadline = deadline(STRONG_WAIT);
        let first = self.read(query, deadline).await?;
        if first != StrongRead::TimeBehind {
            return Ok(first);
        }
        // A command without steps moves the machine's time to the asker's, and once is enough.
        let command =
            StrongCommand { request: RequestId(0), now, if_unchanged: vec![], steps: vec![] };
        self.propose(&command, deadline).await?;
        self.read(query, deadline).await
    }

    async fn read(&self, query: &StrongQuery, end: Instant) -> Result<StrongRead, StrongError> {
        let query = query.encode();
        let answer = attempt(end, Repeat::WhenUnknown, || self.group.read(query.clone())).await?;
        Ok(StrongRead::decode(&answer)?)
    }

    async fn propose(
        &self,
        command: &StrongCommand,
        end: Instant,
    ) -> Result<StrongAnswer, StrongError> {
        let command = command.encode();
        let call = || self.group.propose(command.clone());
        let answer = attempt(end, Repeat::WhenUnknown, call).await?;
        match StrongOutcome::decode(&answer)? {
            StrongOutcome::Answered(answer) => Ok(answer),
            StrongOutcome::Changed => Err(StrongError::Changed),
            StrongOutcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    fn now(&self) -> UnixMillis {
        self.clock.now().wall
    }
}

fn foreign(answer: &StrongRead) -> StrongError {
    StrongError::Answer(format!("{answer:?}"))
}

fn refuse_reserved(key: &[u8]) -> Result<(), StrongError> {
    if is_reserved(key) { Err(StrongError::Reserved) } else { Ok(()) }
}
