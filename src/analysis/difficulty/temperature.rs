//! Temperatures against 0, prompt by prompt: the same design, the sampler by itself.

use super::RequestFigures;
use super::arms::{Effect, EqualityVerdict, middle, paired_log_ratio};
use super::sentences::{by, margin, percent, verdict_says};
use crate::analysis::{Finding, Sure};
use crate::stats::Interval;
use crate::stats::summary::median;

/// A prompt's requests at one temperature, over all rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptFigures {
    /// The prompt's id: the same prompt has it at every temperature.
    pub prompt: String,
    pub requests: Vec<RequestFigures>,
}

/// Everything at one temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct AtTemperature {
    /// The temperature; 0 is what the others are held against.
    pub temperature: f32,
    pub prompts: Vec<PromptFigures>,
}

/// What one temperature does.
struct TemperatureEffect {
    temperature: f32,
    /// Tokens a second, relative to temperature 0.
    rate: Effect,
    /// The sampler's part of the time per token.
    share: Option<f64>,
    /// Nanoseconds more a token, and of them the sampler's.
    more_ns: Option<(f64, f64)>,
}

/// Whether temperature costs speed: one finding, or none where fewer than two temperatures were measured.
pub fn temperature(points: &[AtTemperature]) -> Option<Finding> {
    let mut points: Vec<&AtTemperature> = points.iter().collect();
    points.sort_unstable_by(|a, b| a.temperature.total_cmp(&b.temperature));
    let [greedy, others @ ..] = points.as_slice() else {
        return None;
    };
    if others.is_empty() {
        return None;
    }
    let all: Vec<(f32, Option<TemperatureEffect>)> = others
        .iter()
        .map(|point| (point.temperature, against(greedy, point)))
        .collect();
    let mut evidence: Vec<String> = all
        .iter()
        .map(|(t, a)| says(*t, a.as_ref(), greedy))
        .collect();
    if let Some(share) = sampler_share(greedy) {
        evidence.push(format!(
            "At temperature {} the sampler is {} of the time per token.",
            greedy.temperature,
            percent(share)
        ));
    }
    let known: Vec<&TemperatureEffect> = all.iter().filter_map(|(_, a)| a.as_ref()).collect();
    let (claim, sure) = claim(greedy.temperature, &known, all.len());
    Some(Finding::new("Does temperature cost speed?", claim, sure).with(evidence))
}

fn claim(base: f32, known: &[&TemperatureEffect], asked: usize) -> (String, Sure) {
    let different: Vec<&&TemperatureEffect> = known
        .iter()
        .filter(|a| a.rate.verdict == EqualityVerdict::Different)
        .collect();
    if !different.is_empty() {
        let list: Vec<String> = different
            .iter()
            .map(|a| {
                format!(
                    "{} at {}{}",
                    faster(&a.rate.ratio),
                    a.temperature,
                    mechanism(a)
                )
            })
            .collect();
        let claim = format!(
            "Yes: against temperature {base} the tokens per second are {}.",
            list.join("; ")
        );
        return (claim, Sure::Shown);
    }
    let widest = known.iter().max_by(|a, b| {
        let off = |a: &TemperatureEffect| (a.rate.ratio.hi - 1.0).max(1.0 - a.rate.ratio.lo);
        off(a).total_cmp(&off(b))
    });
    let Some(widest) = widest else {
        let claim = "Undetermined: fewer than two prompts were measured at two temperatures.";
        return (claim.to_owned(), Sure::Undetermined);
    };
    let worst = format!("{} at {}", faster(&widest.rate.ratio), widest.temperature);
    if known.len() == asked
        && known
            .iter()
            .all(|a| a.rate.verdict == EqualityVerdict::Equal)
    {
        let claim = format!(
            "No: the tokens per second are those of temperature {base} within {}; farthest from it, {worst}.",
            margin()
        );
        return (claim, Sure::Shown);
    }
    let claim = format!(
        "Undetermined: a difference of {} from temperature {base} is neither excluded nor shown; farthest from it, {worst}.",
        margin()
    );
    (claim, Sure::Undetermined)
}

/// Who takes the time, where the sampler can be seen.
fn mechanism(a: &TemperatureEffect) -> &'static str {
    match a.more_ns {
        Some((more, sampler)) if more > 0.0 && sampler / more >= 0.5 => " (the sampler)",
        Some((more, _)) if more > 0.0 => " (not the sampler)",
        _ => "",
    }
}

fn says(temperature: f32, a: Option<&TemperatureEffect>, greedy: &AtTemperature) -> String {
    let Some(a) = a else {
        return format!(
            "At temperature {temperature}: fewer than two prompts were measured at {} as well.",
            greedy.temperature
        );
    };
    let verdict = verdict_says(&a.rate).replace("pairs", "prompts");
    let share = a
        .share
        .map(|share| format!(" The sampler is {} of the time per token.", percent(share)));
    format!(
        "At temperature {temperature} ({} prompts): tokens per second {}: {verdict}.{}",
        a.rate.n_pairs,
        faster(&a.rate.ratio),
        share.unwrap_or_default()
    )
}

fn faster(ratio: &Interval) -> String {
    if (0.67..=1.5).contains(&ratio.estimate) {
        return by(ratio, "higher", "lower");
    }
    format!(
        "{:.2} times as high ({:.0}%: {:.2} to {:.2})",
        ratio.estimate,
        ratio.level * 100.0,
        ratio.lo,
        ratio.hi
    )
}

fn against(greedy: &AtTemperature, point: &AtTemperature) -> Option<TemperatureEffect> {
    let both: Vec<(&PromptFigures, &PromptFigures)> = greedy
        .prompts
        .iter()
        .filter_map(|a| Some((a, point.prompts.iter().find(|b| b.prompt == a.prompt)?)))
        .collect();
    // A rate is the inverse of a time.
    let logs: Vec<f64> = both
        .iter()
        .filter_map(|(a, b)| {
            let is_whole = RequestFigures::is_whole;
            paired_log_ratio(&a.requests, &b.requests, is_whole, |r| r.tpot_ns).map(|log| -log)
        })
        .collect();
    Some(TemperatureEffect {
        temperature: point.temperature,
        rate: Effect::of(&logs)?,
        share: sampler_share(point),
        more_ns: more_ns(&both),
    })
}

/// Time per token above that of the base, and the sampler's part: the middle of the prompts.
fn more_ns(both: &[(&PromptFigures, &PromptFigures)]) -> Option<(f64, f64)> {
    let differences = |f: fn(&RequestFigures) -> Option<f64>| {
        let of: Vec<f64> = both
            .iter()
            .filter_map(|(a, b)| Some(middle(&b.requests, f)? - middle(&a.requests, f)?))
            .collect();
        median(&of)
    };
    Some((
        differences(|r| r.tpot_ns)?,
        differences(RequestFigures::sample_ns_per_token)?,
    ))
}

fn sampler_share(point: &AtTemperature) -> Option<f64> {
    let shares: Vec<f64> = point
        .prompts
        .iter()
        .filter_map(|p| middle(&p.requests, |r| Some(r.sample_ns_per_token()? / r.tpot_ns?)))
        .collect();
    median(&shares)
}
