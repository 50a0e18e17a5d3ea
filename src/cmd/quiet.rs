//! Whether other programs use the machine, before something is measured on it.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli::OutputArgs;
use crate::host::{Neighbour, ProcessTimes};
use crate::plan::protocol::duration;
use crate::run::Interrupt;
use crate::streams::note;
use crate::text::{cut_end, short};

/// Shortest time that shows how much others use: the kernel counts in hundredths of a second.
const LEAST_LOOK: Duration = Duration::from_millis(300);
/// Time of one look while it waits.
const LOOK: Duration = Duration::from_secs(1);
/// CPU time of all other programs together that is worth a word, in cores, and of one that is named.
const BUSY_CORES: f64 = 0.1;
const NAMED_CORES: f64 = 0.05;
/// Programs that are named.
const MOST_NAMED: usize = 3;

/// A look at the machine that began before the measurement was prepared, so that it takes no time of its own.
pub(super) struct Look {
    began: Instant,
    processes: ProcessTimes,
}

/// The other programs that a look saw, the busiest first. Those that ended during it are missing, this program's own workers
/// among them.
struct Busy(Vec<Neighbour>);

impl Look {
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            processes: ProcessTimes::read(),
        }
    }

    /// What others used since it began; `None` where that is not known, or not worth a word.
    fn end(self) -> Option<Busy> {
        std::thread::sleep(LEAST_LOOK.saturating_sub(self.began.elapsed()));
        let wall = self.began.elapsed();
        let busy = Busy(ProcessTimes::read().busiest_since(&self.processes, wall));
        (busy.cores() >= BUSY_CORES).then_some(busy)
    }
}

impl Busy {
    fn cores(&self) -> f64 {
        self.0.iter().map(|program| program.cores).sum()
    }

    fn said(&self) -> String {
        let named = self.0.iter().filter(|program| program.cores >= NAMED_CORES);
        let named: Vec<String> = named
            .take(MOST_NAMED)
            .map(|program| format!("{} {:.2}", short(&cut_end(&program.name, 20)), program.cores))
            .collect();
        let named = match named.is_empty() {
            true => String::new(),
            false => format!(" ({})", named.join(", ")),
        };
        format!("other programs use {:.1} cores{named}", self.cores())
    }
}

/// Says what uses the machine, or waits until nothing does, for at most the time that is asked for.
///
/// # Errors
/// For a time that is none.
pub(super) fn before_measuring(look: Look, args: &OutputArgs, interrupt: &Interrupt) -> Result<()> {
    let wait = args.wait_quiet.as_deref();
    let most = wait.map(|text| duration("--wait-quiet", text)).transpose()?;
    let Some(mut busy) = look.end() else {
        return Ok(());
    };
    let Some(most) = most else {
        note(format_args!(
            "note: {}; the figures will be of a busy machine (--wait-quiet 5m waits until it is quiet)",
            busy.said()
        ));
        return Ok(());
    };
    note(format_args!("note: {}; waiting until the machine is quiet", busy.said()));
    let began = Instant::now();
    while began.elapsed() < most && !interrupt.is_set() {
        let look = Look::begin();
        std::thread::sleep(LOOK);
        match look.end() {
            Some(still) => busy = still,
            None => {
                note(format_args!("note: the machine is quiet"));
                return Ok(());
            }
        }
    }
    note(format_args!("note: {}; measuring all the same", busy.said()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(programs: &[(&str, f64)]) -> Busy {
        let of = |(name, cores): &(&str, f64)| Neighbour {
            name: (*name).to_owned(),
            cores: *cores,
        };
        Busy(programs.iter().map(of).collect())
    }

    #[test]
    fn the_busiest_programs_are_named() {
        let seen = busy(&[("rustc\u{1b}[2J", 0.98), ("cc1plus", 0.5), ("bash", 0.01)]);
        assert_eq!(seen.said(), "other programs use 1.5 cores (rustc?[2J 0.98, cc1plus 0.50)");
        let many: Vec<(&str, f64)> = vec![("a", 0.04); 5];
        assert_eq!(busy(&many).said(), "other programs use 0.2 cores");
    }

    #[test]
    fn a_wait_that_is_no_time_is_refused_before_anything_is_measured() {
        let args = OutputArgs {
            wait_quiet: Some("soon".to_owned()),
            ..OutputArgs::default()
        };
        let e = before_measuring(Look::begin(), &args, &Interrupt::default());
        assert!(format!("{:#}", e.expect_err("no time")).contains("--wait-quiet"));
    }
}
