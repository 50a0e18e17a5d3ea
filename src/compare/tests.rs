use super::fixture::{batches, cells, header, run, side, side_ended};
use super::*;
use crate::engine::Device;
use crate::plan::CaseId;
use crate::plan::expand::Axes;
use crate::record::{Outcome, StoppedBy};
use crate::view::fixture::cell;

const NOISY: [u64; 3] = [990_000, 1_000_000, 1_010_000];

fn between(a: &Side, b: &Side) -> Comparison {
    compare(a, b, &CompareOptions::default()).expect("comparable")
}

fn words(c: &Comparison) -> Vec<&'static str> {
    c.rows.iter().map(|r| r.verdict.word()).collect()
}

#[test]
fn a_run_and_itself_are_the_same_however_noisy() {
    let a = run("a", &batches(&[1, 8]), [500_000, 1_000_000, 2_000_000]);
    let c = between(&a, &a);
    assert!(c.paired);
    assert_eq!(words(&c), ["same", "same"]);
    let slowdown = c.rows[0].slowdown.expect("three pairs");
    assert_eq!((slowdown.lo, slowdown.hi), (0.0, 0.0));
    assert_eq!(
        c.rows[0].verdict_in_full(Metric::StepNs, 0.03),
        "same within 3%"
    );
    assert!(c.differences.is_empty() && c.only_a.is_empty() && c.only_b.is_empty());
}

#[test]
fn a_tenth_slower_is_slower_and_back_again_faster() {
    let cases = batches(&[1, 8]);
    let (a, b) = (
        run("a", &cases, NOISY),
        run("b", &cases, NOISY.map(|ns| ns * 11 / 10)),
    );
    let c = between(&a, &b);
    assert!(!c.paired);
    assert_eq!(words(&c), ["slower", "slower"]);
    let row = &c.rows[0];
    assert!((row.slowdown.expect("known").estimate - 0.1).abs() < 1e-9);
    assert_eq!((row.a, row.b), (1_000_000.0, 1_100_000.0));
    assert_eq!(row.cliffs_delta.expect("known").delta, 1.0);
    assert!(row.p <= row.p_adjusted && row.p_adjusted < Some(0.05));
    assert_eq!(words(&between(&b, &a)), ["faster", "faster"]);
}

#[test]
fn what_cannot_be_told_says_what_it_would_need() {
    let cases = batches(&[1]);
    let a = run("a", &cases, [960_000, 1_000_000, 1_040_000]);
    let b = run("b", &cases, [970_000, 1_010_000, 1_050_000]);
    let row = &between(&a, &b).rows[0];
    let ChangeVerdict::CannotTell {
        more_processes: Some(n),
    } = row.verdict
    else {
        panic!("{:?}", row.verdict);
    };
    // sd 4%, border 2% away: (1.96 + 0.84)^2 * 2 * 4^2 / 2^2 = 63 a side, 60 more.
    assert!((55..75).contains(&n), "{n}");
    let text = row.verdict_in_full(Metric::StepNs, 0.03);
    assert_eq!(text, format!("cannot tell (would need {n} more processes)"));
    let single = side(header("c", &cases), |_| vec![1_000_000]);
    let row = &between(&a, &single).rows[0];
    assert_eq!(row.slowdown, None);
    let two = ChangeVerdict::CannotTell {
        more_processes: Some(2),
    };
    assert_eq!(row.verdict, two, "one process knows nothing of others");
}

#[test]
fn cells_of_one_side_are_listed() {
    let a = run("a", &batches(&[1, 2, 4]), NOISY);
    let b = run("b", &batches(&[4, 8, 1]), NOISY);
    let c = between(&a, &b);
    let id = |n| batches(&[n])[0].id();
    let rows: Vec<CaseId> = c.rows.iter().map(|r| r.case_id_a.clone()).collect();
    assert_eq!(rows, [id(1), id(4)], "in A's order");
    assert_eq!((c.only_a, c.only_b), (vec![id(2)], vec![id(8)]));
    let apart = run("b", &batches(&[16]), NOISY);
    let e = compare(&a, &apart, &CompareOptions::default()).expect_err("nothing in common");
    assert!(e.to_string().contains("they differ in batch"), "{e}");
}

