//! What can be said of targets that served the same jobs.

use super::{JobPair, LatencyParts, Overlap, PerToken, Simultaneity, base, others, pairs, work};
use crate::analysis::words::{counted, duration_ns, times};
use crate::analysis::{Finding, Sure};
use crate::request::shown_target;
use crate::request::{Experiment, TargetFacts, TargetKind};
use crate::stats::equivalence::{EqualityDecision, EqualityRule};
use crate::text::short;
use crate::units;
use crate::view::requests::{JobView, RequestsView};

/// Everything that can be said of the targets, one beside the other.
pub fn findings(requests: &RequestsView) -> Vec<Finding> {
    let mut found = Vec::new();
    for other in others(requests) {
        let pairs = pairs(requests, other);
        found.extend(headline(&pairs));
        found.extend(work::finding(&pairs));
        found.extend(where_from(&pairs));
    }
    for target in &requests.targets {
        found.extend(in_parallel(requests, &target.name));
    }
    found.extend(others(requests).into_iter().map(|o| same_file(requests, o)));
    found
}

/// The pairs that differ in the number of requests at once only, where that was measured; else all.
fn comparable<'a>(pairs: &[JobPair<'a>]) -> Vec<JobPair<'a>> {
    let is_of = |p: &&JobPair<'a>| p.other.job.experiment == Experiment::Concurrency;
    let own: Vec<JobPair<'a>> = pairs.iter().filter(is_of).copied().collect();
    if own.is_empty() { pairs.to_vec() } else { own }
}

