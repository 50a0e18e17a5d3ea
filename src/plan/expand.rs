//! From axes to cases: the product of every axis, less what is excluded, each cell validated.

use serde::Serialize;

use super::{Case, FlashAttn, KvSizing, KvType, MAX_SEQ, PlanError, SplitMode};

/// Most combinations a sweep may span; more is a typing mistake, and would take years.
const MAX_CASES: usize = 100_000;

/// Most cells of a KV cache: the engine counts them in 32 signed bits.
const MAX_CELLS: u64 = i32::MAX as u64;

/// What an axis is when nobody names it. llama.cpp's own defaults where it has them.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // named as the fields of `Case`, which has their docs
pub struct Defaults {
    pub n_seq: u32,
    pub n_prompt: u32,
    pub n_gen: u32,
    pub n_depth: u32,
    pub n_ctx: u32,
    pub kv: KvSizing,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub type_k: KvType,
    pub type_v: KvType,
    pub flash_attn: FlashAttn,
    pub split_mode: SplitMode,
    pub main_gpu: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            n_seq: 1,
            n_prompt: 128,
            n_gen: 64,
            n_depth: 0,
            n_ctx: 2048,
            kv: KvSizing::Full,
            n_batch: 2048,
            n_ubatch: 512,
            type_k: KvType::F16,
            type_v: KvType::F16,
            flash_attn: FlashAttn::Auto,
            split_mode: SplitMode::Layer,
            main_gpu: 0,
        }
    }
}

/// The machine's part of the defaults.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Threads used when none are asked for: the cores this process may use.
    pub n_threads: u32,
    /// Layers offloaded when none are asked for: all of them where the build has a GPU backend.
    pub n_gpu_layers: u32,
}

/// The axes as asked for; `None` is an axis nobody named.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // named as the fields of `Case`, which has their docs
pub struct Axes {
    /// What `--model` was given; [`crate::model`] resolves it.
    pub model: Option<Vec<String>>,
    pub n_seq: Option<Vec<u32>>,
    pub n_prompt: Option<Vec<u32>>,
    pub n_gen: Option<Vec<u32>>,
    pub n_depth: Option<Vec<u32>>,
    pub n_threads: Option<Vec<u32>>,
    pub n_ctx: Option<Vec<u32>>,
    pub kv: Option<Vec<KvSizing>>,
    pub n_batch: Option<Vec<u32>>,
    pub n_ubatch: Option<Vec<u32>>,
    pub type_k: Option<Vec<KvType>>,
    pub type_v: Option<Vec<KvType>>,
    pub flash_attn: Option<Vec<FlashAttn>>,
    pub n_gpu_layers: Option<Vec<u32>>,
    pub split_mode: Option<Vec<SplitMode>>,
    pub main_gpu: Option<Vec<u32>>,
    pub sample: Option<Vec<bool>>,
}

impl Axes {
    /// How many combinations of values the axes have, models aside.
    fn combinations(&self) -> usize {
        let lengths = [
            self.n_seq.as_ref().map(Vec::len),
            self.n_prompt.as_ref().map(Vec::len),
            self.n_gen.as_ref().map(Vec::len),
            self.n_depth.as_ref().map(Vec::len),
            self.n_threads.as_ref().map(Vec::len),
            self.n_ctx.as_ref().map(Vec::len),
            self.kv.as_ref().map(Vec::len),
            self.n_batch.as_ref().map(Vec::len),
            self.n_ubatch.as_ref().map(Vec::len),
            self.type_k.as_ref().map(Vec::len),
            self.type_v.as_ref().map(Vec::len),
            self.flash_attn.as_ref().map(Vec::len),
            self.n_gpu_layers.as_ref().map(Vec::len),
            self.split_mode.as_ref().map(Vec::len),
            self.main_gpu.as_ref().map(Vec::len),
            self.sample.as_ref().map(Vec::len),
        ];
        lengths.into_iter().flatten().fold(1, usize::saturating_mul)
    }

    /// These axes, each taken from `over` where it names one: flags over a sweep file.
    #[must_use]
    pub fn overridden_by(self, over: Axes) -> Axes {
        Axes {
            model: over.model.or(self.model),
            n_seq: over.n_seq.or(self.n_seq),
            n_prompt: over.n_prompt.or(self.n_prompt),
            n_gen: over.n_gen.or(self.n_gen),
            n_depth: over.n_depth.or(self.n_depth),
            n_threads: over.n_threads.or(self.n_threads),
            n_ctx: over.n_ctx.or(self.n_ctx),
            kv: over.kv.or(self.kv),
            n_batch: over.n_batch.or(self.n_batch),
            n_ubatch: over.n_ubatch.or(self.n_ubatch),
            type_k: over.type_k.or(self.type_k),
            type_v: over.type_v.or(self.type_v),
            flash_attn: over.flash_attn.or(self.flash_attn),
            n_gpu_layers: over.n_gpu_layers.or(self.n_gpu_layers),
            split_mode: over.split_mode.or(self.split_mode),
            main_gpu: over.main_gpu.or(self.main_gpu),
            sample: over.sample.or(self.sample),
        }
    }
}

