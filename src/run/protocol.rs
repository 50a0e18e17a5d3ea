//! What supervisor and worker say to each other: one JSON object a line, over the worker's standard
//! input and output.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::agreement::output::OutputChecked;
use crate::build_info::BuildInfo;
use crate::engine::faulty::PlantedFault;
use crate::engine::kernel::KernelDevice;
use crate::engine::synthetic::SyntheticCost;
use crate::engine::{Device, EngineFacts};
use crate::host::usage::UsageDelta;
use crate::measure::Call;
use crate::measure::kernel::Effort;
use crate::plan::{Case, LoadKey, RpcServers};
use crate::quality::ScoredChunk;
use crate::record::{LoadMemory, Opened};
use crate::request::fit::{FitOne, FittedText};
use crate::request::{Job, Timeline};
use crate::roofline::ceiling::ReadRate;
use crate::roofline::kernel::{Kernel, KernelLoad};

/// The hidden subcommand that makes this program a worker.
pub const WORKER_COMMAND: &str = "__worker";

/// Version of these messages. A supervisor refuses a worker of another version, so that it can drive
/// the worker of another build as long as this stays the same.
pub const PROTOCOL_VERSION: u32 = 1;

/// Stands before every message on the worker's standard output; any other line there is a library's
/// chatter and belongs to the log.
pub const MARK: &str = "@ggufbench ";

/// Which engine a worker runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EngineChoice {
    /// llama.cpp.
    Llama {
        /// What is made wrong on purpose, for tests of what must find it. Normally nothing.
        fault: Option<PlantedFault>,
    },
    /// The cost model, for tests of everything else.
    Synthetic(SyntheticCost),
}

impl EngineChoice {
    /// The choice as one command line argument; [`FromStr`] reads it.
    pub fn to_argument(&self) -> String {
        match self {
            Self::Llama { fault: None } => "llama".to_owned(),
            Self::Llama { fault: Some(fault) } => format!("llama:{}", fault.argument()),
            Self::Synthetic(cost) => format!(
                "synthetic:{}",
                serde_json::to_string(cost).expect("a cost is plain numbers")
            ),
        }
    }
}

impl Default for EngineChoice {
    fn default() -> Self {
        Self::Llama { fault: None }
    }
}

impl From<EngineChoice> for String {
    fn from(choice: EngineChoice) -> Self {
        choice.to_argument()
    }
}

impl TryFrom<String> for EngineChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once(':') {
            None if s == "llama" => Ok(Self::default()),
            Some(("llama", fault)) => PlantedFault::read(fault).map(|fault| Self::Llama { fault }),
            None if s == "synthetic" => Ok(Self::Synthetic(SyntheticCost::default())),
            Some(("synthetic", cost)) => serde_json::from_str(cost)
                .map(Self::Synthetic)
                .map_err(|e| format!("synthetic engine's cost: {e}")),
            _ => Err(format!("'{s}' is no engine; llama or synthetic[:JSON]")),
        }
    }
}

