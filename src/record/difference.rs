//! What else differs between two runs than the change in question.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::plan::Case;
use crate::record::RunHeader;
use crate::request::Job;

/// Something other than the compared axis that differs between the sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    Machine {
        /// CPU, fingerprint and the GPUs that layers were on.
        a: String,
        b: String,
    },
    /// The CPU offers other instructions: another machine, or another view of it.
    CpuFeatures {
        only_a: Vec<String>,
        only_b: Vec<String>,
    },
    /// Another engine, or another version of it.
    Engine {
        /// Name and version.
        a: String,
        b: String,
    },
    /// The same engine, compiled for other CPU features.
    EngineBuild { a: String, b: String },
    /// Environment variables that act on the engine.
    Environment {
        /// Those that the other side lacks or has with another value, as `NAME=value`.
        a: Vec<String>,
        b: Vec<String>,
    },
    /// Another version of this program.
    Program {
        /// Version and revision.
        a: String,
        b: String,
    },
    /// Settings that another program recorded and that are no axis of a cell.
    Settings {
        /// Those that the other side lacks or has with another value, as `name=value`.
        a: Vec<String>,
        b: Vec<String>,
    },
    /// Another file under the same model name.
    Model {
        name: String,
        /// Start of the SHA-256, or the size.
        a: String,
        b: String,
    },
    /// Jobs of the same name that are other work: prompts, load, sampling, the end of an answer.
    Jobs { names: Vec<String> },
    /// Other prompts, and another order of cells.
    Seed { a: u64, b: u64 },
    /// Lines that are repeated in a record, and count once. How many there are.
    RepeatedLines { a: u32, b: u32 },
}

impl Difference {
    /// Jobs of requests with the same name and other work; their settings are compared as those of cells are.
    pub fn of_jobs(a: &RunHeader, b: &RunHeader) -> Option<Self> {
        let (a, b) = (a.requests.as_ref()?, b.requests.as_ref()?);
        let mut names: Vec<String> = Vec::new();
        // The same target in the same setting, whatever its run calls it.
        for (ours, theirs) in a
            .targets
            .iter()
            .flat_map(|t| b.targets.iter().map(move |o| (t, o)))
        {
            if a.named(ours) != b.named(theirs) {
                continue;
            }
            for job in a.jobs_of(ours) {
                let other = b.job_of(theirs, &job.name);
                let is_other = other.is_some_and(|other| {
                    let same_setting = Job {
                        case: other.case.clone(),
                        ..job.clone()
                    };
                    job.case.load_key() == other.case.load_key() && same_setting != *other
                });
                if is_other && !names.contains(&job.name) {
                    names.push(job.name.clone());
                }
            }
        }
        (!names.is_empty()).then_some(Self::Jobs { names })
    }

    /// Every difference between two runs that matters to cells of `cases`, in the order of the enum.
    pub fn between<'a>(
        a: &RunHeader,
        b: &RunHeader,
        cases: impl IntoIterator<Item = &'a Case>,
    ) -> Vec<Self> {
        let mut found = Vec::new();
        if a.hardware() != b.hardware() {
            let (a, b) = (machine(a), machine(b));
            found.push(Self::Machine { a, b });
        }
        let [only_a, only_b] = features_apart(a, b);
        if !only_a.is_empty() || !only_b.is_empty() {
            found.push(Self::CpuFeatures { only_a, only_b });
        }
        let engine = |h: &RunHeader| format!("{} {}", h.engine.name, h.engine.version);
        if engine(a) != engine(b) {
            let (a, b) = (engine(a), engine(b));
            found.push(Self::Engine { a, b });
        } else if a.engine.system_info != b.engine.system_info {
            let build = |h: &RunHeader| h.engine.system_info.clone();
            let (a, b) = (build(a), build(b));
            found.push(Self::EngineBuild { a, b });
        }
        let [only_a, only_b] = variables_apart(a, b);
        if !only_a.is_empty() || !only_b.is_empty() {
            let (a, b) = (only_a, only_b);
            found.push(Self::Environment { a, b });
        }
        if program(a) != program(b) {
            let (a, b) = (program(a), program(b));
            found.push(Self::Program { a, b });
        }
        if let (Some(of_a), Some(of_b)) = (&a.imported, &b.imported)
            && of_a.settings != of_b.settings
        {
            let (a, b) = (&of_a.settings, &of_b.settings);
            let (a, b) = (entries_apart(a, b), entries_apart(b, a));
            found.push(Self::Settings { a, b });
        }
        let mut names: Vec<&str> = Vec::new();
        for case in cases {
            if !names.contains(&case.model.as_str()) {
                names.push(&case.model);
            }
        }
        for name in names {
            if let (Some(file_a), Some(file_b)) = (file(a, name), file(b, name))
                && file_a != file_b
            {
                found.push(Self::Model {
                    name: name.to_owned(),
                    a: file_a,
                    b: file_b,
                });
            }
        }
        let seeds = (a.plan.protocol.seed, b.plan.protocol.seed);
        if seeds.0 != seeds.1 {
            let (a, b) = seeds;
            found.push(Self::Seed { a, b });
        }
        let (a, b) = (a.n_repeated_lines, b.n_repeated_lines);
        if a > 0 || b > 0 {
            found.push(Self::RepeatedLines { a, b });
        }
        found
    }
}

