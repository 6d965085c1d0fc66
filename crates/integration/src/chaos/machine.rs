//! On what was measured, when, and of which commit.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
};

use serde::{Deserialize, Serialize};

/// What is said of something that nobody could find out.
const UNKNOWN: &str = "unknown";
/// Where Linux tells the load.
const LOAD: &str = "/proc/loadavg";

/// The circumstances of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The commit of the checkout, with `-dirty` where files differ from it.
    pub commit: String,
    /// When the run began, in UTC.
    pub began: String,
    /// Processors that this program may use.
    pub processors: usize,
    /// The load averages of 1, 5 and 15 minutes when it began.
    pub load_before: String,
    /// The same after the last trial so far.
    pub load_after: String,
}

impl Machine {
    /// Looks at the machine, the time and the checkout; what cannot be found out is "unknown".
    #[must_use]
    pub fn look() -> Self {
        let load = load();
        Self {
            commit: said("git", &["describe", "--always", "--dirty", "--abbrev=9"]),
            began: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            processors: thread::available_parallelism().map_or(0, usize::from),
            load_before: load.clone(),
            load_after: load,
        }
    }

    /// Takes the load down anew.
    pub fn look_again(&mut self) {
        self.load_after = load();
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { commit, began, processors, load_before, load_after } = self;
        write!(
            f,
            "commit {commit}, {began}, {processors} processors, load {load_before} before and {load_after} after"
        )
    }
}

fn load() -> String {
    let text = fs::read_to_string(LOAD).unwrap_or_default();
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    if averages.is_empty() { UNKNOWN.to_owned() } else { averages.join(" ") }
}

/// What a program says in one line.
fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success());
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.filter(|said| !said.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_tell_is_unknown() {
        assert_eq!(said("no-such-program-of-anybody", &[]), UNKNOWN);
        assert_eq!(said("false", &[]), UNKNOWN);
        assert_eq!(said("true", &[]), UNKNOWN);
        assert_eq!(said("echo", &["abc"]), "abc");
    }

    #[test]
    fn a_machine_has_processors_and_a_load() {
        let machine = Machine::look();
        assert!(machine.processors > 0 && !machine.load_before.is_empty(), "{machine}");
    }
}
