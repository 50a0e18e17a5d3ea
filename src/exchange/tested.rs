//! A run's cells as tests: other programs have a rate for the prompt and one for the generation, each by a name of its own.

use std::collections::BTreeMap;
use std::path::Path;

use crate::measure::Phase;
use crate::plan::Case;
use crate::record::jsonl::{self, RecordError};
use crate::record::{Line, Repetition, RunHeader};
use crate::view::TestPart;

/// What the processes of a run measured of one test.
#[derive(Debug, Clone)]
pub(crate) struct TestedPart {
    pub case: Case,
    pub part: TestPart,
    /// Tokens per second of all sequences: of each repetition, by process.
    pub rates: BTreeMap<u32, Vec<f64>>,
    /// Tokens that a repetition evaluated in this part: fewer than the case has where sequences shared a prompt.
    n_tokens: u64,
    /// When the first repetition began, nanoseconds since the run did.
    pub started_ns: u64,
}

impl TestedPart {
    /// The time of a repetition that had this rate.
    pub fn ns(&self, rate: f64) -> f64 {
        self.n_tokens as f64 / rate * 1e9
    }

    /// The rates of all processes.
    pub fn all_rates(&self) -> impl Iterator<Item = f64> {
        self.rates.values().flatten().copied()
    }
}

/// The tests of a run's cells that are wanted, in the plan's order.
///
/// # Errors
/// The record's.
pub(crate) fn tested(
    run: &Path,
    is_wanted: &dyn Fn(&Case) -> bool,
) -> Result<(RunHeader, Vec<TestedPart>), RecordError> {
    let mut found: Vec<TestedPart> = Vec::new();
    let header = jsonl::read(run, |line| {
        let Line::Repetition(r) = line else { return };
        if !is_wanted(&r.case) {
            return;
        }
        for (part, rate) in parts(&r) {
            let known = found
                .iter()
                .position(|t| t.part == part && t.case == r.case);
            let at = known.unwrap_or_else(|| {
                found.push(TestedPart {
                    case: r.case.clone(),
                    part,
                    n_tokens: n_tokens(&r, part),
                    rates: BTreeMap::new(),
                    started_ns: r.started_ns,
                });
                found.len() - 1
            });
            found[at].rates.entry(r.replicate).or_default().push(rate);
        }
    })?;
    let planned = |test: &TestedPart| {
        let mut cases = header.plan.cases.iter();
        (cases.position(|case| *case == test.case), test.part)
    };
    found.sort_by_key(planned);
    Ok((header, found))
}

/// The tokens that a part's rate counts. Another program's totals say how many were evaluated.
fn n_tokens(r: &Repetition, part: TestPart) -> u64 {
    let is_of = |phase: Phase| match part {
        TestPart::Prompt => phase == Phase::Prefill,
        TestPart::Generation => phase == Phase::Decode,
        TestPart::Both => true,
    };
    let told = r.totals.iter().filter(|total| is_of(total.phase));
    match told.map(|total| total.n_tokens).sum() {
        n if n > 0 && r.calls.is_empty() => n,
        _ => part.n_tokens(&r.case),
    }
}

/// The tests that a repetition is, with its rates.
fn parts(r: &Repetition) -> Vec<(TestPart, f64)> {
    let of = |part: TestPart| Some((part, part.metric().of_repetition(&r.timed(None))?));
    let apart: Vec<_> = [TestPart::Prompt, TestPart::Generation]
        .into_iter()
        .filter_map(of)
        .collect();
    match apart.is_empty() {
        true => of(TestPart::Both).into_iter().collect(),
        false => apart,
    }
}
