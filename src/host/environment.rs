//! Environment variables that reach the engine and its threads past the flags: what workers are not given, and what
//! acts on them all the same.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// Beginnings of the names that llama.cpp, ggml and the OpenMP runtimes read.
const PREFIXES: [&str; 5] = ["GGML_", "GOMP_", "KMP_", "LLAMA_", "OMP_"];

/// OpenMP's variables that decide how many threads there are, or only print. The flags say how many: with fewer, a
/// cell would be measured under a wrong label.
const THREADS: [&str; 15] = [
    "GOMP_DEBUG",
    "KMP_ALL_THREADS",
    "KMP_DEVICE_THREAD_LIMIT",
    "KMP_DYNAMIC_MODE",
    "KMP_SETTINGS",
    "KMP_TEAMS_THREAD_LIMIT",
    "KMP_VERSION",
    "OMP_DISPLAY_AFFINITY",
    "OMP_DISPLAY_ENV",
    "OMP_DYNAMIC",
    "OMP_MAX_ACTIVE_LEVELS",
    "OMP_NESTED",
    "OMP_NUM_THREADS",
    "OMP_TEAMS_THREAD_LIMIT",
    "OMP_THREAD_LIMIT",
];

/// The variables of llama.cpp that change what it computes. Its others are its tools' flags (`LLAMA_ARG_*`, keys among
/// them) or print.
const LLAMA: [&str; 2] = ["LLAMA_ATTN_ROT_DISABLE", "LLAMA_GRAPH_REUSE_DISABLE"];

/// What this program sets for its workers itself.
const OWN: &str = "GGML_NO_BACKTRACE";

/// Longest value kept, in characters.
const VALUE_CHARS: usize = 200;

/// The variables that a run began with. Only of those that the engine or its threads read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineEnvironment {
    /// What workers are given, with its values.
    pub acting: BTreeMap<String, String>,
    /// Names of what workers are not given.
    pub cleared: Vec<String>,
}

impl EngineEnvironment {
    pub fn probe() -> Self {
        Self::of(std::env::vars_os())
    }

    fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            match fate(&name) {
                Fate::Unread => {}
                Fate::Cleared => environment.cleared.push(name.into_owned()),
                Fate::Acts => {
                    let value = value.to_string_lossy().chars().take(VALUE_CHARS).collect();
                    environment.acting.insert(name.into_owned(), value);
                }
            }
        }
        environment.cleared.sort();
        environment
    }
}

enum Fate {
    /// Not the engine's.
    Unread,
    Cleared,
    Acts,
}

fn fate(name: &str) -> Fate {
    if name == OWN || !PREFIXES.iter().any(|start| name.starts_with(start)) {
        return Fate::Unread;
    }
    let is_cleared = if name.starts_with("LLAMA_") {
        !LLAMA.contains(&name)
    } else {
        THREADS.contains(&of_the_host(name))
    };
    if is_cleared {
        Fate::Cleared
    } else {
        Fate::Acts
    }
}

/// A name without the suffix that says for which devices it is (OpenMP 5.1: `_ALL`, `_DEV`, `_DEV_1`).
fn of_the_host(name: &str) -> &str {
    let name = name.strip_suffix("_ALL").unwrap_or(name);
    let without_number = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = without_number.strip_suffix("_DEV_").unwrap_or(name);
    name.strip_suffix("_DEV").unwrap_or(name)
}

/// Names of this process's variables that a worker is not given.
pub fn not_for_workers() -> Vec<OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names
        .filter(|name| matches!(fate(&name.to_string_lossy()), Fate::Cleared))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> EngineEnvironment {
        let variables = variables.iter();
        EngineEnvironment::of(variables.map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn what_decides_the_number_of_threads_does_not_reach_workers() {
        let found = of(&[
            ("OMP_THREAD_LIMIT", "1"),
            ("OMP_DYNAMIC", "true"),
            ("OMP_NUM_THREADS", "1"),
            ("OMP_NUM_THREADS_ALL", "1"),
            ("OMP_NUM_THREADS_DEV", "1"),
            ("OMP_NUM_THREADS_DEV_12", "1"),
            ("PATH", "/bin"),
            ("COMPUTER", "x"),
        ]);
        assert_eq!(
            found.cleared,
            [
                "OMP_DYNAMIC",
                "OMP_NUM_THREADS",
                "OMP_NUM_THREADS_ALL",
                "OMP_NUM_THREADS_DEV",
                "OMP_NUM_THREADS_DEV_12",
                "OMP_THREAD_LIMIT"
            ]
        );
        assert!(found.acting.is_empty());
    }

    #[test]
    fn what_places_threads_or_changes_kernels_acts_and_is_kept() {
        let found = of(&[
            ("GOMP_CPU_AFFINITY", "0 2"),
            ("OMP_PROC_BIND", "close"),
            ("GGML_CUDA_DISABLE_GRAPHS", "1"),
            ("LLAMA_GRAPH_REUSE_DISABLE", "1"),
            ("GGML_NO_BACKTRACE", "1"),
        ]);
        let names: Vec<&str> = found.acting.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "GGML_CUDA_DISABLE_GRAPHS",
                "GOMP_CPU_AFFINITY",
                "LLAMA_GRAPH_REUSE_DISABLE",
                "OMP_PROC_BIND"
            ]
        );
        assert_eq!(found.acting["GOMP_CPU_AFFINITY"], "0 2");
        assert!(found.cleared.is_empty());
    }

    #[test]
    fn the_tools_flags_and_keys_are_named_and_never_kept() {
        let found = of(&[("LLAMA_ARG_THREADS", "4"), ("LLAMA_API_KEY", "secret")]);
        assert_eq!(found.cleared, ["LLAMA_API_KEY", "LLAMA_ARG_THREADS"]);
        let json = serde_json::to_string(&found).expect("plain data");
        assert!(!json.contains("secret"));
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = "x".repeat(10_000);
        let found = of(&[("OMP_PLACES", &long)]);
        assert_eq!(found.acting["OMP_PLACES"].len(), VALUE_CHARS);
    }
}
