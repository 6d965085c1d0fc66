//! Typed clients of the consensus groups, over the port [`Control`].
//!
//! Callers hand over what they want agreed and get the machine's own words back. Time-outs and
//! repeats are settled here: what certainly was not agreed is tried again until a deadline; what
//! may have been agreed only where the machine suppresses duplicates.
//!
//! Deliberately absent: what to propose. That is for servers, and for the overseer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_ports::{
    BoxFuture,
    control::{Control, ControlError},
};
use rhumb_types::control::ControlView;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{agreed::Shown, limits::AGREEMENT_PAUSE};

mod admin;
mod hosted;
mod strong;

pub use admin::{AdminClient, AdminError};
pub use hosted::{HostedAdmin, HostedStrong};
pub use strong::{StrongClient, StrongError, StrongRequest};

/// The groups of a node, as an engine needs them.
pub struct Agreement {
    /// The administrative group, hosting a [`HostedAdmin`].
    pub admin: Arc<dyn Control>,
    /// What that [`HostedAdmin`] shows after each command.
    pub views: watch::Receiver<Arc<ControlView>>,
    /// The group of the strong namespaces, hosting a [`HostedStrong`].
    pub strong: Arc<dyn Control>,
    /// What the [`HostedStrong`] shows.
    pub shown: Shown,
}

impl std::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreement").field("view", &self.views.borrow().applied).finish()
    }
}

/// When a call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// While nothing was agreed.
    WhenNotAgreed,
    /// Also when it may have been agreed: twice is the same as once.
    WhenUnknown,
}

/// Makes a call until it is answered, fails for good, or the deadline comes. Attempts are a pause
/// apart, so their number is bounded too.
async fn attempt<'a>(
    deadline: Instant,
    repeat: Repeat,
    call: impl Fn() -> BoxFuture<'a, Result<Bytes, ControlError>>,
) -> Result<Bytes, ControlError> {
    let mut unknown = false;
    loop {
        let error = match timeout_at(deadline, call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_late) => return Err(ControlError::Unknown),
        };
        unknown |= error == ControlError::Unknown;
        let again = match error {
            ControlError::NoLeader { .. } => true,
            ControlError::Unknown => repeat == Repeat::WhenUnknown,
            _ => false,
        };
        let next = Instant::now() + AGREEMENT_PAUSE;
        if !again || next >= deadline {
            // An earlier attempt may have been agreed, whatever befell the last one.
            return Err(if unknown { ControlError::Unknown } else { error });
        }
        sleep_until(next).await;
    }
}

fn deadline(wait: Duration) -> Instant {
    Instant::now() + wait
}
