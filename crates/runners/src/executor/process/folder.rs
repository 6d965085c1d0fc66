//! The folders of runners, and what is written in them about the processes.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::process::{
    Pid, Signal, kill_process_group, test_kill_process, test_kill_process_group,
};
use serde::{Deserialize, Serialize};

use crate::{capacity::PoolId, job::RunnerName};

/// The file that says which process a runner is.
const STAMP_FILE: &str = "process.json";
/// Where a runner's output goes.
const LOG_FILE: &str = "output.log";
/// Where it works.
const WORK_FOLDER: &str = "runner";
/// Deepest folder of a template.
const DEPTH_MAX: usize = 64;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be used: {source}")]
pub struct FolderError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Which process a runner is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Stamp {
    pid: i32,
    /// When it began, in the kernel's own count.
    began: u64,
    /// Its pool.
    pub(super) pool: PoolId,
}

impl Stamp {
    /// The stamp of a process that was just started.
    pub(super) fn of(pid: Option<u32>, pool: &PoolId) -> Option<Self> {
        let pid = i32::try_from(pid?).ok().filter(|pid| *pid > 0)?;
        Some(Self { pid, began: began(pid)?, pool: pool.clone() })
    }

    /// Its process group, of which it is the leader; none when the file is damaged.
    fn pid(&self) -> Option<Pid> {
        // Below 2 there is no runner, and a signal to group 1 would end the system.
        Pid::from_raw(self.pid).filter(|_| self.pid > 1)
    }

    /// Whether it runs.
    pub(super) fn is_alive(&self) -> bool {
        let there = self.pid().is_some_and(|pid| test_kill_process(pid).is_ok());
        there && began(self.pid).is_some_and(|began| began == self.began)
    }

    /// Sends a signal to its group, while it runs or what it left does. As long as a group has members
    /// no process gets its number; so when there is a process of that number, it must be the runner.
    pub(super) fn signal(&self, signal: Signal) {
        let other = began(self.pid).is_some_and(|began| began != self.began);
        if let Some(pid) = self.pid().filter(|_| !other) {
            // A group that is gone needs no signal.
            let _gone = kill_process_group(pid, signal);
        }
    }

    /// Whether anything of its group is left.
    pub(super) fn has_group(&self) -> bool {
        self.pid().is_some_and(|pid| test_kill_process_group(pid).is_ok())
    }
}

/// When a process began, from the kernel's table (proc(5), the 22nd field of `stat`).
fn began(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; what follows its last bracket is counted.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    fields.nth(19)?.parse().ok()
}

/// The folders of all runners.
#[derive(Clone, Debug)]
pub(super) struct Folders(PathBuf);

impl Folders {
    pub(super) fn open(path: &Path) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(at(path))?;
        let path = path.canonicalize().map_err(at(path))?;
        Ok(Self(path))
    }

    fn of(&self, name: &RunnerName) -> PathBuf {
        self.0.join(name.as_str())
    }

    /// The runners of an earlier process that still run. What is left of others is removed.
    pub(super) fn found(&self) -> Result<Vec<(RunnerName, Stamp)>, FolderError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(at(&self.0))? {
            let entry = entry.map_err(at(&self.0))?;
            let Some(name) = entry.file_name().to_str().and_then(RunnerName::ours) else {
                continue;
            };
            let stamp = fs::read(entry.path().join(STAMP_FILE)).ok();
            let stamp = stamp.and_then(|bytes| serde_json::from_slice::<Stamp>(&bytes).ok());
            match stamp.filter(Stamp::is_alive) {
                Some(stamp) => found.push((name, stamp)),
                None => self.remove(&name)?,
            }
        }
        Ok(found)
    }

    /// Makes a folder for a runner, from the template; says where it works.
    pub(super) fn make(
        &self,
        name: &RunnerName,
        template: Option<&Path>,
    ) -> Result<PathBuf, FolderError> {
        self.remove(name)?;
        let work = self.of(name).join(WORK_FOLDER);
        fs::create_dir_all(&work).map_err(at(&work))?;
        if let Some(template) = template {
            copy(template, &work, DEPTH_MAX)?;
        }
        Ok(work)
    }

    pub(super) fn log(&self, name: &RunnerName) -> Result<File, FolderError> {
        let path = self.of(name).join(LOG_FILE);
        File::create(&path).map_err(at(&path))
    }

    /// Writes down which process a runner is.
    pub(super) fn note(&self, name: &RunnerName, stamp: &Stamp) -> Result<(), FolderError> {
        let path = self.of(name).join(STAMP_FILE);
        let bytes = serde_json::to_vec(stamp).map_err(|error| at(&path)(error.into()))?;
        match fs::write(&path, bytes) {
            // It ended already, and its folder with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written.map_err(at(&path)),
        }
    }

    pub(super) fn remove(&self, name: &RunnerName) -> Result<(), FolderError> {
        let path = self.of(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(at(&path)),
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError { path, source }
}

/// Copies a folder with its links as links; files keep their permissions.
fn copy(from: &Path, to: &Path, depth: usize) -> Result<(), FolderError> {
    let deeper = depth
        .checked_sub(1)
        .ok_or_else(|| at(from)(io::Error::other("the template is too deep")))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(at(&source))?;
        if kind.is_dir() {
            fs::create_dir(&target).map_err(at(&target))?;
            copy(&source, &target, deeper)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(at(&source))?;
            std::os::unix::fs::symlink(link, &target).map_err(at(&target))?;
        } else {
            fs::copy(&source, &target).map_err(at(&target))?;
        }
    }
    Ok(())
}
