//! The command line: a campaign of seeds, one seed again, or the smallest run that still fails.

use std::{fmt::Display, io::Write, process::ExitCode};

mod arguments;
mod campaign;
mod single;

use arguments::{Arguments, HELP, Task};

pub(crate) fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match Arguments::parse(&words) {
        Ok(arguments) => arguments,
        Err(why) => {
            say(format_args!("failed to read the command line: {why}\n{HELP}"));
            return ExitCode::FAILURE;
        }
    };
    let sound = match arguments.task {
        Task::Help => {
            say(HELP);
            true
        }
        Task::Campaign => campaign::run(&arguments),
        Task::Trace => single::trace(&arguments),
        Task::Shrink => single::shrink(&arguments),
    };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: impl Display) {
    // Nothing is left to be done when standard output is closed.
    let _closed = writeln!(std::io::stdout(), "{line}");
}
