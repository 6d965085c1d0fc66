//! One module per command.

mod attached;
mod audit;
mod bucket;
mod change;
mod config;
mod control;
mod dev;
mod init;
mod join;
mod join_token;
mod kv;
mod member;
mod objects;
mod operate;
mod queue;
mod receive;
mod region;
mod regions;
mod rehearse;
mod residency;
mod route;
mod runners;
pub(crate) mod serve;
mod settings;
mod ship;
mod show;
mod status;
mod token;
mod tour;
mod worker;

use std::{io::Write, process::ExitCode};

use anyhow::Result;

use crate::cli::{Cli, Command};

/// Runs a command.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Status(args) => status::run(&args),
        Command::Regions(args) => regions::run(&args),
        Command::Residency(args) => residency::run(&args),
        Command::Route(args) => route::run(&args),
        Command::Kv(args) => kv::run(&args),
        Command::Queue(args) => queue::run(&args),
        Command::Bucket(args) => bucket::run(&args),
        Command::Attached(args) => attached::run(&args),
        Command::Worker(args) => worker::run(*args),
        Command::Failover(args) => operate::start("failover", &args),
        Command::Drain(args) => operate::start("drain", &args),
        Command::Failback(args) => operate::failback(&args),
        Command::Failovers(command) => operate::runs(&command),
        Command::Region(command) => region::run(&command),
        Command::Member(command) => member::run(&command),
        Command::Token(command) => token::run(&command),
        Command::Init(args) => init::run(&args),
        Command::JoinToken(args) => join_token::run(&args),
        Command::Join(args) => join::run(&args),
        Command::Control(command) => control::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Config(command) => config::run(command),
        Command::Rehearse(args) => rehearse::run(&args),
        Command::Runners(command) => runners::run(&command),
        Command::Ship(args) => ship::run(&args),
        Command::Receive(args) => receive::run(&args),
        Command::Cp(args) => objects::copy::run(&args),
        Command::Ls(args) => objects::ls(&args),
        Command::Rm(args) => objects::rm(&args),
        Command::Stat(args) => objects::stat(&args),
        Command::Sync(args) => objects::sync(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Tour(args) => tour::run(args),
    }
}

/// Prints a line for the user.
pub(crate) fn say(line: &str) {
    // A closed standard output means that nobody reads it.
    let _closed = writeln!(std::io::stdout(), "{line}");
}

/// Tells the user something beside what was asked for, so that a script sees only the answer.
pub(crate) fn note(line: &str) {
    // Nothing is left to be done when standard error is closed.
    let _closed = writeln!(std::io::stderr(), "{line}");
}

/// Tells the user what went wrong.
pub(crate) fn complain(message: &str) {
    // Nothing is left to be done when standard error is closed.
    let _closed = writeln!(std::io::stderr(), "rhumb: {message}");
}
