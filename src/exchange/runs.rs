//! From another program's tests to records.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::{ForeignFile, ForeignTest, TestSource};
use crate::build_info::BuildInfo;
use crate::engine::EngineFacts;
use crate::host::usage::UsageDelta;
use crate::host::{Gpu, Machine};
use crate::model::sanitize_name;
use crate::plan::{Case, Plan, Protocol};
use crate::record::imported::{Imported, ImportedModel};
use crate::record::{CellLine, Line, Outcome, Repetition, RunHeader, SCHEMA_VERSION, StoppedBy};

/// Which tests are of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Grouping {
    /// Files are processes of one run, instead of runs of their own.
    pub joins_files: bool,
    /// Tests of different days (UTC) are of different runs.
    pub each_day: bool,
}

/// A record to be written, without the name of its folder and the command line.
#[derive(Debug)]
pub(crate) struct ImportedRun {
    pub header: RunHeader,
    pub lines: Vec<Line>,
}

/// The tests of one run.
struct TestGroup<'a> {
    /// The number of its file, where files are not joined; and its day, where each is by itself.
    key: (Option<usize>, Option<jiff::civil::Date>),
    tests: Vec<(usize, &'a ForeignTest)>,
}

/// One run for each build, machine and set of settings; see [`Grouping`] for the rest. In the order of the tests.
pub(crate) fn runs(files: &[ForeignFile], grouping: Grouping) -> Vec<ImportedRun> {
    let mut groups: Vec<TestGroup<'_>> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        for test in &file.tests {
            let day = test.started.or(file.modified);
            let day = day.map(|at| at.to_zoned(TimeZone::UTC).date());
            let key = (
                (!grouping.joins_files).then_some(at),
                day.filter(|_| grouping.each_day),
            );
            let is_of = |g: &&mut TestGroup<'_>| {
                g.key == key
                    && g.tests
                        .first()
                        .is_some_and(|(_, t)| t.source == test.source)
            };
            match groups.iter_mut().find(is_of) {
                Some(group) => group.tests.push((at, test)),
                None => groups.push(TestGroup {
                    key,
                    tests: vec![(at, test)],
                }),
            }
        }
    }
    groups.iter().map(|group| run(group, files)).collect()
}

fn run(group: &TestGroup<'_>, files: &[ForeignFile]) -> ImportedRun {
    let names = distinct_names(&group.tests);
    let mut processes = Processes::default();
    let begin = begin(group, files);
    let mut lines = Vec::new();
    let mut models: Vec<ImportedModel> = Vec::new();
    for (at, test) in &group.tests {
        let model = ImportedModel {
            name: names[&model_key(&test.model)].clone(),
            ..test.model.clone()
        };
        let case = Case {
            model: model.name.clone(),
            ..test.case.clone()
        };
        if !models.contains(&model) && !models.iter().any(|known| known.name == model.name) {
            models.push(model);
        }
        let process = processes.of(&case, *at, files[*at].is_of_one_process);
        let since = test.started.zip(begin);
        let since = since.map(|(at, begin)| at.as_nanosecond() - begin.as_nanosecond());
        let since = since.and_then(|ns| u64::try_from(ns).ok());
        process.add(&case, test, since, &mut lines);
    }
    lines.extend(processes.outcomes());
    let cases = processes.cases();
    let source = &group.tests[0].1.source;
    let mut used: Vec<usize> = group.tests.iter().map(|(at, _)| *at).collect();
    used.dedup();
    let imported = Imported {
        tool: source.tool.to_owned(),
        files: used.into_iter().map(|at| files[at].name.clone()).collect(),
        build_commit: source.build_commit.clone(),
        build_number: source.build_number,
        backends: source.backends.clone(),
        settings: source.settings.clone(),
        models,
        has_means_only: group.tests.iter().any(|(_, test)| test.is_mean),
    };
    let plan = Plan {
        name: plan_name(&imported),
        protocol: processes.protocol(),
        models: Vec::new(),
        cases,
    };
    ImportedRun {
        header: header(source, imported, plan, begin),
        lines,
    }
}

/// When the earliest test began; of a program that does not say, when its file was written.
fn begin(group: &TestGroup<'_>, files: &[ForeignFile]) -> Option<Timestamp> {
    let tests = group.tests.iter();
    let starts = tests.clone().filter_map(|(_, test)| test.started);
    starts
        .min()
        .or_else(|| tests.filter_map(|(at, _)| files[*at].modified).min())
}

/// Different files may have one name in different folders, or at different times.
type ModelKey = (String, Option<u64>, Option<String>);

fn model_key(model: &ImportedModel) -> ModelKey {
    let ImportedModel {
        name,
        size_bytes,
        description,
        ..
    } = model;
    (name.clone(), *size_bytes, description.clone())
}

/// A name for each model, which is the file's own unless another model has it too.
fn distinct_names(tests: &[(usize, &ForeignTest)]) -> BTreeMap<ModelKey, String> {
    let mut names: BTreeMap<ModelKey, String> = BTreeMap::new();
    for (_, test) in tests {
        let key = model_key(&test.model);
        if names.contains_key(&key) {
            continue;
        }
        let numbered = (2..).map(|n: u32| format!("{}-{n}", key.0));
        let mut candidates = std::iter::once(key.0.clone()).chain(numbered);
        let free = candidates.find(|name| !names.values().any(|taken| taken == name));
        names.insert(key.clone(), free.unwrap_or_default());
    }
    names
}

/// The processes of each cell, in the order in which the cells appeared.
#[derive(Default)]
struct Processes(Vec<(Case, Vec<TestProcess>)>);

struct TestProcess {
    number: u32,
    file: usize,
    n_repetitions: u32,
}

