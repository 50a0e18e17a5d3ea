//! What bounds a decode step: named only when two kinds of evidence agree, none disagrees, and a model of the time
//! leaves at most a tenth unexplained.
//!
//! Each kind of evidence leaves some bounds possible and excludes the others; the verdict is what all of them leave.

use std::fmt;

use super::Line;
use super::curve::{Along, Curve, curves, is_measured};
use crate::compare::axis::Axis;
use crate::plan::Case;
use crate::text::short;
use crate::units;
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
            Self::Weights => "memory bandwidth: every step reads all weights",
            Self::Compute => "arithmetic: every sequence costs its own multiplications",
            Self::KvCache => "the KV cache: every step reads the context of every sequence",
            Self::Host => "fixed costs of a call",
            Self::Sampling => "choosing the next tokens",
        })
    }
}

/// Where a piece of evidence comes from. Two pieces of one kind count once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Other batches at the same bytes of weights.
    Batch,
    /// Other bytes of weights at the same batch.
    Bytes,
    /// Other numbers of cached tokens.
    Context,
    /// Other numbers of threads.
    Threads,
    /// The spans of the step itself.
    Spans,
    /// The measured ceilings of the machine.
    Ceiling,
}

impl fmt::Display for Kind {
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

/// One observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Its kind.
    pub kind: Kind,
    /// What it leaves possible; empty when it says nothing.
    pub leaves: Vec<Bound>,
    /// Whether it is a model of the whole time that explains it to [`MOST_RESIDUAL`].
    pub explains: bool,
    /// The observation in a sentence, with its figures.
    pub text: String,
}

/// What bounds a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    /// The bound; none when it is undetermined.
    pub bound: Option<Bound>,
    /// Why it is undetermined, when it is.
    pub why_not: Option<String>,
    /// Everything that was observed.
    pub evidence: Vec<Evidence>,
}

/// A model of the time may be off by this share at any point, and must not be off by more.
pub const MOST_RESIDUAL: f64 = 0.10;
/// A part of the time bounds it from this share on.
pub const BOUNDS_FROM: f64 = 2.0 / 3.0;
/// And does not up to this share.
pub const NOT_UP_TO: f64 = 1.0 / 3.0;

/// What bounds a cell, by all evidence that its run has, and that of the machine's ceilings where they are known.
pub fn of(view: &RunView, cell: &CellView, ceilings: Option<Evidence>) -> Bottleneck {
    let evidence: Vec<Evidence> = [
        by_spans(cell),
        by_batch(view, cell),
        by_bytes(view, cell),
        by_context(cell),
        by_threads(view, cell),
        ceilings,
    ]
    .into_iter()
    .flatten()
    .collect();
    judge(evidence)
}

