//! What can be typed to measure: the cells, the protocol, and where the record goes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, ValueEnum};

use super::{AxisArgs, typed};
use crate::analysis::capacity::Slo;
use crate::metric::Metric;
use crate::price::Price;
use crate::report::Output;

/// Everything that describes a measurement. Axes take a value, a list 1,8,32, a range 1-128*2 or 1-8+1,
/// or are repeated.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// The cells.
    #[command(flatten)]
    pub axes: AxisArgs,
    /// How they are measured.
    #[command(flatten)]
    pub protocol: ProtocolArgs,
    /// What becomes of it.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Say what each cell would cost, and load nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// Measure exactly what an interrupted run lacks; its plan is kept
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["dry_run", "out", "name"],
        help_heading = "Output"
    )]
    pub resume: Option<PathBuf>,
    /// The workers.
    #[command(flatten)]
    pub worker: WorkerArgs,
}

/// How long a side computes before it is the other's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TurnLength {
    /// A few decode steps
    Steps,
    /// A repetition
    Repetitions,
}

/// Two settings, or two builds, measured in turns.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "ggufbench ab [FLAGS] -- [FLAGS OF A] -- [FLAGS OF B]")]
pub struct AbArgs {
    /// The cells of both sides.
    #[command(flatten)]
    pub axes: AxisArgs,
    /// How they are measured.
    #[command(flatten)]
    pub protocol: ProtocolArgs,
    /// What becomes of it.
    #[command(flatten)]
    pub output: OutputArgs,
    /// A sweep file with the cells of both sides; flags override its axes
    #[arg(long, value_name = "FILE")]
    pub sweep: Option<PathBuf>,
    /// Side A's program: another build of ggufbench [default: this one]
    #[arg(long, value_name = "PROGRAM", help_heading = "Sides")]
    pub worker_a: Option<PathBuf>,
    /// Side B's program [default: this one]
    #[arg(long, value_name = "PROGRAM", help_heading = "Sides")]
    pub worker_b: Option<PathBuf>,
    /// Side A's llama.cpp: a checkout, or a commit, tag or branch of it. ggufbench is built against it, once for each commit
    /// [default: that of this program]
    #[arg(
        long,
        value_name = "DIR[@REV]",
        conflicts_with = "worker_a",
        help_heading = "Sides"
    )]
    pub llama_a: Option<PathBuf>,
    /// Side B's llama.cpp [default: that of this program]
    #[arg(
        long,
        value_name = "DIR[@REV]",
        conflicts_with = "worker_b",
        help_heading = "Sides"
    )]
    pub llama_b: Option<PathBuf>,
    /// A checkout of ggufbench, whose sources --llama-a and --llama-b build [default: that around this program, or around the
    /// current folder]
    #[arg(long, value_name = "DIR", help_heading = "Sides")]
    pub source: Option<PathBuf>,
    /// Benchmark programs of others.
    #[command(flatten)]
    pub programs: super::ProgramArgs,
    /// The metric that is compared.
    #[arg(long, default_value_t, help = Metric::help())]
    pub metric: Metric,
    /// Add pairs to each cell until it is decided whether B is slower; the default unless --replicates fixes their number. At
    /// most 60 pairs, or as --max-replicates and --budget allow
    #[arg(long, conflicts_with = "replicates", help_heading = "Protocol")]
    pub until_decided: bool,
    /// Changes up to this do not matter [default: 2%; with --replicates 3%]
    #[arg(long, alias = "tolerance", value_name = "SHARE", value_parser = super::judging::share)]
    pub same_within: Option<f64>,
    /// How long a side computes before it is the other's turn: a few decode steps, or a repetition [default: steps where both
    /// sides compute on the CPU and the step is compared]
    #[arg(
        long,
        value_enum,
        conflicts_with = "replicates",
        help_heading = "Protocol"
    )]
    pub turns: Option<TurnLength>,
    /// Say what each cell would cost, and load nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// The workers.
    #[command(flatten)]
    pub worker: WorkerArgs,
    /// What only side A has, `--`, and what only side B has: -- --threads 1 -- --threads 2
    #[arg(last = true, value_name = "FLAGS", help_heading = "Sides")]
    pub sides: Vec<String>,
}

