//! Is it this program's own fault? Its build, its engine, and the GPUs that the engine may use.

use super::EngineAnswer;
use super::check::{Basis, CheckVerdict, DoctorCheck, Gain};
use crate::host::{CpuFeatures, GpuReport, missing_engine_features, names_cpu_features};
use crate::units;

/// Share of a GPU's memory that drivers and desktops take.
const IDLE_GPU_MEMORY: f64 = 0.05;

pub(super) fn build(is_debug: bool) -> DoctorCheck {
    const NAME: &str = "build";
    match is_debug {
        false => DoctorCheck::good(NAME, "release"),
        true => DoctorCheck::new(NAME, CheckVerdict::Bad, "debug").advise("cargo build --release"),
    }
}

/// Whether the engine uses what the CPU has.
pub(super) fn engine(engine: &EngineAnswer, cpu: &CpuFeatures) -> DoctorCheck {
    const NAME: &str = "engine";
    let system_info = match engine {
        EngineAnswer::Answers { system_info } => system_info,
        EngineAnswer::Silent { reason } => {
            return DoctorCheck::new(NAME, CheckVerdict::Bad, "does not start")
                .advise(reason.as_str());
        }
    };
    if !names_cpu_features(system_info) || cpu.names().is_empty() {
        return DoctorCheck::new(
            NAME,
            CheckVerdict::Unknown,
            "does not say what it was built for",
        );
    }
    let missing = missing_engine_features(cpu, system_info);
    if missing.is_empty() {
        return DoctorCheck::good(NAME, "uses what the CPU has");
    }
    DoctorCheck::new(
        NAME,
        CheckVerdict::Mind,
        format!("built without {}", missing.join(", ")),
    )
    .advise("build on this machine with RUSTFLAGS=\"-C target-cpu=native\"")
    .gain(Some(Gain {
        text: "16% at 32 sequences on one CPU with AVX-512; not known here".to_owned(),
        share: None,
        basis: Basis::Cited,
    }))
}

/// Whether other processes use the GPUs; none without GPUs.
pub(super) fn gpu(gpus: &GpuReport) -> Option<DoctorCheck> {
    const NAME: &str = "gpu";
    let used = |gpu: &crate::host::Gpu| gpu.memory_used_bytes.zip(gpu.memory_total_bytes);
    if gpus.devices.is_empty() {
        return None;
    }
    let Some(memory) = gpus.devices.iter().map(used).collect::<Option<Vec<_>>>() else {
        return Some(DoctorCheck::unknown(NAME));
    };
    let is_taken =
        |(used, total): &(u64, u64)| *used as f64 > IDLE_GPU_MEMORY * (*total).max(1) as f64;
    let taken: u64 = memory
        .iter()
        .filter(|m| is_taken(m))
        .map(|(used, _)| used)
        .sum();
    let n = memory.len();
    Some(match taken {
        0 => DoctorCheck::good(NAME, format!("{n}, no memory in use")),
        bytes => DoctorCheck::new(
            NAME,
            CheckVerdict::Mind,
            format!("{n}, other processes hold {}", units::bytes(bytes)),
        )
        .advise("find the process with nvidia-smi: a shared GPU also computes for other processes"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Gpu;

    fn answers(system_info: &str) -> EngineAnswer {
        EngineAnswer::Answers {
            system_info: system_info.to_owned(),
        }
    }

    #[test]
    fn builds() {
        assert_eq!(build(false).verdict, CheckVerdict::Good);
        assert_eq!(build(true).verdict, CheckVerdict::Bad);
    }

    #[test]
    fn an_engine_that_says_nothing_is_not_praised() {
        let cpu = CpuFeatures {
            avx2: true,
            avx512f: true,
            ..CpuFeatures::default()
        };
        let plain = engine(&answers("CPU : AVX2 = 1 | "), &cpu);
        assert_eq!(plain.verdict, CheckVerdict::Mind);
        assert_eq!(plain.finding, "built without AVX512");
        let native = engine(&answers("CPU : AVX2 = 1 | AVX512 = 1 | "), &cpu);
        assert_eq!(native.verdict, CheckVerdict::Good);
        assert_eq!(engine(&answers(""), &cpu).verdict, CheckVerdict::Unknown);
        let unread = engine(&answers("CPU : AVX2 = 1 | "), &CpuFeatures::default());
        assert_eq!(unread.verdict, CheckVerdict::Unknown);
        let silent = EngineAnswer::Silent {
            reason: "no such library".to_owned(),
        };
        let check = engine(&silent, &cpu);
        assert_eq!(check.verdict, CheckVerdict::Bad);
        assert_eq!(check.advice.as_deref(), Some("no such library"));
    }

    #[test]
    fn a_gpu_may_be_taken() {
        assert_eq!(gpu(&GpuReport::default()), None);
        let with = |used| GpuReport {
            devices: vec![Gpu {
                memory_total_bytes: Some(80 << 30),
                memory_used_bytes: used,
                ..Gpu::default()
            }],
            ..GpuReport::default()
        };
        let verdict = |used| gpu(&with(used)).map(|check| check.verdict);
        assert_eq!(verdict(Some(1 << 30)), Some(CheckVerdict::Good));
        assert_eq!(verdict(Some(8 << 30)), Some(CheckVerdict::Mind));
        assert_eq!(verdict(None), Some(CheckVerdict::Unknown));
    }
}
