//! Shapes that ggml's operations are defined for. ggml aborts on others, so they are refused before a graph is built.

use crate::engine::EngineError;
use crate::model::{tensor_type_of, type_block_elements};
use crate::roofline::kernel::{Kernel, KernelLoad};

/// The longest dimension: operations take some as C's `int`.
const LONGEST: u64 = i32::MAX as u64;

/// Whether the kernel can be built at all.
pub(super) fn check_kernel(kernel: &Kernel) -> Result<(), EngineError> {
    match kernel {
        Kernel::MatMul {
            weights,
            n_in,
            n_out,
        } => matrix(weights, *n_in, &[*n_out]),
        Kernel::Experts {
            weights,
            n_in,
            n_out,
            n_expert,
            n_used,
        } => {
            matrix(weights, *n_in, &[*n_out, *n_expert, *n_used])?;
            ensure(n_used <= n_expert, || {
                format!("{n_used} of {n_expert} experts")
            })
        }
        Kernel::Attention {
            n_head,
            n_head_kv,
            head_dim_k,
            head_dim_v,
            type_k,
            type_v,
        } => {
            heads(*n_head, *n_head_kv)?;
            cache("K", type_k, *head_dim_k)?;
            cache("V", type_v, *head_dim_v)
        }
        Kernel::Glue {
            n_embd,
            n_ff,
            n_head,
            n_head_kv,
            head_dim,
        } => {
            lengths(&[*n_embd, *n_ff, *head_dim, *n_head, *n_head_kv].map(u64::from))?;
            ensure(head_dim.is_multiple_of(2), || {
                format!("heads of {head_dim} elements, which rotary positions take in pairs")
            })
        }
        Kernel::Logits { n_vocab } => lengths(&[u64::from(*n_vocab)]),
    }
}

/// Whether the kernel can be given so much at once.
pub(super) fn check_load(load: KernelLoad) -> Result<(), EngineError> {
    let n = u64::from(load.n_seq) * u64::from(load.n_tokens);
    let seen = u64::from(load.n_past) + u64::from(load.n_tokens);
    lengths(&[n, seen])
}

fn matrix(weights: &str, n_in: u64, others: &[u64]) -> Result<(), EngineError> {
    lengths(&[n_in])?;
    lengths(others)?;
    if tensor_type_of(weights).is_none() {
        return Err(EngineError::Unsupported(format!(
            "no weights of type {weights} can be made here"
        )));
    }
    let block = type_block_elements(weights).unwrap_or(1);
    ensure(n_in.is_multiple_of(block), || {
        format!("rows of {n_in} elements in {weights}, whose blocks have {block}")
    })
}

fn heads(n_head: u32, n_head_kv: u32) -> Result<(), EngineError> {
    lengths(&[u64::from(n_head), u64::from(n_head_kv)])?;
    ensure(n_head.is_multiple_of(n_head_kv), || {
        format!("{n_head} query heads for {n_head_kv} KV heads, which do not divide them")
    })
}

fn cache(which: &str, name: &str, head_dim: u32) -> Result<(), EngineError> {
    lengths(&[u64::from(head_dim)])?;
    let Some(block) = type_block_elements(name) else {
        return Err(EngineError::Unsupported(format!(
            "no KV cache of type {name} can be made here"
        )));
    };
    ensure(u64::from(head_dim).is_multiple_of(block), || {
        format!(
            "{which} cache of type {name}: its block of {block} does not divide heads of {head_dim}"
        )
    })
}

fn lengths(all: &[u64]) -> Result<(), EngineError> {
    match all.iter().find(|n| !(1..=LONGEST).contains(*n)) {
        None => Ok(()),
        Some(n) => Err(unsupported(format!("a dimension of {n}"))),
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), EngineError> {
    if holds {
        Ok(())
    } else {
        Err(unsupported(what()))
    }
}

fn unsupported(what: String) -> EngineError {
    EngineError::Unsupported(format!("the engine has no kernel for {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::kernel::fixture::{self, attention, load};

    fn refused(kernel: &Kernel) -> String {
        check_kernel(kernel).expect_err("impossible").to_string()
    }

    #[test]
    fn shapes_on_which_the_engine_aborts_are_refused_by_name() {
        assert_eq!(check_kernel(&attention([9, 3, 64], "F16")), Ok(()));
        assert!(refused(&attention([2, 3, 64], "F16")).contains("2 query heads for 3 KV heads"));
        assert!(refused(&attention([2, 0, 64], "F16")).contains("dimension of 0"));
        assert!(refused(&attention([2, 1, u32::MAX], "F16")).contains("dimension of 4294967295"));
        assert!(
            refused(&attention([4, 4, 40], "Q8_0"))
                .contains("block of 32 does not divide heads of 40")
        );
        assert!(refused(&attention([4, 4, 64], "nonsense")).contains("nonsense"));
        let glue = |head_dim| fixture::glue([3, 128, 2, 1, head_dim]);
        assert_eq!(check_kernel(&glue(32)), Ok(()));
        assert!(refused(&glue(1)).contains("heads of 1 elements"));
        assert!(refused(&glue(0)).contains("dimension of 0"));
        let experts = |n_used| fixture::experts([64, 64], 4, n_used);
        assert_eq!(check_kernel(&experts(4)), Ok(()));
        assert!(refused(&experts(5)).contains("5 of 4 experts"));
        let narrow = fixture::matmul("Q4_K", 100, 8);
        assert!(refused(&narrow).contains("rows of 100 elements in Q4_K, whose blocks have 256"));
    }

    #[test]
    fn loads_are_such_as_the_engine_can_count() {
        assert_eq!(check_load(load(128, 1, 4095)), Ok(()));
        for wrong in [
            load(0, 1, 0),
            load(1, 0, 0),
            load(u32::MAX, u32::MAX, 0),
            load(1, 1, u32::MAX),
        ] {
            assert!(check_load(wrong).is_err(), "{wrong:?}");
        }
    }
}
