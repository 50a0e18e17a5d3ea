//! Whether the time to the first token follows the prompt's length.

use crate::analysis::words::{duration, or_unknown};
use crate::analysis::{Finding, Sure};
use crate::request::Experiment;
use crate::request::shown_target;

use crate::units;
use crate::view::Estimate;
use crate::view::requests::{JobFigures, RequestsView};

/// Prompts of one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtLength {
    /// Tokens of the prompt, the middle one.
    pub n_prompt: f64,
    /// Median TTFT, nanoseconds.
    pub ttft_ns: Option<Estimate>,
    /// Median latency.
    pub latency_ns: Option<Estimate>,
    /// Mean TPOT.
    pub tpot_ns: Option<Estimate>,
}

/// A target's prompts by length, ascending: the experiment's jobs, or the classes of the only one.
pub fn points(requests: &RequestsView, target: &str) -> Vec<AtLength> {
    let jobs: Vec<_> = requests
        .of(Experiment::PromptLength)
        .filter(|j| j.target == target)
        .collect();
    let mut points: Vec<AtLength> = Vec::new();
    if let [job] = jobs[..] {
        let classes = job.classes.iter();
        points.extend(classes.filter_map(|c| AtLength::of(&c.figures)));
    } else {
        points.extend(jobs.iter().filter_map(|j| AtLength::of(&j.figures)));
    }
    points.sort_by(|a, b| a.n_prompt.total_cmp(&b.n_prompt));
    points
}

impl AtLength {
    fn of(figures: &JobFigures) -> Option<Self> {
        let (n, whole) = (figures.n_prompt?, figures.n_whole);
        (n > 0 && whole > 0).then(|| Self {
            n_prompt: n as f64 / f64::from(whole),
            ttft_ns: figures.ttft_ns.median,
            latency_ns: figures.latency_ns.median,
            tpot_ns: figures.tpot_ns.mean,
        })
    }
}

/// A number of tokens, which a mean need not be.
pub fn tokens(n: f64) -> String {
    format!("{n:.0}")
}

/// The power of the length that values follow: the slope of a line through their logarithms; none with fewer than two
/// lengths.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let usable = |(x, y): &(f64, f64)| *x > 0.0 && *y > 0.0 && x.is_finite() && y.is_finite();
    let logs: Vec<(f64, f64)> = points
        .iter()
        .filter(|p| usable(p))
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    let n = logs.len() as f64;
    let (mx, my) = (
        logs.iter().map(|(x, _)| x).sum::<f64>() / n,
        logs.iter().map(|(_, y)| y).sum::<f64>() / n,
    );
    let sxx: f64 = logs.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let sxy: f64 = logs.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    (logs.len() > 1 && sxx > 0.0).then(|| sxy / sxx)
}

/// `linearly`, with the exponent's borders of the lab report's experiments.
pub fn growth(exponent: f64) -> &'static str {
    match exponent {
        e if e < 0.1 => "hardly at all",
        e if e < 0.9 => "sub-linearly",
        e if e <= 1.1 => "linearly",
        _ => "super-linearly",
    }
}

/// What the prompt's length does at a target; none with fewer than two lengths.
pub fn finding(requests: &RequestsView, target: &str) -> Option<Finding> {
    let points = points(requests, target);
    let (first, last) = (points.first()?, points.last()?);
    let of = |value: fn(&AtLength) -> Option<Estimate>| -> Vec<(f64, f64)> {
        let both = |p: &AtLength| Some((p.n_prompt, value(p)?.value));
        points.iter().filter_map(both).collect()
    };
    let ttft = of(|p| p.ttft_ns);
    let (ttft_exponent, latency_exponent) = (exponent(&ttft)?, exponent(&of(|p| p.latency_ns)));
    let latency = latency_exponent.map(|e| {
        let exponent = units::significant(e);
        format!(" Latency scales {} (exponent {exponent}).", growth(e))
    });
    let time = |m: Option<Estimate>| or_unknown(m.map(duration));
    let tpot = first.tpot_ns.zip(last.tpot_ns).map(|(a, b)| {
        format!(
            "A token after the first takes {} after the shortest prompts and {} after the longest, {} times.",
            duration(a),
            duration(b),
            units::significant(b.value / a.value)
        )
    });
    let medians = points.iter().map(|p| {
        format!(
            "Prompts of {} tokens: TTFT {}, latency {} (medians).",
            tokens(p.n_prompt),
            time(p.ttft_ns),
            time(p.latency_ns)
        )
    });
    let claim = format!(
        "{}: the first token comes after {} instead of {} when the prompt has {} instead of {} tokens; TTFT scales {} \
         (exponent {}).{}",
        shown_target(target),
        time(last.ttft_ns),
        time(first.ttft_ns),
        tokens(last.n_prompt),
        tokens(first.n_prompt),
        growth(ttft_exponent),
        units::significant(ttft_exponent),
        latency.unwrap_or_default()
    );
    let sure = Sure::shown_if(ttft.len() > 2);
    let finding = Finding::new("What does a longer prompt cost?", claim, sure);
    Some(
        finding
            .with(medians.chain(tpot))
            .see(&["prompt_length_requests"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_found_again() {
        let squares: Vec<(f64, f64)> = [1.0, 2.0, 8.0].map(|x| (x, 3.0 * x * x)).into();
        assert!((exponent(&squares).expect("three lengths") - 2.0).abs() < 1e-12);
        assert_eq!(exponent(&[(2.0, 1.0)]), None);
        assert_eq!(exponent(&[(2.0, 1.0), (2.0, 3.0)]), None);
        assert_eq!(growth(1.0), "linearly");
        assert_eq!(growth(1.5), "super-linearly");
    }
}
