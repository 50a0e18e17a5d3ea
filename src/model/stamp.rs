//! What the system says of a file without reading it. A file whose stamp has not changed has the bytes it had.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ModelError;

/// Size, times and place of a file. Modification times can be set by anyone; the time of the last change of the inode
/// cannot, and a file that took another's name has an inode of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    pub bytes: u64,
    /// When the contents were last written, nanoseconds since 1970.
    pub modified_ns: i64,
    /// When contents, name or permissions last changed; 0 where the system does not say.
    pub changed_ns: i64,
    /// The file's number in its file system; 0 where the system does not say.
    pub inode: u64,
    /// The file system's number; 0 where the system does not say.
    pub device: u64,
}

impl FileStamp {
    /// Asks the system; symbolic links are followed.
    ///
    /// # Errors
    /// [`ModelError::Missing`], [`ModelError::BrokenLink`] or [`ModelError::Unreadable`].
    pub fn of(path: &Path) -> Result<Self, ModelError> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Self::of_metadata(&meta)),
            Err(source) => Err(absent(path, source)),
        }
    }

    #[cfg(unix)]
    fn of_metadata(meta: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let ns = |seconds: i64, nanoseconds: i64| {
            seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(nanoseconds)
        };
        Self {
            bytes: meta.len(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            device: meta.dev(),
        }
    }

    #[cfg(not(unix))]
    fn of_metadata(meta: &Metadata) -> Self {
        let modified = meta.modified().ok();
        let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        Self {
            bytes: meta.len(),
            modified_ns: since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
            changed_ns: 0,
            inode: 0,
            device: 0,
        }
    }

    /// What happened to a file that has had this stamp, in words.
    #[must_use]
    pub fn difference(&self, now: &Self) -> String {
        if now.bytes != self.bytes {
            format!("it had {} bytes and has {}", self.bytes, now.bytes)
        } else if (now.inode, now.device) != (self.inode, self.device) {
            "another file has its name".to_owned()
        } else {
            "it was written to".to_owned()
        }
    }
}

/// Why there is nothing to read: no file, a link to nowhere, or the system's reason.
pub(super) fn absent(path: &Path, source: io::Error) -> ModelError {
    let path = path.to_owned();
    if source.kind() != io::ErrorKind::NotFound {
        return ModelError::Unreadable { path, source };
    }
    match fs::read_link(&path) {
        Ok(target) => ModelError::BrokenLink { path, target },
        Err(_) => ModelError::Missing { path },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_edits_copies_and_lengths_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "abc").unwrap();
        let first = FileStamp::of(&path).unwrap();
        assert_eq!(FileStamp::of(&path).unwrap(), first);
        fs::write(&path, "abcd").unwrap();
        let longer = FileStamp::of(&path).unwrap();
        assert_eq!(first.difference(&longer), "it had 3 bytes and has 4");
        let other = dir.path().join("b");
        fs::write(&other, "abcd").unwrap();
        fs::rename(&other, &path).unwrap();
        let replaced = FileStamp::of(&path).unwrap();
        if cfg!(unix) {
            assert_ne!(replaced, longer);
            assert_eq!(longer.difference(&replaced), "another file has its name");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_edit_that_keeps_the_modification_time_changes_the_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "abc").unwrap();
        let first = FileStamp::of(&path).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        // Until the file system's clock ticks, which takes milliseconds.
        let mut now = first;
        while now == first {
            fs::write(&path, "xyz").unwrap();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
            drop(file);
            now = FileStamp::of(&path).unwrap();
        }
        assert_eq!(
            (now.bytes, now.modified_ns),
            (first.bytes, first.modified_ns)
        );
        assert_eq!(first.difference(&now), "it was written to");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_is_said_to_be_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link.gguf");
        std::os::unix::fs::symlink("gone.gguf", &path).unwrap();
        let error = FileStamp::of(&path).unwrap_err();
        assert!(matches!(error, ModelError::BrokenLink { .. }), "{error}");
        let error = FileStamp::of(&dir.path().join("none")).unwrap_err();
        assert!(matches!(error, ModelError::Missing { .. }), "{error}");
    }
}
