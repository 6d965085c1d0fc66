//! Runs seeds of the simulator, and says which did not hold and how to run them again.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
