//! Whole reports, and what they must not do.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use scraper::{Html, Selector};

use super::{Block, Lab};
use crate::analysis::Sure;
use crate::analysis::theory::Theory;
use crate::build_info::BuildInfo;
use crate::plan::Case;
use crate::plot::{self, Medium};
use crate::record::{Line, Outcome, RunHeader};
use crate::report::{ReportFiles, csv, write_files};
use crate::view::RunView;
use crate::view::fixture::{
    self, MS, calls, case, cell, header, measured, repetition, three_processes,
};

/// A report that does not depend on what this program was built from.
fn lab(mut view: RunView) -> (RunView, Lab) {
    view.header.program = BuildInfo {
        version: "0.1.0".to_owned(),
        git: Some("0123456789ab".to_owned()),
        llama_cpp_2: None,
        llama_cpp_sys_2: None,
        ggml: None,
        llama_cpp_commit: None,
        llama_cpp_build: None,
        llama_cpp_files: None,
        target: None,
        profile: None,
        opt_level: None,
        debug_assertions: false,
        features: Vec::new(),
        target_cpu: None,
        target_features: Vec::new(),
        rustc: None,
    };
    let lab = Lab::of(&view, &Theory::of(&view, &|_| None), None);
    (view, lab)
}

fn html(view: &RunView, lab: &Lab) -> String {
    super::html::render(lab, &view.record).expect("renders")
}

/// The page without its pictures, style and script, which have tests of their own.
fn without_pictures(page: &str) -> String {
    let mut rest = page;
    let mut out = String::new();
    for (from, to) in [
        ("<style>", "</style>"),
        ("<svg", "</svg>"),
        ("<script>", "</script>"),
    ] {
        out.clear();
        while let Some((before, after)) = rest.split_once(from) {
            out.push_str(before);
            rest = after.split_once(to).expect("ends").1;
        }
        out.push_str(rest);
        rest = Box::leak(out.clone().into_boxed_str());
    }
    let hash = rest.split_once("sha256-").expect("has a policy").1;
    let hash = hash.split_once('\'').expect("ends").0;
    rest.replace(hash, "HASH")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn page_of_a_mixed_run() {
    let (view, lab) = lab(fixture::mixed());
    assert_snapshot!(without_pictures(&html(&view, &lab)));
}

#[test]
fn document_of_a_mixed_run() {
    let (_, lab) = lab(fixture::mixed());
    assert_snapshot!(super::markdown::render(&lab));
}

#[test]
fn every_picture_of_a_mixed_run() {
    let (_, lab) = lab(fixture::mixed());
    let pictures: Vec<String> = lab.figures().map(|f| plot::svg(f, Medium::File)).collect();
    assert_snapshot!(pictures.join("\n"));
}

#[test]
fn the_files_of_a_report_stand_beside_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, lab) = lab(fixture::mixed());
    let stale = ["svg", "png"].map(|end| folder.path().join(format!("plots/thread_impact.{end}")));
    std::fs::create_dir(folder.path().join("plots")).expect("a folder");
    let figure = lab.figures().next().expect("has figures");
    std::fs::write(&stale[0], plot::svg(figure, Medium::File)).expect("writable");
    std::fs::write(&stale[1], "of an earlier report").expect("writable");
    write_files(&view, &lab, &ReportFiles::in_folder(folder.path())).expect("writes");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("is there");
    assert_eq!(read("report.html"), html(&view, &lab));
    assert_eq!(read("report.md"), super::markdown::render(&lab));
    assert_eq!(read("cells.csv").lines().count(), 1 + view.cells.len());
    assert!(!stale.iter().any(|path| path.exists()));
    for figure in lab.figures() {
        assert!(plot::IDS.contains(&figure.id), "{}", figure.id);
        assert!(read(&format!("plots/{}.svg", figure.id)).contains("<svg"));
        assert!(read("report.md").contains(&format!("](plots/{}.png)", figure.id)));
        assert!(
            folder
                .path()
                .join(format!("plots/{}.png", figure.id))
                .exists()
        );
    }
}

