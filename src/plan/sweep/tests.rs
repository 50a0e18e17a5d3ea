use super::*;
use crate::plan::{FlashAttn, KvSizing, KvType};

#[test]
fn a_sweep_spans_its_axes() {
    let s = parse(
        r#"
        model = ["a.gguf", "synth:tiny:f16"]
        batch = [1, "8-32*2"]
        n_gen = "16,64"
        num_thread = 4
        kv = "fit"
        type_k = ["f16", "q8_0"]
        flash_attn = true
        sample = false
        [[exclude]]
        model = "a*"
        batch = 32
        [protocol]
        repetitions = 5
        budget = "2m30s"
        "#,
        "x.toml",
        "x",
    )
    .expect("valid");
    assert_eq!(s.name, "x");
    assert_eq!(
        s.axes.model.as_deref(),
        Some(&["a.gguf".to_owned(), "synth:tiny:f16".to_owned()][..])
    );
    assert_eq!(s.axes.n_seq, Some(vec![1, 8, 16, 32]));
    assert_eq!(s.axes.n_gen, Some(vec![16, 64]));
    assert_eq!(s.axes.n_threads, Some(vec![4]));
    assert_eq!(s.axes.kv, Some(vec![KvSizing::Fit]));
    assert_eq!(s.axes.type_k, Some(vec![KvType::F16, KvType::Q8_0]));
    assert_eq!(s.axes.flash_attn, Some(vec![FlashAttn::On]));
    assert_eq!(s.axes.sample, Some(vec![false]));
    assert_eq!(s.exclude[0].axes.n_seq, Some(vec![32]));
    let p = s.protocol.resolve().expect("valid");
    assert_eq!((p.min_repetitions, p.max_repetitions), (5, 5));
    assert_eq!(p.budget_ns, Some(150_000_000_000));
}

#[test]
fn further_cells_and_requests_stand_in_tables_of_their_own() {
    let text = "batch = [1, 8]\n[[also]]\nbatch = 1\nn_gen = [16, 64]\n[requests]\nconcurrency = [1, 8]\ndifficulty = true";
    let s = parse(text, "x.toml", "x").expect("valid");
    assert_eq!(s.also.len(), 1);
    assert_eq!(
        (s.also[0].n_seq.clone(), s.also[0].n_gen.clone()),
        (Some(vec![1]), Some(vec![16, 64]))
    );
    let requests = s.requests.expect("named").resolve(42).expect("valid");
    assert_eq!(requests.concurrency, [1, 8]);
    assert!(requests.difficulty && !requests.classes);
    assert_eq!(parse("", "x.toml", "x").expect("valid").requests, None);
}

#[test]
fn mistakes_name_the_file_and_the_line() {
    for (text, needle) in [
        ("[[also]]\nspeed = 1", "x.toml:2: unknown field `speed`"),
        ("[requests]\nspeed = 1", "x.toml:2: unknown field `speed`"),
        ("[requests]\nrounds = 0", "x.toml: rounds: 0; 1 to 1000"),
        (
            "batch = 1\nbatches = 2",
            "x.toml:2: unknown field `batches`",
        ),
        ("[protocol]\n\nspeed = 2", "x.toml:3: unknown field `speed`"),
        (
            "[[exclude]]\nbatch = 1\nfoo = 1",
            "x.toml:3: unknown field `foo`",
        ),
        ("batch = [1,", "x.toml:1: "),
        ("batch = -1", "x.toml:1: expected a whole number"),
        ("[protocol]\ntimeout = \"0s\"", "timeout"),
        ("batch = \"8-1\"", "x.toml: batch: range '8-1' ends"),
        ("type_k = \"q9\"", "'q9' is not one of f32, f16"),
        (
            "[protocol]\nbudget = \"soon\"",
            "'soon' is no length of time",
        ),
        (
            "[protocol]\nrepetitions = 1\nmin_repetitions = 1",
            "leave out",
        ),
    ] {
        let e = parse(text, "x.toml", "x").expect_err(text).to_string();
        assert!(e.contains(needle), "{text:?}: {e}");
        assert!(!e.contains('\n'), "one line: {e:?}");
    }
}
