//! Weights: normal, scaled like trained ones, fast enough to fill a disk.
//!
//! Small tensors get fresh values throughout. For larger ones a pool of normal values is drawn and
//! quantised once per type and width, and the tensor is put together from runs of up to
//! a thousand neighbouring values that start at random places of the pool. Each run is as normal as
//! the pool; what differs from fresh values is that runs recur, which no dense kernel can notice.
//! Rows stay distinct, being made of several runs each.

use std::collections::HashMap;
use std::io::{self, Write};

use llama_cpp_sys_2 as sys;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::shape::{Fill, PlannedTensor};
use crate::model::gguf::{block_bytes, block_elements, tensor_type_of};

/// Tensors up to this many elements are drawn afresh.
const FRESH_ELEMENTS: u64 = 1 << 20;
/// Standard deviation of biases.
const BIAS_SIGMA: f32 = 0.02;
/// Elements in a pool: 512 rows of this many.
const POOL_ROW: u64 = 4096;
const POOL_ROWS: u64 = 512;
/// Most elements copied from one place of the pool.
const RUN_ELEMENTS: u64 = 1024;
/// Runs in a row, at least, so that rows of an embedding differ.
const RUNS_PER_ROW: u64 = 4;
const BUFFER_BYTES: usize = 4 << 20;
/// Below this a value would be a denormal in F16 (2^-14); pushed out to keep every type normal.
const SMALLEST: f32 = 1e-4;
/// Trained weights have thinner tails than this; bounds what one value does to its block's scale.
const LARGEST_SIGMAS: f32 = 6.0;

pub(super) struct WeightValues {
    seed: u64,
    pools: HashMap<(sys::ggml_type, u64), Vec<u8>>,
}

impl WeightValues {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            pools: HashMap::new(),
        }
    }

    /// Writes tensor number `index`; its bytes depend on the seed, the index and the plan alone.
    pub fn write<W: Write>(
        &mut self,
        out: &mut W,
        index: u64,
        tensor: &PlannedTensor,
    ) -> io::Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(index + 1); // stream 0 draws the pools
        let elements = tensor.elements();
        let values: Vec<f32> = match tensor.fill {
            Fill::Norm => (0..elements)
                .map(|_| 1.0 + 0.1 * draw(&mut rng, 1.0))
                .collect(),
            Fill::Bias => (0..elements).map(|_| draw(&mut rng, BIAS_SIGMA)).collect(),
            Fill::RopeFreqs { factor, freq_base } => rope_freqs(tensor.n_in, factor, freq_base),
            Fill::Matrix if elements > FRESH_ELEMENTS => {
                return self.write_runs(out, &mut rng, tensor);
            }
            Fill::Matrix => {
                let sigma = sigma(tensor.n_in);
                (0..elements).map(|_| draw(&mut rng, sigma)).collect()
            }
        };
        out.write_all(&encode(tensor.ty, &values, tensor.n_in))
    }

    fn write_runs<W: Write>(
        &mut self,
        out: &mut W,
        rng: &mut ChaCha8Rng,
        tensor: &PlannedTensor,
    ) -> io::Result<()> {
        let (block, width) = (block_elements(tensor.ty), block_bytes(tensor.ty));
        let pool = self.pool(tensor.ty, tensor.n_in);
        let pool_blocks = pool.len() as u64 / width;
        let run_elements = RUN_ELEMENTS.min(tensor.n_in / RUNS_PER_ROW);
        let run_blocks = (run_elements / block).max(1);
        let mut left = tensor.elements() / block;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        while left > 0 {
            let n = run_blocks.min(left);
            let start = rng.random_range(0..=pool_blocks - n);
            buffer
                .extend_from_slice(&pool[(start * width) as usize..((start + n) * width) as usize]);
            left -= n;
            if left == 0 || buffer.len() + (run_blocks * width) as usize > BUFFER_BYTES {
                out.write_all(&buffer)?;
                buffer.clear();
            }
        }
        Ok(())
    }

    fn pool(&mut self, ty: sys::ggml_type, n_in: u64) -> &[u8] {
        let seed = self.seed;
        self.pools.entry((ty, n_in)).or_insert_with(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let sigma = sigma(n_in);
            let values: Vec<f32> = (0..POOL_ROW * POOL_ROWS)
                .map(|_| draw(&mut rng, sigma))
                .collect();
            encode(ty, &values, POOL_ROW)
        })
    }
}

