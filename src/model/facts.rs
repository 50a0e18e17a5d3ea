//! What a GGUF file says about itself, read with the engine's own reader.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::gguf::{Gguf, TensorInfo, block_bytes, block_elements, tensor_type_name};
use super::{FileType, ModelError, Progress, hash, kv_heads};

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
    /// Of the whole file, lower-case hex; `None` until [`ModelFacts::hash`] was called, and for
    /// split models.
    pub sha256: Option<String>,
    /// `general.architecture`, as `llama`.
    pub architecture: String,
    /// `general.name`.
    pub general_name: Option<String>,
    /// llama-quantize's name (`Q4_K_M`), or the type of most tensor bytes where the file has none.
    pub file_type: String,
    /// Elements of all tensors.
    pub n_params: u64,
    /// Elements of the matrices that a token multiplies with: two or more dimensions, without
    /// embedding tables unless the token embedding is also the output.
    pub n_matmul_params: u64,
    /// Of these, elements of experts (each token uses `n_expert_used` of `n_expert`).
    pub n_expert_params: u64,
    /// Transformer blocks.
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
    /// Feed-forward width, the most of any layer.
    pub n_ff: Option<u32>,
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
    /// Bytes of expert tensors (`_exps`), of which a step reads only the chosen ones.
    pub expert_bytes: u64,
    /// W of the method's section 4: tensor bytes that every decode step reads, that is all but the
    /// embedding tables, of which only single rows are read; a tied table counts as output.
    /// An upper bound for mixtures of experts, see `expert_bytes`.
    pub weight_bytes_per_step: u64,
}

impl ModelFacts {
    /// Reads the header of `path`; of a split model, the headers of all parts.
    ///
    /// # Errors
    /// One [`ModelError`] for each way in which a file can fail to be a language model. The
    /// engine's own log lines are kept back.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let gguf = Gguf::open(path)?;
        let mut file_bytes = checked_size(path, &gguf)?;
        let mut tensors = gguf.tensors();
        let n_parts = gguf.uint("split.count").unwrap_or(1).max(1);
        if n_parts > 1 {
            let part = gguf.uint("split.no").unwrap_or(0) + 1;
            if part != 1 {
                return Err(ModelError::LaterPart {
                    path: path.to_owned(),
                    part,
                });
            }
            for part in later_parts(path, n_parts)? {
                let later = Gguf::open(&part)?;
                file_bytes += checked_size(&part, &later)?;
                tensors.extend(later.tensors());
            }
        }
        Self::from_parts(path, &gguf, &tensors, file_bytes, n_parts)
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
        let n_layer = required("block_count")?;
        let n_embd = required("embedding_length")?;
        let kv = kv_heads::read(gguf, &arch, u64::from(n_layer), u64::from(n_embd));
        let sums = Sums::of(tensors);
        Ok(Self {
            name: model_name(path),
            path: path.to_owned(),
            file_bytes,
            n_parts: narrow(n_parts).unwrap_or(u32::MAX),
            sha256: None,
            general_name: gguf.string("general.name").filter(|name| !name.is_empty()),
            file_type: gguf
                .uint("general.file_type")
                .and_then(FileType::from_number)
                .map_or_else(
                    || sums.dominant_type(),
                    |file_type| file_type.name().to_owned(),
                ),
            n_params: sums.params,
            n_matmul_params: sums.matmul_params,
            n_expert_params: sums.expert_params,
            n_layer,
            n_embd,
            n_head: kv.n_head.and_then(narrow),
            n_head_kv: kv.n_head_kv.and_then(narrow),
            head_dim_k: kv.head_dim_k.and_then(narrow),
            head_dim_v: kv.head_dim_v.and_then(narrow),
            k_elements_per_token: kv.k_elements_per_token,
            v_elements_per_token: kv.v_elements_per_token,
            n_ff: largest("feed_forward_length"),
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
            architecture: arch,
        })
    }

    /// Bytes that one token adds to the KV cache (kappa of the method's section 4), for caches
    /// whose elements take this many bytes (see [`type_bytes_per_element`]). Layers with a sliding
    /// window stop growing at their window.
    #[must_use]
    pub fn kv_bytes_per_token(&self, k_bytes_per_element: f64, v_bytes_per_element: f64) -> f64 {
        self.k_elements_per_token as f64 * k_bytes_per_element
            + self.v_elements_per_token as f64 * v_bytes_per_element
    }

    /// Fills `sha256`, from the cache where the file has not changed since it was last hashed.
    /// Does nothing for split models.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`].
    pub fn hash(&mut self, progress: Progress) -> Result<(), ModelError> {
        if self.n_parts == 1 {
            self.sha256 = Some(hash::sha256_cached(&self.path, progress)?);
        }
        Ok(())
    }
}

