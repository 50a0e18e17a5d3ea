//! A call as the list of kernels it runs, from a model's facts alone.

use std::collections::BTreeMap;

use super::cost::{attention_layers, sliding_cells};
use super::kernel::{Kernel, KernelLoad, Point};
use crate::model::ModelFacts;

/// What decides a call's kernels besides the model and the sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// ggml's type of the K cache, `F16`.
    pub type_k: String,
    pub type_v: String,
    pub n_batch: u32,
    pub n_ubatch: u32,
    /// Whether the next token is chosen from the logits.
    pub sample: bool,
    /// Whether attention works on the cells of all sequences, each token masking those of the others.
    pub kv_unified: bool,
    /// Cells beyond their window that layers with a sliding window keep; none where they keep all.
    pub beyond_window: Option<u32>,
}

/// Most passes of a prefill that are counted: far more than anyone waits for.
const MOST_PASSES: u64 = 1 << 18;

/// A point and how often a call (or a prefill of several calls) runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub point: Point,
    pub count: f64,
}

/// The kernels of a decode step of `n_seq` sequences with `n_past` tokens in each cache.
///
/// Empty when the facts list no matrices (records of older programs).
pub fn decode(model: &ModelFacts, geometry: &Geometry, n_seq: u32, n_past: u32) -> Vec<Item> {
    let mut work = Work::of(model, geometry);
    work.pass(Pass {
        n_seq,
        n_tokens: 1,
        n_past,
        n_logits: n_seq,
    });
    work.logits(n_seq);
    work.items()
}

/// The kernels of the prefill of `n_seq` prompts of `n_prompt` tokens after `n_depth` cached ones, as
/// [`crate::measure`] submits them and the engine splits them. Empty also when it is split into more passes than
/// can be added up.
pub fn prefill(
    model: &ModelFacts,
    geometry: &Geometry,
    n_seq: u32,
    n_prompt: u32,
    n_depth: u32,
) -> Vec<Item> {
    let mut work = Work::of(model, geometry);
    let Some(passes) = prefill_passes(geometry, n_seq, n_prompt, n_depth) else {
        return Vec::new();
    };
    for pass in passes {
        work.pass(pass);
    }
    work.logits(n_seq);
    work.items()
}

/// Tokens that the engine computes at once, equally many of each sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pass {
    n_seq: u32,
    n_tokens: u32,
    n_past: u32,
    n_logits: u32,
}

struct Work<'a> {
    model: &'a ModelFacts,
    geometry: &'a Geometry,
    counts: BTreeMap<Point, f64>,
}

impl<'a> Work<'a> {
    fn of(model: &'a ModelFacts, geometry: &'a Geometry) -> Self {
        Self {
            model,
            geometry,
            counts: BTreeMap::new(),
        }
    }

    fn add(&mut self, kernel: Kernel, load: KernelLoad, count: f64) {
        *self.counts.entry(Point { kernel, load }).or_default() += count;
    }

    fn pass(&mut self, pass: Pass) {
        let all = pass.n_seq * pass.n_tokens;
        for group in &self.model.matrices {
            let n = if group.only_logits {
                pass.n_logits
            } else {
                all
            };
            let kernel = match self.model.n_expert_used {
                Some(used) if group.n_expert > 1 => Kernel::Experts {
                    weights: group.tensor_type.clone(),
                    n_in: group.n_in,
                    n_out: group.n_out,
                    n_expert: group.n_expert,
                    n_used: u64::from(used).min(group.n_expert),
                },
                _ => Kernel::MatMul {
                    weights: group.tensor_type.clone(),
                    n_in: group.n_in,
                    n_out: group.n_out,
                },
            };
            if n > 0 {
                self.add(kernel, KernelLoad::tokens(n), group.count as f64);
            }
        }
        if self.model.matrices.is_empty() {
            return;
        }
        if let Some(kernel) = self.attention() {
            self.attend(&kernel, pass);
        }
        let glue = self.glue();
        self.add(glue, KernelLoad::tokens(all), f64::from(self.model.n_layer));
    }

