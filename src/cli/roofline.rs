//! What can be typed after `ceiling` and `predict`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::AxisArgs;
use crate::report::Form;

/// A device of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// The CPU
    Cpu,
    /// The first GPU
    Gpu,
}

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct CeilingArgs {
    /// Measure the matrices of these models, in their own shapes and types; as --model elsewhere; repeatable
    #[arg(short, long, value_name = "MODEL")]
    pub model: Vec<String>,
    /// Measure a matrix of 4096 x 4096 in these types [default: q4_0,q8_0,f16]
    #[arg(
        long = "type",
        value_name = "LIST",
        value_delimiter = ',',
        conflicts_with = "model"
    )]
    pub types: Vec<String>,
    /// Threads [default: the cores this process may use]
    #[arg(short, long, alias = "n-threads", value_name = "N")]
    pub threads: Option<u32>,
    /// The device [default: gpu where there is one]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Measure again what is kept
    #[arg(long)]
    pub fresh: bool,
    /// Form of the table on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Form,
}

/// What to expect. Axes as in a run.
#[derive(Debug, Clone, Args)]
pub struct PredictArgs {
    /// GGUF file, name, synth:PRESET:TYPE, or a shape such as llama3-8b or llama3-8b:q8_0
    #[arg(required_unless_present_any = ["check", "flagged"])]
    pub model: Vec<String>,
    /// The same, as for other verbs; repeatable
    #[arg(
        short = 'm',
        long = "model",
        value_name = "MODEL",
        conflicts_with = "check"
    )]
    pub flagged: Vec<String>,
    /// Hold a run's measured cells against what would have been expected of them
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "batch", "n_prompt", "n_gen", "n_depth",
        "threads", "n_ctx", "kv", "n_batch", "n_ubatch", "type_k", "type_v", "no_sample"])]
    pub check: Option<PathBuf>,
    /// With --check: predict these batch sizes from the run's others as well
    #[arg(
        long,
        value_name = "LIST",
        default_value = "8,32,128",
        requires = "check"
    )]
    pub hold_out: String,
    /// Sequences decoded together [default: 1,8,32,128]
    #[arg(long, alias = "n-seq", value_name = "LIST")]
    pub batch: Vec<String>,
    /// Prompt tokens of each sequence [default: 128]
    #[arg(short = 'p', long, value_name = "LIST")]
    pub n_prompt: Vec<String>,
    /// Decode steps of each sequence [default: 64]
    #[arg(short = 'n', long, value_name = "LIST")]
    pub n_gen: Vec<String>,
    /// Tokens in each sequence's cache before its prompt [default: 0]
    #[arg(short = 'd', long, value_name = "LIST")]
    pub n_depth: Vec<String>,
    /// Threads [default: the cores this process may use]
    #[arg(short, long, alias = "n-threads", value_name = "LIST")]
    pub threads: Vec<String>,
    /// Context in tokens per sequence [default: 2048]
    #[arg(short = 'c', long, alias = "ctx-size", value_name = "LIST")]
    pub n_ctx: Vec<String>,
    /// KV cache: n_ctx for every sequence (full), or only what the cell needs (fit) [default: full]
    #[arg(long, value_name = "full|fit")]
    pub kv: Vec<String>,
    /// Logical batch in tokens [default: 2048]
    #[arg(long, value_name = "LIST")]
    pub n_batch: Vec<String>,
    /// Physical batch in tokens [default: 512]
    #[arg(long, value_name = "LIST")]
    pub n_ubatch: Vec<String>,
    /// Type of the K cache [default: f16]
    #[arg(long, value_name = "TYPE")]
    pub type_k: Vec<String>,
    /// Type of the V cache [default: f16]
    #[arg(long, value_name = "TYPE")]
    pub type_v: Vec<String>,
    /// Full-size KV cache for layers with a sliding window: on or off [default: off]
    #[arg(
        long,
        value_name = "on|off",
        num_args = 0..=1,
        default_missing_value = "on"
    )]
    pub swa_full: Vec<String>,
    /// Without choosing tokens from the logits
    #[arg(long)]
    pub no_sample: bool,
    /// All layers on the GPU, or none [default: gpu where there is one]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Measure again what is kept
    #[arg(long)]
    pub fresh: bool,
    /// Form of the table on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: Form,
}

impl PredictArgs {
    /// The models, however they are named.
    pub fn models(&self) -> impl Iterator<Item = &String> {
        self.model.iter().chain(&self.flagged)
    }

    /// The axes as a run's flags.
    pub fn axes(&self) -> AxisArgs {
        let default_batch = || vec!["1,8,32,128".to_owned()];
        AxisArgs {
            model: self.models().cloned().collect(),
            batch: match self.batch.is_empty() {
                true => default_batch(),
                false => self.batch.clone(),
            },
            n_prompt: self.n_prompt.clone(),
            n_gen: self.n_gen.clone(),
            n_depth: self.n_depth.clone(),
            threads: self.threads.clone(),
            n_ctx: self.n_ctx.clone(),
            kv: self.kv.clone(),
            n_batch: self.n_batch.clone(),
            n_ubatch: self.n_ubatch.clone(),
            type_k: self.type_k.clone(),
            type_v: self.type_v.clone(),
            swa_full: self.swa_full.clone(),
            no_sample: self.no_sample,
            ..AxisArgs::default()
        }
    }
}
