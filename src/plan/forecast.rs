//! What a cell is expected to do, from a model's facts and the machine's ceilings: nothing is loaded, and no
//! decode call of the model need ever have been made.

use serde::Serialize;

use super::budget::{self, MemoryPrice};
use super::{Case, CaseId};
use crate::model::ModelFacts;
use crate::roofline::ceiling::Ceilings;
use crate::roofline::cost::{self, CallShape, Cost};
use crate::roofline::fit::Input;
use crate::roofline::kernel::{Kernel, KernelLoad, Point};
use crate::roofline::predict::{METHOD_ERROR, METHOD_ERROR_ELSEWHERE, Prediction, predict};
use crate::roofline::work::{self, Item};

/// An expected cell. Rates and times are of the middle decode step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// The cell's name.
    pub case_id: CaseId,
    /// The cell.
    pub case: Case,
    /// The memory it needs.
    pub memory: MemoryPrice,
    /// The middle decode step.
    pub step: Prediction,
    /// What that step moves and computes.
    pub cost: Cost,
    /// Generated tokens of all sequences a second, with the band.
    pub decode_tokens_per_s: Rate,
    /// The whole prefill with the choice of the first tokens; none without a prompt.
    pub prefill: Option<Prediction>,
    /// Prompt tokens of all sequences a second, with the band.
    pub prefill_tokens_per_s: Option<Rate>,
    /// The step's bytes a second as a share of the measured memory bandwidth.
    pub mbu: Option<f64>,
}

/// A rate and its band.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// What is expected.
    pub per_s: f64,
    /// From.
    pub low_per_s: f64,
    /// To.
    pub high_per_s: f64,
}

impl Rate {
    fn of(tokens: f64, prediction: &Prediction) -> Self {
        let t = prediction.total;
        Self {
            per_s: tokens / t.ns * 1e9,
            low_per_s: tokens / t.high_ns * 1e9,
            high_per_s: tokens / t.low_ns * 1e9,
        }
    }
}

/// The kernels of a cell's middle decode step and of its prefill.
pub fn kernels(case: &Case, model: &ModelFacts) -> (Vec<Item>, Vec<Item>) {
    let geometry = case.geometry();
    (
        work::decode(model, &geometry, case.n_seq, case.mid_past()),
        work::prefill(model, &geometry, case.n_seq, case.n_prompt, case.n_depth),
    )
}

/// What a fitted curve needs to know of a cell beforehand: its batch, the bytes and FLOPs of its middle step, and
/// what the ceilings expect of that, where they are known.
pub fn input(case: &Case, model: &ModelFacts, ceilings: Option<&Ceilings>) -> Input {
    let shape = CallShape::decode(case.n_seq, case.mid_past());
    let cost = cost::of(model, case.kv_cache(), &shape);
    let items = kernels(case, model).0;
    Input {
        batch: f64::from(case.n_seq),
        bytes: cost.bytes(),
        flops: cost.flops(),
        kernels_ns: ceilings.and_then(|c| c.total(&items)).map(|span| span.ns),
    }
}

/// The points that say what limits matrix kernels: each for a single token, and for as many as a prompt has.
pub fn reference_points(items: &[Item]) -> Vec<Point> {
    const MANY: u32 = 128;
    let is_matrix = |k: &Kernel| matches!(k, Kernel::MatMul { .. } | Kernel::Experts { .. });
    items
        .iter()
        .filter(|item| is_matrix(&item.point.kernel))
        .flat_map(|item| {
            [1, MANY].map(|n| Point {
                kernel: item.point.kernel.clone(),
                load: KernelLoad::tokens(n),
            })
        })
        .collect()
}

/// How far off the method may be for a model: it is checked for layers like Llama's, and counts others as if
/// they were.
pub fn method_error(model: &ModelFacts) -> f64 {
    let dense = model.n_expert.unwrap_or(0) == 0;
    if dense && model.architecture == "llama" {
        METHOD_ERROR
    } else {
        METHOD_ERROR_ELSEWHERE
    }
}

