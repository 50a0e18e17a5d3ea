use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Normal};

use super::arms::Effect;
use super::*;
use crate::analysis::{Finding, Sure};
use crate::request::{Arrival, Ending, KEPT_TEXT_BYTES, Timeline};
use crate::view::fixture::requests::prompt;

const STEP_NS: f64 = 1e6;
const TTFT_NS: f64 = 5e7;
const N: u32 = 64;

/// A request of 64 tokens that takes what the machine always takes.
fn request(round: u32) -> RequestFigures {
    RequestFigures {
        round,
        ended: AnswerEnd::AtLimit,
        n_prompt: Some(100),
        n_generated: Some(N),
        ttft_ns: Some(TTFT_NS as u64),
        tpot_ns: Some(STEP_NS),
        total_ns: (TTFT_NS + STEP_NS * f64::from(N - 1)) as u64,
        sample_ns: Some(u64::from(N) * 10_000),
        right: None,
    }
}

fn slower(r: RequestFigures, factor: f64) -> RequestFigures {
    RequestFigures {
        tpot_ns: r.tpot_ns.map(|ns| ns * factor),
        ..r
    }
}

fn pair(name: usize, easy: Vec<RequestFigures>, hard: Vec<RequestFigures>) -> PairFigures {
    PairFigures {
        pair: format!("p{name}"),
        easy,
        hard,
    }
}

/// Pairs whose halves take the same but for these log ratios of their times per token.
fn of_logs(logs: &[f64]) -> Vec<PairFigures> {
    let one =
        |(i, log): (usize, &f64)| pair(i, vec![request(0)], vec![slower(request(0), log.exp())]);
    logs.iter().enumerate().map(one).collect()
}

/// A control in which 5% more tokens took 5% longer.
fn seen_control() -> Vec<PairFigures> {
    (0..20)
        .map(|i| {
            let wobble = 1.0 + 0.001 * (i % 3) as f64;
            let longer = RequestFigures {
                n_prompt: Some(105),
                ttft_ns: Some((TTFT_NS * 1.05 * wobble) as u64),
                ..request(0)
            };
            pair(i, vec![request(0)], vec![longer])
        })
        .collect()
}

/// An experiment of this arm with a control that shows.
fn of_equal(equal: Vec<PairFigures>) -> DifficultyExperiment {
    DifficultyExperiment {
        equal,
        control: seen_control(),
        ..DifficultyExperiment::default()
    }
}

fn only(findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1);
    findings.into_iter().next().expect("one")
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6 * b.abs().max(1e-3), "{a} is not {b}");
}

#[test]
fn an_effect_is_the_median_log_ratio_with_the_rules_interval() {
    let few = Equal::of(&of_logs(&[0.0, 0.01, 0.03])).expect("three pairs");
    close(few.step.ratio.estimate, 0.01f64.exp());
    assert_eq!((few.step.n_pairs, few.step.ratio.interval), (3, None));
    assert_eq!(few.step.verdict, EqualityVerdict::Undecided);
    let many = Equal::of(&of_logs(&[0.01; 20])).expect("twenty pairs");
    let interval = many.step.ratio.interval.expect("an interval");
    assert!(
        interval.contains(0.01f64.exp()) && interval.lo > 1.0,
        "{interval:?}"
    );
    close(interval.level, 0.9);
}

