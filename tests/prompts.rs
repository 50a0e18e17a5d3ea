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
            "x.pdf: what it is shows in its ending: .html, .txt, .csv, .json, .jsonl or .parquet",
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

#[test]
fn conversations_of_sharegpt_and_openai() {
    let place = Place::new();
    let sharegpt = br#"[
  {"id": "QWJhYvA_0", "conversations": [
    {"from": "human", "value": "Why is the sky blue?"},
    {"from": "gpt", "value": "Scattering."},
    {"from": "human", "value": "And at night?"}]},
  {"id": "QWJhYvA_0", "conversations": [{"from": "gpt", "value": "It goes on."}]},
  {"id": "i6IyJda_0", "conversations": [
    {"from": "system", "value": "Be brief."}, {"from": "human", "value": "Who are you?"}]}
]"#;
    write(&place, "sharegpt.json", sharegpt);
    let first = ("sharegpt-1".to_owned(), "Why is the sky blue?".to_owned());
    let third = (
        "sharegpt-3".to_owned(),
        "Be brief.\n\nWho are you?".to_owned(),
    );
    assert_eq!(imported(&place, &["sharegpt.json"]), [first.clone(), third]);
    let out = place.run(&["prompts", "import", "sharegpt.json"]);
    assert!(
        stderr(&out).contains("2 prompts, 1 without a user's message left out"),
        "{}",
        stderr(&out)
    );
    let few = place.run(&["prompts", "import", "sharegpt.json", "--max-prompts", "1"]);
    assert!(
        stderr(&few).contains("1 prompt, the first of the source"),
        "{}",
        stderr(&few)
    );
    let two = place.run(&["prompts", "import", "sharegpt.json", "--max-prompts", "2"]);
    assert!(!stderr(&two).contains("the first of"), "{}", stderr(&two));

    let messages = br#"{"messages": [{"role": "system", "content": "Sort."}, {"role": "user", "content": "3 1 2"}]}

{"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]}]}
{"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [{"role": "user", "content": "Batched?"}]}}
"#;
    write(&place, "chat.jsonl", messages);
    // Some tools call JSON Lines .json.
    write(&place, "chat.json", messages);
    for source in ["chat.jsonl", "chat.json"] {
        let texts: Vec<String> = imported(&place, &[source])
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            texts,
            ["Sort.\n\n3 1 2", "What is this?", "Batched?"],
            "{source}"
        );
    }
    let out = place.run(&["prompts", "import", "chat.jsonl"]);
    assert!(
        stderr(&out).contains("3 prompts, 1 without their images or other parts"),
        "{}",
        stderr(&out)
    );
    write(
        &place,
        "texts.json",
        br#"["One?", {"text": "Two?", "id": "b"}, {"text": "Three?"}]"#,
    );
    let ids: Vec<String> = imported(&place, &["texts.json"])
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, ["texts-1", "b", "texts-3"]);
}

#[test]
fn data_sets_of_hugging_face() {
    let place = Place::new();
    write(
        &place,
        "messages.parquet",
        include_bytes!("prompts/messages.parquet"),
    );
    write(
        &place,
        "questions.parquet",
        include_bytes!("prompts/questions.parquet"),
    );
    assert_eq!(
        imported(&place, &["messages.parquet"]),
        [
            (
                "messages-1".to_owned(),
                "Answer briefly.\n\nWhy is the sky blue?".to_owned()
            ),
            (
                "messages-3".to_owned(),
                "Wie weit ist es bis zum Mond? 384 400 km \u{2014} or more?".to_owned()
            ),
        ]
    );
    let sums = [
        ("7".to_owned(), "What is 2 + 2?".to_owned()),
        ("8".to_owned(), "What is 3 * 3?".to_owned()),
    ];
    assert_eq!(
        imported(&place, &["questions.parquet", "--text-key", "question"]),
        sums
    );
    let set = PromptSet::read(&place.path().join("out.jsonl")).expect("reads");
    assert_eq!(set.all()[1].answer.as_deref(), Some("9"));
    let few = [
        "questions.parquet",
        "--text-key",
        "question",
        "--max-prompts",
        "1",
    ];
    assert_eq!(imported(&place, &few), sums[..1]);
}

