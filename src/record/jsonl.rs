//! The file of a run: appended to and flushed line by line, read whole or by line, mended when the
//! last line was cut by a crash.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Line, PairSide, RunHeader, SCHEMA_VERSION};
use crate::plan::expand::check_recorded;
use crate::plan::protocol::MOST_REPLICATES;
use crate::plan::requests::MOST_REQUESTS;
use crate::plan::{Case, MAX_SEQ};
use crate::request::compared::MOST_SIDES;
use crate::text::{cut_end, plain, quoted};

/// Name of the record inside a run's folder.
pub const FILE_NAME: &str = "run.jsonl";

/// Longest line that is read: the calls of a job of some days.
const MOST_LINE_BYTES: u64 = 256 << 20;

/// Largest record that is read.
const MOST_BYTES: u64 = 8 << 30;

/// Blank lines in a row that are passed over.
const MOST_BLANK_LINES: u32 = 1000;

/// Most requests that a job may have had under way: servers take more than the engine decodes together.
const MOST_AT_ONCE: u32 = 1 << 16;

/// Most rounds of requests in all replicates together.
const MOST_ROUNDS: u64 = MOST_REPLICATES as u64 * 1000;

/// Most jobs that a run of requests may consist of: every job of every round at every target.
const MOST_JOBS: u64 = 100_000_000;

/// Longest reason in a message.
const REASON_COLUMNS: usize = 200;

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what each is.
pub enum RecordError {
    #[error("{path}: {action}: {source}")]
    Io {
        path: PathBuf,
        action: &'static str,
        source: std::io::Error,
    },
    #[error("{0}: another ggufbench is writing this run; wait for it, or end it")]
    InUse(PathBuf),
    #[error("{path}:{line}: not a line of a run: {reason}")]
    Line {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("{0}: is no run: its first line is no `run` header")]
    NoHeader(PathBuf),
    #[error(
        "{0}: holds a pair of runs; name one of its sides, `ggufbench report {0}/a`, or compare them, `ggufbench compare {0}`"
    )]
    Pair(String),
    #[error(
        "{path}: has schema {found}, this program reads up to {SCHEMA_VERSION}; use a newer ggufbench"
    )]
    Newer { path: PathBuf, found: u32 },
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
/// a crash's and left out; a line that stands there again is left out too, and counted in the header.
///
/// # Errors
/// [`RecordError`]; a broken line elsewhere is an error, not a gap.
pub fn read(run: &Path, mut each: impl FnMut(Line)) -> Result<RunHeader, RecordError> {
    let mut lines = RecordReader::open(run)?;
    let mut header = lines.header()?;
    let mut known = SeenLines::default();
    while let Some(line) = lines.next()? {
        if known.has(&lines.text, &line) {
            header.n_repeated_lines = header.n_repeated_lines.saturating_add(1);
        } else {
            each(line);
        }
    }
    Ok(header)
}

/// Reads the first line of a record alone.
pub fn read_header(run: &Path) -> Result<RunHeader, RecordError> {
    RecordReader::open(run)?.header()
}

/// A record being read, line by line.
struct RecordReader {
    path: PathBuf,
    reader: BufReader<File>,
    /// The line that was read last, with its newline.
    text: Vec<u8>,
    number: usize,
    n_bytes: u64,
}

impl RecordReader {
    fn open(run: &Path) -> Result<Self, RecordError> {
        let path = locate(run);
        if !path.exists() && is_pair(run) {
            return Err(RecordError::Pair(quoted(run)));
        }
        let file = File::open(&path).map_err(io(&path, "cannot open the record"))?;
        Ok(Self {
            reader: BufReader::new(file),
            path,
            text: Vec::new(),
            number: 0,
            n_bytes: 0,
        })
    }

    fn header(&mut self) -> Result<RunHeader, RecordError> {
        // Before a line is looked for: what is no record may have no lines, or no end.
        let start = self.reader.fill_buf();
        let start = start.map_err(io(&self.path, "cannot read the record"))?;
        // An editor's byte-order mark.
        let n_mark = if start.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        if start.get(n_mark) != Some(&b'{') {
            return Err(RecordError::NoHeader(self.path.clone()));
        }
        self.reader.consume(n_mark);
        match self.next()? {
            Some(Line::Run(header)) if header.schema > SCHEMA_VERSION => Err(RecordError::Newer {
                path: self.path.clone(),
                found: header.schema,
            }),
            Some(Line::Run(header)) => Ok(*header),
            _ => Err(RecordError::NoHeader(self.path.clone())),
        }
    }

