//! `prompts` as a user sees it: lists, and imports of good, bad and hostile sources.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread::JoinHandle;

use ggufbench::request::prompts::PromptSet;
use support::{Place, stderr, stdout};

fn write(place: &Place, name: &str, bytes: &[u8]) -> PathBuf {
    let path = place.path().join(name);
    std::fs::write(&path, bytes).expect("writable");
    path
}

/// Imports into `out.jsonl`, and reads that as `--prompts` does.
#[track_caller]
fn imported(place: &Place, args: &[&str]) -> Vec<(String, String)> {
    let out = place.run(
        &[
            &["prompts", "import"],
            args,
            &["--out", "out.jsonl", "--force"],
        ]
        .concat(),
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert_eq!(stdout(&out), "out.jsonl\n");
    let set = PromptSet::read(&place.path().join("out.jsonl")).expect("reads again");
    let prompts = set.all().iter();
    prompts.map(|p| (p.id.clone(), p.text.clone())).collect()
}

/// The program refuses with one line that contains `needle`, and writes nothing.
#[track_caller]
fn refused(place: &Place, args: &[&str], needle: &str) {
    let out = place.run(&[&["prompts", "import"], args, &["--out", "out.jsonl"]].concat());
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
    assert!(
        text.starts_with("error: ") && text.contains(needle),
        "{args:?}: {text}"
    );
    assert_eq!(text.trim_end().lines().count(), 1, "{args:?}: {text}");
    assert!(!place.path().join("out.jsonl").exists(), "{args:?}");
}

#[test]
fn the_bundled_prompts_are_listed() {
    let place = Place::new();
    let out = place.run(&["prompts", "list"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let text = stdout(&out);
    for line in [
        "lab: 32 prompts in 3 classes",
        "difficulty: 70 prompts in 3 classes, 30 matched pairs",
    ] {
        assert!(text.lines().any(|l| l == line), "{text}");
    }
    assert!(
        text.contains("arithmetic-01-hard") && text.contains("What is AI?"),
        "{text}"
    );
    let one = stdout(&place.run(&["prompts", "list", "--prompts", "lab"]));
    assert!(
        one.contains("lab: 32 prompts") && !one.contains("difficulty: "),
        "{one}"
    );
}

#[test]
fn a_list_shows_no_control_characters() {
    let place = Place::new();
    let line = r#"{"id":"a","class":"c","text":"x\u001b[31mred\u202e\nsecond","source":"s"}"#;
    write(&place, "p.jsonl", line.as_bytes());
    let text = stdout(&place.run(&["prompts", "list", "--prompts", "p.jsonl"]));
    assert!(text.contains("x?[31mred? second"), "{text:?}");
    let out = place.run(&["prompts", "list", "--prompts", "none.jsonl"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("none.jsonl: no such file"),
        "{}",
        stderr(&out)
    );
}

#[test]
fn a_saved_page() {
    let place = Place::new();
    let page = include_bytes!("prompts/page.html");
    write(&place, "page.html", page);
    assert_eq!(
        imported(&place, &["page.html", "--select", "article .question"]),
        [
            ("page-1".to_owned(), "Why do cats purr & purr?".to_owned()),
            (
                "page-2".to_owned(),
                "How far is it\nto the moon?".to_owned()
            ),
        ]
    );
    let whole = imported(&place, &["page.html"]);
    assert_eq!(whole.len(), 1);
    assert!(
        !whole[0].1.contains("alert") && !whole[0].1.contains("color:"),
        "{whole:?}"
    );
    let long = imported(
        &place,
        &["page.html", "--select", "li", "--min-chars", "12"],
    );
    assert_eq!(long.len(), 1, "{long:?}");
    refused_after(
        &place,
        &["page.html", "--select", ".answer"],
        "'.answer' matches none of its 15 elements",
    );
    refused_after(
        &place,
        &["page.html", "--select", "p >"],
        "--select 'p >': is no CSS selector",
    );
    refused_after(
        &place,
        &["page.html", "--select", "li", "--min-chars", "500"],
        "at least 500 characters",
    );
}

#[track_caller]
fn refused_after(place: &Place, args: &[&str], needle: &str) {
    std::fs::remove_file(place.path().join("out.jsonl")).ok();
    refused(place, args, needle);
}

#[test]
fn texts_and_tables() {
    let place = Place::new();
    write(
        &place,
        "a.txt",
        b"\xef\xbb\xbfFirst line\r\nsecond line\r\n\r\n\r\nOther\r\n\r\nOther\r\n",
    );
    let two = [
        ("a-1".to_owned(), "First line\nsecond line".to_owned()),
        ("a-2".to_owned(), "Other".to_owned()),
    ];
    assert_eq!(imported(&place, &["a.txt"]), two);
    let out = place.run(&["prompts", "import", "a.txt"]);
    assert_eq!(stdout(&out).lines().count(), 2);
    assert!(
        stderr(&out).contains("2 prompts, 1 repeated left out"),
        "{}",
        stderr(&out)
    );
    assert_eq!(imported(&place, &["a.txt", "--lines"]).len(), 3);

    write(
        &place,
        "t.csv",
        b"id,text,difficulty,pair,answer,note\nq1,\"two,\n\nparagraphs\",easy,p,4,x\n,plain,,,,\nq2,\"hard\n\none\",Hard,p,5,\n",
    );
    let rows = imported(&place, &["t.csv", "--class", "sums"]);
    assert_eq!(rows[0], ("q1".to_owned(), "two,\n\nparagraphs".to_owned()));
    assert_eq!(rows[1].0, "t-2");
    let set = PromptSet::read(&place.path().join("out.jsonl")).expect("reads");
    assert_eq!(
        set.pairs().expect("complete")[0].hard.answer.as_deref(),
        Some("5")
    );
    assert_eq!(set.classes(), ["sums"]);
    assert_eq!(set.all()[0].source, "t.csv");

    write(
        &place,
        "j.jsonl",
        b"{\"question\":\"Why?\",\"answer\":7,\"id\":\"x\",\"score\":[1]}\n",
    );
    assert_eq!(
        imported(&place, &["j.jsonl", "--text-key", "question"]),
        [("x".to_owned(), "Why?".to_owned())]
    );
}

#[test]
fn sources_that_are_none() {
    let place = Place::new();
    write(&place, "empty.txt", b" \n\n");
    write(&place, "latin.txt", b"ok\ncaf\xe9\n");
    write(&place, "x.pdf", b"%PDF");
    write(&place, "t.csv", b"question,answer\nWhy?,7\n");
    write(&place, "bad.csv", b"text,difficulty\na,easy\nb,hardest\n");
    write(&place, "ragged.csv", b"text,id\na,b,c\n");
    write(&place, "twice.csv", b"text,id\na,x\nb,x\n");
    write(
        &place,
        "j.jsonl",
        b"{\"text\":\"a\"}\n{\"question\":\"b\"}\n",
    );
    write(&place, "n.jsonl", b"{\"text\":5}\n");
    write(&place, "half.csv", b"text,pair\na,p\n");
    for (args, needle) in [
        (vec!["none.html"], "none.html: "),
        (vec!["empty.txt"], "empty.txt: no text in it"),
        (vec!["latin.txt"], "latin.txt:2: not UTF-8; convert it"),
        (
            vec!["x.pdf"],
            "x.pdf: what it is shows in its ending: .html",
        ),
        (
            vec!["t.csv"],
            "t.csv:1: no column 'text'; there are question, answer; see --text-key",
        ),
        (
            vec!["bad.csv"],
            "bad.csv:3: difficulty: 'hardest' is not easy, medium or hard",
        ),
        (vec!["ragged.csv"], "ragged.csv:2: "),
        (vec!["twice.csv"], "twice.csv:3: id: 'x' is there already"),
        (vec!["half.csv"], "half.csv:2: difficulty: missing"),
        (
            vec!["j.jsonl"],
            "j.jsonl:2: no key 'text'; there are question",
        ),
        (vec!["n.jsonl"], "n.jsonl:1: text: is no text"),
        (vec!["t.csv", "--select", "p"], "is no HTML page"),
        (vec!["t.csv", "--lines"], "is no plain text"),
        (vec!["empty.txt", "--text-key", "a"], "has no keys"),
        (vec!["latin.txt", "--class", ""], "--class: empty"),
    ] {
        if args[0] == "latin.txt" && args.len() > 1 {
            write(&place, "latin.txt", b"ok\n");
        }
        refused(&place, &args, needle);
    }
}

#[test]
fn a_file_is_replaced_only_by_force() {
    let place = Place::new();
    write(&place, "a.txt", b"one\n");
    write(&place, "mine.jsonl", b"precious");
    let import = |force: &[&str]| -> Output {
        place.run(
            &[
                &["prompts", "import", "a.txt", "--out", "mine.jsonl"],
                force,
            ]
            .concat(),
        )
    };
    let out = import(&[]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(
        stderr(&out),
        "error: mine.jsonl: exists; --force replaces it\n"
    );
    let content = || std::fs::read(place.path().join("mine.jsonl")).expect("there");
    assert_eq!(content(), b"precious");
    assert_eq!(import(&["--force"]).status.code(), Some(0));
    assert!(content().starts_with(b"{\"id\":\"a-1\""));
    let left: Vec<_> = std::fs::read_dir(place.path()).expect("readable").collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_page_of_ten_megabytes_is_read_and_a_larger_one_refused() {
    let place = Place::new();
    let paragraph = "<p>All work and no play makes a long page, number 1234567.</p>\n";
    let page = paragraph.repeat(10 * 1024 * 1024 / paragraph.len());
    write(&place, "large.html", page.as_bytes());
    // All its paragraphs say the same.
    assert_eq!(imported(&place, &["large.html", "--select", "p"]).len(), 1);
    let page = paragraph.repeat(17 * 1024 * 1024 / paragraph.len());
    write(&place, "larger.html", page.as_bytes());
    refused_after(
        &place,
        &["larger.html"],
        "larger.html: larger than 16.0 MiB",
    );
    write(&place, "deep.html", "<div>".repeat(100_000).as_bytes());
    refused(&place, &["deep.html"], "nested deeper than 512");
    write(
        &place,
        "control.html",
        "<p>a\u{1b}[2Jb\u{7}\u{9b}c".as_bytes(),
    );
    assert_eq!(imported(&place, &["control.html"])[0].1, "a[2Jbc");
}

/// A server that answers one request, and hands back what was asked.
fn server(answer: Vec<u8>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let served = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a client");
        let mut asked = Vec::new();
        let mut byte = [0];
        while !asked.ends_with(b"\r\n\r\n") && connection.read(&mut byte).expect("readable") > 0 {
            asked.push(byte[0]);
        }
        // A client that has read enough closes.
        let _ = connection.write_all(&answer);
        String::from_utf8_lossy(&asked).into_owned()
    });
    (address, served)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn from_server(place: &Place, answer: Vec<u8>, path: &str, args: &[&str]) -> (Output, String) {
    let (address, served) = server(answer);
    let url = format!("{address}{path}");
    let args = [
        &["prompts", "import", &url, "--out", "out.jsonl", "--force"],
        args,
    ]
    .concat();
    let out = place
        .command()
        .args(&args)
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .expect("starts");
    (out, served.join().expect("served"))
}

#[test]
fn an_address_is_asked_once_and_only_it() {
    let place = Place::new();
    let page = answer(
        "200 OK\r\ncontent-type: text/html; charset=utf-8",
        b"<p>One?<p>Two?",
    );
    let (out, asked) = from_server(&place, page, "/faq/list.html?x=1", &["--select", "p"]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(
        asked.starts_with("GET /faq/list.html?x=1 HTTP/1.1\r\n"),
        "{asked}"
    );
    let set = PromptSet::read(&place.path().join("out.jsonl")).expect("reads");
    assert_eq!(set.all()[1].id, "list-2");
    assert!(set.all()[1].source.ends_with("/faq/list.html?x=1"));
    let text = answer("200 OK\r\ncontent-type: text/plain", b"one\n\ntwo\n");
    let (out, _) = from_server(&place, text, "/t", &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
}

#[test]
fn addresses_that_answer_otherwise() {
    let place = Place::new();
    let large = vec![b'a'; 16 * 1024 * 1024 + 1];
    for (reply, needle) in [
        (
            answer("302 Found\r\nlocation: http://elsewhere.example/x", b""),
            "redirects to http://elsewhere.example/x, which is not followed; name that address",
        ),
        (
            answer("404 Not Found\r\ncontent-type: text/html", b"<p>x"),
            "answers with HTTP status 404",
        ),
        (
            answer("200 OK\r\ncontent-type: image/png", b"x"),
            "is 'image/png', neither HTML nor text",
        ),
        (
            answer("200 OK", b"x"),
            "is 'of unknown type', neither HTML nor text",
        ),
        (
            answer("200 OK\r\ncontent-type: text/html", b"<p>caf\xe9"),
            "not UTF-8",
        ),
        (
            answer("200 OK\r\ncontent-type: text/plain", &large),
            "larger than 16.0 MiB",
        ),
        (b"nonsense\r\n\r\n".to_vec(), "http"),
    ] {
        let (out, _) = from_server(&place, reply, "/", &[]);
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{needle}: {text}");
        assert!(
            text.starts_with("error: http://127.0.0.1:") && text.contains(needle),
            "{needle}: {text}"
        );
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(!Path::new(&place.path().join("out.jsonl")).exists());
    }
    let out = place.run(&["prompts", "import", "http://user:secret@127.0.0.1:1/"]);
    let text = stderr(&out);
    assert!(
        text.contains("has a user or password") && !text.contains("secret"),
        "{text}"
    );
}
