//! From lines to quality cells: what is kept of a scored text while a record is read.

use std::collections::{BTreeMap, HashMap};

use super::figures::{self, PairedChunk, QualityFigures};
use super::{FEWEST_CHUNKS, QualityCellView, QualityNote, QualityView, chunk_tokens};
use crate::metric::ChunkScores;
use crate::model::ModelFacts;
use crate::plan::{Case, CaseId};
use crate::record::Outcome;
use crate::record::quality::{
    ChunkLine, QualityCell, QualityLine, QualityPlan, QualityRole, ScoredChunk,
};
use crate::text::plural;
use crate::view::{CellOutcome, Estimate};

/// The lines of quality cells, as far as they were read.
#[derive(Debug, Default)]
pub struct QualityCollector {
    cells: HashMap<Case, QualityLines>,
}

#[derive(Debug, Default)]
struct QualityLines {
    case_id: Option<CaseId>,
    /// By number: a chunk that is recorded again counts once.
    chunks: BTreeMap<u32, ScoredChunk>,
    /// The latest: a resumed run makes good for what failed before.
    outcome: Option<Outcome>,
    load_ns: Option<u64>,
    n_text_tokens: Option<u32>,
}

impl QualityCollector {
    pub fn note_chunk(&mut self, line: ChunkLine) {
        let cell = self.cells.entry(line.case).or_default();
        cell.case_id.get_or_insert(line.case_id);
        cell.chunks.insert(line.scored.chunk, line.scored);
    }

    pub fn note_outcome(&mut self, line: QualityLine) {
        let cell = self.cells.entry(line.case).or_default();
        cell.case_id.get_or_insert(line.case_id);
        cell.outcome = Some(line.outcome);
        cell.load_ns = line.load_ns.or(cell.load_ns);
        cell.n_text_tokens = line.n_text_tokens.or(cell.n_text_tokens);
    }

    /// The scores of each planned cell's chunks, against its base where both scored the same tokens. A chunk is known by a number made
    /// of its tokens, so that chunks of two runs are pairs only where the model split the text alike.
    pub fn scores(&self, plan: &QualityPlan) -> Vec<(Case, BTreeMap<u32, ChunkScores>)> {
        let scores = |cell: &QualityCell| {
            let base = base_of(plan, cell).and_then(|base| self.cells.get(base));
            let lines = self.cells.get(&cell.case);
            let chunks = lines.map(|lines| lines.scores(base)).unwrap_or_default();
            (cell.case.clone(), chunks)
        };
        plan.cells.iter().map(scores).collect()
    }

    /// The planned cells; `None` where no text was to be scored.
    pub fn finish(&self, plan: Option<&QualityPlan>, models: &[ModelFacts]) -> Option<QualityView> {
        let plan = plan?;
        let nothing = QualityLines::default();
        let cell = |cell: &QualityCell| {
            let lines_of = |case: &Case| self.cells.get(case).unwrap_or(&nothing);
            let facts = models.iter().find(|m| m.name == cell.case.model);
            let base = (cell.role != QualityRole::Base)
                .then(|| base_of(plan, cell).map_or(&nothing, lines_of));
            lines_of(&cell.case).view(cell, base, facts)
        };
        let mut cells: Vec<QualityCellView> = plan.cells.iter().map(cell).collect();
        let lengths: Vec<u32> = cells.iter().map(|c| chunk_tokens(&c.case)).collect();
        let place = |c: &QualityCellView| lengths.iter().position(|n| *n == chunk_tokens(&c.case));
        cells.sort_by_key(|c| (place(c), !c.is_base()));
        let mut view = QualityView {
            text: plan.text.clone(),
            text_sha256: plan.text_sha256.clone(),
            cells,
        };
        note_others(&mut view);
        Some(view)
    }
}

/// The cell that a cell is compared with: the base that cuts the text alike. The base itself has none.
fn base_of<'a>(plan: &'a QualityPlan, cell: &QualityCell) -> Option<&'a Case> {
    let mut cases = plan.cells.iter();
    let base = cases.find(|other| {
        other.role == QualityRole::Base && chunk_tokens(&other.case) == chunk_tokens(&cell.case)
    })?;
    Some(&base.case).filter(|_| cell.role != QualityRole::Base)
}

/// The notes for which other cells have to be known.
fn note_others(view: &mut QualityView) {
    let alike = |a: &Case, b: &Case| chunk_tokens(a) == chunk_tokens(b);
    let known = view.cells.iter().map(|cell| {
        let others = view
            .cells
            .iter()
            .filter(|other| alike(&cell.case, &other.case));
        let files = others.filter(|other| other.role != QualityRole::Floor);
        let most = files.map(|other| other.n_chunks).max().unwrap_or(0);
        (most, view.floor_kld(&cell.case))
    });
    let known: Vec<(u32, Option<Estimate>)> = known.collect();
    for (cell, (most, floor)) in view.cells.iter_mut().zip(known) {
        if cell.is_scored() && cell.n_chunks < most && cell.role != QualityRole::Floor {
            let n = cell.n_chunks;
            cell.notes.push(QualityNote::FewerChunks { n, most });
        }
        if let (Some(floor), Some(kld), QualityRole::Candidate) =
            (floor, cell.figures.kld_mean, cell.role)
        {
            let least = kld.interval.map_or(kld.value, |i| i.lo);
            let most = floor.interval.map_or(floor.value, |i| i.hi);
            if least <= most {
                cell.notes.push(QualityNote::AtFloor);
            }
        }
    }
}

