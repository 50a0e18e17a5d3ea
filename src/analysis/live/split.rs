//! Where the time of a request goes, and where the difference between two targets comes from.

use crate::view::requests::{JobView, RequestView};

/// The parts of a request's latency, mean nanoseconds. They add up to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LatencyParts {
    /// Before the engine began with it: no place in the batch was free, or others came first.
    pub waiting: f64,
    pub loading: f64,
    pub prefill: f64,
    pub decode: f64,
    /// Between client and server, both ways. Where a server does not say how long it took in all, only what came
    /// after the first piece; the rest of it is in `waiting`.
    pub transport: f64,
    /// Latency of the requests that these are of.
    pub whole: f64,
}

/// What a target takes from one token of an answer to the next, by its own clock, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerToken {
    /// Mean over all gaps of all answers.
    pub ns: f64,
    /// Whether it is a server's own word, rather than what was timed here.
    pub by_server: bool,
}

impl LatencyParts {
    /// Of a job at a target; none where a server does not say what it took for prefill and decoding.
    pub fn of(job: &JobView) -> Option<Self> {
        let parts = job.requests.iter().filter_map(|r| Self::of_request(job, r));
        Self::mean(parts)
    }

    /// Of one of its requests that was answered.
    pub fn of_request(job: &JobView, sent: &RequestView) -> Option<Self> {
        match (sent.is_answered(), job.is_in_process()) {
            (false, _) => None,
            (true, true) => Self::of_own(sent),
            (true, false) => Self::of_server(sent),
        }
    }

    /// The mean of each part.
    pub fn mean(parts: impl Iterator<Item = Self>) -> Option<Self> {
        let mut n = 0.0;
        let sum = parts.inspect(|_| n += 1.0);
        let sum = sum.reduce(|a, b| a.zip(b, |a, b| a + b))?;
        Some(sum.zip(sum, |part, _| part / n))
    }

    fn of_own(sent: &RequestView) -> Option<Self> {
        let (admitted, first) = (sent.admitted_ns?, sent.first_ns?);
        let between = |a: u64, b: u64| b.saturating_sub(a) as f64;
        Some(Self {
            waiting: between(sent.due_ns, admitted),
            prefill: between(admitted, first),
            decode: between(first, sent.ended_ns),
            whole: sent.latency_ns() as f64,
            ..Self::default()
        })
    }

    fn of_server(sent: &RequestView) -> Option<Self> {
        let server = sent.server?;
        let (prefill, decode) = (server.prompt_ns? as f64, server.eval_ns? as f64);
        let loading = server.load_ns.unwrap_or(0) as f64;
        let whole = sent.latency_ns() as f64;
        let waiting = match server.total_ns {
            Some(total) => {
                let waiting = (total as f64 - loading - prefill - decode).max(0.0);
                // Before it was sent it waited for a client of ours, which is no transport either.
                waiting + sent.sent_ns.saturating_sub(sent.due_ns) as f64
            }
            None => (sent.ttft_ns()? as f64 - loading - prefill).max(0.0),
        };
        Some(Self {
            waiting,
            loading,
            prefill,
            decode,
            // The clock of a server may run apart by a little: the parts still add up to what the client saw.
            transport: whole - loading - prefill - decode - waiting,
            whole,
        })
    }

    /// What `self` takes more than `other`, part by part.
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    fn zip(self, other: Self, of: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            waiting: of(self.waiting, other.waiting),
            loading: of(self.loading, other.loading),
            prefill: of(self.prefill, other.prefill),
            decode: of(self.decode, other.decode),
            transport: of(self.transport, other.transport),
            whole: of(self.whole, other.whole),
        }
    }

    /// The engine's: prefill and decode.
    pub fn engine(&self) -> f64 {
        self.prefill + self.decode
    }
}

impl PerToken {
    pub fn of(job: &JobView) -> Option<Self> {
        let gaps = job.requests.iter().filter_map(|r| Gaps::of(job, r));
        Self::over(job, gaps)
    }

    /// Over the gaps of some of a job's requests.
    pub fn over(job: &JobView, gaps: impl Iterator<Item = Gaps>) -> Option<Self> {
        let (ns, n) = gaps.fold((0.0, 0.0), |(ns, n), gaps| (ns + gaps.ns, n + gaps.n));
        (n > 0.0).then(|| Self {
            ns: ns / n,
            by_server: !job.is_in_process(),
        })
    }
}

/// The time between the tokens of an answer, by its target's clock, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gaps {
    ns: f64,
    n: f64,
}

impl Gaps {
    /// Of a request that was answered with several tokens.
    pub fn of(job: &JobView, sent: &RequestView) -> Option<Self> {
        // Both clocks start with the first token and span the gaps between tokens.
        let (ns, n_tokens) = match (sent.is_answered(), job.is_in_process()) {
            (false, _) => return None,
            (true, false) => (sent.server?.eval_ns?, sent.server?.n_eval?),
            (true, true) => (
                sent.last_ns?.saturating_sub(sent.first_ns?),
                sent.n_generated?,
            ),
        };
        let n = n_tokens.checked_sub(1).filter(|n| *n > 0)?;
        Some(Self {
            ns: ns as f64,
            n: f64::from(n),
        })
    }
}
