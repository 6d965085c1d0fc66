//! What makes a runner run: a process on this machine, or any launcher that speaks HTTP.
//!
//! An executor is told to start and to stop, and tells when a runner ended, if it can. It survives the
//! node: a runner that was started goes on while the node restarts, and is found again.

mod http;
mod process;

use std::fmt;

use futures_util::future::BoxFuture;
use serde::Serialize;

pub use self::{
    http::{HttpConfig, HttpExecutor},
    process::{FolderError, ProcessConfig, ProcessExecutor},
};
use crate::{
    capacity::{Failure, PoolId, Task},
    job::{JobRef, RunnerName},
};

/// A runner that is to run.
#[derive(Clone, Serialize)]
pub struct Launch {
    /// Its name.
    pub name: RunnerName,
    /// Its pool.
    pub pool: PoolId,
    /// The job that it is started for, as far as anybody can say.
    pub job: JobRef,
    /// Its labels.
    pub labels: Vec<String>,
    /// What `run.sh --jitconfig` takes. It is a secret.
    pub jit_config: String,
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a runner does not run, or was not ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the executor did not do it: {why}")]
pub struct LaunchError {
    /// In words.
    pub why: String,
    /// What that means for the next try.
    pub failure: Failure,
}

impl LaunchError {
    pub(crate) fn failed(why: impl fmt::Display) -> Self {
        Self { why: why.to_string(), failure: Failure::Failed }
    }
}

/// What makes runners run.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Has a runner run. Told twice, it runs once.
    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<(), LaunchError>>;

    /// Ends a runner. One that does not run is ended already.
    fn stop<'a>(&'a self, name: &'a RunnerName) -> BoxFuture<'a, Result<(), LaunchError>>;

    /// What runs, if it can tell.
    fn tasks(&self) -> Option<Vec<Task>>;
}
