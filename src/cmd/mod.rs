//! One verb a file; here the dispatch and the exit codes. What several verbs do is in files of its own: no verb imports another.

mod ab;
mod bisect;
mod ceiling;
mod ceilings;
mod compare;
mod compared;
mod devices;
mod doctor;
mod execute;
mod export;
mod folder;
mod gate;
mod gate_trial;
mod import;
mod latest;
mod llama_build;
mod manual;
mod measuring;
mod model;
mod nightly;
mod offload;
mod pairs;
mod predict;
mod prepare;
mod prices;
mod programs;
mod prompts;
mod quality;
mod quality_plan;
mod quiet;
mod report;
mod requests;
mod requests_fit;
mod requests_plan;
mod requests_targets;
mod rpc_worker;
mod run;
mod shown;
mod sweeps;
mod trend;
mod trend_drawn;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context, Result, anyhow};

use crate::cli::{Cli, Command};
use crate::engine::plugins;
use crate::host::{self, signals};
use crate::plan::sweep;
use crate::streams;

/// Everything was done.
pub const DONE: u8 = 0;
/// Done, but some cells failed; of `gate`, a confirmed regression; of `bisect`, a slow commit.
pub const FAILED_CELLS: u8 = 1;
/// Bad usage or input; nothing was measured.
pub const BAD_INPUT: u8 = 2;
/// Neither a yes nor a no.
const INCONCLUSIVE: u8 = 3;
/// Of `bisect-step`: `git bisect run` leaves the revision out.
const BISECT_SKIPPED: u8 = 125;
/// Of `bisect-step`: `git bisect run` ends.
const BISECT_ABORTED: u8 = 128;
/// Ctrl-C: what was measured is in the record.
pub const INTERRUPTED: u8 = 130;

/// The folder that gets a folder for each run.
const OUT: &str = crate::record::newest::DEFAULT_OUT;

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
    host::show_colours();
    match latest::named(cli.command)? {
        None => run::run(&cli.run, None),
        Some(Command::Run(args)) => run::run(&args, None),
        Some(Command::Sweep { list: true, .. }) => sweeps::list(),
        Some(Command::Sweep {
            file, run: args, ..
        }) => {
            let file = file.as_deref().map(sweep::read).transpose()?;
            run::run(&args, file)
        }
        Some(Command::Requests(args)) => requests::requests(&args),
        Some(Command::CompareLive(args)) => requests::compare_live(&args),
        Some(Command::Quality(args)) => quality::quality(&args),
        Some(Command::Report(args)) => report::report(&args),
        Some(Command::Ab(args)) => ab::ab(&args),
        Some(Command::Bisect(args)) => bisect::bisect(&args),
        Some(Command::BisectStep(args)) => Ok(bisect::bisect_step(&args)),
        Some(Command::Compare(args)) => compare::compare(&args),
        Some(Command::Gate(args)) => gate::gate(&args),
        Some(Command::Import(args)) => import::import(&args),
        Some(Command::Export(args)) => export::export(&args),
        Some(Command::Nightly(args)) => nightly::nightly(&args),
        Some(Command::Trend(args)) => trend::trend(&args),
        Some(Command::Devices(args)) => devices::devices(&args),
        Some(Command::RpcWorker(args)) => rpc_worker::rpc_worker(&args),
        Some(Command::Doctor(args)) => doctor::doctor(&args),
        Some(Command::GateTrial(args)) => gate_trial::gate_trial(&args),
        Some(Command::Predict(args)) => predict::predict(&args),
        Some(Command::Ceiling(args)) => ceiling::ceiling(&args),
        Some(Command::Model(command)) => model::model(command),
        Some(Command::Manual(what)) => manual::manual(&what),
        Some(Command::Prompts(command)) => prompts::prompts(command),
        Some(Command::Worker { engine }) => {
            let engine = engine.parse().map_err(|e: String| anyhow!(e))?;
            crate::run::worker::serve(&engine).map(|()| DONE)
        }
    }
}

/// The exit code of an error, and of a command line that is refused. `git bisect run` takes [`BAD_INPUT`] for a bad revision.
pub fn code_of_bad_usage(mut args: impl Iterator<Item = std::ffi::OsString>) -> u8 {
    match args.any(|arg| arg == "bisect-step") {
        true => BISECT_ABORTED,
        false => BAD_INPUT,
    }
}

/// The chain's messages name the file, the value and the remedy themselves; one that ends with its cause is not
/// followed by it again.
pub fn in_one_line(error: &anyhow::Error) -> String {
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
