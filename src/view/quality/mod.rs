//! A text that was scored: what each file makes of it, and how far it is from the base. METHODOLOGY.md, section "Accuracy",
//! has the definitions.

mod collect;
mod figures;
mod notes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{CellOutcome, Estimate};
use crate::metric::ChunkScores;
use crate::plan::{Case, CaseId};
use crate::record::quality::QualityRole;
use crate::stats::Interval;

pub(crate) use collect::QualityCollector;
pub(crate) use figures::{FEWEST_CHUNKS, QualityFigures};
pub(crate) use notes::QualityNote;

/// The quality cells of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityView {
    /// The text: the name of a bundled one, or the path of the user's.
    pub text: String,
    pub text_sha256: String,
    /// The base first, then the others in the plan's order.
    pub cells: Vec<QualityCellView>,
}

/// A quality cell and its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityCellView {
    pub case_id: CaseId,
    pub case: Case,
    pub role: QualityRole,
    pub outcome: CellOutcome,
    /// The same in words: `crashed: SIGABRT`.
    pub outcome_detail: String,
    /// Chunks that it was to score.
    pub planned_chunks: u32,
    /// Chunks that it scored.
    pub n_chunks: u32,
    /// Of these, the chunks that the base scored too, with the same tokens: what figures against the base rest on. The base's
    /// own chunks are all paired.
    pub n_paired: u32,
    /// Scored tokens of all its chunks.
    pub n_scored: u64,
    pub figures: QualityFigures,
    /// The scores of each chunk, by its number; against the base where the chunk is paired.
    pub chunks: BTreeMap<u32, ChunkScores>,
    /// What must be known to read the figures.
    pub notes: Vec<QualityNote>,
    pub load_ns: Option<u64>,
    /// Tokens of the text in the model's vocabulary.
    pub n_text_tokens: Option<u32>,
}

impl QualityView {
    /// The cell that the others are compared with; where the text was cut in several lengths, that of the first length.
    pub fn base(&self) -> Option<&QualityCellView> {
        self.cells.iter().find(|c| c.is_base())
    }

    /// The base and the candidates: files, and settings, that can be chosen between. Where the text was cut in several lengths,
    /// those of the first.
    pub fn files(&self) -> impl Iterator<Item = &QualityCellView> {
        let length = self.cells.first().map(|c| chunk_tokens(&c.case));
        let files = self.cells.iter().filter(|c| c.role != QualityRole::Floor);
        files.filter(move |c| Some(chunk_tokens(&c.case)) == length)
    }

    /// Mean KLD of the floor in chunks of a case's length: what the engine's kernels alone differ by. Of several floors the
    /// largest.
    pub fn floor_kld(&self, case: &Case) -> Option<Estimate> {
        let floors = self.cells.iter().filter(|c| c.role == QualityRole::Floor);
        let alike = floors.filter(|c| chunk_tokens(&c.case) == chunk_tokens(case));
        let klds = alike.filter_map(|c| c.figures.kld_mean);
        klds.max_by(|a, b| a.value.total_cmp(&b.value))
    }

    /// The file, and setting of the cache, that a case of another work has: what accuracy depends on.
    pub fn of_case(&self, case: &Case) -> Option<&QualityCellView> {
        let key = |case: &Case| (case.model.clone(), case.type_k, case.type_v);
        let mut scored = self.files().filter(|c| c.is_scored());
        scored.find(|c| key(&c.case) == key(case))
    }

    pub fn any_scored(&self) -> bool {
        self.cells.iter().any(|c| c.n_chunks > 0)
    }
}

/// A file is recommended when at least this share of the base's top tokens stays.
pub const KEEPS: f64 = 0.9;

/// Tokens of a chunk.
pub fn chunk_tokens(case: &Case) -> u32 {
    case.n_prompt.saturating_add(case.n_gen)
}

impl QualityCellView {
    pub fn is_base(&self) -> bool {
        self.role == QualityRole::Base
    }

    /// Whether it has figures to show.
    pub fn is_scored(&self) -> bool {
        self.n_chunks > 0
    }

    /// Mean KLD from the base: 0 of the base itself. `None` where it has no chunk in common with the base.
    pub fn loss(&self) -> Option<f64> {
        match self.is_base() {
            true => self.is_scored().then_some(0.0),
            false => self.figures.kld_mean.map(|kld| kld.value),
        }
    }

    /// Share of positions whose most likely token is the base's: 1 of the base itself.
    pub fn same_top(&self) -> Option<f64> {
        match self.is_base() {
            true => self.is_scored().then_some(1.0),
            false => self.figures.same_top.map(|share| share.value),
        }
    }

    /// Whether it keeps at least [`KEEPS`] of the base's top tokens.
    pub fn keeps(&self) -> bool {
        self.same_top().is_some_and(|share| share >= KEEPS)
    }

    /// Whether the interval of what it keeps is on one side of [`KEEPS`].
    pub fn is_told_whether_it_keeps(&self) -> bool {
        let interval = self.figures.same_top.and_then(|share| share.interval);
        self.is_base() || interval.is_some_and(|i| i.lo >= KEEPS || i.hi < KEEPS)
    }

    /// Whether its mean KLD is not told apart from what the kernels alone differ by.
    pub fn is_at_floor(&self) -> bool {
        self.notes.contains(&QualityNote::AtFloor)
    }

    /// How much more its mean KLD is than another cell's, over the chunks that both have.
    pub fn more_loss_than(&self, other: &Self) -> Option<Interval> {
        figures::more_kld(self, other)
    }
}
