//! Runs made by hand, for the tests of this room.

pub mod quality;
pub mod requests;

use std::path::PathBuf;

use crate::build_info::BuildInfo;
use crate::engine::{Device, EngineFacts};
use crate::host::usage::{Spread, UsageDelta, UsageSummary};
use crate::host::{HostWarning, Machine, TimerFacts};
use crate::measure::steady::Steadiness;
use crate::measure::{Call, Phase};
use crate::model::ModelFacts;
use crate::plan::{Case, Plan, Protocol};
use crate::record::jsonl::Writer;
use crate::record::{
    CellLine, EndLine, Line, Opened, Outcome, Repetition, RunHeader, SCHEMA_VERSION, StoppedBy,
    WorkerLine,
};
use crate::view::usage::{CellGpu, CellGpuMemory, MeanMax, MeanMin};
use crate::view::{CellEnergy, CellUsage, CellView, CellWarning, RunView};

pub const MIB: u64 = 1 << 20;
pub const MS: u64 = 1_000_000;

pub fn case(model: &str, n_seq: u32) -> Case {
    Case {
        n_seq,
        n_prompt: 32,
        n_gen: 4,
        n_threads: 2,
        ..Case::usual(model)
    }
}

pub fn model(name: &str) -> ModelFacts {
    ModelFacts {
        name: name.to_owned(),
        path: PathBuf::from(format!("gguf/{name}.gguf")),
        file_bytes: 91_751_424,
        n_parts: 1,
        sha256: Some("ab".repeat(32)),
        files: Vec::new(),
        architecture: "llama".to_owned(),
        general_name: Some("SmolLM2 135M".to_owned()),
        file_type: "Q4_0".to_owned(),
        requantized_from: None,
        n_params: 134_515_008,
        n_matmul_params: 134_479_872,
        n_expert_params: 0,
        n_layer: 30,
        n_embd: 576,
        n_head: Some(9),
        n_head_kv: Some(3),
        head_dim_k: Some(64),
        head_dim_v: Some(64),
        k_elements_per_token: 5760,
        v_elements_per_token: 5760,
        sliding: None,
        state_elements_per_seq: 0,
        unused: Vec::new(),
        n_ff: Some(1536),
        n_ff_expert: None,
        n_vocab: 49_152,
        n_ctx_train: Some(8192),
        n_expert: None,
        n_expert_used: None,
        tied_embeddings: true,
        tensor_bytes: 89_967_104,
        bytes_by_type: [("Q4_0".to_owned(), 89_967_104)].into(),
        token_embd_bytes: 15_925_248,
        expert_bytes: 0,
        weight_bytes_per_step: 89_967_104,
        matrices: Vec::new(),
    }
}

pub fn header(models: &[&str], cases: Vec<Case>) -> RunHeader {
    let mut machine = Machine {
        fingerprint: "0123456789abcdef".to_owned(),
        os: Some("Linux (Debian GNU/Linux 12)".to_owned()),
        arch: "x86_64".to_owned(),
        ..Machine::default()
    };
    machine.cpu.model = Some("AMD EPYC 9655".to_owned());
    machine.cpu.logical_cores = Some(4);
    machine.cpu.available_cores = Some(2);
    machine.memory.total_bytes = Some(24 << 30);
    RunHeader {
        requests: None,
        quality: None,
        pair: None,
        imported: None,
        n_repeated_lines: 0,
        schema: SCHEMA_VERSION,
        run: "20261122-234501-quick".to_owned(),
        started_at: "2026-11-22T23:45:01+00:00".to_owned(),
        args: vec!["sweep".to_owned(), "sweeps/quick.toml".to_owned()],
        program: BuildInfo {
            version: "0.1.0".to_owned(),
            git: Some("0123456789ab".to_owned()),
            ..BuildInfo::current()
        },
        machine,
        timer: Some(TimerFacts {
            resolution_ns: 20,
            overhead_ns: 21.5,
            readings: 10_200,
        }),
        engine: EngineFacts {
            name: "llama.cpp".to_owned(),
            version: "llama-cpp-sys-2 0.1.161".to_owned(),
            system_info: "CPU : AVX2 = 1".to_owned(),
            devices: vec![Device {
                name: "CPU".to_owned(),
                description: "AMD EPYC 9655".to_owned(),
                backend: "CPU".to_owned(),
                kind: "cpu".to_owned(),
                memory_total_bytes: 24 << 30,
                memory_free_bytes: 20 << 30,
                can_split_rows: false,
                pci_bus_id: None,
            }],
            supports_gpu_offload: false,
            remote: Vec::new(),
            plugins: Vec::new(),
        },
        missing_cpu_features: Vec::new(),
        warnings: Vec::new(),
        plan: Plan {
            name: "quick".to_owned(),
            protocol: Protocol::default(),
            models: models.iter().map(|m| model(m)).collect(),
            cases,
        },
    }
}