#[test]
fn equal_is_inside_the_margin_and_different_is_not_one() {
    let effect = |centre: f64, spread: f64, n_sides: usize| {
        let logs: Vec<f64> = (0..42)
            .map(|i| centre + spread * f64::from((i * 8) % 21 - 10))
            .collect();
        Effect::of(&logs, n_sides).expect("enough")
    };
    let verdict = |centre: f64, spread: f64| effect(centre, spread, 1).verdict;
    assert_eq!(verdict(0.0, 0.0005), EqualityVerdict::Equal);
    assert_eq!(verdict(0.005, 0.0001), EqualityVerdict::DifferentWithin);
    assert_eq!(verdict(0.03, 0.001), EqualityVerdict::DifferentBeyond);
    assert_eq!(verdict(-0.03, 0.001), EqualityVerdict::DifferentBeyond);
    assert_eq!(verdict(0.01, 0.0005), EqualityVerdict::Different);
    let coarse = effect(0.0, 0.01, 1);
    assert_eq!(coarse.verdict, EqualityVerdict::Undecided);
    assert!(coarse.pairs_to_decide.is_some_and(|n| n > 42), "{coarse:?}");
    let level = |n_sides| {
        let ratio = effect(0.0, 0.001, n_sides).ratio;
        ratio.interval.expect("an interval").level
    };
    assert!(level(3) > level(1), "more comparisons, wider intervals");
    assert_eq!(Effect::of(&[0.0], 1), None);
}

#[test]
fn halves_are_compared_within_a_round() {
    // The machine is twice as slow in round 1, and the easy half is missing from round 2.
    let easy = vec![request(0), slower(request(1), 2.0)];
    let hard = vec![
        slower(request(0), 1.02),
        slower(request(1), 2.0 * 1.04),
        slower(request(2), 9.0),
    ];
    let pairs = vec![pair(0, easy.clone(), hard.clone()), pair(1, easy, hard)];
    let equal = Equal::of(&pairs).expect("two pairs");
    close(equal.step.ratio.estimate, (1.02f64 * 1.04).sqrt());
}

#[test]
fn pairs_of_unequal_length_are_left_out_and_counted() {
    let mut pairs = of_logs(&[
        0.001, 0.0, -0.001, 5.0, 5.0, 0.0005, -0.0005, 0.001, -0.001, 0.0, 0.0005,
    ]);
    pairs[3].hard[0].n_prompt = Some(101);
    pairs[4].hard[0].n_generated = Some(N - 1);
    pairs[0].easy[0].n_prompt = None;
    pairs[1].hard.push(RequestFigures {
        ended: AnswerEnd::Broken,
        ..slower(request(0), 7.0)
    });
    let equal = Equal::of(&pairs).expect("nine pairs");
    assert_eq!(
        (equal.n_unequal, equal.n_unknown, equal.n_broken),
        (2, 1, 1)
    );
    assert_eq!(equal.step.n_pairs, 9);
    assert_eq!(equal.step.verdict, EqualityVerdict::Equal);
    let finding = only(findings(&of_equal(pairs)));
    let all = finding.evidence.join("\n");
    assert!(
        all.contains("2 pairs were left out of it: their halves differ in tokens."),
        "{all}"
    );
    assert!(all.contains("Of 1 pair not all lengths are known"), "{all}");
    assert!(all.contains("1 request was left out"), "{all}");
}

#[test]
fn without_a_control_that_shows_nothing_is_said() {
    let equal = of_logs(&[0.0; 20]);
    let flat: Vec<PairFigures> = (0..20)
        .map(|i| {
            let off = if i % 2 == 0 { 1.03 } else { 0.97 };
            let longer = RequestFigures {
                n_prompt: Some(105),
                ttft_ns: Some((TTFT_NS * off) as u64),
                ..request(0)
            };
            pair(i, vec![request(0)], vec![longer])
        })
        .collect();
    for (control, says) in [
        (
            flat,
            "The measurement is too coarse to tell: even prompts 5.00% longer did not show in the time to the first token",
        ),
        (
            Vec::new(),
            "The measurement may be too coarse to tell: no prompts that are known to cost more were measured",
        ),
    ] {
        let experiment = DifficultyExperiment {
            equal: equal.clone(),
            control,
            ..DifficultyExperiment::default()
        };
        assert_eq!(judge(&experiment).mechanism, Mechanism::Undetermined);
        let finding = only(findings(&experiment));
        assert!(finding.claim.starts_with(says), "{}", finding.claim);
        assert_eq!(finding.sure, Sure::Undetermined);
        // What was measured is still told.
        assert!(
            finding
                .evidence
                .iter()
                .any(|e| e.contains("equal within 1%")),
            "{finding:?}"
        );
    }
    assert_eq!(findings(&DifficultyExperiment::default()), []);
}