/// What one side of an `ab` has of its own.
#[derive(Debug, Clone, Default, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub struct SideArgs {
    /// Its cells.
    #[command(flatten)]
    pub axes: AxisArgs,
    /// Its workers.
    #[command(flatten)]
    pub worker: WorkerArgs,
}

impl SideArgs {
    /// Reads a side's flags, whose spellings are ours.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn read(flags: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(typed::side_as_meant(flags, &Self::command()))
    }
}

/// How the engine is run.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkerArgs {
    /// Engine of the workers: llama, `llama:spin=5%` to make every call slower by so much (`@8`: only those of batch 8),
    /// `llama:swap` to exchange the logits of two sequences, or `synthetic[:JSON]`, for tests of everything else.
    #[arg(long, hide = true)]
    pub engine: Option<String>,
}

/// The protocol.
#[derive(Debug, Clone, Default, Args)]
pub struct ProtocolArgs {
    /// Worker processes per cell [default: 3]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub replicates: Option<u32>,
    /// Maximum of worker processes per cell: from 6 on, cells that have not reached the precision get more [default: no more]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub max_replicates: Option<u32>,
    /// Exactly N repetitions in each process (instead of as many as the precision needs)
    #[arg(
        short,
        long,
        value_name = "N",
        conflicts_with_all = ["min_repetitions", "max_repetitions"],
        help_heading = "Protocol"
    )]
    pub repetitions: Option<u32>,
    /// Fewest repetitions in each process [default: 3]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub min_repetitions: Option<u32>,
    /// Most repetitions in each process [default: 10]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub max_repetitions: Option<u32>,
    /// Precision at which a process stops repeating: relative half-width of the interval of the median step [default: 2%]
    #[arg(long, value_name = "SHARE", value_parser = super::judging::number_or_percent, help_heading = "Protocol")]
    pub precision: Option<f64>,
    /// Wall time for the run, such as 3m. If it is short, fewer repetitions and processes are planned, but every cell is measured at least once
    #[arg(long, value_name = "TIME", help_heading = "Protocol")]
    pub budget: Option<String>,
    /// Kill a worker that does not answer for this long [default: 20 times the estimate, at least 1m, with layers on a device 10m]
    #[arg(long, value_name = "TIME", help_heading = "Protocol")]
    pub timeout: Option<String>,
    /// Check the output of each setting before it is timed: sequences of a batch must give what each gives alone, and the record
    /// keeps it for `compare` and `gate`. In `ab` the sides are held against each other
    #[arg(long, help_heading = "Protocol")]
    pub check_output: bool,
    /// Seed of the prompts, the order and the intervals [default: 42]
    #[arg(long, value_name = "N", help_heading = "Protocol")]
    pub seed: Option<u64>,
}

/// Where the record goes, and what is printed.
#[derive(Debug, Clone, Default, Args)]
pub struct OutputArgs {
    /// Wait until other programs are idle, at most for this time, such as 5m [default: a note names those that are not]
    #[arg(long, value_name = "TIME", help_heading = "Protocol")]
    pub wait_quiet: Option<String>,
    /// Folder that gets a folder for each run [default: out]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Name of the run's folder [default: the sweep's]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub name: Option<String>,
    /// Form of the table on standard output
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        help_heading = "Output"
    )]
    pub form: Output,
    /// Limits on latency, such as tpot=50ms,ttft=2s,itl=100ms: the answers name the file and batch that meet them
    ///
    /// tpot is the time per output token, ttft that to the first one, itl the gap between two. Percentiles: itl_p95, of requests also ttft_p95=2s.
    #[arg(long, value_name = "LIMITS", help_heading = "Output")]
    pub slo: Option<Slo>,
    /// Price of energy, such as 0.30/kWh, 0.30EUR/kWh or $0.30/kWh: cost per million generated tokens, where energy is measured
    #[arg(long, value_name = "PRICE", help_heading = "Output")]
    pub price: Option<Price>,
    /// Write no report beside the record
    #[arg(long, help_heading = "Output")]
    pub no_report: bool,
}
