//! The signals that end a run in order: Ctrl-C, `kill`, and a terminal that closes; on Windows the events of the console.
//!
//! A signal that is ignored when the program starts was meant to be ignored: `nohup` ignores SIGHUP, a shell without job control
//! ignores SIGINT in what it starts in the background. Such a signal stays ignored, here and in the workers, which inherit it.

use std::io;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// Ctrl-C, or `kill`.
    Asked,
    /// The terminal is gone.
    HungUp,
}

#[cfg(unix)]
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Calls `act`, in a thread of its own, for every such signal from now on. Once a process.
#[cfg(unix)]
pub fn on_ending(mut act: impl FnMut(EndSignal) + Send + 'static) -> io::Result<()> {
    let heeded = ENDING.into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = signal_hook::iterator::Signals::new(heeded)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            signals.forever().for_each(|signal| {
                act(match signal {
                    libc::SIGHUP => EndSignal::HungUp,
                    _ => EndSignal::Asked,
                });
            });
        })
        .map(drop)
}

/// Calls `act`, in a thread of its own, for Ctrl-C and Ctrl-Break, and for a window, a session or a system that is closed. Once a
/// process.
#[cfg(windows)]
pub fn on_ending(act: impl FnMut(EndSignal) + Send + 'static) -> io::Result<()> {
    super::windows::on_ending(act)
}

/// Leaves these signals to the parent, which knows what is to be finished and ends this process by closing its standard input: a
/// service manager sends them to both.
pub fn leave_to_parent() {
    #[cfg(windows)]
    super::windows::leave_to_parent();
    #[cfg(unix)]
    for signal in ENDING {
        // SAFETY: no handler is installed that could be called; a wrong number would only be refused.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Makes a file that meets a limit (`ulimit -f`) an error that says so, instead of a signal that ends the program without a word.
pub fn outlive_limits() {
    #[cfg(unix)]
    // SAFETY: no handler is installed that could be called; a wrong number would only be refused.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: `sigaction` is plain data, for which zeroes are valid; with no new action the call only fills it.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}
