//! The child process: the only place where the engine runs. It does what it is told, one request at
//! a time, and decides nothing.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, bail};

use super::in_turns::{self, RepetitionInTurns};
use super::protocol::{EngineChoice, MARK, PROTOCOL_VERSION, Reply, Request};
use super::{scoring, serving, timing};
use crate::agreement::check;
use crate::build_info::BuildInfo;
use crate::engine::clock::{Clock, FakeClock, MonotonicClock};
use crate::engine::faulty::{FaultyEngine, PlantedFault};
use crate::engine::llama::{EngineLog, Llama};
use crate::engine::synthetic::SyntheticEngine;
use crate::engine::{Engine, EngineFacts, GpuMemory};
use crate::host::usage::{UsageDelta, UsageSnapshot, rss_bytes};
use crate::host::{EnergyMeter, GpuReport, process, signals};
use crate::measure::{Buffers, CaseRun, Workload, steady};
use crate::plan::{Case, LoadKey};
use crate::record::{LoadMemory, Opened};
use crate::streams::note;

/// Serves requests until standard input ends.
///
/// # Errors
/// When standard output is closed or a request makes no sense.
pub fn serve(engine: &EngineChoice) -> Result<()> {
    signals::leave_to_parent();
    process::crash_without_dialog();
    // Should memory run out, this process must go, never the one that keeps the record.
    // Where the system does not offer it, a run is only less robust.
    let _ = process::lower_oom_priority_of_self();
    let _ = process::die_with_parent();
    let requests = read_requests()?;
    match engine {
        EngineChoice::Llama { fault } => serve_llama(&requests, *fault),
        EngineChoice::Synthetic(cost) => {
            greet(SyntheticEngine::facts())?;
            let Some(Request::Load { worker, .. }) = requests.next() else {
                return Ok(());
            };
            let clock = FakeClock::default();
            let engine = SyntheticEngine::new(cost.clone(), clock.clone(), worker.into());
            serve_model(&engine, &clock, &requests, Loaded::default())
        }
    }
}

fn greet(engine: EngineFacts) -> Result<()> {
    reply(&Reply::Hello {
        protocol: PROTOCOL_VERSION,
        engine,
        program: Some(BuildInfo::current()),
        takes_turns: process::CAN_WAIT_UNTIL_IDLE,
    })
}

fn serve_llama(requests: &Requests, fault: Option<PlantedFault>) -> Result<()> {
    let llama = Llama::init(EngineLog::Stderr)?;
    let mut facts = llama.facts();
    if let Some(fault) = fault {
        // Such a record must not look like the engine's own.
        facts.version = format!("{}, {}", facts.version, fault.said());
    }
    let engine = facts.clone();
    let facts_say_openmp = facts.system_info.contains("OPENMP = 1");
    greet(facts)?;
    let clock = MonotonicClock::start();
    let Some(request) = requests.next() else {
        return Ok(());
    };
    let (path, key) = match request {
        Request::Load { path, key, .. } => (path, key),
        Request::OpenKernels {
            device,
            n_threads,
            most_bytes,
        } => return timing::serve(device, n_threads, most_bytes, requests),
        Request::RemoteDevices { servers } => {
            return match llama.remote_devices(&servers) {
                Ok(devices) => reply(&Reply::RemoteDevices { devices }),
                Err(e) => reply(&error(&e)),
            };
        }
        other => bail!("a worker loads a model first, it was asked for {other:?}"),
    };
    let gpu_memory_before = llama.gpu_memory(&key);
    let meter = energy_meter(&engine, &key);
    let started_ns = clock.now_ns();
    match llama.load(&path, &key) {
        Ok(engine) => {
            // OpenMP keeps its threads, and no other library starts any where there is no GPU.
            let counts_threads = facts_say_openmp && key.n_gpu_layers == 0;
            let loaded = Loaded {
                load_ns: clock.now_ns() - started_ns,
                other_threads: counts_threads.then(process::thread_count_of_self).flatten(),
                gpu_memory_before,
                meter,
            };
            match fault {
                None => serve_model(&engine, &clock, requests, loaded),
                Some(fault) => {
                    let engine = FaultyEngine::new(&engine, &clock, fault);
                    serve_model(&engine, &clock, requests, loaded)
                }
            }
        }
        Err(e) => reply(&error(&e)),
    }
}

