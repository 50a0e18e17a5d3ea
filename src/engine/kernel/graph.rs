//! Graphs of many equal operations, and the memory they go through.

use llama_cpp_sys_2 as sys;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::KernelBackend;
use super::ggml::{Backend, Buffer, Context, set};
use crate::engine::{EngineError, argmax};
use crate::model::synth::random_matrix;
use crate::model::tensor_type_of;
use crate::roofline::cost::KV_PAD;
use crate::roofline::kernel::{Kernel, Load};

/// Most operations in a graph: enough that what a graph costs does not show.
const MAX_OPS: u64 = 1024;
/// Times that a layer's small operations follow each other in their graph, as layers do.
const GLUE_LAYERS: u64 = 16;
/// Cells of the cache that small operations write to.
const GLUE_CELLS: u64 = 4096;

/// A kernel with its weights in memory, many times over.
#[derive(Debug)]
pub struct Stock<'b> {
    backend: &'b KernelBackend,
    kernel: Kernel,
    bytes: u64,
    /// Before `_buffer` and `_context`, which hold what it points to.
    weights: Vec<*mut sys::ggml_tensor>,
    _buffer: Option<Buffer>,
    _context: Option<Context>,
}

/// A graph of one kernel under one load, with everything it reads and writes.
#[derive(Debug)]
pub struct Graph<'s> {
    backend: &'s Backend,
    n_ops: u32,
    work: GraphWork,
    _inputs: Buffer,
    _scratch: Option<Buffer>,
    _input_context: Context,
    _context: Option<Context>,
}

#[derive(Debug)]
enum GraphWork {
    Compute(*mut sys::ggml_cgraph),
    /// Logits are no graph: they are fetched and looked at.
    Fetch {
        logits: *mut sys::ggml_tensor,
        row: usize,
        into: Vec<f32>,
    },
}

impl<'b> Stock<'b> {
    /// Copies of one matrix, `bytes` of them together, at least one.
    pub(super) fn with_weights(
        backend: &'b KernelBackend,
        kernel: &Kernel,
        data: &[u8],
        bytes: u64,
    ) -> Result<Self, EngineError> {
        let n = (bytes / data.len() as u64).clamp(1, MAX_OPS);
        let context = Context::new(n as usize, 0)?;
        let weights: Vec<_> = (0..n).map(|_| weight(&context, kernel)).collect();
        let kind = choose_buffer(backend, kernel)?;
        let buffer = context.allocate(kind)?;
        // SAFETY: a valid buffer; the mark tells backends that nothing will be written to it.
        unsafe {
            sys::ggml_backend_buffer_set_usage(
                buffer.as_ptr(),
                sys::GGML_BACKEND_BUFFER_USAGE_WEIGHTS,
            );
        }
        for &tensor in &weights {
            set(tensor, data);
        }
        Ok(Self {
            backend,
            kernel: kernel.clone(),
            bytes: n * data.len() as u64,
            weights,
            _buffer: Some(buffer),
            _context: Some(context),
        })
    }

    pub(super) fn without_weights(backend: &'b KernelBackend, kernel: &Kernel, bytes: u64) -> Self {
        Self {
            backend,
            kernel: kernel.clone(),
            bytes,
            weights: Vec::new(),
            _buffer: None,
            _context: None,
        }
    }

