//! `cargo xtask`: the gates and test runs of the workspace.
//!
//! Everything that a merge must pass is started from here, so that a laptop and CI run the same
//! commands. Deliberately absent: any check that lives nowhere else; each is a tool's, or has a
//! test of its own beside it.
#![expect(clippy::print_stdout, reason = "a command-line tool that reports to a terminal")]

mod delegate;
mod suite;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{delegate::ChaosEnd, workspace::Workspace};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Gates and test runs of the Rhumb workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Formatting, lints, layers, purity, file sizes, licences, spelling.
    Tidy {
        /// Mend what can be mended: formatting, and the `clippy.toml` of pure crates.
        #[arg(long)]
        fix: bool,
        /// Only the checks that need no compilation.
        #[arg(long)]
        quick: bool,
    },
    /// Everything that a merge must pass; installs what is missing, names what it skips.
    Test {
        /// Install nothing; skip what needs it.
        #[arg(long)]
        no_install: bool,
        /// How many seeds the simulator runs.
        #[arg(long, default_value_t = suite::SIM_SEEDS_DEFAULT)]
        seeds: u32,
        /// Only the steps whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Runs the simulator, optimised: `cargo xtask sim --seeds 1000`.
    #[command(disable_help_flag = true)]
    Sim {
        /// Passed on to the simulator, which explains them with `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Runs the side-by-side benchmarks, optimised: `cargo xtask bench --quick`.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the benchmarks, which explain them with `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Failures of a region on real processes, measured: `cargo xtask chaos --short`.
    #[command(disable_help_flag = true)]
    Chaos {
        /// Passed on to the program, which explains them with `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything passed.
fn dispatch(command: Command) -> anyhow::Result<bool> {
    let workspace = Workspace::load()?;
    match command {
        Command::Tidy { fix, quick } => {
            let verdict = tidy::run(&workspace, tidy::Options { fix, quick })?;
            Ok(verdict.refused.is_empty())
        }
        Command::Test { no_install, seeds, only } => {
            suite::run(&workspace, &suite::Options { install: !no_install, seeds, only })
        }
        Command::Sim { rest } => delegate::sim(&workspace, &rest),
        Command::Bench { rest } => delegate::bench(&workspace, &rest),
        Command::Chaos { rest } => Ok(delegate::chaos(&workspace, &rest)? == ChaosEnd::Passed),
    }
}
