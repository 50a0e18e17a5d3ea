//! Folders and patterns: which of their files are models. A file that cannot be used is left out and named; only a file that
//! was named itself is an error.

use std::fs;
use std::path::{Path, PathBuf};

use super::names::first_part;
use super::{ModelError, ModelFacts};
use crate::text::plain;

const NAMED_FILES: usize = 40;

/// Most subfolders that are looked into, and most names that are read of each.
const SUBFOLDERS: usize = 64;
const SUBFOLDER_ENTRIES: usize = 256;

/// What begins a wildcard of a pattern.
pub(super) const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Models found, in the order of their names.
#[derive(Default)]
pub(super) struct Scan {
    pub models: Vec<ModelFacts>,
    /// Every file that was left out, with its reason.
    left_out: Vec<String>,
    /// Names of folders inside with models, which were not searched.
    subfolders: Vec<String>,
}

/// Reads every model of a folder; its subfolders are not searched.
pub(super) fn folder(spec: &str, folder: &Path) -> Result<Scan, ModelError> {
    let unreadable = |source| ModelError::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut scan = Scan::default();
    let mut paths = Vec::new();
    let mut has_subfolders = false;
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if has_ending(&path) {
            paths.push(path);
        } else if path.is_dir() {
            has_subfolders = true;
            scan.note_subfolder(&path);
        }
    }
    scan.subfolders.sort();
    if paths.is_empty() {
        return Err(ModelError::EmptyFolder {
            path: folder.to_owned(),
            subfolders: match has_subfolders {
                true => format!("; {}", scan.about_subfolders(spec)),
                false => String::new(),
            },
        });
    }
    scan.read_all(paths);
    scan.unless_empty(spec)
}

/// Reads every model that a pattern means.
pub(super) fn pattern(pattern: &str) -> Result<Scan, ModelError> {
    let matches = glob::glob(pattern).map_err(|e| ModelError::BadSpec {
        spec: pattern.to_owned(),
        detail: format!("bad pattern: {e}"),
    })?;
    let mut scan = Scan::default();
    let mut paths = hidden_from_patterns(pattern);
    for found in matches {
        match found {
            Ok(path) => paths.push(path),
            Err(e) => scan.leave_out(e.path(), &format!("cannot be read: {}", e.error())),
        }
    }
    paths.retain(|path| has_ending(path));
    if paths.is_empty() && scan.left_out.is_empty() {
        return Err(ModelError::NoMatch {
            spec: pattern.to_owned(),
        });
    }
    scan.read_all(paths);
    scan.unless_empty(pattern)
}

impl Scan {
    /// What was left out, in one line; `None` when nothing was.
    pub fn note(&self, spec: &str) -> Option<String> {
        let mut said = Vec::new();
        if !self.left_out.is_empty() {
            said.push(format!("left out {}", self.list()));
        }
        if !self.subfolders.is_empty() {
            said.push(self.about_subfolders(spec));
        }
        (!said.is_empty()).then(|| format!("{}: {}", plain(spec), said.join("; ")))
    }

    fn about_subfolders(&self, spec: &str) -> String {
        let named = match &self.subfolders[..] {
            [] => String::new(),
            names => format!(" ({})", names.join(", ")),
        };
        let folder = plain(spec.trim_end_matches('/'));
        format!("subfolders are not searched{named}: name one, or '{folder}/**/*.gguf'")
    }

    fn read_all(&mut self, mut paths: Vec<PathBuf>) {
        paths.sort();
        paths.dedup();
        for path in paths {
            // A later part belongs to its first one, where that is.
            let belongs_to = first_part(&path);
            if belongs_to.as_deref().is_some_and(Path::is_file) {
                continue;
            }
            match read(&path) {
                Ok(facts) => self.models.push(facts),
                Err(ModelError::LaterPart { part, .. }) => {
                    let reason =
                        format!("part {part} of a split model whose first part is not here");
                    self.leave_out(&path, &reason);
                }
                Err(e) => self.leave_out(&path, &reason(&e, &path)),
            }
        }
    }

    fn leave_out(&mut self, path: &Path, reason: &str) {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = name.to_string_lossy();
        self.left_out.push(plain(&format!("{name} ({reason})")));
    }

    fn list(&self) -> String {
        let mut list: Vec<&str> = self.left_out.iter().map(String::as_str).collect();
        let more = list.len().saturating_sub(NAMED_FILES);
        list.truncate(NAMED_FILES);
        let list = list.join(", ");
        match more {
            0 => list,
            n => format!("{list} and {n} more"),
        }
    }

    /// Remembers a subfolder that has models itself.
    fn note_subfolder(&mut self, folder: &Path) {
        if self.subfolders.len() == SUBFOLDERS {
            return;
        }
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths = entries.take(SUBFOLDER_ENTRIES).map(|entry| entry.path());
        if paths.any(|path| has_ending(&path) && path.is_file()) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            self.subfolders.push(plain(&name));
        }
    }

    fn unless_empty(self, spec: &str) -> Result<Self, ModelError> {
        if self.models.is_empty() {
            return Err(ModelError::NothingUsable {
                spec: plain(spec),
                left_out: self.list(),
            });
        }
        Ok(self)
    }
}

/// The facts of a file whose path the record can name.
pub(super) fn read(path: &Path) -> Result<ModelFacts, ModelError> {
    if path.to_str().is_none() {
        return Err(ModelError::NotUtf8 {
            path: path.to_owned(),
        });
    }
    ModelFacts::read(path)
}

/// The error without the path at its beginning, unless it is about another file.
fn reason(error: &ModelError, path: &Path) -> String {
    let text = error.to_string();
    let begins = format!("{}: ", path.display());
    text.strip_prefix(&begins).unwrap_or(&text).to_owned()
}

fn has_ending(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

/// Files that a pattern means and its library does not see, since their names are not UTF-8. Only in a folder that the
/// pattern names without wildcards.
fn hidden_from_patterns(pattern: &str) -> Vec<PathBuf> {
    let (folder, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    let folder = if folder.is_empty() { "/" } else { folder };
    let Ok(name) = glob::Pattern::new(name) else {
        return Vec::new();
    };
    if folder.contains(WILDCARDS) {
        return Vec::new();
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let file = entry.file_name();
            file.to_str().is_none() && name.matches(&file.to_string_lossy())
        })
        .map(|entry| entry.path())
        .collect()
}
