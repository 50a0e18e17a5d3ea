//! Temporary files and folders beside what is being made, and those that killed writers left behind.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};

use super::WriteError;

/// A writer touches its file many times a second; one that paused this long is dead.
const STALE_AFTER: Duration = Duration::from_secs(15 * 60);
/// Folders of downloads do not show when something inside was written.
const STALE_FOLDER_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Around the random characters of every temporary name.
const PREFIX: &str = ".ggufbench-";
const SUFFIX: &str = ".tmp";
const N_RANDOM: usize = 6;

/// A file that is gone when it is dropped. Unlike tempfile's own, it is as readable as the umask has it: what becomes of it may
/// be shared.
pub(super) fn scratch_file(folder: &Path) -> io::Result<NamedTempFile> {
    remove_stale(folder);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(N_RANDOM);
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.tempfile_in(folder)
}

/// A folder for what is gathered before a file is made, gone when it is dropped.
pub fn scratch_folder(folder: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(N_RANDOM);
    builder.tempdir_in(folder)
}

/// The folder in which a path names something.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the folder of a file that will be written.
pub fn make_folder_of(path: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(folder_of(path)).map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Failures are ignored: a leftover costs space, not correctness.
fn remove_stale(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !is_scratch(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let Ok(meta) = entry.metadata() else { continue };
        let age = meta.modified().ok().and_then(|at| at.elapsed().ok());
        let older = |limit| age.is_some_and(|age| age > limit);
        if meta.is_dir() && older(STALE_FOLDER_AFTER) {
            let _ = fs::remove_dir_all(entry.path());
        } else if meta.is_file() && older(STALE_AFTER) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a name is one of ours, and cannot well be somebody else's.
fn is_scratch(name: &str) -> bool {
    let random = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| {
        random.len() == N_RANDOM && random.chars().all(|c| c.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_old_leftovers_of_our_own_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let gone = [".ggufbench-a1B2c3.tmp"];
        let kept = [
            ".ggufbench-notes.tmp",
            ".ggufbench-a1B2c3",
            ".ggufbench-my-own.tmp",
            "other.tmp",
        ];
        for name in gone.iter().chain(&kept) {
            fs::write(path(name), b"x").unwrap();
            let file = fs::OpenOptions::new().write(true).open(path(name)).unwrap();
            file.set_modified(SystemTime::now() - STALE_AFTER * 2)
                .unwrap();
        }
        let live = scratch_file(dir.path()).unwrap();
        let other = scratch_file(dir.path()).unwrap();
        assert!(live.path().exists() && other.path().exists());
        assert!(gone.iter().all(|name| !path(name).exists()));
        assert!(kept.iter().all(|name| path(name).exists()));
    }
}
