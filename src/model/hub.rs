//! Files of Hugging Face's hub that are on this machine: in its own cache, and in the older one of llama.cpp. Nothing is downloaded
//! by naming a model; [`HubName::download_command`] says how.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::ModelError;
use super::names::{part_number, split_suffix};
use super::store::user_cache;

/// The type that llama.cpp takes where none is named.
const USUAL_TYPE: &str = "Q4_K_M";

/// Deepest folder in a repository that is searched.
const DEPTH: u32 = 3;

/// A repository, and which of its files.
#[derive(Clone, Debug, PartialEq)]
pub struct HubName {
    user: String,
    repo: String,
    /// Another branch or commit than `main`.
    revision: Option<String>,
    which: WhichFile,
}

/// Which file of a repository.
#[derive(Clone, Debug, PartialEq)]
enum WhichFile {
    /// The only one, or the one of llama.cpp's usual type.
    Usual,
    /// Of a type such as `Q4_K_M`, in any case.
    Type(String),
    /// By its path in the repository.
    Path(String),
}

/// The beginnings of the hub's names.
const PREFIXES: [&str; 5] = [
    "https://huggingface.co/",
    "https://hf.co/",
    "huggingface.co/",
    "hf.co/",
    "hf:",
];

fn is_word(word: &str) -> bool {
    let first = word.chars().next();
    first.is_some_and(|c| c.is_ascii_alphanumeric())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

impl HubName {
    /// Reads `hf:USER/REPO`, `hf.co/USER/REPO:TYPE`, the address of a repository or of its file, and `USER/REPO:TYPE`; `None` for
    /// what is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let begin = PREFIXES.iter().find(|begin| lower.starts_with(**begin));
        let rest = begin.map_or(text, |begin| &text[begin.len()..]);
        let (path, kind) = match rest.split_once(':') {
            Some((path, kind)) => (path, Some(kind)),
            None => (rest, None),
        };
        let path = path.split('?').next()?.trim_end_matches('/');
        let mut parts = path.split('/');
        let (user, repo) = (parts.next()?, parts.next()?);
        let further: Vec<&str> = parts.collect();
        let (revision, file) = match further[..] {
            [] => (None, None),
            // A path of more parts is one of this machine, unless it says that it is not.
            _ if begin.is_none() => return None,
            ["resolve" | "blob" | "raw" | "tree", revision, ref file @ ..] => {
                let file = (!file.is_empty()).then(|| file.join("/"));
                (Some(revision), file)
            }
            ref file => (None, Some(file.join("/"))),
        };
        let which = match (kind, file.filter(|file| is_gguf(file))) {
            (Some(kind), _) if is_gguf(kind) => WhichFile::Path(kind.to_owned()),
            (Some(kind), _) => WhichFile::Type(kind.to_owned()),
            (None, Some(file)) => WhichFile::Path(file),
            (None, None) => WhichFile::Usual,
        };
        let are_words = match &which {
            WhichFile::Usual => true,
            WhichFile::Type(kind) => is_word(kind),
            WhichFile::Path(path) => path.split('/').all(is_word),
        };
        let revision = revision.filter(|revision| *revision != "main");
        let is_plain = is_word(user) && is_word(repo) && revision.is_none_or(is_word);
        // A path of two parts is a file's, when its name ends like one.
        let is_file = begin.is_none() && is_gguf(repo) && kind.is_none();
        (are_words && is_plain && !is_file).then(|| Self {
            user: user.to_owned(),
            repo: repo.to_owned(),
            revision: revision.map(str::to_owned),
            which,
        })
    }

    /// `USER/REPO`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.user, self.repo)
    }

    /// The arguments with which Hugging Face's `hf` downloads it. Its patterns know the case of letters, and types are written in
    /// both; a separator before keeps `F16` from meaning `BF16`.
    pub fn download_arguments(&self) -> Vec<String> {
        let of_type = |kind: &str| {
            let kinds = [kind.to_ascii_uppercase(), kind.to_ascii_lowercase()];
            kinds.map(|kind| format!("*[-._]{kind}*.gguf")).to_vec()
        };
        let patterns = match &self.which {
            WhichFile::Usual => of_type(USUAL_TYPE),
            WhichFile::Type(kind) => of_type(kind),
            WhichFile::Path(path) => vec![all_parts(path)],
        };
        let mut arguments = vec!["download".to_owned(), self.repository()];
        if let Some(revision) = &self.revision {
            arguments.extend(["--revision".to_owned(), revision.clone()]);
        }
        arguments.push("--include".to_owned());
        arguments.extend(patterns);
        arguments
    }

    /// The same as a line for a shell.
    pub fn download_command(&self) -> String {
        let arguments = self.download_arguments().into_iter();
        let quoted = arguments.map(|word| match word.contains(['*', '[']) {
            true => format!("'{word}'"),
            false => word,
        });
        format!("hf {}", quoted.collect::<Vec<_>>().join(" "))
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
        let of_type = |kind: &str| -> Vec<&PathBuf> {
            all.iter().filter(|file| is_of_type(file, kind)).collect()
        };
        let found = match &self.which {
            WhichFile::Type(kind) => of_type(kind),
            WhichFile::Path(path) => all.iter().filter(|file| is_at(file, path)).collect(),
            WhichFile::Usual if all.len() == 1 => all.iter().collect(),
            WhichFile::Usual => of_type(USUAL_TYPE),
        };
        // The same file may lie in both caches: the hub's come first.
        let names: BTreeSet<String> = found.iter().map(|file| self.own_name(file)).collect();
        match (found.first(), names.len()) {
            (Some(one), 1) => Ok((*one).clone()),
            (None, _) => Err(wrong(format!(
                "neither a file nor in Hugging Face's cache{}; `ggufbench model fetch {}` downloads it with the hf tool, which is the \
                 same as {}",
                self.others(&all),
                self.to_text(),
                self.download_command()
            ))),
            _ => Err(wrong(format!(
                "several files are on this machine; name one: {}",
                self.listed(&all)
            ))),
        }
    }

    /// What the caches have of the repository instead.
    fn others(&self, all: &[PathBuf]) -> String {
        match all.is_empty() {
            true => String::new(),
            false => format!(", which has {}", self.listed(all)),
        }
    }

    fn listed(&self, files: &[PathBuf]) -> String {
        let names = files.iter().map(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            format!("{}:{name}", self.repository())
        });
        names.collect::<Vec<_>>().join(", ")
    }

    /// A file's name in the repository, in lower case: llama.cpp's older cache has the repository's before it.
    fn own_name(&self, file: &Path) -> String {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        let begin = format!("{}_{}_", self.user, self.repo).to_ascii_lowercase();
        name.strip_prefix(&begin).unwrap_or(&name).to_owned()
    }

    fn to_text(&self) -> String {
        let repository = self.repository();
        match &self.which {
            WhichFile::Usual => repository,
            WhichFile::Type(kind) => format!("{repository}:{kind}"),
            WhichFile::Path(path) => {
                let revision = self.revision.as_deref().unwrap_or("main");
                format!("hf.co/{repository}/resolve/{revision}/{path}")
            }
        }
    }
}

