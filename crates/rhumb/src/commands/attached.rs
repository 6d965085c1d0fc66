//! `rhumb attached`: a worker's command, which is not to go on when its worker is killed, because nobody
//! renews its lease then.

use std::{os::unix::process::CommandExt, process::Command, process::ExitCode};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::cli::Attached;

/// Becomes the command. The wish to end with the parent outlives that.
pub(crate) fn run(args: &Attached) -> Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before that.
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get().cast_unsigned() != args.parent) {
        bail!("the worker has ended");
    }
    let (program, arguments) = args.command.split_first().context("there is no command")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("`{}` cannot be started", program.display()))
}
