//! What every format shows: a run's record turned into figures, once.
//!
//! A record is read line by line and only numbers are kept: eight bytes a decode step and a handful a
//! repetition. Several runs of one machine can be read as one. Definitions follow METHODOLOGY.md, sections 1 and 3.

mod any_cell;
mod cell;
mod collect;
mod energy;
mod estimate;
#[cfg(test)]
pub(crate) mod fixture;
mod merge;
pub(crate) mod quality;
mod repetition;
pub(crate) mod requests;
mod steps;
mod test_part;
pub(crate) mod usage;
mod warning;

use std::path::{Path, PathBuf};

use crate::model::ModelFacts;
use crate::price::Price;
use crate::record::jsonl::{self, RecordError};
use crate::record::output::OutputLine;
use crate::record::{EndLine, RunHeader};
use collect::Collector;

pub(crate) use any_cell::AnyCell;
pub(crate) use cell::{CellOutcome, CellView, Failure, Intervals, StepTimes};
pub(crate) use energy::{CellEnergy, why_unmeasurable};
pub(crate) use estimate::Estimate;
pub(crate) use quality::{QualityCellView, QualityView};
pub(crate) use repetition::RepetitionTime;
pub(crate) use requests::RequestsView;
pub(crate) use steps::Steps;
pub(crate) use test_part::TestPart;
pub(crate) use usage::CellUsage;
pub(crate) use warning::{CellWarning, CountOf, Repeated};

/// A run as its record tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// The record that was read.
    pub record: PathBuf,
    /// Machine, engine, plan. Of several runs read as one, the first's, with all their models and cases.
    pub header: RunHeader,
    /// The headers of the further runs read as one with the first.
    pub also: Vec<RunHeader>,
    /// Every planned cell, in the plan's order.
    pub cells: Vec<CellView>,
    /// Its requests; none for a run of cells only.
    pub requests: Option<RequestsView>,
    /// The text it scored; none for a run that measured speed alone.
    pub quality: Option<QualityView>,
    /// The outputs that were checked, in the record's order.
    pub outputs: Vec<OutputLine>,
    /// How the run ended; none when it is still going on, or was cut off.
    pub end: Option<EndLine>,
    /// What energy costs, where the reader has given a price; not in the record.
    pub price: Option<Price>,
}

impl RunView {
    /// What a million generated tokens of a cell cost; none where no price was said, or no energy measured.
    pub fn cost_per_million_tokens(&self, cell: &CellView) -> Option<f64> {
        let price = self.price.as_ref()?;
        Some(price.of_million_tokens(cell.joules_per_token()?))
    }

    /// Reads a run: its folder, or its record.
    ///
    /// # Errors
    /// [`RecordError`]. Whatever parses can be shown.
    pub fn read(run: &Path) -> Result<Self, RecordError> {
        let mut collector = Collector::default();
        let header = collector.read(run)?;
        Ok(collector.finish(jsonl::locate(run), header, Vec::new()))
    }

    /// The names of its runs.
    pub fn runs(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.header)
            .chain(&self.also)
            .map(|h| h.run.as_str())
    }

    /// The facts of a cell's model, when the plan has them.
    pub fn model(&self, name: &str) -> Option<&ModelFacts> {
        self.header.plan.models.iter().find(|m| m.name == name)
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        match self.record.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// Whether there is a measured cell of batches.
    pub fn any_batch_measured(&self) -> bool {
        self.cells
            .iter()
            .any(|c| c.outcome == CellOutcome::Measured)
    }
}

#[cfg(test)]
mod tests;
