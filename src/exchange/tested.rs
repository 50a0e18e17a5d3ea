//! A run's cells as tests: other programs have a rate for the prompt and one for the generation, each by a name of its own.

use std::collections::BTreeMap;
use std::path::Path;

use crate::metric::Metric;
use crate::plan::Case;
use crate::plan::axis::AXES;
use crate::record::jsonl::{self, RecordError};
use crate::record::{Line, Repetition, RunHeader};

/// The part of a cell that a rate is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TestPart {
    Prompt,
    Generation,
    /// Both in one time, where they were not timed apart.
    Both,
}

impl TestPart {
    /// The rate of the part.
    pub fn metric(self) -> Metric {
        match self {
            Self::Prompt => Metric::PrefillTokensPerS,
            Self::Generation => Metric::DecodeTokensPerS,
            Self::Both => Metric::TotalTokensPerS,
        }
    }

    /// Tokens of all sequences in one repetition.
    pub fn n_tokens(self, case: &Case) -> u64 {
        let of = |n: u32| u64::from(n) * u64::from(case.n_seq);
        match self {
            Self::Prompt => of(case.n_prompt),
            Self::Generation => of(case.n_gen),
            Self::Both => of(case.n_prompt) + of(case.n_gen),
        }
    }

    /// The name as in llama-bench's tables: `pp512`, `tg64 @ d4096`; with the batch, `tg64 @ b8`.
    pub fn test_name(self, case: &Case) -> String {
        let mut name = match self {
            Self::Prompt => format!("pp{}", case.n_prompt),
            Self::Generation => format!("tg{}", case.n_gen),
            Self::Both => format!("pp{}+tg{}", case.n_prompt, case.n_gen),
        };
        for (n, usual, letter) in [(case.n_depth, 0, 'd'), (case.n_seq, 1, 'b')] {
            if n != usual {
                name += &format!(" @ {letter}{n}");
            }
        }
        name
    }

    /// A name that no other test of any run has unless it is the same: with the model and the settings.
    pub fn full_name(self, case: &Case) -> String {
        let mut name = format!(
            "{}/{}/t{}",
            case.model,
            self.test_name(case),
            case.n_threads
        );
        for part in AXES.iter().filter_map(|axis| axis.id_part(case)) {
            name.push('/');
            name.push_str(&part);
        }
        name
    }
}

/// What the processes of a run measured of one test.
#[derive(Debug, Clone)]
pub(crate) struct TestedPart {
    pub case: Case,
    pub part: TestPart,
    /// Tokens per second of all sequences: of each repetition, by process.
    pub rates: BTreeMap<u32, Vec<f64>>,
    /// When the first repetition began, nanoseconds since the run did.
    pub started_ns: u64,
}

impl TestedPart {
    /// The time of a repetition that had this rate.
    pub fn ns(&self, rate: f64) -> f64 {
        self.part.n_tokens(&self.case) as f64 / rate * 1e9
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
