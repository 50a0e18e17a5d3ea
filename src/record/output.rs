//! What checking the output of a setting leaves behind.

use serde::{Deserialize, Serialize};

use crate::agreement::output::OutputChecked;
use crate::plan::{Case, CaseId};

/// The output of a setting, checked once a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputLine {
    /// The name of the cell in whose context it was computed.
    pub case_id: CaseId,
    /// The cell. Cells that differ in the lengths of prompts and answers alone have the same output.
    pub case: Case,
    /// The worker process.
    pub worker: u32,
    /// What was computed.
    #[serde(flatten)]
    pub checked: OutputChecked,
}

impl OutputLine {
    /// What of a cell decides its output.
    pub fn setting(case: &Case) -> Case {
        Case {
            n_prompt: 0,
            n_gen: 0,
            n_depth: 0,
            ..case.clone()
        }
    }

    /// Whether this is the output of a cell.
    pub fn is_of(&self, case: &Case) -> bool {
        Self::setting(&self.case) == Self::setting(case)
    }
}
