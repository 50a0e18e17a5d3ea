//! The file of a run: appended to and flushed line by line, read whole or by line, mended when the
//! last line was cut by a crash.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Line, PairSide, RunHeader, SCHEMA_VERSION};
use crate::text::quoted;

/// Name of the record inside a run's folder.
pub const FILE_NAME: &str = "run.jsonl";

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system said no.
    #[error("{path}: {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Its reason.
        source: std::io::Error,
    },
    /// Another process is writing it.
    #[error("{0}: another ggufbench is writing this run; wait for it, or end it")]
    InUse(PathBuf),
    /// A line that is no record of ours.
    #[error("{path}:{line}: not a line of a run: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The file does not begin with a run's header.
    #[error("{0}: is no run: its first line is no `run` header")]
    NoHeader(PathBuf),
    /// The folder of two runs that were measured in turns.
    #[error(
        "{0}: holds a pair of runs; name one of its sides, `ggufbench report {0}/a`, or compare them, `ggufbench compare {0}`"
    )]
    Pair(String),
    /// Written by a later version.
    #[error(
        "{path}: has schema {found}, this program reads up to {SCHEMA_VERSION}; use a newer ggufbench"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
}

fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io {
        path,
        action,
        source,
    }
}

/// Opens the record for this process alone: the system gives it back when the process ends, however it
/// does.
///
/// Windows' locks would keep readers out too, so there a second writer is refused by the share mode.
fn open_alone(
    options: &mut OpenOptions,
    path: &Path,
    action: &'static str,
) -> Result<File, RecordError> {
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_SHARE_READ: u32 = 1;
        options.share_mode(FILE_SHARE_READ);
    }
    let file = match options.open(path) {
        Ok(file) => file,
        #[cfg(windows)]
        Err(e) if e.raw_os_error() == Some(32) => return Err(RecordError::InUse(path.to_owned())),
        Err(e) => return Err(io(path, action)(e)),
    };
    #[cfg(not(windows))]
    // Where the file system knows no locks there is nothing to take.
    if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
        return Err(RecordError::InUse(path.to_owned()));
    }
    Ok(file)
}

/// The record being written.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    line: Vec<u8>,
}

impl Writer {
    /// A new record in `folder`, which exists; its header is written at once.
    ///
    /// # Errors
    /// [`RecordError::Io`], also when there is one already.
    pub fn create(folder: &Path, header: RunHeader) -> Result<Self, RecordError> {
        let path = folder.join(FILE_NAME);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut writer = Self {
            file: open_alone(&mut options, &path, "cannot create the record")?,
            path,
            line: Vec::new(),
        };
        writer.append(&Line::Run(Box::new(header)))?;
        Ok(writer)
    }

    /// Takes an existing record, and changes nothing yet: [`Writer::mend`] before appending.
    ///
    /// # Errors
    /// [`RecordError::Io`], [`RecordError::InUse`].
    pub fn open(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(FILE_NAME);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(Self {
            file: open_alone(&mut options, &path, "cannot open the record")?,
            path,
            line: Vec::new(),
        })
    }

    /// Takes off a last line that a crash cut short, and goes to the end.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn mend(&mut self) -> Result<(), RecordError> {
        let file = &mut self.file;
        let mut mend = || -> std::io::Result<()> {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes)?;
            let whole = bytes
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::Start(whole as u64)).map(drop)
        };
        mend().map_err(io(&self.path, "cannot mend the record"))
    }

    /// Appends a line, in one write, so that a crash loses at most the line being written.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn append(&mut self, line: &Line) -> Result<(), RecordError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(|e| RecordError::Io {
            path: self.path.clone(),
            action: "cannot write a record line",
            source: e.into(),
        })?;
        self.line.push(b'\n');
        self.file
            .write_all(&self.line)
            .and_then(|()| self.file.flush())
            .map_err(io(&self.path, "cannot write a record line"))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where a run's record is, given its folder or the file itself.
pub fn locate(run: &Path) -> PathBuf {
    if run.is_dir() {
        run.join(FILE_NAME)
    } else {
        run.to_owned()
    }
}

