use std::path::Path;

use super::*;
use crate::model::synth::SynthSpec;
use crate::model::{FileType, SlidingLayers};
use crate::plan::expand::{Axes, Host, cases};
use crate::roofline::ceiling::Timing;

const RATES: Rates = Rates {
    read_bytes_per_s: 10e9,
    flops_per_s: 100e9,
    n_threads: 2,
    gpu: None,
    ceilings: Vec::new(),
};

fn model() -> ModelFacts {
    let q8 = FileType::parse("q8_0").expect("known");
    SynthSpec::preset("smollm2-135m", q8)
        .and_then(|spec| spec.facts(Path::new("x.gguf")))
        .expect("a preset")
}

fn case(axes: Axes) -> Case {
    let host = Host {
        n_threads: 2,
        n_gpu_layers: 0,
    };
    let mut cases = cases(&axes, &["m".into()], &[], host).expect("valid");
    cases.remove(0)
}

/// Bytes of a token in one layer's F16 caches: three KV heads of 64.
const LAYER: u64 = 2 * 2 * 192;

/// 25 of 30 layers look back 512 tokens.
fn windowed() -> ModelFacts {
    ModelFacts {
        sliding: Some(SlidingLayers {
            n_window: 512,
            n_layer: 25,
            k_elements_per_token: 25 * 192,
            v_elements_per_token: 25 * 192,
        }),
        ..model()
    }
}

#[test]
fn layers_with_a_window_keep_it_and_what_is_computed_at_once() {
    let model = windowed();
    let long = |swa_full| Axes {
        n_seq: Some(vec![4]),
        n_ctx: Some(vec![8192]),
        swa_full: Some(vec![swa_full]),
        ..Axes::default()
    };
    // 512 + 512 cells, a multiple of 256.
    let price = memory(&case(long(false)), &model);
    assert_eq!(price.kv_bytes, 4 * LAYER * (5 * 8192 + 25 * 1024));
    let price = memory(&case(long(true)), &model);
    assert_eq!(price.kv_bytes, 4 * LAYER * 30 * 8192);
    // Never more than the context, and a smaller physical batch needs less.
    let short = Axes {
        n_ctx: Some(vec![768]),
        ..Axes::default()
    };
    assert_eq!(memory(&case(short), &model).kv_bytes, LAYER * 30 * 768);
    let small = Axes {
        n_ubatch: Some(vec![100]),
        ..Axes::default()
    };
    let kept = LAYER * (5 * 2048 + 25 * 768);
    assert_eq!(memory(&case(small), &model).kv_bytes, kept);
}

#[test]
fn every_sequence_has_a_recurrent_state_of_its_own() {
    let model = ModelFacts {
        state_elements_per_seq: 1 << 20,
        k_elements_per_token: 0,
        v_elements_per_token: 0,
        ..model()
    };
    for n_seq in [1, 64] {
        let axes = Axes {
            n_seq: Some(vec![n_seq]),
            ..Axes::default()
        };
        let price = memory(&case(axes), &model);
        assert_eq!(price.state_bytes, u64::from(n_seq) << 22);
        assert_eq!(price.kv_bytes, 0);
        let parts = price.weights_bytes + price.state_bytes + price.compute_bytes;
        assert_eq!(price.total_bytes(), parts);
    }
}

#[test]
fn a_price_beyond_all_bounds_is_the_largest_and_not_a_small_one() {
    let model = ModelFacts {
        k_elements_per_token: u64::MAX,
        v_elements_per_token: u64::MAX,
        state_elements_per_seq: u64::MAX,
        n_ff: Some(u32::MAX),
        n_embd: u32::MAX,
        n_vocab: u32::MAX,
        n_head: Some(u32::MAX),
        ..model()
    };
    let huge = case(Axes {
        n_seq: Some(vec![256]),
        n_ctx: Some(vec![1 << 20]),
        n_gen: Some(vec![1 << 19]),
        flash_attn: Some(vec![FlashAttn::Off]),
        ..Axes::default()
    });
    let price = memory(&huge, &model);
    assert_eq!((price.kv_bytes, price.state_bytes), (u64::MAX, u64::MAX));
    assert_eq!(price.total_bytes(), u64::MAX);
    let offloaded = Case {
        n_gpu_layers: 99,
        ..huge.clone()
    };
    assert!(place(&offloaded, &model).device.total_bytes() > 1 << 60);
    let nothing_known = Rates {
        read_bytes_per_s: 0.0,
        flops_per_s: 0.0,
        n_threads: 0,
        gpu: None,
        ceilings: Vec::new(),
    };
    for rates in [RATES, nothing_known] {
        let time = time(&huge, &model, &rates);
        assert!(time.visit(u32::MAX) >= time.warm_up());
    }
}

