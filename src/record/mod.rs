//! What a run leaves behind: one JSON object a line in `out/<run>/run.jsonl`.
//!
//! The lines, by their `kind`: one `run` first (machine, engine, plan), then per worker process a
//! `worker`, per timed repetition a `repetition` with its raw calls, per cell and process a `cell` with
//! its outcome, and an `end` when the run ended by itself or by Ctrl-C. Every figure anyone prints is
//! computed from these lines; `schema/run.schema.json` states their form.

pub(crate) mod ceilings;
pub(crate) mod difference;
pub(crate) mod history;
pub mod imported;
pub mod jsonl;
pub(crate) mod newest;
pub mod output;
pub mod quality;
pub mod requests;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::build_info::BuildInfo;
use crate::engine::log_report::EngineReport;
use crate::engine::{EngineFacts, GpuMemory};
use crate::host::HostWarning;
use crate::host::Machine;
use crate::host::TimerFacts;
use crate::host::usage::{PhaseEnergy, UsageDelta, UsageSummary};
use crate::measure::steady::Steadiness;
use crate::measure::{Call, PhaseTotal};
use crate::metric::{Metric, TimedRepetition};
use crate::plan::{Case, CaseId, LoadKey, Plan, remedy};
use imported::Imported;
use output::OutputLine;
use quality::{ChunkLine, QualityLine, QualityPlan};
use requests::{JobLine, RequestLine, RequestsPlan, TargetLine};

/// Version of the record's form; a reader refuses a newer one. 2: targets of requests in several settings.
pub const SCHEMA_VERSION: u32 = 2;

/// One line of `run.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Run(Box<RunHeader>),
    /// A worker process that loaded its model, or could not.
    Worker(Box<WorkerLine>),
    /// A timed repetition.
    Repetition(Box<Repetition>),
    /// What became of a cell in one process.
    Cell(Box<CellLine>),
    /// A target as it described itself, before or after its jobs.
    Target(Box<TargetLine>),
    /// A request of a job.
    Request(Box<RequestLine>),
    /// What became of a job at a target in one round; after its requests.
    Job(Box<JobLine>),
    /// A chunk of a text that was scored.
    Chunk(Box<ChunkLine>),
    /// What became of a quality cell; after its chunks.
    Quality(Box<QualityLine>),
    /// The output of a setting.
    Output(Box<OutputLine>),
    /// The run's end.
    End(EndLine),
}

/// Everything about a run that is the same for all its cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema: u32,
    /// Name of the run's folder.
    pub run: String,
    /// When it started, RFC 3339 with the zone.
    pub started_at: String,
    /// The command line, without the program's path.
    pub args: Vec<String>,
    /// The program whose workers measured: version, revision, features.
    pub program: BuildInfo,
    /// The machine.
    pub machine: Machine,
    /// Resolution and cost of the clock; none where another program measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<TimerFacts>,
    /// The engine.
    pub engine: EngineFacts,
    /// CPU features that the machine has and the engine has kernels for but was built without.
    pub missing_cpu_features: Vec<String>,
    /// What makes this run's figures deserve less trust, known before it began.
    pub warnings: Vec<HostWarning>,
    /// Everything the run was to do.
    pub plan: Plan,
    /// The requests it was to send; none for a run of cells only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsPlan>,
    /// The text it was to score, and with which cells; none for a run that measures speed alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityPlan>,
    /// The run it was measured in turns with; none for a run by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<Pair>,
    /// The program that measured the figures, where it was another one; none of a run that this program measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// Lines that stand in the record again, and were left out when it was read. Not written.
    #[serde(skip)]
    pub n_repeated_lines: u32,
}

impl RunHeader {
    /// The instant it started, whatever the zone it was written in; none where it does not say.
    pub fn started(&self) -> Option<jiff::Timestamp> {
        self.started_at.parse().ok()
    }

    /// The last value of a flag of the command line that measured; `None` where it was not typed.
    pub fn typed(&self, flag: &str) -> Option<&str> {
        let args = self.args.iter().enumerate().rev();
        let mut values = args.filter_map(|(at, arg)| match arg.strip_prefix(flag)? {
            "" => self.args.get(at + 1).map(String::as_str),
            rest => rest.strip_prefix('='),
        });
        values.next()
    }

