//! What can be typed about model files.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with model files.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Names that --model knows, and whether their files are here
    List,
    /// What a GGUF file is: shape, types, bytes
    Info {
        /// As --model
        model: Vec<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Get a model of gguf/models.toml (needs python3 with pip, and a network), or one of Hugging Face's hub (needs hf)
    Fetch {
        /// Its name, see `model list`, or USER/REPO:TYPE; several may be given
        #[arg(required = true)]
        name: Vec<String>,
    },
    /// Make files of other types from a GGUF file
    ///
    /// A type that fails does not stop the others. A file that is made of a quantised one keeps the error of that type:
    /// its metadata says so (ggufbench.requantized_from).
    Quantize {
        /// The GGUF file
        input: PathBuf,
        /// Its type, such as Q8_0, Q4_0, Q4_K_M, F16; several with commas make several files
        #[arg(value_name = "TYPE")]
        types: String,
        /// The new file, or the folder for it [default: beside the input, named after the type]
        output: Option<PathBuf>,
        /// An importance matrix that llama-imatrix wrote (GGUF or .dat) [default: all columns of a tensor count alike]
        #[arg(long, value_name = "FILE")]
        imatrix: Option<PathBuf>,
        /// Threads [default: all]
        #[arg(short, long)]
        threads: Option<u32>,
        /// Replace files that exist
        #[arg(long)]
        force: bool,
    },
    /// Write a file of random weights in a model's shape: it runs at the real one's speed
    Synth(SynthArgs),
}

/// A synthetic model.
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// The shape to start from
    #[arg(default_value = "smollm2-135m")]
    pub preset: String,
    /// Its type: f32, f16, bf16, q8_0, q4_0, q4_k ...
    #[arg(value_name = "TYPE", default_value = "q4_0")]
    pub tensor_type: String,
    /// The file [default: in the model folder, under the name --model finds it by]
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    /// Layers
    #[arg(long)]
    pub n_layer: Option<u32>,
    /// Width
    #[arg(long)]
    pub n_embd: Option<u32>,
    /// Query heads
    #[arg(long)]
    pub n_head: Option<u32>,
    /// KV heads
    #[arg(long)]
    pub n_head_kv: Option<u32>,
    /// Feed-forward width; of a mixture, that of an expert
    #[arg(long)]
    pub n_ff: Option<u32>,
    /// Vocabulary
    #[arg(long)]
    pub n_vocab: Option<u32>,
    /// Whether the output matrix is the token embedding
    #[arg(long)]
    pub tied: Option<bool>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}
