//! Models in Ollama's own store: found by name, read where they lie, never changed.
//!
//! A manifest names the layers of a model by their sha256; the layer that is the GGUF file lies among the blobs under
//! that name. So nobody downloads a model twice, and the name is the proof that both programs run the same file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::iter;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ModelError;
use crate::file::home;

/// Where manifests of models without a host are.
const HOST: &str = "registry.ollama.ai";

/// Hosts with the same models.
const HUGGING_FACE: [&str; 2] = ["hf.co", "huggingface.co"];

/// The namespace of models without one.
const NAMESPACE: &str = "library";

/// The layer that is the GGUF file.
const MODEL_LAYER: &str = "application/vnd.ollama.image.model";

/// A layer without which the model is another one.
const ADAPTER_LAYER: &str = "application/vnd.ollama.image.adapter";

/// Most bytes of a manifest: they have about one thousand.
const MANIFEST_BYTES: u64 = 1 << 20;

/// Most names of models in a message.
const NAMED_MODELS: usize = 12;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OllamaBlob {
    /// The GGUF file; its name has no suffix.
    pub path: PathBuf,
    /// What the manifest says that its sha256 is, lower-case hex.
    pub sha256: String,
    /// The model's name without what is implied: `llama3.1:8b`.
    pub name: String,
}

/// Where Ollama's stores may be: the folder in `OLLAMA_MODELS`, else that of the user, then that of the service.
#[must_use]
pub fn stores() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os("OLLAMA_MODELS").filter(|value| !value.is_empty()) {
        let folder = PathBuf::from(folder);
        // What cannot be expanded is looked for as it stands, and named in the message.
        return vec![home::expanded(&folder).unwrap_or(folder)];
    }
    let home = std::env::home_dir().map(|home| home.join(".ollama/models"));
    let service = cfg!(unix).then(|| PathBuf::from("/usr/share/ollama/.ollama/models"));
    home.into_iter().chain(service).collect()
}

/// Finds the model that `spec` (as typed, for messages) names as `name`, in the first of these stores that has it.
///
/// # Errors
/// [`ModelError::Ollama`] says what was looked for, where, and what is there instead.
pub fn find(spec: &str, name: &str, stores: &[PathBuf]) -> Result<OllamaBlob, ModelError> {
    let fail = |detail: String| ModelError::Ollama {
        spec: spec.to_owned(),
        detail,
    };
    let name = Name::parse(name).map_err(fail)?;
    for store in stores {
        let Some((name, path)) = manifest_of(store, &name) else {
            continue;
        };
        match read_manifest(&path) {
            Ok(text) => {
                let layer =
                    model_layer(&text).map_err(|why| fail(format!("{}: {why}", path.display())))?;
                let file = blob(store, &layer).map_err(fail)?;
                return Ok(OllamaBlob {
                    path: file,
                    sha256: layer.hex,
                    name: name.short(),
                });
            }
            Err(error) if is_absent(&error) => {}
            Err(source) => return Err(ModelError::Unreadable { path, source }),
        }
    }
    Err(fail(absent(&name, stores)))
}

/// The manifest of a model and its name as it stands there. Ollama finds a model whatever the case of its name, and
/// Hugging Face has two names.
fn manifest_of(store: &Path, name: &Name) -> Option<(Name, PathBuf)> {
    let manifests = store.join("manifests");
    let is_hugging_face = |host: &&str| host.eq_ignore_ascii_case(&name.host);
    let others: &[&str] = match HUGGING_FACE.iter().any(is_hugging_face) {
        true => &HUGGING_FACE,
        false => &[],
    };
    let hosts = iter::once(name.host.as_str()).chain(others.iter().copied());
    let mut paths = hosts.filter_map(|host| {
        let parts = [host, &name.namespace, &name.model, &name.tag];
        in_any_case(&manifests, &parts)
    });
    let path = paths.next()?;
    let name = Name::of_path(path.strip_prefix(&manifests).ok()?)?;
    Some((name, path))
}

