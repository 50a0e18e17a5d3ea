//! The engine's kernels as things whose time can be measured apart from a model.
//!
//! A decode call is a list of kernels (`work`); what each costs on this machine is a ceiling
//! ([`super::ceiling`]). A kernel has a name that stays the same in every version of the cache.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One kernel on weights or widths of one size; how much it is given is its [`KernelLoad`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kernel", rename_all = "snake_case")]
pub enum Kernel {
    /// `ggml_mul_mat`: a weight matrix times a vector for each token.
    MatMul {
        /// ggml's type of the weights, `Q4_0`.
        weights: String,
        /// Elements of a vector that goes in.
        n_in: u64,
        /// Elements of a vector that comes out.
        n_out: u64,
    },
    /// `ggml_mul_mat_id`: for each token the matrices of the experts it chose.
    Experts {
        /// ggml's type of the weights.
        weights: String,
        /// Elements of a vector that goes in.
        n_in: u64,
        /// Elements of a vector that comes out.
        n_out: u64,
        /// Experts there are.
        n_expert: u64,
        /// Experts each token uses.
        n_used: u64,
    },
    /// `ggml_flash_attn_ext`: one layer's attention over the KV cache.
    Attention {
        /// Query heads.
        n_head: u32,
        /// KV heads.
        n_head_kv: u32,
        /// Elements of a key.
        head_dim_k: u32,
        /// Elements of a value.
        head_dim_v: u32,
        /// ggml's type of the K cache, `F16`.
        type_k: String,
        /// ggml's type of the V cache.
        type_v: String,
    },
    /// Everything of a layer that is neither of the above: norms, rotary positions, writing keys and
    /// values, activation, additions. Small work in many operations, each with its barrier.
    Glue {
        /// Width of the residual stream.
        n_embd: u32,
        /// Feed-forward width.
        n_ff: u32,
        /// Query heads.
        n_head: u32,
        /// KV heads.
        n_head_kv: u32,
        /// Elements of a head.
        head_dim: u32,
    },
    /// Bringing the logits of each token from the engine to the sampler, and choosing the largest.
    Logits {
        /// Tokens in the vocabulary.
        n_vocab: u32,
    },
}

/// How much a kernel is given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelLoad {
    /// Sequences.
    pub n_seq: u32,
    /// Tokens of each sequence.
    pub n_tokens: u32,
    /// Tokens in each sequence's cache before; only attention depends on it, others have 0.
    pub n_past: u32,
}

impl KernelLoad {
    /// So many tokens, wherever they come from: for kernels that do not look at the cache.
    pub fn tokens(n: u32) -> Self {
        Self {
            n_seq: 1,
            n_tokens: n,
            n_past: 0,
        }
    }

    /// Tokens of all sequences.
    pub fn total_tokens(self) -> u32 {
        self.n_seq.saturating_mul(self.n_tokens)
    }
}

/// A kernel under a load: what is timed, and what a cache of timings is keyed by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// Which kernel.
    #[serde(flatten)]
    pub kernel: Kernel,
    /// How much of it.
    pub load: KernelLoad,
}

impl Kernel {
    /// The type of its weights and their dimensions, the row width first; `None` for kernels without weights.
    pub fn weight_shape(&self) -> Option<(&str, Vec<u64>)> {
        match self {
            Self::MatMul {
                weights,
                n_in,
                n_out,
            } => Some((weights, vec![*n_in, *n_out])),
            Self::Experts {
                weights,
                n_in,
                n_out,
                n_expert,
                ..
            } => Some((weights, vec![*n_in, *n_out, *n_expert])),
            _ => None,
        }
    }

    /// Bytes of weights that one pass over it reads, when `n_tokens` tokens use it; of experts the
    /// expected number of distinct ones. `bytes_per_element` is that of its type. Zero without weights.
    pub fn weight_bytes(&self, bytes_per_element: f64, n_tokens: u32) -> f64 {
        let touched = match self {
            Self::MatMul { .. } => 1.0,
            Self::Experts {
                n_expert, n_used, ..
            } => *n_expert as f64 * touched_share(*n_expert, *n_used, f64::from(n_tokens)),
            _ => return 0.0,
        };
        self.elements() * touched * bytes_per_element
    }

    /// Multiply-adds, counted as two, of a matrix kernel for so many tokens; zero for others.
    pub fn flops(&self, n_tokens: u32) -> f64 {
        let per_token = match self {
            Self::MatMul { .. } => 1.0,
            Self::Experts { n_used, .. } => *n_used as f64,
            _ => return 0.0,
        };
        2.0 * self.elements() * per_token * f64::from(n_tokens)
    }