/// The pattern of all parts of a split model, of which a path names one.
fn all_parts(path: &str) -> String {
    let stem = path.strip_suffix(".gguf").unwrap_or(path);
    match split_suffix(stem) {
        Some((base, _, count)) => format!("{base}-*-of-{count:05}.gguf"),
        None => path.to_owned(),
    }
}

/// Whether a file is the one at this path of the repository; llama.cpp's older cache has its last part behind the repository's name.
fn is_at(file: &Path, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let own = file.file_name().unwrap_or_default().to_string_lossy();
    let own = own.to_ascii_lowercase();
    file.ends_with(path) || own == name || (own.contains('_') && own.ends_with(&format!("_{name}")))
}

/// Whether a file's name has this type: `Q4_K` is no `Q4_K_M`, and `F16` no `BF16`.
fn is_of_type(file: &Path, kind: &str) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (name, kind) = (name.to_ascii_lowercase(), kind.to_ascii_lowercase());
    name.match_indices(&kind).any(|(at, _)| {
        let before = name[..at].chars().next_back();
        let after = name[at + kind.len()..].chars().next();
        before.is_none_or(|c| !c.is_ascii_alphanumeric())
            && after.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
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
        // Hugging Face's tools use this one on every system; llama.cpp uses the system's.
        let dot_cache = || var("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
        let hub = var("HF_HUB_CACHE")
            .or_else(|| Some(var("HF_HOME")?.join("hub")))
            .or_else(|| Some(dot_cache()?.join("huggingface").join("hub")));
        let llama = var("LLAMA_CACHE").or_else(|| Some(user_cache()?.join("llama.cpp")));
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
            let revision = name.revision.as_deref().unwrap_or("main");
            if let Some(snapshot) = snapshot(&hub.join(&folder), revision) {
                add_files(&snapshot, DEPTH, &mut files);
                files.sort();
            }
        }
        for cache in &self.llama {
            let mut all = Vec::new();
            add_files(cache, 0, &mut all);
            let is_own = |file: &PathBuf| {
                let file = file.file_name().unwrap_or_default().to_string_lossy();
                file.to_ascii_lowercase().starts_with(&begin)
            };
            all.retain(is_own);
            all.sort();
            files.extend(all);
        }
        files
    }
}