#[test]
fn no_text_of_any_figure_of_a_report_is_cut_or_touches_another() {
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/results/h200/throughput");
    let recorded = RunView::read(recorded.as_ref()).expect("a record");
    let views = [
        recorded,
        fixture::mixed(),
        fixture::requests::both(),
        fixture::requests::with_cells(),
        fixture::quality::with_speed(),
        hostile(),
    ];
    let mut n_figures = 0;
    for view in views {
        let (_, lab) = lab(view);
        for figure in lab.figures() {
            n_figures += 1;
            for medium in [Medium::Inline, Medium::File] {
                let picture = plot::svg(figure, medium);
                let faults = plot::placed::faults(&picture);
                assert_eq!(faults, [""; 0], "{} of {}", figure.id, lab.title);
            }
        }
    }
    assert!(n_figures > 30, "{n_figures}");
}

#[test]
fn every_table_has_a_name_and_every_figure_a_text() {
    let (view, lab) = lab(fixture::requests::with_cells());
    let text = html(&view, &lab);
    let page = Html::parse_document(&text);
    let all = |selector: &str| {
        let selector = Selector::parse(selector).expect("a selector");
        page.select(&selector)
            .map(|e| e.value().clone())
            .collect::<Vec<_>>()
    };
    let captions = Selector::parse("table > caption").expect("a selector");
    let captions: Vec<String> = page.select(&captions).map(|e| e.text().collect()).collect();
    assert_eq!(captions.len(), all("table").len());
    assert!(
        captions.iter().all(|caption| !caption.is_empty()),
        "{captions:?}"
    );
    assert!(
        all("thead th")
            .iter()
            .all(|th| th.attr("scope") == Some("col"))
    );
    let pictures = all("figure svg[role=img]");
    assert_eq!(pictures.len(), lab.figures().count());
    for picture in pictures {
        let said = picture.attr("aria-label").unwrap_or_default();
        assert!(said.contains("Across: ") && said.contains(" at "), "{said}");
    }
}

/// A run whose every text is an attack.
fn hostile() -> RunView {
    let names = [
        "<script>alert(1)</script>".to_owned(),
        "\"><img src=x onerror=alert(1)>|`x`\n# h\n</pre></details>".to_owned(),
        format!("=cmd|'/c calc'!A1{}", "&lt;<b>\u{202e}\u{0}]]>".repeat(600)),
    ];
    let mut lines = Vec::new();
    let mut cases: Vec<Case> = Vec::new();
    for name in &names {
        for n_seq in [1, 8, 32] {
            let c = Case {
                n_gen: 20,
                ..case(name, n_seq)
            };
            lines.extend(three_processes(&c, 2, MS, MS * (4 + u64::from(n_seq))));
            cases.push(c);
        }
    }
    let broken = case(&names[0], 64);
    let reason = format!("{}\u{1b}[2J", names[1]);
    lines.push(Line::Cell(Box::new(cell(
        &broken,
        Some(0),
        Outcome::Failed { reason },
    ))));
    cases.push(broken);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let attack = names[1].to_owned();
    let mut header: RunHeader = header(&names, cases);
    header.run.clone_from(&attack);
    header.plan.name.clone_from(&attack);
    header.started_at.clone_from(&attack);
    header.args = vec![attack.clone()];
    header.machine.cpu.model = Some(attack.clone());
    header.machine.os = Some(attack.clone());
    header.engine.name.clone_from(&attack);
    header.engine.system_info = format!("{attack}</script><script>alert(2)</script>");
    header.missing_cpu_features = vec![attack.clone()];
    for model in &mut header.plan.models {
        model.general_name = Some(attack.clone());
        model.file_type.clone_from(&attack);
        model.architecture.clone_from(&attack);
        model.path = attack.clone().into();
    }
    fixture::view(header, lines)
}

fn tags(page: &str) -> BTreeSet<String> {
    let all = Selector::parse("*").expect("a selector");
    let page = Html::parse_document(page);
    page.select(&all)
        .map(|e| e.value().name().to_owned())
        .collect()
}

#[test]
fn hostile_text_is_text_in_the_page() {
    let (view, lab) = lab(hostile());
    let text = html(&view, &lab);
    let (calm_view, calm) = self::lab(fixture::mixed());
    let known = tags(&html(&calm_view, &calm));
    let unknown: Vec<String> = tags(&text).difference(&known).cloned().collect();
    assert_eq!(unknown, [""; 0], "elements that only an attack has");
    let page = Html::parse_document(&text);
    let scripts = Selector::parse("script").expect("a selector");
    assert_eq!(page.select(&scripts).count(), 1);
    for element in page.select(&Selector::parse("*").expect("a selector")) {
        for (name, value) in element.value().attrs() {
            assert!(!name.starts_with("on") && name != "src", "{name}={value}");
            if name == "href" {
                assert!(value.starts_with('#') || value == "data:,", "{value}");
            }
        }
    }
    assert!(!text.contains('\u{202e}') && !text.contains('\u{0}') && !text.contains('\u{1b}'));
    let script_hash = text.split("script-src 'sha256-").count();
    assert_eq!(script_hash, 2, "one policy");
}

