//! A region's disk: small, in memory, and on demand full or slow.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::place::run;

/// The file that fills a disk.
const FILLER: &str = "filler";
/// Bytes that the filler grows by.
const PIECE_BYTES: usize = 1 << 20;

/// A file system of its own for one region. It vanishes with the process that mounted it.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn mount(folder: PathBuf, megabytes: u32) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let folder_name = folder.to_str().context("a temporary folder has a plain name")?;
        let size = format!("size={megabytes}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "none", folder_name])?;
        Ok(Self(folder))
    }

    /// Leaves no room for anything.
    pub(super) fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.0.join(FILLER))?;
        let mut piece = vec![1; PIECE_BYTES];
        while !piece.is_empty() {
            if filler.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
        Ok(())
    }

    /// Gives the room back, if it is taken.
    pub(super) fn clear(&self) -> Result<()> {
        match fs::remove_file(self.0.join(FILLER)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold files.
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// strace on a running process: its fsyncs take longer until this is dropped.
#[derive(Debug)]
pub(super) struct SlowFsync(Child);

impl SlowFsync {
    pub(super) fn attach(process: u32, longer: Duration) -> Result<Self> {
        let longer = longer.as_micros();
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"])
            .args(["-e", &format!("inject=fsync,fdatasync:delay_enter={longer}")])
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Self(child.context("failed to start strace")?))
    }
}

impl Drop for SlowFsync {
    fn drop(&mut self) {
        // Asked to end, it lets go of the process; killed, it might leave it stopped.
        if let Some(id) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(id, Signal::TERM);
        }
        let _ended = self.0.wait();
    }
}
