//! Limits in absolute values: what a run must reach whatever a baseline did.
//!
//! A cell keeps a limit when the whole 95% interval of its value does, and breaks it when the whole interval is beyond. The units are
//! processes, as everywhere; with fewer than two there is no interval, and so no verdict.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::compare::samples::{CellKey, Samples};
use crate::compare::side::Side;
use crate::metric::{Better, Metric};
use crate::plan::protocol::duration;
use crate::plan::{Case, CaseId};
use crate::run::stop::LEVEL;
use crate::stats::{Interval, median_interval};
use crate::units::nanoseconds;

/// A limit of a metric, for the cells that are named.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// As the user typed it.
    text: String,
    pub metric: Metric,
    /// In the metric's unit; the most, or of what is better higher the least.
    pub limit: f64,
    cells: Option<glob::Pattern>,
}

/// Whether a cell keeps a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitVerdict {
    /// The whole interval does.
    Pass,
    /// The whole interval is beyond the limit.
    Fail,
    /// The limit lies in the interval, or there is none.
    Inconclusive,
}

impl LimitVerdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// A cell and a limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequiredResult {
    #[serde(skip)]
    pub key: CellKey,
    pub case_id: CaseId,
    /// The limit as it was typed.
    pub required: String,
    pub metric: Metric,
    /// In the metric's unit.
    pub limit: f64,
    /// The median over processes, in the metric's unit; `None` where the cell was not measured.
    pub value: Option<f64>,
    /// Of that; `None` with fewer than two processes.
    pub interval: Option<Interval>,
    pub n_processes: usize,
    pub verdict: LimitVerdict,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    #[error("{run}: --require '{required}': none of its cells has {metric}{named}")]
    NoCell {
        run: String,
        required: String,
        metric: Metric,
        named: String,
    },
}

impl Requirement {
    /// Judges the cells of a run that it is for. `run` has the values of [`Requirement::metric`].
    ///
    /// # Errors
    /// When no cell has a value: a limit of nothing must not pass.
    pub fn judge(&self, run: &Side) -> Result<Vec<RequiredResult>, RequirementError> {
        let measured = run.cells.iter().filter(|cell| self.is_for(&cell.key));
        let mut results: Vec<RequiredResult> = measured
            .map(|cell| self.result(cell.key.clone(), Some(cell)))
            .collect();
        if results.is_empty() {
            return Err(RequirementError::NoCell {
                run: run.label.clone(),
                required: self.text.clone(),
                metric: self.metric,
                named: match (&self.cells, self.metric.of_whole_requests()) {
                    (None, Some(of_requests)) if run.header.requests.is_some() => {
                        format!("; of requests it is {of_requests}")
                    }
                    (None, _) => String::new(),
                    (Some(_), _) => ", of those that it names".to_owned(),
                },
            });
        }
        let missing =
            planned(run, self.metric).filter(|key| self.is_for(key) && run.cell(key).is_none());
        results.extend(missing.map(|key| self.result(key, None)));
        Ok(results)
    }

    fn is_for(&self, key: &CellKey) -> bool {
        self.cells.as_ref().is_none_or(|glob| key.is_named_by(glob))
    }

    fn result(&self, key: CellKey, samples: Option<&Samples>) -> RequiredResult {
        let medians = samples.map(Samples::medians).unwrap_or_default();
        let units: Vec<Vec<f64>> = medians.into_values().map(|median| vec![median]).collect();
        let interval = median_interval(&units, LEVEL);
        RequiredResult {
            case_id: key.name(),
            key,
            required: self.text.clone(),
            metric: self.metric,
            limit: self.limit,
            value: samples.and_then(Samples::median),
            interval,
            n_processes: units.len(),
            verdict: self.verdict(interval.as_ref()),
        }
    }

    fn verdict(&self, interval: Option<&Interval>) -> LimitVerdict {
        let Some(interval) = interval else {
            return LimitVerdict::Inconclusive;
        };
        let (worst, best) = match self.metric.better() {
            Better::Lower => (interval.hi - self.limit, interval.lo - self.limit),
            Better::Higher => (self.limit - interval.lo, self.limit - interval.hi),
        };
        if worst <= 0.0 {
            LimitVerdict::Pass
        } else if best > 0.0 {
            LimitVerdict::Fail
        } else {
            LimitVerdict::Inconclusive
        }
    }
}