    fn elements(&self) -> f64 {
        match self {
            Self::MatMul { n_in, n_out, .. } | Self::Experts { n_in, n_out, .. } => {
                *n_in as f64 * *n_out as f64
            }
            _ => 0.0,
        }
    }
}

/// Expected share of `n_expert` experts that at least one of `n_tokens` tokens chooses, when each
/// chooses `n_used` evenly and independently of the others: `1 - (1 - k/n)^B`. One without experts.
pub fn touched_share(n_expert: u64, n_used: u64, n_tokens: f64) -> f64 {
    if n_expert == 0 {
        return 1.0;
    }
    let idle = 1.0 - n_used.min(n_expert) as f64 / n_expert as f64;
    1.0 - idle.powf(n_tokens)
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MatMul {
                weights,
                n_in,
                n_out,
            } => write!(f, "{weights} {n_in}x{n_out}"),
            Self::Experts {
                weights,
                n_in,
                n_out,
                n_expert,
                n_used,
            } => write!(
                f,
                "{weights} {n_in}x{n_out}, {n_used} of {n_expert} experts"
            ),
            Self::Attention {
                n_head,
                n_head_kv,
                head_dim_k,
                type_k,
                type_v,
                ..
            } => {
                write!(
                    f,
                    "attention {n_head}/{n_head_kv} heads of {head_dim_k}, {type_k}"
                )?;
                if type_k != type_v {
                    write!(f, " and {type_v}")?;
                }
                Ok(())
            }
            Self::Glue { n_embd, n_ff, .. } => write!(f, "small operations {n_embd}, {n_ff}"),
            Self::Logits { n_vocab } => write!(f, "logits of {n_vocab}"),
        }
    }
}

/// Kernels and loads for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    pub fn matmul(weights: &str, n_in: u64, n_out: u64) -> Kernel {
        Kernel::MatMul {
            weights: weights.into(),
            n_in,
            n_out,
        }
    }

    pub fn experts(sizes: [u64; 2], n_expert: u64, n_used: u64) -> Kernel {
        Kernel::Experts {
            weights: "Q4_0".into(),
            n_in: sizes[0],
            n_out: sizes[1],
            n_expert,
            n_used,
        }
    }

    /// Heads whose keys and values have `head_dim` elements; one type for both caches.
    pub fn attention([n_head, n_head_kv, head_dim]: [u32; 3], type_kv: &str) -> Kernel {
        Kernel::Attention {
            n_head,
            n_head_kv,
            head_dim_k: head_dim,
            head_dim_v: head_dim,
            type_k: type_kv.into(),
            type_v: type_kv.into(),
        }
    }

    pub fn glue([n_embd, n_ff, n_head, n_head_kv, head_dim]: [u32; 5]) -> Kernel {
        Kernel::Glue {
            n_embd,
            n_ff,
            n_head,
            n_head_kv,
            head_dim,
        }
    }

    pub fn load(n_seq: u32, n_tokens: u32, n_past: u32) -> KernelLoad {
        KernelLoad {
            n_seq,
            n_tokens,
            n_past,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_touched_by_hand() {
        // 2 of 8: a token leaves 6/8 alone, two tokens 36/64.
        assert_eq!(touched_share(8, 2, 1.0), 0.25);
        assert_eq!(touched_share(8, 2, 2.0), 1.0 - 36.0 / 64.0);
        assert!((touched_share(8, 2, 100.0) - 1.0).abs() < 1e-12);
        assert_eq!(touched_share(0, 0, 1.0), 1.0);
        assert_eq!(touched_share(4, 9, 1.0), 1.0);
        let experts = Kernel::Experts {
            weights: "F16".into(),
            n_in: 10,
            n_out: 20,
            n_expert: 8,
            n_used: 2,
        };
        assert_eq!(experts.weight_bytes(2.0, 1), 2.0 * 200.0 * 2.0);
        assert_eq!(experts.flops(3), 2.0 * 200.0 * 2.0 * 3.0);
    }

    #[test]
    fn a_point_reads_back_from_its_json() {
        let point = Point {
            kernel: fixture::matmul("Q8_0", 576, 1536),
            load: KernelLoad::tokens(8),
        };
        let json = serde_json::to_string(&point).expect("plain data");
        assert_eq!(
            json,
            r#"{"kernel":"mat_mul","weights":"Q8_0","n_in":576,"n_out":1536,"load":{"n_seq":1,"n_tokens":8,"n_past":0}}"#
        );
        assert_eq!(
            serde_json::from_str::<Point>(&json).expect("own output"),
            point
        );
    }
}
