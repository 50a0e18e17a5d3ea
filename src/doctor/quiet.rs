//! Is the machine ours alone? Other programs, the hypervisor, interruptions.

use super::check::{CheckVerdict, DoctorCheck, Gain, percent};
use super::figures::DoctorFigures;
use crate::host::{Machine, NEIGHBOUR_PERCENT, STEAL_PERCENT, Virtualisation};

/// What others leave: giving back a share `u` makes `u / (1 - u)` more. None beyond a half: what takes everything while
/// we sleep has to share when we work, so that the bound would say nothing.
fn given_back(percent_taken: f64, why: &str) -> Option<Gain> {
    let share = percent_taken / 100.0;
    (0.0..=0.5)
        .contains(&share)
        .then(|| Gain::at_most(share / (1.0 - share), why))
}

/// CPU time of other programs while we slept.
pub(super) fn other_programs(figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "other_programs";
    let Some(taken) = figures.others_cpu_percent else {
        return DoctorCheck::unknown(NAME);
    };
    // One tick too many on every core is no work of others.
    let noise = figures.others_resolution_percent.unwrap_or(0.0);
    let verdict = CheckVerdict::of(taken, 1.0 + noise, NEIGHBOUR_PERCENT + noise);
    DoctorCheck::new(
        NAME,
        verdict,
        format!("used {} of the machine", percent(taken / 100.0)),
    )
    .advise("close them, measure at a quieter time, or use fewer threads")
    .gain(given_back(taken, "what they used"))
}

/// Load over the last minute: what ran just before.
pub(super) fn load(machine: &Machine) -> DoctorCheck {
    const NAME: &str = "load";
    let Some(([minute, ..], cpus)) = machine.load_average.zip(machine.cpu.logical_cores) else {
        return DoctorCheck::unknown(NAME);
    };
    let verdict = CheckVerdict::of(minute / f64::from(cpus.max(1)), 0.1, 0.5);
    DoctorCheck::new(
        NAME,
        verdict,
        format!("{minute:.2} on {cpus} CPUs over the last minute"),
    )
    .advise("wait until it has fallen: something ran just now, or still waits for a disk")
}

pub(super) fn steal(figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "steal";
    let Some(taken) = figures.steal_percent else {
        return DoctorCheck::unknown(NAME);
    };
    let noise = figures.steal_resolution_percent.unwrap_or(0.0);
    let verdict = CheckVerdict::of(taken, STEAL_PERCENT + noise, 5.0 + noise);
    DoctorCheck::new(
        NAME,
        verdict,
        format!("{} while all threads worked", percent(taken / 100.0)),
    )
    .advise("measure at a quieter time, or on dedicated cores")
    .gain(given_back(taken, "what other guests used"))
}

/// How often a working thread lost its core. A thread alone on a core gives way to the kernel's own a few times a second.
pub(super) fn interruptions(figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "interruptions";
    let Some(per_s) = figures.interruptions_per_s else {
        return DoctorCheck::unknown(NAME);
    };
    let finding = match figures.switches_at_rest_per_s {
        Some(rest) => format!("{per_s:.0}/s a thread; whole machine at rest {rest:.0}/s"),
        None => format!("{per_s:.0}/s a thread"),
    };
    DoctorCheck::new(NAME, CheckVerdict::of(per_s, 50.0, 500.0), finding).advise(
        "use fewer threads than cores, or end what else runs; steps that are cut show as p99",
    )
}

pub(super) fn throttling(figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "throttling";
    match figures.throttle_events {
        None => DoctorCheck::unknown(NAME),
        Some(0) => DoctorCheck::good(NAME, "none while all threads worked"),
        Some(n) => DoctorCheck::new(
            NAME,
            CheckVerdict::Bad,
            format!("{n} events while all threads worked"),
        )
        .advise("improve cooling, set a lower fixed clock, or pause between runs"),
    }
}

pub(super) fn jitter(figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "jitter";
    let Some(jitter) = figures.jitter else {
        return DoctorCheck::new(NAME, CheckVerdict::Unknown, "too few passes for a p99")
            .advise("look for longer: --for 20s");
    };
    DoctorCheck::new(
        NAME,
        CheckVerdict::of(jitter, 0.05, 0.25),
        format!("p99 of equal work {} above its median", percent(jitter)),
    )
    .advise("solve the other findings first, or use one thread fewer than cores; medians suffer less than p99")
}

