//! Engines of shell and repositories of them, for tests of other programs and of `bisect`: their times come from a constant in the
//! repository and a small noise that is computed, so that no clock decides a test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::stderr;

/// A llama-bench whose 4 decode steps take as many nanoseconds as the file `ns` beside it says, give or take half a percent. Every
/// `crash_every`-th start ends with exit code 3; 0 for none.
pub fn engine(crash_every: u32) -> String {
    format!(
        r#"#!/bin/sh
here=$(dirname "$0")
n=$(cat "$here/count" 2>/dev/null || echo 0)
echo $((n + 1)) >"$here/count"
if [ {crash_every} -gt 0 ] && [ $((n % ({crash_every} + 1))) -eq {crash_every} ]; then echo "no such op" >&2; exit 3; fi
ns=$(cat "$here/ns")
v=$((ns + ns * ((n * 7919 + 13) % 11 - 5) / 1000))
echo '{{"build_commit": "x", "n_prompt": 0, "n_gen": 4, "samples_ns": [ '$v, $v, $v' ]}}'
"#
    )
}

/// Writes a program into a folder of its own below `folder`.
pub fn program(folder: &Path, name: &str, ns: u64, text: &str) -> PathBuf {
    let own = folder.join(name);
    std::fs::create_dir_all(&own).expect("a folder");
    std::fs::write(own.join("ns"), ns.to_string()).expect("written");
    let path = own.join("llama-bench");
    std::fs::write(&path, text).expect("written");
    let rights = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, rights).expect("changed");
    path
}

/// A commit of a repository.
pub struct Planted {
    pub ns: u64,
    pub build: &'static str,
    pub engine: String,
}

impl Planted {
    pub fn taking(ns: u64) -> Self {
        Self {
            ns,
            build: "",
            engine: engine(0),
        }
    }
}

/// What makes the program, in every commit that builds.
pub const BUILD: &str = "sh build.sh";

/// Where the program is then.
pub const PROGRAM: &str = "out/llama-bench";

/// A repository with these commits after a first, good one. Their messages are `commit 0`, `commit 1` and so on.
pub fn repository(folder: &Path, commits: &[Planted]) -> PathBuf {
    let path = folder.join("repository");
    std::fs::create_dir(&path).expect("a folder");
    git(&path, &["init", "-q", "-b", "main"]);
    git(&path, &["config", "user.name", "Test"]);
    git(&path, &["config", "user.email", "test@example.org"]);
    let good = Planted::taking(1_000_000);
    for (n, commit) in std::iter::once(&good).chain(commits).enumerate() {
        let write =
            |name: &str, text: &str| std::fs::write(path.join(name), text).expect("written");
        write("ns", &commit.ns.to_string());
        write("engine.sh", &commit.engine);
        write("number", &n.to_string());
        let make = "mkdir -p out && cp ns out/ && cp engine.sh out/llama-bench && chmod +x out/llama-bench";
        write("build.sh", &format!("{}\n{make}\n", commit.build));
        git(&path, &["add", "-A"]);
        git(&path, &["commit", "-q", "-m", &format!("commit {n}")]);
    }
    path
}

#[track_caller]
pub fn git(folder: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .current_dir(folder)
        .args(args)
        .output()
        .expect("git starts");
    assert!(out.status.success(), "{args:?}: {}", stderr(&out));
    String::from_utf8(out.stdout).expect("text")
}
