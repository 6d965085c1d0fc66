//! Runners as processes on this machine, each in a process group and a folder of its own.
//!
//! They are not children that end with the node: after a restart of the node its folder tells which of
//! them run. A process is known by its id and the time at which it began, so that another one that got
//! the same id is never taken for it.

mod folder;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use rhumb_engine::Tasks;
use rustix::process::Signal;
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, sleep},
};

pub use self::folder::FolderError;
use self::folder::{Folders, Stamp};
use super::{Executor, Launch, LaunchError};
use crate::{
    capacity::Task,
    job::RunnerName,
    limits::{TERM_WAIT, WATCH_INTERVAL},
};

/// What stands for the configuration of the runner in the command.
const JIT_WORD: &str = "{jitconfig}";
/// What stands for its name.
const NAME_WORD: &str = "{name}";

/// How runners are run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessConfig {
    /// The program and its arguments; `{jitconfig}` and `{name}` stand for the runner's. A program that
    /// begins with `./` is one of the template.
    pub command: Vec<String>,
    /// A folder that is copied for every runner, such as that of the official runner.
    pub template: Option<PathBuf>,
    /// Where the folders of runners are.
    pub folder: PathBuf,
}

/// Runners as processes.
#[derive(Clone, Debug)]
pub struct ProcessExecutor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ProcessConfig,
    folders: Folders,
    tasks: Tasks,
    /// What runs. A lock, because starts, ends and lists come from any task.
    running: Mutex<BTreeMap<RunnerName, Stamp>>,
    ended: mpsc::Sender<RunnerName>,
}

impl ProcessExecutor {
    /// An executor that goes on with what an earlier process started. Runners that end are told
    /// through `ended`.
    ///
    /// # Errors
    /// [`FolderError`] when the folder of runners cannot be used.
    pub fn new(
        config: ProcessConfig,
        tasks: Tasks,
        ended: mpsc::Sender<RunnerName>,
    ) -> Result<Self, FolderError> {
        let folders = Folders::open(&config.folder)?;
        let found = folders.found()?;
        let running = Mutex::new(found.iter().cloned().collect());
        let this = Self { shared: Arc::new(Shared { config, folders, tasks, running, ended }) };
        for (name, stamp) in found {
            this.watch(name, stamp);
        }
        Ok(this)
    }

    /// Follows a process that is no child of this one.
    fn watch(&self, name: RunnerName, stamp: Stamp) {
        let this = self.clone();
        self.shared.tasks.spawn_until_stopped(async move {
            while stamp.is_alive() {
                sleep(WATCH_INTERVAL).await;
            }
            this.over(name, stamp).await;
        });
    }

    /// Follows a child.
    fn follow(&self, name: RunnerName, stamp: Stamp, mut child: Child) {
        let this = self.clone();
        self.shared.tasks.spawn_until_stopped(async move {
            let ended = child.wait().await;
            tracing::debug!(runner = %name, ?ended, "a runner ended");
            this.over(name, stamp).await;
        });
    }

    /// A runner ended: what it left running is ended too, and its folder goes.
    async fn over(&self, name: RunnerName, stamp: Stamp) {
        stamp.signal(Signal::KILL);
        let (folders, removed) = (self.shared.folders.clone(), name.clone());
        let removal = tokio::task::spawn_blocking(move || folders.remove(&removed)).await;
        if let Ok(Err(error)) = removal {
            tracing::warn!(runner = %name, %error, "the folder of a runner stays");
        }
        self.running(|running| running.remove(&name));
        // The dispatcher has stopped when nobody hears it.
        let _stopped = self.shared.ended.send(name).await;
    }

    fn running<T>(&self, with: impl FnOnce(&mut BTreeMap<RunnerName, Stamp>) -> T) -> T {
        with(&mut self.shared.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn launch(&self, launch: Launch) -> Result<(), LaunchError> {
        let Launch { name, pool, jit_config, .. } = launch;
        if self.running(|running| running.contains_key(&name)) {
            return Ok(());
        }
        let (folders, config) = (self.shared.folders.clone(), self.shared.config.clone());
        let made = name.clone();
        let folder =
            tokio::task::spawn_blocking(move || folders.make(&made, config.template.as_deref()))
                .await
                .map_err(LaunchError::failed)?
                .map_err(LaunchError::failed)?;
        let filled =
            |word: &String| word.replace(JIT_WORD, &jit_config).replace(NAME_WORD, name.as_str());
        let mut words = self.shared.config.command.iter().map(filled);
        let program = words.next().ok_or_else(|| LaunchError::failed("there is no command"))?;
        let program = match program.strip_prefix("./") {
            Some(own) => folder.join(own).into_os_string(),
            None => program.into(),
        };
        let log = self.shared.folders.log(&name).map_err(LaunchError::failed)?;
        let errors = log.try_clone().map_err(LaunchError::failed)?;
        let mut command = Command::new(program);
        command.args(words).current_dir(&folder).process_group(0);
        command.env("RHUMB_RUNNER_NAME", name.as_str()).env("RHUMB_RUNNER_JITCONFIG", &jit_config);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(LaunchError::failed)?;
        let stamp = Stamp::of(child.id(), &pool)
            .ok_or_else(|| LaunchError::failed("the process ended before it could be looked at"))?;
        let (folders, written, noted) = (self.shared.folders.clone(), name.clone(), stamp.clone());
        self.running(|running| running.insert(name.clone(), stamp.clone()));
        self.follow(name, stamp, child);
        // Without it the runner is lost to a later process, and found by GitHub's list.
        tokio::task::spawn_blocking(move || folders.note(&written, &noted))
            .await
            .map_err(LaunchError::failed)?
            .map_err(LaunchError::failed)
    }

    async fn end(&self, name: &RunnerName) {
        let Some(stamp) = self.running(|running| running.get(name).cloned()) else { return };
        stamp.signal(Signal::TERM);
        let until = Instant::now() + TERM_WAIT;
        while stamp.has_group() && Instant::now() < until {
            sleep(WATCH_INTERVAL / 20).await;
        }
        stamp.signal(Signal::KILL);
    }
}

impl Executor for ProcessExecutor {
    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<(), LaunchError>> {
        Box::pin(async move {
            let name = launch.name.clone();
            let started = self.launch(launch).await;
            if started.is_err() && !self.running(|running| running.contains_key(&name)) {
                let folders = self.shared.folders.clone();
                // Nothing runs in it.
                let _tidied = tokio::task::spawn_blocking(move || folders.remove(&name)).await;
            }
            started
        })
    }

    fn stop<'a>(&'a self, name: &'a RunnerName) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            self.end(name).await;
            Ok(())
        })
    }

    fn tasks(&self) -> Option<Vec<Task>> {
        let task = |(name, stamp): (&RunnerName, &Stamp)| Task {
            name: name.clone(),
            pool: stamp.pool.clone(),
        };
        Some(self.running(|running| running.iter().map(task).collect()))
    }
}

#[cfg(test)]
mod tests;
