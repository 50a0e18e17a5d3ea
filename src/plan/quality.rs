//! A text to score: what is asked for, by the keys of a sweep's `[quality]`, which are also the flags of `quality`, and the cells
//! that are planned.
//!
//! A quality cell is a [`Case`] whose tokens are those of a text, cut into chunks of `n_prompt + n_gen` tokens, one chunk a
//! sequence: the first `n_prompt` are computed as a prompt, the others one after the other, as if they had been generated.
//! `n_seq` chunks are computed together. The positions from the middle of a chunk to its last but one are scored, as
//! llama.cpp's perplexity tool does (METHODOLOGY.md, "Accuracy").

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::axis::Axes;
use super::protocol::duration;
use super::{Case, PlanError};
use crate::model::ModelFacts;

/// What is to be scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityPlan {
    /// The text: the name of a bundled one, or the path of the user's.
    pub text: String,
    /// SHA-256 of its bytes.
    pub text_sha256: String,
    /// The cells: for each length of chunks the base, then those that are compared with it.
    pub cells: Vec<QualityCell>,
}

impl QualityPlan {
    /// The cell that a cell is compared with: the base of its length of chunks. The base itself has none.
    pub fn base_of(&self, case: &Case) -> Option<&QualityCell> {
        let length = |case: &Case| case.n_prompt.saturating_add(case.n_gen);
        let mut bases = self.cells.iter().filter(|c| c.role == QualityRole::Base);
        let base = bases.find(|base| length(&base.case) == length(case));
        base.filter(|base| base.case != *case)
    }
}

/// A cell of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityCell {
    /// Model and setting.
    pub case: Case,
    /// What it is measured for.
    pub role: QualityRole,
    /// Chunks that it scores, from the text's first; fewer where the text has fewer.
    pub n_chunks: u32,
}

/// What a quality cell is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualityRole {
    /// The others are compared with it.
    Base,
    /// The base's file and setting, computed in calls of another shape: what the engine's kernels alone differ by.
    Floor,
    /// What the user wants to know.
    Candidate,
}

/// Tokens of a chunk where no context is named: what llama.cpp's perplexity tool takes.
pub const CHUNK: u32 = 512;

/// Chunks where no number is named: about 16,000 tokens, of which half are scored.
const CHUNKS: u32 = 32;

/// Shorter chunks leave a token without context to speak of.
const SHORTEST: u32 = 32;

/// Most bytes of logits that a decode call may leave: llama.cpp keeps those of every scored position.
const MOST_LOGIT_BYTES: u64 = 512 << 20;

/// Sequences of the floor's cells, and how many chunks each scores: as few as show what kernels differ by.
const FLOORS: [(u32, u32); 2] = [(1, 1), (8, 8)];

/// What flags or a sweep name; `None` is what they do not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QualityChoice {
    /// The model that the others are compared with; the largest file otherwise.
    pub base: Option<String>,
    /// The text: `bundled`, or a file.
    pub text: Option<String>,
    /// Chunks of it, or `all`.
    pub chunks: Option<String>,
    /// Wall time, such as `3m`, divided among the cells.
    pub budget: Option<String>,
    /// Context (the length of a chunk), cache types and other settings.
    pub axes: Axes,
}

impl QualityChoice {
    /// Most chunks of each cell.
    ///
    /// # Errors
    /// For what is no number of chunks.
    pub fn n_chunks(&self) -> Result<u32, PlanError> {
        let Some(text) = &self.chunks else {
            return Ok(CHUNKS);
        };
        match text.trim() {
            "all" => Ok(u32::MAX),
            number => match number.parse() {
                Ok(n @ 2..) => Ok(n),
                _ => Err(PlanError::axis(
                    "chunks",
                    format!("'{text}' is not a number of chunks; at least 2, or all"),
                )),
            },
        }
    }

    /// The wall time.
    ///
    /// # Errors
    /// For what is no length of time.
    pub fn budget(&self) -> Result<Option<Duration>, PlanError> {
        let read = |text: &String| duration("budget", text);
        self.budget.as_ref().map(read).transpose()
    }

    /// The axes of the settings, in which `over` stands over what is usual for quality: one cell for each setting.
    pub fn settings(&self, under: &Axes) -> Axes {
        let axes = under.clone().overridden_by(self.axes.clone());
        let most = |threads: Vec<u32>| threads.into_iter().max().into_iter().collect();
        Axes {
            n_ctx: self.axes.n_ctx.clone().or(Some(vec![CHUNK])),
            n_prompt: Some(vec![1]),
            n_gen: Some(vec![1]),
            n_seq: Some(vec![1]),
            n_depth: None,
            n_threads: axes.n_threads.clone().map(most),
            ..axes
        }
    }