#[test]
fn hostile_text_is_text_in_the_document() {
    let (_, lab) = lab(hostile());
    let text = super::markdown::render(&lab);
    // Indented lines are code, in which nothing is markup.
    let prose: Vec<&str> = text.lines().filter(|l| !l.starts_with("    ")).collect();
    let prose = prose.join("\n");
    assert!(
        !prose.contains("<script") && !prose.contains("<img"),
        "{prose}"
    );
    assert!(!text.contains('\u{1b}'));
    // Nor is it where text is shown as it is.
    let mut shown = text.clone();
    while let Some((before, rest)) = shown.split_once("<pre>\n") {
        let after = rest.split_once("\n</pre>").expect("ends").1;
        shown = format!("{before}{after}");
    }
    let headings: Vec<&str> = shown.lines().filter(|l| l.starts_with("# ")).collect();
    assert_eq!(headings.len(), 1, "{headings:?}");
    assert_eq!(
        text.matches("<details>").count(),
        text.matches("\n</details>").count()
    );
    let bars = |l: &str| l.replace("\\|", "").matches('|').count();
    let rows: Vec<&str> = text.lines().filter(|l| l.starts_with("| ")).collect();
    for pair in rows.windows(2).filter(|p| text.contains(&p.join("\n"))) {
        assert_eq!(bars(pair[0]), bars(pair[1]), "{pair:?}");
    }
}

#[test]
fn hostile_text_is_text_in_the_pictures_and_in_spreadsheets() {
    let (view, lab) = lab(hostile());
    assert!(lab.figures().count() >= 9);
    for figure in lab.figures() {
        let picture = plot::svg(figure, Medium::File);
        assert!(
            !picture.contains("<script") && !picture.contains("<img"),
            "{}",
            figure.id
        );
        plot::png(figure).expect("valid XML");
    }
    let mut table = Vec::new();
    csv::write(&view, &mut table).expect("writes");
    let mut read = ::csv::Reader::from_reader(table.as_slice());
    for record in read.records() {
        for field in &record.expect("well-formed") {
            let starts_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
            assert!(!starts_formula || field.parse::<f64>().is_ok(), "{field}");
        }
    }
}

#[test]
fn page_of_requests() {
    let (view, lab) = lab(fixture::requests::both());
    assert_snapshot!(without_pictures(&html(&view, &lab)));
}

#[test]
fn a_job_that_is_never_served_went_wrong_like_a_cell() {
    use crate::record::requests::NeverServed;
    use fixture::requests::{OWN, in_process, jobs, lines, request_header};
    let jobs = &jobs()[..2];
    let mut header = request_header(&[OWN], 1, jobs.to_vec());
    let plan = header.requests.as_mut().expect("has requests");
    plan.never_served.push(NeverServed {
        job: jobs[1].name.clone(),
        target: OWN.to_owned(),
        outcome: Outcome::Failed {
            reason: "a broken file".to_owned(),
        },
    });
    let served = lines(&jobs[0], OWN, 0, in_process(&jobs[0], 0));
    let (_, lab) = lab(fixture::view(header, served));
    let text = super::markdown::render(&lab);
    let wrong = text.split("## What went wrong").nth(1).expect("a section");
    let row = wrong.lines().find(|l| l.contains("failed: a broken file"));
    assert!(
        row.is_some_and(|row| row.contains(&format!("{} at {OWN}", jobs[1].name))),
        "{wrong}"
    );
}

#[test]
fn document_of_requests() {
    let (_, lab) = lab(fixture::requests::both());
    assert_snapshot!(super::markdown::render(&lab));
}

#[test]
fn every_picture_of_requests() {
    let (_, lab) = lab(fixture::requests::both());
    let ids: Vec<&str> = lab.figures().map(|f| f.id).collect();
    assert_eq!(
        ids,
        [
            "ttft_by_class",
            "prompt_length_requests",
            "temperature_impact",
            "concurrent_impact",
            "concurrent_latency",
            "request_latency",
            "requests_over_time"
        ]
    );
    let pictures: Vec<String> = lab.figures().map(|f| plot::svg(f, Medium::File)).collect();
    assert_snapshot!(pictures.join("\n"));
}

