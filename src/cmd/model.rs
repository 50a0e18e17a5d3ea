//! `model`: list, inspect, fetch, quantize and synthesise GGUF files.

mod quantize;

use anyhow::{Result, bail};

use super::{DONE, note_all, say, say_path, unless_closed};
use crate::cli::{ModelCommand, SynthArgs};
use crate::file::{Replace, is_standard_output};
use crate::model::fetch::{fetch, fetch_from_hub};
use crate::model::hub::HubName;
use crate::model::synth::{SynthExperts, SynthShape, SynthSpec};
use crate::model::{FileType, ModelFacts, ModelStore, ollama, resolve};
use crate::report::table::{Document, Note, Table};
use crate::report::{json, progress};
use crate::streams::note;
use crate::text::{brief, plural, short};
use crate::units;

/// The most columns of what a file or a list says of a model.
const ABOUT_COLUMNS: usize = 120;

/// Does what was asked with model files.
pub fn model(command: ModelCommand) -> Result<u8> {
    match command {
        ModelCommand::List => list(),
        ModelCommand::Info { model, json } => info(&model, json),
        ModelCommand::Fetch { name } => fetch_all(&name),
        ModelCommand::Quantize {
            input,
            types,
            output,
            imatrix,
            threads,
            force,
        } => {
            return quantize::quantize(&quantize::QuantizeOrder {
                input: &input,
                types: &types,
                output,
                importance: imatrix.as_deref(),
                threads,
                force,
            });
        }
        ModelCommand::Synth(args) => synth(&args),
    }
    .map(|()| DONE)
}

fn list() -> Result<()> {
    let store = ModelStore::locate()?;
    let present = store.present();
    let listed = &store.catalogue.models;
    // Name, size where it is known, and what it is.
    let mut rows: Vec<(&str, Option<u64>, &str)> = listed
        .iter()
        .map(|m| (m.name.as_str(), Some(m.bytes), m.about.as_str()))
        .collect();
    let of_ollama = of_ollama();
    for name in present
        .iter()
        .filter(|n| listed.iter().all(|m| m.name != **n))
    {
        let file = std::fs::metadata(store.path_of(name));
        rows.push((name, file.map(|m| m.len()).ok(), ""));
    }
    rows.extend(
        of_ollama
            .iter()
            .map(|(name, bytes)| (name.as_str(), *bytes, "in Ollama's store")),
    );
    let is_here = |name: &str| {
        present.iter().any(|n| n == name) || of_ollama.iter().any(|(own, _)| own == name)
    };
    let table = Table::of(&rows)
        .words("name", |(name, ..)| short(name))
        .words(
            "here",
            |(name, ..)| if is_here(name) { "yes" } else { "no" },
        )
        .numbers("size", |(_, size, _)| size.map(units::bytes))
        .words("what it is", |(.., about)| brief(about, ABOUT_COLUMNS));
    let get = "get one with `ggufbench model fetch NAME`; `synth:PRESET:TYPE` needs no fetching";
    let document = Document::new("Models", table)
        .all_below([Note::whole(
            "model folder",
            store.root.display().to_string(),
        )])
        .below("", get);
    say(document.for_stdout())
}

/// The models in Ollama's store, as `--model` takes them, with the bytes of those whose file is there.
fn of_ollama() -> Vec<(String, Option<u64>)> {
    let stores = ollama::stores();
    let names = ollama::models(&stores).into_iter();
    let sized = names.map(|name| {
        let spec = format!("ollama:{name}");
        let file = ollama::find(&spec, &name, &stores).ok();
        let meta = file.and_then(|file| std::fs::metadata(file.path).ok());
        (spec, meta.map(|meta| meta.len()))
    });
    sized.collect()
}

fn info(models: &[String], json: bool) -> Result<()> {
    if models.is_empty() {
        bail!("name a model, as for --model");
    }
    let found = resolve(models, &ModelStore::locate()?)?;
    note_all(&found.notes);
    if json {
        let facts: Vec<&ModelFacts> = found.models.iter().map(|m| &m.facts).collect();
        let out = &mut std::io::stdout().lock();
        return unless_closed(json::pretty(&facts, out));
    }
    let texts: Vec<String> = found.models.iter().map(|m| facts_text(&m.facts)).collect();
    say(texts.join("\n\n"))
}

