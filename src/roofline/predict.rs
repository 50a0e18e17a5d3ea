//! From ceilings and a list of kernels to a time, what it consists of, and what limits it.

use serde::{Deserialize, Serialize};

use super::ceiling::{Ceilings, Span};
use super::kernel::{Kernel, KernelLoad, Point};
use super::work::Item;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Matrices times tokens, experts included.
    MatMul,
    /// Attention over the KV cache.
    Attention,
    /// Norms, positions, activations, additions.
    Glue,
    /// Fetching logits and choosing tokens.
    Logits,
}

impl Part {
    fn of(kernel: &Kernel) -> Self {
        match kernel {
            Kernel::MatMul { .. } | Kernel::Experts { .. } => Self::MatMul,
            Kernel::Attention { .. } => Self::Attention,
            Kernel::Glue { .. } => Self::Glue,
            Kernel::Logits { .. } => Self::Logits,
        }
    }
}

/// A call's time by its parts, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Parts {
    pub mat_mul_ns: f64,
    pub attention_ns: f64,
    pub glue_ns: f64,
    pub logits_ns: f64,
}

impl Parts {
    fn add(&mut self, part: Part, ns: f64) {
        *match part {
            Part::MatMul => &mut self.mat_mul_ns,
            Part::Attention => &mut self.attention_ns,
            Part::Glue => &mut self.glue_ns,
            Part::Logits => &mut self.logits_ns,
        } += ns;
    }

    /// The largest part, its time, and its share of all.
    pub fn largest(&self) -> (Part, f64, f64) {
        let all = [
            (Part::MatMul, self.mat_mul_ns),
            (Part::Attention, self.attention_ns),
            (Part::Glue, self.glue_ns),
            (Part::Logits, self.logits_ns),
        ];
        let sum: f64 = all.iter().map(|(_, ns)| ns).sum();
        // Of equals the first.
        let (part, ns) = all
            .into_iter()
            .fold(all[0], |a, b| if b.1 > a.1 { b } else { a });
        (part, ns, ns / sum)
    }
}

/// What keeps a call from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelLimit {
    WeightBandwidth,
    Compute,
    /// The kernels at this number of tokens: they reach neither the rate at which a single token reads
    /// weights nor the one at which many tokens multiply.
    Kernels,
    Attention,
    Glue,
    Logits,
}

impl KernelLimit {
    pub fn words(self) -> &'static str {
        match self {
            Self::WeightBandwidth => "reading weights",
            Self::Compute => "arithmetic",
            Self::Kernels => "kernels at this batch",
            Self::Attention => "attention",
            Self::Glue => "small operations",
            Self::Logits => "logits",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub total: Span,
    pub parts: Parts,
    /// Weights read a second in the matrix kernels, as a share of what they read for a single token.
    pub weight_bandwidth_share: Option<f64>,
    /// FLOPs a second in the matrix kernels, as a share of what they reach on many tokens.
    pub compute_share: Option<f64>,
    pub limit: KernelLimit,
}

/// From this share of a rate on, the rate is what limits.
const SATURATED: f64 = 0.7;

/// What the method itself may be off by, to each side, besides the spread of the ceilings: the largest
/// error of the table in docs/ROOFLINE.md, for models whose layers are like Llama's.
pub const METHOD_ERROR: f64 = 0.10;

/// The same for models with other operations in their layers, which are counted as if they were Llama's.
pub const METHOD_ERROR_ELSEWHERE: f64 = 0.25;

/// Expects a call's time. `method_error` widens the band to each side. `None` when a kernel's time is not
/// known, or there are none.
pub fn predict(ceilings: &Ceilings, items: &[Item], method_error: f64) -> Option<Prediction> {
    let sum = ceilings.total(items)?;
    let mut parts = Parts::default();
    for item in items {
        let ns = ceilings.time(&item.point)?.ns * item.count;
        parts.add(Part::of(&item.point.kernel), ns);
    }
    let (weight_bandwidth_share, compute_share) = matrix_shares(ceilings, items);
    let (largest, ..) = parts.largest();
    let limit = match largest {
        Part::Attention => KernelLimit::Attention,
        Part::Glue => KernelLimit::Glue,
        Part::Logits => KernelLimit::Logits,
        Part::MatMul => {
            let read = weight_bandwidth_share.unwrap_or(0.0);
            let computed = compute_share.unwrap_or(0.0);
            match read.max(computed) {
                most if most < SATURATED => KernelLimit::Kernels,
                _ if read >= computed => KernelLimit::WeightBandwidth,
                _ => KernelLimit::Compute,
            }
        }
    };
    Some(Prediction {
        total: Span {
            ns: sum.ns,
            low_ns: sum.low_ns * (1.0 - method_error),
            high_ns: sum.high_ns * (1.0 + method_error),
        },
        parts,
        weight_bandwidth_share,
        compute_share,
        limit,
    })
}

/// How much of the matrix kernels' time would pass at the rate of a single token's reading, and how much at
/// the rate of many tokens' multiplying. Kernels whose rates are unknown are left out; `None` without any.
fn matrix_shares(ceilings: &Ceilings, items: &[Item]) -> (Option<f64>, Option<f64>) {
    let (mut reading, mut read_ns, mut computing, mut compute_ns) = (0.0, 0.0, 0.0, 0.0);
    for item in items {
        let kernel = &item.point.kernel;
        let n = item.point.load.total_tokens();
        let Some(time) = ceilings.time(&item.point).map(|t| t.ns) else {
            continue;
        };
        let one = ceilings.time(&Point {
            kernel: kernel.clone(),
            load: KernelLoad::tokens(1),
        });
        if Part::of(kernel) != Part::MatMul {
            continue;
        }
        if let Some(one) = one {
            // More tokens touch more experts.
            let bytes = kernel.weight_bytes(1.0, n) / kernel.weight_bytes(1.0, 1);
            reading += item.count * one.ns * bytes;
            read_ns += item.count * time;
        }
        if let Some((rate, _)) = ceilings.flops_per_s(kernel) {
            computing += item.count * kernel.flops(n) / rate * 1e9;
            compute_ns += item.count * time;
        }
    }
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    (share(reading, read_ns), share(computing, compute_ns))
}

#[cfg(test)]
mod tests {
    use super::super::ceiling::{CEILINGS_VERSION, Timing};
    use super::super::kernel::fixture;
    use super::*;

