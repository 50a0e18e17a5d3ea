//! What fits a device of so much memory: how many layers of a cell, and the largest batch and context with all of them.

use serde::Serialize;

use super::budget::{self, MemoryPlacement, MemoryPrice, most_layers, n_layers, place};
use super::{Case, CaseId, KV_PAD, KvSizing, KvType, MAX_SEQ};
use crate::model::ModelFacts;
use crate::roofline::predict::Prediction;

/// Longest context that is looked for where a file does not say what its model was trained for.
const LONGEST_CTX: u32 = 1 << 20;

/// A cell with as many layers on the device as fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceFit {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell; its `n_gpu_layers` is the most that fit, the output counted as one.
    pub case: Case,
    /// All layers, the output counted as one.
    pub n_layers: u32,
    /// What lies on the device.
    pub device: MemoryPrice,
    /// What lies on the host.
    pub host: MemoryPrice,
    /// The middle decode step; none where layers stay on the host, or where no ceilings of the device are known.
    pub step: Option<Prediction>,
}

impl DeviceFit {
    /// Of a cell and a device of whose memory it may take these bytes.
    pub fn of(case: &Case, model: &ModelFacts, usable_bytes: u64) -> Self {
        let case = Case {
            n_gpu_layers: most_layers(case, model, usable_bytes),
            ..case.clone()
        };
        let MemoryPlacement { device, host } = place(&case, model);
        Self {
            case_id: case.id(),
            n_layers: n_layers(model),
            case,
            device,
            host,
            step: None,
        }
    }

    /// Whether every layer fits.
    pub fn is_whole(&self) -> bool {
        self.case.n_gpu_layers == self.n_layers
    }
}

/// The most that fits with one model, cache and context.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LargestFit {
    /// The model.
    pub model: String,
    /// Type of the K cache.
    pub type_k: KvType,
    /// Type of the V cache.
    pub type_v: KvType,
    /// Context of each sequence, tokens.
    pub n_ctx: u32,
    /// Most sequences decoded together with all layers on the device; none where one does not fit.
    pub n_seq: Option<u32>,
    /// Longest context of each of so many sequences; none also where the cache has only what a cell needs.
    pub n_ctx_at_n_seq: Option<u32>,
    /// Longest context of a single sequence.
    pub n_ctx_of_one: Option<u32>,
    /// Most layers with a single sequence, the output counted as one.
    pub n_gpu_layers_of_one: u32,
    /// All layers, the output counted as one.
    pub n_layers: u32,
}

impl LargestFit {
    /// Of a cell, whatever its batch.
    pub fn of(case: &Case, model: &ModelFacts, usable_bytes: u64) -> Self {
        let one = Case {
            n_seq: 1,
            n_gpu_layers: n_layers(model),
            ..case.clone()
        };
        let fits = |case: &Case| place(case, model).device.total_bytes() <= usable_bytes;
        let with_batch = |n_seq: u32| Case {
            n_seq,
            ..one.clone()
        };
        let most_seq = MAX_SEQ.min(case.n_batch);
        let n_seq = largest(1, most_seq, |n| {
            is_addressable(case.n_ctx, n) && fits(&with_batch(n))
        });
        let longest = model.n_ctx_train.unwrap_or(LONGEST_CTX).max(case.n_ctx);
        let context = |n_seq: u32| {
            let blocks = longest.div_ceil(KV_PAD);
            let with_blocks = |n: u32| Case {
                n_ctx: n.saturating_mul(KV_PAD),
                ..with_batch(n_seq)
            };
            let n = largest(case.n_ctx.div_ceil(KV_PAD), blocks, |n| {
                is_addressable(n.saturating_mul(KV_PAD), n_seq) && fits(&with_blocks(n))
            });
            n.map(|n| n.saturating_mul(KV_PAD).min(longest))
        };
        let is_full = case.kv == KvSizing::Full;
        Self {
            model: case.model.clone(),
            type_k: case.type_k,
            type_v: case.type_v,
            n_ctx: case.n_ctx,
            n_ctx_at_n_seq: n_seq.filter(|_| is_full).and_then(context),
            n_ctx_of_one: if is_full { context(1) } else { None },
            n_seq,
            n_gpu_layers_of_one: most_layers(&one, model, usable_bytes),
            n_layers: n_layers(model),
        }
    }
}

/// Whether the engine can count so many cells.
fn is_addressable(n_ctx: u32, n_seq: u32) -> bool {
    let cells = u64::from(n_ctx) * u64::from(n_seq);
    i32::try_from(cells).is_ok()
}

/// The largest number that fits, where a larger one never fits if a smaller one does not. None where not even the first
/// does.
fn largest(from: u32, to: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut low, mut high) = (from, to.max(from));
    if !fits(low) {
        return None;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}

/// Cells on a device, and the largest that fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceFits {
    /// The device's memory.
    pub vram_bytes: u64,
    /// What of it a cell may take.
    pub usable_bytes: u64,
    /// The cells, in the order of the table.
    pub cells: Vec<DeviceFit>,
    /// One for each model, cache and context among them.
    pub largest: Vec<LargestFit>,
}

