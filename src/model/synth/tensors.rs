//! The tensors of each architecture (`load_arch_tensors`, llama.cpp's `src/models/`).

use llama_cpp_sys_2 as sys;

use super::mixture::{Mixture, TensorRole};
use super::shape::{Fill, PlannedTensor, SynthArchitecture, SynthExperts, SynthShape};
use crate::model::FileType;

/// Every tensor in the order of the engine's quantiser: by layer, then by name
/// (`weight_name_comparer`), so that a generated file is laid out as a quantised one.
pub(super) fn of_shape(shape: &SynthShape, file_type: FileType) -> Vec<PlannedTensor> {
    let planner = TensorPlanner {
        shape,
        mixture: Mixture::new(file_type, shape),
    };
    let mut all = planner.of_model();
    for layer in 0..shape.n_layer {
        let mut of_layer = planner.attention(layer);
        of_layer.extend(match &shape.experts {
            Some(experts) => planner.experts(layer, experts),
            None => planner.feed_forward(layer),
        });
        of_layer.sort_by(|a, b| a.name.cmp(&b.name));
        all.extend(of_layer);
    }
    all
}

struct TensorPlanner<'a> {
    shape: &'a SynthShape,
    mixture: Mixture,
}

fn vector(name: String, n_in: u32, fill: Fill) -> PlannedTensor {
    PlannedTensor {
        ty: sys::GGML_TYPE_F32,
        n_in: n_in.into(),
        n_rows: 1,
        n_matrices: 1,
        name,
        fill,
    }
}

impl TensorPlanner<'_> {
    /// A matrix in the type that the quantiser gives its role.
    fn matrix(
        &self,
        name: String,
        role: TensorRole,
        layer: u32,
        [n_in, n_rows]: [u32; 2],
    ) -> PlannedTensor {
        PlannedTensor {
            ty: self.mixture.tensor_type(role, layer, n_in.into()),
            n_rows: n_rows.into(),
            fill: Fill::Matrix,
            ..vector(name, n_in, Fill::Matrix)
        }
    }

    fn of_model(&self) -> Vec<PlannedTensor> {
        let SynthShape {
            n_embd, n_vocab, ..
        } = *self.shape;
        let table = |name: &str, role| self.matrix(name.to_owned(), role, 0, [n_embd, n_vocab]);
        let mut all = Vec::new();
        if !self.shape.tied {
            all.push(table("output.weight", TensorRole::Output));
        }
        all.push(vector("output_norm.weight".into(), n_embd, Fill::Norm));
        if let Some(factor) = self.shape.rope_scaling_factor {
            let fill = Fill::RopeFreqs {
                factor,
                freq_base: self.shape.rope_freq_base,
            };
            let n_pairs = self.shape.head_dim() / 2;
            all.push(vector("rope_freqs.weight".into(), n_pairs, fill));
        }
        all.push(table("token_embd.weight", TensorRole::TokenEmbd));
        all
    }

    fn attention(&self, layer: u32) -> Vec<PlannedTensor> {
        let shape = self.shape;
        let (embd, dim) = (shape.n_embd, shape.head_dim());
        let (q, kv) = (dim * shape.n_head, dim * shape.n_head_kv);
        let name = |part: &str| format!("blk.{layer}.{part}");
        let norm = |part: &str, n: u32| vector(name(part), n, Fill::Norm);
        let matrix = |part: &str, role, sizes| self.matrix(name(part), role, layer, sizes);
        let mut all = vec![
            norm("attn_norm.weight", embd),
            matrix("attn_k.weight", TensorRole::AttnQk, [embd, kv]),
            matrix("attn_q.weight", TensorRole::AttnQk, [embd, q]),
            matrix("attn_v.weight", TensorRole::AttnV, [embd, kv]),
            matrix("attn_output.weight", TensorRole::AttnOutput, [q, embd]),
        ];
        let head_norms = || {
            [
                norm("attn_k_norm.weight", dim),
                norm("attn_q_norm.weight", dim),
            ]
        };
        match shape.architecture {
            SynthArchitecture::Llama => {}
            SynthArchitecture::Qwen3 | SynthArchitecture::Qwen3moe => all.extend(head_norms()),
            SynthArchitecture::Gemma3 => {
                all.extend(head_norms());
                all.push(norm("post_attention_norm.weight", embd));
            }
            SynthArchitecture::GptOss => {
                let bias = |part: &str, n: u32| vector(name(part), n, Fill::Bias);
                all.extend([
                    norm("post_attention_norm.weight", embd),
                    bias("attn_k.bias", kv),
                    bias("attn_q.bias", q),
                    bias("attn_v.bias", kv),
                    bias("attn_output.bias", embd),
                    bias("attn_sinks.weight", shape.n_head),
                ]);
            }
        }
        all
    }

    fn feed_forward(&self, layer: u32) -> Vec<PlannedTensor> {
        let SynthShape { n_embd, n_ff, .. } = *self.shape;
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let up = |part| self.matrix(name(part), TensorRole::FfnUpGate, layer, [n_embd, n_ff]);
        let mut all = vec![
            self.matrix(name("ffn_down"), TensorRole::FfnDown, layer, [n_ff, n_embd]),
            up("ffn_gate"),
            vector(name("ffn_norm"), n_embd, Fill::Norm),
            up("ffn_up"),
        ];
        if self.shape.architecture == SynthArchitecture::Gemma3 {
            all.push(vector(name("post_ffw_norm"), n_embd, Fill::Norm));
        }
        all
    }

    fn experts(&self, layer: u32, experts: &SynthExperts) -> Vec<PlannedTensor> {
        let embd = self.shape.n_embd;
        let (n, ff) = (experts.n_expert, experts.n_ff);
        let name = |part: &str| format!("blk.{layer}.{part}");
        let of_all = |part: &str, role, [n_in, n_rows]: [u32; 2]| PlannedTensor {
            ty: self.mixture.expert_type(role, layer, n_in.into()),
            n_matrices: n.into(),
            ..self.matrix(name(part), role, layer, [n_in, n_rows])
        };
        let mut all = vec![
            of_all("ffn_down_exps.weight", TensorRole::FfnDown, [ff, embd]),
            of_all("ffn_gate_exps.weight", TensorRole::FfnUpGate, [embd, ff]),
            of_all("ffn_up_exps.weight", TensorRole::FfnUpGate, [embd, ff]),
            // The quantiser leaves what chooses the experts alone.
            PlannedTensor {
                n_rows: n.into(),
                ..vector(name("ffn_gate_inp.weight"), embd, Fill::Matrix)
            },
        ];
        if self.shape.architecture == SynthArchitecture::GptOss {
            let bias = |part: &str, n_in: u32, n_rows: u32| PlannedTensor {
                n_rows: n_rows.into(),
                ..vector(name(part), n_in, Fill::Bias)
            };
            all.extend([
                bias("ffn_down_exps.bias", embd, n),
                bias("ffn_gate_exps.bias", ff, n),
                bias("ffn_gate_inp.bias", n, 1),
                bias("ffn_up_exps.bias", ff, n),
            ]);
        } else {
            all.push(vector(name("ffn_norm.weight"), embd, Fill::Norm));
        }
        all
    }
}
