//! How fast the cores run, and whether they go on doing so.

use super::check::{Basis, CheckVerdict, DoctorCheck, Gain, percent};
use super::figures::DoctorFigures;
use crate::host::{Cpu, saves_power};

/// Readings of the clock in a step: METHODOLOGY, known biases.
const READINGS_A_STEP: f64 = 4.0;
/// A virtual system call, or the counter itself; what is slower goes through the kernel.
const CHEAP_READING_NS: f64 = 200.0;

pub(super) fn governor(cpu: &Cpu, figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "governor";
    let Some(governor) = cpu.governor.as_deref() else {
        return DoctorCheck::unknown(NAME);
    };
    let plans = ["high performance", "ultimate performance"];
    let verdict = if saves_power(governor) {
        CheckVerdict::Bad
    } else if governor == "performance" || plans.contains(&governor) {
        CheckVerdict::Good
    } else {
        CheckVerdict::Mind
    };
    let gain = cpu.max_hz.zip(figures.clock_hz).map(|(max, at_work)| {
        let share = (max as f64 / at_work.max(1) as f64 - 1.0).max(0.0);
        Gain::at_most(
            share,
            &format!("{} of {} under load", ghz(at_work), ghz(max)),
        )
    });
    let advice = match cfg!(windows) {
        true => "choose the plan high performance: powercfg /setactive SCHEME_MIN",
        false => "set it to performance: cpupower frequency-set -g performance",
    };
    DoctorCheck::new(NAME, verdict, governor)
        .advise(advice)
        .gain(gain)
}

/// Clocks above what the maker guarantees: faster, and the first to go when it gets warm.
pub(super) fn turbo(cpu: &Cpu, figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "turbo";
    let held = figures.clock_drift.map(|drift| drift <= 0.01);
    match (cpu.turbo, held) {
        (None, _) => DoctorCheck::unknown(NAME),
        (Some(false), _) => DoctorCheck::good(NAME, "off: steady, and slower than it could be"),
        (Some(true), Some(true)) => DoctorCheck::good(NAME, "on, and the clock held"),
        (Some(true), None) => {
            DoctorCheck::new(NAME, CheckVerdict::Unknown, "on; the clock was not seen")
        }
        (Some(true), Some(false)) => {
            let gain = figures.clock_drift.map(|drift| Gain {
                text: format!(
                    "at most the drift of {} less spread, for a lower clock",
                    percent(drift)
                ),
                share: None,
                basis: Basis::Derived,
            });
            DoctorCheck::new(NAME, CheckVerdict::Mind, "on, and the clock did not hold")
                .advise(
                    "switch it off for steadier figures: echo 1 > \
                     /sys/devices/system/cpu/intel_pstate/no_turbo, or echo 0 > \
                     /sys/devices/system/cpu/cpufreq/boost",
                )
                .gain(gain)
        }
    }
}

/// The undisturbed time of equal work, over the trials.
pub(super) fn clock(figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "clock";
    let Some(drift) = figures.clock_drift else {
        return DoctorCheck::unknown(NAME);
    };
    let clock = figures.clock_hz.map(|hz| format!(" at {}", ghz(hz)));
    let finding = format!(
        "moved by {} over {} trials{}",
        percent(drift),
        figures.n_trials,
        clock.unwrap_or_default()
    );
    DoctorCheck::new(NAME, CheckVerdict::of(drift, 0.01, 0.03), finding).advise(
        "look again with --for 60s: if it falls all the time it is heat (cooling, a lower fixed clock); if it jumps, \
         other programs or guests share the cores",
    )
}