pub(crate) fn machine(header: &RunHeader) -> String {
    let machine = &header.machine;
    let cpu = machine.cpu.model.as_deref().unwrap_or(&machine.arch);
    format!("{cpu} ({})", header.hardware())
}

pub(crate) fn program(header: &RunHeader) -> String {
    if let Some(imported) = &header.imported {
        return imported.tool.clone();
    }
    let git = header.program.git.as_ref();
    let git = git.map(|g| format!(" ({g})")).unwrap_or_default();
    format!("ggufbench {}{git}", header.program.version)
}

/// Identifies a model's file, in short.
fn file(header: &RunHeader, name: &str) -> Option<String> {
    let model = header.plan.models.iter().find(|m| m.name == name)?;
    Some(match &model.sha256 {
        Some(sha256) => format!("sha256 {}", sha256.get(..16).unwrap_or(sha256)),
        None => format!("{} bytes", model.file_bytes),
    })
}

fn features_apart(a: &RunHeader, b: &RunHeader) -> [Vec<String>; 2] {
    let names = |h: &RunHeader| h.machine.cpu.features.names();
    let (of_a, of_b) = (names(a), names(b));
    let without = |these: &[&str], those: &[&str]| {
        let only = these.iter().filter(|name| !those.contains(name));
        only.map(|name| (*name).to_owned()).collect()
    };
    [without(&of_a, &of_b), without(&of_b, &of_a)]
}

fn variables_apart(a: &RunHeader, b: &RunHeader) -> [Vec<String>; 2] {
    let (a, b) = (&a.machine.environment.acting, &b.machine.environment.acting);
    [entries_apart(a, b), entries_apart(b, a)]
}

/// What the others lack or have with another value, as `name=value`.
fn entries_apart(
    these: &BTreeMap<String, String>,
    those: &BTreeMap<String, String>,
) -> Vec<String> {
    let only = these
        .iter()
        .filter(|(name, value)| those.get(*name) != Some(value));
    only.map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// What the engine says of its build, part by part: `CPU : AVX2 = 1 | FMA = 1 |`.
fn parts(system_info: &str) -> impl Iterator<Item = &str> {
    let features = system_info.split(['|', ':']).map(str::trim);
    features
        .map(|part| part.strip_suffix(" = 1").unwrap_or(part))
        .filter(|part| !part.is_empty())
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { a, b } => write!(f, "machines: A {a}, B {b}"),
            Self::CpuFeatures { only_a, only_b } => {
                let list = |names: &[String]| match names {
                    [] => "none".to_owned(),
                    names => names.join(" "),
                };
                write!(
                    f,
                    "CPU features: only A has {}, only B has {}",
                    list(only_a),
                    list(only_b)
                )
            }
            Self::Engine { a, b } => write!(f, "engines: A {a}, B {b}"),
            Self::EngineBuild { a, b } => {
                let only = |these: &str, those: &str| {
                    let known: Vec<&str> = parts(those).collect();
                    let only = parts(these).filter(|part| !known.contains(part));
                    let only: Vec<&str> = only.collect();
                    match only[..] {
                        [] => "nothing more".to_owned(),
                        _ => only.join(", "),
                    }
                };
                write!(
                    f,
                    "engine builds: A has {}; B has {}",
                    only(a, b),
                    only(b, a)
                )
            }
            Self::Environment { a, b } => {
                let list = |set: &[String]| match set {
                    [] => "nothing".to_owned(),
                    set => set.join(" "),
                };
                write!(
                    f,
                    "environment variables that act on the engine: A has {}; B has {}",
                    list(a),
                    list(b)
                )
            }
            Self::Program { a, b } => write!(f, "programs: A {a}, B {b}"),
            Self::Settings { a, b } => {
                let list = |set: &[String]| match set {
                    [] => "nothing more".to_owned(),
                    set => set.join(" "),
                };
                write!(f, "settings: A has {}; B has {}", list(a), list(b))
            }
            Self::Model { name, a, b } => write!(f, "files of model {name}: A {a}, B {b}"),
            Self::Jobs { names } => write!(
                f,
                "jobs of the same name that are other work (prompts, load, sampling, length of answers): {}",
                names.join(", ")
            ),
            Self::Seed { a, b } => write!(f, "seeds, and so prompts and order: A {a}, B {b}"),
            Self::RepeatedLines { a, b } => write!(
                f,
                "lines that are repeated in the record and count once: A {a}, B {b}"
            ),
        }
    }
}
