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
    /// llama.cpp's commit, 12 digits, with `-dirty` when files were changed; the crate does not state that of its own llama.cpp.
    pub llama_cpp_commit: Option<String>,
    /// llama.cpp's build number (the `b1234` of its releases); unknown as above.
    pub llama_cpp_build: Option<u32>,
    /// Start of the SHA-256 of llama.cpp's files; only where no commit names them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llama_cpp_files: Option<String>,
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
            llama_cpp_files: owned(option_env!("GGUFBENCH_BUILD_LLAMA_FILES")),
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
            llama_cpp_files: None,
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

    /// Which llama.cpp is in it: `b11401 (1a2b3c4d5e6f)`. `None` for the crate's own, which has no name but the crate's.
    pub fn llama_cpp(&self) -> Option<String> {
        let files = self.llama_cpp_files.as_ref();
        let files = files.map(|files| format!("files {files}"));
        let ids: Vec<String> = self.llama_cpp_commit.iter().cloned().chain(files).collect();
        let ids = ids.join(", ");
        match self.llama_cpp_build {
            Some(number) if ids.is_empty() => Some(format!("b{number}")),
            Some(number) => Some(format!("b{number} ({ids})")),
            None => (!ids.is_empty()).then_some(ids),
        }
    }

    /// The engine's version: its llama.cpp, where that is not the crate's, and the crate that binds it.
    pub fn engine_version(&self) -> String {
        let binding = self.llama_cpp_sys_2.as_ref();
        let binding = binding.map(|version| format!("llama-cpp-sys-2 {version}"));
        let parts: Vec<String> = self.llama_cpp().into_iter().chain(binding).collect();
        match parts.is_empty() {
            true => "unknown".to_owned(),
            false => parts.join(", "),
        }
    }

    /// The answer to `--version`, without the program's name.
    pub fn describe(&self) -> String {
        let git = self.git.as_ref();
        let git = git.map_or_else(String::new, |git| format!(" ({git})"));
        let engine = self.engine_version();
        let stated = match self.llama_cpp() {
            Some(_) => "",
            None => " (this crate does not state the commit of its llama.cpp)",
        };
        format!("{}{git}\nllama.cpp: {engine}{stated}", self.version)
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
    fn names_the_llama_cpp_that_replaces_the_crates() {
        let of = |commit: Option<&str>, number: Option<u32>, files: Option<&str>| {
            let build = BuildInfo {
                llama_cpp_sys_2: Some("0.1.161".to_owned()),
                llama_cpp_commit: owned(commit),
                llama_cpp_build: number,
                llama_cpp_files: owned(files),
                ..BuildInfo::unknown()
            };
            build.engine_version()
        };
        assert_eq!(of(None, None, None), "llama-cpp-sys-2 0.1.161");
        assert_eq!(
            of(Some("1a2b"), Some(11401), None),
            "b11401 (1a2b), llama-cpp-sys-2 0.1.161"
        );
        assert_eq!(
            of(Some("1a2b-dirty"), Some(11401), Some("9f")),
            "b11401 (1a2b-dirty, files 9f), llama-cpp-sys-2 0.1.161"
        );
        assert_eq!(
            of(Some("1a2b"), None, None),
            "1a2b, llama-cpp-sys-2 0.1.161"
        );
        assert_eq!(
            of(None, None, Some("9f")),
            "files 9f, llama-cpp-sys-2 0.1.161"
        );
        assert_eq!(BuildInfo::unknown().engine_version(), "unknown");
    }

    #[test]
    fn a_version_says_when_the_commit_of_llama_cpp_is_not_stated() {
        let ours = BuildInfo {
            git: Some("aaaa".to_owned()),
            llama_cpp_sys_2: Some("0.1.161".to_owned()),
            ..BuildInfo::unknown()
        };
        let text = ours.describe();
        assert_eq!(
            text,
            "unknown (aaaa)\nllama.cpp: llama-cpp-sys-2 0.1.161 (this crate does not state the commit of its llama.cpp)"
        );
        let named = BuildInfo {
            llama_cpp_build: Some(11401),
            ..ours
        };
        assert!(
            named
                .describe()
                .ends_with("llama.cpp: b11401, llama-cpp-sys-2 0.1.161")
        );
    }

    #[test]
    fn a_record_without_the_digest_of_files_is_read() {
        let build = BuildInfo::current();
        let mut json = serde_json::to_value(&build).expect("plain data");
        json.as_object_mut()
            .expect("an object")
            .remove("llama_cpp_files");
        let read: BuildInfo = serde_json::from_value(json).expect("older records");
        assert_eq!(read.llama_cpp_files, None);
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
