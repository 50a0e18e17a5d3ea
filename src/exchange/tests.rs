use std::path::{Path, PathBuf};

use serde_json::Value;

use super::runs::{Grouping, ImportedRun, runs};
use super::tested::tested;
use super::{ExchangeError, ForeignFile, Stated, llama_bench_out, read};
use crate::measure::Phase;
use crate::metric::Metric;
use crate::plan::expand::ALL_LAYERS;
use crate::plan::{Case, Devices, FlashAttn};
use crate::record::jsonl::Writer;
use crate::record::{Line, RunHeader};
use crate::view::{RunView, TestPart};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/exchange")
        .join(name)
}

fn file(path: &Path) -> ForeignFile {
    read(path, &Stated::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn text(content: &str) -> Result<ForeignFile, ExchangeError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("found.txt");
    std::fs::write(&path, content).expect("writable");
    read(&path, &Stated::default())
}

/// The record of a run, written and read again.
fn view(run: ImportedRun) -> RunView {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let header = RunHeader {
        run: "imported".to_owned(),
        ..run.header
    };
    let mut writer = Writer::create(folder.path(), header).expect("writable");
    for line in &run.lines {
        writer.append(line).expect("writable");
    }
    RunView::read(folder.path()).expect("readable")
}

fn the_run(path: &Path) -> ImportedRun {
    let mut all = runs(&[file(path)], Grouping::default());
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// A line of llama-bench with these columns besides the ones that every line needs.
fn line(columns: &str) -> String {
    format!(
        r#"{{"build_commit":"abc1234","build_number":4567,"cpu_info":"CPU","gpu_info":"GPU 1, GPU 2","backends":"CUDA",
            "model_filename":"/m/a.gguf","n_prompt":0,"n_gen":16,"n_threads":4,"n_gpu_layers":-1,
            "test_time":"2026-01-31T02:00:00Z","avg_ns":2000,"avg_ts":8000000.0{columns}}}"#
    )
    .replace('\n', " ")
}

#[test]
fn llama_bench_says_the_same_in_all_its_forms() {
    // The same settings, measured three times: everything but the times is equal.
    let cells = |name: &str| {
        let run = the_run(&fixture(name));
        (
            run.header.plan.cases,
            run.header.imported.map(|of| of.settings),
        )
    };
    let json = cells("llama-bench.json");
    assert_eq!(json.0.len(), 4);
    assert_eq!(json, cells("llama-bench.jsonl"));
    assert_eq!(json, cells("llama-bench.sql"));
    let ids: Vec<String> = json.0.iter().map(|case| case.id().to_string()).collect();
    assert_eq!(
        ids[..2],
        [
            "smollm2-135m-q4_0/pp32/tg0/b1/d0/t2/kv-fit/nosample",
            "smollm2-135m-q4_0/pp0/tg8/b1/d0/t2/kv-fit/nosample"
        ]
    );
    // There is no GPU, whatever was asked for.
    assert!(json.0.iter().all(|case| case.n_gpu_layers == 0));
}

#[test]
fn samples_are_repetitions_of_one_process_and_what_is_not_recorded_is_missing() {
    let path = fixture("llama-bench.json");
    let told: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("there")).expect("JSON");
    let view = view(the_run(&path));
    for (cell, told) in view.cells.iter().zip(told.as_array().expect("tests")) {
        assert_eq!(
            (cell.n_processes, cell.n_repetitions, cell.n_steps),
            (1, 5, 0)
        );
        let rates: Vec<f64> = told["samples_ts"]
            .as_array()
            .expect("samples")
            .iter()
            .flat_map(Value::as_f64)
            .collect();
        let median = crate::stats::summary::median(&rates).expect("samples");
        let rate = cell.value(Metric::TotalTokensPerS).expect("a rate");
        assert!((rate / median - 1.0).abs() < 1e-4, "{rate} {median}");
        for metric in [
            Metric::StepNs,
            Metric::TtftNs,
            Metric::EngineNs,
            Metric::OverheadNs,
            Metric::SampleNs,
        ] {
            assert_eq!(cell.value(metric), None, "{metric}");
        }
        assert_eq!(
            (cell.peak_rss_bytes, cell.load_ns, cell.step_ns.max),
            (None, None, None)
        );
        let warnings: Vec<String> = cell.warnings.iter().map(ToString::to_string).collect();
        assert!(
            warnings.iter().any(|w| w.contains("one process")),
            "{warnings:?}"
        );
    }
    let [prompt, generation] = [&view.cells[0], &view.cells[1]];
    assert_eq!(
        prompt.value(Metric::PrefillTokensPerS),
        prompt.value(Metric::TotalTokensPerS)
    );
    assert_eq!(
        generation.value(Metric::DecodeTokensPerS),
        generation.value(Metric::TotalTokensPerS)
    );
    assert_eq!(
        (
            prompt.decode_tokens_per_s(),
            generation.value(Metric::PrefillTokensPerS)
        ),
        (None, None)
    );
    assert!(!view.can_be_resumed());
}

