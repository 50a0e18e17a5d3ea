//! Memory: how much, how fast, and whether it stays where it is.

use super::check::{Basis, CheckVerdict, DoctorCheck, Gain, percent};
use super::figures::{DoctorFigures, HugePages};
use crate::host::{Cpu, Memory, SWAP_BYTES};
use crate::units;

/// Less than this no machine that runs a model reads with all its threads; something is wrong, not slow.
const TOO_SLOW_BYTES_PER_S: f64 = 1e9;
/// No core reads so much from memory (the fastest desktops' read a tenth of a terabyte): that came from a cache.
const TOO_FAST_BYTES_PER_S_A_THREAD: f64 = 150e9;

/// Times the rate of one thread alone that each of several may add.
const MORE_THAN_ALL: f64 = 1.1;
/// How far the trials' reading rates may lie apart.
const STEADY: f64 = 0.05;

pub(super) fn free_memory(memory: &Memory) -> DoctorCheck {
    const NAME: &str = "free_memory";
    let Some((available, total)) = memory.available_bytes.zip(memory.total_bytes) else {
        return DoctorCheck::unknown(NAME);
    };
    let taken = 1.0 - available as f64 / total.max(1) as f64;
    let finding = format!("{} of {}", units::bytes(available), units::bytes(total));
    DoctorCheck::new(NAME, CheckVerdict::of(taken, 0.75, 0.9), finding).advise(
        "close what holds memory: large models will be skipped, or read from disk again and again",
    )
}

/// Whether memory moves to disk and back.
pub(super) fn swap(
    memory: &Memory,
    swappiness: Option<u32>,
    figures: &DoctorFigures,
) -> DoctorCheck {
    const NAME: &str = "swap";
    let Some((total, used)) = memory.swap_total_bytes.zip(memory.swap_used_bytes) else {
        return DoctorCheck::unknown(NAME);
    };
    let advice = "free memory, then swapoff -a; or keep programs in memory: sysctl vm.swappiness=1";
    match figures.swapped_bytes {
        Some(bytes) if bytes >= SWAP_BYTES => {
            let finding = format!("{} moved while we looked", units::bytes(bytes));
            return DoctorCheck::new(NAME, CheckVerdict::Bad, finding).advise(advice);
        }
        None if total > 0 => {
            return DoctorCheck::new(
                NAME,
                CheckVerdict::Unknown,
                "there is some; its traffic is not known",
            );
        }
        _ => {}
    }
    let readiness = swappiness.map(|n| format!(", swappiness {n}"));
    let finding = match (total, used) {
        (0, _) => "there is none".to_owned(),
        (_, 0) => format!("not in use{}", readiness.unwrap_or_default()),
        _ => format!(
            "{} in use, none moved{}",
            units::bytes(used),
            readiness.unwrap_or_default()
        ),
    };
    let verdict = if used == 0 {
        CheckVerdict::Good
    } else {
        CheckVerdict::Mind
    };
    DoctorCheck::new(NAME, verdict, finding).advise(advice)
}

/// Size of pages, and whether large ones are given.
pub(super) fn huge_pages(memory: &Memory, figures: &DoctorFigures) -> DoctorCheck {
    const NAME: &str = "huge_pages";
    let Some((mode, page)) = memory.huge_pages.as_deref().zip(memory.page_bytes) else {
        return DoctorCheck::unknown(NAME);
    };
    let page = units::bytes(page);
    let advice = "enable them for all programs: echo always > /sys/kernel/mm/transparent_hugepage/enabled. Weights that are \
                  mapped from their file keep small pages anyway";
    let is_steady = figures.read.is_some_and(|read| read.spread <= STEADY);
    match (mode, figures.huge_pages) {
        ("always", _) => DoctorCheck::good(NAME, format!("always; others have {page}")),
        (
            "madvise",
            Some(HugePages {
                is_clear: false, ..
            }),
        ) if !is_steady => DoctorCheck::new(
            NAME,
            CheckVerdict::Unknown,
            "on request; too unsteady to see a gain",
        ),
        ("madvise", Some(HugePages { gain, is_clear })) if !is_clear || gain < 0.01 => {
            DoctorCheck::good(
                NAME,
                format!("on request; reading gains nothing over {page}"),
            )
        }
        ("madvise", Some(HugePages { gain, .. })) => DoctorCheck::new(
            NAME,
            CheckVerdict::Mind,
            format!("on request; reading gains {} over {page}", percent(gain)),
        )
        .advise(advice)
        .gain(Some(Gain {
            text: format!("reading memory {} faster, where it decides", percent(gain)),
            share: None,
            basis: Basis::Measured,
        })),
        (mode, _) => DoctorCheck::new(NAME, CheckVerdict::Mind, format!("{mode}; pages of {page}"))
            .advise(advice),
    }
}

