//! Temperatures against the lowest, prompt by prompt: the same design, the sampler by itself.

use std::collections::HashSet;

use super::RequestFigures;
use super::arms::{Effect, Ratio, middle};
use super::sentences::{by, longer, margin, more_time, percent, verdict_says};
use crate::analysis::words::{counted, range_as};
use crate::analysis::{Finding, Sure};
use crate::request::figures::{have_equal_lengths, paired_log_ratio};
use crate::stats::equivalence::{self, EqualityRule, EqualityVerdict};
use crate::stats::summary::median;
use crate::text::plural;

/// A prompt's requests at one temperature in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptFigures {
    /// The same at every temperature: the round, and the question in it.
    pub question: (u32, u32),
    /// The prompt's id.
    pub prompt: String,
    pub requests: Vec<RequestFigures>,
}

/// Everything at one temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct AtTemperature {
    /// The temperature; the lowest is what the others are held against.
    pub temperature: f32,
    /// In the order in which they were measured.
    pub prompts: Vec<PromptFigures>,
}

/// The positive control: the lowest temperature with decode calls that were slowed on purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantedControl {
    /// The share by which they were slowed.
    pub share: f64,
    pub prompts: Vec<PromptFigures>,
}

/// What one temperature does.
struct TemperatureEffect {
    temperature: f32,
    /// Tokens a second, relative to the lowest temperature.
    rate: Effect,
    /// Time per token without choosing it, and of choosing it.
    decode: Option<Effect>,
    sampler: Option<Effect>,
    /// The sampler's part of the time per token.
    share: Option<f64>,
    /// Nanoseconds more a token, and of them the sampler's.
    more_ns: Option<(f64, f64)>,
    /// `12 pairs of answers to 4 prompts`: a prompt is asked again when all others were asked.
    pairs: String,
    /// Pairs left out because their answers do not have equal numbers of tokens.
    n_unequal: usize,
}

/// Whether temperature costs speed: one finding, or none where fewer than two temperatures were measured. Without a `control`,
/// as at a server, the answer does not depend on one.
pub fn temperature(points: &[AtTemperature], control: Option<&PlantedControl>) -> Option<Finding> {
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
        .map(|point| (point.temperature, against(greedy, point, others.len())))
        .collect();
    let (is_seen, control_says) = match control {
        Some(control) => of_control(greedy, control),
        None => (true, None),
    };
    let mut evidence: Vec<String> = control_says.into_iter().collect();
    for (t, a) in &all {
        evidence.extend(says(*t, a.as_ref(), greedy));
    }
    if let Some(share) = sampler_share(greedy) {
        evidence.push(format!(
            "At temperature {} the sampler is {} of the time per token.",
            greedy.temperature,
            percent(share)
        ));
    }
    if others.len() > 1 {
        evidence.push(format!(
            "The {} share the errors of the rule (Bonferroni): all verdicts together falsely say equal in at most {:.0}% and \
             falsely say different in at most {:.0}% of experiments.",
            counted(others.len(), "comparison"),
            EqualityRule::default().alpha_equal * 100.0,
            EqualityRule::default().alpha_different * 100.0
        ));
    }
    let known: Vec<&TemperatureEffect> = all.iter().filter_map(|(_, a)| a.as_ref()).collect();
    let (claim, sure) = match is_seen {
        true => claim(greedy.temperature, &known, all.len()),
        false => (
            "The measurement is too coarse to tell: even decode calls that were slowed on purpose did not show.".to_owned(),
            Sure::Undetermined,
        ),
    };
    Some(Finding::new("Does temperature cost speed?", claim, sure).with(evidence))
}

/// Whether the control shows, and the sentence about it.
fn of_control(greedy: &AtTemperature, control: &PlantedControl) -> (bool, Option<String>) {
    let both = measured(&matched(&greedy.prompts, &control.prompts));
    let logs = log_ratios(&both, |r| r.tpot_ns);
    let is_seen = equivalence::is_above(&logs, &EqualityRule::default());
    let says = Effect::of(&logs, 1).map(|effect| {
        format!(
            "Positive control, {}: with decode calls slowed by {} on purpose a token took {}: {}.",
            pairs_of(effect.n_pairs, &both),
            percent(control.share),
            longer(effect.ratio),
            if is_seen { "seen" } else { "not seen" }
        )
    });
    (is_seen, says)
}