/// A branch or commit of a repository, as far as it is there. Without a note of what `main` is, the newest is meant.
fn snapshot(repository: &Path, revision: &str) -> Option<PathBuf> {
    let snapshots = repository.join("snapshots");
    let commit = fs::read_to_string(repository.join("refs").join(revision)).ok();
    let commit = commit.map_or_else(|| revision.to_owned(), |commit| commit.trim().to_owned());
    let meant = snapshots.join(commit);
    if meant.is_dir() {
        return Some(meant);
    }
    if revision != "main" {
        return None;
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
        if is_gguf(&name)
            && !name.contains("mmproj")
            && !name.contains("imatrix")
            && is_first
            && path.is_file()
        {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_many_spellings() {
        use WhichFile::{Path, Type, Usual};
        for (text, repository, which) in [
            ("hf:u/r", "u/r", Usual),
            ("hf.co/u/r-GGUF:Q4_K_M", "u/r-GGUF", Type("Q4_K_M".into())),
            ("huggingface.co/u/r", "u/r", Usual),
            ("https://huggingface.co/u/r/", "u/r", Usual),
            ("https://huggingface.co/u/r/tree/main", "u/r", Usual),
            (
                "https://huggingface.co/u/r/resolve/main/m-q8_0.gguf?download=true",
                "u/r",
                Path("m-q8_0.gguf".into()),
            ),
            (
                "https://huggingface.co/u/r/blob/main/sub/m.gguf",
                "u/r",
                Path("sub/m.gguf".into()),
            ),
            ("u/r", "u/r", Usual),
            (
                "Some/Llama-2-7B-GGUF:q8_0",
                "Some/Llama-2-7B-GGUF",
                Type("q8_0".into()),
            ),
        ] {
            let name = HubName::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (&*name.repository(), name.which),
                (repository, which),
                "{text}"
            );
            assert_eq!(name.revision, None);
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
            "hf:u/r:../x",
        ] {
            assert_eq!(HubName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_command_fetches_what_is_meant() {
        let command = |text: &str| HubName::parse(text).expect("a name").download_command();
        assert_eq!(
            command("u/r:q4_k_m"),
            "hf download u/r --include '*[-._]Q4_K_M*.gguf' '*[-._]q4_k_m*.gguf'"
        );
        assert_eq!(
            command("https://hf.co/u/r/resolve/v2/sub/m-00001-of-00003.gguf"),
            "hf download u/r --revision v2 --include 'sub/m-*-of-00003.gguf'"
        );
        assert_eq!(
            command("hf.co/u/r/m.gguf"),
            "hf download u/r --include m.gguf"
        );
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
        assert!(
            e.contains("hf download u/r --include '*[-._]Q8_0*.gguf'"),
            "{e}"
        );

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

        put(folder.path().join("llama.cpp/u_r_m-Q8_0.gguf"));
        assert_eq!(find("u/r:q8_0"), Ok(new.join("m-Q8_0.gguf")), "in both");
        assert_eq!(find("u/r:m-Q8_0.gguf"), find("u/r:q8_0"));
        put(new.join("m_F16.gguf"));
        assert_eq!(find("u/r:f16"), Ok(new.join("m_F16.gguf")));
        put(folder.path().join("llama.cpp/u_s_s-q5_0.gguf"));
        assert_eq!(
            find("u/s"),
            Ok(folder.path().join("llama.cpp/u_s_s-q5_0.gguf")),
            "the only one"
        );
        assert_eq!(find("hf.co/u/s:s-q5_0.gguf"), find("u/s"));
    }
}