#[test]
fn a_mean_alone_is_one_repetition_with_exactly_that_rate() {
    let run = the_run(&fixture("llama-bench.sql"));
    assert!(
        run.header
            .imported
            .as_ref()
            .is_some_and(|of| of.has_means_only)
    );
    let view = view(run);
    let told = std::fs::read_to_string(fixture("llama-bench.sql")).expect("there");
    for cell in &view.cells {
        let rate = cell.value(Metric::TotalTokensPerS).expect("a rate");
        assert_eq!(cell.n_repetitions, 1);
        let mut numbers = told.split('\'').filter_map(|text| text.parse::<f64>().ok());
        assert!(numbers.any(|n| (n / rate - 1.0).abs() < 1e-6), "{rate}");
    }
}

#[test]
fn a_batch_has_the_times_of_both_phases() {
    let run = the_run(&fixture("batched-bench.jsonl"));
    let imported = run.header.imported.clone().expect("imported");
    assert_eq!(
        (imported.tool.as_str(), imported.build()),
        ("llama-batched-bench", None)
    );
    assert_eq!(imported.settings["n_kv_max"], "1024");
    let view = view(run);
    let [one, four] = &view.cells[..] else {
        panic!("two batches")
    };
    assert_eq!(
        (one.case.n_seq, four.case.n_seq, four.case.model.as_str()),
        (1, 4, "batched-bench")
    );
    for (metric, told) in [
        (Metric::PrefillTokensPerS, 43.678925),
        (Metric::DecodeTokensPerS, 2.643851),
        (Metric::TotalTokensPerS, 10.642523),
    ] {
        let value = four.value(metric).expect("a rate");
        assert!((value / told - 1.0).abs() < 1e-6, "{metric}: {value}");
    }
    assert_eq!(four.value(Metric::TpotNs), Some(12_103_555_000.0 / 8.0));
    assert!(
        four.speedup
            .is_some_and(|s| (s - 2.643851 / 0.683761).abs() < 1e-3)
    );
}

#[test]
fn a_shared_prompt_takes_the_time_that_was_measured() {
    let row = r#"{"n_kv_max":1024,"n_batch":64,"n_ubatch":64,"flash_attn":0,"is_pp_shared":1,"n_gpu_layers":0,"n_threads":2,"pp":16,
        "tg":8,"pl":4,"t_pp":2.0,"t_tg":4.0}"#;
    let read = text(&row.replace('\n', " ")).expect("readable");
    let run = runs(&[read], Grouping::default()).remove(0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut writer = Writer::create(folder.path(), run.header).expect("writable");
    for line in &run.lines {
        writer.append(line).expect("writable");
    }
    drop(writer);
    let (_, tests) = tested(folder.path(), &|_| true).expect("readable");
    let times = tests
        .iter()
        .flat_map(|test| test.all_rates().map(|rate| test.ns(rate).round()));
    assert_eq!(times.collect::<Vec<_>>(), [2e9, 4e9]);
}

#[test]
fn columns_are_axes_where_there_is_one_and_settings_elsewhere() {
    let read = text(&line(
        r#","flash_attn":true,"type_k":"q8_0","n_ubatch":64,"split_mode":"row","main_gpu":1,"tensor_split":"3.00/1.00",
           "devices":"CUDA0/CUDA1","n_depth":256,"use_mmap":true,"poll":50"#,
    ))
    .expect("readable");
    let test = &read.tests[0];
    let case = &test.case;
    assert_eq!(case.flash_attn, FlashAttn::On);
    assert_eq!(
        (case.type_k.to_string(), case.n_ubatch, case.main_gpu),
        ("q8_0".to_owned(), 64, 1)
    );
    assert_eq!(case.tensor_split.to_string(), "3.00,1.00");
    assert_eq!(
        case.device,
        Devices::Named(vec!["CUDA0".to_owned(), "CUDA1".to_owned()])
    );
    assert_eq!(
        (case.n_depth, case.n_ctx, case.n_gpu_layers),
        (256, 2048, ALL_LAYERS)
    );
    let settings: Vec<(&str, &str)> = test
        .source
        .settings
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(settings, [("poll", "50"), ("use_mmap", "1")]);
    let run = runs(&[read], Grouping::default()).remove(0);
    assert_eq!(run.header.started_at, "2026-01-31T02:00:00Z");
    assert_eq!(run.header.plan.name, "llama-bench-b4567-abc1234");
    let gpus = run
        .header
        .machine
        .gpus
        .devices
        .iter()
        .flat_map(|gpu| gpu.name.clone());
    assert_eq!(gpus.collect::<Vec<_>>(), ["GPU 1", "GPU 2"]);
}