fn claim(base: f32, known: &[&TemperatureEffect], asked: usize) -> (String, Sure) {
    if known.is_empty() {
        let claim = "Undetermined: fewer than two questions were measured at two temperatures.";
        return (claim.to_owned(), Sure::Undetermined);
    }
    if known.iter().any(|a| a.rate.verdict.is_different()) {
        let each: Vec<String> = known.iter().map(|a| in_claim(a)).collect();
        let claim = format!(
            "Yes: against temperature {base} the tokens per second are {}.",
            each.join("; ")
        );
        return (claim, Sure::Shown);
    }
    let worst = farthest(known).map_or_else(String::new, |widest| {
        format!(
            "; farthest from it, {} at {} over {}",
            faster(widest.rate.ratio),
            widest.temperature,
            widest.pairs
        )
    });
    let is_within = |a: &&TemperatureEffect| a.rate.verdict.is_within();
    if known.len() == asked && known.iter().all(is_within) {
        let claim = format!(
            "No: the tokens per second are those of temperature {base} within {}{worst}.",
            margin()
        );
        return (claim, Sure::Shown);
    }
    let claim = format!(
        "Undetermined: neither equality with temperature {base} within {} nor a difference is shown at every temperature{worst}.",
        margin()
    );
    (claim, Sure::Undetermined)
}

/// The temperature whose rate may differ most.
fn farthest<'a>(known: &[&'a TemperatureEffect]) -> Option<&'a TemperatureEffect> {
    let off = |a: &TemperatureEffect| {
        let ratio = a.rate.ratio;
        let (lo, hi) = match ratio.interval {
            Some(interval) => (interval.lo, interval.hi),
            None => (ratio.estimate, ratio.estimate),
        };
        (hi - 1.0).max(1.0 - lo)
    };
    known
        .iter()
        .copied()
        .max_by(|a, b| off(a).total_cmp(&off(b)))
}

/// `9.09% lower (97%: -9.3% to -8.9%) at 0.7 over 18 pairs of answers to 18 prompts, different by more than 1% (the sampler)`.
fn in_claim(a: &TemperatureEffect) -> String {
    let verdict = match a.rate.verdict {
        EqualityVerdict::Undecided => "undetermined".to_owned(),
        _ => verdict_says(&a.rate),
    };
    format!(
        "{} at {} over {}, {verdict}{}",
        faster(a.rate.ratio),
        a.temperature,
        a.pairs,
        if a.rate.verdict.is_different() {
            mechanism(a)
        } else {
            String::new()
        }
    )
}

/// What takes the time, where the sampler can be seen.
fn mechanism(a: &TemperatureEffect) -> String {
    let which = match a.more_ns {
        Some((more, sampler)) if more > 0.0 && sampler / more >= 0.5 => "the sampler",
        Some((more, _)) if more > 0.0 => "not the sampler",
        _ => return String::new(),
    };
    let decode = a.decode.filter(|decode| decode.verdict.is_final());
    let decode = decode.map(|decode| {
        let verdict = verdict_says(&decode);
        format!(
            "; without it a token takes {}, {verdict}",
            more_time(decode.ratio)
        )
    });
    format!(" ({which}{})", decode.unwrap_or_default())
}