/// Whether reading is as fast as it can be, with all threads faster than with one, and the same every time.
pub(super) fn read_bandwidth(figures: &DoctorFigures, n_threads: u32, cpu: &Cpu) -> DoctorCheck {
    const NAME: &str = "read_bandwidth";
    let Some(read) = figures.read else {
        return DoctorCheck::unknown(NAME);
    };
    let all = read.all_bytes_per_s;
    let of_one = read
        .one_bytes_per_s
        .map(|one| format!(", {} by one thread", rate(one)));
    let finding = format!(
        "{}{}, varied by {}",
        rate(all),
        of_one.unwrap_or_default(),
        percent(read.spread)
    );
    let check =
        |verdict, advice: &str| DoctorCheck::new(NAME, verdict, finding.clone()).advise(advice);
    let per_thread = read.one_bytes_per_s.unwrap_or(all);
    let fits_cache = cpu
        .last_level_cache_bytes()
        .is_some_and(|cache| read.buffer_bytes < 2 * cache);
    if fits_cache || per_thread > TOO_FAST_BYTES_PER_S_A_THREAD {
        return check(
            CheckVerdict::Unknown,
            "the buffer fits the caches, or nearly: free memory for a larger one, or ignore this rate",
        );
    }
    if all < TOO_SLOW_BYTES_PER_S {
        return check(
            CheckVerdict::Bad,
            "too slow for a machine in working order: look for a quota, for swapping, for an emulated CPU",
        );
    }
    if read.one_bytes_per_s.is_some_and(|one| all < 0.9 * one) {
        return check(
            CheckVerdict::Bad,
            "all threads together read less than one alone: other programs take their time, they share cores, or their \
             memory lies on another node",
        );
    }
    if let Some(one) = read.one_bytes_per_s
        && all > MORE_THAN_ALL * f64::from(n_threads) * one
        && read.spread <= 0.2
    {
        return check(
            CheckVerdict::Mind,
            "more than these threads can read from memory: caches serve a part of it, so the rate is an upper bound",
        );
    }
    check(
        CheckVerdict::of(read.spread, STEADY, 0.2),
        "other programs use the memory, or pages are placed differently in each trial: more processes (--replicates) \
         average over this",
    )
}

fn rate(bytes_per_s: f64) -> String {
    format!("{} GB/s", units::significant(bytes_per_s / 1e9))
}

#[cfg(test)]
mod tests {
    use super::super::figures::ReadRates;
    use super::super::figures::tests::{TIMER, quiet};
    use super::*;
    use crate::host::cpu::Cache;

    fn figures() -> DoctorFigures {
        DoctorFigures::of(&quiet(), TIMER)
    }

    fn memory() -> Memory {
        Memory {
            total_bytes: Some(16 << 30),
            available_bytes: Some(12 << 30),
            swap_total_bytes: Some(1 << 30),
            swap_used_bytes: Some(0),
            huge_pages: Some("madvise".to_owned()),
            page_bytes: Some(4096),
        }
    }

    #[test]
    fn memory_that_is_left() {
        let mut m = memory();
        assert_eq!(free_memory(&m).verdict, CheckVerdict::Good);
        m.available_bytes = Some(3 << 30);
        assert_eq!(free_memory(&m).verdict, CheckVerdict::Mind);
        m.available_bytes = Some(1 << 30);
        let check = free_memory(&m);
        assert_eq!(check.verdict, CheckVerdict::Bad);
        assert_eq!(check.finding, "1.00 GiB of 16.0 GiB");
        assert_eq!(
            free_memory(&Memory::default()).verdict,
            CheckVerdict::Unknown
        );
    }

