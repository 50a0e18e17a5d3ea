use std::collections::{BTreeMap, HashSet};

use super::*;

fn bundled(name: &str) -> PromptSet {
    PromptSet::bundled(name).unwrap_or_else(|e| panic!("{e}"))
}

/// What stands before the question, without the prompt's own first word, and the question.
fn split(prompt: &Prompt) -> (&str, &str) {
    let (filler, question) = parts(&prompt.text);
    let (_, filler) = filler.split_once(' ').expect("more than an opening");
    (filler, question)
}

#[test]
fn the_lab_set_has_three_lengths() {
    let lab = bundled("lab");
    assert_eq!(lab.classes(), ["short", "medium", "long"]);
    let words = |class| -> Vec<usize> {
        let of = lab.of_class(class).expect("known");
        assert!(of.len() >= 8, "{class}: {}", of.len());
        of.iter()
            .map(|p| p.text.split_whitespace().count())
            .collect()
    };
    assert!(words("short").iter().all(|n| (3..=8).contains(n)));
    assert!(words("medium").iter().all(|n| (20..=40).contains(n)));
    assert!(words("long").iter().all(|n| (300..=500).contains(n)));
    for prompt in lab.of_class("long").expect("known") {
        let (_, question) = split(prompt);
        assert!(
            question.contains('?')
                || question.starts_with("Explain")
                || question.starts_with("Describe")
        );
    }
}

#[test]
fn no_two_prompts_begin_alike() {
    let sets = BUNDLED.map(|(name, _)| bundled(name));
    let prompts = || sets.iter().flat_map(|set| set.all());
    for what in [
        |p: &Prompt| p.id.clone(),
        |p: &Prompt| p.text.clone(),
        |p: &Prompt| {
            p.text
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        },
    ] {
        let different: HashSet<String> = prompts().map(what).collect();
        assert_eq!(different.len(), prompts().count());
    }
}

#[test]
fn pairs_are_matched_and_differ_in_the_question_only() {
    let set = bundled("difficulty");
    assert_eq!(set.classes(), ["arithmetic", "reading", "code"]);
    let pairs = set.pairs().expect("complete");
    assert!(pairs.len() >= 24, "{}", pairs.len());
    let halves: usize = pairs
        .iter()
        .map(|p| 2 + usize::from(p.medium.is_some()))
        .sum();
    assert_eq!(halves, set.all().len(), "every prompt is half of a pair");
    for pair in &pairs {
        assert_eq!(split(pair.easy).0, split(pair.hard).0, "{}", pair.pair);
        for half in [pair.easy, pair.hard].into_iter().chain(pair.medium) {
            let answer = half.answer.as_deref().expect("an answer");
            assert!(!answer.is_empty() && half.text.is_ascii(), "{}", half.id);
        }
    }
}

#[test]
fn every_sum_has_its_number_of_operations_and_its_answer() {
    let set = bundled("difficulty");
    for prompt in set.of_class("arithmetic").expect("known") {
        let (_, question) = split(prompt);
        let sum = question
            .strip_prefix("Calculate ")
            .and_then(|q| q.strip_suffix(" and give the result as a number."))
            .expect("a sum");
        let words: Vec<&str> = sum.split(' ').collect();
        let operations = match prompt.difficulty.expect("graded") {
            Difficulty::Easy => 1,
            Difficulty::Medium => 3,
            Difficulty::Hard => 8,
        };
        assert_eq!(words.len(), 2 * operations + 1, "{}", prompt.id);
        let answer = evaluated(&words).to_string();
        assert_eq!(
            prompt.answer.as_ref(),
            Some(&answer),
            "{}: {sum}",
            prompt.id
        );
        assert!(
            !words.contains(&answer.as_str()),
            "{}: repeating it would be right",
            prompt.id
        );
    }
    assert_eq!(evaluated(&["2", "+", "3", "*", "4", "-", "5"]), 9);
}

/// Products first, then from left to right.
fn evaluated(words: &[&str]) -> i64 {
    let number = |word: &str| word.parse::<i64>().expect("a number");
    let mut terms = vec![number(words[0])];
    for pair in words[1..].chunks(2) {
        let value = number(pair[1]);
        match pair[0] {
            "+" => terms.push(value),
            "-" => terms.push(-value),
            "*" => *terms.last_mut().expect("begun") *= value,
            other => panic!("{other} is no operation"),
        }
    }
    terms.iter().sum()
}