    fn next(&mut self) -> Result<Option<Line>, RecordError> {
        let mut n = self.next_text()?;
        // Editors and joined files leave blank lines.
        for _ in 0..MOST_BLANK_LINES {
            if !self.text.ends_with(b"\n") || !self.text.trim_ascii().is_empty() {
                break;
            }
            n = self.next_text()?;
        }
        if n > MOST_LINE_BYTES {
            let most = crate::units::bytes(MOST_LINE_BYTES);
            return Err(self.wrong(format!("it is longer than {most}")));
        }
        if self.n_bytes > MOST_BYTES {
            let most = crate::units::bytes(MOST_BYTES);
            return Err(self.wrong(format!("the record is larger than {most}")));
        }
        if self.text.last() != Some(&b'\n') {
            return Ok(None);
        }
        let line: Line = serde_json::from_slice(&self.text).map_err(|e| self.unreadable(&e))?;
        check(&line).map_err(|reason| self.wrong(reason))?;
        Ok(Some(line))
    }

    /// Reads up to the next line's end. Returns how many bytes that are.
    fn next_text(&mut self) -> Result<u64, RecordError> {
        self.text.clear();
        self.number += 1;
        let n = (&mut self.reader)
            .take(MOST_LINE_BYTES + 1)
            .read_until(b'\n', &mut self.text)
            .map_err(io(&self.path, "cannot read the record"))? as u64;
        self.n_bytes += n;
        Ok(n)
    }

    fn unreadable(&self, e: &serde_json::Error) -> RecordError {
        match serde_json::from_slice::<SchemaOnly>(&self.text) {
            Ok(SchemaOnly { schema }) if schema > SCHEMA_VERSION => RecordError::Newer {
                path: self.path.clone(),
                found: schema,
            },
            _ if self.number == 1 => RecordError::NoHeader(self.path.clone()),
            _ => self.wrong(e.to_string()),
        }
    }

    fn wrong(&self, reason: String) -> RecordError {
        RecordError::Line {
            path: self.path.clone(),
            line: self.number,
            reason: cut_end(&plain(&reason), REASON_COLUMNS),
        }
    }
}

/// A record may come from anywhere: its cells must be such as an engine can have.
fn check(line: &Line) -> Result<(), String> {
    let cell = |case: &Case| {
        let checked = check_recorded(case, MAX_SEQ);
        checked.map_err(|e| format!("cell {}: {e}", case.id()))
    };
    match line {
        Line::Run(header) => {
            header.plan.cases.iter().try_for_each(cell)?;
            let of_text = header.quality.iter().flat_map(|plan| &plan.cells);
            of_text.map(|c| &c.case).try_for_each(cell)?;
            check_counts(header)?;
            let plan = header.requests.iter();
            let of_targets = plan.clone().flat_map(|plan| &plan.settings);
            let of_targets = of_targets.flat_map(|setting| &setting.jobs);
            let mut jobs = plan.flat_map(|plan| &plan.jobs).chain(of_targets);
            jobs.try_for_each(|job| {
                let n_sides = job.compared.as_ref().map_or(1, |c| c.n_sides);
                at_most("requests", job.n_requests.into(), MOST_REQUESTS.into())
                    .and_then(|()| at_most("sides", n_sides.into(), MOST_SIDES.into()))
                    .and_then(|()| {
                        check_recorded(&job.case, MOST_AT_ONCE).map_err(|e| e.to_string())
                    })
                    .map_err(|e| format!("job {}: {e}", job.name))
            })
        }
        Line::Repetition(repetition) => cell(&repetition.case),
        Line::Cell(line) => cell(&line.case),
        Line::Chunk(line) => cell(&line.case),
        Line::Quality(line) => cell(&line.case),
        Line::Output(line) => cell(&line.case),
        Line::Worker(_) | Line::Target(_) | Line::Request(_) | Line::Job(_) | Line::End(_) => {
            Ok(())
        }
    }
}

