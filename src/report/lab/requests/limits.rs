//! What limits requests, and what would help.

use super::super::Block;
use super::own_models;
use crate::analysis::live::{LatencyParts, Overlap, Simultaneity};
use crate::analysis::requests::{concurrency, limits, targets};
use crate::plan::Case;
use crate::report::suggest::Suggestion;
use crate::request::TargetKind;
use crate::request::shown_target;
use crate::text::short;
use crate::units;
use crate::view::RunView;
use crate::view::requests::RequestsView;

/// What limits, with its evidence.
pub(in super::super) fn bottleneck(view: &RunView, requests: &RequestsView) -> Vec<Block> {
    let Some(mut found) = limits::finding(view, requests) else {
        return vec![Block::Text("No request was answered.".to_owned())];
    };
    // Here the evidence is what one looks for: it is not folded away.
    let evidence = std::mem::take(&mut found.evidence);
    let mut blocks = vec![Block::Findings(vec![found]), Block::List(evidence)];
    if view.cells.is_empty() {
        let what = "What a step should take by this machine's ceilings, and whether weights or arithmetic bound it, follows \
                    from cells of several batch sizes.";
        let own = requests.measured().find(|j| j.is_in_process());
        blocks.extend(own.map(|job| {
            let usual = Case::usual("");
            let cells = Case {
                n_prompt: usual.n_prompt,
                n_gen: usual.n_gen,
                n_ctx: job.job.case.n_ctx.max(usual.n_ctx),
                ..job.job.case.clone()
            };
            let over = [("batch", "1,8,32".to_owned())];
            let models: Vec<&str> = own_models(view).iter().map(|m| m.name.as_str()).collect();
            let command = Suggestion::of_models(view, &models, &cells, &over);
            Block::Missing(what.to_owned(), command.to_string())
        }));
    }
    blocks
}

/// What would help, as far as this run's own data say so.
pub(in super::super) fn opportunities(requests: &RequestsView) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for target in targets(requests) {
        found.extend(more_at_once(requests, target));
        found.extend(more_slots(requests, target));
        found.extend(long_prompts(requests, target));
    }
    found
}

fn more_at_once(requests: &RequestsView, target: &str) -> Option<String> {
    let curve = concurrency::curve(requests, target);
    let (enough, _) = concurrency::knee(&curve)?;
    let first = curve.first()?;
    let gain = enough.ratio_to(first, |r| r.tokens_per_s)?.value;
    (gain >= 1.5).then(|| {
        format!(
            "{}: serve {} at once, {} times the tokens/s of {}.",
            shown_target(target),
            enough.at_once(),
            units::significant(gain),
            first.at_once()
        )
    })
}

fn more_slots(requests: &RequestsView, target: &str) -> Option<String> {
    let jobs = requests.measured().filter(|j| j.target == target);
    let (job, seen) = jobs
        .filter_map(|j| Some((j, Overlap::of(j)?)))
        .max_by_key(|(_, seen)| seen.under_way)?;
    let setting = match job.kind? {
        TargetKind::Ollama => "OLLAMA_NUM_PARALLEL",
        TargetKind::Openai => "the server's number of slots",
        TargetKind::InProcess => return None,
    };
    (seen.serving() != Simultaneity::Together).then(|| {
        format!(
            "{}: raise {setting}; {} requests were under way and {} answered at a time.",
            shown_target(target),
            seen.under_way,
            seen.answered
        )
    })
}

fn long_prompts(requests: &RequestsView, target: &str) -> Option<String> {
    let mut jobs = requests.measured().filter(|j| j.target == target);
    let job = jobs.find(|j| LatencyParts::of(j).is_some_and(|p| p.prefill > p.decode))?;
    let parts = LatencyParts::of(job)?;
    Some(format!(
        "{}: in {} the prompt takes {} of a request, more than the answer: shorter prompts, or a prefix that is kept in the \
         cache between requests.",
        shown_target(target),
        short(&job.job.name),
        units::percent(parts.prefill / parts.whole.max(1.0))
    ))
}
