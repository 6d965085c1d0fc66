//! The task group: everything that runs is in it, and shutdown waits for it.

use std::future::Future;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::limits::SHUTDOWN_WAIT_MAX;

/// Tasks that end together.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// What the others need until they have ended.
    feeds: TaskTracker,
    drained: CancellationToken,
}

impl Tasks {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task that ends by itself soon after [`Tasks::stopping`] resolves.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Runs a task that is dropped at its next await when the group stops.
    pub fn spawn_until_stopped<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(until(self.stop.clone(), task));
    }

    /// Runs a task without which others cannot end, such as one that brings them the answers that they wait
    /// for. It is dropped at its next await once they have.
    pub fn spawn_until_drained<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.feeds.spawn(until(self.drained.clone(), task));
    }

    /// Resolves when the group is asked to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// [`Tasks::stopping`] for somebody who keeps nothing of the group.
    pub async fn until_stopping(self) {
        self.stop.cancelled_owned().await;
    }

    /// Whether the group was asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks every task to stop and waits for them, up to a bound; says whether all ended.
    pub async fn stop(&self) -> bool {
        self.stop.cancel();
        self.tracker.close();
        let ended = tokio::time::timeout(SHUTDOWN_WAIT_MAX, self.tracker.wait()).await.is_ok();
        self.drained.cancel();
        self.feeds.close();
        self.feeds.wait().await;
        ended
    }
}

/// Runs a task until it ends or is no longer wanted.
async fn until(over: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = over.cancelled() => {}
        () = task => {}
    }
}