impl DeviceFits {
    /// Of cells with their models.
    pub fn of<'a>(
        vram_bytes: u64,
        cells: impl IntoIterator<Item = (&'a Case, &'a ModelFacts)> + Clone,
    ) -> Self {
        let usable_bytes = budget::usable(vram_bytes);
        let fits = cells.clone().into_iter();
        let mut largest: Vec<LargestFit> = Vec::new();
        for (case, model) in cells {
            let fit = LargestFit::of(case, model, usable_bytes);
            if !largest.contains(&fit) {
                largest.push(fit);
            }
        }
        Self {
            vram_bytes,
            usable_bytes,
            cells: fits
                .map(|(case, model)| DeviceFit::of(case, model, usable_bytes))
                .collect(),
            largest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::synth::preset_facts;
    use crate::plan::expand::{Axes, Host, cases};

    const MIB: u64 = 1 << 20;

    fn case(axes: Axes) -> Case {
        let host = Host {
            n_threads: 1,
            n_gpu_layers: 0,
        };
        cases(&axes, &["m".into()], &[], host)
            .expect("valid")
            .remove(0)
    }

    #[test]
    fn an_8b_model_in_four_bits_fits_an_8_gb_card() {
        let model = preset_facts("llama3.1-8b", "q4_k_m");
        let cells: Vec<Case> = [1, 32]
            .map(|n| {
                case(Axes {
                    n_seq: Some(vec![n]),
                    ..Axes::default()
                })
            })
            .into();
        let fits = DeviceFits::of(8188 * MIB, cells.iter().map(|c| (c, &model)));
        let [one, many] = &fits.cells[..] else {
            panic!("two cells: {fits:?}");
        };
        assert!(one.is_whole() && !many.is_whole());
        for fit in [one, many] {
            assert!(fit.device.total_bytes() <= fits.usable_bytes, "{fit:?}");
        }
        // 32 contexts of 2048 tokens are 8 GiB of cache: some of the layers, and the rest at home.
        assert!((5..30).contains(&many.case.n_gpu_layers), "{many:?}");
        assert!(many.host.kv_bytes > many.device.kv_bytes / 2, "{many:?}");
        assert!(many.case_id.as_str().contains("/ngl"), "{}", many.case_id);
        assert_eq!(fits.largest.len(), 1, "one model, cache and context");
    }

    #[test]
    fn the_largest_fits_and_the_next_does_not() {
        let model = preset_facts("llama3.1-8b", "q4_k_m");
        let usable = budget::usable(8188 * MIB);
        for cache in [KvType::F16, KvType::Q8_0] {
            let cell = case(Axes {
                type_k: Some(vec![cache]),
                type_v: Some(vec![cache]),
                ..Axes::default()
            });
            let largest = LargestFit::of(&cell, &model, usable);
            let fits = |n_seq: u32, n_ctx: u32| {
                let case = Case {
                    n_seq,
                    n_ctx,
                    n_gpu_layers: 99,
                    ..cell.clone()
                };
                place(&case, &model).device.total_bytes() <= usable
            };
            let n_seq = largest.n_seq.expect("one fits");
            assert!(fits(n_seq, 2048) && !fits(n_seq + 1, 2048), "{largest:?}");
            let n_ctx = largest.n_ctx_at_n_seq.expect("the context fits");
            assert!(
                fits(n_seq, n_ctx) && !fits(n_seq, n_ctx + 256),
                "{largest:?}"
            );
            let n_ctx = largest.n_ctx_of_one.expect("the context fits");
            assert!(fits(1, n_ctx) && !fits(1, n_ctx + 256), "{largest:?}");
            assert_eq!(largest.n_gpu_layers_of_one, 33);
        }
    }

    #[test]
    fn what_does_not_fit_at_all_has_no_largest() {
        let model = preset_facts("llama3.1-70b", "q4_k_m");
        let cell = case(Axes::default());
        let none = LargestFit::of(&cell, &model, budget::usable(8188 * MIB));
        assert_eq!(
            (none.n_seq, none.n_ctx_at_n_seq, none.n_ctx_of_one),
            (None, None, None)
        );
        assert!((1..20).contains(&none.n_gpu_layers_of_one), "{none:?}");
        let fit = Case {
            kv: KvSizing::Fit,
            ..cell
        };
        let small = preset_facts("llama3.2-1b", "q4_0");
        let fits = LargestFit::of(&fit, &small, budget::usable(8188 * MIB));
        assert_eq!((fits.n_seq.is_some(), fits.n_ctx_of_one), (true, None));
        // No longer than the model was trained for.
        let full = LargestFit::of(&case(Axes::default()), &small, u64::MAX);
        assert_eq!(full.n_ctx_of_one, Some(131_072));
        assert_eq!(full.n_seq, Some(MAX_SEQ));
    }
}
