use super::*;
use crate::plan::{KvSizing, KvType, SplitMode};

const HOST: Host = Host {
    n_threads: 2,
    n_gpu_layers: 0,
};

fn expand(axes: &Axes) -> Result<Vec<Case>, PlanError> {
    cases(axes, &["m".into()], &[], HOST)
}

#[test]
fn defaults_give_one_cell_with_a_llama_bench_like_name() {
    let cases = expand(&Axes::default()).expect("defaults are valid");
    assert_eq!(cases.len(), 1);
    assert_eq!(cases[0].id().as_str(), "m/pp128/tg64/b1/d0/t2");
}

#[test]
fn the_product_has_batch_innermost() {
    let axes = Axes {
        n_seq: Some(vec![1, 8]),
        n_gen: Some(vec![16, 64]),
        ..Axes::default()
    };
    let ids: Vec<_> = expand(&axes)
        .expect("valid")
        .iter()
        .map(|c| c.id().to_string())
        .collect();
    assert_eq!(
        ids,
        [
            "m/pp128/tg16/b1/d0/t2",
            "m/pp128/tg16/b8/d0/t2",
            "m/pp128/tg64/b1/d0/t2",
            "m/pp128/tg64/b8/d0/t2",
        ]
    );
}

#[test]
fn every_swept_axis_shows_in_the_name() {
    let axes = Axes {
        n_ctx: Some(vec![4096]),
        kv: Some(vec![KvSizing::Fit]),
        n_batch: Some(vec![512]),
        n_ubatch: Some(vec![256]),
        type_k: Some(vec![KvType::Q8_0]),
        type_v: Some(vec![KvType::Bf16]),
        flash_attn: Some(vec![FlashAttn::On]),
        n_gpu_layers: Some(vec![99]),
        split_mode: Some(vec![SplitMode::Row]),
        main_gpu: Some(vec![1]),
        rpc: Some(vec!["a:1,b:2".parse().expect("two servers")]),
        device: Some(vec!["RPC0,RPC1".parse().expect("two devices")]),
        tensor_split: Some(vec!["3,1".parse().expect("two shares")]),
        sample: Some(vec![false]),
        ..Axes::default()
    };
    assert_eq!(
        expand(&axes).expect("valid")[0].id().as_str(),
        "m/pp128/tg64/b1/d0/t2/c4096/kv-fit/nb512/ub256/ctk-q8_0/ctv-bf16/fa-on/ngl99/sm-row/mg1/rpc-a:1+b:2/dev-RPC0+RPC1/ts-3+1/nosample"
    );
}

#[test]
fn the_cache_is_sized_per_sequence() {
    let axes = Axes {
        n_seq: Some(vec![32]),
        n_ctx: Some(vec![1000]),
        n_prompt: Some(vec![200]),
        n_gen: Some(vec![57]),
        kv: Some(vec![KvSizing::Full, KvSizing::Fit]),
        ..Axes::default()
    };
    let c = expand(&axes).expect("valid");
    assert_eq!(c[0].n_ctx_seq(), 1024);
    assert_eq!(c[0].n_ctx_total(), 32 * 1024);
    assert_eq!(c[1].n_ctx_seq(), 512, "257 cells round up to 512");
}

#[test]
fn impossible_cells_are_refused_with_the_reason() {
    let cases: Vec<(Axes, &str)> = vec![
        (
            Axes {
                n_seq: Some(vec![0]),
                ..Axes::default()
            },
            "batch: 0 sequences",
        ),
        (
            Axes {
                n_seq: Some(vec![257]),
                ..Axes::default()
            },
            "1 to 256",
        ),
        (
            Axes {
                n_gen: Some(vec![0]),
                ..Axes::default()
            },
            "n_gen: 0 is too small",
        ),
        (
            Axes {
                n_prompt: Some(vec![2000]),
                ..Axes::default()
            },
            "2064 tokens do not fit n_ctx 2048",
        ),
        (
            Axes {
                n_prompt: Some(vec![u32::MAX]),
                n_gen: Some(vec![u32::MAX]),
                ..Axes::default()
            },
            "do not fit",
        ),
        (
            Axes {
                n_batch: Some(vec![64]),
                ..Axes::default()
            },
            "n_ubatch 512 is larger",
        ),
        (
            Axes {
                n_batch: Some(vec![64]),
                n_ubatch: Some(vec![64]),
                n_seq: Some(vec![128]),
                ..Axes::default()
            },
            "needs n_batch >= 128",
        ),
        (
            Axes {
                type_v: Some(vec![KvType::Q8_0]),
                flash_attn: Some(vec![FlashAttn::Off]),
                ..Axes::default()
            },
            "needs flash attention",
        ),
        (
            Axes {
                n_ctx: Some(vec![u32::MAX - 300]),
                ..Axes::default()
            },
            "more cells than",
        ),
        (
            Axes {
                n_ctx: Some(vec![u32::MAX]),
                ..Axes::default()
            },
            "more cells than",
        ),
        (
            Axes {
                n_batch: Some(vec![u32::MAX]),
                ..Axes::default()
            },
            "n_batch: 4294967295",
        ),
        (
            Axes {
                n_prompt: Some((1..1000).collect()),
                n_gen: Some((1..1000).collect()),
                ..Axes::default()
            },
            "998001 combinations",
        ),
    ];
    for (axes, needle) in cases {
        let e = expand(&axes).expect_err(needle).to_string();
        assert!(e.contains(needle), "{e}");
    }
}

#[test]
fn exclusions_need_every_key_to_match() {
    let axes = Axes {
        n_seq: Some(vec![1, 128]),
        n_gen: Some(vec![16, 256]),
        ..Axes::default()
    };
    let x = Exclude {
        axes: Axes {
            n_seq: Some(vec![128]),
            n_gen: Some(vec![256]),
            ..Axes::default()
        },
        ..Exclude::default()
    };
    let left = cases(&axes, &["m".into()], std::slice::from_ref(&x), HOST).expect("three left");
    assert_eq!(left.len(), 3);
    let all = Exclude::default();
    let e = cases(&axes, &["m".into()], &[all], HOST).expect_err("nothing left");
    assert!(e.to_string().contains("no cell is left"));
}

#[test]
fn flags_override_the_file_axis_by_axis() {
    let file = Axes {
        n_seq: Some(vec![1]),
        n_gen: Some(vec![16]),
        ..Axes::default()
    };
    let flags = Axes {
        n_seq: Some(vec![32]),
        ..Axes::default()
    };
    let both = file.overridden_by(flags);
    assert_eq!(both.n_seq, Some(vec![32]));
    assert_eq!(both.n_gen, Some(vec![16]));
}