    /// Bytes of distinct memory that a graph's kernels go through together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The kernel under a load, over and over. `at_most_bytes` of the weights are used, at least one matrix.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for what the device cannot compute, [`EngineError::Context`] when memory
    /// runs out.
    pub fn graph(&self, load: Load, at_most_bytes: u64) -> Result<Graph<'_>, EngineError> {
        match &self.kernel {
            Kernel::MatMul { n_in, .. } => {
                let weights = self.some_weights(at_most_bytes);
                let n = u64::from(load.total_tokens());
                let mut builder = Builder::new(&self.backend.backend, weights.len() * 2, 1)?;
                let x = builder.floats(&[*n_in, n]);
                builder.ready()?;
                for &w in weights {
                    // SAFETY: rows of equal width, by the kernel's own sizes.
                    builder.push(|ctx| unsafe { sys::ggml_mul_mat(ctx, w, x) });
                }
                builder.finish(weights.len())
            }
            Kernel::Experts {
                n_in,
                n_expert,
                n_used,
                ..
            } => {
                let weights = self.some_weights(at_most_bytes);
                self.experts(weights, (*n_in, *n_expert, *n_used), load)
            }
            Kernel::Attention { .. } => self.attention(load),
            Kernel::Glue { .. } => self.glue(load),
            Kernel::Logits { n_vocab } => self.logits(u64::from(*n_vocab), load),
        }
    }

    fn some_weights(&self, at_most_bytes: u64) -> &[*mut sys::ggml_tensor] {
        let each = (self.bytes / self.weights.len() as u64).max(1);
        let n = (at_most_bytes / each).clamp(1, self.weights.len() as u64);
        &self.weights[..n as usize]
    }

    fn experts(
        &self,
        weights: &[*mut sys::ggml_tensor],
        (n_in, n_expert, n_used): (u64, u64, u64),
        load: Load,
    ) -> Result<Graph<'_>, EngineError> {
        let n = u64::from(load.total_tokens());
        let mut builder = Builder::new(&self.backend.backend, weights.len() * 2, 2)?;
        let x = builder.floats(&[n_in, n_used, n]);
        let ids = builder.input(sys::GGML_TYPE_I32, &[n_used, n]);
        builder.ready()?;
        set(ids, &le_bytes(&choices(n_expert, n_used, n)));
        for &w in weights {
            // SAFETY: sizes as the operation wants them; ids are below `n_expert`.
            builder.push(|ctx| unsafe { sys::ggml_mul_mat_id(ctx, w, x, ids) });
        }
        builder.finish(weights.len())
    }

    /// As `llm_graph_context::build_attn_mha` builds it: queries and caches permuted, a stream for each
    /// sequence, masked beyond each token's own position.
    fn attention(&self, load: Load) -> Result<Graph<'_>, EngineError> {
        let Kernel::Attention {
            n_head,
            n_head_kv,
            head_dim_k,
            head_dim_v,
            type_k,
            type_v,
        } = &self.kernel
        else {
            unreachable!("called for attention only");
        };
        let (h, g) = (u64::from(*n_head), u64::from(*n_head_kv));
        let (dk, dv) = (u64::from(*head_dim_k), u64::from(*head_dim_v));
        let (s, t) = (u64::from(load.n_seq), u64::from(load.n_tokens));
        let n_kv = (u64::from(load.n_past) + t).next_multiple_of(KV_PAD.into());
        let k_row = random_matrix(type_k, dk * g, n_kv * s).ok_or_else(|| no_cache(type_k))?;
        let v_row = random_matrix(type_v, dv * g, n_kv * s).ok_or_else(|| no_cache(type_v))?;
        let layers = (self.bytes / (k_row.len() + v_row.len()) as u64).clamp(1, MAX_OPS) as usize;
        let ty = |name: &str| tensor_type_of(name).ok_or_else(|| no_cache(name));
        let (type_k, type_v) = (ty(type_k)?, ty(type_v)?);

        let mut builder = Builder::new(&self.backend.backend, layers * 6, 2 + 2 * layers)?;
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
            set(k, &k_row);
            set(v, &v_row);
        }
        let scale = 1.0 / (dk as f32).sqrt();
        for &(k, v) in &caches {
            // SAFETY: permutations of four dimensions, and sizes as the operation asserts them.
            builder.push(|ctx| unsafe {
                let swap = |x| sys::ggml_permute(ctx, x, 0, 2, 1, 3);
                let op =
                    sys::ggml_flash_attn_ext(ctx, swap(q), swap(k), swap(v), mask, scale, 0.0, 0.0);
                sys::ggml_prec_set_acc(op, sys::GGML_PREC_F32);
                op
            });
        }
        builder.finish(layers)
    }

    /// A layer's small operations in the order of `llama.cpp/src/models/llama.cpp`.
    fn glue(&self, load: Load) -> Result<Graph<'_>, EngineError> {
        let Kernel::Glue {
            n_embd,
            n_ff,
            n_head,
            n_head_kv,
            head_dim,
        } = &self.kernel
        else {
            unreachable!("called for small operations only");
        };
        let n = u64::from(load.total_tokens());
        let (embd, ff, dim) = (u64::from(*n_embd), u64::from(*n_ff), u64::from(*head_dim));
        let (h, g) = (u64::from(*n_head), u64::from(*n_head_kv));
        let mut builder = Builder::new(&self.backend.backend, GLUE_LAYERS as usize * 16, 12)?;
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

    fn logits(&self, n_vocab: u64, load: Load) -> Result<Graph<'_>, EngineError> {
        let n = u64::from(load.total_tokens());
        let mut builder = Builder::new(&self.backend.backend, 1, 1)?;
        let logits = builder.floats(&[n_vocab, n]);
        builder.ready()?;
        let work = GraphWork::Fetch {
            logits,
            row: n_vocab as usize,
            into: vec![0.0; (n_vocab * n) as usize],
        };
        builder.into_graph(work, 1, None)
    }
}

