//! What a night says of its builds and its machine, as far as a change of it may change the speed.

use serde::Serialize;

use crate::record::RunHeader;
use crate::record::difference::{machine, program};

/// A fact that is not the same as on the last night that has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FactChange {
    pub fact: &'static str,
    pub before: String,
    pub after: String,
}

/// A fact of a night: its name, and its value where the record has it.
type NightFact = (&'static str, fn(&RunHeader) -> Option<String>);

const FACTS: [NightFact; 11] = [
    ("program", |h| Some(program(h))),
    ("engine", |h| {
        Some(format!("{} {}", h.engine.name, h.engine.version))
    }),
    ("llama.cpp", |h| h.program.llama_cpp_commit.clone()),
    ("machine", |h| Some(machine(h))),
    ("cores", |h| {
        Some(h.machine.cpu.available_cores?.to_string())
    }),
    ("governor", |h| h.machine.cpu.governor.clone()),
    ("system", |h| h.machine.os.clone()),
    ("kernel", |h| h.machine.kernel.clone()),
    ("driver", |h| h.machine.gpus.driver_version.clone()),
    ("variables", |h| {
        let set = h.machine.environment.acting.iter();
        let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
        Some(match set.is_empty() {
            true => "none".to_owned(),
            false => set.join(" "),
        })
    }),
    ("models", |h| {
        let models = h.plan.models.iter();
        let mut files: Vec<String> = models
            .filter_map(|m| Some(format!("{} {}", m.name, m.sha256.as_ref()?.get(..12)?)))
            .collect();
        files.sort();
        (!files.is_empty()).then(|| files.join(", "))
    }),
];

/// The facts that differ from those of the last night that has them; `earlier` is newest first.
pub(super) fn changes<'a>(
    earlier: impl Iterator<Item = &'a RunHeader> + Clone,
    after: &RunHeader,
) -> Vec<FactChange> {
    let change = |(fact, of): &NightFact| {
        let (before, after) = (earlier.clone().find_map(of)?, of(after)?);
        (before != after).then_some(FactChange {
            fact,
            before,
            after,
        })
    };
    FACTS.iter().filter_map(change).collect()
}
