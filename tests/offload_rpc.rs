//! Offload without a GPU: RPC workers on loopback are devices of their own to the engine, so layers really leave the process.
#![cfg(target_os = "linux")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ggufbench::engine::llama::{EngineLog, Llama};
use ggufbench::engine::log_report::{DeviceBuffer, EngineReport};
use ggufbench::engine::{Device, Engine, Token};
use ggufbench::model::FileType;
use ggufbench::model::synth::{SynthExperts, SynthShape, SynthSpec};
use ggufbench::plan::budget;
use ggufbench::plan::expand::{Axes, Host, cases};
use ggufbench::plan::{Case, Devices};
use ggufbench::record::Outcome;
use support::offload::{N_LAYER, bytes, cells, loaded};
use support::{
    Place, json_lines_or_empty, listen_to_signals, record, signal, stderr, stdout, tiny_model,
};

/// How far two devices' logits may be apart, as a share of the row's spread. On one machine both ends have the same kernels; only
/// the weights' layout may differ (repacked for the CPU at home, not behind RPC).
const ROUNDING: f32 = 0.002;

/// `ggufbench rpc-worker` on a loopback port, ended with the test.
struct RpcWorker {
    child: Child,
    endpoint: String,
    greeting: String,
}

impl RpcWorker {
    /// Returns when it has said that it listens.
    fn start() -> Self {
        // Another program may take the port in between.
        (0..8)
            .find_map(|_| Self::at(&free_endpoint()))
            .expect("a worker listens")
    }