/// A matrix of `n_rows` rows of `n_in` normal weights in a tensor type, by ggml's name of it: for timing a
/// kernel, so a few dozen rows are drawn and repeated. `None` for a type there is no writer for, or whose
/// blocks do not divide the row.
#[must_use]
pub fn random_matrix(tensor_type: &str, n_in: u64, n_rows: u64) -> Option<Vec<u8>> {
    const DRAWN_ROWS: u64 = 32;
    let ty = tensor_type_of(tensor_type)?;
    let block = block_elements(ty);
    if n_in == 0 || n_rows == 0 || !n_in.is_multiple_of(block) || !can_be_written(ty) {
        return None;
    }
    let row_bytes = usize::try_from(n_in / block * block_bytes(ty)).ok()?;
    let all_bytes = row_bytes.checked_mul(usize::try_from(n_rows).ok()?)?;
    let mut rng = ChaCha8Rng::seed_from_u64(n_in);
    let sigma = sigma(n_in);
    let drawn = n_rows.min(DRAWN_ROWS);
    let values: Vec<f32> = (0..n_in * drawn).map(|_| draw(&mut rng, sigma)).collect();
    let pool = encode(ty, &values, n_in);
    let mut bytes = Vec::with_capacity(all_bytes);
    for row in 0..n_rows {
        let start = (row % drawn) as usize * row_bytes;
        bytes.extend_from_slice(&pool[start..start + row_bytes]);
    }
    Some(bytes)
}

/// Whether `ggml_quantize_chunk` writes the type. It aborts for those it does not know.
fn can_be_written(ty: sys::ggml_type) -> bool {
    let plain = [sys::GGML_TYPE_F32, sys::GGML_TYPE_F16, sys::GGML_TYPE_BF16];
    // SAFETY: a table look-up by a valid type.
    plain.contains(&ty) || unsafe { sys::ggml_is_quantized(ty) }
}

/// `1 / sqrt(n_in)`: outputs keep the size of inputs, so activations and logits stay finite
/// (LeCun initialisation). 0.042 at 576 and 0.016 at 4096, the range of trained Llama weights.
fn sigma(n_in: u64) -> f32 {
    1.0 / (n_in as f32).sqrt()
}

fn draw(rng: &mut ChaCha8Rng, sigma: f32) -> f32 {
    let value: f32 = rng.sample::<f32, _>(StandardNormal);
    let value = value.clamp(-LARGEST_SIGMAS, LARGEST_SIGMAS) * sigma;
    if value.abs() < SMALLEST {
        SMALLEST.copysign(value)
    } else {
        value
    }
}

/// Values in a tensor's type; `values` is whole rows of `n_in`, which the type's block divides.
fn encode(ty: sys::ggml_type, values: &[f32], n_in: u64) -> Vec<u8> {
    let blocks = values.len() as u64 / block_elements(ty);
    let mut bytes = vec![0_u8; (blocks * block_bytes(ty)) as usize];
    let rows = values.len() as u64 / n_in;
    // Where an importance matrix must be given, every column counts alike.
    // SAFETY: a table look-up by a valid type.
    let importance =
        unsafe { sys::ggml_quantize_requires_imatrix(ty) }.then(|| vec![1.0_f32; n_in as usize]);
    // SAFETY: the source holds `rows * n_in` values and the target exactly the bytes these take; the
    // importance matrix, where there is one, has a value for each column.
    let written = unsafe {
        sys::ggml_quantize_chunk(
            ty,
            values.as_ptr(),
            bytes.as_mut_ptr().cast(),
            0,
            rows as i64,
            n_in as i64,
            importance.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
        )
    };
    debug_assert_eq!(written, bytes.len());
    bytes
}

