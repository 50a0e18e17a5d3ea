//! Files of Hugging Face's hub that are on this machine: in its own cache, and in the older one of llama.cpp. Nothing is downloaded
//! by naming a model; [`HubName::download_command`] says how.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::ModelError;
use super::names::part_number;

/// The type that llama.cpp takes where none is named.
const USUAL_TYPE: &str = "Q4_K_M";

/// Deepest folder in a repository that is searched.
const DEPTH: u32 = 3;

/// A repository, and which of its files.
#[derive(Clone, Debug, PartialEq)]
pub struct HubName {
    user: String,
    repo: String,
    /// A type such as `Q4_K_M`, or the whole name of a file.
    which: Option<String>,
}

impl HubName {
    /// Reads `hf:USER/REPO`, `hf.co/USER/REPO:TYPE`, the address of a repository or of its file, and `USER/REPO:TYPE`; `None` for
    /// what is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let of_hub = |text: &str| {
            let lower = text.to_ascii_lowercase();
            let begin = [
                "https://huggingface.co/",
                "https://hf.co/",
                "huggingface.co/",
                "hf.co/",
                "hf:",
            ];
            let begin = begin.iter().find(|begin| lower.starts_with(**begin))?;
            Some(text[begin.len()..].to_owned())
        };
        let named = of_hub(text);
        let rest = named.clone().unwrap_or_else(|| text.to_owned());
        let (path, kind) = match rest.split_once(':') {
            Some((path, kind)) => (path, Some(kind)),
            None => (&*rest, None),
        };
        let mut parts = path.trim_end_matches('/').split('/');
        let (user, repo) = (parts.next()?, parts.next()?);
        let file: Vec<&str> = parts.collect();
        // REPO/resolve/REVISION/FILE, or blob.
        let file = match file[..] {
            [] => None,
            ["resolve" | "blob" | "tree", _, .., file] if named.is_some() => Some(file),
            _ if named.is_some() => file.last().copied(),
            _ => return None,
        };
        let is_word = |word: &str| {
            let first = word
                .chars()
                .next()
                .is_some_and(|c| c.is_ascii_alphanumeric());
            first
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let file = file.map(|file| file.split('?').next().unwrap_or(file));
        let which = kind.or(file.filter(|file| file.ends_with(".gguf")));
        let are_words = is_word(user) && is_word(repo) && which.is_none_or(is_word);
        // A path of two parts is a file's, when its name ends like one.
        let is_file =
            named.is_none() && repo.to_ascii_lowercase().ends_with(".gguf") && kind.is_none();
        (are_words && !is_file).then(|| Self {
            user: user.to_owned(),
            repo: repo.to_owned(),
            which: which.map(str::to_owned),
        })
    }

    /// `USER/REPO`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.user, self.repo)
    }

    /// The arguments with which Hugging Face's `hf` downloads it.
    pub fn download_arguments(&self) -> Vec<String> {
        let which = self.which.as_deref().unwrap_or(USUAL_TYPE);
        let pattern = match which.ends_with(".gguf") {
            true => which.to_owned(),
            false => format!("*{which}*.gguf"),
        };
        ["download", &self.repository(), "--include", &pattern]
            .map(str::to_owned)
            .to_vec()
    }

    /// The same as a line for a shell.
    pub fn download_command(&self) -> String {
        let arguments = self.download_arguments();
        let [verb, repo, flag, pattern] = &arguments[..] else {
            unreachable!("four arguments")
        };
        format!("hf {verb} {repo} {flag} '{pattern}'")
    }

    /// Its file on this machine; of a split model the first part.
    ///
    /// # Errors
    /// [`ModelError::Hub`] where there is none, or several and none is meant.
    pub fn find(&self, spec: &str, caches: &HubCaches) -> Result<PathBuf, ModelError> {
        let all = caches.files_of(self);
        let wrong = |detail: String| ModelError::Hub {
            spec: spec.to_owned(),
            detail,
        };
        let which = self.which.as_deref();
        let meant = |which: &str| -> Vec<&PathBuf> {
            all.iter().filter(|file| is_named(file, which)).collect()
        };
        let found = match which {
            Some(which) => meant(which),
            None if all.len() == 1 => all.iter().collect(),
            None => meant(USUAL_TYPE),
        };
        match found[..] {
            [one] => Ok(one.clone()),
            [] if all.is_empty() => Err(wrong(format!(
                "neither a file nor in Hugging Face's cache; `ggufbench model fetch {}` downloads it with the hf tool, which is the \
                 same as {}",
                self.to_text(),
                self.download_command()
            ))),
            _ => Err(wrong(format!(
                "{} on this machine; name one: {}",
                match found.len() {
                    0 => "this file is not",
                    _ => "several files are",
                },
                all.iter()
                    .map(|file| self.named_whole(file))
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
        }
    }

    fn to_text(&self) -> String {
        let which = self.which.iter().map(|which| format!(":{which}"));
        format!("{}{}", self.repository(), which.collect::<String>())
    }

    fn named_whole(&self, file: &Path) -> String {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        format!("{}:{name}", self.repository())
    }
}

/// Whether a file is the one that is meant: by its whole name, or by a type in it.
fn is_named(file: &Path, which: &str) -> bool {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    let which = which.to_ascii_lowercase();
    if which.ends_with(".gguf") {
        return name == which || name.ends_with(&format!("_{which}"));
    }
    // Q4_K is no Q4_K_M.
    name.match_indices(&which).any(|(at, _)| {
        let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
        is_edge(name[..at].chars().next_back()) && is_edge(name[at + which.len()..].chars().next())
    })
}

/// Where files of the hub lie.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HubCaches {
    /// Of Hugging Face's own tools and of llama.cpp since 2026: a folder for each repository.
    pub hub: Vec<PathBuf>,
    /// Of older builds of llama.cpp: `USER_REPO_FILE`.
    pub llama: Vec<PathBuf>,
}

impl HubCaches {
    /// Those of this user: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and LLAMA_CACHE, or the usual ones.
    pub fn of_user() -> Self {
        let var = |name: &str| {
            env::var_os(name)
                .filter(|v: &OsString| !v.is_empty())
                .map(PathBuf::from)
        };
        let home = env::home_dir();
        let cache = var("XDG_CACHE_HOME").or_else(|| Some(home.clone()?.join(".cache")));
        let hub = var("HF_HUB_CACHE")
            .or_else(|| Some(var("HF_HOME")?.join("hub")))
            .or_else(|| Some(cache.clone()?.join("huggingface").join("hub")));
        let llama = var("LLAMA_CACHE").or_else(|| Some(cache?.join("llama.cpp")));
        Self {
            hub: hub.into_iter().collect(),
            llama: llama.into_iter().collect(),
        }
    }

    /// The files of a repository in the order of their names: no projectors, and of split models the first parts.
    fn files_of(&self, name: &HubName) -> Vec<PathBuf> {
        let folder = format!("models--{}--{}", name.user, name.repo);
        let begin = format!("{}_{}_", name.user, name.repo).to_ascii_lowercase();
        let mut files = Vec::new();
        for hub in &self.hub {
            if let Some(snapshot) = snapshot(&hub.join(&folder)) {
                add_files(&snapshot, DEPTH, &mut files);
            }
        }
        for cache in &self.llama {
            let mut all = Vec::new();
            add_files(cache, 0, &mut all);
            let is_own = |file: &PathBuf| {
                let file = file.file_name().unwrap_or_default().to_string_lossy();
                file.to_ascii_lowercase().starts_with(&begin)
            };
            files.extend(all.into_iter().filter(is_own));
        }
        files.sort();
        files
    }
}

/// The newest revision of a repository that is there whole or in part.
fn snapshot(repository: &Path) -> Option<PathBuf> {
    let snapshots = repository.join("snapshots");
    let main = fs::read_to_string(repository.join("refs").join("main")).ok();
    let main = main.map(|revision| snapshots.join(revision.trim()));
    if let Some(main) = main.filter(|main| main.is_dir()) {
        return Some(main);
    }
    let all = fs::read_dir(&snapshots).ok()?.flatten();
    let by_age = |entry: &fs::DirEntry| entry.metadata().and_then(|m| m.modified()).ok();
    all.max_by_key(by_age).map(|entry| entry.path())
}

fn add_files(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 {
                add_files(&path, depth - 1, files);
            }
            continue;
        }
        let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
        let is_first = part_number(&path).is_none_or(|part| part == 1);
        if name.ends_with(".gguf") && !name.contains("mmproj") && is_first && path.is_file() {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_many_spellings() {
        for (text, repository, which) in [
            ("hf:u/r", "u/r", None),
            ("hf.co/u/r-GGUF:Q4_K_M", "u/r-GGUF", Some("Q4_K_M")),
            ("huggingface.co/u/r", "u/r", None),
            ("https://huggingface.co/u/r/", "u/r", None),
            (
                "https://huggingface.co/u/r/resolve/main/m-q8_0.gguf?download=true",
                "u/r",
                Some("m-q8_0.gguf"),
            ),
            (
                "https://huggingface.co/u/r/blob/main/sub/m.gguf",
                "u/r",
                Some("m.gguf"),
            ),
            ("u/r", "u/r", None),
            (
                "TheBloke/Llama-2-7B-GGUF:q8_0",
                "TheBloke/Llama-2-7B-GGUF",
                Some("q8_0"),
            ),
        ] {
            let name = HubName::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (&*name.repository(), name.which.as_deref()),
                (repository, which),
                "{text}"
            );
        }
        for text in [
            "u",
            "a/b/c",
            "./u/r",
            "../r",
            "/u/r",
            "~/r",
            "u/m.gguf",
            "u\\r",
            "ollama:u/r",
            "https://example.org/m.gguf",
        ] {
            assert_eq!(HubName::parse(text), None, "{text}");
        }
    }

    fn put(path: PathBuf) {
        fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
        fs::write(path, "").expect("writable");
    }

    #[test]
    fn files_are_found_in_both_caches() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let caches = HubCaches {
            hub: vec![folder.path().join("hub")],
            llama: vec![folder.path().join("llama.cpp")],
        };
        let find = |text: &str| {
            HubName::parse(text)
                .expect("a name")
                .find(text, &caches)
                .map_err(|e| e.to_string())
        };
        let e = find("u/r:Q8_0").expect_err("nothing is there");
        assert!(e.contains("hf download u/r --include '*Q8_0*.gguf'"), "{e}");

        let repository = folder.path().join("hub/models--u--r");
        for revision in ["old", "new"] {
            for file in [
                "m-Q8_0.gguf",
                "m-Q4_K_M-00001-of-00002.gguf",
                "m-Q4_K_M-00002-of-00002.gguf",
                "mmproj-m-Q8_0.gguf",
            ] {
                put(repository.join("snapshots").join(revision).join(file));
            }
        }
        put(repository.join("refs/main"));
        fs::write(repository.join("refs/main"), "new\n").expect("writable");
        let new = repository.join("snapshots/new");
        assert_eq!(find("u/r:q8_0"), Ok(new.join("m-Q8_0.gguf")));
        assert_eq!(
            find("u/r"),
            Ok(new.join("m-Q4_K_M-00001-of-00002.gguf")),
            "llama.cpp's usual type"
        );
        let e = find("u/r:Q4_K").expect_err("another type");
        assert!(e.contains("u/r:m-Q8_0.gguf"), "{e}");

        put(folder.path().join("llama.cpp/u_s_s-q5_0.gguf"));
        assert_eq!(
            find("u/s"),
            Ok(folder.path().join("llama.cpp/u_s_s-q5_0.gguf")),
            "the only one"
        );
        assert_eq!(find("hf.co/u/s:s-q5_0.gguf"), find("u/s"));
    }
}