/// Whether this is the folder of a pair, not of a run.
pub fn is_pair(folder: &Path) -> bool {
    let has = |side: PairSide| locate(&folder.join(side.folder())).is_file();
    has(PairSide::A) && has(PairSide::B)
}

/// Reads a record: its header, then every further line to `each`. A last line without its newline is
/// a crash's and left out.
///
/// # Errors
/// [`RecordError`]; a broken line elsewhere is an error, not a gap.
pub fn read(run: &Path, mut each: impl FnMut(Line)) -> Result<RunHeader, RecordError> {
    let path = locate(run);
    if !path.exists() && is_pair(run) {
        return Err(RecordError::Pair(quoted(run)));
    }
    let file = File::open(&path).map_err(io(&path, "cannot open the record"))?;
    let mut reader = BufReader::new(file);
    let mut header = None;
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let n = reader
            .read_until(b'\n', &mut text)
            .map_err(io(&path, "cannot read the record"))?;
        if n == 0 || text.last() != Some(&b'\n') {
            break;
        }
        let line: Line =
            serde_json::from_slice(&text).map_err(|e| {
                match serde_json::from_slice::<SchemaOnly>(&text) {
                    Ok(SchemaOnly { schema }) if schema > SCHEMA_VERSION => RecordError::Newer {
                        path: path.clone(),
                        found: schema,
                    },
                    _ if number == 1 => RecordError::NoHeader(path.clone()),
                    _ => RecordError::Line {
                        path: path.clone(),
                        line: number,
                        reason: e.to_string(),
                    },
                }
            })?;
        match (header.is_some(), line) {
            (false, Line::Run(h)) if h.schema > SCHEMA_VERSION => {
                return Err(RecordError::Newer {
                    path,
                    found: h.schema,
                });
            }
            (false, Line::Run(h)) => header = Some(*h),
            (false, _) => return Err(RecordError::NoHeader(path)),
            (true, line) => each(line),
        }
    }
    header.ok_or(RecordError::NoHeader(path))
}

#[derive(serde::Deserialize)]
struct SchemaOnly {
    schema: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EndLine;

    fn end(elapsed_ns: u64) -> Line {
        Line::End(EndLine {
            ended_at: "2026-01-01T00:00:00+00:00".to_owned(),
            interrupted: false,
            elapsed_ns,
        })
    }

    fn folder_with(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(FILE_NAME), text).expect("writable");
        folder
    }

    fn reason(folder: &tempfile::TempDir) -> String {
        read(folder.path(), |_| {})
            .expect_err("no record")
            .to_string()
    }

    #[test]
    fn a_line_cut_short_is_taken_off_before_going_on() {
        let folder = folder_with("{\"whole\":1}\n{\"cut");
        let mut writer = Writer::open(folder.path()).expect("free");
        let text = std::fs::read_to_string(writer.path()).expect("readable");
        assert!(text.ends_with("{\"cut"), "opening changes nothing");
        writer.mend().expect("mended");
        writer.append(&end(7)).expect("writable");
        let text = std::fs::read_to_string(writer.path()).expect("readable");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "{\"whole\":1}");
        assert!(lines[1].contains("\"elapsed_ns\":7"));
    }

    #[test]
    fn one_writer_at_a_time() {
        let folder = folder_with("");
        let first = Writer::open(folder.path()).expect("free");
        let e = Writer::open(folder.path()).expect_err("taken");
        assert!(matches!(e, RecordError::InUse(_)), "{e}");
        drop(first);
        Writer::open(folder.path()).expect("free again");
    }

    #[test]
    fn what_is_no_run_says_so() {
        assert!(reason(&folder_with("")).contains("is no run"));
        assert!(reason(&folder_with("hello\n")).contains("is no run"));
        let headless = serde_json::to_string(&end(1)).expect("JSON");
        assert!(reason(&folder_with(&format!("{headless}\n"))).contains("is no run"));
        let newer = "{\"kind\":\"run\",\"schema\":99}\n";
        assert!(reason(&folder_with(newer)).contains("has schema 99"));
        let nothing = tempfile::tempdir().expect("a temporary folder");
        assert!(reason(&nothing).contains("cannot open"));
    }
}