/// From the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Load a model; once a process. Answered by [`Reply::Loaded`].
    Load {
        /// The model file.
        path: PathBuf,
        /// How.
        key: LoadKey,
        /// Number of this process among those of its run.
        worker: u32,
    },
    /// Make a context, draw the prompts and warm up. Answered by [`Reply::Opened`].
    Open {
        /// The cell.
        case: Box<Case>,
        /// Seed of its prompts.
        seed: u64,
    },
    /// One timed repetition. Answered by [`Reply::Repetition`].
    Repeat,
    /// The same in turns with the other side of a pair: the worker stands still after the prompts, and then after every so many
    /// decode steps. Answered by [`Reply::TurnOver`] until all is computed, and then by [`Reply::Repetition`].
    RepeatInTurns {
        /// Decode steps of a turn.
        steps: u32,
    },
    /// Go on with the repetition: the next turn.
    NextTurn,
    /// Drop the context. Answered by [`Reply::Closed`].
    Close,
    /// Apply the template, trim and pad, count. Answered by [`Reply::Fitted`].
    Fit {
        /// The texts.
        prompts: Vec<FitOne>,
    },
    /// Make a context for whole requests and tokenise their prompts. Answered by [`Reply::Prepared`]; then comes
    /// [`Request::Serve`] or [`Request::Close`].
    Prepare {
        /// The requests.
        job: Box<Job>,
        /// Whether the context is warmed up, untimed.
        warm_up: bool,
    },
    /// Serve the requests and drop the context. Answered by [`Reply::Served`]; before it come [`Reply::Serving`], now and
    /// then, and what was seen, in [`Reply::Part`]s.
    Serve,
    /// Score a text. Answered by [`Reply::Scored`]; before it comes a [`Reply::Chunk`] for each chunk.
    Score(Box<ScoreRequest>),
    /// Check the output of a cell, in a context of its own. Answered by [`Reply::OutputChecked`].
    CheckOutput(Box<Case>),
    /// Instead of [`Request::Load`]: say which devices these RPC servers have. Answered by [`Reply::RemoteDevices`].
    RemoteDevices {
        /// The servers.
        servers: RpcServers,
    },
    /// Instead of [`Request::Load`]: open a device to time kernels on. Answered by [`Reply::KernelsOpened`]; then come
    /// [`Request::ReadRate`] and [`Request::TimeKernel`], each as often as wanted.
    OpenKernels {
        /// The device.
        device: KernelDevice,
        /// Threads, on the CPU.
        n_threads: u32,
        /// Memory that the worker may take besides what it has now.
        most_bytes: u64,
    },
    /// Measure the memory bandwidth of the CPU's threads. Answered by [`Reply::ReadRate`].
    ReadRate {
        /// Rounds, each with buffers of its own.
        rounds: u32,
        /// How long a round takes.
        round_ns: u64,
    },
    /// Time one kernel under these loads, once. Answered by [`Reply::KernelTimed`].
    TimeKernel {
        /// The kernel.
        kernel: Kernel,
        /// The loads.
        loads: Vec<KernelLoad>,
        /// How thoroughly.
        effort: Effort,
    },
    /// Read at any time: what is being warmed up or served ends early, and is answered all the same. Has no answer of its own.
    Stop,
}

/// A text to score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRequest {
    /// The cell.
    pub case: Case,
    /// The text.
    pub text: String,
    /// Chunks from the text's first; fewer where the text has fewer.
    pub n_chunks: u32,
    /// Those of them that are known already.
    pub known: Vec<u32>,
    /// What is done with the distributions.
    pub distributions: DistributionsFile,
}

/// What is done with the distributions of a scored text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistributionsFile {
    /// Nothing.
    None,
    /// They are written into this file.
    Write(PathBuf),
    /// They are compared with those in this file.
    Compare(PathBuf),
}

