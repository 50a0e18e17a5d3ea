//! What `--model` takes, and how it becomes models without touching anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::hub::{HubCaches, HubName};
use super::scan::{self, Scan, WILDCARDS};
use super::synth::{PRESETS, SynthSpec};
use super::{
    FileType, ModelError, ModelFacts, ModelFile, ModelStore, Progress, ollama, sanitize_name,
};
use crate::file::home::expanded_text;

/// One thing that a user names after `--model`.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSpec {
    /// A file, or a folder whose models are all meant.
    Path(PathBuf),
    /// A pattern with `*`, `?` or `[`.
    Glob(String),
    /// `synth:PRESET` or `synth:PRESET:TYPE`.
    Synth(SynthSpec),
    /// `ollama:NAME`: a model that Ollama has on this machine.
    Ollama(String),
    /// `USER/REPO`, `hf.co/USER/REPO:TYPE`: a file that Hugging Face's tools or llama.cpp have downloaded.
    Hub(HubName),
    /// A name in the store or the catalogue.
    Name(String),
}

/// What must be made before a model can be loaded.
#[derive(Clone, Debug, PartialEq)]
pub enum Ensure {
    /// Nothing: the file is there.
    Nothing,
    /// Random weights, to be written beside the other models.
    Synth(SynthSpec),
}

/// A model that can be planned with, and loaded after [`ResolvedModel::ensure`].
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedModel {
    /// As typed.
    pub spec: String,
    /// The file, which is there unless `ensure` says otherwise.
    pub path: PathBuf,
    /// Of the file as it is or will be; `facts.name` is unique among the resolved models.
    pub facts: ModelFacts,
    /// What is missing.
    pub ensure: Ensure,
    /// What the file's sha256 must be, where whoever wrote it there says so.
    pub expected_sha256: Option<String>,
}

impl ResolvedModel {
    /// Makes what is missing. Does nothing the second time.
    ///
    /// # Errors
    /// See [`SynthSpec::write`].
    pub fn ensure(&mut self, progress: Progress) -> Result<(), ModelError> {
        if let Ensure::Synth(spec) = &self.ensure {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            self.path = spec.write(folder, progress)?;
            self.facts = ModelFacts {
                name: self.facts.name.clone(),
                ..ModelFacts::read(&self.path)?
            };
            self.ensure = Ensure::Nothing;
        }
        Ok(())
    }

    /// Fills the facts' sha256, and holds it against the one that the file must have.
    ///
    /// # Errors
    /// As [`ModelFacts::hash`], and [`ModelError::OllamaBlob`].
    pub fn hash(&mut self, progress: Progress) -> Result<(), ModelError> {
        self.facts.hash(progress)?;
        match (&self.expected_sha256, &self.facts.sha256) {
            (Some(expected), Some(found)) if expected != found => Err(ModelError::OllamaBlob {
                path: self.path.clone(),
                expected: expected.clone(),
                found: found.clone(),
            }),
            _ => Ok(()),
        }
    }
}

impl ModelSpec {
    /// Reads one spec; commas are not special here.
    ///
    /// # Errors
    /// [`ModelError::BadSpec`], or [`ModelError::BadType`] for a synthetic model's type.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let text = text.trim();
        let bad = |detail: &str| ModelError::BadSpec {
            spec: text.to_owned(),
            detail: detail.to_owned(),
        };
        if text.is_empty() {
            return Err(bad(
                "is empty; name a file, a folder, a pattern or a known model",
            ));
        }
        if let Some(rest) = text.strip_prefix("synth:") {
            let (preset, type_name) = rest.split_once(':').unwrap_or((rest, "q4_0"));
            if preset.is_empty() || type_name.is_empty() {
                return Err(bad("write synth:PRESET or synth:PRESET:TYPE"));
            }
            return Ok(Self::Synth(SynthSpec::preset(
                preset,
                FileType::parse(type_name)?,
            )?));
        }
        if let Some(name) = text.strip_prefix("ollama:") {
            return Ok(Self::Ollama(name.to_owned()));
        }
        let text = &*expanded_text(text).map_err(|why| bad(&why))?;
        if is_checkpoint(text) && Path::new(text).is_file() {
            return Err(bad(CONVERT));
        }
        if Path::new(text).exists() {
            return Ok(Self::Path(text.into()));
        }
        let first = Path::new(text).components().next();
        let is_in_folder = first.is_some_and(|first| Path::new(first.as_os_str()).is_dir());
        if let Some(name) = HubName::parse(text).filter(|_| !is_in_folder) {
            return Ok(Self::Hub(name));
        }
        if text.contains("://") {
            return Err(bad(
                "is an address: download the file (curl -LO), and name it",
            ));
        }
        if is_checkpoint(text) {
            return Err(bad(CONVERT));
        }
        if text.contains(WILDCARDS) {
            return Ok(Self::Glob(text.to_owned()));
        }
        let is_path = text.contains(['/', '\\']) || text.to_ascii_lowercase().ends_with(".gguf");
        Ok(if is_path {
            Self::Path(text.into())
        } else {
            Self::Name(text.to_owned())
        })
    }

    /// Reads a comma-separated list, unless a file of just this name exists.
    ///
    /// # Errors
    /// As [`ModelSpec::parse`].
    pub fn parse_list(text: &str) -> Result<Vec<(String, Self)>, ModelError> {
        let one = |part: &str| Ok((part.trim().to_owned(), Self::parse(part)?));
        if expanded_text(text).is_ok_and(|text| Path::new(&*text).exists()) {
            return Ok(vec![one(text)?]);
        }
        text.split(',').map(one).collect()
    }
}

