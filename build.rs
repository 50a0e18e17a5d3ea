//! Tells the program what it was built from: its own revision, the engine's version and the
//! compiler settings that decide how fast the engine can be. Read back by `src/build_info.rs`.
//!
//! Nothing here can fail a build: what cannot be found is left out, and the program says "unknown".

#![allow(clippy::print_stdout)] // cargo reads it

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program is made of. Only these decide whether a revision is dirty: cargo watches them.
const INGREDIENTS: [&str; 5] = ["build.rs", "src", "Cargo.toml", "Cargo.lock", ".cargo"];

fn main() {
    for path in INGREDIENTS {
        rerun_if_changed(Path::new(path));
    }
    println!("cargo:rerun-if-env-changed=DEP_LLAMA_GGML_CMAKE_DIR");

    let checkout = checkout();
    export("GIT", git_revision(&checkout).or_else(packaged_revision));
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    export("LLAMA_CPP_2", locked_version(&lock, "llama-cpp-2"));
    export("LLAMA_CPP_SYS_2", locked_version(&lock, "llama-cpp-sys-2"));
    export_engine(has_own_llama_cpp(&lock));

    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("windows") {
        windows();
    } else if env::var_os("CARGO_FEATURE_PORTABLE").is_some() {
        // The engine's libraries lie beside the program, wherever that is unpacked.
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN");
    }

    export("TARGET", env::var("TARGET").ok());
    export("PROFILE", env::var("PROFILE").ok());
    export("OPT_LEVEL", env::var("OPT_LEVEL").ok());
    export("FEATURES", Some(enabled_features()));
    export("TARGET_CPU", target_cpu());
    export("TARGET_FEATURES", env::var("CARGO_CFG_TARGET_FEATURE").ok());
    export("RUSTC", rustc_version());
}

/// What Windows reads from the program's file, and the stack of the main thread that other systems give (its default is 1 or 2 MiB).
fn windows() {
    let bytes = 8 << 20;
    match env::var("CARGO_CFG_TARGET_ENV").as_deref() {
        Ok("msvc") => println!("cargo:rustc-link-arg-bins=/STACK:{bytes}"),
        _ => {
            println!("cargo:rustc-link-arg-bins=-Wl,--stack,{bytes}");
            // The engine's crate looks for libNAME.a, and CMake calls ggml's libraries NAME.a on Windows.
            println!("cargo:rustc-link-arg=-Wl,--start-group");
            for library in ggml_libraries() {
                println!("cargo:rustc-link-arg=-l:{library}");
            }
            // The engine's C++, its look into the registry, the sockets of its RPC backend, and what these take of C. rustc
            // names C's libraries too, but before the engine's, and a linker of GNU takes of a library what was asked for until then.
            for library in [
                "stdc++",
                "advapi32",
                "ws2_32",
                ":libpthread.a",
                "mingwex",
                "mingw32",
                "msvcrt",
                "gcc",
                "kernel32",
            ] {
                println!("cargo:rustc-link-arg=-l{library}");
            }
            println!("cargo:rustc-link-arg=-Wl,--end-group");
        }
    }
    let manifest = embed_manifest::new_manifest("ggufbench");
    if let Err(e) = embed_manifest::embed_manifest(manifest) {
        println!("cargo:warning=the program has no manifest, so that long paths are refused: {e}");
    }
}

/// Files of ggml's static libraries beside the folder of its CMake package; none where they are DLLs.
fn ggml_libraries() -> Vec<String> {
    let cmake = env::var("DEP_LLAMA_GGML_CMAKE_DIR").unwrap_or_default();
    let folder = Path::new(&cmake).parent().map(fs::read_dir);
    let entries = folder.and_then(Result::ok).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("ggml") && name.ends_with(".a"))
        .filter(|name| !name.ends_with(".dll.a"))
        .collect();
    names.sort();
    names
}

/// Sets `GGUFBENCH_BUILD_<key>`; an empty or absent value sets nothing, so `option_env!` gives `None`.
fn export(key: &str, value: Option<String>) {
    if let Some(value) = value.filter(|v| !v.is_empty() && !v.contains('\n')) {
        println!("cargo:rustc-env=GGUFBENCH_BUILD_{key}={value}");
    }
}

/// Only names what exists: cargo reruns the script on every build for a path that does not.
fn rerun_if_changed(path: &Path) {
    if path.exists() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}

/// The checkout whose revision is the program's: this folder, or where `scripts/llama-build.sh` took the sources from.
fn checkout() -> PathBuf {
    let variable = "GGUFBENCH_SOURCE";
    println!("cargo:rerun-if-env-changed={variable}");
    env::var_os(variable).map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn git(checkout: &Path, args: &[&str]) -> Option<String> {
    let here = ["-C", checkout.to_str()?];
    output_of("git", &[&here[..], args].concat())
}

fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim_end().to_owned())
}