impl Processes {
    /// The process that measured a test: of a file that one process wrote the same for all of it, otherwise one that the cell does
    /// not have yet.
    fn of(&mut self, case: &Case, file: usize, is_of_one_process: bool) -> &mut TestProcess {
        let at = self.0.iter().position(|(known, _)| known == case);
        let at = at.unwrap_or_else(|| {
            self.0.push((case.clone(), Vec::new()));
            self.0.len() - 1
        });
        let processes = &mut self.0[at].1;
        let known = processes
            .iter()
            .position(|p| is_of_one_process && p.file == file);
        let at = known.unwrap_or_else(|| {
            let number = count(processes.len());
            processes.push(TestProcess {
                number,
                file,
                n_repetitions: 0,
            });
            processes.len() - 1
        });
        &mut processes[at]
    }

    fn cases(&self) -> Vec<Case> {
        self.0.iter().map(|(case, _)| case.clone()).collect()
    }

    /// What became of each cell in each process.
    fn outcomes(&self) -> Vec<Line> {
        let each = self
            .0
            .iter()
            .flat_map(|(case, all)| all.iter().map(move |p| (case, p)));
        let line = |(case, process): (&Case, &TestProcess)| {
            Line::Cell(Box::new(CellLine {
                case_id: case.id(),
                case: case.clone(),
                replicate: Some(process.number),
                worker: Some(process.number),
                outcome: Outcome::Measured {
                    repetitions: process.n_repetitions,
                    stopped_by: StoppedBy::MaxRepetitions,
                },
                opened: None,
                usage: None,
                found: None,
                log: Vec::new(),
            }))
        };
        each.map(line).collect()
    }

    /// What was done: the fewest processes that any cell has, and the fewest and the most repetitions.
    fn protocol(&self) -> Protocol {
        let processes = self.0.iter().map(|(_, all)| count(all.len()));
        let repetitions = self
            .0
            .iter()
            .flat_map(|(_, all)| all)
            .map(|p| p.n_repetitions);
        Protocol {
            // Both tools draw tokens from C's `rand`, which begins as with this seed.
            seed: 1,
            replicates: processes.min().unwrap_or(1),
            min_repetitions: repetitions.clone().min().unwrap_or(1),
            max_repetitions: repetitions.max().unwrap_or(1),
            ..Protocol::default()
        }
    }
}

impl TestProcess {
    /// Adds a test's repetitions; `since_ns` is when the first began, where that is known.
    fn add(
        &mut self,
        case: &Case,
        test: &ForeignTest,
        since_ns: Option<u64>,
        lines: &mut Vec<Line>,
    ) {
        let mut started_ns = since_ns.unwrap_or(0);
        for totals in &test.repetitions {
            let wall_ns = totals.iter().map(|t| t.ns).fold(0, u64::saturating_add);
            lines.push(Line::Repetition(Box::new(Repetition {
                case_id: case.id(),
                case: case.clone(),
                replicate: self.number,
                worker: self.number,
                repetition: self.n_repetitions,
                started_ns,
                usage: UsageDelta {
                    wall_ns,
                    ..UsageDelta::default()
                },
                warnings: Vec::new(),
                calls: Vec::new(),
                turns: None,
                totals: totals.clone(),
            })));
            self.n_repetitions += 1;
            started_ns = started_ns.saturating_add(wall_ns);
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// `llama-bench-b4567-abc1234`.
fn plan_name(imported: &Imported) -> String {
    let number = imported.build_number.map(|n| format!("-b{n}"));
    let commit = imported.build_commit.as_deref();
    let commit = commit.map(|commit| format!("-{}", sanitize_name(commit)));
    format!(
        "{}{}{}",
        imported.tool,
        number.unwrap_or_default(),
        commit.unwrap_or_default()
    )
}

fn header(
    source: &TestSource,
    imported: Imported,
    plan: Plan,
    begin: Option<Timestamp>,
) -> RunHeader {
    let build = imported.build();
    RunHeader {
        schema: SCHEMA_VERSION,
        run: String::new(),
        started_at: begin.map_or_else(String::new, |at| at.to_string()),
        args: Vec::new(),
        program: BuildInfo {
            llama_cpp_commit: source.build_commit.clone(),
            llama_cpp_build: source.build_number,
            ..BuildInfo::unknown()
        },
        machine: machine(source),
        timer: None,
        engine: EngineFacts {
            name: "llama.cpp".to_owned(),
            version: build.unwrap_or_else(|| super::llama_bench::UNKNOWN.to_owned()),
            system_info: source.backends.clone().unwrap_or_default(),
            devices: Vec::new(),
            supports_gpu_offload: source.gpu.is_some(),
            remote: Vec::new(),
            plugins: Vec::new(),
        },
        missing_cpu_features: Vec::new(),
        warnings: Vec::new(),
        plan,
        requests: None,
        quality: None,
        pair: None,
        imported: Some(imported),
        n_repeated_lines: 0,
    }
}

/// As much of the machine as the program named; the same names are the same machine.
fn machine(source: &TestSource) -> Machine {
    let mut machine = Machine::default();
    machine.cpu.model.clone_from(&source.cpu);
    let names = source.gpu.iter().flat_map(|names| names.split(','));
    let gpu = |(index, name): (u32, &str)| Gpu {
        index,
        name: Some(name.trim().to_owned()),
        ..Gpu::default()
    };
    machine.gpus.devices = (0..).zip(names).map(gpu).collect();
    if source.cpu.is_some() || source.gpu.is_some() {
        let identity = format!("{:?}", (&source.cpu, &source.gpu));
        let digest = Sha256::digest(identity.as_bytes());
        machine.fingerprint = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
    }
    machine
}