#[test]
fn equal_tokens_and_no_natural_arm_is_no_in_one_sentence() {
    let equal = of_logs(&[0.001, -0.001, 0.002, -0.002, 0.0, 0.001, 0.0, -0.001]);
    let experiment = DifficultyExperiment {
        of: "tiny in-process".to_owned(),
        ..of_equal(equal)
    };
    assert_eq!(judge(&experiment).mechanism, Mechanism::Nothing);
    let finding = only(findings(&experiment));
    assert_eq!(
        finding.claim,
        "No: at equal length a token of a hard question takes 0.00% more time (90%: -0.17% to 0.20%) over 8 pairs, equal within 1%."
    );
    assert_eq!(finding.sure, Sure::Shown);
    assert_eq!(finding.evidence[0], "Measured: tiny in-process.");
    assert!(finding.evidence[1].starts_with("Positive control, 20 pairs: with 5.00% more prompt tokens the time to the first token was 5.1"), "{finding:?}");
    assert!(finding.evidence[1].ends_with(": seen."), "{finding:?}");
}

/// A hard question whose answer has `tokens` times the tokens.
fn natural(i: usize, tokens: f64) -> PairFigures {
    let of = |n: u32| RequestFigures {
        ended: AnswerEnd::ByModel,
        n_generated: Some(n),
        total_ns: (STEP_NS * f64::from(n)) as u64,
        right: Some(n < 100),
        ..request(0)
    };
    let n = 40 + 5 * u32::try_from(i % 7).expect("small");
    pair(i, vec![of(n)], vec![of((f64::from(n) * tokens) as u32)])
}

#[test]
fn longer_answers_are_named_as_the_mechanism() {
    let mut pairs: Vec<PairFigures> = (0..20)
        .map(|i| natural(i, 1.6 + 0.05 * (i % 5) as f64))
        .collect();
    // Cut at the limit: it would look shorter than it is.
    pairs[0].hard[0].ended = AnswerEnd::AtLimit;
    pairs[1].hard[0].ended = AnswerEnd::Broken;
    let experiment = DifficultyExperiment {
        natural: pairs,
        ..of_equal(of_logs(&[0.001, -0.001, 0.002, -0.002, 0.0, 0.001]))
    };
    let judgement = judge(&experiment);
    assert_eq!(judgement.mechanism, Mechanism::Length);
    let natural = judgement.natural.expect("measured");
    assert_eq!(
        (natural.n_pairs, natural.n_lost, natural.n_broken),
        (18, 2, 1)
    );
    assert_eq!((natural.n_censored, natural.n_requests), ([0, 1], [20, 20]));
    let product = natural.tokens.estimate * natural.per_token.estimate;
    close(product, natural.total.estimate);
    let share = natural.length_share.expect("shown");
    close(share.estimate, 1.0);
    let finding = only(findings(&experiment));
    assert!(
        finding.claim.contains(
            "hard answers take more time only because they are longer: they take 1.70 times as long"
        ),
        "{}",
        finding.claim
    );
    let all = finding.evidence.join("\n");
    assert!(all.contains("is length."), "{all}");
    assert!(
        all.contains("0 of 20 easy and 1 of 20 hard answers were cut at the limit"),
        "{all}"
    );
    assert!(
        all.contains("Right answers: 100.0% (20 of 20) of easy"),
        "{all}"
    );
}

