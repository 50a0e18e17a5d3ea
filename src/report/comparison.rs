//! A comparison as a table.

use serde::Serialize;

use super::axes;
use super::table::{Document, Note, Table, TableOf};
use super::text::{cut_middle, plain, plural};
use crate::compare::samples::{CellKey, JobAtTarget};
use crate::compare::{Comparison, percent};
use crate::metric::Metric;
use crate::plan::{Case, CaseId};
use crate::record::difference::Difference;
use crate::stats::Interval;
use crate::units::{self, p_value, signed_percent};

/// Columns of a model's name.
const MODEL_WIDTH: usize = 20;

/// Names in a list beside a table.
const MOST_NAMES: usize = 20;

/// A comparison as programs get it.
#[derive(Serialize)]
pub struct ComparisonData<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    answers: Vec<String>,
}

impl<'a> ComparisonData<'a> {
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
    let words = c.metric.words();
    if let ([row], false) = (&c.rows[..], c.until_decided) {
        let change = row.slowdown.map_or_else(
            || "B".to_owned(),
            |s| format!("{} (95%: {})", words.change("B", s.estimate), range(&s)),
        );
        let verdict = row.verdict_in_full(c.metric, c.same_within);
        said.push(format!("{change}: {verdict}"));
        return said;
    }
    let kinds = [
        ("slower", words.worse),
        ("faster", words.better),
        ("same", "the same"),
        ("cannot tell", "cannot tell"),
        ("regression", "regression"),
        ("improvement", "improvement"),
        ("no regression", "no regression"),
        ("not decided", "not decided"),
    ];
    let counts = kinds.into_iter().filter_map(|(word, words)| {
        let n = c.rows.iter().filter(|r| r.verdict.word() == word).count();
        (n > 0).then(|| format!("{words} in {n}"))
    });
    let counts: Vec<String> = counts.collect();
    said.push(format!(
        "B against A: {} of {} cells",
        counts.join(", "),
        c.rows.len()
    ));
    said
}

/// A comparison's table, and what must be known to read it.
pub fn document(c: &Comparison) -> Document {
    // What both sides have in common; the compared axes vary, so that they are left out.
    let keys: Vec<&CellKey> = c.rows.iter().flat_map(|r| [&r.key, &r.key_b]).collect();
    let cases: Vec<&Case> = keys.iter().map(|key| &key.case).collect();
    let model = match axes::models(&cases)[..] {
        [one] => format!("{one}, "),
        _ => String::new(),
    };
    Document::new(format!("{} against {}", c.b, c.a), table(c))
        .above("A", c.a.as_str())
        .above("B", c.b.as_str())
        .above("compared", compared(c))
        .above("cells", model + &axes::constants_of(&keys))
        .all_above(differences(&c.differences))
        .all_below(answers(c).into_iter().map(|said| ("answer", said)))
        .all_below(listed("only in A", &c.only_a))
        .all_below(listed("only in B", &c.only_b))
        .below("", legend(c))
}

fn table(c: &Comparison) -> Table {
    let jobs = of_jobs(&c.rows, |r| r.key.job.as_ref().map(JobAtTarget::shown));
    let name = match c.metric {
        Metric::JoulesPerToken => c.metric.unit(),
        other => other.name(),
    };
    let cost = |cost: Option<f64>| cost.map(units::significant);
    of_cells(jobs, |r| &r.key.case)
        .numbers(format!("{name} A"), |r| c.metric.show(r.a))
        .rank(2)
        .numbers("B", |r| c.metric.show(r.b))
        .rank(2)
        .numbers("pairs", |r| r.pairs.map_or(0, |p| p.n_pairs).to_string())
        .rank(1)
        .only_if(c.until_decided)
        .numbers(c.metric.words().heading, |r| {
            let of_pairs = r.pairs.map(|pairs| pairs.estimate.exp_m1());
            let change = r.slowdown.map(|s| s.estimate).or(of_pairs);
            change.map(signed_percent)
        })
        .numbers("95% interval", |r| r.slowdown.as_ref().map(range))
        .numbers("p", |r| r.p_adjusted.map(p_value))
        .rank(3)
        .only_if(!c.until_decided)
        .numbers("delta", |r| {
            r.cliffs_delta.map(|d| format!("{:+.2}", d.delta))
        })
        .rank(4)
        .only_if(!c.until_decided)
        .words("verdict", |r| r.verdict_in_full(c.metric, c.same_within))
        .short(|r| r.verdict.in_short(c.metric, c.same_within))
        .numbers("cost A", |r| cost(r.cost_a))
        .rank(1)
        .only_if(c.price.is_some())
        .numbers("cost B", |r| cost(r.cost_b))
        .rank(1)
        .only_if(c.price.is_some())
        .table()
}