#[test]
fn an_axis_splits_a_run_and_bridges_two() {
    let cases = cells(&Axes {
        n_seq: Some(vec![1, 8]),
        n_threads: Some(vec![1, 2]),
        ..Axes::default()
    });
    let whole = side(header("a", &cases), |case| {
        let slow = if case.n_threads == 1 { 2 } else { 1 };
        [900_000, 1_000_000, 1_200_000].map(|ns| ns * slow).to_vec()
    });
    let asks = |text: &str| CompareOptions {
        axes: vec![text.parse().expect("an axis")],
        ..CompareOptions::default()
    };
    for text in ["threads", "threads=1,2"] {
        let mut options = asks(text);
        let (a, b) = sides(&whole, None, &mut options).expect("two values");
        let c = compare(&a, &b, &options).expect("comparable");
        assert_eq!(
            (c.a.as_str(), c.b.as_str()),
            ("a, threads 1", "a, threads 2")
        );
        assert!(c.paired);
        assert_eq!(
            words(&c),
            ["faster", "faster"],
            "pairs agree though processes do not"
        );
        assert_ne!(c.rows[0].case_id_a, c.rows[0].case_id_b);
    }
    let one = run("b", &cells(&Axes::default()), NOISY);
    let mut options = asks("threads=1,2");
    let (a, b) = sides(&whole, Some(&one), &mut options).expect("both have theirs");
    let c = compare(&a, &b, &options).expect("comparable");
    assert_eq!((c.rows.len(), c.paired), (1, false));
    assert_eq!(c.only_a.len(), 1, "batch 8");
}

#[test]
fn what_has_no_two_sides_says_how_to_get_them() {
    let run = run("a", &batches(&[1, 2, 4]), NOISY);
    let error = |text: Option<&str>| {
        let axes = text.map(|t| t.parse().expect("an axis"));
        let mut options = CompareOptions {
            axes: axes.into_iter().collect(),
            ..CompareOptions::default()
        };
        sides(&run, None, &mut options)
            .expect_err("no two sides")
            .to_string()
    };
    assert!(error(None).contains("--axis NAME (they differ in batch"));
    assert!(error(Some("batch")).contains("3 values of batch (1, 2, 4); say --axis batch=A,B"));
    assert!(error(Some("threads")).contains("one value of threads (2)"));
    assert!(error(Some("batch=1,3")).contains("no measured cell has batch 3; there are 1, 2, 4"));
    let options = CompareOptions {
        axes: vec!["batch".parse().expect("an axis")],
        ..CompareOptions::default()
    };
    let e = compare(&run, &run, &options)
        .expect_err("ambiguous")
        .to_string();
    assert!(e.contains("say --axis batch=A,B"), "{e}");
}

#[test]
fn what_else_differs_is_named() {
    let cases = batches(&[1]);
    let plain = header("a", &cases);
    let mut other = header("b", &cases);
    assert_eq!(Difference::between(&plain, &other, &cases), []);
    other.engine.version = "2".to_owned();
    other.machine.fingerprint = "f".repeat(16);
    other.machine.cpu.features.avx2 = true;
    other.plan.protocol.seed = 7;
    let found = Difference::between(&plain, &other, &cases);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(texts[0].starts_with("machines: A "), "{texts:?}");
    assert_eq!(texts[1], "CPU features: only A has none, only B has avx2");
    assert_eq!(texts[2], "engines: A synthetic 1, B synthetic 2");
    assert!(texts[3].contains("A 42, B 7"));
    assert_eq!(texts.len(), 4);
}

#[test]
fn another_gpu_is_another_machine_where_layers_are_on_it() {
    let gpu = |name: &str| Device {
        name: "CUDA0".to_owned(),
        description: name.to_owned(),
        backend: "CUDA".to_owned(),
        kind: "gpu".to_owned(),
        memory_total_bytes: 80 << 30,
        memory_free_bytes: 80 << 30,
        can_split_rows: true,
        pci_bus_id: None,
    };
    let on = |n_gpu_layers: u32, name: &str| {
        let mut cases = batches(&[1]);
        cases[0].n_gpu_layers = n_gpu_layers;
        let mut header = header("a", &cases);
        header.engine.devices.push(gpu(name));
        header
    };
    let between = |a: &RunHeader, b: &RunHeader| Difference::between(a, b, &a.plan.cases);
    let (a, b) = (on(99, "NVIDIA H200"), on(99, "NVIDIA H100"));
    let text = between(&a, &b)[0].to_string();
    assert!(
        text.contains("0123456789abcdef, NVIDIA H200")
            && text.contains("0123456789abcdef, NVIDIA H100"),
        "{text}"
    );
    assert_eq!(between(&on(0, "NVIDIA H200"), &on(0, "NVIDIA H100")), []);
}

