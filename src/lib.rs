//! ggufbench measures how fast a machine generates text with a GGUF model: llama.cpp linked into the
//! process, real multi-sequence batches, every decode call timed.
//!
//! ```text
//! flags or sweeps/*.toml
//!   -> plan        typed, validated, priced before anything loads
//!   -> run         seeded random order, one worker process per model and replicate, a stopping rule
//!   -> measure     one Call per llama_decode: build, submit, wait, sample, in integer nanoseconds
//!   -> request     whole requests: in-process, or a server's, each a Timeline of arrivals
//!   -> record      one JSON line per repetition, flushed, raw calls kept
//!   -> stats       medians, percentiles, intervals: numbers in, numbers out
//!   -> roofline    bytes and FLOPs per call, ceilings, fits: what could be expected
//!   -> view        a record turned into figures, once
//!   -> compare     two sides, cell by cell: change, interval, verdict
//!   -> trend       a history by night: levels, and what changed with them
//!   -> gate        tonight against the baseline: pass, regression, inconclusive
//!   -> analysis    what the figures say, in sentences with their evidence
//!   -> plot        figures one can see
//!   -> nightly     one night at a time: its folders, its lock, the promoted program, the summary
//!   -> report      tables and the lab report; like all below `record` it never needs a model
//! ```
//!
//! Imports go down only, in this order of floors: `cmd`, `cli`, `nightly`, `exchange`, `report`, `plot`, `analysis`, `gate`, `trend`, `compare`, `view`,
//! `doctor`, `bisect`, `foreign`, `run`, `record`, `metric`, `request`, `agreement`, `quality`, `measure`, `engine`, `host`, `plan`, `roofline`, `stats`, `model`, `file`,
//! `price`, `streams`, `text`, `units`, `build_info`. `stats` knows no benchmarks and `roofline` no files; `engine::llama` is the only place that calls llama.cpp
//! per decode call.

pub(crate) mod agreement;
pub mod analysis;
pub(crate) mod bisect;
pub(crate) mod build_info;
pub mod cli;
pub mod cmd;
pub mod compare;
pub(crate) mod doctor;
pub mod engine;
pub(crate) mod exchange;
pub(crate) mod file;
pub mod foreign;
pub(crate) mod gate;
pub(crate) mod host;
#[cfg(test)]
mod house;
pub mod measure;
pub mod metric;
pub mod model;
pub(crate) mod nightly;
pub mod plan;
pub mod plot;
pub(crate) mod price;
pub(crate) mod quality;
pub mod record;
pub mod report;
pub mod request;
pub mod roofline;
pub mod run;
pub(crate) mod stats;
pub mod streams;
pub mod text;
pub(crate) mod trend;
pub(crate) mod units;
pub mod view;
