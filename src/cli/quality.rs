//! What can be typed to score a text.

use clap::Args;

use super::{AxisArgs, OutputArgs, WorkerArgs};

/// Accuracy: score a text with several files of a model, and compare their distributions with those of the base.
///
/// Perplexity, Kullback-Leibler divergence (KLD), the share of equal most likely tokens and the change of the right token's
/// probability, as llama.cpp's perplexity tool defines them, each with an interval. --n-ctx is the length of a chunk (default
/// 512), --batch the number of chunks that are computed together. --type-k and --type-v compare types of the KV cache.
#[derive(Debug, Clone, Default, Args)]
pub struct QualityArgs {
    /// Model files that are compared with the base: what --model takes
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,
    /// The model that the others are compared with, such as the F16 file [default: the largest file]
    #[arg(long, value_name = "FILE", help_heading = "Quality")]
    pub base: Option<String>,
    /// The text: a UTF-8 file, such as wikitext-2's test set [default: a bundled English text of 50,000 tokens]
    #[arg(long, value_name = "FILE", help_heading = "Quality")]
    pub text: Option<String>,
    /// Chunks of the text that are scored, from its beginning; all for the whole text [default: 32]
    #[arg(long, value_name = "N", help_heading = "Quality")]
    pub chunks: Option<String>,
    /// Wall time for all files, such as 3m: each gets its share, and those that come later score no more chunks than the base
    #[arg(long, value_name = "TIME", help_heading = "Quality")]
    pub budget: Option<String>,
    /// Models and settings.
    #[command(flatten)]
    pub axes: AxisArgs,
    /// What becomes of it.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Say what would be scored, and score nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// The workers.
    #[command(flatten)]
    pub worker: WorkerArgs,
}
