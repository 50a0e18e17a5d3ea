//! Which request is due next, and when.

use std::collections::VecDeque;
use std::iter::Peekable;

use crate::request::arrivals::Arrivals;
use crate::request::{Job, Load};

/// The requests of a job that were not taken yet. They wait here without being held: a backlog takes no memory.
pub struct ArrivalQueue {
    /// The next request's number.
    next: u32,
    n_requests: u32,
    most_ns: u64,
    due: Due,
}

enum Due {
    /// When each of the free places fell free, in that order.
    Closed(VecDeque<u64>),
    Open(Box<Peekable<Arrivals>>),
}

/// A request whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub number: u32,
    /// When it was due.
    pub due_ns: u64,
}

impl ArrivalQueue {
    /// All of a job's requests.
    pub fn of(job: &Job) -> Self {
        Self {
            next: 0,
            n_requests: job.n_requests,
            most_ns: job.most_ns.unwrap_or(u64::MAX),
            due: match job.load {
                Load::Closed { .. } => Due::Closed(vec![0; job.n_places() as usize].into()),
                Load::Open { rate_per_s, .. } => {
                    let arrivals = Arrivals::new(rate_per_s, job.seed);
                    Due::Open(Box::new(arrivals.peekable()))
                }
            },
        }
    }

    /// When the next request is due. None when no more come, or none before another has ended.
    pub fn next_due_ns(&mut self) -> Option<u64> {
        if self.next >= self.n_requests {
            return None;
        }
        let due_ns = match &mut self.due {
            Due::Closed(free) => free.front().copied(),
            Due::Open(arrivals) => arrivals.peek().copied(),
        };
        due_ns.filter(|&ns| ns <= self.most_ns)
    }

    /// The next request, if it is due by `now_ns`.
    pub fn take(&mut self, now_ns: u64) -> Option<Taken> {
        let due_ns = self.next_due_ns().filter(|&due_ns| due_ns <= now_ns)?;
        match &mut self.due {
            Due::Closed(free) => drop(free.pop_front()),
            Due::Open(arrivals) => drop(arrivals.next()),
        }
        let number = self.next;
        self.next += 1;
        Some(Taken { number, due_ns })
    }

    /// Notes that a request ended: in a closed loop the next one is due.
    pub fn ended(&mut self, at_ns: u64) {
        if let Due::Closed(free) = &mut self.due {
            free.push_back(at_ns);
        }
    }

    /// Whether nothing may be sent any more.
    pub fn is_over(&self, now_ns: u64) -> bool {
        now_ns > self.most_ns
    }

    /// Ends the source. Returns the requests of an open loop that had come and were not taken; those of a closed loop have
    /// not come, because no client sends them before they can be served.
    pub fn close(&mut self, now_ns: u64) -> Vec<Taken> {
        let waiting = match self.due {
            Due::Closed(_) => Vec::new(),
            Due::Open(_) => std::iter::from_fn(|| self.take(now_ns)).collect(),
        };
        self.n_requests = self.next;
        waiting
    }
}