#[test]
fn every_program_has_its_number_of_steps_and_prints_its_answer() {
    let set = bundled("difficulty");
    for prompt in set.of_class("code").expect("known") {
        let (_, question) = split(prompt);
        let program = question
            .strip_prefix("Which number does this program print?\n")
            .expect("a program");
        let (printed, steps) = run(program);
        let expected = if prompt.difficulty == Some(Difficulty::Easy) {
            1
        } else {
            8
        };
        assert_eq!(steps, expected, "{}", prompt.id);
        assert_eq!(prompt.answer, Some(printed.to_string()), "{}", prompt.id);
    }
}

/// What a program of assignments prints, and how many of them compute something.
fn run(program: &str) -> (i64, usize) {
    let mut variables: BTreeMap<&str, i64> = BTreeMap::new();
    let (mut printed, mut steps) = (None, 0);
    for line in program.lines() {
        if let Some(name) = line
            .strip_prefix("print(")
            .and_then(|l| l.strip_suffix(')'))
        {
            assert!(printed.replace(variables[name]).is_none(), "prints once");
            continue;
        }
        let value = |word: &str| word.parse().unwrap_or_else(|_| variables[word]);
        let words: Vec<&str> = line.split(' ').collect();
        let result = match words[1..] {
            ["=", a] => value(a),
            ["=", a, operation, b] => {
                steps += 1;
                match operation {
                    "+" => value(a) + value(b),
                    "-" => value(a) - value(b),
                    "*" => value(a) * value(b),
                    other => panic!("{other} is no operation"),
                }
            }
            _ => panic!("not understood: {line}"),
        };
        variables.insert(words[0], result);
    }
    (printed.expect("prints"), steps)
}

#[test]
fn reading_questions_share_their_text_which_holds_the_answer() {
    let set = bundled("difficulty");
    let pairs = set.pairs().expect("complete");
    for pair in pairs.iter().filter(|p| p.easy.class == "reading") {
        let story = |prompt: &Prompt| {
            let (story, question) = split(prompt)
                .1
                .split_once(" Question: ")
                .expect("a question");
            (story.to_owned(), question.to_owned())
        };
        let ((easy, easy_asks), (hard, hard_asks)) = (story(pair.easy), story(pair.hard));
        assert_eq!(easy, hard, "{}", pair.pair);
        for (prompt, asks) in [(pair.easy, easy_asks), (pair.hard, hard_asks)] {
            let answer = prompt.answer.as_deref().expect("known");
            let is_word = |text: &str| {
                text.split(|c: char| !c.is_alphanumeric())
                    .any(|w| w == answer)
            };
            assert!(is_word(&easy) && !is_word(&asks), "{}", prompt.id);
        }
        assert_ne!(pair.easy.answer, pair.hard.answer);
    }
}

const GOOD: &str = r#"{"id":"a","class":"c","text":"t","source":"s"}"#;

