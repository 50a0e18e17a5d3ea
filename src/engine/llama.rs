//! llama.cpp in this process. The only file that calls llama_cpp_2 once per decode call.

mod log;
mod params;
mod sampler;

use std::ffi::CString;
use std::io::Write;
use std::path::Path;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::{LlamaChatMessage, LlamaModel};
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use llama_cpp_sys_2 as sys;

use super::{
    Device, Engine, EngineError, EngineFacts, GpuMemory, Session, Token, argmax, plugins, rpc,
};
use crate::build_info::BuildInfo;
use crate::model::ModelFacts;
use crate::plan::serving::Sampling;
use crate::plan::{Case, LoadKey, RpcServers};
use params::ModelParams;
use sampler::EndMask;

/// llama.cpp, initialised. One a process: the engine keeps global state.
#[derive(Debug)]
pub struct Llama {
    backend: LlamaBackend,
}

/// Where the engine's log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineLog {
    /// To standard error, where the supervisor collects it.
    Stderr,
    /// Its warnings and errors to standard error.
    Errors,
}

impl Llama {
    /// Initialises the engine.
    ///
    /// # Errors
    /// [`EngineError::Load`] when this process has initialised it before.
    pub fn init(log: EngineLog) -> Result<Self, EngineError> {
        let callback: unsafe extern "C" fn(_, _, _) = match log {
            EngineLog::Stderr => log_to_stderr,
            EngineLog::Errors => errors_to_stderr,
        };
        // Before the log is directed: loading collects what the engine says of each file.
        plugins::load();
        // SAFETY: the callbacks are plain functions without state and never unwind into C.
        unsafe { sys::llama_log_set(Some(callback), std::ptr::null_mut()) };
        let backend = LlamaBackend::init().map_err(|e| EngineError::Load(e.to_string()))?;
        Ok(Self { backend })
    }

    /// What the engine is and what it found.
    pub fn facts(&self) -> EngineFacts {
        // SAFETY: returns a pointer to a static, NUL-terminated buffer; nothing else runs yet.
        let info = unsafe { std::ffi::CStr::from_ptr(sys::llama_print_system_info()) };
        let devices = devices();
        EngineFacts {
            name: "llama.cpp".to_owned(),
            version: BuildInfo::current().engine_version(),
            system_info: info.to_string_lossy().trim().to_owned(),
            // The engine's own answer is yes wherever it has the RPC backend, with or without a server.
            supports_gpu_offload: devices.iter().any(Device::takes_layers),
            devices,
            remote: Vec::new(),
            plugins: plugins::load().to_vec(),
        }
    }

    /// The devices of these RPC servers, which become the engine's.
    ///
    /// # Errors
    /// In one line, when one cannot be used.
    pub fn remote_devices(&self, servers: &RpcServers) -> Result<Vec<Device>, EngineError> {
        rpc::backend::connect(servers).map_err(EngineError::Rpc)?;
        let is_remote = |d: &Device| d.is_remote();
        Ok(devices().into_iter().filter(is_remote).collect())
    }

    /// Memory now of the GPUs that layers of a model loaded so are on; none without any.
    pub fn gpu_memory(&self, key: &LoadKey) -> Option<GpuMemory> {
        memory_of(&self.facts().gpus_of(key))
    }

    /// Loads a model.
    ///
    /// # Errors
    /// [`EngineError::Load`] with the engine's own reason.
    pub fn load(&self, path: &Path, key: &LoadKey) -> Result<LlamaEngine<'_>, EngineError> {
        log::forget();
        rpc::backend::connect(&key.rpc).map_err(EngineError::Rpc)?;
        let params = ModelParams::of(key).map_err(EngineError::Load)?;
        let about = |why| EngineError::Load(format!("{}: {why}", path.display()));
        let model = path
            .to_str()
            .and_then(|path| CString::new(path).ok())
            .ok_or_else(|| about("the engine takes paths in UTF-8 only".to_owned()))
            .and_then(|c_path| {
                let model = params.load(&c_path);
                model.ok_or_else(|| about(log::reason_or("the engine gives no reason")))
            })?;
        let prompt_tokens = prompt_tokens(&model);
        if prompt_tokens.is_empty() {
            return Err(EngineError::Load(format!(
                "{}: its vocabulary has no plain token",
                path.display()
            )));
        }
        Ok(LlamaEngine {
            backend: &self.backend,
            end_mask: EndMask::of(&model),
            n_window: window(path),
            gpus: self.facts().gpus_of(key),
            model,
            prompt_tokens,
        })
    }
}

