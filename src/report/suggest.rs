//! Commands that a report suggests. Each can be pasted as it stands: paths are quoted for the shell, models stand by the
//! path that was used, and settings are the run's own, but for what the command is to change.

use std::fmt;
use std::path::Path;

use crate::model::ModelFacts;
use crate::plan::Axis;
use crate::plan::Case;
use crate::plan::expand::{ALL_LAYERS, Host};
use crate::record::RunHeader;
use crate::text::{plain, quoted};
use crate::view::RunView;

/// A command of this program, of words that are quoted already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion(Vec<String>);

impl Suggestion {
    /// The program alone, or with a verb.
    pub fn new(verb: Option<&str>) -> Self {
        let words = std::iter::once("ggufbench").chain(verb);
        Self(words.map(str::to_owned).collect())
    }

    /// With one more word.
    #[must_use]
    pub fn word(mut self, text: &str) -> Self {
        self.0.push(quoted_word(text));
        self
    }

    /// With a path.
    #[must_use]
    pub fn path(mut self, path: &Path) -> Self {
        self.0.push(quoted_path(path));
        self
    }

    /// With a flag and its value.
    #[must_use]
    pub fn flag(self, name: &str, value: &str) -> Self {
        self.word(name).word(value)
    }

    /// Cells like this one, of its model and with its settings; `over` has the axes that shall be different, by name.
    pub fn of_case(view: &RunView, case: &Case, over: &[(&str, String)]) -> Self {
        Self::of_models(view, &[&case.model], case, over)
    }

    /// The same of several models, by name.
    pub fn of_models(
        view: &RunView,
        models: &[&str],
        case: &Case,
        over: &[(&str, String)],
    ) -> Self {
        let mut command = Self::new(None).engine(&view.header);
        if !over.iter().any(|(axis, _)| *axis == "model") {
            let known = models.iter().filter_map(|name| view.model(name));
            command = command.models(known);
        }
        let usual = usual(&view.header, case);
        let differing = Axis::varying([&usual, case]);
        for axis in Axis::all() {
            let flag = format!("--{}", axis.flag());
            let other = over.iter().find(|(name, _)| *name == axis.name());
            command = match (axis.name(), other) {
                (_, Some((_, values))) => command.flag(&flag, values),
                ("model", None) => command,
                (_, None) if !differing.contains(&axis) => command,
                (_, None) if axis.words.is_flag_of_off => command.word(&flag),
                (_, None) => command.flag(&flag, &axis.value(case)),
            };
        }
        command
    }

    /// The run's own command line with another value of some flags, all of them long; none where the record's line is not
    /// one that measures cells or requests. In a pair's it comes before the sides.
    pub fn again(header: &RunHeader, flags: &[(&str, String)]) -> Option<Self> {
        let args = own_args(header)?;
        let names: Vec<&str> = flags.iter().map(|(name, _)| *name).collect();
        let mut kept = without(args, &names, &[]);
        let sides = kept.iter().position(|a| a == "--").unwrap_or(kept.len());
        let new = flags
            .iter()
            .flat_map(|(name, value)| [(*name).to_owned(), value.clone()]);
        kept.splice(sides..sides, new);
        Some(Self::new(None).words(&kept))
    }

    /// The run's own requests with another experiment: its targets, model and settings; none where its line sends none.
    pub fn of_requests(header: &RunHeader, flags: &[&str]) -> Option<Self> {
        let args = own_args(header)?;
        if !matches!(args.first()?.as_str(), "requests" | "compare-live") {
            return None;
        }
        let kept = without(args, &EXPERIMENTS, &["--classes", "--difficulty"]);
        let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
        Some(Self::new(None).words(&kept).words(&flags))
    }