impl Graph<'_> {
    /// Kernels in the graph: a pass takes as long as so many of them.
    pub fn n_ops(&self) -> u32 {
        self.n_ops
    }

    /// Runs the whole graph once, and returns when it is done.
    ///
    /// # Errors
    /// [`EngineError::Decode`] with ggml's status.
    pub fn pass(&mut self) -> Result<(), EngineError> {
        match &mut self.work {
            GraphWork::Compute(graph) => self.backend.compute(*graph),
            GraphWork::Fetch { logits, row, into } => {
                // SAFETY: `into` has the size of the tensor.
                unsafe {
                    let bytes = into.len() * size_of::<f32>();
                    sys::ggml_backend_tensor_get(*logits, into.as_mut_ptr().cast(), 0, bytes);
                }
                for row in into.chunks_exact(*row) {
                    std::hint::black_box(argmax(row));
                }
                Ok(())
            }
        }
    }
}

/// A graph under construction: first its inputs, then its operations.
struct Builder<'s> {
    backend: &'s Backend,
    inputs: Context,
    /// Those to be filled with noise.
    noisy: Vec<*mut sys::ggml_tensor>,
    input_buffer: Option<Buffer>,
    context: Context,
    graph: *mut sys::ggml_cgraph,
}

impl<'s> Builder<'s> {
    fn new(backend: &'s Backend, n_nodes: usize, n_inputs: usize) -> Result<Self, EngineError> {
        // Each operation may have views besides; a graph also counts its leaves.
        let n_nodes = (n_nodes + n_inputs) * 2 + 16;
        let context = Context::new(n_nodes, n_nodes)?;
        // SAFETY: room for it was asked for.
        let graph = unsafe { sys::ggml_new_graph_custom(context.as_ptr(), n_nodes, false) };
        Ok(Self {
            backend,
            inputs: Context::new(n_inputs, 0)?,
            noisy: Vec::new(),
            input_buffer: None,
            context,
            graph,
        })
    }

    fn input(&mut self, ty: sys::ggml_type, ne: &[u64]) -> *mut sys::ggml_tensor {
        self.inputs.tensor(ty, ne)
    }

    fn floats(&mut self, ne: &[u64]) -> *mut sys::ggml_tensor {
        let tensor = self.input(sys::GGML_TYPE_F32, ne);
        self.noisy.push(tensor);
        tensor
    }

    /// Gives the inputs their memory.
    fn ready(&mut self) -> Result<(), EngineError> {
        self.input_buffer = Some(self.inputs.allocate(self.backend.plain_buffer())?);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for &tensor in &self.noisy {
            // SAFETY: a valid tensor.
            let n = unsafe { sys::ggml_nelements(tensor) };
            let bytes: Vec<u8> = (0..n)
                .flat_map(|_| rng.random_range(-1.0_f32..1.0).to_le_bytes())
                .collect();
            set(tensor, &bytes);
        }
        Ok(())
    }

    fn push(&mut self, op: impl FnOnce(*mut sys::ggml_context) -> *mut sys::ggml_tensor) {
        let op = op(self.context.as_ptr());
        // SAFETY: a graph with room for it.
        unsafe { sys::ggml_build_forward_expand(self.graph, op) };
    }