/// Every device that the engine has now.
fn devices() -> Vec<Device> {
    let all = list_llama_ggml_backend_devices().into_iter();
    all.map(|d| Device {
        name: d.name,
        description: d.description,
        backend: d.backend,
        kind: match d.device_type {
            LlamaBackendDeviceType::Cpu => "cpu",
            LlamaBackendDeviceType::Gpu => "gpu",
            LlamaBackendDeviceType::IntegratedGpu => "igpu",
            LlamaBackendDeviceType::Accelerator => "accel",
            LlamaBackendDeviceType::Unknown => "unknown",
        }
        .to_owned(),
        memory_total_bytes: d.memory_total as u64,
        memory_free_bytes: d.memory_free as u64,
        can_split_rows: can_split_rows(d.index),
        pci_bus_id: pci_bus_id(d.index),
    })
    .collect()
}

/// Memory now of the registry's devices with these numbers, together; none of none.
fn memory_of(devices: &[usize]) -> Option<GpuMemory> {
    let of_one = |index: &usize| {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the number is one that the registry's list gave; both pointers are to what lives here.
        unsafe {
            let device = sys::ggml_backend_dev_get(*index);
            sys::ggml_backend_dev_memory(device, &raw mut free, &raw mut total);
        }
        GpuMemory {
            total_bytes: total as u64,
            free_bytes: free as u64,
        }
    };
    let add = |a: GpuMemory, b: GpuMemory| GpuMemory {
        total_bytes: a.total_bytes + b.total_bytes,
        free_bytes: a.free_bytes + b.free_bytes,
    };
    // A backend that does not know its memory says 0.
    let all = devices.iter().map(of_one).reduce(add);
    all.filter(|memory| memory.total_bytes > 0)
}

/// Where the registry's device `index` is on the PCI bus.
fn pci_bus_id(index: usize) -> Option<String> {
    // SAFETY: the struct is plain data that the call fills; its strings live as long as the device.
    unsafe {
        let mut props: sys::ggml_backend_dev_props = std::mem::zeroed();
        sys::ggml_backend_dev_get_props(sys::ggml_backend_dev_get(index), &raw mut props);
        let id = std::ptr::NonNull::new(props.device_id.cast_mut())?;
        let id = std::ffi::CStr::from_ptr(id.as_ptr()).to_string_lossy();
        (!id.is_empty()).then(|| id.into_owned())
    }
}

/// Whether the backend of the registry's device `index` registers a buffer type for split matrices.
fn can_split_rows(index: usize) -> bool {
    // SAFETY: the index is one that the registry's list gave; devices and registries live as long as the process, and the
    // name is NUL-terminated.
    unsafe {
        let registry = sys::ggml_backend_dev_backend_reg(sys::ggml_backend_dev_get(index));
        let name = c"ggml_backend_split_buffer_type".as_ptr();
        !sys::ggml_backend_reg_get_proc_address(registry, name).is_null()
    }
}

/// Tokens that the model's layers with a sliding window look back, as its file says.
fn window(path: &Path) -> Option<u32> {
    let sliding = ModelFacts::read(path).ok()?.sliding;
    sliding.map(|sliding| sliding.n_window)
}

/// What the engine says of each single tensor: hundreds of lines, which would push out what it did.
const PER_TENSOR: [&[u8]; 3] = [
    b"create_tensor: ",
    b"llama_graph_n_input_tensors: ",
    b"repack: ",
];

/// Written by hand rather than through a logging crate: it must work while the process aborts.
unsafe extern "C" fn log_to_stderr(
    level: sys::ggml_log_level,
    text: *const std::ffi::c_char,
    _user_data: *mut std::ffi::c_void,
) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives through the call.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    log::note(level, &text.to_string_lossy());
    if PER_TENSOR.iter().any(|f| text.to_bytes().starts_with(f)) {
        return;
    }
    // A closed stderr must not end the measurement.
    let _ = std::io::stderr().write_all(text.to_bytes());
}