#[test]
fn no_section_of_requests_is_blank_or_speaks_of_cells() {
    for view in [
        fixture::requests::both(),
        fixture::requests::own(),
        fixture::requests::with_cells(),
    ] {
        let has_cells = !view.cells.is_empty();
        let (_, lab) = lab(view);
        for section in &lab.sections {
            assert!(!section.blocks.is_empty(), "{}", section.title);
            let ends_in_heading = matches!(section.blocks.last(), Some(Block::Heading(_)));
            assert!(!ends_in_heading, "{}", section.title);
        }
        let text = super::markdown::render(&lab);
        assert!(!text.contains("No cell was measured"), "{text}");
        assert_eq!(text.contains("cells.csv"), has_cells);
        let ids: Vec<&str> = lab.figures().map(|f| f.id).collect();
        let distinct: BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "{ids:?}");
    }
}

#[test]
fn requests_stand_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, lab) = lab(fixture::requests::both());
    let files = ReportFiles::in_folder(folder.path());
    let written = write_files(&view, &lab, &files).expect("writes");
    let names: Vec<String> = written
        .iter()
        .filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(names, ["report.html", "report.md", "requests.csv"]);
    assert!(!folder.path().join("cells.csv").exists());
    let table = std::fs::read_to_string(folder.path().join("requests.csv")).expect("is there");
    let requests = view.requests.as_ref().expect("has requests");
    let n: usize = requests.jobs.iter().map(|j| j.requests.len()).sum();
    assert_eq!(table.lines().count(), 1 + n);
}

#[test]
fn hostile_requests_are_text_in_page_document_and_pictures() {
    let attack =
        "=</pre></details><script>alert(1)</script><img src=x onerror=y>|\x1b[31m\u{202e}\n# ` ](";
    let (view, lab) = lab(fixture::requests::hostile(attack));
    let text = html(&view, &lab);
    let (calm_view, calm) = self::lab(fixture::requests::both());
    let known = tags(&html(&calm_view, &calm));
    let unknown: Vec<String> = tags(&text).difference(&known).cloned().collect();
    assert_eq!(unknown, [""; 0], "elements that only an attack has");
    let page = Html::parse_document(&text);
    let scripts = Selector::parse("script").expect("a selector");
    assert_eq!(page.select(&scripts).count(), 1);
    assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
    let document = super::markdown::render(&lab);
    let prose: Vec<&str> = document
        .lines()
        .filter(|l| !l.starts_with("    "))
        .collect();
    let prose = prose.join("\n");
    assert!(
        !prose.contains("<script") && !prose.contains("<img"),
        "{prose}"
    );
    assert!(!document.contains('\u{1b}') && !document.contains('\u{202e}'));
    assert_eq!(
        document.matches("<details>").count(),
        document.matches("\n</details>").count()
    );
    for figure in lab.figures() {
        let picture = plot::svg(figure, Medium::File);
        assert!(!picture.contains("<script") && !picture.contains("<img"));
        plot::png(figure).expect("valid XML");
    }
}

#[test]
fn a_run_of_one_cell_has_a_whole_report() {
    let c = case("tiny", 4);
    let lines = [
        Line::Repetition(Box::new(repetition(
            &c,
            0,
            0,
            calls(&c, 9 * MS, &[2 * MS; 40]),
        ))),
        Line::Cell(Box::new(cell(&c, Some(0), measured(1)))),
        fixture::end(),
    ];
    let (view, lab) = lab(fixture::view(header(&["tiny"], vec![c]), lines));
    let claim = &lab.lead[0];
    assert!(
        claim
            .claim
            .starts_with("tiny with 4 sequences at once: 2000 tokens/s"),
        "{claim:?}"
    );
    assert_eq!(claim.sure, Sure::Likely);
    let trust = lab.lead.last().expect("how sure");
    assert_eq!(trust.sure, Sure::Undetermined, "{trust:?}");
    let missing = lab.sections.iter().flat_map(|s| &s.blocks);
    let commands: Vec<&str> = missing
        .flat_map(|b| match b {
            Block::Missing(_, command) => vec![command.as_str()],
            Block::Commands(_, all) => all.iter().filter_map(|(_, c)| c.as_deref()).collect(),
            _ => Vec::new(),
        })
        .collect();
    assert!(commands.len() > 8, "{commands:?}");
    assert!(
        commands.iter().all(|c| c.starts_with("ggufbench ")),
        "{commands:?}"
    );
    html(&view, &lab);
    super::markdown::render(&lab);
}