#[test]
fn byte_order_mark_crlf_and_blank_lines_are_accepted() {
    let content = format!(
        "\u{feff}{GOOD}\r\n\r\n{}\r\n",
        GOOD.replace("\"a\"", "\"b\"")
    );
    let set = PromptSet::parse("f.jsonl", content.as_bytes()).expect("reads");
    let ids: Vec<&str> = set.all().iter().map(|p| p.id.as_str()).collect();
    assert_eq!((ids, set.name()), (vec!["a", "b"], "f.jsonl"));
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_key() {
    let long = "x".repeat(200);
    for (line, says) in [
        (
            r#"{"id":"a","class":"c","text":"t"}"#,
            "f.jsonl:2: missing field `source`",
        ),
        (
            r#"{"id":"a","class":"c","text":5,"source":"s"}"#,
            "f.jsonl:2: text: invalid type",
        ),
        (
            r#"{"id":"a","class":"c","txt":"t","source":"s"}"#,
            "f.jsonl:2: txt: unknown field `txt`",
        ),
        (
            r#"{"id":"a","class":"c","text":"t","source":"s","difficulty":"hardest"}"#,
            "f.jsonl:2: difficulty: unknown variant `hardest`",
        ),
        (
            r#"{"id":"a","id":"b","class":"c","text":"t","source":"s"}"#,
            "duplicate field `id`",
        ),
        (
            r#"{"id":"z","class":"c","text":"t","source":"s"}"#,
            "f.jsonl:2: id: 'z' is that of line 1 already",
        ),
        (
            r#"{"id":" ","class":"c","text":"t","source":"s"}"#,
            "f.jsonl:2: id: empty",
        ),
        (
            r#"{"id":"a\u001b[2J","class":"c","text":"t","source":"s"}"#,
            "f.jsonl:2: id: 'a?[2J' has control characters",
        ),
        (
            &format!(r#"{{"id":"{long}","class":"c","text":"t","source":"s"}}"#),
            "f.jsonl:2: id: longer than 128 bytes",
        ),
        (
            r#"{"id":"a","class":"","text":"t","source":"s"}"#,
            "f.jsonl:2: class: empty",
        ),
        (
            r#"{"id":"a","class":"c","text":" \n ","source":"s"}"#,
            "f.jsonl:2: text: empty",
        ),
        (
            r#"{"id":"a","class":"c","text":"a\u0000b","source":"s"}"#,
            "f.jsonl:2: text: has a NUL",
        ),
        (
            r#"{"id":"a","class":"c","text":"t","source":"s","answer":""}"#,
            "f.jsonl:2: answer: empty",
        ),
        (
            r#"{"id":"a","class":"c","text":"t","source":"s","pair":"p"}"#,
            "f.jsonl:2: difficulty: missing",
        ),
        (
            r#"{"id":"a","class":"c","text":"t","source":"s","n_tokens":3}"#,
            "f.jsonl:2: n_tokens: is counted",
        ),
        ("[1, 2]", "f.jsonl:2: "),
        ("{\"id\":", "f.jsonl:2: "),
        (
            r#"{"id":"a","class":"c","text":"t","source":"s"} x"#,
            "trailing characters",
        ),
        (r#"{"id":"a\u001b]0;x","clas\u001bs":1}"#, "clas?s"),
    ] {
        let first = r#"{"id":"z","class":"c","text":"t","source":"s"}"#;
        let content = format!("{first}\n{line}\n");
        let e = PromptSet::parse("f.jsonl", content.as_bytes())
            .expect_err(line)
            .to_string();
        assert!(e.contains(says), "{line}\n{e}");
        assert!(!e.chars().any(char::is_control), "{e:?}");
        assert!(!e.contains("line 1 column"), "{e}");
    }
}

#[test]
fn files_that_are_none_are_named() {
    let e = |bytes: &[u8]| {
        PromptSet::parse("f.jsonl", bytes)
            .expect_err("bad")
            .to_string()
    };
    assert_eq!(e(b"\n \n"), "f.jsonl: no prompts in it");
    assert!(
        e(b"{}\n\n\xff\xfe").starts_with("f.jsonl:3: not UTF-8"),
        "{}",
        e(b"{}\n\n\xff")
    );
    assert!(e(b"\xff").starts_with("f.jsonl:1: not UTF-8"));
    let e = PromptSet::open("no-such.jsonl")
        .expect_err("missing")
        .to_string();
    assert!(
        e.starts_with("no-such.jsonl: no such file") && e.contains("lab and difficulty"),
        "{e}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let e = PromptSet::read(folder.path())
        .expect_err("a folder")
        .to_string();
    assert!(e.starts_with(&folder.path().display().to_string()), "{e}");
}

#[test]
fn a_class_that_is_not_there_is_named_with_those_that_are() {
    let e = bundled("lab")
        .of_class("huge")
        .expect_err("unknown")
        .to_string();
    assert_eq!(
        e,
        "lab: no prompt of class 'huge'; its classes are short, medium, long"
    );
}

#[test]
fn pairs_that_are_none_are_named() {
    let with = |id: &str, class: &str, difficulty: &str, text: &str| {
        format!(
            r#"{{"id":"{id}","class":"{class}","text":"{text}","source":"s","pair":"p","difficulty":"{difficulty}"}}"#
        )
    };
    let half = |id: &str, class: &str, difficulty: &str| with(id, class, difficulty, r"f\n\nt");
    for (halves, says) in [
        (
            vec![half("a", "c", "easy"), with("b", "c", "hard", "t")],
            "f: pair 'p': 'b' is all question, so it cannot be made as long as the others; put a paragraph of filler \
             before it",
        ),
        (
            vec![half("a", "c", "easy")],
            "f: pair 'p': it has no hard half",
        ),
        (
            vec![half("a", "c", "hard"), half("b", "c", "medium")],
            "f: pair 'p': it has no easy half",
        ),
        (
            vec![half("a", "c", "easy"), half("b", "c", "easy")],
            "f: pair 'p': 'a' and 'b' are both easy",
        ),
        (
            vec![half("a", "c", "easy"), half("b", "d", "hard")],
            "f: pair 'p': its halves are of classes 'c' and 'd'",
        ),
    ] {
        let set = PromptSet::parse("f", halves.join("\n").as_bytes()).expect("reads");
        assert_eq!(set.pairs().expect_err(says).to_string(), says);
    }
}

#[test]
fn what_is_written_is_read_again() {
    let set = bundled("difficulty");
    let mut bytes = Vec::new();
    write(set.all(), &mut bytes).expect("writes");
    let again = PromptSet::parse("difficulty", &bytes).expect("reads");
    assert_eq!(again, set);
}
