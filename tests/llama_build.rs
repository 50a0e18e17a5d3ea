//! Builds against another llama.cpp, as a user starts them. A stand-in for cargo takes the place of the compilers.
#![cfg(unix)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Place, record, stderr, stdout};

/// What `cargo build` would do, without a compiler: it notes how it was asked, and gives the program that exists, or fails with the
/// output in the file `fails`.
const CARGO: &str = r#"#!/bin/sh
here=$(dirname "$0")
case $1 in
    --version) echo "cargo 99.0.0" ;;
    metadata) printf '{"packages":[{"name":"x","manifest_path":"%s/llama-cpp-sys-2-9.9.9/Cargo.toml"}]}\n' "$here" ;;
    build)
        echo "$GGUFBENCH_LLAMA_COMMIT|$GGUFBENCH_LLAMA_NUMBER|$GGUFBENCH_LLAMA_FILES|$*" >>"$here/builds"
        pwd >>"$here/packages"
        if [ -e "$here/fails" ]; then cat "$here/fails" && exit 101; fi
        while [ "$1" != --target-dir ]; do shift; done
        mkdir -p "$2/release" && cp "$here/program" "$2/release/ggufbench"
        ;;
esac
"#;

/// The stand-in, a binding, and a checkout of llama.cpp with the releases b100 and b101.
struct Workshop {
    place: Place,
}

impl Workshop {
    fn new() -> Self {
        let shop = Self {
            place: Place::new(),
        };
        let tools = shop.tools();
        let binding = tools.join("llama-cpp-sys-2-9.9.9");
        std::fs::create_dir_all(binding.join("llama.cpp")).expect("writable");
        for (file, text) in [
            ("Cargo.toml", "# of the binding"),
            ("build.rs", "fn main() {}"),
            ("llama.cpp/of-the-crate", ""),
        ] {
            std::fs::write(binding.join(file), text).expect("writable");
        }
        for (name, text) in [
            ("cargo", CARGO),
            ("rustc", "#!/bin/sh\necho rustc 99.0.0\n"),
        ] {
            let path = tools.join(name);
            std::fs::write(&path, text).expect("writable");
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, executable).expect("ours");
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ggufbench"), tools.join("program"))
            .expect("writable");
        let llama = shop.llama();
        std::fs::create_dir_all(llama.join("include")).expect("writable");
        shop.git(&["init", "--quiet"]);
        for release in ["b100", "b101"] {
            std::fs::write(llama.join("include/llama.h"), release).expect("writable");
            shop.git(&["add", "."]);
            shop.git(&["commit", "--quiet", "--message", release]);
            shop.git(&["tag", release]);
        }
        shop
    }

    fn tools(&self) -> PathBuf {
        self.place.path().join("tools")
    }

