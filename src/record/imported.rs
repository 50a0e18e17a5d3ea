//! Where figures come from that another program measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The program that measured a run, and what its output says besides the cells. `None`: the output does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// `llama-bench` or `llama-batched-bench`.
    pub tool: String,
    /// The files that were read, without their folders.
    pub files: Vec<String>,
    /// llama.cpp's commit, as short as the program wrote it.
    pub build_commit: Option<String>,
    /// llama.cpp's build number.
    pub build_number: Option<u32>,
    /// The backends that the program was built with.
    pub backends: Option<String>,
    /// What the program recorded of its settings that is no axis of a cell, as it was written.
    pub settings: BTreeMap<String, String>,
    /// The models of the cells.
    pub models: Vec<ImportedModel>,
    /// Whether the output has the mean over repetitions only, which then counts as one repetition.
    pub has_means_only: bool,
}

/// A model as another program described it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedModel {
    /// The name in the cells.
    pub name: String,
    /// The file, as the program was given it.
    pub file: Option<String>,
    /// Such as `llama 1B Q4_0`.
    pub description: Option<String>,
    /// Bytes of all tensors.
    pub size_bytes: Option<u64>,
    /// Elements of all tensors.
    pub n_params: Option<u64>,
}

impl Imported {
    /// llama.cpp's build: `b4567 (abc1234)`, as far as it is known.
    pub fn build(&self) -> Option<String> {
        match (self.build_number, self.build_commit.as_deref()) {
            (Some(number), Some(commit)) => Some(format!("b{number} ({commit})")),
            (Some(number), None) => Some(format!("b{number}")),
            (None, commit) => commit.map(str::to_owned),
        }
    }

    /// The model of this name in the cells.
    pub fn model(&self, name: &str) -> Option<&ImportedModel> {
        self.models.iter().find(|model| model.name == name)
    }
}