/// A repetition's calls: one prefill, then steps of these nanoseconds, of which 1000 are this program's
/// and 3000 sampling.
pub fn calls(case: &Case, prefill_ns: u64, steps_ns: &[u64]) -> Vec<Call> {
    let call = |phase, n_tokens, n_past, ns: u64| Call {
        phase,
        n_tokens,
        n_seq: case.n_seq,
        n_past,
        build_ns: 1000,
        submit_ns: ns - 4500,
        wait_ns: 500,
        sample_ns: 3000,
    };
    let prompt_tokens = case.n_prompt * case.n_seq;
    let prefill = (prompt_tokens > 0).then(|| call(Phase::Prefill, prompt_tokens, 0, prefill_ns));
    let steps = (case.n_prompt..).zip(steps_ns);
    let steps = steps.map(|(past, ns)| call(Phase::Decode, case.n_seq, past, *ns));
    prefill.into_iter().chain(steps).collect()
}

pub fn worker(number: u32, model: &str, load_ns: Option<u64>) -> Line {
    Line::Worker(Box::new(WorkerLine {
        worker: number,
        replicate: number,
        load: case(model, 1).load_key(),
        load_ns,
        rss_bytes: Some(100 * MIB),
        gpu_memory: None,
        found: None,
        log: vec!["llama_model_loader: loaded".to_owned()],
    }))
}

/// A repetition in the replicate and the worker of one number.
pub fn repetition(case: &Case, process: u32, number: u32, calls: Vec<Call>) -> Repetition {
    Repetition {
        case_id: case.id(),
        case: case.clone(),
        replicate: process,
        worker: process,
        repetition: number,
        started_ns: 5 * MS,
        usage: UsageDelta {
            wall_ns: 30 * MS,
            rss_bytes: Some(150 * MIB),
            peak_rss_bytes: Some(900 * MIB),
            ..UsageDelta::default()
        },
        warnings: Vec::new(),
        calls,
        totals: Vec::new(),
        turns: None,
    }
}

pub fn cell(case: &Case, process: Option<u32>, outcome: Outcome) -> CellLine {
    let opened = matches!(outcome, Outcome::Measured { .. } | Outcome::Interrupted);
    CellLine {
        case_id: case.id(),
        case: case.clone(),
        replicate: process,
        worker: process,
        outcome,
        opened: opened.then(|| Opened {
            n_ctx_seq: 2048,
            n_threads: None,
            context_ns: 7 * MS,
            rss_bytes: Some(140 * MIB),
            gpu_memory: None,
            steadiness: Steadiness::Settled,
            warmup_calls: calls(case, 9 * MS, &[2 * MS]),
        }),
        usage: None,
        found: None,
        log: Vec::new(),
    }
}

pub fn measured(repetitions: u32) -> Outcome {
    Outcome::Measured {
        repetitions,
        stopped_by: StoppedBy::Precision,
    }
}