/// A thread reads standard input, so that the end of it, which is the end of the supervisor, ends this
/// process even in the middle of a long repetition.
fn read_requests() -> Result<Requests> {
    let (sender, requests) = channel();
    let is_stopped = Arc::new(AtomicBool::new(false));
    let stop = is_stopped.clone();
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(request) = line.map(|l| serde_json::from_str(&l)) else {
                break;
            };
            match request {
                Ok(Request::Stop) => stop.store(true, Ordering::SeqCst),
                Ok(request) => {
                    // A stop is meant for what was asked for before it. It is forgotten here, not when the next thing is begun:
                    // its own stop may have come by then.
                    stop.store(false, Ordering::SeqCst);
                    if sender.send(request).is_err() {
                        return;
                    }
                }
                Err(e) => {
                    note(format_args!("worker: not a request: {e}"));
                    process::leave_at_once(2);
                }
            }
        }
        process::leave_at_once(0);
    };
    std::thread::Builder::new()
        .spawn(read)
        .context("cannot start a thread to read requests")?;
    Ok(Requests {
        requests,
        is_stopped,
    })
}

/// What the supervisor says.
pub(super) struct Requests {
    requests: Receiver<Request>,
    is_stopped: Arc<AtomicBool>,
}

impl Requests {
    /// The next thing to do; none when the supervisor is gone.
    pub(super) fn next(&self) -> Option<Request> {
        self.requests.recv().ok()
    }

    /// Whether what is being done shall end early.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }
}

pub(super) fn reply(reply: &Reply) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let text = serde_json::to_string(reply).context("a reply is always JSON")?;
    // A line of its own, even after a library's chatter that did not end its line.
    writeln!(out, "\n{MARK}{text}")
        .and_then(|()| out.flush())
        .context("cannot answer the supervisor")
}

pub(super) fn error(e: &impl std::fmt::Display) -> Reply {
    // The engine's own reason is on standard error, which another thread of the supervisor reads: this
    // mark tells it that all of it has been said.
    let _ = writeln!(std::io::stderr(), "\n{MARK}");
    Reply::Error {
        reason: e.to_string(),
    }
}

/// What is known when a model is loaded.
#[derive(Default)]
struct Loaded {
    load_ns: u64,
    /// Threads of this process before the engine computed anything; none where counting them says nothing of those
    /// that compute.
    other_threads: Option<u32>,
    /// Memory of the GPUs that the model's layers are on, before it was loaded.
    gpu_memory_before: Option<GpuMemory>,
    /// Energy counters of what the model computes on; none for a clock that is made up.
    meter: Option<EnergyMeter>,
}

impl Loaded {
    /// Threads that the engine computes with: those that came since, and the one that calls it.
    fn computing_threads(&self) -> Option<u32> {
        let came = process::thread_count_of_self()?.checked_sub(self.other_threads?)?;
        Some(came + 1)
    }
}

fn serve_model(
    engine: &dyn Engine,
    clock: &dyn Clock,
    requests: &Requests,
    loaded: Loaded,
) -> Result<()> {
    reply(&Reply::Loaded {
        load_ns: loaded.load_ns,
        rss_bytes: rss_bytes(),
        gpu_memory: loaded
            .gpu_memory_before
            .zip(engine.gpu_memory())
            .map(|(before, after)| LoadMemory { before, after }),
    })?;
    while let Some(request) = requests.next() {
        match request {
            Request::Open { case, seed } => {
                serve_case(engine, clock, requests, (&case, seed), &loaded)?
            }
            Request::Fit { prompts } => reply(&serving::fit_all(engine, &prompts))?,
            Request::Prepare { job, warm_up } => {
                serving::serve_job(engine, clock, requests, &job, warm_up)?;
            }
            Request::Score(task) => scoring::serve(engine, clock, requests, &task)?,
            Request::CheckOutput(case) => check_output(engine, &case)?,
            // After a failed case the supervisor may still close it.
            Request::Close => reply(&Reply::Closed)?,
            other => bail!("no case is open, but the supervisor asked for {other:?}"),
        }
    }
    Ok(())
}

