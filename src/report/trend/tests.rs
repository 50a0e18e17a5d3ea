use super::*;
use crate::plot;
use crate::trend::MOST_NIGHTS;
use crate::trend::tests::{HistoryMaker, noisy_step};

/// A step with a new kernel at night 40 of 90.
fn history() -> HistoryMaker {
    let made = HistoryMaker::new(&[1, 8]);
    for day in 0..90 {
        let level = if day < 40 { 1.0 } else { 1.03 };
        made.night(day, noisy_step(day, level), |header| {
            header.program.version = "1.0.0".to_owned();
            header.program.git = None;
            if day >= 40 {
                header.machine.kernel = Some("6.8.0".to_owned());
            }
        });
    }
    made
}

#[test]
fn a_trend_as_a_table() {
    let trend = history().read(MOST_NIGHTS);
    let document = document(&trend);
    insta::assert_snapshot!(document.terminal(100, false));
    let narrow = document.terminal(80, false);
    assert!(
        narrow.lines().all(|line| line.chars().count() <= 80),
        "{narrow}"
    );
}

#[test]
fn the_page_is_whole_and_replaces_its_own_files_only() {
    let trend = history().read(MOST_NIGHTS);
    let folder = tempfile::tempdir().expect("a folder for the test");
    let written = write(&trend, folder.path(), false).expect("writes");
    assert_eq!(written.len(), 2);
    let page = std::fs::read_to_string(&written[0]).expect("text");
    for needle in [
        "<h1>Trend</h1>",
        "kernel 6.1.0 -&gt; 6.8.0",
        "+2.9% between ",
        "build or machine changed",
        "20260210-023000-nightly",
        "2026-02-09 and 2026-02-10",
    ] {
        assert!(
            page.contains(needle) || page.contains(&needle.replace("&gt;", "&#62;")),
            "{needle}"
        );
    }
    assert_eq!(page.matches("<figure>").count(), 3, "all cells, and each");
    assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("src=\"http"));
    let figures = trend
        .cells
        .iter()
        .filter_map(|cell| plot::trend::of_cell(&trend, cell));
    for figure in figures.chain(plot::trend::overview(&trend)) {
        for medium in [plot::Medium::Inline, plot::Medium::File] {
            assert_eq!(plot::placed::faults(&plot::svg(&figure, medium)), [""; 0]);
        }
    }
    let picture = std::fs::read(&written[1]).expect("a file");
    assert!(picture.starts_with(b"\x89PNG"));
    write(&trend, folder.path(), false).expect("replaces its own");
    std::fs::write(&written[0], "<title>Notes</title>").expect("writable");
    assert!(write(&trend, folder.path(), false).is_err());
    write(&trend, folder.path(), true).expect("--force");
}