    /// With models by the paths that were used.
    #[must_use]
    pub fn models<'a>(self, models: impl IntoIterator<Item = &'a ModelFacts>) -> Self {
        let with = |command: Self, model: &ModelFacts| command.word("--model").path(&model.path);
        models.into_iter().fold(self, with)
    }

    fn words(self, words: &[String]) -> Self {
        words.iter().fold(self, |command, word| command.word(word))
    }

    /// A run of another engine than llama.cpp, which only tests have, stays one.
    fn engine(self, header: &RunHeader) -> Self {
        let args = &header.args;
        let named = args.iter().position(|a| a == "--engine");
        let joined = args.iter().find_map(|a| a.strip_prefix("--engine="));
        let value = named.and_then(|at| args.get(at + 1)).map(String::as_str);
        match value.or(joined) {
            Some(value) => self.flag("--engine", value),
            None => self,
        }
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// A case of this model on the run's machine whose axes are all left to their defaults.
fn usual(header: &RunHeader, case: &Case) -> Case {
    let has_gpu = header.engine.supports_gpu_offload || !case.rpc.is_none();
    let n_gpu_layers = match case.n_gpu_layers {
        n if has_gpu && n >= ALL_LAYERS => n,
        _ if has_gpu => ALL_LAYERS,
        _ => 0,
    };
    let host = Host {
        n_threads: header.machine.cpu.available_cores.unwrap_or(0),
        n_gpu_layers,
    };
    host.case(&case.model)
}

/// The verbs whose command lines measure the same again.
const MEASURING: [&str; 5] = ["run", "sweep", "ab", "requests", "compare-live"];

/// The run's command line, where it measures and every word of it is known.
fn own_args(header: &RunHeader) -> Option<&[String]> {
    let measures = |first: &String| first.starts_with('-') || MEASURING.contains(&first.as_str());
    let args = &header.args;
    let is_whole = args.iter().all(|a| !a.contains('\u{fffd}'));
    (args.first().is_none_or(measures) && is_whole).then_some(args)
}

/// The flags of experiments with requests, in every spelling; each has a value.
const EXPERIMENTS: [&str; 9] = [
    "--batch",
    "--n-seq",
    "-npl",
    "--n-prompt",
    "-npp",
    "-p",
    "--temperature",
    "--sustained",
    "--rate",
];

/// Arguments without some flags: `valued` with their values, however they are joined, and `switches`.
fn without(args: &[String], valued: &[&str], switches: &[&str]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let name = arg.split_once('=').map_or(arg.as_str(), |(name, _)| name);
        // `-p512`; of the words that begin with one dash only those are not the foreign spellings.
        let is_joined = |flag: &&str| {
            let number = arg.strip_prefix(*flag);
            flag.len() == 2 && number.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
        };
        if valued.contains(&name) {
            if name == arg {
                rest.next();
            }
        } else if !switches.contains(&name) && !valued.iter().any(is_joined) {
            kept.push(arg.clone());
        }
    }
    kept
}

/// Numbers of tokens that leave room for the rest of a context: the wanted ones that fit, or else shares of the room.
pub fn fitting(wanted: &[u32], room: u32) -> Option<String> {
    let mut fitting: Vec<u32> = wanted.iter().copied().filter(|n| *n <= room).collect();
    if fitting.len() < 3 {
        fitting = [room / 8, room / 2, room].to_vec();
        fitting.retain(|n| *n > 0);
        fitting.dedup();
    }
    (fitting.len() > 1).then(|| list(&fitting))
}

/// `1,8,32`.
pub fn list(values: &[u32]) -> String {
    let values: Vec<String> = values.iter().map(u32::to_string).collect();
    values.join(",")
}

/// A word of a command line as a shell takes it.
fn quoted_word(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-:+,=@%".contains(c);
    match !text.is_empty() && text.chars().all(harmless) {
        true => text.to_owned(),
        false => quoted_bytes(Path::new(text)),
    }
}

/// A path as a shell takes it, whatever its bytes. One that begins with a dash would be a flag.
fn quoted_path(path: &Path) -> String {
    match path.as_os_str().as_encoded_bytes() {
        [b'-', ..] => quoted_bytes(&Path::new(".").join(path)),
        _ => quoted_bytes(path),
    }
}

fn quoted_bytes(path: &Path) -> String {
    match path.to_str() {
        Some(text) if plain(text) == text => quoted(path),
        _ => ansi_quoted(path),
    }
}

