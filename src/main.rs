//! Parses, dispatches, and turns the result into an exit code.

use std::process::ExitCode;

use ggufbench::cli::{normalize, parse};
use ggufbench::cmd;

fn main() -> ExitCode {
    let cli = match normalize(std::env::args_os()).and_then(|args| parse(&args)) {
        Ok(cli) => cli,
        Err(reason) => {
            eprintln!("error: {reason}");
            return cmd::BAD_INPUT.into();
        }
    };
    match cmd::dispatch(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {}", in_one_line(&error));
            cmd::BAD_INPUT.into()
        }
    }
}

/// The chain's messages name the file, the value and the remedy themselves; one that ends with its cause is not
/// followed by it again.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for message in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = message;
        } else if !line.ends_with(&message) {
            line.push_str(": ");
            line.push_str(&message);
        }
    }
    line
}
