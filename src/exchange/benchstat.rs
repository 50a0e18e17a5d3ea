//! Lines in Go's benchmark format, which benchstat compares: one for each process, since processes are the units of evidence; of a
//! run with one process, one for each repetition.

use std::io::{self, Write};

use super::tested::TestedPart;
use crate::record::RunHeader;
use crate::stats::summary;
use crate::text::plain;
use crate::view::TestPart;

/// Writes a run's tests.
///
/// # Errors
/// The writer's.
pub(crate) fn write(
    header: &RunHeader,
    tests: &[TestedPart],
    out: &mut dyn Write,
) -> io::Result<()> {
    let machine = &header.machine;
    let os = machine.os.as_deref().and_then(|os| os.split(' ').next());
    let facts = [
        ("goos", os.map(str::to_lowercase)),
        ("goarch", Some(machine.arch.clone())),
        ("pkg", Some("ggufbench".to_owned())),
        ("cpu", machine.cpu.model.clone()),
        ("run", Some(header.run.clone())),
    ];
    for (key, value) in facts {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            writeln!(out, "{key}: {}", plain(&value))?;
        }
    }
    writeln!(out, "Unit tokens/s better=higher")?;
    tests.iter().try_for_each(|test| write_test(test, out))
}

fn write_test(test: &TestedPart, out: &mut dyn Write) -> io::Result<()> {
    let part = match test.part {
        TestPart::Prompt => "Prefill",
        TestPart::Generation => "Decode",
        TestPart::Both => "Total",
    };
    let id = test.case.id();
    let name: String = id
        .as_str()
        .chars()
        .map(|c| if c.is_whitespace() { '_' } else { c })
        .collect();
    // The time of a decode step; of a prompt, of all of it.
    let n_ops = match test.part {
        TestPart::Generation => f64::from(test.case.n_gen.max(1)),
        TestPart::Prompt | TestPart::Both => 1.0,
    };
    let units: Vec<Vec<f64>> = match test.rates.len() {
        0 | 1 => test.all_rates().map(|rate| vec![rate]).collect(),
        _ => test.rates.values().cloned().collect(),
    };
    for repetitions in units {
        let Some(rate) = summary::median(&repetitions) else {
            continue;
        };
        let (n, ns) = (repetitions.len(), test.ns(rate) / n_ops);
        writeln!(
            out,
            "Benchmark{part}/{name} {n} {ns:.1} ns/op {rate:.4} tokens/s"
        )?;
    }
    Ok(())
}
