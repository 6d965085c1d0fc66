//! One `rhumb serve`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Time between two looks at a process.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How a node is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// More arguments of `rhumb serve`.
    pub arguments: Vec<String>,
    /// More variables of its environment.
    pub variables: Vec<(String, String)>,
    /// The network namespace that it runs in; without a name, that of this process.
    pub namespace: Option<String>,
}

impl Launch {
    /// A launch with more arguments.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            ..Self::default()
        }
    }
}

/// A node's files, and its process while it runs.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) region: String,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub(crate) const fn new(region: String, config: PathBuf, log: PathBuf) -> Self {
        Self { region, config, log, child: None }
    }

    /// Starts the process. It ends with the thread that started it, at the latest.
    pub(crate) fn start(&mut self, binary: &Path, launch: &Launch) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.region);
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = in_namespace(binary, launch.namespace.as_deref());
        command.arg("serve").arg("--config").arg(&self.config).arg("--die-with-parent");
        command.args(&launch.arguments).env("RHUMB_REGION", &self.region);
        command.envs(launch.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = command.spawn();
        self.child = Some(started.with_context(|| format!("cannot start {}", binary.display()))?);
        Ok(())
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How the process has ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} does not run", self.region))?;
        let id = Pid::from_raw(i32::try_from(child.id())?).context("a process has an id")?;
        kill_process(id, signal)?;
        Ok(())
    }

    /// Ends the process at once.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(&mut self, longest: Duration) -> Result<ExitStatus> {
        let give_up = Instant::now() + longest;
        loop {
            if let Some(status) = self.ended()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > give_up {
                bail!("{} has not ended within {longest:?}", self.region);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// `ip netns exec` becomes the program, so that the process keeps its id and its parent.
fn in_namespace(binary: &Path, namespace: Option<&str>) -> Command {
    let Some(name) = namespace else { return Command::new(binary) };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name]).arg(binary);
    command
}

impl Drop for Node {
    fn drop(&mut self) {
        // What has ended already needs no killing.
        let _ended = self.kill();
    }
}
