//! From axes to cases: the product of every axis, less what is excluded, each cell validated.

use serde::Serialize;

use super::{
    Case, Devices, FlashAttn, KvSizing, KvType, MAX_SEQ, MAX_THREADS, PlanError, RpcServers,
    SplitMode, TensorSplit,
};

/// Most combinations a sweep may span; more is a typing mistake, and would take years.
const MAX_CASES: usize = 100_000;

/// Layers asked for when a GPU is there and nobody says how many: more than any model has.
pub const ALL_LAYERS: u32 = 999;

/// Most cells of a KV cache: the engine counts them in 32 signed bits.
const MAX_CELLS: u64 = i32::MAX as u64;

/// What an axis is when nobody names it. llama.cpp's own defaults where it has them.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // named as the fields of `Case`, which has their docs
pub struct Defaults {
    pub n_seq: u32,
    pub n_prompt: u32,
    pub n_gen: u32,
    pub n_depth: u32,
    pub n_ctx: u32,
    pub kv: KvSizing,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub type_k: KvType,
    pub type_v: KvType,
    pub flash_attn: FlashAttn,
    pub swa_full: bool,
    pub split_mode: SplitMode,
    pub main_gpu: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            n_seq: 1,
            n_prompt: 128,
            n_gen: 64,
            n_depth: 0,
            n_ctx: 2048,
            kv: KvSizing::Full,
            n_batch: 2048,
            n_ubatch: 512,
            type_k: KvType::F16,
            type_v: KvType::F16,
            flash_attn: FlashAttn::Auto,
            // As llama.cpp's tools; its library's own default is a full cache.
            swa_full: false,
            split_mode: SplitMode::Layer,
            main_gpu: 0,
        }
    }
}

impl Defaults {
    /// The cell of a model when nothing else is asked for.
    pub fn case(&self, model: &str, host: Host) -> Case {
        Case {
            model: model.to_owned(),
            n_seq: self.n_seq,
            n_prompt: self.n_prompt,
            n_gen: self.n_gen,
            n_depth: self.n_depth,
            n_threads: host.n_threads,
            n_ctx: self.n_ctx,
            kv: self.kv,
            n_batch: self.n_batch,
            n_ubatch: self.n_ubatch,
            type_k: self.type_k,
            type_v: self.type_v,
            flash_attn: self.flash_attn,
            swa_full: self.swa_full,
            n_gpu_layers: host.n_gpu_layers,
            split_mode: self.split_mode,
            main_gpu: self.main_gpu,
            rpc: RpcServers::default(),
            device: Devices::Auto,
            tensor_split: TensorSplit::default(),
            sample: true,
        }
    }
}

/// The machine's part of the defaults.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Threads used when none are asked for: the cores this process may use.
    pub n_threads: u32,
    /// Layers offloaded when none are asked for: all of them where the build has a GPU backend.
    pub n_gpu_layers: u32,
}

/// The axes as asked for; `None` is an axis nobody named.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // named as the fields of `Case`, which has their docs
pub struct Axes {
    /// What `--model` was given; [`crate::model`] resolves it.
    pub model: Option<Vec<String>>,
    pub n_seq: Option<Vec<u32>>,
    pub n_prompt: Option<Vec<u32>>,
    pub n_gen: Option<Vec<u32>>,
    pub n_depth: Option<Vec<u32>>,
    pub n_threads: Option<Vec<u32>>,
    pub n_ctx: Option<Vec<u32>>,
    pub kv: Option<Vec<KvSizing>>,
    pub n_batch: Option<Vec<u32>>,
    pub n_ubatch: Option<Vec<u32>>,
    pub type_k: Option<Vec<KvType>>,
    pub type_v: Option<Vec<KvType>>,
    pub flash_attn: Option<Vec<FlashAttn>>,
    pub swa_full: Option<Vec<bool>>,
    pub n_gpu_layers: Option<Vec<u32>>,
    pub split_mode: Option<Vec<SplitMode>>,
    pub main_gpu: Option<Vec<u32>>,
    pub rpc: Option<Vec<RpcServers>>,
    pub device: Option<Vec<Devices>>,
    pub tensor_split: Option<Vec<TensorSplit>>,
    pub sample: Option<Vec<bool>>,
}

