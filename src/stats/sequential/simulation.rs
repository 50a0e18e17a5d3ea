//! Error rates, power and coverage of the sequential rule, by simulated nights: table A.5 of METHODOLOGY.md.
//!
//! `make simulate` runs 2,000 nights for every row, and
//! `cargo test --release pair_table -- --ignored --nocapture` prints the table again.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::pair_noise::PairNoise;
use super::*;

/// Cells of a night.
const CELLS: usize = 6;

/// Nights of a figure in the table.
const NIGHTS: u32 = 2000;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
struct PairSetting {
    name: &'static str,
    noise: PairNoise,
    sd: f64,
}

const fn setting(name: &'static str, noise: PairNoise, sd: f64) -> PairSetting {
    PairSetting { name, noise, sd }
}

const SETTINGS: [PairSetting; 12] = [
    setting("normal", PairNoise::Normal, 0.01),
    setting("normal", PairNoise::Normal, 0.02),
    setting("normal", PairNoise::Normal, 0.03),
    setting("normal", PairNoise::Normal, 0.05),
    setting("t, 3 degrees of freedom", PairNoise::HeavyTails, 0.03),
    setting("outliers, 10 times in 2%", PairNoise::Outliers, 0.02),
    setting("outliers, 10 times in 2%", PairNoise::Outliers, 0.03),
    setting("as measured, 1 of 7 off", PairNoise::Measured, 0.01),
    setting("drift of 10%", PairNoise::Drift, 0.02),
    setting("drift of 10%", PairNoise::Drift, 0.03),
    setting("autocorrelation 0.3", PairNoise::Autocorrelated(0.3), 0.02),
    setting("autocorrelation 0.5", PairNoise::Autocorrelated(0.5), 0.02),
];

/// A cell measured until it is decided, as an execution does it.
fn until_decided(log_ratios: &[f64], rule: &PairRule) -> PairDecision {
    let scales = scales(log_ratios);
    let [slower, not_slower, faster] = bets(log_ratios, &scales, CELLS, rule);
    let last = log_ratios.len();
    let at = |bet: &Bet| bet.won_at.unwrap_or(last);
    let mut n = at(&slower).min(at(&not_slower));
    let may_be_faster =
        |n: usize| median(&log_ratios[..n]).is_some_and(|m| m < -rule.tolerance.ln_1p());
    if slower.won_at.is_none_or(|slower| slower > n) {
        while n < at(&faster) && n < last && may_be_faster(n) {
            n += 1;
        }
    }
    let decision = decide(&log_ratios[..n], CELLS, rule).expect("pairs");
    assert!(decision.is_final || n == last);
    decision
}

/// Shares of nights, from 0 to 1, and pairs of cells.
struct NightFigures {
    regression: f64,
    all_not_slower: f64,
    covered: f64,
    median_pairs: f64,
    p95_pairs: f64,
}

/// Nights in which one cell is slower.
fn nights(setting: PairSetting, slowdown: f64, n_nights: u32) -> NightFigures {
    let rule = PairRule::default();
    let mut rng = ChaCha8Rng::seed_from_u64(20_261_127);
    let (mut regression, mut passed, mut covered, mut with_interval) = (0, 0, 0, 0_u32);
    let mut pairs = Vec::new();
    for _ in 0..n_nights {
        let cells: Vec<PairDecision> = (0..CELLS)
            .map(|cell| {
                let truth = if cell == 0 { slowdown.ln_1p() } else { 0.0 };
                let noise = setting.noise.pairs(setting.sd, rule.most, &mut rng);
                let log_ratios: Vec<f64> = noise.iter().map(|noise| noise + truth).collect();
                let decision = until_decided(&log_ratios, &rule);
                if let Some(interval) = decision.interval {
                    with_interval += 1;
                    covered += u32::from(interval.contains(truth));
                }
                decision
            })
            .collect();
        let is = |verdict| move |cell: &PairDecision| cell.verdict == verdict;
        regression += u32::from(cells.iter().any(is(PairVerdict::Slower)));
        let not_slower =
            |c: &PairDecision| matches!(c.verdict, PairVerdict::NotSlower | PairVerdict::Faster);
        passed += u32::from(cells.iter().all(not_slower));
        pairs.extend(cells.iter().map(|cell| cell.n_pairs as f64));
    }
    let share = |n: u32| f64::from(n) / f64::from(n_nights);
    let quantile = |q| super::super::summary::quantile_type8(&pairs, q).expect("pairs");
    NightFigures {
        regression: share(regression),
        all_not_slower: share(passed),
        covered: f64::from(covered) / f64::from(with_interval.max(1)),
        median_pairs: quantile(0.5),
        p95_pairs: quantile(0.95),
    }
}

fn row(setting: PairSetting, n_nights: u32) -> (String, [NightFigures; 3]) {
    let figures = [0.0, 0.02, 0.05].map(|slowdown| nights(setting, slowdown, n_nights));
    let [same, border, slower] = &figures;
    let covered = figures.iter().map(|f| f.covered).fold(1.0, f64::min);
    let row = format!(
        "| {} | {:.0}% | {:.2}% | {:.2}% | {:.1}% | {:.1}% | {:.0}, {:.0} | {:.1}% |",
        setting.name,
        setting.sd * 100.0,
        same.regression * 100.0,
        border.regression * 100.0,
        same.all_not_slower * 100.0,
        slower.regression * 100.0,
        same.median_pairs,
        same.p95_pairs,
        covered * 100.0
    );
    (row, figures)
}

/// A few nights: the errors are rare, and a quiet night is decided.
#[test]
fn few_nights_are_judged_rightly() {
    for setting in [SETTINGS[1], SETTINGS[7]] {
        let (row, [same, border, slower]) = row(setting, 25);
        assert!(same.regression == 0.0 && border.regression <= 0.04, "{row}");
        assert!(
            same.all_not_slower > 0.9 && slower.regression > 0.9,
            "{row}"
        );
        assert!(same.covered > 0.93 && slower.covered > 0.93, "{row}");
    }
}

#[test]
#[ignore = "simulates: make simulate"]
fn pair_table_holds_what_it_promises() {
    const METHODOLOGY: &str = include_str!("../../../docs/METHODOLOGY.md");
    for setting in SETTINGS {
        let (row, [same, border, slower]) = row(setting, NIGHTS);
        println!("{row}");
        let is_dependent = matches!(setting.noise, PairNoise::Autocorrelated(_));
        assert!(same.regression <= 0.005, "{row}");
        // Dependent pairs break the assumption; the table states what that costs.
        assert!(border.regression <= 0.005 || is_dependent, "{row}");
        if setting.sd <= 0.03 {
            assert!(same.all_not_slower >= 0.95 || is_dependent, "{row}");
            assert!(slower.regression >= 0.95, "{row}");
        }
        let covered = [&same, &border, &slower].map(|figures| figures.covered);
        assert!(covered.iter().all(|c| *c >= 0.94) || is_dependent, "{row}");
        assert!(METHODOLOGY.contains(&row), "correct METHODOLOGY.md: {row}");
    }
}

#[test]
#[ignore = "prints the table of METHODOLOGY.md; minutes"]
fn pair_table() {
    for setting in SETTINGS {
        println!("{}", row(setting, NIGHTS).0);
    }
}