unsafe extern "C" fn errors_to_stderr(
    level: sys::ggml_log_level,
    text: *const std::ffi::c_char,
    user_data: *mut std::ffi::c_void,
) {
    if matches!(level, sys::GGML_LOG_LEVEL_ERROR | sys::GGML_LOG_LEVEL_WARN) {
        // SAFETY: what it was called with.
        unsafe { log_to_stderr(level, text, user_data) };
    }
}

/// Normal and byte tokens only: a control token can end a sequence or change the template, an
/// unused one has untrained weights.
fn prompt_tokens(model: &LlamaModel) -> Vec<Token> {
    use llama_cpp_2::token_type::LlamaTokenAttr;
    let vocab = model.vocab();
    vocab
        .tokens()
        .filter(|t| {
            let attr = vocab.attr(*t);
            let plain =
                attr.contains(LlamaTokenAttr::Normal) || attr.contains(LlamaTokenAttr::Byte);
            plain && !vocab.is_control(*t) && !vocab.is_eog(*t)
        })
        .map(|t| t.0)
        .collect()
}

/// A model loaded by llama.cpp.
#[derive(Debug)]
pub struct LlamaEngine<'b> {
    backend: &'b LlamaBackend,
    model: LlamaModel,
    prompt_tokens: Vec<Token>,
    end_mask: EndMask,
    n_window: Option<u32>,
    /// The registry's numbers of the GPUs that its layers are on.
    gpus: Vec<usize>,
}

impl Engine for LlamaEngine<'_> {
    fn prompt_tokens(&self) -> &[Token] {
        &self.prompt_tokens
    }

    fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<Token> {
        self.model
            .vocab()
            .tokenize(text.as_bytes(), add_special, parse_special)
            .into_iter()
            .map(|t| t.0)
            .collect()
    }

    fn bos(&self) -> Option<Token> {
        let vocab = self.model.vocab();
        vocab.should_add_bos().then(|| vocab.bos().0)
    }

    fn n_vocab(&self) -> usize {
        usize::try_from(self.model.n_vocab()).unwrap_or(0)
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        self.model
            .vocab()
            .token_to_piece(LlamaToken(token), false, None)
    }

    fn ends_text(&self, token: Token) -> bool {
        self.model.vocab().is_eog(LlamaToken(token))
    }

    fn apply_template(&self, user_text: &str) -> Result<String, EngineError> {
        let template = self
            .model
            .chat_template(None)
            .map_err(|e| EngineError::Template(format!("the model file has none ({e})")))?;
        let said = LlamaChatMessage::new("user".to_owned(), user_text.to_owned())
            .map_err(|e| EngineError::Template(e.to_string()))?;
        self.model
            .apply_chat_template(&template, &[said], true)
            .map_err(|e| {
                EngineError::Template(format!("llama.cpp cannot apply the model's own: {e}"))
            })
    }

    fn gpu_memory(&self) -> Option<GpuMemory> {
        memory_of(&self.gpus)
    }

    fn open<'a>(&'a self, case: &Case) -> Result<Box<dyn Session + 'a>, EngineError> {
        log::forget();
        let context = self
            .model
            .new_context(self.backend, params::context(case))
            .map_err(|e| EngineError::Context(log::reason_or(e)))?;
        let n_ctx_seq = context.n_ctx() / case.n_seq;
        if n_ctx_seq < case.n_used() {
            return Err(EngineError::Context(format!(
                "the engine gives each sequence {n_ctx_seq} cells, the case needs {}",
                case.n_used()
            )));
        }
        Ok(Box::new(LlamaSession {
            context,
            batch: LlamaBatch::new(case.largest_call() as usize, 1),
            n_ctx_seq,
            n_seq: case.n_seq,
            n_window: self.n_window,
            end_mask: &self.end_mask,
            samplers: (0..case.n_seq).map(|_| None).collect(),
        }))
    }
}

struct LlamaSession<'a> {
    context: LlamaContext<'a>,
    batch: LlamaBatch<'static>,
    n_ctx_seq: u32,
    n_seq: u32,
    /// Tokens that layers with a sliding window look back; none where the file is not known to have such.
    n_window: Option<u32>,
    end_mask: &'a EndMask,
    /// Of each sequence that was given one.
    samplers: Vec<Option<LlamaSampler>>,
}