/// The path of these parts below a folder: as they are written, or in another case where nothing has that name.
fn in_any_case(folder: &Path, parts: &[&str]) -> Option<PathBuf> {
    let Some((first, rest)) = parts.split_first() else {
        return Some(folder.to_owned());
    };
    let exact = folder.join(first);
    let exact = match fs::metadata(&exact) {
        Err(e) if is_absent(&e) => None,
        // What is there and cannot be read is told by whoever reads it.
        _ => Some(exact),
    };
    if let Some(path) = exact.and_then(|path| in_any_case(&path, rest)) {
        return Some(path);
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let same = |name: &OsString| name.to_str().is_some_and(|n| n.eq_ignore_ascii_case(first));
    let mut names: Vec<OsString> = entries.map(|e| e.file_name()).filter(same).collect();
    names.sort();
    let mut paths = names.iter().map(|name| folder.join(name));
    paths.find_map(|path| in_any_case(&path, rest))
}

/// Nothing there; a file where a folder should be means the same.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn absent(name: &Name, stores: &[PathBuf]) -> String {
    let places: Vec<String> = stores
        .iter()
        .map(|store| store.join("manifests").join(name.path()))
        .map(|path| path.display().to_string())
        .collect();
    let mut there = models(stores);
    let there = match there.len() {
        0 => "no model is there; is OLLAMA_MODELS another folder?".to_owned(),
        n => {
            let more = if n > NAMED_MODELS { ", ..." } else { "" };
            there.truncate(NAMED_MODELS);
            format!("there are: {}{more}", there.join(", "))
        }
    };
    format!(
        "Ollama has no such model here (looked for {}); {there}; get it with: ollama pull {}",
        places.join(" and "),
        name.short()
    )
}

/// Names of the models in these stores, in order.
pub fn models(stores: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> = stores.iter().flat_map(|store| present(store)).collect();
    names.sort();
    names.dedup();
    names
}

/// Names of the models in a store.
fn present(store: &Path) -> Vec<String> {
    let below = |folders: Vec<PathBuf>| -> Vec<PathBuf> {
        let entries = folders
            .iter()
            .filter_map(|f| fs::read_dir(f).ok())
            .flatten();
        entries.flatten().map(|entry| entry.path()).collect()
    };
    let manifests = store.join("manifests");
    let tags = (0..4).fold(vec![manifests.clone()], |folders, _| below(folders));
    tags.iter()
        .filter(|tag| tag.is_file())
        .filter_map(|tag| Name::of_path(tag.strip_prefix(&manifests).ok()?))
        .map(|name| name.short())
        .collect()
}

fn read_manifest(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MANIFEST_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
}

struct ModelLayer {
    hex: String,
    bytes: u64,
}