/// The verdict on some evidence.
pub fn judge(evidence: Vec<Evidence>) -> Bottleneck {
    let telling: Vec<&Evidence> = evidence.iter().filter(|e| !e.leaves.is_empty()).collect();
    let left: Vec<Bound> = [Weights, Compute, KvCache, Host, Sampling]
        .into_iter()
        .filter(|bound| telling.iter().all(|e| e.leaves.contains(bound)))
        .collect();
    let mut kinds: Vec<Kind> = telling.iter().map(|e| e.kind).collect();
    kinds.dedup();
    let why_not = if kinds.len() < 2 {
        Some(match kinds.first() {
            None => "nothing that was measured tells the possible bounds apart".to_owned(),
            Some(kind) => format!("only one kind of evidence ({kind}) speaks, two must agree"),
        })
    } else if left.is_empty() {
        Some("the kinds of evidence disagree".to_owned())
    } else if left.len() > 1 {
        let names: Vec<&str> = left.iter().map(|b| b.short()).collect();
        Some(format!(
            "the evidence leaves more than one: {}",
            names.join(", ")
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

fn step(cell: &CellView) -> Option<f64> {
    cell.median_step_ns.map(|ns| ns as f64)
}

/// The step's own spans: what this program and sampling take of it.
fn by_spans(cell: &CellView) -> Option<Evidence> {
    let step = step(cell)?;
    let share = |ns: Option<u64>| ns.map_or(0.0, |ns| ns as f64 / step);
    let (build, sample) = (share(Some(cell.overhead_ns?)), share(cell.sample_ns));
    let leaves = if build >= BOUNDS_FROM {
        vec![Host]
    } else if sample >= BOUNDS_FROM {
        vec![Sampling]
    } else if build + sample <= NOT_UP_TO {
        vec![Weights, Compute, KvCache, Host]
    } else {
        Vec::new()
    };
    let engine = share(cell.engine_ns);
    Some(Evidence {
        kind: Kind::Spans,
        leaves,
        explains: false,
        text: format!(
            "of the step the engine takes {}, choosing tokens {}, this program {}",
            units::percent(engine),
            units::percent(sample),
            units::percent(build)
        ),
    })
}

/// Step against batch: what is the same for every batch is read once; what grows belongs to each sequence.
fn by_batch(view: &RunView, cell: &CellView) -> Option<Evidence> {
    let all = curves(view, Along::Batch);
    let curve = curve_of(&all, cell)?;
    let points = points(curve, |c| f64::from(c.case.n_seq));
    let line = Line::through(&points)?;
    let fixed = line.a / line.at(f64::from(cell.case.n_seq));
    let explains = line.residual <= MOST_RESIDUAL;
    let leaves = match fixed {
        _ if !explains => Vec::new(),
        f if f >= BOUNDS_FROM => vec![Weights, Host],
        f if f <= NOT_UP_TO => vec![Compute, KvCache, Sampling],
        _ => Vec::new(),
    };
    Some(Evidence {
        kind: Kind::Batch,
        leaves,
        explains,
        text: format!(
            "over {} batches the step is {} + {} a sequence, every point within {}{}; at batch {} the first part is {} of it",
            points.len(),
            units::duration(line.a.round() as u64),
            units::duration(line.b.round() as u64),
            units::percent(line.residual),
            if explains {
                ""
            } else {
                ", which is too far off to build on"
            },
            cell.case.n_seq,
            units::percent(fixed),
        ),
    })
}

/// Step against the bytes that a step reads, over files of one shape.
fn by_bytes(view: &RunView, cell: &CellView) -> Option<Evidence> {
    let shape = |case: &Case| {
        let m = view.model(&case.model)?;
        Some((m.architecture.clone(), m.n_layer, m.n_embd, m.n_vocab))
    };
    let own = shape(&cell.case)?;
    let same = |other: &&CellView| {
        let mut case = other.case.clone();
        case.model.clone_from(&cell.case.model);
        case == cell.case && shape(&other.case).as_ref() == Some(&own)
    };
    let bytes = |c: &CellView| {
        view.model(&c.case.model)
            .map(|m| m.weight_bytes_per_step as f64)
    };
    let points: Vec<(f64, f64)> = view
        .cells
        .iter()
        .filter(|c| is_measured(c))
        .filter(same)
        .filter_map(|c| Some((bytes(c)?, step(c)?)))
        .collect();
    let line = Line::through(&points)?;
    let explains = line.residual <= MOST_RESIDUAL;
    let share = 1.0 - line.a / line.at(bytes(cell)?);
    let leaves = match share {
        _ if !explains => Vec::new(),
        s if s >= BOUNDS_FROM => vec![Weights],
        s if s <= NOT_UP_TO => vec![Compute, KvCache, Host, Sampling],
        _ => Vec::new(),
    };
    let rate = if line.b > 0.0 {
        format!("{} GB/s", units::significant(1.0 / line.b))
    } else {
        "no visible rate".to_owned()
    };
    Some(Evidence {
        kind: Kind::Bytes,
        leaves,
        explains,
        text: format!(
            "over {} files of this shape the step grows with the bytes read at {rate}, every point within {}{}; here that is {} of it",
            points.len(),
            units::percent(line.residual),
            if explains {
                ""
            } else {
                ", which is too far off to build on"
            },
            units::percent(share),
        ),
    })
}

/// Step against cached tokens, along the generation of the cell itself.
fn by_context(cell: &CellView) -> Option<Evidence> {
    const FEWEST: usize = 16;
    let along = cell.steps.along();
    if along.len() < FEWEST {
        return None;
    }
    let points: Vec<(f64, f64)> = along
        .iter()
        .map(|s| (f64::from(s.n_past), s.median_ns))
        .collect();
    let line = Line::through(&points)?;
    let (first, last) = (along.first()?.n_past, along.last()?.n_past);
    let middle = f64::from(first).midpoint(f64::from(last));
    // A context that hardly grew tells nothing of its cost.
    let grew = f64::from(last) >= 1.5 * f64::from(first.max(1));
    let explains = line.residual <= MOST_RESIDUAL;
    let share = 1.0 - line.a / line.at(middle);
    let leaves = match share {
        _ if !explains || !grew => Vec::new(),
        s if s >= BOUNDS_FROM => vec![KvCache],
        s if s <= NOT_UP_TO => vec![Weights, Compute, Host, Sampling],
        _ => Vec::new(),
    };
    Some(Evidence {
        kind: Kind::Context,
        leaves,
        explains,
        text: format!(
            "from {first} to {last} cached tokens the step grows by {} a token; in the middle the context is {} of it",
            units::duration(line.b.round() as u64),
            units::percent(share),
        ),
    })
}

/// Step against threads: arithmetic is shared out, memory bandwidth soon is not.
fn by_threads(view: &RunView, cell: &CellView) -> Option<Evidence> {
    let all = curves(view, Along::Threads);
    let curve = curve_of(&all, cell)?;
    let cores = view.header.machine.cpu.available_cores;
    let here = cell.case.n_threads;
    let fewer = curve
        .cells
        .iter()
        .filter(|c| c.case.n_threads < here)
        .max_by_key(|c| c.case.n_threads)?;
    if cores.is_some_and(|n| here > n) {
        return None;
    }
    let gain = step(fewer)? / step(cell)?;
    let more = f64::from(here) / f64::from(fewer.case.n_threads);
    let exponent = gain.ln() / more.ln();
    let leaves = match exponent {
        e if e >= BOUNDS_FROM => vec![Compute],
        e if e <= NOT_UP_TO => vec![Weights, KvCache, Host],
        _ => Vec::new(),
    };
    Some(Evidence {
        kind: Kind::Threads,
        leaves,
        explains: false,
        text: format!(
            "with {here} threads the step is {} times as fast as with {}",
            units::significant(gain),
            fewer.case.n_threads
        ),
    })
}

fn curve_of<'c, 'a>(curves: &'c [Curve<'a>], cell: &CellView) -> Option<&'c Curve<'a>> {
    let holds = |c: &&Curve<'a>| c.cells.iter().any(|c| c.case == cell.case);
    curves.iter().find(holds)
}

fn points(curve: &Curve<'_>, x: impl Fn(&CellView) -> f64) -> Vec<(f64, f64)> {
    let point = |c: &&CellView| Some((x(c), step(c)?));
    curve.cells.iter().filter_map(point).collect()
}

/// Which measurement would add evidence that a cell lacks: the axis, and why.
pub fn missing(view: &RunView, cell: &CellView, found: &Bottleneck) -> Vec<(Axis, &'static str)> {
    let has = |kind: Kind| found.evidence.iter().any(|e| e.kind == kind);
    let of = |name: &str| {
        name.parse()
            .ok()
            .map(|a: crate::compare::axis::ComparedAxis| a.axis)
    };
    let several_cores = view.header.machine.cpu.available_cores != Some(1);
    [
        (
            Kind::Batch,
            "batch",
            true,
            "three batches tell what a step costs once and what for each sequence",
        ),
        (
            Kind::Bytes,
            "model",
            true,
            "three files of one shape tell what a byte of weights costs",
        ),
        (
            Kind::Threads,
            "threads",
            several_cores && cell.case.n_gpu_layers == 0,
            "two numbers of threads tell arithmetic from memory",
        ),
    ]
    .into_iter()
    .filter(|(kind, _, possible, _)| *possible && !has(*kind))
    .filter_map(|(_, axis, _, why)| Some((of(axis)?, why)))
    .collect()
}

/// The bound in a sentence about a cell.
pub fn sentence(cell: &CellView, found: &Bottleneck) -> String {
    let place = format!("{} at batch {}", short(&cell.case.model), cell.case.n_seq);
    match (&found.bound, &found.why_not) {
        (Some(bound), _) => format!("{place} is bounded by {bound}."),
        (None, why) => format!(
            "{place}: undetermined, because {}.",
            why.as_deref().unwrap_or("nothing was observed")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::curve::Along;
    use crate::view::fixture::{self, MS, case, header, model, three_processes};

    fn evidence(kind: Kind, leaves: &[Bound], explains: bool) -> Evidence {
        Evidence {
            kind,
            leaves: leaves.to_vec(),
            explains,
            text: String::new(),
        }
    }

    #[test]
    fn a_bound_is_named_only_when_two_kinds_agree_and_one_explains_the_time() {
        let batch = evidence(Kind::Batch, &[Weights, Host], true);
        let bytes = evidence(Kind::Bytes, &[Weights], true);
        let against = evidence(Kind::Threads, &[Compute], false);
        let silent = evidence(Kind::Context, &[], false);
        let found = judge(vec![batch.clone(), bytes.clone(), silent.clone()]);
        assert_eq!((found.bound, found.why_not), (Some(Weights), None));
        for (given, why) in [
            (vec![], "nothing that was measured"),
            (
                vec![bytes.clone(), silent],
                "only one kind of evidence (file size)",
            ),
            (vec![bytes.clone(), bytes.clone()], "only one kind"),
            (vec![batch.clone(), bytes, against], "disagree"),
            (
                vec![
                    batch.clone(),
                    evidence(Kind::Spans, &[Weights, Host, Compute], false),
                ],
                "leaves more than one: memory bandwidth (weights), fixed costs",
            ),
            (
                vec![
                    evidence(Kind::Batch, &[Weights], false),
                    evidence(Kind::Spans, &[Weights], false),
                ],
                "no model of the time",
            ),
        ] {
            let found = judge(given);
            assert_eq!(found.bound, None);
            let said = found.why_not.expect("a reason");
            assert!(said.contains(why), "{said}");
        }
    }

    /// Three files of 100, 200 and 400 MB; steps of 10 ns a byte and 1 ms a sequence.
    #[test]
    fn weights_bound_a_single_sequence_and_arithmetic_many() {
        let mut cases = Vec::new();
        let mut lines = Vec::new();
        let mut header = header(&["a", "b", "c"], Vec::new());
        for (name, megabytes) in [("a", 1_u64), ("b", 2), ("c", 4)] {
            for n_seq in [1, 8, 64] {
                let case = Case {
                    n_gen: 64,
                    ..case(name, n_seq)
                };
                let step = megabytes * 10 * MS + u64::from(n_seq) * MS;
                lines.extend(three_processes(&case, 1, MS, step));
                cases.push(case);
            }
        }
        header.plan.cases = cases;
        header.plan.models = ["a", "b", "c"].map(model).into();
        for (facts, megabytes) in header.plan.models.iter_mut().zip([1, 2, 4]) {
            facts.weight_bytes_per_step = megabytes * 1_000_000;
        }
        let view = fixture::view(header, lines);
        let bound = |at: usize| of(&view, &view.cells[at], None);
        // c at batch 1: 40 of 41 ms are bytes, and the same for every batch.
        let found = bound(6);
        assert_eq!(found.bound, Some(Weights), "{found:#?}");
        assert!(
            found.evidence.iter().any(|e| e.text.contains("0.100 GB/s")),
            "{found:#?}"
        );
        // a at batch 64: 64 of 74 ms belong to the sequences, and hardly grow with the context.
        let found = bound(2);
        assert_eq!(found.bound, Some(Compute), "{found:#?}");
        assert!(
            missing(&view, &view.cells[2], &found)
                .iter()
                .any(|(a, _)| a.name() == "threads")
        );
        assert_eq!(curves(&view, Along::Batch).len(), 3);
    }
}
