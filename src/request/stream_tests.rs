//! Streams as servers send them, and thousands of mutations of them, read by the readers of both protocols.
//!
//! The corpus is `tests/streams`. `GGUFBENCH_FUZZ_MINUTES=30 cargo test --release --lib stream_tests` mutates for half
//! an hour; what breaks is printed with the bytes that broke it.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::exchange::{Finish, PartialAnswer, Reader};
use super::http::lines::LineCutter;
use super::http::shortened;
use super::ollama::Documents;
use super::openai::events::Events;
use super::{CountCaveat, KEPT_TEXT_BYTES};

/// Mutations that every test run tries.
const MUTATIONS: u32 = 4000;

/// Tokens that the imagined requests asked for.
const ASKED: u32 = 16;

/// A stream of the corpus.
struct Stream {
    name: String,
    bytes: Vec<u8>,
}

fn corpus() -> Vec<Stream> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams");
    let mut all: Vec<Stream> = std::fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| {
            let path = entry.expect("readable").path();
            Stream {
                name: path
                    .file_name()
                    .expect("a file")
                    .to_string_lossy()
                    .into_owned(),
                bytes: std::fs::read(&path).expect("readable"),
            }
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// How reading ended, and all that can be seen of the answer.
#[derive(Debug, PartialEq)]
struct ReadOutcome {
    error: Option<String>,
    text: String,
    n_pieces: usize,
    n_reasoning: usize,
    ended: Option<Finish>,
    n_generated: Option<u32>,
    caveat: Option<CountCaveat>,
}

/// Reads bytes that come in pieces of these sizes, in turn.
fn read(name: &str, bytes: &[u8], sizes: &[usize]) -> ReadOutcome {
    let mut reader: Box<dyn Reader> = match name.ends_with("ndjson") {
        true => Box::new(Documents::default()),
        false => Box::new(Events::default()),
    };
    let (mut cutter, mut answer) = (LineCutter::default(), PartialAnswer::default());
    let error = follow(reader.as_mut(), &mut cutter, &mut answer, bytes, sizes).err();
    let (n_generated, caveat) = answer.n_generated(ASKED);
    ReadOutcome {
        error: error.map(|why| shortened(&why)),
        text: answer.text().to_owned(),
        n_pieces: answer.arrivals().len(),
        n_reasoning: answer.arrivals().iter().filter(|a| a.is_reasoning).count(),
        ended: answer.ended(ASKED).map(|(finish, _)| finish),
        n_generated,
        caveat,
    }
}

fn follow(
    reader: &mut dyn Reader,
    cutter: &mut LineCutter,
    answer: &mut PartialAnswer,
    mut bytes: &[u8],
    sizes: &[usize],
) -> Result<(), String> {
    let mut sizes = sizes.iter().cycle();
    while !bytes.is_empty() {
        let size = sizes
            .next()
            .map_or(bytes.len(), |n| (*n).clamp(1, bytes.len()));
        cutter.push(&bytes[..size]);
        bytes = &bytes[size..];
        while let Some(line) = cutter.next() {
            reader.line(0, &line, answer)?;
        }
    }
    if let Some(line) = cutter.rest() {
        reader.line(0, &line, answer)?;
    }
    reader.end(answer)
}

#[test]
fn every_stream_of_the_corpus_is_understood() {
    let expected = [
        ("bare.sse", "a", Some(Finish::Stop), None),
        ("blank-lines.ndjson", "ab", Some(Finish::Length), Some(2)),
        ("chat.ndjson", "yes", Some(Finish::Stop), Some(2)),
        ("counts-along.sse", "abc", Some(Finish::Stop), Some(3)),
        ("error-coded.sse", "a", None, None),
        ("error-event.sse", "a", None, None),
        ("error-field.sse", "", None, None),
        ("error-inner.ndjson", "a", None, None),
        ("error-object.sse", "a", None, None),
        ("error.ndjson", "a", None, None),
        ("events.ndjson", "a", Some(Finish::Stop), Some(1)),
        ("filtered.sse", "a", None, None),
        ("generate.ndjson", "a日本", Some(Finish::Stop), Some(2)),
        (
            "half-letters.sse",
            "\u{fffd}\u{fffd}",
            Some(Finish::Stop),
            None,
        ),
        ("llama-server.sse", "日本", Some(Finish::Stop), Some(2)),
        ("loaded.ndjson", "", None, None),
        ("mixed-ends.sse", "abc", Some(Finish::Stop), None),
        ("no-blank-lines.sse", "ab", Some(Finish::Stop), None),
        ("nulls.ndjson", "a", Some(Finish::Stop), None),
        ("odd-counts.ndjson", "a", Some(Finish::Stop), None),
        ("page.sse", "", None, None),
        ("plain.sse", "ab", Some(Finish::Length), Some(2)),
        ("progress.ndjson", "a", Some(Finish::Stop), Some(1)),
        ("python-json.sse", "\u{fffd}b", Some(Finish::Stop), None),
        ("reasoning.sse", "yes", Some(Finish::Stop), Some(3)),
        ("repeated-message.sse", "ab", Some(Finish::Stop), None),
        ("truncated.sse", "a", None, None),
        ("typed-parts.sse", "yes", Some(Finish::Stop), None),
        ("unknown-events.sse", "a", Some(Finish::Stop), None),
        ("whole-document.sse", "a b", Some(Finish::Stop), Some(3)),
        ("wild-counts.sse", "a", Some(Finish::Stop), None),
    ];
    let corpus = corpus();
    assert_eq!(corpus.len(), expected.len());
    for (stream, (name, text, ended, n_generated)) in corpus.iter().zip(expected) {
        assert_eq!(stream.name, name);
        let found = read(name, &stream.bytes, &[]);
        assert_eq!(
            (found.text.as_str(), found.ended),
            (text, ended),
            "{name}: {found:?}"
        );
        assert_eq!(found.n_generated, n_generated, "{name}: {found:?}");
        let is_broken = ended.is_none();
        assert_eq!(found.error.is_some(), is_broken, "{name}: {found:?}");
        if name.starts_with("error") {
            assert_eq!(found.error.as_deref(), Some("boom"), "{name}");
        }
    }
}

/// What mutations put in: the words of both protocols, and what breaks readers.
const WORDS: [&[u8]; 32] = [
    b"\n",
    b"\r",
    b"\n\n",
    b"\r\n\r\n",
    b"\xef\xbb\xbf",
    b"\0",
    b"\xff",
    b"data:",
    b"data: ",
    b"event: error\n",
    b"error:",
    b"id: 1\n",
    b": \n",
    b"[DONE]",
    b"data: [DONE]\n\n",
    b"null",
    b"true",
    b"\"\"",
    b"{}",
    b"[]",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"\\ud83d",
    b"-1",
    b"1.5",
    b"1e999",
    b"4294967296",
    b"18446744073709551616",
    b"\"stop\"",
    b"\"error\":",
];

fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    let at = |rng: &mut ChaCha8Rng, n: usize| rng.random_range(0..=n);
    let (a, b) = (at(rng, bytes.len()), at(rng, bytes.len()));
    let (from, to) = (a.min(b), a.max(b));
    match rng.random_range(0..8) {
        0 if from < bytes.len() => bytes[from] = rng.random(),
        1 => drop(bytes.drain(from..to.min(from + 16))),
        2 => drop(bytes.drain(from..to)),
        3 => {
            let again = bytes[from..to].to_vec();
            bytes.splice(from..from, again);
        }
        4 => bytes.truncate(from),
        5 => {
            let cut = at(rng, other.len());
            bytes.splice(from..to, other[cut..].iter().copied());
        }
        _ => {
            let word = WORDS[rng.random_range(0..WORDS.len())];
            bytes.splice(from..from, word.iter().copied());
        }
    }
    bytes.truncate(16 << 10);
}

