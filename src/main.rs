//! Parses the command line and starts what it names.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match odp::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            odp::log::say(&format!("odp: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