/// Average bytes of one element of a ggml type by name in any case (`f16` is 2.0, `q8_0` is
/// 34/32); `None` for an unknown name.
#[must_use]
pub fn type_bytes_per_element(name: &str) -> Option<f64> {
    let upper = name.to_ascii_uppercase();
    (0..llama_cpp_sys_2::GGML_TYPE_COUNT)
        .find(|&ty| block_elements(ty) > 0 && tensor_type_name(ty) == upper)
        .map(|ty| block_bytes(ty) as f64 / block_elements(ty) as f64)
}

/// `text` as it may stand in an id: lower-case `[a-z0-9._-]`, at most 64 characters, never empty.
#[must_use]
pub fn sanitize_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        let allowed = c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let c = if allowed { c } else { '-' };
        if !(c == '-' && name.ends_with('-')) {
            name.push(c);
        }
        if name.len() == 64 {
            break;
        }
    }
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() {
        "model".to_owned()
    } else {
        name.to_owned()
    }
}

pub(super) fn model_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    sanitize_name(split_suffix(&stem).map_or(&*stem, |(base, ..)| base))
}

/// Splits `base-00002-of-00003` (the engine's `llama_split_path`) into its three parts.
pub(super) fn split_suffix(stem: &str) -> Option<(&str, u64, u64)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, part) = rest.rsplit_once('-')?;
    let five = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
    (five(part) && five(count)).then(|| Some((base, part.parse().ok()?, count.parse().ok()?)))?
}

fn narrow(n: u64) -> Option<u32> {
    u32::try_from(n).ok()
}

/// The file's size, after checking that it holds all that the tensor table promises. The last
/// tensor's padding may be missing.
fn checked_size(path: &Path, gguf: &Gguf) -> Result<u64, ModelError> {
    let size = fs::metadata(path)
        .map_err(|source| ModelError::Unreadable {
            path: path.to_owned(),
            source,
        })?
        .len();
    let end = gguf.tensors().iter().try_fold(0_u64, |end, t| {
        Some(
            end.max(
                gguf.data_offset_bytes()
                    .checked_add(t.offset_bytes)?
                    .checked_add(t.bytes)?,
            ),
        )
    });
    match end {
        Some(end) if end <= size => Ok(size),
        Some(end) => Err(ModelError::Truncated {
            path: path.to_owned(),
            detail: format!("the tensors need {end} bytes, the file has {size}"),
        }),
        None => Err(ModelError::Malformed {
            path: path.to_owned(),
            detail: "tensor offsets overflow".to_owned(),
        }),
    }
}

fn later_parts(first: &Path, n_parts: u64) -> Result<Vec<PathBuf>, ModelError> {
    let stem = first.file_stem().unwrap_or_default().to_string_lossy();
    // The count in the name bounds the one in the metadata, which may be anything.
    let suffix = split_suffix(&stem).filter(|&(_, part, count)| part == 1 && count == n_parts);
    let Some((base, ..)) = suffix else {
        return Err(ModelError::Malformed {
            path: first.to_owned(),
            detail: format!(
                "one of {n_parts} parts, but its name lacks -00001-of-{n_parts:05}, \
                 by which the engine finds the others"
            ),
        });
    };
    Ok((2..=n_parts)
        .map(|part| first.with_file_name(format!("{base}-{part:05}-of-{n_parts:05}.gguf")))
        .collect())
}

