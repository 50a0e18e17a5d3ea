//! `ggufbench nightly` by way of `scripts/nightly.sh`: two simulated weeks with a planted regression, and every other verdict.
#![cfg(unix)]

mod support;

use support::nights::{Night, Nights, broken, engine};
use support::tiny_model;

/// The night from which on everything takes a fifth longer.
const SLOW_FROM: u32 = 10;

#[test]
fn two_weeks_with_a_regression_on_the_tenth_night() {
    let nights = Nights::new();
    for day in 1..=14 {
        let slower = if day < SLOW_FROM { 0 } else { 20 };
        let night = nights.night(&["--summary", "mail/nightly.md"], &engine(day, slower));
        match day {
            1 => night.is(0, "first night, not judged"),
            2..SLOW_FROM => night.is(0, "pass"),
            _ => night.is(1, "regression"),
        }
        assert_eq!(held_against(&night), (day - 1).min(SLOW_FROM - 1), "{day}");
        let mailed = std::fs::read_to_string(nights.place.path().join("mail/nightly.md"));
        assert_eq!(mailed.expect("a summary"), night.summary);
        if day == SLOW_FROM {
            reads_well(&nights, &night);
        }
    }
    assert_eq!(nights.kept().len(), 14);
    let marked = |name: &&String| nights.history().join(name).join("regression").exists();
    assert_eq!(nights.kept().iter().filter(marked).count(), 5);

    let accepted = nights.night(&["--promote"], &engine(15, 20));
    accepted.is(0, "promoted");
    assert_eq!(nights.pinned(), Some(accepted.labelled("night")));
    let after = nights.night(&[], &engine(16, 20));
    after.is(0, "pass");
    assert_eq!(after.labelled("baseline"), accepted.labelled("night"));
    // So soon after a promotion nothing is known of how nights differ, but by assumption.
    let told = nights.night(&["--night-sd", "0.5%"], &engine(17, 40));
    told.is(1, "regression");
}

/// How many nights the baseline had.
fn held_against(night: &Night) -> u32 {
    match night.labelled("baseline") {
        none if none.is_empty() => 0,
        many if many.contains(" nights, ") => {
            let n = many.split_once(' ').expect("a number").0;
            n.parse().expect("a number")
        }
        _ => 1,
    }
}

