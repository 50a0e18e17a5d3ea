//! The one writer of files that people name.
//!
//! A regular file appears whole or not at all: it is written beside its final name and renamed. A killed writer leaves only a
//! temporary file, which the next writer in that folder removes when it is old. Writers of the same file do not disturb each other:
//! each has its own temporary file, and the last rename wins.
//!
//! What is no regular file is never replaced: devices, pipes and terminals are written to. Of a link, the file that it names is
//! replaced and the link stays. A replaced file's permissions and owner are kept, and one that is protected against writing stays.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::scratch::{folder_of, scratch_file};
use super::target::{OutputStream, OutputTarget};

/// How much of a file shows whose it is.
const HEAD_BYTES: u64 = 8 << 10;

/// Which file that is there already may be replaced.
#[derive(Debug, Clone, Copy)]
pub enum Replace {
    /// None, unless it is empty and somebody made it for this.
    Never,
    /// One that this program wrote, as its beginning shows.
    Own(fn(&str) -> bool),
    Always,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{}: exists; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// It is there, and was not written by this program.
    #[error("{}: exists, and ggufbench did not write it; --force replaces it", .0.display())]
    Foreign(PathBuf),
    #[error("{}: is a folder; name a file", .0.display())]
    Folder(PathBuf),
    #[error("{}: is a disk, and what is on it would be lost; name a file", .0.display())]
    Disk(PathBuf),
    /// A stream, where a file is needed.
    #[error("{}: is no regular file, as a model must be; name a file", .0.display())]
    Stream(PathBuf),
    #[error("{}: cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io { source, .. } => source,
            other => Self::other(other),
        }
    }
}

/// A file under construction. Dropping it without [`OutputFile::commit`] leaves what was there before; of a stream, what was
/// written is gone.
#[derive(Debug)]
pub struct OutputFile {
    /// As the user has it, for messages.
    path: PathBuf,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Beside(Beside),
    Through { file: File, is_over: bool },
}

#[derive(Debug)]
struct Beside {
    temp: NamedTempFile,
    /// The file that gets the bytes, links followed.
    target: PathBuf,
    replace: Replace,
    old: Option<Box<Metadata>>,
}

/// Says no before any work is done.
pub fn check(path: &Path, replace: Replace) -> Result<(), WriteError> {
    look(path, replace).map(drop)
}

fn look(path: &Path, replace: Replace) -> Result<OutputTarget, WriteError> {
    let failed = |source| io_error(path, source);
    let target = OutputTarget::of(path).map_err(failed)?;
    match &target {
        OutputTarget::Folder => return Err(WriteError::Folder(path.to_owned())),
        OutputTarget::Disk => return Err(WriteError::Disk(path.to_owned())),
        OutputTarget::File(file, old) => {
            if old.len() > 0 {
                may_replace(path, file, replace)?;
            }
            // Renaming needs no right to write to the file: its owner has protected it, and means it.
            OpenOptions::new().write(true).open(file).map_err(failed)?;
        }
        OutputTarget::New(_) | OutputTarget::Stream(_) => {}
    }
    Ok(target)
}

fn may_replace(path: &Path, file: &Path, replace: Replace) -> Result<(), WriteError> {
    match replace {
        Replace::Always => Ok(()),
        Replace::Never => Err(WriteError::Exists(path.to_owned())),
        Replace::Own(is_ours) => {
            let mut head = Vec::new();
            File::open(file)
                .and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head))
                .map_err(|source| io_error(path, source))?;
            match is_ours(&String::from_utf8_lossy(&head)) {
                true => Ok(()),
                false => Err(WriteError::Foreign(path.to_owned())),
            }
        }
    }
}

impl OutputFile {
    /// Starts a file that will become `path`, whose folder is there.
    pub fn create(path: &Path, replace: Replace) -> Result<Self, WriteError> {
        let failed = |source| io_error(path, source);
        let (target, old) = match look(path, replace)? {
            OutputTarget::New(target) => (target, None),
            OutputTarget::File(target, old) => (target, Some(old)),
            OutputTarget::Stream(stream) => return Self::through(path, stream).map_err(failed),
            OutputTarget::Folder => return Err(WriteError::Folder(path.to_owned())),
            OutputTarget::Disk => return Err(WriteError::Disk(path.to_owned())),
        };
        let way = match (scratch_file(folder_of(&target)), &old) {
            (Ok(temp), _) => Way::Beside(Beside {
                temp,
                target,
                replace,
                old: old.map(Box::new),
            }),
            // A file of the user's in a folder of others: in place is the only way.
            (Err(e), Some(_)) if is_closed_folder(&e) => Way::Through {
                file: OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(&target)
                    .map_err(failed)?,
                is_over: false,
            },
            (Err(e), _) => return Err(failed(e)),
        };
        Ok(Self {
            path: path.to_owned(),
            way,
        })
    }

