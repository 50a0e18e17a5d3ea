//! The judgement in words: one sentence, and what it rests on.

use super::arms::{Control, Effect, Equal, Natural, Ratio};
use super::{DifficultyExperiment, Judgement, Mechanism, judge};
use crate::analysis::words::{counted, range, range_as};
use crate::analysis::{Finding, Sure};
use crate::stats::Interval;
use crate::stats::equivalence::{EqualityRule, EqualityVerdict};
use crate::text::short;
use crate::units;

const QUESTION: &str = "Does a harder question cost more compute?";

/// The experiment's answer, or nothing where no part of it was run.
pub fn findings(experiment: &DifficultyExperiment) -> Vec<Finding> {
    let parts = [&experiment.equal, &experiment.natural, &experiment.control];
    if parts.iter().all(|part| part.is_empty()) {
        return Vec::new();
    }
    let judgement = judge(experiment);
    let (claim, sure) = claim(&judgement);
    let mut evidence = Vec::new();
    if !experiment.of.is_empty() {
        evidence.push(format!("Measured: {}.", short(&experiment.of)));
    }
    evidence.extend(control_says(judgement.control.as_ref()));
    evidence.extend(equal_says(judgement.equal.as_ref()));
    evidence.extend(natural_says(&judgement, experiment));
    evidence.extend(judgement.right.map(right_says));
    vec![Finding::new(QUESTION, claim, sure).with(evidence)]
}

fn claim(judgement: &Judgement) -> (String, Sure) {
    let undetermined = |why: String| (why, Sure::Undetermined);
    let Some(control) = &judgement.control else {
        return undetermined(
            "The measurement may be too coarse to tell: no prompts that are known to cost more were measured beside it \
             (the positive control), at least two are needed."
                .to_owned(),
        );
    };
    if !control.is_seen {
        return undetermined(format!(
            "The measurement is too coarse to tell: even {} did not show in the time to the first token, which was {}.",
            longer_prompts(control),
            longer(control.ttft.ratio)
        ));
    }
    let Some(equal) = &judgement.equal else {
        return undetermined(
            "Undetermined: fewer than two pairs were measured at equal length.".to_owned(),
        );
    };
    let token = format!(
        "at equal length a token of a hard question takes {} over {}",
        more_time(equal.step.ratio),
        counted(equal.step.n_pairs, "pair")
    );
    match judgement.mechanism {
        Mechanism::Undetermined => undetermined(format!(
            "Undetermined: {token}; neither equality within {} nor a difference is shown; {}.",
            margin(),
            pairs_needed(&equal.step)
        )),
        Mechanism::Sampler => (
            format!(
                "Yes, in the sampler: {token}, {}, and {}{}.",
                verdict_says(&equal.step),
                sampler_part(equal),
                decode_says(equal)
            ),
            Sure::Shown,
        ),
        Mechanism::Unexplained => {
            // A dense model has no reason to; so it is a finding about the measurement until the reason is found.
            let why = match equal.sampler_of_difference {
                Some(_) => format!(
                    "{}, so neither length nor sampler explains it",
                    sampler_part(equal)
                ),
                None => "the sampler's part cannot be seen from here, length does not explain it"
                    .to_owned(),
            };
            let which = if equal.step.ratio.estimate > 1.0 {
                "Yes"
            } else {
                "No, less"
            };
            let verdict = verdict_says(&equal.step);
            (format!("{which}: {token}, {verdict}; {why}."), Sure::Shown)
        }
        Mechanism::Length | Mechanism::Nothing => no_difference(
            &token,
            equal,
            judgement.natural.as_ref(),
            judgement.mechanism,
        ),
    }
}

