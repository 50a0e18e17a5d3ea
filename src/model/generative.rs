//! Tells language models from the other things that GGUF files hold.

use std::path::Path;

use super::ModelError;
use super::gguf::{Gguf, TensorInfo};
use crate::text::short;

const MOST_ARCH_BYTES: usize = 64;

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
    ("a model that recognises speech", &["whisper"]),
    (
        "a model that makes pictures, or a part of one",
        &[
            "aura",
            "cosmos",
            "esrgan",
            "flux",
            "hidream",
            "hyvid",
            "ltxv",
            "lumina2",
            "pig",
            "qwen_image",
            "sd1",
            "sd3",
            "sdxl",
            "wan",
        ],
    ),
    ("a control vector", &["controlvector"]),
    (
        "a draft head for another model",
        &["eagle3", "dflash", "gemma4-assistant"],
    ),
];

/// The architecture, once it is sure that the file generates text.
pub(super) fn language_model(
    path: &Path,
    gguf: &Gguf,
    tensors: &[TensorInfo],
) -> Result<String, ModelError> {
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
    // It becomes a part of every key: what no key can have would also reach every message.
    if arch.len() > MOST_ARCH_BYTES || !arch.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ModelError::Malformed {
            path: path.to_owned(),
            detail: format!(
                "`general.architecture` is '{}', which is no name",
                short(&arch)
            ),
        });
    }
    if let Some((kind, _)) = NOT_GENERATIVE
        .iter()
        .find(|(_, list)| list.contains(&&*arch))
    {
        return refuse(kind);
    }
    if tensors.is_empty() {
        return refuse("it has no tensors (a vocabulary only)");
    }
    match gguf.uint(&format!("{arch}.pooling_type")) {
        Some(4) => return refuse("it ranks texts (a reranker)"),
        Some(1..=3) => return refuse("its output is pooled (an embedding model)"),
        _ => {}
    }
    if gguf.uint(&format!("{arch}.attention.causal")) == Some(0) {
        return refuse("its attention is not causal (an encoder or a diffusion model)");
    }
    Ok(arch)
}