#[test]
fn data_sets_that_cannot_be_used() {
    let place = Place::new();
    let whole = include_bytes!("prompts/messages.parquet");
    write(&place, "half.parquet", &whole[..whole.len() / 2]);
    let mut torn = whole.to_vec();
    torn[8..200].fill(0xff);
    write(&place, "torn.parquet", &torn);
    write(&place, "none.parquet", b"");
    write(
        &place,
        "gzip.parquet",
        include_bytes!("prompts/gzip.parquet"),
    );
    write(
        &place,
        "questions.parquet",
        include_bytes!("prompts/questions.parquet"),
    );
    write(
        &place,
        "keys.json",
        br#"[{"instruction": "a", "output": "b"}]"#,
    );
    write(&place, "number.json", b"[1]");
    write(&place, "cut.json", b"[{\"text\": \"a\"},\n{\"text\": ");
    write(
        &place,
        "answers.json",
        br#"[{"messages": [{"role": "assistant", "content": "a"}]}]"#,
    );
    write(
        &place,
        "roles.jsonl",
        b"{\"messages\": [{\"text\": \"a\"}]}\n",
    );
    for (args, needle) in [
        (vec!["half.parquet"], "half.parquet: "),
        (vec!["torn.parquet"], "torn.parquet: "),
        (vec!["none.parquet"], "none.parquet: "),
        (
            vec!["gzip.parquet", "--text-key", "question"],
            "gzip.parquet: ",
        ),
        (
            vec!["questions.parquet"],
            "questions.parquet: no column 'text'; there are id, question, answer, image, tags; see --text-key",
        ),
        (
            vec!["questions.parquet", "--text-key", "tags"],
            "row 1: tags: message 1: has no role and content",
        ),
        (
            vec!["keys.json"],
            "keys.json: entry 1: no key 'text'; there are instruction, output; see --text-key",
        ),
        (
            vec!["number.json"],
            "number.json: entry 1: is neither an object nor a text",
        ),
        (vec!["cut.json"], "cut.json:2: EOF while parsing"),
        (
            vec!["answers.json"],
            "answers.json: no message of a user in it (1 conversation)",
        ),
        (
            vec!["roles.jsonl"],
            "roles.jsonl:1: messages: message 1: has no role and content",
        ),
    ] {
        refused(&place, &args, needle);
    }
}

/// A server of a page whose texts are written by a script, until it is dropped with the test.
#[cfg(unix)]
fn server_of_scripts() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap_or(0) > 0 {
                asked.push(byte[0]);
            }
            let reply = match asked.starts_with(b"GET /faq.html ") {
                true => answer(
                    "200 OK\r\ncontent-type: text/html; charset=utf-8",
                    b"<body><main></main><script>fetch('/data').then(r => r.text()).then(t => setTimeout(() => \
                      document.querySelector('main').innerHTML = t, 1500))</script>",
                ),
                false => answer(
                    "200 OK\r\ncontent-type: text/html; charset=utf-8",
                    b"<p class=q>Why do cats purr?</p><p class=q>How far is the moon?</p>",
                ),
            };
            let _ = connection.write_all(&reply);
        }
    });
    address
}

/// A real browser, where the machine has one: its scripts wait for the network and for their own clock.
#[cfg(unix)]
#[test]
fn a_page_that_needs_a_browser() {
    let place = Place::new();
    let address = format!("{}/faq.html", server_of_scripts());
    let address = address.as_str();
    let args = [address, "--browser", "--select", "p.q"];
    let out = place.run(&[&["prompts", "import"], &args[..], &["--out", "out.jsonl"]].concat());
    let text = stderr(&out);
    if text.contains("--browser: found none of") {
        eprintln!("no browser on this machine: not tested");
        return;
    }
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert_eq!(text.contains("--no-sandbox"), is_root(), "{text}");
    let set = PromptSet::read(&place.path().join("out.jsonl")).expect("reads");
    let texts: Vec<&str> = set.all().iter().map(|p| p.text.as_str()).collect();
    assert_eq!(texts, ["Why do cats purr?", "How far is the moon?"]);
    assert_eq!(set.all()[0].id, "faq-1");
    assert_eq!(set.all()[0].source, address);
    // Without it the page has no text.
    refused_after(
        &place,
        &[address, "--select", "p.q"],
        "'p.q' matches none of its",
    );
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = format!("http://{}/", nobody.local_addr().expect("bound"));
    drop(nobody);
    let out = place.run(&["prompts", "import", &closed, "--browser"]);
    assert_eq!(out.status.code(), Some(2));
    let text = stderr(&out);
    let last = text.trim_end().lines().last().expect("a line");
    assert!(
        last.contains("cannot load the page: ERR_CONNECTION_REFUSED"),
        "{text}"
    );
}

#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // A new file is its maker's.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::metadata(folder.path()).expect("there").uid() == 0
}

#[cfg(unix)]
#[test]
fn what_a_browser_cannot_do_is_one_line() {
    let place = Place::new();
    let mut shell = std::process::Command::new("sh");
    let program = place.path().join("browser");
    shell.args([
        "-c",
        r#"printf '#!/bin/sh\nexit 7\n' > "$0" && chmod +x "$0""#,
    ]);
    assert!(shell.arg(&program).status().expect("starts").success());
    write(&place, "page.html", b"<p>x");
    let browser = format!("--browser={}", program.display());
    let address = "http://127.0.0.1:1/";
    for (args, needle) in [
        (vec![address, &browser], "ended with exit code 7"),
        (
            vec![address, "--browser=/no/such/chrome"],
            "--browser: no program '/no/such/chrome'",
        ),
        (
            vec!["page.html", "--browser"],
            "page.html: --browser renders an http(s) address",
        ),
        (
            vec![address, &browser, "--select", "p >"],
            "--select 'p >': is no CSS selector",
        ),
        (vec![address, &browser, "--lines"], "is no plain text"),
        (
            vec!["http://user:secret@127.0.0.1:1/", &browser],
            "has a user or password",
        ),
    ] {
        let out = place.run(&[&["prompts", "import"], &args[..]].concat());
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
        let errors: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("note: "))
            .collect();
        assert_eq!(errors.len(), 1, "{args:?}: {text}");
        assert!(
            errors[0].starts_with("error: ") && errors[0].contains(needle),
            "{args:?}: {text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
}
