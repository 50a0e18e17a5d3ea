//! The targets: what they say of themselves, and each beside the others.

use super::super::{Block, Grid, or_na};
use super::MOST_ROWS;
use crate::analysis::live;
use crate::analysis::requests::load;
use crate::analysis::words::times;
use crate::request::TargetFacts;
use crate::text::{cut_end, plain, short};
use crate::units;
use crate::view::requests::RequestsView;

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
            short(other),
            short(&first.base.target)
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

fn ratios(pairs: &[live::JobPair<'_>]) -> Grid {
    let mut grid = Grid::of(
        &["job", "load"],
        &[
            "latency, times",
            "TTFT, times",
            "TPOT, times",
            "tokens/s, times",
        ],
    );
    for pair in pairs.iter().take(MOST_ROWS) {
        let ratio = |of| or_na(pair.ratio(of).map(times).map(|t| t.replace(" times", "")));
        grid.rows.push(vec![
            short(&pair.other.job.name),
            load(&pair.other.job.load),
            ratio(|r| r.latency_ns),
            ratio(|r| r.ttft_ns),
            ratio(|r| r.tpot_ns),
            ratio(|r| r.tokens_per_s),
        ]);
    }
    grid
}

/// The parts of a request at both targets, and their difference.
fn split(pairs: &[live::JobPair<'_>]) -> Grid {
    let mut grid = Grid::of(
        &["job", "target"],
        &[
            "latency",
            "waiting",
            "prefill",
            "decode",
            "loading",
            "transport",
            "engine's token",
        ],
    );
    let time = |ns: f64| units::duration(ns.max(0.0).round() as u64);
    for pair in pairs.iter().take(MOST_ROWS / 2) {
        for job in [pair.base, pair.other] {
            let parts = live::LatencyParts::of(job);
            let of =
                |part: fn(&live::LatencyParts) -> f64| or_na(parts.as_ref().map(part).map(time));
            let mut row = vec![short(&job.job.name), short(&job.target)];
            row.extend([
                or_na(job.figures.latency_ns.mean.map(|m| time(m.value))),
                of(|p| p.waiting),
                of(|p| p.prefill),
                of(|p| p.decode),
                of(|p| p.loading),
                of(|p| p.transport),
                or_na(live::PerToken::of(job).map(|t| time(t.ns))),
            ]);
            grid.rows.push(row);
        }
    }
    grid
}

/// The targets as they described themselves.
pub(in super::super) fn facts(requests: &RequestsView) -> Vec<Block> {
    let mut grid = Grid::of(
        &["target", "version", "model", "type", "SHA-256"],
        &["memory", "on a GPU", "context", "in parallel"],
    );
    let mut changed = Vec::new();
    for target in &requests.targets {
        let Some(facts) = target.facts() else {
            let reason = target.reason.as_deref().map(short);
            grid.rows.push(vec![
                short(&target.name),
                reason.unwrap_or_else(|| "it said nothing of itself".to_owned()),
            ]);
            continue;
        };
        let text = |t: &Option<String>| or_na(t.as_deref().map(short));
        // The model may be loaded by the first job only.
        let later = target.after.as_ref().unwrap_or(facts);
        let hash = facts.sha256.as_deref().map(|h| cut_end(&plain(h), 13));
        grid.rows.push(vec![
            short(&target.name),
            text(&facts.version),
            text(&facts.model),
            text(&facts.file_type),
            or_na(hash),
            or_na(later.size_bytes.map(units::bytes)),
            or_na(later.size_vram_bytes.map(units::bytes)),
            or_na(later.n_ctx.map(|n| n.to_string())),
            or_na(later.n_parallel.map(|n| n.to_string())),
        ]);
        if let (Some(before), Some(after)) = (&target.before, &target.after)
            && identity(before) != identity(after)
        {
            changed.push(format!(
                "{} was not the same before its jobs and after them: another version or file.",
                short(&target.name)
            ));
        }
    }
    let mut blocks = vec![
        Block::Heading("Targets of requests".to_owned()),
        Block::Table(grid),
    ];
    if !changed.is_empty() {
        blocks.push(Block::List(changed));
    }
    blocks
}

fn identity(facts: &TargetFacts) -> (&Option<String>, &Option<String>) {
    (&facts.version, &facts.sha256)
}
