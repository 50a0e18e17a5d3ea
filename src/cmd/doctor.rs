//! `doctor`: is this machine fit to measure?

use std::io::{self, IsTerminal};

use anyhow::Result;

use super::{DONE, prepare, unless_closed};
use crate::cli::DoctorArgs;
use crate::doctor::{EngineAnswer, Facts, examine, observe};
use crate::report::{self, DocumentForm, diagnosis};
use crate::run::supervisor::{Worker, WorkerCommand};
use crate::streams::note;
use crate::units;

/// Looks at the machine and says what it is fit for. Having looked is success, whatever was found.
pub fn doctor(args: &DoctorArgs) -> Result<u8> {
    let command = prepare::worker_command(&args.worker)?;
    let facts = Facts::probe(ask_engine(&command), args.threads);
    if io::stderr().is_terminal() {
        let time = units::duration(units::nanoseconds(args.lasting));
        note(format_args!(
            "looking at this machine for about {time}: leave it alone meanwhile"
        ));
    }
    let observed = observe(&facts.question(args.lasting))?;
    let examination = examine(&facts, &observed);
    // Names of other programs are for whoever sits here: no file gets them, and a pipeline none on standard output.
    let is_seen = args.output == DocumentForm::Table && io::stdout().is_terminal();
    let busiest = if is_seen {
        observed.busiest.as_slice()
    } else {
        &[]
    };
    let named = diagnosis::programs(&observed.busiest);
    if !is_seen && !named.is_empty() {
        note(format_args!("busiest meanwhile: {named}"));
    }
    unless_closed(report::print_documents(
        &[diagnosis::document(&examination, busiest)],
        &examination,
        args.output,
        &mut io::stdout().lock(),
    ))?;
    Ok(DONE)
}

/// The worker is gone again before anything is measured.
fn ask_engine(command: &WorkerCommand) -> EngineAnswer {
    match Worker::start(command) {
        Ok(worker) => EngineAnswer::Answers {
            system_info: worker.engine().system_info.clone(),
        },
        Err(error) => EngineAnswer::Silent {
            reason: error.to_string(),
        },
    }
}