/// Llama 3.1's factors (`low_freq_factor` 1, `high_freq_factor` 4, 8192 original positions):
/// wavelengths above the original context are divided by `factor`, short ones kept, those between
/// interpolated. As in llama.cpp's convert_hf_to_gguf.py, `LlamaModel.generate_extra_tensors`.
fn rope_freqs(n: u64, factor: f32, freq_base: f32) -> Vec<f32> {
    const ORIGINAL_CTX: f32 = 8192.0;
    const LOW: f32 = 1.0;
    const HIGH: f32 = 4.0;
    let of_pair = |pair: u64| {
        let wavelength = std::f32::consts::TAU * freq_base.powf(pair as f32 / n as f32);
        if wavelength < ORIGINAL_CTX / HIGH {
            1.0
        } else if wavelength > ORIGINAL_CTX / LOW {
            factor
        } else {
            let smooth = (ORIGINAL_CTX / wavelength - LOW) / (HIGH - LOW);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..n).map(of_pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(ty: sys::ggml_type, n_in: u64, n_rows: u64) -> PlannedTensor {
        PlannedTensor {
            name: "m".into(),
            ty,
            n_in,
            n_rows,
            n_matrices: 1,
            fill: Fill::Matrix,
        }
    }

    fn written(tensor: &PlannedTensor, seed: u64, index: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        WeightValues::new(seed)
            .write(&mut bytes, index, tensor)
            .unwrap();
        bytes
    }

    fn f32s(bytes: &[u8]) -> Vec<f32> {
        bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn fresh_and_pooled_values_are_normal_and_never_denormal() {
        for rows in [512, 3000] {
            let values = f32s(&written(&matrix(sys::GGML_TYPE_F32, 1024, rows), 7, 3));
            assert_eq!(values.len() as u64, 1024 * rows);
            let n = values.len() as f64;
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let sd = (values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n).sqrt();
            assert!(
                mean.abs() < 2e-4 && (sd * 32.0 - 1.0).abs() < 0.01,
                "{mean} {sd}"
            );
            assert!(values.iter().all(|x| x.abs() >= SMALLEST && x.is_normal()));
        }
    }

    #[test]
    fn bytes_depend_on_seed_and_index_only() {
        let tensor = matrix(sys::GGML_TYPE_Q4_0, 2048, 1024);
        let bytes = written(&tensor, 1, 5);
        assert_eq!(bytes, written(&tensor, 1, 5));
        assert_ne!(bytes, written(&tensor, 2, 5));
        assert_ne!(bytes, written(&tensor, 1, 6));
        assert_eq!(bytes.len(), 2048 * 1024 / 32 * 18);
    }

    #[test]
    fn pooled_rows_are_distinct() {
        let values = written(&matrix(sys::GGML_TYPE_Q8_0, 576, 4000), 1, 0);
        let mut rows: Vec<_> = values.chunks_exact(576 / 32 * 34).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 4000);
    }

    #[test]
    fn rope_factors_as_published() {
        // Llama 3.2: head size 64, base 500000, factor 32. Pair 0 turns once in 2 pi positions;
        // the last pair's wavelength is 2 pi 500000^(31/32), above 8192.
        let factors = rope_freqs(32, 32.0, 500_000.0);
        assert_eq!(factors[0], 1.0);
        assert_eq!(factors[31], 32.0);
        assert!(factors.windows(2).all(|w| w[0] <= w[1]));
        assert!(factors.iter().any(|&f| f > 1.0 && f < 32.0));
    }
}
