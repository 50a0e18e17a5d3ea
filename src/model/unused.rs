//! Tensors that lie in a file but that plain decoding never touches.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ModelError;
use super::gguf::{Gguf, TensorInfo};

/// What such tensors are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnusedKind {
    /// Layers that predict further tokens (`nextn`, multi-token prediction).
    Prediction,
    Vision,
    Audio,
}

impl fmt::Display for UnusedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prediction => "prediction layers",
            Self::Vision => "vision",
            Self::Audio => "audio",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusedTensors {
    pub kind: UnusedKind,
    pub n_tensors: u32,
    pub bytes: u64,
}

/// Beginnings of names that no language model's own tensors have (`clip-impl.h`).
const PREFIXES: &[(&str, UnusedKind)] = &[
    ("v.", UnusedKind::Vision),
    ("mm.a.", UnusedKind::Audio),
    ("mm.", UnusedKind::Vision),
    ("resampler.", UnusedKind::Vision),
    ("a.", UnusedKind::Audio),
    ("nextn.", UnusedKind::Prediction),
];

/// `12` of `blk.12.ffn_up.weight`.
pub(super) fn layer_of(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

fn kind_of(name: &str, n_layer: u32) -> Option<UnusedKind> {
    if let Some(layer) = layer_of(name) {
        return (layer >= n_layer).then_some(UnusedKind::Prediction);
    }
    let known = PREFIXES.iter().find(|(start, _)| name.starts_with(start));
    known.map(|(_, kind)| *kind)
}

/// Whether decoding with a model of `n_layer` layers uses the tensor.
pub(super) fn is_executed(name: &str, n_layer: u32) -> bool {
    kind_of(name, n_layer).is_none()
}

/// The tensors that decoding with `n_layer` layers does not use.
pub(super) fn summed(tensors: &[TensorInfo], n_layer: u32) -> Vec<UnusedTensors> {
    let mut kinds: BTreeMap<UnusedKind, (u32, u64)> = BTreeMap::new();
    for t in tensors {
        if let Some(kind) = kind_of(&t.name, n_layer) {
            let (n, bytes) = kinds.entry(kind).or_default();
            *n = n.saturating_add(1);
            *bytes = bytes.saturating_add(t.bytes);
        }
    }
    let sums = kinds.into_iter();
    sums.map(|(kind, (n_tensors, bytes))| UnusedTensors {
        kind,
        n_tensors,
        bytes,
    })
    .collect()
}

/// How many of the `n_blocks` blocks decoding runs (`llama_hparams::n_layer`).
///
/// # Errors
/// [`ModelError::NotLanguageModel`] for a file of prediction layers only, and [`ModelError::Malformed`] for one that
/// counts more of them than blocks.
pub(super) fn executed_layers(
    path: &Path,
    gguf: &Gguf,
    arch: &str,
    n_blocks: u32,
    tensors: &[TensorInfo],
) -> Result<u32, ModelError> {
    let n_prediction = gguf
        .uint(&format!("{arch}.nextn_predict_layers"))
        .unwrap_or(0);
    if n_prediction == 0 {
        return Ok(n_blocks);
    }
    let Some(n_layer) = u32::try_from(n_prediction)
        .ok()
        .and_then(|n| n_blocks.checked_sub(n))
    else {
        return Err(ModelError::Malformed {
            path: path.to_owned(),
            detail: format!("{n_prediction} prediction layers of {n_blocks} blocks"),
        });
    };
    let is_of_main_model = |t: &TensorInfo| layer_of(&t.name).is_some_and(|n| n < n_layer);
    if !tensors.iter().any(is_of_main_model) {
        return Err(ModelError::NotLanguageModel {
            path: path.to_owned(),
            kind: "prediction layers (nextn) only, which draft for another model".to_owned(),
        });
    }
    Ok(n_layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decoding_does_not_touch_is_told_from_what_it_does() {
        for name in [
            "blk.0.attn_q.weight",
            "blk.1.ffn_up.weight",
            "output.weight",
            "token_embd.weight",
            "rope_freqs.weight",
            "output_norm.weight",
        ] {
            assert!(is_executed(name, 2), "{name}");
        }
        for (name, kind) in [
            ("blk.2.attn_q.weight", UnusedKind::Prediction),
            ("blk.2.nextn.eh_proj.weight", UnusedKind::Prediction),
            ("v.patch_embd.weight", UnusedKind::Vision),
            ("mm.0.weight", UnusedKind::Vision),
            ("mm.a.mlp.1.weight", UnusedKind::Audio),
            ("a.blk.0.attn_q.weight", UnusedKind::Audio),
        ] {
            assert_eq!(kind_of(name, 2), Some(kind), "{name}");
        }
    }

    #[test]
    fn unused_tensors_are_summed_by_kind() {
        let tensor = |name: &str, bytes| TensorInfo {
            name: name.to_owned(),
            ty: llama_cpp_sys_2::GGML_TYPE_F32,
            ne: [1, 1, 1, 1],
            offset_bytes: 0,
            bytes,
        };
        let tensors = [
            tensor("blk.0.attn_q.weight", 1),
            tensor("v.a.weight", 10),
            tensor("blk.1.attn_q.weight", 100),
            tensor("v.b.weight", 20),
        ];
        let unused = |kind, n_tensors, bytes| UnusedTensors {
            kind,
            n_tensors,
            bytes,
        };
        assert_eq!(
            summed(&tensors, 1),
            [
                unused(UnusedKind::Prediction, 1, 100),
                unused(UnusedKind::Vision, 2, 30)
            ]
        );
        assert_eq!(summed(&tensors[..1], 1), []);
    }
}
