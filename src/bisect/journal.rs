//! The record of a search: one JSON object a line, `schema/bisect.schema.json`. A search that is started again reads what was answered.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::build::BuildRecipe;
use super::repository::Revision;
use super::search::RevisionAnswer;
use crate::build_info::BuildInfo;
use crate::host::Machine;
use crate::model::ModelFacts;
use crate::plan::Case;
use crate::stats::Interval;
use crate::stats::sequential::{PairDecision, PairRule};

/// Version of the record's form.
pub(crate) const BISECT_SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum BisectLine<'a> {
    /// Each start of the search has one.
    Bisect(&'a BisectHeader),
    Step(&'a BisectStep),
}

/// What a search is of.
#[derive(Debug, Serialize)]
pub(crate) struct BisectHeader {
    pub schema: u32,
    pub started_at: String,
    /// The command line, without the program's path.
    pub args: Vec<String>,
    pub program: BuildInfo,
    pub machine: Machine,
    pub n_revisions: usize,
    #[serde(flatten)]
    pub identity: BisectIdentity,
}

/// What must be equal for an answer to be used again.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BisectIdentity {
    pub repository: PathBuf,
    pub good: Revision,
    pub bad: Revision,
    pub recipe: BuildRecipe,
    pub case: Case,
    pub model: ModelFacts,
    pub repetitions: u32,
    pub seed: u64,
    pub rule: PairRule,
    /// Of the machine.
    pub fingerprint: String,
}

/// A relative slow-down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlowdownEffect {
    /// 0.1 takes a tenth more time.
    pub change: f64,
    /// Its 95% interval; `None` with too few pairs for one.
    pub interval: Option<[f64; 2]>,
}

impl SlowdownEffect {
    pub fn of(decision: &PairDecision) -> Self {
        let ends = |i: Interval| [i.lo.exp_m1(), i.hi.exp_m1()];
        Self {
            change: decision.estimate.exp_m1(),
            interval: decision.interval.map(ends),
        }
    }
}

/// A revision that was built and measured against another, or could not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BisectStep {
    #[serde(flatten)]
    pub revision: Revision,
    /// The commit it was measured against.
    pub against: String,
    pub answer: RevisionAnswer,
    /// `None` without a pair.
    pub effect: Option<SlowdownEffect>,
    /// Log ratios of the pairs, the revision over the other one, in their order.
    pub log_ratios: Vec<f64>,
    /// Visits of the revision that failed; their pairs are left out.
    pub n_failures: u32,
    /// Why it was skipped.
    pub why: Option<String>,
    /// Chance that such an answer is wrong; 0 where there is none.
    pub error: f64,
    /// `None` where its program had been built before.
    pub build_ns: Option<u64>,
    pub measure_ns: u64,
}

/// The record, open for further steps.
#[derive(Debug)]
pub(crate) struct BisectJournal {
    pub path: PathBuf,
    file: File,
    known: Vec<BisectStep>,
}

impl BisectJournal {
    /// Opens the record at `path`, with the steps that it has.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => {
                return Err(e).with_context(|| format!("{}: cannot be read", path.display()));
            }
        };
        // The last line of a search that was killed may be cut off.
        let known = text.lines().filter_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_step = value["kind"] == "step";
            is_step.then(|| serde_json::from_value(value).ok())?
        });
        let known = known.collect();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            known,
        })
    }

    /// The step that an earlier start made of a revision against another.
    pub fn known(&self, revision: &Revision, against: &Revision) -> Option<BisectStep> {
        let is_it = |step: &&BisectStep| {
            step.revision.commit == revision.commit && step.against == against.commit
        };
        self.known.iter().find(is_it).cloned()
    }

    /// # Errors
    /// When the line cannot be written.
    pub fn append(&mut self, line: &BisectLine<'_>) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.flush())
            .with_context(|| format!("{}: cannot be written", self.path.display()))
    }
}
