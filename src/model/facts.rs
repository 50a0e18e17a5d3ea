//! What a GGUF file says about itself, read with the engine's own reader.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::generative::language_model;
use super::gguf::{Gguf, TensorInfo};
use super::names::file_model_name;
use super::parts::{Headers, ModelFile};
use super::sums::{Matrices, TensorSums};
use super::{
    FileType, ModelError, Progress, SlidingLayers, UnusedTensors, hash, requantized,
    sequence_memory, shapes, unused,
};

/// Shape, types and sizes of one model. Counts are exact; `None` means the file does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The file's stem as it stands in ids: `[a-z0-9._-]`, at most 64 characters.
    pub name: String,
    /// The file, or the first part of a split model.
    pub path: PathBuf,
    /// Size of the file, or of all parts together.
    pub file_bytes: u64,
    /// Files the model is split into; 1 when it is not.
    pub n_parts: u32,
    /// Of the whole file, lower-case hex; `None` until [`ModelFacts::hash`] was called. Of a split model, the sha256 of
    /// its parts' sha256 in their order, one a line.
    pub sha256: Option<String>,
    /// The file, or every part in order. Empty for a file that is still to be written, and in records of programs that did
    /// not list them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ModelFile>,
    /// `general.architecture`, as `llama`.
    pub architecture: String,
    /// `general.name`.
    pub general_name: Option<String>,
    /// llama-quantize's name (`Q4_K_M`), or the type of most tensor bytes where the file has none.
    pub file_type: String,
    /// The types that the weights had before this one, in lower case, the earliest first, as `q4_1` or `q4_1,q8_0`: the file
    /// has the error of each. Only files that this program made of quantised ones say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requantized_from: Option<String>,
    /// Elements of all tensors.
    pub n_params: u64,
    /// Elements of the matrices that a token multiplies with: two or more dimensions, without
    /// embedding tables unless the token embedding is also the output.
    pub n_matmul_params: u64,
    /// Of these, elements of experts (each token uses `n_expert_used` of `n_expert`).
    pub n_expert_params: u64,
    /// Transformer blocks that decoding runs: without those that predict further tokens (`nextn`).
    pub n_layer: u32,
    /// Width of the residual stream.
    pub n_embd: u32,
    /// Query heads, the most of any layer; `None` for purely recurrent models.
    pub n_head: Option<u32>,
    /// KV heads, the most of any layer.
    pub n_head_kv: Option<u32>,
    /// Elements of one key head.
    pub head_dim_k: Option<u32>,
    /// Elements of one value head.
    pub head_dim_v: Option<u32>,
    /// Elements that one token adds to the key cache, summed over layers (0: no layer has one).
    pub k_elements_per_token: u64,
    /// Elements that one token adds to the value cache, summed over layers.
    pub v_elements_per_token: u64,
    /// The layers among these with a sliding window; none where all attend in full. Not in records of programs that
    /// did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding: Option<SlidingLayers>,
    /// Elements, each an F32, of a sequence's recurrent and convolution state, summed over layers: as many whatever
    /// the sequence's length.
    #[serde(default)]
    pub state_elements_per_seq: u64,
    /// Tensors that plain decoding never touches, by what they are for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<UnusedTensors>,
    /// Feed-forward width, the most of any layer.
    pub n_ff: Option<u32>,
    /// Feed-forward width of one expert; `None` where that is `n_ff`, and in records of programs that did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_ff_expert: Option<u32>,
    /// Tokens in the vocabulary, as the logits have them.
    pub n_vocab: u32,
    /// Context length the model was trained for.
    pub n_ctx_train: Option<u32>,
    /// Experts per layer, for mixtures of experts.
    pub n_expert: Option<u32>,
    /// Experts each token uses.
    pub n_expert_used: Option<u32>,
    /// The token embedding is also the output matrix (there is no `output.weight`).
    pub tied_embeddings: bool,
    /// Bytes of all tensors, without padding.
    pub tensor_bytes: u64,
    /// `tensor_bytes` by tensor type (`Q4_0`, `F32`).
    pub bytes_by_type: BTreeMap<String, u64>,
    /// Bytes of `token_embd.weight`.
    pub token_embd_bytes: u64,
    /// Bytes of expert tensors (`_exps`) that decoding uses, of which a step reads only the chosen ones.
    pub expert_bytes: u64,
    /// W of the method's section 4: tensor bytes that every decode step reads, that is all but the
    /// embedding tables, of which only single rows are read, and what decoding does not touch; a tied table counts as
    /// output.
    /// An upper bound for mixtures of experts, see `expert_bytes`.
    pub weight_bytes_per_step: u64,
    /// The matrices a token multiplies with, by shape and type. Empty in records of programs that did
    /// not list them.
    #[serde(default)]
    pub matrices: Vec<Matrices>,
}

