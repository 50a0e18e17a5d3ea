//! `devices`: what the engine can compute on, why a plug-in cannot be used, and whether devices compute the same.

use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::{DONE, FAILED_CELLS, note_all, offload, prepare, unless_closed};
use crate::agreement::{Agreement, Computed, N_GEN, N_PROMPT, compute};
use crate::cli::DevicesArgs;
use crate::engine::Engine as _;
use crate::engine::llama::{EngineLog, Llama};
use crate::host::{Machine, process::describe_exit};
use crate::model::{ModelStore, resolve};
use crate::plan::expand::{ALL_LAYERS, Host};
use crate::plan::{Case, Devices};
use crate::report::devices::ComparedDevice;
use crate::report::{self, devices, progress};
use crate::run::supervisor::Worker;

/// Asks a worker for the list, so that a driver which hangs or crashes takes that process along.
pub fn devices(args: &DevicesArgs) -> Result<u8> {
    match &args.check {
        Some(model) if args.in_process => return check(args, model),
        Some(_) => return check_in_child(),
        None => {}
    }
    let command = prepare::worker_command(&args.worker)?;
    let worker = Worker::start(&command).map_err(|reason| anyhow!(reason))?;
    let mut engine = worker.engine().clone();
    engine.remote = offload::remote(std::iter::once(&args.rpc), &command)?;
    let found = devices::FoundDevices {
        engine,
        gpu: Machine::probe().gpus,
    };
    unless_closed(report::print_documents(
        &[devices::document(&found)],
        &found,
        args.output,
        &mut io::stdout().lock(),
    ))?;
    Ok(DONE)
}

/// What is computed on every device. Random tokens would have no likely next one.
const TEXT: &str = "A machine that generates text reads all of its weights for every token. With several sequences at once \
    it reads them once for all, so that the time of a step grows slowly at first. When the arithmetic takes longer than the \
    reading, every further sequence costs as much as the one before, and the curve of throughput bends. \
    Where it bends depends on the memory, on the cores, and on how the weights are stored.";

/// Compares in a process of its own, which a driver or a kernel that crashes takes along without taking the reason.
fn check_in_child() -> Result<u8> {
    let program = std::env::current_exe().context("this program's own path")?;
    let mut command = Command::new(&program);
    command
        .args(std::env::args_os().skip(1))
        .arg("--in-process");
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.with_context(|| {
        format!(
            "--check: the comparison ended by {}: a driver or the engine crashed; 'ggufbench devices' lists the devices, and \
             `--device NAME` of a run tries one alone",
            describe_exit(status)
        )
    })
}

/// Compares each device with the CPU, in this process.
fn check(args: &DevicesArgs, model: &str) -> Result<u8> {
    let mut found = resolve(&[model.to_owned()], &ModelStore::locate()?)?;
    note_all(&found.notes);
    let [model] = &mut found.models[..] else {
        bail!("--check takes one model file");
    };
    model.ensure(&mut *progress::file_work(&format!(
        "writing {}",
        model.facts.name
    )))?;
    let llama = Llama::init(EngineLog::Errors)?;
    llama.remote_devices(&args.rpc)?;
    let facts = llama.facts();
    let host = Host {
        n_threads: Machine::probe().cpu.available_cores.unwrap_or(1),
        n_gpu_layers: 0,
    };
    let case = |device: Devices| Case {
        n_prompt: N_PROMPT,
        n_gen: N_GEN,
        n_ctx: 512,
        n_gpu_layers: if device == Devices::None {
            0
        } else {
            ALL_LAYERS
        },
        rpc: args.rpc.clone(),
        device,
        ..host.case(&model.facts.name)
    };
    let on = |case: Case| computed(&llama, &model.path, &case);
    let cpu = on(case(Devices::None))?;
    let compared: Vec<ComparedDevice> = facts
        .devices
        .iter()
        .filter(|device| device.takes_layers())
        .map(|device| {
            let other = on(case(Devices::Named(vec![device.name.clone()])));
            let found = other.map(|other| Agreement::of(&cpu, &other));
            ComparedDevice {
                device: device.name.clone(),
                description: device.description.clone(),
                agreement: found.as_ref().ok().copied(),
                failed_because: found.err().map(|e| e.to_string()),
            }
        })
        .collect();
    ensure!(
        !compared.is_empty(),
        "--check: the engine has no device besides the CPU; 'ggufbench devices' says why a plug-in cannot be used"
    );
    let holds = |c: &ComparedDevice| c.agreement.is_some_and(|a| a.holds());
    let all_hold = compared.iter().all(holds);
    unless_closed(report::print_documents(
        &[devices::agreement(&model.facts.name, &compared)],
        &compared,
        args.output,
        &mut io::stdout().lock(),
    ))?;
    Ok(if all_hold { DONE } else { FAILED_CELLS })
}

/// What a case's device computes of the text.
fn computed(llama: &Llama, model: &Path, case: &Case) -> Result<Computed> {
    let engine = llama.load(model, &case.load_key())?;
    let mut text = engine.tokenize(TEXT, true, false);
    // A vocabulary without these letters still has tokens.
    let plain = engine.prompt_tokens().iter().cycle();
    text.extend(plain.take(N_PROMPT as usize));
    let mut session = engine.open(case)?;
    Ok(compute(session.as_mut(), &text)?)
}
