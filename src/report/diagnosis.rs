//! A doctor's findings as a table: the worst first, what to do below it, the conclusion last.

use super::table::{Document, Table};
use super::text::{cut_end, plural};
use crate::doctor::{CheckVerdict, DoctorCheck, Examination};
use crate::host::Neighbour;
use crate::units;

/// Other programs that are named.
const MOST_PROGRAMS: usize = 3;
/// Less than this share of a core is not worth a name.
const LEAST_CORES: f64 = 0.01;

/// The table. `busiest` are the other programs to name, none in what may be kept.
pub fn document(examination: &Examination, busiest: &[Neighbour]) -> Document {
    let mut checks: Vec<&DoctorCheck> = examination.checks.iter().collect();
    // Stable: within a verdict the order is that of the checks.
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    let table = Table::of(&checks)
        .words("check", |c| name(c))
        .words("verdict", |c| shown(c.verdict))
        .words("finding", |c| c.finding.as_str());
    let cpu = examination.cpu.as_deref().unwrap_or("an unknown processor");
    let looked = format!(
        "for {}, with {}",
        units::duration(examination.looked_ns),
        plural(examination.n_threads, "thread", "threads")
    );
    let mut document = Document::new("Is this machine fit to measure?", table)
        .above("machine", cpu)
        .above("looked", looked)
        .above("busiest", programs(busiest))
        .all_below(checks.iter().filter_map(|c| advice(c)));
    let has_unknown_gain = |c: &&DoctorCheck| c.advice.is_some() && c.expected_gain.is_none();
    if checks.iter().any(has_unknown_gain) {
        document = document.below(
            "",
            "a gain that is not named is not known: change one thing, examine again, and compare",
        );
    }
    // An empty line: the last word stands alone.
    let verdict = examination.conclusion.sentence.as_str();
    document.below("", "").below("verdict", verdict)
}

/// In words; what people write in capitals stays so.
fn name(check: &DoctorCheck) -> String {
    let word = |word: &str| match word {
        "cpu" | "numa" | "gpu" => word.to_uppercase(),
        word => word.to_owned(),
    };
    let words: Vec<String> = check.name.split('_').map(word).collect();
    words.join(" ")
}

/// Bad news must not look like the others without colour either.
fn shown(verdict: CheckVerdict) -> String {
    match verdict {
        CheckVerdict::Bad => "BAD".to_owned(),
        other => other.word().to_owned(),
    }
}

fn advice(check: &DoctorCheck) -> Option<(String, String)> {
    let advice = check.advice.as_ref()?;
    let text = match &check.expected_gain {
        Some(gain) => format!("{advice}. Gain: {}", gain.text),
        None => advice.clone(),
    };
    Some((name(check), text))
}

/// `rustc 0.90 cores, ...`; empty where none used much.
pub fn programs(busiest: &[Neighbour]) -> String {
    let named = busiest
        .iter()
        .filter(|program| program.cores >= LEAST_CORES);
    let named: Vec<String> = named
        .take(MOST_PROGRAMS)
        .map(|program| format!("{} {:.2} cores", cut_end(&program.name, 20), program.cores))
        .collect();
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::fixture::quiet_and_blind;

    fn neighbours() -> Vec<Neighbour> {
        [("rustc\x1b[2J", 0.9), ("sleepy", 0.001)]
            .map(|(name, cores)| Neighbour {
                name: name.to_owned(),
                cores,
            })
            .into()
    }

    #[test]
    fn the_worst_comes_first_and_the_conclusion_last() {
        let mut examination = quiet_and_blind();
        let last = examination.checks.last_mut().expect("some");
        last.verdict = CheckVerdict::Bad;
        last.advice = Some("mend it".to_owned());
        let text = document(&examination, &neighbours()).terminal(80, false);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let verdicts: Vec<&str> = text
            .lines()
            .filter_map(|line| {
                ["BAD", "unknown", "good"]
                    .into_iter()
                    .find(|word| line.split("  ").any(|part| part.trim() == *word))
            })
            .collect();
        assert_eq!(verdicts.first(), Some(&"BAD"), "{text}");
        assert!(verdicts.is_sorted_by_key(|v| match *v {
            "BAD" => 0,
            "unknown" => 1,
            _ => 2,
        }));
        let last = text.lines().rfind(|line| line.starts_with("verdict: "));
        assert!(
            last.is_some_and(|line| line.contains("fit to measure")),
            "{text}"
        );
        assert!(text.contains("CPU limit") && text.contains("engine: mend it"));
    }

    #[test]
    fn other_programs_are_named_only_when_asked_for_and_cannot_steer_the_terminal() {
        let examination = quiet_and_blind();
        let shown = document(&examination, &neighbours()).terminal(80, false);
        assert!(shown.contains("busiest  rustc?[2J 0.90 cores\n"), "{shown}");
        let kept = document(&examination, &[]).markdown();
        let words: Vec<&str> = kept.split_whitespace().collect();
        let kept = words.join(" ");
        assert!(!kept.contains("busiest") && kept.contains("| check | verdict | finding |"));
        let json = serde_json::to_string(&examination).expect("plain data");
        assert!(!json.contains("rustc"));
    }
}