pub fn end() -> Line {
    Line::End(EndLine {
        ended_at: "2026-11-22T23:47:00+00:00".to_owned(),
        interrupted: false,
        elapsed_ns: 119_000_000_000,
    })
}

/// The view of a run with these lines, through a real file.
pub fn view(header: RunHeader, lines: impl IntoIterator<Item = Line>) -> RunView {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut writer = Writer::create(folder.path(), header).expect("writes");
    for line in lines {
        writer.append(&line).expect("writes");
    }
    let mut view = RunView::read(folder.path()).expect("reads what was written");
    view.record = PathBuf::from("out/20261122-234501-quick/run.jsonl");
    view
}

/// Repetitions and cell lines of three processes with `n` repetitions each; steps differ by one
/// thousandth a process and by up to two percent within a repetition.
pub fn three_processes(case: &Case, n: u32, prefill_ns: u64, step_ns: u64) -> Vec<Line> {
    let mut lines = Vec::new();
    for process in 0..3 {
        for k in 0..n {
            let step = |i: u32| step_ns + step_ns / 1000 * u64::from(process + i % 20);
            let steps: Vec<u64> = (0..case.n_gen).map(step).collect();
            let r = repetition(case, process, k, calls(case, prefill_ns, &steps));
            lines.push(Line::Repetition(Box::new(r)));
        }
        lines.push(Line::Cell(Box::new(cell(case, Some(process), measured(n)))));
    }
    lines
}

/// A run with something of everything: two models, cells measured, measured in part, skipped, crashed,
/// failed and missing.
pub fn mixed() -> RunView {
    let (small, large) = ("smollm2-135m-q4_0", "smollm2-135m-f16");
    let with_gen = |model: &str, n_seq| Case {
        n_gen: 40,
        ..case(model, n_seq)
    };
    let cases: Vec<Case> = [small, large]
        .into_iter()
        .flat_map(|m| [1, 8, 32, 128].map(|n| with_gen(m, n)))
        .collect();
    let mut header = header(&[small, large], cases.clone());
    header.warnings = vec![HostWarning::PowerSaveGovernor {
        governor: "powersave".to_owned(),
    }];
    let mut lines = vec![
        worker(0, small, Some(110 * MS)),
        worker(1, small, Some(120 * MS)),
    ];
    lines.extend(watched(three_processes(&cases[0], 3, 13 * MS, 4_740_000)));
    lines.extend(three_processes(&cases[1], 3, 80 * MS, 14_300_000));
    lines.extend(disturbed(three_processes(
        &cases[2],
        3,
        330 * MS,
        36_100_000,
    )));
    let skipped = Outcome::Skipped {
        needs_bytes: 35_541_000_000,
        has_bytes: 24_589_000_000,
        device: None,
        n_gpu_layers: None,
    };
    lines.push(Line::Cell(Box::new(cell(&cases[3], None, skipped))));
    lines.extend(crashed_once(three_processes(
        &cases[4],
        2,
        21 * MS,
        8_010_000,
    )));
    for process in 0..3 {
        let outcome = Outcome::Crashed {
            how: "SIGABRT".to_owned(),
        };
        lines.push(Line::Cell(Box::new(cell(
            &cases[5],
            Some(process),
            outcome,
        ))));
    }
    let outcome = Outcome::Failed {
        reason: "cannot make a context: the engine returned none".to_owned(),
    };
    lines.push(Line::Cell(Box::new(cell(&cases[6], Some(0), outcome))));
    lines.push(end());
    view(header, lines)
}