/// `1a2b3c4d5e6f` or `1a2b3c4d5e6f-dirty`. None outside a git checkout, and for a copy that merely
/// lies inside somebody else's repository (that repository does not track this manifest).
fn git_revision(checkout: &Path) -> Option<String> {
    git(checkout, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let revision = git(checkout, &["rev-parse", "--short=12", "HEAD"])?;
    watch_git(checkout);
    let status = ["status", "--porcelain", "--untracked-files=no", "--"];
    let changes = git(checkout, &[&status[..], &INGREDIENTS[..]].concat())?;
    Some(match changes.is_empty() {
        true => revision,
        false => format!("{revision}-dirty"),
    })
}

/// `--git-path` knows where a worktree keeps what: HEAD and its log with the worktree, branches
/// with the main checkout. A branch may be a loose file or a line of `packed-refs`.
fn watch_git(checkout: &Path) {
    let branch = git(checkout, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter();
    for name in names.chain(branch.as_deref()) {
        if let Some(path) = git(checkout, &["rev-parse", "--git-path", name]) {
            rerun_if_changed(&checkout.join(path));
        }
    }
}

/// The revision `cargo package` writes into a crate tarball.
fn packaged_revision() -> Option<String> {
    let info = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = info.split_once("\"sha1\"")?;
    let sha = rest.split('"').nth(1)?;
    let sha = sha.get(..12)?;
    let dirty = match info.contains("\"dirty\": true") {
        true => "-dirty",
        false => "",
    };
    Some(format!("{sha}{dirty}"))
}

/// The lines after a package's name in Cargo.lock: `version`, and `source` unless it is a folder.
fn locked<'a>(lock: &'a str, package: &str) -> impl Iterator<Item = &'a str> {
    let name = format!("name = \"{package}\"");
    let lines = lock.lines().skip_while(move |line| *line != name).skip(1);
    lines.take_while(|line| !line.is_empty())
}

/// The version of a package in Cargo.lock.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let version = locked(lock, package).next()?.strip_prefix("version = \"")?;
    let version = version.strip_suffix('"')?;
    // `scripts/llama-build.sh` adds the revision of llama.cpp, which has its own places.
    let (version, _) = version.split_once('+').unwrap_or((version, ""));
    Some(version.to_owned())
}

/// Whether llama.cpp is that of the registry's crate. Its tarball states no commit, and CMake may find the commit of an unrelated
/// repository around cargo's folder.
fn has_own_llama_cpp(lock: &str) -> bool {
    locked(lock, "llama-cpp-sys-2").any(|line| line.starts_with("source = \"registry+"))
}

/// The engine's own versions, from the CMake package files that the engine crate installs. Where llama.cpp is not the crate's,
/// `scripts/llama-build.sh` knows its commit better.
fn export_engine(is_of_crate: bool) {
    let of_script = ["COMMIT", "NUMBER", "FILES"].map(|what| {
        let variable = format!("GGUFBENCH_LLAMA_{what}");
        println!("cargo:rerun-if-env-changed={variable}");
        let value = env::var(variable).ok().filter(|_| !is_of_crate);
        export(&format!("LLAMA_{what}"), value.clone());
        value
    });
    let Ok(dir) = env::var("DEP_LLAMA_GGML_CMAKE_DIR") else {
        return;
    };
    let read = |file: &str| fs::read_to_string(Path::new(&dir).join(file)).unwrap_or_default();
    let ggml = read("ggml/ggml-config-version.cmake");
    export("GGML", cmake_value(&ggml, "PACKAGE_VERSION"));
    if is_of_crate || of_script.iter().any(Option::is_some) {
        return;
    }
    let llama = read("llama/llama-config.cmake");
    let commit = cmake_value(&llama, "LLAMA_BUILD_COMMIT").filter(|c| c != "unknown");
    export("LLAMA_COMMIT", commit);
    let number = cmake_value(&llama, "LLAMA_BUILD_NUMBER").filter(|n| n != "0");
    export("LLAMA_NUMBER", number);
}

/// `set(KEY "value")` or `set(KEY value)`.
fn cmake_value(text: &str, key: &str) -> Option<String> {
    let start = format!("set({key} ");
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(start.as_str()))?;
    let value = line
        .trim_start()
        .strip_suffix(')')?
        .trim()
        .trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

/// The crate's enabled features, comma-separated and sorted, in Cargo.toml's spelling.
fn enabled_features() -> String {
    let mut features: Vec<String> = env::vars()
        .filter_map(|(key, _)| Some(key.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .map(|feature| feature.replace('_', "-"))
        .filter(|feature| feature != "default")
        .collect();
    features.sort();
    features.join(",")
}

/// What `-C target-cpu` was given: the engine's C++ follows it. The last one wins, as in rustc.
fn target_cpu() -> Option<String> {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").ok()?;
    let cpu = flags
        .split('\x1f')
        .filter_map(|flag| flag.split_once("target-cpu="))
        .next_back()?;
    Some(cpu.1.to_owned())
}

fn rustc_version() -> Option<String> {
    output_of(&env::var("RUSTC").ok()?, &["--version"])
}