/// How a file of PyTorch's kind becomes one of this program's.
const CONVERT: &str = "is no GGUF file; llama.cpp's converter converts the model's folder: python3 convert_hf_to_gguf.py FOLDER --outfile \
                       model.gguf";

fn is_checkpoint(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    [".safetensors", ".bin", ".pth", ".pt"]
        .iter()
        .any(|end| lower.ends_with(end))
}

/// What `--model` was found to mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// The models, each file once, under names that are unique among them.
    pub models: Vec<ResolvedModel>,
    /// What the user should know: files that were left out, a line for each folder or pattern.
    pub notes: Vec<String>,
    /// Which model each spec means.
    meant: Vec<(String, usize)>,
}

impl Resolution {
    /// The models that some of the resolved specs mean, in the order of all.
    pub fn meant_by<'a>(&'a self, specs: &'a [String]) -> impl Iterator<Item = &'a ResolvedModel> {
        let is_meant = move |at: usize| {
            let mut meant = self.meant.iter();
            meant.any(|(spec, index)| *index == at && specs.contains(spec))
        };
        let models = self.models.iter().enumerate();
        models
            .filter(move |(at, _)| is_meant(*at))
            .map(|(_, model)| model)
    }

    fn add(&mut self, spec: &str, model: ResolvedModel) {
        let same = |other: &ResolvedModel| real(&other.path) == real(&model.path);
        let index = self.models.iter().position(same).unwrap_or_else(|| {
            self.models.push(model);
            self.models.len() - 1
        });
        self.meant.push((spec.to_owned(), index));
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Finds every model that `specs` name, in their order. Reads headers; writes and downloads nothing.
///
/// # Errors
/// The first spec that means no model, see [`ModelError`]. A catalogue name that is not on this
/// machine is [`ModelError::NotFetched`].
pub fn resolve(specs: &[String], store: &ModelStore) -> Result<Resolution, ModelError> {
    let mut found = Resolution::default();
    for given in specs {
        for (text, spec) in ModelSpec::parse_list(given)? {
            let (models, note) = resolve_one(&text, spec, store)?;
            for model in models {
                found.add(given, model);
            }
            if let Some(note) = note {
                found.note(note);
            }
        }
    }
    for note in found
        .models
        .iter()
        .flat_map(unused_bytes)
        .collect::<Vec<_>>()
    {
        found.note(note);
    }
    make_names_unique(&mut found.models);
    Ok(found)
}

/// A line for each file of the model that is longer than its tensors.
fn unused_bytes(model: &ResolvedModel) -> Vec<String> {
    let files = model.facts.files.iter().filter(|f| f.unused_bytes > 0);
    let line = |file: &ModelFile| {
        let path = file.path(&model.path);
        let n = file.unused_bytes;
        format!(
            "{}: {n} bytes after the last tensor, all zero, which are not read",
            path.display()
        )
    };
    files.map(line).collect()
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn resolve_one(
    text: &str,
    spec: ModelSpec,
    store: &ModelStore,
) -> Result<(Vec<ResolvedModel>, Option<String>), ModelError> {
    let there = |facts: ModelFacts| ResolvedModel {
        spec: text.to_owned(),
        path: facts.path.clone(),
        facts,
        ensure: Ensure::Nothing,
        expected_sha256: None,
    };
    let one = |path: &Path| Ok((vec![there(scan::read(path)?)], None));
    let all = |scan: Scan| {
        let note = scan.note(text);
        Ok((scan.models.into_iter().map(there).collect(), note))
    };
    match spec {
        ModelSpec::Path(folder) if folder.is_dir() => all(scan::folder(text, &folder)?),
        ModelSpec::Path(file) => one(&file),
        ModelSpec::Glob(pattern) => all(scan::pattern(&pattern)?),
        ModelSpec::Name(name) => one(&named(&name, store)?),
        ModelSpec::Hub(name) => one(&name.find(text, &HubCaches::of_user())?),
        ModelSpec::Ollama(name) => {
            let blob = ollama::find(text, &name, &ollama::stores())?;
            let mut model = there(scan::read(&blob.path)?);
            // A blob's own name is its hash.
            model.facts.name = sanitize_name(&format!("ollama-{}", blob.name));
            model.expected_sha256 = Some(blob.sha256);
            Ok((vec![model], None))
        }
        ModelSpec::Synth(spec) => {
            let path = store.root.join(spec.file_name());
            if path.to_str().is_none() {
                return Err(ModelError::NotUtf8 { path });
            }
            if spec.is_current(&path) {
                return one(&path);
            }
            let planned = ResolvedModel {
                ensure: Ensure::Synth(spec.clone()),
                ..there(spec.facts(&path)?)
            };
            Ok((vec![planned], None))
        }
    }
}

fn named(name: &str, store: &ModelStore) -> Result<PathBuf, ModelError> {
    let path = store.path_of(name);
    if path.is_file() {
        return Ok(path);
    }
    let mut here = store.present().into_iter();
    if let Some(other) = here.find(|other| other.eq_ignore_ascii_case(name)) {
        return Ok(store.path_of(&other));
    }
    let mut listed = store.catalogue.models.iter().map(|entry| &entry.name);
    if let Some(other) = listed.find(|other| other.eq_ignore_ascii_case(name)) {
        return Err(ModelError::NotFetched {
            name: other.clone(),
        });
    }
    Err(ModelError::UnknownName {
        name: name.to_owned(),
        hint: ollama_hint(name).unwrap_or_else(|| hint(name, store)),
    })
}

/// That Ollama has a model of this name; or how one of its models is named, where the name has a tag as its models have.
fn ollama_hint(name: &str) -> Option<String> {
    let spec = format!("ollama:{name}");
    let found = ollama::find(&spec, name, &ollama::stores());
    match (found, name.contains(':')) {
        (Ok(_), _) => Some(format!("Ollama has it: --model {spec}")),
        (Err(_), true) => Some(format!(
            "Ollama's models are named {spec}, and Ollama on this machine does not have it (`ollama pull {name}`)"
        )),
        (Err(_), false) => None,
    }
}

/// The most similar names, or all of them where none is similar.
fn hint(name: &str, store: &ModelStore) -> String {
    let mut known: Vec<String> = store
        .catalogue
        .models
        .iter()
        .map(|e| e.name.clone())
        .collect();
    known.extend(store.present());
    known.extend(PRESETS.iter().map(|preset| format!("synth:{}", preset.0)));
    known.sort();
    known.dedup();
    let name = name.to_lowercase();
    let likeness = |other: &String| {
        let bare = other.strip_prefix("synth:").unwrap_or(other);
        let part = bare.contains(&name) || name.contains(bare);
        strsim::jaro_winkler(&name, bare) + if part { 0.5 } else { 0.0 }
    };
    let mut near: Vec<_> = known.iter().map(|other| (likeness(other), other)).collect();
    near.retain(|(score, _)| *score > 0.8);
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let list = |names: &[&String]| {
        names
            .iter()
            .map(|n| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let near: Vec<&String> = near.into_iter().take(4).map(|(_, other)| other).collect();
    if near.is_empty() {
        format!("known names: {}", list(&known.iter().collect::<Vec<_>>()))
    } else {
        format!("did you mean {}?", list(&near))
    }
}

/// Files of one name in different folders get the folder's name in front, and a number where that
/// is not enough.
fn make_names_unique(models: &mut [ResolvedModel]) {
    let mut count: BTreeMap<String, u32> = BTreeMap::new();
    for model in models.iter() {
        *count.entry(model.facts.name.clone()).or_default() += 1;
    }
    for model in models.iter_mut().filter(|m| count[&m.facts.name] > 1) {
        let absolute = real(&model.path);
        let folder = absolute
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default();
        let name = format!("{}-{}", folder.to_string_lossy(), model.facts.name);
        model.facts.name = sanitize_name(&name);
    }
    let mut taken: Vec<String> = Vec::new();
    for model in models {
        let base = model.facts.name.clone();
        let mut number = 1;
        while taken.contains(&model.facts.name) {
            number += 1;
            let room: String = base.chars().take(60).collect();
            model.facts.name = format!("{room}-{number}");
        }
        taken.push(model.facts.name.clone());
    }
}
