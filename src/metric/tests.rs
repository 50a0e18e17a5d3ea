//! Values, units and words of metrics.

use super::*;
use crate::plan::expand::{Axes, Host, cases};

fn case(sample: bool, n_prompt: u32) -> Case {
    let host = Host {
        n_threads: 1,
        n_gpu_layers: 0,
    };
    let axes = Axes {
        sample: Some(vec![sample]),
        n_prompt: Some(vec![n_prompt]),
        ..Axes::default()
    };
    cases(&axes, &["m".into()], &[], host)
        .expect("valid")
        .remove(0)
}

fn call(phase: Phase, n_tokens: u32, submit_ns: u64) -> Call {
    Call {
        phase,
        n_tokens,
        n_seq: 2,
        n_past: 0,
        build_ns: 0,
        submit_ns: submit_ns - submit_ns / 10,
        wait_ns: 0,
        sample_ns: submit_ns / 10,
    }
}

#[test]
fn values_are_those_of_the_calls() {
    let calls = [
        call(Phase::Prefill, 10, 500),
        call(Phase::Prefill, 10, 500),
        call(Phase::Decode, 2, 100),
        call(Phase::Decode, 2, 200),
        call(Phase::Decode, 2, 900),
    ];
    let case = |sample| case(sample, 10);
    let of = |m: Metric| m.of(&case(true), &calls, None);
    assert_eq!(of(Metric::StepNs), Some(200.0));
    assert_eq!(of(Metric::DecodeTokensPerS), Some(6.0 / 1200.0 * 1e9));
    assert_eq!(of(Metric::PrefillTokensPerS), Some(20.0 / 1000.0 * 1e9));
    assert_eq!(of(Metric::TtftNs), Some(1000.0));
    assert_eq!(of(Metric::TpotNs), Some(400.0));
    assert_eq!(of(Metric::EngineNs), Some(180.0));
    assert_eq!(of(Metric::SampleNs), Some(20.0));
    assert_eq!(of(Metric::PrefillShare), Some(1000.0 / 2200.0));
    assert_eq!(of(Metric::OverheadNs), None, "no logarithm of nothing");
    assert_eq!(
        Metric::OverheadNs.measured(&case(true), &calls, None),
        Some(0.0),
        "but it was measured"
    );
    for metric in [Metric::TtftNs, Metric::SampleNs] {
        assert_eq!(metric.of(&case(false), &calls, None), None, "{metric}");
    }
    for &metric in Metric::ALL {
        assert_eq!(metric.of(&case(true), &[], None), None, "{metric}");
        assert_eq!(metric.name().parse(), Ok(metric));
    }
    assert_eq!("ttft_p95".parse(), Ok(Metric::RequestTtftP95Ns));
    assert_eq!("ttft".parse(), Ok(Metric::TtftNs), "of cells");
    assert!(
        "speed"
            .parse::<Metric>()
            .expect_err("none")
            .contains("decode, prefill")
    );
}

#[test]
fn joules_are_of_generation_that_is_long_enough_for_the_counter() {
    let energy = PhaseEnergy {
        prefill_mj: 90_000,
        decode_mj: 60_000,
    };
    let joules = |n_gpu_layers: u32, step_ns: u64, energy: Option<PhaseEnergy>| {
        let calls = [
            call(Phase::Prefill, 10, 500),
            call(Phase::Decode, 2, step_ns),
        ];
        let case = Case {
            n_gpu_layers,
            ..case(true, 10)
        };
        Metric::JoulesPerToken.of(&case, &calls, energy)
    };
    assert_eq!(joules(99, 900_000_000, Some(energy)), Some(30.0));
    assert_eq!(
        joules(99, 800_000_000, Some(energy)),
        None,
        "a counter of 100 ms"
    );
    assert_eq!(
        joules(0, 800_000_000, Some(energy)),
        Some(30.0),
        "one of 1 ms"
    );
    assert_eq!(joules(0, 800_000_000, None), None, "not measured");
    let still = PhaseEnergy {
        decode_mj: 0,
        ..energy
    };
    assert_eq!(joules(0, 800_000_000, Some(still)), None, "never 0");
}