/// The layer that is the model's file.
fn model_layer(manifest: &str) -> Result<ModelLayer, String> {
    let manifest: Manifest = serde_json::from_str(manifest)
        .map_err(|why| format!("not a manifest of Ollama's: {why}"))?;
    if manifest
        .layers
        .iter()
        .any(|l| l.media_type == ADAPTER_LAYER)
    {
        return Err("has an adapter, without which its file is another model".into());
    }
    let mut models = manifest
        .layers
        .iter()
        .filter(|l| l.media_type == MODEL_LAYER);
    let layer = models.next().ok_or(
        "has no GGUF file: the model runs elsewhere, or is kept in a format of Ollama's own",
    )?;
    if models.next().is_some() {
        return Err("has several model files, which cannot be loaded as one".into());
    }
    // The digest becomes a part of a path.
    let hex = layer.digest.strip_prefix("sha256:").filter(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    let hex =
        hex.ok_or("the model's digest is not `sha256:` and 64 lower-case hexadecimal digits")?;
    Ok(ModelLayer {
        hex: hex.to_owned(),
        bytes: layer.size,
    })
}

/// The layer's file. Old versions wrote a colon into its name.
fn blob(store: &Path, layer: &ModelLayer) -> Result<PathBuf, String> {
    let hex = &layer.hex;
    let paths = [format!("sha256-{hex}"), format!("sha256:{hex}")];
    let mut paths = paths.map(|name| store.join("blobs").join(name)).into_iter();
    let first = paths.clone().next().unwrap_or_default();
    let Some((path, meta)) = paths.find_map(|path| Some((path.clone(), fs::metadata(path).ok()?)))
    else {
        return Err(format!(
            "{}: the manifest names this file, and it is not there; pull the model again",
            first.display()
        ));
    };
    if meta.len() != layer.bytes {
        return Err(format!(
            "{}: has {} bytes, the manifest says {}; pull the model again",
            path.display(),
            meta.len(),
            layer.bytes
        ));
    }
    Ok(path)
}

/// `HOST/NAMESPACE/MODEL:TAG`, completed as Ollama completes it.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

impl Name {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // Names are copied from the address bar.
        let text = text.split_once("://").map_or(text, |(_, name)| name);
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, "latest"),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (host, namespace, model) = match parts.as_slice() {
            [model] => (HOST, NAMESPACE, *model),
            [namespace, model] => (HOST, *namespace, *model),
            [host, namespace, model] => (*host, *namespace, *model),
            _ => return Err("write ollama:MODEL:TAG or ollama:HOST/NAMESPACE/MODEL:TAG".into()),
        };
        Self::of_parts([host, namespace, model, tag]).ok_or_else(|| {
            "not a name of Ollama's: write ollama:MODEL:TAG, of letters, digits, `.`, `-` and `_`".into()
        })
    }

    /// The parts become folders, so nothing may lead out of them (`isValidPart` in Ollama's `types/model/name.go`).
    fn of_parts([host, namespace, model, tag]: [&str; 4]) -> Option<Self> {
        let fits = |part: &str, more: &str| {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            part.starts_with(word)
                && part.len() <= 350
                && part
                    .chars()
                    .all(|c| word(c) || c == '-' || more.contains(c))
        };
        let valid = fits(host, ".:") && fits(namespace, ".") && fits(model, ".") && fits(tag, ".");
        valid.then(|| Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.to_owned(),
        })
    }

    fn of_path(path: &Path) -> Option<Self> {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        Self::of_parts(parts.try_into().ok()?)
    }

    fn path(&self) -> PathBuf {
        [&self.host, &self.namespace, &self.model, &self.tag]
            .iter()
            .collect()
    }

    fn short(&self) -> String {
        let Self {
            host,
            namespace,
            model,
            tag,
        } = self;
        if host != HOST {
            format!("{host}/{namespace}/{model}:{tag}")
        } else if namespace != NAMESPACE {
            format!("{namespace}/{model}:{tag}")
        } else {
            format!("{model}:{tag}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// A store with a model of the three bytes `abc`.
    fn store(name: &str, manifest: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifests").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, manifest).unwrap();
        fs::create_dir(dir.path().join("blobs")).unwrap();
        fs::write(dir.path().join(format!("blobs/sha256-{HEX}")), "abc").unwrap();
        dir
    }

    fn manifest(digest: &str, size: u64) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"sha256:1","size":1}},"layers":[
            {{"mediaType":"application/vnd.ollama.image.template","digest":"sha256:2","size":5}},
            {{"mediaType":"{MODEL_LAYER}","digest":"{digest}","size":{size}}}]}}"#
        )
    }

    fn good() -> String {
        manifest(&format!("sha256:{HEX}"), 3)
    }

    fn found(name: &str, dirs: &[&tempfile::TempDir]) -> Result<OllamaBlob, String> {
        let stores: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
        find(&format!("ollama:{name}"), name, &stores).map_err(|error| error.to_string())
    }

    #[test]
    fn models_are_found_by_every_spelling() {
        let library = store("registry.ollama.ai/library/llama3.1/8b", &good());
        for name in [
            "llama3.1:8b",
            "library/llama3.1:8b",
            "registry.ollama.ai/library/llama3.1:8b",
        ] {
            let blob = found(name, &[&library]).unwrap();
            assert_eq!(fs::read(&blob.path).unwrap(), b"abc");
            assert_eq!(blob.sha256, HEX);
            assert_eq!(blob.name, "llama3.1:8b");
        }
        let latest = store("registry.ollama.ai/library/m/latest", &good());
        assert_eq!(found("m", &[&library, &latest]).unwrap().name, "m:latest");
        let mine = store("registry.ollama.ai/me/m/q4", &good());
        assert_eq!(found("me/m:q4", &[&mine]).unwrap().name, "me/m:q4");
        let other = store("hf.co/someone/m-GGUF/Q4_K_M", &good());
        let blob = found("hf.co/someone/m-GGUF:Q4_K_M", &[&other]).unwrap();
        assert_eq!(blob.name, "hf.co/someone/m-GGUF:Q4_K_M");
    }

    #[test]
    fn the_case_of_a_name_does_not_matter() {
        let dir = store("hf.co/x/SmolLM2-GGUF/Q8_0", &good());
        for name in [
            "hf.co/x/SmolLM2-GGUF:Q8_0",
            "hf.co/x/smollm2-gguf:q8_0",
            "HF.co/X/SMOLLM2-gguf:Q8_0",
            "huggingface.co/x/smollm2-gguf:Q8_0",
            "https://huggingface.co/x/SmolLM2-GGUF:q8_0",
        ] {
            let blob = found(name, &[&dir]).unwrap();
            assert_eq!(blob.name, "hf.co/x/SmolLM2-GGUF:Q8_0", "{name}");
        }
        assert!(found("hf.co/x/smollm2-gguf", &[&dir]).is_err());
        let library = store("registry.ollama.ai/library/Mistral/latest", &good());
        for name in [
            "mistral",
            "MISTRAL:Latest",
            "Registry.Ollama.AI/library/mistral",
        ] {
            assert_eq!(found(name, &[&library]).unwrap().name, "Mistral:latest");
        }
        let own = store("registry.example.org:5000/team/m/v1", &good());
        let blob = found("http://Registry.Example.org:5000/Team/m:V1", &[&own]).unwrap();
        assert_eq!(blob.name, "registry.example.org:5000/team/m:v1");
    }

    #[test]
    fn a_name_in_its_own_case_goes_first() {
        let dir = store("registry.ollama.ai/library/m/Q8_0", &good());
        let folder = dir.path().join("manifests/registry.ollama.ai/library/m");
        // Unusable, so that taking the wrong one shows.
        fs::write(folder.join("q8_0"), "{}").unwrap();
        if fs::read_dir(&folder).unwrap().count() == 2 {
            assert_eq!(found("m:Q8_0", &[&dir]).unwrap().name, "m:Q8_0");
            assert!(found("m:q8_0", &[&dir]).is_err());
        }
        // A folder that only looks the same does not hide the model.
        fs::create_dir(dir.path().join("manifests/registry.ollama.ai/library/M")).unwrap();
        assert_eq!(found("M:Q8_0", &[&dir]).unwrap().name, "m:Q8_0");
    }

    #[test]
    fn what_is_absent_is_told_with_its_places_and_neighbours() {
        let dir = store("registry.ollama.ai/library/llama3.1/8b", &good());
        let error = found("llama3.1", &[&dir]).unwrap_err();
        let place = dir
            .path()
            .join("manifests/registry.ollama.ai/library/llama3.1/latest");
        assert!(error.contains(&place.display().to_string()), "{error}");
        assert!(error.contains("there are: llama3.1:8b;"), "{error}");
        assert!(error.contains("ollama pull llama3.1:latest"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let error = found("m", &[&empty]).unwrap_err();
        assert!(
            error.contains("is OLLAMA_MODELS another folder?"),
            "{error}"
        );
    }

    #[test]
    fn nothing_leads_out_of_the_store() {
        let dir = store("registry.ollama.ai/library/m/latest", &good());
        for name in [
            "../m",
            "..",
            "a/../b",
            "/etc/passwd",
            "m:..",
            "m:../x",
            "a//b",
            "",
            "a/b/c/d",
            "m:",
            ".m",
            "a\\b",
            "m m",
        ] {
            let error = found(name, &[&dir]).unwrap_err();
            assert!(error.contains("write ollama:"), "{name}: {error}");
        }
        for digest in [
            "sha256:../../../../etc/passwd".to_owned(),
            format!("sha256:{}", HEX.to_uppercase()),
            format!("sha256:{HEX}/x"),
            format!("sha1:{HEX}"),
            String::new(),
        ] {
            let dir = store("registry.ollama.ai/library/m/latest", &manifest(&digest, 3));
            assert!(found("m", &[&dir]).unwrap_err().contains("digest is not"));
        }
    }

    #[test]
    fn manifests_that_cannot_be_used_say_why() {
        let says = |text: &str, what: &str| {
            let dir = store("registry.ollama.ai/library/m/latest", text);
            let error = found("m", &[&dir]).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        says("{", "not a manifest");
        says(r#"{"layers":[]}"#, "no GGUF file");
        says(
            &good().replace("image.template", "image.adapter"),
            "adapter",
        );
        says(
            &good().replace("image.template", "image.model"),
            "several model files",
        );
        says(
            &manifest(&format!("sha256:{HEX}"), 4),
            "has 3 bytes, the manifest says 4",
        );
        let gone = format!("sha256:{}", "0".repeat(64));
        says(&manifest(&gone, 3), "it is not there; pull the model again");
    }
}
