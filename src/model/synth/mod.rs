//! Random weights in a real model's shape: a machine can be measured without a download.
//!
//! Dense kernels take the same time whatever the weights are, so a file with the shapes and
//! tensor types of Llama 3 8B runs at that model's speed; only its text is nonsense. Zeros and
//! denormals would run at another speed and are never written; see `values` for how the weights
//! are drawn, and why large tensors repeat runs of a pool.

mod header;
mod mixture;
mod presets;
mod shape;
mod tensors;
mod values;

use std::io::Write;
use std::path::{Path, PathBuf};

use llama_cpp_sys_2 as sys;

use self::values::WeightValues;
use super::gguf::{Gguf, TensorInfo, block_elements};
use super::space::check_space;
use super::{FileType, ModelError, ModelFacts, Progress, sanitize_name};
use crate::file::{OutputFile, Replace, make_folder_of};

pub use presets::PRESETS;
pub use shape::{SynthArchitecture, SynthExperts, SynthShape};
pub use values::random_matrix;

/// The seed of files that nobody asked another seed for.
pub const DEFAULT_SEED: u64 = 0x6767_7566;

/// GGUF_DEFAULT_ALIGNMENT: every tensor starts at a multiple of this.
const ALIGNMENT: u64 = 32;

/// What to generate: equal specs give equal bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthSpec {
    /// Preset or the user's own name, `[a-z0-9._-]`.
    pub name: String,
    /// Sizes.
    pub shape: SynthShape,
    /// Types, mixed as llama-quantize mixes them.
    pub file_type: FileType,
    /// Seed of the weights.
    pub seed: u64,
}

impl SynthSpec {
    /// A spec whose name is fit for a file and whose shape the engine accepts.
    ///
    /// # Errors
    /// [`ModelError::BadShape`], or [`ModelError::BadType`] for types that need an importance
    /// matrix or do not fit the shape.
    pub fn new(name: &str, shape: SynthShape, file_type: FileType) -> Result<Self, ModelError> {
        shape.validate()?;
        // The one type whose blocks are neither 32 nor 256 and that llama.cpp's
        // tensor_type_fallback knows no substitute for.
        let block = block_elements(sys::GGML_TYPE_Q1_0);
        let n_ff = shape.experts.map_or(shape.n_ff, |experts| experts.n_ff);
        let heads = shape.head_dim().saturating_mul(shape.n_head);
        let divides = |width: &u32| u64::from(*width).is_multiple_of(block);
        let is_q1 = file_type.default_tensor_type() == sys::GGML_TYPE_Q1_0;
        if is_q1 && ![shape.n_embd, n_ff, heads].iter().all(divides) {
            return Err(ModelError::BadType {
                name: file_type.name().to_owned(),
                detail: format!(
                    "needs n_embd, n_ff and the heads' width to be multiples of {block}"
                ),
            });
        }
        Ok(Self {
            name: sanitize_name(name),
            shape,
            file_type: file_type.writable()?,
            seed: DEFAULT_SEED,
        })
    }

    /// A preset by name.
    ///
    /// # Errors
    /// [`ModelError::BadSpec`] lists the presets.
    pub fn preset(name: &str, file_type: FileType) -> Result<Self, ModelError> {
        let Some(shape) = SynthShape::preset(name) else {
            let known: Vec<_> = PRESETS.iter().map(|preset| preset.0).collect();
            return Err(ModelError::BadSpec {
                spec: format!("synth:{name}"),
                detail: format!("unknown preset; one of: {}", known.join(", ")),
            });
        };
        Self::new(name, shape, file_type)
    }

    /// `synth-NAME-TYPE.gguf`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("synth-{}-{}.gguf", self.name, self.file_type.slug())
    }

    /// The facts that [`ModelFacts::read`] will give once the file is at `path`.
    ///
    /// # Errors
    /// None in practice: a valid shape has all that the facts need.
    pub fn facts(&self, path: &Path) -> Result<ModelFacts, ModelError> {
        let gguf = header::build(self, &tensors::of_shape(&self.shape, self.file_type));
        let tensors = gguf.tensors();
        let bytes = gguf.header_bytes().len() as u64 + data_bytes(&tensors);
        ModelFacts::from_parts(path, &gguf, &tensors, bytes, 1)
    }

    /// Whether the file at `path` is what this spec and this version of the generator write.
    #[must_use]
    pub fn is_current(&self, path: &Path) -> bool {
        let Ok(gguf) = Gguf::open(path) else {
            return false;
        };
        let stamped = gguf.uint(header::VERSION_KEY) == Some(u64::from(header::VERSION))
            && gguf.uint(header::SEED_KEY) == Some(self.seed);
        drop(gguf);
        stamped
            && match (ModelFacts::read(path), self.facts(path)) {
                (Ok(found), Ok(planned)) => {
                    let files = Vec::new(); // what is still to be written has none
                    ModelFacts { files, ..found } == planned
                }
                _ => false,
            }
    }

    /// Writes the file into `folder` and returns its path. It appears only when it is complete;
    /// an older file of that name is replaced.
    ///
    /// # Errors
    /// [`ModelError::DiskSpace`] before anything is written, [`ModelError::Write`].
    pub fn write(&self, folder: &Path, progress: Progress) -> Result<PathBuf, ModelError> {
        let path = folder.join(self.file_name());
        self.write_as(&path, Replace::Always, progress)?;
        Ok(path)
    }

    /// Writes the file under a name of the caller's; otherwise as [`SynthSpec::write`].
    ///
    /// # Errors
    /// As [`SynthSpec::write`].
    pub fn write_as(
        &self,
        path: &Path,
        replace: Replace,
        progress: Progress,
    ) -> Result<(), ModelError> {
        let planned = self.facts(path)?;
        crate::file::check(path, replace)?;
        check_space(path, planned.file_bytes)?;
        make_folder_of(path)?;
        let mut file = OutputFile::create(path, replace)?;
        self.write_to(&mut file, progress)
            .map_err(|source| ModelError::Write {
                path: path.to_owned(),
                source,
            })?;
        Ok(file.commit()?)
    }

    /// Writes the bytes of the file, tensor after tensor; never more than a few tens of MB are in
    /// memory.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn write_to<W: Write>(&self, out: &mut W, progress: Progress) -> std::io::Result<()> {
        let plan = tensors::of_shape(&self.shape, self.file_type);
        let gguf = header::build(self, &plan);
        let header = gguf.header_bytes();
        let infos = gguf.tensors();
        let total = header.len() as u64 + data_bytes(&infos);
        let mut done = header.len() as u64;
        out.write_all(&header)?;
        let mut values = WeightValues::new(self.seed);
        for (index, (tensor, info)) in plan.iter().zip(&infos).enumerate() {
            values.write(out, index as u64, tensor)?;
            let padded = info.bytes.next_multiple_of(ALIGNMENT);
            out.write_all(&[0; ALIGNMENT as usize][..(padded - info.bytes) as usize])?;
            done += padded;
            progress(done, total);
        }
        out.flush()
    }
}

/// Facts of a preset's file that is not written.
#[cfg(test)]
pub(crate) fn preset_facts(preset: &str, type_name: &str) -> ModelFacts {
    FileType::parse(type_name)
        .and_then(|file_type| SynthSpec::preset(preset, file_type))
        .and_then(|spec| spec.facts(Path::new("x.gguf")))
        .expect("a preset")
}

fn data_bytes(tensors: &[TensorInfo]) -> u64 {
    tensors
        .iter()
        .map(|t| t.bytes.next_multiple_of(ALIGNMENT))
        .sum()
}

#[cfg(test)]
mod tests;
