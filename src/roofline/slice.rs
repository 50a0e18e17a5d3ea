//! How much of a kernel is timed: all of it, or where it is large a slice that stands for the whole.
//!
//! Rows of a matrix, sequences and heads of attention, and tokens of small operations are computed independently of each
//! other and in equal time. Once a slice outgrows caches and start-up costs, the whole takes as many times as long as it
//! is larger. So neither a large model nor a header with absurd numbers decides how much memory or time a ceiling takes.

use super::cost::KV_PAD;
use super::kernel::{Kernel, KernelLoad, Point};
use crate::model::type_bytes_per_element;

/// A slice has a multiple of this many rows: kernels take rows in groups of up to this many.
const ROWS: u64 = 64;

/// A head of attention costs at least as much as one of so many elements: what is done once a head and cell.
const LEAST_HEAD: f64 = 64.0;

/// Cells of the cache that small operations write to.
pub const GLUE_CELLS: u64 = 4096;

/// What one application of a kernel may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Bytes it reads and writes.
    pub bytes: u64,
    /// Multiply-adds, counted as two.
    pub flops: f64,
}

/// What is timed for a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The point itself, or a smaller one.
    pub point: Point,
    /// How many times as long the whole takes.
    pub times: f64,
}

/// Bytes that a kernel under a load goes through, in f64: headers may ask for more than there are numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct KernelSize {
    /// Weights, or the cache of attention.
    held: f64,
    /// Inputs and results.
    passed: f64,
    flops: f64,
}

impl KernelSize {
    /// How many times the bounds it is; at most 1 fits.
    fn over(&self, bounds: Bounds) -> f64 {
        let bytes = (self.held + self.passed) / bounds.bytes.max(1) as f64;
        bytes.max(self.flops / bounds.flops.max(1.0))
    }
}

impl Slice {
    /// The largest slice within bounds, or the smallest there is.
    pub fn of(point: &Point, bounds: Bounds) -> Self {
        let mut slice = Self {
            point: point.clone(),
            times: 1.0,
        };
        // Each cut is along one dimension; attention has two.
        for _ in 0..2 {
            let over = size(&slice.point).over(bounds);
            if over > 1.0 {
                slice.cut(over);
            }
        }
        slice
    }

    fn cut(&mut self, over: f64) {
        let Point { kernel, load } = &mut self.point;
        match kernel {
            Kernel::MatMul { n_out, .. } | Kernel::Experts { n_out, .. } => {
                let rows = (*n_out as f64 / over) as u64 / ROWS * ROWS;
                let kept = rows.max(ROWS).min(*n_out);
                self.times *= *n_out as f64 / kept.max(1) as f64;
                *n_out = kept;
            }
            Kernel::Attention {
                n_head, n_head_kv, ..
            } => {
                if load.n_seq > 1 {
                    let kept = ((f64::from(load.n_seq) / over) as u32).max(1);
                    self.times *= f64::from(load.n_seq) / f64::from(kept);
                    load.n_seq = kept;
                } else if *n_head_kv > 0 && n_head.is_multiple_of(*n_head_kv) {
                    let shared = *n_head / *n_head_kv;
                    let kept = ((f64::from(*n_head_kv) / over) as u32).max(1);
                    self.times *= f64::from(*n_head_kv) / f64::from(kept);
                    (*n_head, *n_head_kv) = (kept * shared, kept);
                }
            }
            Kernel::Glue { .. } | Kernel::Logits { .. } => {
                let n = load.total_tokens();
                let kept = ((f64::from(n) / over) as u32).max(1);
                self.times *= f64::from(n.max(1)) / f64::from(kept);
                *load = KernelLoad::tokens(kept);
            }
        }
    }