/// Positions and sequence ids are bounded by the plan (at most 2^31 cells, 256 sequences).
fn as_i32(n: u32) -> i32 {
    i32::try_from(n).expect("the plan bounds positions and sequences below 2^31")
}

impl LlamaSession<'_> {
    /// Whether a token at `n_past` would find all that it attends to. The cells of a sliding window are written over
    /// when later tokens need them: removing those does not bring the earlier ones back, though the engine says yes.
    fn sees_back_from(&self, seq: u32, n_past: u32) -> bool {
        let first = n_past.saturating_sub(self.n_window.unwrap_or(n_past));
        n_past == 0 || (0..=as_i32(first)).contains(&self.context.kv_cache_seq_pos_min(as_i32(seq)))
    }
}

impl Session for LlamaSession<'_> {
    fn n_ctx_seq(&self) -> u32 {
        self.n_ctx_seq
    }

    fn truncate(&mut self, n_past: u32) -> bool {
        // Only the bookkeeping is cleared: zeroing the cells too would touch gigabytes.
        (0..self.n_seq).all(|seq| {
            self.context
                .clear_kv_cache_seq(Some(seq), Some(n_past), None)
                .unwrap_or(false)
                && self.sees_back_from(seq, n_past)
        })
    }

    fn remove(&mut self, seq: u32) -> bool {
        self.context
            .clear_kv_cache_seq(Some(seq), None, None)
            .unwrap_or(false)
    }

    fn begin(&mut self) {
        self.batch.clear();
    }

    fn push(&mut self, token: Token, pos: u32, seq: u32, logits: bool) -> Result<(), EngineError> {
        self.batch
            .add(LlamaToken(token), as_i32(pos), &[as_i32(seq)], logits)
            .map_err(|e| EngineError::Decode(e.to_string()))
    }

    fn submit(&mut self) -> Result<(), EngineError> {
        self.context
            .decode(&mut self.batch)
            .map_err(|e| EngineError::Decode(log::reason_or(e)))
    }

    fn wait(&mut self) {
        self.context.synchronize();
    }

    fn greedy(&mut self, row: i32) -> Result<Token, EngineError> {
        let best = argmax(self.context.get_logits_ith(row)).ok_or(EngineError::Logits { row })?;
        Ok(Token::try_from(best).expect("a vocabulary is smaller than 2^31"))
    }

    fn set_sampler(&mut self, seq: u32, sampling: &Sampling, mask_end: bool) {
        let mask = mask_end.then_some(self.end_mask);
        self.samplers[seq as usize] = Some(sampler::chain(sampling, mask));
    }

    fn sample(&mut self, row: i32, seq: u32) -> Result<Token, EngineError> {
        let sampler = self.samplers[seq as usize]
            .as_mut()
            .ok_or_else(|| EngineError::Decode(format!("sequence {seq} has no sampler")))?;
        let LlamaToken(token) = sampler.sample(&self.context, row);
        // The chain itself takes whatever it is given, and of nothing but NaN it takes the first.
        let logit = usize::try_from(token)
            .ok()
            .and_then(|t| self.context.get_logits_ith(row).get(t));
        match logit {
            Some(logit) if logit.is_finite() => Ok(token),
            _ => Err(EngineError::Logits { row }),
        }
    }

    fn logits(&mut self, row: i32) -> &[f32] {
        self.context.get_logits_ith(row)
    }

    fn each_logits(&mut self, rows: &[i32], n_threads: u32, each: &(dyn Fn(usize, &[f32]) + Sync)) {
        let logits: Vec<&[f32]> = rows
            .iter()
            .map(|&row| self.context.get_logits_ith(row))
            .collect();
        let of_thread = logits.len().div_ceil(n_threads.max(1) as usize).max(1);
        std::thread::scope(|scope| {
            for (part, logits) in logits.chunks(of_thread).enumerate() {
                scope.spawn(move || {
                    for (at, logits) in logits.iter().enumerate() {
                        each(part * of_thread + at, logits);
                    }
                });
            }
        });
    }
}