/// Expects a cell. `None` when the ceilings lack one of its kernels, or the facts do not list the matrices.
pub fn forecast(case: &Case, model: &ModelFacts, ceilings: &Ceilings) -> Option<Forecast> {
    let (decode, prefill) = kernels(case, model);
    let error = method_error(model);
    let step = predict(ceilings, &decode, error)?;
    let prefill = match case.n_prompt {
        0 => None,
        _ => Some(predict(ceilings, &prefill, error)?),
    };
    let n_seq = f64::from(case.n_seq);
    let prompt_tokens = n_seq * f64::from(case.n_prompt);
    let shape = CallShape::decode(case.n_seq, case.mid_past());
    let cost = cost::of(model, case.kv_cache(), &shape);
    Some(Forecast {
        case_id: case.id(),
        case: case.clone(),
        memory: budget::memory(case, model),
        decode_tokens_per_s: Rate::of(n_seq, &step),
        prefill_tokens_per_s: prefill.as_ref().map(|p| Rate::of(prompt_tokens, p)),
        mbu: ceilings
            .read
            .and_then(|read| cost.mbu(step.total.ns, read.best_per_s)),
        step,
        cost,
        prefill,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::FileType;
    use crate::model::synth::SynthSpec;
    use crate::plan::expand::{Axes, Host, cases};
    use crate::roofline::ceiling::{CEILINGS_VERSION, ReadRate, Timing};

    fn model() -> ModelFacts {
        let q8 = FileType::parse("q8_0").expect("known");
        SynthSpec::preset("smollm2-135m", q8)
            .and_then(|spec| spec.facts(Path::new("x.gguf")))
            .expect("a preset")
    }

    fn case(n_prompt: u32) -> Case {
        let host = Host {
            n_threads: 2,
            n_gpu_layers: 0,
        };
        let axes = Axes {
            n_seq: Some(vec![8]),
            n_prompt: Some(vec![n_prompt]),
            ..Axes::default()
        };
        cases(&axes, &["m".into()], &[], host)
            .expect("valid")
            .remove(0)
    }

    /// Every kernel takes a microsecond.
    fn ceilings(items: &[Item]) -> Ceilings {
        let mut c = Ceilings {
            version: CEILINGS_VERSION,
            machine: String::new(),
            engine: String::new(),
            device: String::new(),
            n_threads: 2,
            read: Some(ReadRate {
                best_per_s: 1e12,
                median_per_s: 1e12,
                interval_per_s: None,
                buffer_bytes: 1,
                cache_bytes: None,
                n_passes: 1,
                measured_at_s: 0,
                disturbed: false,
            }),
            entries: Vec::new(),
        };
        for point in c.missing(items) {
            let timing = Timing {
                ns: 1000.0,
                low_ns: 1000.0,
                high_ns: 1000.0,
                best_ns: 1000.0,
                n_rounds: 1,
                n_passes: 1,
                measured_at_s: 0,
                disturbed: false,
            };
            c.insert(point, timing);
        }
        c
    }

    #[test]
    fn a_cell_is_the_sum_of_its_kernels_times() {
        let (model, case) = (model(), case(128));
        let (decode, prefill) = kernels(&case, &model);
        let known = ceilings(&[decode.clone(), prefill].concat());
        let f = forecast(&case, &model, &known).expect("all kernels are known");
        // 30 layers of 7 matrices, attention and small operations, the output, the logits.
        let n = 30.0 * 9.0 + 2.0;
        assert!((f.step.total.ns - n * 1000.0).abs() < 1e-6);
        assert!((f.decode_tokens_per_s.per_s - 8.0 / (n * 1e-6)).abs() < 1e-6);
        assert!(f.decode_tokens_per_s.low_per_s < f.decode_tokens_per_s.per_s);
        assert_eq!(f.memory.weights_bytes, model.tensor_bytes);
        let mbu = f.mbu.expect("the bandwidth is known");
        assert!((mbu - f.cost.bytes() / (n * 1e-6) / 1e12).abs() < 1e-9);
        assert!(f.prefill.is_some() && f.prefill_tokens_per_s.is_some());
        // Without the prompt's ceilings there is no forecast of a cell that has a prompt.
        let half = ceilings(&decode);
        assert_eq!(forecast(&case, &model, &half), None);
    }

    #[test]
    fn no_prompt_no_prefill() {
        let (model, case) = (model(), case(0));
        let known = ceilings(&kernels(&case, &model).0);
        let f = forecast(&case, &model, &known).expect("known");
        assert_eq!((f.prefill, f.prefill_tokens_per_s), (None, None));
    }

    #[test]
    fn the_band_is_wider_where_the_method_is_not_checked() {
        let mut other = model();
        assert_eq!(method_error(&other), METHOD_ERROR);
        other.n_expert = Some(8);
        assert_eq!(method_error(&other), METHOD_ERROR_ELSEWHERE);
        other.n_expert = None;
        other.architecture = "gemma3".into();
        assert_eq!(method_error(&other), METHOD_ERROR_ELSEWHERE);
    }
}
