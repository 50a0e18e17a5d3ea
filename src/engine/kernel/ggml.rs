//! ggml's objects with owners: each is freed once, and in an order that its users allow.

use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use crate::engine::EngineError;

/// An object that ggml made for us alone, freed once.
macro_rules! owner {
    ($(#[$doc:meta])* $name:ident, $object:ident, $free:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name(NonNull<sys::$object>);

        impl $name {
            pub fn as_ptr(&self) -> *mut sys::$object {
                self.0.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: ours alone, freed once.
                unsafe { sys::$free(self.0.as_ptr()) }
            }
        }
    };
}

owner!(Backend, ggml_backend, ggml_backend_free);
owner!(
    /// Descriptions of tensors, never their data.
    Context, ggml_context, ggml_free
);
owner!(Buffer, ggml_backend_buffer, ggml_backend_buffer_free);

impl Backend {
    /// The first device of a kind, initialised.
    pub fn open(kind: sys::ggml_backend_dev_type) -> Option<Self> {
        // SAFETY: the registry is initialised on first use; no parameters means the device's defaults.
        let backend = unsafe { sys::ggml_backend_init_by_type(kind, std::ptr::null()) };
        NonNull::new(backend).map(Self)
    }

    pub fn device(&self) -> sys::ggml_backend_dev_t {
        // SAFETY: a backend that was made from a device has it.
        unsafe { sys::ggml_backend_get_device(self.as_ptr()) }
    }

    fn proc_address(&self, name: &std::ffi::CStr) -> *mut std::ffi::c_void {
        // SAFETY: the device has a registry, and the name is NUL-terminated.
        unsafe {
            let registry = sys::ggml_backend_dev_backend_reg(self.device());
            sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr())
        }
    }

    /// Where the backend computes with threads of ours; others ignore it.
    pub fn set_n_threads(&self, n_threads: u32) {
        let address = self.proc_address(c"ggml_backend_set_n_threads");
        // SAFETY: under this name every backend registers a function of this type, or none (null is `None`).
        let function: sys::ggml_backend_set_n_threads_t = unsafe { std::mem::transmute(address) };
        if let Some(function) = function {
            let n = i32::try_from(n_threads).unwrap_or(i32::MAX).max(1);
            // SAFETY: the backend is valid.
            unsafe { function(self.as_ptr(), n) }
        }
    }

    /// Kinds of buffer for weights in the order llama.cpp tries them: those with a layout of their own
    /// (`make_cpu_buft_list`), then the plain one.
    pub fn weight_buffers(&self) -> Vec<sys::ggml_backend_buffer_type_t> {
        let address = self.proc_address(c"ggml_backend_dev_get_extra_bufts");
        // SAFETY: under this name a function of this type is registered, or none.
        let function: sys::ggml_backend_dev_get_extra_bufts_t =
            unsafe { std::mem::transmute(address) };
        let mut all = Vec::new();
        if let Some(function) = function {
            // SAFETY: the function answers null or a null-terminated array that lives for ever.
            unsafe {
                let mut next = function(self.device());
                while !next.is_null() && !(*next).is_null() {
                    all.push(*next);
                    next = next.add(1);
                }
            }
        }
        all.push(self.plain_buffer());
        all
    }

    pub fn plain_buffer(&self) -> sys::ggml_backend_buffer_type_t {
        // SAFETY: valid backend; the answer lives as long as the device.
        unsafe { sys::ggml_backend_get_default_buffer_type(self.as_ptr()) }
    }

    pub fn supports(&self, op: *const sys::ggml_tensor) -> bool {
        // SAFETY: an operation that was just built, with all its sources.
        unsafe { sys::ggml_backend_dev_supports_op(self.device(), op) }
    }

    /// Computes a graph and waits for its end.
    pub fn compute(&self, graph: *mut sys::ggml_cgraph) -> Result<(), EngineError> {
        // SAFETY: every tensor of the graph has memory, by `Graph`'s construction.
        let status = unsafe { sys::ggml_backend_graph_compute(self.as_ptr(), graph) };
        if status == sys::GGML_STATUS_SUCCESS {
            Ok(())
        } else {
            Err(EngineError::Decode(format!("ggml's status is {status}")))
        }
    }
}

