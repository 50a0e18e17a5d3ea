//! Models: what a GGUF file holds, where it comes from, and how to make one.
//!
//! - [`ModelFacts`] are read with the engine's own GGUF reader, so that this program and the
//!   engine never disagree about a file.
//! - [`resolve`] turns what `--model` takes (paths, globs, folders, `synth:PRESET:TYPE`,
//!   catalogue names) into models without writing or downloading anything.
//! - [`synth`] writes random weights in a real model's shape, [`quantize`] converts a file
//!   to another type, [`fetch`] obtains what `gguf/models.toml` lists.
//!
//! `unsafe` is confined to [`gguf`](self), the log capture, the quantiser and the generator's
//! header: everything else works on plain values.

mod atomic;
mod error;
mod facts;
pub mod fetch;
mod file_type;
mod gguf;
mod hash;
mod kv_heads;
mod log_capture;
pub mod quantize;
mod source;
mod store;
pub mod synth;

pub use error::ModelError;
pub use facts::{ModelFacts, sanitize_name, type_bytes_per_element};
pub use file_type::FileType;
pub use hash::sha256_file;
pub use log_capture::LogCapture;
pub use source::{Ensure, ModelSpec, ResolvedModel, resolve};
pub use store::{Catalogue, CatalogueEntry, Derive, ModelStore, Wheel, cache_dir};

/// Reports progress of a long file operation: bytes done, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