fn check_output(engine: &dyn Engine, case: &Case) -> Result<()> {
    match check::check(engine, case) {
        Ok(checked) => reply(&Reply::OutputChecked(Box::new(checked))),
        Err(e) => reply(&error(&e)),
    }
}

/// Of the processor and of the GPUs that a model's layers are on. None where there is nothing to read.
fn energy_meter(engine: &EngineFacts, key: &LoadKey) -> Option<EnergyMeter> {
    let used = engine.pci_ids_of(key);
    // Why GPUs cannot be told apart is in the record's machine.
    let gpus = match used.is_empty() {
        true => Vec::new(),
        false => GpuReport::probe().indices_of(&used).unwrap_or_default(),
    };
    Some(EnergyMeter::open(&gpus)).filter(|meter| !meter.is_empty())
}

fn serve_case(
    engine: &dyn Engine,
    clock: &dyn Clock,
    requests: &Requests,
    (case, seed): (&Case, u64),
    loaded: &Loaded,
) -> Result<()> {
    let opened_ns = clock.now_ns();
    let mut session = match engine.open(case) {
        Ok(session) => session,
        Err(e) => return reply(&error(&e)),
    };
    let context_ns = clock.now_ns() - opened_ns;
    let n_ctx_seq = session.n_ctx_seq();
    let workload = Workload::draw(case, engine.prompt_tokens(), seed);
    let mut buffers = Buffers::for_case(case);
    let meter = loaded.meter.as_ref();
    let mut run = CaseRun::new(case, &workload, session.as_mut(), clock).with_meter(meter);
    match steady::warm_up(&mut run, case, &mut buffers) {
        Ok((warmup_calls, steadiness)) => reply(&Reply::Opened(Box::new(Opened {
            n_ctx_seq,
            n_threads: loaded.computing_threads(),
            context_ns,
            rss_bytes: rss_bytes(),
            gpu_memory: engine.gpu_memory(),
            steadiness,
            warmup_calls,
        })))?,
        Err(e) => return reply(&error(&e)),
    }
    while let Some(request) = requests.next() {
        match request {
            Request::Repeat => {
                let before = UsageSnapshot::take();
                let energy = match run.repetition(case.n_gen, &mut buffers) {
                    Ok(energy) => energy,
                    Err(e) => return reply(&error(&e)),
                };
                let usage = UsageSnapshot::take().since(&before);
                finish(engine, &buffers, usage.with_energy(energy))?;
            }
            Request::RepeatInTurns { steps } => {
                let usage = match in_turns::repeat(&mut run, (case, steps), &mut buffers, requests)?
                {
                    RepetitionInTurns::Whole(usage) => *usage,
                    RepetitionInTurns::Failed(e) => return reply(&error(&e)),
                    RepetitionInTurns::Abandoned => return Ok(()),
                };
                // Between the turns the other side computed.
                let lost = meter.map(|_| "the sides took turns within the repetition".to_owned());
                finish(
                    engine,
                    &buffers,
                    UsageDelta {
                        cpu_energy_lost: lost,
                        ..usage
                    },
                )?;
            }
            Request::Close => return reply(&Reply::Closed),
            other => bail!("a case is open, but the supervisor asked for {other:?}"),
        }
    }
    Ok(())
}

/// Says what a repetition was.
fn finish(engine: &dyn Engine, buffers: &Buffers, usage: UsageDelta) -> Result<()> {
    reply(&Reply::Repetition {
        usage: UsageDelta {
            gpu_memory_used_bytes: engine.gpu_memory().map(GpuMemory::used_bytes),
            ..usage
        },
        calls: buffers.calls.clone(),
    })
}
