//! What is to be measured: a [`Plan`] of [`Case`]s under one [`Protocol`], typed and validated
//! before any model is loaded.

pub mod axis;
pub mod budget;
pub mod expand;
#[cfg(test)]
pub(crate) mod fixture;
pub mod forecast;
mod offload;
pub mod protocol;
pub mod quality;
pub mod remedy;
pub mod requests;
pub mod run_time;
pub mod serving;
mod setting;
pub mod sweep;
pub mod values;
pub mod vram;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::ModelFacts;
use crate::roofline::cost::KvCache;
use crate::roofline::work::Geometry;

pub use axis::{Axis, Case, LoadKey};
pub use offload::{Devices, RpcServers, TensorSplit};
pub use setting::{FlashAttn, KvSizing, KvType, SplitMode};

/// llama.cpp pads the cells of every sequence's KV cache to a multiple of this (`llama-context.cpp`).
pub use crate::roofline::cost::KV_PAD;

/// Decode steps of a warm-up round: the first steps of an untimed repetition.
pub const WARMUP_STEPS: u32 = 8;

/// Most sequences llama.cpp decodes together (`llama_max_parallel_sequences`, `LLAMA_MAX_SEQ`).
pub const MAX_SEQ: u32 = 256;

/// Most threads of the engine (`GGML_MAX_N_THREADS`).
pub const MAX_THREADS: u32 = 512;

/// A plan that cannot be measured as asked. Each message names the key, the value and the remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An axis value that does not parse or lies out of range.
    #[error("{key}: {reason}")]
    Axis {
        /// The flag or sweep key.
        key: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A sweep file that cannot be read as one.
    #[error("{path}{}: {reason}", line.map(|l| format!(":{l}")).unwrap_or_default())]
    Sweep {
        /// The file.
        path: String,
        /// The line of the mistake, from 1, when it has one.
        line: Option<usize>,
        /// What is wrong there.
        reason: String,
    },
    /// Nothing to measure.
    #[error("no cell is left: the exclusions match every combination")]
    NothingLeft,
    /// A combination of values that no cell can have.
    #[error("{0}")]
    Impossible(String),
}

