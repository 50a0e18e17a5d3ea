//! What people really type: each line either does what was meant, or ends with one line that says how it is meant.

mod support;

use support::{Place, stderr, stdout, tiny_model};

/// A line with the tiny model's file `tiny.gguf` in the folder, and what is then said.
enum Answer {
    /// It works, and standard output has this.
    Does(&'static str),
    /// It is refused with exit code 2, and this is said.
    Says(&'static str),
}

use Answer::{Does, Says};

const LINES: [(&str, Answer); 36] = [
    // A model without its flag, several of them, and lists of numbers.
    ("tiny.gguf --dry-run", Does("model  tiny")),
    ("run tiny.gguf --dry-run", Does("model  tiny")),
    (
        "--batch 1 8 32 --model tiny.gguf --dry-run",
        Does("3 of 3 cells"),
    ),
    ("--batch 1, 8, 32 tiny.gguf --dry-run", Does("3 of 3 cells")),
    ("--model tiny.gguf tiny.gguf --dry-run", Does("model  tiny")),
    (
        "requests tiny.gguf --classes --dry-run",
        Does("at most these requests"),
    ),
    (
        "sweep quick --model tiny.gguf --dry-run",
        Does("model  tiny"),
    ),
    (
        "sweep quick.toml tiny.gguf",
        Says("with a flag: --model tiny.gguf"),
    ),
    (
        "sweep sweeps/quick.toml --model tiny.gguf --dry-run",
        Does("model  tiny"),
    ),
    ("sweep --list", Does("quick")),
    ("sweep fast", Says("the built-in sweeps are quick")),
    // llama.cpp's and Ollama's words.
    ("-m tiny.gguf -npl 1,8 -ntg 16 --dry-run", Does("gen 16")),
    ("-m tiny.gguf --ctx-size 512 --dry-run", Does("context 512")),
    (
        "-m tiny.gguf --num-thread 1 --num-ctx 1024 --dry-run",
        Does("threads 1"),
    ),
    (
        "-m tiny.gguf -b 8",
        Says("--batch N for the number of sequences"),
    ),
    (
        "-m tiny.gguf -fa 1 -ctk q8_0 --dry-run",
        Does("flash attention on"),
    ),
    ("--model llama3.1:8b", Says("ollama:llama3.1:8b")),
    ("llama3.1:8b", Says("ollama:llama3.1:8b")),
    (
        "--model SMOLLM2-135M-Q8_0",
        Says("model fetch smollm2-135m-q8_0"),
    ),
    // Hugging Face.
    (
        "-hf user/repo-GGUF:Q4_K_M",
        Says("hf download user/repo-GGUF --include '*[-._]Q4_K_M*.gguf'"),
    ),
    (
        "--model hf.co/user/repo:Q8_0",
        Says("hf download user/repo --include '*[-._]Q8_0*.gguf'"),
    ),
    ("--model user/repo", Says("hf download user/repo")),
    (
        "https://huggingface.co/u/r/resolve/main/m-q4_0.gguf",
        Says("hf download u/r --include m-q4_0.gguf"),
    ),
    (
        "--model https://example.org/m.gguf",
        Says("download the file"),
    ),
    ("--model model.safetensors", Says("convert_hf_to_gguf.py")),
    ("pytorch_model.bin", Says("convert_hf_to_gguf.py")),
    // Shares, times, switches.
    ("tiny.gguf --precision 2% --dry-run", Does("model  tiny")),
    (
        "tiny.gguf --precision 0.02 --budget 90 --dry-run",
        Does("model  tiny"),
    ),
    ("tiny.gguf --budget 90s --dry-run", Does("model  tiny")),
    ("requests tiny.gguf --slo tpot=50", Says("50ms or 50s")),
    (
        "requests tiny.gguf --chat-template false --dry-run",
        Does("at most these requests"),
    ),
    // Verbs and flags of others.
    ("bench", Says("`ggufbench run`")),
    ("list", Says("`ggufbench model list`")),
    ("pull llama3", Says("`ggufbench model fetch`")),
    (
        "tiny.gguf --baseline last:3",
        Says("--baseline is a flag of `gate`"),
    ),
    ("predict tiny.gguf --batchs 8", Says("'--batch'")),
];

#[test]
fn each_line_does_what_is_meant_or_says_how_it_is_meant() {
    let place = Place::new();
    std::fs::copy(tiny_model(), place.path().join("tiny.gguf")).expect("writable");
    let mut wrong = Vec::new();
    for (line, answer) in &LINES {
        let args: Vec<&str> = line.split(' ').collect();
        let mut command = place.command();
        for hub in ["HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE"] {
            command.env_remove(hub);
        }
        command.env("OLLAMA_MODELS", place.path().join("ollama"));
        let out = command.args(args).output().expect("the program starts");
        let (said, text) = match answer {
            Does(text) => (stdout(&out), text),
            Says(text) => (stderr(&out), text),
        };
        let code = match answer {
            Does(_) => 0,
            Says(_) => 2,
        };
        if out.status.code() != Some(code) || !said.contains(text) {
            wrong.push(format!(
                "{line}: {:?}\n{}{}",
                out.status,
                stdout(&out),
                stderr(&out)
            ));
        }
        let traces = std::fs::read_dir(place.path()).expect("readable").count();
        assert_eq!(traces, 2, "{line} left something behind");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
