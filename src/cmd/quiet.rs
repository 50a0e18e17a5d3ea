//! Whether other programs use the machine, before something is measured on it.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli::OutputArgs;
use crate::host::{Neighbour, ProcessTimes};
use crate::plan::protocol::duration;
use crate::run::Interrupt;
use crate::streams::note;
use crate::text::{cut_end, short};

/// Time of the first look, of which preparing the measurement is a part. A busy one is confirmed by a longer one.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_secs(1);
/// CPU time of a program that is reported, in cores, and of all of them together. The kernel counts in hundredths of a second.
const PROGRAM_CORES: f64 = 0.05;
const BUSY_CORES: f64 = 0.1;
/// Programs that are named.
const MOST_NAMED: usize = 3;
/// The kernel's own threads, which work for this program's files too.
const KERNEL_THREADS: [&str; 8] = [
    "kworker",
    "kswapd",
    "kcompactd",
    "ksoftirqd",
    "jbd2",
    "rcu_",
    "migration",
    "kdamond",
];

/// A time in which the CPU use of other programs is counted.
pub(super) struct CpuUseWindow {
    began: Instant,
    processes: ProcessTimes,
}

/// The other programs that used the machine, the busiest first. Those that ended meanwhile are missing, this program's own workers
/// among them.
struct BusyPrograms(Vec<Neighbour>);

impl CpuUseWindow {
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            processes: ProcessTimes::read(),
        }
    }

    /// What others used since it began, which is at least so long ago; `None` where that is not known, or too little.
    fn end(self, least: Duration) -> Option<BusyPrograms> {
        std::thread::sleep(least.saturating_sub(self.began.elapsed()));
        let wall = self.began.elapsed();
        let mut programs = ProcessTimes::read().busiest_since(&self.processes, wall);
        let is_kernel = |name: &str| KERNEL_THREADS.iter().any(|own| name.starts_with(own));
        programs.retain(|program| program.cores >= PROGRAM_CORES && !is_kernel(&program.name));
        let busy = BusyPrograms(programs);
        (busy.cores() >= BUSY_CORES).then_some(busy)
    }
}

impl BusyPrograms {
    fn cores(&self) -> f64 {
        self.0.iter().map(|program| program.cores).sum()
    }

    fn named(&self) -> String {
        let named = self.0.iter().take(MOST_NAMED);
        let named: Vec<String> = named
            .map(|program| {
                format!(
                    "{} {:.2}",
                    short(&cut_end(&program.name, 20)),
                    program.cores
                )
            })
            .collect();
        format!(
            "other programs use {:.1} cores ({})",
            self.cores(),
            named.join(", ")
        )
    }
}

/// Says which programs use the machine, or waits until none does, for at most the time that is asked for.
///
/// # Errors
/// For a text that is no time.
pub(super) fn before_measuring(
    window: CpuUseWindow,
    args: &OutputArgs,
    interrupt: &Interrupt,
) -> Result<()> {
    let wait = args.wait_quiet.as_deref();
    let most = wait
        .map(|text| duration("--wait-quiet", text))
        .transpose()?;
    // A script reads the line above the table instead.
    let is_asked_for = most.is_some() || io::stderr().is_terminal();
    if !is_asked_for || window.end(FIRST_LOOK).is_none() {
        return Ok(());
    }
    // The first look was partly long ago, and short.
    let Some(mut busy) = CpuUseWindow::begin().end(LOOK) else {
        return Ok(());
    };
    let Some(most) = most else {
        note(format_args!(
            "note: {}; the figures will be of a busy machine (--wait-quiet 5m waits until they are idle)",
            busy.named()
        ));
        return Ok(());
    };
    note(format_args!(
        "note: {}; waiting until they are idle",
        busy.named()
    ));
    let began = Instant::now();
    while began.elapsed() < most {
        if interrupt.is_set() {
            return Ok(());
        }
        match CpuUseWindow::begin().end(LOOK) {
            Some(still) => busy = still,
            None => {
                note("note: the machine is quiet");
                return Ok(());
            }
        }
    }
    note(format_args!("note: {}; measuring anyway", busy.named()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(programs: &[(&str, f64)]) -> BusyPrograms {
        let of = |(name, cores): &(&str, f64)| Neighbour {
            name: (*name).to_owned(),
            cores: *cores,
        };
        BusyPrograms(programs.iter().map(of).collect())
    }

    #[test]
    fn the_busiest_programs_are_named() {
        let seen = busy(&[("rustc\u{1b}[2J", 0.98), ("cc1plus", 0.5)]);
        assert_eq!(
            seen.named(),
            "other programs use 1.5 cores (rustc?[2J 0.98, cc1plus 0.50)"
        );
        let many = busy(&[("a", 0.4), ("b", 0.3), ("c", 0.2), ("d", 0.1)]);
        assert_eq!(
            many.named(),
            "other programs use 1.0 cores (a 0.40, b 0.30, c 0.20)"
        );
    }

    #[test]
    fn a_program_that_works_is_seen_and_named() {
        let mut worker = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .expect("a shell");
        let seen = CpuUseWindow::begin().end(LOOK);
        worker.kill().expect("it runs");
        worker.wait().expect("it ended");
        // Elsewhere nobody tells what other programs use.
        if cfg!(target_os = "linux") {
            let named = seen.expect("it works all the time").named();
            assert!(named.contains("sh "), "{named}");
        }
    }

    #[test]
    fn a_wait_that_is_no_time_is_refused_before_anything_is_measured() {
        let args = OutputArgs {
            wait_quiet: Some("soon".to_owned()),
            ..OutputArgs::default()
        };
        let e = before_measuring(CpuUseWindow::begin(), &args, &Interrupt::default());
        assert!(format!("{:#}", e.expect_err("no time")).contains("--wait-quiet"));
    }
}