impl QualityLines {
    fn paired<'a>(&'a self, base: Option<&'a Self>) -> Vec<PairedChunk<'a>> {
        let same = |own: &ScoredChunk, base: &ScoredChunk| {
            own.tokens_hash == base.tokens_hash && own.nll.len() == base.nll.len()
        };
        let of_base = |own: &ScoredChunk| {
            let base = base?.chunks.get(&own.chunk);
            base.filter(|base| same(own, base))
        };
        let chunks = self.chunks.values().filter(|own| !own.nll.is_empty());
        let paired = chunks.map(|own| PairedChunk {
            own,
            base: of_base(own),
        });
        paired.collect()
    }

    fn scores(&self, base: Option<&Self>) -> BTreeMap<u32, ChunkScores> {
        let paired = self.paired(base);
        let scores = paired.iter();
        let unit = |own: &ScoredChunk| own.tokens_hash as u32;
        let scores = scores.filter_map(|c| Some((unit(c.own), figures::scores(c)?)));
        scores.collect()
    }

    /// `base` is none for the base itself.
    fn view(
        &self,
        cell: &QualityCell,
        base: Option<&Self>,
        facts: Option<&ModelFacts>,
    ) -> QualityCellView {
        let paired = self.paired(base);
        let all = QualityFigures::of(&paired, chunk_tokens(&cell.case));
        let n_chunks = count(paired.len());
        let n_paired = match base {
            None => n_chunks,
            Some(_) => count(paired.iter().filter(|c| c.base.is_some()).count()),
        };
        let (outcome, outcome_detail) = self.outcome(n_chunks);
        let scored = paired.iter().map(|c| c.own.nll.len() as u64);
        QualityCellView {
            case_id: self.case_id.clone().unwrap_or_else(|| cell.case.id()),
            case: cell.case.clone(),
            role: cell.role,
            outcome,
            outcome_detail,
            planned_chunks: cell.n_chunks,
            n_chunks,
            n_paired,
            n_scored: scored.sum(),
            figures: match base {
                None => all.of_base(),
                Some(_) => all,
            },
            chunks: self.scores(base),
            notes: self.notes(cell, base, n_chunks, facts),
            load_ns: self.load_ns,
            n_text_tokens: self.n_text_tokens,
        }
    }

    fn outcome(&self, n_chunks: u32) -> (CellOutcome, String) {
        match &self.outcome {
            Some(Outcome::Measured { .. }) => {
                let n = plural(n_chunks, "chunk", "chunks");
                (CellOutcome::Measured, format!("scored {n}"))
            }
            Some(outcome) => (CellOutcome::of(outcome), outcome.to_string()),
            None if n_chunks > 0 => {
                let text = "interrupted: the run was cut off".to_owned();
                (CellOutcome::Interrupted, text)
            }
            None => (CellOutcome::Missing, "missing: not scored yet".to_owned()),
        }
    }

    fn notes(
        &self,
        cell: &QualityCell,
        base: Option<&Self>,
        n_chunks: u32,
        facts: Option<&ModelFacts>,
    ) -> Vec<QualityNote> {
        let mut notes = Vec::new();
        let from = facts.and_then(|m| m.requantized_from.clone());
        match cell.role {
            QualityRole::Base => {
                notes.push(QualityNote::Base);
                notes.extend(from.map(|from| QualityNote::BaseRequantized { from }));
            }
            QualityRole::Floor => notes.push(QualityNote::Floor {
                n_seq: cell.case.n_seq,
            }),
            QualityRole::Candidate => {
                notes.extend(from.map(|from| QualityNote::Requantized { from }));
            }
        }
        if let Some(base) = base.filter(|_| n_chunks > 0) {
            let both = self.chunks.values();
            let both = both.filter_map(|own| Some((own, base.chunks.get(&own.chunk)?)));
            let same: Vec<bool> = both
                .map(|(own, of)| own.tokens_hash == of.tokens_hash)
                .collect();
            let n = count(same.iter().filter(|same| !**same).count());
            match same.is_empty() {
                true => notes.push(QualityNote::NoBase),
                false if n > 0 => notes.push(QualityNote::OtherTokens {
                    n,
                    of: count(same.len()),
                }),
                false => {}
            }
        }
        let is_few = (1..FEWEST_CHUNKS as u32).contains(&n_chunks);
        if is_few && cell.role != QualityRole::Floor {
            notes.push(QualityNote::FewChunks { n: n_chunks });
        }
        notes
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
