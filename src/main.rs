//! Parses the command line and starts what it names.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match odp::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            for line in odp::error::chain(error.as_ref()).lines() {
                odp::log::say(&format!("odp: {line}"));
            }
            ExitCode::FAILURE
        }
    }
}