#[test]
fn settings_of_other_programs_that_differ_are_named() {
    use crate::record::imported::Imported;
    let cases = batches(&[1]);
    let of = |poll: &str| {
        let mut header = header("a", &cases);
        header.imported = Some(Imported {
            tool: "llama-bench".to_owned(),
            settings: [("poll", poll), ("repack", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Imported::default()
        });
        header
    };
    let said = |a: &RunHeader, b: &RunHeader| -> Vec<String> {
        let found = Difference::between(a, b, &cases);
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(said(&of("50"), &of("50")), [""; 0]);
    assert_eq!(
        said(&of("50"), &of("0")),
        ["settings: A has poll=50; B has poll=0"]
    );
    let own = said(&header("b", &cases), &of("0"));
    assert!(
        own.len() == 1 && own[0].ends_with(", B llama-bench"),
        "{own:?}"
    );
}

/// The sides of a pair that was measured until decided, with steps by pair.
fn pair_of(steps_b: &[u64], tolerance: Option<f64>) -> [Side; 2] {
    use crate::record::{Pair, PairSide};
    [PairSide::A, PairSide::B].map(|which| {
        let mut header = header("p", &batches(&[1, 8]));
        header.pair = Some(Pair {
            id: "p".to_owned(),
            side: which,
            axes: Vec::new(),
            worker_program: "ggufbench".into(),
            worker_engine: "synthetic".to_owned(),
        });
        header.plan.protocol.pair_tolerance = tolerance;
        side(header, |_| match which {
            PairSide::A => vec![1_000_000; steps_b.len()],
            PairSide::B => steps_b.to_vec(),
        })
    })
}

#[test]
fn a_pair_measured_until_decided_is_judged_by_its_own_rule_and_another_as_before() {
    let slower: Vec<u64> = [1_098_000, 1_100_000, 1_102_000].repeat(6);
    let [a, b] = pair_of(&slower, Some(0.02));
    let decided = between(&a, &b);
    assert!(decided.until_decided && decided.paired);
    assert_eq!(decided.same_within, 0.02);
    assert_eq!(words(&decided), ["regression", "regression"]);
    let row = &decided.rows[0];
    assert_eq!(row.pairs.expect("pairs").n_pairs, 18);
    assert_eq!((row.p, row.p_adjusted), (None, None));
    assert!(row.slowdown.expect("an interval").contains(0.10));
    assert_eq!(words(&between(&b, &a)), ["improvement", "improvement"]);

    let [a, b] = pair_of(&slower, None);
    let fixed = between(&a, &b);
    assert!(!fixed.until_decided && fixed.rows[0].pairs.is_none());
    assert_eq!(fixed.same_within, 0.03);
    assert_eq!(words(&fixed), ["slower", "slower"]);
    assert_eq!(words(&between(&a, &a)), ["same", "same"]);
}

#[test]
fn a_pair_that_a_side_did_not_finish_is_none() {
    let [a, b] = pair_of(&[1_000_000; 10], Some(0.02));
    let pairs = |b: &Side| between(&a, b).rows[0].pairs.expect("pairs").n_pairs;
    assert_eq!(pairs(&b), 10);
    let case = &b.header.plan.cases[0];
    let crashed = || Outcome::Crashed {
        how: "SIGABRT".to_owned(),
    };
    let measured = Outcome::Measured {
        repetitions: 1,
        stopped_by: StoppedBy::MaxRepetitions,
    };
    // One that was measured later, by a resumed run, is.
    let ends = [
        cell(case, Some(3), crashed()),
        cell(case, Some(5), Outcome::Interrupted),
        cell(case, Some(7), crashed()),
        cell(case, Some(7), measured),
    ];
    let b = side_ended(
        b.header.clone(),
        |_| vec![vec![(1_000_000, false)]; 10],
        &ends,
    );
    assert_eq!(pairs(&b), 8);
}

#[test]
fn too_few_pairs_say_how_many_are_missing() {
    let [a, b] = pair_of(&[1_000_000, 1_001_000], Some(0.02));
    let row = &between(&a, &b).rows[0];
    assert_eq!(row.slowdown, None);
    let text = row.verdict_in_full(Metric::StepNs, 0.02);
    assert_eq!(text, "not decided (would need about 6 more pairs)");
    let [a, b] = pair_of(&[1_000_000; 10], Some(0.02));
    let row = &between(&a, &b).rows[0];
    let text = row.verdict_in_full(Metric::StepNs, 0.02);
    assert_eq!(text, "no regression beyond 2%");
}

mod of_a_text {
    use super::super::axis::ComparedAxis;
    use super::super::side::Side;
    use super::super::{ChangeVerdict, CompareError, CompareOptions, compare, sides};
    use crate::metric::Metric;
    use crate::record::Line;
    use crate::record::jsonl::Writer;
    use crate::view::fixture::quality::*;

    /// A run that scored a text; its coarse file's divergences are `times` as large.
    fn run(times: f32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = quality_plan();
        let mut writer =
            Writer::create(folder.path(), quality_header(plan.clone())).expect("writes");
        for cell in &plan.cells {
            for mut line in quality_lines(cell) {
                if let Line::Chunk(chunk) = &mut line
                    && chunk.case.model == COARSE
                {
                    chunk.scored.kld.iter_mut().for_each(|kld| *kld *= times);
                }
                writer.append(&line).expect("writes");
            }
        }
        folder
    }

    fn side(folder: &tempfile::TempDir, metric: Metric) -> Side {
        Side::read(folder.path(), metric).expect("reads")
    }

    #[test]
    fn chunks_are_the_samples_and_those_of_one_text_are_pairs() {
        let (before, after) = (run(1.0), run(2.0));
        let (a, b) = (side(&before, Metric::Kld), side(&after, Metric::Kld));
        assert!(a.is_paired_with(&b));
        assert_eq!(a.cells.len(), 3, "the base has no KLD");
        assert_eq!(a.cells[1].medians().len() as u32, N_CHUNKS);
        let c = compare(&a, &b, &CompareOptions::default()).expect("comparable");
        let verdicts: Vec<ChangeVerdict> = c.rows.iter().map(|row| row.verdict).collect();
        let (same, worse) = (ChangeVerdict::Same, ChangeVerdict::Slower);
        assert_eq!(verdicts, [same, same, worse]);
        let twice = c.rows[2].slowdown.expect("six chunks");
        assert!((twice.estimate - 1.0).abs() < 1e-5, "{twice:?}");
        let base = side(&before, Metric::Perplexity);
        assert_eq!(base.cells.len(), 4, "the base has a perplexity");
    }

    #[test]
    fn two_files_of_a_run_are_compared_along_the_model() {
        let folder = run(1.0);
        let axis: ComparedAxis = format!("model={FINE},{COARSE}").parse().expect("an axis");
        let mut options = CompareOptions {
            axes: vec![axis],
            ..CompareOptions::default()
        };
        let own = side(&folder, Metric::SameTop);
        let (a, b) = sides(&own, None, &mut options).expect("two");
        let c = compare(&a, &b, &options).expect("comparable");
        assert_eq!((c.rows[0].a, c.rows[0].b), (1.0, 0.75));
        // The share is a rate: 1 / 0.75 - 1.
        let change = c.rows[0].slowdown.expect("six chunks").estimate;
        assert!((change - 1.0 / 3.0).abs() < 1e-9, "{change}");
    }

    #[test]
    fn a_run_without_a_text_or_without_cells_names_what_fits() {
        let cells =
            super::super::fixture::run("r", &super::super::fixture::batches(&[1]), [1, 2, 3]);
        let mut no_text = cells;
        no_text.metric = Metric::Kld;
        no_text.cells.clear();
        let error = compare(&no_text, &no_text, &CompareOptions::default()).expect_err("no text");
        assert!(matches!(error, CompareError::NoQuality { .. }), "{error}");
        let folder = run(1.0);
        let own = side(&folder, Metric::StepNs);
        let error = compare(&own, &own, &CompareOptions::default()).expect_err("no cells");
        let said = error.to_string();
        assert!(
            said.contains("perplexity, kld, same_top, right_token_rms"),
            "{said}"
        );
        let (a, mut b) = (side(&folder, Metric::Kld), side(&folder, Metric::Kld));
        if let Some(plan) = &mut b.header.quality {
            plan.text_sha256 = "ef".repeat(32);
        }
        let error = compare(&a, &b, &CompareOptions::default()).expect_err("other texts");
        assert!(error.to_string().contains("different texts"), "{error}");
    }
}
