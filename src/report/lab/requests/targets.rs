//! The targets: what they say of themselves, and each beside the others.

use super::super::{Block, first_rows};
use crate::analysis::live;
use crate::analysis::requests::load;
use crate::report::table::{Table, Tone};
use crate::request::TargetFacts;
use crate::request::shown_target;
use crate::text::{cut_end, plain, short};
use crate::units;
use crate::view::requests::{JobView, RequestsView, TargetView};

/// Targets beside each other; nothing where there is one.
pub(in super::super) fn beside(requests: &RequestsView) -> Vec<Block> {
    let others = live::others(requests);
    if others.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![Block::Findings(live::findings(requests))];
    for other in others {
        let pairs = live::pairs(requests, other);
        let Some(first) = pairs.first() else { continue };
        blocks.push(Block::Heading(format!(
            "{} against {}",
            shown_target(other),
            shown_target(&first.base.target)
        )));
        blocks.push(Block::Table(ratios(&pairs)));
        blocks.push(Block::Table(split(&pairs)));
    }
    blocks.push(Block::Text(
        "Ratios are medians over rounds, in which the targets took turns; in brackets their 95% interval over processes, where \
         there are three. Waiting is the time before the engine began with a request, as the server's own durations leave \
         it; transport is what the client saw beyond the server's total. The parts are means and add up."
            .to_owned(),
    ));
    blocks
}

fn ratios(pairs: &[live::JobPair<'_>]) -> Table {
    let ratio = |pair: &live::JobPair<'_>, of| {
        let times = crate::analysis::words::times(pair.ratio(of)?);
        Some(times.replace(" times", ""))
    };
    Table::of(first_rows(pairs))
        .words("job", |p| short(&p.other.job.name))
        .words("load", |p| load(&p.other.job.load))
        .numbers("latency, times", |p| ratio(p, |r| r.latency_ns))
        .numbers("TTFT, times", |p| ratio(p, |r| r.ttft_ns))
        .numbers("TPOT, times", |p| ratio(p, |r| r.tpot_ns))
        .numbers("tokens/s, times", |p| ratio(p, |r| r.tokens_per_s))
        .table()
}

/// A job at a target, the parts of its requests' latency, and what a token takes.
type TargetSplit<'a> = (
    &'a JobView,
    Option<live::LatencyParts>,
    Option<live::PerToken>,
);

/// The parts of a request at both targets.
fn split(pairs: &[live::JobPair<'_>]) -> Table {
    let sides = pairs.iter().flat_map(|pair| {
        let (parts, per_token) = (pair.parts(), pair.per_token());
        [pair.base, pair.other]
            .into_iter()
            .enumerate()
            .map(move |(side, job)| {
                // Of the requests that both answered, where both say enough.
                let parts = parts
                    .map(|both| both[side])
                    .or_else(|| live::LatencyParts::of(job));
                let token = per_token
                    .map(|both| both[side])
                    .or_else(|| live::PerToken::of(job));
                (job, parts, token)
            })
    });
    let sides: Vec<TargetSplit<'_>> = sides.collect();
    let time = |ns: f64| units::duration(ns.max(0.0).round() as u64);
    let part = |(_, parts, _): &TargetSplit<'_>, of: fn(&live::LatencyParts) -> f64| {
        Some(time(of(parts.as_ref()?)))
    };
    Table::of(first_rows(&sides))
        .words("job", |(j, ..)| short(&j.job.name))
        .words("target", |(j, ..)| shown_target(&j.target))
        .numbers("latency", |(j, parts, _)| {
            let mean = j.figures.latency_ns.mean.map(|m| m.value);
            parts.map(|p| p.whole).or(mean).map(time)
        })
        .numbers("waiting", |j| part(j, |p| p.waiting))
        .numbers("prefill", |j| part(j, |p| p.prefill))
        .numbers("decode", |j| part(j, |p| p.decode))
        .numbers("loading", |j| part(j, |p| p.loading))
        .numbers("transport", |j| part(j, |p| p.transport))
        .numbers("engine's token", |(.., token)| token.map(|t| time(t.ns)))
        .table()
}

/// The targets as they described themselves.
pub(in super::super) fn facts(requests: &RequestsView) -> Vec<Block> {
    let mut blocks = vec![
        Block::Heading("Targets of requests".to_owned()),
        Block::Table(facts_table(requests)),
    ];
    let has_changed = |target: &&TargetView| match (&target.before, &target.after) {
        (Some(before), Some(after)) => identity(before) != identity(after),
        _ => false,
    };
    let changed = requests.targets.iter().filter(has_changed);
    let changed = changed.map(|target| {
        format!(
            "{} was not the same before its jobs and after them: another version or file.",
            shown_target(&target.name)
        )
    });
    let changed: Vec<String> = changed.collect();
    if !changed.is_empty() {
        blocks.push(Block::List(changed));
    }
    blocks
}

fn facts_table(requests: &RequestsView) -> Table {
    let text = |t: &TargetView, of: fn(&TargetFacts) -> &Option<String>| {
        of(t.facts()?).as_deref().map(short)
    };
    let silent = |t: &TargetView| {
        let reason = t.reason.as_deref().map(short);
        reason.unwrap_or_else(|| "it did not describe itself".to_owned())
    };
    Table::of(&requests.targets)
        .words("target", |t| shown_target(&t.name))
        .texts(|t| t.facts().is_none().then(|| (silent(t), Tone::Caution)))
        .words("version", |t| text(t, |f| &f.version))
        .words("model", |t| text(t, |f| &f.model))
        .words("type", |t| text(t, |f| &f.file_type))
        .words("SHA-256", |t| {
            let hash = t.facts()?.sha256.as_deref();
            hash.map(|hash| cut_end(&plain(hash), 13))
        })
        .numbers("memory", |t| later(t)?.size_bytes.map(units::bytes))
        .numbers("on a GPU", |t| later(t)?.size_vram_bytes.map(units::bytes))
        .numbers("context", |t| later(t)?.n_ctx.map(|n| n.to_string()))
        .numbers("in parallel", |t| {
            later(t)?.n_parallel.map(|n| n.to_string())
        })
        .table()
}

/// The model may be loaded by the first job only.
fn later(target: &TargetView) -> Option<&TargetFacts> {
    target.after.as_ref().or(target.before.as_ref())
}

fn identity(facts: &TargetFacts) -> (&Option<String>, &Option<String>) {
    (&facts.version, &facts.sha256)
}