/// How many times as long, at the fewest and at the most requests at once.
pub fn headline(pairs: &[JobPair<'_>]) -> Option<Finding> {
    let main = comparable(pairs);
    let last = main.last()?;
    let name = shown_target(&last.other.target);
    let said: Vec<String> = ends(&main)
        .filter_map(|p| {
            Some(format!(
                "{} {}",
                times(p.ratio(|r| r.latency_ns)?),
                at_once(p.other)
            ))
        })
        .collect();
    let latency = last.ratio(|r| r.latency_ns)?;
    let unlike = ends(&main).any(|p| !work::unlike(p).is_empty());
    let sure = match latency.interval {
        _ if unlike => Sure::Undetermined,
        Some(i) if i.lo > 1.0 || i.hi < 1.0 => Sure::Shown,
        Some(_) => Sure::Undetermined,
        None => Sure::Likely,
    };
    let claim = format!(
        "A request at {name} takes {} the time it takes at {}.{}{}",
        said.join(", "),
        shown_target(&last.base.target),
        decided(&main),
        match unlike {
            true => " The two did not do equal work, so this does not compare the engines.",
            false => "",
        }
    );
    let finding = Finding::new("How do the targets compare?", claim, sure);
    let finding = finding.with(pairs.iter().map(evidence));
    Some(finding.see(&["concurrent_impact", "concurrent_latency"]))
}

/// Whether the rounds that were added have decided how the latencies compare, with a space before it.
fn decided(pairs: &[JobPair<'_>]) -> String {
    let decisions: Vec<EqualityDecision> = pairs.iter().filter_map(JobPair::decision).collect();
    let Some(most) = decisions.iter().map(|d| d.n_pairs).max() else {
        return String::new();
    };
    let is_open = |d: &&EqualityDecision| !d.verdict.is_final();
    let n_open = decisions.iter().filter(is_open).count();
    if n_open == 0 {
        let n_equal = decisions.iter().filter(|d| d.verdict.is_within()).count();
        let margin = units::percent(EqualityRule::of_targets().margin);
        let what = match (n_equal, decisions.len() - n_equal) {
            (_, 0) => format!("equal within {margin}"),
            (0, _) => "different".to_owned(),
            (equal, different) => {
                format!("equal within {margin} in {equal}, different in {different}")
            }
        };
        return format!(" Decided after at most {}: {what}.", counted(most, "round"));
    }
    // The spread of fewer says nothing of what would decide.
    let known = decisions
        .iter()
        .filter(is_open)
        .filter(|d| d.interval.is_some());
    let more = known.filter_map(|d| d.more_pairs).max();
    let more = more.map(|n| format!("; about {} more would decide", counted(n, "round")));
    format!(
        " Not decided after {} in {n_open} of {}{}.",
        counted(most, "round"),
        counted(decisions.len(), "job"),
        more.unwrap_or_default()
    )
}

/// The first and the last, or the only one.
fn ends<'p, 'a>(pairs: &'p [JobPair<'a>]) -> impl Iterator<Item = &'p JobPair<'a>> {
    let last = pairs.last().filter(|_| pairs.len() > 1);
    pairs.first().into_iter().chain(last)
}

fn at_once(job: &JobView) -> String {
    match job.at_once() {
        1 => "one at a time".to_owned(),
        n => format!("with {n} at once"),
    }
}

fn evidence(pair: &JobPair<'_>) -> String {
    let ratios = [
        ("latency", pair.ratio(|r| r.latency_ns)),
        ("TTFT", pair.ratio(|r| r.ttft_ns)),
        ("TPOT", pair.ratio(|r| r.tpot_ns)),
        ("tokens/s", pair.ratio(|r| r.tokens_per_s)),
    ];
    let said: Vec<String> = ratios
        .into_iter()
        .filter_map(|(name, ratio)| Some(format!("{name} {}", times(ratio?))))
        .collect();
    format!(
        "{} ({}, {}): {}.",
        short(&pair.other.job.name),
        at_once(pair.other),
        counted(pair.n_rounds(), "round"),
        said.join("; ")
    )
}

/// The split at the most requests at once.
pub fn where_from(pairs: &[JobPair<'_>]) -> Option<Finding> {
    let main = comparable(pairs);
    let last = main.last()?;
    if !last.has_common_answers() {
        return None;
    }
    let question = "Where does the difference come from?";
    let Some([base, other]) = last.parts() else {
        let name = shown_target(&last.other.target);
        let claim =
            format!("Undetermined: {name} does not report how long prefill and decoding took.");
        return Some(Finding::new(question, claim, Sure::Undetermined));
    };
    let difference = other.minus(base);
    let more = match difference.whole < 0.0 {
        true => "less",
        false => "more",
    };
    let both_own = last.base.is_in_process() && last.other.is_in_process();
    let mut parts = match both_own {
        // Two settings of this program: it has no transport.
        true => vec![
            ("queueing", difference.waiting),
            ("prefill", difference.prefill),
            ("decode", difference.decode),
        ],
        false => named(&difference),
    };
    parts.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
    let parts = parts.iter();
    let parts = parts.map(|(name, ns)| format!("{} {name}", signed(*ns)));
    let claim = format!(
        "{}, at {} a request takes {} {more} than at {}: {}.",
        capitalised(&at_once(last.other)),
        shown_target(&last.other.target),
        duration_ns(difference.whole.abs()),
        shown_target(&last.base.target),
        parts.collect::<Vec<_>>().join(", ")
    );
    let splits = main.iter().filter_map(split_in_words);
    let evidence = splits.chain(engines(&main));
    Some(Finding::new(question, claim, Sure::Likely).with(evidence))
}

/// The three parts that a difference is split into; loading, where there is any, is a fourth.
fn named(difference: &LatencyParts) -> Vec<(&'static str, f64)> {
    let mut parts = vec![
        ("engine", difference.engine()),
        ("queueing", difference.waiting),
        ("transport", difference.transport),
    ];
    if difference.loading.abs() >= 1.0 {
        parts.push(("loading the model", difference.loading));
    }
    parts
}

fn signed(ns: f64) -> String {
    let sign = if ns < 0.0 { "-" } else { "+" };
    format!("{sign}{}", duration_ns(ns.abs()))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

fn split_in_words(pair: &JobPair<'_>) -> Option<String> {
    let of = |job: &JobView, parts: LatencyParts| {
        format!(
            "{} {} = waiting {} + prefill {} + decode {} + loading {} + transport {}",
            shown_target(&job.target),
            duration_ns(parts.whole),
            duration_ns(parts.waiting),
            duration_ns(parts.prefill),
            duration_ns(parts.decode),
            duration_ns(parts.loading),
            duration_ns(parts.transport)
        )
    };
    let [base, other] = pair.parts()?;
    Some(format!(
        "{}, mean of a request: {}; {}.",
        short(&pair.other.job.name),
        of(pair.base, base),
        of(pair.other, other)
    ))
}

/// The engines' own time for a token, at the widths at which they really ran.
fn engines(pairs: &[JobPair<'_>]) -> Vec<String> {
    let mut said = Vec::new();
    for pair in ends(pairs) {
        let Some([base, other]) = pair.per_token() else {
            continue;
        };
        let whose = |t: PerToken| match t.by_server {
            true => "by its own clock",
            false => "by ours",
        };
        let width = Overlap::of(pair.other).map(Overlap::serving);
        let caution = match width {
            Some(Simultaneity::OneByOne | Simultaneity::Partly) => {
                " They did not run at equal width: a call for more sequences takes longer and gives more tokens."
            }
            _ => "",
        };
        said.push(format!(
            "A token {} takes {} {} ({}) and {} {} ({}), {} times.{caution}",
            at_once(pair.other),
            shown_target(&pair.base.target),
            duration_ns(base.ns),
            whose(base),
            shown_target(&pair.other.target),
            duration_ns(other.ns),
            whose(other),
            units::significant(other.ns / base.ns)
        ));
    }
    said
}

/// Whether a target answers requests together, judged where most are under way.
pub fn in_parallel(requests: &RequestsView, target: &str) -> Option<Finding> {
    let jobs = requests
        .measured()
        .filter(|j| j.target == target && j.is_closed());
    let (job, seen) = jobs
        .filter_map(|j| Some((j, Overlap::of(j)?)))
        .max_by_key(|(_, seen)| seen.under_way)?;
    let name = shown_target(target);
    let claim = match seen.serving() {
        Simultaneity::OneByOne => format!(
            "No: {name} answered them one after another. Of {} requests under way never more than one was being answered.",
            seen.under_way
        ),
        Simultaneity::Partly => format!(
            "In part: {name} answered at most {} of {} requests under way at the same time; the others waited.",
            seen.answered, seen.under_way
        ),
        Simultaneity::Together => format!(
            "Yes: {name} answered {} of {} requests under way at the same time.",
            seen.answered, seen.under_way
        ),
    };
    let mut evidence = vec![format!(
        "{}: an answer counts from its first piece to its last; this is the largest number at any instant.",
        short(&job.job.name)
    )];
    if seen.serving() != Simultaneity::Together {
        evidence.extend(more_slots(requests, job, seen));
    }
    let finding = Finding::new("Are requests answered in parallel?", claim, Sure::Shown);
    Some(finding.with(evidence).see(&["concurrent_impact"]))
}

/// What more slots would give, by this machine's own batching at that number.
fn more_slots(requests: &RequestsView, job: &JobView, seen: Overlap) -> Option<String> {
    let setting = match job.kind? {
        TargetKind::Ollama => format!("OLLAMA_NUM_PARALLEL={}", seen.under_way),
        TargetKind::Openai => format!("as many slots (llama-server: -np {})", seen.under_way),
        TargetKind::InProcess => return None,
    };
    let mut jobs = requests.measured();
    let own = jobs.find(|j| j.is_in_process() && j.job.name == job.job.name);
    let (Some(own), Some(now)) = (own.and_then(|j| j.tokens_per_s), job.tokens_per_s) else {
        return Some(format!(
            "With {setting} it could decode them in one batch; what that gives here was not measured in-process."
        ));
    };
    Some(format!(
        "With {setting} it could decode them in one batch: in-process batching of {} gives {} tokens/s here, {} times the {} \
         tokens/s measured, so expect about that, minus the time for transport.",
        seen.under_way,
        units::significant(own.value),
        units::significant(own.value / now.value),
        units::significant(now.value)
    ))
}

/// Whether the other target runs the base's file, by its SHA-256.
pub(super) fn same_file(requests: &RequestsView, other: &str) -> Finding {
    let facts = |name: &str| requests.target(name).and_then(|t| t.facts());
    let base = base(requests).unwrap_or_default();
    let hash = |facts: Option<&TargetFacts>| {
        let hash = facts?.sha256.as_deref()?.trim().to_ascii_lowercase();
        (!hash.is_empty()).then_some(hash)
    };
    let (a, b) = (hash(facts(base)), hash(facts(other)));
    let (base_name, name) = (shown_target(base), shown_target(other));
    let (claim, sure) = match (&a, &b) {
        (Some(a), Some(b)) if a == b => {
            let claim = format!("Yes: {base_name} and {name} ran the same file.");
            (claim, Sure::Shown)
        }
        (Some(_), Some(_)) => {
            let claim = format!(
                "No: {base_name} and {name} ran different files, so the figures do not compare the engines alone."
            );
            (claim, Sure::Shown)
        }
        _ => {
            let claim = format!("Undetermined: the file of {name} or of {base_name} is not known.");
            (claim, Sure::Undetermined)
        }
    };
    let says = |name: &str, hash: &Option<String>| {
        let hash = hash.as_deref().map_or("unknown".to_owned(), short);
        format!("SHA-256 at {name}: {hash}.")
    };
    let evidence = [says(&base_name, &a), says(&name, &b)];
    Finding::new("Is it the same file?", claim, sure).with(evidence)
}
