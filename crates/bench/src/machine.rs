//! On what was measured, and what else it did meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rhumb_integration::programs;
use serde::Serialize;

use crate::server::{REDIS, version};

/// How long the machine is watched before a round.
const WATCH: Duration = Duration::from_millis(500);

/// On what was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_mebibytes: u64,
    kernel: String,
    rhumb: String,
    commit: Option<String>,
    redis: String,
}

impl Machine {
    /// Two lines for a person.
    pub(crate) fn describe(&self) -> String {
        let commit = self.commit.as_ref().map(|id| format!(", commit {id}")).unwrap_or_default();
        format!(
            "{}{commit}; Redis {}.\n{} cores ({}), {:.0} GiB of memory, Linux {}.",
            self.rhumb,
            self.redis,
            self.cores,
            self.processor,
            self.memory_mebibytes / 1_024,
            self.kernel
        )
    }
}

/// Looks at the machine and the versions.
pub(crate) fn describe() -> Result<Machine> {
    let redis = version(Path::new(REDIS))?;
    let number = redis.split_whitespace().find_map(|word| word.strip_prefix("v="));
    let memory = field("/proc/meminfo", "MemTotal")?;
    let kibibytes: u64 = memory.trim_end_matches("kB").trim().parse()?;
    Ok(Machine {
        cores: thread::available_parallelism()?.get(),
        processor: field("/proc/cpuinfo", "model name")?,
        memory_mebibytes: kibibytes / 1_024,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        rhumb: version(&programs::rhumb()?)?,
        commit: commit(),
        redis: number.unwrap_or(&redis).to_owned(),
    })
}

/// The commit of the checkout, where there is one.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short=9", "HEAD"]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first field of that name in a file of `/proc`.
fn field(path: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(path)?;
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    value.with_context(|| format!("{path} has no {name}"))
}

/// The share of all processors that is busy now, with nothing of ours running: what others take.
pub(crate) fn busy() -> Result<f64> {
    let before = ticks()?;
    thread::sleep(WATCH);
    let after = ticks()?;
    let all = after.all.saturating_sub(before.all).max(1);
    let idle = after.idle.saturating_sub(before.idle);
    #[expect(clippy::cast_precision_loss, reason = "ticks of half a second")]
    Ok(1.0 - idle as f64 / all as f64)
}

/// Ticks of all processors since they started.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    all: u64,
    idle: u64,
}

fn ticks() -> Result<Ticks> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let numbers: Vec<u64> =
        line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // proc_stat(5): user, nice, system, idle, iowait; guest time is counted in user already.
    let idle = numbers.iter().skip(3).take(2).sum();
    Ok(Ticks { all: numbers.iter().take(8).sum(), idle })
}

/// The unit of processor times in `/proc`: a hundredth of a second on every Linux that Rust knows.
const MILLIS_PER_TICK: u64 = 10;

/// The parent of a process, and the ticks that all its threads have taken so far, in the kernel too.
fn process(id: u32) -> Result<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // proc_pid_stat(5): fields 4, 14 and 15; the name before them may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat names no process")?;
    let field = |nth: usize| fields.split_whitespace().nth(nth - 3).context("a field is missing");
    let ticks = field(14)?.parse::<u64>()? + field(15)?.parse::<u64>()?;
    Ok((field(4)?.parse()?, ticks))
}

/// The processor time that a process has taken so far, with those of its descendants that still run.
pub(crate) fn processor_time(root: u32) -> Result<Duration> {
    let ids =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // Who ends meanwhile is left out.
    let all: BTreeMap<u32, (u32, u64)> =
        ids.filter_map(|id: u32| Some((id, process(id).ok()?))).collect();
    let belongs = |id: &u32| {
        let parent = |id: &u32| all.get(id).map(|(parent, _)| *parent);
        std::iter::successors(Some(*id), parent).take(ANCESTORS_MAX).any(|it| it == root)
    };
    let ticks = all.iter().filter(|(id, _)| belongs(id)).map(|(_, (_, ticks))| ticks).sum::<u64>();
    Ok(Duration::from_millis(ticks * MILLIS_PER_TICK))
}

/// Processes from one to the first of all; more than any server here starts.
const ANCESTORS_MAX: usize = 64;
