//! Models as a user meets them: files good and bad, names, and the real engine on tiny ones.

mod engine;
mod files;
mod ollama;
mod quantized;
mod scans;
mod sources;
#[path = "../support/split.rs"]
mod split;
mod split_models;

use std::path::{Path, PathBuf};

use ggufbench::model::FileType;
use ggufbench::model::synth::SynthSpec;

fn file_type(name: &str) -> FileType {
    FileType::parse(name).unwrap()
}

fn tiny(dir: &Path, type_name: &str) -> PathBuf {
    let spec = SynthSpec::preset("tiny", file_type(type_name)).unwrap();
    spec.write(dir, &mut |_, _| ()).unwrap()
}