/// What lies between this process and the hardware.
pub(super) fn hypervisor(virtualisation: &Virtualisation, kind: Option<&str>) -> DoctorCheck {
    const NAME: &str = "hypervisor";
    let inside = match &virtualisation.container {
        Some(container) => format!(", in {container}"),
        None => String::new(),
    };
    // A mark that only a hypervisor leaves counts where the CPU does not say.
    match virtualisation.hypervisor.or(kind.map(|_| true)) {
        None => DoctorCheck::unknown(NAME),
        Some(false) => DoctorCheck::good(NAME, format!("none{inside}")),
        Some(true) => {
            let product = virtualisation.product.as_deref();
            let name = kind.or(product).unwrap_or("of an unknown kind");
            DoctorCheck::new(NAME, CheckVerdict::Mind, format!("{name}{inside}")).advise(
                "other guests share caches and memory, and no counter here shows it: compare within one run, or \
                 measure on a machine of its own",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::{TIMER, quiet};
    use super::*;

    fn figures() -> DoctorFigures {
        DoctorFigures::of(&quiet(), TIMER)
    }

    #[test]
    fn a_quiet_machine_is_good() {
        let f = figures();
        for check in [
            other_programs(&f),
            steal(&f),
            interruptions(&f),
            throttling(&f),
            jitter(&f),
        ] {
            assert_eq!(check.verdict, CheckVerdict::Good, "{check:?}");
            assert_eq!(check.advice, None);
        }
    }

    #[test]
    fn what_others_take_is_what_could_be_gained() {
        let mut f = figures();
        f.others_cpu_percent = Some(20.0);
        let check = other_programs(&f);
        assert_eq!(check.verdict, CheckVerdict::Bad);
        assert_eq!(check.finding, "used 20% of the machine");
        let gain = check.expected_gain.expect("derived");
        assert!((gain.share.expect("a share") - 0.25).abs() < 1e-9);
        // Within a tick a core, nobody is blamed.
        f.others_cpu_percent = Some(1.9);
        assert_eq!(other_programs(&f).verdict, CheckVerdict::Good);
        f.others_cpu_percent = Some(3.9);
        assert_eq!(other_programs(&f).verdict, CheckVerdict::Mind);
        f.steal_percent = Some(50.0);
        let stolen = steal(&f).expected_gain.expect("derived");
        assert_eq!(
            stolen.text,
            "at most 100% more throughput: what other guests used"
        );
        f.steal_percent = Some(97.0);
        assert_eq!(steal(&f).expected_gain, None, "no bound");
    }

    #[test]
    fn disturbances_are_graded() {
        let mut f = figures();
        f.interruptions_per_s = Some(200.0);
        assert_eq!(interruptions(&f).verdict, CheckVerdict::Mind);
        f.interruptions_per_s = Some(2000.0);
        assert_eq!(interruptions(&f).verdict, CheckVerdict::Bad);
        f.throttle_events = Some(3);
        assert_eq!(throttling(&f).verdict, CheckVerdict::Bad);
        f.jitter = Some(0.1);
        assert_eq!(jitter(&f).verdict, CheckVerdict::Mind);
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let mut f = figures();
        f.others_cpu_percent = None;
        f.steal_percent = None;
        f.interruptions_per_s = None;
        f.throttle_events = None;
        f.jitter = None;
        for check in [
            other_programs(&f),
            steal(&f),
            interruptions(&f),
            throttling(&f),
            jitter(&f),
            load(&Machine::default()),
            hypervisor(&Virtualisation::default(), None),
        ] {
            assert_eq!(check.verdict, CheckVerdict::Unknown, "{check:?}");
        }
    }

    #[test]
    fn load_is_judged_by_the_cpus() {
        let mut machine = Machine {
            load_average: Some([1.6, 0.0, 0.0]),
            ..Machine::default()
        };
        machine.cpu.logical_cores = Some(16);
        assert_eq!(load(&machine).verdict, CheckVerdict::Good);
        machine.cpu.logical_cores = Some(2);
        let check = load(&machine);
        assert_eq!(check.verdict, CheckVerdict::Bad);
        assert_eq!(check.finding, "1.60 on 2 CPUs over the last minute");
    }

    #[test]
    fn guests_are_told_what_they_cannot_see() {
        let guest = Virtualisation {
            hypervisor: Some(true),
            product: Some("QEMU Standard PC".to_owned()),
            container: Some("docker".to_owned()),
        };
        let check = hypervisor(&guest, Some("KVM"));
        assert_eq!(check.finding, "KVM, in docker");
        assert_eq!(check.verdict, CheckVerdict::Mind);
        assert_eq!(
            hypervisor(&guest, None).finding,
            "QEMU Standard PC, in docker"
        );
        let metal = Virtualisation {
            hypervisor: Some(false),
            ..Virtualisation::default()
        };
        assert_eq!(hypervisor(&metal, None).verdict, CheckVerdict::Good);
        let arm = hypervisor(&Virtualisation::default(), Some("KVM"));
        assert_eq!(arm.verdict, CheckVerdict::Mind);
    }
}
