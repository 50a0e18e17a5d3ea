//! What is done over and over, as llama.cpp's graphs do it.

use llama_cpp_sys_2 as sys;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::builder::{Graph, GraphBuilder, Room};
use super::ggml::{Backend, fill, set};
use super::weights::MAX_COPIES;
use crate::engine::EngineError;
use crate::model::synth::random_matrix;
use crate::model::tensor_type_of;
use crate::roofline::cost::KV_PAD;
use crate::roofline::kernel::{Kernel, KernelLoad};
use crate::roofline::slice::GLUE_CELLS;

/// Times that a layer's small operations follow each other in their graph, as layers do.
const GLUE_LAYERS: u64 = 16;

/// Most operations in a part: enough that what a graph costs by itself does not show.
const PART_OPS: u64 = 128;
/// A part need not read more than this.
const PART_BYTES: u64 = 16 << 20;
/// Nor compute more.
const PART_FLOPS: f64 = 20e9;

/// Of `n` operations that read so many bytes and compute so much each, those that make a part.
fn part_of(n: usize, bytes_each: u64, flops_each: f64) -> usize {
    let computed = (PART_FLOPS / flops_each.max(1.0)) as u64;
    let wanted = (PART_BYTES / bytes_each.max(1))
        .min(computed)
        .clamp(1, PART_OPS);
    (wanted as usize).min(n).max(1)
}

fn n_bytes(tensor: *mut sys::ggml_tensor) -> u64 {
    // SAFETY: a valid tensor.
    unsafe { sys::ggml_nbytes(tensor) as u64 }
}

/// A weight matrix times a vector for each token.
pub(super) fn mat_mul<'s>(
    backend: &'s Backend,
    weights: &[*mut sys::ggml_tensor],
    n_in: u64,
    load: KernelLoad,
    flops_each: f64,
) -> Result<Graph<'s>, EngineError> {
    let n = u64::from(load.total_tokens());
    let n_ops = part_of(weights.len(), n_bytes(weights[0]), flops_each);
    let mut builder = GraphBuilder::new(
        backend,
        Room {
            inputs: 1,
            parts: weights.len() / n_ops,
            nodes: n_ops,
        },
    )?;
    let x = builder.floats(&[n_in, n]);
    builder.ready()?;
    for part in weights.chunks_exact(n_ops) {
        builder.part();
        for &w in part {
            // SAFETY: rows of equal width, by the kernel's own sizes.
            builder.push(|ctx| unsafe { sys::ggml_mul_mat(ctx, w, x) });
        }
    }
    builder.finish(n_ops)
}

/// Each token with the matrices of the experts it chose.
pub(super) fn experts<'s>(
    backend: &'s Backend,
    weights: &[*mut sys::ggml_tensor],
    (n_in, n_expert, n_used): (u64, u64, u64),
    load: KernelLoad,
    flops_each: f64,
) -> Result<Graph<'s>, EngineError> {
    let n = u64::from(load.total_tokens());
    let n_ops = part_of(weights.len(), n_bytes(weights[0]), flops_each);
    let mut builder = GraphBuilder::new(
        backend,
        Room {
            inputs: 2,
            parts: weights.len() / n_ops,
            nodes: n_ops,
        },
    )?;
    let x = builder.floats(&[n_in, n_used, n]);
    let ids = builder.input(sys::GGML_TYPE_I32, &[n_used, n]);
    builder.ready()?;
    set(ids, &le_bytes(&choices(n_expert, n_used, n)));
    for part in weights.chunks_exact(n_ops) {
        builder.part();
        for &w in part {
            // SAFETY: sizes as the operation wants them; ids are below `n_expert`.
            builder.push(|ctx| unsafe { sys::ggml_mul_mat_id(ctx, w, x, ids) });
        }
    }
    builder.finish(n_ops)
}

