//! Models: what a GGUF file holds, where it comes from, and how to make one.
//!
//! - [`ModelFacts`] are read with the engine's own GGUF reader, so that this program and the
//!   engine never disagree about a file.
//! - [`resolve`] turns what `--model` takes (paths, globs, folders, `synth:PRESET:TYPE`, `ollama:NAME`,
//!   `USER/REPO:TYPE` of Hugging Face, catalogue names) into models without writing or downloading anything.
//! - [`synth`] writes random weights in a real model's shape, [`quantize`] converts a file
//!   to other types, with an [`importance`] matrix or without, `fetch` obtains what `gguf/models.toml` lists.
//!
//! `unsafe` is confined to the GGUF context, the log capture, the quantiser, the free-space query
//! and the generator: everything else works on plain values.

mod error;
mod facts;
pub(crate) mod fetch;
mod file_type;
mod generative;
mod gguf;
mod hash;
pub(crate) mod hub;
pub mod importance;
mod log_capture;
mod names;
pub(crate) mod ollama;
mod parts;
pub mod quantize;
mod requantized;
mod scan;
mod sequence_memory;
mod shapes;
mod source;
mod space;
mod stamp;
mod store;
pub(crate) mod sums;
pub mod synth;
pub(crate) mod unused;
mod watch;

pub use error::ModelError;
pub use facts::{ModelFacts, has_chat_template};
pub use file_type::FileType;
pub(crate) use gguf::tensor_type_of;
pub use hash::sha256_file;
pub use log_capture::LogCapture;
pub(crate) use names::file_model_name;
pub use names::sanitize_name;
pub(crate) use parts::ModelFile;
pub(crate) use sequence_memory::SlidingLayers;
pub use source::{Ensure, Resolution, ResolvedModel, resolve};
pub(crate) use space::{check_space, free_bytes};
pub use store::ModelStore;
pub(crate) use store::cache_dir;
pub(crate) use sums::type_block_elements;
pub use sums::type_bytes_per_element;
pub(crate) use unused::UnusedTensors;
pub(crate) use watch::FileWatch;

/// Reports progress of a long file operation: bytes done, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