    /// The attention of all layers: those with a sliding window work on no more cells than they keep.
    fn attend(&mut self, kernel: &Kernel, pass: Pass) {
        let layers = attention_layers(self.model);
        let window = self.model.sliding.map_or(0, |s| s.n_window);
        let most_past =
            sliding_cells(window, self.geometry.beyond_window).saturating_sub(pass.n_tokens);
        for (n_past, count) in [
            (pass.n_past, layers.full),
            (pass.n_past.min(most_past), layers.sliding),
        ] {
            let load = match self.geometry.kv_unified {
                true => KernelLoad {
                    n_seq: 1,
                    n_tokens: pass.n_seq.saturating_mul(pass.n_tokens),
                    n_past: pass.n_seq.saturating_mul(n_past),
                },
                false => KernelLoad {
                    n_seq: pass.n_seq,
                    n_tokens: pass.n_tokens,
                    n_past,
                },
            };
            if count > 0.0 {
                self.add(kernel.clone(), load, count);
            }
        }
    }

    fn logits(&mut self, n: u32) {
        if self.geometry.sample && !self.model.matrices.is_empty() {
            let n_vocab = self.model.n_vocab;
            self.add(Kernel::Logits { n_vocab }, KernelLoad::tokens(n), 1.0);
        }
    }

    fn attention(&self) -> Option<Kernel> {
        let m = self.model;
        Some(Kernel::Attention {
            n_head: m.n_head?,
            n_head_kv: m.n_head_kv?,
            head_dim_k: m.head_dim_k?,
            head_dim_v: m.head_dim_v?,
            type_k: self.geometry.type_k.clone(),
            type_v: self.geometry.type_v.clone(),
        })
        .filter(|_| m.k_elements_per_token > 0 && m.v_elements_per_token > 0)
    }

    fn glue(&self) -> Kernel {
        let m = self.model;
        Kernel::Glue {
            n_embd: m.n_embd,
            n_ff: u32::try_from(m.active_n_ff()).unwrap_or(u32::MAX),
            n_head: m.n_head.unwrap_or(1),
            n_head_kv: m.n_head_kv.unwrap_or(1),
            head_dim: m.head_dim_k.unwrap_or(64),
        }
    }

    fn items(self) -> Vec<Item> {
        self.counts
            .into_iter()
            .map(|(point, count)| Item { point, count })
            .collect()
    }
}

/// How the engine splits the prefill: prompts one after another, cut into `n_batch` tokens; of each such
/// batch, equally many tokens of all its sequences, up to `n_ubatch` in all, until the shortest is used up
/// (`llama_batch_allocr::split_equal`). `None` for more than [`MOST_PASSES`].
fn prefill_passes(
    geometry: &Geometry,
    n_seq: u32,
    n_prompt: u32,
    n_depth: u32,
) -> Option<Vec<Pass>> {
    let at_once = geometry.n_batch.min(geometry.n_ubatch).max(1);
    if u64::from(n_seq) * u64::from(n_prompt) / u64::from(at_once) > MOST_PASSES {
        return None;
    }
    let mut passes = Vec::new();
    let mut first = (0, 0);
    while n_prompt > 0 && first.0 < n_seq {
        let batch = next_batch(geometry.n_batch.max(1), n_seq, n_prompt, &mut first);
        split(
            &batch,
            geometry.n_ubatch.max(1),
            n_prompt,
            n_depth,
            &mut passes,
        );
    }
    Some(passes)
}

