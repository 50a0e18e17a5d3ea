//! Weights laid in for a kernel.

use llama_cpp_sys_2 as sys;

use super::KernelBackend;
use super::builder::Graph;
use super::ggml::{Buffer, Context, set};
use super::ops;
use super::shape;
use crate::engine::EngineError;
use crate::model::tensor_type_of;
use crate::roofline::kernel::{Kernel, KernelLoad, Point};
use crate::roofline::slice;

pub(super) const MAX_COPIES: u64 = 8192;

/// A kernel with its weights in memory, many times over.
#[derive(Debug)]
pub struct KernelWeights<'b> {
    backend: &'b KernelBackend,
    kernel: Kernel,
    bytes: u64,
    /// Before `_buffer` and `_context`, which hold what it points to.
    weights: Vec<*mut sys::ggml_tensor>,
    _buffer: Option<Buffer>,
    _context: Option<Context>,
}

impl<'b> KernelWeights<'b> {
    /// Copies of one matrix, `bytes` of them together, at least one.
    pub(super) fn copies_of(
        backend: &'b KernelBackend,
        kernel: &Kernel,
        data: &[u8],
        bytes: u64,
    ) -> Result<Self, EngineError> {
        let n = (bytes / data.len() as u64).clamp(1, MAX_COPIES);
        let context = Context::new(n as usize, 0, 0)?;
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

    pub(super) fn none(backend: &'b KernelBackend, kernel: &Kernel, bytes: u64) -> Self {
        Self {
            backend,
            kernel: kernel.clone(),
            bytes,
            weights: Vec::new(),
            _buffer: None,
            _context: None,
        }
    }

    /// The kernel under a load, over and over; never so often in one part that a pass takes long. `at_most_bytes` of the weights are used, at least one matrix.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for what the device cannot compute, [`EngineError::Context`] when memory
    /// runs out.
    pub fn graph(&self, load: KernelLoad, at_most_bytes: u64) -> Result<Graph<'_>, EngineError> {
        shape::check_load(load)?;
        let backend = &self.backend.backend;
        let flops_each = slice::flops(&Point {
            kernel: self.kernel.clone(),
            load,
        });
        match &self.kernel {
            Kernel::MatMul { n_in, .. } => {
                let weights = self.some_weights(at_most_bytes);
                ops::mat_mul(backend, weights, *n_in, load, flops_each)
            }
            Kernel::Experts {
                n_in,
                n_expert,
                n_used,
                ..
            } => {
                let sizes = (*n_in, *n_expert, *n_used);
                let weights = self.some_weights(at_most_bytes);
                ops::experts(backend, weights, sizes, load, flops_each)
            }
            Kernel::Attention { .. } => {
                ops::attention(backend, &self.kernel, load, self.bytes, flops_each)
            }
            Kernel::Glue { .. } => ops::glue(backend, &self.kernel, load),
            Kernel::Logits { n_vocab } => ops::logits(backend, u64::from(*n_vocab), load),
        }
    }

    fn some_weights(&self, at_most_bytes: u64) -> &[*mut sys::ggml_tensor] {
        let each = (self.bytes / self.weights.len() as u64).max(1);
        let n = (at_most_bytes / each).clamp(1, self.weights.len() as u64);
        &self.weights[..n as usize]
    }
}

fn weight(context: &Context, kernel: &Kernel) -> *mut sys::ggml_tensor {
    let (name, dimensions) = kernel.weight_shape().expect("a kernel with weights");
    let known = tensor_type_of(name).expect("its data has just been made");
    context.tensor(known, &dimensions)
}

/// The first kind of buffer in which the device can multiply with the weights, as llama.cpp's
/// `select_weight_buft` chooses it: this decides whether the CPU repacks them.
fn choose_buffer(
    backend: &KernelBackend,
    kernel: &Kernel,
) -> Result<sys::ggml_backend_buffer_type_t, EngineError> {
    // The weights, and two more for each kind of buffer.
    let context = Context::new(64, 0, 0)?;
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
