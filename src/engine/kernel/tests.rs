use super::*;
use crate::roofline::kernel::KernelLoad;
use crate::roofline::kernel::fixture::{self, load};

fn backend() -> KernelBackend {
    KernelBackend::open(KernelDevice::Cpu, 1).expect("every build has a CPU backend")
}

fn matmul(weights: &str) -> Kernel {
    fixture::matmul(weights, 256, 64)
}

fn attention(type_kv: &str) -> Kernel {
    fixture::attention([4, 2, 64], type_kv)
}

/// Runs a kernel and says how many times it stands in its graph.
fn run(kernel: &Kernel, bytes: u64, load: KernelLoad) -> Result<u32, EngineError> {
    let backend = backend();
    let stock = backend.weights(kernel, bytes)?;
    let mut graph = stock.graph(load, bytes)?;
    graph.pass()?;
    graph.pass()?;
    Ok(graph.n_ops())
}

#[test]
fn matrices_of_every_kind_of_type_are_multiplied() {
    for weights in [
        "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "IQ4_NL", "IQ2_XXS",
    ] {
        for n in [1, 3, 33] {
            let n_ops = run(&matmul(weights), 1 << 18, KernelLoad::tokens(n));
            assert!(
                n_ops.as_ref().is_ok_and(|n| *n > 1),
                "{weights} {n}: {n_ops:?}"
            );
        }
    }
}

#[test]
fn a_stock_holds_what_was_asked_for_and_at_least_one_matrix() {
    let backend = backend();
    let each = 256 * 64 * 2;
    let stock = backend
        .weights(&matmul("F16"), 10 * each + 5)
        .expect("fits");
    let n_ops = |bytes| {
        stock
            .graph(KernelLoad::tokens(1), bytes)
            .expect("fits")
            .n_ops()
    };
    assert_eq!((n_ops(u64::MAX), n_ops(3 * each), n_ops(0)), (10, 3, 1));
    // 128 in a part; the rest that makes no part is not used.
    let many = backend.weights(&matmul("F16"), 300 * each).expect("fits");
    let mut graph = many.graph(KernelLoad::tokens(1), u64::MAX).expect("fits");
    assert_eq!(graph.n_ops(), 128);
    for _ in 0..5 {
        graph.pass().expect("computes");
    }
    let least = backend.weights(&matmul("F16"), 0).expect("fits");
    let graph = least.graph(KernelLoad::tokens(1), u64::MAX).expect("fits");
    assert_eq!(graph.n_ops(), 1);
}

#[test]
fn experts_attention_small_operations_and_logits_run() {
    let experts = fixture::experts([128, 64], 8, 2);
    for n in [1, 5, 40] {
        assert!(run(&experts, 1 << 18, KernelLoad::tokens(n)).is_ok_and(|n| n > 1));
    }
    for (n_seq, n_tokens, n_past) in [
        (1, 1, 0),
        (1, 1, 700),
        (3, 1, 255),
        (2, 32, 10),
        (1, 100, 0),
    ] {
        let n_ops = run(&attention("F16"), 1 << 22, load(n_seq, n_tokens, n_past));
        assert!(
            n_ops.as_ref().is_ok_and(|n| *n > 1),
            "{n_seq} {n_tokens}: {n_ops:?}"
        );
    }
    let mut mixed = attention("Q8_0");
    if let Kernel::Attention { type_v, .. } = &mut mixed {
        *type_v = "Q4_0".into();
    }
    assert!(run(&mixed, 1 << 20, load(2, 1, 10)).is_ok());
    let glue = fixture::glue([256, 512, 4, 2, 64]);
    for n in [1, 7, 300] {
        assert_eq!(run(&glue, 0, KernelLoad::tokens(n)), Ok(16));
    }
    assert_eq!(
        run(&Kernel::Logits { n_vocab: 1000 }, 0, KernelLoad::tokens(3)),
        Ok(1)
    );
}

#[test]
fn what_cannot_be_made_or_computed_is_an_error_with_its_name() {
    let says = |kernel: &Kernel, what: &str| {
        let e = run(kernel, 1 << 16, KernelLoad::tokens(1)).expect_err(what);
        assert!(matches!(&e, EngineError::Unsupported(_)), "{e:?}");
        assert!(e.to_string().contains(what), "{e}");
    };
    says(&matmul("Q9_9"), "Q9_9");
    // Q4_K has blocks of 256, which 100 is no multiple of.
    let narrow = fixture::matmul("Q4_K", 100, 8);
    says(&narrow, "Q4_K");
    says(&attention("nonsense"), "nonsense");
}

#[test]
fn a_gpu_that_is_not_there_is_said_so() {
    if let Err(e) = KernelBackend::open(KernelDevice::Gpu, 1) {
        assert!(e.to_string().contains("no GPU"), "{e}");
    }
}