    /// Memory that timing it takes, with `stock_bytes` of distinct weights or caches: saturates.
    pub fn needs_bytes(&self, stock_bytes: u64) -> u64 {
        let size = size(&self.point);
        // One matrix is made before it is copied; inputs are converted, and results lie beside them.
        let stock = match self.point.kernel {
            Kernel::Glue { .. } | Kernel::Logits { .. } => 0.0,
            _ => size.held.max(stock_bytes as f64),
        };
        (stock + size.held + 2.0 * size.passed) as u64
    }

    /// [`flops`] of what is timed.
    pub fn flops(&self) -> f64 {
        flops(&self.point)
    }
}

/// Multiply-adds of one application, counted as two; more where other work takes as long.
pub fn flops(point: &Point) -> f64 {
    size(point).flops
}

fn size(point: &Point) -> KernelSize {
    const F32: f64 = 4.0;
    let load = point.load;
    let n = f64::from(load.n_seq) * f64::from(load.n_tokens);
    // Of a type that is not known: it is refused where it is made.
    let bytes_of = |name: &str| type_bytes_per_element(name).unwrap_or(F32);
    match &point.kernel {
        Kernel::MatMul {
            weights,
            n_in,
            n_out,
        } => {
            let (n_in, n_out) = (*n_in as f64, *n_out as f64);
            KernelSize {
                held: n_in * n_out * bytes_of(weights),
                passed: F32 * n * (n_in + n_out),
                flops: 2.0 * n_in * n_out * n,
            }
        }
        Kernel::Experts {
            weights,
            n_in,
            n_out,
            n_expert,
            n_used,
        } => {
            let (n_in, n_out, used) = (*n_in as f64, *n_out as f64, *n_used as f64);
            KernelSize {
                held: n_in * n_out * *n_expert as f64 * bytes_of(weights),
                passed: F32 * n * used * (n_in + n_out),
                flops: 2.0 * n_in * n_out * used * n,
            }
        }
        Kernel::Attention {
            n_head,
            n_head_kv,
            head_dim_k,
            head_dim_v,
            type_k,
            type_v,
        } => {
            let seen = u64::from(load.n_past) + u64::from(load.n_tokens);
            let cells = seen.next_multiple_of(KV_PAD.into()) as f64;
            let (h, g) = (f64::from(*n_head), f64::from(*n_head_kv));
            let (k, v) = (f64::from(*head_dim_k), f64::from(*head_dim_v));
            KernelSize {
                held: f64::from(load.n_seq)
                    * cells
                    * g
                    * (k * bytes_of(type_k) + v * bytes_of(type_v)),
                passed: n * (F32 * h * (k + v) + 2.0 * cells),
                flops: 2.0 * n * cells * h * (k.max(LEAST_HEAD) + v.max(LEAST_HEAD)),
            }
        }
        Kernel::Glue {
            n_embd,
            n_ff,
            n_head,
            n_head_kv,
            head_dim,
        } => {
            let (embd, ff, dim) = (f64::from(*n_embd), f64::from(*n_ff), f64::from(*head_dim));
            let (h, g) = (f64::from(*n_head), f64::from(*n_head_kv));
            let widths = 2.0 * embd + 3.0 * ff + 2.0 * dim * (h + g);
            KernelSize {
                held: 2.0 * dim * g * n.max(GLUE_CELLS as f64),
                passed: F32 * n * widths,
                flops: 0.0,
            }
        }
        Kernel::Logits { n_vocab } => KernelSize {
            held: 0.0,
            passed: 2.0 * F32 * n * f64::from(*n_vocab),
            flops: 0.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::kernel::fixture::{self, glue, load};

    const MIB: u64 = 1 << 20;
    const BOUNDS: Bounds = Bounds {
        bytes: 64 * MIB,
        flops: 1e10,
    };

    fn point(kernel: Kernel, load: KernelLoad) -> Point {
        Point { kernel, load }
    }

    fn matmul(n_in: u64, n_out: u64) -> Kernel {
        fixture::matmul("F16", n_in, n_out)
    }

    fn attention(n_head: u32, n_head_kv: u32, dim: u32) -> Kernel {
        fixture::attention([n_head, n_head_kv, dim], "F16")
    }

    #[test]
    fn what_fits_is_timed_whole() {
        let small = point(matmul(4096, 4096), KernelLoad::tokens(1));
        let slice = Slice::of(&small, BOUNDS);
        assert_eq!((slice.point.clone(), slice.times), (small, 1.0));
        // 32 MiB of weights, of which 256 MiB of copies are laid in, and one more to copy from.
        let passed = 2 * 4 * 2 * 4096;
        assert_eq!(slice.needs_bytes(256 * MIB), 288 * MIB + passed);
    }

    #[test]
    fn of_a_large_matrix_some_rows_stand_for_all() {
        // 1 GiB of weights, 64 MiB allowed: a sixteenth of the rows, less what inputs take.
        let whole = point(matmul(4096, 131_072), KernelLoad::tokens(1));
        let slice = Slice::of(&whole, BOUNDS);
        assert_eq!(
            slice.point,
            point(matmul(4096, 8_128), KernelLoad::tokens(1))
        );
        assert_eq!(slice.times, 131_072.0 / 8_128.0);
        // 34 GFLOP at 512 tokens, 10 allowed.
        let whole = point(matmul(4096, 8_192), KernelLoad::tokens(512));
        let slice = Slice::of(&whole, BOUNDS);
        assert_eq!(slice.point.kernel, matmul(4096, 2_368));
        assert!(slice.flops() <= BOUNDS.flops);
    }

    #[test]
    fn of_attention_some_sequences_and_then_some_heads_stand_for_all() {
        // 8192 cells of 8 heads of 128: 32 MiB a sequence.
        let whole = point(attention(32, 8, 128), load(128, 1, 8191));
        let slice = Slice::of(&whole, BOUNDS);
        assert_eq!((slice.point.load.n_seq, slice.times), (1, 128.0));
        let long = point(attention(32, 8, 128), load(4, 1, 65_535));
        let slice = Slice::of(&long, BOUNDS);
        assert_eq!(slice.point, point(attention(4, 1, 128), load(1, 1, 65_535)));
        assert_eq!(slice.times, 32.0);
        // 256 heads of one element: next to no arithmetic, but a loop for every head and cell.
        let narrow = point(attention(256, 2, 1), load(128, 1, 4095));
        let kept = Slice::of(&narrow, BOUNDS).point.load.n_seq;
        assert!((1..40).contains(&kept), "{kept}");
    }

    #[test]
    fn of_small_operations_and_logits_some_tokens_stand_for_all() {
        let small = glue([64, 1_000_000, 2, 1, 32]);
        let slice = Slice::of(&point(small, KernelLoad::tokens(512)), BOUNDS);
        let kept = slice.point.load.total_tokens();
        assert!((4..6).contains(&kept), "{kept}");
        assert_eq!(slice.times, 512.0 / f64::from(kept));
        assert!(slice.needs_bytes(1 << 30) < 3 * BOUNDS.bytes);
        let logits = point(Kernel::Logits { n_vocab: 262_144 }, KernelLoad::tokens(256));
        assert_eq!(
            Slice::of(&logits, BOUNDS).point.load,
            KernelLoad::tokens(32)
        );
    }

    #[test]
    fn absurd_numbers_need_more_than_there_is_and_do_not_overflow() {
        for kernel in [
            matmul(u64::MAX, u64::MAX),
            attention(u32::MAX, u32::MAX, u32::MAX),
            glue([u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX]),
        ] {
            let all = load(u32::MAX, u32::MAX, u32::MAX);
            let slice = Slice::of(&point(kernel, all), BOUNDS);
            assert!(slice.times >= 1.0);
            assert!(slice.needs_bytes(0) > 1 << 40, "{slice:?}");
        }
        let none = point(attention(0, 0, 0), load(0, 0, 0));
        assert_eq!(Slice::of(&none, BOUNDS).times, 1.0);
    }
}
