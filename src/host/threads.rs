//! Threads of our own that work in step: all of them, or an error that says why not.

use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, Scope};

/// The system gave fewer threads than a measurement needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start {n_threads} threads: {source}; use fewer (--threads), or raise the limit of processes (`ulimit -u`, \
     the container's pids.max)"
)]
pub struct ThreadsError {
    pub n_threads: u32,
    pub source: io::Error,
}

/// What threads wait for until all of them are there: whether they shall work.
pub(super) type Start = OnceLock<bool>;

/// Starts all threads of a crew but the first, which is the caller. Each runs `work` with its number, from 1, once all
/// have been started; when one cannot be, none does.
pub(super) fn start_others<'scope, 'env, F>(
    scope: &'scope Scope<'scope, 'env>,
    n_threads: u32,
    start: &'scope Start,
    work: &'scope F,
) -> Result<(), ThreadsError>
where
    F: Fn(u32) + Sync,
{
    let started = (1..n_threads).try_for_each(|number| {
        let one = move || {
            if *start.wait() {
                work(number);
            }
        };
        Builder::new().spawn_scoped(scope, one).map(drop)
    });
    // Set once, here.
    let _ = start.set(started.is_ok());
    started.map_err(|source| ThreadsError { n_threads, source })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn every_thread_but_the_callers_works_once() {
        let sum = AtomicU32::new(0);
        let start = Start::new();
        let work = |number: u32| {
            sum.fetch_add(number, Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            start_others(scope, 5, &start, &work).expect("four threads");
        });
        assert_eq!(sum.into_inner(), 1 + 2 + 3 + 4);
    }

    #[test]
    fn the_error_says_what_to_do() {
        let e = ThreadsError {
            n_threads: 64,
            source: io::Error::from_raw_os_error(11),
        };
        let text = e.to_string();
        assert!(text.starts_with("cannot start 64 threads: "), "{text}");
        assert!(text.contains("--threads") && text.contains("ulimit -u"));
    }
}
