//! What can be typed after `import` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Files of other programs.
#[derive(Debug, Clone, Args)]
pub struct ImportRunsArgs {
    /// Outputs of llama-bench (-o json, jsonl, sql, or the SQLite file made of it) and of llama-batched-bench
    /// (--output-format jsonl)
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Folder for the runs' folders
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Name of the model, where the file names none, as llama-batched-bench's does [default: the file's name]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// llama.cpp's commit, where the file has none
    #[arg(long, value_name = "COMMIT")]
    pub build_commit: Option<String>,
    /// Make the files processes of one run, instead of a run each; files of different builds stay apart
    #[arg(long)]
    pub join: bool,
    /// Make a run for each day (UTC) of a build, instead of one run of the build with its repeated tests as further processes
    #[arg(long)]
    pub each_day: bool,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// llama-bench's JSON
    Json,
    /// llama-bench's JSONL
    Jsonl,
    /// llama-bench's SQL, for `sqlite3 llama-bench.sqlite`
    Sql,
    /// Lines for benchstat, one for each process
    Benchstat,
    /// Bencher's JSON (its adapter `json`)
    Bencher,
    /// A distribution of step times for HdrHistogram's plotter, of one cell
    Hgrm,
}

/// Runs in the form of another program.
#[derive(Debug, Clone, Args)]
pub struct ExportRunArgs {
    /// The run's folder, or its run.jsonl; several are written one after the other
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The form
    #[arg(short = 'o', long, value_enum)]
    pub output: ExportForm,
    /// The file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "to")]
    pub force: bool,
    /// Only the cells whose names match, such as '*/b8/*'; repeatable
    #[arg(long, value_name = "GLOB")]
    pub cell: Vec<glob::Pattern>,
    /// llama.cpp's commit in llama-bench's forms [default: the record's, else `unknown`]
    #[arg(long, value_name = "COMMIT")]
    pub build_commit: Option<String>,
}
