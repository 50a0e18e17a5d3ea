//! A small plan for tests, and rates of a machine that it is estimated for.

use std::path::Path;

use super::budget::Rates;
use super::expand::{Axes, Host, cases};
use super::{Plan, Protocol};
use crate::model::FileType;
use crate::model::synth::SynthSpec;

pub(crate) const RATES: Rates = Rates {
    read_bytes_per_s: 1e10,
    flops_per_s: 1e11,
    n_threads: 1,
    gpu: None,
    ceilings: Vec::new(),
};

/// A machine of one thread without a GPU.
pub(crate) const HOST: Host = Host {
    n_threads: 1,
    n_gpu_layers: 0,
};

/// The model `tiny` at batches 1 and 8.
pub(crate) fn plan(protocol: Protocol) -> Plan {
    let spec = SynthSpec::preset("tiny", FileType::parse("f16").expect("a type"));
    let facts = spec.and_then(|spec| spec.facts(Path::new("tiny.gguf")));
    let facts = facts.expect("a preset");
    let axes = Axes {
        n_seq: Some(vec![1, 8]),
        ..Axes::default()
    };
    Plan {
        name: "t".into(),
        protocol,
        cases: cases(&axes, std::slice::from_ref(&facts.name), &[], HOST).expect("valid"),
        models: vec![facts],
    }
}