/// `$'\xff'`, as bash, zsh and ksh read bytes that cannot be shown.
fn ansi_quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let escaped = bytes.iter().map(|byte| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
        b' '..=b'~' => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    });
    format!("$'{}'", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{KvSizing, KvType};
    use crate::view::fixture::{self, case, header};

    fn view_of(case: Case, args: &[&str]) -> RunView {
        let mut header = header(&["tiny"], vec![case]);
        header.args = args.iter().map(|a| (*a).to_owned()).collect();
        header.plan.models[0].path = "my models/tiny's.gguf".into();
        fixture::view(header, [])
    }

    #[test]
    fn a_case_is_repeated_with_its_settings_and_the_usual_ones_are_left_out() {
        let own = Case {
            kv: KvSizing::Fit,
            n_ctx: 4096,
            n_threads: 1,
            type_k: KvType::Q8_0,
            sample: false,
            ..case("tiny", 8)
        };
        let view = view_of(own.clone(), &[]);
        let command = Suggestion::of_case(&view, &own, &[("batch", "1,8,32".to_owned())]);
        assert_eq!(
            command.to_string(),
            r"ggufbench --model 'my models/tiny'\''s.gguf' --batch 1,8,32 --n-prompt 32 --n-gen 4 --threads 1 --n-ctx 4096 --kv fit --type-k q8_0 --no-sample"
        );
    }

    #[test]
    fn a_run_is_repeated_by_its_own_command_line() {
        let again = |args: &[&str]| {
            let view = view_of(case("tiny", 1), args);
            let new = [("--replicates", "10".to_owned())];
            Suggestion::again(&view.header, &new).map(|s| s.to_string())
        };
        for (args, said) in [
            (
                &["--model", "a b.gguf", "--batch", "1,8"][..],
                "ggufbench --model 'a b.gguf' --batch 1,8 --replicates 10",
            ),
            (
                &["sweep", "s.toml", "--replicates", "3", "-r", "2"],
                "ggufbench sweep s.toml -r 2 --replicates 10",
            ),
            (
                &["--replicates=3", "--kv=fit"],
                "ggufbench --kv=fit --replicates 10",
            ),
            (
                &["ab", "--batch", "8", "--", "-t", "1", "--", "-t", "2"],
                "ggufbench ab --batch 8 --replicates 10 -- -t 1 -- -t 2",
            ),
            (&[], "ggufbench --replicates 10"),
        ] {
            assert_eq!(again(args).as_deref(), Some(said), "{args:?}");
        }
        assert_eq!(again(&["gate", "out/x", "--rerun"]), None);
        assert_eq!(again(&["--model", "caf\u{fffd}.gguf"]), None);
    }

    #[test]
    fn another_experiment_keeps_targets_and_settings() {
        let of = |args: &[&str], flags: &[&str]| {
            let view = view_of(case("tiny", 1), args);
            Suggestion::of_requests(&view.header, flags).map(|s| s.to_string())
        };
        let args = [
            "requests",
            "--target",
            "openai:http://h/v1#m",
            "-p64",
            "-npl=1,8",
            "--batch",
            "1",
            "--classes",
            "--sustained=9s",
            "--rounds",
            "5",
        ];
        assert_eq!(
            of(&args, &["--difficulty"]).as_deref(),
            Some("ggufbench requests --target 'openai:http://h/v1#m' --rounds 5 --difficulty")
        );
        assert_eq!(of(&["sweep", "day1.toml"], &["--classes"]), None);
    }

    #[test]
    fn lengths_leave_room_for_the_rest_of_the_context() {
        assert_eq!(
            fitting(&[16, 128, 512], 1900).as_deref(),
            Some("16,128,512")
        );
        assert_eq!(fitting(&[16, 128, 512], 100).as_deref(), Some("12,50,100"));
        assert_eq!(fitting(&[16, 128, 512], 0), None);
    }

    #[cfg(unix)]
    #[test]
    fn paths_are_quoted_whatever_their_bytes() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(quoted_path(Path::new("-o/x")), "./-o/x");
        assert_eq!(quoted_path(Path::new("a\x1b[2J")), r"$'a\x1b[2J'");
        assert_eq!(
            quoted_path(Path::new(OsStr::from_bytes(b"o\xe9'"))),
            r"$'o\xe9\''"
        );
        assert_eq!(quoted_word("a#b"), "'a#b'");
        assert_eq!(quoted_word(""), "''");
        assert_eq!(quoted_word("$(x)"), "'$(x)'");
    }
}
