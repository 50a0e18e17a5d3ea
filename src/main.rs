//! Parses, dispatches, and turns the result into an exit code.

use std::process::ExitCode;

use clap::Parser;
use ggufbench::cli::{Cli, normalize};
use ggufbench::cmd;

fn main() -> ExitCode {
    let cli = match normalize(std::env::args_os()) {
        Ok(args) => Cli::parse_from(args),
        Err(reason) => {
            eprintln!("error: {reason}");
            return cmd::BAD_INPUT.into();
        }
    };
    match cmd::dispatch(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            // One line: the chain's messages name the file, the value and the remedy themselves.
            eprintln!("error: {error:#}");
            cmd::BAD_INPUT.into()
        }
    }
}
