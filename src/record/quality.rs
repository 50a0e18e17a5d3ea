//! What a run that scores a text leaves behind: lines of their own in the same record.

use serde::{Deserialize, Serialize};

use super::Outcome;
pub use crate::plan::quality::{QualityCell, QualityPlan, QualityRole};
use crate::plan::{Case, CaseId};
pub use crate::quality::ScoredChunk;

/// A chunk that was scored. The lists have one value for each scored position, in the text's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkLine {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell.
    pub case: Case,
    /// The worker process.
    pub worker: u32,
    /// What was seen.
    #[serde(flatten)]
    pub scored: ScoredChunk,
}

/// What became of a quality cell; after its chunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityLine {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell.
    pub case: Case,
    /// The worker process; none for a cell that was never started.
    pub worker: Option<u32>,
    /// The outcome; its repetitions are chunks.
    pub outcome: Outcome,
    /// Nanoseconds from asking to the loaded model; none when it failed, or when the worker had it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ns: Option<u64>,
    /// Tokens of the text in this model's vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_text_tokens: Option<u32>,
    /// The engine's log meanwhile.
    pub log: Vec<String>,
}