/// As `llm_graph_context::build_attn_mha` builds it: queries and caches permuted, a stream for each
/// sequence, masked beyond each token's own position.
pub(super) fn attention<'s>(
    backend: &'s Backend,
    kernel: &Kernel,
    load: KernelLoad,
    bytes: u64,
    flops_each: f64,
) -> Result<Graph<'s>, EngineError> {
    let Kernel::Attention {
        n_head,
        n_head_kv,
        head_dim_k,
        head_dim_v,
        type_k,
        type_v,
    } = kernel
    else {
        unreachable!("called for attention only");
    };
    let (h, g) = (u64::from(*n_head), u64::from(*n_head_kv));
    let (dk, dv) = (u64::from(*head_dim_k), u64::from(*head_dim_v));
    let (s, t) = (u64::from(load.n_seq), u64::from(load.n_tokens));
    let n_kv = (u64::from(load.n_past) + t).next_multiple_of(KV_PAD.into());
    let k_rows = random_matrix(type_k, dk * g, KV_PAD.into()).ok_or_else(|| no_cache(type_k))?;
    let v_rows = random_matrix(type_v, dv * g, KV_PAD.into()).ok_or_else(|| no_cache(type_v))?;
    let bytes_each = (k_rows.len() + v_rows.len()) as u64 * (n_kv / u64::from(KV_PAD)) * s;
    let layers = (bytes / bytes_each.max(1)).clamp(1, MAX_COPIES) as usize;
    let ty = |name: &str| tensor_type_of(name).ok_or_else(|| no_cache(name));
    let (type_k, type_v) = (ty(type_k)?, ty(type_v)?);

    let n_ops = part_of(layers, bytes_each, flops_each);
    let mut builder = GraphBuilder::new(
        backend,
        Room {
            inputs: 2 + 2 * layers,
            parts: layers / n_ops,
            // Three permutations each.
            nodes: 4 * n_ops,
        },
    )?;
    let q = builder.floats(&[dk, h, t, s]);
    let mask = builder.input(sys::GGML_TYPE_F16, &[n_kv, t, 1, s]);
    let caches: Vec<_> = (0..layers)
        .map(|_| {
            let k = builder.input(type_k, &[dk, g, n_kv, s]);
            (k, builder.input(type_v, &[dv, g, n_kv, s]))
        })
        .collect();
    builder.ready()?;
    set(mask, &causal_mask(n_kv, load));
    for &(k, v) in &caches {
        fill(k, &k_rows);
        fill(v, &v_rows);
    }
    let scale = 1.0 / (dk as f32).sqrt();
    for part in caches.chunks_exact(n_ops) {
        builder.part();
        for &(k, v) in part {
            // SAFETY: permutations of four dimensions, and sizes as the operation asserts them.
            builder.push(|ctx| unsafe {
                let swap = |x| sys::ggml_permute(ctx, x, 0, 2, 1, 3);
                let op =
                    sys::ggml_flash_attn_ext(ctx, swap(q), swap(k), swap(v), mask, scale, 0.0, 0.0);
                sys::ggml_prec_set_acc(op, sys::GGML_PREC_F32);
                op
            });
        }
    }
    builder.finish(n_ops)
}

