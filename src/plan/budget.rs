//! What a cell will cost, before anything is loaded: memory from the model's facts, time from the
//! machine's quickly measured rates. Prices are for deciding and for the progress bar; what a cell
//! really took is in the record.

use std::time::Duration;

use serde::Serialize;

use crate::model::ModelFacts;
use crate::roofline::ceiling::Ceilings;
use crate::roofline::cost::{self, CallShape};
use crate::roofline::work::{self, Item};

use super::{Case, FlashAttn, WARMUP_STEPS};

mod placement;

pub use placement::{MemoryPlacement, most_layers, n_layers, place, usable};

/// What a machine can do, roughly; from a measurement of a tenth of a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// Bytes read from memory a second, all threads together.
    pub read_bytes_per_s: f64,
    /// Single precision multiply-adds, counted as two, a second, all threads together.
    pub flops_per_s: f64,
    /// The threads they were measured with.
    pub n_threads: u32,
    /// Of the GPUs that layers are offloaded to, where their driver says enough.
    pub gpu: Option<GpuRates>,
    /// Kernels of the CPU that were timed earlier, by numbers of threads: what they tell is exact to some percent, the rates are not.
    pub ceilings: Vec<Ceilings>,
}

/// What a GPU can do by its data sheet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuRates {
    /// Bytes read from its memory a second.
    pub read_bytes_per_s: f64,
    /// Single precision multiply-adds, counted as two, a second.
    pub flops_per_s: f64,
}

impl Rates {
    /// Of a plan without cells, whose time is not forecast: measuring would take half a gigabyte and a moment.
    pub fn of_no_cells(n_threads: u32) -> Self {
        Self {
            read_bytes_per_s: f64::INFINITY,
            flops_per_s: f64::INFINITY,
            n_threads,
            gpu: None,
            ceilings: Vec::new(),
        }
    }
}

/// Bytes a cell needs, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryPrice {
    /// The file's tensors that decoding uses.
    pub weights_bytes: u64,
    /// The KV cache of all sequences.
    pub kv_bytes: u64,
    /// The recurrent and convolution state of all sequences.
    pub state_bytes: u64,
    /// The engine's compute buffers and the logits it hands out; an upper estimate.
    pub compute_bytes: u64,
}

impl MemoryPrice {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        let parts = [self.kv_bytes, self.state_bytes, self.compute_bytes];
        parts
            .into_iter()
            .fold(self.weights_bytes, u64::saturating_add)
    }
}

/// Bytes of the KV cache of all sequences, each of `n_ctx_seq` cells: METHOD's kappa times the cells, fewer of them in
/// layers with a sliding window.
pub fn kv_bytes(case: &Case, model: &ModelFacts, n_ctx_seq: u32) -> u64 {
    let (k, v) = (
        case.type_k.bytes_per_element(),
        case.type_v.bytes_per_element(),
    );
    let sliding = model.sliding_bytes_per_token(k, v);
    let full = model.kv_bytes_per_token(k, v) - sliding;
    let window = model.sliding.map_or(0, |s| s.n_window);
    let kept = case.sliding_cells(window).min(n_ctx_seq);
    let per_seq = full * f64::from(n_ctx_seq) + sliding * f64::from(kept);
    // A float beyond the integers becomes the largest of them.
    (per_seq * f64::from(case.n_seq)).ceil() as u64
}

/// Bytes of the recurrent and convolution state of all sequences.
pub fn state_bytes(case: &Case, model: &ModelFacts) -> u64 {
    model
        .state_bytes_per_seq()
        .saturating_mul(case.n_seq.into())
}

/// Bytes of the logits of one token.
fn row_logits_bytes(model: &ModelFacts) -> u64 {
    u64::from(model.n_vocab) * 4
}

