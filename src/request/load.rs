//! Requests as they come: a closed loop with a fixed number of clients, or an open loop with a rate of arrivals.
//!
//! A client is a thread with a connection of its own. It blocks while it waits, so that the generator takes next to
//! nothing from a server on the same machine.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::arrivals::Arrivals;
use super::{Ending, Job, Load, Served, Timeline};
use crate::engine::clock::{Clock, MonotonicClock};

/// How often is looked whether the run was interrupted.
const LOOK: Duration = Duration::from_millis(50);

/// A request that may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its number in the job.
    pub number: u32,
    /// When it was due.
    pub due_ns: u64,
}

/// The instants at which `n` requests come in an open loop, nanoseconds since its begin: a Poisson process, whose gaps
/// are exponential with mean `1 / rate_per_s` and know nothing of each other. The same for equal seeds.
///
/// `rate_per_s` is above 0; otherwise nothing ever comes (`u64::MAX`).
pub fn due_instants_ns(seed: u64, rate_per_s: f64, n: u32) -> Vec<u64> {
    Arrivals::new(rate_per_s, seed)
        .chain(std::iter::repeat(u64::MAX))
        .take(n as usize)
        .collect()
}

/// Serves a job: `connect` makes a client for each thread, `ask` sends one request and follows it to its end. The flag
/// that `connect` is given becomes true once `stop` says so.
///
/// A client that panics is a failed request, and is made anew.
///
/// # Errors
/// When the system gives no threads.
pub fn drive<C>(
    job: &Job,
    clock: MonotonicClock,
    stop: &dyn Fn() -> bool,
    connect: &(dyn Fn(Arc<AtomicBool>) -> C + Sync),
    ask: &(dyn Fn(&mut C, Turn) -> Timeline + Sync),
) -> io::Result<Served> {
    let queue = Queue::new(job, clock);
    let stopped = Arc::clone(&queue.stopped);
    let n_threads = job.load.most_at_once().min(job.n_requests);
    let (sender, receiver) = channel();
    let mut timelines = Vec::new();
    thread::scope(|scope| {
        for i in 0..n_threads {
            let (sender, queue) = (sender.clone(), &queue);
            let client = move || client(queue, connect, ask, &sender);
            let started = thread::Builder::new()
                .name(format!("client-{i}"))
                .spawn_scoped(scope, client);
            if let Err(error) = started {
                stopped.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(timeline) => timelines.push(timeline),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if stop() {
                stopped.store(true, Ordering::Relaxed);
            }
        }
    })?;
    timelines.sort_by_key(|timeline: &Timeline| timeline.number);
    Ok(Served {
        elapsed_ns: timelines.iter().map(|t| t.ended_ns).max().unwrap_or(0),
        timelines,
        calls: Vec::new(),
    })
}

/// One thread: takes the next request until there is none.
fn client<C>(
    queue: &Queue,
    connect: &(dyn Fn(Arc<AtomicBool>) -> C + Sync),
    ask: &(dyn Fn(&mut C, Turn) -> Timeline + Sync),
    sender: &Sender<Timeline>,
) {
    let mut connected = None;
    loop {
        let timeline = match queue.next() {
            Next::Nothing => return,
            Next::Missed(turn) => Timeline::unanswered(
                turn.number,
                turn.due_ns,
                queue.clock.now_ns(),
                Ending::NotSent,
            ),
            Next::Send(turn) => {
                let asking = AssertUnwindSafe(|| {
                    let client = connected.get_or_insert_with(|| connect(queue.stopped.clone()));
                    ask(client, turn)
                });
                catch_unwind(asking).unwrap_or_else(|panic| {
                    connected = None;
                    let reason = said(panic.as_ref());
                    Timeline::unanswered(
                        turn.number,
                        turn.due_ns,
                        queue.clock.now_ns(),
                        Ending::Failed { reason },
                    )
                })
            }
        };
        if sender.send(timeline).is_err() {
            return;
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "the client panicked: {}",
        super::http::shortened(&text.unwrap_or_default())
    )
}

/// What a thread is to do next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Send(Turn),
    /// It was due, and found no free client while requests were still sent.
    Missed(Turn),
    Nothing,
}

/// The requests of a job that were not taken yet.
struct Queue {
    clock: MonotonicClock,
    n_requests: u32,
    most_ns: u64,
    /// When each is due in an open loop; none in a closed one, where it is when it is taken.
    due_ns: Option<Vec<u64>>,
    taken: AtomicU32,
    stopped: Arc<AtomicBool>,
}

impl Queue {
    fn new(job: &Job, clock: MonotonicClock) -> Self {
        let due_ns = match job.load {
            Load::Closed { .. } => None,
            Load::Open { rate_per_s, .. } => {
                Some(due_instants_ns(job.seed, rate_per_s, job.n_requests))
            }
        };
        Self {
            clock,
            n_requests: job.n_requests,
            most_ns: job.most_ns.unwrap_or(u64::MAX),
            due_ns,
            taken: AtomicU32::new(0),
            stopped: Arc::new(AtomicBool::new(false)),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn next(&self) -> Next {
        let now_ns = self.clock.now_ns();
        if self.is_stopped() || (self.due_ns.is_none() && now_ns > self.most_ns) {
            return Next::Nothing;
        }
        // Many threads may ask after the last one, but far fewer than u32 holds.
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number >= self.n_requests {
            return Next::Nothing;
        }
        let Some(all) = &self.due_ns else {
            return Next::Send(Turn {
                number,
                due_ns: self.clock.now_ns(),
            });
        };
        let due_ns = all[number as usize];
        if due_ns > self.most_ns || !self.wait_until(due_ns) {
            return Next::Nothing;
        }
        let turn = Turn { number, due_ns };
        // A request that came in time counts, although it could not be sent in time.
        if now_ns > self.most_ns {
            Next::Missed(turn)
        } else {
            Next::Send(turn)
        }
    }

    /// False when it was interrupted before.
    fn wait_until(&self, at_ns: u64) -> bool {
        while let Some(left) = self.clock.until(at_ns) {
            if self.is_stopped() {
                return false;
            }
            thread::sleep(left.min(LOOK));
        }
        !self.is_stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(seed: u64, rate_per_s: f64, n: u32) -> Vec<f64> {
        let at = due_instants_ns(seed, rate_per_s, n);
        std::iter::once(&0)
            .chain(&at)
            .zip(&at)
            .map(|(before, after)| (after - before) as f64 / 1e9)
            .collect()
    }

    #[test]
    fn arrivals_are_those_of_a_poisson_process() {
        let (rate, n) = (20.0, 100_000);
        let mut gaps = gaps(7, rate, n);
        let mean = gaps.iter().sum::<f64>() / f64::from(n);
        // The mean of n exponential gaps has a standard error of 1 / (rate sqrt(n)); four of them.
        assert!(
            (mean * rate - 1.0).abs() < 4.0 / f64::from(n).sqrt(),
            "{mean}"
        );
        // They know nothing of each other: lag-1 correlation within four standard errors.
        let centred: Vec<f64> = gaps.iter().map(|gap| gap - mean).collect();
        let product: f64 = centred.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let square: f64 = centred.iter().map(|c| c * c).sum();
        assert!((product / square).abs() < 4.0 / f64::from(n).sqrt());
        // Kolmogorov-Smirnov against the exponential distribution, at 0.1%: 1.95 / sqrt(n).
        gaps.sort_by(f64::total_cmp);
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(i, gap)| {
                let expected = 1.0 - (-rate * gap).exp();
                let (low, high) = (i as f64, (i + 1) as f64);
                let n = f64::from(n);
                (expected - low / n).abs().max((high / n - expected).abs())
            })
            .fold(0.0, f64::max);
        assert!(distance < 1.95 / f64::from(n).sqrt(), "{distance}");
    }

    #[test]
    fn arrivals_depend_on_the_seed_alone_and_never_go_back() {
        let at = due_instants_ns(1, 5.0, 1000);
        assert_eq!(at, due_instants_ns(1, 5.0, 1000));
        assert_eq!(at[..10], due_instants_ns(1, 5.0, 10));
        assert_ne!(at, due_instants_ns(2, 5.0, 1000));
        assert!(at.is_sorted());
        assert_eq!(due_instants_ns(1, 5.0, 0), Vec::<u64>::new());
    }

    #[test]
    fn a_rate_that_is_none_lets_nothing_come() {
        for rate in [0.0, -1.0, f64::NAN] {
            assert_eq!(due_instants_ns(1, rate, 3), [u64::MAX; 3]);
        }
    }
}