impl Axes {
    /// How many combinations of values the axes have, models aside.
    fn combinations(&self) -> usize {
        let lengths = [
            self.n_seq.as_ref().map(Vec::len),
            self.n_prompt.as_ref().map(Vec::len),
            self.n_gen.as_ref().map(Vec::len),
            self.n_depth.as_ref().map(Vec::len),
            self.n_threads.as_ref().map(Vec::len),
            self.n_ctx.as_ref().map(Vec::len),
            self.kv.as_ref().map(Vec::len),
            self.n_batch.as_ref().map(Vec::len),
            self.n_ubatch.as_ref().map(Vec::len),
            self.type_k.as_ref().map(Vec::len),
            self.type_v.as_ref().map(Vec::len),
            self.flash_attn.as_ref().map(Vec::len),
            self.swa_full.as_ref().map(Vec::len),
            self.n_gpu_layers.as_ref().map(Vec::len),
            self.split_mode.as_ref().map(Vec::len),
            self.main_gpu.as_ref().map(Vec::len),
            self.rpc.as_ref().map(Vec::len),
            self.device.as_ref().map(Vec::len),
            self.tensor_split.as_ref().map(Vec::len),
            self.sample.as_ref().map(Vec::len),
        ];
        lengths.into_iter().flatten().fold(1, usize::saturating_mul)
    }

    /// These axes, each taken from `over` where it names one: flags over a sweep file.
    #[must_use]
    pub fn overridden_by(self, over: Axes) -> Axes {
        Axes {
            model: over.model.or(self.model),
            n_seq: over.n_seq.or(self.n_seq),
            n_prompt: over.n_prompt.or(self.n_prompt),
            n_gen: over.n_gen.or(self.n_gen),
            n_depth: over.n_depth.or(self.n_depth),
            n_threads: over.n_threads.or(self.n_threads),
            n_ctx: over.n_ctx.or(self.n_ctx),
            kv: over.kv.or(self.kv),
            n_batch: over.n_batch.or(self.n_batch),
            n_ubatch: over.n_ubatch.or(self.n_ubatch),
            type_k: over.type_k.or(self.type_k),
            type_v: over.type_v.or(self.type_v),
            flash_attn: over.flash_attn.or(self.flash_attn),
            swa_full: over.swa_full.or(self.swa_full),
            n_gpu_layers: over.n_gpu_layers.or(self.n_gpu_layers),
            split_mode: over.split_mode.or(self.split_mode),
            main_gpu: over.main_gpu.or(self.main_gpu),
            rpc: over.rpc.or(self.rpc),
            device: over.device.or(self.device),
            tensor_split: over.tensor_split.or(self.tensor_split),
            sample: over.sample.or(self.sample),
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
        fn among<T: PartialEq>(asked: &Option<Vec<T>>, value: &T) -> bool {
            asked.as_ref().is_none_or(|values| values.contains(value))
        }
        let a = &self.axes;
        self.model.as_ref().is_none_or(|p| p.matches(&case.model))
            && among(&a.n_seq, &case.n_seq)
            && among(&a.n_prompt, &case.n_prompt)
            && among(&a.n_gen, &case.n_gen)
            && among(&a.n_depth, &case.n_depth)
            && among(&a.n_threads, &case.n_threads)
            && among(&a.n_ctx, &case.n_ctx)
            && among(&a.kv, &case.kv)
            && among(&a.n_batch, &case.n_batch)
            && among(&a.n_ubatch, &case.n_ubatch)
            && among(&a.type_k, &case.type_k)
            && among(&a.type_v, &case.type_v)
            && among(&a.flash_attn, &case.flash_attn)
            && among(&a.swa_full, &case.swa_full)
            && among(&a.n_gpu_layers, &case.n_gpu_layers)
            && among(&a.split_mode, &case.split_mode)
            && among(&a.main_gpu, &case.main_gpu)
            && among(&a.rpc, &case.rpc)
            && among(&a.device, &case.device)
            && among(&a.tensor_split, &case.tensor_split)
            && among(&a.sample, &case.sample)
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
    let d = Defaults::default();
    fn or<T: Clone>(axis: &Option<Vec<T>>, default: T) -> Vec<T> {
        axis.clone().unwrap_or_else(|| vec![default])
    }
    // Axes that only multiply, outermost first; each step grows the list of partial cases.
    let mut cases: Vec<Case> = models.iter().map(|model| d.case(model, host)).collect();
    macro_rules! multiply {
        ($($field:ident = $default:expr),* $(,)?) => {$(
            cases = cases
                .iter()
                .flat_map(|case| {
                    or(&axes.$field, $default).into_iter().map(|value| Case {
                        $field: value,
                        ..case.clone()
                    })
                })
                .collect();
        )*};
    }
    multiply!(
        rpc = RpcServers::default(),
        device = Devices::Auto,
        tensor_split = TensorSplit::default(),
        n_gpu_layers = host.n_gpu_layers,
        split_mode = d.split_mode,
        main_gpu = d.main_gpu,
        n_threads = host.n_threads,
        flash_attn = d.flash_attn,
        swa_full = d.swa_full,
        type_k = d.type_k,
        type_v = d.type_v,
        n_batch = d.n_batch,
        n_ubatch = d.n_ubatch,
        kv = d.kv,
        n_ctx = d.n_ctx,
        sample = true,
        n_depth = d.n_depth,
        n_prompt = d.n_prompt,
        n_gen = d.n_gen,
        n_seq = d.n_seq,
    );
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
