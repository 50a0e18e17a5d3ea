//! One verb a file; here the dispatch and the exit codes.

mod ab;
mod ceiling;
mod compare;
mod devices;
mod doctor;
mod execute;
mod folder;
mod gate;
mod gate_trial;
mod llama_build;
mod model;
mod offload;
mod predict;
mod prepare;
mod prompts;
mod quality;
mod report;
mod requests;
mod requests_plan;
mod requests_targets;
mod rpc_worker;
mod run;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context, Result, anyhow};

use crate::cli::{Cli, Command};
use crate::engine::plugins;
use crate::host::{self, signals};
use crate::plan::sweep;
use crate::streams;

/// Everything was done.
pub const DONE: u8 = 0;
/// Done, but some cells failed; of `gate`, a confirmed regression.
pub const FAILED_CELLS: u8 = 1;
/// Bad usage or input; nothing was measured.
pub const BAD_INPUT: u8 = 2;
/// Ctrl-C: what was measured is in the record.
pub const INTERRUPTED: u8 = 130;

/// The folder that gets a folder for each run.
const OUT: &str = "out";

/// Does what was typed.
///
/// # Errors
/// With the reason in one line; the exit code is then [`BAD_INPUT`].
pub fn dispatch(cli: Cli) -> Result<u8> {
    if let Some(folder) = &cli.backends {
        plugins::look_also_in(folder).map_err(|reason| anyhow!(reason))?;
    }
    if !matches!(cli.command, Some(Command::Worker { .. })) {
        host::leave_openmp_places();
    }
    signals::outlive_limits();
    match cli.command {
        None => run::run(&cli.run, None),
        Some(Command::Run(args)) => run::run(&args, None),
        Some(Command::Sweep { file, run: args }) => run::run(&args, Some(sweep::read(&file)?)),
        Some(Command::Requests(args)) => requests::requests(&args),
        Some(Command::CompareLive(args)) => requests::compare_live(&args),
        Some(Command::Quality(args)) => quality::quality(&args),
        Some(Command::Report(args)) => report::report(&args),
        Some(Command::Ab(args)) => ab::ab(&args),
        Some(Command::Compare(args)) => compare::compare(&args),
        Some(Command::Gate(args)) => gate::gate(&args),
        Some(Command::Devices(args)) => devices::devices(&args),
        Some(Command::RpcWorker(args)) => rpc_worker::rpc_worker(&args),
        Some(Command::Doctor(args)) => doctor::doctor(&args),
        Some(Command::GateTrial(args)) => gate_trial::gate_trial(&args),
        Some(Command::Predict(args)) => predict::predict(&args),
        Some(Command::Ceiling(args)) => ceiling::ceiling(&args),
        Some(Command::Model(command)) => model::model(command),
        Some(Command::Prompts(command)) => prompts::prompts(command),
        Some(Command::Worker { engine }) => {
            let engine = engine.parse().map_err(|e: String| anyhow!(e))?;
            crate::run::worker::serve(&engine).map(|()| DONE)
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn say(text: impl std::fmt::Display) -> Result<()> {
    streams::say(text).context("cannot write to standard output")
}

/// Writes the path of a file that was made: for `$(...)` as it is, for a terminal fit to be shown.
fn say_path(path: &std::path::Path) -> Result<()> {
    let mut out = io::stdout();
    if out.is_terminal() {
        return say(path.display());
    }
    let bytes = path.as_os_str().as_encoded_bytes();
    let written = out.write_all(&[bytes, b"\n"].concat());
    unless_closed(written.and_then(|()| out.flush()))
}

/// Says on standard error what the user should know, and goes on.
fn note_all(notes: &[String]) {
    for text in notes {
        streams::note(format_args!("note: {text}"));
    }
}

fn unless_closed(written: io::Result<()>) -> Result<()> {
    streams::unless_closed(written).context("cannot write to standard output")
}
