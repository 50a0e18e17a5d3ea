//! Kernels timed in worker processes: what becomes of one that aborts, lacks memory or cannot be computed.

mod support;

use ggufbench::engine::kernel::KernelDevice;
use ggufbench::measure::kernel::Effort;
use ggufbench::roofline::ceiling::Timing;
use ggufbench::roofline::kernel::{Kernel, KernelLoad, Point};
use ggufbench::run::kernels::KernelTimer;
use ggufbench::run::protocol::EngineChoice;
use ggufbench::run::supervisor::WorkerCommand;

const MIB: u64 = 1 << 20;

fn effort(most_bytes: u64) -> Effort {
    Effort {
        rounds: 2,
        round_ns: 1000,
        min_passes: 1,
        stock_bytes: MIB,
        floor_bytes: MIB,
        most_bytes,
    }
}

fn command(program: &std::path::Path) -> WorkerCommand {
    WorkerCommand {
        program: program.to_owned(),
        engine: EngineChoice::default(),
    }
}

fn this_program() -> WorkerCommand {
    command(std::path::Path::new(env!("CARGO_BIN_EXE_ggufbench")))
}

fn matmul(n_in: u64, n_out: u64, n_tokens: u32) -> Point {
    Point {
        kernel: Kernel::MatMul {
            weights: "F16".into(),
            n_in,
            n_out,
        },
        load: KernelLoad::tokens(n_tokens),
    }
}

fn attention(n_head: u32, n_head_kv: u32) -> Point {
    Point {
        kernel: Kernel::Attention {
            n_head,
            n_head_kv,
            head_dim_k: 64,
            head_dim_v: 64,
            type_k: "F16".into(),
            type_v: "F16".into(),
        },
        load: KernelLoad::tokens(1),
    }
}

fn timed(command: &WorkerCommand, effort: Effort, points: &[Point]) -> Vec<Result<Timing, String>> {
    let mut timer = KernelTimer::new(command, KernelDevice::Cpu, 1, effort);
    let timed = timer.time(points, &mut |_, _| ());
    assert!(timed.iter().map(|t| &t.0).eq(points), "in their order");
    timed.into_iter().map(|(_, timing)| timing).collect()
}

#[test]
fn kernels_are_timed_in_a_worker_and_a_shape_that_aborts_the_engine_is_refused_alone() {
    let points = [matmul(256, 64, 1), attention(2, 3), matmul(256, 64, 8)];
    let timed = timed(&this_program(), effort(512 * MIB), &points);
    for at in [0, 2] {
        let timing = timed[at].as_ref().expect("timed");
        assert!(timing.ns > 0.0 && timing.n_rounds == 2, "{timing:?}");
    }
    let reason = timed[1].as_ref().expect_err("no such attention");
    assert!(reason.contains("2 query heads for 3 KV heads"), "{reason}");
}

#[test]
fn what_needs_more_memory_than_may_be_used_is_not_tried() {
    // 64 rows of this width are 256 MiB.
    let points = [matmul(2 << 20, 64, 1), matmul(256, 64, 1)];
    let timed = timed(&this_program(), effort(128 * MIB), &points);
    let reason = timed[0].as_ref().expect_err("too large");
    assert!(
        reason.starts_with("needs ") && reason.contains("128 MiB may be used"),
        "{reason}"
    );
    assert!(timed[1].is_ok(), "{:?}", timed[1]);
}

/// Greets, opens, and dies when it is asked for a kernel, with what ggml would say.
#[cfg(unix)]
fn dying(folder: &std::path::Path) -> WorkerCommand {
    use ggufbench::engine::synthetic::SyntheticEngine;
    use ggufbench::run::protocol::{MARK, PROTOCOL_VERSION, Reply};
    use std::os::unix::fs::PermissionsExt;

    let hello = Reply::Hello {
        takes_turns: false,
        protocol: PROTOCOL_VERSION,
        engine: SyntheticEngine::facts(),
        program: None,
    };
    let said = |reply: &Reply| serde_json::to_string(reply).expect("plain data");
    std::fs::write(folder.join("hello"), said(&hello)).expect("writable");
    std::fs::write(folder.join("opened"), said(&Reply::KernelsOpened)).expect("writable");
    let script = format!(
        "#!/bin/sh\ncd '{}'\nsay() {{ printf '\\n{MARK}%s\\n' \"$(cat $1)\"; }}\n\
         say hello; read request; say opened; read request\n\
         echo started >>starts; echo 'ggml.c:1: GGML_ASSERT(a) failed' >&2; kill -ABRT $$\n",
        folder.display()
    );
    let program = folder.join("worker");
    std::fs::write(&program, script).expect("writable");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    command(&program)
}

#[cfg(unix)]
#[test]
fn a_worker_that_dies_is_one_kernels_outcome_with_what_it_said_last() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let points: Vec<Point> = (1..=5).map(|n| matmul(256, 64 * n, 1)).collect();
    let timed = timed(&dying(folder.path()), effort(512 * MIB), &points);
    let reasons: Vec<String> = timed
        .into_iter()
        .map(|t| t.expect_err("none is timed"))
        .collect();
    for reason in &reasons[..3] {
        assert!(
            reason.contains("SIGABRT") && reason.contains("GGML_ASSERT(a) failed"),
            "{reason}"
        );
    }
    for reason in &reasons[3..] {
        assert!(reason.contains("not tried"), "{reason}");
    }
    let starts = std::fs::read_to_string(folder.path().join("starts")).expect("written");
    assert_eq!(starts.lines().count(), 3, "no worker is started for ever");
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_cannot_take_more_memory_than_it_was_given() {
    use ggufbench::run::protocol::{Reply, Request};
    use ggufbench::run::supervisor::Worker;
    use std::time::Duration;

    let timeout = Duration::from_secs(600);
    let mut worker = Worker::start(&this_program()).expect("starts");
    let open = Request::OpenKernels {
        device: KernelDevice::Cpu,
        n_threads: 1,
        most_bytes: 64 * MIB,
    };
    let opened = worker.ask(&open, timeout, None);
    assert_eq!(opened, Ok(Reply::KernelsOpened));
    let Point { kernel, load } = matmul(1024, 1024, 1);
    let request = Request::TimeKernel {
        kernel,
        loads: vec![load],
        effort: Effort {
            stock_bytes: 4096 * MIB,
            ..effort(0)
        },
    };
    match worker.ask(&request, timeout, None) {
        Ok(Reply::KernelTimed { passes, .. }) => {
            let reason = passes[0].as_ref().expect_err("4 GiB are not there");
            assert!(reason.contains("no memory"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
