//! Graphs under construction, and as they are run.

use llama_cpp_sys_2 as sys;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ggml::{Backend, Buffer, Context, fill};
use crate::engine::{EngineError, argmax};

/// Floats that are drawn; longer inputs repeat them.
const NOISE_FLOATS: usize = 1 << 16;

/// One kernel under one load, over and over in graphs of equal length, with everything they read and write.
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
    /// The parts, and which comes next.
    Compute(Vec<*mut sys::ggml_cgraph>, usize),
    /// Logits are no graph: they are fetched and looked at.
    Fetch {
        logits: *mut sys::ggml_tensor,
        row: usize,
        into: Vec<f32>,
    },
}

impl Graph<'_> {
    /// Kernels in a part: a pass takes as long as so many of them.
    pub fn n_ops(&self) -> u32 {
        self.n_ops
    }

    /// Runs the next part, and returns when it is done.
    ///
    /// # Errors
    /// [`EngineError::Decode`] with ggml's status.
    pub fn pass(&mut self) -> Result<(), EngineError> {
        match &mut self.work {
            GraphWork::Compute(parts, next) => {
                let part = parts[*next];
                *next = (*next + 1) % parts.len();
                self.backend.compute(part)
            }
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

/// How much a builder will be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Tensors that are not results.
    pub inputs: usize,
    pub parts: usize,
    /// Operations and views in each.
    pub nodes: usize,
}

/// Graphs under construction: first their inputs, then part after part.
pub(super) struct GraphBuilder<'s> {
    backend: &'s Backend,
    inputs: Context,
    /// Those to be filled with noise.
    noisy: Vec<*mut sys::ggml_tensor>,
    input_buffer: Option<Buffer>,
    context: Context,
    parts: Vec<*mut sys::ggml_cgraph>,
    nodes_in_part: usize,
}

impl<'s> GraphBuilder<'s> {
    pub fn new(backend: &'s Backend, room: Room) -> Result<Self, EngineError> {
        // A graph also counts the leaves that its nodes read.
        let nodes_in_part = 2 * room.nodes + room.inputs + 16;
        Ok(Self {
            backend,
            inputs: Context::new(room.inputs, 0, 0)?,
            noisy: Vec::new(),
            input_buffer: None,
            context: Context::new(room.parts * room.nodes, room.parts, nodes_in_part)?,
            parts: Vec::new(),
            nodes_in_part,
        })
    }

    pub fn input(&mut self, ty: sys::ggml_type, ne: &[u64]) -> *mut sys::ggml_tensor {
        self.inputs.tensor(ty, ne)
    }

    pub fn floats(&mut self, ne: &[u64]) -> *mut sys::ggml_tensor {
        let tensor = self.input(sys::GGML_TYPE_F32, ne);
        self.noisy.push(tensor);
        tensor
    }

    pub fn ready(&mut self) -> Result<(), EngineError> {
        self.input_buffer = Some(self.inputs.allocate(self.backend.plain_buffer())?);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let noise: Vec<u8> = (0..NOISE_FLOATS)
            .flat_map(|_| rng.random_range(-1.0_f32..1.0).to_le_bytes())
            .collect();
        for &tensor in &self.noisy {
            fill(tensor, &noise);
        }
        Ok(())
    }

    pub fn part(&mut self) {
        // SAFETY: room for it was asked for.
        let part =
            unsafe { sys::ggml_new_graph_custom(self.context.as_ptr(), self.nodes_in_part, false) };
        self.parts.push(part);
    }

    /// Adds an operation to the part that was begun last.
    pub fn push(&mut self, op: impl FnOnce(*mut sys::ggml_context) -> *mut sys::ggml_tensor) {
        let op = op(self.context.as_ptr());
        let part = *self.parts.last().expect("a part was begun");
        // SAFETY: a graph with room for it.
        unsafe { sys::ggml_build_forward_expand(part, op) };
    }

    /// Gives every operation the same memory for its result, as hot in the cache as results are in a real
    /// graph, and checks that the device can compute them. `n_ops` kernels are in each part.
    pub fn finish(self, n_ops: usize) -> Result<Graph<'s>, EngineError> {
        let kind = self.backend.plain_buffer();
        let nodes = self.nodes();
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
        let parts = self.parts.clone();
        self.into_graph(GraphWork::Compute(parts, 0), n_ops, Some(scratch))
    }

    fn nodes(&self) -> Vec<*mut sys::ggml_tensor> {
        // SAFETY: each graph's own nodes, by index below their number.
        let of = |&part: &*mut sys::ggml_cgraph| unsafe {
            (0..sys::ggml_graph_n_nodes(part))
                .map(|i| sys::ggml_graph_node(part, i))
                .collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of).collect()
    }

    /// No operations: an input is fetched and looked at, row by row.
    pub fn finish_fetch(
        self,
        logits: *mut sys::ggml_tensor,
        row: usize,
    ) -> Result<Graph<'s>, EngineError> {
        // SAFETY: a valid tensor.
        let n = unsafe { sys::ggml_nelements(logits) };
        let work = GraphWork::Fetch {
            logits,
            row,
            into: vec![0.0; n.max(0) as usize],
        };
        self.into_graph(work, 1, None)
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
