//! `latest` as the name of a run, of every verb that reads runs.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::cli::{BaselineChoice, Command};
use crate::record::newest;

/// The command with the newest run in place of `latest`.
///
/// # Errors
/// With what to do, where no run has ended.
pub(super) fn named(mut command: Option<Command>) -> Result<Option<Command>> {
    let Some(read) = &mut command else {
        return Ok(None);
    };
    for run in runs(read) {
        *run = newest::named(run).map_err(|reason| anyhow!(reason))?;
    }
    Ok(command)
}

/// The runs that a command reads. One that is to go on has not ended, and is not among them.
fn runs(command: &mut Command) -> Vec<&mut PathBuf> {
    match command {
        Command::Report(args) => args.runs.iter_mut().collect(),
        Command::Compare(args) => std::iter::once(&mut args.a).chain(&mut args.b).collect(),
        Command::Gate(args) => {
            let baseline = match &mut args.baseline {
                BaselineChoice::Run(run) => Some(run),
                BaselineChoice::Pinned | BaselineChoice::Last(_) | BaselineChoice::Nothing => None,
            };
            let run = std::iter::once(&mut args.run);
            run.chain(baseline).chain(&mut args.confirm).collect()
        }
        Command::GateTrial(args) => args.runs.iter_mut().chain(&mut args.slower).collect(),
        Command::Export(args) => args.runs.iter_mut().collect(),
        Command::Predict(args) => args.check.iter_mut().collect(),
        _ => Vec::new(),
    }
}
