//! The folder a run gets.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::record::jsonl;

/// Fails, and leaves no trace, when a run's folder could not be made in `out`.
///
/// # Errors
/// With the folder's name.
pub fn check_writable(out: &Path) -> Result<()> {
    let existing = out
        .ancestors()
        .map(|p| {
            if p.as_os_str().is_empty() {
                Path::new(".")
            } else {
                p
            }
        })
        // A link to nothing is there, and nothing can be made in it.
        .find(|p| p.symlink_metadata().is_ok())
        .unwrap_or(Path::new("."));
    tempfile::tempfile_in(existing)
        .map(drop)
        .with_context(|| format!("{}: cannot write there", out.display()))
}

/// A run's folder, and what had to be made for it.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Every folder that was made, the topmost first.
    made: Vec<PathBuf>,
}

impl Folder {
    /// Makes a folder for a run in `out`, which is made too where it is missing.
    ///
    /// # Errors
    /// When it cannot be made; nothing is left behind then.
    pub fn create(out: &Path, name: &str) -> Result<Self> {
        let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S");
        Self::create_named(out, &format!("{stamp}-{name}"))
    }

    /// The same with the whole name, which gets a number where it is taken.
    ///
    /// # Errors
    /// When it cannot be made; nothing is left behind then.
    pub fn create_named(out: &Path, name: &str) -> Result<Self> {
        let mut folder = Self {
            path: PathBuf::new(),
            made: Vec::new(),
        };
        folder.fill(out, name).inspect_err(|_| folder.remove())?;
        Ok(folder)
    }

    fn fill(&mut self, out: &Path, name: &str) -> Result<()> {
        let missing: Vec<&Path> = out
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
            .collect();
        for path in missing.into_iter().rev() {
            self.make(path)?;
        }
        for n in 1..100 {
            let suffix = if n == 1 {
                String::new()
            } else {
                format!("-{n}")
            };
            let path = out.join(format!("{name}{suffix}"));
            if !path.exists() {
                self.make(&path)?;
                self.path = path;
                return Ok(());
            }
        }
        bail!("{}: a hundred runs are called {name}", out.display())
    }

    /// Makes a folder inside it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn inner(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        self.make(&path)?;
        Ok(path)
    }

    fn make(&mut self, path: &Path) -> Result<()> {
        fs::create_dir(path)
            .with_context(|| format!("{}: cannot make the folder", path.display()))?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// The result of filling the folder; removed again when that fails, so that bad luck leaves no trace.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn keep_if<T>(&self, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        fill(&self.path).inspect_err(|_| {
            // What cannot be removed stays; the error that matters is the first.
            for made in &self.made {
                let _ = fs::remove_file(made.join(jsonl::FILE_NAME));
            }
            self.remove();
        })
    }

    fn remove(&self) {
        for path in self.made.iter().rev() {
            // Only empty folders of our own making go.
            let _ = fs::remove_dir(path);
        }
    }
}