    fn matmul() -> Kernel {
        fixture::matmul("Q8_0", 100, 100)
    }

    fn glue() -> Kernel {
        fixture::glue([100, 300, 2, 1, 50])
    }

    /// Matrix: 100 ns for one token, 110 for 2, 400 for 8, 20 a token for 512.
    fn ceilings() -> Ceilings {
        let times = [
            (1, 100.0),
            (2, 110.0),
            (8, 400.0),
            (32, 720.0),
            (512, 10_240.0),
        ];
        let mut c = Ceilings {
            version: CEILINGS_VERSION,
            machine: String::new(),
            engine: String::new(),
            device: String::new(),
            n_threads: 1,
            read: None,
            entries: Vec::new(),
        };
        let timing = |ns: f64| Timing {
            ns,
            low_ns: 0.9 * ns,
            high_ns: 1.2 * ns,
            best_ns: ns,
            n_rounds: 3,
            n_passes: 3,
            measured_at_s: 0,
            disturbed: false,
        };
        for (n, ns) in times {
            let load = KernelLoad::tokens(n);
            let kernel = matmul();
            c.insert(Point { kernel, load }, timing(ns));
            let kernel = glue();
            c.insert(Point { kernel, load }, timing(50.0));
        }
        c
    }

    fn step(n_tokens: u32, n_glue: f64) -> Vec<Item> {
        let item = |kernel: Kernel, count: f64| Item {
            point: Point {
                kernel,
                load: KernelLoad::tokens(n_tokens),
            },
            count,
        };
        vec![item(matmul(), 10.0), item(glue(), n_glue)]
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn a_call_is_the_sum_of_its_kernels() {
        let p = predict(&ceilings(), &step(8, 3.0), 0.1).expect("all known");
        assert_eq!((p.parts.mat_mul_ns, p.parts.glue_ns), (4000.0, 150.0));
        assert_eq!(p.parts.largest(), (Part::MatMul, 4000.0, 4000.0 / 4150.0));
        close(p.total.ns, 4150.0);
        close(p.total.low_ns, 4150.0 * 0.9 * 0.9);
        close(p.total.high_ns, 4150.0 * 1.2 * 1.1);
        assert_eq!(
            predict(&ceilings(), &step(600, 3.0), 0.1),
            None,
            "beyond the ceilings"
        );
        assert_eq!(predict(&ceilings(), &[], 0.1), None);
    }

    #[test]
    fn the_limit_follows_the_batch() {
        let limit = |n, glue| {
            predict(&ceilings(), &step(n, glue), 0.1)
                .expect("known")
                .limit
        };
        assert_eq!(limit(1, 1.0), KernelLimit::WeightBandwidth);
        assert_eq!(limit(2, 1.0), KernelLimit::WeightBandwidth, "100 of 110 ns");
        assert_eq!(
            limit(8, 1.0),
            KernelLimit::Kernels,
            "100 of 400 ns, and 160"
        );
        assert_eq!(limit(32, 1.0), KernelLimit::Compute, "640 of 720 ns");
        assert_eq!(limit(1, 100.0), KernelLimit::Glue);
        let p = predict(&ceilings(), &step(32, 1.0), 0.1).expect("known");
        close(p.compute_share.expect("512 is known"), 640.0 / 720.0);
        close(p.weight_bandwidth_share.expect("1 is known"), 100.0 / 720.0);
    }
}