    fn llama(&self) -> PathBuf {
        self.place.path().join("llama.cpp")
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.llama())
            .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
            .args(["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"])
            .args(args)
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    }

    fn commit(&self, revision: &str) -> String {
        self.git(&["rev-parse", "--short=12", revision])
    }

    /// The stand-in first, and builds below this place.
    fn set_up(&self, command: &mut Command) {
        let path = std::env::var("PATH").expect("a PATH");
        // The folder of a build is named by these.
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let prefixes = ["CMAKE_", "GGML_", "CC", "CXX", "CFLAGS", "LDFLAGS"];
        for name in names.filter(|name| prefixes.iter().any(|p| name.starts_with(p))) {
            command.env_remove(name);
        }
        command
            .current_dir(self.place.path())
            .env("PATH", format!("{}:{path}", self.tools().display()))
            .env("CARGO_TARGET_DIR", self.place.path().join("target"));
    }

    fn script(&self, args: &[&str]) -> Output {
        self.script_with(args, &[])
    }

    /// With further variables in the environment.
    fn script_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/llama-build.sh");
        let mut command = Command::new(script);
        self.set_up(&mut command);
        let variables = variables.iter().copied();
        let command = command.args(args).envs(variables);
        command.output().expect("bash is installed")
    }

    fn ab(&self, args: &[&str]) -> Output {
        let mut command = self.place.command();
        self.set_up(&mut command);
        command
            .args(["ab", "--model", "synth:tiny:q4_0", "-p", "8", "-n", "16"])
            .args(["--replicates", "2", "--no-report", "--engine"])
            .arg(r#"synthetic:{"call_ns":100000,"token_ns":0,"past_ns":0,"sample_ns":0}"#)
            .args(["--source", env!("CARGO_MANIFEST_DIR")])
            .args(args)
            .output()
            .expect("the program starts")
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.tools().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Lets the stand-in fail with this output.
    fn fails_with(&self, output: &str) {
        std::fs::write(self.tools().join("fails"), output).expect("writable");
    }
}

#[test]
fn two_revisions_are_built_and_measured_in_turns() {
    let shop = Workshop::new();
    let output = shop.ab(&["--llama-a", "llama.cpp@b100", "--llama-b", "llama.cpp"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let (old, new) = (shop.commit("b100"), shop.commit("b101"));
    let builds = shop.lines("builds");
    assert_eq!(builds.len(), 2, "{builds:?}");
    assert!(builds[0].starts_with(&format!("{old}|100||build --manifest-path ")));
    assert!(builds[1].starts_with(&format!("{new}|101||build --manifest-path ")));
    for (side, name) in [("a", format!("b100-{old}")), ("b", format!("b101-{new}"))] {
        let (header, _) = record(&shop.place.the_run().join(side));
        let program = header.pair.expect("a side of a pair").worker_program;
        assert!(
            program.ends_with(format!("{name}/ggufbench")),
            "{program:?}"
        );
        let place = program.parent().expect("its folder");
        let header =
            std::fs::read_to_string(place.join("llama-cpp-sys-2/llama.cpp/include/llama.h"));
        assert_eq!(header.expect("copied"), &name[..4]);
        assert!(
            !place
                .join("llama-cpp-sys-2/llama.cpp/of-the-crate")
                .exists()
        );
        let said = stderr(&output);
        assert!(
            said.contains(&place.join("build.log").display().to_string()),
            "{said}"
        );
    }
    assert_eq!(
        shop.git(&["status", "--porcelain"]),
        "",
        "the checkout is untouched"
    );
}

#[test]
fn cargo_takes_the_copied_binding_and_the_checkout_of_ggufbench_does_not_change() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("readable");
    let (manifest, lock) = (
        read(source.join("Cargo.toml")),
        read(source.join("Cargo.lock")),
    );
    let shop = Workshop::new();
    let output = shop.script(&["llama.cpp@b101", "--", "--features", "cuda"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(shop.lines("builds")[0].ends_with("--features cuda"));
    let package = PathBuf::from(&shop.lines("packages")[0]);
    let patched = read(package.join("Cargo.toml"));
    let patch = "\n[patch.crates-io]\nllama-cpp-sys-2 = { path = \"../llama-cpp-sys-2\" }\n";
    assert_eq!(patched, format!("{manifest}{patch}"));
    let patched = read(package.join("Cargo.lock"));
    let gone: Vec<&str> = lock.lines().filter(|line| !line.is_empty()).collect();
    let n_kept = patched.lines().filter(|line| !line.is_empty()).count();
    assert_eq!(
        gone.len() - n_kept,
        2,
        "the source and the checksum of one package"
    );
    let entry = patched
        .split("name = \"llama-cpp-sys-2\"")
        .nth(1)
        .expect("an entry");
    let entry = entry.split("\n\n").next().expect("text");
    assert!(
        !entry.contains("source") && !entry.contains("checksum"),
        "{entry}"
    );
    assert_eq!(read(source.join("Cargo.toml")), manifest);
    assert_eq!(read(source.join("Cargo.lock")), lock);
}

#[test]
fn a_revision_is_copied_once_and_changes_are_copied_each_time() {
    let shop = Workshop::new();
    let built = |wanted: &str| {
        let output = shop.script(&[wanted]);
        assert!(output.status.success(), "{}", stderr(&output));
        PathBuf::from(stdout(&output).trim())
    };
    let copy = |program: &Path| program.with_file_name("llama-cpp-sys-2/llama.cpp");
    let first = built("llama.cpp@b100");
    let mark = copy(&first).join("mark");
    std::fs::write(&mark, "").expect("writable");
    assert_eq!(built("llama.cpp@b100"), first);
    assert!(mark.exists(), "the copy is the same one");
    assert_eq!(shop.lines("builds").len(), 1, "compiled once");
    std::fs::remove_file(&first).expect("writable");
    assert_eq!(built("llama.cpp@b100"), first);
    assert!(first.exists() && shop.lines("builds").len() == 2);

    let file = shop.llama().join("include/llama.h");
    let mut programs = Vec::new();
    for text in ["changed", "changed again"] {
        std::fs::write(&file, text).expect("writable");
        let program = built("llama.cpp");
        let copied = std::fs::read_to_string(copy(&program).join("include/llama.h"));
        assert_eq!(copied.expect("copied"), text);
        programs.push(program);
    }
    assert_eq!(
        programs[0], programs[1],
        "one place for a checkout with changes"
    );
    let builds = shop.lines("builds");
    let named: Vec<&str> = builds
        .iter()
        .filter_map(|line| line.split("|build").next())
        .collect();
    let dirty = format!("{}-dirty|101|", shop.commit("HEAD"));
    assert!(
        named[2].starts_with(&dirty) && named[3].starts_with(&dirty),
        "{named:?}"
    );
    assert_ne!(named[2], named[3], "the digest of the files differs");
}

#[test]
fn a_revision_is_built_again_with_other_variables() {
    let shop = Workshop::new();
    let built = |variables: &[(&str, &str)]| {
        let output = shop.script_with(&["llama.cpp@b100"], variables);
        assert!(output.status.success(), "{}", stderr(&output));
        PathBuf::from(stdout(&output).trim())
    };
    let (usual, slow) = (
        built(&[]),
        built(&[("GGML_OPENMP", "OFF"), ("CMAKE_CXX_FLAGS", "-O1")]),
    );
    assert_ne!(usual, slow);
    let listed = std::fs::read_to_string(slow.with_file_name("variables"));
    assert_eq!(
        listed.expect("listed"),
        "CMAKE_CXX_FLAGS=-O1\nGGML_OPENMP=OFF\n"
    );
    assert_ne!(built(&[("CMAKE_CXX_FLAGS", "-O2")]), slow);
    assert_eq!(built(&[("CMAKE_BUILD_PARALLEL_LEVEL", "3")]), usual);
}

#[test]
fn a_lock_that_was_left_behind_is_broken_and_that_of_a_running_build_is_not() {
    let shop = Workshop::new();
    let lock = shop.place.path().join("target/llama/lock");
    let locked_by = |pid: u32| {
        std::fs::create_dir_all(&lock).expect("writable");
        std::fs::write(lock.join("pid"), format!("{pid}\n")).expect("writable");
        shop.script(&["llama.cpp@b100"])
    };
    let output = locked_by(std::process::id());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("another build is running"),
        "{}",
        stderr(&output)
    );
    let mut ended = Command::new("true").spawn().expect("starts");
    ended.wait().expect("ends");
    let output = locked_by(ended.id());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!lock.exists(), "taken and given back");
}

#[test]
fn a_folder_without_git_is_named_by_its_release_and_its_files() {
    let shop = Workshop::new();
    let folder = shop.place.path().join("llama.cpp-b9093");
    std::fs::create_dir_all(folder.join("include")).expect("writable");
    std::fs::write(folder.join("include/llama.h"), "old").expect("writable");
    let output = shop.script(&["llama.cpp-b9093"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let build = shop.lines("builds").remove(0);
    let parts: Vec<&str> = build.split('|').collect();
    assert_eq!(
        (parts[0], parts[1], parts[2].len()),
        ("", "9093", 12),
        "{build}"
    );

    let refused = |wanted: &str, because: &str| {
        let output = shop.script(&[wanted]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(because), "{}", stderr(&output));
    };
    refused("llama.cpp-b9093@b1", "is not a git checkout");
    refused("llama.cpp@b999", "has no revision b999");
    refused(
        "tools",
        "is not llama.cpp, because it has no include/llama.h",
    );
    refused("absent", "absent: no such folder");
    assert_eq!(shop.lines("builds").len(), 1);
}

#[test]
fn a_binding_that_does_not_compile_is_told_with_the_symbols_and_the_next_way() {
    let shop = Workshop::new();
    shop.fails_with(
        "error[E0425]: cannot find function `llama_old_name` in crate `llama_cpp_sys_2`\n   --> /r/llama-cpp-2-0.1.160/src/model.rs:10:5\n\
         error[E0609]: no field `n_new` on type `llama_context_params`\n\
         error[E0560]: struct `llama_model_params` has no field named `load_mode`\n\
         error[E0061]: this function takes 2 arguments but 3 were supplied\n  --> /home/u/.cargo/registry/src/index.crates.io-1/llama-cpp-2-0.1.160/src/a.rs:7:9\n\
         error: could not compile `llama-cpp-2` (lib) due to 3 previous errors\n",
    );
    let output = shop.ab(&["--llama-b", "llama.cpp@b100"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let said = stderr(&output);
    let lines: Vec<&str> = said
        .lines()
        .filter(|l| l.starts_with("llama-build:"))
        .collect();
    assert!(lines.len() <= 5, "{said}");
    assert!(said.contains(": llama_old_name, llama_context_params.n_new, llama_model_params.load_mode, llama-cpp-2-0.1.160/src/a.rs:7 (this function takes 2"), "{said}");
    assert!(said.contains("--program-b 'PATH/llama-bench'"), "{said}");
    assert!(
        said.contains("--llama-b llama.cpp@b100: no program was built"),
        "{said}"
    );
    assert!(!shop.place.out().exists(), "nothing was measured");
}

#[test]
fn linkers_c_compilers_and_cmake_are_understood_too() {
    let shop = Workshop::new();
    for (output, named) in [
        (
            "x.rs:(.text+0x1): undefined reference to `llama_a'\nx.rs: undefined reference to `llama_a'",
            "there: llama_a\n",
        ),
        (
            "rust-lld: error: undefined symbol: llama_b\n>>> referenced by x",
            "there: llama_b\n",
        ),
        (
            "wrapper.cpp:3:9: error: ‘common_c’ was not declared in this scope",
            "there: common_c\n",
        ),
        (
            "wrapper.cpp:3:9: error: ‘struct d’ has no member named ‘e’",
            "there: struct d.e\n",
        ),
        (
            "wrapper.cpp:1:10: fatal error: sampling.h: No such file or directory",
            "there: sampling.h\n",
        ),
        (
            "  CMake Error at ggml/CMakeLists.txt:7 (message):\n    needs a newer compiler\n",
            "there: CMake, ggml/CMakeLists.txt: needs a newer compiler\n",
        ),
        (
            "/c/llama-cpp-sys-2/llama.cpp/src/llama.cpp:7:1: error: ‘x’ was not declared in this scope",
            "llama.cpp itself does not compile: src/llama.cpp:7:1: error: ‘x’ was",
        ),
        (
            "error: failed to write: No space left on device",
            "was not built: error: failed to write: No space left on device",
        ),
    ] {
        shop.fails_with(output);
        let failed = shop.script(&["llama.cpp@b100"]);
        assert_eq!(failed.status.code(), Some(1));
        assert!(stderr(&failed).contains(named), "{}", stderr(&failed));
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let shop = Workshop::new();
    let output = shop.ab(&["--llama-a", "llama.cpp", "--worker-a", "other"]);
    assert_eq!(output.status.code(), Some(2));
    let output = shop.ab(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("neither is given"),
        "{}",
        stderr(&output)
    );
}
