//! What a run is called where people read of it: its models and its machine.

use super::view::RunView;
use crate::text::short;

/// More files than these are counted, not named.
const MOST_NAMES: usize = 4;
/// A name that files share says something from this length on.
const LEAST_SHARED: usize = 4;

/// `smollm2-135m in q4_0, q8_0 on AMD EPYC 9655`.
pub fn of(view: &RunView) -> String {
    let models = in_words(&models(view));
    match models.is_empty() {
        true => machine(view),
        false => format!("{models} on {}", machine(view)),
    }
}

/// The models of the cells, or of other work, each once. Of a server that has told no file its own name stands.
fn models(view: &RunView) -> Vec<String> {
    let of_cells = view.cells.iter().map(|c| c.case.model.as_str());
    let jobs = view.requests.iter().flat_map(|r| &r.jobs);
    let of_jobs = jobs.map(|j| match view.model(&j.job.case.model) {
        Some(model) => model.name.as_str(),
        None => j.target.as_str(),
    });
    let of_text = view.quality.iter().flat_map(|q| &q.cells);
    let of_text = of_text.map(|c| c.case.model.as_str());
    let mut names: Vec<String> = Vec::new();
    for name in of_cells.chain(of_jobs).chain(of_text) {
        let name = short(name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Names in a few words: what they share once, and where they are too many their number.
fn in_words(names: &[String]) -> String {
    let shared = shared(names);
    let rest = |name: &String| {
        name[shared.len()..]
            .trim_start_matches(SEPARATORS)
            .to_owned()
    };
    match names {
        [] => String::new(),
        [one] => one.clone(),
        many if shared.len() >= LEAST_SHARED => {
            let shared = shared.trim_end_matches(SEPARATORS);
            match many.len() {
                0..=MOST_NAMES => {
                    let rests: Vec<String> = many.iter().map(rest).collect();
                    format!("{shared} in {}", rests.join(", "))
                }
                n => format!("{shared} in {n} files"),
            }
        }
        [a, b] => format!("{a} and {b}"),
        [first, others @ ..] => format!("{first} and {} other models", others.len()),
    }
}

/// What stands between the parts of a file's name.
const SEPARATORS: [char; 3] = ['-', '.', '_'];

/// The parts with which all names begin, with the separator after them; nothing where a name has no other part.
fn shared(names: &[String]) -> &str {
    let Some((first, others)) = names.split_first() else {
        return "";
    };
    let ends = first.char_indices().filter(|(_, c)| SEPARATORS.contains(c));
    let mut ends = ends.map(|(at, _)| &first[..=at]);
    let is_shared = |part: &&str| {
        let all = others.iter().chain([first]);
        let mut rests = all.map(|name| name.strip_prefix(*part));
        rests.all(|rest| rest.is_some_and(|rest| !rest.trim_start_matches(SEPARATORS).is_empty()))
    };
    ends.rfind(is_shared).unwrap_or("")
}

/// What computed: the device that layers were on, or else the CPU.
pub fn machine(view: &RunView) -> String {
    let mut cells = view.every_cell();
    let uses_gpu = cells.any(|cell| cell.case().n_gpu_layers > 0);
    let devices = view.header.engine.devices.iter();
    let gpu = devices
        .filter(|d| d.kind == "gpu" || d.kind == "igpu")
        .map(|d| &d.description);
    let named = view.header.machine.gpus.devices.iter();
    let named = named.filter_map(|gpu| gpu.name.as_ref());
    let gpu = gpu.chain(named).next().filter(|_| uses_gpu);
    let machine = &view.header.machine;
    let name = gpu.or(machine.cpu.model.as_ref());
    plain_name(&short(name.unwrap_or(&machine.arch)))
}

/// A chip's name without what says nothing: marks, clocks, and the word for what it is.
fn plain_name(name: &str) -> String {
    let (name, _) = name.split_once(" @ ").unwrap_or((name, ""));
    let name = ["(R)", "(TM)", "(r)", "(tm)"]
        .into_iter()
        .fold(name.to_owned(), |name, mark| name.replace(mark, ""));
    let says_something =
        |word: &&str| !(matches!(*word, "CPU" | "Processor") || word.ends_with("-Core"));
    let words: Vec<&str> = name.split_whitespace().filter(says_something).collect();
    match words.is_empty() {
        true => name,
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn chips_have_short_names() {
        for (name, plain) in [
            ("AMD EPYC 7B13 64-Core Processor", "AMD EPYC 7B13"),
            (
                "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz",
                "Intel Core i7-8700K",
            ),
            ("Apple M4 Max", "Apple M4 Max"),
            ("CPU", "CPU"),
        ] {
            assert_eq!(plain_name(name), plain);
        }
    }

    #[test]
    fn models_are_named_once() {
        let words = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            in_words(&names)
        };
        assert_eq!(words(&[]), "");
        assert_eq!(words(&["a.gguf"]), "a.gguf");
        assert_eq!(
            words(&["smollm2-135m-q4_0", "smollm2-135m-q8_0"]),
            "smollm2-135m in q4_0, q8_0"
        );
        assert_eq!(
            words(&["smollm2-135m-q4_0", "smollm2-135m-f16"]),
            "smollm2-135m in q4_0, f16"
        );
        assert_eq!(words(&["llama-3-8b", "gemma"]), "llama-3-8b and gemma");
        assert_eq!(words(&["a-1", "b-1", "c-1"]), "a-1 and 2 other models");
        let five: Vec<String> = (1..6).map(|n| format!("tiny-q{n}")).collect();
        assert_eq!(in_words(&five), "tiny in 5 files");
        // One is the beginning of the other, and has nothing else.
        assert_eq!(words(&["llama-8b", "llama-8b-"]), "llama in 8b, 8b-");
    }

    #[test]
    fn a_run_is_called_after_its_models_and_its_machine() {
        let mixed = fixture::mixed();
        assert_eq!(of(&mixed), "smollm2-135m in q4_0, f16 on AMD EPYC 9655");
        let requests = fixture::requests::both();
        assert!(of(&requests).ends_with(&machine(&requests)));
        assert!(!of(&requests).contains("run"), "{}", of(&requests));
    }
}
