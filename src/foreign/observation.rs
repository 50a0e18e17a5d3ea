//! What another benchmark printed, as observations.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ForeignKind, ForeignTask, TimedPart};
use crate::measure::Phase;
use crate::metric::Metric;
use crate::plan::Case;
use crate::record::Line;
use crate::record::jsonl;

/// One repetition of a program: tokens of all sequences, and the time they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForeignObservation {
    pub n_tokens: u64,
    pub ns: u64,
}

impl ForeignObservation {
    /// Its value in the metric's unit; `metric` is one that [`TimedPart::of`] gives.
    pub fn value(self, metric: Metric, case: &Case) -> f64 {
        let (n_tokens, ns) = (self.n_tokens as f64, self.ns as f64);
        match metric {
            Metric::TpotNs => ns * f64::from(case.n_seq) / n_tokens,
            _ => n_tokens / ns * 1e9,
        }
    }
}

/// Reads a visit's observations: from what the program printed, or from the record that it left in `scratch`.
pub(super) fn read(
    kind: ForeignKind,
    task: &ForeignTask,
    stdout: &str,
    scratch: &Path,
) -> Result<Vec<ForeignObservation>, String> {
    let found = match kind {
        ForeignKind::LlamaBench => of_llama_bench(task, stdout)?,
        ForeignKind::LlamaBatchedBench => of_llama_batched_bench(task, stdout)?,
        ForeignKind::Ggufbench => of_record(task, scratch)?,
    };
    let wanted = usize::try_from(task.repetitions).unwrap_or(usize::MAX);
    if found.len() != wanted {
        return Err(format!(
            "{kind} printed {} repetitions of the cell, of {wanted} that were asked for",
            found.len()
        ));
    }
    match found.iter().any(|o| o.ns == 0 || o.n_tokens == 0) {
        true => Err(format!(
            "{kind} printed a repetition that took no time or had no tokens"
        )),
        false => Ok(found),
    }
}

/// The JSON objects among a program's lines. Where a rate is not a number, C prints what JSON does not have.
fn objects(stdout: &str) -> impl Iterator<Item = Value> {
    let lines = stdout.lines().map(str::trim);
    let lines = lines.filter(|line| line.starts_with('{'));
    lines.filter_map(|line| {
        let line = line.replace(": -nan", ": null").replace(": nan", ": null");
        let line = line.replace(": -inf", ": null").replace(": inf", ": null");
        serde_json::from_str(&line).ok()
    })
}

fn has(object: &Value, fields: &[(&str, u32)]) -> bool {
    let is = |(key, value): &(&str, u32)| object[*key].as_u64() == Some(u64::from(*value));
    fields.iter().all(is)
}

fn of_llama_bench(task: &ForeignTask, stdout: &str) -> Result<Vec<ForeignObservation>, String> {
    let case = &task.case;
    let (n_prompt, n_gen) = match task.part {
        TimedPart::Prefill => (case.n_prompt, 0),
        TimedPart::Decode => (0, case.n_gen),
    };
    let of_test = |o: &Value| has(o, &[("n_prompt", n_prompt), ("n_gen", n_gen)]);
    let test = objects(stdout).find(of_test);
    let samples = test.as_ref().and_then(|test| test["samples_ns"].as_array());
    let samples = samples.ok_or("llama-bench printed no samples_ns of the cell")?;
    let n_tokens = u64::from(n_prompt + n_gen);
    let ns = samples
        .iter()
        .map(|ns| ns.as_u64().ok_or("samples_ns are no whole numbers"));
    let all: Result<Vec<ForeignObservation>, &str> = ns
        .map(|ns| Ok(ForeignObservation { n_tokens, ns: ns? }))
        .collect();
    Ok(all?)
}

fn of_llama_batched_bench(
    task: &ForeignTask,
    stdout: &str,
) -> Result<Vec<ForeignObservation>, String> {
    let case = &task.case;
    let n_prompt = case.n_depth.saturating_add(case.n_prompt);
    let (key, per_seq) = match task.part {
        TimedPart::Prefill => ("t_pp", n_prompt),
        TimedPart::Decode => ("t_tg", case.n_gen),
    };
    let n_tokens = u64::from(per_seq) * u64::from(case.n_seq);
    let of_cell = |o: &Value| has(o, &[("pp", n_prompt), ("pl", case.n_seq)]);
    let ns = |o: Value| {
        let seconds = o[key]
            .as_f64()
            .ok_or_else(|| format!("llama-batched-bench printed no {key}"))?;
        let ns = (seconds * 1e9).round() as u64;
        Ok(ForeignObservation { n_tokens, ns })
    };
    objects(stdout).filter(of_cell).map(ns).collect()
}