/// From the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// First of all.
    Hello {
        /// [`PROTOCOL_VERSION`] of the worker.
        protocol: u32,
        /// Its engine.
        engine: EngineFacts,
        /// Its program; none from builds that did not say.
        #[serde(default)]
        program: Option<BuildInfo>,
        /// Whether it knows [`Request::RepeatInTurns`]; builds before did not say.
        #[serde(default)]
        takes_turns: bool,
    },
    /// The model is loaded.
    Loaded {
        /// How long it took.
        load_ns: u64,
        /// Resident memory now.
        rss_bytes: Option<u64>,
        /// Memory of the GPUs that its layers are on; none from builds that did not say.
        #[serde(default)]
        gpu_memory: Option<LoadMemory>,
    },
    /// The context is made and warm.
    Opened(Box<Opened>),
    /// A repetition's calls.
    Repetition {
        /// What the machine did meanwhile.
        usage: UsageDelta,
        /// Every decode call, in order.
        calls: Vec<Call>,
    },
    /// A turn of a repetition is over; the process stands still.
    TurnOver,
    /// The context is dropped.
    Closed,
    /// The finished texts, in order.
    Fitted {
        /// One for each.
        prompts: Vec<FittedText>,
    },
    /// The context for a job is made and, if asked for, warm.
    Prepared(PreparedContext),
    /// Requests are still being served: the worker is alive.
    Serving,
    /// A part of what was seen of a job, in order. In one piece it could take more memory than the job itself.
    Part {
        /// Its next requests, by number.
        timelines: Vec<Timeline>,
        /// Its next calls.
        calls: Vec<Call>,
    },
    /// A job is over, and all its parts were said.
    Served {
        /// From its begin to its last request's end.
        elapsed_ns: u64,
        /// What the machine did meanwhile.
        usage: UsageDelta,
    },
    /// A chunk of the text was scored.
    Chunk(ScoredChunk),
    /// Every chunk was scored that was asked for, or [`Request::Stop`] came.
    Scored {
        /// Tokens of the text in the model's vocabulary.
        n_text_tokens: u32,
    },
    /// The output was computed.
    OutputChecked(Box<OutputChecked>),
    /// The devices of RPC servers.
    RemoteDevices {
        /// In the servers' order.
        devices: Vec<Device>,
    },
    /// The device is open.
    KernelsOpened,
    /// The memory bandwidth.
    ReadRate {
        /// What was measured.
        rate: ReadRate,
        /// What the machine did since the device was opened.
        usage: UsageDelta,
    },
    /// A kernel was timed.
    KernelTimed {
        /// For each load the times of its passes, nanoseconds of one application, or why the device cannot compute it.
        passes: Vec<Result<Vec<f64>, String>>,
        /// What the machine did since the device was opened.
        usage: UsageDelta,
    },
    /// What was asked for failed; the context, if any, is dropped.
    Error {
        /// Why.
        reason: String,
    },
}

/// A context made for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedContext {
    /// Cells of the KV cache each sequence has.
    pub n_ctx_seq: u32,
    /// Making the context.
    pub context_ns: u64,
    /// Tokenising the prompts.
    pub tokenize_ns: u64,
    /// Warming up.
    pub warm_up_ns: u64,
    /// Resident memory now.
    pub rss_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::synthetic::SyntheticEngine;

    fn slow(n_seq: Option<u32>) -> EngineChoice {
        let share = 0.05;
        EngineChoice::Llama {
            fault: Some(PlantedFault::Slow { share, n_seq }),
        }
    }

    #[test]
    fn a_worker_that_does_not_say_takes_no_turns() {
        let hello = Reply::Hello {
            protocol: PROTOCOL_VERSION,
            engine: SyntheticEngine::facts(),
            program: None,
            takes_turns: true,
        };
        let mut said = serde_json::to_value(&hello).expect("JSON");
        said["hello"]
            .as_object_mut()
            .and_then(|hello| hello.remove("takes_turns"))
            .expect("said");
        let heard: Reply = serde_json::from_value(said).expect("an older worker");
        assert!(matches!(
            heard,
            Reply::Hello {
                takes_turns: false,
                ..
            }
        ));
    }

    #[test]
    fn an_engine_choice_survives_the_command_line() {
        for choice in [
            EngineChoice::default(),
            slow(None),
            slow(Some(8)),
            EngineChoice::Llama {
                fault: Some(PlantedFault::SwappedSequences),
            },
            EngineChoice::Synthetic(SyntheticCost {
                abort_at_call: Some(3),
                step_cv: 0.05,
                ..SyntheticCost::default()
            }),
        ] {
            assert_eq!(choice.to_argument().parse(), Ok(choice));
        }
        assert!("synthetic:{\"speed\":1}".parse::<EngineChoice>().is_err());
        assert_eq!("llama:spin=5%".parse(), Ok(slow(None)));
        assert_eq!("llama:spin=5%@8".parse(), Ok(slow(Some(8))));
        for wrong in [
            "vllm",
            "llama:5%",
            "llama:spin=-1",
            "llama:spin=NaN",
            "llama:spin=5%@all",
            "llama:swap=1",
        ] {
            assert!(wrong.parse::<EngineChoice>().is_err(), "{wrong}");
        }
    }
}