/// A token costs the same; what of the rest?
fn no_difference(
    token: &str,
    equal: &Equal,
    natural: Option<&Natural>,
    mechanism: Mechanism,
) -> (String, Sure) {
    if let Some(ttft) = equal
        .ttft
        .filter(|t| t.verdict == EqualityVerdict::DifferentBeyond)
    {
        return (
            format!(
                "Not in a token, but in the prefill: {token}, {}, while the first token comes {}.",
                verdict_says(&equal.step),
                later(ttft.ratio)
            ),
            Sure::Shown,
        );
    }
    let same = format!("No: {token}, {}", verdict_says(&equal.step));
    let rest = match (mechanism, natural) {
        (Mechanism::Length, Some(n)) => {
            let (what, comparative) = if n.tokens.estimate > 1.0 {
                ("longer", "more")
            } else {
                ("shorter", "less")
            };
            format!(
                "; left to end by themselves hard answers take {comparative} time only because they are {what}: they \
                 take {}, with {}.",
                times_as_long(&n.total),
                times(&n.tokens, "tokens")
            )
        }
        (_, Some(n)) if n.length_share.is_some() => format!(
            "; but left to end by themselves hard answers take {}, and length does not explain it.",
            times_as_long(&n.total)
        ),
        (_, Some(n)) => format!(
            "; left to end by themselves, no difference in the time of hard answers is shown ({}).",
            times_as_long(&n.total)
        ),
        (_, None) => ".".to_owned(),
    };
    (same + &rest, Sure::Shown)
}

fn control_says(control: Option<&Control>) -> Option<String> {
    let control = control?;
    Some(format!(
        "Positive control, {}: {} to the first token was {}: {}.",
        counted(control.ttft.n_pairs, "pair"),
        match control.longer {
            Some(ratio) => format!("with {} more prompt tokens the time", percent(ratio - 1.0)),
            None => "with longer prompts the time".to_owned(),
        },
        longer(control.ttft.ratio),
        if control.is_seen { "seen" } else { "not seen" }
    ))
}

fn equal_says(equal: Option<&Equal>) -> Vec<String> {
    let Some(equal) = equal else {
        return Vec::new();
    };
    let mut said = vec![effect_says("time per token", &equal.step)];
    said.extend(
        equal
            .decode
            .map(|e| effect_says("time per token without the sampler", &e)),
    );
    said.extend(
        equal
            .ttft
            .map(|e| effect_says("time to the first token", &e)),
    );
    match equal.sampler {
        Some(effect) => {
            let share = equal
                .sampler_share
                .map(|share| format!(" It is {} of the time per token.", percent(share)));
            said.push(
                effect_says("time of the sampler per token", &effect) + &share.unwrap_or_default(),
            );
        }
        None => said.push(
            "At equal length, the time of the sampler cannot be measured separately.".to_owned(),
        ),
    }
    if equal.n_unequal > 0 {
        said.push(format!(
            "{} left out of it: their halves differ in tokens.",
            were(equal.n_unequal, "pair")
        ));
    }
    if equal.n_unknown > 0 {
        said.push(format!(
            "Of {} not all lengths are known: equal in what was asked for, not counted.",
            counted(equal.n_unknown, "pair")
        ));
    }
    said.extend(broken_says(equal.n_broken, "At equal length"));
    said
}

fn effect_says(what: &str, effect: &Effect) -> String {
    format!(
        "At equal length, {what} (hard over easy, {}): {}: {}.",
        counted(effect.n_pairs, "pair"),
        longer(effect.ratio),
        verdict_says(effect)
    )
}

pub(super) fn verdict_says(effect: &Effect) -> String {
    match effect.verdict {
        EqualityVerdict::Equal => format!("equal within {}", margin()),
        EqualityVerdict::DifferentWithin => format!("different, but by less than {}", margin()),
        EqualityVerdict::Different => {
            format!("different; whether by more than {} is not shown", margin())
        }
        EqualityVerdict::DifferentBeyond => format!("different by more than {}", margin()),
        EqualityVerdict::Undecided => format!("undetermined, {}", pairs_needed(effect)),
    }
}

/// What is shown of a token's time without the sampler, where the sampler makes the difference.
fn decode_says(equal: &Equal) -> String {
    let decode = equal.decode.filter(|e| e.verdict.is_final());
    decode.map_or_else(String::new, |e| {
        format!(
            "; without the sampler a token takes {}, {}",
            more_time(e.ratio),
            verdict_says(&e)
        )
    })
}