/// What a plan is repeated: a run that goes on does all of it.
fn check_counts(header: &RunHeader) -> Result<(), String> {
    let protocol = &header.plan.protocol;
    let replicates = protocol.max_replicates.unwrap_or(0);
    let replicates = replicates.max(protocol.replicates);
    at_most("replicates", replicates.into(), MOST_REPLICATES.into())?;
    let Some(plan) = &header.requests else {
        return Ok(());
    };
    let rounds = u64::from(plan.rounds) * u64::from(plan.replicates);
    at_most("rounds of requests in all replicates", rounds, MOST_ROUNDS)?;
    let jobs = (plan.jobs.len() as u64).saturating_mul(plan.targets.len() as u64);
    at_most(
        "jobs of all rounds and targets",
        rounds.saturating_mul(jobs),
        MOST_JOBS,
    )
}

fn at_most(what: &str, n: u64, most: u64) -> Result<(), String> {
    match n <= most {
        true => Ok(()),
        false => Err(format!("{n} {what}; at most {most}")),
    }
}

/// What tells a line that stands in the record again: its text, or which repetition it is.
#[derive(Default)]
struct SeenLines {
    lines: HashSet<u64>,
    repetitions: HashSet<u64>,
}

impl SeenLines {
    /// Whether the line was there before. It is from now on.
    fn has(&mut self, text: &[u8], line: &Line) -> bool {
        // A run that goes on describes its targets again, and nothing of them may have changed.
        if matches!(line, Line::Target(_)) {
            return false;
        }
        let is_new = self.lines.insert(hash_of(text));
        let is_new_repetition = match line {
            Line::Repetition(r) => {
                let place = (&r.case, r.worker, r.replicate, r.repetition);
                self.repetitions.insert(hash_of(&place))
            }
            _ => true,
        };
        !is_new || !is_new_repetition
    }
}

fn hash_of<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[derive(serde::Deserialize)]
struct SchemaOnly {
    schema: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{batches, header, line};
    use crate::record::EndLine;
    use crate::view::fixture::requests::{jobs, request_header};

    #[test]
    fn targets_that_are_described_again_are_no_repeated_lines() {
        let target = Line::Target(Box::new(crate::record::requests::TargetLine {
            target: "openai:x".to_owned(),
            after: false,
            facts: None,
            reason: Some("gone".to_owned()),
        }));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut writer =
            Writer::create(folder.path(), header("targets", &batches(&[1]))).expect("writable");
        for _ in 0..3 {
            writer.append(&target).expect("writable");
        }
        let mut n_read = 0;
        let header = read(folder.path(), |_| n_read += 1).expect("readable");
        assert_eq!((n_read, header.n_repeated_lines), (3, 0));
    }

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
        let text = std::fs::read_to_string(locate(folder.path())).expect("readable");
        assert!(text.ends_with("{\"cut"), "opening changes nothing");
        writer.mend().expect("mended");
        writer.append(&end(7)).expect("writable");
        let text = std::fs::read_to_string(locate(folder.path())).expect("readable");
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
    fn a_plan_of_requests_that_would_not_end_is_refused() {
        let said = |replicates: u32, rounds: u32, n_targets: usize, n_requests: u32| {
            let targets: Vec<String> = (0..n_targets).map(|n| format!("openai:{n}")).collect();
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            let mut jobs = jobs();
            jobs[0].n_requests = n_requests;
            let mut header = request_header(&targets, replicates, jobs);
            header.requests.as_mut().expect("has requests").rounds = rounds;
            let line = serde_json::to_string(&Line::Run(Box::new(header))).expect("JSON");
            let folder = folder_with(&format!("{line}\n"));
            read_header(folder.path())
                .map(drop)
                .map_err(|e| e.to_string())
        };
        assert_eq!(
            said(1000, 1000, 2, 1_000_000),
            Ok(()),
            "all that a plan may be"
        );
        for (replicates, rounds, n_targets, n_requests, reason) in [
            (
                1001,
                1000,
                1,
                1,
                "1001000 rounds of requests in all replicates; at most 1000000",
            ),
            // The product of 32 bits is 0.
            (65536, 65536, 1, 1, "4294967296 rounds of requests"),
            (
                1000,
                1000,
                100,
                1,
                "800000000 jobs of all rounds and targets; at most 100000000",
            ),
            (1, 1, 1, u32::MAX, "4294967295 requests; at most 1000000"),
        ] {
            let e = said(replicates, rounds, n_targets, n_requests).expect_err(reason);
            assert!(e.contains("run.jsonl:1: ") && e.contains(reason), "{e}");
        }
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

    fn repetition(n: u32, step_ns: u64) -> Line {
        line(&batches(&[1])[0], (0, n), step_ns, false)
    }

    #[test]
    fn a_line_that_stands_there_again_counts_once_and_is_counted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut writer = Writer::create(folder.path(), header("r", &batches(&[1])));
        let writer = writer.as_mut().expect("writable");
        let first = repetition(0, 5);
        // Again, another one, the first one's place with other times, and the end twice.
        for line in [
            &first,
            &first,
            &repetition(1, 5),
            &repetition(0, 7),
            &end(1),
            &end(1),
        ] {
            writer.append(line).expect("writable");
        }
        let mut lines = Vec::new();
        let header = read(folder.path(), |line| lines.push(line)).expect("readable");
        assert_eq!(lines, [first, repetition(1, 5), end(1)]);
        assert_eq!(header.n_repeated_lines, 3);
    }