pub(super) fn cores_alike(figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "cores_alike";
    let Some(cores) = figures.core_spread else {
        return DoctorCheck::unknown(NAME);
    };
    if cores.n_cores < 2 {
        return DoctorCheck::good(NAME, "only one to try");
    }
    let finding = if cores.share == 0.0 {
        format!("{} tried, all alike", cores.n_cores)
    } else {
        format!(
            "CPU {} {} slower than CPU {}, of {} tried",
            cores.slowest,
            percent(cores.share),
            cores.fastest,
            cores.n_cores
        )
    };
    DoctorCheck::new(NAME, CheckVerdict::of(cores.share, 0.03, 0.15), finding).advise(
        "the slowest thread ends a step: keep to equal cores (taskset -c LIST ggufbench ...) where they are of two \
         kinds; else something runs on the slow ones",
    )
}

/// What a thread loses by the company of all others: shared cores, a lower clock, a quota.
pub(super) fn all_at_once(figures: &DoctorFigures, n_threads: u32) -> DoctorCheck {
    const NAME: &str = "all_at_once";
    if n_threads < 2 {
        return DoctorCheck::good(NAME, "one thread only");
    }
    let Some(longer) = figures.all_at_once else {
        return DoctorCheck::unknown(NAME);
    };
    let threads = f64::from(n_threads);
    let finding = if longer < 0.001 {
        format!("{n_threads} threads compute as fast as one alone")
    } else {
        format!(
            "a thread of {n_threads} takes {} longer than alone",
            percent(longer)
        )
    };
    // Clocks of all cores are a quarter below that of one on many desktops: no fault.
    let verdict = CheckVerdict::of(longer, 0.3, f64::INFINITY);
    DoctorCheck::new(NAME, verdict, finding).advise(format!(
        "{n_threads} threads compute as much as {:.1} undisturbed ones: they share cores, a quota or a power limit. \
         Measure with fewer as well: --threads LIST",
        threads / (1.0 + longer)
    ))
}

pub(super) fn timer(figures: &DoctorFigures, clock_source: Option<&str>) -> DoctorCheck {
    let timer = figures.timer;
    let cost = CheckVerdict::of(timer.overhead_ns, CHEAP_READING_NS, 2_000.0);
    let steps = CheckVerdict::of(timer.resolution_ns as f64, 1_000.0, 100_000.0);
    let source = clock_source.map(|name| format!(" ({name})"));
    let finding = format!(
        "steps of {}, {:.0} ns a reading{}",
        crate::units::duration(timer.resolution_ns),
        timer.overhead_ns,
        source.unwrap_or_default()
    );
    let a_step_ns = (READINGS_A_STEP * timer.overhead_ns) as u64;
    DoctorCheck::new("timer", cost.max(steps), finding)
        .advise(
            "read the processor's own counter: echo tsc > \
             /sys/devices/system/clocksource/clocksource0/current_clocksource, where it is on offer",
        )
        .gain(Some(Gain {
            text: format!(
                "at most {} of every step",
                crate::units::duration(a_step_ns)
            ),
            share: None,
            basis: Basis::Derived,
        }))
}

pub(super) fn power_supply(on_battery: Option<bool>) -> DoctorCheck {
    const NAME: &str = "power_supply";
    match on_battery {
        // Servers name no supply at all; a laptop names its battery.
        None => DoctorCheck::new(NAME, CheckVerdict::Unknown, "the machine names none"),
        Some(false) => DoctorCheck::good(NAME, "not on battery"),
        Some(true) => DoctorCheck::new(NAME, CheckVerdict::Bad, "on battery")
            .advise("plug it in: clocks are held down"),
    }
}

