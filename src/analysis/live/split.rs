//! Where the time of a request goes, and where the difference between two targets comes from.

use crate::view::requests::{JobView, Sent};

/// The parts of a request's latency, mean nanoseconds. They add up to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Parts {
    /// Before the engine began with it: no place in the batch was free, or others came first.
    pub waiting: f64,
    /// Loading the model.
    pub loading: f64,
    /// Reading the prompt.
    pub prefill: f64,
    /// Making the answer.
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

impl Parts {
    /// Of a job at a target; none where a server does not say what it took for prefill and decoding.
    pub fn of(job: &JobView) -> Option<Self> {
        let whole = job.requests.iter().filter(|s| s.is_answered());
        let parts: Vec<Self> = if job.is_in_process() {
            whole.filter_map(Self::of_own).collect()
        } else {
            whole.filter_map(Self::of_server).collect()
        };
        let n = parts.len() as f64;
        let mean = |of: fn(&Self) -> f64| parts.iter().map(of).sum::<f64>() / n;
        (!parts.is_empty()).then(|| Self {
            waiting: mean(|p| p.waiting),
            loading: mean(|p| p.loading),
            prefill: mean(|p| p.prefill),
            decode: mean(|p| p.decode),
            transport: mean(|p| p.transport),
            whole: mean(|p| p.whole),
        })
    }

    fn of_own(sent: &Sent) -> Option<Self> {
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

    fn of_server(sent: &Sent) -> Option<Self> {
        let server = sent.server?;
        let (prefill, decode) = (server.prompt_ns? as f64, server.eval_ns? as f64);
        let loading = server.load_ns.unwrap_or(0) as f64;
        let whole = sent.latency_ns() as f64;
        let (waiting, transport) = match server.total_ns {
            // The clock of a server may run apart by a little: the parts still add up to what the client saw.
            Some(total) => {
                let waiting = (total as f64 - loading - prefill - decode).max(0.0);
                // Before it was sent it waited for a client of ours, which is no transport either.
                let waiting = waiting + sent.sent_ns.saturating_sub(sent.due_ns) as f64;
                (waiting, whole - loading - prefill - decode - waiting)
            }
            None => {
                let waiting = (sent.ttft_ns()? as f64 - loading - prefill).max(0.0);
                (waiting, whole - loading - prefill - decode - waiting)
            }
        };
        Some(Self {
            waiting,
            loading,
            prefill,
            decode,
            transport,
            whole,
        })
    }

    /// What `self` takes more than `other`, part by part.
    pub fn minus(self, other: Self) -> Self {
        Self {
            waiting: self.waiting - other.waiting,
            loading: self.loading - other.loading,
            prefill: self.prefill - other.prefill,
            decode: self.decode - other.decode,
            transport: self.transport - other.transport,
            whole: self.whole - other.whole,
        }
    }

    /// The engine's: prefill and decode.
    pub fn engine(&self) -> f64 {
        self.prefill + self.decode
    }
}

impl PerToken {
    /// Of a job at a target.
    pub fn of(job: &JobView) -> Option<Self> {
        let whole = job.requests.iter().filter(|s| s.is_answered());
        let by_server = !job.is_in_process();
        // Both clocks start with the first token and span the gaps between tokens.
        let both = whole.filter_map(|s| {
            let (ns, n_tokens) = match by_server {
                true => (s.server?.eval_ns?, s.server?.n_eval?),
                false => (s.last_ns?.saturating_sub(s.first_ns?), s.n_generated?),
            };
            let n_gaps = n_tokens.checked_sub(1).filter(|n| *n > 0)?;
            Some((ns as f64, f64::from(n_gaps)))
        });
        let (ns, n) = both.fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        (n > 0.0).then(|| Self {
            ns: ns / n,
            by_server,
        })
    }
}
