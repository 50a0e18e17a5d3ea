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
            Ok(meta) => Ok(Self::of_metadata(path, &meta)),
            Err(source) => Err(absent(path, source)),
        }
    }

    #[cfg(unix)]
    fn of_metadata(_path: &Path, meta: &Metadata) -> Self {
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

    /// Not every file system of Windows tells its files apart: then the rest must do.
    #[cfg(windows)]
    fn of_metadata(path: &Path, meta: &Metadata) -> Self {
        use std::os::windows::fs::MetadataExt;
        let place = windows::place(path);
        Self {
            bytes: meta.len(),
            modified_ns: windows::unix_ns(i64::try_from(meta.last_write_time()).unwrap_or(0)),
            // Scanners of viruses change it when they leave their own marks.
            changed_ns: 0,
            inode: place.map_or(0, |(index, _)| index),
            device: place.map_or(0, |(_, volume)| volume),
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

#[cfg(windows)]
mod windows {
    use std::fs::File;
    use std::os::windows::io::AsRawHandle as _;
    use std::path::Path;

    use windows_sys::Win32::Storage::FileSystem::{
        BY_HANDLE_FILE_INFORMATION, GetFileInformationByHandle,
    };

    /// The number of a file in its volume, and the volume's. Only an open file says them.
    pub(super) fn place(path: &Path) -> Option<(u64, u64)> {
        let file = File::open(path).ok()?;
        let mut place = BY_HANDLE_FILE_INFORMATION::default();
        // SAFETY: the handle is open, and the structure lives through the call.
        let is_known =
            unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut place) } != 0;
        let index = u64::from(place.nFileIndexHigh) << 32 | u64::from(place.nFileIndexLow);
        is_known.then_some((index, place.dwVolumeSerialNumber.into()))
    }

    /// Windows counts in steps of 100 ns from 1601; 0 where it does not know.
    pub(super) fn unix_ns(time: i64) -> i64 {
        const FROM_1601: i64 = 11_644_473_600 * 10_000_000;
        match time {
            0 => 0,
            time => time.saturating_sub(FROM_1601).saturating_mul(100),
        }
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
