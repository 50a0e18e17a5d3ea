//! Offload to a real device without a GPU: Mesa's lavapipe, a Vulkan driver that computes on the CPU, through the engine's plug-in.
//! Asynchronous submit and wait, memory of its own, a driver that can be missing. `make test-offload` builds the portable
//! program and the plug-in, and runs this with `GGUFBENCH_PORTABLE` and `GGUFBENCH_BACKENDS` naming their folders.
#![cfg(target_os = "linux")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ggufbench::measure::Phase;
use ggufbench::record::{CellLine, Line, Outcome, RunHeader};
use support::offload::{N_LAYER, bytes, cells, loaded};
use support::{Place, listen_to_signals, record, stderr, stdout};

/// The software device's driver, as Debian and Ubuntu install it (mesa-vulkan-drivers).
const DRIVERS: &str = "/usr/share/vulkan/icd.d";

fn folder(variable: &str) -> PathBuf {
    let folder = std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: `make test-offload` sets it"));
    PathBuf::from(folder)
}

/// The portable program with the plug-in, on the software device.
fn program(place: &Place) -> Command {
    let mut command = Command::new(folder("GGUFBENCH_PORTABLE").join("ggufbench"));
    command
        .current_dir(place.path())
        .env("GGUFBENCH_MODELS", place.path().join("gguf"))
        .env("XDG_CACHE_HOME", place.path().join("cache"))
        .env("NO_COLOR", "1")
        // ggml takes a device of type CPU only when it is named, and other drivers are left out.
        .env("GGML_VK_VISIBLE_DEVICES", "0")
        .env("VK_DRIVER_FILES", driver())
        .env("VK_ICD_FILENAMES", driver());
    listen_to_signals(&mut command);
    command
}

fn driver() -> PathBuf {
    let files = std::fs::read_dir(DRIVERS).expect("mesa-vulkan-drivers is installed");
    let mut lavapipe = files
        .flatten()
        .filter(|f| f.file_name().to_string_lossy().starts_with("lvp_icd"));
    lavapipe.next().expect("mesa's lavapipe").path()
}

fn backends() -> PathBuf {
    folder("GGUFBENCH_BACKENDS")
}

/// A tiny model whose sums differ least between devices.
fn model(place: &Place) -> PathBuf {
    let path = place.path().join("gguf/tiny.gguf");
    let made = program(place)
        .args(["model", "synth", "tiny", "f32", "--output"])
        .arg(&path)
        .output()
        .expect("the program starts");
    assert!(made.status.success(), "{}", stderr(&made));
    path
}

fn measure(command: &mut Command, model: &Path, flags: &[&str]) -> Output {
    command
        .arg("-m")
        .arg(model)
        .args([
            "-p",
            "8",
            "-n",
            "8",
            "-c",
            "256",
            "-t",
            "1",
            "-r",
            "2",
            "--replicates",
            "1",
        ])
        .arg("--no-report")
        .arg("--backends")
        .arg(backends())
        .args(flags);
    command.output().expect("the program starts")
}

fn measured(out: &Output, place: &Place) -> (RunHeader, Vec<Line>) {
    assert_eq!(out.status.code(), Some(0), "{}{}", stdout(out), stderr(out));
    record(&place.the_run())
}

fn is_measured(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Measured { .. })
}

#[test]
#[ignore = "needs the portable build and the Vulkan plug-in: make test-offload"]
fn layers_their_memory_and_the_wait_for_them_are_on_the_device() {
    let place = Place::new();
    let model = model(&place);
    let out = measure(
        &mut program(&place),
        &model,
        &["--n-gpu-layers", "0,2,99", "--batch", "1,4"],
    );
    let (header, lines) = measured(&out, &place);
    let device = header.engine.devices.iter().find(|d| d.backend == "Vulkan");
    let device = device.expect("a Vulkan device");
    assert!(device.description.contains("llvmpipe"), "{device:?}");
    assert!(device.memory_total_bytes > 0, "{device:?}");
    let plugin = header
        .engine
        .plugins
        .iter()
        .find(|p| p.file == "libggml-vulkan.so");
    assert_eq!(plugin.map(|p| p.n_devices), Some(1));
    for (n_gpu_layers, found) in loaded(&lines) {
        let there: u32 = found
            .layers
            .iter()
            .filter(|l| l.device == device.name)
            .map(|l| l.n)
            .sum();
        assert_eq!(there, n_gpu_layers.min(N_LAYER + 1), "{found:?}");
        assert_eq!(
            bytes(found, &device.name) > 0,
            n_gpu_layers > 0,
            "{found:?}"
        );
    }
    // What is computed on the device is submitted first and waited for afterwards; on the CPU submitting is all there is.
    for cell in cells(&lines) {
        assert!(is_measured(&cell.outcome), "{:?}", cell.outcome);
        let calls = lines.iter().filter_map(|line| match line {
            Line::Repetition(r) if r.case == cell.case => Some(&r.calls),
            _ => None,
        });
        let decode: Vec<_> = calls
            .flatten()
            .filter(|c| c.phase == Phase::Decode)
            .collect();
        assert!(!decode.is_empty());
        let waited: u64 = decode.iter().map(|c| c.wait_ns).sum();
        let all: u64 = decode.iter().map(|c| c.wait_ns + c.submit_ns).sum();
        println!(
            "{} layers, batch {}: waits {waited} of {all} ns",
            cell.case.n_gpu_layers, cell.case.n_seq
        );
        if cell.case.n_gpu_layers == 99 {
            assert!(waited > 0, "{:?}", cell.case.id());
        }
    }
}

