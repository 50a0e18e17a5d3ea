//! Whether two targets did the same work: only then do their times compare.

use super::JobPair;
use crate::analysis::{Finding, Sure};
use crate::request::shown_target;
use crate::stats::summary::mean;
use crate::text::{plural, short};
use crate::units;
use crate::view::requests::{JobView, RequestView};

/// Prompts and answers that differ by more than this on average are other work.
const ALIKE: f64 = 0.05;
/// A beginning or an end that one of them counts is none.
const FEW_TOKENS: f64 = 2.0;

/// Jobs that a finding names.
const MOST_NAMED: usize = 12;

/// Why a pair's two targets did not do equal work; nothing where they did, as far as is known.
pub fn unlike(pair: &JobPair<'_>) -> Vec<String> {
    let mut said = Vec::new();
    for job in [pair.base, pair.other] {
        let doubts = job.doubts.iter().filter(|d| d.is_other_work());
        said.extend(doubts.map(|d| format!("{}: {d}", shown_target(&job.target))));
        if job.figures.n_short > 0 {
            let n = plural(job.figures.n_short, "answer is", "answers are");
            said.push(format!(
                "{}: {n} shorter than asked for",
                shown_target(&job.target)
            ));
        }
    }
    // What was said above is why these differ.
    if said.is_empty() {
        said.extend(differ(pair, "a prompt has", |r| r.n_prompt));
        said.extend(differ(pair, "an answer has", |r| r.n_generated));
    }
    said
}

/// Compares the means over the requests that both answered.
fn differ(pair: &JobPair<'_>, what: &str, of: fn(&RequestView) -> Option<u32>) -> Option<String> {
    let both = pair.of_common(|_, request| of(request)).into_iter();
    let both = both.map(|[base, other]| (f64::from(base), f64::from(other)));
    let (base, other): (Vec<f64>, Vec<f64>) = both.unzip();
    let (base, other) = (mean(&base)?, mean(&other)?);
    ((other - base).abs() > (ALIKE * base).max(FEW_TOKENS)).then(|| {
        format!(
            "{what} {} tokens at {} and {} at {}, on average",
            units::significant(base),
            shown_target(&pair.base.target),
            units::significant(other),
            shown_target(&pair.other.target)
        )
    })
}

/// Whether the targets of these pairs did the same work.
pub fn finding(pairs: &[JobPair<'_>]) -> Option<Finding> {
    let other = shown_target(&pairs.first()?.other.target);
    let base = shown_target(&pairs.first()?.base.target);
    let found: Vec<String> = pairs
        .iter()
        .flat_map(|pair| {
            let job = short(&pair.other.job.name);
            unlike(pair)
                .into_iter()
                .map(move |why| format!("{job}: {why}."))
        })
        .collect();
    let is_counted =
        |job: &JobView| job.figures.n_prompt.is_some() && job.figures.n_generated.is_some();
    let are_counted = pairs
        .iter()
        .all(|p| is_counted(p.base) && is_counted(p.other));
    let (claim, sure) = match (found.is_empty(), are_counted) {
        (false, _) => {
            let claim = format!(
                "No: {other} and {base} did not do equal work, so their times do not compare."
            );
            (claim, Sure::Shown)
        }
        (true, true) => {
            let claim = format!(
                "Yes: {other} and {base} read prompts and made answers of the same length, within {}.",
                units::percent(ALIKE)
            );
            (claim, Sure::Shown)
        }
        (true, false) => {
            let claim = format!("Undetermined: {other} or {base} does not count its tokens.");
            (claim, Sure::Undetermined)
        }
    };
    let finding = Finding::new("Did both do equal work?", claim, sure);
    Some(finding.with(found.into_iter().take(MOST_NAMED)))
}