impl PlanError {
    /// An [`PlanError::Axis`] of a key and a reason.
    pub fn axis(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Axis {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

impl Case {
    /// Tokens of each sequence in the cache when the last decode step has run.
    pub fn n_used(&self) -> u32 {
        [self.n_prompt, self.n_gen]
            .into_iter()
            .fold(self.n_depth, u32::saturating_add)
    }

    /// Cells of the KV cache each sequence gets, padded as the engine pads.
    pub fn n_ctx_seq(&self) -> u32 {
        match self.kv {
            KvSizing::Full => padded(self.n_ctx),
            KvSizing::Fit => padded(self.n_used()),
        }
    }

    /// Cells of the whole KV cache, over all sequences.
    pub fn n_ctx_total(&self) -> u32 {
        self.n_ctx_seq().saturating_mul(self.n_seq)
    }

    /// Most tokens that the engine really computes at once: neither batch is larger than the whole context.
    pub fn n_ubatch_used(&self) -> u32 {
        self.n_ubatch.min(self.n_batch).min(self.n_ctx_total())
    }

    /// Cells that each sequence has in the caches of layers which look back `n_window` tokens.
    pub fn sliding_cells(&self, n_window: u32) -> u32 {
        self.kv_cache()
            .sliding_cells(n_window)
            .min(self.n_ctx_seq())
    }

    /// Whether a repetition can go back to its depth without computing it anew: a recurrent state cannot, and a
    /// sliding window's cells may be overwritten by then.
    pub fn can_return_to_depth(&self, model: &ModelFacts) -> bool {
        let is_kept = model.sliding.is_none_or(|s| {
            let later = self.n_prompt.saturating_add(self.n_gen);
            let needed = s.n_window.saturating_add(later).min(self.n_used());
            self.swa_full || needed <= self.sliding_cells(s.n_window)
        });
        model.state_elements_per_seq == 0 && is_kept
    }

    /// Most tokens that one decode call of the case has.
    pub fn largest_call(&self) -> u32 {
        let at_once = u64::from(self.n_seq) * u64::from(self.n_prompt.max(self.n_depth).max(1));
        u32::try_from(at_once).map_or(self.n_batch, |n| n.min(self.n_batch))
    }

    /// What the roofline needs to know of the KV cache.
    pub fn kv_cache(&self) -> KvCache {
        KvCache {
            k_bytes: self.type_k.bytes_per_element(),
            v_bytes: self.type_v.bytes_per_element(),
            // The cells beyond the windows are of the whole cache, which all sequences may share.
            beyond_window: (!self.swa_full).then(|| match self.kv_unified {
                true => self.n_ubatch_used().div_ceil(self.n_seq.max(1)),
                false => self.n_ubatch_used(),
            }),
        }
    }

    /// What decides the kernels of the case's calls besides the model.
    pub fn geometry(&self) -> Geometry {
        let ggml_name = |t: KvType| t.to_string().to_ascii_uppercase();
        Geometry {
            type_k: ggml_name(self.type_k),
            type_v: ggml_name(self.type_v),
            n_batch: self.n_batch,
            n_ubatch: self.n_ubatch.min(self.n_batch),
            sample: self.sample,
            kv_unified: self.kv_unified,
            beyond_window: self.kv_cache().beyond_window,
        }
    }

    /// Tokens in each sequence's cache before the middle one of its decode steps: what a median step sees.
    pub fn mid_past(&self) -> u32 {
        [self.n_prompt, self.n_gen / 2]
            .into_iter()
            .fold(self.n_depth, u32::saturating_add)
    }

    /// The case's name in records and tables; equal cases have equal names in every run.
    pub fn id(&self) -> CaseId {
        CaseId::of(self)
    }
}

fn padded(cells: u32) -> u32 {
    cells.checked_next_multiple_of(KV_PAD).unwrap_or(u32::MAX)
}

/// A case's name, like `smollm2-135m-q4_0/pp128/tg64/b32/d0/t2`: the first six parts always, the
/// others where they differ from what goes without saying.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaseId(String);

impl CaseId {
    fn of(c: &Case) -> Self {
        let mut id = format!(
            "{}/pp{}/tg{}/b{}/d{}/t{}",
            c.model, c.n_prompt, c.n_gen, c.n_seq, c.n_depth, c.n_threads
        );
        for part in axis::AXES.iter().filter_map(|axis| axis.id_part(c)) {
            id.push('/');
            id.push_str(&part);
        }
        Self(id)
    }

    /// A job of requests where cells are named otherwise.
    pub fn of_job(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the cases are measured; METHODOLOGY.md says why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Seed of the prompts, the cell order and the bootstrap.
    pub seed: u64,
    /// Worker processes every cell is measured in.
    pub replicates: u32,
    /// Most worker processes: beyond `replicates`, cells whose interval over processes is wider than `precision` get
    /// more. None: no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicates: Option<u32>,
    /// Of two sides measured in turns until every cell is decided: the change that does not matter. Then a cell gets pairs of
    /// processes, from `replicates` to `max_replicates`, until `crate::stats::sequential` has a verdict. None: `precision` decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_tolerance: Option<f64>,
    /// Whether each pair has as many repetitions as the noise of earlier pairs asks for, between the fewest and the most.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chooses_repetitions: bool,
    /// Whether two sides take turns within their repetitions too, every few decode steps, where both workers can. What a
    /// repetition did is in its line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub turns_of_steps: bool,
    /// Whether the output of every setting is checked before it is first timed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check_output: bool,
    /// Fewest repetitions of a cell in one process.
    pub min_repetitions: u32,
    /// Most repetitions of a cell in one process.
    pub max_repetitions: u32,
    /// A cell is done in a process when the 95% interval of its median step there is within this share
    /// of it, to each side.
    pub precision: f64,
    /// Wall time for the whole run, or none. The fewest repetitions are made even when it is over.
    pub budget_ns: Option<u64>,
    /// A worker silent for longer than this is killed; none means twenty times the estimate, and at least a minute,
    /// ten minutes with layers on a device.
    pub timeout_ns: Option<u64>,
}

impl Protocol {
    /// Most worker processes a cell is measured in.
    pub fn most_replicates(&self) -> u32 {
        self.max_replicates
            .unwrap_or(self.replicates)
            .max(self.replicates)
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            seed: 42,
            replicates: 3,
            max_replicates: None,
            pair_tolerance: None,
            chooses_repetitions: false,
            turns_of_steps: false,
            check_output: false,
            min_repetitions: 3,
            max_repetitions: 10,
            precision: 0.02,
            budget_ns: None,
            timeout_ns: None,
        }
    }
}

/// Everything a run will do, as recorded in its first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the sweep, used in the run's folder.
    pub name: String,
    /// How the cases are measured.
    pub protocol: Protocol,
    /// The models, in the order they were asked for.
    pub models: Vec<ModelFacts>,
    /// The cases, in the order of the table.
    pub cases: Vec<Case>,
}

impl Plan {
    /// The facts of a case's model.
    ///
    /// # Panics
    /// When the case is not of this plan.
    pub fn model_of(&self, case: &Case) -> &ModelFacts {
        self.models
            .iter()
            .find(|m| m.name == case.model)
            .expect("every case of a plan names one of its models")
    }
}