/// What holds for every stream, however broken.
fn check(name: &str, bytes: &[u8], rng: &mut ChaCha8Rng) {
    let whole = read(name, bytes, &[]);
    let sizes: Vec<usize> = (0..8).map(|_| rng.random_range(1..40)).collect();
    let shown = || format!("{name}: {}", bytes.escape_ascii());
    assert_eq!(
        read(name, bytes, &sizes),
        whole,
        "cut otherwise: {}",
        shown()
    );
    assert!(whole.text.len() <= 2 * KEPT_TEXT_BYTES, "{}", shown());
    assert!(whole.n_pieces <= bytes.len(), "{}", shown());
    let most = ASKED.max(whole.n_pieces as u32);
    assert!(whole.n_generated.is_none_or(|n| n <= most), "{}", shown());
    assert!(whole.ended != Some(Finish::Unsaid), "{}", shown());
    if let Some(error) = &whole.error {
        let is_shown = !error.is_empty() && !error.chars().any(char::is_control);
        assert!(
            is_shown && crate::text::width(error) <= 300,
            "{error:?}: {}",
            shown()
        );
    }
}

#[test]
fn mutated_streams_are_read_alike_however_they_are_cut_and_within_bounds() {
    let minutes: Option<f64> = std::env::var("GGUFBENCH_FUZZ_MINUTES")
        .ok()
        .map(|text| text.parse().expect("GGUFBENCH_FUZZ_MINUTES is a number"));
    let until = minutes.map(|m| Instant::now() + Duration::from_secs_f64(60.0 * m));
    // The short run is the same every time, the long one never.
    let seed = if until.is_some() { rand::random() } else { 1 };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let corpus = corpus();
    let mut n = 0_u64;
    while until.map_or(n < MUTATIONS.into(), |until| Instant::now() < until) {
        let stream = &corpus[rng.random_range(0..corpus.len())];
        let other = &corpus[rng.random_range(0..corpus.len())];
        let mut bytes = stream.bytes.clone();
        for _ in 0..rng.random_range(1..6) {
            mutate(&mut bytes, &other.bytes, &mut rng);
        }
        check(&stream.name, &bytes, &mut rng);
        n += 1;
    }
    println!("{n} mutations from seed {seed}");
}
