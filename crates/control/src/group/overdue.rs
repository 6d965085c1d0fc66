//! Elections that openraft 0.9 puts off.
//!
//! Who is refused a vote because another knows more waits twice its time-out longer before it stands again, so
//! that the other may go first. openraft 0.9 remembers that until then, also when it has caught up and
//! followed leaders for hours (its pull request 2087 mends that, after 0.9): the first election after a region came
//! back took 5 to 8 s where others take 3. So who has followed a leader since stands one tick after openraft
//! ought to have stood for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use openraft::ServerState;
use tokio::time::{Instant, sleep};

use super::{Group, Inner};

/// When a leader was last followed.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Option<Instant>>);

impl Heard {
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    pub(super) fn spawn_overdue(&self) {
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            let pause = inner.config.timing.tick() / 2;
            let (mut stood, mut was_overdue) = (None, false);
            loop {
                tokio::select! {
                    biased;
                    () = inner.stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
                let standing = inner.standing();
                let overdue = standing == Standing::Overdue;
                if standing != Standing::Leaderless {
                    stood = None;
                }
                // Twice, because another may have stood in the same term, and be refused as well.
                let again = stood.is_some_and(|at: Instant| at.elapsed() >= inner.usual());
                // A second look, because a process that was frozen has not read yet what waits for it.
                if again || (overdue && was_overdue) {
                    stood = overdue.then(Instant::now);
                    // It fails when the group has stopped; nobody stands then.
                    let _ = inner.raft.trigger().elect().await;
                }
                was_overdue = overdue;
            }
        });
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Follows a leader that has been silent for longer than openraft waits.
    Overdue,
    /// Stands, or has voted for one who does.
    Leaderless,
    /// Leads, follows, or has no vote.
    Other,
}

impl Inner {
    fn standing(&self) -> Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if !matches!(metrics.state, ServerState::Follower | ServerState::Candidate) {
            return Standing::Other;
        }
        if !metrics.vote.is_committed() {
            return Standing::Leaderless;
        }
        let silent = self.heard.last().map(|at| at.elapsed());
        let lease = self.config.election();
        let overdue = silent.is_some_and(|silent| silent >= lease + self.usual());
        if overdue { Standing::Overdue } else { Standing::Other }
    }

    /// The time-out, and the tick at which openraft looks.
    fn usual(&self) -> Duration {
        self.config.election() + self.config.timing.tick()
    }
}