/// A combination of values that a sweep leaves out: every named axis must match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exclude {
    /// A model name, `*` standing for any text.
    pub model: Option<glob::Pattern>,
    /// The values left out; its own `model` is not looked at.
    pub axes: Axes,
}

impl Exclude {
    fn matches(&self, case: &Case) -> bool {
        fn among<T: PartialEq>(asked: &Option<Vec<T>>, value: T) -> bool {
            asked.as_ref().is_none_or(|values| values.contains(&value))
        }
        let a = &self.axes;
        self.model.as_ref().is_none_or(|p| p.matches(&case.model))
            && among(&a.n_seq, case.n_seq)
            && among(&a.n_prompt, case.n_prompt)
            && among(&a.n_gen, case.n_gen)
            && among(&a.n_depth, case.n_depth)
            && among(&a.n_threads, case.n_threads)
            && among(&a.n_ctx, case.n_ctx)
            && among(&a.kv, case.kv)
            && among(&a.n_batch, case.n_batch)
            && among(&a.n_ubatch, case.n_ubatch)
            && among(&a.type_k, case.type_k)
            && among(&a.type_v, case.type_v)
            && among(&a.flash_attn, case.flash_attn)
            && among(&a.n_gpu_layers, case.n_gpu_layers)
            && among(&a.split_mode, case.split_mode)
            && among(&a.main_gpu, case.main_gpu)
            && among(&a.sample, case.sample)
    }
}

/// Every cell of the axes for the named models, in the order of the table: models outermost, batch
/// innermost, so that a scaling curve is read downwards.
///
/// # Errors
/// [`PlanError`] for a value no cell can have, and when the exclusions leave nothing.
pub fn cases(
    axes: &Axes,
    models: &[String],
    exclude: &[Exclude],
    host: Host,
) -> Result<Vec<Case>, PlanError> {
    let combinations = axes.combinations().saturating_mul(models.len());
    if combinations > MAX_CASES {
        return Err(PlanError::Impossible(format!(
            "the axes span {combinations} combinations; at most {MAX_CASES}"
        )));
    }
    let d = Defaults::default();
    fn or<T: Clone>(axis: &Option<Vec<T>>, default: T) -> Vec<T> {
        axis.clone().unwrap_or_else(|| vec![default])
    }
    // Axes that only multiply, outermost first; each step grows the list of partial cases.
    let mut cases: Vec<Case> = models
        .iter()
        .map(|model| Case {
            model: model.clone(),
            n_seq: d.n_seq,
            n_prompt: d.n_prompt,
            n_gen: d.n_gen,
            n_depth: d.n_depth,
            n_threads: host.n_threads,
            n_ctx: d.n_ctx,
            kv: d.kv,
            n_batch: d.n_batch,
            n_ubatch: d.n_ubatch,
            type_k: d.type_k,
            type_v: d.type_v,
            flash_attn: d.flash_attn,
            n_gpu_layers: host.n_gpu_layers,
            split_mode: d.split_mode,
            main_gpu: d.main_gpu,
            sample: true,
        })
        .collect();
    macro_rules! multiply {
        ($($field:ident = $default:expr),* $(,)?) => {$(
            cases = cases
                .iter()
                .flat_map(|case| {
                    or(&axes.$field, $default).into_iter().map(|value| Case {
                        $field: value,
                        ..case.clone()
                    })
                })
                .collect();
        )*};
    }
    multiply!(
        n_gpu_layers = host.n_gpu_layers,
        split_mode = d.split_mode,
        main_gpu = d.main_gpu,
        n_threads = host.n_threads,
        flash_attn = d.flash_attn,
        type_k = d.type_k,
        type_v = d.type_v,
        n_batch = d.n_batch,
        n_ubatch = d.n_ubatch,
        kv = d.kv,
        n_ctx = d.n_ctx,
        sample = true,
        n_depth = d.n_depth,
        n_prompt = d.n_prompt,
        n_gen = d.n_gen,
        n_seq = d.n_seq,
    );
    for case in &mut cases {
        // As Ollama's num_thread: 0 is for this program to choose.
        if case.n_threads == 0 {
            case.n_threads = host.n_threads;
        }
    }
    cases.retain(|case| !exclude.iter().any(|x| x.matches(case)));
    if cases.is_empty() {
        return Err(PlanError::NothingLeft);
    }
    for case in &cases {
        validate(case)?;
    }
    Ok(cases)
}

