//! What stands below a verb's flags in its help: the lines that most users type.

/// Below `ggufbench -h`: three tasks.
pub const FIRST: &str = "\
Examples:
  which file and batch size?   ggufbench --model models/ --batch 1,8,32
  this machine in minutes      ggufbench sweep quick --model model.gguf
  is this build slower?        ggufbench ab --batch 1,8 --worker-a old/ggufbench
  how fast is a server?        ggufbench requests --target openai:http://HOST/v1

--help shows every flag and verb. docs/FAQ.md answers first questions.";

/// Below `ggufbench --help`: four questions.
pub const ALL: &str = "\
Which file and batch size?
  ggufbench --model models/ --batch 1,8,32
  ggufbench --model models/ --batch 1,8,32 --slo tpot=50ms,ttft=2s
What does a smaller file lose in accuracy?
  ggufbench quality --base f16.gguf q8_0.gguf q4_0.gguf
Is a new build slower than the last one, once or every night?
  ggufbench ab --model model.gguf --batch 1,8 --worker-a old/ggufbench
  ggufbench nightly
How fast does a server answer?
  ggufbench requests --model q4_0.gguf,q8_0.gguf --threads 4,8 --batch 1,8
  ggufbench requests --target openai:http://127.0.0.1:8080/v1
  ggufbench compare-live -m model.gguf --target openai:http://127.0.0.1:8080/v1
Afterwards:
  ggufbench report";

/// Below `sweep --help`.
pub const SWEEP: &str = "\
Examples:
  ggufbench sweep quick --dry-run
  ggufbench sweep quick --model model.gguf --budget 5m";

/// Below `requests --help`.
pub const REQUESTS: &str = "\
The default experiment is --classes: one request after another, by class of prompt. Here --batch is the number of requests that \
are under way at once, --n-prompt trims or pads every prompt to exactly that number of tokens, and --n-gen is the maximum of \
tokens of an answer. Several models or settings, such as --threads 1,2, are several targets: in-process/t1 and in-process/t2. \
A run that was interrupted goes on with --resume, without a verb.

Examples:
  ggufbench requests --model model.gguf --batch 1,8,32 --slo ttft=2s,tpot=50ms
  ggufbench requests --target openai:http://127.0.0.1:8080/v1
  ggufbench requests --target ollama:llama3.1:8b --sustained 60s --rate 2
  ggufbench --resume out/20260131-120000-requests";

/// Below `compare-live --help`.
pub const COMPARE_LIVE: &str = "\
The model is the file that the server has too. Without an experiment it sends 1, 8 and 32 requests at once (--batch).

Examples:
  ggufbench compare-live -m model.gguf --target openai:http://127.0.0.1:8080/v1
  ggufbench compare-live --model ollama:llama3.1:8b --target ollama:llama3.1:8b";

/// Below `quality --help`.
pub const QUALITY: &str = "\
Examples:
  ggufbench quality --base f16.gguf q8_0.gguf q4_0.gguf
  ggufbench quality --base f16.gguf q4_0.gguf --text wiki.test.raw --chunks all
  ggufbench quality f16.gguf --type-k f16,q8_0 --type-v f16,q8_0 --n-ctx 2048
  ggufbench sweep precision";

/// Below `report --help`.
pub const REPORT: &str = "\
Examples:
  ggufbench report
  ggufbench report out/20260131-120000-run --slo tpot=50ms,ttft=2s
  ggufbench report -o json";

/// Below `ab --help`.
pub const AB: &str = "\
What stands before the first -- is of both sides.

Examples:
  ggufbench ab --model model.gguf --batch 1,8 -- --threads 4 -- --threads 8
  ggufbench ab -m model.gguf --worker-a old/ggufbench --worker-b new/ggufbench
  ggufbench ab -m model.gguf --llama-a ~/llama.cpp@master --llama-b ~/llama.cpp
  ggufbench ab -m m.gguf --program-a old/llama-bench --program-b new/llama-bench";

/// Below `bisect --help`.
pub const BISECT: &str = "\
The checkout is only read. Builds and finished steps are kept in --cache, so that the same command goes on after an interruption.
Exit codes: 0 not slower, 1 found, 3 not decided, 2 error, 130 interrupted.

Examples:
  ggufbench bisect --repo llama.cpp --good b4000 --bad b4100 -m model.gguf
  ggufbench bisect --good v1 -m m.gguf --build ./build --program bin/llama-bench";

/// Below `bisect-step --help`.
pub const BISECT_STEP: &str = "\
A code from 128 on ends `git bisect run`: something failed that the revision is not to blame for.

Examples:
  ggufbench bisect-step --good v1 --model model.gguf --batch 8
  ggufbench bisect-step --good-program ../fast/llama-bench --built build/bin/llama-bench --model model.gguf";

/// Below `compare --help`.
pub const COMPARE: &str = "\
Examples:
  ggufbench compare out/20260131-120000-run out/20260201-120000-run
  ggufbench compare out/20260131-120000-run --axis threads";

/// Below `gate --help`.
pub const GATE: &str = "\
Examples:
  ggufbench sweep nightly
  ggufbench gate out/20260131-020000-nightly --promote
  ggufbench gate out/20260201-020000-nightly --rerun --keep
  ggufbench gate out/20260201-020000-ab
  ggufbench gate latest --baseline none --require step=50ms";

/// Below `nightly --help`.
pub const NIGHTLY: &str = "\
The variable GGUFBENCH names another program to measure than this one. Exit codes: 0 pass, 1 regression, 2 error, 3 not decided.

Examples:
  ggufbench nightly --summary mail/nightly.md
  GGUFBENCH=build/ggufbench ggufbench nightly
  ggufbench nightly --promote
  ggufbench nightly --requests --metric ttft_p95 -- -m model.gguf --n-requests 60";

/// Below `import --help`.
pub const IMPORT: &str = "\
The samples of a test are repetitions of one process. What the other program did not record is n/a. SQL has only means, and each \
counts as one repetition.

Examples:
  ggufbench import llama-bench.sqlite
  ggufbench import batched.jsonl --model smollm2 --build-commit abc1234
  ggufbench import nights.sqlite --each-day --out out/history";

/// Below `export --help`.
pub const EXPORT: &str = "\
llama-bench has no batch: cells with several sequences are left out of its forms. A cell is two tests there, pp and tg; the depth of \
tg counts the prompt.

Examples:
  ggufbench export out/20260131-120000-run -o sql | sqlite3 llama-bench.sqlite
  ggufbench export out/20260131-120000-run -o bencher --to bencher.json
  ggufbench export out/20260131-120000-run -o hgrm --cell '*/b8/*'";

/// Below `trend --help`.
pub const TREND: &str = "\
Examples:
  ggufbench trend
  ggufbench trend out/history --last 60 --to mail/
  ggufbench trend out/history -o json --no-report";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, normalize};

    #[test]
    fn every_example_can_be_typed() {
        let mut n = 0;
        for text in [
            ALL,
            SWEEP,
            REQUESTS,
            COMPARE_LIVE,
            REPORT,
            AB,
            BISECT,
            BISECT_STEP,
            COMPARE,
            GATE,
            NIGHTLY,
            IMPORT,
            EXPORT,
            TREND,
        ] {
            for line in text.lines().filter(|l| l.starts_with("  ggufbench")) {
                let words = line.split_whitespace().map(OsString::from);
                let words = normalize(words).expect(line);
                Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
                n += 1;
            }
        }
        assert!(n > 15, "{n}");
    }
}
