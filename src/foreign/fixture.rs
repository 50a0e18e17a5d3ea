//! Programs of shell that print what a benchmark would.

#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Writes a script that can be started.
pub(crate) fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("can be written");
    let rights = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, rights).expect("can be changed");
    path
}

/// A llama-bench of one decode step and two repetitions that take `ns` each.
pub(crate) fn bench(ns: u64) -> String {
    format!(r#"echo '{{"n_prompt": 0, "n_gen": 1, "samples_ns": [ {ns}, {ns} ]}}'"#)
}