#[test]
fn a_run_in_which_nothing_worked_says_so() {
    let cases: Vec<Case> = [1, 8].map(|n| case("tiny", n)).into();
    let crashed = Outcome::Crashed {
        how: "SIGSEGV".to_owned(),
    };
    let skipped = Outcome::Skipped {
        needs_bytes: 2,
        has_bytes: 1,
        device: None,
        n_gpu_layers: None,
    };
    let lines = [
        Line::Cell(Box::new(cell(&cases[0], Some(0), crashed))),
        Line::Cell(Box::new(cell(&cases[1], None, skipped))),
    ];
    let (view, lab) = lab(fixture::view(header(&["tiny"], cases), lines));
    assert_eq!(lab.lead.len(), 1);
    assert_eq!(lab.lead[0].claim, "Undetermined: no cell was measured.");
    assert_eq!(lab.figures().count(), 0);
    let text = html(&view, &lab);
    assert!(text.contains("crashed: SIGSEGV") && text.contains("skipped: needs 2 B, has 1 B"));
    let empty = self::lab(fixture::view(header(&[], vec![]), []));
    html(&empty.0, &empty.1);
}

#[test]
fn page_of_quality_and_speed() {
    let (view, lab) = lab(fixture::quality::with_speed());
    assert_snapshot!(without_pictures(&html(&view, &lab)));
}

#[test]
fn document_of_quality_alone() {
    let (_, lab) = lab(fixture::quality::alone());
    assert_snapshot!(super::markdown::render(&lab));
}

#[test]
fn picture_of_speed_against_accuracy() {
    let (_, lab) = lab(fixture::quality::with_steps([[10, 24], [12, 18], [4, 16]]));
    let figure = lab.figures().find(|f| f.id == "precision_tradeoff");
    let figure = figure.expect("speed and accuracy");
    let hollow = |n: usize| figure.series[n].points.iter().map(|p| p.is_hollow);
    // The base stands at the left; the fine file is slower than it at batch 1.
    assert_eq!(hollow(0).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(hollow(1).collect::<Vec<_>>(), [false, false, false]);
    let xs: Vec<f64> = figure.series[0].points.iter().map(|p| p.x).collect();
    assert!(
        (xs[0] - 0.0055 / 20.0).abs() < 1e-6,
        "far above the floor: {xs:?}"
    );
    let labels = figure.series[1]
        .points
        .iter()
        .filter_map(|p| p.label.as_deref());
    assert_eq!(labels.collect::<Vec<_>>(), ["F16 (base)", "Q8_0", "Q4_0"]);
    assert_snapshot!(plot::svg(figure, Medium::File));
}

#[test]
fn no_section_of_quality_is_blank() {
    for view in [fixture::quality::alone(), fixture::quality::with_speed()] {
        let has_cells = !view.cells.is_empty();
        let (_, lab) = lab(view);
        for section in &lab.sections {
            assert!(!section.blocks.is_empty(), "{}", section.title);
            let ends_in_heading = matches!(section.blocks.last(), Some(Block::Heading(_)));
            assert!(!ends_in_heading, "{}", section.title);
        }
        let text = super::markdown::render(&lab);
        assert!(!text.contains("No cell was measured"), "{text}");
        assert_eq!(
            text.contains("cells.csv") || text.contains("Every cell"),
            has_cells
        );
    }
}

#[test]
fn quality_cells_stand_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, lab) = lab(fixture::quality::alone());
    let files = ReportFiles::in_folder(folder.path());
    let written = write_files(&view, &lab, &files).expect("writes");
    let names = written.iter().filter_map(|p| p.file_name()?.to_str());
    let names: Vec<&str> = names.collect();
    assert_eq!(names, ["report.html", "report.md", "quality.csv"]);
    let table = std::fs::read_to_string(folder.path().join("quality.csv")).expect("is there");
    assert_eq!(table.lines().count(), 5);
    write_files(&view, &lab, &files).expect("its own files may be written again");
}