    #[test]
    fn what_an_editor_leaves_in_a_record_is_passed_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut writer = Writer::create(folder.path(), header("r", &batches(&[1])));
        let writer = writer.as_mut().expect("writable");
        for line in [&repetition(0, 5), &end(1)] {
            writer.append(line).expect("writable");
        }
        let path = folder.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&path).expect("there");
        let edited = format!("\u{feff}{}\r\n \n", text.replace('\n', "\r\n\r\n"));
        std::fs::write(&path, edited).expect("writable");
        let mut lines = Vec::new();
        read(folder.path(), |line| lines.push(line)).expect("readable");
        assert_eq!(lines, [repetition(0, 5), end(1)]);
        std::fs::write(&path, text.clone() + &"\n".repeat(2000)).expect("writable");
        assert!(reason(&folder).contains("not a line of a run"));
    }

    #[test]
    fn a_cell_that_no_engine_can_have_is_named_with_its_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut cases = batches(&[1, 2]);
        Writer::create(folder.path(), header("r", &cases)).expect("writable");
        assert!(read(folder.path(), |_| {}).is_ok());
        std::fs::remove_file(folder.path().join(FILE_NAME)).expect("there");
        cases[1].n_seq = u32::MAX;
        Writer::create(folder.path(), header("r", &cases)).expect("writable");
        let reason = reason(&folder);
        assert!(reason.contains("run.jsonl:1: "), "{reason}");
        assert!(reason.contains("4294967295 sequences"), "{reason}");
    }

    #[test]
    fn only_as_much_is_read_as_a_record_can_have() {
        assert!(reason(&folder_with("  {}\n")).contains("is no run"));
        if Path::new("/dev/zero").exists() {
            let e = read(Path::new("/dev/zero"), |_| {}).expect_err("no record");
            assert!(matches!(e, RecordError::NoHeader(_)), "{e}");
        }
        // A line without an end, as a hole: it takes no room on the disk.
        let folder = folder_with("{");
        let path = folder.path().join(FILE_NAME);
        let file = OpenOptions::new().write(true).open(&path).expect("ours");
        file.set_len(MOST_LINE_BYTES + 2).expect("a hole");
        let e = reason(&folder);
        assert!(
            e.contains("run.jsonl:1: ") && e.contains("longer than 256 MiB"),
            "{e}"
        );
    }

    #[test]
    fn a_header_is_read_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let header = header("r", &batches(&[1]));
        Writer::create(folder.path(), header.clone()).expect("writable");
        let file = OpenOptions::new()
            .append(true)
            .open(folder.path().join(FILE_NAME));
        file.expect("ours")
            .write_all(b"broken\n")
            .expect("writable");
        assert_eq!(read_header(folder.path()).expect("readable"), header);
        assert!(read(folder.path(), |_| {}).is_err());
    }
}
