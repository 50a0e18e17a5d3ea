//! What this program was built from. `build.rs` finds it out; records carry it.

use serde::{Deserialize, Serialize};

/// The sources and compiler settings of one ggufbench binary. `None`: could not be found at build time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInfo {
    /// ggufbench's own version, as in Cargo.toml.
    pub version: String,
    /// Its git revision, 12 digits, with `-dirty` when tracked files were changed.
    pub git: Option<String>,
    /// Version of the safe engine crate, from Cargo.lock.
    pub llama_cpp_2: Option<String>,
    /// Version of the crate that carries the engine's C++ source, from Cargo.lock.
    pub llama_cpp_sys_2: Option<String>,
    /// ggml's version, from the CMake package that the engine installs.
    pub ggml: Option<String>,
    /// llama.cpp's commit; unknown when the engine was built from a crate tarball.
    pub llama_cpp_commit: Option<String>,
    /// llama.cpp's build number (the `b1234` of its releases); unknown as above.
    pub llama_cpp_build: Option<u32>,
    /// Target triple.
    pub target: Option<String>,
    /// Cargo profile, `release` or `debug`.
    pub profile: Option<String>,
    /// rustc's optimisation level: `0` to `3`, `s` or `z`.
    pub opt_level: Option<String>,
    /// Whether debug assertions were compiled in.
    pub debug_assertions: bool,
    /// Enabled features of this crate: `cuda`, `portable` and so on.
    pub features: Vec<String>,
    /// Value of `-C target-cpu`; the engine's C++ is compiled for the same CPU. None: plain baseline.
    pub target_cpu: Option<String>,
    /// CPU features that rustc was allowed to use, in rustc's spelling.
    pub target_features: Vec<String>,
    /// `rustc --version`.
    pub rustc: Option<String>,
}

impl BuildInfo {
    /// The build of the running program.
    pub fn current() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git: owned(option_env!("GGUFBENCH_BUILD_GIT")),
            llama_cpp_2: owned(option_env!("GGUFBENCH_BUILD_LLAMA_CPP_2")),
            llama_cpp_sys_2: owned(option_env!("GGUFBENCH_BUILD_LLAMA_CPP_SYS_2")),
            ggml: owned(option_env!("GGUFBENCH_BUILD_GGML")),
            llama_cpp_commit: owned(option_env!("GGUFBENCH_BUILD_LLAMA_COMMIT")),
            llama_cpp_build: option_env!("GGUFBENCH_BUILD_LLAMA_NUMBER")
                .and_then(|number| number.parse().ok()),
            target: owned(option_env!("GGUFBENCH_BUILD_TARGET")),
            profile: owned(option_env!("GGUFBENCH_BUILD_PROFILE")),
            opt_level: owned(option_env!("GGUFBENCH_BUILD_OPT_LEVEL")),
            debug_assertions: cfg!(debug_assertions),
            features: list(option_env!("GGUFBENCH_BUILD_FEATURES")),
            target_cpu: owned(option_env!("GGUFBENCH_BUILD_TARGET_CPU")),
            target_features: list(option_env!("GGUFBENCH_BUILD_TARGET_FEATURES")),
            rustc: owned(option_env!("GGUFBENCH_BUILD_RUSTC")),
        }
    }

    /// A build that does not say what it is.
    pub fn unknown() -> Self {
        Self {
            version: "unknown".to_owned(),
            git: None,
            llama_cpp_2: None,
            llama_cpp_sys_2: None,
            ggml: None,
            llama_cpp_commit: None,
            llama_cpp_build: None,
            target: None,
            profile: None,
            opt_level: None,
            debug_assertions: false,
            features: Vec::new(),
            target_cpu: None,
            target_features: Vec::new(),
            rustc: None,
        }
    }

    /// True for a build whose times would mislead: unoptimised, or with debug assertions.
    pub fn is_debug(&self) -> bool {
        self.debug_assertions || self.opt_level.as_deref() == Some("0")
    }
}

fn owned(value: Option<&str>) -> Option<String> {
    value.map(str::to_owned)
}

fn list(value: Option<&str>) -> Vec<String> {
    let items = value.unwrap_or_default().split(',');
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_engine_that_cargo_toml_pins() {
        let manifest = include_str!("../Cargo.toml");
        let build = BuildInfo::current();
        let engine = build
            .llama_cpp_2
            .expect("Cargo.lock lies beside Cargo.toml");
        let engine_sys = build
            .llama_cpp_sys_2
            .expect("Cargo.lock lies beside Cargo.toml");
        assert!(manifest.contains(&format!("llama-cpp-2 = {{ version = \"={engine}\"")));
        assert!(manifest.contains(&format!("llama-cpp-sys-2 = {{ version = \"={engine_sys}\"")));
        assert!(
            build
                .ggml
                .expect("the engine crate exports its CMake folder")
                .contains('.')
        );
    }

    #[test]
    fn describes_this_very_compilation() {
        let build = BuildInfo::current();
        assert!(
            build
                .target
                .as_deref()
                .is_some_and(|t| t.contains(std::env::consts::ARCH))
        );
        assert_eq!(
            build.features.contains(&"cuda".to_owned()),
            cfg!(feature = "cuda")
        );
        assert_eq!(
            build.target_features.contains(&"avx2".to_owned()),
            cfg!(target_feature = "avx2")
        );
        assert_eq!(build.is_debug(), cfg!(debug_assertions));
    }

    #[test]
    fn survives_json() {
        let build = BuildInfo::current();
        let json = serde_json::to_string(&build).expect("plain data");
        assert_eq!(
            serde_json::from_str::<BuildInfo>(&json).expect("own output"),
            build
        );
    }

    #[test]
    fn an_unset_list_is_empty() {
        assert_eq!(list(None), Vec::<String>::new());
        assert_eq!(list(Some("cuda,cuda-no-vmm")), ["cuda", "cuda-no-vmm"]);
    }
}