/// Prices a cell's memory. What is beyond all bounds is the largest number, and so never fits.
///
/// Compute: the largest activations alive at once in a graph of `n_ubatch` tokens (`llama_context::graph_reserve`
/// reserves that worst case): logits of a row for each token that may ask for them, the feed-forward and the residual
/// widths, the attention mask (`llama-graph.cpp`), and without flash attention the scores of every head.
pub fn memory(case: &Case, model: &ModelFacts) -> MemoryPrice {
    let product = |factors: &[u64]| factors.iter().copied().fold(1, u64::saturating_mul);
    let tokens = u64::from(case.n_ubatch.min(case.n_batch));
    let f32_bytes = 4;
    let row_logits = row_logits_bytes(model);
    // The results of the experts lie side by side before they are added.
    let n_embd = u64::from(model.n_embd);
    let side_by_side = product(&[u64::from(model.n_active_experts()) - 1, n_embd]);
    let widths = product(&[3, model.active_n_ff()])
        .saturating_add(8 * n_embd)
        .saturating_add(side_by_side);
    let n_ctx_seq = u64::from(case.n_ctx_seq());
    // In f32, and again in f16 for flash attention.
    let mask = product(&[n_ctx_seq, tokens, 6]);
    let scores = match case.flash_attn {
        FlashAttn::Off => {
            let heads = u64::from(model.n_head.unwrap_or(0));
            product(&[heads, n_ctx_seq, tokens, 2 * f32_bytes])
        }
        FlashAttn::On | FlashAttn::Auto => 0,
    };
    let rows = product(&[
        tokens,
        row_logits.saturating_add(widths.saturating_mul(f32_bytes)),
    ]);
    let logits = product(&[case.n_seq.into(), row_logits]);
    MemoryPrice {
        weights_bytes: model.used_tensor_bytes(),
        kv_bytes: kv_bytes(case, model, case.n_ctx_seq()),
        state_bytes: state_bytes(case, model),
        compute_bytes: [logits, mask, scores]
            .into_iter()
            .fold(rows, u64::saturating_add),
    }
}

/// How long the parts of a cell take.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TimeEstimate {
    prefill: Duration,
    decode: Duration,
    /// Filling the cache up to the depth.
    depth: Duration,
    /// Whether every repetition has to do that anew.
    refills: bool,
    open: Duration,
    warm_up_share: f64,
}

impl TimeEstimate {
    /// One repetition, with what it has to compute anew beforehand.
    pub fn repetition(&self) -> Duration {
        let timed = self.prefill.saturating_add(self.decode);
        if self.refills {
            timed.saturating_add(self.depth)
        } else {
            timed
        }
    }

    /// Opening a context, filling the depth, and the warm-up.
    pub fn warm_up(&self) -> Duration {
        let steps = scaled(self.decode, self.warm_up_share);
        [self.depth, self.prefill, steps]
            .into_iter()
            .fold(self.open, Duration::saturating_add)
    }

    /// A visit with this number of repetitions.
    pub fn visit(&self, repetitions: u32) -> Duration {
        let timed = self.repetition().saturating_mul(repetitions);
        self.warm_up().saturating_add(timed)
    }
}

/// Longer than anyone waits: what an estimate is whose figures are beyond all bounds. A sum of many of them is still
/// a duration.
const ENDLESS: Duration = Duration::from_secs(100_000_000_000);

/// A duration times a factor, however large either is.
pub fn scaled(duration: Duration, factor: f64) -> Duration {
    seconds(duration.as_secs_f64() * factor)
}

fn seconds(s: f64) -> Duration {
    let duration = Duration::try_from_secs_f64(s).unwrap_or(ENDLESS);
    duration.min(ENDLESS)
}

/// Share of the quickly measured multiply-add rate that the engine's kernels reach: they also
/// dequantise, and their matrices do not stay in registers. From this project's own runs, roughly.
const KERNEL_EFFICIENCY: f64 = 0.35;

/// Share of a GPU's data-sheet bandwidth that decode steps of one sequence reach; 24 to 67% were seen on an H200.
const GPU_READ_SHARE: f64 = 0.4;

/// Time of a decode call that neither bytes nor FLOPs explain: graph building and thread wake-ups.
const CALL_OVERHEAD: Duration = Duration::from_micros(300);

/// Share of the layers, the output layer counted as one, that are on GPUs.
fn offloaded_share(case: &Case, model: &ModelFacts) -> f64 {
    let layers = u64::from(model.n_layer) + 1;
    u64::from(case.n_gpu_layers).min(layers) as f64 / layers as f64
}