/// The cells that a run was to measure and that the metric can be of: one that failed must not be overlooked.
fn planned(run: &Side, metric: Metric) -> Box<dyn Iterator<Item = CellKey> + '_> {
    if !metric.is_of_requests() {
        let cases = run.header.plan.cases.iter();
        let of_cases = cases.filter(move |case| can_have(metric, case));
        return Box::new(of_cases.map(CellKey::of_case));
    }
    let plan = run.header.requests.iter();
    Box::new(plan.flat_map(|plan| {
        plan.targets.iter().flat_map(move |target| {
            let jobs = plan.jobs.iter();
            let at_target = jobs.filter_map(move |job| plan.job_of(target, &job.name));
            at_target
                .filter(|job| job.compared.is_none())
                .map(move |job| CellKey::of_job(job, plan.named(target), target))
        })
    }))
}

/// Whether a cell has what the metric is of.
fn can_have(metric: Metric, case: &Case) -> bool {
    match metric {
        Metric::PrefillTokensPerS | Metric::PrefillShare => case.n_prompt > 0,
        Metric::TtftNs => case.n_prompt > 0 && case.sample,
        Metric::SampleNs => case.sample,
        _ => true,
    }
}

impl FromStr for Requirement {
    type Err = String;

    /// `step<=12ms`, `decode>=200`, or `step<=12ms@*/b8/*` for the cells whose names match. `step=12ms` is the same, and needs no
    /// quotes in a shell.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLES: &str = "say 'step<=12ms' or 'decode>=200' (or step=12ms and decode=200, which need no quotes), and \
                                'step<=12ms@*/b8/*' for some cells";
        let (limit, cells) = match text.split_once('@') {
            Some((limit, glob)) => (limit, Some(glob.trim())),
            None => (text, None),
        };
        let cells = cells.map(glob::Pattern::new).transpose();
        let cells =
            cells.map_err(|e| format!("the names of cells behind '@' are no pattern: {e}"))?;
        let signs = ["<=", ">=", "="].into_iter();
        let mut parts = signs.filter_map(|sign| Some((sign, limit.split_once(sign)?)));
        let (sign, (name, value)) = parts
            .next()
            .ok_or_else(|| format!("no limit: {EXAMPLES}"))?;
        let metric = metric_of(name.trim())?;
        let right = match metric.better() {
            Better::Lower => "<=",
            Better::Higher => ">=",
        };
        if sign != right && sign != "=" {
            return Err(format!(
                "{metric} is better when it is {}, so its limit is written {metric}{right}{}",
                match right {
                    "<=" => "lower",
                    _ => "higher",
                },
                value.trim()
            ));
        }
        Ok(Self {
            text: text.trim().to_owned(),
            metric,
            limit: value_of(metric, value.trim())?,
            cells,
        })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A metric by its name, or by its key in JSON.
fn metric_of(name: &str) -> Result<Metric, String> {
    let by_key = Metric::ALL.iter().find(|metric| metric.key() == Some(name));
    let metric = by_key.copied().map_or_else(|| name.parse::<Metric>(), Ok)?;
    if metric.is_of_quality() {
        return Err(format!(
            "{metric} is of a scored text; limits are of times, rates and energy. `gate --metric {metric}` holds it against a baseline"
        ));
    }
    Ok(metric)
}

/// A positive value in the metric's unit: a duration with its unit, a share or percent, else a number.
fn value_of(metric: Metric, text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let value = match metric.unit() {
        // A bare number would be seconds, and most people mean milliseconds.
        "ns" if number(text).is_some() => {
            return Err(format!(
                "{metric}: '{text}' has no unit; say {text}ms or {text}s"
            ));
        }
        "ns" => {
            let time = duration(metric.name(), text).map_err(|e| e.to_string())?;
            Some(nanoseconds(time) as f64)
        }
        "of the time" => match text.strip_suffix('%') {
            Some(percent) => number(percent).map(|v| v / 100.0),
            None => number(text),
        },
        unit => number(
            text.strip_suffix(unit)
                .or_else(|| text.strip_suffix("t/s"))
                .unwrap_or(text),
        ),
    };
    let value = value.filter(|v| v.is_finite() && *v > 0.0);
    value.ok_or_else(|| format!("{metric}: '{text}' is no limit above 0 ({})", metric.unit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{batches, header, line, run, side};
    use crate::record::jsonl::Writer;

    const QUIET: [u64; 3] = [999_000, 1_000_000, 1_001_000];

    fn requirement(text: &str) -> Requirement {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn words(text: &str, run: &Side) -> Vec<&'static str> {
        let results = requirement(text).judge(run).expect("cells");
        results.iter().map(|r| r.verdict.word()).collect()
    }

    #[test]
    fn the_whole_interval_decides() {
        let tonight = run("new", &batches(&[1, 8]), QUIET);
        // Student's t of 3 processes: 1 ms ± 0.25%.
        for (limit, word) in [
            ("step<=1.1ms", "pass"),
            ("step<=1.003ms", "pass"),
            ("step<=1.001ms", "inconclusive"),
            ("step<=1ms", "inconclusive"),
            ("step<=0.999ms", "inconclusive"),
            ("step<=0.997ms", "fail"),
        ] {
            assert_eq!(words(limit, &tonight), [word; 2], "{limit}");
        }
        let results = requirement("step<=1.1ms").judge(&tonight).expect("cells");
        let first = &results[0];
        assert_eq!(
            (first.value, first.limit, first.n_processes),
            (Some(1e6), 1.1e6, 3)
        );
        let interval = first.interval.expect("three processes");
        assert!(
            interval.lo > 0.996e6 && interval.hi < 1.004e6,
            "{interval:?}"
        );
    }

    #[test]
    fn of_a_rate_more_is_better() {
        // 8 tokens in 1 ms.
        let cases = batches(&[8]);
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut writer = Writer::create(folder.path(), header("new", &cases)).expect("writes");
        for (process, ns) in (0..).zip(QUIET) {
            let line = line(&cases[0], (process, 0), ns, false);
            writer.append(&line).expect("writes");
        }
        let tonight = Side::read(folder.path(), Metric::DecodeTokensPerS).expect("reads");
        assert_eq!(words("decode>=7900", &tonight), ["pass"]);
        assert_eq!(
            words("decode_tokens_per_s>=8000", &tonight),
            ["inconclusive"]
        );
        assert_eq!(words("decode>=8100 t/s", &tonight), ["fail"]);
    }

    #[test]
    fn some_cells_can_be_named_and_a_limit_of_none_is_refused() {
        let tonight = side(header("new", &batches(&[1, 8])), |case| {
            QUIET.map(|ns| ns * u64::from(case.n_seq)).to_vec()
        });
        assert_eq!(words("step<=2ms", &tonight), ["pass", "fail"]);
        assert_eq!(words("step<=9ms@*/b8/*", &tonight), ["pass"]);
        let error = requirement("step<=9ms@*/b32/*")
            .judge(&tonight)
            .expect_err("no such cell");
        assert_eq!(
            error.to_string(),
            "new: --require 'step<=9ms@*/b32/*': none of its cells has step, of those that it names"
        );
    }

    #[test]
    fn a_cell_without_two_processes_or_without_any_does_not_pass() {
        let cases = batches(&[1, 8, 32]);
        let tonight = side(header("new", &cases), |case| match case.n_seq {
            1 => QUIET.to_vec(),
            8 => vec![1_000_000],
            _ => Vec::new(),
        });
        assert_eq!(
            words("step<=2ms", &tonight),
            ["pass", "inconclusive", "inconclusive"]
        );
        let results = requirement("step<=2ms").judge(&tonight).expect("cells");
        let values: Vec<Option<f64>> = results.iter().map(|r| r.value).collect();
        assert_eq!(values, [Some(1e6), Some(1e6), None]);
    }

    #[test]
    fn what_is_no_limit_says_what_would_be() {
        for (text, needle) in [
            ("step", "no limit: say 'step<=12ms'"),
            ("step=12", "'12' has no unit"),
            ("speed<=12ms", "'speed' is not a metric"),
            (
                "step>=12ms",
                "step is better when it is lower, so its limit is written step<=12ms",
            ),
            ("decode<=200", "is written decode>=200"),
            ("step<=12", "'12' has no unit; say 12ms or 12s"),
            ("step<=fast", "step"),
            ("decode>=0", "is no limit above 0"),
            ("decode>=many", "'many' is no limit above 0 (tokens/s)"),
            ("kld<=0.1", "kld is of a scored text"),
            ("step<=12ms@[", "are no pattern"),
        ] {
            let error = text.parse::<Requirement>().expect_err(text);
            assert!(error.contains(needle), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert_eq!(
            requirement("step=12ms").limit,
            requirement("step<=12ms").limit
        );
        assert_eq!(requirement("decode=200@*q8*").limit, 200.0);
        assert_eq!(requirement("prefill_share<=10%").limit, 0.1);
        assert_eq!(requirement("request_ttft<=2s").limit, 2e9);
        assert_eq!(requirement("ttft_p95<=2s").metric, Metric::RequestTtftP95Ns);
    }
}
