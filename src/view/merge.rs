//! Several runs of one machine read as one: a cell that more than one of them measured has the processes of all.

use std::path::PathBuf;

use super::RunView;
use super::collect::Collector;
use super::quality::chunk_tokens;
use crate::plan::Case;
use crate::record::RunHeader;
use crate::record::difference::Difference;
use crate::record::jsonl::{self, RecordError};
use crate::record::quality::{QualityPlan, QualityRole};
use crate::request::Job;
use crate::text::short;

/// Why runs cannot be shown together.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Their cells are not of one machine, engine or file.
    #[error(
        "{path}: cannot be shown together with {first}: they differ in {differences}; report them one by one, or \
         use `ggufbench compare`"
    )]
    Different {
        path: PathBuf,
        first: String,
        differences: String,
    },
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
            merge(&mut header, &other);
            also.push(other);
        }
        Ok(collector.finish(jsonl::locate(first), header, also))
    }
}

/// What must not differ between cells, or jobs, that stand in one table.
fn serious(header: &RunHeader, other: &RunHeader) -> Vec<String> {
    let all = Difference::between(header, other, &other.plan.cases);
    let is_serious = |d: &&Difference| {
        !matches!(
            d,
            Difference::Seed { .. } | Difference::Program { .. } | Difference::RepeatedLines { .. }
        )
    };
    let serious = all.iter().filter(is_serious).map(ToString::to_string);
    let mut unlike: Vec<String> = Vec::new();
    if let (Some(mine), Some(theirs)) = (&header.requests, &other.requests) {
        for target in mine.targets.iter().filter(|t| theirs.targets.contains(t)) {
            let differs = |job: &&Job| {
                let other = theirs.job_of(target, &job.name);
                other.is_some_and(|other| other != *job)
            };
            let jobs = mine.jobs_of(target).filter(differs);
            unlike.extend(jobs.map(|job| job.name.clone()));
        }
        unlike.sort();
        unlike.dedup();
    }
    let unlike = unlike.iter().map(|job| format!("job {}", short(job)));
    serious
        .chain(unlike)
        .chain(other_text(header, other))
        .collect()
}

/// Scores of another text, or against another base, are no further chunks of the same.
fn other_text(header: &RunHeader, other: &RunHeader) -> Option<String> {
    let (ours, theirs) = (header.quality.as_ref()?, other.quality.as_ref()?);
    if ours.text_sha256 != theirs.text_sha256 {
        let (a, b) = (short(&ours.text), short(&theirs.text));
        return Some(format!("texts that were scored: {a}, {b}"));
    }
    // One for each length of chunks.
    let bases = |plan: &QualityPlan| -> Vec<Case> {
        let bases = plan.cells.iter().filter(|c| c.role == QualityRole::Base);
        bases.map(|cell| cell.case.clone()).collect()
    };
    let differs = |(a, b): &(&Case, &Case)| chunk_tokens(a) == chunk_tokens(b) && a != b;
    let (a, b) = (bases(ours), bases(theirs));
    let mut pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    let (a, b) = pairs.find(differs)?;
    let name = |case: &Case| short(case.id().as_str());
    Some(format!(
        "bases of the scored text: {}, {}",
        name(a),
        name(b)
    ))
}

fn merge(header: &mut RunHeader, other: &RunHeader) {
    let n_repeated = header.n_repeated_lines;
    header.n_repeated_lines = n_repeated.saturating_add(other.n_repeated_lines);
    let (plan, more) = (&mut header.plan, &other.plan);
    add_new(&mut plan.models, &more.models, |a, b| a.name == b.name);
    add_new(&mut plan.cases, &more.cases, PartialEq::eq);
    add_new(&mut header.warnings, &other.warnings, PartialEq::eq);
    match (&mut header.requests, &other.requests) {
        (Some(plan), Some(other)) => plan.merge(other),
        (plan @ None, Some(other)) => *plan = Some(other.clone()),
        (_, None) => {}
    }
    match (&mut header.quality, &other.quality) {
        (Some(plan), Some(other)) => {
            add_new(&mut plan.cells, &other.cells, |a, b| a.case == b.case);
        }
        (plan @ None, Some(other)) => *plan = Some(other.clone()),
        (_, None) => {}
    }
}

/// Adds what is not there yet.
fn add_new<T: Clone>(to: &mut Vec<T>, more: &[T], same: impl Fn(&T, &T) -> bool) {
    for item in more {
        if !to.iter().any(|known| same(known, item)) {
            to.push(item.clone());
        }
    }
}