/// A table that begins with the jobs of requests, where there are any.
pub(super) fn of_jobs<R>(rows: &[R], job: impl Fn(&R) -> Option<String>) -> TableOf<'_, R> {
    let has_jobs = rows.iter().any(|row| job(row).is_some());
    Table::of(rows)
        .words("job", |row| plain(&job(row).unwrap_or_default()))
        .only_if(has_jobs)
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
    if c.metric.is_of_quality() {
        return match c.paired {
            true => format!("{what}; chunks of the text as pairs"),
            false => format!("{what}; chunks of the text"),
        };
    }
    if c.until_decided {
        format!("{what}; pairs until decided, sides in random order")
    } else if c.paired {
        format!("{what}; replicates as pairs, which ran side by side")
    } else {
        format!("{what}; processes of two runs")
    }
}

fn legend(c: &Comparison) -> String {
    let words = c.metric.words();
    let cost = c.price.as_ref().map_or_else(String::new, |price| {
        let unit = price.unit();
        format!(" cost: {unit} for the energy of a million generated tokens, at {price}.")
    });
    let asks_for_more = c.rows.iter().any(|row| row.verdict.asks_for_more());
    if c.until_decided {
        let tolerance = percent(c.same_within);
        let more = match asks_for_more {
            true => " (+N): would need about N more pairs (--max-replicates, --budget).",
            false => "",
        };
        return format!(
            "{}: {}, relative to A: the median over the pairs, whose sides ran next to each other. The interval holds at whatever pair \
             the measurement ended. regression: more than {tolerance}, wrong in any cell in 1 of 1000 measurements without one; no \
             regression: more than {tolerance} is excluded at 95%.{more}{cost}",
            words.heading,
            words.how_much("B"),
        );
    }
    let [unit, _] = c
        .rows
        .first()
        .map_or(c.metric.sample_unit(), |row| row.key.sample_unit(c.metric));
    let units = CellKey::units_of(c.rows.iter().map(|row| &row.key), c.metric);
    let (medians, flag) = match c.metric.is_of_quality() {
        true => (
            format!(
                "values of {units}; A and B are their medians, where the table of a run has the figure of \
                          the whole text"
            ),
            "--chunks",
        ),
        false => (format!("medians of {units}"), "--replicates"),
    };
    let more = match asks_for_more {
        true => format!(" (+N): would need about N more {units} a side ({flag})."),
        false => String::new(),
    };
    format!(
        "{}: {}, relative to A, from {medians}. p: no change at all, after Benjamini-Hochberg over the rows. delta: Cliff's, \
         +1 when {} in every {unit}. Changes within {} do not matter.{more}{cost}",
        words.heading,
        words.how_much("B"),
        words.more("B"),
        percent(c.same_within)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{batches, header, run, side};
    use crate::compare::{CompareOptions, compare};

    #[test]
    fn a_change_is_said_in_the_words_of_its_metric() {
        let said = |metric: Metric, n_seq: &[u32], permille: u64| {
            let of = |name: &str, permille: u64| {
                let steps = [999_000, 1_000_000, 1_001_000].map(|ns| ns * permille / 1000);
                let mut side = run(name, &batches(n_seq), steps);
                side.metric = metric;
                side
            };
            let (a, b) = (of("a", 1000), of("b", permille));
            answers(&compare(&a, &b, &CompareOptions::default()).expect("comparable")).remove(0)
        };
        for (metric, permille, change, verdict) in [
            (Metric::StepNs, 1100, "B takes 10.0% more time", "slower"),
            (Metric::StepNs, 900, "B takes 10.0% less time", "faster"),
            // A rate that falls by a tenth takes a ninth more time.
            (
                Metric::DecodeTokensPerS,
                900,
                "B takes 11.1% more time",
                "slower",
            ),
            (
                Metric::JoulesPerToken,
                1100,
                "B takes 10.0% more energy",
                "more energy",
            ),
            (
                Metric::PrefillShare,
                1100,
                "B's share is 10.0% higher",
                "higher",
            ),
            (
                Metric::PrefillShare,
                900,
                "B's share is 10.0% lower",
                "lower",
            ),
        ] {
            let one = said(metric, &[1], permille);
            assert!(
                one.starts_with(change) && one.ends_with(&format!(": {verdict}")),
                "{one}"
            );
            let several = said(metric, &[1, 8], permille);
            assert_eq!(several, format!("B against A: {verdict} in 2 of 2 cells"));
        }
    }

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
        let c = compare(&a, &b, &CompareOptions::default()).expect("comparable");
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
