//! Whether the numbers of a header fit each other and the tensor table.
//!
//! The engine checks them when it loads a file. Plans and forecasts are made of the header alone: absurd numbers would
//! become absurd amounts of memory and time there, and shapes that the engine aborts on.

use std::path::Path;

use super::ModelError;
use super::gguf::{Gguf, TensorInfo};
use super::sequence_memory::per_layer;

/// Most experts of a layer that the engine takes (`LLAMA_MAX_EXPERTS` is 1024).
const MOST_EXPERTS: u64 = 4096;

/// How many times as wide as the widest matrix something may be: gates that are half as wide or twice as wide as
/// their key says exist.
const TIMES_WIDEST: u64 = 2;

/// Refuses a header whose numbers contradict its tensors.
pub(super) fn check(
    path: &Path,
    gguf: &Gguf,
    arch: &str,
    tensors: &[TensorInfo],
) -> Result<(), ModelError> {
    let header = HeaderCheck {
        gguf,
        arch,
        widest: widest(tensors),
    };
    let checked = header
        .embedding(tensors)
        .and_then(|()| header.heads(tensors.len() as u64))
        .and_then(|()| header.widths())
        .and_then(|()| header.experts());
    checked.map_err(|detail| ModelError::Malformed {
        path: path.to_owned(),
        detail,
    })
}

struct HeaderCheck<'a> {
    gguf: &'a Gguf,
    arch: &'a str,
    widest: Option<u64>,
}

/// The longest dimension of a matrix that is no table of the vocabulary.
fn widest(tensors: &[TensorInfo]) -> Option<u64> {
    let is_matrix =
        |t: &&TensorInfo| t.ne[1] > 1 && t.name != "token_embd.weight" && t.name != "output.weight";
    let dimensions = tensors
        .iter()
        .filter(is_matrix)
        .map(|t| t.ne[0].max(t.ne[1]));
    dimensions.max()
}

impl HeaderCheck<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn uint(&self, name: &str) -> Option<u64> {
        self.gguf.uint(&self.key(name))
    }

    fn uints(&self, name: &str) -> Option<Vec<u64>> {
        self.gguf.uints(&self.key(name))
    }

    /// Every architecture of the engine makes the table `{n_embd, n_vocab}`.
    fn embedding(&self, tensors: &[TensorInfo]) -> Result<(), String> {
        let name = "embedding_length";
        let Some(n_embd) = self.uint(name) else {
            return Ok(());
        };
        match tensors.iter().find(|t| t.name == "token_embd.weight") {
            Some(table) if table.ne[0] != n_embd => Err(format!(
                "`{}` is {n_embd}, but rows of token_embd.weight have {}",
                self.key(name),
                table.ne[0]
            )),
            Some(_) => Ok(()),
            None => self.fits(name, n_embd),
        }
    }

    /// Query heads share KV heads evenly, in every layer.
    fn heads(&self, most_layers: u64) -> Result<(), String> {
        let heads = self.uints("attention.head_count");
        let shared = self.uints("attention.head_count_kv");
        let (Some(heads), Some(shared)) = (heads, shared) else {
            return Ok(());
        };
        let n_layer = self.uint("block_count").unwrap_or(0).min(most_layers);
        for layer in 0..n_layer {
            let (h, g) = (per_layer(&heads, layer), per_layer(&shared, layer));
            if h > 0 && g > 0 && !h.is_multiple_of(g) {
                return Err(format!(
                    "`{}` is {g}, which does not divide the {h} of `{}`",
                    self.key("attention.head_count_kv"),
                    self.key("attention.head_count")
                ));
            }
        }
        Ok(())
    }

    fn widths(&self) -> Result<(), String> {
        let most = |name: &str| self.uints(name).and_then(|all| all.into_iter().max());
        if let Some(n_ff) = most("feed_forward_length") {
            self.fits("feed_forward_length", n_ff)?;
        }
        // Multi-head latent attention caches one vector for all heads.
        let is_latent = self.uint("attention.key_length_mla").is_some();
        let n_head = most("attention.head_count").unwrap_or(1).max(1);
        let n_head_kv = most("attention.head_count_kv").unwrap_or(1).max(1);
        let copies = if is_latent {
            n_head_kv
        } else {
            n_head.max(n_head_kv)
        };
        for name in [
            "attention.key_length",
            "attention.value_length",
            "attention.key_length_swa",
            "attention.value_length_swa",
        ] {
            if let Some(length) = self.uint(name) {
                self.fits(name, length.saturating_mul(copies))
                    .map_err(|e| {
                        format!("{e} (`{}` {length} times {copies} heads)", self.key(name))
                    })?;
            }
        }
        self.fits("attention.head_count", n_head)
    }

    /// The engine's own assertions on them.
    fn experts(&self) -> Result<(), String> {
        let all = self.uint("expert_count").unwrap_or(0);
        let used = self.uints("expert_used_count");
        let used = used.and_then(|n| n.into_iter().max()).unwrap_or(0);
        if all > MOST_EXPERTS {
            return Err(format!(
                "`{}` is {all}, the engine takes 1024",
                self.key("expert_count")
            ));
        }
        if all > 1 && used > all {
            return Err(format!(
                "`{}` is {used}, but there are {all} experts",
                self.key("expert_used_count")
            ));
        }
        Ok(())
    }

    fn fits(&self, name: &str, width: u64) -> Result<(), String> {
        match self.widest {
            Some(widest) if width > widest.saturating_mul(TIMES_WIDEST) => Err(format!(
                "`{}` asks for {width} elements, but no matrix is wider than {widest}",
                self.key(name)
            )),
            _ => Ok(()),
        }
    }
}
