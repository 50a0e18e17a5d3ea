//! The result of a search for a slow commit, as a table and sentences.

use serde::Serialize;

use super::table::{Document, Table};
use super::text::{cut_middle, plural};
use crate::bisect::journal::{BisectStep, SlowdownEffect};
use crate::bisect::repository::Revision;
use crate::bisect::search::RevisionAnswer;
use crate::bisect::{BisectOutcome, BisectReport};
use crate::compare::percent;
use crate::units::{duration, signed_percent};

/// Columns of a commit's message.
const SUBJECT_WIDTH: usize = 40;

/// Suspects that a sentence names.
const MOST_SUSPECTS: usize = 8;

/// Below this share of the whole slow-down, another commit has a part in it.
const MAIN_SHARE: f64 = 0.8;

/// A search's result as programs get it.
#[derive(Serialize)]
pub struct BisectData<'a> {
    #[serde(flatten)]
    report: &'a BisectReport,
    answers: Vec<String>,
}

impl<'a> BisectData<'a> {
    pub(crate) fn of(report: &'a BisectReport) -> Self {
        Self {
            report,
            answers: answers(report),
        }
    }
}

/// The steps, and what they say.
pub(crate) fn document(r: &BisectReport) -> Document {
    let steps = Table::of(&r.steps)
        .words("commit", |s| s.revision.short().to_owned())
        .words("message", |s| {
            cut_middle(&s.revision.subject, SUBJECT_WIDTH)
        })
        .rank(2)
        .words("against", |s| short(&s.against))
        .rank(1)
        .numbers("pairs", |s| s.log_ratios.len().to_string())
        .numbers("time", |s| s.effect.map(|e| signed_percent(e.change)))
        .numbers("95% interval", |s| s.effect.as_ref().and_then(range))
        .words("answer", |s| answer(s).to_owned())
        .numbers("build", |s| s.build_ns.map(duration))
        .rank(4)
        .numbers("measured", |s| duration(s.measure_ns))
        .rank(3)
        .table();
    Document::new("Which commit made it slow", steps)
        .above("good", named(&r.good))
        .above("bad", named(&r.bad))
        .above("metric", format!("{}, decode time per token", r.metric))
        .all_below(answers(r).into_iter().map(|said| ("answer", said)))
        .below("", legend(r))
}

fn short(commit: &str) -> String {
    commit.get(..10).unwrap_or(commit).to_owned()
}

fn named(revision: &Revision) -> String {
    format!("{} ({})", revision.short(), revision.subject)
}

fn answer(step: &BisectStep) -> &'static str {
    match step.answer {
        RevisionAnswer::Slower => "slower",
        RevisionAnswer::NotSlower => "not slower",
        RevisionAnswer::Skipped => "skipped",
        RevisionAnswer::Undecided => "not decided",
    }
}

fn range(effect: &SlowdownEffect) -> Option<String> {
    let [lo, hi] = effect.interval?;
    let lo = signed_percent(lo);
    let lo = lo.trim_end_matches('%');
    Some(format!("{lo} to {}", signed_percent(hi)))
}

/// `+10.1% (95%: +9.1 to +11.0%)`.
fn in_words(effect: &SlowdownEffect) -> String {
    let change = signed_percent(effect.change);
    match range(effect) {
        Some(range) => format!("{change} (95%: {range})"),
        None => change,
    }
}

/// What a search says, in sentences.
pub(crate) fn answers(r: &BisectReport) -> Vec<String> {
    let tolerance = percent(r.tolerance);
    let (good, bad) = (r.good.short(), r.bad.short());
    let mut said = Vec::new();
    match (r.outcome, &r.suspects[..]) {
        (BisectOutcome::NotSlower, _) => said.push(format!(
            "{bad} is not slower than {good} by more than {tolerance}, so there is no commit to find{}",
            of_whole(r)
        )),
        (BisectOutcome::Found, [one]) => said.push(format!(
            "{} is the first commit that is slower than {good} by more than {tolerance}",
            named(one)
        )),
        (BisectOutcome::FoundRange, suspects) => said.push(format!(
            "the first commit that is slower than {good} by more than {tolerance} is one of {}: {}",
            suspects.len(),
            list(suspects)
        )),
        (_, []) => said.push(format!(
            "it is not decided whether {bad} is slower than {good} by more than {tolerance}{}",
            of_whole(r)
        )),
        (_, suspects) => said.push(format!(
            "not decided; the first commit that is slower than {good} by more than {tolerance} is one of {}: {}",
            suspects.len(),
            list(suspects)
        )),
    }
    said.extend(effect(r));
    said.extend(r.skipped().map(|step| {
        let why = step.why.as_deref().unwrap_or("cannot be measured");
        format!("{} was skipped: {why}", named(&step.revision))
    }));
    if r.outcome == BisectOutcome::NotDecided {
        said.push(
            "the same command keeps the decided revisions, and measures the undecided ones again (--budget is its time); with another \
             --max-pairs all revisions are measured again, and builds are kept"
                .to_owned(),
        );
    }
    said.push(effort(r));
    said
}

/// The whole change, after a colon.
fn of_whole(r: &BisectReport) -> String {
    let whole = r.whole.as_ref().map(in_words);
    whole.map_or_else(String::new, |whole| format!(": {whole}"))
}

/// What the named commit does, and which part of the whole slow-down it is.
fn effect(r: &BisectReport) -> Vec<String> {
    let Some(effect) = &r.effect else {
        return Vec::new();
    };
    let mut said = vec![format!(
        "time per token against {}: {}",
        named(&effect.against),
        in_words(&effect.effect)
    )];
    let Some((share, whole)) = r.share_of_whole.zip(r.whole.as_ref()) else {
        return said;
    };
    let part = format!(
        "{:.0}% of the whole slow-down of {}",
        share * 100.0,
        in_words(whole)
    );
    let last = r.suspects.last().map_or("", |last| last.short());
    said.push(match share < MAIN_SHARE {
        true => {
            format!("this is {part}; the rest is in other commits: search again with --good {last}")
        }
        false => format!("this is {part}"),
    });
    said
}

fn list(suspects: &[Revision]) -> String {
    let names = suspects.iter().take(MOST_SUSPECTS).map(named);
    let mut names: Vec<String> = names.collect();
    if suspects.len() > MOST_SUSPECTS {
        names.push(format!("and {} more", suspects.len() - MOST_SUSPECTS));
    }
    names.join(", ")
}

fn effort(r: &BisectReport) -> String {
    let n = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let kept = match r.n_reused_steps {
        0 => String::new(),
        steps => format!(" ({} of an earlier start)", plural(steps, "step", "steps")),
    };
    let decided = match r.outcome {
        BisectOutcome::NotDecided | BisectOutcome::Interrupted => String::new(),
        _ => format!(
            "; the probability that this is wrong is at most {}",
            percent(r.error_probability)
        ),
    };
    format!(
        "{}, {}{kept}, {}, {}, {}{decided}",
        plural(n(r.n_revisions), "commit", "commits"),
        plural(n(r.steps.len()), "step", "steps"),
        plural(r.n_builds, "build", "builds"),
        plural(n(r.n_pairs), "pair", "pairs"),
        duration(r.elapsed_ns),
    )
}

fn legend(r: &BisectReport) -> String {
    format!(
        "time: how much more time a token takes, relative to the revision in the column against: the median over pairs of visits, whose \
         sides ran next to each other. slower, not slower: by more than {}. The probability counts the answers against the good \
         revision, and assumes that what is slow stays slow up to the bad one.",
        percent(r.tolerance)
    )
}
