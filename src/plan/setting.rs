//! The engine settings that are words rather than numbers, as typed and as recorded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Element type of the KV cache: those llama.cpp's own tools accept for `--cache-type-k/-v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, non_camel_case_types)]
pub enum KvType {
    F32,
    F16,
    Bf16,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q4_0")]
    Q4_0,
    #[serde(rename = "q4_1")]
    Q4_1,
    #[serde(rename = "iq4_nl")]
    Iq4Nl,
    #[serde(rename = "q5_0")]
    Q5_0,
    #[serde(rename = "q5_1")]
    Q5_1,
}

impl KvType {
    const ALL: [(KvType, &'static str); 9] = [
        (KvType::F32, "f32"),
        (KvType::F16, "f16"),
        (KvType::Bf16, "bf16"),
        (KvType::Q8_0, "q8_0"),
        (KvType::Q4_0, "q4_0"),
        (KvType::Q4_1, "q4_1"),
        (KvType::Iq4Nl, "iq4_nl"),
        (KvType::Q5_0, "q5_0"),
        (KvType::Q5_1, "q5_1"),
    ];

    /// Bytes an element takes: block bytes over block elements (`ggml-common.h`).
    pub fn bytes_per_element(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::F16 | Self::Bf16 => 2.0,
            Self::Q8_0 => 34.0 / 32.0,
            Self::Q4_0 | Self::Iq4Nl => 18.0 / 32.0,
            Self::Q4_1 => 20.0 / 32.0,
            Self::Q5_0 => 22.0 / 32.0,
            Self::Q5_1 => 24.0 / 32.0,
        }
    }

    /// Whether the elements are stored in quantised blocks.
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(t, _)| t == self).map(|(_, n)| *n);
        f.write_str(name.expect("every type is in the table"))
    }
}

impl FromStr for KvType {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wanted = s.to_ascii_lowercase();
        Self::ALL
            .iter()
            .find(|(_, n)| *n == wanted)
            .map(|(t, _)| *t)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|(_, n)| *n).collect();
                format!("'{s}' is no KV cache type; one of {}", names.join(", "))
            })
    }
}

/// llama.cpp's flash attention policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlashAttn {
    /// The engine decides; on wherever the backend has it.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl fmt::Display for FlashAttn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

impl FromStr for FlashAttn {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" | "-1" => Ok(Self::Auto),
            "on" | "1" | "true" => Ok(Self::On),
            "off" | "0" | "false" => Ok(Self::Off),
            _ => Err(format!("'{s}' is not one of on, off, auto (or 1, 0)")),
        }
    }
}

/// How a model is spread over several GPUs (`llama_split_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitMode {
    /// One GPU, `main_gpu`.
    None,
    /// Layers and their KV cache across GPUs.
    Layer,
    /// Rows of the weights across GPUs, where the backend can.
    Row,
    /// Each tensor across GPUs, computed in parallel; experimental in the engine.
    Tensor,
}

impl fmt::Display for SplitMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Layer => "layer",
            Self::Row => "row",
            Self::Tensor => "tensor",
        })
    }
}

impl FromStr for SplitMode {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "none" => Ok(Self::None),
            "layer" => Ok(Self::Layer),
            "row" => Ok(Self::Row),
            "tensor" => Ok(Self::Tensor),
            _ => Err(format!("'{s}' is not one of none, layer, row, tensor")),
        }
    }
}

/// How large each sequence's share of the KV cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvSizing {
    /// `n_ctx` cells for every sequence, as Ollama reserves `num_ctx` for every parallel request.
    Full,
    /// Only the cells that the case fills, in steps of [`KV_PAD`](super::KV_PAD).
    Fit,
}

impl fmt::Display for KvSizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Fit => "fit",
        })
    }
}

impl FromStr for KvSizing {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "full" => Ok(Self::Full),
            "fit" => Ok(Self::Fit),
            _ => Err(format!("'{s}' is not one of full, fit")),
        }
    }
}