#[test]
fn half_of_a_difference_can_be_length() {
    // By hand: total e^0.4 and tokens e^0.2 in every pair, but for a sign that keeps the spread: share 0.5.
    let of = |i: usize| {
        let wobble = 0.01 * ((i % 3) as f64 - 1.0);
        let long = RequestFigures {
            ended: AnswerEnd::ByModel,
            n_generated: Some((100_000.0 * (0.2 + wobble).exp()) as u32),
            total_ns: (1e12 * (0.4 + 2.0 * wobble).exp()) as u64,
            ..request(0)
        };
        let short = RequestFigures {
            ended: AnswerEnd::ByModel,
            n_generated: Some(100_000),
            total_ns: 1_000_000_000_000,
            ..request(0)
        };
        pair(i, vec![short], vec![long])
    };
    let pairs: Vec<PairFigures> = (0..12).map(of).collect();
    let natural = Natural::of(&pairs).expect("enough");
    let share = natural.length_share.expect("shown");
    assert!((share.estimate - 0.5).abs() < 1e-4, "{share:?}");
    assert!(share.lo <= share.estimate && share.estimate <= share.hi);
    assert!((natural.per_token.estimate - 0.2f64.exp()).abs() < 1e-4);
}

#[test]
fn a_slower_sampler_is_told_from_a_slower_token() {
    let pairs = |sampler: f64, rest: f64| -> Vec<PairFigures> {
        (0..12)
            .map(|i| {
                let wobble = 1.0 + 0.0005 * (i % 3) as f64;
                let sample = 100_000.0;
                let half = |sampler: f64, rest: f64| RequestFigures {
                    tpot_ns: Some((sample * sampler + (STEP_NS - sample) * rest) * wobble),
                    sample_ns: Some((sample * sampler * f64::from(N)) as u64),
                    ..request(0)
                };
                pair(i, vec![half(1.0, 1.0)], vec![half(sampler, rest)])
            })
            .collect()
    };
    let of = |sampler, rest| of_equal(pairs(sampler, rest));
    let sampler = of(1.5, 1.0);
    assert_eq!(judge(&sampler).mechanism, Mechanism::Sampler);
    let claim = only(findings(&sampler)).claim;
    assert!(
        claim.starts_with("Yes, in the sampler: ")
            && claim.contains("100% of that difference; without the sampler a token takes 0.00%")
            && claim.ends_with("equal within 1%."),
        "{claim}"
    );
    let rest = of(1.0, 1.05);
    assert_eq!(judge(&rest).mechanism, Mechanism::Unexplained);
    let claim = only(findings(&rest)).claim;
    assert!(
        claim.starts_with("Yes: ") && claim.contains("neither length nor sampler explains it"),
        "{claim}"
    );
    let judged = judge(&of(1.0, 1.0));
    let share = judged.equal.expect("measured").sampler_share.expect("seen");
    assert!((share - 0.1).abs() < 1e-3, "{share}");
}

#[test]
fn a_slower_prefill_is_not_called_nothing() {
    let pairs: Vec<PairFigures> = (0..12)
        .map(|i| {
            let late = RequestFigures {
                ttft_ns: Some((TTFT_NS * (1.1 + 0.001 * (i % 3) as f64)) as u64),
                ..request(0)
            };
            pair(i, vec![request(0)], vec![late])
        })
        .collect();
    let claim = only(findings(&of_equal(pairs))).claim;
    assert!(
        claim.starts_with("Not in a token, but in the prefill: "),
        "{claim}"
    );
}

/// Pairs of several rounds on a machine whose requests vary by `sd`, and on which a hard token takes `effect` longer.
fn simulated(
    rng: &mut ChaCha8Rng,
    n_pairs: usize,
    rounds: u32,
    sd: f64,
    effect: f64,
) -> Vec<PairFigures> {
    let noise = Normal::new(0.0, sd).expect("a law");
    let mut half = |effect: f64| -> Vec<RequestFigures> {
        (0..rounds)
            .map(|round| slower(request(round), (noise.sample(rng) + effect).exp()))
            .collect()
    };
    (0..n_pairs)
        .map(|i| pair(i, half(0.0), half(effect)))
        .collect()
}

