use super::markdown::escaped;
use super::*;

fn document() -> Document {
    let table = Table::of(&[(1_u32, "same", "s"), (128, "a|b", "a")])
        .numbers("batch", |(batch, ..)| *batch)
        .numbers("dispensable", |(batch, ..)| *batch)
        .rank(2)
        .words("verdict", |(_, verdict, _)| *verdict)
        .short(|(.., short)| *short);
    Document::new("a_b", table)
        .above("A", "one\x1b[31m")
        .below("", "The end.")
}

#[test]
fn what_does_not_fit_is_named() {
    let wide = document().terminal(80, false);
    assert!(
        wide.starts_with("A  one?[31m\n\nbatch  dispensable  verdict\n───"),
        "{wide}"
    );
    assert!(wide.contains("\n    1            1  same\n") && wide.ends_with("\n\nThe end.\n"));
    let narrow = document().terminal(24, false);
    assert!(
        narrow.contains("batch  verdict\n") && narrow.contains("\n    1  s\n"),
        "{narrow}"
    );
    assert!(wide.contains("a|b") && narrow.contains("no room for: dispensable"));
}

#[test]
fn words_at_the_end_of_a_row_are_wrapped() {
    let rows = [("model", "a few words about it that need more than one line")];
    let table = Table::of(&rows).words("name", |(name, _)| *name);
    let document = Document::new("", table.words("about", |(_, about)| *about));
    let text = document.terminal(34, false);
    assert!(
        text.ends_with("\nmodel  a few words about it that\n       need more than one line\n"),
        "{text}"
    );
}

#[test]
fn a_long_name_gives_way_to_the_columns_after_it() {
    let rows = [
        ("llama3-8b-instruct-q4_k_m", "2785", "pass"),
        ("tiny", "9", "fail"),
    ];
    let table = Table::of(&rows)
        .words("model", |(model, ..)| *model)
        .numbers("decode", |(_, decode, _)| *decode)
        .words("verdict", |(.., verdict)| *verdict);
    let text = Document::new("", table).terminal(34, false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "model              decode  verdict",
            "──────────────────────────────────",
            "llama3-8…t-q4_k_m    2785  pass",
            "tiny                    9  fail",
        ]
    );
}

#[test]
fn markdown_is_escaped_and_padded() {
    let text = document().markdown();
    assert!(
        text.contains("| batch | dispensable | verdict |\n| ----: | ----------: | ------- |\n")
    );
    assert!(
        text.contains("|   128 |         128 | a\\|b    |\n"),
        "{text}"
    );
    assert_eq!(
        escaped("a|b\n<script>`x` [l](u) \\|"),
        "a\\|b &lt;script>\\`x\\` \\[l\\](u) \\\\\\|"
    );
    assert_eq!(escaped("<0.001"), "<0.001");
    assert_eq!(escaped("<0@example.org>"), "&lt;0@example.org>");
}

/// Two groups, a value that is missing, one that is blank, and a row without figures.
fn grouped() -> Table {
    let rows = [
        ("a", 1_u32, Some("2.5".to_owned())),
        ("a", 8, None),
        ("<b>", 1, None),
    ];
    Table::of(&rows)
        .groups("model", |(model, ..)| {
            ((*model).to_owned(), format!("{model}: Q4_0"))
        })
        .numbers("batch", |(_, batch, _)| *batch)
        .texts(|(model, ..)| (*model == "<b>").then(|| ("crashed".to_owned(), Tone::Failure)))
        .numbers("decode", |(.., rate)| rate.clone())
        .unit("t/s")
        .why("no luck")
        .numbers("", |(.., rate)| rate.clone().unwrap_or_default())
        .unit("±95%")
        .table()
}

#[test]
fn groups_are_headings_on_a_terminal_and_a_column_elsewhere() {
    let document = Document::new("", grouped());
    let text = document.terminal(80, false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "batch  decode",
            "          t/s ±95%",
            "──────────────────",
            "a: Q4_0",
            "    1     2.5  2.5",
            "    8     n/a",
            "<b>: Q4_0",
            "    1  crashed",
            "",
            "n/a: no luck",
        ]
    );
    assert!(document.terminal(80, true).contains("\x1b[31mcrashed"));
    let markdown = grouped().markdown();
    assert!(
        markdown.starts_with("| model  | batch | decode t/s | ±95% |\n"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| &lt;b> |     1 |    crashed |      |\n"),
        "{markdown}"
    );
    let html = grouped().html("All cells").expect("renders");
    assert!(
        html.contains("<td class=\"short\">&#60;b&#62;</td>"),
        "{html}"
    );
    assert!(
        html.contains("<td class=\"rest\" colspan=\"2\">crashed</td>"),
        "{html}"
    );
}
