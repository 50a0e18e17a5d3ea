//! Files that appear whole or not at all.
//!
//! A model is written beside its final name, flushed to the disk and renamed. A killed writer
//! leaves only a temporary file, which the next writer in that folder removes once it has not
//! been touched for [`STALE_AFTER`]. Writers of the same file do not disturb each other: each has
//! its own temporary file, and the last rename wins.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::ModelError;

/// A writer touches its file many times a second; one that paused this long is dead.
const STALE_AFTER: Duration = Duration::from_secs(15 * 60);
/// Folders of downloads do not show when something inside was written.
const STALE_FOLDER_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Begins the name of every temporary file and folder.
pub(crate) const PREFIX: &str = ".ggufbench-";
const SUFFIX: &str = ".tmp";

/// A file under construction. Dropping it without [`AtomicFile::commit`] removes it.
pub(crate) struct AtomicFile {
    temp: NamedTempFile,
    target: PathBuf,
}

impl AtomicFile {
    /// Starts a file that will become `target`, in the same folder, which is made when missing.
    pub fn create(target: &Path) -> Result<Self, ModelError> {
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let failed = |source| ModelError::Write {
            path: target.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        remove_stale(folder);
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        // tempfile's default is private to the user; models may be shared, so the umask decides.
        #[cfg(unix)]
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        builder.permissions(permissions);
        Ok(Self {
            temp: builder.tempfile_in(folder).map_err(failed)?,
            target: target.to_owned(),
        })
    }

    /// Where the bytes are for now, for writers that open the file themselves.
    pub fn temp_path(&self) -> &Path {
        self.temp.path()
    }

    /// Flushes to the disk and gives the file its name, replacing an older one.
    pub fn commit(self) -> Result<(), ModelError> {
        let Self { temp, target } = self;
        let failed = |source| ModelError::Write {
            path: target.clone(),
            source,
        };
        // Opened again by name, since another writer may have replaced what our handle points to.
        fs::OpenOptions::new()
            .write(true)
            .open(temp.path())
            .and_then(|file| file.sync_all())
            .map_err(failed)?;
        temp.persist(&target).map_err(|e| failed(e.error))?;
        // The rename itself must survive a power cut too; only Unix can sync a folder.
        #[cfg(unix)]
        if let Some(parent) = target.parent().filter(|p| !p.as_os_str().is_empty()) {
            let _ = fs::File::open(parent).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temp.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.as_file_mut().flush()
    }
}

/// Failures are ignored: a leftover costs space, not correctness.
fn remove_stale(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
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

/// Refuses what the file system has no room for; says nothing where it cannot be asked.
pub(crate) fn check_space(target: &Path, needed_bytes: u64) -> Result<(), ModelError> {
    compare_space(target, needed_bytes, free_bytes(target))
}

fn compare_space(target: &Path, needed: u64, free: Option<u64>) -> Result<(), ModelError> {
    match free {
        Some(free_bytes) if free_bytes < needed => Err(ModelError::DiskSpace {
            path: target.to_owned(),
            needed_bytes: needed,
            free_bytes,
        }),
        _ => Ok(()),
    }
}

/// Bytes free for this user where `target` will be: asked of its nearest existing ancestor.
fn free_bytes(target: &Path) -> Option<u64> {
    let absolute = std::path::absolute(target).ok()?;
    let existing = absolute.ancestors().find(|p| p.exists())?;
    let existing = existing.canonicalize().ok()?;
    free_at(&existing)
}

#[cfg(unix)]
#[allow(clippy::unnecessary_cast)] // the fields' widths differ between systems
fn free_at(folder: &Path) -> Option<u64> {
    let path = super::gguf::c_path(folder).ok()?;
    // SAFETY: `statvfs` is plain data, for which zeroes are valid; the path is NUL-terminated and
    // both pointers live for the call.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut stat) == 0).then_some(stat)?
    };
    (stat.f_bavail as u64).checked_mul(stat.f_frsize as u64)
}

#[cfg(not(unix))]
fn free_at(folder: &Path) -> Option<u64> {
    let disks = sysinfo::Disks::new_with_refreshed_list();
    disks
        .iter()
        .filter(|disk| folder.starts_with(disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map(sysinfo::Disk::available_space)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn appears_whole_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new").join("file");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"one").unwrap();
        assert!(!target.exists());
        file.commit().unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn dropped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&dir.path().join("file")).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_old_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join(".ggufbench-old.tmp");
        let live = dir.path().join(".ggufbench-live.tmp");
        let other = dir.path().join("other.tmp");
        let long_ago = SystemTime::now() - STALE_AFTER * 2;
        for path in [&old, &live, &other] {
            fs::write(path, b"x").unwrap();
        }
        for path in [&old, &other] {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        AtomicFile::create(&dir.path().join("file"))
            .unwrap()
            .commit()
            .unwrap();
        assert!(!old.exists());
        assert!(live.exists() && other.exists());
    }

    #[test]
    fn too_little_space_is_refused() {
        let target = Path::new("model.gguf");
        assert!(compare_space(target, 10, Some(10)).is_ok());
        assert!(compare_space(target, 10, None).is_ok());
        let error = compare_space(target, 10, Some(9)).unwrap_err().to_string();
        assert!(
            error.contains("needs 10 bytes") && error.contains("only 9"),
            "{error}"
        );
        let free = free_bytes(&std::env::temp_dir().join("not/yet/there"));
        assert!(free.is_some_and(|bytes| bytes > 0));
    }
}