/// Answers of the tiny model, greedy.
fn texts(place: &Place, model: &Path, n_gpu_layers: &str) -> Vec<String> {
    let out = program(place)
        .args(["requests", "--target", "in-process", "-m"])
        .arg(model)
        .args([
            "--n-requests",
            "4",
            "-n",
            "12",
            "--temperature",
            "0",
            "--rounds",
            "1",
            "--class",
            "short",
        ])
        .args([
            "-c",
            "512",
            "-t",
            "1",
            "--no-report",
            "--n-gpu-layers",
            n_gpu_layers,
            "--out",
            n_gpu_layers,
        ])
        .arg("--backends")
        .arg(backends())
        .output()
        .expect("the program starts");
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}{}",
        stdout(&out),
        stderr(&out)
    );
    let runs = std::fs::read_dir(place.path().join(n_gpu_layers)).expect("a folder of runs");
    let run = runs.flatten().next().expect("one run").path();
    let (_, lines) = record(&run);
    let requests = lines.into_iter().filter_map(|line| match line {
        Line::Request(request) => Some(request.timeline.text),
        _ => None,
    });
    requests.collect()
}

#[test]
#[ignore = "needs the portable build and the Vulkan plug-in: make test-offload"]
fn greedy_answers_are_those_of_the_cpu() {
    let place = Place::new();
    let model = model(&place);
    let on_cpu = texts(&place, &model, "0");
    assert_eq!(on_cpu.len(), 4);
    assert!(on_cpu.iter().all(|text| !text.is_empty()));
    assert_eq!(on_cpu, texts(&place, &model, "99"));
}

#[test]
#[ignore = "needs the portable build and the Vulkan plug-in: make test-offload"]
fn logits_are_those_of_the_cpu_within_what_kernels_round() {
    let place = Place::new();
    let mut command = program(&place);
    command.arg("devices").arg("--check").arg(model(&place));
    command.arg("--backends").arg(backends());
    let out = command.args(["-o", "json"]).output().expect("starts");
    println!("{}", stdout(&out));
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let found: serde_json::Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["failed_because"], serde_json::Value::Null);
}

#[test]
#[ignore = "needs the portable build and the Vulkan plug-in: make test-offload"]
fn without_a_driver_the_plug_in_is_named_with_its_reason_and_the_cpu_is_measured() {
    let place = Place::new();
    let model = model(&place);
    let mut command = program(&place);
    let nowhere = place.path().join("no-driver.json");
    command
        .env("VK_DRIVER_FILES", &nowhere)
        .env("VK_ICD_FILENAMES", &nowhere);
    let (header, lines) = measured(&measure(&mut command, &model, &[]), &place);
    assert!(
        header.engine.devices.iter().all(|d| d.kind == "cpu"),
        "{:?}",
        header.engine.devices
    );
    let plugin = header
        .engine
        .plugins
        .iter()
        .find(|p| p.file == "libggml-vulkan.so");
    let reason = plugin.and_then(|p| p.unusable_because());
    assert!(reason.is_some_and(|r| !r.is_empty()), "{plugin:?}");
    assert!(
        cells(&lines)
            .iter()
            .all(|c| c.case.n_gpu_layers == 0 && is_measured(&c.outcome))
    );
}

#[test]
#[ignore = "needs the portable build and the Vulkan plug-in: make test-offload"]
fn a_cell_that_does_not_fit_on_the_device_is_skipped_and_the_others_are_measured() {
    let place = Place::new();
    let model = model(&place);
    // 256 sequences of a million tokens: terabytes of cache, wherever the test runs.
    let out = measure(
        &mut program(&place),
        &model,
        &[
            "--n-gpu-layers",
            "99",
            "--batch",
            "1,256",
            "--n-ctx",
            "256,1000000",
        ],
    );
    let (_, lines) = record(&place.the_run());
    let cells = cells(&lines);
    let is_skipped = |outcome: &Outcome| matches!(outcome, Outcome::Skipped { .. });
    let (skipped, rest): (Vec<&CellLine>, Vec<&CellLine>) =
        cells.into_iter().partition(|c| is_skipped(&c.outcome));
    assert!(!skipped.is_empty(), "{}{}", stdout(&out), stderr(&out));
    assert!(rest.iter().any(|c| is_measured(&c.outcome)));
}
