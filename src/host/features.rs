//! What the CPU can do, and whether the engine was compiled to use it.
//!
//! The engine decides at compile time: ggml's `ggml_cpu_has_*` return what the C++ compiler's
//! macros said (ggml/src/ggml-cpu/ggml-cpu.c), and `llama_print_system_info()` prints the names of
//! those that are set (`ggml_backend_cpu_get_features` in ggml-cpu.cpp). A CPU feature that the
//! engine was not compiled for stays unused, however new the machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::files::colon_value;

/// Each row: the field, the kernel's names for it (x86's `flags` and ARM's `Features` in `/proc/cpuinfo`), and, where the
/// standard library can detect it, its architecture and its name there.
macro_rules! cpu_features {
    ($($(#[$doc:meta])* $name:ident: $($flag:literal)|+ $(, $arch:ident $detected:tt)?;)+) => {
        /// Instruction sets that matter to inference. False: the CPU (or the operating system) does not have it, or it
        /// could not be asked. Records carry only those that are true.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct CpuFeatures {
            $($(#[$doc])* #[serde(skip_serializing_if = "is_false")] pub $name: bool,)+
        }

        impl CpuFeatures {
            /// Names of the features present, as the fields are called.
            pub fn names(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name)),+];
                all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
            }

            pub(crate) fn from_cpuinfo(cpuinfo: &str) -> Self {
                let line = colon_value(cpuinfo, "flags").or_else(|| colon_value(cpuinfo, "Features"));
                let flags: BTreeSet<&str> = line.unwrap_or_default().split_whitespace().collect();
                Self { $($name: [$($flag),+].iter().any(|flag| flags.contains(flag)),)+ }
            }

            /// Asks the CPU itself, and `cpuinfo` (the text of `/proc/cpuinfo`, may be empty) for what the standard
            /// library cannot detect yet: AMX and SME.
            pub(crate) fn detect(cpuinfo: &str) -> Self {
                let listed = Self::from_cpuinfo(cpuinfo);
                Self { $($name: detected!(listed.$name $(, $arch $detected)?),)+ }
            }
        }
    };
}

macro_rules! detected {
    ($listed:expr) => {
        $listed
    };
    ($listed:expr, x86 $name:tt) => {{
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let has = std::arch::is_x86_feature_detected!($name);
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
        let has = false;
        has
    }};
    ($listed:expr, arm $name:tt) => {{
        #[cfg(target_arch = "aarch64")]
        let has = std::arch::is_aarch64_feature_detected!($name);
        #[cfg(not(target_arch = "aarch64"))]
        let has = false;
        has
    }};
}

cpu_features! {
    sse3: "pni", x86 "sse3";
    ssse3: "ssse3", x86 "ssse3";
    avx: "avx", x86 "avx";
    avx2: "avx2", x86 "avx2";
    /// 8-bit dot products in 256-bit registers.
    avx_vnni: "avx_vnni", x86 "avxvnni";
    fma: "fma", x86 "fma";
    f16c: "f16c", x86 "f16c";
    bmi2: "bmi2", x86 "bmi2";
    avx512f: "avx512f", x86 "avx512f";
    avx512bw: "avx512bw", x86 "avx512bw";
    avx512vl: "avx512vl", x86 "avx512vl";
    avx512dq: "avx512dq", x86 "avx512dq";
    avx512vbmi: "avx512vbmi", x86 "avx512vbmi";
    /// 8-bit dot products in 512-bit registers.
    avx512vnni: "avx512_vnni", x86 "avx512vnni";
    avx512bf16: "avx512_bf16", x86 "avx512bf16";
    avx512fp16: "avx512_fp16", x86 "avx512fp16";
    amx_tile: "amx_tile";
    amx_int8: "amx_int8";
    amx_bf16: "amx_bf16";
    neon: "asimd" | "neon", arm "neon";
    dotprod: "asimddp", arm "dotprod";
    fp16: "asimdhp", arm "fp16";
    bf16: "bf16", arm "bf16";
    /// 8-bit matrix products.
    i8mm: "i8mm", arm "i8mm";
    /// Scalable vectors.
    sve: "sve", arm "sve";
    sve2: "sve2", arm "sve2";
    /// Scalable matrices.
    sme: "sme";
}