    fn through(path: &Path, stream: OutputStream) -> io::Result<Self> {
        let file = match stream {
            OutputStream::Open(file) => file,
            // Waits for the reader of a pipe, as a shell does.
            OutputStream::Named(name) => OpenOptions::new().append(true).open(name)?,
        };
        Ok(Self {
            path: path.to_owned(),
            way: Way::Through {
                file,
                is_over: false,
            },
        })
    }

    /// Where the bytes are for now, for writers that open the file themselves.
    pub fn temp_path(&self) -> Result<&Path, WriteError> {
        match &self.way {
            Way::Beside(beside) => Ok(beside.temp.path()),
            Way::Through { .. } => Err(WriteError::Stream(self.path.clone())),
        }
    }

    /// Flushes to the disk and gives the file its name, replacing an older one.
    pub fn commit(self) -> Result<(), WriteError> {
        self.finish(true)
    }

    /// The same, but for what can be made again: a power cut may take it.
    pub fn commit_unsynced(self) -> Result<(), WriteError> {
        self.finish(false)
    }

    fn finish(self, sync: bool) -> Result<(), WriteError> {
        let Self { path, way } = self;
        match way {
            Way::Beside(beside) => beside.persist(&path, sync),
            Way::Through { mut file, .. } => file.flush().map_err(|e| io_error(&path, e)),
        }
    }
}

impl Beside {
    fn persist(self, path: &Path, sync: bool) -> Result<(), WriteError> {
        let Self {
            temp,
            target,
            replace,
            old,
        } = self;
        let failed = |source| io_error(path, source);
        if let Some(old) = &old {
            keep_rights(temp.path(), old);
        }
        if sync {
            // Opened again by name, since another writer may have replaced what our handle points to.
            let written = OpenOptions::new().write(true).open(temp.path());
            written.and_then(|file| file.sync_all()).map_err(failed)?;
        }
        let named = match (replace, &old) {
            // Nothing was there: what came meanwhile is not ours to replace.
            (Replace::Never, None) => temp.persist_noclobber(&target),
            _ => temp.persist(&target),
        };
        match named {
            Ok(_) => {}
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {
                return Err(WriteError::Exists(path.to_owned()));
            }
            // A single file that is mounted, as containers have it, cannot be renamed over.
            Err(e) if e.error.kind() == ErrorKind::ResourceBusy => {
                fs::copy(e.file.path(), &target).map_err(failed)?;
            }
            Err(e) => return Err(failed(e.error)),
        }
        // The rename itself must survive a power cut too; only Unix can sync a folder.
        #[cfg(unix)]
        if sync {
            let _ = File::open(folder_of(&target)).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.way {
            Way::Beside(beside) => beside.temp.as_file_mut().write(bytes),
            Way::Through { is_over: true, .. } => Ok(bytes.len()),
            Way::Through { file, is_over } => match file.write(bytes) {
                // A reader that has seen enough is no error.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                    *is_over = true;
                    Ok(bytes.len())
                }
                other => other,
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.way {
            Way::Beside(beside) => beside.temp.as_file_mut().flush(),
            Way::Through { file, .. } => file.flush(),
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> WriteError {
    WriteError::Io {
        path: path.to_owned(),
        source,
    }
}

fn is_closed_folder(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}

/// Gives a new file the rights of the one it replaces, as far as this user may.
fn keep_rights(new: &Path, old: &Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let _ = chown(new, Some(old.uid()), Some(old.gid()));
        // Not what makes a program run as another user.
        let _ = fs::set_permissions(new, fs::Permissions::from_mode(old.mode() & 0o777));
    }
    #[cfg(not(unix))]
    let _ = fs::set_permissions(new, old.permissions());
}

#[cfg(test)]
mod tests;