fn reads_well(nights: &Nights, night: &Night) {
    let text = &night.summary;
    let is_wide =
        |l: &&str| l.chars().count() > 80 && !l.starts_with("    ") && !l.starts_with('|');
    assert_eq!(text.lines().find(is_wide), None, "{text}");
    let heads =
        ["Cells", "What to do", "To repeat"].map(|head| text.find(&format!("\n## {head}\n")));
    assert!(heads.is_sorted() && heads[0].is_some(), "{text}");
    for needle in [
        "Slower than tolerated, tonight and again in a rerun: batch 1 +20.",
        "| batch | ",
        "Look at the machine first (`ggufbench doctor`): ",
        " nightly --promote --sweep sweep.toml --nights --summary mail/nightly.md -- --engine 'synthetic:",
        " nightly --sweep sweep.toml --summary mail/nightly.md -- --engine 'synthetic:",
        "\n## Trend\n",
        "- **page**: mail/trend.html",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    for label in ["machine", "program", "program of the baseline", "rerun"] {
        assert_ne!(night.labelled(label), "", "{label}: {text}");
    }
    repeats(nights, night, 1);
}

/// The gate's command in the summary gives the night's verdict again.
#[track_caller]
fn repeats(nights: &Nights, night: &Night, code: i32) {
    let gate = night.summary.lines().find(|l| l.contains(" gate "));
    let again = std::process::Command::new("bash")
        .args(["-c", gate.expect("a command")])
        .current_dir(nights.place.path())
        .output()
        .expect("bash starts");
    assert_eq!(
        again.status.code(),
        Some(code),
        "{}",
        support::stderr(&again)
    );
}

#[test]
fn nights_of_requests_are_judged_by_their_own_metrics() {
    let nights = Nights::new();
    let night = |options: &[&str], engine: &str| {
        let options = [&["--requests", "--metric", "request_ttft"], options].concat();
        let jobs = ["-m", "synth:tiny:q4_0", "--batch", "1,2", "-n", "8"];
        let how = ["--class", "short", "--replicates", "5", "--engine", engine];
        nights.night_with(&options, &[jobs, how].concat())
    };
    night(&[], &engine(1, 0)).is(0, "first night, not judged");
    night(&[], &engine(2, 0)).is(0, "pass");
    let slow = night(&[], &engine(3, 40));
    slow.is(1, "regression");
    let text = &slow.summary;
    assert!(text.contains("concurrency/c1 at in-process"), "{text}");
    assert_eq!(slow.labelled("metric"), "request_ttft");
    repeats(&nights, &slow, 1);
    let failing = night(&[], &broken(4, r#""fail_at_call":30"#));
    failing.is(3, "inconclusive");
    let text = &failing.summary;
    assert!(text.contains("requests had no whole answer"), "{text}");
    let paired = night(&["--paired"], &engine(5, 0));
    assert_eq!(paired.code, 2);
    assert!(paired.complaints()[0].starts_with("--requests cannot be --paired"));
}

#[test]
fn failed_and_missing_cells_are_neither_a_regression_nor_a_pass() {
    let nights = Nights::new();
    let crash = r#""fail_at_call":30"#;
    let first = nights.night(&[], &broken(1, crash));
    first.is(3, "inconclusive");
    assert_eq!(nights.pinned(), None, "a baseline has all its cells");
    assert_eq!(nights.kept(), [""; 0]);
    nights
        .night(&[], &engine(1, 0))
        .is(0, "first night, not judged");

    let some = nights.night(&[], &broken(2, crash));
    some.is(3, "inconclusive");
    assert!(
        some.summary.contains("synthetic failure at"),
        "{}",
        some.summary
    );
    assert!(
        some.summary.contains("(in 3 processes)"),
        "{}",
        some.summary
    );
    for _ in 0..2 {
        let half = nights.night_with(&[], &["--batch", "1", "--engine", &engine(3, 0)]);
        half.is(3, "inconclusive");
        let missing = "not measured tonight: synth-tiny-q4_0/pp8/tg16/b8/";
        assert!(half.summary.contains(missing), "{}", half.summary);
    }
    let all = nights.night(&[], &broken(4, r#""fail_at_call":1,"abort_at_call":1"#));
    all.is(2, "error");
    assert!(all.complaints()[0].starts_with("no cell could be measured: synth-tiny"));
    assert_eq!(nights.kept().len(), 4, "an unjudged night is not kept");
    let slow = nights.night(&[], &engine(5, 30));
    slow.is(1, "regression");
    let left = slow.labelled("note");
    assert!(left.contains("never judged, left alone: 2"), "{left}");
}

#[test]
fn a_noisy_night_is_inconclusive_and_the_tolerance_can_be_set() {
    let nights = Nights::new();
    nights
        .night(&[], &engine(1, 0))
        .is(0, "first night, not judged");
    let noisy = engine(2, 5).replace("0.004", "0.1");
    let night = nights.night(&[], &noisy);
    night.is(3, "inconclusive");
    assert!(
        night.summary.contains("raise --replicates"),
        "{}",
        night.summary
    );
    let options = ["--baseline", "pinned", "--tolerance", "30%"];
    let tolerant = nights.night(&options, &engine(3, 20));
    tolerant.is(0, "pass");
}

#[test]
fn what_is_in_doubt_does_not_become_normal() {
    let nights = Nights::new();
    nights
        .night(&[], &engine(1, 0))
        .is(0, "first night, not judged");
    nights.night(&[], &engine(2, 0)).is(0, "pass");
    // A slow-down that might be the nights', until the last 14 nights are nothing else.
    for day in 3..=17 {
        let night = nights.night(&[], &engine(day, 15));
        night.is(3, "inconclusive");
        if day == 3 {
            let text = &night.summary;
            assert!(text.contains("--night-sd"), "{text}");
        }
        if day == 17 {
            let text = &night.summary;
            assert!(text.contains("- **verdict**: pass (2 pass)"), "{text}");
            let words: Vec<&str> = text.split_whitespace().collect();
            let why = "most of these were inconclusive";
            assert!(words.join(" ").contains(why), "{text}");
        }
    }
    nights
        .night(&["--promote"], &engine(18, 15))
        .is(0, "promoted");
    nights.night(&[], &engine(19, 15)).is(0, "pass");
}

#[test]
fn old_nights_go_and_the_promoted_one_stays() {
    let nights = Nights::new();
    let few = ["--baseline", "last:2", "--keep-nights", "2"];
    nights
        .night(&few, &engine(1, 0))
        .is(0, "first night, not judged");
    let first = nights.kept()[0].clone();
    let foreign = ["20200101-000000-quick", "notes", "x-nightly"];
    for name in foreign {
        std::fs::create_dir(nights.place.out().join(name)).expect("writable");
    }
    std::fs::create_dir(nights.history().join("mine")).expect("writable");
    let mut names = Vec::new();
    for day in 2..6 {
        let night = nights.night(&few, &engine(day, 0));
        night.is(0, "pass");
        names.push(night.labelled("night"));
    }
    let last = names[2..].to_vec();
    let kept: Vec<String> = [first.clone()].into_iter().chain(last.clone()).collect();
    assert_eq!(nights.kept(), [kept, vec!["mine".to_owned()]].concat());
    assert_eq!(nights.programs(), [first]);
    let runs = nights.runs();
    assert!(
        foreign
            .iter()
            .all(|name| runs.contains(&(*name).to_owned()))
    );
    assert_eq!(runs.len(), foreign.len() + 2, "{runs:?}");

    let promoted = nights
        .night(&["--promote"], &engine(6, 0))
        .labelled("night");
    assert_eq!(nights.programs(), [promoted], "one program is kept");
}

/// Local times say that the first night is the last one.
#[test]
fn nights_of_several_time_zones_are_in_the_order_of_time() {
    let nights = Nights::new();
    let few = ["--baseline", "last:2", "--keep-nights", "2"];
    let night = |day, zone: &str| {
        let mut command = nights.command(&few, &["--engine", &engine(day, 0)]);
        Night::of(&command.env("TZ", zone).output().expect("bash starts"))
    };
    let first = night(1, "KIR-14");
    first.is(0, "first night, not judged");
    // Nights of one second are in the order of their names.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut names = Vec::new();
    for day in 2..=4 {
        let night = night(day, "HNL10");
        night.is(0, "pass");
        assert_eq!(night.labelled("note"), "", "no run is left over");
        names.push(night.labelled("night"));
        if day == 4 {
            let two = format!("2 nights, {} to {}", names[0], names[1]);
            assert_eq!(night.labelled("baseline"), two);
        }
    }
    let promoted = first.labelled("night");
    let kept = [&names[1], &names[2], &promoted].map(String::as_str);
    assert_eq!(nights.kept(), kept, "the last two, and the promoted one");
    assert_eq!(nights.runs(), kept[..2]);
}

#[test]
fn other_baselines() {
    let nights = Nights::new();
    let first = nights.night(&["--baseline", "pinned"], &engine(1, 0));
    first.is(0, "first night, not judged");
    let run = format!("out/{}", first.labelled("night"));
    for baseline in ["pinned", &run] {
        let night = nights.night(&["--baseline", baseline], &engine(2, 0));
        night.is(0, "pass");
        assert_eq!(night.labelled("baseline"), first.labelled("night"));
    }
    std::fs::remove_file(nights.history().join("pinned")).expect("there");
    let night = nights.night(&["--baseline", "pinned"], &engine(3, 0));
    night.is(2, "error");
    assert!(night.complaints()[0].contains("no run is pinned"));
    let other = nights.night_with(&[], &["--batch", "2", "--engine", &engine(4, 0)]);
    other.is(2, "error");
    assert!(other.complaints()[0].contains("promote a run of the same plan"));
    let promoted = nights.night_with(&["--promote"], &["--batch", "2", "--engine", &engine(4, 0)]);
    promoted.is(0, "promoted");
}

/// Processes that differ by 5% hide a tenth from any other night, not from the program measured in turns with.
#[test]
fn paired_with_the_promoted_program() {
    let noisy = |day, percent| engine(day, percent).replace("0.004", "0.05");
    let mut nights = Nights::in_turns();
    nights.install("old", &noisy(7, 0));
    let first = nights.night(&[], &noisy(7, 0));
    first.is(0, "first night, not judged");
    assert_eq!(nights.programs(), [first.labelled("night")]);
    let same = nights.night(&[], &noisy(7, 0));
    same.is(0, "pass");
    assert!(
        same.labelled("note").contains("byte for byte"),
        "{}",
        same.summary
    );

    nights.install("new", &noisy(7, 10));
    let slow = nights.night(&[], &noisy(7, 0));
    slow.is(1, "regression");
    assert_eq!(slow.labelled("note"), "", "another program");
    let (night, baseline) = (slow.labelled("night"), slow.labelled("baseline"));
    assert_eq!(night.strip_suffix("-b"), baseline.strip_suffix("-a"));
    assert!(slow.labelled("rerun").ends_with("-nightly-rerun-b"));
    for text in ["the machine is not the cause", "batch 1 +10.0%"] {
        assert!(slow.summary.contains(text), "{}", slow.summary);
    }
    assert!(!slow.summary.contains("single run"), "{}", slow.summary);
    repeats(&nights, &slow, 1);
    assert_eq!(nights.kept().len(), 3);

    let promoted = nights.night(&["--promote"], &noisy(7, 0));
    promoted.is(0, "promoted");
    assert_eq!(nights.programs(), [promoted.labelled("night")]);
    nights.night(&["--paired"], &noisy(7, 0)).is(0, "pass");

    nights.install("newest", &broken(7, r#""fail_at_call":30"#));
    let newest = nights.night(&["--promote"], &noisy(7, 0));
    newest.is(3, "inconclusive");
    std::fs::remove_file(
        nights
            .history()
            .join(&nights.programs()[0])
            .join("ggufbench"),
    )
    .expect("there");
    let none = nights.night(&[], &noisy(7, 0));
    none.is(2, "error");
    assert!(
        none.complaints()[0].contains("no promoted night with its program"),
        "{}",
        none.said
    );
    nights.install("old", &noisy(7, 0));
    let promoted = nights.night(&["--promote"], &noisy(7, 0));
    promoted.is(0, "promoted");
    nights.night(&[], &noisy(7, 0)).is(0, "pass");
}

/// The trend is beside the summary, whatever the verdict, and its failure changes none.
#[test]
fn the_trend_is_written_every_night_and_decides_nothing() {
    let mut nights = Nights::in_turns();
    nights.install("old", &engine(7, 0));
    let first = nights.night(&[], &engine(7, 0));
    first.is(0, "first night, not judged");
    let out = nights.place.out();
    let page = |name: &str| std::fs::read(out.join(name)).map(|bytes| bytes.len());
    assert!(page("trend.html").is_ok_and(|n| n > 1000));
    assert!(page("trend.png").is_ok_and(|n| n > 1000));
    assert_eq!(first.labelled("page"), "out/trend.html");
    let promoted = |night: &Night| {
        let folder = nights.history().join(night.labelled("night"));
        folder.join("promoted.jsonl").is_file()
    };
    assert!(!promoted(&first));
    assert_eq!(first.labelled("nights").split(',').next(), Some("1 night"));

    std::fs::write(out.join("trend.html"), "mine").expect("writable");
    let second = nights.night(&[], &engine(7, 0));
    second.is(0, "pass");
    assert!(promoted(&second), "the promoted program's record is kept");
    let few = "\n- too few nights (1 of 15) to look for changes of level\n";
    assert!(first.summary.contains(few), "{}", first.summary);
    let notes = second.summary.matches("no trend could be written").count();
    assert_eq!(notes, 1, "{}", second.summary);
    assert_eq!(
        page("trend.html").expect("there"),
        4,
        "another's page stays"
    );

    let folder = nights.place.path().join("mail");
    let third = nights.night(&["--summary", "mail/nightly.md"], &engine(7, 0));
    third.is(0, "pass");
    assert!(folder.join("trend.html").is_file() && folder.join("trend.png").is_file());
    assert_eq!(third.labelled("nights").split(',').next(), Some("3 nights"));
}

/// The budget bounds the pairs and leaves a third for the confirmation; it may stand before or after `--`.
#[test]
fn the_budget_is_of_the_whole_night() {
    let mut nights = Nights::in_turns();
    nights.install("old", &engine(7, 0));
    nights
        .night(&[], &engine(7, 0))
        .is(0, "first night, not judged");
    nights.install("new", &engine(7, 10));
    let budget_of = |night: &Night, side: &str| -> u64 {
        let name = night.labelled("night");
        let pair = name.strip_suffix("-b").expect("a pair");
        let record = nights.place.out().join(pair).join(side).join("run.jsonl");
        let record = std::fs::read_to_string(record).expect("readable");
        let header: serde_json::Value =
            serde_json::from_str(record.lines().next().expect("a header")).expect("JSON");
        let ns = header["plan"]["protocol"]["budget_ns"].as_u64();
        ns.expect("a budget") / 1_000_000_000
    };
    let before = nights.night(&["--budget", "1h30m"], &engine(7, 0));
    before.is(1, "regression");
    assert_eq!(
        [budget_of(&before, "a"), budget_of(&before, "b")],
        [3600, 3600]
    );
    let engine = engine(7, 0);
    let after = nights.night_with(&[], &["--budget=6000s", "--engine", &engine]);
    after.is(1, "regression");
    assert_eq!(budget_of(&after, "b"), 4000);
    // Their verdicts may depend on time.
    nights.has_ample_budget = false;
    let usual = nights.night(&[], &engine);
    assert_eq!(budget_of(&usual, "b"), 200, "two thirds of 5m");
    let sweep = nights.place.path().join("sweep.toml");
    let text = std::fs::read_to_string(&sweep).expect("readable");
    std::fs::write(&sweep, format!("{text}budget = \"3m\" # of the sweep\n")).expect("writable");
    let of_sweep = nights.night(&[], &engine);
    assert_eq!(budget_of(&of_sweep, "b"), 120);
}

/// A budget that no pair fits into leaves cells undecided, and says what is missing.
#[test]
fn a_budget_that_is_too_short_decides_nothing() {
    let mut nights = Nights::in_turns();
    nights.install("old", &engine(7, 0));
    nights
        .night(&[], &engine(7, 0))
        .is(0, "first night, not judged");
    let short = nights.night(&["--budget", "0s"], &engine(7, 0));
    short.is(3, "inconclusive");
    let text = &short.summary;
    assert!(text.contains("Not decided: batch 1 "), "{text}");
    assert!(
        text.contains("give the night more time (--budget)"),
        "{text}"
    );
}

/// A program whose sequences get each other's tokens is as fast. It is a regression, even where it is the promoted one.
#[test]
fn an_output_that_differs_is_a_regression_of_its_own() {
    let mut nights = Nights::in_turns();
    let model = tiny_model().to_str().expect("text");
    // One pair decides nothing of the time.
    let night = |nights: &Nights, more: &[&str]| {
        let flags = ["--model", model, "-t", "1", "--check-output"];
        nights.night_with(&[&["--budget", "0s"], more].concat(), &flags)
    };
    nights.install("sound", "llama");
    night(&nights, &[]).is(0, "first night, not judged");
    nights.install("faulty", "llama:swap");
    let wrong = night(&nights, &[]);
    wrong.is(1, "regression");
    let words = |night: &Night| {
        night
            .summary
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let text = words(&wrong);
    for needle in [
        "An output differs by more than rounding explains: tonight",
        "; output differs)",
        "## Output",
        "the baseline does not: look at the changes between the programs",
        "Do not promote tonight",
    ] {
        assert!(text.contains(needle), "{needle}: {}", wrong.summary);
    }
    assert!(!text.contains("Slower than tolerated"), "{}", wrong.summary);
    assert!(!text.contains("--promote "), "{}", wrong.summary);

    night(&nights, &["--promote"]).is(0, "promoted");
    let shared = night(&nights, &[]);
    shared.is(1, "regression");
    assert!(shared.labelled("note").contains("byte for byte"));
    let text = words(&shared);
    assert!(
        text.contains("so the fault is not new"),
        "{}",
        shared.summary
    );
}

/// Two engines behind the same file: what one night finds is not the program.
#[test]
fn a_difference_of_the_same_file_is_no_regression() {
    let mut nights = Nights::in_turns();
    // Slower where it lies in the history: the same bytes, and another speed.
    let (slow, fast) = (engine(7, 0), engine(7, 10));
    nights.install_by_place("same", &slow, &fast);
    nights.night(&[], &slow).is(0, "first night, not judged");
    let night = nights.night(&[], &slow);
    night.is(3, "inconclusive");
    let words: Vec<&str> = night.summary.split_whitespace().collect();
    let text = words.join(" ");
    assert!(text.contains("Both programs are the same file"), "{text}");
    assert!(text.contains("ggufbench doctor"), "{text}");
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_measured() {
    let nights = Nights::new();
    for (options, needle) in [
        (vec!["--baseline", "last:x"], "say last:14"),
        (vec!["--baseline", "last:181"], "keeps fewer nights"),
        (vec!["--keep-nights", "0"], "not a number of nights"),
        (vec!["--budget", "soon"], "is not a length of time; say 5m"),
        (vec!["--nights", "--paired"], "a night is one of them"),
        (vec!["--baseline", ""], "--baseline needs a value"),
        (vec!["--history", "out"], "a folder of its own"),
        (
            vec!["--out", "sweep.toml"],
            "sweep.toml: cannot write there",
        ),
        (
            vec!["--sweep", "none.toml"],
            "none.toml: cannot read the sweep",
        ),
        (vec!["--summary", "sweep.toml/x"], "cannot be written there"),
    ] {
        let night = nights.night(&options, &engine(1, 0));
        assert_eq!(night.code, 2, "{options:?}: {}", night.said);
        assert_eq!(night.summary, "", "{options:?}");
        assert_eq!(night.complaints().len(), 1, "{}", night.said);
        assert!(night.complaints()[0].contains(needle), "{}", night.said);
    }
    // Of an option that no verb has, the program says what it says of its verbs.
    let night = nights.night(&["--nonsense"], &engine(1, 0));
    assert_eq!((night.code, night.summary.as_str()), (2, ""));
    let refused = "error: unexpected argument '--nonsense'";
    assert!(night.said.contains(refused), "{}", night.said);
    assert_eq!(nights.runs(), [""; 0]);
    let in_turns = Nights::in_turns();
    let sweep = in_turns.place.path().join("sweep.toml");
    let text = std::fs::read_to_string(&sweep).expect("readable");
    std::fs::write(&sweep, format!("{text}[requests]\nn_requests = 4\n")).expect("writable");
    let night = in_turns.night(&[], &engine(1, 0));
    assert_eq!((night.code, night.summary.as_str()), (2, ""));
    assert!(
        night.complaints()[0].contains("has [requests]") && night.said.contains("--nights"),
        "{}",
        night.said
    );
    let night = nights.night_with(&[], &["--nonsense"]);
    night.is(2, "error");
    assert!(
        night.complaints()[0].contains("--nonsense"),
        "{}",
        night.said
    );
}