/// Of each sequence in a batch: tokens done before, and tokens in it. `next` is the first token not yet
/// taken, as sequence and position.
fn next_batch(n_batch: u32, n_seq: u32, n_prompt: u32, next: &mut (u32, u32)) -> Vec<(u32, u32)> {
    let mut room = n_batch;
    let mut batch = Vec::new();
    while room > 0 && next.0 < n_seq {
        let n = (n_prompt - next.1).min(room);
        batch.push((next.1, n));
        room -= n;
        *next = if next.1 + n == n_prompt {
            (next.0 + 1, 0)
        } else {
            (next.0, next.1 + n)
        };
    }
    batch
}

fn split(batch: &[(u32, u32)], n_ubatch: u32, n_prompt: u32, n_depth: u32, passes: &mut Vec<Pass>) {
    let mut left = batch.to_vec();
    while let Some(start) = left.iter().position(|&(_, n)| n > 0) {
        let run = left[start..].iter().take_while(|&&(_, n)| n > 0).count();
        let run = &mut left[start..start + run];
        let shortest = run.iter().map(|&(_, n)| n).min().unwrap_or(0);
        let n_seq = run.len() as u32;
        let n_tokens = shortest.min((n_ubatch / n_seq).max(1));
        let n_past = n_depth + run.iter().map(|&(done, _)| done).max().unwrap_or(0);
        for (done, n) in run.iter_mut() {
            *done += n_tokens;
            *n -= n_tokens;
        }
        let finished = run.iter().filter(|&&(done, _)| done == n_prompt).count();
        passes.push(Pass {
            n_seq,
            n_tokens,
            n_past,
            n_logits: finished as u32,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::synth::preset_facts;

    fn geometry() -> Geometry {
        Geometry {
            type_k: "F16".into(),
            type_v: "F16".into(),
            n_batch: 2048,
            n_ubatch: 512,
            sample: true,
            kv_unified: false,
            beyond_window: Some(512),
        }
    }

    fn smollm(file_type: &str) -> ModelFacts {
        preset_facts("smollm2-135m", file_type)
    }

    fn pass(n_seq: u32, n_tokens: u32, n_past: u32, n_logits: u32) -> Pass {
        Pass {
            n_seq,
            n_tokens,
            n_past,
            n_logits,
        }
    }

    fn is_attention(kernel: &Kernel) -> bool {
        matches!(kernel, Kernel::Attention { .. })
    }

    #[test]
    fn a_step_multiplies_with_every_weight_once() {
        let model = smollm("q8_0");
        let items = decode(&model, &geometry(), 8, 100);
        let flops: f64 = items
            .iter()
            .map(|i| i.count * i.point.kernel.flops(i.point.load.total_tokens()))
            .sum();
        assert_eq!(flops, 2.0 * 8.0 * model.n_matmul_params as f64);
        let count = |is_it: fn(&Kernel) -> bool| -> f64 {
            let found = items.iter().filter(|i| is_it(&i.point.kernel));
            found.map(|i| i.count).sum()
        };
        let matmuls = count(|k| matches!(k, Kernel::MatMul { .. }));
        assert_eq!(matmuls, 30.0 * 7.0 + 1.0);
        assert_eq!(count(is_attention), 30.0);
        assert_eq!(count(|k| matches!(k, Kernel::Glue { .. })), 30.0);
        assert_eq!(count(|k| matches!(k, Kernel::Logits { .. })), 1.0);
        let silent = Geometry {
            sample: false,
            ..geometry()
        };
        let n = decode(&model, &silent, 8, 100).len();
        assert_eq!(n, items.len() - 1, "nobody reads the logits");
    }

    #[test]
    fn in_a_unified_cache_each_token_attends_to_the_cells_of_all_sequences() {
        let shared = Geometry {
            kv_unified: true,
            ..geometry()
        };
        let items = decode(&smollm("q8_0"), &shared, 8, 100);
        let attention: Vec<KernelLoad> = items
            .iter()
            .filter(|i| is_attention(&i.point.kernel))
            .map(|i| i.point.load)
            .collect();
        let all = KernelLoad {
            n_seq: 1,
            n_tokens: 8,
            n_past: 800,
        };
        assert_eq!(attention, [all]);
    }

    #[test]
    fn layers_with_a_sliding_window_attend_to_no_more_cells_than_they_keep() {
        let mut model = smollm("q8_0");
        model.sliding = Some(crate::model::SlidingLayers {
            n_window: 512,
            n_layer: 20,
            k_elements_per_token: 20 * 192,
            v_elements_per_token: 20 * 192,
        });
        let attention = |n_past: u32| -> Vec<(u32, f64)> {
            decode(&model, &geometry(), 8, n_past)
                .into_iter()
                .filter(|i| is_attention(&i.point.kernel))
                .map(|i| (i.point.load.n_past, i.count))
                .collect()
        };
        assert_eq!(attention(100), [(100, 30.0)]);
        assert_eq!(attention(4000), [(1023, 20.0), (4000, 10.0)]);
    }

    #[test]
    fn one_prompt_is_cut_by_the_physical_batch() {
        let passes = prefill_passes(&geometry(), 1, 1300, 10).expect("few");
        assert_eq!(
            passes,
            [
                pass(1, 512, 10, 0),
                pass(1, 512, 522, 0),
                pass(1, 276, 1034, 1)
            ]
        );
    }

    #[test]
    fn many_prompts_share_each_pass() {
        // 2048 tokens hold 16 prompts of 128; 512 at once are 32 of each.
        let passes = prefill_passes(&geometry(), 32, 128, 0).expect("few");
        let of_one_batch = [
            pass(16, 32, 0, 0),
            pass(16, 32, 32, 0),
            pass(16, 32, 64, 0),
            pass(16, 32, 96, 16),
        ];
        assert_eq!(passes, [of_one_batch, of_one_batch].concat());
    }

    #[test]
    fn a_prompt_cut_by_the_batch_goes_on_in_the_next() {
        let small = Geometry {
            n_batch: 150,
            n_ubatch: 100,
            ..geometry()
        };
        // Batch 1: all 100 of the first, 50 of the second. Batch 2: 50 and 100 of the third.
        assert_eq!(
            prefill_passes(&small, 3, 100, 0).expect("few"),
            [
                pass(2, 50, 0, 0),
                pass(1, 50, 50, 1),
                pass(2, 50, 50, 1),
                pass(1, 50, 50, 1),
            ]
        );
    }

    #[test]
    fn every_prompt_token_is_computed_once_and_every_prompt_ends_once() {
        for (n_seq, n_prompt, n_batch, n_ubatch) in [
            (1, 1, 1, 1),
            (7, 33, 64, 16),
            (128, 5, 200, 200),
            (3, 700, 2048, 512),
        ] {
            let g = Geometry {
                n_batch,
                n_ubatch,
                ..geometry()
            };
            let passes = prefill_passes(&g, n_seq, n_prompt, 0).expect("few");
            let tokens: u32 = passes.iter().map(|p| p.n_seq * p.n_tokens).sum();
            let logits: u32 = passes.iter().map(|p| p.n_logits).sum();
            assert_eq!((tokens, logits), (n_seq * n_prompt, n_seq));
            assert!(
                passes
                    .iter()
                    .all(|p| p.n_seq * p.n_tokens <= n_ubatch.max(n_seq))
            );
        }
        assert_eq!(prefill_passes(&geometry(), 4, 0, 0), Some(Vec::new()));
        let tokenwise = Geometry {
            n_ubatch: 1,
            ..geometry()
        };
        assert_eq!(prefill_passes(&tokenwise, 256, 1 << 20, 0), None);
    }

    #[test]
    fn facts_without_matrices_give_no_work() {
        let mut model = smollm("f16");
        model.matrices.clear();
        assert!(decode(&model, &geometry(), 1, 0).is_empty());
        assert!(prefill(&model, &geometry(), 1, 10, 0).is_empty());
    }
}