fn says(temperature: f32, a: Option<&TemperatureEffect>, greedy: &AtTemperature) -> Vec<String> {
    let Some(a) = a else {
        return vec![format!(
            "At temperature {temperature}: fewer than two questions were measured at {} as well.",
            greedy.temperature
        )];
    };
    let share = a
        .share
        .map(|share| format!(" The sampler is {} of the time per token.", percent(share)));
    let mut said = vec![format!(
        "At temperature {temperature} ({}): tokens per second {}: {}.{}",
        a.pairs,
        faster(a.rate.ratio),
        verdict_says(&a.rate),
        share.unwrap_or_default()
    )];
    for (what, effect) in [
        ("time per token without the sampler", a.decode),
        ("time of the sampler per token", a.sampler),
    ] {
        said.extend(effect.map(|effect| {
            format!(
                "At temperature {temperature}, {what}: {}: {}.",
                longer(effect.ratio),
                verdict_says(&effect)
            )
        }));
    }
    if a.n_unequal > 0 {
        said.push(format!(
            "At temperature {temperature}, pairs of answers left out because they differ in tokens: {}.",
            a.n_unequal
        ));
    }
    said
}

fn faster(ratio: Ratio) -> String {
    if (0.67..=1.5).contains(&ratio.estimate) {
        return by(ratio, "higher", "lower");
    }
    let range = ratio.interval.map(|i| range_as(i, |v| format!("{v:.2}")));
    format!(
        "{:.2} times as high{}",
        ratio.estimate,
        range.unwrap_or_default()
    )
}

/// A question's answers at two temperatures.
type Both<'a> = (&'a PromptFigures, &'a PromptFigures);

fn matched<'a>(below: &'a [PromptFigures], above: &'a [PromptFigures]) -> Vec<Both<'a>> {
    let is_same =
        |a: &PromptFigures, b: &PromptFigures| (a.question, &a.prompt) == (b.question, &b.prompt);
    below
        .iter()
        .filter_map(|a| Some((a, above.iter().find(|b| is_same(a, b))?)))
        .collect()
}

/// Those that have a time per token at both temperatures.
fn measured<'a>(both: &[Both<'a>]) -> Vec<Both<'a>> {
    let is_measured = |pair: &&Both<'a>| !log_ratios(&[**pair], |r| r.tpot_ns).is_empty();
    both.iter().filter(is_measured).copied().collect()
}

/// The number of pairs, and of the different prompts that they are of.
fn pairs_of(n_pairs: usize, both: &[Both<'_>]) -> String {
    let prompts: HashSet<&str> = both.iter().map(|(a, _)| a.prompt.as_str()).collect();
    let n_pairs = u32::try_from(n_pairs).unwrap_or(u32::MAX);
    format!(
        "{} to {}",
        plural(n_pairs, "pair of answers", "pairs of answers"),
        counted(prompts.len(), "prompt")
    )
}

fn log_ratios(both: &[Both<'_>], figure: impl Fn(&RequestFigures) -> Option<f64>) -> Vec<f64> {
    let is_whole = RequestFigures::is_whole;
    both.iter()
        .filter_map(|(a, b)| paired_log_ratio(&a.requests, &b.requests, is_whole, &figure))
        .collect()
}

fn against(
    greedy: &AtTemperature,
    point: &AtTemperature,
    n_sides: usize,
) -> Option<TemperatureEffect> {
    let mut both = matched(&greedy.prompts, &point.prompts);
    let n_all = both.len();
    both.retain(|(a, b)| have_equal_lengths(a.requests.iter().chain(&b.requests)) != Some(false));
    // A rate is the inverse of a time.
    let mut rates = log_ratios(&both, |r| r.tpot_ns);
    rates.iter_mut().for_each(|log| *log = -*log);
    let effect = |figure: fn(&RequestFigures) -> Option<f64>| {
        Effect::of(&log_ratios(&both, figure), n_sides)
    };
    let rate = Effect::of(&rates, n_sides)?;
    Some(TemperatureEffect {
        temperature: point.temperature,
        rate,
        pairs: pairs_of(rate.n_pairs, &measured(&both)),
        decode: effect(RequestFigures::decode_ns_per_token),
        sampler: effect(RequestFigures::sample_ns_per_token),
        share: sampler_share(point),
        more_ns: more_ns(&both),
        n_unequal: n_all - both.len(),
    })
}

/// Time per token above that of the base, and the sampler's part: the middle of the prompts.
fn more_ns(both: &[Both<'_>]) -> Option<(f64, f64)> {
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
