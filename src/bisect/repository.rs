//! The checkout whose revisions are searched. It is only read: files are written into folders elsewhere, by way of an index of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Revision {
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
}

impl Revision {
    /// The beginning of its hash, as people name it.
    pub fn short(&self) -> &str {
        self.commit.get(..10).unwrap_or(&self.commit)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Repository {
    folder: PathBuf,
    git_dir: PathBuf,
}

impl Repository {
    /// The checkout at a folder.
    ///
    /// # Errors
    /// When there is none, or no git.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut repository = Self {
            folder: folder.to_owned(),
            git_dir: PathBuf::new(),
        };
        let git_dir = repository.git(&["rev-parse", "--absolute-git-dir"])?;
        repository.git_dir = PathBuf::from(git_dir);
        Ok(repository)
    }

    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The commit that a name stands for.
    ///
    /// # Errors
    /// When it stands for none.
    pub fn resolve(&self, name: &str) -> Result<Revision> {
        let commit = self.git(&[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &format!("{name}^{{commit}}"),
        ]);
        let commit = commit.with_context(|| {
            format!(
                "{}: '{name}' is no revision of this checkout",
                self.folder.display()
            )
        })?;
        let subject = self.git(&["log", "-1", "--format=%s", &commit])?;
        Ok(Revision { commit, subject })
    }

    /// The revisions after `good` up to `bad`, along first parents, the oldest first.
    ///
    /// # Errors
    /// When `good` is no ancestor of `bad`, or the same.
    pub fn between(&self, good: &Revision, bad: &Revision) -> Result<Vec<Revision>> {
        ensure!(
            good.commit != bad.commit,
            "--good and --bad are the same commit, {}",
            good.short()
        );
        self.git(&["merge-base", "--is-ancestor", &good.commit, &bad.commit])
            .map_err(|_| {
                anyhow::anyhow!(
                    "--good {} is no ancestor of --bad {}: name their merge base as the good one",
                    good.short(),
                    bad.short()
                )
            })?;
        let range = format!("{}..{}", good.commit, bad.commit);
        let listed = self.git(&[
            "log",
            "--first-parent",
            "--reverse",
            "--format=%H %s",
            &range,
        ])?;
        let revision = |line: &str| {
            let (commit, subject) = line.split_once(' ').unwrap_or((line, ""));
            Revision {
                commit: commit.to_owned(),
                subject: subject.to_owned(),
            }
        };
        Ok(listed.lines().map(revision).collect())
    }

    /// Whether a revision has a file.
    pub fn has(&self, revision: &Revision, path: &str) -> bool {
        let object = format!("{}:{path}", revision.commit);
        self.git(&["cat-file", "-e", &object]).is_ok()
    }

    /// Writes the files of a revision into a folder. Submodules stay empty.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write_files(&self, revision: &Revision, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot make the folder", folder.display()))?;
        let index = folder.with_extension("index");
        let mut command = self.command();
        command
            .env("GIT_INDEX_FILE", &index)
            .arg("--git-dir")
            .arg(&self.git_dir)
            .arg("--work-tree")
            .arg(folder)
            .args(["read-tree", "--reset", "-u", &revision.commit]);
        let written = said(command);
        // It is made anew each time.
        let _ = std::fs::remove_file(&index);
        written.map(drop)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.folder);
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        command
    }

    fn git(&self, args: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.args(args);
        said(command)
    }
}

/// What git prints.
fn said(mut command: Command) -> Result<String> {
    let output = command.output().context("git cannot be started")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.trim().replace('\n', "; ");
        bail!("git: {reason}");
    }
    let text = String::from_utf8(output.stdout).context("git printed no text")?;
    Ok(text.trim_end().to_owned())
}
