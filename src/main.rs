//! Parses, dispatches, and turns the result into an exit code.

use std::process::ExitCode;

use ggufbench::cli::{self, normalize};
use ggufbench::cmd;
use ggufbench::streams::{self, note};
use ggufbench::text::plain;

fn main() -> ExitCode {
    let bad_usage = cmd::code_of_bad_usage(std::env::args_os());
    let args = match normalize(std::env::args_os()) {
        Ok(args) => args,
        Err(reason) => return refuse(reason, bad_usage),
    };
    let cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err(told) => {
            return match streams::show_parsed(&told) {
                Ok(()) if told.use_stderr() => bad_usage.into(),
                Ok(()) => cmd::DONE.into(),
                Err(e) => {
                    let reason = format_args!("cannot write to standard output: {e}");
                    refuse(reason, bad_usage)
                }
            };
        }
    };
    match cmd::dispatch(cli) {
        Ok(code) => code.into(),
        Err(error) => refuse(cmd::in_one_line(&error), bad_usage),
    }
}

fn refuse(reason: impl std::fmt::Display, code: u8) -> ExitCode {
    // One line, whatever a name in it holds.
    note(format_args!("error: {}", plain(&reason.to_string())));
    code.into()
}

/// The only thing that the portable build would ask of a C library newer than 2.34 (that of RHEL 9): `hypotf` has got a new
/// version in 2.35. Plots use it; by way of f64 neither the squares nor their sum overflow.
#[cfg(all(feature = "portable", target_os = "linux", target_env = "gnu"))]
#[unsafe(no_mangle)]
extern "C" fn hypotf(x: f32, y: f32) -> f32 {
    let (x, y) = (f64::from(x), f64::from(y));
    (x * x + y * y).sqrt() as f32
}