fn natural_says(judgement: &Judgement, experiment: &DifficultyExperiment) -> Vec<String> {
    let Some(n) = &judgement.natural else {
        return match experiment.natural.len() {
            0 => Vec::new(),
            _ => vec![
                "Left to end by themselves: fewer than two pairs had two answers that the model ended, so nothing is \
                 said about length."
                    .to_owned(),
            ],
        };
    };
    let mut said = vec![format!(
        "Left to end by themselves ({}), hard answers take {}, with {} and {}.",
        counted(n.n_pairs, "pair"),
        times_as_long(&n.total),
        times(&n.tokens, "tokens"),
        times(&n.per_token, "time per token")
    )];
    said.push(match &n.length_share {
        Some(share) => format!(
            "Of the difference in log(time), {:.0}%{} is length.",
            share.estimate * 100.0,
            range_as(*share, |v| format!("{:.0}%", v * 100.0))
        ),
        None => {
            "No difference in the time of whole answers is shown, so there is nothing to share out."
                .to_owned()
        }
    });
    let [easy, hard] = n.n_censored;
    if easy + hard > 0 {
        let [of_easy, of_hard] = n.n_requests;
        let lost = match n.n_lost {
            0 => String::new(),
            lost => format!(", and with them {} whole", counted(lost, "pair")),
        };
        said.push(format!(
            "{easy} of {of_easy} easy and {hard} of {of_hard} hard answers were cut at the limit: how long they would \
             have become is not known, they are left out{lost}."
        ));
    }
    said.extend(broken_says(n.n_broken, "Left to end by themselves"));
    said
}

fn broken_says(n: usize, part: &str) -> Option<String> {
    (n > 0).then(|| {
        format!(
            "{part}: {} left out, they failed or were given up.",
            were(n, "request")
        )
    })
}

fn right_says([easy, hard]: [(usize, usize); 2]) -> String {
    let of = |(right, judged): (usize, usize)| match judged {
        0 => "n/a".to_owned(),
        _ => format!(
            "{} ({right} of {judged})",
            percent(right as f64 / judged as f64)
        ),
    };
    format!(
        "Right answers: {} of easy, {} of hard questions; a harder question is one that is answered wrong more often.",
        of(easy),
        of(hard)
    )
}

fn sampler_part(equal: &Equal) -> String {
    let part = equal.sampler_of_difference.unwrap_or(0.0);
    format!(
        "choosing the token is {:.0}% of that difference",
        part * 100.0
    )
}

fn longer_prompts(control: &Control) -> String {
    match control.longer {
        Some(ratio) => format!("prompts {} longer", percent(ratio - 1.0)),
        None => "longer prompts".to_owned(),
    }
}

fn pairs_needed(effect: &Effect) -> String {
    match effect.pairs_to_decide {
        Some(n) => format!("about {n} pairs would tell"),
        None => "the estimate is so near the margin, or the spread so large, that more pairs would hardly tell".to_owned(),
    }
}

pub(super) fn margin() -> String {
    format!("{:.0}%", EqualityRule::default().margin * 100.0)
}

/// `0.31% more time (90%: -0.20% to 0.82%)`: what a token takes.
pub(super) fn more_time(ratio: impl Into<Ratio>) -> String {
    by(ratio, "more time", "less time")
}

/// `0.31% longer (90%: -0.20% to 0.82%)`, or in times where it is much.
pub(super) fn longer(ratio: impl Into<Ratio>) -> String {
    by(ratio, "longer", "shorter")
}

fn later(ratio: Ratio) -> String {
    by(ratio, "later", "sooner")
}

pub(super) fn by(ratio: impl Into<Ratio>, more: &str, less: &str) -> String {
    let ratio = ratio.into();
    if !(0.67..=1.5).contains(&ratio.estimate) {
        let range = ratio.interval.map(range).unwrap_or_default();
        return format!(
            "{} times as long{range}",
            units::significant(ratio.estimate)
        );
    }
    let change = ratio.estimate - 1.0;
    let word = if change < 0.0 { less } else { more };
    let range = ratio.interval.map(|i| range_as(i, |v| percent(v - 1.0)));
    format!(
        "{} {word}{}",
        percent(change.abs()),
        range.unwrap_or_default()
    )
}

fn times_as_long(ratio: &Interval) -> String {
    format!(
        "{} times as long{}",
        units::significant(ratio.estimate),
        range(*ratio)
    )
}

fn times(ratio: &Interval, what: &str) -> String {
    format!(
        "{} times the {what}{}",
        units::significant(ratio.estimate),
        range(*ratio)
    )
}

/// Two decimals up to 10%: what is judged is 1%.
pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value.abs() < 9.995 {
        format!("{value:.2}%")
    } else {
        format!("{value:.1}%")
    }
}

fn were(n: usize, noun: &str) -> String {
    let verb = if n == 1 { "was" } else { "were" };
    format!("{} {verb}", counted(n, noun))
}
