//! Figures of other programs in, and ours out: llama-bench, llama-batched-bench, benchstat, Bencher, HdrHistogram.
//!
//! In: [`read`] turns a file into [`ForeignTest`]s, and [`runs::runs`] turns these into records. What the other program did not
//! record is left out, and is n/a wherever it would be shown. Out: one module for each form.

pub(crate) mod batched_bench;
pub(crate) mod bencher;
pub(crate) mod benchstat;
pub(crate) mod hgrm;
pub(crate) mod llama_bench;
pub(crate) mod llama_bench_out;
mod row;
pub(crate) mod runs;
mod sql;
pub(crate) mod tested;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::measure::PhaseTotal;
use crate::plan::Case;
use crate::record::imported::ImportedModel;
use crate::text::{brief, read_at_most};
use row::ForeignRow;

/// Largest file of text that is read.
const MOST_BYTES: u64 = 1 << 30;

/// Longest reason in a message.
const REASON_COLUMNS: usize = 300;

/// What SQLite's files begin with.
const SQLITE_MARK: &[u8] = b"SQLite format 3\0";

/// Another program's output that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("{}: cannot be read: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{}: is no output of llama-bench (-o json, jsonl or sql, or the SQLite file made of it) or of llama-batched-bench \
         (--output-format jsonl)", .0.display()
    )]
    Unknown(PathBuf),
    #[error("{}: {}", path.display(), brief(reason, REASON_COLUMNS))]
    Form { path: PathBuf, reason: String },
    #[error("{}: test {number}: {}", path.display(), brief(reason, REASON_COLUMNS))]
    Test {
        path: PathBuf,
        /// From 1.
        number: usize,
        reason: String,
    },
}

/// What must be equal for two tests to be of one run: the build, the machine, and every setting that is no axis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TestSource {
    pub tool: &'static str,
    pub build_commit: Option<String>,
    pub build_number: Option<u32>,
    pub cpu: Option<String>,
    pub gpu: Option<String>,
    pub backends: Option<String>,
    pub settings: BTreeMap<String, String>,
}

/// One test as another program recorded it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForeignTest {
    pub source: TestSource,
    pub model: ImportedModel,
    pub case: Case,
    /// When it began, where the program says so.
    pub started: Option<Timestamp>,
    /// The phases of each repetition.
    pub repetitions: Vec<Vec<PhaseTotal>>,
    /// Whether the only repetition is the mean over several.
    pub is_mean: bool,
}

/// What a file of another program holds.
#[derive(Debug)]
pub(crate) struct ForeignFile {
    /// Its name without the folder.
    pub name: String,
    /// When it was last written.
    pub modified: Option<Timestamp>,
    /// Whether one process wrote all of it: then a repeated test is a further repetition, and otherwise a further process.
    pub is_of_one_process: bool,
    pub tests: Vec<ForeignTest>,
}

/// What the user says of a file that does not say it itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stated {
    pub model: Option<String>,
    pub build_commit: Option<String>,
}

/// Reads another program's output, whichever it is.
///
/// # Errors
/// [`ExchangeError`] with the number of the test that cannot be read.
pub(crate) fn read(path: &Path, stated: &Stated) -> Result<ForeignFile, ExchangeError> {
    let failed = |source| ExchangeError::Io {
        path: path.to_owned(),
        source,
    };
    let (rows, is_array) = rows(path).map_err(|e| match e {
        RowsError::Io(source) => failed(source),
        RowsError::Form(reason) => ExchangeError::Form {
            path: path.to_owned(),
            reason,
        },
    })?;
    if rows.is_empty() {
        return Err(ExchangeError::Unknown(path.to_owned()));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut tests = Vec::new();
    let mut is_batched = false;
    for (number, row) in (1..).zip(&rows) {
        let row = ForeignRow(row);
        let test = if llama_bench::is_row(&row) {
            llama_bench::test(&row)
        } else if batched_bench::is_row(&row) {
            is_batched = true;
            let name = stated.model.as_deref().unwrap_or(&stem);
            batched_bench::test(&row, name)
        } else {
            return Err(ExchangeError::Unknown(path.to_owned()));
        };
        let test = test.map_err(|reason| ExchangeError::Test {
            path: path.to_owned(),
            number,
            reason,
        })?;
        tests.push(stated.applied_to(test));
    }
    let modified = std::fs::metadata(path).and_then(|m| m.modified()).ok();
    Ok(ForeignFile {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        modified: modified
            .and_then(|at| Timestamp::try_from(at).ok())
            .and_then(|at| Timestamp::from_second(at.as_second()).ok()),
        is_of_one_process: is_array || is_batched,
        tests,
    })
}

impl Stated {
    fn applied_to(&self, mut test: ForeignTest) -> ForeignTest {
        if let Some(commit) = &self.build_commit {
            test.source.build_commit = Some(commit.clone());
        }
        if let Some(name) = &self.model {
            test.model.name = crate::model::sanitize_name(name);
            test.case.model.clone_from(&test.model.name);
        }
        test
    }
}

enum RowsError {
    Io(io::Error),
    Form(String),
}

impl From<io::Error> for RowsError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

type Rows = Vec<Map<String, Value>>;

/// The rows of a file, and whether they were one JSON array.
fn rows(path: &Path) -> Result<(Rows, bool), RowsError> {
    let mut head = Vec::new();
    File::open(path)?
        .take(SQLITE_MARK.len() as u64)
        .read_to_end(&mut head)?;
    if head == SQLITE_MARK {
        let rows = sql::of_database(path).map_err(|e| RowsError::Form(e.to_string()))?;
        return Ok((rows, false));
    }
    let text = read_at_most(path, MOST_BYTES)?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    match text.chars().next() {
        Some('[') => {
            let rows = serde_json::from_str(text);
            let rows = rows.map_err(|e| RowsError::Form(format!("is no JSON array: {e}")))?;
            Ok((rows, true))
        }
        _ if text.contains("INSERT INTO") => {
            Ok((sql::of_text(text).map_err(RowsError::Form)?, false))
        }
        _ => Ok((of_lines(text)?, false)),
    }
}

/// A JSON object a line. Programs print notes between them, which are passed over.
fn of_lines(text: &str) -> Result<Rows, RowsError> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let objects = lines.filter(|(_, line)| line.starts_with('{'));
    let object = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| RowsError::Form(format!("line {number}: {e}")))
    };
    objects.map(object).collect()
}

#[cfg(test)]
mod tests;