fn validate(c: &Case) -> Result<(), PlanError> {
    let at_least_one = [
        ("n_gen", c.n_gen),
        ("threads", c.n_threads),
        ("n_ctx", c.n_ctx),
        ("n_batch", c.n_batch),
        ("n_ubatch", c.n_ubatch),
    ];
    for (key, value) in at_least_one {
        if value == 0 {
            return Err(PlanError::axis(key, "0 is too small; at least 1"));
        }
    }
    if !(1..=MAX_SEQ).contains(&c.n_seq) {
        return Err(PlanError::axis(
            "batch",
            format!(
                "{} sequences; the engine decodes 1 to {MAX_SEQ} together",
                c.n_seq
            ),
        ));
    }
    if u64::from(c.n_batch) > MAX_CELLS {
        return Err(PlanError::axis(
            "n_batch",
            format!("{} tokens; the engine takes at most {MAX_CELLS}", c.n_batch),
        ));
    }
    let used = [c.n_depth, c.n_prompt, c.n_gen]
        .iter()
        .fold(0_u64, |sum, &n| sum + u64::from(n));
    if used > u64::from(c.n_ctx) {
        return Err(PlanError::Impossible(format!(
            "n_depth {} + n_prompt {} + n_gen {} = {used} tokens do not fit n_ctx {} (tokens per \
             sequence): raise --n-ctx or shorten them",
            c.n_depth, c.n_prompt, c.n_gen, c.n_ctx
        )));
    }
    if u64::from(c.n_ctx).next_multiple_of(super::KV_PAD.into()) * u64::from(c.n_seq) > MAX_CELLS {
        return Err(PlanError::Impossible(format!(
            "n_ctx {} x batch {} is more cells than the engine can address (2^31)",
            c.n_ctx, c.n_seq
        )));
    }
    if c.n_ubatch > c.n_batch {
        return Err(PlanError::Impossible(format!(
            "n_ubatch {} is larger than n_batch {}: the physical batch is a part of the logical one",
            c.n_ubatch, c.n_batch
        )));
    }
    if c.n_seq > c.n_batch {
        return Err(PlanError::Impossible(format!(
            "batch {} needs n_batch >= {}, it is {}: a decode step holds one token of every sequence",
            c.n_seq, c.n_seq, c.n_batch
        )));
    }
    if c.type_v.is_quantized() && c.flash_attn == FlashAttn::Off {
        return Err(PlanError::Impossible(format!(
            "type_v {} needs flash attention, which is off",
            c.type_v
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host {
        n_threads: 2,
        n_gpu_layers: 0,
    };

    fn expand(axes: &Axes) -> Result<Vec<Case>, PlanError> {
        cases(axes, &["m".into()], &[], HOST)
    }

    #[test]
    fn defaults_give_one_cell_with_a_llama_bench_like_name() {
        let cases = expand(&Axes::default()).expect("defaults are valid");
        assert_eq!(cases.len(), 1);
        assert_eq!(cases[0].id().as_str(), "m/pp128/tg64/b1/d0/t2");
    }

    #[test]
    fn the_product_has_batch_innermost() {
        let axes = Axes {
            n_seq: Some(vec![1, 8]),
            n_gen: Some(vec![16, 64]),
            ..Axes::default()
        };
        let ids: Vec<_> = expand(&axes)
            .expect("valid")
            .iter()
            .map(|c| c.id().to_string())
            .collect();
        assert_eq!(
            ids,
            [
                "m/pp128/tg16/b1/d0/t2",
                "m/pp128/tg16/b8/d0/t2",
                "m/pp128/tg64/b1/d0/t2",
                "m/pp128/tg64/b8/d0/t2",
            ]
        );
    }

    #[test]
    fn every_swept_axis_shows_in_the_name() {
        let axes = Axes {
            n_ctx: Some(vec![4096]),
            kv: Some(vec![KvSizing::Fit]),
            n_batch: Some(vec![512]),
            n_ubatch: Some(vec![256]),
            type_k: Some(vec![KvType::Q8_0]),
            type_v: Some(vec![KvType::Bf16]),
            flash_attn: Some(vec![FlashAttn::On]),
            n_gpu_layers: Some(vec![99]),
            split_mode: Some(vec![SplitMode::Row]),
            main_gpu: Some(vec![1]),
            sample: Some(vec![false]),
            ..Axes::default()
        };
        assert_eq!(
            expand(&axes).expect("valid")[0].id().as_str(),
            "m/pp128/tg64/b1/d0/t2/c4096/kv-fit/nb512/ub256/ctk-q8_0/ctv-bf16/fa-on/ngl99/sm-row/mg1/nosample"
        );
    }

    #[test]
    fn the_cache_is_sized_per_sequence() {
        let axes = Axes {
            n_seq: Some(vec![32]),
            n_ctx: Some(vec![1000]),
            n_prompt: Some(vec![200]),
            n_gen: Some(vec![57]),
            kv: Some(vec![KvSizing::Full, KvSizing::Fit]),
            ..Axes::default()
        };
        let c = expand(&axes).expect("valid");
        assert_eq!(c[0].n_ctx_seq(), 1024);
        assert_eq!(c[0].n_ctx_total(), 32 * 1024);
        assert_eq!(c[1].n_ctx_seq(), 512, "257 cells round up to 512");
    }

    #[test]
    fn impossible_cells_are_refused_with_the_reason() {
        let cases: Vec<(Axes, &str)> = vec![
            (
                Axes {
                    n_seq: Some(vec![0]),
                    ..Axes::default()
                },
                "batch: 0 sequences",
            ),
            (
                Axes {
                    n_seq: Some(vec![257]),
                    ..Axes::default()
                },
                "1 to 256",
            ),
            (
                Axes {
                    n_gen: Some(vec![0]),
                    ..Axes::default()
                },
                "n_gen: 0 is too small",
            ),
            (
                Axes {
                    n_prompt: Some(vec![2000]),
                    ..Axes::default()
                },
                "2064 tokens do not fit n_ctx 2048",
            ),
            (
                Axes {
                    n_prompt: Some(vec![u32::MAX]),
                    n_gen: Some(vec![u32::MAX]),
                    ..Axes::default()
                },
                "do not fit",
            ),
            (
                Axes {
                    n_batch: Some(vec![64]),
                    ..Axes::default()
                },
                "n_ubatch 512 is larger",
            ),
            (
                Axes {
                    n_batch: Some(vec![64]),
                    n_ubatch: Some(vec![64]),
                    n_seq: Some(vec![128]),
                    ..Axes::default()
                },
                "needs n_batch >= 128",
            ),
            (
                Axes {
                    type_v: Some(vec![KvType::Q8_0]),
                    flash_attn: Some(vec![FlashAttn::Off]),
                    ..Axes::default()
                },
                "needs flash attention",
            ),
            (
                Axes {
                    n_ctx: Some(vec![u32::MAX - 300]),
                    ..Axes::default()
                },
                "more cells than",
            ),
            (
                Axes {
                    n_ctx: Some(vec![u32::MAX]),
                    ..Axes::default()
                },
                "more cells than",
            ),
            (
                Axes {
                    n_batch: Some(vec![u32::MAX]),
                    ..Axes::default()
                },
                "n_batch: 4294967295",
            ),
            (
                Axes {
                    n_prompt: Some((1..1000).collect()),
                    n_gen: Some((1..1000).collect()),
                    ..Axes::default()
                },
                "998001 combinations",
            ),
        ];
        for (axes, needle) in cases {
            let e = expand(&axes).expect_err(needle).to_string();
            assert!(e.contains(needle), "{e}");
        }
    }

    #[test]
    fn exclusions_need_every_key_to_match() {
        let axes = Axes {
            n_seq: Some(vec![1, 128]),
            n_gen: Some(vec![16, 256]),
            ..Axes::default()
        };
        let x = Exclude {
            axes: Axes {
                n_seq: Some(vec![128]),
                n_gen: Some(vec![256]),
                ..Axes::default()
            },
            ..Exclude::default()
        };
        let left = cases(&axes, &["m".into()], std::slice::from_ref(&x), HOST).expect("three left");
        assert_eq!(left.len(), 3);
        let all = Exclude::default();
        let e = cases(&axes, &["m".into()], &[all], HOST).expect_err("nothing left");
        assert!(e.to_string().contains("no cell is left"));
    }

    #[test]
    fn flags_override_the_file_axis_by_axis() {
        let file = Axes {
            n_seq: Some(vec![1]),
            n_gen: Some(vec![16]),
            ..Axes::default()
        };
        let flags = Axes {
            n_seq: Some(vec![32]),
            ..Axes::default()
        };
        let both = file.overridden_by(flags);
        assert_eq!(both.n_seq, Some(vec![32]));
        assert_eq!(both.n_gen, Some(vec![16]));
    }
}