    /// What computed: the machine's fingerprint, and those of its own GPUs that layers were on. Times are comparable where it is equal.
    pub(crate) fn hardware(&self) -> String {
        let jobs = self.requests.iter().flat_map(|plan| &plan.jobs);
        let cases = self.plan.cases.iter().chain(jobs.map(|job| &job.case));
        let gpus: BTreeSet<usize> = cases
            .flat_map(|case| self.engine.gpus_of(&case.load_key()))
            .collect();
        let gpus = gpus.iter().map(|&at| &*self.engine.devices[at].description);
        let parts = std::iter::once(&*self.machine.fingerprint).chain(gpus);
        parts.collect::<Vec<_>>().join(", ")
    }

    /// The metric by which the run is compared and judged unless another one is named: of cells a decode step, of requests
    /// alone their latency, the only one of their metrics that every job has. Other programs record no single steps, but
    /// always the time of a whole test.
    pub(crate) fn usual_metric(&self) -> Metric {
        match self.requests.is_some() && self.plan.cases.is_empty() {
            true => Metric::RequestLatencyNs,
            false if self.imported.is_some() => Metric::TotalTokensPerS,
            false => Metric::StepNs,
        }
    }
}

/// One of two runs that were measured in turns, cell by cell and repetition by repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Name of the pair's folder; the same on both sides.
    pub id: String,
    /// Which of the two.
    pub side: PairSide,
    /// Names of the axes in which the sides differ on purpose.
    pub axes: Vec<String>,
    /// The program whose workers measured this side.
    pub worker_program: std::path::PathBuf,
    /// The engine it was asked for, as on the command line.
    pub worker_engine: String,
}

/// A side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PairSide {
    /// Before.
    A,
    /// After.
    B,
}

impl PairSide {
    /// The name of its folder inside the pair's.
    pub fn folder(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// A worker process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerLine {
    /// Its number in the run, from 0; unique over resumed runs too.
    pub worker: u32,
    /// The replicate it belongs to, from 0.
    pub replicate: u32,
    /// The model it loaded, and how.
    pub load: LoadKey,
    /// Nanoseconds from asking to the loaded model; none when it failed.
    pub load_ns: Option<u64>,
    /// Resident memory after loading.
    pub rss_bytes: Option<u64>,
    /// Memory of the GPUs that its layers are on; none without any, and in records of programs that did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<LoadMemory>,
    /// What the log says of where the model lies; none in records of programs that did not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<EngineReport>,
    /// The engine's log until then.
    pub log: Vec<String>,
}

/// Memory of GPUs around the loading of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadMemory {
    /// Before.
    pub before: GpuMemory,
    /// After.
    pub after: GpuMemory,
}

/// One timed repetition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell.
    pub case: Case,
    /// The replicate, from 0.
    pub replicate: u32,
    /// The worker process it ran in.
    pub worker: u32,
    /// Its number among the cell's repetitions of this replicate, from 0.
    pub repetition: u32,
    /// When it started, nanoseconds after the run (or its resumption) did.
    pub started_ns: u64,
    /// Turns that it was computed in, where the other side of its pair had turns between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<u32>,
    /// What the machine did meanwhile.
    pub usage: UsageDelta,
    /// What makes this repetition deserve less trust.
    pub warnings: Vec<HostWarning>,
    /// Every decode call, in order.
    pub calls: Vec<Call>,
    /// The times of phases whose calls were not timed one by one; empty unless another program measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub totals: Vec<PhaseTotal>,
}

impl Repetition {
    /// What metrics see of it; `energy` is that of the device that computes.
    pub(crate) fn timed(&self, energy: Option<PhaseEnergy>) -> TimedRepetition<'_> {
        TimedRepetition {
            case: &self.case,
            calls: &self.calls,
            totals: &self.totals,
            energy,
        }
    }
}

