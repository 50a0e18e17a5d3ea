//! Sides made by hand, for the tests of comparing and gating.

use crate::build_info::BuildInfo;
use crate::engine::EngineFacts;
use crate::host::{HostWarning, Machine, TimerFacts};
use crate::measure::{Call, Phase};
use crate::metric::Metric;
use crate::model::ModelFacts;
use crate::plan::expand::{Axes, Host, cases};
use crate::plan::{Case, Plan, Protocol};
use crate::record::jsonl::Writer;
use crate::record::{CellLine, Line, Repetition, RunHeader, SCHEMA_VERSION};

use super::side::Side;

/// The cells of these axes.
pub fn cells(axes: &Axes) -> Vec<Case> {
    let host = Host {
        n_threads: 2,
        n_gpu_layers: 0,
    };
    cases(axes, &["m".into()], &[], host).expect("valid")
}

pub fn batches(n_seq: &[u32]) -> Vec<Case> {
    cells(&Axes {
        n_seq: Some(n_seq.to_vec()),
        ..Axes::default()
    })
}

pub fn header(run: &str, cases: &[Case]) -> RunHeader {
    RunHeader {
        requests: None,
        quality: None,
        pair: None,
        imported: None,
        n_repeated_lines: 0,
        schema: SCHEMA_VERSION,
        run: run.to_owned(),
        started_at: "2026-01-31T12:00:00+00:00".to_owned(),
        args: Vec::new(),
        program: BuildInfo::current(),
        machine: Machine {
            fingerprint: "0123456789abcdef".to_owned(),
            ..Machine::default()
        },
        timer: Some(TimerFacts {
            resolution_ns: 1,
            overhead_ns: 1.0,
            readings: 1,
        }),
        engine: EngineFacts {
            name: "synthetic".to_owned(),
            version: "1".to_owned(),
            system_info: String::new(),
            devices: Vec::new(),
            supports_gpu_offload: false,
            remote: Vec::new(),
            plugins: Vec::new(),
        },
        missing_cpu_features: Vec::new(),
        warnings: Vec::new(),
        plan: Plan {
            name: "t".to_owned(),
            protocol: Protocol::default(),
            models: Vec::<ModelFacts>::new(),
            cases: cases.to_vec(),
        },
    }
}

/// A run whose cells each have one repetition a process, of steps of so many nanoseconds; through a real file.
pub fn side(header: RunHeader, steps_ns: impl Fn(&Case) -> Vec<u64>) -> Side {
    let undisturbed = |ns| vec![(ns, false)];
    side_of(header, |case| {
        steps_ns(case).into_iter().map(undisturbed).collect()
    })
}

/// A run by cell, process and repetition: the step in nanoseconds, and whether another process was busy meanwhile.
pub fn side_of(header: RunHeader, processes: impl Fn(&Case) -> Vec<Vec<(u64, bool)>>) -> Side {
    side_ended(header, processes, &[])
}

/// The same with what became of cells.
pub fn side_ended(
    header: RunHeader,
    processes: impl Fn(&Case) -> Vec<Vec<(u64, bool)>>,
    ends: &[CellLine],
) -> Side {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut writer = Writer::create(folder.path(), header.clone()).expect("writes");
    for case in &header.plan.cases {
        for (replicate, repetitions) in (0..).zip(processes(case)) {
            for (repetition, (step_ns, is_disturbed)) in (0..).zip(repetitions) {
                let line = line(case, (replicate, repetition), step_ns, is_disturbed);
                writer.append(&line).expect("writes");
            }
        }
    }
    for end in ends {
        let line = Line::Cell(Box::new(end.clone()));
        writer.append(&line).expect("writes");
    }
    Side::read(folder.path(), Metric::StepNs).expect("reads what was written")
}

/// A repetition, by process and number.
pub fn line(
    case: &Case,
    (replicate, repetition): (u32, u32),
    step_ns: u64,
    is_disturbed: bool,
) -> Line {
    let call = Call {
        phase: Phase::Decode,
        n_tokens: case.n_seq,
        n_seq: case.n_seq,
        n_past: 0,
        build_ns: 0,
        submit_ns: step_ns,
        wait_ns: 0,
        sample_ns: 0,
    };
    let neighbour = HostWarning::NoisyNeighbour {
        others_percent: 40.0,
    };
    Line::Repetition(Box::new(Repetition {
        case_id: case.id(),
        case: case.clone(),
        replicate,
        worker: replicate,
        repetition,
        started_ns: 0,
        usage: Default::default(),
        warnings: is_disturbed.then_some(neighbour).into_iter().collect(),
        calls: vec![call; 3],
        totals: Vec::new(),
        turns: None,
    }))
}

/// A run of these cells with the same three process medians in each.
pub fn run(name: &str, cases: &[Case], steps_ns: [u64; 3]) -> Side {
    side(header(name, cases), |_| steps_ns.to_vec())
}
