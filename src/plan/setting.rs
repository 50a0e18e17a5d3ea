//! The engine settings that are words rather than numbers, as typed and as recorded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::PlanError;
use super::values::{AxisValue, each};

/// Prints, reads and records an enum by the words of its values; the words behind `or` are read too.
macro_rules! words {
    ($type:ident, $takes:literal: $($value:ident = $word:literal $(or $other:literal)*),+ $(,)?) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $word),+
                })
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(s: &str) -> Result<Self, String> {
                match s.to_ascii_lowercase().as_str() {
                    $($word $(| $other)* => Ok(Self::$value),)+
                    _ => Err(format!("'{s}' is not one of {}", [$($word),+].join(", "))),
                }
            }
        }

        impl AxisValue for $type {
            const TAKES: &'static str = $takes;

            fn read(key: &str, texts: &[String]) -> Result<Vec<Self>, PlanError> {
                each(key, texts.join(",").split(','), str::parse)
            }

            fn schema() -> Value {
                json!({"type": "string", "enum": [$($word),+]})
            }
        }
    };
}

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

words!(KvType, "TYPE": F32 = "f32", F16 = "f16", Bf16 = "bf16", Q8_0 = "q8_0", Q4_0 = "q4_0", Q4_1 = "q4_1",
    Iq4Nl = "iq4_nl", Q5_0 = "q5_0", Q5_1 = "q5_1");

impl KvType {
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

words!(FlashAttn, "on|off|auto": Auto = "auto" or "-1", On = "on" or "1" or "true", Off = "off" or "0" or "false");

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

words!(SplitMode, "MODE": None = "none", Layer = "layer", Row = "row", Tensor = "tensor");

/// How large each sequence's share of the KV cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvSizing {
    /// `n_ctx` cells for every sequence, as Ollama reserves `num_ctx` for every parallel request.
    Full,
    /// Only the cells that the case fills, in steps of [`KV_PAD`](super::KV_PAD).
    Fit,
}

words!(KvSizing, "full|fit": Full = "full", Fit = "fit");