fn ghz(hz: u64) -> String {
    format!("{:.2} GHz", hz as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::{TIMER, quiet};
    use super::*;
    use crate::host::TimerFacts;

    fn figures() -> DoctorFigures {
        DoctorFigures::of(&quiet(), TIMER)
    }

    fn cpu(governor: &str) -> Cpu {
        Cpu {
            governor: Some(governor.to_owned()),
            max_hz: Some(4_500_000_000),
            turbo: Some(true),
            ..Cpu::default()
        }
    }

    #[test]
    fn governors() {
        let f = figures();
        assert_eq!(
            governor(&cpu("performance"), &f).verdict,
            CheckVerdict::Good
        );
        assert_eq!(governor(&cpu("schedutil"), &f).verdict, CheckVerdict::Mind);
        let slow = governor(&cpu("performance,powersave"), &f);
        assert_eq!(slow.verdict, CheckVerdict::Bad);
        assert!(slow.advice.expect("some").contains("cpupower"));
        let gain = slow.expected_gain.expect("both clocks are known");
        assert_eq!(
            gain.text,
            "at most 50% more throughput: 3.00 GHz of 4.50 GHz under load"
        );
        assert_eq!(governor(&Cpu::default(), &f).verdict, CheckVerdict::Unknown);
        let mut blind = figures();
        blind.clock_hz = None;
        assert_eq!(governor(&cpu("powersave"), &blind).expected_gain, None);
    }

    #[test]
    fn turbo_is_judged_by_whether_it_held() {
        let mut f = figures();
        assert_eq!(turbo(&cpu("x"), &f).verdict, CheckVerdict::Good);
        f.clock_drift = Some(0.04);
        assert_eq!(turbo(&cpu("x"), &f).verdict, CheckVerdict::Mind);
        assert_eq!(clock(&f).verdict, CheckVerdict::Bad);
        f.clock_drift = None;
        assert_eq!(turbo(&cpu("x"), &f).verdict, CheckVerdict::Unknown);
        assert_eq!(clock(&f).verdict, CheckVerdict::Unknown);
        let off = Cpu {
            turbo: Some(false),
            ..Cpu::default()
        };
        assert_eq!(turbo(&off, &f).verdict, CheckVerdict::Good);
        assert_eq!(turbo(&Cpu::default(), &f).verdict, CheckVerdict::Unknown);
    }

    #[test]
    fn two_kinds_of_core() {
        let mut f = figures();
        assert_eq!(cores_alike(&f).verdict, CheckVerdict::Good);
        let cores = f.core_spread.as_mut().expect("four cores");
        cores.share = 0.6;
        let check = cores_alike(&f);
        assert_eq!(check.verdict, CheckVerdict::Bad);
        assert_eq!(check.finding, "CPU 3 60% slower than CPU 0, of 4 tried");
        f.core_spread = None;
        assert_eq!(cores_alike(&f).verdict, CheckVerdict::Unknown);
    }

    #[test]
    fn threads_that_share_cores_are_worth_fewer() {
        let mut f = figures();
        assert_eq!(all_at_once(&f, 4).verdict, CheckVerdict::Good);
        f.all_at_once = Some(1.0);
        let check = all_at_once(&f, 4);
        assert_eq!(check.verdict, CheckVerdict::Mind);
        assert!(check.advice.expect("some").contains("as much as 2.0 "));
        f.all_at_once = None;
        assert_eq!(all_at_once(&f, 4).verdict, CheckVerdict::Unknown);
        assert_eq!(all_at_once(&f, 1).verdict, CheckVerdict::Good);
    }

    #[test]
    fn a_slow_clock_costs_four_readings_a_step() {
        let mut f = figures();
        assert_eq!(timer(&f, Some("tsc")).verdict, CheckVerdict::Good);
        assert_eq!(
            timer(&f, Some("tsc")).finding,
            "steps of 1 ns, 25 ns a reading (tsc)"
        );
        f.timer = TimerFacts {
            resolution_ns: 70,
            overhead_ns: 1500.0,
            readings: 10_000,
        };
        let check = timer(&f, Some("hpet"));
        assert_eq!(check.verdict, CheckVerdict::Mind);
        let gain = check.expected_gain.expect("derived");
        assert_eq!(gain.text, "at most 6.00 µs of every step");
        f.timer.resolution_ns = 15_600_000;
        assert_eq!(timer(&f, None).verdict, CheckVerdict::Bad);
    }

    #[test]
    fn batteries() {
        assert_eq!(power_supply(Some(true)).verdict, CheckVerdict::Bad);
        assert_eq!(power_supply(Some(false)).verdict, CheckVerdict::Good);
        assert_eq!(power_supply(None).verdict, CheckVerdict::Unknown);
    }
}
