use std::path::Path;
use std::time::Duration;

use super::fixture::{bench, script};
use super::pairs::{Contender, PairSeries, PairTurns};
use super::*;
use crate::stats::sequential::{PairRule, PairVerdict};

fn contender(path: &Path) -> Contender {
    Contender {
        program: ForeignProgram::find(path, Some(ForeignKind::LlamaBench)).expect("is there"),
        task: ForeignTask {
            case: Case {
                n_prompt: 0,
                n_gen: 1,
                ..Case::usual("m")
            },
            model: PathBuf::from("m.gguf"),
            part: TimedPart::Decode,
            repetitions: 2,
        },
    }
}

/// Both sides in turns until it is over.
fn series(a: &Path, b: &Path) -> (PairSeries, Vec<bool>) {
    let (a, b) = (contender(a), contender(b));
    let interrupt = Interrupt::default();
    let mut turns = PairTurns::new(1, Duration::from_secs(60), &interrupt);
    let mut series = PairSeries::default();
    let mut order = Vec::new();
    while !series.is_over(1, &PairRule::default()) {
        let pair = turns.pair([&a, &b]);
        order.push(pair.a_first);
        series.note(&pair, Metric::TpotNs, [&a, &b]);
    }
    (series, order)
}

#[test]
fn sides_take_turns_in_random_order_until_decided() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = script(folder.path(), "a", &bench(1_000_000));
    let b = script(folder.path(), "b", &bench(1_100_000));
    let (slower, order) = series(&a, &b);
    let decision = slower.decision(1, &PairRule::default()).expect("pairs");
    assert_eq!(decision.verdict, PairVerdict::Slower);
    assert!((decision.estimate - 0.1_f64.ln_1p()).abs() < 1e-12);
    assert!(order.contains(&true) && order.contains(&false), "{order:?}");
    let (same, _) = series(&a, &a);
    let decision = same.decision(1, &PairRule::default()).expect("pairs");
    assert_eq!(decision.verdict, PairVerdict::NotSlower);
}

#[test]
fn a_crash_now_and_then_drops_its_pair_and_crashes_in_a_row_end_the_cell() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = folder.path().join("count").display().to_string();
    let flaky = format!(
        "n=$(cat {count} 2>/dev/null || echo 0); echo $((n + 1)) >{count}\n[ $((n % 4)) = 2 ] && exit 3\n{}",
        bench(1_000_000)
    );
    let a = script(folder.path(), "a", &bench(1_000_000));
    let (now_and_then, _) = series(&a, &script(folder.path(), "flaky", &flaky));
    assert!(now_and_then.given_up(1).is_none());
    assert!(now_and_then.n_failures(1) > 0);
    let decision = now_and_then.decision(1, &PairRule::default());
    assert_eq!(decision.expect("pairs").verdict, PairVerdict::NotSlower);

    let crash = script(folder.path(), "crash", "echo no such op >&2; exit 3");
    let (always, _) = series(&a, &crash);
    let why = always.given_up(1).expect("given up").to_string();
    assert_eq!(why, "exit code 3: no such op");
    assert_eq!((always.n_failures(1), always.log_ratios.len()), (3, 0));
}

#[test]
fn a_program_that_hangs_is_ended_with_what_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let side = contender(&script(folder.path(), "hang", "sleep 600 & sleep 600"));
    let limit = Duration::from_millis(50);
    let visit = |interrupt: &Interrupt| side.program.visit(&side.task, limit, interrupt);
    assert_eq!(
        visit(&Interrupt::default()),
        Err(VisitError::TimedOut(limit))
    );
    let interrupt = Interrupt::default();
    interrupt.set();
    assert_eq!(visit(&interrupt), Err(VisitError::Interrupted));
}

#[test]
fn a_visit_that_the_deadline_cuts_is_no_failure_of_its_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let hang = contender(&script(folder.path(), "hang", "sleep 600"));
    let interrupt = Interrupt::default();
    let mut turns = PairTurns::new(1, Duration::from_secs(600), &interrupt);
    turns.deadline = Some(turns.started + Duration::from_millis(50));
    let mut series = PairSeries::default();
    for _ in 0..2 {
        let pair = turns.pair([&hang, &hang]);
        let results = pair.visits.iter().flatten().map(|v| v.result.clone());
        let results: Vec<_> = results.collect();
        assert_eq!(results, [Err(VisitError::Interrupted)]);
        series.note(&pair, Metric::TpotNs, [&hang, &hang]);
    }
    assert_eq!((series.n_failures(0), series.n_failures(1)), (0, 0));
}

#[test]
fn a_program_that_says_nothing_of_itself_needs_its_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = script(folder.path(), "bench", "echo '  -npl 1,2'");
    let found = ForeignProgram::find(&bench, None).expect("its help shows it");
    assert_eq!(found.kind, ForeignKind::LlamaBatchedBench);
    let mute = script(folder.path(), "mute", "true");
    let why = ForeignProgram::find(&mute, None).expect_err("says nothing");
    assert!(why.contains("--program-kind"), "{why}");
    let why = ForeignProgram::find(&folder.path().join("none"), None).expect_err("is missing");
    assert!(why.contains("no such program"), "{why}");
}