impl Context {
    /// Room for so many tensors, and for so many graphs of so many nodes.
    pub fn new(n_tensors: usize, n_graphs: usize, n_nodes: usize) -> Result<Self, EngineError> {
        // SAFETY: table look-ups and an allocation; with `no_alloc` no data is allocated here.
        let context = unsafe {
            let graphs = match n_graphs {
                0 => 0,
                n => n * sys::ggml_graph_overhead_custom(n_nodes, false),
            };
            sys::ggml_init(sys::ggml_init_params {
                mem_size: sys::ggml_tensor_overhead() * n_tensors + graphs,
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            })
        };
        NonNull::new(context).map(Self).ok_or_else(|| {
            EngineError::Context("ggml has no memory for its descriptions".to_owned())
        })
    }

    /// A tensor without data.
    pub fn tensor(&self, ty: sys::ggml_type, ne: &[u64]) -> *mut sys::ggml_tensor {
        let ne: Vec<i64> = ne.iter().map(|&n| n as i64).collect();
        // SAFETY: one to four dimensions, and room for it was asked for in `new`.
        unsafe { sys::ggml_new_tensor(self.as_ptr(), ty, ne.len() as i32, ne.as_ptr()) }
    }

    /// Memory for all tensors made so far.
    pub fn allocate(&self, kind: sys::ggml_backend_buffer_type_t) -> Result<Buffer, EngineError> {
        // SAFETY: valid context and kind of buffer.
        let buffer = unsafe { sys::ggml_backend_alloc_ctx_tensors_from_buft(self.as_ptr(), kind) };
        let buffer = NonNull::new(buffer).ok_or_else(no_memory)?;
        Ok(Buffer(buffer))
    }
}

impl Buffer {
    pub fn new(kind: sys::ggml_backend_buffer_type_t, bytes: usize) -> Result<Self, EngineError> {
        // SAFETY: a valid kind of buffer.
        let buffer = unsafe { sys::ggml_backend_buft_alloc_buffer(kind, bytes) };
        NonNull::new(buffer).map(Self).ok_or_else(no_memory)
    }

    /// Gives a tensor the start of this buffer, whatever else lies there.
    pub fn hold(&self, tensor: *mut sys::ggml_tensor) -> Result<(), EngineError> {
        // SAFETY: the caller made the buffer large enough for the tensor, which has no memory yet.
        let status = unsafe {
            let base = sys::ggml_backend_buffer_get_base(self.as_ptr());
            sys::ggml_backend_tensor_alloc(self.as_ptr(), tensor, base)
        };
        if status == sys::GGML_STATUS_SUCCESS {
            Ok(())
        } else {
            Err(no_memory())
        }
    }
}

fn no_memory() -> EngineError {
    EngineError::Context("no memory for the kernels' data".to_owned())
}

/// Fills a tensor with one piece over and over; the last one may be cut short. Never with tensors whose buffer
/// changes the layout: those take their data whole.
pub(super) fn fill(tensor: *mut sys::ggml_tensor, piece: &[u8]) {
    // SAFETY: the tensor has memory, and no piece reaches beyond its end.
    unsafe {
        let end = sys::ggml_nbytes(tensor);
        let mut at = 0;
        while at < end && !piece.is_empty() {
            let n = piece.len().min(end - at);
            sys::ggml_backend_tensor_set(tensor, piece.as_ptr().cast(), at, n);
            at += n;
        }
    }
}

/// Sets a tensor's data.
pub(super) fn set(tensor: *mut sys::ggml_tensor, bytes: &[u8]) {
    // SAFETY: the tensor has memory; a wrong length would be written out of it, hence the assertion.
    unsafe {
        assert_eq!(
            bytes.len(),
            sys::ggml_nbytes(tensor),
            "the tensor's whole data"
        );
        sys::ggml_backend_tensor_set(tensor, bytes.as_ptr().cast(), 0, bytes.len());
    }
}
