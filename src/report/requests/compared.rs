//! Targets that served the same jobs, one held against the other: a table for each pair of targets.

use super::super::sheet::{Column, Sheet};
use super::{ms, rate, s};
use crate::analysis::live::{self, JobPair};
use crate::text::short;
use crate::units;
use crate::view::Estimate;
use crate::view::requests::{JobView, RequestsView, Round};

/// Jobs of a table; the report has all of them.
const MOST_JOBS: usize = 12;

/// A figure of both targets: its name, how many times the base's the other's is, and how a value is shown.
type Figure = (
    &'static str,
    fn(&Round) -> Option<f64>,
    fn(&JobView) -> String,
);

const FIGURES: [Figure; 4] = [
    (
        "latency s",
        |r| r.latency_ns,
        |j| s(j.figures.latency_ns.mean),
    ),
    ("TTFT ms", |r| r.ttft_ns, |j| ms(j.figures.ttft_ns.mean)),
    ("TPOT ms", |r| r.tpot_ns, |j| ms(j.figures.tpot_ns.mean)),
    ("tokens/s", |r| r.tokens_per_s, |j| rate(j.tokens_per_s)),
];

/// A table for each other target; where the difference comes from is among the answers.
pub fn sheets(requests: &RequestsView) -> Vec<Sheet> {
    let others = live::others(requests).into_iter();
    others.filter_map(|other| sheet(requests, other)).collect()
}

fn sheet(requests: &RequestsView, other: &str) -> Option<Sheet> {
    let all = live::pairs(requests, other);
    let pairs = &all[..all.len().min(MOST_JOBS)];
    let base = short(&pairs.first()?.base.target);
    let name = short(other);
    let rows: Vec<(&JobPair<'_>, &Figure)> = pairs
        .iter()
        .flat_map(|pair| FIGURES.iter().map(move |figure| (pair, figure)))
        .filter(|(pair, (_, of, _))| pair.ratio(*of).is_some())
        .collect();
    let of = |value: &dyn Fn(&JobPair<'_>, &Figure) -> String| -> Vec<String> {
        rows.iter().map(|(p, f)| value(p, f)).collect()
    };
    // A job's name stands at the first of its figures.
    let job = |pair: &JobPair<'_>, figure: &Figure| match figure.0 == FIGURES[0].0 {
        true => short(&pair.other.job.name),
        false => String::new(),
    };
    let times = |pair: &JobPair<'_>, figure: &Figure| pair.ratio(figure.1);
    let columns = vec![
        Column::words("job", 0, of(&job)),
        Column::words("mean", 0, of(&|_, f| f.0.to_owned())),
        Column::numbers(&base, 0, of(&|p, f| f.2(p.base))),
        Column::numbers(&name, 0, of(&|p, f| f.2(p.other))),
        Column::numbers(
            "times",
            0,
            of(&|p, f| times(p, f).map_or("n/a".to_owned(), |m| units::significant(m.value))),
        ),
        Column::numbers(
            "95% interval",
            0,
            of(&|p, f| {
                times(p, f)
                    .and_then(range)
                    .unwrap_or_else(|| "n/a".to_owned())
            }),
        ),
    ];
    let mut below = Vec::new();
    if all.len() > pairs.len() {
        let more = all.len() - pairs.len();
        below.push((String::new(), format!("{more} more jobs are in the report")));
    }
    Some(Sheet {
        title: format!("{name} against {base}"),
        above: vec![(
            "compared".to_owned(),
            format!(
                "{name} against {base}, the same requests in turns; times: how many times as much"
            ),
        )],
        columns,
        below,
    })
}

fn range(m: Estimate) -> Option<String> {
    let interval = m.interval?;
    Some(format!(
        "{} to {}",
        units::significant(interval.lo),
        units::significant(interval.hi)
    ))
}