    /// Gives every operation the same memory for its result, as hot in the cache as results are in a real
    /// graph, and checks that the device can compute them.
    fn finish(self, n_ops: usize) -> Result<Graph<'s>, EngineError> {
        let kind = self.backend.plain_buffer();
        // SAFETY: the graph's own nodes, by index below their number.
        let nodes: Vec<*mut sys::ggml_tensor> = unsafe {
            (0..sys::ggml_graph_n_nodes(self.graph))
                .map(|i| sys::ggml_graph_node(self.graph, i))
                .collect()
        };
        // SAFETY: valid tensors and a valid kind of buffer.
        let is_view = |node: *mut sys::ggml_tensor| unsafe { !(*node).view_src.is_null() };
        let own = nodes.iter().filter(|&&node| !is_view(node));
        // SAFETY: as above.
        let size = |&node: &*mut sys::ggml_tensor| unsafe {
            sys::ggml_backend_buft_get_alloc_size(kind, node)
        };
        let scratch = Buffer::new(kind, own.map(size).max().unwrap_or(0))?;
        for &node in &nodes {
            if is_view(node) {
                // SAFETY: what it is a view of is an input, which has memory.
                unsafe { sys::ggml_backend_view_init(node) };
            } else {
                scratch.hold(node)?;
            }
        }
        if let Some(&op) = nodes.iter().find(|&&node| !self.backend.supports(node)) {
            // SAFETY: a valid tensor; the description is a string constant.
            let name = unsafe { std::ffi::CStr::from_ptr(sys::ggml_op_desc(op)) };
            return Err(EngineError::Unsupported(format!(
                "the device cannot compute {} on these sizes and types",
                name.to_string_lossy()
            )));
        }
        let graph = self.graph;
        self.into_graph(GraphWork::Compute(graph), n_ops, Some(scratch))
    }

    fn into_graph(
        self,
        work: GraphWork,
        n_ops: usize,
        scratch: Option<Buffer>,
    ) -> Result<Graph<'s>, EngineError> {
        Ok(Graph {
            backend: self.backend,
            n_ops: u32::try_from(n_ops).unwrap_or(u32::MAX).max(1),
            work,
            _inputs: self
                .input_buffer
                .ok_or_else(|| EngineError::Context("a graph without inputs".to_owned()))?,
            _scratch: scratch,
            _input_context: self.inputs,
            _context: Some(self.context),
        })
    }
}

fn no_cache(name: &str) -> EngineError {
    EngineError::Unsupported(format!("no KV cache of type {name} can be made here"))
}

fn weight(context: &Context, kernel: &Kernel) -> *mut sys::ggml_tensor {
    match kernel {
        Kernel::MatMul {
            weights,
            n_in,
            n_out,
        } => context.tensor(known_type(weights), &[*n_in, *n_out]),
        Kernel::Experts {
            weights,
            n_in,
            n_out,
            n_expert,
            ..
        } => context.tensor(known_type(weights), &[*n_in, *n_out, *n_expert]),
        _ => unreachable!("only matrix kernels have weights"),
    }
}

fn known_type(name: &str) -> sys::ggml_type {
    tensor_type_of(name).expect("its data has just been made")
}

/// The first kind of buffer in which the device can multiply with the weights, as llama.cpp's
/// `select_weight_buft` chooses it: this decides whether the CPU repacks them.
fn choose_buffer(
    backend: &KernelBackend,
    kernel: &Kernel,
) -> Result<sys::ggml_backend_buffer_type_t, EngineError> {
    let context = Context::new(8, 0)?;
    let w = weight(&context, kernel);
    // SAFETY: sizes as the operations assert them; the empty buffer lives until the question is answered.
    let fits = |&kind: &sys::ggml_backend_buffer_type_t| unsafe {
        let op = match kernel {
            Kernel::Experts { n_in, n_used, .. } => {
                let x = context.tensor(sys::GGML_TYPE_F32, &[*n_in, *n_used, 512]);
                let ids = context.tensor(sys::GGML_TYPE_I32, &[*n_used, 512]);
                sys::ggml_mul_mat_id(context.as_ptr(), w, x, ids)
            }
            Kernel::MatMul { n_in, .. } => {
                let x = context.tensor(sys::GGML_TYPE_F32, &[*n_in, 512]);
                sys::ggml_mul_mat(context.as_ptr(), w, x)
            }
            _ => return false,
        };
        let Ok(empty) = Buffer::new(kind, 0) else {
            return false;
        };
        (*w).buffer = empty.as_ptr();
        let fits = backend.backend.supports(op);
        (*w).buffer = std::ptr::null_mut();
        fits
    };
    let kinds = backend.backend.weight_buffers();
    kinds
        .iter()
        .copied()
        .find(|kind| fits(kind))
        .ok_or_else(|| {
            EngineError::Unsupported(format!("the device cannot multiply with {kernel}"))
        })
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
fn causal_mask(n_kv: u64, load: Load) -> Vec<u8> {
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
