//! The outputs of two sides held against each other, and the sequences of each side's batches against each alone.

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::side::Side;
use crate::agreement::Agreement;
use crate::agreement::output::{MOST_KLD, MOST_ROUNDINGS, OutputDifference};
use crate::plan::{Case, CaseId};
use crate::record::RunHeader;
use crate::record::output::OutputLine;

/// What the outputs of two sides show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedOutputs {
    /// A setting of both sides, or of one, a row.
    pub rows: Vec<OutputComparison>,
    /// Cells whose outputs could not be held against each other: a side has none, or the model splits the texts into other tokens.
    pub not_compared: Vec<CaseId>,
}

/// What is held against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// B's output against A's, each sequence alone.
    Sides,
    /// A's texts decoded token by token, against the same texts as prompts; only where they differ.
    DecodedA,
    DecodedB,
    /// A's sequences together, against each alone.
    TogetherA,
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
    /// Whether both should compute the same: one file in one setting.
    #[serde(skip)]
    pub is_same_work: bool,
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
        rows.extend(own(line, [OutputKind::DecodedA, OutputKind::TogetherA]));
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
    let (mut rows, mut not_compared) = (Vec::new(), Vec::new());
    for (case_a, case_b) in cells {
        let key = (OutputLine::setting(case_a), OutputLine::setting(case_b));
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let (of_a, of_b) = (a.output_of(case_a), b.output_of(case_b));
        let both = of_a.zip(of_b);
        let row = both.map(|(of_a, of_b)| sides((of_a, &a.header), (of_b, &b.header)));
        if row.as_ref().is_none_or(|row| row.agreement.is_none()) {
            not_compared.push(case_b.id());
        }
        rows.extend(row);
        let kinds_a = [OutputKind::DecodedA, OutputKind::TogetherA];
        let kinds_b = [OutputKind::DecodedB, OutputKind::TogetherB];
        rows.extend(of_a.iter().flat_map(|line| own(line, kinds_a)));
        rows.extend(of_b.iter().flat_map(|line| own(line, kinds_b)));
    }
    Some(ComparedOutputs { rows, not_compared })
}

/// Checks that the output of every cell was compared.
///
/// # Errors
/// Naming a cell whose was not.
pub(crate) fn ensure_compared(
    outputs: Option<&ComparedOutputs>,
    [a, b]: [&str; 2],
) -> anyhow::Result<()> {
    let missing = format!("measure both {a} and {b} with --check-output, with the same model");
    let outputs = outputs.with_context(|| format!("there is no output to compare; {missing}"))?;
    match outputs.not_compared.first() {
        None => Ok(()),
        Some(cell) => bail!("{cell}: has no output to compare on both sides; {missing}"),
    }
}

/// What a run's output shows by itself: decoding where it is wrong, and sequences together.
fn own(
    line: &OutputLine,
    [of_decoding, of_together]: [OutputKind; 2],
) -> impl Iterator<Item = OutputComparison> + use<> {
    let checked = &line.checked;
    let alone = checked.alone;
    let wrong = (!checked.is_decoded_right()).then(|| OutputComparison {
        kind: of_decoding,
        case_id: line.case_id.clone(),
        case: line.case.clone(),
        agreement: Some(alone.agreement),
        kld: Some(alone.worst_kld),
        most_kld: MOST_KLD,
        most_nmse: None,
        n_greedy: checked.n_greedy,
        worst_seq: Some(alone.worst_seq),
        is_same_work: true,
        verdict: OutputVerdict::Differs,
    });
    wrong.into_iter().chain(together(line, of_together))
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
        is_same_work: true,
        verdict: OutputVerdict::of(together.worst_kld, most_kld),
    })
}

/// B's output against A's. What A's own kernels differ by is the rounding.
fn sides(
    (a, of_a): (&OutputLine, &RunHeader),
    (b, of_b): (&OutputLine, &RunHeader),
) -> OutputComparison {
    let most_kld = MOST_ROUNDINGS * a.checked.rounding();
    let most_nmse = MOST_ROUNDINGS * a.checked.rounding_nmse();
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
        is_same_work: file(of_a, &a.case) == file(of_b, &b.case)
            && is_same_setting(&a.case, &b.case),
        verdict,
    }
}

/// What a model's weights are stored as, and how many there are.
fn weights<'a>(header: &'a RunHeader, case: &Case) -> Option<(&'a str, u64)> {
    let model = header.plan.models.iter().find(|m| m.name == case.model)?;
    Some((&model.file_type, model.n_params))
}

/// The bytes of a model.
fn file<'a>(header: &'a RunHeader, case: &Case) -> Option<&'a str> {
    let mut models = header.plan.models.iter();
    models.find(|m| m.name == case.model)?.sha256.as_deref()
}

/// Whether cells have caches of the same types.
fn is_same_setting(a: &Case, b: &Case) -> bool {
    (a.type_k, a.type_v) == (b.type_k, b.type_v)
}

/// The output of a cell in a list; a resumed run may have it twice.
pub(super) fn output_of<'a>(outputs: &'a [OutputLine], case: &Case) -> Option<&'a OutputLine> {
    outputs.iter().rev().find(|line| line.is_of(case))
}
