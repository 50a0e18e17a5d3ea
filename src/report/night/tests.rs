use super::*;
use crate::compare::fixture::{batches, header, run, side};
use crate::compare::samples::CellKey;
use crate::gate::{Baseline, Confirmation, GateError, Rule, gate};

const QUIET: [u64; 3] = [999_000, 1_000_000, 1_001_000];

#[test]
fn a_night_fits_80_columns() {
    let cases = batches(&[1, 8, 32, 128]);
    let baseline = Baseline::alone(run("20260131-020000-nightly", &cases, QUIET));
    let tonight = side(
        header("20260201-020000-nightly", &cases[..3]),
        |case| match case.n_seq {
            1 => QUIET.to_vec(),
            8 => QUIET.map(|ns| ns * 14 / 10).to_vec(),
            _ => vec![960_000, 1_000_000, 1_040_000],
        },
    );
    let once = gate::<GateError>(&tonight, &baseline, &Rule::default(), None).expect("judged");
    let text = document(&once).terminal(80, false);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    for needle in [
        "inconclusive (1 pass, 1 suspected, 1 inconclusive, 1 not measured)",
        "inconclusive (+",
        "+40.0%",
        "not measured tonight: m/pp128/tg64/b128",
        "single run",
        "next: --rerun",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    let mut again = |_: &[CellKey]| -> Result<Confirmation, GateError> {
        Ok(run(
            "20260201-030000-rerun",
            &cases[1..2],
            QUIET.map(|ns| ns * 13 / 10),
        )
        .into())
    };
    let rule = Rule::default();
    let twice = gate(&tonight, &baseline, &rule, Some(&mut again)).expect("judged");
    let text = document(&twice).terminal(80, false);
    assert!(
        text.contains("regression (1 pass, 1 regression, "),
        "{text}"
    );
    assert!(
        text.contains("+30.0%") && !text.contains("next: --rerun"),
        "{text}"
    );
}
