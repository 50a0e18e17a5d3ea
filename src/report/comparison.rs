//! A comparison as a table.

use serde::Serialize;

use super::axes;
use super::table::{Document, Note, Table, TableOf};
use super::text::{cut_middle, plain, plural};
use crate::compare::difference::Difference;
use crate::compare::{Comparison, percent};
use crate::metric::{Metric, Words};
use crate::plan::{Case, CaseId};
use crate::stats::Interval;
use crate::units::{self, p_value, signed_percent};

/// Columns of a model's name.
const MODEL_WIDTH: usize = 20;

/// Names in a list beside a table.
const MOST_NAMES: usize = 20;

/// A comparison as programs get it.
#[derive(Serialize)]
pub struct Data<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    answers: Vec<String>,
}

impl<'a> Data<'a> {
    /// With its answers.
    pub fn of(comparison: &'a Comparison) -> Self {
        Self {
            comparison,
            answers: answers(comparison),
        }
    }
}

/// What a comparison says, in a sentence or two.
pub fn answers(c: &Comparison) -> Vec<String> {
    let mut said = Vec::new();
    if c.is_same_twice {
        said.push(
            "A/A: both sides are the same program with the same settings, so every difference between them is chance"
                .to_owned(),
        );
    }
    if let [row] = &c.rows[..] {
        let change = row.slowdown.map(|s| {
            format!(
                " takes {} {} (95%: {})",
                signed_percent(s.estimate),
                c.metric.words().quantity,
                range(&s)
            )
        });
        said.push(format!(
            "B{}: {}",
            change.unwrap_or_default(),
            row.verdict.in_full(c.metric, c.same_within)
        ));
        return said;
    }
    let words = c.metric.words();
    let more = format!("B {}", words.is_worse);
    let kinds = [
        ("slower", more.as_str()),
        ("faster", words.better),
        ("same", "the same"),
        ("cannot tell", "it cannot be told"),
    ];
    let counts = kinds.into_iter().filter_map(|(word, words)| {
        let n = c.rows.iter().filter(|r| r.verdict.word() == word).count();
        (n > 0).then(|| format!("{words} in {n}"))
    });
    let counts: Vec<String> = counts.collect();
    let counts = counts.join(", ");
    let whose = if counts.starts_with("B ") || counts.starts_with("it ") {
        ""
    } else if counts.starts_with("less ") {
        "B takes "
    } else {
        "B is "
    };
    said.push(format!("{whose}{counts} of {} cells", c.rows.len()));
    said
}

/// A comparison's table, and what must be known to read it.
pub fn document(c: &Comparison) -> Document {
    // What both sides have in common; the compared axes vary, so that they are left out.
    let cases: Vec<&Case> = c.rows.iter().flat_map(|r| [&r.case, &r.case_b]).collect();
    let model = match axes::models(&cases)[..] {
        [one] => format!("{one}, "),
        _ => String::new(),
    };
    Document::new(format!("{} against {}", c.b, c.a), table(c))
        .above("A", c.a.as_str())
        .above("B", c.b.as_str())
        .above("compared", compared(c))
        .above("cells", model + &axes::constants(&cases))
        .all_above(differences(&c.differences))
        .all_below(answers(c).into_iter().map(|said| ("answer", said)))
        .all_below(listed("only in A", &c.only_a))
        .all_below(listed("only in B", &c.only_b))
        .below("", legend(c))
}

fn table(c: &Comparison) -> Table {
    let has_jobs = c.rows.iter().any(|r| r.job.is_some());
    let jobs = Table::of(&c.rows)
        .words("job", |r| r.job.as_deref().map(plain).unwrap_or_default())
        .only_if(has_jobs);
    let name = match c.metric {
        Metric::JoulesPerToken => c.metric.unit(),
        other => other.name(),
    };
    let cost = |cost: Option<f64>| cost.map(units::fine);
    of_cells(jobs, |r| &r.case)
        .numbers(format!("{name} A"), |r| c.metric.show(r.a))
        .rank(2)
        .numbers("B", |r| c.metric.show(r.b))
        .rank(2)
        .numbers(c.metric.words().quantity, |r| {
            r.slowdown.map(|s| signed_percent(s.estimate))
        })
        .numbers("95% interval", |r| r.slowdown.as_ref().map(range))
        .numbers("p", |r| r.p_adjusted.map(p_value))
        .rank(3)
        .numbers("delta", |r| {
            r.cliffs_delta.map(|d| format!("{:+.2}", d.delta))
        })
        .rank(4)
        .words("verdict", |r| r.verdict.in_full(c.metric, c.same_within))
        .short(|r| r.verdict.in_short(c.metric, c.same_within))
        .numbers("cost A", |r| cost(r.cost_a))
        .rank(1)
        .only_if(c.price.is_some())
        .numbers("cost B", |r| cost(r.cost_b))
        .rank(1)
        .only_if(c.price.is_some())
        .table()
}

