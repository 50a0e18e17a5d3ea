//! What `-h` shows, which is less than `--help`.

use std::ffi::OsString;

use clap::Command;

/// Arguments up to which `-h` shows all of a verb's.
const SHOWN_WHOLE: usize = 12;

/// What `-h` shows of a verb that has more, with the words that are no flags; `--help` shows everything.
const MAIN: [&str; 37] = [
    "model",
    "batch",
    "n_prompt",
    "n_gen",
    "threads",
    "n_gpu_layers",
    "dry_run",
    "budget",
    "out",
    "slo",
    "target",
    "baseline",
    "tolerance",
    "same_within",
    "worker_a",
    "worker_b",
    "program_a",
    "program_b",
    "replicates",
    "difficulty",
    "base",
    "text",
    "sweep",
    "metric",
    "list",
    "prompts",
    "sustained",
    "good",
    "bad",
    "repo",
    "require",
    "rerun",
    "summary",
    "keep",
    "promote",
    "nights",
    "help",
];

/// Verbs that `-h` leaves to `--help`.
const RARE: [&str; 8] = [
    "bisect-step",
    "ceiling",
    "export",
    "import",
    "manual",
    "rpc-worker",
    "trend",
    "devices",
];

/// The command with a `-h` that fits a screen.
pub(super) fn brief(command: Command) -> Command {
    let all = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let command = match all.count() > SHOWN_WHOLE {
        false => command,
        true => command.mut_args(|arg| {
            let is_main = arg.is_positional() || MAIN.contains(&arg.get_id().as_str());
            arg.hide_short_help(!is_main)
        }),
    };
    command.mut_subcommands(brief)
}

/// The command without its rare verbs, where its short help is asked for.
pub(super) fn without_rare(command: Command, args: &[OsString]) -> Command {
    if args.len() != 2 || args[1] != "-h" {
        return command;
    }
    command.mut_subcommands(|verb| {
        let is_rare = RARE.contains(&verb.get_name());
        let is_hidden = verb.is_hide_set();
        verb.hide(is_hidden || is_rare)
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    fn help(line: &str) -> String {
        let words = std::iter::once("ggufbench").chain(line.split_whitespace());
        let help = crate::cli::parse(words.map(OsString::from));
        help.expect_err("help").to_string()
    }

    #[test]
    fn the_short_help_fits_a_screen() {
        for verb in ["", "requests", "ab", "gate", "sweep", "predict", "quality"] {
            let line = format!("{verb} -h");
            let short = help(&line);
            let n_lines = short.lines().count();
            assert!(n_lines <= 56, "{line}: {n_lines} lines\n{short}");
            let long = help(&format!("{verb} --help"));
            assert!(long.lines().count() > short.lines().count(), "{verb}");
        }
        let short = help("-h");
        for text in ["--model", "--batch", "Examples:", "ggufbench sweep quick"] {
            assert!(short.contains(text), "{text}\n{short}");
        }
        assert!(!short.contains("--split-mode"), "{short}");
        for (verb, flag) in [
            ("gate", "--promote"),
            ("ab", "--sweep"),
            ("bisect", "--good"),
            ("sweep", "--list"),
            ("requests", "--prompts"),
            ("quality", "--text"),
        ] {
            let short = help(&format!("{verb} -h"));
            assert!(short.contains(flag), "{verb}: {short}");
        }
    }
}