    #[test]
    fn swap_is_judged_by_its_traffic_before_its_content() {
        let mut f = figures();
        let mut m = memory();
        let quiet = swap(&m, Some(60), &f);
        assert_eq!(quiet.verdict, CheckVerdict::Good);
        assert_eq!(quiet.finding, "not in use, swappiness 60");
        m.swap_used_bytes = Some(1 << 20);
        assert_eq!(swap(&m, None, &f).verdict, CheckVerdict::Mind);
        f.swapped_bytes = Some(SWAP_BYTES);
        assert_eq!(swap(&m, None, &f).verdict, CheckVerdict::Bad);
        f.swapped_bytes = None;
        assert_eq!(swap(&m, None, &f).verdict, CheckVerdict::Unknown);
        m.swap_total_bytes = Some(0);
        m.swap_used_bytes = Some(0);
        assert_eq!(swap(&m, None, &f).finding, "there is none");
        assert_eq!(
            swap(&Memory::default(), None, &f).verdict,
            CheckVerdict::Unknown
        );
    }

    #[test]
    fn huge_pages_are_advised_when_they_were_seen_to_help() {
        let mut f = figures();
        assert_eq!(
            huge_pages(&memory(), &f).verdict,
            CheckVerdict::Good,
            "no gain"
        );
        f.huge_pages = Some(HugePages {
            gain: 0.08,
            is_clear: true,
        });
        let check = huge_pages(&memory(), &f);
        assert_eq!(check.verdict, CheckVerdict::Mind);
        let gain = check.expected_gain.expect("measured");
        assert_eq!(gain.basis, Basis::Measured);
        assert!(gain.text.contains("8.0%"));
        f.huge_pages = Some(HugePages {
            gain: 0.08,
            is_clear: false,
        });
        assert_eq!(huge_pages(&memory(), &f).verdict, CheckVerdict::Good);
        f.read.as_mut().expect("six trials").spread = 0.3;
        assert_eq!(huge_pages(&memory(), &f).verdict, CheckVerdict::Unknown);
        f.huge_pages = None;
        let untried = huge_pages(&memory(), &f);
        assert_eq!(
            (untried.verdict, untried.expected_gain),
            (CheckVerdict::Mind, None)
        );
        let mut m = memory();
        m.huge_pages = Some("always".to_owned());
        assert_eq!(huge_pages(&m, &f).verdict, CheckVerdict::Good);
        m.huge_pages = Some("never".to_owned());
        assert_eq!(huge_pages(&m, &f).verdict, CheckVerdict::Mind);
        assert_eq!(
            huge_pages(&Memory::default(), &f).verdict,
            CheckVerdict::Unknown
        );
    }

    #[test]
    fn rates_that_cannot_be_are_told_from_rates_that_vary() {
        let cpu = Cpu::default();
        let with = |one: f64, all: f64, spread: f64| {
            let mut f = figures();
            f.read = Some(ReadRates {
                one_bytes_per_s: Some(one),
                all_bytes_per_s: all,
                spread,
                buffer_bytes: 128 << 20,
            });
            read_bandwidth(&f, 4, &cpu)
        };
        let good = with(10e9, 25e9, 0.01);
        assert_eq!(good.verdict, CheckVerdict::Good);
        assert_eq!(
            good.finding,
            "25.0 GB/s, 10.0 GB/s by one thread, varied by 1.0%"
        );
        assert_eq!(
            with(10e9, 45e9, 0.01).verdict,
            CheckVerdict::Mind,
            "4.5 times"
        );
        assert_eq!(with(10e9, 25e9, 0.1).verdict, CheckVerdict::Mind);
        assert_eq!(with(10e9, 25e9, 0.3).verdict, CheckVerdict::Bad);
        assert_eq!(with(0.4e9, 0.5e9, 0.01).verdict, CheckVerdict::Bad);
        assert_eq!(with(10e9, 5e9, 0.01).verdict, CheckVerdict::Bad);
        assert_eq!(with(400e9, 800e9, 0.01).verdict, CheckVerdict::Unknown);
        let cached = Cpu {
            caches: vec![Cache {
                level: 3,
                kind: "Unified".to_owned(),
                bytes: 1 << 30,
                shared_by: 8,
                instances: 1,
            }],
            ..Cpu::default()
        };
        let mut f = figures();
        assert_eq!(
            read_bandwidth(&f, 4, &cached).verdict,
            CheckVerdict::Unknown
        );
        f.read = None;
        assert_eq!(read_bandwidth(&f, 4, &cpu).verdict, CheckVerdict::Unknown);
    }
}