#[test]
fn what_needs_a_prompt_has_no_value_without_one() {
    let calls = [call(Phase::Prefill, 10, 500), call(Phase::Decode, 2, 100)];
    let alone: Vec<Metric> = Metric::ALL
        .iter()
        .copied()
        .filter(|m| !m.is_of_requests() && !m.is_of_quality())
        .filter(|m| m.of(&case(true, 0), &calls, None).is_none())
        .filter(|m| ![Metric::OverheadNs, Metric::JoulesPerToken].contains(m))
        .collect();
    assert_eq!(
        alone,
        [
            Metric::PrefillTokensPerS,
            Metric::TtftNs,
            Metric::PrefillShare
        ]
    );
}

#[test]
fn rounds_of_requests_have_means_and_a_percentile_of_enough() {
    let answers = Answers {
        latency_ns: vec![100.0, 300.0],
        ttft_ns: (1..=59).map(f64::from).collect(),
        tpot_ns: Vec::new(),
        tokens_per_s: Some(50.0),
    };
    let of = |m: Metric| m.of_round(&answers);
    assert_eq!(of(Metric::RequestThroughput), Some(50.0));
    assert_eq!(of(Metric::RequestLatencyNs), Some(200.0));
    assert_eq!(of(Metric::RequestTtftNs), Some(30.0));
    // Type 8: h = (59 + 1/3) 0.95 + 1/3 = 56.7.
    let p95 = of(Metric::RequestTtftP95Ns).expect("59 answers");
    assert!((p95 - 56.7).abs() < 1e-9, "{p95}");
    assert_eq!(of(Metric::RequestTpotNs), None, "no answer has two pieces");
    assert_eq!(of(Metric::StepNs), None, "of batches");
    let fewer = Answers {
        ttft_ns: vec![1.0; 58],
        ..Answers::default()
    };
    assert_eq!(Metric::RequestTtftP95Ns.of_round(&fewer), None);
}

#[test]
fn a_chunk_has_the_values_of_its_scores() {
    let scores = ChunkScores {
        n_scored: 4,
        mean_nll: 2.0_f64.ln(),
        mean_kld: Some(0.25),
        same_top: Some(0.75),
        right_token_rms: Some(0.0),
    };
    let of = |m: Metric| m.of_chunk(&scores);
    assert!((of(Metric::Perplexity).expect("known") - 2.0).abs() < 1e-12);
    assert_eq!(of(Metric::Kld), Some(0.25));
    assert_eq!(of(Metric::SameTop), Some(0.75));
    assert_eq!(of(Metric::RightTokenRms), Some(1e-6), "no logarithm of 0");
    let other = ChunkScores {
        mean_kld: Some(-1e-8),
        same_top: Some(0.0),
        right_token_rms: None,
        ..scores
    };
    assert_eq!(Metric::Kld.of_chunk(&other), Some(1e-6), "rounding");
    assert_eq!(Metric::SameTop.of_chunk(&other), Some(0.125), "of 4 tokens");
    assert_eq!(Metric::RightTokenRms.of_chunk(&other), None, "of a base");
    assert_eq!(of(Metric::StepNs), None, "of batches");
    assert_eq!(Metric::Kld.of_round(&Answers::default()), None);
    assert_eq!(Metric::SameTop.better(), Better::Higher);
    assert_eq!(
        Metric::SameTop.words().change("B", 0.05),
        "B is 5.0% worse in equal top tokens"
    );
}

#[test]
fn more_log_time_is_slower_for_times_and_rates() {
    for &metric in Metric::ALL {
        let (slow, fast) = match metric.better() {
            Better::Lower => (2.0, 1.0),
            Better::Higher => (1.0, 2.0),
        };
        assert!(metric.log_time(slow) > metric.log_time(fast));
    }
}