// serde's skip_serializing_if hands over a reference.
fn is_false(value: &bool) -> bool {
    !value
}

/// Names, as the engine prints them, of what this CPU has, ggml has kernels for, and the engine was
/// not compiled to use. Empty when `system_info` has no CPU section to judge by.
///
/// `system_info` is `llama_print_system_info()`: for each backend `NAME : FEATURE = VALUE | ...`.
/// Left out on purpose: `AVX512_VBMI` and `SME` (printed, but no kernel of ggml's own tests the macro),
/// `AVX_VNNI` beside `AVX512_VNNI` (the kernels test the latter first), and `AMX_INT8` without
/// `AVX512_VNNI` on the CPU (its kernels need both).
pub fn missing_engine_features(cpu: &CpuFeatures, system_info: &str) -> Vec<String> {
    let Some(engine) = engine_features(system_info) else {
        return Vec::new();
    };
    let wanted = [
        ("SSE3", cpu.sse3),
        ("SSSE3", cpu.ssse3),
        ("AVX", cpu.avx),
        ("AVX_VNNI", cpu.avx_vnni && !engine.contains("AVX512_VNNI")),
        ("AVX2", cpu.avx2),
        ("F16C", cpu.f16c),
        ("FMA", cpu.fma),
        ("BMI2", cpu.bmi2),
        ("AVX512", cpu.avx512f),
        ("AVX512_VNNI", cpu.avx512vnni),
        ("AVX512_BF16", cpu.avx512bf16),
        ("AMX_INT8", cpu.amx_int8 && cpu.amx_tile && cpu.avx512vnni),
        ("NEON", cpu.neon),
        ("FP16_VA", cpu.fp16),
        ("MATMUL_INT8", cpu.i8mm),
        ("SVE", cpu.sve),
        ("DOTPROD", cpu.dotprod),
    ];
    let missing = wanted
        .iter()
        .filter(|(name, has)| *has && !engine.contains(name));
    missing.map(|(name, _)| (*name).to_owned()).collect()
}

/// Whether the engine's `system_info` says what its CPU code was compiled for: without that, nothing missing means
/// nothing.
pub fn names_cpu_features(system_info: &str) -> bool {
    engine_features(system_info).is_some_and(|features| !features.is_empty())
}

