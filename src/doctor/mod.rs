//! Is this machine fit to measure?
//!
//! ```text
//! facts     what machine, kernel and engine say of themselves
//!   + observed   what the machine did for a few seconds
//!   -> figures   numbers
//!   -> checks    a verdict each, with what to do and what it would bring
//!   -> conclusion
//! ```
//!
//! Only [`observe`] and [`Facts::probe`] touch the machine; the rest is computed from what they return. What could not be
//! read is `unknown`, never good.

mod check;
mod clocks;
mod conclusion;
mod figures;
mod memory;
mod observe;
mod program;
mod quiet;
mod room;

use serde::Serialize;

pub use check::{CheckVerdict, DoctorCheck};
pub use conclusion::DoctorConclusion;
pub use figures::DoctorFigures;
pub use observe::{ObservationPlan, Observed, observe};

use crate::build_info::BuildInfo;
use crate::host::{KernelSettings, Machine, Placement, TimerFacts, reading_buffer_bytes};

/// The engine, as far as it could be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAnswer {
    Answers {
        /// `llama_print_system_info()`.
        system_info: String,
    },
    Silent {
        reason: String,
    },
}

#[derive(Debug, Clone)]
pub struct Facts {
    pub machine: Machine,
    pub placement: Placement,
    pub kernel: KernelSettings,
    pub timer: TimerFacts,
    pub is_debug_build: bool,
    pub engine: EngineAnswer,
    pub n_threads: u32,
}

impl Facts {
    /// Asks machine, kernel and clock. `n_threads`: the cores this process may use, unless asked for others.
    pub fn probe(engine: EngineAnswer, n_threads: Option<u32>) -> Self {
        let machine = Machine::probe();
        let n_threads = n_threads
            .or(machine.cpu.available_cores)
            .unwrap_or(1)
            .max(1);
        Self {
            machine,
            placement: Placement::probe(),
            kernel: KernelSettings::probe(),
            timer: TimerFacts::measure(),
            is_debug_build: BuildInfo::current().is_debug(),
            engine,
            n_threads,
        }
    }

    /// What there is to look at, in so much time.
    pub fn question(&self, lasting: std::time::Duration) -> ObservationPlan {
        ObservationPlan {
            lasting,
            n_threads: self.n_threads,
            cpus: self.placement.allowed_cpus.clone().unwrap_or_default(),
            buffer_bytes: reading_buffer_bytes(&self.machine.cpu),
            huge_pages_on_request: self.machine.memory.huge_pages.as_deref() == Some("madvise"),
        }
    }
}

/// The whole answer. Names of other programs are not in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examination {
    /// Fingerprint of the machine, as in records.
    pub machine: String,
    pub cpu: Option<String>,
    pub version: String,
    pub n_threads: u32,
    pub looked_ns: u64,
    pub conclusion: DoctorConclusion,
    pub checks: Vec<DoctorCheck>,
    pub figures: DoctorFigures,
}

pub fn examine(facts: &Facts, observed: &Observed) -> Examination {
    let figures = DoctorFigures::of(observed, facts.timer);
    let checks = checks(facts, &figures);
    Examination {
        machine: facts.machine.fingerprint.clone(),
        cpu: facts.machine.cpu.model.clone(),
        version: BuildInfo::current().version,
        n_threads: facts.n_threads,
        looked_ns: observed.looked_ns,
        conclusion: DoctorConclusion::of(&figures, &checks),
        checks,
        figures,
    }
}

fn checks(facts: &Facts, figures: &DoctorFigures) -> Vec<DoctorCheck> {
    let Facts {
        machine,
        placement,
        kernel,
        n_threads,
        ..
    } = facts;
    let (cpu, ram) = (&machine.cpu, &machine.memory);
    let mut checks = vec![
        quiet::other_programs(figures),
        quiet::load(machine),
        quiet::steal(figures),
        quiet::interruptions(figures),
        quiet::jitter(figures),
        quiet::throttling(figures),
        quiet::hypervisor(&machine.virtualisation, kernel.hypervisor.as_deref()),
        clocks::clock(figures),
        clocks::governor(cpu, figures),
        clocks::turbo(cpu, figures),
        clocks::cores_alike(figures),
        clocks::all_at_once(figures, *n_threads),
        clocks::timer(figures, kernel.clock_source.as_deref()),
        clocks::power_supply(machine.on_battery),
        room::threads(*n_threads, placement),
        room::cpu_set(placement),
        room::cpu_limit(kernel.cpu_quota_cores, *n_threads, figures),
        room::memory_limit(kernel.memory_limit_bytes, ram),
        room::numa(placement),
        memory::free_memory(ram),
        memory::swap(ram, kernel.swappiness, figures),
        memory::huge_pages(ram, figures),
        memory::read_bandwidth(figures, *n_threads, cpu),
        program::build(facts.is_debug_build),
        program::engine(&facts.engine, &cpu.features),
    ];
    checks.extend(program::gpu(&machine.gpus));
    checks
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::figures::tests::{TIMER, quiet};
    use super::*;

    /// Facts of a machine that says nothing of itself.
    pub fn blind() -> Facts {
        Facts {
            machine: Machine::default(),
            placement: Placement::default(),
            kernel: KernelSettings::default(),
            timer: TIMER,
            is_debug_build: false,
            engine: EngineAnswer::Answers {
                system_info: String::new(),
            },
            n_threads: 4,
        }
    }

    /// A machine that says nothing, quiet while it is looked at.
    pub fn quiet_and_blind() -> Examination {
        examine(&blind(), &quiet())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::conclusion::Fitness;

    use super::*;

    #[test]
    fn a_machine_that_tells_nothing_is_never_called_good() {
        let examination = examine(&fixture::blind(), &Observed::default());
        let good: Vec<&str> = examination
            .checks
            .iter()
            .filter(|check| check.verdict == CheckVerdict::Good)
            .map(|check| check.name)
            .collect();
        // These two were not read but are known: what was compiled, and a clock that was tried.
        assert_eq!(good, ["timer", "build"]);
        assert_eq!(examination.conclusion.fit, Fitness::Unknown);
    }

    #[test]
    fn every_check_has_its_own_name_and_bad_news_come_with_advice() {
        let examination = fixture::quiet_and_blind();
        let names: BTreeSet<&str> = examination.checks.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), examination.checks.len());
        for check in &examination.checks {
            let needs = matches!(check.verdict, CheckVerdict::Mind | CheckVerdict::Bad);
            assert!(!needs || check.advice.is_some(), "{check:?}");
        }
        assert_eq!(examination.conclusion.fit, Fitness::Fit);
    }
}