    /// The cells of these settings: for each length of chunks the base, its floor, and the others.
    ///
    /// # Errors
    /// [`PlanError`] for chunks that are too short.
    pub fn cells(
        &self,
        settings: &[Case],
        base: &str,
        models: &[ModelFacts],
    ) -> Result<Vec<QualityCell>, PlanError> {
        let n_chunks = self.n_chunks()?;
        let together = self.axes.n_seq.as_ref().and_then(|n| n.first().copied());
        let mut lengths: Vec<u32> = Vec::new();
        for setting in settings {
            if setting.n_ctx < SHORTEST {
                return Err(PlanError::axis(
                    "n_ctx",
                    format!(
                        "chunks of {} tokens leave no context; at least {SHORTEST}",
                        setting.n_ctx
                    ),
                ));
            }
            if !lengths.contains(&setting.n_ctx) {
                lengths.push(setting.n_ctx);
            }
        }
        let scored = |setting: &Case, role| {
            let model = models.iter().find(|m| m.name == setting.model);
            let n_vocab = model.map_or(1, |m| m.n_vocab);
            QualityCell {
                case: Case {
                    n_prompt: setting.n_ctx,
                    n_gen: 0,
                    n_seq: together.unwrap_or_else(|| chunks_together(setting, n_vocab)),
                    ..setting.clone()
                },
                role,
                n_chunks,
            }
        };
        let mut cells = Vec::new();
        for length in lengths {
            let mut of_length: Vec<&Case> = settings.iter().filter(|s| s.n_ctx == length).collect();
            if let Some(at) = of_length.iter().position(|s| s.model == base) {
                let own = of_length.remove(at);
                cells.push(scored(own, QualityRole::Base));
                if !of_length.is_empty() {
                    cells.extend(floors(own, n_chunks));
                }
            }
            let others = of_length.into_iter();
            cells.extend(others.map(|s| scored(s, QualityRole::Candidate)));
        }
        Ok(cells)
    }
}

/// Chunks in one decode call: as many as its batch and the memory for its logits hold.
fn chunks_together(setting: &Case, n_vocab: u32) -> u32 {
    let in_batch = setting.n_batch / setting.n_ctx;
    let logit_bytes = u64::from(setting.n_ctx / 2) * u64::from(n_vocab) * 4;
    let in_memory = MOST_LOGIT_BYTES / logit_bytes.max(1);
    in_batch
        .min(u32::try_from(in_memory).unwrap_or(u32::MAX))
        .max(1)
}

/// The base with the scored half of each chunk decoded token by token, by one and by eight sequences.
fn floors(base: &Case, n_chunks: u32) -> impl Iterator<Item = QualityCell> + use<'_> {
    FLOORS.into_iter().map(move |(n_seq, most)| QualityCell {
        case: Case {
            n_prompt: base.n_ctx / 2,
            n_gen: base.n_ctx - base.n_ctx / 2,
            n_seq,
            ..base.clone()
        },
        role: QualityRole::Floor,
        n_chunks: n_chunks.min(most),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::KvType;
    use crate::plan::expand::{Host, cases};

    fn settings(choice: &QualityChoice) -> Vec<Case> {
        let host = Host {
            n_threads: 2,
            n_gpu_layers: 0,
        };
        let models = ["f16", "q4"].map(str::to_owned);
        cases(&choice.settings(&Axes::default()), &models, &[], host).expect("valid")
    }

    #[test]
    fn every_length_has_its_base_its_floor_and_the_others() {
        let choice = QualityChoice {
            axes: Axes {
                n_ctx: Some(vec![512, 1024]),
                type_k: Some(vec![KvType::F16, KvType::Q8_0]),
                ..Axes::default()
            },
            ..QualityChoice::default()
        };
        let cells = choice.cells(&settings(&choice), "f16", &[]).expect("valid");
        let shown: Vec<String> = cells
            .iter()
            .map(|c| format!("{:?} {} x{}", c.role, c.case.id(), c.n_chunks))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn chunks_and_contexts_that_make_no_sense_are_refused() {
        let of = |chunks: &str| QualityChoice {
            chunks: Some(chunks.to_owned()),
            ..QualityChoice::default()
        };
        assert_eq!(of("all").n_chunks(), Ok(u32::MAX));
        assert_eq!(of("7").n_chunks(), Ok(7));
        assert_eq!(QualityChoice::default().n_chunks(), Ok(CHUNKS));
        for wrong in ["1", "0", "-3", "many"] {
            assert!(of(wrong).n_chunks().is_err(), "{wrong}");
        }
        let short = QualityChoice {
            axes: Axes {
                n_ctx: Some(vec![16]),
                ..Axes::default()
            },
            ..QualityChoice::default()
        };
        let e = short
            .cells(&settings(&short), "f16", &[])
            .expect_err("short");
        assert!(e.to_string().contains("at least 32"), "{e}");
    }

    #[test]
    fn logits_of_large_vocabularies_are_computed_chunk_by_chunk() {
        let case = &settings(&QualityChoice::default())[0];
        assert_eq!(chunks_together(case, 49_152), 4, "the batch of 2048");
        assert_eq!(chunks_together(case, 262_144), 2);
        assert_eq!(chunks_together(case, 4_000_000), 1);
    }
}