/// The set features of the section `CPU`; `None` when there is no such section.
fn engine_features(system_info: &str) -> Option<BTreeSet<&str>> {
    let mut section = None;
    let mut features = None;
    for item in system_info.split('|') {
        let item = match item.split_once(" : ") {
            Some((name, rest)) => {
                section = Some(name.trim());
                rest
            }
            None => item,
        };
        if section != Some("CPU") {
            continue;
        }
        let set: &mut BTreeSet<&str> = features.get_or_insert_default();
        if let Some((name, value)) = item.split_once('=')
            && value.trim() != "0"
        {
            set.insert(name.trim());
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine compiled with `-march=native` on Zen 5.
    const NATIVE: &str = "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX_VNNI = 1 | AVX2 = 1 | F16C = 1 | \
        FMA = 1 | BMI2 = 1 | AVX512 = 1 | AVX512_VBMI = 1 | AVX512_VNNI = 1 | AVX512_BF16 = 1 | \
        LLAMAFILE = 1 | OPENMP = 1 | REPACK = 1 | ";
    /// The crate's default without `-C target-cpu`.
    const PLAIN: &str = "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | \
        BMI2 = 1 | LLAMAFILE = 1 | OPENMP = 1 | REPACK = 1 | ";
    const ZEN5: &str = "flags\t\t: fpu pni ssse3 fma avx f16c bmi2 avx2 avx512f avx512dq avx512bw \
        avx512vl avx_vnni avx512_bf16 avx512vbmi avx512_vnni";
    const GRAVITON3: &str =
        "BogoMIPS\t: 2100.00\nFeatures\t: fp asimd fphp asimdhp asimddp sve bf16 i8mm\n";

    #[test]
    fn a_native_engine_lacks_nothing() {
        let cpu = CpuFeatures::from_cpuinfo(ZEN5);
        assert_eq!(missing_engine_features(&cpu, NATIVE), Vec::<String>::new());
    }

    #[test]
    fn a_plain_engine_on_a_new_cpu_lacks_the_wide_kernels() {
        let cpu = CpuFeatures::from_cpuinfo(ZEN5);
        let expected = ["AVX_VNNI", "AVX512", "AVX512_VNNI", "AVX512_BF16"];
        assert_eq!(missing_engine_features(&cpu, PLAIN), expected);
    }

    #[test]
    fn avx_vnni_is_not_missed_beside_its_wider_twin() {
        let cpu = CpuFeatures::from_cpuinfo(ZEN5);
        let engine = NATIVE.replace("AVX_VNNI = 1 | ", "");
        assert_eq!(missing_engine_features(&cpu, &engine), Vec::<String>::new());
    }

    #[test]
    fn amx_needs_tiles_and_vnni() {
        let mut cpu = CpuFeatures::from_cpuinfo(ZEN5);
        cpu.amx_int8 = true;
        assert_eq!(missing_engine_features(&cpu, NATIVE), Vec::<String>::new());
        cpu.amx_tile = true;
        assert_eq!(missing_engine_features(&cpu, NATIVE), ["AMX_INT8"]);
    }

    #[test]
    fn arm_names_are_the_engines() {
        let cpu = CpuFeatures::from_cpuinfo(GRAVITON3);
        assert_eq!(
            cpu.names(),
            ["neon", "dotprod", "fp16", "bf16", "i8mm", "sve"]
        );
        let engine = "CPU : NEON = 1 | ARM_FMA = 1 | FP16_VA = 0 | OPENMP = 1 | ";
        let expected = ["FP16_VA", "MATMUL_INT8", "SVE", "DOTPROD"];
        assert_eq!(missing_engine_features(&cpu, engine), expected);
    }

    #[test]
    fn other_backends_neither_help_nor_hurt() {
        let cpu = CpuFeatures::from_cpuinfo("flags : avx2");
        let cuda =
            "CUDA : ARCHS = 900 | AVX2 = 1 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | RPC : AVX2 = 1 |";
        assert_eq!(missing_engine_features(&cpu, cuda), ["AVX2"]);
    }

    #[test]
    fn without_a_cpu_section_there_is_no_verdict() {
        let cpu = CpuFeatures::from_cpuinfo(ZEN5);
        for text in ["", "CUDA : ARCHS = 900 | ", "garbage", "CPU"] {
            assert_eq!(
                missing_engine_features(&cpu, text),
                Vec::<String>::new(),
                "{text}"
            );
        }
        assert!(names_cpu_features(NATIVE) && !names_cpu_features("CPU : "));
        assert!(!names_cpu_features("") && !names_cpu_features("CUDA : ARCHS = 900 | "));
        let bare = missing_engine_features(&CpuFeatures::from_cpuinfo("flags : avx"), "CPU : ");
        assert_eq!(bare, ["AVX"]);
    }

    #[test]
    fn records_carry_only_what_is_there() {
        let cpu = CpuFeatures::from_cpuinfo("flags : avx avx2");
        let json = serde_json::to_string(&cpu).expect("plain data");
        assert_eq!(json, r#"{"avx":true,"avx2":true}"#);
        assert_eq!(
            serde_json::from_str::<CpuFeatures>(&json).expect("own output"),
            cpu
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_cpu_and_the_kernel_agree() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").expect("Linux has it");
        assert_eq!(
            CpuFeatures::detect(&cpuinfo),
            CpuFeatures::from_cpuinfo(&cpuinfo)
        );
    }
}