fn of_record(task: &ForeignTask, scratch: &Path) -> Result<Vec<ForeignObservation>, String> {
    let phase = match task.part {
        TimedPart::Prefill => Phase::Prefill,
        TimedPart::Decode => Phase::Decode,
    };
    let run = std::fs::read_dir(scratch)
        .ok()
        .and_then(|mut entries| entries.next()?.ok())
        .ok_or("ggufbench left no record")?;
    let mut found = Vec::new();
    jsonl::read(&run.path(), |line| {
        let Line::Repetition(r) = line else { return };
        let calls = r.calls.iter().filter(|call| call.phase == phase);
        let (n_tokens, ns) = calls.fold((0_u64, 0_u64), |(tokens, ns), call| {
            (
                tokens + u64::from(call.n_tokens),
                ns.saturating_add(call.step_ns()),
            )
        });
        found.push(ForeignObservation { n_tokens, ns });
    })
    .map_err(|e| e.to_string())?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn task(n_seq: u32, part: TimedPart) -> ForeignTask {
        ForeignTask {
            case: Case {
                n_seq,
                n_prompt: 16,
                n_gen: 4,
                ..Case::usual("m")
            },
            model: PathBuf::from("m.gguf"),
            part,
            repetitions: 2,
        }
    }

    fn read_of(kind: ForeignKind, task: &ForeignTask, text: &str) -> Result<Vec<u64>, String> {
        let found = read(kind, task, text, Path::new("/nowhere"))?;
        Ok(found.iter().map(|o| o.ns).collect())
    }

    #[test]
    fn samples_of_the_test_that_was_asked_for_are_read() {
        let text = "warning: noise\n\
            {\"n_prompt\": 16, \"n_gen\": 0, \"samples_ns\": [ 7, 8 ]}\n\
            {\"n_prompt\": 0, \"n_gen\": 4, \"samples_ns\": [ 100, 120 ],\"samples_ts\": [ 1.0, 2.0 ]}\n";
        let read = |part| read_of(ForeignKind::LlamaBench, &task(1, part), text);
        assert_eq!(read(TimedPart::Decode), Ok(vec![100, 120]));
        assert_eq!(read(TimedPart::Prefill), Ok(vec![7, 8]));
    }

    #[test]
    fn rates_that_are_not_numbers_do_not_spoil_the_line() {
        let text = "{\"pp\": 16, \"tg\": 4, \"pl\": 8, \"t_pp\": 0.5, \"speed_pp\": -nan, \"t_tg\": 0.25, \"speed\": inf}\n\
            {\"pp\": 16, \"tg\": 4, \"pl\": 8, \"t_pp\": 0.25, \"speed_pp\": nan, \"t_tg\": 0.125, \"speed\": 1.0}\n\n";
        let kind = ForeignKind::LlamaBatchedBench;
        let decode = task(8, TimedPart::Decode);
        assert_eq!(
            read_of(kind, &decode, text),
            Ok(vec![250_000_000, 125_000_000])
        );
        let seen = read(kind, &decode, text, Path::new("/nowhere")).expect("whole")[0];
        assert_eq!(seen.n_tokens, 32);
        assert!((seen.value(Metric::TpotNs, &decode.case) - 62_500_000.0).abs() < 1.0);
        assert!((seen.value(Metric::DecodeTokensPerS, &decode.case) - 128.0).abs() < 1e-9);
    }

    #[test]
    fn too_few_repetitions_and_empty_times_are_no_observations() {
        let one = "{\"n_prompt\": 0, \"n_gen\": 4, \"samples_ns\": [ 100 ]}";
        let zero = "{\"n_prompt\": 0, \"n_gen\": 4, \"samples_ns\": [ 100, 0 ]}";
        let none = "llama-bench: usage";
        let decode = task(1, TimedPart::Decode);
        let why = |text| read_of(ForeignKind::LlamaBench, &decode, text).expect_err(text);
        assert!(why(one).contains("1 repetitions of the cell, of 2"));
        assert!(why(zero).contains("took no time"));
        assert!(why(none).contains("no samples_ns"));
    }
}
