//! From axes to cases: the product of every axis, less what is excluded, each cell validated.

pub use super::axis::Axes;
use super::axis::{AXES, Axis};
use super::{Case, Devices, FlashAttn, MAX_SEQ, MAX_THREADS, PlanError};

/// Most combinations a sweep may span; more is a typing mistake, and would take years.
const MAX_CASES: usize = 100_000;

/// Layers on the GPU by default, if there is one: more than any model has.
pub const ALL_LAYERS: u32 = 999;

/// Most cells of a KV cache: the engine counts them in 32 signed bits.
const MAX_CELLS: u64 = i32::MAX as u64;

/// The machine's part of the defaults.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Threads used when none are asked for: the cores this process may use.
    pub n_threads: u32,
    /// Layers offloaded when none are asked for: all of them where the build has a GPU backend.
    pub n_gpu_layers: u32,
}

impl Host {
    /// The cell of a model when nothing else is asked for. llama.cpp's own defaults where it has them.
    pub fn case(self, model: &str) -> Case {
        Case {
            n_threads: self.n_threads,
            n_gpu_layers: self.n_gpu_layers,
            ..Case::usual(model)
        }
    }
}

/// A combination of values that a sweep leaves out: every named axis must match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exclude {
    /// A model name, `*` standing for any text.
    pub model: Option<glob::Pattern>,
    /// The values left out; its own `model` is not looked at.
    pub axes: Axes,
}

impl Exclude {
    fn matches(&self, case: &Case) -> bool {
        self.model.as_ref().is_none_or(|p| p.matches(&case.model))
            && AXES.iter().all(|axis| axis.allows(&self.axes, case))
    }
}

/// Every cell of the axes for the named models, in the order of the table: models outermost, batch
/// innermost, so that a scaling curve is read downwards.
///
/// # Errors
/// [`PlanError`] for a value no cell can have, and when the exclusions leave nothing.
pub fn cases(
    axes: &Axes,
    models: &[String],
    exclude: &[Exclude],
    host: Host,
) -> Result<Vec<Case>, PlanError> {
    let combinations = axes.combinations().saturating_mul(models.len());
    if combinations > MAX_CASES {
        return Err(PlanError::Impossible(format!(
            "the axes span {combinations} combinations; at most {MAX_CASES}"
        )));
    }
    let mut cases: Vec<Case> = models.iter().map(|model| host.case(model)).collect();
    let mut outermost_first: Vec<&Axis> = AXES.iter().collect();
    outermost_first.sort_by_key(|axis| axis.words.nesting);
    for axis in outermost_first {
        cases = axis.multiplied(axes, cases);
    }
    for case in &mut cases {
        // As Ollama's num_thread: 0 is for this program to choose.
        if case.n_threads == 0 {
            case.n_threads = host.n_threads;
        }
        if case.device == Devices::None {
            case.n_gpu_layers = 0;
        } else if axes.n_gpu_layers.is_none() && !case.rpc.is_none() {
            // As llama.cpp's tools: a server is named for its devices to be used.
            case.n_gpu_layers = ALL_LAYERS;
        }
    }
    cases.retain(|case| !exclude.iter().any(|x| x.matches(case)));
    if cases.is_empty() {
        return Err(PlanError::NothingLeft);
    }
    for case in &cases {
        validate(case)?;
    }
    Ok(cases)
}

fn validate(c: &Case) -> Result<(), PlanError> {
    let at_least_one = [
        ("n_gen", c.n_gen),
        ("threads", c.n_threads),
        ("n_ctx", c.n_ctx),
        ("n_batch", c.n_batch),
        ("n_ubatch", c.n_ubatch),
    ];
    for (key, value) in at_least_one {
        if value == 0 {
            return Err(PlanError::axis(key, "0 is too small; at least 1"));
        }
    }
    check_sequences(c, MAX_SEQ)?;
    if c.n_threads > MAX_THREADS {
        return Err(PlanError::axis(
            "threads",
            format!(
                "{} threads; the engine takes at most {MAX_THREADS}",
                c.n_threads
            ),
        ));
    }
    if u64::from(c.n_batch) > MAX_CELLS {
        return Err(PlanError::axis(
            "n_batch",
            format!("{} tokens; the engine takes at most {MAX_CELLS}", c.n_batch),
        ));
    }
    let used = [c.n_depth, c.n_prompt, c.n_gen]
        .iter()
        .fold(0_u64, |sum, &n| sum + u64::from(n));
    if used > u64::from(c.n_ctx) {
        return Err(PlanError::Impossible(format!(
            "n_depth {} + n_prompt {} + n_gen {} = {used} tokens do not fit n_ctx {} (tokens per \
             sequence): raise --n-ctx or shorten them",
            c.n_depth, c.n_prompt, c.n_gen, c.n_ctx
        )));
    }
    check_cells(c)?;
    if c.n_ubatch > c.n_batch {
        return Err(PlanError::Impossible(format!(
            "n_ubatch {} is larger than n_batch {}: the physical batch is a part of the logical one",
            c.n_ubatch, c.n_batch
        )));
    }
    if c.n_seq > c.n_batch {
        return Err(PlanError::Impossible(format!(
            "batch {} needs n_batch >= {}, it is {}: a decode step holds one token of every sequence",
            c.n_seq, c.n_seq, c.n_batch
        )));
    }
    if c.type_v.is_quantized() && c.flash_attn == FlashAttn::Off {
        return Err(PlanError::Impossible(format!(
            "type_v {} needs flash attention, which is off",
            c.type_v
        )));
    }
    Ok(())
}

fn check_sequences(c: &Case, most: u32) -> Result<(), PlanError> {
    if (1..=most).contains(&c.n_seq) {
        return Ok(());
    }
    Err(PlanError::axis(
        "batch",
        format!(
            "{} sequences; the engine decodes 1 to {most} together",
            c.n_seq
        ),
    ))
}

fn check_cells(c: &Case) -> Result<(), PlanError> {
    let cells = u64::from(c.n_ctx).next_multiple_of(super::KV_PAD.into());
    if cells * u64::from(c.n_seq) <= MAX_CELLS {
        return Ok(());
    }
    Err(PlanError::Impossible(format!(
        "n_ctx {} x batch {} is more cells than the engine can address (2^31)",
        c.n_ctx, c.n_seq
    )))
}

/// Whether an engine could have measured the case, which a record says it did. What is only unwise may stand there:
/// other versions may allow it.
///
/// # Errors
/// [`PlanError`] with the number that no engine takes.
pub fn check_recorded(c: &Case, most_seq: u32) -> Result<(), PlanError> {
    if c.n_seq > 0 {
        check_sequences(c, most_seq)?;
    }
    check_cells(c)?;
    let used = [c.n_depth, c.n_prompt, c.n_gen].map(u64::from);
    if used.iter().sum::<u64>() > MAX_CELLS {
        return Err(PlanError::Impossible(format!(
            "n_depth {} + n_prompt {} + n_gen {} are more tokens than the engine can address (2^31)",
            c.n_depth, c.n_prompt, c.n_gen
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