#[test]
fn a_planted_effect_of_three_percent_is_found() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let found = (0..100).filter(|_| {
        // Paired SD of log ratios: 1.4% with one round of requests that vary by 0.99% each.
        let pairs = simulated(&mut rng, 30, 1, 0.014 / 2f64.sqrt(), 0.03);
        let verdict = Equal::of(&pairs).expect("measured").step.verdict;
        verdict.is_different()
    });
    assert!(found.count() >= 95);
}

#[test]
fn more_pairs_narrow_the_interval() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut width = |n| {
        let pairs = simulated(&mut rng, n, 1, 0.01, 0.0);
        let ratio = Equal::of(&pairs).expect("measured").step.ratio;
        let interval = ratio.interval.expect("an interval");
        interval.hi - interval.lo
    };
    let (few, many) = (width(12), width(100));
    assert!(many < 0.6 * few, "{few} {many}");
}

#[test]
fn a_planted_length_effect_is_attributed_to_length() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let tokens = Normal::new(0.4, 0.5).expect("a law");
    let noise = Normal::new(0.0, 0.01).expect("a law");
    let (mut named, mut covered, mut trials) = (0, 0, 0);
    for _ in 0..40 {
        let pairs: Vec<PairFigures> = (0..24)
            .map(|i| {
                let factor = f64::exp(tokens.sample(&mut rng));
                let mut half = |n: u32| RequestFigures {
                    ended: AnswerEnd::ByModel,
                    n_generated: Some(n),
                    total_ns: (f64::from(n) * STEP_NS * f64::exp(noise.sample(&mut rng))) as u64,
                    ..request(0)
                };
                let easy = half(200);
                pair(i, vec![easy], vec![half((200.0 * factor) as u32)])
            })
            .collect();
        let natural = Natural::of(&pairs).expect("measured");
        trials += 1;
        named += usize::from(natural.is_length());
        covered += usize::from(
            natural
                .length_share
                .is_some_and(|s| (0.95..=1.05).contains(&s.estimate)),
        );
    }
    assert!(
        named >= trials * 8 / 10 && covered == named,
        "{named}, {covered} of {trials}"
    );
}

/// Prompts whose tokens take so many times as long as those of others, of which the sampler takes this.
fn prompts(factor: f64, sampler_ns: u64) -> Vec<PromptFigures> {
    (0..12)
        .map(|i| PromptFigures {
            question: (i / 6, i),
            prompt: format!("q{}", i % 4),
            requests: vec![RequestFigures {
                tpot_ns: Some(STEP_NS * factor * (1.0 + 0.01 * f64::from(i))),
                sample_ns: Some(u64::from(N) * sampler_ns),
                ..request(0)
            }],
        })
        .collect()
}

fn at(temperature: f32, factor: f64, sampler_ns: u64) -> AtTemperature {
    AtTemperature {
        temperature,
        prompts: prompts(factor, sampler_ns),
    }
}

#[test]
fn temperatures_are_held_against_the_lowest() {
    let points = [
        at(0.7, 1.001, 11_000),
        at(0.0, 1.0, 10_000),
        at(1.5, 0.999, 11_000),
    ];
    let same = temperature(&points, None).expect("three");
    assert!(
        same.claim
            .starts_with("No: the tokens per second are those of temperature 0 within 1%; farthest from it, 0.10%"),
        "{}",
        same.claim
    );
    assert_eq!(same.sure, Sure::Shown);
    let slow = temperature(
        &[
            at(0.0, 1.0, 10_000),
            at(0.7, 1.1, 110_000),
            at(1.0, 1.25, 10_000),
            at(1.5, 1.0, 10_000),
        ],
        None,
    )
    .expect("four");
    for part in [
        "Yes: against temperature 0 the tokens per second are 9.09% lower (97%:",
        " at 0.7 over 12 pairs of answers to 4 prompts, different by more than 1% (the sampler; without it a token takes 0.",
        "; 20.0% lower (97%:",
        " at 1 over 12 pairs of answers to 4 prompts, different by more than 1% (not the sampler; without it a token takes 25.",
        "; 0.00% higher (97%:",
        " at 1.5 over 12 pairs of answers to 4 prompts, equal within 1%.",
    ] {
        assert!(slow.claim.contains(part), "{part}: {}", slow.claim);
    }
    let all = slow.evidence.join("\n");
    assert!(
        all.contains("The sampler is") && all.contains("Bonferroni"),
        "{all}"
    );
    assert_eq!(temperature(&[at(0.0, 1.0, 1)], None), None);
    let mut other = at(0.7, 1.0, 10_000);
    for prompt in &mut other.prompts {
        prompt.prompt.push('x');
    }
    let apart = temperature(&[at(0.0, 1.0, 10_000), other], None).expect("two");
    assert_eq!(apart.sure, Sure::Undetermined);
}

