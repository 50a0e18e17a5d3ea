//! The program of a revision, built in a folder of its own.
//!
//! Every revision has its own source and build folder: programs find their shared libraries by the path at which they were built, so that
//! builds which replace each other would all run the last one's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::repository::{Repository, Revision};
use crate::foreign::child::{self, ChildError};
use crate::foreign::{ForeignKind, ForeignProgram, last_words};
use crate::host::process::describe_exit;
use crate::run::Interrupt;
use crate::units::nanoseconds;

/// Times a revision is built before it counts as one that does not build: a full disk or a killed compiler is no fault of it.
const ATTEMPTS: u32 = 2;

/// The file that is written when a build ended well.
const MARK: &str = "built";

/// Hexadecimal digits of a folder's name that stand for a build command.
const KEY_DIGITS: usize = 12;

/// How programs are built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildRecipe {
    /// The command, for a shell, in the folder of the source.
    pub command: String,
    /// The program that it makes, in that folder.
    pub program: PathBuf,
    pub kind: ForeignKind,
}

impl BuildRecipe {
    /// The recipe of llama.cpp's benchmarks: one target, with static libraries, so that a program is one file.
    pub fn of_llama_cpp(kind: ForeignKind) -> Self {
        let target = kind.to_string();
        // Without a number, make starts everything at once.
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            command: format!(
                "cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF && \
                 cmake --build build --config Release --target {target} --parallel {jobs}"
            ),
            program: PathBuf::from("build/bin").join(target),
            kind,
        }
    }
}

/// A program that was built, or found built.
#[derive(Debug, Clone)]
pub(crate) struct BuiltProgram {
    pub program: ForeignProgram,
    /// `None` where it had been built before.
    pub took: Option<Duration>,
}

/// Why there is no program.
#[derive(Debug)]
pub(crate) enum BuildError {
    /// The revision does not build.
    Failed(String),
    /// Ctrl-C, or the budget is over.
    Stopped,
    /// Nothing that a revision is to blame for.
    Other(anyhow::Error),
}

/// Builds revisions below a folder, each once.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub repository: &'a Repository,
    pub recipe: BuildRecipe,
    pub cache: &'a Path,
    pub interrupt: &'a Interrupt,
    /// When a build is given up because the time is over.
    pub deadline: Option<Instant>,
}

impl Builder<'_> {
    /// The program of a revision.
    pub fn build(&self, revision: &Revision) -> Result<BuiltProgram, BuildError> {
        let folder = self.folder_of(revision);
        if self.is_built(revision) {
            let program = self.program_in(&folder).map_err(BuildError::Failed)?;
            return Ok(BuiltProgram {
                program,
                took: None,
            });
        }
        let begun = Instant::now();
        let source = folder.join("source");
        self.repository
            .write_files(revision, &source)
            .map_err(BuildError::Other)?;
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            match self.attempt(&folder)? {
                Ok(program) => {
                    let took = begun.elapsed();
                    let mark = folder.join(MARK);
                    fs::write(&mark, nanoseconds(took).to_string())
                        .with_context(|| format!("{}: cannot be written", mark.display()))
                        .map_err(BuildError::Other)?;
                    return Ok(BuiltProgram {
                        program,
                        took: Some(took),
                    });
                }
                Err(reason) => why = reason,
            }
        }
        let log = folder.join("build.log");
        Err(BuildError::Failed(format!(
            "does not build: {why} ({})",
            log.display()
        )))
    }

    /// Whether a program is there that was built to its end.
    pub fn is_built(&self, revision: &Revision) -> bool {
        let folder = self.folder_of(revision);
        folder.join(MARK).is_file() && self.program_in(&folder).is_ok()
    }

    fn folder_of(&self, revision: &Revision) -> PathBuf {
        let digest = Sha256::digest(self.recipe.command.as_bytes());
        let key: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let builds = self.cache.join("builds").join(&key[..KEY_DIGITS]);
        builds.join(&revision.commit)
    }

    fn program_in(&self, folder: &Path) -> Result<ForeignProgram, String> {
        let path = folder.join("source").join(&self.recipe.program);
        ForeignProgram::find(&path, Some(self.recipe.kind))
    }

    /// Runs the command once. Inside: why it made no program.
    fn attempt(&self, folder: &Path) -> Result<Result<ForeignProgram, String>, BuildError> {
        let source = folder.join("source");
        let time_left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.recipe.command])
            .current_dir(&source)
            // A compiler's cache shall find what another revision's folder compiled.
            .env("CCACHE_BASEDIR", &source)
            .env("CCACHE_NOHASHDIR", "1")
            // A build that asks git for its commit must not get that of a repository around the cache.
            .env("GIT_CEILING_DIRECTORIES", folder);
        let finished = match child::run(&mut command, time_left, self.interrupt) {
            Ok(finished) => finished,
            Err(ChildError::Start(reason)) => {
                return Err(BuildError::Other(anyhow::anyhow!("sh: {reason}")));
            }
            Err(ChildError::TimedOut(_) | ChildError::Interrupted) => {
                return Err(BuildError::Stopped);
            }
        };
        let log = finished.stdout + &finished.stderr;
        let path = folder.join("build.log");
        fs::write(&path, log)
            .with_context(|| format!("{}: cannot be written", path.display()))
            .map_err(BuildError::Other)?;
        Ok(match finished.status.success() {
            true => self.program_in(folder),
            false => Err(describe_exit(finished.status) + &last_words(&finished.stderr)),
        })
    }
}