/// A layer's small operations in the order of `llama.cpp/src/models/llama.cpp`.
pub(super) fn glue<'s>(
    backend: &'s Backend,
    kernel: &Kernel,
    load: KernelLoad,
) -> Result<Graph<'s>, EngineError> {
    let Kernel::Glue {
        n_embd,
        n_ff,
        n_head,
        n_head_kv,
        head_dim,
    } = kernel
    else {
        unreachable!("called for small operations only");
    };
    let n = u64::from(load.total_tokens());
    let (embd, ff, dim) = (u64::from(*n_embd), u64::from(*n_ff), u64::from(*head_dim));
    let (h, g) = (u64::from(*n_head), u64::from(*n_head_kv));
    let mut builder = GraphBuilder::new(
        backend,
        Room {
            inputs: 9,
            parts: 1,
            // Eleven operations, one of them in two parts, and two views.
            nodes: GLUE_LAYERS as usize * 16,
        },
    )?;
    let x = builder.floats(&[embd, n]);
    let norm = builder.floats(&[embd]);
    let q = builder.floats(&[dim, h, n]);
    let k = builder.floats(&[dim, g, n]);
    let (gate, up) = (builder.floats(&[ff, n]), builder.floats(&[ff, n]));
    let positions = builder.input(sys::GGML_TYPE_I32, &[n]);
    let rows = builder.input(sys::GGML_TYPE_I64, &[n]);
    let cache = builder.input(sys::GGML_TYPE_F16, &[dim * g, GLUE_CELLS.max(n)]);
    builder.ready()?;
    set(positions, &le_bytes(&(0..n as i32).collect::<Vec<_>>()));
    let spread = |i: u64| (i * (GLUE_CELLS.max(n) / n)) as i64;
    set(
        rows,
        &(0..n)
            .flat_map(|i| spread(i).to_le_bytes())
            .collect::<Vec<u8>>(),
    );
    builder.part();
    for _ in 0..GLUE_LAYERS {
        // SAFETY: widths fit each other by construction; rows are below the cache's.
        unsafe {
            for _ in 0..2 {
                builder.push(|ctx| {
                    let normal = sys::ggml_rms_norm(ctx, x, 1e-5);
                    sys::ggml_mul(ctx, normal, norm)
                });
                builder.push(|ctx| sys::ggml_add(ctx, x, x));
            }
            for heads in [q, k] {
                builder.push(|ctx| {
                    let none = std::ptr::null_mut();
                    let (dim, base) = (dim as i32, 10_000.0);
                    sys::ggml_rope_ext(
                        ctx, heads, positions, none, dim, 0, 0, base, 1.0, 0.0, 1.0, 32.0, 1.0,
                    )
                });
            }
            for _ in 0..2 {
                builder.push(|ctx| {
                    let flat = sys::ggml_reshape_2d(ctx, k, (dim * g) as i64, n as i64);
                    sys::ggml_set_rows(ctx, cache, flat, rows)
                });
            }
            builder.push(|ctx| sys::ggml_swiglu_split(ctx, gate, up));
        }
    }
    builder.finish(GLUE_LAYERS as usize)
}

/// A row for each token.
pub(super) fn logits(
    backend: &Backend,
    n_vocab: u64,
    load: KernelLoad,
) -> Result<Graph<'_>, EngineError> {
    let n = u64::from(load.total_tokens());
    let mut builder = GraphBuilder::new(
        backend,
        Room {
            inputs: 1,
            parts: 0,
            nodes: 0,
        },
    )?;
    let logits = builder.floats(&[n_vocab, n]);
    builder.ready()?;
    builder.finish_fetch(logits, n_vocab as usize)
}

fn no_cache(name: &str) -> EngineError {
    EngineError::Unsupported(format!("no KV cache of type {name} can be made here"))
}

/// Distinct experts for every token, `n_used` a token, seeded.
fn choices(n_expert: u64, n_used: u64, n_tokens: u64) -> Vec<i32> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    (0..n_tokens)
        .flat_map(|_| {
            rand::seq::index::sample(&mut rng, n_expert as usize, n_used as usize)
                .into_iter()
                .map(|i| i as i32)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Zero where a token may look, minus infinity beyond it, in f16.
fn causal_mask(n_kv: u64, load: KernelLoad) -> Vec<u8> {
    const MINUS_INFINITY: u16 = 0xFC00;
    let mut mask = Vec::with_capacity((n_kv * u64::from(load.total_tokens()) * 2) as usize);
    for _ in 0..load.n_seq {
        for token in 0..u64::from(load.n_tokens) {
            let seen = u64::from(load.n_past) + token + 1;
            for cell in 0..n_kv {
                let value = if cell < seen { 0 } else { MINUS_INFINITY };
                mask.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
    mask
}

fn le_bytes(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}
