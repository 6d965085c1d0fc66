//! Administration: what the whole cluster agrees on.

use std::{sync::Arc, time::Duration};

use rhumb_ports::{
    clock::Clock,
    control::{Control, ControlError, GroupStatus},
};
use rhumb_types::{
    ErrorCode,
    control::{
        AdminAnswer, AdminCommand, AdminOutcome, AdminQuery, AdminQueryAnswer, AdminRefusal,
        AdminRequest, ApiToken, ControlView, Digest,
    },
    record::{CodecError, Record},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{Repeat, attempt, deadline};
use crate::limits::{ADMIN_WAIT, AGREEMENT_PAUSE};

/// Why the control plane did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The group did not agree.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The machine refused: nothing was changed.
    #[error("the control plane refused: {0}")]
    Refused(#[from] AdminRefusal),
    /// The answer is damaged, or newer than this node.
    #[error("the control plane's answer cannot be read")]
    Answer(#[from] CodecError),
}

impl AdminError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Control(error) => error.code(),
            Self::Refused(refusal) => refusal.code(),
            Self::Answer(_) => ErrorCode::Internal,
        }
    }
}

/// The administrative group.
pub struct AdminClient {
    group: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    views: watch::Receiver<Arc<ControlView>>,
}

impl std::fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminClient").field("group", &self.group.status()).finish()
    }
}

impl AdminClient {
    pub(crate) fn new(
        group: Arc<dyn Control>,
        clock: Arc<dyn Clock>,
        views: watch::Receiver<Arc<ControlView>>,
    ) -> Self {
        Self { group, clock, views }
    }

    /// Proposes a command and waits for the machine's answer. `actor` is a token's id, or `node:`
    /// and a node's id.
    ///
    /// A cluster that is not formed yet is waited for, and what certainly was not agreed is tried again,
    /// until [`ADMIN_WAIT`] is over. Dropping the future leaves the outcome unknown.
    ///
    /// # Errors
    /// [`AdminError`]; after [`ControlError::Unknown`] the command may still take effect.
    pub async fn propose(
        &self,
        actor: &str,
        reason: &str,
        command: AdminCommand,
    ) -> Result<AdminOutcome, AdminError> {
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        let end = deadline(ADMIN_WAIT);
        if !matches!(command, AdminCommand::Form { .. }) {
            self.formed(end).await;
        }
        let request = AdminRequest { at: self.clock.now().wall, actor, reason, command };
        let left = end.saturating_duration_since(Instant::now());
        self.submit(&request, left.max(AGREEMENT_PAUSE)).await
    }

    /// Waits until this node knows that the cluster is formed: before that every other command is refused.
    async fn formed(&self, end: Instant) {
        let mut views = self.views.clone();
        // Who asks after the deadline hears the refusal.
        let _late = timeout_at(end, views.wait_for(|view| view.cluster.is_some())).await;
    }

    /// Proposes a whole request for a time.
    ///
    /// # Errors
    /// As [`AdminClient::propose`].
    pub async fn submit(
        &self,
        request: &AdminRequest,
        wait: Duration,
    ) -> Result<AdminOutcome, AdminError> {
        let command = request.encode();
        let call = || self.group.propose(command.clone());
        let answer = attempt(deadline(wait), Repeat::WhenNotAgreed, call).await?;
        Ok(AdminAnswer::decode(&answer)?.0?)
    }

    /// Asks after everything that was agreed before the call.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn query(&self, query: &AdminQuery) -> Result<AdminQueryAnswer, AdminError> {
        let query = query.encode();
        let call = || self.group.read(query.clone());
        let answer = attempt(deadline(ADMIN_WAIT), Repeat::WhenUnknown, call).await?;
        read_answer(&answer)
    }

    /// Asks what this node has applied, without asking anybody.
    ///
    /// # Errors
    /// [`AdminError::Refused`], [`AdminError::Answer`].
    pub fn query_local(&self, query: &AdminQuery) -> Result<AdminQueryAnswer, AdminError> {
        read_answer(&self.group.read_local(&query.encode()))
    }

    /// The token that was given out under an id with a secret of this digest, as far as this node has applied.
    /// It may have ended.
    ///
    /// # Errors
    /// As [`AdminClient::query_local`].
    pub fn api_token(&self, id: &str, secret: Digest) -> Result<Option<ApiToken>, AdminError> {
        let answer = self.query_local(&AdminQuery::ApiTokenOf { secret })?;
        let AdminQueryAnswer::ApiTokens(tokens) = answer else { return Ok(None) };
        Ok(tokens.into_iter().find(|token| token.id == id))
    }

    /// What routing and ownership follow, as this node knows it.
    #[must_use]
    pub fn view(&self) -> Arc<ControlView> {
        self.views.borrow().clone()
    }

    /// Every new view, at once.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Arc<ControlView>> {
        self.views.clone()
    }

    /// What the group knows of itself.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// The group itself.
    pub(crate) fn group(&self) -> Arc<dyn Control> {
        self.group.clone()
    }
}

fn read_answer(bytes: &[u8]) -> Result<AdminQueryAnswer, AdminError> {
    match AdminQueryAnswer::decode(bytes)? {
        AdminQueryAnswer::Refused(refusal) => Err(refusal.into()),
        answer => Ok(answer),
    }
}
