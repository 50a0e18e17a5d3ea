//! llama.cpp's own samplers, chained in llama.cpp's order.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;

use crate::plan::serving::Sampling;

/// What makes the tokens that end an answer impossible.
#[derive(Debug)]
pub struct EndMask {
    n_vocab: i32,
    biases: Vec<LlamaLogitBias>,
}

impl EndMask {
    pub fn of(model: &LlamaModel) -> Self {
        let vocab = model.vocab();
        Self {
            n_vocab: vocab.n_tokens(),
            biases: vocab
                .tokens()
                .filter(|t| vocab.is_eog(*t))
                .map(|t| LlamaLogitBias::new(t, f32::NEG_INFINITY))
                .collect(),
        }
    }
}

/// A chain that ends in a choice. Samplers that would change nothing are left out, as they are in llama.cpp's own.
pub fn chain(sampling: &Sampling, mask: Option<&EndMask>) -> LlamaSampler {
    let mut samplers = Vec::with_capacity(6);
    if let Some(mask) = mask.filter(|m| !m.biases.is_empty()) {
        samplers.push(LlamaSampler::logit_bias(mask.n_vocab, &mask.biases));
    }
    if sampling.is_greedy() {
        samplers.push(LlamaSampler::greedy());
        return LlamaSampler::chain(samplers, true);
    }
    if sampling.top_k > 0 {
        let k = i32::try_from(sampling.top_k).unwrap_or(i32::MAX);
        samplers.push(LlamaSampler::top_k(k));
    }
    // At least one candidate is left, as in llama.cpp's own default chain.
    if sampling.top_p < 1.0 {
        samplers.push(LlamaSampler::top_p(sampling.top_p, 1));
    }
    if sampling.min_p > 0.0 {
        samplers.push(LlamaSampler::min_p(sampling.min_p, 1));
    }
    samplers.push(LlamaSampler::temp(sampling.temperature));
    samplers.push(LlamaSampler::dist(fixed(sampling.seed)));
    LlamaSampler::chain(samplers, true)
}

/// llama.cpp takes one value (`LLAMA_DEFAULT_SEED`) as the wish for a random seed; a job must be repeatable.
fn fixed(seed: u32) -> u32 {
    if seed == u32::MAX { 0 } else { seed }
}
