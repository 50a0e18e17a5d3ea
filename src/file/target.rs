//! What stands where a file is to be written: nothing, a file, a link, or something that is written to and never replaced.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

pub(super) enum OutputTarget {
    /// Nothing yet: the file that a link may name.
    New(PathBuf),
    File(PathBuf, Metadata),
    /// A terminal, a pipe, a device or a socket, or a file that this process has open already: bytes go through it.
    Stream(OutputStream),
    Folder,
    /// A disk: writing to it would destroy what is on it.
    Disk,
}

pub(super) enum OutputStream {
    Named(PathBuf),
    /// By a descriptor that is open already; its position is shared.
    Open(File),
}

/// Most links in a row, as Linux has it.
const MOST_LINKS: usize = 40;

impl OutputTarget {
    /// Looks, and changes nothing.
    pub fn of(path: &Path) -> io::Result<Self> {
        if is_named_device(path) {
            return Ok(Self::Stream(OutputStream::Named(path.to_owned())));
        }
        let hops = hops(path)?;
        if let Some(open) = hops.iter().find_map(|hop| descriptor(hop)) {
            return open.map(Self::Stream);
        }
        let end = hops
            .into_iter()
            .next_back()
            .unwrap_or_else(|| path.to_owned());
        let found = match fs::metadata(&end) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::New(end)),
            Err(e) => return Err(e),
        };
        Ok(if found.is_dir() {
            Self::Folder
        } else if let Some(open) = standard_stream(&found) {
            Self::Stream(OutputStream::Open(open))
        } else if found.is_file() {
            Self::File(end, found)
        } else if is_disk(&found) {
            Self::Disk
        } else {
            Self::Stream(OutputStream::Named(end))
        })
    }
}

/// Whether Windows knows this name in every folder as that of a device, which has no metadata: `NUL`, whose bytes are gone, and the console.
fn is_named_device(path: &Path) -> bool {
    const NAMES: [&str; 3] = ["nul", "con", "conout$"];
    let is_it = |name: &std::ffi::OsStr| NAMES.iter().any(|n| name.eq_ignore_ascii_case(n));
    cfg!(windows) && path.file_name().is_some_and(is_it)
}

/// Whether a path names something that bytes go through: no file can stand beside it, and nothing is kept in it.
pub fn is_stream(path: &Path) -> bool {
    matches!(OutputTarget::of(path), Ok(OutputTarget::Stream(_)))
}

/// Whether what is written to a path comes out of this program's standard output.
pub fn is_standard_output(path: &Path) -> bool {
    let is_named = || {
        let hops = hops(path).unwrap_or_default();
        hops.iter().any(|hop| descriptor_number(hop) == Some(1))
    };
    let is_same_file = || {
        let found = fs::metadata(path).ok().filter(Metadata::is_file);
        found.is_some_and(|found| is_open_as(1, &found).is_some())
    };
    is_named() || is_same_file()
}

/// The path, and those that links lead to, to the last.
fn hops(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut hops = vec![path.to_owned()];
    for _ in 0..MOST_LINKS {
        let last = &hops[hops.len() - 1];
        // What the system's own folders of descriptors lead to need not have a name.
        let is_link = fs::symlink_metadata(last).is_ok_and(|m| m.is_symlink());
        if !is_link || descriptor_number(last).is_some() {
            return Ok(hops);
        }
        let next = fs::read_link(last)?;
        hops.push(match last.parent() {
            Some(folder) => folder.join(next),
            None => next,
        });
    }
    Err(io::Error::other("too many links"))
}

/// The number in `/dev/fd/3` and its like.
fn descriptor_number(path: &Path) -> Option<u32> {
    if !cfg!(unix) {
        return None;
    }
    let of_process = format!("/proc/{}/fd", std::process::id());
    match path.to_str()? {
        "/dev/stdin" => Some(0),
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        text => [
            "/dev/fd",
            "/proc/self/fd",
            "/proc/thread-self/fd",
            of_process.as_str(),
        ]
        .iter()
        .find_map(|folder| text.strip_prefix(folder)?.strip_prefix('/')?.parse().ok()),
    }
}

/// The descriptor that a path names. Opened anew by name, a file would be cut, and its writers would overwrite each other.
fn descriptor(path: &Path) -> Option<io::Result<OutputStream>> {
    let number = descriptor_number(path)?;
    #[cfg(unix)]
    if let 1 | 2 = number {
        return Some(duplicate(number).map(OutputStream::Open));
    }
    let _ = number;
    Some(Ok(OutputStream::Named(path.to_owned())))
}

#[cfg(unix)]
fn duplicate(number: u32) -> io::Result<File> {
    use std::os::fd::AsFd as _;
    let owned = match number {
        1 => io::stdout().as_fd().try_clone_to_owned(),
        _ => io::stderr().as_fd().try_clone_to_owned(),
    };
    owned.map(File::from)
}

/// Standard output or error, where it is this very file: `report --csv cells.csv > cells.csv`.
fn standard_stream(found: &Metadata) -> Option<File> {
    [1, 2]
        .into_iter()
        .find_map(|number| is_open_as(number, found))
}

#[cfg(unix)]
fn is_open_as(number: u32, found: &Metadata) -> Option<File> {
    use std::os::unix::fs::MetadataExt as _;
    let open = duplicate(number).ok()?;
    let of = open.metadata().ok()?;
    ((of.dev(), of.ino()) == (found.dev(), found.ino())).then_some(open)
}

#[cfg(not(unix))]
fn is_open_as(_: u32, _: &Metadata) -> Option<File> {
    None
}

#[cfg(unix)]
fn is_disk(found: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    found.file_type().is_block_device()
}

#[cfg(not(unix))]
fn is_disk(_: &Metadata) -> bool {
    false
}