/// Encoders, encoder-decoders and heads that only draft for another model: the engine cannot
/// generate with them alone (llama.cpp, `src/models/`).
const NOT_GENERATIVE: &[(&str, &[&str])] = &[
    ("a vision or audio projector (mmproj)", &["clip"]),
    (
        "an encoder (embedding model)",
        &[
            "bert",
            "modern-bert",
            "nomic-bert",
            "nomic-bert-moe",
            "neo-bert",
            "jina-bert-v2",
            "jina-bert-v3",
            "eurobert",
            "t5encoder",
            "gemma-embedding",
            "llama-embed",
        ],
    ),
    ("an encoder-decoder", &["t5"]),
    ("an audio decoder", &["wavtokenizer-dec", "pockettts"]),
    (
        "a draft head for another model",
        &["eagle3", "dflash", "gemma4-assistant"],
    ),
];

/// The architecture, once it is sure that the file generates text.
fn language_model(path: &Path, gguf: &Gguf, tensors: &[TensorInfo]) -> Result<String, ModelError> {
    let refuse = |kind: &str| {
        Err(ModelError::NotLanguageModel {
            path: path.to_owned(),
            kind: kind.to_owned(),
        })
    };
    match gguf.string("general.type").as_deref() {
        Some("adapter") => return refuse("an adapter (LoRA); name the base model"),
        Some("imatrix") => return refuse("an importance matrix"),
        Some("mmproj") => return refuse("a vision or audio projector (mmproj)"),
        Some("vocab") => return refuse("a vocabulary only"),
        _ => {}
    }
    let Some(arch) = gguf
        .string("general.architecture")
        .filter(|a| !a.is_empty())
    else {
        let key = "general.architecture".to_owned();
        return Err(ModelError::MissingKey {
            path: path.to_owned(),
            key,
        });
    };
    if let Some((kind, _)) = NOT_GENERATIVE
        .iter()
        .find(|(_, list)| list.contains(&&*arch))
    {
        return refuse(kind);
    }
    if tensors.is_empty() {
        return refuse("it has no tensors (a vocabulary only)");
    }
    if gguf.uint(&format!("{arch}.attention.causal")) == Some(0) {
        return refuse("its attention is not causal (an encoder or a diffusion model)");
    }
    Ok(arch)
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

/// Sums over the tensor table.
#[derive(Default)]
struct Sums {
    params: u64,
    matmul_params: u64,
    expert_params: u64,
    bytes: u64,
    by_type: BTreeMap<String, u64>,
    token_embd_bytes: u64,
    expert_bytes: u64,
    step_bytes: u64,
    tied: bool,
}

impl Sums {
    fn of(tensors: &[TensorInfo]) -> Self {
        let mut sums = Self {
            tied: !tensors.iter().any(|t| t.name == "output.weight"),
            ..Self::default()
        };
        for t in tensors {
            let expert = t.name.contains("_exps.");
            // Rows are looked up in these; gemma3n and gemma4 have the per-layer table besides.
            let table = t.name == "per_layer_token_embd.weight"
                || (t.name == "token_embd.weight" && !sums.tied);
            sums.params += t.elements();
            sums.bytes += t.bytes;
            *sums.by_type.entry(tensor_type_name(t.ty)).or_default() += t.bytes;
            if t.name == "token_embd.weight" {
                sums.token_embd_bytes += t.bytes;
            }
            if expert {
                sums.expert_bytes += t.bytes;
            }
            if table {
                continue;
            }
            sums.step_bytes += t.bytes;
            if t.ne[1] > 1 && t.name.ends_with(".weight") {
                sums.matmul_params += t.elements();
                if expert {
                    sums.expert_params += t.elements();
                }
            }
        }
        sums
    }

    fn dominant_type(&self) -> String {
        let most = self.by_type.iter().max_by_key(|(_, bytes)| **bytes);
        most.map_or_else(String::new, |(name, _)| name.clone())
    }
}
