//! `cargo xtask tidy`: what a change must satisfy before anyone reads it.
//!
//! Each gate is a function from the workspace to complaints, and a complaint says what is wrong,
//! where, and what to do. The gates that need no compilation run first.

mod files;
mod layers;
mod purity;

use std::fmt;

use crate::workspace::{Workspace, answers, succeeds};

/// How to run the gates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Mend what can be mended.
    pub(crate) fix: bool,
    /// Skip what needs compilation.
    pub(crate) quick: bool,
}

/// Something that a gate refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Where: a package or a file.
    pub(crate) place: String,
    /// What is wrong, and what to do.
    pub(crate) reason: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// What a gate found.
enum Finding {
    Passed,
    Refused(Vec<Complaint>),
    /// A tool that is not there.
    Skipped(String),
}

impl From<Vec<Complaint>> for Finding {
    fn from(complaints: Vec<Complaint>) -> Self {
        if complaints.is_empty() { Self::Passed } else { Self::Refused(complaints) }
    }
}

/// A gate that is a program: what it is called, how it is found, how it is run.
struct Tool {
    name: &'static str,
    /// Arguments of cargo, or a program of its own.
    program: Option<&'static str>,
    probe: &'static [&'static str],
    check: &'static [&'static str],
    fix: Option<&'static [&'static str]>,
    /// Whether it compiles the workspace.
    compiles: bool,
    remedy: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "formatting",
        program: None,
        probe: &["fmt", "--version"],
        check: &["fmt", "--all", "--check"],
        fix: Some(&["fmt", "--all"]),
        compiles: false,
        remedy: "run `cargo xtask tidy --fix`",
    },
    Tool {
        name: "spelling",
        program: Some("typos"),
        probe: &["--version"],
        check: &["--force-exclude"],
        fix: None,
        compiles: false,
        remedy: "mend the words, or add a name to _typos.toml",
    },
    Tool {
        name: "licences, bans, sources",
        program: None,
        probe: &["deny", "--version"],
        check: &["deny", "--offline", "check", "licenses", "bans", "sources"],
        fix: None,
        compiles: false,
        remedy: "see deny.toml for what is allowed",
    },
    Tool {
        name: "lints",
        program: None,
        probe: &["clippy", "--version"],
        check: &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        fix: None,
        compiles: true,
        remedy: "mend each warning; an `expect` needs a reason",
    },
];

/// How the gates ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// The gates that refused something.
    pub(crate) refused: Vec<&'static str>,
    /// The gates that could not run, and why.
    pub(crate) skipped: Vec<String>,
}

impl Verdict {
    fn add(&mut self, gate: &'static str, finding: Finding) {
        match finding {
            Finding::Passed => println!("tidy: {gate}: ok"),
            Finding::Skipped(reason) => {
                println!("tidy: {gate}: skipped, because {reason}");
                self.skipped.push(format!("{gate}: {reason}"));
            }
            Finding::Refused(complaints) => {
                println!("tidy: {gate}: refused");
                for complaint in complaints {
                    println!("  {complaint}");
                }
                self.refused.push(gate);
            }
        }
    }
}

/// Runs the gates.
pub(crate) fn run(workspace: &Workspace, options: Options) -> anyhow::Result<Verdict> {
    if options.fix {
        purity::write_bans(workspace)?;
    }
    let metadata = &workspace.metadata;
    let mut verdict = Verdict::default();
    verdict.add("layers", layers::check(metadata).into());
    verdict.add("purity", purity::check(workspace)?.into());
    verdict.add("files", files::check(workspace)?.into());
    for tool in TOOLS.iter().filter(|tool| !(options.quick && tool.compiles)) {
        verdict.add(tool.name, run_tool(workspace, tool, options.fix)?);
    }
    Ok(verdict)
}

fn run_tool(workspace: &Workspace, tool: &Tool, fix: bool) -> anyhow::Result<Finding> {
    let program = match tool.program {
        Some(name) => program_path(workspace, name),
        None => "cargo".to_owned(),
    };
    if !answers(&program, tool.probe) {
        let subcommand = tool.probe.first().unwrap_or(&"");
        let wanted = tool.program.map_or_else(|| format!("cargo {subcommand}"), str::to_owned);
        return Ok(Finding::Skipped(format!("`{wanted}` is not installed")));
    }
    let arguments = tool.fix.filter(|_| fix).unwrap_or(tool.check);
    let mut command = match tool.program {
        Some(_) => workspace.command(&program),
        None => workspace.cargo(&[]),
    };
    if succeeds(command.args(arguments))? {
        return Ok(Finding::Passed);
    }
    let place = format!("{} {}", tool.program.unwrap_or("cargo"), arguments.join(" "));
    Ok(vec![Complaint { place, reason: format!("failed as shown above; {}", tool.remedy) }].into())
}

/// A tool from the test environment where `cargo xtask test` put one, else from the path.
fn program_path(workspace: &Workspace, name: &str) -> String {
    let installed = crate::suite::environment::program(workspace, name);
    if installed.exists() { installed.display().to_string() } else { name.to_owned() }
}
