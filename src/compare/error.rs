//! Why two sides cannot be compared.

use crate::metric::Metric;
use crate::plan::CaseId;
use crate::record::jsonl::RecordError;
use crate::text::{brief, short};

/// Longest list of values in a message, and longest name of a cell.
const LIST_COLUMNS: usize = 300;

#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Record(#[from] RecordError),
    /// One run, and no axis that gives two sides.
    #[error(
        "{}: one run has two sides only along an axis; say --axis NAME{}, or name a second run",
        short(run),
        hint(varying)
    )]
    NoAxis {
        run: String,
        /// The axes along which it could be compared.
        varying: Vec<&'static str>,
    },
    #[error("{}: has {} of {axis} ({}); say --axis {axis}=A,B", short(run), count(*n), brief(values, LIST_COLUMNS))]
    NotTwoValues {
        run: String,
        axis: &'static str,
        n: usize,
        values: String,
    },
    #[error(
        "{}: no measured cell has {axis} {}; there are {}",
        short(run),
        short(value),
        brief(values, LIST_COLUMNS)
    )]
    NoSuchValue {
        run: String,
        axis: &'static str,
        value: String,
        values: String,
    },
    #[error(
        "both values of {axis} mean {}; there are {}",
        short(value),
        brief(values, LIST_COLUMNS)
    )]
    SameValue {
        axis: &'static str,
        value: String,
        values: String,
    },
    /// Cells that cannot be told apart without the compared axis.
    #[error(
        "{}: {} and {} are the same cell except for the compared axis; say --axis {axis}=A,B",
        short(run), brief(a.as_str(), LIST_COLUMNS), brief(b.as_str(), LIST_COLUMNS)
    )]
    Ambiguous {
        run: String,
        axis: &'static str,
        a: CaseId,
        b: CaseId,
    },
    #[error(
        "{run}: no cell has joules_per_token: no energy was measured, or every repetition was too short for the counter, which on \
         a GPU needs 0.82 s of generation (--n-gen); `ggufbench report` says which"
    )]
    NoEnergy { run: String },
    /// A metric of requests, and a side that has sent none.
    #[error(
        "{}: has no requests, and {metric} is a metric of requests; `ggufbench requests` sends them",
        short(run)
    )]
    NoRequests { run: String, metric: Metric },
    /// A metric of a scored text, and a side that has scored none.
    #[error(
        "{}: has no quality cells, and {metric} is a metric of a scored text; `ggufbench quality` scores one",
        short(run)
    )]
    NoQuality { run: String, metric: Metric },
    /// A side whose quality cells have no value.
    #[error(
        "{}: no quality cell has {metric}: it needs scored chunks, and all but perplexity need those of a base with the same \
         tokens",
        short(run)
    )]
    NoChunks { run: String, metric: Metric },
    /// A metric of cells, and a run that has only scored a text.
    #[error(
        "{}: has quality cells only; name a --metric of a scored text: {}",
        short(run),
        Metric::names_of_quality()
    )]
    OnlyQuality { run: String },
    /// Scores of different texts.
    #[error(
        "{} and {} scored different texts ({}, {})",
        short(a),
        short(b),
        short(text_a),
        short(text_b)
    )]
    DifferentTexts {
        a: String,
        b: String,
        text_a: String,
        text_b: String,
    },
    /// A side whose jobs have too few whole answers.
    #[error(
        "{}: no job has {metric}: it needs whole answers, and a percentile at least 59 of them in a round (--n-requests, or \
         --sustained)",
        short(run)
    )]
    TooFewAnswers { run: String, metric: Metric },
    #[error(
        "{}: has requests and no cells; name a --metric of requests: {}",
        short(run),
        Metric::names_of_requests()
    )]
    NoCells { run: String },
    #[error(
        "{} and {} have no measured cell in common{}",
        short(a),
        short(b),
        hint(differing)
    )]
    NothingInCommon {
        a: String,
        b: String,
        /// The axes in which the sides' first cells differ.
        differing: Vec<&'static str>,
    },
}

fn hint(axes: &[&str]) -> String {
    match axes {
        [] => String::new(),
        axes => format!(
            " (they differ in {}: --axis compares along one)",
            axes.join(", ")
        ),
    }
}

fn count(n: usize) -> String {
    match n {
        1 => "one value".to_owned(),
        n => format!("{n} values"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_line_and_is_short() {
        let error = CompareError::NothingInCommon {
            a: "x".repeat(100_000),
            b: "\u{1b}[2J\n".repeat(100),
            differing: Vec::new(),
        };
        let said = error.to_string();
        assert!(
            said.len() < 300 && !said.contains(char::is_control),
            "{said:?}"
        );
    }
}