    fn at(endpoint: &str) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ggufbench"));
        command
            .args(["rpc-worker", "--listen", endpoint, "--threads", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        listen_to_signals(&mut command);
        let mut child = command.spawn().expect("the program starts");
        let mut greeting = String::new();
        let out = child.stdout.take().expect("a pipe");
        let read = BufReader::new(out).read_line(&mut greeting);
        read.expect("a greeting, or the end of a worker that was refused");
        let worker = Self {
            child,
            endpoint: endpoint.to_owned(),
            greeting,
        };
        // Dropped otherwise, which reaps it.
        (!worker.greeting.is_empty()).then_some(worker)
    }

    fn kill(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RpcWorker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback address where nobody listens.
fn free_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

fn axes(n_gpu_layers: u32, rpc: &[&RpcWorker]) -> Axes {
    let endpoints: Vec<&str> = rpc.iter().map(|w| w.endpoint.as_str()).collect();
    let servers = match endpoints.as_slice() {
        [] => "none".to_owned(),
        some => some.join(","),
    };
    Axes {
        n_ctx: Some(vec![256]),
        n_prompt: Some(vec![8]),
        n_gen: Some(vec![16]),
        n_gpu_layers: Some(vec![n_gpu_layers]),
        rpc: Some(vec![servers.parse().expect("servers")]),
        ..Axes::default()
    }
}

fn case(axes: &Axes) -> Case {
    let host = Host {
        n_threads: 1,
        n_gpu_layers: 0,
    };
    cases(axes, &["m".into()], &[], host)
        .expect("valid")
        .remove(0)
}

/// Greedy tokens from one prompt, and the logits that each was chosen from.
fn greedy(llama: &Llama, model: &Path, case: &Case) -> (Vec<Token>, Vec<Vec<f32>>) {
    let engine = llama.load(model, &case.load_key()).expect("loads");
    let mut session = engine.open(case).expect("a context");
    let mut input: Vec<Token> = engine.prompt_tokens()[..8].to_vec();
    let (mut tokens, mut logits) = (Vec::new(), Vec::new());
    let mut n_past = 0;
    for _ in 0..16 {
        session.begin();
        for (pos, token) in (n_past..).zip(&input) {
            let is_last = pos as usize + 1 == n_past as usize + input.len();
            session.push(*token, pos, 0, is_last).expect("room");
        }
        session.submit().expect("decodes");
        session.wait();
        let row = input.len() as i32 - 1;
        let token = session.greedy(row).expect("finite");
        logits.push(session.logits(row).to_vec());
        n_past += input.len() as u32;
        input = vec![token];
        tokens.push(token);
    }
    (tokens, logits)
}

fn assert_same(
    label: &str,
    local: &(Vec<Token>, Vec<Vec<f32>>),
    remote: &(Vec<Token>, Vec<Vec<f32>>),
) {
    assert_eq!(local.0, remote.0, "{label}: the local tokens");
    for (a, b) in local.1.iter().zip(&remote.1) {
        let spread =
            a.iter().fold(f32::MIN, |m, v| m.max(*v)) - a.iter().fold(f32::MAX, |m, v| m.min(*v));
        let apart = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(apart <= ROUNDING * spread, "{label}: {apart} of {spread}");
    }
}

#[test]
fn any_share_of_the_layers_behind_rpc_gives_the_local_tokens() {
    let (one, two) = (RpcWorker::start(), RpcWorker::start());
    let llama = Llama::init(EngineLog::Errors).expect("the engine");
    let model = tiny_model();
    let local = greedy(
        &llama,
        model,
        &case(&Axes {
            device: Some(vec![Devices::None]),
            ..axes(0, &[])
        }),
    );
    for n_gpu_layers in [0, N_LAYER / 2, N_LAYER + 1] {
        let remote = greedy(&llama, model, &case(&axes(n_gpu_layers, &[&one])));
        assert_same(&format!("{n_gpu_layers} layers"), &local, &remote);
    }
    for split in ["1,1", "3,1", "0,1"] {
        let both = Axes {
            tensor_split: Some(vec![split.parse().expect("shares")]),
            ..axes(N_LAYER + 1, &[&one, &two])
        };
        let remote = greedy(&llama, model, &case(&both));
        assert_same(split, &local, &remote);
    }
    let devices = llama.remote_devices(&case(&axes(1, &[&one, &two])).rpc);
    let devices = devices.expect("still there");
    assert!(devices.iter().all(Device::is_remote));
    let places: Vec<&str> = devices.iter().map(|d| d.description.as_str()).collect();
    assert_eq!(places, [one.endpoint.as_str(), two.endpoint.as_str()]);
}

/// Runs cells of the tiny model with these flags.
fn measure(place: &Place, flags: &[&str]) -> (Option<i32>, String, String) {
    let out = place
        .command()
        .arg("-m")
        .arg(tiny_model())
        .args(["-p", "8", "-n", "8", "-c", "256", "-t", "1", "-r", "1"])
        .args(["--replicates", "1", "--no-report"])
        .args(flags)
        .output()
        .expect("the program starts");
    (out.status.code(), stdout(&out), stderr(&out))
}

#[test]
fn the_record_has_each_machine_its_layers_and_its_bytes() {
    let (one, two) = (RpcWorker::start(), RpcWorker::start());
    let place = Place::new();
    let servers = format!("{},{}", one.endpoint, two.endpoint);
    let flags = ["--rpc", &servers, "-ts", "1,1", "--n-gpu-layers", "0,2,3"];
    let (code, table, said) = measure(&place, &flags);
    assert_eq!(code, Some(0), "{table}{said}");
    let (header, lines) = record(&place.the_run());
    let [remote] = header.engine.remote.as_slice() else {
        panic!("one set of servers: {:?}", header.engine.remote);
    };
    assert_eq!(remote.servers.to_string(), servers);
    for (device, worker) in remote.devices.iter().zip([&one, &two]) {
        assert_eq!(
            (&device.description, device.backend.as_str()),
            (&worker.endpoint, "RPC")
        );
        assert!(device.memory_total_bytes > 0 && worker.greeting.contains("listening on "));
    }
    for (n_gpu_layers, found) in loaded(&lines) {
        let on_devices: u32 = found.layers.iter().map(|l| l.n).sum();
        assert_eq!(on_devices, N_LAYER + 1, "{found:?}");
        let on_cpu: u32 = found
            .layers
            .iter()
            .filter(|l| l.device == "CPU")
            .map(|l| l.n)
            .sum();
        assert_eq!(on_cpu, N_LAYER + 1 - n_gpu_layers, "{found:?}");
        let [first, second] = [&one, &two].map(|w| bytes(found, &w.endpoint));
        assert_eq!(first > 0, n_gpu_layers > 0, "{found:?}");
        assert_eq!(second > 0, n_gpu_layers > 0, "{found:?}");
    }
    assert_eq!(loaded(&lines).len(), 3);
    let last = cells(&lines).into_iter().find(|c| c.case.n_gpu_layers == 3);
    let found = last.and_then(|c| c.found.as_ref()).expect("logs");
    let kv: Vec<&str> = found
        .buffers
        .iter()
        .filter(|b| b.holds == "KV")
        .map(|b| b.place.as_str())
        .collect();
    assert!(
        !kv.is_empty() && kv.iter().all(|p| p.starts_with("RPC")),
        "{found:?}"
    );
}

/// A synthetic model in a file, small and with a KV cache that is large beside it.
fn synthetic(folder: &Path, preset: &str) -> PathBuf {
    let of_preset = SynthShape::preset(preset).expect("a preset");
    let shape = SynthShape {
        n_layer: 12, // Gemma attends in full in two of them, one in each half
        n_embd: 256,
        n_head: 4,
        n_head_kv: 2,
        n_embd_head: Some(64),
        n_ff: 512,
        n_vocab: 8192,
        experts: of_preset.experts.map(|e| SynthExperts {
            n_expert: 16,
            n_ff: 128,
            ..e
        }),
        ..of_preset
    };
    let q8 = FileType::parse("q8_0").expect("a type");
    let spec = SynthSpec::new(preset, shape, q8).expect("a valid shape");
    spec.write(folder, &mut |_, _| ())
        .expect("room on the disk")
}

/// How far the price of weights and KV cache may be from what the engine says that it took: the log has hundredths of a MiB of
/// each buffer, and buffers begin at multiples of their alignment.
const OFF_SHARE: f64 = 0.01;
const OFF_BYTES: u64 = 1 << 15;

/// The price of compute buffers is an upper estimate; at most so many times what is taken.
const COMPUTE_TIMES: f64 = 3.0;

fn is_near(priced: u64, taken: u64) -> bool {
    priced.abs_diff(taken) <= OFF_BYTES + (taken as f64 * OFF_SHARE) as u64
}

/// The price of a device's memory is what the engine takes there: of all layers and of half of them, with a cache of 16 and of
/// 8 bits, for a tied and an untied output, sliding windows and experts.
#[test]
fn a_devices_memory_is_as_it_was_priced() {
    for preset in ["llama3.1-8b", "qwen3-0.6b", "gemma3-1b", "qwen3-30b-a3b"] {
        let worker = RpcWorker::start();
        let place = Place::new();
        let model = synthetic(place.path(), preset);
        let out = place
            .command()
            .arg("-m")
            .arg(&model)
            .args(["-p", "8", "-n", "4", "-c", "4096", "-t", "1", "-r", "1"])
            .args(["--batch", "1,4", "--replicates", "1", "--no-report"])
            .args(["--type-k", "f16,q8_0", "--type-v", "f16,q8_0"])
            .args(["--n-gpu-layers", "7,99", "--rpc", &worker.endpoint])
            .output()
            .expect("the program starts");
        assert_eq!(
            out.status.code(),
            Some(0),
            "{}{}",
            stdout(&out),
            stderr(&out)
        );
        let (header, lines) = record(&place.the_run());
        let facts = &header.plan.models[0];
        let loaded = loaded(&lines);
        let cells = cells(&lines);
        assert_eq!(cells.len(), 2 * 2 * 4);
        for cell in cells {
            let case = &cell.case;
            let priced = budget::place(case, facts).device;
            let of_load = loaded.iter().find(|(n, _)| *n == case.n_gpu_layers);
            let of_load = of_load.expect("its worker").1;
            let of_context = cell.found.as_ref().expect("its context's log");
            let taken = |found: &EngineReport, holds: &str| -> u64 {
                let here =
                    |b: &&DeviceBuffer| b.holds == holds && b.place.contains(&worker.endpoint);
                found.buffers.iter().filter(here).map(|b| b.bytes).sum()
            };
            let weights = taken(of_load, "model");
            let [kv, compute] = ["KV", "compute"].map(|holds| taken(of_context, holds));
            let said = format!(
                "{preset} {}: weights {weights}, KV {kv}, compute {compute}; priced {priced:?}",
                case.id()
            );
            assert!(is_near(priced.weights_bytes, weights), "{said}");
            assert!(is_near(priced.kv_bytes, kv), "{said}");
            let most = compute as f64 * COMPUTE_TIMES;
            assert!(
                (compute..=most as u64).contains(&priced.compute_bytes),
                "{said}"
            );
        }
    }
}

#[test]
fn layers_go_to_a_named_server_unless_the_cpu_is_asked_for() {
    let worker = RpcWorker::start();
    let place = Place::new();
    let flags = [
        "--rpc",
        "none",
        "--rpc",
        &worker.endpoint,
        "-dev",
        "auto",
        "-dev",
        "none",
    ];
    let (code, table, said) = measure(&place, &flags);
    assert_eq!(code, Some(0), "{table}{said}");
    let (header, lines) = record(&place.the_run());
    assert_eq!(header.engine.remote.len(), 1);
    let layers = cells(&lines).into_iter().map(|c| {
        let is_remote = !c.case.rpc.is_none();
        (
            is_remote,
            c.case.device == Devices::None,
            c.case.n_gpu_layers > 0,
        )
    });
    let mut layers: Vec<_> = layers.collect();
    layers.sort_unstable();
    let expected = [
        (false, false, false),
        (false, true, false),
        (true, false, true),
        (true, true, false),
    ];
    assert_eq!(layers, expected);
    assert!(table.contains("rpc") && table.contains("device"), "{table}");
}

#[test]
fn a_devices_results_are_compared_with_the_cpus() {
    let worker = RpcWorker::start();
    let place = Place::new();
    let check = |flags: &[&str]| {
        let mut command = place.command();
        command.args(["devices", "--check"]).arg(tiny_model());
        let out = command.args(flags).output().expect("the program starts");
        (out.status.code(), stdout(&out), stderr(&out))
    };
    let (code, table, said) = check(&["--rpc", &worker.endpoint, "-o", "json"]);
    assert_eq!(code, Some(0), "{table}{said}");
    let found: serde_json::Value = serde_json::from_str(&table).expect("JSON");
    let agreement = &found[0]["agreement"];
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert!(
        agreement["mean_kld"].as_f64().expect("a number") < 1e-3,
        "{found}"
    );
    assert!(
        agreement["same_top_share"].as_f64().expect("a number") > 0.9,
        "{found}"
    );
    let (code, _, said) = check(&[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("no device besides the CPU"), "{said}");
}

#[test]
fn what_cannot_be_used_is_refused_before_loading() {
    let worker = RpcWorker::start();
    let place = Place::new();
    let gone = free_endpoint();
    let both = format!("{},{gone}", worker.endpoint);
    let here = worker.endpoint.as_str();
    let remedy = format!("start `ggufbench rpc-worker --listen {gone}` there");
    let cases: [(&[&str], &str); 6] = [
        (&["--rpc", &both], &remedy),
        (&["--rpc", "box"], "--rpc: 'box' has no port"),
        (
            &["--rpc", here, "--device", "CUDA0"],
            "there are RPC0, or none for the CPU alone",
        ),
        (
            &["--device", "RPC0"],
            "the engine has no device but the CPU",
        ),
        (
            &["--rpc", here, "-ts", "1,1"],
            "tensor_split 1,1: 2 shares for 1 devices",
        ),
        (
            &["--rpc", here, "-sm", "row"],
            "the RPC backend of this engine cannot split rows",
        ),
    ];
    for (flags, needle) in cases {
        let (code, _, said) = measure(&place, flags);
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        let errors: Vec<&str> = said.lines().filter(|l| l.starts_with("error: ")).collect();
        assert!(
            errors.len() == 1 && errors[0].contains(needle),
            "{flags:?}: {said}"
        );
    }
    assert!(!place.out().exists(), "nothing was begun");
}

fn runs(place: &Place) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.out());
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|e| e.path()).collect()
}

#[test]
fn a_worker_killed_in_mid_cell_is_that_cells_outcome() {
    let mut worker = RpcWorker::start();
    let place = Place::new();
    let mut run = place
        .command()
        .arg("-m")
        .arg(tiny_model())
        // More steps than are made before it dies, whatever the machine; the deadline of the run's own is an answer's.
        .args([
            "-p", "8", "-n", "64", "-c", "256", "-t", "1", "--batch", "1,2",
        ])
        .args([
            "-r",
            "100000",
            "--replicates",
            "1",
            "--timeout",
            "60s",
            "--no-report",
        ])
        .args(["--rpc", &worker.endpoint])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    while runs(&place).iter().all(|run| json_lines_or_empty(run) < 4) {
        let ended = run.try_wait().expect("a child of ours");
        assert_eq!(ended, None, "it measures until it loses the worker");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    worker.kill();
    let out = run.wait_with_output().expect("it ends");
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let (_, lines) = record(&place.the_run());
    let cells = cells(&lines);
    let lost = format!("the RPC server {} was lost", worker.endpoint);
    assert_eq!(cells[0].outcome, Outcome::Crashed { how: lost.clone() });
    let Outcome::Failed { reason } = &cells[1].outcome else {
        panic!("{:?}", cells[1].outcome);
    };
    assert!(
        reason.contains("cannot be reached (connection refused)"),
        "{reason}"
    );
    assert!(stdout(&out).contains(&lost), "{}", stdout(&out));
}

#[test]
fn a_worker_ends_by_signal_and_refuses_what_it_cannot_serve() {
    for name in ["-INT", "-TERM"] {
        let mut worker = RpcWorker::start();
        assert!(
            worker
                .greeting
                .starts_with(&format!("listening on {} with CPU (", worker.endpoint)),
            "{}",
            worker.greeting
        );
        assert_eq!(worker.greeting.lines().count(), 1);
        assert!(signal(worker.child.id(), name));
        let status = worker.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "{name}");
    }
    let worker = RpcWorker::start();
    let place = Place::new();
    for (flags, needle) in [
        (
            &["--listen", &worker.endpoint][..],
            "the port is in use; take another",
        ),
        (&["--listen", "127.0.0.1:0"], "port 0"),
        (&["--listen", "0.0.0.0:50052"], "--allow-remote"),
        (
            &["--listen", "192.0.2.1:50052", "--allow-remote"],
            "not an address of this machine",
        ),
        (&["--device", "CUDA0"], "there are CPU"),
    ] {
        let out = place.run(&[&["rpc-worker"], flags].concat());
        assert_eq!(out.status.code(), Some(2), "{flags:?}");
        let said = stderr(&out);
        assert!(
            said.lines().count() == 1 && said.contains(needle),
            "{flags:?}: {said}"
        );
    }
    let listed = place.run(&["devices", "--rpc", &worker.endpoint, "-o", "json"]);
    assert!(
        stdout(&listed).contains(&worker.endpoint),
        "{}",
        stderr(&listed)
    );
}
