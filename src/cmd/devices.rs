//! `devices`: what the engine can compute on, and why a plug-in cannot be used.

use std::io;

use anyhow::{Result, anyhow};

use super::{DONE, offload, prepare, unless_closed};
use crate::cli::DevicesArgs;
use crate::host::Machine;
use crate::report::{self, devices as sheet};
use crate::run::supervisor::Worker;

/// Asks a worker, so that a driver which hangs or crashes takes that process along.
///
/// # Errors
/// For an engine that does not start, or when standard output is closed.
pub fn devices(args: &DevicesArgs) -> Result<u8> {
    let command = prepare::worker_command(&args.worker)?;
    let worker = Worker::start(&command).map_err(|reason| anyhow!(reason))?;
    let mut engine = worker.engine().clone();
    engine.remote = offload::remote(std::iter::once(&args.rpc), &command)?;
    let found = sheet::Found {
        engine,
        gpu: Machine::probe().gpus,
    };
    unless_closed(report::print_sheet(
        &sheet::sheet(&found),
        &found,
        args.output,
        &mut io::stdout().lock(),
    ))?;
    Ok(DONE)
}
