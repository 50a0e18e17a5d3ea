//! What can be typed after `ceiling` and `predict`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::PredictedAxes;
use crate::report::DocumentForm;
use crate::units::ByteSize;

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
    /// DocumentForm of the table on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
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
    /// Compare a run's measured cells with their forecast
    #[arg(long, value_name = "RUN", conflicts_with = "model")]
    pub check: Option<PathBuf>,
    /// With --check: predict these batch sizes from the run's others as well
    #[arg(
        long,
        value_name = "LIST",
        default_value = "8,32,128",
        requires = "check"
    )]
    pub hold_out: String,
    /// The cells.
    #[command(flatten)]
    pub axes: PredictedAxes,
    /// All layers on the GPU, or none [default: gpu where there is one]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Which batch, context, cache type and number of layers fit a device of so much memory, such as 8188MiB
    #[arg(long, value_name = "SIZE", conflicts_with = "check")]
    pub vram: Option<ByteSize>,
    /// Measure again what is kept
    #[arg(long)]
    pub fresh: bool,
    /// DocumentForm of the table on standard output
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: DocumentForm,
}

impl PredictArgs {
    /// The models, however they are named.
    pub fn models(&self) -> impl Iterator<Item = &String> {
        self.model.iter().chain(&self.flagged)
    }
}
