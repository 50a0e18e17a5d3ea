//! What bounds a decode step: named only when two kinds of evidence agree, none disagrees, and a model of the time
//! leaves at most a tenth unexplained.
//!
//! Each kind of evidence leaves some bounds possible and excludes the others; the verdict is what all of them leave.

mod evidence;

use std::fmt;

use crate::plan::Axis;
use crate::view::{CellView, RunView};

/// What can bound a decode step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Reading the weights, once a step however many sequences share it.
    Weights,
    /// Arithmetic, for each sequence.
    Compute,
    /// Reading the KV cache of each sequence.
    KvCache,
    /// This program and the engine's fixed cost of a call.
    Host,
    /// Choosing the next tokens.
    Sampling,
}

use Bound::{Compute, Host, KvCache, Sampling, Weights};

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => "memory bandwidth, since every step reads all weights",
            Self::Compute => "arithmetic, since every sequence costs its own multiplications",
            Self::KvCache => "the KV cache, since every step reads the context of every sequence",
            Self::Host => "fixed costs of a call",
            Self::Sampling => "choosing the next tokens",
        })
    }
}

/// Where a piece of evidence comes from. Two pieces of one kind count once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    Batch,
    Bytes,
    Context,
    Threads,
    Spans,
    Ceiling,
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Batch => "batch",
            Self::Bytes => "file size",
            Self::Context => "context",
            Self::Threads => "threads",
            Self::Spans => "spans of the step",
            Self::Ceiling => "ceilings",
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct BoundEvidence {
    pub kind: EvidenceKind,
    /// What it leaves possible; empty when it says nothing.
    pub leaves: Vec<Bound>,
    /// Whether it is a model of the whole time that explains it to [`MOST_RESIDUAL`].
    pub explains: bool,
    /// The observation in a sentence, with its figures.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    /// The bound; none when it is undetermined.
    pub bound: Option<Bound>,
    /// Why it is undetermined, when it is.
    pub why_not: Option<String>,
    pub evidence: Vec<BoundEvidence>,
}

/// A model of the time may be off by this share at any point, and must not be off by more.
pub const MOST_RESIDUAL: f64 = 0.10;
/// A part of the time bounds it from this share on.
pub const BOUNDS_FROM: f64 = 2.0 / 3.0;
/// And does not up to this share.
pub const NOT_UP_TO: f64 = 1.0 / 3.0;

/// What bounds a cell, by all evidence that its run has, and that of the machine's ceilings where they are known.
pub fn of(view: &RunView, cell: &CellView, ceilings: Option<BoundEvidence>) -> Bottleneck {
    let evidence: Vec<BoundEvidence> = [
        evidence::by_spans(cell),
        evidence::by_batch(view, cell),
        evidence::by_bytes(view, cell),
        evidence::by_context(cell),
        evidence::by_threads(view, cell),
        ceilings,
    ]
    .into_iter()
    .flatten()
    .collect();
    judge(evidence)
}

pub fn judge(evidence: Vec<BoundEvidence>) -> Bottleneck {
    let telling: Vec<&BoundEvidence> = evidence.iter().filter(|e| !e.leaves.is_empty()).collect();
    let left: Vec<Bound> = [Weights, Compute, KvCache, Host, Sampling]
        .into_iter()
        .filter(|bound| telling.iter().all(|e| e.leaves.contains(bound)))
        .collect();
    let mut kinds: Vec<EvidenceKind> = telling.iter().map(|e| e.kind).collect();
    kinds.dedup();
    let why_not = if kinds.len() < 2 {
        Some(match kinds.first() {
            None => "nothing that was measured tells the possible bounds apart".to_owned(),
            Some(kind) => format!("only one kind of evidence speaks ({kind}), and two must agree"),
        })
    } else if left.is_empty() {
        Some("the kinds of evidence disagree".to_owned())
    } else if let [others @ .., last] = &left[..]
        && !others.is_empty()
    {
        let names: Vec<&str> = others.iter().map(|b| b.short()).collect();
        Some(format!(
            "the evidence does not exclude {} or {}",
            names.join(", "),
            last.short()
        ))
    } else if !telling.iter().any(|e| e.explains) {
        let percent = MOST_RESIDUAL * 100.0;
        Some(format!(
            "no model of the time is within {percent:.0}% of every point"
        ))
    } else {
        None
    };
    Bottleneck {
        bound: left.first().copied().filter(|_| why_not.is_none()),
        why_not,
        evidence,
    }
}

impl Bound {
    /// In a word or two.
    pub fn short(self) -> &'static str {
        match self {
            Self::Weights => "memory bandwidth (weights)",
            Self::Compute => "arithmetic",
            Self::KvCache => "KV cache",
            Self::Host => "fixed costs",
            Self::Sampling => "sampling",
        }
    }
}

/// Which measurement would add evidence that a cell lacks: the axis, and why.
pub fn missing(view: &RunView, cell: &CellView, found: &Bottleneck) -> Vec<(Axis, &'static str)> {
    let has = |kind: EvidenceKind| found.evidence.iter().any(|e| e.kind == kind);
    let several_cores = view.header.machine.cpu.available_cores != Some(1);
    [
        (
            EvidenceKind::Batch,
            "batch",
            true,
            "three batches tell what a step costs once and what for each sequence",
        ),
        (
            EvidenceKind::Bytes,
            "model",
            true,
            "three files of one shape tell what a byte of weights costs",
        ),
        (
            EvidenceKind::Threads,
            "threads",
            several_cores && cell.case.n_gpu_layers == 0,
            "two numbers of threads tell arithmetic from memory",
        ),
    ]
    .into_iter()
    .filter(|(kind, _, possible, _)| *possible && !has(*kind))
    .filter_map(|(_, axis, _, why)| Some((Axis::named(axis)?, why)))
    .collect()
}

pub fn words(found: &Bottleneck) -> String {
    match (&found.bound, &found.why_not) {
        (Some(bound), _) => format!("bounded by {bound}"),
        (None, Some(why)) => format!("undetermined, because {why}"),
        (None, None) => "undetermined".to_owned(),
    }
}

#[cfg(test)]
mod tests;