/// The kernels of a cell on the CPU, timed with its threads.
fn ceilings_of<'r>(case: &Case, rates: &'r Rates) -> Option<&'r Ceilings> {
    let is_on_cpu = case.n_gpu_layers == 0 && case.rpc.is_none();
    let mut of_threads = rates
        .ceilings
        .iter()
        .filter(|c| c.n_threads == case.n_threads);
    of_threads.next().filter(|_| is_on_cpu)
}

/// Whether a cell's time is estimated from its own kernels, which were timed earlier, and not from the machine's rates.
pub fn is_timed(case: &Case, model: &ModelFacts, rates: &Rates) -> bool {
    let Some(ceilings) = ceilings_of(case, rates) else {
        return false;
    };
    let geometry = case.geometry();
    let decode = work::decode(model, &geometry, case.n_seq, case.mid_past());
    let prefill = work::prefill(model, &geometry, case.n_seq, case.n_prompt, case.n_depth);
    ceilings.total(&decode).is_some() && (case.n_prompt == 0 || ceilings.total(&prefill).is_some())
}

/// Estimates a cell's time. A call takes as long as its kernels, where all of them were timed earlier; else the longer of reading
/// its bytes and computing its FLOPs (the roofline, Williams et al. 2009), by the counts of `crate::roofline::cost`.
pub fn time(case: &Case, model: &ModelFacts, rates: &Rates) -> TimeEstimate {
    let threads =
        f64::from(case.n_threads.min(rates.n_threads.max(1))) / f64::from(rates.n_threads.max(1));
    let bytes_rate = rates.read_bytes_per_s * threads.sqrt();
    let flops_rate = rates.flops_per_s * KERNEL_EFFICIENCY * threads;
    let offloaded = rates.gpu.map(|gpu| (gpu, offloaded_share(case, model)));
    let call = |shape: &CallShape| {
        let cost = cost::of(model, case.kv_cache(), shape);
        let bytes = cost.weight_bytes + cost.kv_used_bytes + cost.state_bytes;
        let on =
            |bytes_rate: f64, flops_rate: f64| (bytes / bytes_rate).max(cost.flops() / flops_rate);
        let on_cpu = on(bytes_rate, flops_rate);
        let needed = match offloaded {
            Some((gpu, share)) => {
                let on_gpu = on(gpu.read_bytes_per_s * GPU_READ_SHARE, gpu.flops_per_s);
                share * on_gpu + (1.0 - share) * on_cpu
            }
            None => on_cpu,
        };
        seconds(needed) + CALL_OVERHEAD
    };
    let ceilings = ceilings_of(case, rates);
    let timed = |items: &[Item]| Some(seconds(ceilings?.total(items)?.ns / 1e9));
    let geometry = case.geometry();
    let prefill = |n: u32, after: u32| {
        if n == 0 {
            return Duration::ZERO;
        }
        let timed = timed(&work::prefill(model, &geometry, case.n_seq, n, after));
        timed.unwrap_or_else(|| call(&CallShape::prefill(case.n_seq, n, after, case.n_ubatch)))
    };
    let cache = kv_bytes(case, model, case.n_ctx_seq()).saturating_add(state_bytes(case, model));
    let warm_up_steps = case.n_gen.min(WARMUP_STEPS);
    let step = timed(&work::decode(model, &geometry, case.n_seq, case.mid_past()));
    let step = step.unwrap_or_else(|| call(&CallShape::decode(case.n_seq, case.mid_past())));
    TimeEstimate {
        prefill: prefill(case.n_prompt, case.n_depth),
        decode: step.saturating_mul(case.n_gen).min(ENDLESS),
        depth: prefill(case.n_depth, 0),
        refills: !case.can_return_to_depth(model),
        // The engine zeroes a new cache.
        open: seconds(0.02 + cache as f64 / bytes_rate),
        warm_up_share: f64::from(warm_up_steps) / f64::from(case.n_gen.max(1)),
    }
}

/// Time to load a file: read at the speed of a common disk, plus a process's start.
pub fn load_time(file_bytes: u64) -> Duration {
    const DISK_BYTES_PER_S: f64 = 500e6;
    seconds(0.2 + file_bytes as f64 / DISK_BYTES_PER_S)
}

#[cfg(test)]
mod tests;
