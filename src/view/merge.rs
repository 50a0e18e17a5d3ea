//! Several runs of one machine read as one: a cell that more than one of them measured has the processes of all.

use std::path::PathBuf;

use super::collect::Collector;
use super::{RunView, requests};
use crate::compare::difference::Difference;
use crate::record::RunHeader;
use crate::record::jsonl::{self, RecordError};

/// Why runs cannot be shown together.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// One of them cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Their cells are not of one machine, engine or file.
    #[error(
        "{path}: cannot be shown together with {first}: they differ in {differences}; report them one by one, or \
         use `ggufbench compare`"
    )]
    Different {
        /// The run.
        path: PathBuf,
        /// The first run.
        first: String,
        /// What is not the same.
        differences: String,
    },
    /// No run was named.
    #[error("no run to read")]
    None,
}

impl RunView {
    /// Reads several runs as one: the first one's header, with the models, cases and warnings of all.
    ///
    /// # Errors
    /// [`ViewError`]: also when machine, engine or a model's file are not the same in all of them.
    pub fn read_all(runs: &[PathBuf]) -> Result<Self, ViewError> {
        let (first, others) = runs.split_first().ok_or(ViewError::None)?;
        let mut collector = Collector::default();
        let mut header = collector.read(first)?;
        let mut also = Vec::new();
        for run in others {
            let other = collector.read(run)?;
            let differences = serious(&header, &other);
            if !differences.is_empty() {
                return Err(ViewError::Different {
                    path: run.clone(),
                    first: header.run,
                    differences: differences.join("; "),
                });
            }
            take_in(&mut header, &other);
            also.push(other);
        }
        Ok(collector.finish(jsonl::locate(first), header, also))
    }
}

/// What must not differ between cells that stand in one table.
fn serious(header: &RunHeader, other: &RunHeader) -> Vec<String> {
    let all = Difference::between(header, other, &other.plan.cases);
    let is_serious = |d: &&Difference| {
        !matches!(
            d,
            Difference::Seed { .. } | Difference::Program { .. } | Difference::RepeatedLines { .. }
        )
    };
    let serious = all.iter().filter(is_serious);
    let mut serious: Vec<String> = serious.map(ToString::to_string).collect();
    serious.extend(requests::unlike(&header.requests, &other.requests));
    serious
}

fn take_in(header: &mut RunHeader, other: &RunHeader) {
    header.n_repeated_lines = header
        .n_repeated_lines
        .saturating_add(other.n_repeated_lines);
    for model in &other.plan.models {
        if !header.plan.models.iter().any(|m| m.name == model.name) {
            header.plan.models.push(model.clone());
        }
    }
    for case in &other.plan.cases {
        if !header.plan.cases.contains(case) {
            header.plan.cases.push(case.clone());
        }
    }
    for warning in &other.warnings {
        if !header.warnings.contains(warning) {
            header.warnings.push(warning.clone());
        }
    }
    requests::take_in(&mut header.requests, &other.requests);
}