/// Whether the file at `path` has a chat template, known to the engine or not.
///
/// # Errors
/// [`ModelError`] when it is no GGUF file.
pub fn has_chat_template(path: &Path) -> Result<bool, ModelError> {
    let template = Gguf::open(path)?.string("tokenizer.chat_template");
    Ok(template.is_some_and(|text| !text.trim().is_empty()))
}

impl ModelFacts {
    /// Reads the header of `path`; of a split model, the headers of all parts.
    ///
    /// # Errors
    /// One [`ModelError`] for each way in which a file can fail to be a language model. The
    /// engine's own log lines are kept back.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let headers = Headers::read(path)?;
        let (n_parts, bytes) = (headers.files.len() as u64, headers.bytes());
        let facts = Self::from_parts(path, &headers.first, &headers.tensors, bytes, n_parts)?;
        Ok(Self {
            files: headers.files,
            ..facts
        })
    }

    /// Facts of a header that may not be on disk yet.
    pub(super) fn from_parts(
        path: &Path,
        gguf: &Gguf,
        tensors: &[TensorInfo],
        file_bytes: u64,
        n_parts: u64,
    ) -> Result<Self, ModelError> {
        let arch = language_model(path, gguf, tensors)?;
        let key = |name: &str| format!("{arch}.{name}");
        let required = |name: &str| {
            let key = key(name);
            let value = gguf
                .uint(&key)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|&n| n > 0);
            value.ok_or_else(|| ModelError::MissingKey {
                path: path.to_owned(),
                key,
            })
        };
        let largest = |name: &str| {
            let values = gguf.uints(&key(name))?;
            values.into_iter().max().filter(|&n| n > 0).and_then(narrow)
        };
        let n_blocks = required("block_count")?;
        let n_embd = required("embedding_length")?;
        // Bounds every loop over layers, whatever a damaged file claims.
        if n_blocks as usize > tensors.len() {
            return Err(ModelError::Malformed {
                path: path.to_owned(),
                detail: format!("{n_blocks} layers, but only {} tensors", tensors.len()),
            });
        }
        shapes::check(path, gguf, &arch, tensors)?;
        let n_layer = unused::executed_layers(path, gguf, &arch, n_blocks, tensors)?;
        let memory = sequence_memory::read(gguf, &arch, u64::from(n_layer), u64::from(n_embd));
        let sums = TensorSums::of(tensors, n_layer);
        Ok(Self {
            name: file_model_name(path),
            path: path.to_owned(),
            file_bytes,
            n_parts: narrow(n_parts).unwrap_or(u32::MAX),
            sha256: None,
            files: Vec::new(),
            general_name: gguf.string("general.name").filter(|name| !name.is_empty()),
            file_type: gguf
                .uint("general.file_type")
                .and_then(FileType::from_number)
                .map_or_else(
                    || sums.dominant_type(),
                    |file_type| file_type.name().to_owned(),
                ),
            requantized_from: requantized::read(gguf),
            n_params: sums.params,
            n_matmul_params: sums.matmul_params,
            n_expert_params: sums.expert_params,
            n_layer,
            n_embd,
            n_head: memory.n_head.and_then(narrow),
            n_head_kv: memory.n_head_kv.and_then(narrow),
            head_dim_k: memory.head_dim_k.and_then(narrow),
            head_dim_v: memory.head_dim_v.and_then(narrow),
            k_elements_per_token: memory.k_elements_per_token,
            v_elements_per_token: memory.v_elements_per_token,
            sliding: memory.sliding,
            state_elements_per_seq: memory.state_elements_per_seq,
            unused: unused::summed(tensors, n_layer),
            n_ff: largest("feed_forward_length"),
            n_ff_expert: largest("expert_feed_forward_length"),
            n_vocab: n_vocab(gguf, &arch, tensors).ok_or_else(|| ModelError::MissingKey {
                path: path.to_owned(),
                key: key("vocab_size"),
            })?,
            n_ctx_train: largest("context_length"),
            n_expert: largest("expert_count"),
            n_expert_used: largest("expert_used_count"),
            tied_embeddings: sums.tied,
            tensor_bytes: sums.bytes,
            bytes_by_type: sums.by_type,
            token_embd_bytes: sums.token_embd_bytes,
            expert_bytes: sums.expert_bytes,
            weight_bytes_per_step: sums.step_bytes,
            matrices: sums.matrices,
            architecture: arch,
        })
    }

    /// Bytes that one token adds to the KV cache (kappa of the method's section 4), for caches
    /// whose elements take this many bytes (see
    /// [`type_bytes_per_element`](super::type_bytes_per_element)). Of layers with a sliding
    /// window, [`ModelFacts::sliding_bytes_per_token`], the engine keeps the latest tokens only.
    #[must_use]
    pub fn kv_bytes_per_token(&self, k_bytes_per_element: f64, v_bytes_per_element: f64) -> f64 {
        self.k_elements_per_token as f64 * k_bytes_per_element
            + self.v_elements_per_token as f64 * v_bytes_per_element
    }

    /// The part of [`ModelFacts::kv_bytes_per_token`] that layers with a sliding window add.
    #[must_use]
    pub fn sliding_bytes_per_token(
        &self,
        k_bytes_per_element: f64,
        v_bytes_per_element: f64,
    ) -> f64 {
        self.sliding.map_or(0.0, |s| {
            s.k_elements_per_token as f64 * k_bytes_per_element
                + s.v_elements_per_token as f64 * v_bytes_per_element
        })
    }

    /// Experts whose results a token's layer has side by side; 1 where there are none.
    #[must_use]
    pub fn n_active_experts(&self) -> u32 {
        let is_mixture = self.n_expert.is_some_and(|n| n > 1);
        let used = self.n_expert_used.filter(|_| is_mixture);
        used.unwrap_or(1).max(1)
    }

    /// Feed-forward width that one token goes through in a layer: in a mixture, of all experts that it uses. Where the
    /// file does not say, four times the residual width stands for it.
    #[must_use]
    pub fn active_n_ff(&self) -> u64 {
        let is_mixture = self.n_expert.is_some_and(|n| n > 1);
        let of_expert = self.n_ff_expert.filter(|_| is_mixture);
        let usual = 4 * u64::from(self.n_embd);
        let width = of_expert.or(self.n_ff).map_or(usual, u64::from);
        width * u64::from(self.n_active_experts())
    }

    /// Bytes of each sequence's recurrent and convolution state; the engine keeps it in F32.
    #[must_use]
    pub fn state_bytes_per_seq(&self) -> u64 {
        self.state_elements_per_seq.saturating_mul(4)
    }

    /// Bytes of the tensors that the engine loads to decode.
    #[must_use]
    pub fn used_tensor_bytes(&self) -> u64 {
        let unused = self.unused.iter().map(|u| u.bytes);
        self.tensor_bytes
            .saturating_sub(unused.fold(0, u64::saturating_add))
    }

    /// Fills the `sha256` of every file and of the model, from the cache where a file has not changed since it was last
    /// hashed.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`], and [`ModelError::Changed`] for a file that is not the one whose header was read.
    pub fn hash(&mut self, progress: Progress) -> Result<(), ModelError> {
        let all = self.files.iter().map(|f| f.stamp.bytes).sum();
        let mut before = 0;
        for file in &mut self.files {
            let path = file.path(&self.path);
            let mut of_all = |done: u64, _: u64| progress(before + done, all);
            file.sha256 = Some(hash::sha256_cached(&path, &file.stamp, &mut of_all)?);
            before += file.stamp.bytes;
        }
        let hashes: Vec<&str> = self
            .files
            .iter()
            .flat_map(|f| f.sha256.as_deref())
            .collect();
        self.sha256 = match hashes[..] {
            [] => None,
            [alone] => Some(alone.to_owned()),
            _ => Some(hash::sha256_of_hashes(hashes)),
        };
        Ok(())
    }

    /// The first file that is not as `recorded` has it.
    #[must_use]
    pub fn first_difference(&self, recorded: &Self) -> Option<PathBuf> {
        let same = |(now, then): &(&ModelFile, &ModelFile)| {
            now.sha256 == then.sha256 && now.stamp.bytes == then.stamp.bytes
        };
        let pairs = || self.files.iter().zip(&recorded.files);
        if let Some((file, _)) = pairs().find(|pair| !same(pair)) {
            return Some(file.path(&self.path));
        }
        // Records of earlier programs have no hash of split models, and list no files.
        let hash = |m: &Self| {
            m.sha256
                .clone()
                .filter(|_| m.n_parts == 1 || !recorded.files.is_empty())
        };
        let is_same = self.file_bytes == recorded.file_bytes && hash(self) == hash(recorded);
        (!is_same).then(|| self.path.clone())
    }

    /// Makes the path one that leads to the file from every folder; a working folder whose name is not UTF-8 leaves it as it
    /// is, since records are UTF-8.
    pub fn make_path_absolute(&mut self) {
        let absolute = std::path::absolute(&self.path);
        if let Some(absolute) = absolute.ok().filter(|path| path.to_str().is_some()) {
            self.path = absolute;
        }
    }
}

fn narrow(n: u64) -> Option<u32> {
    u32::try_from(n).ok()
}

fn n_vocab(gguf: &Gguf, arch: &str, tensors: &[TensorInfo]) -> Option<u32> {
    let table = tensors.iter().find(|t| t.name == "token_embd.weight");
    table
        .map(|t| t.ne[1])
        .or_else(|| gguf.array_len("tokenizer.ggml.tokens"))
        .or_else(|| gguf.uint(&format!("{arch}.vocab_size")))
        .filter(|&n| n > 0)
        .and_then(narrow)
}