#[test]
fn builds_settings_and_days_make_runs_and_repeated_tests_processes() {
    let other_build = line("").replace("abc1234", "def5678");
    let other_day = line("").replace("01-31T", "02-01T");
    let other_setting = line(r#","poll":0"#);
    let all = [line(""), other_build, other_day, other_setting].join("\n");
    let n_processes = |grouping: Grouping, files: &[ForeignFile]| -> Vec<u32> {
        let found = runs(files, grouping);
        found
            .iter()
            .map(|run| run.header.plan.protocol.replicates)
            .collect()
    };
    let one = [text(&all).expect("readable")];
    assert_eq!(n_processes(Grouping::default(), &one), [2, 1, 1]);
    let each_day = Grouping {
        each_day: true,
        ..Grouping::default()
    };
    assert_eq!(n_processes(each_day, &one), [1, 1, 1, 1]);
    // A JSON array is of one process: the repeated test is a further repetition.
    let array = || text(&format!("[{},{}]", line(""), line(""))).expect("readable");
    let twice = runs(&[array()], Grouping::default()).remove(0);
    assert_eq!(
        (
            twice.header.plan.protocol.replicates,
            twice.header.plan.protocol.max_repetitions
        ),
        (1, 2)
    );
    let joins_files = Grouping {
        joins_files: true,
        ..Grouping::default()
    };
    assert_eq!(n_processes(joins_files, &[array(), array()]), [2]);
    assert_eq!(
        n_processes(Grouping::default(), &[array(), array()]),
        [1, 1]
    );
}

#[test]
fn two_files_of_one_name_are_two_models() {
    let sizes = [1000, 2000, 1000].map(|n| line(&format!(r#","model_size":{n}"#)));
    let run = runs(
        &[text(&sizes.join("\n")).expect("readable")],
        Grouping::default(),
    )
    .remove(0);
    let names: Vec<&str> = run
        .header
        .plan
        .cases
        .iter()
        .map(|case| case.model.as_str())
        .collect();
    assert_eq!(names, ["a", "a-2"]);
}

#[test]
fn a_prompt_and_a_generation_in_one_time_have_one_rate() {
    let both = line("").replace(r#""n_prompt":0"#, r#""n_prompt":48"#);
    let run = runs(&[text(&both).expect("readable")], Grouping::default()).remove(0);
    let Line::Repetition(r) = &run.lines[0] else {
        panic!("a repetition comes first")
    };
    assert_eq!(
        (r.totals[0].phase, r.totals[0].n_tokens),
        (Phase::Mixed, 64)
    );
    let cell = &view(run).cells[0];
    assert_eq!(
        (
            cell.decode_tokens_per_s(),
            cell.value(Metric::PrefillTokensPerS)
        ),
        (None, None)
    );
    assert_eq!(cell.value(Metric::TotalTokensPerS), Some(8e6));
}

#[test]
fn what_cannot_be_read_is_named() {
    for (content, needle) in [
        ("", "is no output of llama-bench"),
        ("| model | size |\n", "is no output of llama-bench"),
        (r#"{"op_name":"MUL_MAT"}"#, "is no output of llama-bench"),
        ("{\"n_prompt\":", "line 1: "),
        ("[1", "is no JSON array"),
        (
            "INSERT INTO llama_bench (n_gen) VALUES ('1', '2');",
            "1 columns and 2 values",
        ),
        (
            "INSERT INTO llama_bench (n_gen) VALUES ('1);",
            "a quote is not closed",
        ),
        (
            &line("").replace("\"n_threads\":4,", ""),
            "test 1: n_threads is missing",
        ),
        (&line(r#","type_k":"q9""#), "test 1: type_k 'q9': "),
        (&line(r#","samples_ns":[5,0]"#), "test 1: a time is 0 ns"),
        (
            &line("").replace("\"n_gen\":16", "\"n_gen\":0"),
            "n_prompt and n_gen are 0",
        ),
        (
            &line(r#","n_depth":4294967290"#),
            "more cells than the engine can address",
        ),
    ] {
        let e = text(content).expect_err(content).to_string();
        assert!(
            e.contains("found.txt: ") && e.contains(needle),
            "{needle}: {e}"
        );
    }
}

#[test]
fn sql_is_read_and_not_executed() {
    let sql = "-- a note\nCREATE TABLE IF NOT EXISTS llama_bench (\n  a TEXT\n);\nDROP TABLE x;\nINSERT INTO other (a) VALUES (1);\n\
               INSERT INTO llama_bench (n_prompt, n_gen, n_threads, avg_ns, model_filename, gpu_info) \
               VALUES ('4', 0, '2', '8', 'it''s; here.gguf', NULL);";
    let read = text(sql).expect("readable");
    assert_eq!(read.tests.len(), 1);
    let test = &read.tests[0];
    assert_eq!(test.model.file.as_deref(), Some("it's; here.gguf"));
    assert_eq!(
        (
            test.case.model.as_str(),
            test.case.n_prompt,
            &test.source.gpu
        ),
        ("it-s-here", 4, &None)
    );
    assert_eq!(test.repetitions[0][0].ns, 8);
}

#[test]
fn what_is_exported_is_imported_again() {
    let run = the_run(&fixture("llama-bench.json"));
    let (cases, settings) = (run.header.plan.cases.clone(), run.header.imported.clone());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut writer = Writer::create(folder.path(), run.header).expect("writable");
    for line in &run.lines {
        writer.append(line).expect("writable");
    }
    drop(writer);
    let (header, tests) = tested(folder.path(), &|_| true).expect("readable");
    let rows: Vec<_> = tests
        .iter()
        .map(|test| llama_bench_out::row(&header, test, None))
        .collect();
    let told: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture("llama-bench.json")).expect("there"))
            .expect("JSON");
    for write in [
        llama_bench_out::write_json,
        llama_bench_out::write_jsonl,
        llama_bench_out::write_sql,
    ] {
        let path = folder.path().join("out");
        write(&rows, &mut std::fs::File::create(&path).expect("writable")).expect("writable");
        let again = the_run(&path);
        assert_eq!(again.header.plan.cases, cases);
        let of = again.header.imported.expect("imported");
        assert_eq!(Some(&of.settings), settings.as_ref().map(|of| &of.settings));
        assert_eq!(Some(&of.models), settings.as_ref().map(|of| &of.models));
    }
    let mut json = Vec::new();
    llama_bench_out::write_json(&rows, &mut json).expect("into memory");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    for (told, ours) in told
        .as_array()
        .expect("tests")
        .iter()
        .zip(json.as_array().expect("tests"))
    {
        for key in told.as_object().expect("columns").keys() {
            match key.as_str() {
                // Rounded elsewhere, or what was asked for where there is no GPU.
                "samples_ts" | "avg_ts" | "stddev_ts" | "avg_ns" | "stddev_ns" => {
                    let of = |test: &Value| {
                        test[key]
                            .as_f64()
                            .unwrap_or_else(|| test[key][0].as_f64().expect("a number"))
                    };
                    assert!((of(told) / of(ours) - 1.0).abs() < 1e-4, "{key}");
                }
                "n_gpu_layers" => assert_eq!(ours[key], 0),
                // Later samples of the first test make its begin later than its context.
                "test_time" => {}
                _ => assert_eq!(told[key], ours[key], "{key}"),
            }
        }
    }
}

#[test]
fn tests_have_the_names_of_llama_benchs_tables() {
    let case = Case {
        n_prompt: 512,
        n_gen: 64,
        n_threads: 4,
        ..Case::usual("m")
    };
    let name = |part: TestPart, case: &Case| part.test_name(case);
    assert_eq!(name(TestPart::Prompt, &case), "pp512");
    assert_eq!(TestPart::Generation.full_name(&case), "m/tg64/t4");
    let deep = Case {
        n_seq: 8,
        n_depth: 4096,
        flash_attn: FlashAttn::On,
        ..case
    };
    assert_eq!(name(TestPart::Generation, &deep), "tg64 @ d4096 @ b8");
    assert_eq!(name(TestPart::Both, &deep), "pp512+tg64 @ d4096 @ b8");
    assert_eq!(
        TestPart::Prompt.full_name(&deep),
        "m/pp512 @ d4096 @ b8/t4/fa-on"
    );
}