#[test]
fn nothing_is_said_of_temperature_where_the_planted_slow_down_does_not_show() {
    let points = [at(0.0, 1.0, 10_000), at(0.7, 1.0, 10_000)];
    let control = |factor| PlantedControl {
        share: 0.03,
        prompts: prompts(factor, 10_000),
    };
    let seen = temperature(&points, Some(&control(1.03))).expect("two");
    assert_eq!(seen.sure, Sure::Shown);
    assert!(
        seen.evidence[0].starts_with(
            "Positive control, 12 pairs of answers to 4 prompts: with decode calls slowed by 3.00% on purpose a token took 3.00% longer"
        ) && seen.evidence[0].ends_with(": seen."),
        "{seen:?}"
    );
    let unseen = temperature(&points, Some(&control(1.0))).expect("two");
    assert_eq!(unseen.sure, Sure::Undetermined);
    assert!(
        unseen
            .claim
            .starts_with("The measurement is too coarse to tell"),
        "{unseen:?}"
    );
}

#[test]
fn prompts_with_answers_of_unequal_length_are_left_out_and_counted() {
    let mut warm = at(0.7, 1.0, 10_000);
    warm.prompts[3].requests[0].n_generated = Some(N - 1);
    let found = temperature(&[at(0.0, 1.0, 10_000), warm], None).expect("two");
    let all = found.evidence.join("\n");
    assert!(
        all.contains("(11 pairs of answers to 4 prompts)") && all.contains("differ in tokens: 1."),
        "{all}"
    );
}

#[test]
fn a_request_becomes_figures() {
    let prompt = Prompt {
        answer: Some("42".to_owned()),
        ..prompt("sum", 3)
    };
    let arrivals = [1100, 1300].map(|at_ns| Arrival {
        at_ns,
        n_tokens: Some(1),
        is_reasoning: false,
    });
    let mut timeline = Timeline {
        sent_ns: 200,
        arrivals: arrivals.into(),
        n_prompt: Some(3),
        n_generated: Some(2),
        sample_ns: Some(50),
        text: "It is 42.".to_owned(),
        ..Timeline::unanswered(0, 100, 1400, Ending::Stop)
    };
    let of = |t: &Timeline| request_figures(&RequestView::of(1, t), &prompt);
    let r = of(&timeline);
    assert_eq!(
        (r.round, r.ended, r.total_ns),
        (1, AnswerEnd::ByModel, 1200)
    );
    let expected = (Some(1000), Some(200.0), Some(true));
    assert_eq!((r.ttft_ns, r.tpot_ns, r.right), expected);
    assert_eq!(r.sample_ns_per_token(), Some(25.0));
    timeline.ending = Ending::Length;
    timeline.text = "no idea".to_owned();
    let r = of(&timeline);
    assert_eq!((r.ended, r.right), (AnswerEnd::AtLimit, Some(false)));
    // The rest of it was not kept.
    timeline.text = "x".repeat(KEPT_TEXT_BYTES - 1);
    assert_eq!(of(&timeline).right, None);
    timeline.ending = Ending::Truncated;
    assert_eq!(of(&timeline).ended, AnswerEnd::Broken);
}
