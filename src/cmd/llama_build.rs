//! `--llama-a`, `--llama-b`: programs built against other checkouts of llama.cpp, by `scripts/llama-build.sh`.
//!
//! The script does the work, because `make build LLAMA_CPP=DIR` needs it before there is a program.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build_info::BuildInfo;
use crate::cli::AbArgs;
use crate::record::PairSide;
use crate::streams::note;

/// Below a checkout of ggufbench.
const SCRIPT: &str = "scripts/llama-build.sh";

/// The programs of the sides that name a llama.cpp. They are built first where they are not built yet.
///
/// # Errors
/// When the sources of ggufbench are not found, or a build fails. The script has said why on standard error.
pub(super) fn programs(args: &AbArgs) -> Result<[Option<PathBuf>; 2]> {
    let wanted = [
        (PairSide::A, args.llama_a.as_deref()),
        (PairSide::B, args.llama_b.as_deref()),
    ];
    if wanted.iter().all(|(_, llama)| llama.is_none()) {
        ensure!(
            args.source.is_none(),
            "--source: names the sources for --llama-a and --llama-b, and neither is given"
        );
        return Ok([None, None]);
    }
    let program = env::current_exe().context("the path of this program is unknown")?;
    let here = env::current_dir().context("the current folder is unknown")?;
    let source = source(args.source.as_deref(), &[&program, &here])?;
    let features = features(&BuildInfo::current().features);
    let build = |(side, llama): (PairSide, Option<&Path>)| {
        llama
            .map(|llama| build(&source, side, llama, &features))
            .transpose()
    };
    let [a, b] = wanted;
    Ok([build(a)?, build(b)?])
}

/// A checkout of ggufbench: the named one, or the first that one of these paths lies in.
fn source(named: Option<&Path>, near: &[&Path]) -> Result<PathBuf> {
    let has_script = |folder: &Path| folder.join(SCRIPT).is_file();
    if let Some(folder) = named {
        ensure!(
            has_script(folder),
            "--source {}: is no checkout of ggufbench: it has no {SCRIPT}",
            folder.display()
        );
        return Ok(std::path::absolute(folder)?);
    }
    let mut folders = near.iter().flat_map(|path| path.ancestors());
    let Some(folder) = folders.find(|folder| has_script(folder)) else {
        bail!(
            "--llama-a and --llama-b build ggufbench, and its sources are neither around this program nor around the current \
             folder: name a checkout of ggufbench with --source DIR, or give finished programs with --worker-a and --worker-b"
        );
    };
    Ok(folder.to_owned())
}

/// The features of the build, so that both sides can compute on the same devices.
fn features(ours: &[String]) -> String {
    let (portable, kept): (Vec<&str>, Vec<&str>) = ours
        .iter()
        .map(String::as_str)
        .partition(|feature| *feature == "portable");
    if !portable.is_empty() {
        note(
            "note: this program is a portable build; those of --llama-a and --llama-b are built for this machine, without plug-ins",
        );
    }
    kept.join(",")
}

/// Builds a side's program, or finds it built, and returns its path.
fn build(source: &Path, side: PairSide, llama: &Path, features: &str) -> Result<PathBuf> {
    let flag = format!("--llama-{}", side.folder());
    let mut command = Command::new(source.join(SCRIPT));
    command.arg("--side").arg(side.folder()).arg(llama);
    if !features.is_empty() {
        command.args(["--", "--features", features]);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{flag}: {}: does not run", source.join(SCRIPT).display()))?;
    ensure!(
        output.status.success(),
        "{flag} {}: no program was built; the reason is above",
        llama.display()
    );
    let path = String::from_utf8(output.stdout)
        .with_context(|| format!("{flag}: the path of the built program is not UTF-8"))?;
    Ok(PathBuf::from(path.trim_end_matches('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the script in it, below `place`.
    fn checkout(place: &Path) -> PathBuf {
        let folder = place.join("ggufbench");
        std::fs::create_dir_all(folder.join("scripts")).expect("writable");
        std::fs::write(folder.join(SCRIPT), "").expect("writable");
        folder
    }

    #[test]
    fn sources_are_found_around_the_program_or_the_current_folder() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = checkout(place.path());
        let program = folder.join("target/release/ggufbench");
        let elsewhere = place.path().join("usr/bin/ggufbench");
        let found = |near: &[&Path]| source(None, near).expect("found");
        assert_eq!(found(&[&program, place.path()]), folder);
        assert_eq!(found(&[&elsewhere, &folder.join("docs")]), folder);
        let missing = source(None, &[&elsewhere, place.path()]).expect_err("none is near");
        assert!(missing.to_string().contains("--source DIR"), "{missing}");
    }

    #[test]
    fn named_sources_come_before_those_that_are_near() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = checkout(place.path());
        let other = checkout(&place.path().join("other"));
        let near: &[&Path] = &[&folder];
        assert_eq!(source(Some(&other), near).expect("a checkout"), other);
        let wrong = source(Some(place.path()), near).expect_err("no checkout");
        assert!(wrong.to_string().contains("is no checkout"), "{wrong}");
    }

    #[test]
    fn features_are_kept_except_that_of_a_portable_build() {
        let of = |features: &[&str]| {
            let owned: Vec<String> = features.iter().map(|&f| f.to_owned()).collect();
            super::features(&owned)
        };
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["cuda", "cuda-no-vmm"]), "cuda,cuda-no-vmm");
        assert_eq!(of(&["cuda", "portable"]), "cuda");
    }
}
