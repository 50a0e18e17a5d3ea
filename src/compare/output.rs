//! The outputs of two sides held against each other, and the sequences of each side's batches against each alone.

use serde::Serialize;

use super::side::Side;
use crate::agreement::Agreement;
use crate::agreement::output::{MOST_ROUNDINGS, OutputDifference};
use crate::plan::{Case, CaseId};
use crate::record::RunHeader;
use crate::record::output::OutputLine;

/// What the outputs of two sides show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedOutputs {
    /// A setting of both sides, or of one, a row.
    pub rows: Vec<OutputComparison>,
}

/// What is held against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// B's output against A's, each sequence alone.
    Sides,
    /// A's sequences together, against each alone.
    TogetherA,
    /// B's.
    TogetherB,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputComparison {
    pub kind: OutputKind,
    /// The cell whose setting it is; B's where B is one side.
    pub case_id: CaseId,
    #[serde(skip)]
    pub case: Case,
    /// The figures. `None` where the two have no text in common.
    #[serde(flatten)]
    pub agreement: Option<Agreement>,
    /// The divergence that is judged, in nats: the mean over the rows; of sequences together the worst sequence's.
    pub kld: Option<f64>,
    /// Most that rounding explains, in nats.
    pub most_kld: f64,
    /// The same as NMSE, where that is judged too: of the two sides, of whose distributions records keep a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_nmse: Option<f64>,
    /// Greedy tokens that were computed.
    pub n_greedy: u32,
    /// The sequence that differs most, where sequences are together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_seq: Option<u32>,
    pub verdict: OutputVerdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputVerdict {
    /// No more than rounding explains.
    Same,
    /// More than rounding explains.
    Differs,
    /// The files' weights have different types, so that a difference is expected; `quality` measures what it costs.
    OtherType,
    /// The model splits the texts into other tokens.
    OtherTokens,
}

impl OutputVerdict {
    fn of(kld: f64, most: f64) -> Self {
        match kld <= most {
            true => Self::Same,
            false => Self::Differs,
        }
    }

    pub fn in_full(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "DIFFERS",
            Self::OtherType => "not judged: other type of weights",
            Self::OtherTokens => "not comparable: other tokens",
        }
    }
}

impl ComparedOutputs {
    /// Whether anything differs by more than rounding explains.
    pub fn any_differs(&self) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|row| row.verdict == OutputVerdict::Differs)
    }
}

/// The rows of one run: its sequences together.
pub fn of_run<'a>(outputs: impl IntoIterator<Item = &'a OutputLine>) -> Vec<OutputComparison> {
    let mut rows: Vec<OutputComparison> = Vec::new();
    for line in outputs {
        rows.extend(together(line, OutputKind::TogetherA));
    }
    rows
}

/// The outputs of cells that are held against each other, each setting once. `None` where no side has any.
pub fn compared_outputs<'a>(
    a: &Side,
    b: &Side,
    cells: impl IntoIterator<Item = (&'a Case, &'a Case)>,
) -> Option<ComparedOutputs> {
    if a.outputs.is_empty() && b.outputs.is_empty() {
        return None;
    }
    let mut seen: Vec<(Case, Case)> = Vec::new();
    let mut rows = Vec::new();
    for (case_a, case_b) in cells {
        let key = (OutputLine::setting(case_a), OutputLine::setting(case_b));
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let (of_a, of_b) = (a.output_of(case_a), b.output_of(case_b));
        if let (Some(of_a), Some(of_b)) = (of_a, of_b) {
            rows.push(sides((of_a, &a.header), (of_b, &b.header)));
        }
        rows.extend(of_a.and_then(|line| together(line, OutputKind::TogetherA)));
        rows.extend(of_b.and_then(|line| together(line, OutputKind::TogetherB)));
    }
    Some(ComparedOutputs { rows })
}

fn together(line: &OutputLine, kind: OutputKind) -> Option<OutputComparison> {
    let checked = &line.checked;
    let together = checked.together?;
    let most_kld = MOST_ROUNDINGS * checked.rounding();
    Some(OutputComparison {
        kind,
        case_id: line.case_id.clone(),
        case: line.case.clone(),
        agreement: Some(together.agreement),
        kld: Some(together.worst_kld),
        most_kld,
        most_nmse: None,
        n_greedy: checked.n_greedy,
        worst_seq: Some(together.worst_seq),
        verdict: OutputVerdict::of(together.worst_kld, most_kld),
    })
}

/// B's output against A's. What A's own kernels differ by is the rounding; where its sequences together are right, theirs too.
fn sides(
    (a, of_a): (&OutputLine, &RunHeader),
    (b, of_b): (&OutputLine, &RunHeader),
) -> OutputComparison {
    let together = a.checked.together.filter(|_| a.checked.is_right());
    let [kld, nmse] = together.map_or([0.0; 2], |t| [t.worst_kld, t.agreement.nmse]);
    let most_kld = MOST_ROUNDINGS * a.checked.rounding().max(kld);
    let most_nmse = MOST_ROUNDINGS * a.checked.rounding_nmse().max(nmse);
    let difference: Option<OutputDifference> = b.checked.against(&a.checked);
    let verdict = match difference {
        None => OutputVerdict::OtherTokens,
        Some(_) if weights(of_a, &a.case) != weights(of_b, &b.case) => OutputVerdict::OtherType,
        Some(found) if found.agreement.nmse > most_nmse => OutputVerdict::Differs,
        Some(found) => OutputVerdict::of(found.agreement.mean_kld, most_kld),
    };
    OutputComparison {
        kind: OutputKind::Sides,
        case_id: b.case_id.clone(),
        case: b.case.clone(),
        agreement: difference.map(|d| d.agreement),
        kld: difference.map(|d| d.agreement.mean_kld),
        most_kld,
        most_nmse: Some(most_nmse),
        n_greedy: b.checked.n_greedy,
        worst_seq: None,
        verdict,
    }
}

/// What a model's weights are stored as, and how many there are.
fn weights<'a>(header: &'a RunHeader, case: &Case) -> Option<(&'a str, u64)> {
    let model = header.plan.models.iter().find(|m| m.name == case.model)?;
    Some((&model.file_type, model.n_params))
}

/// The output of a cell in a list; a resumed run may have it twice.
pub(super) fn output_of<'a>(outputs: &'a [OutputLine], case: &Case) -> Option<&'a OutputLine> {
    outputs.iter().rev().find(|line| line.is_of(case))
}

/// What is said where an output was to be compared and a side has none.
pub(crate) fn missing(side: &Side) -> String {
    format!(
        "{}: has no output to compare; measure it with --check-output",
        side.label
    )
}