/// Gives a cell whatever a figure can lack, so that no value of it is null.
pub fn fill(cell: &mut CellView) {
    let percent = || {
        Some(MeanMax {
            mean: 1.5,
            max: 2.5,
        })
    };
    let whole = || Some(MeanMax { mean: 1, max: 2 });
    let clock = || Some(MeanMin { mean: 2, min: 1 });
    cell.warnings = vec![CellWarning::OneProcess];
    // No process of a short run has enough steps for it.
    cell.intervals.p99 = cell.intervals.p90;
    cell.usage = CellUsage {
        process_cpu_percent: percent(),
        others_cpu_percent: percent(),
        steal_percent: percent(),
        rss_bytes: whole(),
        frequency_hz: clock(),
        temperature_c: percent(),
        voluntary_switches: Some(3),
        involuntary_switches: Some(4),
        major_faults: Some(0),
        swapped_bytes: Some(0),
        throttle_events: Some(0),
        quota_throttled_ns: Some(0),
        gpu: Some(CellGpu {
            sm_clock_hz: clock(),
            power_mw: whole(),
            temperature_c: percent(),
            memory_used_bytes: whole(),
            utilisation_percent: percent(),
            throttle_reasons: vec!["power limit".to_owned()],
        }),
        gpu_memory: Some(CellGpuMemory {
            total_bytes: Some(10),
            free_before_bytes: Some(9),
            used_before_bytes: Some(1),
            used_loaded_bytes: Some(5),
            used_peak_bytes: Some(6),
        }),
        gpu_energy: energy(250.0),
        gpu_energy_unknown: Some("it stood still".to_owned()),
        cpu_energy: energy(50.0),
        cpu_energy_unknown: Some("it is root's".to_owned()),
        sampler_cost_percent: Some(0.05),
    };
}

/// A hundred tokens a second at this power.
fn energy(watts: f64) -> Option<CellEnergy> {
    Some(CellEnergy {
        decode_j_per_token: Some(watts / 100.0),
        decode_j_per_token_above_idle: Some(watts / 200.0),
        prefill_j_per_token: Some(watts / 500.0),
        decode_power_w: Some(watts),
        idle_power_w: Some(watts / 2.0),
        idle_over_ns: Some(2_000_000_000),
        decode_ns: 10_000_000_000,
    })
}

/// What a sampler saw of a process on two cores, whose clock had this mean.
pub fn usage(frequency_hz: f64) -> UsageSummary {
    let around = |mean: f64| {
        Some(Spread {
            min: mean - 1.0,
            mean,
            max: mean + 1.0,
        })
    };
    UsageSummary {
        samples: 10,
        interval_ns: 200 * MS,
        wall_ns: 2000 * MS,
        own_cost_ns: Some(MS),
        beside_cost_ns: MS / 2,
        rss_bytes: around(150.0 * MIB as f64),
        process_cpu_percent: around(198.0),
        others_cpu_percent: around(1.5),
        frequency_hz: around(frequency_hz),
        ..UsageSummary::default()
    }
}

/// Neighbours in two repetitions, and no steady state in the last process.
fn disturbed(mut lines: Vec<Line>) -> Vec<Line> {
    for (at, others_percent) in [(0, 5.25), (1, 12.1)] {
        if let Some(Line::Repetition(r)) = lines.get_mut(at) {
            r.warnings = vec![HostWarning::NoisyNeighbour { others_percent }];
        }
    }
    if let Some(Line::Cell(c)) = lines.last_mut()
        && let Some(opened) = &mut c.opened
    {
        opened.steadiness = Steadiness::NotSteady;
    }
    lines
}

/// With what a sampler saw.
fn watched(mut lines: Vec<Line>) -> Vec<Line> {
    for line in &mut lines {
        if let Line::Cell(c) = line {
            c.usage = Some(usage(3.0e9));
        }
    }
    lines
}

/// The last process crashes after its first repetition.
fn crashed_once(mut lines: Vec<Line>) -> Vec<Line> {
    let Some(Line::Cell(mut last)) = lines.pop() else {
        return lines;
    };
    lines.pop();
    last.outcome = Outcome::Crashed {
        how: "SIGKILL (out of memory)".to_owned(),
    };
    lines.push(Line::Cell(last));
    lines
}