/// What became of a cell in one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellLine {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell.
    pub case: Case,
    /// The replicate, from 0; none for a cell that was never started.
    pub replicate: Option<u32>,
    /// The worker process, if it had one.
    pub worker: Option<u32>,
    /// The outcome.
    pub outcome: Outcome,
    /// What opening and warming up showed; none when it did not get that far.
    pub opened: Option<Opened>,
    /// What process and machine did during its repetitions; none where nothing was watched, and in
    /// records of programs that did not watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageSummary>,
    /// What the log says that the engine did; none where no context was made, and in records of programs that did not
    /// read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<EngineReport>,
    /// The engine's log while the cell was opened and ran.
    pub log: Vec<String>,
}

/// What opening a context and warming up showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// Cells of the KV cache each sequence really has.
    pub n_ctx_seq: u32,
    /// Threads that the engine computed with; none where they cannot be counted, and in records of programs that did
    /// not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_threads: Option<u32>,
    /// Time to make the context.
    pub context_ns: u64,
    /// Resident memory after the warm-up.
    pub rss_bytes: Option<u64>,
    /// Memory of the GPUs that the model's layers are on, after the warm-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<GpuMemory>,
    /// Whether the decode steps settled.
    pub steadiness: Steadiness,
    /// The untimed warm-up calls, in order.
    pub warmup_calls: Vec<Call>,
}

/// Why a cell has no more repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// The interval is as narrow as asked.
    Precision,
    /// The most repetitions were made.
    MaxRepetitions,
    /// The run's time was over.
    Budget,
}

impl fmt::Display for StoppedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Precision => "precision",
            Self::MaxRepetitions => "max repetitions",
            Self::Budget => "budget",
        })
    }
}

/// The outcome of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// Measured as planned.
    Measured {
        /// Repetitions in this replicate.
        repetitions: u32,
        /// What ended it.
        stopped_by: StoppedBy,
    },
    /// Never started: it would not fit.
    Skipped {
        /// Bytes it would need.
        needs_bytes: u64,
        /// Bytes the machine has for it.
        has_bytes: u64,
        /// The GPUs on which it would not fit, by the engine's names; none where it is the host's memory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
        /// Most layers, the output counted as one, that would fit these GPUs; none where it is the host's memory, and in
        /// records of programs that did not look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n_gpu_layers: Option<u32>,
    },
    /// The engine said no.
    Failed {
        /// Its reason.
        reason: String,
    },
    /// The worker process died.
    Crashed {
        /// How: `SIGABRT`, `SIGKILL (out of memory)`, `exit code 3`.
        how: String,
    },
    /// The worker process did not answer and was killed.
    TimedOut {
        /// How long it was waited for.
        after_ns: u64,
    },
    /// The run was interrupted while the cell was being measured.
    Interrupted,
}

impl Outcome {
    /// The outcome's one word, as in machine-readable output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Measured { .. } => "measured",
            Self::Skipped { .. } => "skipped",
            Self::Failed { .. } => "failed",
            Self::Crashed { .. } => "crashed",
            Self::TimedOut { .. } => "timed_out",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether the cell went wrong: such a run exits with 1, and resuming it tries again.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. } | Self::Crashed { .. } | Self::TimedOut { .. }
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured {
                repetitions,
                stopped_by,
            } => write!(f, "measured {repetitions} times, stopped by {stopped_by}"),
            Self::Skipped {
                needs_bytes,
                has_bytes,
                device,
                n_gpu_layers,
            } => {
                let needs = crate::units::bytes(*needs_bytes);
                let has = crate::units::bytes(*has_bytes);
                let on = device.as_ref().map(|device| format!(" on {device}"));
                let on = on.unwrap_or_default();
                let layers = remedy::of_layers(*n_gpu_layers);
                write!(f, "skipped: needs {needs}{on}, has {has}{layers}")
            }
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Crashed { how } => write!(f, "crashed: {how}"),
            Self::TimedOut { after_ns } => write!(
                f,
                "timed out: no answer for {}",
                crate::units::duration(*after_ns)
            ),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndLine {
    /// RFC 3339 with the zone.
    pub ended_at: String,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
    /// Nanoseconds since it started or was resumed.
    pub elapsed_ns: u64,
}

/// Now, RFC 3339 with the zone, to the second.
pub fn timestamp() -> String {
    jiff::Zoned::now()
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}