fn facts_text(m: &ModelFacts) -> String {
    let count = |n: Option<u32>| n.map_or_else(|| "n/a".to_owned(), |n| n.to_string());
    let types: Vec<String> = m
        .bytes_by_type
        .iter()
        .map(|(name, bytes)| format!("{name} {}", units::bytes(*bytes)))
        .collect();
    let mut lines = vec![m.name.clone()];
    let mut line = |key: &str, value: String| lines.push(format!("  {key:<22} {value}"));
    line("file", m.path.display().to_string());
    line(
        "size",
        format!("{} in {} file(s)", units::bytes(m.file_bytes), m.n_parts),
    );
    if let Some(name) = &m.general_name {
        line("name in the file", brief(name, ABOUT_COLUMNS));
    }
    line("architecture", short(&m.architecture));
    line("type", short(&m.file_type));
    if let Some(chain) = &m.requantized_from {
        let earlier = chain.to_ascii_uppercase().replace(',', ", then ");
        line("quantised before", format!("to {}", short(&earlier)));
    }
    line("parameters", m.n_params.to_string());
    line("layers", m.n_layer.to_string());
    line("width", m.n_embd.to_string());
    line(
        "heads / KV heads",
        format!("{} / {}", count(m.n_head), count(m.n_head_kv)),
    );
    line("feed-forward", count(m.n_ff));
    if let Some(width) = m.n_ff_expert {
        line("feed-forward, expert", width.to_string());
    }
    line("vocabulary", m.n_vocab.to_string());
    line("trained context", count(m.n_ctx_train));
    if let (Some(n), Some(used)) = (m.n_expert, m.n_expert_used) {
        line("experts used / all", format!("{used} / {n}"));
    }
    line("tied embeddings", m.tied_embeddings.to_string());
    line("tensor bytes", types.join(", "));
    line(
        "read per decode step",
        units::bytes(m.weight_bytes_per_step),
    );
    line(
        "KV cache per token",
        format!(
            "{} at F16",
            units::bytes(m.kv_bytes_per_token(2.0, 2.0) as u64)
        ),
    );
    if let Some(sliding) = &m.sliding {
        let bytes = units::bytes(m.sliding_bytes_per_token(2.0, 2.0) as u64);
        line(
            "sliding window",
            format!(
                "{} of {} layers look back {} tokens: {bytes} of these per token",
                sliding.n_layer, m.n_layer, sliding.n_window
            ),
        );
    }
    if m.state_elements_per_seq > 0 {
        line(
            "recurrent state",
            format!("{} per sequence", units::bytes(m.state_bytes_per_seq())),
        );
    }
    for unused in &m.unused {
        line(
            "not used to decode",
            format!(
                "{}: {}, {}",
                unused.kind,
                plural(unused.n_tensors, "tensor", "tensors"),
                units::bytes(unused.bytes)
            ),
        );
    }
    lines.join("\n")
}

fn fetch_all(names: &[String]) -> Result<()> {
    let store = ModelStore::locate()?;
    for name in names {
        let mut say = |text: &str| note(text);
        let path = match HubName::parse(name) {
            Some(of_hub) => fetch_from_hub(&of_hub, name, &mut say)?,
            None => fetch(&store, name, &mut say)?.path,
        };
        say_path(&path)?;
    }
    Ok(())
}

fn synth(args: &SynthArgs) -> Result<()> {
    let file_type = FileType::parse(&args.tensor_type)?;
    let preset = SynthSpec::preset(&args.preset, file_type)?;
    let base = preset.shape;
    let shape = SynthShape {
        n_layer: args.n_layer.unwrap_or(base.n_layer),
        n_embd: args.n_embd.unwrap_or(base.n_embd),
        n_head: args.n_head.unwrap_or(base.n_head),
        n_head_kv: args.n_head_kv.unwrap_or(base.n_head_kv),
        n_ff: args.n_ff.unwrap_or(base.n_ff),
        // Of a mixture, the width that decides its size is that of an expert.
        experts: base.experts.map(|experts| SynthExperts {
            n_ff: args.n_ff.unwrap_or(experts.n_ff),
            ..experts
        }),
        n_vocab: args.n_vocab.unwrap_or(base.n_vocab),
        tied: args.tied.unwrap_or(base.tied),
        ..base
    };
    let name = match &args.output {
        _ if shape == preset.shape => preset.name.clone(),
        Some(output) => output
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default(),
        // A shape of the user's own must not pass for the preset's file.
        None => format!(
            "{}-l{}-d{}-h{}-kv{}-f{}-v{}",
            preset.name,
            shape.n_layer,
            shape.n_embd,
            shape.n_head,
            shape.n_head_kv,
            shape.n_ff,
            shape.n_vocab
        ),
    };
    let spec = SynthSpec::new(&name, shape, file_type)?;
    let mut progress = progress::file_work(&format!("writing {}", spec.file_name()));
    let path = match &args.output {
        Some(output) => output.clone(),
        None => ModelStore::locate()?.root.join(spec.file_name()),
    };
    let replace = match args.force {
        true => Replace::Always,
        false => Replace::Never,
    };
    spec.write_as(&path, replace, &mut *progress)?;
    if is_standard_output(&path) {
        return Ok(());
    }
    say_path(&path)
}