#[test]
fn a_repetition_that_cannot_go_back_computes_its_depth_again() {
    let deep = |n_prompt: u32| {
        case(Axes {
            n_depth: Some(vec![4096]),
            n_prompt: Some(vec![n_prompt]),
            n_ctx: Some(vec![8192]),
            ..Axes::default()
        })
    };
    let returns = |n_prompt, model: &ModelFacts| deep(n_prompt).can_return_to_depth(model);
    // 1024 cells hold a window of 512, and 512 tokens after the depth.
    assert!(returns(448, &windowed()) && !returns(449, &windowed()));
    assert!(returns(2000, &model()));
    let full = Case {
        swa_full: true,
        ..deep(2000)
    };
    assert!(full.can_return_to_depth(&windowed()));
    let recurrent = ModelFacts {
        state_elements_per_seq: 1,
        ..model()
    };
    assert!(!returns(1, &recurrent));
    let of = |model: &ModelFacts| time(&deep(1), model, &RATES);
    let again = of(&recurrent).repetition() - of(&model()).repetition();
    assert!(again > of(&model()).repetition(), "4096 tokens of depth");
}

#[test]
fn tensors_that_decoding_does_not_use_are_not_loaded() {
    let mut model = model();
    let all = memory(&case(Axes::default()), &model).weights_bytes;
    model.unused = vec![crate::model::UnusedTensors {
        kind: crate::model::unused::UnusedKind::Prediction,
        n_tensors: 3,
        bytes: 1000,
    }];
    let used = memory(&case(Axes::default()), &model).weights_bytes;
    assert_eq!(all - used, 1000);
}

#[test]
fn experts_that_a_token_uses_compute_side_by_side() {
    let dense = memory(&case(Axes::default()), &model()).compute_bytes;
    let mixture = ModelFacts {
        n_expert: Some(64),
        n_expert_used: Some(4),
        n_ff_expert: Some(1536),
        ..model()
    };
    // 512 tokens of three times as many experts more: their feed-forward widths, and their results.
    let more = 512 * 4 * (3 * 3 * 1536 + 3 * 576);
    assert_eq!(
        memory(&case(Axes::default()), &mixture).compute_bytes,
        dense + more
    );
    // The width of a layer without experts does not count.
    let narrow = ModelFacts {
        n_ff_expert: Some(384),
        ..mixture
    };
    assert_eq!(narrow.active_n_ff(), 1536);
}

#[test]
fn kernels_that_were_timed_tell_more_than_rates() {
    let model = model();
    let case = case(Axes::default());
    let geometry = case.geometry();
    let decode = work::decode(&model, &geometry, case.n_seq, case.mid_past());
    let prefill = work::prefill(&model, &geometry, case.n_seq, case.n_prompt, 0);
    let mut ceilings = Ceilings {
        version: crate::roofline::ceiling::CEILINGS_VERSION,
        machine: "m".into(),
        engine: "e".into(),
        device: "cpu".into(),
        n_threads: case.n_threads,
        read: None,
        entries: Vec::new(),
    };
    let items: Vec<Item> = decode.iter().chain(&prefill).cloned().collect();
    // Every kernel takes 1 ms, whatever it is.
    for point in ceilings.nodes(&items) {
        let timing = Timing {
            ns: 1e6,
            low_ns: 1e6,
            high_ns: 1e6,
            best_ns: 1e6,
            n_rounds: 1,
            n_passes: 1,
            measured_at_s: 0,
            disturbed: false,
        };
        ceilings.insert(point, timing);
    }
    let kernels = |items: &[Item]| items.iter().map(|item| item.count).sum::<f64>();
    let with = |ceilings: Vec<Ceilings>| Rates { ceilings, ..RATES };
    let known = with(vec![ceilings.clone()]);
    assert!(is_timed(&case, &model, &known) && !is_timed(&case, &model, &RATES));
    let timed = time(&case, &model, &known).repetition().as_secs_f64();
    let expected = kernels(&prefill) * 1e-3 + kernels(&decode) * 1e-3 * f64::from(case.n_gen);
    assert!((timed / expected - 1.0).abs() < 1e-3, "{timed} {expected}");
    // Of other threads, of a GPU, and of a model with other kernels they say nothing.
    let rough = time(&case, &model, &RATES).repetition();
    for (case, ceilings) in [
        (
            case.clone(),
            Ceilings {
                n_threads: 1,
                ..ceilings.clone()
            },
        ),
        (
            Case {
                n_gpu_layers: 99,
                ..case.clone()
            },
            ceilings.clone(),
        ),
    ] {
        let known = with(vec![ceilings]);
        assert!(!is_timed(&case, &model, &known));
        assert_eq!(time(&case, &model, &known).repetition(), rough);
    }
}
