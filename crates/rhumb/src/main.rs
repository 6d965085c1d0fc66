//! The command line of Rhumb: parses, dispatches, reports.

mod cli;
mod client;
mod commands;
mod folders;
mod founding;
mod http;
mod local;
mod machine_token;
mod node;
mod probe;
mod seat;
mod sites;
mod stopped;
mod table;
mod when;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            // The chain reads from what failed to why.
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            tracing::debug!(?error, "the command failed");
            commands::complain(&chain.join(": "));
            ExitCode::FAILURE
        }
    }
}