/// A table with the columns that tell cells apart: the model where there are several, and axes.
pub(super) fn of_cells<'a, R>(
    mut table: TableOf<'a, R>,
    case: impl Fn(&'a R) -> &'a Case,
) -> TableOf<'a, R> {
    let cases: Vec<&Case> = table.rows.iter().map(&case).collect();
    table = table
        .words("model", |row| cut_middle(&case(row).model, MODEL_WIDTH))
        .only_if(axes::models(&cases).len() > 1);
    for axis in axes::columns(&cases) {
        table = table.numbers(axis.heading(), |row| axis.value(case(row)));
    }
    table
}

/// `+9.1 to +11.0%`.
pub(super) fn range(interval: &Interval) -> String {
    let lo = signed_percent(interval.lo);
    format!(
        "{} to {}",
        lo.trim_end_matches('%'),
        signed_percent(interval.hi)
    )
}

/// What else differs, one line each.
pub(super) fn differences(found: &[Difference]) -> impl Iterator<Item = Note> {
    let label = |at| if at == 0 { "differ" } else { "" };
    let lines = found.iter().enumerate();
    lines.map(move |(at, d)| Note::new(label(at), d.to_string()))
}

/// Cells by name, when there are any.
pub(super) fn listed(label: &str, cells: &[CaseId]) -> Option<Note> {
    let names = cells.iter().take(MOST_NAMES).map(ToString::to_string);
    let mut names: Vec<String> = names.collect();
    if cells.len() > MOST_NAMES {
        names.push(format!("and {} more", cells.len() - MOST_NAMES));
    }
    (!names.is_empty()).then(|| Note::new(label, names.join(", ")))
}

fn compared(c: &Comparison) -> String {
    let n = u32::try_from(c.rows.len()).unwrap_or(u32::MAX);
    let what = format!("{}, {}", c.metric, plural(n, "cell", "cells"));
    if c.paired {
        format!("{what}; replicates as pairs, which ran side by side")
    } else {
        format!("{what}; processes of two runs")
    }
}

fn legend(c: &Comparison) -> String {
    let Words {
        quantity,
        longer,
        is_worse,
        ..
    } = c.metric.words();
    let cost = c.price.as_ref().map_or_else(String::new, |price| {
        let unit = price.unit();
        format!(" cost: {unit} for the energy of a million generated tokens, at {price}.")
    });
    format!(
        "{quantity}: {longer}, from medians of processes. p: p-value of no change at all, after Benjamini-Hochberg over the rows. delta: Cliff's, +1 \
         when every process of B {is_worse}. Changes within {} do not matter. (+N): would need about N more processes a side \
         (--replicates).{cost}",
        percent(c.same_within)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{batches, header, run, side};
    use crate::compare::{Question, compare};

    #[test]
    fn a_comparison_fits_80_columns() {
        let cases = batches(&[1, 8, 32, 128]);
        let a = run(
            "20260131-120000-quick",
            &cases[..3],
            [990_000, 1_000_000, 1_010_000],
        );
        let mut header = header("20260201-120000-quick", &cases[1..]);
        header.engine.version = "2".to_owned();
        let b = side(header, |case| {
            let percent = if case.n_seq == 8 { 110 } else { 101 };
            [970_000, 1_000_000, 1_030_000]
                .map(|ns| ns * percent / 100)
                .to_vec()
        });
        let c = compare(&a, &b, &Question::default()).expect("comparable");
        let text = document(&c).terminal(80, false);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for needle in [
            "engines: A synthetic 1, B synthetic 2",
            "+10.0%",
            "slower",
            "cannot tell (+",
            "only in A: m/pp128/tg64/b1/d0/t2",
            "only in B: m/pp128/tg64/b128/d0/t2",
            "within 3% do not matter",
        ] {
            assert!(text.contains(needle), "{needle}: {text}");
        }
        let md = document(&c).markdown();
        let heads = "batch step A B time 95% interval p delta verdict";
        let line = md.lines().find(|line| line.contains("| batch |"));
        let words: Vec<&str> = line.unwrap_or(&md).split(['|', ' ']).collect();
        let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
        assert_eq!(words.join(" "), heads);
    }
}
